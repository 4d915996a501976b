/* The cases that let writes fail: at every stage of a commit, where a batch is kept whole or not at
 * all, and for a while, after which the store goes on. */
#include "kit.h"

#define BATCHES_BEFORE 3
#define EVENTS         24

static void build(lp__kit *kit, size_t batch)
{
    uint64_t first = kit->seq;
    lp__kit_any_events(kit, batch == BATCHES_BEFORE ? EVENTS : 4);
    if (lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY))
        lp__kit_key(kit, &(lp_idempotency){.key = {(const char *)&first, sizeof(first)},
                                           .digest = first,
                                           .seq = first,
                                           .count = 1,
                                           .expires_ms = INT64_MAX});
    /* A removal of the batch that fails has not happened either. */
    if (batch == BATCHES_BEFORE && lp__kit_claims(kit, LP_CLAIM_REMOVALS))
        lp__kit_removal(kit, lp_event_seq(kit->expected[2].event), LP_REMOVED_RETRIEVED);
}

/* One run in a fresh directory, in which no file can grow past `limit` while the batch is kept.
 * `after`: how many batches follow it, before the store is closed or its process is gone. They may
 * cover up what it left behind. Returns whether the store took it nevertheless. */
static bool try_limit(lp__kit *kit, uint64_t limit, bool close, size_t after)
{
    const lp__plan plan = {.build = build,
                           .batches = BATCHES_BEFORE + 1 + after,
                           .limited_batch = BATCHES_BEFORE,
                           .limited_batches = 1,
                           .limit = limit,
                           .close = close || !lp__kit_claims(kit, LP_CLAIM_CRASH)};
    lp__kit_reset(kit);
    lp__writer writer;
    lp__writer_start(kit, &writer, &plan);
    int status = LP_OK, limited = LP_OK;
    while (lp__writer_next(kit, &writer, &plan, &status)) {
        if (writer.batch == BATCHES_BEFORE + 1)
            limited = status;
        else if (writer.batch <= BATCHES_BEFORE && status != LP_OK)
            lp__kit_fail(kit, "batch %zu failed with %s before any write was made to fail",
                         writer.batch, lp_status_name(status));
    }
    lp__writer_end(kit, &writer, &plan, 0);
    lp__kit_open(kit);
    lp__expect_check(kit, limited == LP_OK ? "after a write that failed and was made good"
                                           : "after a batch that failed");
    lp__expect_settle(kit);
    lp__kit_reopen(kit, "after a failed batch and one more start");
    return limited == LP_OK;
}

void lp__case_all_or_nothing(lp__kit *kit)
{
    if (!try_limit(kit, UINT64_MAX / 2, false, 1))
        lp__kit_fail(kit, "a batch failed, and no write was made to fail");
    /* How large its files get with the batch and without it. */
    uint64_t high = lp__files_largest(kit);
    if (try_limit(kit, 0, false, 1))
        lp__kit_not_applicable(kit, "no write of it could be made to fail with RLIMIT_FSIZE");
    uint64_t start = lp__files_largest(kit) / 4 * 3, low = 0;

    /* Cuts through the batch's own bytes, where the file grows with it. */
    for (uint64_t k = 0; k <= 16 && start < high && lp__kit_going(kit); k++)
        for (size_t after = 0; after < 2; after++)
            try_limit(kit, start + (high - start) * k / 16 + k % 3, k % 2, after);
    /* The edge between the limits that it can live with and those that it cannot. */
    for (size_t after = 0; high - low > 1 && lp__kit_going(kit); after = !after) {
        uint64_t middle = low + (high - low) / 2;
        if (try_limit(kit, middle, middle % 2, after))
            high = middle;
        else
            low = middle;
    }
}

/* ---- recovery ---------------------------------------------------------------------------------
 */

#define FULL_BATCHES  3 /* that cannot be written */
#define AFTER_BATCHES 4 /* once there is room again: the second at the latest is kept */

static void build_small(lp__kit *kit, size_t batch)
{
    (void)batch;
    lp__kit_any_events(kit, 5);
}

/* What came of the batches of one run. */
typedef struct outcome {
    bool failed; /* one, at least, while writes failed */
    bool in_doubt;
    int after; /* the status of the last */
} outcome;

static outcome fill_up(lp__kit *kit, bool close)
{
    const lp__plan plan = {.build = build_small,
                           .batches = BATCHES_BEFORE + FULL_BATCHES + AFTER_BATCHES,
                           .limited_batch = BATCHES_BEFORE,
                           .limited_batches = FULL_BATCHES,
                           .close = close || !lp__kit_claims(kit, LP_CLAIM_CRASH)};
    outcome came = {false, false, LP_OK};
    lp__kit_reset(kit);
    lp__writer writer;
    lp__writer_start(kit, &writer, &plan);
    while (lp__writer_next(kit, &writer, &plan, &came.after)) {
        size_t batch = writer.batch - 1;
        came.in_doubt |= came.after == LP_EINDOUBT;
        came.failed |= came.after != LP_OK;
        if (batch > BATCHES_BEFORE + FULL_BATCHES && came.after != LP_OK && !came.in_doubt)
            lp__kit_fail(kit,
                         "batch %zu failed with %s, %zu batches after writes succeed again; "
                         "expected OK, or EINDOUBT from the first failure on",
                         batch + 1, lp_status_name(came.after),
                         batch + 1 - BATCHES_BEFORE - FULL_BATCHES);
    }
    lp__writer_end(kit, &writer, &plan, 0);
    return came;
}

void lp__case_recovery(lp__kit *kit)
{
    for (int round = 0; round < 2 && lp__kit_going(kit); round++) {
        outcome came = fill_up(kit, round == 1);
        if (!came.failed)
            lp__kit_not_applicable(kit, "no write of it could be made to fail with RLIMIT_FSIZE");
        lp__kit_open(kit);
        lp__expect_check(kit, "after writes failed for a while");
        lp__expect_settle(kit);
        lp__kit_any_events(kit, 5);
        lp__kit_append(kit);
        lp__kit_reopen(kit, "after writes failed for a while, and a batch since");
    }
}
