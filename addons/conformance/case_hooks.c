/* The cases about single hooks: tables of another size, on_idle, on_shutdown, on_inspect. */
#include "kit.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_MS      2000 /* and fifty times its budget: a call that takes longer hangs */
#define ASKING_MS    30000
#define ASKING_CALLS 1000000
#define SMALL_MS     1
#define CLOSING_MS   20000

/* Events that come and partly go, so that there is work in the background. */
static void churn(lp__kit *kit, size_t batches)
{
    size_t oldest = 0;
    for (size_t i = 0; i < batches && lp__kit_going(kit); i++) {
        lp__kit_any_events(kit, 20);
        if (lp__kit_claims(kit, LP_CLAIM_REMOVALS))
            for (int k = 0; k < 18 && oldest < kit->expected_count; k++, oldest++)
                lp__kit_removal(kit, lp_event_seq(kit->expected[oldest].event),
                                LP_REMOVED_RETRIEVED);
        lp__kit_append(kit);
    }
}

/* ---- tables of another size -------------------------------------------------------------------
 */

/* Whether the compiler of the add-on knew the hook. */
#define HAS(addon, hook)                                                                           \
    ((addon)->struct_size >= offsetof(lp_addon, hook) + sizeof((addon)->hook) && (addon)->hook)

static int old_start(lp_addon *self, lp_replay *replay)
{
    lp_addon *inner = self->state;
    int status = inner->on_start(inner, replay);
    if (status != LP_OK) {
        if (HAS(inner, destroy))
            inner->destroy(inner);
        free(self);
    }
    return status;
}

static int wrapped_publish(lp_addon *self, lp_batch *batch)
{
    lp_addon *inner = self->state;
    return inner->on_publish(inner, batch);
}

/* The last call that a table without `destroy` gets. */
static int old_shutdown(lp_addon *self, lp_ending *ending)
{
    lp_addon *inner = self->state;
    int status = inner->on_shutdown(inner, ending);
    if (HAS(inner, destroy))
        inner->destroy(inner);
    free(self);
    return status;
}

/* A table of an author who knew the required hooks alone: there is no memory behind them. */
static lp_addon *wrap_old(lp_addon *inner)
{
    size_t size = offsetof(lp_addon, on_idle);
    lp_addon *table = malloc(size);
    if (!table)
        return NULL;
    lp_addon full = LP_ADDON_INIT(inner->name);
    full.struct_size = (uint32_t)size;
    full.state = inner;
    full.on_start = old_start;
    full.on_publish = wrapped_publish;
    full.on_shutdown = old_shutdown;
    memcpy(table, &full, size);
    return table;
}

/* A table of an author who knew more hooks than this library does. */
typedef struct newer_table {
    lp_addon known;
    void (*unknown[8])(void);
} newer_table;

static void never_called(void)
{
    abort();
}

static int newer_start(lp_addon *self, lp_replay *replay)
{
    lp_addon *inner = self->state;
    return inner->on_start(inner, replay);
}

static int newer_shutdown(lp_addon *self, lp_ending *ending)
{
    lp_addon *inner = self->state;
    return inner->on_shutdown(inner, ending);
}

static int newer_idle(lp_addon *self, lp_idle *idle)
{
    lp_addon *inner = self->state;
    return HAS(inner, on_idle) ? inner->on_idle(inner, idle) : LP_OK;
}

static void newer_destroy(lp_addon *self)
{
    lp_addon *inner = self->state;
    if (HAS(inner, destroy))
        inner->destroy(inner);
    free(self);
}

static lp_addon *wrap_newer(lp_addon *inner)
{
    newer_table *table = malloc(sizeof(*table));
    if (!table)
        return NULL;
    table->known = (lp_addon)LP_ADDON_INIT(inner->name);
    table->known.struct_size = sizeof(*table);
    table->known.state = inner;
    table->known.on_start = newer_start;
    table->known.on_publish = wrapped_publish;
    table->known.on_shutdown = newer_shutdown;
    table->known.on_idle = newer_idle;
    table->known.destroy = newer_destroy;
    for (size_t i = 0; i < sizeof(table->unknown) / sizeof(table->unknown[0]); i++)
        table->unknown[i] = never_called;
    return &table->known;
}

static void use_wrapped(lp__kit *kit)
{
    lp__kit_open(kit);
    for (int i = 0; i < 4; i++) {
        churn(kit, 3);
        lp__kit_idle(kit);
    }
    lp__kit_reopen(kit, kit->what);
    churn(kit, 3);
    lp__kit_reopen(kit, kit->what);
}

void lp__case_vtable(lp__kit *kit)
{
    kit->what = "through a table that ends before on_idle";
    kit->wrap = wrap_old;
    use_wrapped(kit);
    lp__kit_close(kit);
    kit->what = "through a table with more hooks than there are";
    kit->wrap = wrap_newer;
    use_wrapped(kit);
    lp__kit_close(kit);
    kit->wrap = NULL;
    lp__kit_open(kit);
    lp__expect_check(kit, "after tables of other sizes were used");
}

/* ---- on_idle ----------------------------------------------------------------------------------
 */

/* Calls on_idle for as long as it asks for it at once. */
static void call_idle(lp__kit *kit, int64_t budget_ms)
{
    int64_t next_ms = 0, until_ms = lp__kit_now_ms() + ASKING_MS;
    for (int calls = 1; next_ms == 0 && lp__kit_going(kit); calls++) {
        lp_error error = {LP_OK, ""};
        int64_t started_ms = lp__kit_now_ms();
        int status = lp_store_idle(kit->store, budget_ms, &next_ms, &error);
        int64_t took_ms = lp__kit_now_ms() - started_ms;
        if (status != LP_OK)
            lp__kit_fail(kit, "on_idle failed with %s: %s", lp_status_name(status), error.message);
        if (took_ms > SLOW_MS + 50 * budget_ms)
            lp__kit_fail(kit,
                         "on_idle with a budget of %lld ms took %lld ms (do a slice, and ask to be "
                         "called again with lp_idle_again)",
                         (long long)budget_ms, (long long)took_ms);
        if (lp__kit_now_ms() > until_ms || calls == ASKING_CALLS)
            lp__kit_fail(kit, "on_idle still asks to be called again at once after %d calls",
                         calls);
    }
}

static void idle_around(lp__kit *kit)
{
    lp__kit_open(kit);
    call_idle(kit, SMALL_MS);
    for (int i = 0; i < 6; i++) {
        churn(kit, 10);
        call_idle(kit, i % 2 ? SMALL_MS : 5 * SMALL_MS);
    }
    call_idle(kit, 1000);
    lp__kit_reopen(kit, "after calls of on_idle with small budgets");
    call_idle(kit, SMALL_MS);
    lp__kit_reopen(kit, "after on_idle right behind a start");
    lp__kit_close(kit);
}

void lp__case_idle(lp__kit *kit)
{
    lp__kit_in_child(kit, idle_around, "on_idle with small budgets");
}

/* ---- on_shutdown ------------------------------------------------------------------------------
 */

static void close_late(lp__kit *kit, int64_t timeout_ms, const char *when)
{
    int64_t started_ms = lp__kit_now_ms();
    lp__kit_close_within(kit, timeout_ms);
    if (lp__kit_now_ms() - started_ms > CLOSING_MS)
        lp__kit_fail(kit, "on_shutdown returned %lld ms after its deadline",
                     (long long)(lp__kit_now_ms() - started_ms - timeout_ms));
    lp__kit_open(kit);
    lp__expect_check(kit, when);
}

static void shut_down(lp__kit *kit)
{
    lp__kit_open(kit);
    close_late(kit, 0, "after a new store was closed with its deadline passed");
    for (int i = 0; i < 4; i++) {
        churn(kit, 12);
        close_late(kit, i % 2, "after it was closed with its deadline passed");
    }
    for (int i = 0; i < 4 && lp__kit_going(kit); i++) {
        churn(kit, 12);
        int64_t next_ms;
        lp_store_idle(kit->store, SMALL_MS, &next_ms, NULL);
        close_late(kit, i % 2, "after it was closed in the middle of its background work");
    }
    lp__kit_close(kit);
}

void lp__case_shutdown(lp__kit *kit)
{
    lp__kit_in_child(kit, shut_down, "on_shutdown with its deadline passed");
}

/* ---- thorough calls ---------------------------------------------------------------------------
 */

static void compact_around(lp__kit *kit)
{
    lp__kit_open(kit);
    lp__kit_compact(kit);
    for (int i = 0; i < 3; i++) {
        churn(kit, 15);
        lp__kit_compact(kit);
        lp__kit_any_events(kit, 3);
        lp__kit_append(kit);
        lp__kit_reopen(kit, "after it was compacted, and a batch since");
    }
    lp__kit_compact(kit);
    lp__kit_compact(kit);
    lp__kit_reopen(kit, "after it was compacted right behind a start, twice");
    lp__kit_close(kit);
}

void lp__case_compact(lp__kit *kit)
{
    lp__kit_in_child(kit, compact_around, "a thorough on_idle");
}

/* What on_inspect told. */
typedef struct figures {
    char wrong[64]; /* the name of a figure that is spelt wrongly, or is 0 where it must be */
    size_t count;
} figures;

static void on_figure(void *ctx, const char *name, uint64_t number, const char *text)
{
    figures *told = ctx;
    bool ok =
        name[0] != '\0' && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
    if (strcmp(name, "damaged_records") == 0 && !text && number)
        ok = false;
    told->count++;
    if (!ok)
        strncpy(told->wrong, name, sizeof(told->wrong) - 1);
}

static void inspect(lp__kit *kit, bool thorough)
{
    if (!lp__kit_going(kit))
        return;
    figures told = {"", 0};
    lp_error error = {LP_OK, ""};
    int status = thorough ? lp_store_verify(kit->store, on_figure, &told, &error)
                          : lp_store_inspect(kit->store, on_figure, &told, &error);
    const char *which = thorough ? "a thorough on_inspect" : "on_inspect";
    if (status == LP_ENOTFOUND)
        lp__kit_not_applicable(kit, "the add-on has no on_inspect");
    else if (status != LP_OK)
        lp__kit_fail(kit, "%s of a sound store failed with %s: %s", which, lp_status_name(status),
                     error.message);
    else if (told.wrong[0])
        lp__kit_fail(kit,
                     "%s told \"%s\": a name is of lower case, digits and underscores, and "
                     "damaged_records of a sound store is 0",
                     which, told.wrong);
}

static void inspect_around(lp__kit *kit)
{
    lp__kit_open(kit);
    inspect(kit, false);
    inspect(kit, true);
    for (int i = 0; i < 4; i++) {
        churn(kit, 8);
        inspect(kit, i % 2);
        lp__kit_any_events(kit, 3);
        lp__kit_append(kit);
        inspect(kit, true);
        if (i == 1)
            lp__kit_idle(kit);
        lp__kit_reopen(kit, "after on_inspect, and a batch between");
        inspect(kit, true);
    }
    lp__kit_reopen(kit, "after on_inspect alone");
    lp__kit_close(kit);
}

void lp__case_inspect(lp__kit *kit)
{
    lp__kit_in_child(kit, inspect_around, "on_inspect");
}

/* ---- the lock ---------------------------------------------------------------------------------
 */

/* Opens the store while it is open. */
static void open_again(lp__kit *kit)
{
    lp_store *open = kit->store;
    lp_error error;
    kit->store = NULL;
    int status = lp__kit_try_open(kit, &error);
    if (status == LP_OK)
        lp_store_close(kit->store, 0, NULL);
    kit->store = open;
    if (status != LP_EINUSE)
        lp__kit_fail(kit, "%s: opening a store that is open ended with %s, expected EINUSE",
                     kit->what, lp_status_name(status));
    else if (!error.message[0])
        lp__kit_fail(kit, "%s: EINUSE came without a sentence", kit->what);
}

static void open_in_child(lp__kit *kit)
{
    kit->store = NULL; /* the parent's; this process ends without touching it */
    open_again(kit);
}

void lp__case_lock(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_LOCK);
    for (int round = 0; round < 2 && lp__kit_going(kit); round++) {
        lp__kit_open(kit);
        churn(kit, 3);
        kit->what = "from another process";
        lp__kit_in_child(kit, open_in_child, kit->what);
        kit->what = "from the same process";
        open_again(kit);
        kit->what = "from another process, after one from the same was refused";
        lp__kit_in_child(kit, open_in_child, kit->what);
        churn(kit, 3);
        lp__kit_reopen(kit, "after others have tried to open it");
        lp__kit_close(kit);
    }
}
