/* The flavour "libh2o-evloop" of loop.h: what ties libh2o's loop to the home loop, which is
 * libuv's. Home thread.
 *
 * In lp_http_run libh2o's loop does the waiting, inside the last check of libuv's turns: it watches
 * the descriptor of libuv's loop, minds its timers, and goes back to it when it has something to
 * do. So a turn that libuv has no part in costs what it costs without libuv. In a plain uv_run it
 * is the other way round: libuv watches the descriptor of libh2o's loop, and each turn runs both.
 */
#include "evloop.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include <longpoll/http.h>

typedef struct lp__home {
    lp__evloop evloop;
    uv_loop_t *uv;
    size_t refs;
    uv_prepare_t prepare;    /* always active: it is found by it, and keeps libuv's loop alive */
    uv_check_t check;        /* where lp_http_run waits */
    uv_idle_t idle;          /* keeps libuv from waiting there */
    uv_timer_t timer;        /* of libh2o's timeouts, in a plain uv_run */
    uv_poll_t poll;          /* of libh2o's descriptors, in a plain uv_run */
    lp__readable *uv_events; /* of libuv's descriptors, in lp_http_run */
    bool uv_is_ready;
    bool is_held_by_contexts;
    int open_handles;
} lp__home;

/* libuv runs what prepares and checks in the reverse order of the starts: the others are started
 * again, so that ours is the last. */
static void put_in_front(uv_handle_t *handle, void *ctx)
{
    lp__home *home = ctx;
    uv_prepare_t *prepare = (uv_prepare_t *)handle;
    uv_check_t *check = (uv_check_t *)handle;
    if (handle->data == home || !uv_is_active(handle))
        return;
    if (handle->type == UV_PREPARE) {
        uv_prepare_cb run = prepare->prepare_cb;
        uv_prepare_stop(prepare);
        uv_prepare_start(prepare, run);
    } else if (handle->type == UV_CHECK) {
        uv_check_cb run = check->check_cb;
        uv_check_stop(check);
        uv_check_start(check, run);
    }
}

/* ---- a plain uv_run ---------------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* libuv does not wait: that is all */
}

static void let_go(lp__home *home);

static void turn(lp__home *home, int wait_ms)
{
    home->refs++;
    lp__evloop_turn(&home->evloop, wait_ms);
    let_go(home);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    turn(poll->data, 0);
}

static void look_for_contexts(lp__home *home)
{
    bool has_contexts = lp__evloop_has_contexts(&home->evloop);
    if (has_contexts == home->is_held_by_contexts)
        return;
    home->is_held_by_contexts = has_contexts;
    if (has_contexts)
        lp__evloop_hold(&home->evloop);
    else
        lp__evloop_release(&home->evloop);
}

/* Before libuv waits: what has been asked for since the last turn, and how long it may wait. */
static void on_prepare(uv_prepare_t *prepare)
{
    lp__home *home = prepare->data;
    if (home->uv_events)
        return;
    home->refs++;
    lp__evloop_turn(&home->evloop, 0);
    look_for_contexts(home);
    int wait_ms = lp__evloop_wait(&home->evloop);
    uv_update_time(home->uv);
    if (wait_ms < 0)
        uv_timer_stop(&home->timer);
    else
        uv_timer_start(&home->timer, on_timer, (uint64_t)wait_ms, 0);
    let_go(home);
}

/* ---- lp_http_run ------------------------------------------------------- */

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void on_uv_events(void *ctx)
{
    lp__home *home = ctx;
    home->uv_is_ready = true;
}

/* Descriptors that libuv begins to watch when it looks at them next: the first of what its headers
 * call a queue points to the queue itself when there are none. */
static bool has_new_watchers(const uv_loop_t *uv)
{
    const void *const *first = (const void *const *)(const void *)&uv->watcher_queue;
    return *first != (const void *)first;
}

/* How long libuv has nothing to do. */
static int uv_wait(lp__home *home)
{
    look_for_contexts(home);
    if (has_new_watchers(home->uv))
        return 0;
    uv_idle_stop(&home->idle);
    uv_update_time(home->uv);
    int wait_ms = uv_backend_timeout(home->uv);
    uv_idle_start(&home->idle, on_idle);
    return wait_ms < 0 ? INT32_MAX : wait_ms;
}

/* Runs libh2o's loop until libuv has something to do. */
static void on_check(uv_check_t *check)
{
    lp__home *home = check->data;
    home->uv_is_ready = false;
    int wait_ms = uv_wait(home);
    do
        turn(home, wait_ms);
    while (home->uv_events && !home->uv_is_ready && (wait_ms = uv_wait(home)) != 0);
}

static int begin_to_drive(lp__home *home)
{
    int fd = fcntl(uv_backend_fd(home->uv), F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return LP_EFULL;
    uv_poll_stop(&home->poll); /* two that watch each other are refused by the kernel */
    uv_timer_stop(&home->timer);
    int status = lp__readable_open(home->evloop.loop, fd, on_uv_events, home, &home->uv_events);
    if (status != LP_OK) {
        close(fd);
        uv_poll_start(&home->poll, UV_READABLE, on_poll);
        return status;
    }
    uv_check_start(&home->check, on_check);
    uv_unref((uv_handle_t *)&home->check);
    uv_idle_start(&home->idle, on_idle);
    uv_walk(home->uv, put_in_front, home);
    return LP_OK;
}

static void end_to_drive(lp__home *home)
{
    uv_check_stop(&home->check);
    uv_idle_stop(&home->idle);
    lp__readable_close(home->uv_events, NULL, NULL);
    home->uv_events = NULL;
    lp__evloop_turn(&home->evloop, 0);
    uv_poll_start(&home->poll, UV_READABLE, on_poll);
}

/* ---- life -------------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *handle)
{
    lp__home *home = handle->data;
    if (--home->open_handles == 0 && home->refs == 0)
        free(home);
}

/* Nothing turns the loop any more: what is closed from now on is gone at once. */
static void detach(lp__home *home)
{
    if (!home->evloop.closes_late)
        return;
    lp__evloop_close_all(&home->evloop);
    home->evloop.closes_late = false;
    home->evloop.held = NULL;
    uv_close((uv_handle_t *)&home->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&home->check, on_handle_closed);
    uv_close((uv_handle_t *)&home->idle, on_handle_closed);
    uv_close((uv_handle_t *)&home->timer, on_handle_closed);
    uv_close((uv_handle_t *)&home->poll, on_handle_closed);
}

static void let_go(lp__home *home)
{
    if (--home->refs > 0)
        return;
    home->refs++; /* what is closed here may let go as well */
    detach(home);
    home->refs--;
    lp__evloop_destroy(&home->evloop);
    if (home->open_handles == 0)
        free(home);
}

static void on_held(lp__evloop *evloop, bool is_held)
{
    lp__home *home = LP__CONTAINER(evloop, lp__home, evloop);
    if (is_held)
        uv_ref((uv_handle_t *)&home->prepare);
    else
        uv_unref((uv_handle_t *)&home->prepare);
}

static void open_handles(lp__home *home)
{
    uv_loop_t *uv = home->uv;
    uv_prepare_init(uv, &home->prepare);
    uv_check_init(uv, &home->check);
    uv_idle_init(uv, &home->idle);
    uv_timer_init(uv, &home->timer);
    uv_handle_t *handles[] = {(uv_handle_t *)&home->prepare, (uv_handle_t *)&home->check,
                              (uv_handle_t *)&home->idle, (uv_handle_t *)&home->timer,
                              (uv_handle_t *)&home->poll};
    home->open_handles = sizeof(handles) / sizeof(handles[0]);
    for (int i = 0; i < home->open_handles; i++) {
        handles[i]->data = home;
        uv_unref(handles[i]);
    }
    uv_prepare_start(&home->prepare, on_prepare);
    uv_poll_start(&home->poll, UV_READABLE, on_poll);
    uv_walk(uv, put_in_front, home);
}

static lp__home *new_home(uv_loop_t *uv)
{
    lp__home *home = calloc(1, sizeof(*home));
    if (!home)
        return NULL;
    if (lp__evloop_open(&home->evloop) != LP_OK) {
        free(home);
        return NULL;
    }
    if (uv_poll_init(uv, &home->poll, home->evloop.epoll_fd) != 0) {
        lp__evloop_destroy(&home->evloop);
        free(home);
        return NULL;
    }
    home->uv = uv;
    home->evloop.held = on_held;
    open_handles(home);
    return home;
}

static void find(uv_handle_t *handle, void *ctx)
{
    lp__home **found = ctx;
    if (handle->type == UV_PREPARE && !uv_is_closing(handle) &&
        ((uv_prepare_t *)handle)->prepare_cb == on_prepare)
        *found = handle->data;
}

h2o_loop_t *lp__loop_of_home(struct uv_loop_s *uv)
{
    lp__home *home = NULL;
    uv_walk(uv, find, &home);
    if (!home)
        home = new_home(uv);
    if (!home)
        return NULL;
    home->refs++;
    return home->evloop.loop;
}

void lp__loop_let_go(h2o_loop_t *loop)
{
    let_go((lp__home *)lp__evloop_of(loop));
}

/* ---- running it -------------------------------------------------------- */

int lp_http_run(struct uv_loop_s *uv)
{
    h2o_loop_t *loop = lp__loop_of_home(uv);
    if (!loop)
        return UV_EMFILE;
    lp__home *home = (lp__home *)lp__evloop_of(loop);
    bool drives = !home->uv_events && begin_to_drive(home) == LP_OK;
    int alive = uv_run(uv, UV_RUN_DEFAULT);
    if (drives)
        end_to_drive(home);
    if (!alive) {
        detach(home);
        uv_run(uv, UV_RUN_DEFAULT);
    }
    let_go(home);
    return alive;
}
