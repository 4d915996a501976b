/* The case that kills a writer with -9 in the middle of its appends, and looks what is left. */
#include "kit.h"

#include <signal.h>

#define ROUNDS       8
#define ACKS_AT_MOST 60

static void build(lp__kit *kit, size_t batch)
{
    size_t events = lp__kit_random(kit, 4) ? 1 + lp__kit_random(kit, 4) : lp__kit_random(kit, 64);
    lp__kit_any_events(kit, events);
    uint64_t which = kit->expected_count ? lp__kit_random(kit, kit->expected_count) : 0;
    if (lp__kit_claims(kit, LP_CLAIM_REMOVALS) && kit->expected_count && batch % 3 == 0)
        lp__kit_removal(kit, lp_event_seq(kit->expected[which].event), LP_REMOVED_RETRIEVED);
    if (lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY) && batch % 7 == 0)
        lp__kit_key(kit, &(lp_idempotency){.key = {(const char *)&kit->seq, sizeof(kit->seq)},
                                           .digest = kit->seq * 3,
                                           .seq = kit->seq - 1,
                                           .count = 1,
                                           .expires_ms = INT64_MAX});
}

void lp__case_kill(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_CRASH);
    const lp__plan plan = {.build = build, .limited_batch = SIZE_MAX};
    unsigned rounds = kit->options->kill_rounds ? kit->options->kill_rounds : ROUNDS;
    for (unsigned round = 0; round < rounds && lp__kit_going(kit); round++) {
        uint64_t acks = 1 + lp__kit_random(kit, ACKS_AT_MOST);
        lp__writer writer;
        lp__writer_start(kit, &writer, &plan);
        int status = LP_OK;
        while (acks-- && lp__writer_next(kit, &writer, &plan, &status))
            if (status != LP_OK)
                lp__kit_fail(kit, "batch %zu failed with %s", writer.batch, lp_status_name(status));
        lp__writer_end(kit, &writer, &plan, SIGKILL);

        lp__kit_open(kit);
        lp__expect_check(kit, "after a kill -9");
        lp__expect_settle(kit);
        if (round % 2)
            lp__kit_idle(kit);
        lp__kit_reopen(kit, "after a kill -9 and one more start");
        lp__kit_close(kit);
    }
}
