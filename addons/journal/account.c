/* Keeps the memory of segments in step with what is committed. */
#include "inside.h"

static int account_event(lp__journal *journal, lp__segment *segment, const lp__record *record)
{
    uint64_t seq = lp__record_seq(record);
    if (seq <= journal->last_seq)
        return LP_OK; /* out of order: start passes it over too */
    journal->last_seq = seq;
    return lp__segment_add_event(segment, seq, record->size);
}

/* A removal is needed as long as its event lies in some file. */
static int account_removals(lp__journal *journal, lp__segment *segment, const lp__record *record)
{
    for (uint32_t at = 0; at < record->length; at += 8) {
        size_t where, event;
        if (!lp__segments_find(&journal->segments, lp__get_u64(record->payload + at), &where,
                               &event))
            continue;
        lp__segment *target = journal->segments.at[where];
        if (!lp__segment_kill(target, event))
            continue;
        int status = lp__segment_add_target(segment, target->header.number, 1);
        if (status != LP_OK)
            return status;
    }
    return LP_OK;
}

void lp__journal_raise_highest(lp__journal *journal, lp__segment *segment, uint64_t seq)
{
    if (seq > segment->highest)
        segment->highest = seq;
    if (seq > journal->highest)
        journal->highest = seq;
}

int lp__journal_account(lp__journal *journal, lp__segment *segment, const lp__record *record)
{
    switch (record->type) {
    case LP__RECORD_EVENT:
        return account_event(journal, segment, record);
    case LP__RECORD_REMOVE:
        return account_removals(journal, segment, record);
    case LP__RECORD_HORIZON:
        return lp__horizons_raise(&journal->horizons, lp__record_category(record),
                                  lp__get_u64(record->payload), segment, record->size);
    case LP__RECORD_IDEMPOTENCY: {
        int64_t expires_ms = lp__record_idempotency(record).expires_ms;
        segment->idempotency_bytes += record->size;
        if (expires_ms > segment->idempotency_until)
            segment->idempotency_until = expires_ms;
        return LP_OK;
    }
    case LP__RECORD_COMMIT:
        lp__journal_raise_highest(journal, segment, lp__get_u64(record->payload + 8));
        return LP_OK;
    default:
        return LP_OK;
    }
}

void lp__journal_account_all(lp__journal *journal, lp__segment *segment, const uint8_t *bytes,
                             size_t len)
{
    for (size_t at = 0; at < len;) {
        lp__record record;
        lp__record_peek(bytes + at, &record);
        if (lp__journal_account(journal, segment, &record) != LP_OK)
            journal->blind = true;
        at += (size_t)record.size;
    }
}
