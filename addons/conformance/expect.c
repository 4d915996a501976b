/* What a store must have, noted as batches are handed to it, and what a replay of it pushed. */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *grown(void *array, size_t *capacity, size_t count, size_t element)
{
    if (count < *capacity)
        return array;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    array = realloc(array, wanted * element);
    if (array)
        *capacity = wanted;
    return array;
}

static bool same(lp_str a, lp_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

/* ---- marks: horizons and keys -----------------------------------------------------------------
 */

static lp__mark *find(const lp__marks *marks, lp_str name)
{
    for (size_t i = 0; i < marks->count; i++)
        if (same((lp_str){marks->items[i].name, marks->items[i].len}, name))
            return &marks->items[i];
    return NULL;
}

const lp__mark *lp__marks_find(const lp__marks *marks, lp_str name)
{
    return find(marks, name);
}

bool lp__marks_set(lp__marks *marks, lp_str name, const lp_idempotency *record)
{
    lp__mark *mark = find(marks, name);
    if (!mark) {
        lp__mark *items = grown(marks->items, &marks->capacity, marks->count, sizeof(*items));
        if (!items)
            return false;
        marks->items = items;
        char *copy = malloc(name.len + 1);
        if (!copy)
            return false;
        if (name.len)
            memcpy(copy, name.base, name.len);
        mark = &items[marks->count++];
        mark->name = copy;
        mark->len = name.len;
    }
    mark->record = *record;
    return true;
}

void lp__marks_clear(lp__marks *marks)
{
    for (size_t i = 0; i < marks->count; i++)
        free(marks->items[i].name);
    free(marks->items);
    memset(marks, 0, sizeof(*marks));
}

bool lp__marks_cover(const lp__marks *horizons, const lp_event *event)
{
    const lp__mark *floor = find(horizons, (lp_str){"", 0});
    const lp__mark *own = find(horizons, lp_event_category(event));
    uint64_t seq = lp_event_seq(event);
    return (floor && seq <= floor->record.seq) || (own && seq <= own->record.seq);
}

/* ---- what a replay pushed ---------------------------------------------------------------------
 */

static int no_memory(lp__seen *seen)
{
    seen->out_of_memory = true;
    return LP_ENOMEM;
}

static int see_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    lp__seen *seen = ctx;
    if (seen->cancel_after && seen->count >= seen->cancel_after)
        return LP_ECANCELED;
    lp_event *event;
    int status = lp_event_new(id, category, data, &event);
    if (status != LP_OK)
        return status == LP_ENOMEM ? no_memory(seen) : status;
    lp_event **events = grown(seen->events, &seen->capacity, seen->count, sizeof(lp_event *));
    if (!events) {
        lp_event_unref(event);
        return no_memory(seen);
    }
    seen->events = events;
    events[seen->count++] = event;
    return lp_event_timestamp_ms(event) <= seen->expired_ms ? LP_SKIPPED : LP_OK;
}

static int see_removal(void *ctx, uint64_t seq)
{
    lp__seen *seen = ctx;
    size_t kept = 0;
    for (size_t i = 0; i < seen->count; i++)
        if (lp_event_seq(seen->events[i]) == seq)
            lp_event_unref(seen->events[i]);
        else
            seen->events[kept++] = seen->events[i];
    seen->count = kept;
    return LP_OK;
}

static int see_horizon(void *ctx, lp_str category, uint64_t seq)
{
    lp__seen *seen = ctx;
    const lp__mark *before = find(&seen->horizons, category);
    if (before && before->record.seq >= seq)
        return LP_OK;
    return lp__marks_set(&seen->horizons, category, &(lp_idempotency){.seq = seq})
               ? LP_OK
               : no_memory(seen);
}

static int see_key(void *ctx, const lp_idempotency *record)
{
    lp__seen *seen = ctx;
    return lp__marks_set(&seen->keys, record->key, record) ? LP_OK : no_memory(seen);
}

static int see_highest(void *ctx, uint64_t seq)
{
    lp__seen *seen = ctx;
    if (seq > seen->highest)
        seen->highest = seq;
    return LP_OK;
}

static int see_loss(void *ctx, uint64_t records, const char *detail)
{
    lp__seen *seen = ctx;
    seen->losses += records ? records : 1;
    snprintf(seen->loss, sizeof(seen->loss), "%s", detail ? detail : "");
    return LP_OK;
}

lp_store_sink lp__seen_sink(lp__seen *seen)
{
    return (lp_store_sink){.ctx = seen,
                           .event = see_event,
                           .removal = see_removal,
                           .horizon = see_horizon,
                           .idempotency = see_key,
                           .highest = see_highest,
                           .loss = see_loss,
                           .expired_ms = seen->expired_ms,
                           .ring_size = seen->ring_size};
}

void lp__seen_clear(lp__seen *seen)
{
    for (size_t i = 0; i < seen->count; i++)
        lp_event_unref(seen->events[i]);
    free(seen->events);
    lp__marks_clear(&seen->horizons);
    lp__marks_clear(&seen->keys);
    memset(seen, 0, sizeof(*seen));
    seen->expired_ms = INT64_MIN;
}

/* ---- what must be there -----------------------------------------------------------------------
 */

lp__expected *lp__expect_find(lp__kit *kit, uint64_t seq)
{
    size_t low = 0, high = kit->expected_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lp_event_seq(kit->expected[middle].event) < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < kit->expected_count && lp_event_seq(kit->expected[low].event) == seq
               ? &kit->expected[low]
               : NULL;
}

static void note_event(lp__kit *kit, size_t i, int status)
{
    lp__expected *expected =
        grown(kit->expected, &kit->expected_capacity, kit->expected_count, sizeof(*expected));
    if (!expected) {
        lp__kit_fail(kit, "no memory");
        return;
    }
    kit->expected = expected;
    lp__fate fate = status == LP_EINDOUBT            ? LP__DOUBT
                    : status != LP_OK                ? LP__REFUSED
                    : lp_batch_failed(kit->batch, i) ? LP__REFUSED
                                                     : LP__KEPT;
    /* The event is immutable; the cast gives this list a reference of its own. */
    lp_event *event = lp_event_ref((lp_event *)lp_batch_event(kit->batch, i));
    expected[kit->expected_count++] = (lp__expected){event, fate, kit->batches};
}

static void note_removal(lp__kit *kit, lp_removal removal, int status)
{
    lp__expected *expected = lp__expect_find(kit, removal.seq);
    if (!expected || expected->fate == LP__GONE || expected->fate == LP__REFUSED)
        return;
    if (status == LP_EINDOUBT)
        expected->fate = LP__DOUBT;
    else if (removal.reason == LP_REMOVED_RETRIEVED)
        expected->fate = lp__kit_claims(kit, LP_CLAIM_REMOVALS) ? LP__GONE : LP__LOOSE;
    else
        expected->fate = LP__LOOSE;
}

void lp__expect_batch(lp__kit *kit, int status)
{
    const lp_batch *batch = kit->batch;
    kit->batches++;
    for (size_t i = 0; i < lp_batch_event_count(batch); i++)
        note_event(kit, i, status);
    if (status != LP_OK && status != LP_EINDOUBT)
        return;
    for (size_t i = 0; i < lp_batch_removal_count(batch); i++)
        note_removal(kit, lp_batch_removal(batch, i), status);
    if (status != LP_OK)
        return;
    bool ok = true;
    for (size_t i = 0; i < lp_batch_horizon_count(batch); i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        ok = ok &&
             lp__marks_set(&kit->horizons, horizon.category, &(lp_idempotency){.seq = horizon.seq});
    }
    for (size_t i = 0; i < lp_batch_idempotency_count(batch); i++) {
        lp_idempotency record = lp_batch_idempotency(batch, i);
        ok = ok && lp__marks_set(&kit->keys, record.key, &record);
    }
    if (!ok)
        lp__kit_fail(kit, "no memory");
    kit->highest = lp_batch_highest(batch);
}

static bool was_seen(const lp__seen *seen, uint64_t seq)
{
    size_t low = 0, high = seen->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lp_event_seq(seen->events[middle]) < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < seen->count && lp_event_seq(seen->events[low]) == seq;
}

void lp__expect_settle(lp__kit *kit)
{
    for (size_t i = 0; i < kit->expected_count; i++)
        if (kit->expected[i].fate == LP__DOUBT)
            kit->expected[i].fate =
                was_seen(&kit->seen, lp_event_seq(kit->expected[i].event)) ? LP__KEPT : LP__GONE;
}

void lp__expect_clear(lp__kit *kit)
{
    for (size_t i = 0; i < kit->expected_count; i++)
        lp_event_unref(kit->expected[i].event);
    free(kit->expected);
    kit->expected = NULL;
    kit->expected_count = kit->expected_capacity = 0;
    lp__marks_clear(&kit->horizons);
    lp__marks_clear(&kit->keys);
    kit->highest = 0;
}

/* ---- comparing --------------------------------------------------------------------------------
 */

static void fail_event(lp__kit *kit, const char *when, size_t i, const char *what)
{
    const lp__expected *expected = &kit->expected[i];
    char id[LP_ID_TEXT_LEN + 1];
    lp_id_format(lp_event_id(expected->event), id);
    lp__kit_fail(kit,
                 "%s: event %zu of %zu (batch %llu, id %s, %zu bytes of data, category of %zu "
                 "bytes) %s",
                 when, i + 1, kit->expected_count, (unsigned long long)expected->batch, id,
                 lp_event_data(expected->event).len, lp_event_category(expected->event).len, what);
}

static const char *difference(const lp_event *found, const lp_event *wanted)
{
    lp_id a = lp_event_id(found), b = lp_event_id(wanted);
    if (memcmp(a.bytes, b.bytes, sizeof(a.bytes)) != 0)
        return "came back with another id";
    if (!same(lp_event_category(found), lp_event_category(wanted)))
        return "came back with another category";
    if (!same(lp_event_data(found), lp_event_data(wanted)))
        return "came back with other data";
    return NULL;
}

/* One event that was pushed, against the one that is expected. */
static void check_found(lp__kit *kit, const char *when, size_t i, const lp_event *found)
{
    const char *wrong = difference(found, kit->expected[i].event);
    if (!wrong && kit->expected[i].fate == LP__GONE)
        wrong = "was removed by its retrieval and came back";
    if (!wrong && kit->expected[i].fate == LP__REFUSED)
        wrong = "was refused, or its batch had failed, and it came back";
    if (wrong)
        fail_event(kit, when, i, wrong);
}

static void check_events(lp__kit *kit, const char *when)
{
    const lp__seen *seen = &kit->seen;
    size_t at = 0;
    for (size_t i = 0; i < kit->expected_count && lp__kit_going(kit); i++) {
        const lp_event *wanted = kit->expected[i].event;
        bool covered = lp__marks_cover(&kit->horizons, wanted);
        if (at < seen->count && lp_event_seq(seen->events[at]) == lp_event_seq(wanted)) {
            if (!covered)
                check_found(kit, when, i, seen->events[at]);
            at++;
        } else if (kit->expected[i].fate == LP__KEPT && !covered) {
            fail_event(kit, when, i, "was acknowledged and is missing");
        }
    }
    if (at < seen->count)
        lp__kit_fail(kit, "%s: an event was pushed that was never published (sequence number %llu)",
                     when, (unsigned long long)lp_event_seq(seen->events[at]));
}

/* Of a batch that was never decided, all must be there or nothing. */
static void check_whole_batches(lp__kit *kit, const char *when)
{
    if (!lp__kit_claims(kit, LP_CLAIM_ATOMIC))
        return;
    for (size_t i = 1; i < kit->expected_count && lp__kit_going(kit); i++) {
        const lp__expected *a = &kit->expected[i - 1], *b = &kit->expected[i];
        if (a->fate == LP__DOUBT && b->fate == LP__DOUBT && a->batch == b->batch &&
            was_seen(&kit->seen, lp_event_seq(a->event)) !=
                was_seen(&kit->seen, lp_event_seq(b->event)))
            fail_event(kit, when, i,
                       "and the one before it belong to one batch, and only one of them is there");
    }
}

static void check_marks(lp__kit *kit, const char *when)
{
    const lp__mark *floor = find(&kit->seen.horizons, (lp_str){"", 0});
    for (size_t i = 0; i < kit->horizons.count && lp__kit_claims(kit, LP_CLAIM_HORIZONS); i++) {
        const lp__mark *wanted = &kit->horizons.items[i];
        const lp__mark *found = find(&kit->seen.horizons, (lp_str){wanted->name, wanted->len});
        if (!found && floor && wanted->len && floor->record.seq >= wanted->record.seq)
            continue; /* below the floor it says nothing, and may be forgotten */
        if (!found || found->record.seq != wanted->record.seq)
            lp__kit_fail(kit, "%s: the %s is %llu, expected %llu (0: none was pushed)", when,
                         wanted->len ? "horizon of a category" : "floor (the horizon of \"\")",
                         (unsigned long long)(found ? found->record.seq : 0),
                         (unsigned long long)wanted->record.seq);
    }
    for (size_t i = 0; i < kit->keys.count && lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY); i++) {
        const lp__mark *wanted = &kit->keys.items[i];
        const lp__mark *found = find(&kit->seen.keys, (lp_str){wanted->name, wanted->len});
        if (wanted->record.expires_ms <= LP__EXPIRED_MS && !found)
            continue; /* expired: may be forgotten */
        if (!found)
            lp__kit_fail(kit, "%s: idempotency key %zu of %zu is missing", when, i + 1,
                         kit->keys.count);
        else if (found->record.digest != wanted->record.digest ||
                 found->record.seq != wanted->record.seq ||
                 found->record.count != wanted->record.count ||
                 found->record.expires_ms != wanted->record.expires_ms)
            lp__kit_fail(kit, "%s: idempotency key %zu of %zu came back with other figures", when,
                         i + 1, kit->keys.count);
    }
}

void lp__expect_check(lp__kit *kit, const char *when)
{
    if (!lp__kit_going(kit))
        return;
    if (kit->seen.losses && !kit->in_doubt)
        lp__kit_fail(kit, "%s: %llu records were told as lost, and nothing was damaged: %s", when,
                     (unsigned long long)kit->seen.losses, kit->seen.loss);
    check_events(kit, when);
    check_whole_batches(kit, when);
    check_marks(kit, when);
    if (kit->seen.highest > kit->highest && kit->seen.highest >= kit->seq)
        lp__kit_fail(kit, "%s: the highest sequence number is %llu, which was never given", when,
                     (unsigned long long)kit->seen.highest);
    if (lp__kit_claims(kit, LP_CLAIM_HIGHEST) && kit->seen.highest < kit->highest)
        lp__kit_fail(kit, "%s: the highest sequence number is %llu, expected %llu", when,
                     (unsigned long long)kit->seen.highest, (unsigned long long)kit->highest);
}
