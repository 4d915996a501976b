/* The case about room on the disk (promise 9): after the rings have been filled many times over, a
 * store is as large as what they hold, within a constant factor and a constant. */
#include "kit.h"

#include <poll.h>

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
