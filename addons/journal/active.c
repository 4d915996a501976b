/* The segment that is written: made, appended to, synced, let go of. */
#include "active.h"

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
        .after_loss = journal->told_loss,
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

void lp__active_close(lp__journal *journal)
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

int lp__active_sync_files(lp__journal *journal)
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

void lp__active_mark_synced(lp__journal *journal)
{
    lp__segment *segment = journal->active;
    segment->named = true;
    journal->synced = (lp__synced){segment->batches, segment->end, segment->count};
    journal->kept = 0;
    journal->due_us = 0;
}

int lp__active_sync(lp__journal *journal)
{
    if (journal->active == NULL || lp__active_unsynced(journal) == 0)
        return LP_OK;
    int status = lp__active_sync_files(journal);
    if (status == LP_OK) {
        lp__active_mark_synced(journal);
        return LP_OK;
    }
    journal->active->failed = true;
    char first_problem[sizeof(journal->problem)];
    memcpy(first_problem, journal->problem, sizeof(first_problem));
    if (journal->sync != LP_SYNC_NEVER) {
        status = lp__active_rescue(journal);
        if (status == LP_OK) {
            lp__journal_tell(journal,
                             "journal \"%s\": %s; what was not on disk yet was written "
                             "to a new segment, nothing is lost",
                             journal->path, first_problem);
            return LP_OK;
        }
    } else {
        lp__active_close(journal);
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
        lp__active_close(journal);
    }
}
