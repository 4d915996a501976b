/* The flavour "libh2o on libuv" of loop.h: the only file of core/http that calls libuv. Home loop
 * only. */
#include "loop.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>

#define GONE_AT_A_TIME 64
#define BACKLOG        1024
#define KEEPALIVE_S    60
#define LINGERING_MAX  256 /* refused connections that wait for their client to close */
#define LINGER_MS      2000

uint64_t lp__loop_now(h2o_loop_t *loop)
{
    return uv_now(loop);
}

/* ---- clients that leave ------------------------------------------------ */

struct lp__watch {
    uv_poll_t poll;
    int epoll_fd;
    lp__watch_cb gone;
    void (*closed)(void *ctx);
    void *ctx;
};

/* Only one batch a turn: the poll is level-triggered. What one callback does never frees another
 * tag of the batch, for it ends requests by writing, and writes complete in a later turn. */
static void on_watch(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    lp__watch *watch = poll->data;
    struct epoll_event gone[GONE_AT_A_TIME];
    int count = epoll_wait(watch->epoll_fd, gone, GONE_AT_A_TIME, 0);
    for (int i = 0; i < count; i++)
        watch->gone(gone[i].data.ptr);
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
    free(watch);
    closed(ctx);
}

void lp__watch_close(lp__watch *watch, void (*closed)(void *ctx), void *ctx)
{
    watch->closed = closed;
    watch->ctx = ctx;
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

int lp__watch_add(lp__watch *watch, int fd, void *tag)
{
    struct epoll_event interest = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = tag};
    return epoll_ctl(watch->epoll_fd, EPOLL_CTL_ADD, fd, &interest) == 0 ? LP_OK : LP_EFULL;
}

void lp__watch_remove(lp__watch *watch, int fd)
{
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

/* ---- listener ---------------------------------------------------------- */

struct lp__listener {
    uv_tcp_t tcp;
    uv_timer_t sweep; /* of those that linger */
    lp__listener_options options;
    lp__list connections; /* served by libh2o */
    lp__list lingering;   /* refused, until their client has read why */
    size_t connection_count, lingering_count;
    int open_handles; /* of the listener itself */
    bool stopped;
    char discarded[512];
};

typedef struct connection {
    uv_tcp_t tcp; /* its `data` is libh2o's while it serves the connection */
    lp__listener *listener;
    lp__list link;
    uint64_t since_ms; /* of one that lingers */
    bool refused;
} connection;

static void tell_when_empty(lp__listener *listener)
{
    if (listener->stopped && !listener->open_handles && !listener->connection_count &&
        !listener->lingering_count)
        listener->options.empty(listener->options.ctx);
}

/* libh2o calls this when it has closed the connection; ours end here too. */
static void on_connection_closed(uv_handle_t *handle)
{
    connection *conn = LP__CONTAINER(handle, connection, tcp);
    lp__listener *listener = conn->listener;
    lp__list_unlink(&conn->link);
    if (conn->refused)
        listener->lingering_count--;
    else
        listener->connection_count--;
    free(conn);
    tell_when_empty(listener);
}

static int descriptor_of(connection *conn)
{
    uv_os_fd_t fd;
    return uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0 ? fd : -1;
}

/* ---- connections past the bound ---------------------------------------- */

/* Closing a socket with unread bytes resets the connection, and the client may lose the answer that
 * says why. So it is read from until its client closes, for a bounded time and in bounded number.
 */
static void on_unwanted_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    lp__listener *listener = LP__CONTAINER(handle, connection, tcp)->listener;
    (void)suggested;
    *buf = uv_buf_init(listener->discarded, sizeof(listener->discarded));
}

static void close_refused(connection *conn)
{
    if (!uv_is_closing((uv_handle_t *)&conn->tcp))
        uv_close((uv_handle_t *)&conn->tcp, on_connection_closed);
}

static void on_unwanted_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    (void)buf;
    if (len < 0)
        close_refused(LP__CONTAINER(stream, connection, tcp));
}

static void on_sweep(uv_timer_t *timer)
{
    lp__listener *listener = timer->data;
    for (lp__list *at = listener->lingering.next; at != &listener->lingering; at = at->next) {
        connection *conn = LP__CONTAINER(at, connection, link);
        if (uv_now(timer->loop) - conn->since_ms >= LINGER_MS)
            close_refused(conn);
    }
    if (!lp__list_is_empty(&listener->lingering))
        uv_timer_start(timer, on_sweep, LINGER_MS / 2, 0);
}

static void refuse(lp__listener *listener, connection *conn)
{
    lp_str answer = listener->options.refusal;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)answer.base, (unsigned)answer.len);
    conn->refused = true;
    conn->since_ms = uv_now(listener->tcp.loop);
    lp__list_push_back(&listener->lingering, &conn->link);
    listener->lingering_count++;
    uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
    shutdown(descriptor_of(conn), SHUT_WR);
    if (listener->lingering_count > LINGERING_MAX ||
        uv_read_start((uv_stream_t *)&conn->tcp, on_unwanted_alloc, on_unwanted_read) != 0)
        close_refused(conn);
    else if (!uv_is_active((uv_handle_t *)&listener->sweep))
        uv_timer_start(&listener->sweep, on_sweep, LINGER_MS / 2, 0);
}

/* ---- accepting --------------------------------------------------------- */

static void on_never_connected(uv_handle_t *handle)
{
    free(LP__CONTAINER(handle, connection, tcp));
}

/* Without a descriptor left libuv closes the newcomer with a spare one and tells of it here. */
static void on_connection(uv_stream_t *stream, int status)
{
    lp__listener *listener = stream->data;
    connection *conn = status == 0 ? calloc(1, sizeof(*conn)) : NULL;
    if (!conn) {
        listener->options.failed(listener->options.ctx,
                                 status ? uv_strerror(status) : "out of memory");
        return;
    }
    uv_tcp_init(stream->loop, &conn->tcp);
    lp__list_init(&conn->link);
    conn->listener = listener;
    if (uv_accept(stream, (uv_stream_t *)&conn->tcp) != 0) {
        uv_close((uv_handle_t *)&conn->tcp, on_never_connected);
        return;
    }
    if (listener->connection_count >= listener->options.connections_max) {
        refuse(listener, conn);
        return;
    }
    listener->connection_count++;
    lp__list_push_back(&listener->connections, &conn->link);
    listener->options.accepted(
        listener->options.ctx,
        h2o_uv_socket_create((uv_stream_t *)&conn->tcp, on_connection_closed));
}

static int parse_address(const char *text, struct sockaddr_storage *out)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    char *end = NULL;
    long port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtol(colon + 1, &end, 10) : -1;
    if (!len || len >= sizeof(host) || port < 0 || port > 65535 || *end)
        return LP_EINVAL;
    memcpy(host, text, len);
    host[len] = '\0';
    if (host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        return uv_ip6_addr(host + 1, (int)port, (struct sockaddr_in6 *)out) ? LP_EINVAL : LP_OK;
    }
    const char *ip = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    return uv_ip4_addr(ip, (int)port, (struct sockaddr_in *)out) ? LP_EINVAL : LP_OK;
}

/* Accepted connections inherit these from their listener (Linux), which spares three calls for
 * each. libh2o's uv flavour sets none of them. */
static void set_options(lp__listener *listener)
{
    int on = 1, idle_s = KEEPALIVE_S;
    unsigned timeout_ms = (unsigned)listener->options.write_timeout_ms;
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&listener->tcp, &fd) != 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

static void on_half_closed(uv_handle_t *handle)
{
    lp__listener *listener = handle->data;
    if (--listener->open_handles == 0)
        free(listener);
}

int lp__listener_open(h2o_loop_t *loop, const lp__listener_options *options, lp__listener **out,
                      lp_error *error)
{
    struct sockaddr_storage address = {0};
    if (parse_address(options->address, &address) != LP_OK)
        return lp_error_set(error, LP_EINVAL,
                            "listen address \"%s\": not an IP address and a port (write "
                            "127.0.0.1:8101 or [::1]:8101)",
                            options->address);
    lp__listener *listener = calloc(1, sizeof(*listener));
    if (!listener)
        return lp_error_set(error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
    listener->options = *options;
    lp__list_init(&listener->connections);
    lp__list_init(&listener->lingering);
    uv_tcp_init(loop, &listener->tcp);
    uv_timer_init(loop, &listener->sweep);
    uv_unref((uv_handle_t *)&listener->sweep);
    listener->tcp.data = listener->sweep.data = listener;
    listener->open_handles = 2;

    int failure = uv_tcp_bind(&listener->tcp, (struct sockaddr *)&address, 0);
    if (failure == 0)
        failure = uv_listen((uv_stream_t *)&listener->tcp, BACKLOG, on_connection);
    if (failure != 0) {
        uv_close((uv_handle_t *)&listener->tcp, on_half_closed);
        uv_close((uv_handle_t *)&listener->sweep, on_half_closed);
        int status = failure == UV_EADDRINUSE                       ? LP_EINUSE
                     : failure == UV_EACCES                         ? LP_EACCES
                     : failure == UV_ENOMEM || failure == UV_EMFILE ? LP_ENOMEM
                                                                    : LP_EINVAL;
        return lp_error_set(error, status, "listen address \"%s\": %s%s", options->address,
                            uv_strerror(failure),
                            status == LP_EINUSE ? " (stop who uses it, or listen elsewhere)" : "");
    }
    set_options(listener);
    *out = listener;
    return LP_OK;
}

int lp__listener_port(const lp__listener *listener)
{
    struct sockaddr_storage address = {0};
    int len = sizeof(address);
    if (uv_tcp_getsockname(&listener->tcp, (struct sockaddr *)&address, &len) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

size_t lp__listener_connections(const lp__listener *listener)
{
    return listener->connection_count;
}

static void on_listener_closed(uv_handle_t *handle)
{
    lp__listener *listener = handle->data;
    listener->open_handles--;
    tell_when_empty(listener);
}

void lp__listener_stop(lp__listener *listener)
{
    listener->stopped = true;
    uv_close((uv_handle_t *)&listener->tcp, on_listener_closed);
    uv_close((uv_handle_t *)&listener->sweep, on_listener_closed);
    for (lp__list *at = listener->lingering.next; at != &listener->lingering; at = at->next)
        close_refused(LP__CONTAINER(at, connection, link));
}

/* A stream that reads is active and has nothing to write; libh2o stops reading while it serves a
 * request. The end of file makes libh2o close. */
void lp__listener_end_idle(lp__listener *listener)
{
    for (lp__list *at = listener->connections.next; at != &listener->connections; at = at->next) {
        connection *conn = LP__CONTAINER(at, connection, link);
        if (uv_is_active((uv_handle_t *)&conn->tcp) &&
            uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp) == 0)
            shutdown(descriptor_of(conn), SHUT_RD);
    }
}

void lp__listener_end_all(lp__listener *listener)
{
    for (lp__list *at = listener->connections.next; at != &listener->connections; at = at->next) {
        connection *conn = LP__CONTAINER(at, connection, link);
        if (!uv_is_closing((uv_handle_t *)&conn->tcp))
            lp__socket_abort(descriptor_of(conn));
    }
}

void lp__listener_free(lp__listener *listener)
{
    free(listener);
}
