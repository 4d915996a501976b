/* Clients that leave while their request is parked (see loop.h), in both flavours. On the thread of
 * its loop.
 *
 * Where libh2o's own loop can be asked whether a socket has become readable, without reading from
 * it, that costs no system call: the socket stays registered as it was. It is asked once: a client
 * that sends more, ahead of its answer, is watched by our epoll instance from then on, which also
 * serves the flavour that cannot be asked. */
#include "flavour.h"

#include <errno.h>

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define GONE_AT_A_TIME 64

typedef struct watched {
    void *tag;            /* NULL: not watched */
    h2o_socket_t *socket; /* NULL: by epoll */
} watched;

struct lp__watch {
    lp__list link; /* among the loop's, where it can be asked */
    bool asks_loop;
    lp__readable *readable; /* owns the descriptor */
    int epoll_fd;
    lp__watch_cb gone;
    watched *all; /* by descriptor */
    size_t count;
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

/* Only one batch a turn: there is another call when more is left. What one callback does never
 * frees another tag of the batch, for it ends requests by writing, and writes complete in a later
 * turn. */
static void on_watch(void *ctx)
{
    lp__watch *watch = ctx;
    struct epoll_event gone[GONE_AT_A_TIME];
    int count = epoll_wait(watch->epoll_fd, gone, GONE_AT_A_TIME, 0);
    for (int i = 0; i < count; i++) {
        int fd = gone[i].data.fd;
        void *tag = watch->all[fd].tag;
        if (!tag || (gone[i].events == EPOLLIN && !says_goodbye(fd)))
            continue;
        lp__watch_remove(watch, fd);
        watch->gone(tag);
    }
}

/* Edge-triggered: what a client sends ahead of its answers is looked at once as it comes. */
static int watch_by_epoll(lp__watch *watch, int fd)
{
    struct epoll_event interest = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    return epoll_ctl(watch->epoll_fd, EPOLL_CTL_ADD, fd, &interest) == 0 ? LP_OK : LP_EFULL;
}

static bool is_gone(int fd)
{
    char byte;
    ssize_t len = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR);
}

/* Where epoll has no room for it, its client is taken for gone rather than never missed. */
static void on_readable(lp__watch *watch, int fd)
{
    watched *self = &watch->all[fd];
    void *tag = self->tag;
    bool has_gone = is_gone(fd);
    if (!has_gone) {
        lp__socket_unwatch(self->socket);
        self->socket = NULL;
        has_gone = watch_by_epoll(watch, fd) != LP_OK;
    }
    if (!has_gone)
        return;
    lp__watch_remove(watch, fd);
    watch->gone(tag);
}

void lp__watch_readable(h2o_socket_t *socket)
{
    int fd = h2o_socket_get_fd(socket);
    lp__list *watches = lp__loop_watches(h2o_socket_get_loop(socket));
    for (lp__list *at = watches->next; at != watches; at = at->next) {
        lp__watch *watch = LP__CONTAINER(at, lp__watch, link);
        if ((size_t)fd < watch->count && watch->all[fd].tag && watch->all[fd].socket == socket) {
            on_readable(watch, fd);
            return;
        }
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
    int status = lp__readable_open(loop, watch->epoll_fd, on_watch, watch, &watch->readable);
    if (status != LP_OK) {
        close(watch->epoll_fd);
        free(watch);
        return status;
    }
    lp__list *watches = lp__loop_watches(loop);
    lp__list_init(&watch->link);
    watch->asks_loop = watches != NULL;
    if (watches)
        lp__list_push_back(watches, &watch->link);
    *out = watch;
    return LP_OK;
}

static void on_watch_closed(void *ctx)
{
    lp__watch *watch = ctx;
    void (*closed)(void *ctx) = watch->closed;
    void *closed_ctx = watch->ctx;
    free(watch->all);
    free(watch);
    closed(closed_ctx);
}

void lp__watch_close(lp__watch *watch, void (*closed)(void *ctx), void *ctx)
{
    watch->closed = closed;
    watch->ctx = ctx;
    lp__list_unlink(&watch->link);
    lp__readable_close(watch->readable, on_watch_closed, watch);
}

static int make_room(lp__watch *watch, size_t fd)
{
    size_t count = watch->count ? watch->count : 256;
    while (count <= fd)
        count *= 2;
    if (count == watch->count)
        return LP_OK;
    watched *all = realloc(watch->all, count * sizeof(*all));
    if (!all)
        return LP_ENOMEM;
    memset(all + watch->count, 0, (count - watch->count) * sizeof(*all));
    watch->all = all;
    watch->count = count;
    return LP_OK;
}

int lp__watch_add(lp__watch *watch, h2o_req_t *req, void *tag)
{
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    int fd = socket ? h2o_socket_get_fd(socket) : -1;
    if (fd < 0 || make_room(watch, (size_t)fd) != LP_OK)
        return LP_EFULL;
    if (watch->asks_loop)
        lp__socket_watch(socket);
    else if (watch_by_epoll(watch, fd) != LP_OK)
        return LP_EFULL;
    watch->all[fd] = (watched){tag, watch->asks_loop ? socket : NULL};
    return LP_OK;
}

void lp__watch_remove(lp__watch *watch, int fd)
{
    watched *self = &watch->all[fd];
    if (!self->tag)
        return;
    if (self->socket)
        lp__socket_unwatch(self->socket);
    else
        epoll_ctl(watch->epoll_fd, EPOLL_CTL_DEL, fd, &(struct epoll_event){0});
    *self = (watched){0};
}
