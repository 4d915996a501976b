/* Driving an add-on: the store of store.h, and the nouns that its hooks read, except the batch
 * (batch.c). A store is used by one thread at a time, its own if it is the manager's. */
#include "addon_nouns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct lp_store {
    lp_addon *addon;
    lp_addon hooks; /* the add-on's table; what its compiler did not know is NULL */
    lp_store_sink sink;
    uint64_t highest; /* the highest sequence number that the store knows */
    bool in_doubt;
    char name[64];
};

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int lp__noun_error(lp_error *error, int status, const char *format, va_list args)
{
    error->status = status;
    vsnprintf(error->message, sizeof(error->message), format, args);
    return status;
}

void lp__noun_log(const lp_store_sink *sink, const char *format, va_list args)
{
    if (!sink || !sink->log)
        return;
    char line[1024];
    vsnprintf(line, sizeof(line), format, args);
    sink->log(sink->ctx, line);
}

int lp__addon_read(const lp_addon *addon, lp_addon *table, lp_error *error)
{
    memset(table, 0, sizeof(*table));
    if (!addon)
        return lp_error_set(error, LP_EINVAL, "add-on: there is none (NULL)");
    if (addon->abi != LP_ADDON_ABI || addon->struct_size < offsetof(lp_addon, state))
        return lp_error_set(error, LP_EINVAL,
                            "add-on: its table has ABI %u and %u bytes, this library speaks ABI "
                            "%d (start it with LP_ADDON_INIT, and build it with these headers)",
                            (unsigned)addon->abi, (unsigned)addon->struct_size, LP_ADDON_ABI);
    memcpy(table, addon, addon->struct_size < sizeof(*table) ? addon->struct_size : sizeof(*table));
    if (!table->name || !table->name[0])
        return lp_error_set(error, LP_EINVAL,
                            "add-on: it has no name (give LP_ADDON_INIT one, it is for the log)");
    const char *missing = !table->on_start      ? "on_start"
                          : !table->on_publish  ? "on_publish"
                          : !table->on_shutdown ? "on_shutdown"
                                                : NULL;
    if (missing)
        return lp_error_set(error, LP_EINVAL,
                            "add-on \"%s\": it has no %s hook (on_start, on_publish and "
                            "on_shutdown are required)",
                            table->name, missing);
    return LP_OK;
}

/* What a hook returned, with a sentence: its own, or one that says at least which hook it was. */
static int hook_result(const lp_store *store, const char *hook, int status, const lp_error *said,
                       lp_error *error)
{
    if (status > 0)
        return lp_error_set(error, LP_EINVAL,
                            "%s: %s returned %d, which is neither LP_OK nor a negative status",
                            store->name, hook, status);
    if (status == LP_OK)
        return LP_OK;
    if (said && said->status != LP_OK)
        return lp_error_set(error, status, "%s", said->message);
    return lp_error_set(error, status, "%s: %s failed: %s", store->name, hook, lp_strerror(status));
}

/* ---- open --------------------------------------------------------------- */

static void destroy(lp_store *store)
{
    if (store->hooks.destroy)
        store->hooks.destroy(store->addon);
    free(store);
}

/* Calls on_start, and sees to it that nothing that it passed over stays unsaid. */
static int start(lp_store *store, lp_error *error)
{
    lp_replay replay = {.sink = &store->sink};
    int status = store->hooks.on_start(store->addon, &replay);
    status = hook_result(store, "on_start", status, &replay.error, error);
    if (status == LP_EINVAL)
        status = error->status = LP_EDAMAGED; /* LP_EINVAL is for a table that was left alone */
    if (status != LP_OK)
        return status;

    if (replay.stopped == LP_OK && replay.refused && !replay.told_loss) {
        char detail[160];
        snprintf(detail, sizeof(detail),
                 "%s pushed %llu records that are no events or out of order", store->name,
                 (unsigned long long)replay.refused);
        lp_replay_loss(&replay, replay.refused, detail);
    }
    store->highest = replay.highest;
    if (replay.stopped == LP_OK)
        return LP_OK;
    /* It went on past a push that ended the start, so it is open and wants to be closed. */
    lp_ending ending = {.deadline_ms = monotonic_ms()};
    store->hooks.on_shutdown(store->addon, &ending);
    return lp_error_set(error, replay.stopped, "%s: replay was stopped: %s", store->name,
                        lp_strerror(replay.stopped));
}

int lp_store_open(lp_addon *addon, const lp_store_sink *sink, lp_store **out, lp_error *error)
{
    lp_error unwanted;
    if (!error)
        error = &unwanted;
    *out = NULL;
    lp_addon hooks;
    int status = lp__addon_read(addon, &hooks, error);
    if (status != LP_OK)
        return status;

    lp_store *store = calloc(1, sizeof(*store));
    if (!store) {
        lp_error_set(error, LP_ENOMEM, "%s: no memory to open it", hooks.name);
        if (hooks.destroy)
            hooks.destroy(addon);
        return LP_ENOMEM;
    }
    store->addon = addon;
    store->hooks = hooks;
    if (sink)
        store->sink = *sink;
    else
        store->sink.expired_ms = INT64_MIN;
    snprintf(store->name, sizeof(store->name), "%s", hooks.name);

    status = start(store, error);
    if (status != LP_OK) {
        destroy(store);
        return status;
    }
    *out = store;
    return LP_OK;
}

/* ---- replay ------------------------------------------------------------- */

/* Keeps a status with which the sink ended the start, in case that the hook does not heed it. */
static int told(lp_replay *replay, int status)
{
    if (status < 0)
        replay->stopped = status;
    return status;
}

static int refuse(lp_replay *replay, int status)
{
    replay->refused++;
    return status;
}

static bool is_seq(uint64_t seq)
{
    return seq != 0 && seq <= INT64_MAX;
}

int lp_replay_event(lp_replay *replay, lp_id id, lp_str category, lp_str data)
{
    if (replay->stopped)
        return replay->stopped;
    uint64_t seq = lp_id_seq(id);
    if (lp_id_version(id) != 7 || !is_seq(seq) || category.len == 0 ||
        category.len > LP_CATEGORY_MAX || data.len == 0)
        return refuse(replay, LP_EINVAL);
    if (seq <= replay->last_seq)
        return refuse(replay, LP_EORDER);
    if (replay->sink->event) {
        int status = replay->sink->event(replay->sink->ctx, id, category, data);
        if (status == LP_EINVAL || status == LP_EORDER)
            return refuse(replay, status);
        if (status < 0)
            return told(replay, status);
        replay->last_seq = seq;
        return status;
    }
    replay->last_seq = seq;
    return LP_OK;
}

int lp_replay_removal(lp_replay *replay, uint64_t seq)
{
    if (replay->stopped)
        return replay->stopped;
    if (!is_seq(seq))
        return refuse(replay, LP_EINVAL);
    return replay->sink->removal ? told(replay, replay->sink->removal(replay->sink->ctx, seq))
                                 : LP_OK;
}

int lp_replay_horizon(lp_replay *replay, lp_str category, uint64_t seq)
{
    if (replay->stopped)
        return replay->stopped;
    if (!is_seq(seq) || category.len > LP_CATEGORY_MAX)
        return refuse(replay, LP_EINVAL);
    return replay->sink->horizon
               ? told(replay, replay->sink->horizon(replay->sink->ctx, category, seq))
               : LP_OK;
}

int lp_replay_idempotency(lp_replay *replay, const lp_idempotency *record)
{
    if (replay->stopped)
        return replay->stopped;
    if (!is_seq(record->seq) || record->key.len == 0 || record->key.len > 255)
        return refuse(replay, LP_EINVAL);
    return replay->sink->idempotency
               ? told(replay, replay->sink->idempotency(replay->sink->ctx, record))
               : LP_OK;
}

int lp_replay_highest(lp_replay *replay, uint64_t seq)
{
    if (replay->stopped)
        return replay->stopped;
    if (seq == 0)
        return LP_OK; /* a store that was never written */
    if (!is_seq(seq))
        return refuse(replay, LP_EINVAL);
    if (seq > replay->highest)
        replay->highest = seq;
    return replay->sink->highest ? told(replay, replay->sink->highest(replay->sink->ctx, seq))
                                 : LP_OK;
}

int lp_replay_loss(lp_replay *replay, uint64_t records, const char *detail)
{
    if (replay->stopped)
        return replay->stopped;
    replay->told_loss = true;
    return replay->sink->loss ? told(replay, replay->sink->loss(replay->sink->ctx, records, detail))
                              : LP_OK;
}

int64_t lp_replay_expired_ms(const lp_replay *replay)
{
    return replay->sink->expired_ms;
}

size_t lp_replay_ring_size(const lp_replay *replay)
{
    return replay->sink->ring_size ? replay->sink->ring_size : SIZE_MAX;
}

void lp_replay_progress(lp_replay *replay, uint64_t done_bytes, uint64_t total_bytes)
{
    if (replay->sink->progress)
        replay->sink->progress(replay->sink->ctx, done_bytes, total_bytes);
}

void lp_replay_log(lp_replay *replay, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lp__noun_log(replay->sink, format, args);
    va_end(args);
}

int lp_replay_error(lp_replay *replay, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lp__noun_error(&replay->error, status, format, args);
    va_end(args);
    return status;
}

/* ---- append ------------------------------------------------------------- */

int lp_store_append(lp_store *store, lp_batch *batch, lp_error *error)
{
    if (store->in_doubt)
        return lp_error_set(error, LP_EINDOUBT,
                            "%s: an earlier batch is in doubt, open the store again to go on",
                            store->name);
    lp__batch_begin(batch, &store->sink);
    if (!batch->item_count && !batch->removal_count && !batch->horizon_count && !batch->key_count &&
        batch->highest <= store->highest)
        return LP_OK;

    int status = store->hooks.on_publish(store->addon, batch);
    batch->sink = NULL;
    if (status > 0) {
        store->in_doubt = true;
        return lp_error_set(error, LP_EINDOUBT,
                            "%s: on_publish returned %d, which is neither LP_OK nor a negative "
                            "status; whether the batch is kept is not known",
                            store->name, status);
    }
    if (status == LP_OK && batch->highest > store->highest)
        store->highest = batch->highest;
    store->in_doubt = status == LP_EINDOUBT;
    return hook_result(store, "on_publish", status, &batch->error, error);
}

/* ---- idle --------------------------------------------------------------- */

static int call_idle(lp_store *store, int64_t budget_ms, bool thorough, int64_t *next_ms,
                     lp_error *error)
{
    *next_ms = -1;
    if (!store->hooks.on_idle)
        return LP_OK;
    lp_idle idle = {
        .budget_ms = budget_ms, .next_ms = -1, .thorough = thorough, .sink = &store->sink};
    int status = store->hooks.on_idle(store->addon, &idle);
    *next_ms = idle.next_ms;
    return hook_result(store, "on_idle", status, &idle.error, error);
}

int lp_store_idle(lp_store *store, int64_t budget_ms, int64_t *next_ms, lp_error *error)
{
    return call_idle(store, budget_ms, false, next_ms, error);
}

int lp_store_compact(lp_store *store, int64_t budget_ms, int64_t *next_ms, lp_error *error)
{
    return call_idle(store, budget_ms, true, next_ms, error);
}

bool lp_idle_is_thorough(const lp_idle *idle)
{
    return idle->thorough;
}

int64_t lp_idle_budget_ms(const lp_idle *idle)
{
    return idle->budget_ms;
}

void lp_idle_again(lp_idle *idle, int64_t delay_ms)
{
    idle->next_ms = delay_ms < 0 ? 0 : delay_ms;
}

void lp_idle_log(lp_idle *idle, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lp__noun_log(idle->sink, format, args);
    va_end(args);
}

int lp_idle_error(lp_idle *idle, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lp__noun_error(&idle->error, status, format, args);
    va_end(args);
    return status;
}

/* ---- inspect ------------------------------------------------------------ */

static int call_inspect(lp_store *store, bool thorough, lp_store_figure_cb figure, void *ctx,
                        lp_error *error)
{
    if (!store->hooks.on_inspect)
        return lp_error_set(error, LP_ENOTFOUND, "%s: it tells no figures", store->name);
    lp_report report = {.figure = figure, .ctx = ctx, .thorough = thorough};
    int status = store->hooks.on_inspect(store->addon, &report);
    return hook_result(store, "on_inspect", status, &report.error, error);
}

int lp_store_inspect(lp_store *store, lp_store_figure_cb figure, void *ctx, lp_error *error)
{
    return call_inspect(store, false, figure, ctx, error);
}

int lp_store_verify(lp_store *store, lp_store_figure_cb figure, void *ctx, lp_error *error)
{
    return call_inspect(store, true, figure, ctx, error);
}

bool lp_report_is_thorough(const lp_report *report)
{
    return report->thorough;
}

int lp_report_error(lp_report *report, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lp__noun_error(&report->error, status, format, args);
    va_end(args);
    return status;
}

void lp_report_number(lp_report *report, const char *name, uint64_t value)
{
    report->figure(report->ctx, name, value, NULL);
}

void lp_report_text(lp_report *report, const char *name, const char *text)
{
    report->figure(report->ctx, name, 0, text);
}

/* ---- close -------------------------------------------------------------- */

int lp_store_close(lp_store *store, int64_t timeout_ms, lp_error *error)
{
    if (!store)
        return LP_OK;
    lp_ending ending = {.deadline_ms = monotonic_ms() + (timeout_ms > 0 ? timeout_ms : 0)};
    int status = store->hooks.on_shutdown(store->addon, &ending);
    status = hook_result(store, "on_shutdown", status, &ending.error, error);
    destroy(store);
    return status;
}

int64_t lp_ending_remaining_ms(const lp_ending *ending)
{
    int64_t left = ending->deadline_ms - monotonic_ms();
    return left > 0 ? left : 0;
}

int lp_ending_error(lp_ending *ending, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lp__noun_error(&ending->error, status, format, args);
    va_end(args);
    return status;
}

const char *lp_store_name(const lp_store *store)
{
    return store->name;
}
