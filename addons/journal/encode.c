/* From a batch to the bytes of its records. */
#include "inside.h"

#include <stdlib.h>

/* Larger events are refused: a reader has to hold a record in memory. */
#define EVENT_MAX ((size_t)1 << 30)
/* More than this is only needed while much is unsynced. */
#define BUFFER_LARGE ((size_t)2 << 20)
#define BUFFER_MIN   ((size_t)64 << 10)

int lp__journal_reserve(lp__journal *journal, size_t len)
{
    if (len <= journal->buffer_capacity)
        return LP_OK;
    size_t capacity = journal->buffer_capacity == 0 ? BUFFER_MIN : journal->buffer_capacity;
    while (capacity < len)
        capacity += capacity / 2;
    uint8_t *buffer = realloc(journal->buffer, capacity);
    if (buffer == NULL)
        return LP_ENOMEM;
    journal->buffer = buffer;
    journal->buffer_capacity = capacity;
    return LP_OK;
}

void lp__journal_give_back(lp__journal *journal)
{
    if (journal->kept > 0 || journal->buffer_capacity <= BUFFER_LARGE)
        return;
    uint8_t *buffer = realloc(journal->buffer, BUFFER_MIN);
    if (buffer == NULL)
        return;
    journal->buffer = buffer;
    journal->buffer_capacity = BUFFER_MIN;
}

/* Where the batch is written, and what its commit record will say. */
struct encoder {
    lp__journal *journal;
    size_t start, at; /* in the journal's buffer */
    uint32_t batch, seed, records;
};

/* Room for a payload. NULL: no memory. */
static uint8_t *begin(struct encoder *encoder, size_t length)
{
    size_t need = encoder->at + (size_t)lp__record_size(length);
    if (need > encoder->journal->buffer_capacity &&
        lp__journal_reserve(encoder->journal, need) != LP_OK)
        return NULL;
    return encoder->journal->buffer + encoder->at + LP__RECORD_HEADER;
}

static void finish(struct encoder *encoder, lp__record_type type, size_t length)
{
    lp__record_seal(encoder->journal->buffer + encoder->at, type, (uint32_t)length, encoder->batch,
                    encoder->seed);
    encoder->at += (size_t)lp__record_size(length);
    encoder->records++;
}

/* Events that can never be kept are refused. All are looked at before any is written: with one of a
 * group all of it is refused. */
static void refuse_events(lp_batch *batch, uint64_t last)
{
    for (size_t i = 0, n = lp_batch_event_count(batch); i < n; i++) {
        if (lp_batch_failed(batch, i))
            continue;
        const lp_event *event = lp_batch_event(batch, i);
        size_t length = LP__EVENT_FIXED + lp_event_category(event).len + lp_event_data(event).len;
        if (lp_event_seq(event) <= last)
            lp_batch_fail(batch, i, LP_EORDER, "journal: an event with a later id is kept already");
        else if (length > EVENT_MAX)
            lp_batch_fail(batch, i, LP_ETOOBIG, "journal: an event is larger than 1 GiB");
    }
}

/* Events were written by another thread a while ago: the processor is told of the next ones early.
 */
static void look_ahead(const lp_batch *batch, size_t i)
{
    enum { AHEAD = 4, LINE = 64, LINES = 5 };
    const char *event = (const char *)lp_batch_event(batch, i + AHEAD);
    for (size_t line = 0; event != NULL && line < LINES; line++)
        __builtin_prefetch(event + line * LINE);
}

/* `*last` gets the last sequence number. */
static int encode_events(struct encoder *encoder, const lp_batch *batch, uint64_t *last)
{
    for (size_t i = 0, n = lp_batch_event_count(batch); i < n; i++) {
        if (lp_batch_failed(batch, i))
            continue;
        look_ahead(batch, i);
        const lp_event *event = lp_batch_event(batch, i);
        lp_id id = lp_event_id(event);
        lp_str category = lp_event_category(event), data = lp_event_data(event);
        size_t length = LP__EVENT_FIXED + category.len + data.len;
        uint8_t *out = begin(encoder, length);
        if (out == NULL)
            return LP_ENOMEM;
        *last = lp_event_seq(event);
        memcpy(out, id.bytes, sizeof(id.bytes));
        lp__put_u32(out + 16, (uint32_t)category.len);
        memcpy(out + LP__EVENT_FIXED, category.base, category.len);
        memcpy(out + LP__EVENT_FIXED + category.len, data.base, data.len);
        finish(encoder, LP__RECORD_EVENT, length);
    }
    return LP_OK;
}

/* Horizons cover all removals but one kind, and of that kind only what some file holds counts. */
static int encode_removals(struct encoder *encoder, const lp_batch *batch, uint64_t last_seq)
{
    const lp__journal *journal = encoder->journal;
    size_t length = 0, count = lp_batch_removal_count(batch);
    uint8_t *out = count > 0 ? begin(encoder, 8 * count) : NULL;
    if (count > 0 && out == NULL)
        return LP_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        lp_removal removal = lp_batch_removal(batch, i);
        size_t segment, event;
        if (removal.reason != LP_REMOVED_RETRIEVED)
            continue;
        bool is_new = removal.seq > journal->last_seq && removal.seq <= last_seq;
        if (!is_new && (!lp__segments_find(&journal->segments, removal.seq, &segment, &event) ||
                        lp__segment_is_dead(journal->segments.at[segment], event)))
            continue;
        lp__put_u64(out + length, removal.seq);
        length += 8;
    }
    if (length > 0)
        finish(encoder, LP__RECORD_REMOVE, length);
    return LP_OK;
}

static int encode_horizons(struct encoder *encoder, const lp_batch *batch)
{
    for (size_t i = 0, n = lp_batch_horizon_count(batch); i < n; i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        size_t length = LP__HORIZON_FIXED + horizon.category.len;
        uint8_t *out = begin(encoder, length);
        if (out == NULL)
            return LP_ENOMEM;
        lp__put_u64(out, horizon.seq);
        if (horizon.category.len > 0)
            memcpy(out + LP__HORIZON_FIXED, horizon.category.base, horizon.category.len);
        finish(encoder, LP__RECORD_HORIZON, length);
    }
    return LP_OK;
}

static int encode_idempotency(struct encoder *encoder, const lp_batch *batch)
{
    for (size_t i = 0, n = lp_batch_idempotency_count(batch); i < n; i++) {
        lp_idempotency record = lp_batch_idempotency(batch, i);
        size_t length = LP__IDEMPOTENCY_FIXED + record.key.len;
        if (record.key.len == 0)
            continue;
        uint8_t *out = begin(encoder, length);
        if (out == NULL)
            return LP_ENOMEM;
        lp__put_u64(out, record.digest);
        lp__put_u64(out + 8, record.seq);
        lp__put_u64(out + 16, (uint64_t)record.expires_ms);
        lp__put_u32(out + 24, record.count);
        memcpy(out + LP__IDEMPOTENCY_FIXED, record.key.base, record.key.len);
        finish(encoder, LP__RECORD_IDEMPOTENCY, length);
    }
    return LP_OK;
}

static int encode_commit(struct encoder *encoder, uint64_t highest)
{
    uint8_t *out = begin(encoder, LP__COMMIT_SIZE);
    if (out == NULL)
        return LP_ENOMEM;
    lp__put_u32(out, encoder->records);
    lp__put_u32(out + 4, (uint32_t)((encoder->at - encoder->start) / 8));
    lp__put_u64(out + 8, highest);
    finish(encoder, LP__RECORD_COMMIT, LP__COMMIT_SIZE);
    return LP_OK;
}

int lp__journal_encode(lp__journal *journal, lp_batch *batch, uint32_t number, uint32_t seed,
                       size_t *len)
{
    size_t start = LP__SEGMENT_HEADER + journal->kept;
    struct encoder encoder = {
        .journal = journal, .start = start, .at = start, .batch = number, .seed = seed};
    uint64_t last = journal->last_seq;
    *len = 0;
    refuse_events(batch, last);
    int status = encode_events(&encoder, batch, &last);
    if (status == LP_OK)
        status = encode_removals(&encoder, batch, last);
    if (status == LP_OK)
        status = encode_horizons(&encoder, batch);
    if (status == LP_OK)
        status = encode_idempotency(&encoder, batch);
    uint64_t highest = lp_batch_highest(batch);
    if (highest < last)
        highest = last;
    if (highest < journal->highest)
        highest = journal->highest; /* what said so may be damaged, or lost, one day */
    if (status != LP_OK || (encoder.records == 0 && highest <= journal->highest))
        return status;
    status = encode_commit(&encoder, highest);
    if (status == LP_OK)
        *len = encoder.at - encoder.start;
    return status;
}
