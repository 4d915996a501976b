/* From a batch to the bytes of its records. */
#include "inside.h"

#include <stdlib.h>

/* Larger events are refused: a reader has to hold a record in memory. */
#define EVENT_MAX ((size_t)1 << 30)

int lp__journal_reserve(lp__journal *journal, size_t len)
{
    if (len <= journal->buffer_capacity)
        return LP_OK;
    size_t capacity = journal->buffer_capacity == 0 ? 65536 : journal->buffer_capacity;
    while (capacity < len)
        capacity += capacity / 2;
    uint8_t *buffer = realloc(journal->buffer, capacity);
    if (buffer == NULL)
        return LP_ENOMEM;
    journal->buffer = buffer;
    journal->buffer_capacity = capacity;
    return LP_OK;
}

static size_t event_size(const lp_event *event)
{
    return (size_t)lp__record_size(LP__EVENT_FIXED + lp_event_category(event).len +
                                   lp_event_data(event).len);
}

size_t lp__journal_encoded_max(const lp_batch *batch)
{
    size_t size = LP__RECORD_HEADER + LP__COMMIT_SIZE;
    for (size_t i = 0, n = lp_batch_event_count(batch); i < n; i++) {
        size_t event = event_size(lp_batch_event(batch, i));
        if (event <= EVENT_MAX)
            size += event;
    }
    size_t removals = lp_batch_removal_count(batch);
    if (removals > 0)
        size += LP__RECORD_HEADER + 8 * removals;
    for (size_t i = 0, n = lp_batch_horizon_count(batch); i < n; i++)
        size +=
            (size_t)lp__record_size(LP__HORIZON_FIXED + lp_batch_horizon(batch, i).category.len);
    for (size_t i = 0, n = lp_batch_idempotency_count(batch); i < n; i++)
        size +=
            (size_t)lp__record_size(LP__IDEMPOTENCY_FIXED + lp_batch_idempotency(batch, i).key.len);
    return size;
}

/* Where the batch is written, and what its commit record will say. */
struct encoder {
    uint8_t *start, *at;
    uint32_t batch, seed, records;
};

static uint8_t *payload_of(const struct encoder *encoder)
{
    return encoder->at + LP__RECORD_HEADER;
}

static void finish(struct encoder *encoder, lp__record_type type, size_t length)
{
    lp__record_seal(encoder->at, type, (uint32_t)length, encoder->batch, encoder->seed);
    encoder->at += lp__record_size(length);
    encoder->records++;
}

static void encode_event(struct encoder *encoder, const lp_event *event)
{
    uint8_t *out = payload_of(encoder);
    lp_id id = lp_event_id(event);
    lp_str category = lp_event_category(event), data = lp_event_data(event);
    memcpy(out, id.bytes, sizeof(id.bytes));
    lp__put_u32(out + 16, (uint32_t)category.len);
    memcpy(out + LP__EVENT_FIXED, category.base, category.len);
    memcpy(out + LP__EVENT_FIXED + category.len, data.base, data.len);
    finish(encoder, LP__RECORD_EVENT, LP__EVENT_FIXED + category.len + data.len);
}

/* Events that cannot be kept are refused one by one; the last sequence number of the others. */
static uint64_t encode_events(lp__journal *journal, lp_batch *batch, struct encoder *encoder)
{
    uint64_t last = journal->last_seq;
    for (size_t i = 0, n = lp_batch_event_count(batch); i < n; i++) {
        const lp_event *event = lp_batch_event(batch, i);
        if (lp_batch_failed(batch, i))
            continue;
        if (lp_event_seq(event) <= last) {
            lp_batch_fail(batch, i, LP_EORDER, "journal: an event with a later id is kept already");
        } else if (event_size(event) > EVENT_MAX) {
            lp_batch_fail(batch, i, LP_ETOOBIG, "journal: an event is larger than 1 GiB");
        } else {
            last = lp_event_seq(event);
            encode_event(encoder, event);
        }
    }
    return last;
}

/* Horizons cover all removals but one kind, and of that kind only what some file holds counts. */
static void encode_removals(lp__journal *journal, const lp_batch *batch, struct encoder *encoder,
                            uint64_t last_seq)
{
    size_t length = 0;
    for (size_t i = 0, n = lp_batch_removal_count(batch); i < n; i++) {
        lp_removal removal = lp_batch_removal(batch, i);
        size_t segment, event;
        if (removal.reason != LP_REMOVED_RETRIEVED)
            continue;
        bool is_new = removal.seq > journal->last_seq && removal.seq <= last_seq;
        if (!is_new && (!lp__segments_find(&journal->segments, removal.seq, &segment, &event) ||
                        lp__segment_is_dead(journal->segments.at[segment], event)))
            continue;
        lp__put_u64(payload_of(encoder) + length, removal.seq);
        length += 8;
    }
    if (length > 0)
        finish(encoder, LP__RECORD_REMOVE, length);
}

static void encode_horizons(const lp_batch *batch, struct encoder *encoder)
{
    for (size_t i = 0, n = lp_batch_horizon_count(batch); i < n; i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        uint8_t *out = payload_of(encoder);
        lp__put_u64(out, horizon.seq);
        if (horizon.category.len > 0)
            memcpy(out + LP__HORIZON_FIXED, horizon.category.base, horizon.category.len);
        finish(encoder, LP__RECORD_HORIZON, LP__HORIZON_FIXED + horizon.category.len);
    }
}

static void encode_idempotency(const lp_batch *batch, struct encoder *encoder)
{
    for (size_t i = 0, n = lp_batch_idempotency_count(batch); i < n; i++) {
        lp_idempotency record = lp_batch_idempotency(batch, i);
        uint8_t *out = payload_of(encoder);
        if (record.key.len == 0)
            continue;
        lp__put_u64(out, record.digest);
        lp__put_u64(out + 8, record.seq);
        lp__put_u64(out + 16, (uint64_t)record.expires_ms);
        lp__put_u32(out + 24, record.count);
        memcpy(out + LP__IDEMPOTENCY_FIXED, record.key.base, record.key.len);
        finish(encoder, LP__RECORD_IDEMPOTENCY, LP__IDEMPOTENCY_FIXED + record.key.len);
    }
}

int lp__journal_encode(lp__journal *journal, lp_batch *batch, uint32_t number, uint32_t seed,
                       size_t *len)
{
    size_t before = LP__SEGMENT_HEADER + journal->kept;
    int status = lp__journal_reserve(journal, before + lp__journal_encoded_max(batch));
    if (status != LP_OK)
        return status;
    struct encoder encoder = {.start = journal->buffer + before, .batch = number, .seed = seed};
    encoder.at = encoder.start;
    uint64_t last = encode_events(journal, batch, &encoder);
    encode_removals(journal, batch, &encoder, last);
    encode_horizons(batch, &encoder);
    encode_idempotency(batch, &encoder);

    uint64_t highest = lp_batch_highest(batch);
    if (highest < last)
        highest = last;
    *len = 0;
    if (encoder.records == 0 && highest <= journal->highest)
        return LP_OK;
    uint8_t *out = payload_of(&encoder);
    lp__put_u32(out, encoder.records);
    lp__put_u32(out + 4, (uint32_t)((size_t)(encoder.at - encoder.start) / 8));
    lp__put_u64(out + 8, highest);
    finish(&encoder, LP__RECORD_COMMIT, LP__COMMIT_SIZE);
    *len = (size_t)(encoder.at - encoder.start);
    return LP_OK;
}
