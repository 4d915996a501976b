/* on_publish: one batch, all of it or nothing. */
#include "inside.h"

/* What is not known to be on disk is kept in memory up to here: as much as a segment, so that a
 * sync that was not due yet comes with the segment's own. */
#define KEPT_MAX ((uint64_t)16 << 20)
/* So much at a time the kernel is asked to write early, so that the sync has less to wait for. */
#define WRITEBACK_BYTES ((uint64_t)1 << 20)

static int refuse(const lp__journal *journal, lp_batch *batch, int status, const char *problem)
{
    switch (status) {
    case LP_ENOSPC:
        return lp_batch_error(batch, status,
                              "journal \"%s\": %s (free some space, it goes on by itself)",
                              journal->path, problem);
    case LP_EINDOUBT:
        return lp_batch_error(batch, status,
                              "journal \"%s\": %s; whether the batch will be there after a restart "
                              "is in doubt (check the disk and restart)",
                              journal->path, problem);
    case LP_ENOMEM:
        return lp_batch_error(batch, status, "journal \"%s\": out of memory", journal->path);
    default:
        return lp_batch_error(batch, status, "journal \"%s\": %s", journal->path, problem);
    }
}

/* The batch was not written whole: takes care that it does not come back. */
static int undo_write(lp__journal *journal, lp_batch *batch, int status, bool is_void)
{
    char problem[sizeof(journal->problem)];
    memcpy(problem, journal->problem, sizeof(problem));
    const lp__segment *segment = journal->active;
    lp__active_retire(journal);
    /* A segment that is active now was opened to rescue older batches, and its header voids this
     * one too. */
    bool is_voided = journal->active != NULL && journal->active != segment;
    if (!is_void && !is_voided && lp__active_void(journal) != LP_OK)
        status = LP_EINDOUBT;
    return refuse(journal, batch, status, problem);
}

/* The batch was written and may not be on disk. */
static int undo_sync(lp__journal *journal, lp_batch *batch, lp__segment *segment, size_t len,
                     int status)
{
    char problem[sizeof(journal->problem)];
    memcpy(problem, journal->problem, sizeof(problem));
    segment->batches--;
    segment->end -= len;
    if (lp__active_void(journal) != LP_OK)
        status = LP_EINDOUBT;
    return refuse(journal, batch, status, problem);
}

/* Lets go of the active segment when it is full, or when too much would have to be kept. How long
 * the batch will be is not known yet; they are often alike. */
static void make_room(lp__journal *journal)
{
    if (journal->sync == LP_SYNC_INTERVAL && lp__active_unsynced(journal) >= KEPT_MAX)
        lp__active_sync(journal);
    const lp__segment *active = journal->active;
    if (active != NULL && active->batches > 0 &&
        (active->end + journal->last_len > journal->segment_bytes ||
         active->batches >= LP__BATCHES_UNKNOWN - 1))
        lp__active_retire(journal);
}

/* Written: on disk when its level says so. */
static int sync_as_wanted(lp__journal *journal)
{
    const lp__journal_io *io = &journal->io;
    if (journal->sync == LP_SYNC_ALWAYS)
        return lp__active_sync(journal);
    if (journal->sync == LP_SYNC_INTERVAL && journal->due_us == 0)
        journal->due_us = io->monotonic_us(io->ctx) + journal->sync_interval_us;
    /* Up to the last whole page: the one behind it is written to again. */
    uint64_t whole = journal->active->end & ~(uint64_t)4095;
    if (journal->sync == LP_SYNC_INTERVAL && whole >= journal->begun + WRITEBACK_BYTES) {
        io->begin_writeback(io->ctx, journal->fd, (off_t)journal->begun,
                            (off_t)(whole - journal->begun));
        journal->begun = whole;
    }
    return LP_OK;
}

/* What no record says: the manager tells keys that it forgot of its own accord again, and horizons
 * tell of removed events at the next start; what is here must know that they are dead now. */
static void note_forgotten(lp__journal *journal, const lp_batch *batch)
{
    int64_t keys_ms = lp_batch_forgotten_keys_ms(batch);
    if (keys_ms > journal->keys_forgotten_ms) {
        journal->keys_forgotten_ms = keys_ms;
        journal->compact_check = true;
    }
    for (size_t i = 0, count = lp_batch_removal_count(batch); i < count; i++) {
        lp_removal removal = lp_batch_removal(batch, i);
        size_t segment, event;
        if (removal.reason != LP_REMOVED_RETRIEVED &&
            lp__segments_find(&journal->segments, removal.seq, &segment, &event))
            lp__segment_kill(journal->segments.at[segment], event);
    }
}

static int write_batch(lp__journal *journal, lp_batch *batch, lp__segment *segment, size_t len)
{
    bool is_void;
    size_t at = LP__SEGMENT_HEADER + journal->kept;
    int status = segment == journal->active
                     ? lp__active_write(journal, journal->buffer + at, len, &is_void)
                     : lp__active_create(journal, segment, len, &is_void);
    if (status != LP_OK)
        return undo_write(journal, batch, status, is_void);

    segment->batches++;
    segment->end += len;
    if (journal->sync != LP_SYNC_NEVER)
        journal->kept += len;
    journal->last_len = len;
    status = sync_as_wanted(journal);
    if (status != LP_OK)
        return undo_sync(journal, batch, segment, len, status);
    journal->told_loss = false; /* the manager's floor is in its first batch */
    lp__journal_account_all(journal, journal->active, journal->buffer + at, len);
    note_forgotten(journal, batch);
    return LP_OK;
}

static int publish(lp__journal *journal, lp_batch *batch)
{
    if (journal->read_only)
        return lp_batch_error(batch, LP_EACCES,
                              "journal \"%s\": opened to read only (open it without read_only)",
                              journal->path);
    if (journal->in_doubt)
        return refuse(journal, batch, LP_EINDOUBT, "an earlier batch failed");

    make_room(journal);
    lp__segment *segment = journal->active;
    int status = LP_OK;
    if (segment == NULL)
        status = lp__active_prepare(journal, &segment);
    if (status != LP_OK)
        return refuse(journal, batch, status, "");
    size_t len;
    status = lp__journal_encode(journal, batch, segment->batches + 1,
                                lp__epoch_seed(segment->header.epoch), &len);
    if (status != LP_OK || len == 0) {
        if (segment != journal->active)
            lp__segment_free(segment);
        if (status != LP_OK)
            return refuse(journal, batch, status, "");
        note_forgotten(journal, batch);
        return LP_OK;
    }
    journal->compact_check = true;
    status = write_batch(journal, batch, segment, len);
    if (status == LP_OK && journal->damages.count > 0)
        lp__damage_repair(journal, batch);
    if (status == LP_OK && journal->compaction == NULL)
        lp__horizons_sweep(&journal->horizons, false);
    if (status == LP_OK)
        lp__journal_compact_along(journal, len);
    return status;
}

int lp__journal_publish(lp__journal *journal, lp_batch *batch)
{
    int status = publish(journal, batch);
    /* On a full disk the spare, which has its space already, is the next segment. */
    if (status == LP_ENOSPC && journal->spare_bytes > 0)
        status = publish(journal, batch);
    /* Of what is dead compaction makes room, so that can be told on a full disk too. */
    if (status == LP_ENOSPC && lp_batch_event_count(batch) == 0 && lp__reserve_spend(journal))
        status = publish(journal, batch);
    return status;
}
