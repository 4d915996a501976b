/* When the file of the active segment cannot be trusted any more, because a write or a sync of it
 * failed: what was acknowledged is kept in a new segment, what was refused is voided by one. */
#include "active.h"

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
    lp__active_close(journal);
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

static void move_events(lp__journal *journal, size_t synced, lp__segment *from, lp__segment *to)
{
    to->base = synced > 0 ? from->seqs[synced - 1] & ~LP__DEAD : from->base;
    for (size_t i = synced; i < from->count; i++) {
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
    from->count = synced;
    from->hint = 0;
}

/* Of the kept records, those that segments count in bytes. */
static void move_records(lp__journal *journal, lp__segment *from, lp__segment *to)
{
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
}

/* What is remembered of the kept batches moves with them. */
static void move_account(lp__journal *journal, const lp__synced *synced, lp__segment *from,
                         lp__segment *to)
{
    to->highest = from->highest;
    move_events(journal, synced->events, from, to);
    move_records(journal, from, to);
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
    status = lp__active_sync_files(journal);
    if (status != LP_OK) {
        discard_active(journal);
        return status;
    }
    fresh->batches = batches;
    fresh->end = LP__SEGMENT_HEADER + journal->kept;
    return LP_OK;
}

int lp__active_rescue(lp__journal *journal)
{
    lp__segment *old = journal->active;
    lp__synced synced = journal->synced;
    uint32_t batches = old->batches;
    lp__active_close(journal);
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
    lp__active_mark_synced(journal);
    return LP_OK;
}

/* ---- after a failed write -------------------------------------------------------------------- */

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
        status = lp__active_sync_files(journal);
        if (status == LP_OK) {
            lp__active_mark_synced(journal);
            return LP_OK;
        }
        discard_active(journal);
    }
    journal->in_doubt = true;
    return LP_EINDOUBT;
}
