/* What compaction carries over from the segments of a run. */
#include "merge.h"

#include <stdlib.h>

enum {
    BUFFER_BYTES = 512 << 10, /* that is written, at first */
    BATCH_BYTES = 1 << 20     /* of a batch in the new file */
};

/* Room for a record with a payload of `length` bytes. NULL: no memory. */
static uint8_t *begin_record(lp__compaction *merge, size_t length)
{
    size_t need = merge->used + (size_t)lp__record_size(length);
    if (need > merge->capacity) {
        size_t capacity = need < BUFFER_BYTES ? BUFFER_BYTES : need;
        uint8_t *buffer = realloc(merge->buffer, capacity);
        if (buffer == NULL)
            return NULL;
        merge->buffer = buffer;
        merge->capacity = capacity;
    }
    return merge->buffer + merge->used;
}

static void end_record(lp__compaction *merge, lp__record_type type, size_t length)
{
    lp__record_seal(merge->buffer + merge->used, type, (uint32_t)length, merge->batch, merge->seed);
    merge->used += (size_t)lp__record_size(length);
    merge->batch_bytes += lp__record_size(length);
    merge->records++;
}

static int copy_record(lp__compaction *merge, const lp__record *record)
{
    uint8_t *out = begin_record(merge, record->length);
    if (out == NULL)
        return LP_ENOMEM;
    memcpy(out + LP__RECORD_HEADER, record->payload, record->length);
    end_record(merge, (lp__record_type)record->type, record->length);
    return LP_OK;
}

int lp__carry_commit(lp__compaction *merge)
{
    uint8_t *out = begin_record(merge, LP__COMMIT_SIZE);
    if (out == NULL)
        return LP_ENOMEM;
    lp__put_u32(out + LP__RECORD_HEADER, merge->records);
    lp__put_u32(out + LP__RECORD_HEADER + 4, (uint32_t)(merge->batch_bytes / 8));
    lp__put_u64(out + LP__RECORD_HEADER + 8, merge->out->highest);
    end_record(merge, LP__RECORD_COMMIT, LP__COMMIT_SIZE);
    merge->out->batches = merge->batch++;
    merge->out->overhead += lp__record_size(LP__COMMIT_SIZE);
    merge->batch_bytes = 0;
    merge->records = 0;
    return LP_OK;
}

/* ---- what is carried over -------------------------------------------------------------------- */

bool lp__is_in_run(const lp__journal *journal, const lp__segment *segment)
{
    const lp__compaction *merge = journal->compaction;
    return segment->header.number >= journal->segments.at[merge->from]->header.first &&
           segment->header.number <= merge->out->header.number;
}

static int carry_event(lp__journal *journal, const lp__record *record)
{
    lp__compaction *merge = journal->compaction;
    const lp__segment *segment = journal->segments.at[merge->at];
    uint64_t seq = lp__record_seq(record);
    size_t i = merge->event;
    if (i == segment->count || (segment->seqs[i] & ~LP__DEAD) != seq)
        return LP_OK; /* out of order: nobody ever saw it */
    merge->event++;
    if (lp__segment_is_dead(segment, i))
        return LP_OK;
    int status = lp__segment_add_event(merge->out, seq, record->size);
    return status == LP_OK ? copy_record(merge, record) : status;
}

/* Removals of events that lie in front of the run are still needed. */
static int carry_removals(lp__journal *journal, const lp__record *record)
{
    lp__compaction *merge = journal->compaction;
    uint8_t *out = begin_record(merge, record->length);
    if (out == NULL)
        return LP_ENOMEM;
    size_t length = 0;
    for (uint32_t at = 0; at < record->length; at += 8) {
        uint64_t seq = lp__get_u64(record->payload + at);
        size_t where, event;
        if (!lp__segments_find(&journal->segments, seq, &where, &event) || where >= merge->from)
            continue;
        lp__put_u64(out + LP__RECORD_HEADER + length, seq);
        length += 8;
        int status =
            lp__segment_add_target(merge->out, journal->segments.at[where]->header.number, 1);
        if (status != LP_OK)
            return status;
    }
    if (length > 0) {
        end_record(merge, LP__RECORD_REMOVE, length);
        merge->out->overhead += LP__RECORD_HEADER;
    }
    return LP_OK;
}

/* Of horizons the newest of each category, wherever it lies. One that is not known any more is
 * below the floor. */
static int carry_horizon(lp__journal *journal, const lp__record *record)
{
    lp__compaction *merge = journal->compaction;
    const lp__horizons *horizons = &journal->horizons;
    lp_str category = lp__record_category(record);
    uint64_t seq = lp__get_u64(record->payload);
    const lp__horizon_entry *entry = lp__horizons_find(horizons, category);
    bool is_needed;
    if (category.len == 0) {
        is_needed = seq == horizons->floor && horizons->floor_segment != NULL &&
                    lp__is_in_run(journal, horizons->floor_segment);
    } else if (entry != NULL) {
        is_needed = entry->seq == seq && lp__is_in_run(journal, entry->segment);
    } else {
        is_needed = !merge->may_drop_stale;
        merge->out->stale_bytes += is_needed ? record->size : 0;
    }
    return is_needed ? copy_record(merge, record) : LP_OK;
}

static int carry_idempotency(lp__compaction *merge, const lp__record *record)
{
    int64_t expires_ms = lp__record_idempotency(record).expires_ms;
    if (expires_ms <= merge->keys_over_ms)
        return LP_OK;
    merge->out->idempotency_bytes += record->size;
    if (expires_ms > merge->out->idempotency_until)
        merge->out->idempotency_until = expires_ms;
    return copy_record(merge, record);
}

int lp__carry(lp__journal *journal, const lp__record *record)
{
    lp__compaction *merge = journal->compaction;
    int status = LP_OK;
    switch (record->type) {
    case LP__RECORD_EVENT:
        status = carry_event(journal, record);
        break;
    case LP__RECORD_REMOVE:
        status = carry_removals(journal, record);
        break;
    case LP__RECORD_HORIZON:
        status = carry_horizon(journal, record);
        break;
    case LP__RECORD_IDEMPOTENCY:
        status = carry_idempotency(merge, record);
        break;
    default:
        break;
    }
    if (status == LP_OK && merge->batch_bytes >= BATCH_BYTES)
        status = lp__carry_commit(merge);
    return status;
}
