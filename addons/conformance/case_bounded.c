/* The cases about room on the disk (promise 9): after the rings have been filled many times over, a
 * store is as large as what they hold, within a constant factor and a constant. */
#include "kit.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARE_BYTES ((uint64_t)48 << 20)
#define FACTOR      4
#define RING        2048
#define DATA_BYTES  1000
#define EVENT_BYTES (DATA_BYTES + 100) /* with what every store has to keep beside it */
#define BATCH       128
#define SETTLE_MS   15000
#define NAP_MS      100

static uint64_t spare(const lp__kit *kit)
{
    return kit->options->spare_bytes ? kit->options->spare_bytes : SPARE_BYTES;
}

/* Waits until the store is within its bound, for as long as it is given time as by a manager. */
static void settle(lp__kit *kit, uint64_t bound, const char *when)
{
    int64_t until_ms = lp__kit_now_ms() + SETTLE_MS;
    uint64_t bytes = 0;
    while (lp__kit_going(kit)) {
        bytes = lp__files_disk_bytes(kit);
        int64_t now_ms = lp__kit_now_ms();
        if (bytes <= bound)
            return;
        if (now_ms >= until_ms || kit->idle_at_ms < 0)
            break; /* it wants no more time */
        int64_t nap_ms = kit->idle_at_ms - now_ms;
        if (nap_ms > 0)
            poll(NULL, 0, nap_ms < NAP_MS ? (int)nap_ms : NAP_MS);
        lp__kit_tend(kit);
    }
    lp__kit_fail(kit, "%s: its files take %llu bytes, expected %llu at most", when,
                 (unsigned long long)bytes, (unsigned long long)bound);
}

static void run_flow(lp__kit *kit, lp__flow *flow, uint64_t events)
{
    for (uint64_t i = 0; i < events && lp__kit_going(kit); i += BATCH) {
        lp__flow_append(kit, flow, BATCH);
        lp__kit_tend(kit);
    }
}

void lp__case_bounded(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_BOUNDED);
    lp__flow flow = {.data_bytes = DATA_BYTES, .ring = RING};
    const uint64_t bound = (uint64_t)FACTOR * RING * EVENT_BYTES + spare(kit);
    /* Ten times the ring, and so much that a store which deletes nothing is past the bound. */
    uint64_t events = bound * 2 / DATA_BYTES;
    if (events < 10 * RING)
        events = 10 * RING;
    lp__kit_open(kit);
    run_flow(kit, &flow, events / 2);
    settle(kit, bound, "in the middle of a long flow through its rings");
    run_flow(kit, &flow, events - events / 2);
    settle(kit, bound, "after a long flow through its rings");
    lp__flow_reopen(kit, &flow, "after a long flow through its rings");

    /* More than the bound in living events, which a start with small rings then takes none of. */
    flow.ring = 0;
    run_flow(kit, &flow, (bound + bound / 4) / DATA_BYTES);
    lp__flow_reopen(kit, &flow, "after more events than its bound");
    lp__flow_remove_all(kit, &flow);
    lp__kit_compact(kit);
    settle(kit, spare(kit), "after all was told as removed by its replay, and it was compacted");
    lp__flow_reopen(kit, &flow, "after all was told as removed");
}

/* ---- keys -------------------------------------------------------------------------------------
 */

#define KEYS      4096 /* that a manager remembers */
#define KEY_BYTES 255
#define KEY_BATCH 1024
#define KEY_COST  (KEY_BYTES + 100)
#define EXPIRY_MS INT64_C(4102444800000)
#define EARLY     512 /* of those: from a time when keys were remembered for longer */
#define LONGER_MS INT64_C(1000000000)

static int64_t expiry_of(uint64_t i)
{
    return EXPIRY_MS + (int64_t)i + (i < EARLY ? LONGER_MS : 0);
}

/* Keys come with an event each, and those that expire first are forgotten long before their time.
 */
static void run_keys(lp__kit *kit, lp__flow *flow, uint64_t from, uint64_t to)
{
    char name[KEY_BYTES];
    memset(name, 'k', sizeof(name));
    for (uint64_t i = from; i < to && lp__kit_going(kit); i++) {
        memcpy(name, &i, sizeof(i));
        lp__kit_key(kit, &(lp_idempotency){.key = {name, sizeof(name)},
                                           .digest = i,
                                           .seq = kit->seq + i,
                                           .count = 1,
                                           .expires_ms = expiry_of(i)});
        if (i % KEY_BATCH != KEY_BATCH - 1)
            continue;
        if (i >= 2 * KEYS)
            lp__kit_forget_keys(kit, expiry_of(i - (KEYS - EARLY)));
        lp__flow_append(kit, flow, KEY_BATCH);
        lp__kit_tend(kit);
    }
}

typedef struct key_count {
    uint64_t from, to; /* the keys that must be there, beside the first EARLY */
    bool *found;
    uint64_t bad;
} key_count;

static int count_key(void *ctx, const lp_idempotency *record)
{
    key_count *count = ctx;
    uint64_t number = 0;
    if (record->key.len == KEY_BYTES)
        memcpy(&number, record->key.base, sizeof(number));
    if (record->key.len != KEY_BYTES || number != record->digest || number >= count->to ||
        record->expires_ms != expiry_of(number))
        count->bad++;
    else if (number < EARLY)
        count->found[number] = true;
    else if (number >= count->from)
        count->found[EARLY + number - count->from] = true;
    return LP_OK;
}

static void check_keys(lp__kit *kit, uint64_t given)
{
    key_count count = {
        .from = given - (KEYS - EARLY), .to = given, .found = calloc(KEYS, sizeof(bool))};
    const lp_store_sink sink = {
        .ctx = &count, .idempotency = count_key, .expired_ms = INT64_MIN, .ring_size = 0};
    lp_error error;
    lp__kit_close(kit);
    int status = count.found && lp__kit_going(kit) ? lp__kit_open_into(kit, &sink, &error) : LP_OK;
    uint64_t missing = 0;
    for (size_t i = 0; count.found && i < KEYS; i++)
        missing += !count.found[i];
    if (!count.found || status != LP_OK)
        lp__kit_fail(kit, "opening the store failed with %s", lp_status_name(status));
    else if (missing || count.bad)
        lp__kit_fail(kit,
                     "of %d keys that were not forgotten %llu are missing, and %llu came back that "
                     "were never kept",
                     KEYS, (unsigned long long)missing, (unsigned long long)count.bad);
    free(count.found);
}

void lp__case_bounded_keys(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_BOUNDED | LP_CLAIM_IDEMPOTENCY);
    lp__flow flow = {.data_bytes = 40, .ring = RING};
    const uint64_t living = (uint64_t)KEYS * KEY_COST + RING * 140;
    const uint64_t bound = FACTOR * living + spare(kit);
    /* A store that keeps them all is past the bound by their names alone. */
    uint64_t keys = (bound + bound / 8) / KEY_BYTES / KEY_BATCH * KEY_BATCH;
    lp__kit_open(kit);
    run_keys(kit, &flow, 0, keys);
    settle(kit, bound, "after a long flow of keys that were forgotten");
    check_keys(kit, keys);
    lp__flow_reopen(kit, &flow, "after a long flow of keys");

    /* All are forgotten, and all events are gone. */
    flow.ring = 1;
    lp__flow_append(kit, &flow, 1);
    lp__kit_forget_keys(kit, expiry_of(keys) + LONGER_MS);
    lp__flow_append(kit, &flow, 1);
    lp__kit_compact(kit);
    settle(kit, spare(kit), "after all keys were forgotten, and it was compacted");
}
