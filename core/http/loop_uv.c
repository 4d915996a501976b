/* The flavour "libh2o on libuv" of loop.h: loops, wake-ups and timers. On the thread of its loop.
 */
#include "flavour.h"

#include <longpoll/http.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

uint64_t lp__loop_now(h2o_loop_t *loop)
{
    return uv_now(loop);
}

h2o_loop_t *lp__loop_of_home(struct uv_loop_s *home)
{
    return home;
}

void lp__loop_let_go(h2o_loop_t *loop)
{
    (void)loop;
}

int lp_http_run(struct uv_loop_s *home)
{
    return uv_run(home, UV_RUN_DEFAULT);
}

/* It takes none. */
int lp__reserve_take(lp__reserve *reserve)
{
    *reserve = (lp__reserve){0};
    return LP_OK;
}

void lp__reserve_release(const lp__reserve *reserve)
{
    (void)reserve;
}

void lp__context_dispose(h2o_context_t *context)
{
    h2o_context_dispose(context);
}

/* ---- loops of our own -------------------------------------------------- */

typedef struct own_loop {
    uv_loop_t loop;
    uv_async_t keep; /* alive: what is ours on a loop may all keep it from nothing */
} own_loop;

static void on_keep(uv_async_t *keep)
{
    (void)keep;
}

h2o_loop_t *lp__loop_new(void)
{
    own_loop *own = calloc(1, sizeof(*own));
    if (!own)
        return NULL;
    own->loop.backend_fd = -1;
    if (uv_loop_init(&own->loop) != 0) {
        if (own->loop.backend_fd >= 0)
            close(own->loop.backend_fd); /* libuv leaves it open where a later descriptor failed */
        free(own);
        return NULL;
    }
    if (uv_async_init(&own->loop, &own->keep, on_keep) != 0) {
        uv_loop_close(&own->loop);
        free(own);
        return NULL;
    }
    return &own->loop;
}

void lp__loop_run(h2o_loop_t *loop, const bool *is_over)
{
    while (!*is_over)
        uv_run(loop, UV_RUN_ONCE);
}

void lp__loop_free(h2o_loop_t *loop)
{
    own_loop *own = LP__CONTAINER(loop, own_loop, loop);
    uv_close((uv_handle_t *)&own->keep, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    free(own);
    lp__libh2o_end_thread();
}

/* ---- soon -------------------------------------------------------------- */

/* What is asked for while the loop looks at its descriptors is done right behind that (check), the
 * rest before it waits (prepare); and what is asked for between the two keeps it from waiting
 * (idle). All three are active only while something is asked for. */
struct lp__soon {
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    void (*run)(void *ctx);
    void *ctx;
    int open_handles;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void run_soon(lp__soon *soon)
{
    uv_prepare_stop(&soon->prepare);
    uv_check_stop(&soon->check);
    uv_idle_stop(&soon->idle);
    soon->run(soon->ctx);
}

static void on_soon_prepare(uv_prepare_t *prepare)
{
    run_soon(prepare->data);
}

static void on_soon_check(uv_check_t *check)
{
    run_soon(check->data);
}

static void on_soon_idle(uv_idle_t *idle)
{
    (void)idle;
}

int lp__soon_open(h2o_loop_t *loop, void (*run)(void *ctx), void *ctx, lp__soon **out)
{
    lp__soon *soon = calloc(1, sizeof(*soon));
    if (!soon)
        return LP_ENOMEM;
    uv_prepare_init(loop, &soon->prepare);
    uv_check_init(loop, &soon->check);
    uv_idle_init(loop, &soon->idle);
    soon->prepare.data = soon->check.data = soon->idle.data = soon;
    soon->open_handles = 3;
    soon->run = run;
    soon->ctx = ctx;
    *out = soon;
    return LP_OK;
}

void lp__soon_start(lp__soon *soon)
{
    uv_prepare_start(&soon->prepare, on_soon_prepare);
    uv_check_start(&soon->check, on_soon_check);
    uv_idle_start(&soon->idle, on_soon_idle);
}

static void on_soon_closed(uv_handle_t *handle)
{
    lp__soon *soon = handle->data;
    void (*closed)(void *ctx) = soon->closed;
    void *ctx = soon->closed_ctx;
    if (--soon->open_handles)
        return;
    free(soon);
    if (closed)
        closed(ctx);
}

void lp__soon_close(lp__soon *soon, void (*closed)(void *ctx), void *ctx)
{
    soon->closed = closed;
    soon->closed_ctx = ctx;
    uv_close((uv_handle_t *)&soon->prepare, on_soon_closed);
    uv_close((uv_handle_t *)&soon->check, on_soon_closed);
    uv_close((uv_handle_t *)&soon->idle, on_soon_closed);
}

/* ---- alarms ------------------------------------------------------------ */

struct lp__alarm {
    uv_async_t async;
    void (*run)(void *ctx);
    void *ctx;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void on_alarm(uv_async_t *async)
{
    lp__alarm *alarm = async->data;
    alarm->run(alarm->ctx);
}

int lp__alarm_open(h2o_loop_t *loop, void (*run)(void *ctx), void *ctx, lp__alarm **out)
{
    lp__alarm *alarm = calloc(1, sizeof(*alarm));
    if (!alarm)
        return LP_ENOMEM;
    if (uv_async_init(loop, &alarm->async, on_alarm) != 0) {
        free(alarm);
        return LP_EFULL;
    }
    uv_unref((uv_handle_t *)&alarm->async);
    alarm->async.data = alarm;
    alarm->run = run;
    alarm->ctx = ctx;
    *out = alarm;
    return LP_OK;
}

void lp__alarm_ring(lp__alarm *alarm)
{
    uv_async_send(&alarm->async);
}

static void on_alarm_closed(uv_handle_t *handle)
{
    lp__alarm *alarm = handle->data;
    void (*closed)(void *ctx) = alarm->closed;
    void *ctx = alarm->closed_ctx;
    free(alarm);
    if (closed)
        closed(ctx);
}

void lp__alarm_close(lp__alarm *alarm, void (*closed)(void *ctx), void *ctx)
{
    alarm->closed = closed;
    alarm->closed_ctx = ctx;
    uv_close((uv_handle_t *)&alarm->async, on_alarm_closed);
}

/* ---- descriptors that can be read from --------------------------------- */

struct lp__readable {
    uv_poll_t poll;
    int fd;
    void (*ready)(void *ctx);
    void *ctx;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    lp__readable *readable = poll->data;
    readable->ready(readable->ctx);
}

int lp__readable_open(h2o_loop_t *loop, int fd, void (*ready)(void *ctx), void *ctx,
                      lp__readable **out)
{
    lp__readable *readable = calloc(1, sizeof(*readable));
    if (!readable)
        return LP_ENOMEM;
    if (uv_poll_init(loop, &readable->poll, fd) != 0) {
        free(readable);
        return LP_EFULL;
    }
    uv_unref((uv_handle_t *)&readable->poll);
    readable->poll.data = readable;
    readable->fd = fd;
    readable->ready = ready;
    readable->ctx = ctx;
    uv_poll_start(&readable->poll, UV_READABLE, on_readable);
    *out = readable;
    return LP_OK;
}

void lp__readable_hold(lp__readable *readable)
{
    uv_ref((uv_handle_t *)&readable->poll);
}

void lp__readable_pause(lp__readable *readable, bool is_paused)
{
    if (is_paused)
        uv_poll_stop(&readable->poll);
    else
        uv_poll_start(&readable->poll, UV_READABLE, on_readable);
}

static void on_readable_closed(uv_handle_t *handle)
{
    lp__readable *readable = handle->data;
    void (*closed)(void *ctx) = readable->closed;
    void *ctx = readable->closed_ctx;
    close(readable->fd);
    free(readable);
    if (closed)
        closed(ctx);
}

void lp__readable_close(lp__readable *readable, void (*closed)(void *ctx), void *ctx)
{
    readable->closed = closed;
    readable->closed_ctx = ctx;
    uv_close((uv_handle_t *)&readable->poll, on_readable_closed);
}

/* ---- timers ------------------------------------------------------------ */

struct lp__timer {
    uv_timer_t timer;
    void (*fire)(void *ctx);
    void *ctx;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void on_timer(uv_timer_t *handle)
{
    lp__timer *timer = handle->data;
    timer->fire(timer->ctx);
}

int lp__timer_open(h2o_loop_t *loop, void (*fire)(void *ctx), void *ctx, lp__timer **out)
{
    lp__timer *timer = calloc(1, sizeof(*timer));
    if (!timer)
        return LP_ENOMEM;
    uv_timer_init(loop, &timer->timer);
    uv_unref((uv_handle_t *)&timer->timer);
    timer->timer.data = timer;
    timer->fire = fire;
    timer->ctx = ctx;
    *out = timer;
    return LP_OK;
}

void lp__timer_start(lp__timer *timer, uint64_t delay_ms)
{
    uv_timer_start(&timer->timer, on_timer, delay_ms, 0);
}

bool lp__timer_is_started(const lp__timer *timer)
{
    return uv_is_active((const uv_handle_t *)&timer->timer);
}

static void on_timer_closed(uv_handle_t *handle)
{
    lp__timer *timer = handle->data;
    void (*closed)(void *ctx) = timer->closed;
    void *ctx = timer->closed_ctx;
    free(timer);
    if (closed)
        closed(ctx);
}

void lp__timer_close(lp__timer *timer, void (*closed)(void *ctx), void *ctx)
{
    timer->closed = closed;
    timer->closed_ctx = ctx;
    uv_close((uv_handle_t *)&timer->timer, on_timer_closed);
}
