/* The flavour "libh2o-evloop" of loop.h: loops, but for what ties the home loop's to libuv. See
 * evloop.h. */
#include "evloop.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

/* No timeout is this long. */
#define MARK ((uint64_t)0x6c6f6e67706f6c6c)

/* libh2o's clock is the wall's and may step. */
uint64_t lp__loop_now(h2o_loop_t *loop)
{
    struct timespec now;
    (void)loop;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

lp__evloop *lp__evloop_of(const h2o_loop_t *loop)
{
    const h2o_linklist_t *first = loop->_timeouts.next;
    if (first == &loop->_timeouts)
        return NULL;
    h2o_timeout_t *timeout = LP__CONTAINER(first, h2o_timeout_t, _link);
    return timeout->timeout == MARK ? LP__CONTAINER(timeout, lp__evloop, mark) : NULL;
}

/* libh2o aborts where there is no descriptor for its loop. */
static bool has_descriptor_left(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* The descriptor lies behind what the header shows of a loop. libh2o 2.2 never closes it, and libuv
 * has to know it. */
static int epoll_of(const h2o_loop_t *loop)
{
    struct epoll_event none;
    int fd = *(const int *)(loop + 1);
    return epoll_wait(fd, &none, 1, 0) >= 0 ? fd : -1;
}

int lp__evloop_open(lp__evloop *evloop)
{
    if (!has_descriptor_left())
        return LP_EFULL;
    evloop->loop = h2o_evloop_create();
    evloop->epoll_fd = epoll_of(evloop->loop);
    lp__list_init(&evloop->closing);
    lp__list_init(&evloop->watches);
    h2o_timeout_init(evloop->loop, &evloop->mark, MARK);
    evloop->timeout_count = 1;
    evloop->closes_late = true;
    return LP_OK;
}

void lp__evloop_destroy(lp__evloop *evloop)
{
    evloop->closes_late = false;
    lp__evloop_close_all(evloop);
    h2o_timeout_dispose(evloop->loop, &evloop->mark);
    h2o_evloop_destroy(evloop->loop);
    close(evloop->epoll_fd);
}

/* Each has timeouts of its own. */
bool lp__evloop_has_contexts(const lp__evloop *evloop)
{
    const h2o_linklist_t *all = &evloop->loop->_timeouts, *at = all->next;
    for (size_t i = 0; i < evloop->timeout_count; i++)
        at = at->next;
    return at != all;
}

void lp__evloop_hold(lp__evloop *evloop)
{
    if (evloop && evloop->holds++ == 0 && evloop->held)
        evloop->held(evloop, true);
}

void lp__evloop_release(lp__evloop *evloop)
{
    if (evloop && --evloop->holds == 0 && evloop->held)
        evloop->held(evloop, false);
}

static void finish_closing(lp__closing *closing)
{
    void (*closed)(void *ctx) = closing->closed;
    void *ctx = closing->ctx;
    closing->dispose(closing);
    if (closed)
        closed(ctx);
}

void lp__evloop_close(lp__evloop *evloop, lp__closing *closing)
{
    if (!evloop || !evloop->closes_late) {
        finish_closing(closing);
        return;
    }
    lp__list_push_back(&evloop->closing, &closing->link);
    lp__evloop_hold(evloop);
}

void lp__evloop_close_all(lp__evloop *evloop)
{
    while (!lp__list_is_empty(&evloop->closing)) {
        lp__closing *closing = LP__CONTAINER(evloop->closing.next, lp__closing, link);
        lp__list_unlink(&closing->link);
        finish_closing(closing);
        lp__evloop_release(evloop);
    }
}

/* What was written or closed outside of the loop's turns is pending, and libh2o would wait before
 * it looks. */
static bool has_work(const lp__evloop *evloop)
{
    const h2o_loop_t *loop = evloop->loop;
    return loop->_pending_as_client || loop->_pending_as_server ||
           !lp__list_is_empty(&evloop->closing);
}

int lp__evloop_wait(const lp__evloop *evloop)
{
    const h2o_loop_t *loop = evloop->loop;
    if (has_work(evloop) || loop->_statechanged.head)
        return 0;
    uint64_t wake_at = h2o_timeout_get_wake_at((h2o_linklist_t *)(uintptr_t)&loop->_timeouts);
    uint64_t now = h2o_now((h2o_loop_t *)(uintptr_t)loop);
    if (wake_at == UINT64_MAX)
        return -1;
    if (wake_at <= now)
        return 0;
    return wake_at - now < INT32_MAX ? (int)(wake_at - now) : INT32_MAX;
}

/* A failure is a signal that came, or a socket that the kernel did not take to be watched: then the
 * loop goes on with the others. */
void lp__evloop_turn(lp__evloop *evloop, int wait_ms)
{
    h2o_evloop_run(evloop->loop, has_work(evloop) ? 0 : wait_ms);
    lp__evloop_close_all(evloop);
}

/* A pipe, for the queue of a context. */
int lp__reserve_take(lp__reserve *reserve)
{
    return pipe2(reserve->fds, O_CLOEXEC) == 0 ? LP_OK : LP_EFULL;
}

void lp__reserve_release(const lp__reserve *reserve)
{
    close(reserve->fds[0]);
    close(reserve->fds[1]);
}

/* libh2o 2.2 forgets the memory of the queue, on its own loop alone. */
void lp__context_dispose(h2o_context_t *context)
{
    h2o_multithread_queue_t *queue = context->queue;
    h2o_context_dispose(context);
    free(queue);
}

/* ---- a thread's own ---------------------------------------------------- */

h2o_loop_t *lp__loop_new(void)
{
    lp__evloop *evloop = calloc(1, sizeof(*evloop));
    if (!evloop || lp__evloop_open(evloop) != LP_OK) {
        free(evloop);
        return NULL;
    }
    return evloop->loop;
}

void lp__loop_run(h2o_loop_t *loop, const bool *is_over)
{
    lp__evloop *evloop = lp__evloop_of(loop);
    while (!*is_over)
        lp__evloop_turn(evloop, INT32_MAX);
}

void lp__loop_free(h2o_loop_t *loop)
{
    lp__evloop *evloop = lp__evloop_of(loop);
    lp__evloop_destroy(evloop);
    free(evloop);
    lp__libh2o_end_thread();
}
