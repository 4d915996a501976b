/* The cases that kill a process with -9, in each phase of a store's life, and look what is left. */
#include "kit.h"

#include <signal.h>

#define ROUNDS       8
#define ACKS_AT_MOST 60
#define STARTS       3  /* that are killed in a row */
#define CHURN        40 /* batches before a phase of background work */

static unsigned rounds_of(const lp__kit *kit)
{
    return kit->options->kill_rounds ? kit->options->kill_rounds : ROUNDS;
}

static void look(lp__kit *kit, const char *when, const char *again)
{
    lp__kit_open(kit);
    lp__expect_check(kit, when);
    lp__expect_settle(kit);
    if (lp__kit_random(kit, 2) && lp__kit_going(kit))
        lp__kit_idle(kit);
    lp__kit_reopen(kit, again);
    lp__kit_close(kit);
}

/* Lets a child append, and kills it after some acknowledgements. */
static void kill_publishing(lp__kit *kit, void (*build)(lp__kit *kit, size_t batch))
{
    const lp__plan plan = {.build = build, .batches = SIZE_MAX};
    uint64_t acks = 1 + lp__kit_random(kit, ACKS_AT_MOST);
    lp__writer writer;
    lp__writer_start(kit, &writer, &plan);
    int status = LP_OK;
    while (acks-- && lp__writer_next(kit, &writer, &plan, &status))
        if (status != LP_OK)
            lp__kit_fail(kit, "batch %zu failed with %s", writer.batch, lp_status_name(status));
    lp__writer_end(kit, &writer, &plan, SIGKILL);
}

/* ---- on_publish -------------------------------------------------------------------------------
 */

static void key(lp__kit *kit)
{
    lp__kit_key(kit, &(lp_idempotency){.key = {(const char *)&kit->seq, sizeof(kit->seq)},
                                       .digest = kit->seq * 3,
                                       .seq = kit->seq - 1,
                                       .count = 1,
                                       .expires_ms = INT64_MAX});
}

static void build(lp__kit *kit, size_t batch)
{
    size_t events = lp__kit_random(kit, 4) ? 1 + lp__kit_random(kit, 4) : lp__kit_random(kit, 64);
    lp__kit_any_events(kit, events);
    uint64_t which = kit->expected_count ? lp__kit_random(kit, kit->expected_count) : 0;
    if (lp__kit_claims(kit, LP_CLAIM_REMOVALS) && kit->expected_count && batch % 3 == 0)
        lp__kit_removal(kit, lp_event_seq(kit->expected[which].event), LP_REMOVED_RETRIEVED);
    if (lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY) && batch % 7 == 0)
        key(kit);
}

void lp__case_kill(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_CRASH);
    for (unsigned round = 0; round < rounds_of(kit) && lp__kit_going(kit); round++) {
        kill_publishing(kit, build);
        look(kit, "after a kill -9", "after a kill -9 and one more start");
    }
}

/* ---- what leaves ------------------------------------------------------------------------------
 */

/* Takes the oldest events that are kept out of the store: by retrieval, or out of their rings. */
static void retire(lp__kit *kit, size_t count, bool retrieved)
{
    for (size_t i = 0; i < kit->expected_count && count && lp__kit_going(kit); i++) {
        const lp__expected *oldest = &kit->expected[i];
        if (oldest->fate != LP__KEPT || lp__marks_cover(&kit->horizons, oldest->event))
            continue;
        count--;
        uint64_t seq = lp_event_seq(oldest->event);
        lp__kit_removal(kit, seq, retrieved ? LP_REMOVED_RETRIEVED : LP_REMOVED_RING);
        if (!retrieved)
            lp__kit_horizon(kit, lp_event_category(oldest->event), seq);
    }
}

static bool can_retire(const lp__kit *kit, bool retrieved)
{
    return lp__kit_claims(kit, retrieved ? LP_CLAIM_REMOVALS : LP_CLAIM_HORIZONS);
}

/* Few events, and everything else that a batch can bring. */
static void build_leaving(lp__kit *kit, size_t batch)
{
    bool retrieved = batch % 2 == 0;
    if (batch % 4 == 0)
        lp__kit_any_events(kit, 12);
    if (can_retire(kit, retrieved))
        retire(kit, 1 + lp__kit_random(kit, 5), retrieved);
    if (batch % 11 == 5 && can_retire(kit, false))
        lp__kit_horizon(kit, lp_str_of("nobody home"), kit->seq - 1);
    if (batch % 5 == 0 && lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY))
        key(kit);
    if (batch % 3 == 0 && lp__kit_claims(kit, LP_CLAIM_HIGHEST))
        lp_batch_set_highest(kit->batch, kit->seq++);
}

void lp__case_kill_removals(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_CRASH);
    if (!can_retire(kit, true) && !can_retire(kit, false))
        lp__kit_needs(kit, LP_CLAIM_REMOVALS | LP_CLAIM_HORIZONS);
    for (unsigned round = 0; round < rounds_of(kit) && lp__kit_going(kit); round++) {
        kill_publishing(kit, build_leaving);
        look(kit, "after a kill -9 among removals and horizons",
             "after a kill -9 among removals and horizons, and one more start");
    }
}

/* ---- on_start ---------------------------------------------------------------------------------
 */

/* One child that does what the plan says up to its phase, and dies there. `*longest_us` is how long
 * the phase takes, as far as it is known. */
static void kill_in_phase(lp__kit *kit, lp__plan plan, int64_t *longest_us)
{
    if (!plan.kill_events && *longest_us)
        plan.kill_us = 1 + (int64_t)lp__kit_random(kit, (uint64_t)*longest_us * 5 / 4 + 1);
    lp__writer writer;
    lp__writer_start(kit, &writer, &plan);
    int status = LP_OK;
    while (lp__writer_next(kit, &writer, &plan, &status))
        if (status != LP_OK)
            lp__kit_fail(kit, "batch %zu failed with %s", writer.batch, lp_status_name(status));
    lp__writer_end(kit, &writer, &plan, 0);
    if (writer.phase_us > *longest_us)
        *longest_us = writer.phase_us;
}

void lp__case_kill_start(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_CRASH);
    int64_t longest_us = 0;
    for (unsigned round = 0; round < rounds_of(kit) && lp__kit_going(kit); round++) {
        kill_publishing(kit, build);
        for (int i = 0; i < STARTS; i++) {
            lp__plan plan = {.phase = LP__STARTING};
            if (i == 0 && round)
                plan.kill_events = 1 + lp__kit_random(kit, kit->expected_count + 1);
            kill_in_phase(kit, plan, &longest_us);
        }
        look(kit, "after a kill -9, and starts that were killed",
             "after starts that were killed and one that was not");
    }
}

/* ---- on_idle and on_shutdown ------------------------------------------------------------------
 */

/* About as many come as go, so that there is something to compact. */
static void build_churn(lp__kit *kit, size_t batch)
{
    bool retrieved = batch % 2 == 0;
    lp__kit_any_events(kit, 1 + lp__kit_random(kit, 16));
    if (kit->expected_count > 300 && can_retire(kit, retrieved))
        retire(kit, 1 + lp__kit_random(kit, 20), retrieved);
}

static void kill_rounds(lp__kit *kit, lp__phase phase, const char *when, const char *again)
{
    lp__kit_needs(kit, LP_CLAIM_CRASH);
    int64_t longest_us = 0;
    for (unsigned round = 0; round < rounds_of(kit) && lp__kit_going(kit); round++) {
        const lp__plan plan = {.build = build_churn, .batches = CHURN, .phase = phase};
        kill_in_phase(kit, plan, &longest_us);
        look(kit, when, again);
    }
}

void lp__case_kill_idle(lp__kit *kit)
{
    kill_rounds(kit, LP__IDLING, "after a kill -9 in on_idle",
                "after a kill -9 in on_idle and one more start");
}

void lp__case_kill_compact(lp__kit *kit)
{
    kill_rounds(kit, LP__COMPACTING, "after a kill -9 in a thorough on_idle",
                "after a kill -9 in a thorough on_idle and one more start");
}

void lp__case_kill_shutdown(lp__kit *kit)
{
    kill_rounds(kit, LP__CLOSING, "after a kill -9 in on_shutdown",
                "after a kill -9 in on_shutdown and one more start");
}
