/* The flavour "libh2o on libuv" of loop.h, but for the listener: clients that leave, sockets and
 * timers. Home loop only. */
#include "loop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define GONE_AT_A_TIME 64

uint64_t lp__loop_now(h2o_loop_t *loop)
{
    return uv_now(loop);
}

/* ---- clients that leave ------------------------------------------------ */

struct lp__watch {
    uv_poll_t poll;
    int epoll_fd;
    lp__watch_cb gone;
    void **tags; /* by descriptor; NULL: not watched */
    size_t tag_count;
    void (*closed)(void *ctx);
    void *ctx;
};

/* Whether the client says goodbye in TLS (close_notify) and leaves its socket open. libh2o has read
 * the records up to the request's end and no more (see tls_uv.c), so a record begins here. Alerts
 * are encrypted, but their size is not: 2 bytes, in TLS 1.3 with the true type behind them and 16
 * bytes of authentication. */
static bool says_goodbye(int fd)
{
    enum { HEADER = 5, ALERT = 21, DATA = 23, ALERT_IN_DATA = 2 + 1 + 16 };
    unsigned char bytes[4096];
    ssize_t len = recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    for (ssize_t at = 0; at + HEADER <= len;) {
        const unsigned char *record = bytes + at;
        size_t size = (size_t)record[3] << 8 | record[4];
        if (record[0] < 20 || record[0] > DATA || record[1] != 3)
            return false; /* not TLS */
        if (record[0] == ALERT || (record[0] == DATA && size == ALERT_IN_DATA))
            return true;
        at += HEADER + (ssize_t)size;
    }
    return false;
}

/* Only one batch a turn: the poll is level-triggered. What one callback does never frees another
 * tag of the batch, for it ends requests by writing, and writes complete in a later turn. */
static void on_watch(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    lp__watch *watch = poll->data;
    struct epoll_event gone[GONE_AT_A_TIME];
    int count = epoll_wait(watch->epoll_fd, gone, GONE_AT_A_TIME, 0);
    for (int i = 0; i < count; i++) {
        int fd = gone[i].data.fd;
        void *tag = watch->tags[fd];
        if (!tag || (gone[i].events == EPOLLIN && !says_goodbye(fd)))
            continue;
        lp__watch_remove(watch, fd);
        watch->gone(tag);
    }
}

int lp__watch_open(h2o_loop_t *loop, lp__watch_cb gone, lp__watch **out)
{
    lp__watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return LP_ENOMEM;
    watch->gone = gone;
    watch->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (watch->epoll_fd < 0) {
        free(watch);
        return LP_EFULL;
    }
    if (uv_poll_init(loop, &watch->poll, watch->epoll_fd) != 0) {
        close(watch->epoll_fd);
        free(watch);
        return LP_EFULL;
    }
    watch->poll.data = watch;
    uv_unref((uv_handle_t *)&watch->poll);
    uv_poll_start(&watch->poll, UV_READABLE, on_watch);
    *out = watch;
    return LP_OK;
}

static void on_watch_closed(uv_handle_t *handle)
{
    lp__watch *watch = handle->data;
    void (*closed)(void *ctx) = watch->closed;
    void *ctx = watch->ctx;
    close(watch->epoll_fd);
    free(watch->tags);
    free(watch);
    closed(ctx);
}

void lp__watch_close(lp__watch *watch, void (*closed)(void *ctx), void *ctx)
{
    watch->closed = closed;
    watch->ctx = ctx;
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

static int make_room(lp__watch *watch, size_t fd)
{
    size_t count = watch->tag_count ? watch->tag_count : 256;
    while (count <= fd)
        count *= 2;
    if (count == watch->tag_count)
        return LP_OK;
    void **tags = realloc(watch->tags, count * sizeof(*tags));
    if (!tags)
        return LP_ENOMEM;
    memset(tags + watch->tag_count, 0, (count - watch->tag_count) * sizeof(*tags));
    watch->tags = tags;
    watch->tag_count = count;
    return LP_OK;
}

/* Edge-triggered: what a client sends ahead of its answers is looked at once as it comes. */
int lp__watch_add(lp__watch *watch, int fd, void *tag)
{
    struct epoll_event interest = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    if (fd < 0 || make_room(watch, (size_t)fd) != LP_OK)
        return LP_EFULL;
    watch->tags[fd] = tag;
    if (epoll_ctl(watch->epoll_fd, EPOLL_CTL_ADD, fd, &interest) == 0)
        return LP_OK;
    watch->tags[fd] = NULL;
    return LP_EFULL;
}

void lp__watch_remove(lp__watch *watch, int fd)
{
    if (!watch->tags[fd])
        return;
    watch->tags[fd] = NULL;
    epoll_ctl(watch->epoll_fd, EPOLL_CTL_DEL, fd, &(struct epoll_event){0});
}

/* ---- sockets and timers ------------------------------------------------ */

int lp__socket_of(h2o_req_t *req)
{
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    return socket ? h2o_socket_get_fd(socket) : -1;
}

void lp__socket_abort(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    shutdown(fd, SHUT_RDWR);
}

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
