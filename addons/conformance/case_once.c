/* The cases about publishing once: events that were published together, and idempotency keys, which
 * are kept with their events, and forgotten when there are too many. */
#include "kit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define YEAR_2100_MS INT64_C(4102444800000)

/* One publish of `count` events, which come next, under a key of its own. */
static void publish(lp__kit *kit, size_t count, int64_t expires_ms)
{
    uint64_t first = kit->seq;
    /* Numbers of one publish follow each other; the others mostly do. */
    for (size_t i = 0; i < count && lp__kit_going(kit); i++) {
        kit->seq = first + i;
        lp__kit_any_event(kit);
    }
    lp_batch_group(kit->batch, count);
    if (!lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY))
        return;
    char name[40];
    int len = snprintf(name, sizeof(name), "publish %llu", (unsigned long long)first);
    lp__kit_key(kit, &(lp_idempotency){.key = {name, (size_t)len},
                                       .digest = first * 0x9e3779b97f4a7c15u,
                                       .seq = first,
                                       .count = (uint32_t)count,
                                       .expires_ms = expires_ms});
}

/* ---- refused groups ---------------------------------------------------------------------------
 */

/* Turns the next event of the batch into one that the store refuses. */
static void large_event(lp__kit *kit)
{
    size_t bytes = kit->options->event_bytes_max + 1;
    char *data = malloc(bytes);
    if (!data) {
        lp__kit_fail(kit, "no memory");
        return;
    }
    memset(data, '7', bytes);
    lp__kit_event(kit, lp_str_of("large"), (lp_str){data, bytes});
    free(data);
}

/* A publish of four events, of which the one at `large` is refused (4: none is), and its key. */
static void publish_with(lp__kit *kit, size_t large, const char *key)
{
    uint64_t first = kit->seq;
    for (size_t i = 0; i < 4 && lp__kit_going(kit); i++) {
        kit->seq = first + i;
        if (i == large)
            large_event(kit);
        else
            lp__kit_event(kit, lp_str_of("small"), (lp_str){"0", 1});
    }
    lp_batch_group(kit->batch, 4);
    if (lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY))
        lp__kit_key(kit, &(lp_idempotency){.key = lp_str_of(key),
                                           .digest = 1,
                                           .seq = first,
                                           .count = 4,
                                           .expires_ms = YEAR_2100_MS});
}

/* Hands the batch over; the publishes whose bit in `refused` is set must be refused, whole. */
static void append_refused(lp__kit *kit, unsigned refused)
{
    lp_error error = {LP_OK, ""};
    if (!lp__kit_going(kit))
        return;
    int status = lp_store_append(kit->store, kit->batch, &error);
    lp__expect_batch(kit, status);
    if (status != LP_OK)
        lp__kit_fail(kit, "a batch with a refused publish failed as a whole with %s: %s",
                     lp_status_name(status), error.message);
    for (size_t i = 0; i < lp_batch_event_count(kit->batch) && lp__kit_going(kit); i++) {
        bool wanted = refused & 1u << i / 4;
        if (lp_batch_failed(kit->batch, i) != wanted)
            lp__kit_fail(kit, "event %zu of publish %zu was %s, expected the publish to be %s",
                         i % 4 + 1, i / 4 + 1, wanted ? "taken" : "refused",
                         wanted ? "refused" : "taken");
    }
    lp_batch_clear(kit->batch);
}

void lp__case_refused_group(lp__kit *kit)
{
    if (kit->options->event_bytes_max < 2) {
        lp__kit_not_applicable(kit, "the add-on names no bound of its own on an event");
        return;
    }
    lp__kit_open(kit);
    publish_with(kit, 3, "its last event is refused");
    append_refused(kit, 1);
    lp__kit_reopen(kit, "after a publish was refused for its last event");
    publish_with(kit, 4, "in front of a refused one");
    publish_with(kit, 2, "in the middle");
    publish_with(kit, 0, "its first event is refused");
    publish_with(kit, 4, "behind refused ones");
    append_refused(kit, 2 | 4);
    lp__kit_reopen(kit, "after two of four publishes were refused");
    publish_with(kit, 4, "in the middle"); /* a key of a refused publish is free */
    append_refused(kit, 0);
    lp__kit_reopen(kit, "after a refused publish was repeated with its key");
}

/* ---- killed between a key and its events ------------------------------------------------------
 */

#define ROUNDS       8
#define ACKS_AT_MOST 30

static void build(lp__kit *kit, size_t batch)
{
    size_t publishes = 1 + lp__kit_random(kit, 4);
    for (size_t i = 0; i < publishes; i++)
        publish(kit, lp__kit_random(kit, 3) ? 1 : 1 + lp__kit_random(kit, 24), YEAR_2100_MS);
    if (batch % 3 == 0)
        lp__kit_any_event(kit); /* without a key */
}

void lp__case_kill_keys(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_CRASH | LP_CLAIM_ATOMIC | LP_CLAIM_IDEMPOTENCY);
    const lp__plan plan = {.build = build, .batches = SIZE_MAX};
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
        lp__expect_check(kit, "after a kill -9 among publishes with keys");
        lp__expect_settle(kit);
        lp__kit_reopen(kit, "after a kill -9 among publishes with keys, and one more start");
        lp__kit_close(kit);
    }
}

/* ---- forgotten keys ---------------------------------------------------------------------------
 */

#define KEYS        400
#define LIVING      60 /* keys that are not forgotten */
#define KEYS_A_STEP 20

static void numbered_key(lp__kit *kit, unsigned number, int64_t expires_ms)
{
    char name[16];
    int len = snprintf(name, sizeof(name), "key %u", number);
    lp__kit_key(kit, &(lp_idempotency){.key = {name, (size_t)len},
                                       .digest = number,
                                       .seq = kit->seq - 1,
                                       .count = 1,
                                       .expires_ms = expires_ms});
}

void lp__case_forgotten_keys(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_IDEMPOTENCY);
    lp__kit_open(kit);
    for (unsigned i = 0; i < KEYS && lp__kit_going(kit); i++) {
        lp__kit_any_event(kit);
        numbered_key(kit, i, YEAR_2100_MS + i);
        if (i % KEYS_A_STEP != KEYS_A_STEP - 1)
            continue;
        if (i >= LIVING)
            lp__kit_forget_keys(kit, YEAR_2100_MS + i - LIVING);
        lp__kit_append(kit);
        lp__kit_idle(kit);
        if (i % 100 == 59)
            lp__kit_reopen(kit, "after keys of which the manager forgot the oldest");
    }
    lp__kit_compact(kit);
    lp__kit_reopen(kit, "after keys were forgotten, and a thorough on_idle");

    /* One that was forgotten is published again, with another answer: the newer one counts. */
    for (unsigned i = 0; i < KEYS / 2 && lp__kit_going(kit); i += KEYS_A_STEP) {
        lp__kit_any_event(kit);
        numbered_key(kit, i, YEAR_2100_MS + KEYS + i);
    }
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after forgotten keys were used again");
    lp__kit_compact(kit);
    lp__kit_reopen(kit, "after forgotten keys were used again, and a thorough on_idle");

    lp__kit_forget_keys(kit, YEAR_2100_MS + 2 * KEYS);
    lp__kit_any_event(kit);
    lp__kit_append(kit);
    lp__kit_compact(kit);
    lp__kit_reopen(kit, "after all keys were forgotten");
}
