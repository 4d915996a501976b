/* The cases about what a store keeps beside events: removals, the highest number, keys, horizons.
 */
#include "kit.h"

#include <stdio.h>
#include <string.h>

/* ---- removals ---------------------------------------------------------------------------------
 */

static void retrieve(lp__kit *kit, size_t i)
{
    if (lp__kit_going(kit) && i < kit->expected_count)
        lp__kit_removal(kit, lp_event_seq(kit->expected[i].event), LP_REMOVED_RETRIEVED);
}

void lp__case_removals(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_REMOVALS);
    lp__kit_open(kit);
    lp__kit_any_events(kit, 100);
    lp__kit_append(kit);
    for (size_t i = 0; i < 100; i += 3)
        retrieve(kit, i);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after a batch of removals alone");

    /* One by one, together with new events, twice, and one that never was. */
    for (size_t i = 1; i < 40; i += 3) {
        lp__kit_any_events(kit, 2);
        retrieve(kit, i);
        retrieve(kit, i / 2);
        lp__kit_removal(kit, lp_seq_first(1000) + i, LP_REMOVED_RETRIEVED);
        lp__kit_append(kit);
        lp__kit_idle(kit);
    }
    lp__kit_reopen(kit, "after removals one by one");

    /* An event that is removed at once, and a store that is emptied, again and again. */
    for (size_t round = 0; round < 12; round++) {
        size_t first = kit->expected_count;
        lp__kit_any_events(kit, 30);
        lp__kit_append(kit);
        for (size_t i = round % 2 ? 0 : first; i < kit->expected_count; i++)
            retrieve(kit, i);
        lp__kit_append(kit);
        lp__kit_idle(kit);
        if (round % 4 == 3)
            lp__kit_reopen(kit, "after a store was emptied");
    }
    lp__kit_any_events(kit, 5);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after a store was emptied and filled again");
}

/* ---- the highest number -----------------------------------------------------------------------
 */

void lp__case_highest(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_HIGHEST);
    lp__kit_open(kit);
    lp__kit_any_events(kit, 20);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after 20 events");

    /* Numbers that were given to events which were not kept. */
    kit->seq += 1000;
    lp_batch_set_highest(kit->batch, kit->seq++);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after a batch of nothing but a higher number");
    lp__kit_any_events(kit, 2);
    kit->seq += 1000;
    lp_batch_set_highest(kit->batch, kit->seq++);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after a batch whose number is higher than its events");

    for (size_t round = 0; round < 4; round++) {
        for (size_t i = 0; i < kit->expected_count; i++)
            retrieve(kit, i);
        lp__kit_append(kit);
        lp__kit_idle(kit);
        lp__kit_reopen(kit, "after all events are gone");
    }
}

/* ---- keys -------------------------------------------------------------------------------------
 */

static void key(lp__kit *kit, lp_str name, uint64_t salt, int64_t expires_ms)
{
    lp__kit_key(kit, &(lp_idempotency){.key = name,
                                       .digest = salt * 0x9e3779b97f4a7c15u,
                                       .seq = kit->seq - 1,
                                       .count = (uint32_t)salt + 1,
                                       .expires_ms = expires_ms});
}

void lp__case_keys(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_IDEMPOTENCY);
    char longest[255];
    memset(longest, 'k', sizeof(longest));
    const lp_str odd[] = {{"k", 1},
                          {"a\0b", 3},
                          {"\n", 1},
                          {"\xff\xfe no UTF-8", 11},
                          {"{\"json\":1}", 10},
                          {longest, sizeof(longest)}};
    lp__kit_open(kit);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        lp__kit_any_events(kit, i + 1);
        key(kit, odd[i], i, INT64_MAX);
        lp__kit_append(kit);
    }
    lp__kit_reopen(kit, "after keys with their events");

    for (uint32_t i = 0; i < 200; i++) {
        char name[4] = {'n', (char)i, (char)(i >> 8), 0};
        key(kit, (lp_str){name, sizeof(name)}, i, INT64_MAX - i);
    }
    key(kit, lp_str_of("expired"), 7, LP__EXPIRED_MS);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after a batch of nothing but keys");

    /* A key that has expired may be used again: the newer answer counts. */
    key(kit, lp_str_of("expired"), 8, INT64_MAX);
    lp__kit_any_events(kit, 1);
    lp__kit_append(kit);
    for (int i = 0; i < 3; i++) {
        lp__kit_idle(kit);
        lp__kit_reopen(kit, "after an expired key was used again");
    }

    /* What was published under a key is taken back: a record of the same number frees it. */
    lp__kit_any_event(kit);
    key(kit, lp_str_of("taken back"), 9, INT64_MAX);
    lp__kit_append(kit);
    lp__kit_key(kit, &(lp_idempotency){.key = lp_str_of("taken back"),
                                       .digest = 9 * 0x9e3779b97f4a7c15u,
                                       .seq = kit->seq - 1,
                                       .expires_ms = INT64_MAX});
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after a key was freed again");
    lp__kit_compact(kit);
    lp__kit_reopen(kit, "after a key was freed again, and a thorough on_idle");
}

/* ---- horizons ---------------------------------------------------------------------------------
 */

/* Takes the oldest half of all events out of their rings, as a manager does when they are full. */
static void evict_half(lp__kit *kit)
{
    size_t half = kit->expected_count / 2;
    for (size_t i = 0; i < half && lp__kit_going(kit); i++) {
        const lp_event *event = kit->expected[i].event;
        if (kit->expected[i].fate != LP__KEPT)
            continue;
        lp__kit_removal(kit, lp_event_seq(event), LP_REMOVED_RING);
        bool newest = true;
        for (size_t j = i + 1; j < half && newest; j++) {
            lp_str a = lp_event_category(event), b = lp_event_category(kit->expected[j].event);
            newest = a.len != b.len || memcmp(a.base, b.base, a.len) != 0;
        }
        if (newest)
            lp__kit_horizon(kit, lp_event_category(event), lp_event_seq(event));
    }
}

/* Tells what has left the rings once more, as a manager does in its first batch: it may have passed
 * over it in the replay. */
static void tell_again(lp__kit *kit)
{
    for (size_t i = 0; i < kit->expected_count && lp__kit_going(kit); i++)
        if (kit->expected[i].fate == LP__LOOSE)
            lp__kit_removal(kit, lp_event_seq(kit->expected[i].event), LP_REMOVED_REPLAY);
}

void lp__case_horizon(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_HORIZONS);
    char longest[LP_CATEGORY_MAX];
    memset(longest, 'h', sizeof(longest));
    lp__kit_open(kit);
    for (int round = 0; round < 6; round++) {
        lp__kit_any_events(kit, 60);
        lp__kit_append(kit);
        evict_half(kit);
        lp__kit_append(kit);
        lp__kit_idle(kit);
        lp__kit_reopen(kit, "after rings were full");
    }

    /* Of categories that have no event, and all that are allowed to be called. */
    lp__kit_horizon(kit, lp_str_of("nobody home"), kit->seq - 5);
    lp__kit_horizon(kit, (lp_str){longest, sizeof(longest)}, kit->seq - 4);
    lp__kit_horizon(kit, (lp_str){"a\0b\n", 4}, 1);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after horizons of categories without events");

    tell_again(kit);
    lp__kit_horizon(kit, (lp_str){"", 0}, kit->seq - 40);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after the floor was raised");
    tell_again(kit);
    lp__kit_any_events(kit, 10);
    lp__kit_horizon(kit, (lp_str){"", 0}, kit->seq - 15);
    lp__kit_horizon(kit, lp_str_of("nobody home"), kit->seq - 2);
    lp__kit_append(kit);
    for (int i = 0; i < 3; i++) {
        lp__kit_idle(kit);
        lp__kit_reopen(kit, "after the floor and a horizon were raised again");
    }
}

/* ---- horizons below the floor -----------------------------------------------------------------
 */

#define SOME_EVENTS     60
#define MANY_CATEGORIES 2400

/* Raises the floor to what evict_half takes, or has just taken. */
static void raise_floor(lp__kit *kit)
{
    if (kit->expected_count > 1 && lp__kit_going(kit))
        lp__kit_horizon(kit, (lp_str){"", 0},
                        lp_event_seq(kit->expected[kit->expected_count / 2 - 1].event));
}

static void build_cut_then_floor(lp__kit *kit, size_t batch)
{
    if (batch == 0)
        lp__kit_any_events(kit, SOME_EVENTS);
    else if (batch == 1)
        evict_half(kit);
    else
        raise_floor(kit);
}

static void build_floor_then_cut(lp__kit *kit, size_t batch)
{
    if (batch == 0)
        lp__kit_any_events(kit, SOME_EVENTS);
    else if (batch == 1)
        raise_floor(kit);
    else
        evict_half(kit);
}

static void build_floor_with_cut(lp__kit *kit, size_t batch)
{
    if (batch == 1) {
        evict_half(kit);
        raise_floor(kit);
    } else {
        lp__kit_any_events(kit, SOME_EVENTS / 2);
    }
}

/* So many horizons that a store which sweeps them only in bulk does so. */
static void build_many(lp__kit *kit, size_t batch)
{
    for (unsigned i = 0; batch == 0 && i < MANY_CATEGORIES; i++) {
        char name[32];
        int len = snprintf(name, sizeof(name), "many/%u", i);
        lp__kit_event(kit, (lp_str){name, (size_t)len}, lp_str_of("{}"));
    }
    if (batch == 1)
        evict_half(kit);
    else if (batch == 2)
        raise_floor(kit);
}

static void build_first(lp__kit *kit, size_t batch)
{
    (void)batch;
    tell_again(kit);
    lp__kit_any_events(kit, 1);
}

/* A process that starts, does what the plan says, and ends as by a kill -9. */
static void live_and_die(lp__kit *kit, const lp__plan *plan)
{
    lp__writer writer;
    int status = LP_OK;
    lp__writer_start(kit, &writer, plan);
    while (lp__writer_next(kit, &writer, plan, &status))
        if (status != LP_OK)
            lp__kit_fail(kit, "batch %zu failed with %s", writer.batch, lp_status_name(status));
    lp__writer_end(kit, &writer, plan, 0);
}

/* Events leave their rings and the floor passes their horizons, in one life; what a store does with
 * that in its next life must not bring them back in the one after. */
static void forget_below_floor(lp__kit *kit, void (*build)(lp__kit *kit, size_t batch))
{
    static const struct {
        lp__plan plan;
        const char *when;
    } lives[] = {
        {{.batches = 0}, "after the floor passed horizons, and a kill -9 right behind on_start"},
        {{.phase = LP__IDLING}, "after the floor passed horizons, and a kill -9 behind on_idle"},
        {{.phase = LP__COMPACTING},
         "after the floor passed horizons, and a kill -9 behind a thorough on_idle"},
        {{.phase = LP__CLOSING}, "after the floor passed horizons, and a start and a stop"},
        {{.build = build_first, .batches = 1},
         "after the floor passed horizons, and a kill -9 behind the first batch"},
        {{.build = build_first, .batches = 1, .phase = LP__IDLING},
         "after the floor passed horizons, and a kill -9 behind the first batch and on_idle"},
    };
    for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]) && lp__kit_going(kit); i++) {
        if (build == build_many)
            lp__kit_reset(kit);
        live_and_die(kit, &(lp__plan){.build = build, .batches = 3});
        live_and_die(kit, &lives[i].plan);
        lp__kit_open(kit);
        lp__expect_check(kit, lives[i].when);
        if (i % 2)
            lp__kit_idle(kit);
        lp__kit_reopen(kit, "after the floor passed horizons, and one more start");
        lp__kit_close(kit);
    }
}

void lp__case_horizon_kept(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_HORIZONS | LP_CLAIM_CRASH);
    forget_below_floor(kit, build_cut_then_floor);
    forget_below_floor(kit, build_floor_then_cut);
    forget_below_floor(kit, build_floor_with_cut);
    forget_below_floor(kit, build_many);

    /* In the end they may go, all at once. */
    lp__kit_open(kit);
    tell_again(kit);
    lp__kit_append(kit);
    lp__kit_idle(kit);
    lp__kit_compact(kit);
    for (int i = 0; i < 2; i++)
        lp__kit_reopen(kit, "after all that left the rings was told once more, and compacted");
}
