/* See bench_store_runs.h. One thread, but for the process that a manager's start gets. */
#include "bench_store_runs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uv.h>

#include <longpoll/manager.h>
#include <longpoll/store.h>

#include "../shared/load_client.h"
#include "../shared/load_figures.h"
#include "bench_store_files.h"
#include "say.h"
#include "../shared/stores.h"

#define FILL_BATCH     1024
#define IDLE_BUDGET_MS 5 /* the manager's */
#define CLOSE_MS       60000

#define SPEC_SIZE 4096

/* As --store takes it. */
static void store_spec(const char *kind, const char *directory, const char *sync, char *out)
{
    snprintf(out, SPEC_SIZE, "%s:%s%s?sync=%s", kind, directory,
             strcmp(kind, "sqlite") == 0 ? "/events.db" : "", sync);
}

lp_addon *store_addon(const char *kind, const char *directory, const char *sync)
{
    char spec[SPEC_SIZE];
    lp_addon *addon;
    lp_error error;

    store_spec(kind, directory, sync, spec);
    if (store_new(spec, false, &addon, &error) != LP_OK)
        fail("%s: %s", spec, error.message);
    return addon;
}

bool store_is_there(const char *kind, const char *directory)
{
    char spec[SPEC_SIZE];
    lp_addon *addon;
    lp_error error;

    store_spec(kind, directory, "never", spec);
    if (store_new(spec, false, &addon, &error) != LP_OK) {
        say_note("%s: passed over: %s", kind, error.message);
        return false;
    }
    addon->destroy(addon);
    return true;
}

static lp_store *open_store(const char *kind, const char *directory, const char *sync,
                            const lp_store_sink *sink)
{
    lp_store_sink nobody = {.expired_ms = INT64_MIN};
    lp_store *store;
    lp_error error;

    if (lp_store_open(store_addon(kind, directory, sync), sink ? sink : &nobody, &store, &error) !=
        LP_OK)
        fail("%s", error.message);
    return store;
}

static void close_store(lp_store *store)
{
    lp_error error;

    if (lp_store_close(store, CLOSE_MS, &error) != LP_OK)
        fail("%s", error.message);
}

/* ---- append ----------------------------------------------------------------------------------
 */

/* A store that is appended to. */
typedef struct appending {
    lp_store *store;
    lp_batch *batch;
    event_pool *pool;
    uint64_t first; /* the number of its first event */
    uint64_t retain;
    uint64_t idle_due_us;
} appending;

/* What full rings say when the events from `n` on come in: the oldest ones are gone, and for each
 * category its newest horizon. */
static void remove_oldest(appending *a, uint64_t n, size_t count)
{
    size_t first = n < a->first + a->retain ? (size_t)(a->first + a->retain - n) : 0;
    size_t categories = (size_t)a->pool->categories;
    size_t horizons = count > categories ? count - categories : 0;

    for (size_t i = first; i < count; i++) {
        uint64_t seq = event_pool_seq(a->pool, n + i - a->retain);
        lp_str category = lp_event_category(a->pool->at[n + i - event_pool_first(a->pool)]);
        if (lp_batch_add_removal(a->batch, seq, LP_REMOVED_RING) != LP_OK ||
            (i >= horizons && lp_batch_add_horizon(a->batch, category, seq) != LP_OK))
            fail("out of memory");
    }
}

static void append(appending *a, size_t at, size_t count)
{
    lp_error error;

    lp_batch_clear(a->batch);
    for (size_t i = 0; i < count; i++)
        if (lp_batch_add_event(a->batch, a->pool->at[at + i]) != LP_OK)
            fail("out of memory");
    if (a->retain > 0)
        remove_oldest(a, event_pool_first(a->pool) + at, count);
    if (lp_store_append(a->store, a->batch, &error) != LP_OK)
        fail("%s", error.message);
}

/* Calls on_idle when it wants to be called, as the manager's worker does. */
static void idle(appending *a)
{
    int64_t next_ms;
    lp_error error;

    if (now_us() < a->idle_due_us)
        return;
    if (lp_store_idle(a->store, IDLE_BUDGET_MS, &next_ms, &error) != LP_OK)
        fail("%s", error.message);
    a->idle_due_us = next_ms < 0 ? 0 : now_us() + (uint64_t)next_ms * 1000;
}

static void append_untimed(appending *a, uint64_t events)
{
    for (uint64_t done = 0; done < events;) {
        event_pool_fill(a->pool);
        for (size_t at = 0; at < EVENT_POOL && done < events; at += FILL_BATCH) {
            size_t count = events - done < FILL_BATCH ? (size_t)(events - done) : FILL_BATCH;
            append(a, at, count);
            idle(a);
            done += count;
        }
    }
}

static append_run append_timed(appending *a, const append_plan *plan)
{
    uint64_t for_us = (uint64_t)plan->for_ms * 1000;
    append_run run = {0};

    while (run.took.wall_us < for_us && run.events < plan->events) {
        uint64_t until_us;
        stopwatch start, took;
        event_pool_fill(a->pool);
        start = stopwatch_start();
        until_us = now_us() + for_us - run.took.wall_us;
        for (size_t at = 0; at < EVENT_POOL && run.events < plan->events && now_us() < until_us;
             at += plan->batch) {
            append(a, at, plan->batch);
            idle(a);
            run.events += plan->batch;
        }
        took = stopwatch_spent(start);
        run.took.wall_us += took.wall_us;
        run.took.cpu_us += took.cpu_us;
    }
    return run;
}

static appending begin(const char *kind, const char *directory, const char *sync, event_pool *pool)
{
    appending a = {.pool = pool, .first = pool->made};

    a.store = open_store(kind, directory, sync, NULL);
    if (lp_batch_new(&a.batch) != LP_OK)
        fail("out of memory");
    return a;
}

static void end(appending *a)
{
    close_store(a->store);
    lp_batch_free(a->batch);
}

append_run store_append(const char *kind, const append_plan *plan, uint64_t retain,
                        event_pool *pool, uint64_t *disk)
{
    appending a = begin(kind, plan->directory, plan->sync, pool);
    /* The rings are full, and room has been used again. Whole pools: each event removes the one
     * `retain` before it, so none may be left out in between. */
    uint64_t pools = (4 * retain + EVENT_POOL - 1) / EVENT_POOL;
    append_run run;

    a.retain = retain;
    append_untimed(&a, pools * EVENT_POOL);
    run = append_timed(&a, plan);
    *disk = directory_disk_bytes(plan->directory);
    end(&a);
    return run;
}

/* ---- replay ----------------------------------------------------------------------------------
 */

void store_fill(const char *kind, const char *directory, uint64_t events, event_pool *pool)
{
    appending a = begin(kind, directory, "never", pool);

    append_untimed(&a, events);
    end(&a);
}

static int count_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    (void)id;
    (void)category;
    (void)data;
    ++*(uint64_t *)ctx;
    return LP_OK;
}

stopwatch store_sink_time(const char *kind, const char *directory, uint64_t events)
{
    stopwatch start = stopwatch_start(), took;
    uint64_t count = 0;
    lp_store_sink sink = {.ctx = &count, .event = count_event, .expired_ms = INT64_MIN};
    lp_store *store = open_store(kind, directory, "never", &sink);

    took = stopwatch_spent(start);
    close_store(store);
    check(count == events, "%s: %" PRIu64 " of %" PRIu64 " events were replayed", kind, count,
          events);
    return took;
}

typedef struct start {
    stopwatch begun, took;
    lp_stats stats;
} start;

static void on_closed(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)unkept;
    (void)ctx;
    if (error->status != LP_OK)
        fail("shutdown: %s", error->message);
    lp_manager_free(manager);
}

static void on_state(lp_manager *manager, lp_state state, const lp_error *error, void *ctx)
{
    start *s = ctx;

    if (error)
        fail("%s", error->message);
    if (state != LP_STATE_SERVING)
        return;
    s->took = stopwatch_spent(s->begun);
    lp_manager_stats(manager, &s->stats, sizeof s->stats);
    lp_manager_shutdown(manager, CLOSE_MS, on_closed, NULL);
}

static start start_manager(const char *kind, const char *directory, uint64_t events,
                           const event_pool *pool)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    start s = {0};
    lp_manager *manager;
    uv_loop_t loop;
    lp_error error;

    options.addon = store_addon(kind, directory, "never");
    options.event_buffer_max = (int64_t)events;
    options.events_max = (int64_t)events + 1;
    options.events_bytes_max = (int64_t)events * (pool->bytes + 1024);
    options.categories_max = pool->categories + 1;
    options.on_state = on_state;
    options.state_ctx = &s;
    uv_loop_init(&loop);
    s.begun = stopwatch_start();
    if (lp_manager_start(&loop, &options, &manager, &error) != LP_OK)
        fail("%s", error.message);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return s;
}

bool child_result(pid_t child, int from, void *out, size_t size)
{
    int status = 0;
    ssize_t got;
    pid_t ended;

    do
        got = read(from, out, size);
    while (got < 0 && errno == EINTR);
    do
        ended = waitpid(child, &status, 0);
    while (ended < 0 && errno == EINTR);
    return got == (ssize_t)size && ended == child && status == 0;
}

stopwatch store_rings_time(const char *kind, const char *directory, uint64_t events,
                           const event_pool *pool, double *bytes)
{
    int ends[2];
    start s = {0};
    pid_t child;

    fflush(stdout);
    if (pipe(ends) != 0 || (child = fork()) < 0)
        fail("no process for a manager: %s", strerror(errno));
    if (child == 0) {
        s = start_manager(kind, directory, events, pool);
        _exit(write(ends[1], &s, sizeof s) == (ssize_t)sizeof s ? 0 : 2);
    }
    close(ends[1]);
    if (!child_result(child, ends[0], &s, sizeof s))
        fail("%s: the manager's process failed", kind);
    close(ends[0]);
    check(s.stats.events == events, "%s: %" PRIu64 " of %" PRIu64 " events are in the rings", kind,
          s.stats.events, events);
    check(s.stats.replayed == events, "%s: stats: %" PRIu64 " replayed of %" PRIu64, kind,
          s.stats.replayed, events);
    *bytes = (double)s.stats.events_bytes / (double)events;
    return s.took;
}
