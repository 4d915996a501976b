/* The segment that is written: made, appended to, synced, let go of, and replaced when its file
 * cannot be trusted any more. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>

uint64_t lp__epoch_random(lp__journal *journal)
{
    uint64_t epoch = 0;
    if (getrandom(&epoch, sizeof(epoch), 0) != (ssize_t)sizeof(epoch))
        epoch ^= (uint64_t)journal->io.monotonic_us(journal->io.ctx) * 0x9e3779b97f4a7c15u;
    return epoch ^ (uint64_t)(uintptr_t)journal << 16;
}

static lp__segment *last_segment(const lp__journal *journal)
{
    const lp__segments *segments = &journal->segments;
    return segments->count > 0 ? segments->at[segments->count - 1] : NULL;
}

uint64_t lp__active_unsynced(const lp__journal *journal)
{
    return journal->active != NULL ? journal->active->end - journal->synced.end : 0;
}

int lp__active_prepare(lp__journal *journal, lp__segment **out)
{
    const lp__segment *last = last_segment(journal);
    lp__header header = {
        .number = journal->next_number++,
        .first = journal->last_number + 1,
        .epoch = lp__epoch_random(journal),
        .boot = journal->boot,
        .prev_batches = journal->ends_in_hole ? LP__BATCHES_UNKNOWN
                        : last                ? last->batches
                                              : 0,
        .sync = (uint8_t)journal->sync,
    };
    header.recycled = journal->spare_bytes > 0;
    /* Then not one of its old records verifies, whatever the numbers. */
    while (header.recycled && lp__epoch_seed(header.epoch) == journal->spare_seed)
        header.epoch = lp__epoch_random(journal);
    *out = lp__segment_new(&header);
    if (*out == NULL)
        return LP_ENOMEM;
    (*out)->base = journal->last_seq;
    return LP_OK;
}

/* Where the disk is full, no byte behind a short write can have got there. After any other failure
 * nobody knows what did. */
static bool write_all(lp__journal *journal, int fd, const uint8_t *bytes, size_t len,
                      uint64_t offset, bool *is_void)
{
    *is_void = true;
    while (len > 0) {
        ssize_t wrote = journal->io.pwrite(journal->io.ctx, fd, bytes, len, (off_t)offset);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote == 0)
            errno = ENOSPC;
        if (wrote <= 0) {
            *is_void = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
            return false;
        }
        bytes += wrote;
        len -= (size_t)wrote;
        offset += (uint64_t)wrote;
    }
    return true;
}

/* A recycled file is longer than what is written. */
static void has_grown(lp__segment *segment, uint64_t written)
{
    if (segment->size < written)
        segment->size = written;
}

static void close_file(lp__journal *journal)
{
    journal->io.close(journal->io.ctx, journal->fd);
    journal->fd = -1;
    journal->active = NULL;
    journal->due_us = 0;
}

/* Writes a new file. A marker of a clean stop must be gone by then; should it come back after a
 * power cut, it names a segment that is not the last one any more, and does not count. */
static int make_file(lp__journal *journal, lp__segment *segment, size_t len, bool *is_void, int *fd)
{
    const lp__journal_io *io = &journal->io;
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(segment->header.number, name);
    *is_void = true;
    if (!journal->has_written && io->unlink(io->ctx, journal->dir, LP__CLEAN_NAME) != 0 &&
        errno != ENOENT)
        return lp__journal_failed(journal, "cannot remove", LP__CLEAN_NAME);
    segment->size = journal->spare_bytes;
    *fd = lp__spare_take(journal, name);
    if (*fd < 0) {
        segment->size = 0;
        segment->header.recycled = false;
        *fd = io->open(io->ctx, journal->dir, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    }
    if (*fd < 0)
        return lp__journal_failed(journal, "cannot make", name);
    lp__header_encode(&segment->header, journal->buffer);
    int status = LP_OK;
    if (!write_all(journal, *fd, journal->buffer, LP__SEGMENT_HEADER + len, 0, is_void))
        status = lp__journal_failed(journal, "cannot write to", name);
    /* The first one of a run tells the next start of this run, whatever the level. */
    if (status == LP_OK && segment->named &&
        (io->fdatasync(io->ctx, *fd) != 0 || io->fsync_dir(io->ctx, journal->dir) != 0)) {
        status = lp__journal_failed(journal, "cannot sync", name);
        *is_void = false;
    }
    if (status != LP_OK) {
        io->close(io->ctx, *fd);
        io->unlink(io->ctx, journal->dir, name);
    }
    return status;
}

int lp__active_create(lp__journal *journal, lp__segment *segment, size_t len, bool *is_void)
{
    *is_void = true;
    int status = lp__segments_push(&journal->segments, segment);
    if (status != LP_OK) {
        lp__segment_free(segment);
        return status;
    }
    segment->named = !journal->has_written && journal->sync != LP_SYNC_ALWAYS;
    status = make_file(journal, segment, len, is_void, &journal->fd);
    if (status != LP_OK) {
        journal->segments.count--;
        lp__segment_free(segment);
        journal->fd = -1;
        return status;
    }
    journal->recycled += segment->header.recycled;
    segment->end = LP__SEGMENT_HEADER;
    has_grown(segment, LP__SEGMENT_HEADER + len);
    journal->active = segment;
    journal->synced = (lp__synced){0, 0, 0};
    journal->begun = 0;
    journal->dir_is_dirty = true;
    journal->last_number = segment->header.number;
    journal->ends_in_hole = false;
    journal->has_written = true;
    return LP_OK;
}

int lp__active_write(lp__journal *journal, const uint8_t *bytes, size_t len, bool *is_void)
{
    lp__segment *segment = journal->active;
    if (write_all(journal, journal->fd, bytes, len, segment->end, is_void)) {
        has_grown(segment, segment->end + len);
        return LP_OK;
    }
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(segment->header.number, name);
    int status = lp__journal_failed(journal, "cannot write to", name);
    /* Only tidiness: what counts is said by the header of the next segment. */
    segment->failed = true;
    has_grown(segment, segment->end + len);
    lp__active_trim(journal);
    return status;
}

static int sync_files(lp__journal *journal)
{
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(journal->active->header.number, name);
    if (journal->io.fdatasync(journal->io.ctx, journal->fd) != 0)
        return lp__journal_failed(journal, "cannot sync", name);
    if (journal->dir_is_dirty && journal->io.fsync_dir(journal->io.ctx, journal->dir) != 0)
        return lp__journal_failed(journal, "cannot sync the directory of", name);
    journal->dir_is_dirty = false;
    return LP_OK;
}

static void mark_synced(lp__journal *journal)
{
    lp__segment *segment = journal->active;
    segment->named = true;
    journal->synced = (lp__synced){segment->batches, segment->end, segment->count};
    journal->kept = 0;
    journal->due_us = 0;
}

/* ---- segments that cannot be trusted --------------------------------------------------------- */

/* Takes the last segment out of the row. Its file may come back after a power cut, but the next
 * segment stands for its number too. */
static lp__segment *take_last(lp__journal *journal)
{
    lp__segment *segment = journal->segments.at[--journal->segments.count];
    journal->last_number = segment->header.first - 1;
    journal->ends_in_hole = segment->header.prev_batches == LP__BATCHES_UNKNOWN;
    return segment;
}

static void put_last(lp__journal *journal, lp__segment *segment)
{
    journal->segments.at[journal->segments.count++] = segment;
    journal->last_number = segment->header.number;
    journal->ends_in_hole = false;
}

static void remove_segment(lp__journal *journal, lp__segment *segment)
{
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(segment->header.number, name);
    journal->io.unlink(journal->io.ctx, journal->dir, name);
    lp__segment_free(segment);
}

/* Undoes lp__active_create. */
static void discard_active(lp__journal *journal)
{
    close_file(journal);
    remove_segment(journal, take_last(journal));
}

/* ---- after a failed sync --------------------------------------------------------------------- */

/* Gives the kept batches the numbers 1.. and the checksums of another segment. Returns how many
 * they are. */
static uint32_t reseal_kept(lp__journal *journal, uint64_t epoch)
{
    uint32_t seed = lp__epoch_seed(epoch), batch = 1;
    uint8_t *bytes = journal->buffer + LP__SEGMENT_HEADER;
    for (size_t at = 0; at < journal->kept;) {
        bool is_commit = bytes[at + 8] == LP__RECORD_COMMIT;
        at += (size_t)lp__record_reseal(bytes + at, batch, seed);
        batch += is_commit;
    }
    return batch - 1;
}

/* What is remembered of the kept batches moves with them. */
static void move_account(lp__journal *journal, const lp__synced *synced, lp__segment *from,
                         lp__segment *to)
{
    to->base = synced->events > 0 ? from->seqs[synced->events - 1] & ~LP__DEAD : from->base;
    to->highest = from->highest;
    for (size_t i = synced->events; i < from->count; i++) {
        uint64_t seq = from->seqs[i];
        if (lp__segment_add_event(to, seq & ~LP__DEAD, from->sizes[i]) != LP_OK) {
            journal->blind = true;
            break;
        }
        if (seq & LP__DEAD)
            lp__segment_kill(to, to->count - 1);
        else
            from->event_bytes -= from->sizes[i];
        from->dead -= (seq & LP__DEAD) != 0;
    }
    from->count = synced->events;
    from->hint = 0;

    const uint8_t *bytes = journal->buffer + LP__SEGMENT_HEADER;
    for (size_t at = 0; at < journal->kept;) {
        lp__record record;
        lp__record_peek(bytes + at, &record);
        if (record.type == LP__RECORD_HORIZON) {
            lp_str category = lp__record_category(&record);
            lp__horizon_entry *entry = lp__horizons_find(&journal->horizons, category);
            if (category.len == 0 ? journal->horizons.floor_segment == from
                                  : entry != NULL && entry->segment == from)
                lp__horizons_move(&journal->horizons, category.len == 0 ? NULL : entry, to);
        } else if (record.type == LP__RECORD_IDEMPOTENCY) {
            from->idempotency_bytes -= record.size;
            to->idempotency_bytes += record.size;
            to->idempotency_until = from->idempotency_until;
        }
        at += (size_t)record.size;
    }
    /* Which of its removals were the unsynced ones is not known: both count them as needed. */
    for (size_t i = 0; i < from->target_count; i++)
        if (lp__segment_add_target(to, from->targets[i].number, from->targets[i].count) != LP_OK)
            journal->blind = true;
}

/* Writes the kept batches to a new segment, which is on disk and active on LP_OK. */
static int write_kept(lp__journal *journal)
{
    lp__segment *fresh;
    bool is_void;
    int status = lp__active_prepare(journal, &fresh);
    if (status != LP_OK)
        return status;
    uint32_t batches = reseal_kept(journal, fresh->header.epoch);
    status = lp__active_create(journal, fresh, journal->kept, &is_void);
    if (status != LP_OK)
        return status;
    status = sync_files(journal);
    if (status != LP_OK) {
        discard_active(journal);
        return status;
    }
    fresh->batches = batches;
    fresh->end = LP__SEGMENT_HEADER + journal->kept;
    return LP_OK;
}

/* Keeps the batches that may not be on disk in a new segment, whose header voids them in the old
 * one, or stands for the old one where not even that one's header is on disk. On failure the old
 * segment is the last one again, but nobody writes to it any more. */
static int rescue(lp__journal *journal)
{
    lp__segment *old = journal->active;
    lp__synced synced = journal->synced;
    uint32_t batches = old->batches;
    close_file(journal);
    old->batches = synced.batches;
    if (!old->named)
        take_last(journal);
    int status = write_kept(journal);
    if (status != LP_OK) {
        old->batches = batches;
        if (!old->named)
            put_last(journal, old);
        journal->kept = 0;
        return status;
    }
    if (journal->sync == LP_SYNC_INTERVAL)
        move_account(journal, &synced, old, journal->active);
    if (old->named)
        old->end = synced.end;
    else
        remove_segment(journal, old);
    mark_synced(journal);
    return LP_OK;
}

int lp__active_sync(lp__journal *journal)
{
    if (journal->active == NULL || lp__active_unsynced(journal) == 0)
        return LP_OK;
    int status = sync_files(journal);
    if (status == LP_OK) {
        mark_synced(journal);
        return LP_OK;
    }
    journal->active->failed = true;
    char first_problem[sizeof(journal->problem)];
    memcpy(first_problem, journal->problem, sizeof(first_problem));
    if (journal->sync != LP_SYNC_NEVER) {
        status = rescue(journal);
        if (status == LP_OK) {
            lp__journal_tell(journal,
                             "journal \"%s\": %s; what was not on disk yet was written "
                             "to a new segment, nothing is lost",
                             journal->path, first_problem);
            return LP_OK;
        }
    } else {
        close_file(journal);
    }
    if (journal->sync != LP_SYNC_ALWAYS) {
        journal->lost = true;
        journal->boot = 0;
        lp__journal_tell(journal,
                         "journal \"%s\": %s; acknowledged events may be lost if this "
                         "machine loses power (check the disk)",
                         journal->path, first_problem);
    }
    return status;
}

void lp__active_trim(lp__journal *journal)
{
    lp__segment *segment = journal->active;
    if (segment != NULL && segment->size > segment->end &&
        journal->io.ftruncate(journal->io.ctx, journal->fd, (off_t)segment->end) == 0)
        segment->size = segment->end;
}

void lp__active_retire(lp__journal *journal)
{
    const lp__segment *segment = journal->active;
    if (segment == NULL)
        return;
    if (journal->sync != LP_SYNC_NEVER)
        lp__active_sync(journal);
    if (journal->active == segment) {
        lp__active_trim(journal);
        journal->active->synced = journal->sync != LP_SYNC_NEVER;
        close_file(journal);
    }
}

int lp__active_void(lp__journal *journal)
{
    lp__segment *fresh;
    bool is_void;
    size_t count = journal->segments.count;
    if (count > 0 && !journal->segments.at[count - 1]->named &&
        journal->segments.at[count - 1]->batches == 0)
        remove_segment(journal, take_last(journal));
    int status = lp__journal_reserve(journal, LP__SEGMENT_HEADER);
    if (status == LP_OK)
        status = lp__active_prepare(journal, &fresh);
    if (status == LP_OK)
        status = lp__active_create(journal, fresh, 0, &is_void);
    if (status == LP_OK) {
        status = sync_files(journal);
        if (status == LP_OK) {
            mark_synced(journal);
            return LP_OK;
        }
        discard_active(journal);
    }
    journal->in_doubt = true;
    return LP_EINDOUBT;
}
