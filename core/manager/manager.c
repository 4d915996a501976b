/* The manager's life on its home loop: start, the end of a turn, state, free. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "../engine/hash.h"
#include "addon_nouns.h"
#include "manager_private.h"

const char *lp_state_name(lp_state state)
{
    static const char *const names[] = {"starting", "serving", "in doubt",
                                        "draining", "closed",  "failed"};
    return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

lp__now lp__manager_now(void)
{
    struct timespec wall;
    uint64_t mono_ns = uv_hrtime();
    clock_gettime(CLOCK_REALTIME, &wall);
    return (lp__now){.wall_ms = (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000,
                     .mono_ms = (int64_t)(mono_ns / 1000000),
                     .mono_us = (uint32_t)(mono_ns / 1000)};
}

uint32_t lp__manager_mono_us(void)
{
    return (uint32_t)(uv_hrtime() / 1000);
}

/* ---- state -------------------------------------------------------------- */

lp_state lp__state(const lp_manager *manager)
{
    return (lp_state)atomic_load_explicit(&manager->state, memory_order_acquire);
}

lp_state lp_manager_state(const lp_manager *manager)
{
    return lp__state(manager);
}

void lp__manager_set_state(lp_manager *manager, lp_state state, const lp_error *error)
{
    atomic_store_explicit(&manager->state, (int)state, memory_order_release);
    if (manager->options.on_state != NULL)
        manager->options.on_state(manager, state, error, manager->options.state_ctx);
}

void lp__manager_log(const lp_manager *manager, lp_log_level level, const char *format, ...)
{
    if (manager->options.on_log == NULL)
        return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    manager->options.on_log(manager->options.log_ctx, level, line);
}

/* ---- the turn of the loop ----------------------------------------------- */

void lp__manager_wake(lp_manager *manager)
{
    uv_async_send(&manager->wake);
}

/* The end of the turn does the work. Where another loop runs it, the one of ours may be over by
 * now. */
static void on_wake(uv_async_t *wake)
{
    lp_manager *manager = wake->data;
    if (manager->home.calls.soon != NULL)
        lp__manager_soon(manager);
}

static void on_soon(uv_idle_t *soon)
{
    (void)soon;
}

void lp__manager_soon(lp_manager *manager)
{
    if (manager->home.calls.soon != NULL)
        manager->home.calls.soon(manager->home.calls.ctx);
    else
        uv_idle_start(&manager->soon, on_soon); /* costs no system call */
}

/* libuv's clock may be ahead of ours by a millisecond: then the same deadline is set again. */
static void on_timer(uv_timer_t *timer)
{
    lp_manager *manager = timer->data;
    manager->timer_at_ms = INT64_MAX;
    if (manager->home.calls.soon != NULL)
        lp__manager_soon(manager);
}

static void set_timer(lp_manager *manager)
{
    int64_t deadline = lp__engine_deadline(manager->engine);
    if (manager->jobs_out == 0 && manager->changes_at_ms < deadline)
        deadline = manager->changes_at_ms;
    int64_t now = lp__manager_now().mono_ms;
    if (deadline == manager->timer_at_ms && deadline > now)
        return;
    manager->timer_at_ms = deadline;
    if (deadline == INT64_MAX) {
        uv_timer_stop(&manager->timer);
        return;
    }
    uv_update_time(manager->loop);
    uv_timer_start(&manager->timer, on_timer, deadline > now ? (uint64_t)(deadline - now) : 0, 0);
}

static void look_after_start(lp_manager *manager)
{
    lp_error error;
    switch (lp__worker_phase_get(manager->worker, &error)) {
    case LP__WORKER_OPEN:
        manager->replaying->engine = NULL; /* ours now */
        lp__manager_set_state(manager, LP_STATE_SERVING, NULL);
        break;
    case LP__WORKER_FAILED:
        manager->replaying->engine = NULL;
        lp__manager_log(manager, LP_LOG_ERROR, "%s", error.message);
        manager->failure = error;
        lp__manager_set_state(manager, LP_STATE_FAILED, &error);
        break;
    default:
        break;
    }
}

/* Some 50 us a MiB, after a peak alone. */
static void give_back_memory(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

/* Everything that came in during a turn of the loop is worked off here, once, before the loop
 * waits. */
static void work_off(lp_manager *manager)
{
    manager->has_called_back = false;
    lp__publish_collect(manager);
    lp__publish_mailbox(manager);
    lp__engine_flush(manager->engine, lp__manager_now());
    lp__publish_submit(manager);
    lp__publish_run_completions(manager);
    if (lp__engine_take_slack(manager->engine))
        give_back_memory();
    if (manager->has_called_back && manager->home.calls.soon == NULL)
        lp__manager_soon(manager); /* a host may run its loop until then: uv_run must not wait */
}

void lp__manager_turn(lp_manager *manager)
{
    uv_idle_stop(&manager->soon); /* callbacks that make new work start it again */
    if (lp__state(manager) == LP_STATE_STARTING && manager->ending == RUNNING)
        look_after_start(manager);
    lp__ports_collect(manager);
    lp_state state = lp__state(manager);
    if (state == LP_STATE_SERVING || state == LP_STATE_IN_DOUBT) {
        work_off(manager);
        set_timer(manager);
    }
    if (manager->ending != RUNNING)
        lp__shutdown_step(manager);
    lp__ports_send(manager);
}

static void on_turn_end(uv_prepare_t *turn)
{
    lp__manager_turn(turn->data);
}

/* ---- start -------------------------------------------------------------- */

static int make_engine(lp_manager *manager)
{
    const lp_manager_options *options = &manager->options;
    lp__engine_options engine = {
        .event_buffer_max = (size_t)options->event_buffer_max,
        .event_ttl_ms = options->event_ttl_s * 1000,
        .delete_after_first_retrieval = options->delete_after_first_retrieval,
        .waiters_max = (size_t)options->waiters_max,
        .interests_max = (size_t)options->interests_max,
        .keys_max = (size_t)options->idempotency_max,
        .keys_window_ms = options->idempotency_window_s * 1000,
        .categories_max = (size_t)options->categories_max,
        .events_max = (size_t)options->events_max,
        .events_bytes_max = (size_t)options->events_bytes_max,
        .answer_bytes_max = (size_t)options->answer_bytes_max,
        .has_store = options->addon != NULL,
    };
    if (uv_random(NULL, NULL, engine.seed, sizeof(engine.seed), 0, NULL) != 0)
        return LP_EIO;
    return lp__engine_new(&engine, lp__manager_now(), &manager->engine);
}

static int open_handles(lp_manager *manager)
{
    if (uv_async_init(manager->loop, &manager->wake, on_wake) != 0)
        return LP_ENOMEM;
    uv_idle_init(manager->loop, &manager->soon);
    uv_prepare_init(manager->loop, &manager->turn);
    uv_timer_init(manager->loop, &manager->timer);
    uv_timer_init(manager->loop, &manager->shutdown_timer);
    manager->wake.data = manager->soon.data = manager->turn.data = manager->timer.data =
        manager->shutdown_timer.data = manager;
    uv_prepare_start(&manager->turn, on_turn_end);
    uv_unref((uv_handle_t *)&manager->turn);
    uv_unref((uv_handle_t *)&manager->timer);
    return LP_OK;
}

static void free_manager(lp_manager *manager)
{
    if (manager->http.free_http != NULL)
        manager->http.free_http(manager->http.http);
    lp__engine_free(manager->engine);
    free(manager->replaying);
    uv_mutex_destroy(&manager->mailbox_mutex);
    free(manager);
}

int lp_manager_start(struct uv_loop_s *loop, const lp_manager_options *options, lp_manager **out,
                     lp_error *error)
{
    lp_manager_options filled;
    int status = lp__manager_options_fill(options, &filled, error);
    if (status != LP_OK)
        return status;
    lp_addon table;
    if (filled.addon != NULL && (status = lp__addon_read(filled.addon, &table, error)) != LP_OK)
        return status;

    lp_manager *manager = calloc(1, sizeof(*manager));
    if (manager == NULL)
        return lp_error_set(error, LP_ENOMEM, "out of memory");
    if (uv_mutex_init(&manager->mailbox_mutex) != 0) {
        free(manager);
        return lp_error_set(error, LP_ENOMEM, "out of memory");
    }
    manager->options = filled;
    if (filled.addon != NULL)
        snprintf(manager->store_name, sizeof(manager->store_name), "%s", table.name);
    manager->loop = loop;
    manager->home.manager = manager;
    manager->home.options = &manager->options;

    lp__queue_init(&manager->mailbox);
    lp__queue_init(&manager->arrived);
    lp__queue_init(&manager->completed);
    lp__queue_init(&manager->waiting);
    manager->changes_at_ms = manager->timer_at_ms = INT64_MAX;
    manager->shutdown_calls_last = &manager->shutdown_calls;
    bool stored = filled.addon != NULL;
    atomic_init(&manager->state, stored ? LP_STATE_STARTING : LP_STATE_SERVING);

    status = make_engine(manager);
    if (status == LP_OK && !stored)
        lp__engine_raise_floor(manager->engine, lp__manager_now());
    if (status == LP_OK)
        status = open_handles(manager);
    if (status != LP_OK) {
        free_manager(manager);
        return lp_error_set(error, status, "cannot start a manager: %s", lp_strerror(status));
    }
    if (stored && (status = lp__replay_start(manager, error)) != LP_OK) {
        /* the handles are the loop's until they are closed: the manager ends by itself */
        manager->options.addon = NULL;
        manager->options.on_state = NULL;
        manager->unstarted = true;
        atomic_store(&manager->state, LP_STATE_FAILED);
        lp_manager_shutdown(manager, 0, NULL, NULL);
        return status;
    }
    *out = manager;
    return LP_OK;
}

int lp_manager_free(lp_manager *manager)
{
    if (manager == NULL)
        return LP_OK;
    if (lp__state(manager) != LP_STATE_CLOSED)
        return LP_EINVAL;
    free_manager(manager);
    return LP_OK;
}

/* ---- for core/http ------------------------------------------------------ */

const lp_manager_options *lp__manager_options(const lp_manager *manager)
{
    return &manager->options;
}

struct uv_loop_s *lp__manager_loop(const lp_manager *manager)
{
    return manager->loop;
}

lp__manager_http *lp__manager_http_slot(lp_manager *manager)
{
    return &manager->http;
}
