/* A listener, its connections, and the bounds of their number and of what their requests hold; in
 * both flavours. On the thread of its loop. */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define ACCEPTED_AT_A_TIME 64
#define LINGERING_MAX      256 /* refused connections that wait for their client to close */
#define LINGER_MS          2000

/* How often the connections are looked at, while there are any: a millisecond more for so many of
 * them, since each takes its time. */
#define SWEEP_MS          20
#define SWEEP_CONNECTIONS 200

struct lp__listener {
    h2o_loop_t *loop;
    lp__listener_options options;
    int fd;
    int spare_fd;           /* given up to take a connection, and close it, when there is none */
    lp__readable *readable; /* owns `fd` */
    lp__timer *sweep;       /* of what connections hold, and of those that linger */
    lp__tls_group *tls_group;
    SSL_CTX *tls;         /* for connections from now on; NULL: in clear */
    lp__list connections; /* served by libh2o */
    lp__list lingering;   /* refused, until their client has read why */
    size_t connection_count, lingering_count;
    int open_parts; /* of the listener itself */
    bool is_paused; /* no connection can be taken for a moment */
    bool stopped;
};

/* A connection past the bound. */
typedef struct lingering {
    lp__listener *listener;
    lp__list link;
    int fd;
    lp__readable *readable; /* owns `fd` */
    uint64_t since_ms;
    bool is_closing;
} lingering;

static void on_part_closed(void *ctx);

/* Connections of TLS need their group to the last. */
static void tell_when_empty(lp__listener *listener)
{
    if (!listener->stopped || listener->connection_count || listener->lingering_count)
        return;
    if (listener->tls_group) {
        lp__tls_group_close(listener->tls_group, on_part_closed, listener);
        listener->tls_group = NULL;
    } else if (!listener->open_parts) {
        listener->options.empty(listener->options.ctx);
    }
}

static void on_part_closed(void *ctx)
{
    lp__listener *listener = ctx;
    listener->open_parts--;
    tell_when_empty(listener);
}

void lp__listener_closed(lp__connection *conn, bool tls_failed)
{
    lp__listener *listener = conn->listener;
    lp__list_unlink(&conn->link);
    listener->connection_count--;
    listener->options.closed(listener->options.ctx, tls_failed);
    tell_when_empty(listener);
}

/* ---- connections past the bound ---------------------------------------- */

/* Closing a socket with unread bytes resets the connection, and the client may lose the answer that
 * says why. So it is read from until its client closes, for a bounded time and in bounded number.
 * Under TLS there is nobody yet to be told anything: it is closed. */
static void on_lingering_closed(void *ctx)
{
    lingering *conn = ctx;
    lp__listener *listener = conn->listener;
    lp__list_unlink(&conn->link);
    listener->lingering_count--;
    free(conn);
    tell_when_empty(listener);
}

static void close_refused(lingering *conn)
{
    if (conn->is_closing)
        return;
    conn->is_closing = true;
    lp__readable_close(conn->readable, on_lingering_closed, conn);
}

static void on_unwanted(void *ctx)
{
    lingering *conn = ctx;
    char discarded[512];
    ssize_t len = recv(conn->fd, discarded, sizeof(discarded), MSG_DONTWAIT);
    if (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR))
        close_refused(conn);
}

static void close_lingering(lp__listener *listener, bool all)
{
    uint64_t now = lp__loop_now(listener->loop);
    lp__list *next, *at = listener->lingering.next;
    for (; at != &listener->lingering; at = next) {
        lingering *conn = LP__CONTAINER(at, lingering, link);
        next = at->next;
        if (all || now - conn->since_ms >= LINGER_MS)
            close_refused(conn);
    }
}

static void refuse(lp__listener *listener, int fd)
{
    lp_str answer = listener->options.refusal;
    lingering *conn = NULL;
    listener->options.refused(listener->options.ctx);
    if (!listener->tls) {
        (void)!send(fd, answer.base, answer.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        if (listener->lingering_count < LINGERING_MAX)
            conn = calloc(1, sizeof(*conn));
    }
    if (!conn ||
        lp__readable_open(listener->loop, fd, on_unwanted, conn, &conn->readable) != LP_OK) {
        free(conn);
        close(fd);
        return;
    }
    lp__readable_hold(conn->readable);
    conn->listener = listener;
    conn->fd = fd;
    conn->since_ms = lp__loop_now(listener->loop);
    lp__list_push_back(&listener->lingering, &conn->link);
    listener->lingering_count++;
}

/* ---- what requests hold ------------------------------------------------ */

/* libh2o keeps a request, headers and body, in its connection's input buffer until it is answered,
 * and bounds it one by one only. The buffer grows by doubling; up to COUNTED_FROM it is part of
 * what any connection costs. */
#define COUNTED_FROM ((size_t)4 * H2O_SOCKET_INITIAL_INPUT_BUFFER_SIZE)

static size_t held_by(const lp__connection *conn)
{
    const h2o_buffer_t *input = conn->socket->input; /* under TLS, what has been decrypted */
    size_t held = input->bytes && input->capacity >= COUNTED_FROM ? input->capacity : 0;
    return held + (conn->tls ? lp__tls_held(conn->tls) : 0);
}

/* libh2o has disposed of the socket, or will: very soon, or for a publish when it is decided. */
static bool is_ending(const lp__connection *conn)
{
    return conn->cut || lp__connection_is_closing(conn);
}

static void cut(lp__connection *conn)
{
    conn->cut = true;
    lp__socket_abort(h2o_socket_get_fd(conn->socket));
}

/* Whether an empty line, which ends the headers, is among the first `len` bytes. */
static bool has_empty_line(const char *bytes, size_t len)
{
    const char *end = bytes + len;
    while ((bytes = memchr(bytes, '\n', (size_t)(end - bytes)))) {
        bytes++;
        if (bytes < end && *bytes == '\r')
            bytes++;
        if (bytes < end && *bytes == '\n')
            return true;
    }
    return false;
}

/* libh2o reads up to 400 KB of headers before it gives up or calls us. A connection that it does
 * not read from has sent a whole request. */
static bool has_endless_headers(const lp__connection *conn)
{
    const h2o_buffer_t *input = conn->socket->input;
    size_t max = conn->listener->options.header_bytes_max;
    return input->size > max && lp__connection_is_reading(conn) &&
           !has_empty_line(input->bytes, max);
}

/* The largest first, and the oldest of these. */
static void cut_largest(lp__listener *listener, size_t held, size_t largest)
{
    size_t max = listener->options.request_bytes_max;
    for (size_t class = largest; held > max && class >= COUNTED_FROM; class /= 2) {
        lp__list *at = listener->connections.next;
        for (; held > max && at != &listener->connections; at = at->next) {
            lp__connection *conn = LP__CONTAINER(at, lp__connection, link);
            if (is_ending(conn) || held_by(conn) < class)
                continue;
            held -= held_by(conn);
            cut(conn);
        }
    }
}

static void bound_requests(lp__listener *listener)
{
    size_t held = 0, largest = 0;
    for (lp__list *at = listener->connections.next; at != &listener->connections; at = at->next) {
        lp__connection *conn = LP__CONTAINER(at, lp__connection, link);
        if (is_ending(conn))
            continue;
        if (has_endless_headers(conn)) {
            cut(conn);
            continue;
        }
        size_t size = held_by(conn);
        held += size;
        if (size > largest)
            largest = size;
    }
    cut_largest(listener, held, largest);
}

static void start_sweep(lp__listener *listener)
{
    lp__timer_start(listener->sweep, SWEEP_MS + listener->connection_count / SWEEP_CONNECTIONS);
}

static void on_sweep(void *ctx)
{
    lp__listener *listener = ctx;
    if (listener->is_paused) {
        listener->is_paused = false;
        lp__readable_pause(listener->readable, false);
    }
    close_lingering(listener, false);
    bound_requests(listener);
    if (!lp__list_is_empty(&listener->lingering) || !lp__list_is_empty(&listener->connections))
        start_sweep(listener);
}

static void sweep_later(lp__listener *listener)
{
    if (!lp__timer_is_started(listener->sweep))
        start_sweep(listener);
}

/* ---- accepting --------------------------------------------------------- */

static void accept_one(lp__listener *listener, int fd)
{
    sweep_later(listener);
    if (listener->connection_count >= listener->options.connections_max) {
        refuse(listener, fd);
        return;
    }
    lp__connection *conn = lp__connection_new(listener, listener->loop, fd, listener->tls != NULL);
    if (!conn) {
        listener->options.failed(listener->options.ctx, lp_strerror(LP_ENOMEM));
        return;
    }
    listener->connection_count++;
    lp__list_push_back(&listener->connections, &conn->link);
    listener->options.accepted(listener->options.ctx, conn->socket, listener->tls);
    if (listener->tls)
        lp__connection_begin_tls(conn, listener->tls_group, listener->tls);
}

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Without a descriptor left the newcomer is closed with the spare one, since it would be there in
 * each turn. Where that does not help either, the listener rests. */
static void shed(lp__listener *listener, int failure)
{
    listener->options.failed(listener->options.ctx, uv_strerror(uv_translate_sys_error(failure)));
    if ((failure == EMFILE || failure == ENFILE) && listener->spare_fd >= 0) {
        close(listener->spare_fd);
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        listener->spare_fd = open_spare();
        return;
    }
    if (listener->spare_fd < 0)
        listener->spare_fd = open_spare();
    listener->is_paused = true;
    lp__readable_pause(listener->readable, true);
    sweep_later(listener);
}

static bool is_the_newcomers(int failure)
{
    return failure == EINTR || failure == ECONNABORTED || failure == EPROTO || failure == EPERM;
}

static void on_connections(void *ctx)
{
    lp__listener *listener = ctx;
    for (int i = 0; i < ACCEPTED_AT_A_TIME && !listener->is_paused && !listener->stopped; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            accept_one(listener, fd);
        else if (errno == EAGAIN)
            return;
        else if (!is_the_newcomers(errno))
            shed(listener, errno);
    }
}

/* ---- life -------------------------------------------------------------- */

static void free_parts(lp__listener *listener)
{
    if (listener->spare_fd >= 0)
        close(listener->spare_fd);
    SSL_CTX_free(listener->tls);
    free(listener);
}

static void on_failed_part_closed(void *ctx)
{
    lp__listener *listener = ctx;
    if (--listener->open_parts == 0)
        free_parts(listener);
}

static void take_back(lp__listener *listener)
{
    listener->open_parts++;
    if (listener->readable)
        lp__readable_close(listener->readable, on_failed_part_closed, listener);
    else
        close(listener->fd);
    if (listener->sweep)
        lp__timer_close(listener->sweep, on_failed_part_closed, listener);
    on_failed_part_closed(listener);
}

static int open_parts(lp__listener *listener)
{
    h2o_loop_t *loop = listener->loop;
    int status = lp__timer_open(loop, on_sweep, listener, &listener->sweep);
    if (status != LP_OK)
        return status;
    listener->open_parts++;
    status = lp__readable_open(loop, listener->fd, on_connections, listener, &listener->readable);
    if (status != LP_OK)
        return status;
    listener->open_parts++;
    status = lp__tls_group_open(loop, &listener->tls_group);
    if (listener->tls_group)
        listener->open_parts++;
    return status;
}

int lp__listener_open(h2o_loop_t *loop, const lp__listener_options *options, lp__listener **out,
                      lp_error *error)
{
    int fd;
    int status = lp__listen(options, &fd, error);
    if (status != LP_OK)
        return status;
    lp__listener *listener = calloc(1, sizeof(*listener));
    if (!listener) {
        close(fd);
        return lp_error_set(error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
    }
    listener->loop = loop;
    listener->options = *options;
    listener->fd = fd;
    listener->spare_fd = open_spare();
    lp__list_init(&listener->connections);
    lp__list_init(&listener->lingering);
    status = open_parts(listener);
    if (status != LP_OK) {
        take_back(listener);
        return lp_error_set(error, LP_ENOMEM, "listen address \"%s\": %s", options->address,
                            lp_strerror(status));
    }
    lp__readable_hold(listener->readable);
    if (options->tls)
        lp__listener_set_tls(listener, options->tls);
    *out = listener;
    return LP_OK;
}

int lp__listener_port(const lp__listener *listener)
{
    return lp__listen_port(listener->fd);
}

size_t lp__listener_connections(const lp__listener *listener)
{
    return listener->connection_count;
}

void lp__listener_set_tls(lp__listener *listener, SSL_CTX *tls)
{
    SSL_CTX_up_ref(tls);
    SSL_CTX_free(listener->tls);
    listener->tls = tls;
}

void lp__listener_stop(lp__listener *listener)
{
    listener->stopped = true;
    lp__readable_close(listener->readable, on_part_closed, listener);
    lp__timer_close(listener->sweep, on_part_closed, listener);
    close_lingering(listener, true);
}

/* The end of file makes libh2o close. */
void lp__listener_end_idle(lp__listener *listener)
{
    for (lp__list *at = listener->connections.next; at != &listener->connections; at = at->next) {
        lp__connection *conn = LP__CONTAINER(at, lp__connection, link);
        if (!lp__connection_is_closing(conn) && lp__connection_is_reading(conn))
            shutdown(h2o_socket_get_fd(conn->socket), SHUT_RD);
    }
}

void lp__listener_end_all(lp__listener *listener)
{
    for (lp__list *at = listener->connections.next; at != &listener->connections; at = at->next) {
        lp__connection *conn = LP__CONTAINER(at, lp__connection, link);
        if (!lp__connection_is_closing(conn))
            lp__socket_abort(h2o_socket_get_fd(conn->socket));
    }
}

void lp__listener_free(lp__listener *listener)
{
    free_parts(listener);
}
