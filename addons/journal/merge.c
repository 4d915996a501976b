/* Compaction: writes a run of sealed segments anew as one, in small steps. The new file is complete
 * and on disk before it takes the name of the run's last segment; what else the run had is removed
 * then, by a later start if need be. */
#include "merge.h"

#include <fcntl.h>
#include <stdlib.h>

enum {
    STEP_BYTES = 256 << 10,  /* read in one step, at most */
    FLUSH_BYTES = 256 << 10, /* written in one call */
    SYNC_BYTES = 1 << 20     /* synced at a time */
};

void lp__compaction_abort(lp__journal *journal)
{
    lp__compaction *merge = journal->compaction;
    if (merge == NULL)
        return;
    if (merge->is_reading)
        journal->io.close(journal->io.ctx, merge->reader.fd);
    if (merge->fd >= 0) {
        journal->io.close(journal->io.ctx, merge->fd);
        journal->io.unlink(journal->io.ctx, journal->dir, LP__COMPACT_NAME);
    }
    if (merge->spare_bytes > 0)
        journal->io.unlink(journal->io.ctx, journal->dir, LP__SPARE_NAME);
    lp__reader_free(&merge->reader);
    lp__segment_free(merge->out);
    free(merge->buffer);
    free(merge->leftovers);
    free(merge);
    journal->compaction = NULL;
}

int lp__open_temporary(lp__journal *journal)
{
    const lp__journal_io *io = &journal->io;
    io->unlink(io->ctx, journal->dir, LP__COMPACT_NAME);
    return io->open(io->ctx, journal->dir, LP__COMPACT_NAME, O_WRONLY | O_CREAT | O_EXCL, 0600);
}

static lp__merge_state fail(lp__journal *journal, const char *what, const char *name)
{
    lp__journal_failed(journal, what, name);
    return LP__MERGE_FAILED;
}

static lp__merge_state out_of_memory(lp__journal *journal)
{
    snprintf(journal->problem, sizeof(journal->problem), "out of memory");
    journal->failed_status = LP_ENOMEM;
    return LP__MERGE_FAILED;
}

lp__merge_state lp__merge_begin(lp__journal *journal, size_t from, size_t to)
{
    const lp__segment *first = journal->segments.at[from], *last = journal->segments.at[to];
    lp__compaction *merge = calloc(1, sizeof(*merge));
    if (merge == NULL)
        return out_of_memory(journal);
    journal->compaction = merge;
    merge->fd = -1;
    merge->from = merge->at = from;
    merge->to = to;
    merge->batch = 1;
    merge->may_drop_stale = !lp__has_dead_before(journal, from);
    merge->keys_over_ms = lp__journal_keys_over_ms(journal);
    /* The end of an older run, all of it on disk: a start need not fear for what came last. */
    bool is_last = !journal->has_written && to + 1 == journal->segments.count;
    lp__header header = {
        .number = last->header.number,
        .first = first->header.first,
        .epoch = lp__epoch_random(journal),
        .boot = journal->boot,
        .prev_batches = first->header.prev_batches,
        .sync = (uint8_t)(is_last ? LP_SYNC_ALWAYS : journal->sync),
        .merged = true,
    };
    merge->seed = lp__epoch_seed(header.epoch);
    merge->out = lp__segment_new(&header);
    merge->leftovers = malloc((to - from + 1) * sizeof(uint64_t));
    if (merge->out == NULL || merge->leftovers == NULL)
        return out_of_memory(journal);
    merge->out->base = first->base;
    merge->out->overhead = LP__SEGMENT_HEADER;
    for (size_t i = from; i < to; i++)
        merge->leftovers[merge->leftover_count++] = journal->segments.at[i]->header.number;
    merge->fd = lp__open_temporary(journal);
    if (merge->fd < 0)
        return fail(journal, "cannot make", LP__COMPACT_NAME);
    merge->written = merge->synced = LP__SEGMENT_HEADER;
    lp__horizons_sweep(&journal->horizons, true);
    return LP__MERGE_MORE;
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool write_at(lp__journal *journal, int fd, const uint8_t *bytes, size_t len, uint64_t at)
{
    const lp__journal_io *io = &journal->io;
    while (len > 0) {
        ssize_t wrote = io->pwrite(io->ctx, fd, bytes, len, (off_t)at);
        if (wrote <= 0) {
            lp__journal_failed(journal, "cannot write to", LP__COMPACT_NAME);
            return false;
        }
        bytes += wrote;
        len -= (size_t)wrote;
        at += (uint64_t)wrote;
    }
    return true;
}

static bool flush(lp__journal *journal, lp__compaction *merge)
{
    if (!write_at(journal, merge->fd, merge->buffer, merge->used, merge->written))
        return false;
    merge->written += merge->used;
    merge->used = 0;
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* A segment that holds nothing any more need not be read. */
static bool is_dead(const lp__compaction *merge, const lp__segment *segment)
{
    return merge->may_drop_stale && lp__segment_live_bytes(segment, merge->keys_over_ms) == 0;
}

static lp__merge_state open_next(lp__journal *journal)
{
    lp__compaction *merge = journal->compaction;
    const lp__segment *segment = journal->segments.at[merge->at];
    if (segment->highest > merge->out->highest)
        merge->out->highest = segment->highest;
    if (is_dead(merge, segment)) {
        merge->at++;
        return LP__MERGE_MORE;
    }
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(segment->header.number, name);
    int fd = journal->io.open(journal->io.ctx, journal->dir, name, O_RDONLY, 0);
    if (fd < 0)
        return fail(journal, "cannot open", name);
    lp__reader_open(&merge->reader, &journal->io, fd, segment->end);
    lp__scan_begin(&merge->scan, &merge->reader, segment->header.epoch, segment->batches);
    merge->event = 0;
    merge->is_reading = true;
    return LP__MERGE_MORE;
}

/* It could be read when it was written or at start: the next start will find out and tell. */
static lp__merge_state give_up(lp__journal *journal, lp__segment *segment)
{
    segment->pinned = true;
    journal->failed_status = LP_EDAMAGED;
    snprintf(journal->problem, sizeof(journal->problem),
             "segment %llu cannot be read any more (its damage will be told at the next start)",
             (unsigned long long)segment->header.number);
    return LP__MERGE_FAILED;
}

static lp__merge_state copy_some(lp__journal *journal)
{
    lp__compaction *merge = journal->compaction;
    if (!merge->is_reading)
        return open_next(journal);
    lp__segment *segment = journal->segments.at[merge->at];
    uint64_t stop = merge->scan.at + STEP_BYTES;
    while (merge->scan.at < segment->end && merge->scan.at < stop) {
        lp__record record;
        lp__scan_result result = lp__scan_next(&merge->scan, &record);
        if (result == LP__SCAN_NOMEM)
            return out_of_memory(journal);
        if (result != LP__SCAN_RECORD || merge->reader.read_errors > 0)
            return give_up(journal, segment);
        if (lp__carry(journal, &record) != LP_OK)
            return out_of_memory(journal);
    }
    if (merge->used >= FLUSH_BYTES && !flush(journal, merge))
        return LP__MERGE_FAILED;
    if (merge->scan.at < segment->end)
        return LP__MERGE_MORE;
    if (merge->event != segment->count)
        return give_up(journal, segment);
    journal->io.close(journal->io.ctx, merge->reader.fd);
    merge->is_reading = false;
    merge->at++;
    return LP__MERGE_MORE;
}

/* ---- the end --------------------------------------------------------------------------------- */

static lp__merge_state seal(lp__journal *journal)
{
    lp__compaction *merge = journal->compaction;
    lp__segment *out = merge->out;
    uint8_t header[LP__SEGMENT_HEADER];
    if (lp__carry_commit(merge) != LP_OK)
        return out_of_memory(journal);
    if (!flush(journal, merge))
        return LP__MERGE_FAILED;
    out->header.batches = out->batches;
    out->size = out->end = merge->written;
    out->named = out->synced = true;
    lp__header_encode(&out->header, header);
    if (!write_at(journal, merge->fd, header, sizeof(header), 0))
        return LP__MERGE_FAILED;
    if (journal->io.fdatasync(journal->io.ctx, merge->fd) != 0)
        return fail(journal, "cannot sync", LP__COMPACT_NAME);
    merge->stage = STAGE_SWAP;
    return LP__MERGE_MORE;
}

/* Events that died after they were copied. */
static void carry_deaths(const lp__journal *journal)
{
    const lp__compaction *merge = journal->compaction;
    lp__segment *out = merge->out;
    size_t copied = 0;
    for (size_t at = merge->from; at <= merge->to; at++) {
        const lp__segment *segment = journal->segments.at[at];
        for (size_t i = 0; i < segment->count && copied < out->count; i++) {
            if ((segment->seqs[i] & ~LP__DEAD) != (out->seqs[copied] & ~LP__DEAD))
                continue;
            if (lp__segment_is_dead(segment, i))
                lp__segment_kill(out, copied);
            copied++;
        }
    }
    out->hint = 0;
}

/* Removals of events that are in no file any more are not needed. */
static void drop_targets(lp__journal *journal)
{
    const lp__compaction *merge = journal->compaction;
    uint64_t first = journal->segments.at[merge->from]->header.first;
    uint64_t last = merge->out->header.number;
    for (size_t at = merge->to + 1; at < journal->segments.count; at++) {
        lp__segment *segment = journal->segments.at[at];
        uint64_t moved = 0;
        size_t left = 0;
        for (size_t i = 0; i < segment->target_count; i++) {
            const lp__target target = segment->targets[i];
            if (target.number < first || target.number > last)
                segment->targets[left++] = target;
            else
                moved += target.count;
        }
        if (moved > merge->out->dead)
            moved = merge->out->dead;
        if (moved > 0)
            segment->targets[left++] = (lp__target){last, moved};
        segment->target_count = left;
    }
}

static void move_horizons(lp__journal *journal)
{
    lp__horizons *horizons = &journal->horizons;
    lp__segment *out = journal->compaction->out;
    for (size_t i = 0; i < horizons->capacity; i++)
        if (horizons->slots[i] != NULL && lp__is_in_run(journal, horizons->slots[i]->segment))
            lp__horizons_move(horizons, horizons->slots[i], out);
    if (horizons->floor_segment != NULL && lp__is_in_run(journal, horizons->floor_segment))
        lp__horizons_move(horizons, NULL, out);
}

static void replace_run(lp__journal *journal)
{
    lp__compaction *merge = journal->compaction;
    lp__segments *segments = &journal->segments;
    for (size_t at = merge->from; at <= merge->to; at++)
        lp__segment_free(segments->at[at]);
    segments->at[merge->from] = merge->out;
    memmove(segments->at + merge->from + 1, segments->at + merge->to + 1,
            (segments->count - merge->to - 1) * sizeof(*segments->at));
    segments->count -= merge->to - merge->from;
    merge->out = NULL;
}

/* What the new file leaves out relies on newer records: those are on disk first. */
static lp__merge_state swap(lp__journal *journal)
{
    const lp__journal_io *io = &journal->io;
    lp__compaction *merge = journal->compaction;
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(merge->out->header.number, name);
    if (journal->sync != LP_SYNC_NEVER && lp__active_sync(journal) != LP_OK)
        return LP__MERGE_FAILED;
    const lp__segment *spare = lp__spare_link(journal, merge->from, merge->to);
    if (spare != NULL) {
        merge->spare_bytes = spare->size;
        merge->spare_seed = lp__epoch_seed(spare->header.epoch);
    }
    if (io->rename(io->ctx, journal->dir, LP__COMPACT_NAME, name) != 0)
        return fail(journal, "cannot rename compact.tmp to", name);
    io->close(io->ctx, merge->fd);
    merge->fd = -1;
    carry_deaths(journal);
    drop_targets(journal);
    move_horizons(journal);
    replace_run(journal);
    merge->stage = STAGE_REMOVE;
    if (io->fsync_dir(io->ctx, journal->dir) != 0)
        return fail(journal, "cannot sync the directory of", name); /* nothing is removed */
    return LP__MERGE_MORE;
}

static lp__merge_state remove_one(lp__journal *journal)
{
    lp__compaction *merge = journal->compaction;
    if (merge->leftover_count == 0) {
        if (merge->spare_bytes > 0)
            lp__spare_keep(journal, merge->spare_bytes, merge->spare_seed);
        merge->spare_bytes = 0;
        lp__compaction_abort(journal); /* nothing is left to undo */
        return LP__MERGE_DONE;
    }
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(merge->leftovers[--merge->leftover_count], name);
    journal->io.unlink(journal->io.ctx, journal->dir, name);
    return LP__MERGE_MORE;
}

lp__merge_state lp__merge_step(lp__journal *journal)
{
    lp__compaction *merge = journal->compaction;
    switch (merge->stage) {
    case STAGE_COPY:
        if (merge->written - merge->synced >= SYNC_BYTES) {
            if (journal->io.fdatasync(journal->io.ctx, merge->fd) != 0)
                return fail(journal, "cannot sync", LP__COMPACT_NAME);
            merge->synced = merge->written;
            return LP__MERGE_MORE;
        }
        if (merge->at > merge->to) {
            merge->stage = STAGE_SEAL;
            return LP__MERGE_MORE;
        }
        return copy_some(journal);
    case STAGE_SEAL:
        return seal(journal);
    case STAGE_SWAP:
        return swap(journal);
    case STAGE_REMOVE:
    default:
        return remove_one(journal);
    }
}
