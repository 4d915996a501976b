/* The flavour "libh2o-evloop" of loop.h: wake-ups, descriptors and timers. On the thread of the
 * loop. */
#include "evloop.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* ---- soon -------------------------------------------------------------- */

/* An entry of a timeout of no length: libh2o runs these behind the sockets, and does not wait while
 * there is one. What a run starts anew would be run by the same list for ever, so there are two: it
 * joins the other one, and at the latest in front of the usual the loop looks at its sockets. */
struct lp__soon {
    h2o_timeout_t front, usual;
    h2o_timeout_entry_t entry;
    h2o_loop_t *loop;
    lp__evloop *evloop;
    void (*run)(void *ctx);
    void *ctx;
    bool is_usual;         /* the list that it joined last */
    bool is_running_usual; /* from that list */
    lp__closing closing;
};

static void on_soon(h2o_timeout_entry_t *entry)
{
    lp__soon *soon = LP__CONTAINER(entry, lp__soon, entry);
    soon->is_running_usual = soon->is_usual;
    soon->run(soon->ctx);
    soon->is_running_usual = false;
    lp__evloop_release(soon->evloop);
}

static void dispose_soon(lp__closing *closing)
{
    lp__soon *soon = LP__CONTAINER(closing, lp__soon, closing);
    if (soon->evloop)
        soon->evloop->timeout_count -= 2;
    h2o_timeout_dispose(soon->loop, &soon->front);
    h2o_timeout_dispose(soon->loop, &soon->usual);
    free(soon);
}

int lp__soon_open(h2o_loop_t *loop, void (*run)(void *ctx), void *ctx, lp__soon **out)
{
    lp__soon *soon = calloc(1, sizeof(*soon));
    if (!soon)
        return LP_ENOMEM;
    soon->loop = loop;
    soon->evloop = lp__evloop_of(loop);
    if (soon->evloop)
        soon->evloop->timeout_count += 2;
    h2o_timeout_init(loop, &soon->front, 0);
    h2o_timeout_init(loop, &soon->usual, 0);
    soon->entry.cb = on_soon;
    soon->run = run;
    soon->ctx = ctx;
    soon->closing.dispose = dispose_soon;
    *out = soon;
    return LP_OK;
}

/* libh2o's clock may step back, and an entry would wait for it: this one is as old as can be. */
void lp__soon_start(lp__soon *soon)
{
    if (h2o_timeout_is_linked(&soon->entry))
        return;
    soon->is_usual = !soon->is_running_usual;
    h2o_timeout_link(soon->loop, soon->is_usual ? &soon->usual : &soon->front, &soon->entry);
    soon->entry.registered_at = 0;
    lp__evloop_hold(soon->evloop);
}

void lp__soon_close(lp__soon *soon, void (*closed)(void *ctx), void *ctx)
{
    lp__evloop *evloop = soon->evloop;
    bool was_started = h2o_timeout_is_linked(&soon->entry);
    soon->closing.closed = closed;
    soon->closing.ctx = ctx;
    h2o_timeout_unlink(&soon->entry);
    lp__evloop_close(evloop, &soon->closing);
    if (was_started)
        lp__evloop_release(evloop);
}

/* ---- descriptors that can be read from --------------------------------- */

struct lp__readable {
    h2o_socket_t *socket; /* that libh2o does not read from */
    lp__evloop *evloop;
    void (*ready)(void *ctx);
    void *ctx;
    bool is_held;
    lp__closing closing;
};

static void on_readable(h2o_socket_t *socket, const char *error)
{
    (void)error;
    lp__readable *readable = socket->data;
    if (readable)
        readable->ready(readable->ctx);
}

static void dispose_readable(lp__closing *closing)
{
    free(LP__CONTAINER(closing, lp__readable, closing));
}

int lp__readable_open(h2o_loop_t *loop, int fd, void (*ready)(void *ctx), void *ctx,
                      lp__readable **out)
{
    lp__readable *readable = calloc(1, sizeof(*readable));
    if (!readable)
        return LP_ENOMEM;
    readable->evloop = lp__evloop_of(loop);
    readable->ready = ready;
    readable->ctx = ctx;
    readable->closing.dispose = dispose_readable;
    readable->socket = h2o_evloop_socket_create(loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    readable->socket->data = readable;
    h2o_socket_read_start(readable->socket, on_readable);
    *out = readable;
    return LP_OK;
}

void lp__readable_hold(lp__readable *readable)
{
    readable->is_held = true;
    lp__evloop_hold(readable->evloop);
}

void lp__readable_pause(lp__readable *readable, bool is_paused)
{
    if (is_paused)
        h2o_socket_read_stop(readable->socket);
    else
        h2o_socket_read_start(readable->socket, on_readable);
}

void lp__readable_close(lp__readable *readable, void (*closed)(void *ctx), void *ctx)
{
    lp__evloop *evloop = readable->evloop;
    bool was_held = readable->is_held;
    readable->closing.closed = closed;
    readable->closing.ctx = ctx;
    readable->socket->data = NULL;
    h2o_socket_read_stop(readable->socket);
    h2o_socket_close(readable->socket);
    lp__evloop_close(evloop, &readable->closing);
    if (was_held)
        lp__evloop_release(evloop);
}

/* ---- alarms ------------------------------------------------------------ */

struct lp__alarm {
    int fd;
    atomic_bool is_rung; /* since it ran last: one system call is enough */
    lp__readable *readable;
    void (*run)(void *ctx);
    void *ctx;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void on_alarm(void *ctx)
{
    lp__alarm *alarm = ctx;
    uint64_t count;
    if (read(alarm->fd, &count, sizeof(count)) != sizeof(count))
        return;
    atomic_exchange(&alarm->is_rung, false);
    alarm->run(alarm->ctx);
}

int lp__alarm_open(h2o_loop_t *loop, void (*run)(void *ctx), void *ctx, lp__alarm **out)
{
    lp__alarm *alarm = calloc(1, sizeof(*alarm));
    if (!alarm)
        return LP_ENOMEM;
    alarm->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int status = alarm->fd < 0 ? LP_EFULL : LP_OK;
    if (status == LP_OK)
        status = lp__readable_open(loop, alarm->fd, on_alarm, alarm, &alarm->readable);
    if (status != LP_OK) {
        if (alarm->fd >= 0)
            close(alarm->fd);
        free(alarm);
        return status;
    }
    atomic_init(&alarm->is_rung, false);
    alarm->run = run;
    alarm->ctx = ctx;
    *out = alarm;
    return LP_OK;
}

/* The descriptor is read once before; the alarm may be gone when somebody has run. */
void lp__alarm_ring(lp__alarm *alarm)
{
    int fd = alarm->fd;
    uint64_t one = 1;
    if (!atomic_exchange(&alarm->is_rung, true))
        (void)!write(fd, &one, sizeof(one));
}

static void on_alarm_closed(void *ctx)
{
    lp__alarm *alarm = ctx;
    void (*closed)(void *ctx) = alarm->closed;
    void *closed_ctx = alarm->closed_ctx;
    free(alarm);
    if (closed)
        closed(closed_ctx);
}

void lp__alarm_close(lp__alarm *alarm, void (*closed)(void *ctx), void *ctx)
{
    alarm->closed = closed;
    alarm->closed_ctx = ctx;
    lp__readable_close(alarm->readable, on_alarm_closed, alarm);
}

/* ---- timers ------------------------------------------------------------ */

/* libh2o's timeouts go by the wall's clock, which may step: the kernel's timers do not. They are
 * few, and set seldom. */
struct lp__timer {
    int fd;
    bool is_started;
    lp__readable *readable;
    void (*fire)(void *ctx);
    void *ctx;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void on_timer(void *ctx)
{
    lp__timer *timer = ctx;
    uint64_t count;
    if (read(timer->fd, &count, sizeof(count)) != sizeof(count))
        return; /* started anew since */
    timer->is_started = false;
    timer->fire(timer->ctx);
}

int lp__timer_open(h2o_loop_t *loop, void (*fire)(void *ctx), void *ctx, lp__timer **out)
{
    lp__timer *timer = calloc(1, sizeof(*timer));
    if (!timer)
        return LP_ENOMEM;
    timer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int status = timer->fd < 0 ? LP_EFULL : LP_OK;
    if (status == LP_OK)
        status = lp__readable_open(loop, timer->fd, on_timer, timer, &timer->readable);
    if (status != LP_OK) {
        if (timer->fd >= 0)
            close(timer->fd);
        free(timer);
        return status;
    }
    timer->fire = fire;
    timer->ctx = ctx;
    *out = timer;
    return LP_OK;
}

/* Nothing at all would stop it. */
void lp__timer_start(lp__timer *timer, uint64_t delay_ms)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(delay_ms / 1000),
                     .tv_nsec = (long)(delay_ms % 1000) * 1000000 + (delay_ms == 0)}};
    timer->is_started = true;
    timerfd_settime(timer->fd, 0, &when, NULL);
}

bool lp__timer_is_started(const lp__timer *timer)
{
    return timer->is_started;
}

static void on_timer_closed(void *ctx)
{
    lp__timer *timer = ctx;
    void (*closed)(void *ctx) = timer->closed;
    void *closed_ctx = timer->closed_ctx;
    free(timer);
    if (closed)
        closed(closed_ctx);
}

void lp__timer_close(lp__timer *timer, void (*closed)(void *ctx), void *ctx)
{
    timer->closed = closed;
    timer->closed_ctx = ctx;
    lp__readable_close(timer->readable, on_timer_closed, timer);
}
