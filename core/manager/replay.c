/* The way from the store into the engine, at start. All but lp__replay_start runs on the add-on's
 * thread, which has the engine to itself until the worker says that the store is open. */
#include <inttypes.h>
#include <stdlib.h>

#include "manager_private.h"

enum { TELL_EVERY_MS = 1000 };

static bool is_canceled(lp__replaying *replaying)
{
    lp__worker *worker = atomic_load(&replaying->worker);
    return worker != NULL && lp__worker_is_canceled(worker);
}

static void tell(lp__replaying *replaying, lp_log_level level, const char *line)
{
    lp__worker *worker = atomic_load(&replaying->worker);
    if (worker != NULL)
        lp__worker_log(worker, level, line);
}

static void tell_progress(lp__replaying *replaying)
{
    uint64_t now = uv_hrtime() / 1000000;
    if (now - replaying->told_ms < TELL_EVERY_MS)
        return;
    replaying->told_ms = now;
    lp_error line;
    uint64_t events = atomic_load(&replaying->events);
    if (replaying->total_bytes > 0)
        lp_error_set(&line, LP_OK, "replay: %" PRIu64 " events, %" PRIu64 " %%", events,
                     replaying->done_bytes * 100 / replaying->total_bytes);
    else
        lp_error_set(&line, LP_OK, "replay: %" PRIu64 " events", events);
    tell(replaying, LP_LOG_INFO, line.message);
}

static int on_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    enum { LOOK_EVERY = 4096 };
    lp__replaying *replaying = ctx;
    uint64_t count = atomic_load_explicit(&replaying->events, memory_order_relaxed) + 1;
    atomic_store_explicit(&replaying->events, count, memory_order_relaxed);
    if (count % LOOK_EVERY == 0)
        tell_progress(replaying);
    if (is_canceled(replaying))
        return LP_ECANCELED;
    return lp__engine_replay_event(replaying->engine, replaying->begun, id, category, data);
}

static int on_removal(void *ctx, uint64_t seq)
{
    lp__replaying *replaying = ctx;
    return is_canceled(replaying) ? LP_ECANCELED
                                  : lp__engine_replay_removal(replaying->engine, seq);
}

static int on_horizon(void *ctx, lp_str category, uint64_t seq)
{
    lp__replaying *replaying = ctx;
    return is_canceled(replaying) ? LP_ECANCELED
                                  : lp__engine_replay_horizon(replaying->engine, category, seq);
}

static int on_idempotency(void *ctx, const lp_idempotency *record)
{
    lp__replaying *replaying = ctx;
    if (is_canceled(replaying))
        return LP_ECANCELED;
    return lp__engine_replay_idempotency(replaying->engine, replaying->begun, record);
}

static int on_highest(void *ctx, uint64_t seq)
{
    lp__replaying *replaying = ctx;
    lp__engine_replay_highest(replaying->engine, replaying->begun, seq);
    return LP_OK;
}

static int on_loss(void *ctx, uint64_t records, const char *detail)
{
    lp__replaying *replaying = ctx;
    lp_error line;
    atomic_fetch_add(&replaying->damaged, records);
    replaying->loss = true;
    lp_error_set(&line, LP_OK, "history may be missing, clients are told of a gap: %s", detail);
    tell(replaying, LP_LOG_WARN, line.message);
    return LP_OK;
}

static void on_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    lp__replaying *replaying = ctx;
    replaying->done_bytes = done_bytes;
    replaying->total_bytes = total_bytes;
    tell_progress(replaying);
}

static void on_line(void *ctx, const char *line)
{
    tell(ctx, LP_LOG_INFO, line);
}

static void on_opened(void *ctx)
{
    lp__replaying *replaying = ctx;
    lp__now now = lp__manager_now();
    lp__engine_replay_end(replaying->engine, now);
    if (replaying->loss)
        lp__engine_raise_floor(replaying->engine, now);

    lp__engine_stats stats;
    lp__engine_stats_get(replaying->engine, &stats);
    lp_error line;
    lp_error_set(&line, LP_OK,
                 "replay: %" PRIu64 " events read, %zu in %zu categories to serve, in %" PRIi64
                 " ms",
                 (uint64_t)atomic_load(&replaying->events), stats.events, stats.categories,
                 now.mono_ms - replaying->begun.mono_ms);
    tell(replaying, LP_LOG_INFO, line.message);
}

void lp__replay_left_behind(void *ctx)
{
    lp__replaying *replaying = ctx;
    lp__engine_free(replaying->engine);
    free(replaying);
}

/* ---- home loop ---------------------------------------------------------- */

static void wake(void *ctx)
{
    lp__manager_wake(ctx);
}

static void log_line(void *ctx, lp_log_level level, const char *line)
{
    lp_manager *manager = ctx;
    lp__manager_log(manager, level, "%s: %s", manager->store_name, line);
}

int lp__replay_start(lp_manager *manager, lp_error *error)
{
    lp__replaying *replaying = calloc(1, sizeof(*replaying));
    if (replaying == NULL)
        return lp_error_set(error, LP_ENOMEM, "out of memory");
    replaying->engine = manager->engine;
    replaying->begun = lp__manager_now();
    replaying->told_ms = uv_hrtime() / 1000000;
    lp__worker_hooks hooks = {
        .ctx = manager,
        .wake = wake,
        .log = log_line,
        .opened = on_opened,
        .sink = {.ctx = replaying,
                 .event = on_event,
                 .removal = on_removal,
                 .horizon = on_horizon,
                 .idempotency = on_idempotency,
                 .highest = on_highest,
                 .loss = on_loss,
                 .progress = on_progress,
                 .log = on_line,
                 .expired_ms = lp__engine_expired_ms(manager->engine, replaying->begun),
                 .ring_size = (size_t)manager->options.event_buffer_max},
    };
    lp__engine_replay_begin(manager->engine);
    manager->replaying = replaying;
    int status = lp__worker_start(manager->options.addon, &hooks, &replaying->worker,
                                  &manager->worker, error);
    if (status != LP_OK) {
        free(replaying);
        manager->replaying = NULL;
    }
    return status;
}
