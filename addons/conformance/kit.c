/* A case of the conformance kit and the store that it drives: directories, batches, outcome. One
 * thread. */
#include "kit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FIRST_MS     1700000000000
#define IDLE_MS      20
#define IDLE_CALLS   200
#define TEND_MS      5 /* the budget that a manager gives in the middle of its work */
#define COMPACT_MS   60000
#define CLOSE_MS     10000
#define FIRST_RANDOM 88172645463325252u

/* ---- outcome ----------------------------------------------------------------------------------
 */

bool lp__kit_going(const lp__kit *kit)
{
    return kit->outcome == LP_CASE_PASSED;
}

void lp__kit_fail(lp__kit *kit, const char *format, ...)
{
    if (!lp__kit_going(kit))
        return;
    kit->outcome = LP_CASE_FAILED;
    va_list args;
    va_start(args, format);
    vsnprintf(kit->detail, sizeof(kit->detail), format, args);
    va_end(args);
}

void lp__kit_not_applicable(lp__kit *kit, const char *why)
{
    if (!lp__kit_going(kit))
        return;
    kit->outcome = LP_CASE_NOT_APPLICABLE;
    snprintf(kit->detail, sizeof(kit->detail), "%s", why);
}

bool lp__kit_claims(const lp__kit *kit, unsigned claims)
{
    return (kit->options->claims & claims) == claims;
}

void lp__kit_needs(lp__kit *kit, unsigned claims)
{
    static const struct {
        unsigned claim;
        const char *why;
    } reasons[] = {
        {LP_CLAIM_REMOVALS, "the add-on does not claim to keep removals"},
        {LP_CLAIM_HORIZONS, "the add-on does not claim to keep horizons"},
        {LP_CLAIM_IDEMPOTENCY, "the add-on does not claim to keep idempotency keys"},
        {LP_CLAIM_HIGHEST, "the add-on does not claim to keep the highest sequence number"},
        {LP_CLAIM_CRASH, "the add-on does not claim to survive a kill -9"},
        {LP_CLAIM_ATOMIC, "the add-on does not claim that batches are all or nothing"},
        {LP_CLAIM_LOCK, "the add-on does not claim to lock its store"},
        {LP_CLAIM_DAMAGE, "the add-on does not claim to start from damaged files"},
        {LP_CLAIM_BOUNDED, "the add-on does not claim that its store is bounded"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if ((claims & reasons[i].claim) && !lp__kit_claims(kit, reasons[i].claim))
            lp__kit_not_applicable(kit, reasons[i].why);
}

uint64_t lp__kit_random(lp__kit *kit, uint64_t below)
{
    /* xorshift64 (Marsaglia, 2003). */
    kit->random ^= kit->random << 13;
    kit->random ^= kit->random >> 7;
    kit->random ^= kit->random << 17;
    return kit->random % below;
}

/* ---- open and close ---------------------------------------------------------------------------
 */

static void clear_seen(lp__kit *kit)
{
    const lp__seen before = kit->seen;
    lp__seen_clear(&kit->seen);
    kit->seen.cancel_after = before.cancel_after;
    kit->seen.kill_after = before.kill_after;
    kit->seen.expired_ms = before.expired_ms;
    kit->seen.ring_size = before.ring_size;
}

int lp__kit_open_into(lp__kit *kit, const lp_store_sink *sink, lp_error *error)
{
    *error = (lp_error){LP_OK, ""};
    lp_addon *addon = NULL;
    int status = kit->options->make(kit->options->ctx, kit->directory, &addon, error);
    if (status != LP_OK)
        return status;
    if (kit->wrap)
        addon = kit->wrap(addon);
    return lp_store_open(addon, sink, &kit->store, error);
}

int lp__kit_try_open(lp__kit *kit, lp_error *error)
{
    clear_seen(kit);
    lp_store_sink sink = lp__seen_sink(&kit->seen);
    int status = lp__kit_open_into(kit, &sink, error);
    lp__seen_finish(&kit->seen);
    kit->idle_at_ms = 0;
    return status;
}

void lp__kit_open(lp__kit *kit)
{
    if (!lp__kit_going(kit))
        return;
    lp_error error;
    int status = lp__kit_try_open(kit, &error);
    if (kit->seen.out_of_memory)
        lp__kit_fail(kit, "no memory");
    if (status != LP_OK)
        lp__kit_fail(kit, "opening the store failed with %s: %s", lp_status_name(status),
                     error.message);
}

void lp__kit_open_canceled(lp__kit *kit, uint64_t events)
{
    if (!lp__kit_going(kit))
        return;
    kit->seen.cancel_after = events;
    lp_error error;
    int status = lp__kit_try_open(kit, &error);
    kit->seen.cancel_after = 0;
    if (status != LP_ECANCELED)
        lp__kit_fail(kit,
                     "replay was canceled after %llu events, and opening the store ended with %s, "
                     "expected ECANCELED",
                     (unsigned long long)events, lp_status_name(status));
}

void lp__kit_close(lp__kit *kit)
{
    lp__kit_close_within(kit, CLOSE_MS);
}

void lp__kit_close_within(lp__kit *kit, int64_t timeout_ms)
{
    if (!lp__kit_going(kit) || !kit->store)
        return;
    lp_error error = {LP_OK, ""};
    int status = lp_store_close(kit->store, timeout_ms, &error);
    kit->store = NULL;
    if (status != LP_OK)
        lp__kit_fail(kit, "closing the store with %lld ms to go failed with %s: %s",
                     (long long)timeout_ms, lp_status_name(status), error.message);
}

int64_t lp__kit_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void lp__kit_idle(lp__kit *kit)
{
    int64_t next_ms = 0;
    for (int i = 0; i < IDLE_CALLS && next_ms == 0 && lp__kit_going(kit); i++) {
        lp_error error = {LP_OK, ""};
        int status = lp_store_idle(kit->store, IDLE_MS, &next_ms, &error);
        if (status != LP_OK)
            lp__kit_fail(kit, "on_idle failed with %s: %s", lp_status_name(status), error.message);
    }
}

void lp__kit_tend(lp__kit *kit)
{
    int64_t now_ms = lp__kit_now_ms();
    if (!lp__kit_going(kit) || kit->idle_at_ms < 0 || now_ms < kit->idle_at_ms)
        return;
    int64_t next_ms = -1;
    lp_error error = {LP_OK, ""};
    int status = lp_store_idle(kit->store, TEND_MS, &next_ms, &error);
    if (status != LP_OK)
        lp__kit_fail(kit, "on_idle failed with %s: %s", lp_status_name(status), error.message);
    kit->idle_at_ms = next_ms < 0 ? -1 : lp__kit_now_ms() + next_ms;
}

void lp__kit_compact(lp__kit *kit)
{
    int64_t next_ms = 0, started_ms = lp__kit_now_ms();
    while (next_ms >= 0 && lp__kit_going(kit)) {
        lp_error error = {LP_OK, ""};
        int status = lp_store_compact(kit->store, IDLE_MS, &next_ms, &error);
        if (status != LP_OK)
            lp__kit_fail(kit, "a thorough on_idle failed with %s: %s", lp_status_name(status),
                         error.message);
        else if (lp__kit_now_ms() - started_ms > COMPACT_MS)
            lp__kit_fail(kit, "a thorough on_idle still asks for more after %d s",
                         COMPACT_MS / 1000);
    }
}

void lp__kit_reopen(lp__kit *kit, const char *when)
{
    lp__kit_close(kit);
    lp__kit_open(kit);
    lp__expect_check(kit, when);
}

/* ---- batches ----------------------------------------------------------------------------------
 */

static void expect_ok(lp__kit *kit, const char *what, int status)
{
    if (status != LP_OK)
        lp__kit_fail(kit, "%s: %s", what, lp_strerror(status));
}

/* Mostly many events of one millisecond, as under load. */
static void advance(lp__kit *kit)
{
    if (lp__kit_random(kit, 40) == 0)
        kit->seq = lp_seq_first(lp_seq_ms(kit->seq) + 1 + (int64_t)lp__kit_random(kit, 1000));
    else
        kit->seq++;
}

static void add(lp__kit *kit, lp_event *event)
{
    expect_ok(kit, "adding an event to the batch", lp_batch_add_event(kit->batch, event));
    lp_event_unref(event);
    advance(kit);
}

void lp__kit_event(lp__kit *kit, lp_str category, lp_str data)
{
    if (!lp__kit_going(kit))
        return;
    lp_event *event = NULL;
    int status =
        lp_event_new(lp_id_make(kit->seq, kit->seq * 0x9e3779b97f4a7c15u), category, data, &event);
    expect_ok(kit, "making an event", status);
    if (event)
        add(kit, event);
}

void lp__kit_any_event(lp__kit *kit)
{
    if (!lp__kit_going(kit))
        return;
    lp_event *event = lp__odd_event(kit->seq);
    if (event)
        add(kit, event);
    else
        lp__kit_fail(kit, "no memory");
}

void lp__kit_any_events(lp__kit *kit, size_t count)
{
    for (size_t i = 0; i < count; i++)
        lp__kit_any_event(kit);
}

void lp__kit_removal(lp__kit *kit, uint64_t seq, lp_removal_reason reason)
{
    expect_ok(kit, "adding a removal", lp_batch_add_removal(kit->batch, seq, reason));
    lp_batch_set_highest(kit->batch, kit->highest);
}

void lp__kit_horizon(lp__kit *kit, lp_str category, uint64_t seq)
{
    expect_ok(kit, "adding a horizon", lp_batch_add_horizon(kit->batch, category, seq));
    lp_batch_set_highest(kit->batch, kit->highest);
}

void lp__kit_key(lp__kit *kit, const lp_idempotency *record)
{
    expect_ok(kit, "adding a key", lp_batch_add_idempotency(kit->batch, record));
    lp_batch_set_highest(kit->batch, kit->highest);
}

void lp__kit_forget_keys(lp__kit *kit, int64_t expires_ms)
{
    lp_batch_set_forgotten_keys(kit->batch, expires_ms);
    lp_batch_set_highest(kit->batch, kit->highest);
}

static int append(lp__kit *kit, lp_error *error)
{
    *error = (lp_error){LP_OK, ""};
    int status = lp_store_append(kit->store, kit->batch, error);
    lp__expect_batch(kit, status);
    if (kit->idle_at_ms < 0)
        kit->idle_at_ms = 0;
    return status;
}

int lp__kit_try_append(lp__kit *kit)
{
    if (!lp__kit_going(kit))
        return LP_ECANCELED;
    lp_error error;
    int status = append(kit, &error);
    lp_batch_clear(kit->batch);
    if (status != LP_OK && !error.message[0])
        lp__kit_fail(kit, "a batch failed with %s and no sentence", lp_status_name(status));
    return status;
}

void lp__kit_append(lp__kit *kit)
{
    if (!lp__kit_going(kit))
        return;
    lp_error error;
    int status = append(kit, &error);
    if (status != LP_OK)
        lp__kit_fail(kit, "a batch failed with %s: %s", lp_status_name(status), error.message);
    for (size_t i = 0; i < lp_batch_event_count(kit->batch); i++) {
        const char *reason;
        status = lp_batch_status(kit->batch, i, &reason);
        if (status != LP_OK)
            lp__kit_fail(kit, "event %zu of a batch was refused with %s: %s", i,
                         lp_status_name(status), reason);
    }
    lp_batch_clear(kit->batch);
}

/* ---- begin and end ----------------------------------------------------------------------------
 */

static void forget(lp__kit *kit)
{
    if (kit->store)
        lp_store_close(kit->store, CLOSE_MS, NULL);
    kit->store = NULL;
    kit->idle_at_ms = 0;
    lp__expect_clear(kit);
    lp__seen_clear(&kit->seen);
    if (kit->batch)
        lp_batch_clear(kit->batch);
    kit->seq = lp_seq_first(FIRST_MS);
    kit->batches = 0;
}

void lp__kit_init(lp__kit *kit, const lp_conformance *options, const char *case_name)
{
    memset(kit, 0, sizeof(*kit));
    kit->options = options;
    kit->case_name = case_name;
    kit->outcome = LP_CASE_PASSED;
    kit->seed = options->seed ? options->seed : FIRST_RANDOM;
    kit->random = kit->seed;
}

void lp__kit_begin(lp__kit *kit)
{
    forget(kit);
    lp__kit_make_directory(kit);
    expect_ok(kit, "making a batch", lp_batch_new(&kit->batch));
}

void lp__kit_reset(lp__kit *kit)
{
    if (!lp__kit_going(kit))
        return;
    forget(kit);
    lp__files_remove(kit->directory);
    lp__kit_make_directory(kit);
}

void lp__kit_locate(lp__kit *kit)
{
    size_t len = strlen(kit->detail);
    if (kit->directory[0])
        snprintf(kit->detail + len, sizeof(kit->detail) - len, " (seed %llu, left in %s)",
                 (unsigned long long)kit->seed, kit->directory);
}

void lp__kit_end(lp__kit *kit)
{
    forget(kit);
    lp_batch_free(kit->batch);
    if (kit->outcome == LP_CASE_FAILED)
        lp__kit_locate(kit);
    else
        lp__files_remove(kit->directory);
}
