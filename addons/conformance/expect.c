/* What a store must have, noted as batches are handed to it, and compared with what a replay of it
 * pushed. One thread. */
#include "kit.h"

#include <stdlib.h>
#include <string.h>

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
        lp__grown(kit->expected, &kit->expected_capacity, kit->expected_count, sizeof(*expected));
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
    if (removal.reason != LP_REMOVED_RETRIEVED || !lp__kit_claims(kit, LP_CLAIM_REMOVALS))
        expected->fate = LP__LOOSE;
    else if (status != LP_EINDOUBT)
        expected->fate = LP__GONE;
    else if (expected->fate == LP__KEPT)
        expected->fate = LP__LEAVING;
}

/* Horizons and keys of a batch, among those that are kept or those in doubt. */
static void note_marks(lp__kit *kit, lp__marks *horizons, lp__marks *keys)
{
    const lp_batch *batch = kit->batch;
    bool ok = true;
    for (size_t i = 0; ok && i < lp_batch_horizon_count(batch); i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        ok = lp__marks_set(horizons, horizon.category, &(lp_idempotency){.seq = horizon.seq});
    }
    for (size_t i = 0; ok && i < lp_batch_idempotency_count(batch); i++) {
        lp_idempotency record = lp_batch_idempotency(batch, i);
        ok = lp__marks_set(keys, record.key, &record);
    }
    if (!ok)
        lp__kit_fail(kit, "no memory");
}

void lp__expect_batch(lp__kit *kit, int status)
{
    const lp_batch *batch = kit->batch;
    kit->batches++;
    if (lp_batch_forgotten_keys_ms(batch) > kit->forgotten_keys_ms)
        kit->forgotten_keys_ms = lp_batch_forgotten_keys_ms(batch);
    for (size_t i = 0; i < lp_batch_event_count(batch); i++)
        note_event(kit, i, status);
    if (status != LP_OK && status != LP_EINDOUBT)
        return;
    for (size_t i = 0; i < lp_batch_removal_count(batch); i++)
        note_removal(kit, lp_batch_removal(batch, i), status);
    if (status == LP_OK) {
        note_marks(kit, &kit->horizons, &kit->keys);
        if (lp_batch_highest(batch) > kit->highest)
            kit->highest = lp_batch_highest(batch);
    } else {
        note_marks(kit, &kit->doubt_horizons, &kit->doubt_keys);
        kit->doubts++;
    }
}

static bool same_record(const lp_idempotency *a, const lp_idempotency *b)
{
    return a->digest == b->digest && a->seq == b->seq && a->count == b->count &&
           a->expires_ms == b->expires_ms;
}

/* Whether a mark was seen just as it is here. */
static bool is_seen(const lp__marks *seen, const lp__mark *mark)
{
    const lp__mark *found = lp__marks_find(seen, (lp_str){mark->name, mark->len});
    return found && same_record(&found->record, &mark->record);
}

static void settle_marks(lp__kit *kit, const lp__marks *seen, lp__marks *doubt, lp__marks *kept)
{
    for (size_t i = 0; i < doubt->count; i++) {
        const lp__mark *mark = &doubt->items[i];
        if (is_seen(seen, mark) &&
            !lp__marks_set(kept, (lp_str){mark->name, mark->len}, &mark->record))
            lp__kit_fail(kit, "no memory");
    }
    lp__marks_clear(doubt);
}

void lp__expect_settle(lp__kit *kit)
{
    for (size_t i = 0; i < kit->expected_count; i++)
        if (kit->expected[i].fate == LP__DOUBT || kit->expected[i].fate == LP__LEAVING)
            kit->expected[i].fate = lp__seen_has(&kit->seen, lp_event_seq(kit->expected[i].event))
                                        ? LP__KEPT
                                        : LP__GONE;
    settle_marks(kit, &kit->seen.horizons, &kit->doubt_horizons, &kit->horizons);
    settle_marks(kit, &kit->seen.keys, &kit->doubt_keys, &kit->keys);
    kit->doubts = 0;
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
    lp__marks_clear(&kit->doubt_horizons);
    lp__marks_clear(&kit->doubt_keys);
    kit->doubts = 0;
    kit->in_doubt = false;
    kit->highest = 0;
    kit->forgotten_keys_ms = LP__EXPIRED_MS;
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

const char *lp__expect_difference(const lp_event *found, const lp_event *wanted)
{
    lp_id a = lp_event_id(found), b = lp_event_id(wanted);
    if (memcmp(a.bytes, b.bytes, sizeof(a.bytes)) != 0)
        return "came back with another id";
    if (!lp__same(lp_event_category(found), lp_event_category(wanted)))
        return "came back with another category";
    if (!lp__same(lp_event_data(found), lp_event_data(wanted)))
        return "came back with other data";
    return NULL;
}

static bool is_reached(const lp__marks *horizons, const lp_event *event)
{
    const lp__mark *own = lp__marks_find(horizons, lp_event_category(event));
    return own && lp_event_seq(event) <= own->record.seq;
}

/* Whether a horizon that was kept keeps the event away. The floor does not: it tells that events
 * may be missing, and a manager takes those that are pushed in spite of it. */
static bool is_kept_away(const lp__kit *kit, const lp__expected *expected)
{
    return expected->fate == LP__LOOSE && lp__kit_claims(kit, LP_CLAIM_HORIZONS) &&
           is_reached(&kit->horizons, expected->event);
}

/* One event that was pushed, against the one that is expected. */
static void check_found(lp__kit *kit, const char *when, size_t i, const lp_event *found)
{
    const char *wrong = lp__expect_difference(found, kit->expected[i].event);
    if (!wrong && kit->expected[i].fate == LP__GONE)
        wrong = "was removed by its retrieval and came back";
    if (!wrong && kit->expected[i].fate == LP__REFUSED)
        wrong = "was refused, or its batch had failed, and it came back";
    if (!wrong && is_kept_away(kit, &kit->expected[i]))
        wrong = "was told as removed, its category's horizon was forgotten, and it came back";
    if (wrong)
        fail_event(kit, when, i, wrong);
}

/* Whether a horizon tells of the event, one that may have been kept included. */
static bool is_covered(const lp__kit *kit, const lp_event *event)
{
    return lp__marks_cover(&kit->horizons, event) || lp__marks_cover(&kit->doubt_horizons, event);
}

static void check_events(lp__kit *kit, const char *when)
{
    const lp__seen *seen = &kit->seen;
    size_t at = 0;
    for (size_t i = 0; i < kit->expected_count && lp__kit_going(kit); i++) {
        const lp_event *wanted = kit->expected[i].event;
        if (at < seen->count && lp_event_seq(seen->events[at]) == lp_event_seq(wanted)) {
            if (!is_reached(&seen->horizons, wanted)) /* else its manager drops it */
                check_found(kit, when, i, seen->events[at]);
            at++;
        } else if (kit->expected[i].fate == LP__KEPT && !is_covered(kit, wanted)) {
            fail_event(kit, when, i, "was acknowledged and is missing");
        }
    }
    if (at < seen->count)
        lp__kit_fail(kit, "%s: an event was pushed that was never published (sequence number %llu)",
                     when, (unsigned long long)lp_event_seq(seen->events[at]));
}

/* How many parts of the batch in doubt are there, and how many are not. */
typedef struct parts {
    size_t there, missing;
} parts;

static void count_events(const lp__kit *kit, parts *found)
{
    for (size_t i = 0; i < kit->expected_count; i++) {
        const lp__expected *expected = &kit->expected[i];
        if (is_covered(kit, expected->event))
            continue;
        bool seen = lp__seen_has(&kit->seen, lp_event_seq(expected->event));
        found->there += seen ? expected->fate == LP__DOUBT : expected->fate == LP__LEAVING;
        found->missing += seen ? expected->fate == LP__LEAVING : expected->fate == LP__DOUBT;
    }
}

static void count_marks(const lp__marks *doubt, const lp__marks *before, const lp__marks *seen,
                        uint64_t floor, parts *found)
{
    for (size_t i = 0; i < doubt->count; i++) {
        const lp__mark *mark = &doubt->items[i];
        if (is_seen(before, mark) || (mark->len && mark->record.seq <= floor))
            continue; /* it says nothing new, or may be forgotten */
        bool there = is_seen(seen, mark);
        found->there += there;
        found->missing += !there;
    }
}

/* Of a batch that was never decided, all must be there or nothing. */
static void check_whole_batch(lp__kit *kit, const char *when)
{
    if (kit->doubts != 1 || !lp__kit_claims(kit, LP_CLAIM_ATOMIC))
        return;
    parts found = {0, 0};
    count_events(kit, &found);
    const lp__mark *floor = lp__marks_find(&kit->seen.horizons, (lp_str){"", 0});
    if (lp__kit_claims(kit, LP_CLAIM_HORIZONS))
        count_marks(&kit->doubt_horizons, &kit->horizons, &kit->seen.horizons,
                    floor ? floor->record.seq : 0, &found);
    if (lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY))
        count_marks(&kit->doubt_keys, &kit->keys, &kit->seen.keys, 0, &found);
    if (found.there && found.missing)
        lp__kit_fail(kit,
                     "%s: of the batch that was never decided %zu events, removals, horizons and "
                     "keys are there and %zu are not, expected all or none",
                     when, found.there, found.missing);
}

static void check_horizons(lp__kit *kit, const char *when)
{
    const lp__mark *floor = lp__marks_find(&kit->seen.horizons, (lp_str){"", 0});
    for (size_t i = 0; i < kit->horizons.count; i++) {
        const lp__mark *wanted = &kit->horizons.items[i];
        lp_str name = {wanted->name, wanted->len};
        const lp__mark *found = lp__marks_find(&kit->seen.horizons, name);
        const lp__mark *doubt = lp__marks_find(&kit->doubt_horizons, name);
        if (floor && wanted->len && floor->record.seq >= wanted->record.seq)
            continue; /* may be forgotten when its events cannot come back: see check_found */
        if (found && doubt && found->record.seq == doubt->record.seq)
            continue;
        if (!found || found->record.seq != wanted->record.seq)
            lp__kit_fail(kit, "%s: the %s is %llu, expected %llu (0: none was pushed)", when,
                         wanted->len ? "horizon of a category" : "floor (the horizon of \"\")",
                         (unsigned long long)(found ? found->record.seq : 0),
                         (unsigned long long)wanted->record.seq);
    }
    for (size_t i = 0; i < kit->seen.horizons.count && lp__kit_going(kit); i++) {
        const lp__mark *found = &kit->seen.horizons.items[i];
        lp_str name = {found->name, found->len};
        if (!lp__marks_find(&kit->horizons, name) && !lp__marks_find(&kit->doubt_horizons, name))
            lp__kit_fail(kit, "%s: a horizon was pushed that was never raised (%llu, of \"%.*s\")",
                         when, (unsigned long long)found->record.seq,
                         (int)(name.len < 64 ? name.len : 64), name.base);
    }
}

/* What may be missing; an older answer of the same key may come back in its place. */
static bool is_forgotten(const lp__kit *kit, const lp_idempotency *record)
{
    return record->expires_ms <= kit->forgotten_keys_ms;
}

/* Keys that were pushed and are not known: of a batch that failed, or of nobody. */
static void check_keys_pushed(lp__kit *kit, const char *when)
{
    for (size_t i = 0; i < kit->seen.keys.count && lp__kit_going(kit); i++) {
        const lp__mark *found = &kit->seen.keys.items[i];
        bool is_old = is_forgotten(kit, &found->record) &&
                      lp__marks_find(&kit->keys, (lp_str){found->name, found->len});
        if (!is_old && !is_seen(&kit->keys, found) && !is_seen(&kit->doubt_keys, found))
            lp__kit_fail(kit, "%s: an idempotency key was pushed that was never kept", when);
    }
}

static void check_keys(lp__kit *kit, const char *when)
{
    for (size_t i = 0; i < kit->keys.count; i++) {
        const lp__mark *wanted = &kit->keys.items[i];
        lp_str name = {wanted->name, wanted->len};
        const lp__mark *found = lp__marks_find(&kit->seen.keys, name);
        const lp__mark *doubt = lp__marks_find(&kit->doubt_keys, name);
        if (is_forgotten(kit, &wanted->record))
            continue;
        if (found && doubt && same_record(&found->record, &doubt->record))
            continue;
        if (!found)
            lp__kit_fail(kit, "%s: idempotency key %zu of %zu is missing", when, i + 1,
                         kit->keys.count);
        else if (!same_record(&found->record, &wanted->record))
            lp__kit_fail(kit, "%s: idempotency key %zu of %zu came back with other figures", when,
                         i + 1, kit->keys.count);
    }
    check_keys_pushed(kit, when);
}

void lp__expect_check(lp__kit *kit, const char *when)
{
    if (!lp__kit_going(kit))
        return;
    if (kit->seen.losses && !kit->in_doubt)
        lp__kit_fail(kit, "%s: %llu records were told as lost, and nothing was damaged: %s", when,
                     (unsigned long long)kit->seen.losses, kit->seen.loss);
    check_events(kit, when);
    check_whole_batch(kit, when);
    if (lp__kit_claims(kit, LP_CLAIM_HORIZONS))
        check_horizons(kit, when);
    if (lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY))
        check_keys(kit, when);
    if (kit->seen.highest > kit->highest && kit->seen.highest >= kit->seq)
        lp__kit_fail(kit, "%s: the highest sequence number is %llu, which was never given", when,
                     (unsigned long long)kit->seen.highest);
    if (lp__kit_claims(kit, LP_CLAIM_HIGHEST) && kit->seen.highest < kit->highest)
        lp__kit_fail(kit, "%s: the highest sequence number is %llu, expected %llu", when,
                     (unsigned long long)kit->seen.highest, (unsigned long long)kit->highest);
}

/* ---- after a loss -----------------------------------------------------------------------------
 */

static void check_pushed(lp__kit *kit, const char *when)
{
    for (size_t i = 0; i < kit->seen.count && lp__kit_going(kit); i++) {
        const lp_event *found = kit->seen.events[i];
        const lp__expected *expected = lp__expect_find(kit, lp_event_seq(found));
        const char *wrong = expected ? lp__expect_difference(found, expected->event) : NULL;
        if (!expected)
            lp__kit_fail(kit, "%s: an event was pushed that was never published", when);
        else if (expected->fate == LP__REFUSED)
            wrong = "was refused, or its batch had failed, and it came back";
        if (wrong)
            fail_event(kit, when, (size_t)(expected - kit->expected), wrong);
    }
    for (size_t i = 0; i < kit->seen.horizons.count; i++) {
        const lp__mark *found = &kit->seen.horizons.items[i];
        const lp__mark *known = lp__marks_find(&kit->horizons, (lp_str){found->name, found->len});
        if (!known || found->record.seq > known->record.seq)
            lp__kit_fail(kit, "%s: a horizon was pushed that was never raised (%llu)", when,
                         (unsigned long long)found->record.seq);
    }
    for (size_t i = 0; i < kit->seen.keys.count; i++) {
        const lp__mark *found = &kit->seen.keys.items[i];
        const lp__mark *known = lp__marks_find(&kit->keys, (lp_str){found->name, found->len});
        if (!known || !same_record(&known->record, &found->record))
            lp__kit_fail(kit, "%s: an idempotency key was pushed that was never kept", when);
    }
    if (kit->seen.highest >= kit->seq)
        lp__kit_fail(kit, "%s: the highest sequence number is %llu, which was never given", when,
                     (unsigned long long)kit->seen.highest);
}

static void keep_seen_marks(lp__kit *kit, lp__marks *marks, const lp__marks *seen)
{
    lp__marks_clear(marks);
    for (size_t i = 0; i < seen->count; i++)
        if (!lp__marks_set(marks, (lp_str){seen->items[i].name, seen->items[i].len},
                           &seen->items[i].record))
            lp__kit_fail(kit, "no memory");
}

void lp__expect_check_loss(lp__kit *kit, const char *when)
{
    if (!lp__kit_going(kit))
        return;
    check_pushed(kit, when);
    for (size_t i = 0; i < kit->expected_count; i++)
        if (kit->expected[i].fate != LP__REFUSED)
            kit->expected[i].fate = lp__seen_has(&kit->seen, lp_event_seq(kit->expected[i].event))
                                        ? LP__KEPT
                                        : LP__LOOSE;
    keep_seen_marks(kit, &kit->horizons, &kit->seen.horizons);
    keep_seen_marks(kit, &kit->keys, &kit->seen.keys);
    kit->highest = kit->seen.highest;
}
