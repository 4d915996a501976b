/* The flavour "libh2o on libuv" of loop.h: the listener, its connections, and the bounds of their
 * number and of what their requests hold. Home loop only. */
#include "connection_uv.h"

#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG            1024
#define KEEPALIVE_S        60
#define LINGERING_MAX      256 /* refused connections that wait for their client to close */
#define KERNEL_PATIENCE_MS 5000
#define LINGER_MS          2000
#define SWEEP_MS           100 /* how often the connections are looked at, while there are any */

static void on_listener_closed(uv_handle_t *handle);

/* Connections of TLS need `prepare` to the last. */
static void tell_when_empty(lp__listener *listener)
{
    if (!listener->stopped || listener->connection_count || listener->lingering_count)
        return;
    if (!uv_is_closing((uv_handle_t *)&listener->tls_group.prepare))
        uv_close((uv_handle_t *)&listener->tls_group.prepare, on_listener_closed);
    else if (!listener->open_handles)
        listener->options.empty(listener->options.ctx);
}

static void on_listener_closed(uv_handle_t *handle)
{
    lp__listener *listener = handle->data;
    listener->open_handles--;
    tell_when_empty(listener);
}

/* libh2o calls this when it has closed the connection; ours end here too. */
static void on_connection_closed(uv_handle_t *handle)
{
    lp__connection *conn = LP__CONTAINER(handle, lp__connection, tcp);
    lp__listener *listener = conn->listener;
    lp__list_unlink(&conn->link);
    if (conn->refused) {
        listener->lingering_count--;
    } else {
        listener->connection_count--;
        listener->options.closed(listener->options.ctx, conn->tls && lp__tls_end(conn->tls));
    }
    free(conn);
    tell_when_empty(listener);
}

static int descriptor_of(lp__connection *conn)
{
    uv_os_fd_t fd;
    return uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0 ? fd : -1;
}

/* ---- connections past the bound ---------------------------------------- */

/* Closing a socket with unread bytes resets the connection, and the client may lose the answer that
 * says why. So it is read from until its client closes, for a bounded time and in bounded number.
 * Under TLS there is nobody yet to be told anything: it is closed. */
static void on_unwanted_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    lp__listener *listener = LP__CONTAINER(handle, lp__connection, tcp)->listener;
    (void)suggested;
    *buf = uv_buf_init(listener->discarded, sizeof(listener->discarded));
}

static void close_refused(lp__connection *conn)
{
    if (!uv_is_closing((uv_handle_t *)&conn->tcp))
        uv_close((uv_handle_t *)&conn->tcp, on_connection_closed);
}

static void on_unwanted_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    (void)buf;
    if (len < 0)
        close_refused(LP__CONTAINER(stream, lp__connection, tcp));
}

static void close_lingering(lp__listener *listener)
{
    uint64_t now = uv_now(listener->tcp.loop);
    for (lp__list *at = listener->lingering.next; at != &listener->lingering; at = at->next) {
        lp__connection *conn = LP__CONTAINER(at, lp__connection, link);
        if (now - conn->since_ms >= LINGER_MS)
            close_refused(conn);
    }
}

static void refuse(lp__listener *listener, lp__connection *conn)
{
    lp_str answer = listener->options.refusal;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)answer.base, (unsigned)answer.len);
    conn->refused = true;
    conn->since_ms = uv_now(listener->tcp.loop);
    lp__list_push_back(&listener->lingering, &conn->link);
    listener->lingering_count++;
    listener->options.refused(listener->options.ctx);
    if (listener->tls) {
        close_refused(conn);
        return;
    }
    uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
    shutdown(descriptor_of(conn), SHUT_WR);
    if (listener->lingering_count > LINGERING_MAX ||
        uv_read_start((uv_stream_t *)&conn->tcp, on_unwanted_alloc, on_unwanted_read) != 0)
        close_refused(conn);
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
    return conn->cut || uv_is_closing((const uv_handle_t *)&conn->tcp);
}

static void cut(lp__connection *conn)
{
    conn->cut = true;
    lp__socket_abort(descriptor_of(conn));
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
    return input->size > max && uv_is_active((const uv_handle_t *)&conn->tcp) &&
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

static void on_sweep(uv_timer_t *timer)
{
    lp__listener *listener = timer->data;
    close_lingering(listener);
    bound_requests(listener);
    if (lp__list_is_empty(&listener->lingering) && lp__list_is_empty(&listener->connections))
        uv_timer_stop(timer);
}

/* ---- accepting --------------------------------------------------------- */

static void on_never_connected(uv_handle_t *handle)
{
    free(LP__CONTAINER(handle, lp__connection, tcp));
}

/* Without a descriptor left libuv closes the newcomer with a spare one and tells of it here. */
static void on_connection(uv_stream_t *stream, int status)
{
    lp__listener *listener = stream->data;
    struct with_tls {
        lp__connection conn;
        lp__tls tls;
    } *memory = NULL;
    if (status == 0)
        memory = calloc(1, listener->tls ? sizeof(*memory) : sizeof(memory->conn));
    lp__connection *conn = &memory->conn;
    if (!memory) {
        listener->options.failed(listener->options.ctx,
                                 status ? uv_strerror(status) : "out of memory");
        return;
    }
    uv_tcp_init(stream->loop, &conn->tcp);
    lp__list_init(&conn->link);
    conn->listener = listener;
    conn->tls = listener->tls ? &memory->tls : NULL;
    if (uv_accept(stream, (uv_stream_t *)&conn->tcp) != 0) {
        uv_close((uv_handle_t *)&conn->tcp, on_never_connected);
        return;
    }
    if (!uv_is_active((uv_handle_t *)&listener->sweep))
        uv_timer_start(&listener->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    if (listener->connection_count >= listener->options.connections_max) {
        refuse(listener, conn);
        return;
    }
    listener->connection_count++;
    lp__list_push_back(&listener->connections, &conn->link);
    conn->socket = h2o_uv_socket_create((uv_stream_t *)&conn->tcp, on_connection_closed);
    listener->options.accepted(listener->options.ctx, conn->socket, listener->tls);
    if (listener->tls)
        lp__tls_begin(conn->tls, &listener->tls_group, (uv_stream_t *)&conn->tcp, conn->socket,
                      listener->tls);
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
    /* the kernel's is the last resort: ours knows what it cuts, and counts it */
    unsigned timeout_ms = (unsigned)listener->options.write_timeout_ms + KERNEL_PATIENCE_MS;
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&listener->tcp, &fd) != 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

static void on_part_closed(uv_handle_t *handle)
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
    lp__tls_group_open(loop, &listener->tls_group);
    uv_unref((uv_handle_t *)&listener->sweep);
    listener->tcp.data = listener->sweep.data = listener->tls_group.prepare.data = listener;
    listener->open_handles = 3;

    int failure = uv_tcp_bind(&listener->tcp, (struct sockaddr *)&address, 0);
    if (failure == 0)
        failure = uv_listen((uv_stream_t *)&listener->tcp, BACKLOG, on_connection);
    if (failure != 0) {
        uv_close((uv_handle_t *)&listener->tcp, on_part_closed);
        uv_close((uv_handle_t *)&listener->sweep, on_part_closed);
        uv_close((uv_handle_t *)&listener->tls_group.prepare, on_part_closed);
        int status = failure == UV_EADDRINUSE                       ? LP_EINUSE
                     : failure == UV_EACCES                         ? LP_EACCES
                     : failure == UV_ENOMEM || failure == UV_EMFILE ? LP_ENOMEM
                                                                    : LP_EINVAL;
        return lp_error_set(error, status, "listen address \"%s\": %s%s", options->address,
                            uv_strerror(failure),
                            status == LP_EINUSE ? " (stop who uses it, or listen elsewhere)" : "");
    }
    set_options(listener);
    if (options->tls)
        lp__listener_set_tls(listener, options->tls);
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

void lp__listener_stop(lp__listener *listener)
{
    listener->stopped = true;
    uv_close((uv_handle_t *)&listener->tcp, on_listener_closed);
    uv_close((uv_handle_t *)&listener->sweep, on_listener_closed);
    for (lp__list *at = listener->lingering.next; at != &listener->lingering; at = at->next)
        close_refused(LP__CONTAINER(at, lp__connection, link));
}

/* A stream that reads is active and has nothing to write; libh2o stops reading while it serves a
 * request. The end of file makes libh2o close. */
void lp__listener_end_idle(lp__listener *listener)
{
    for (lp__list *at = listener->connections.next; at != &listener->connections; at = at->next) {
        lp__connection *conn = LP__CONTAINER(at, lp__connection, link);
        if (uv_is_active((uv_handle_t *)&conn->tcp) &&
            uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp) == 0)
            shutdown(descriptor_of(conn), SHUT_RD);
    }
}

void lp__listener_end_all(lp__listener *listener)
{
    for (lp__list *at = listener->connections.next; at != &listener->connections; at = at->next) {
        lp__connection *conn = LP__CONTAINER(at, lp__connection, link);
        if (!uv_is_closing((uv_handle_t *)&conn->tcp))
            lp__socket_abort(descriptor_of(conn));
    }
}

void lp__listener_set_tls(lp__listener *listener, SSL_CTX *tls)
{
    SSL_CTX_up_ref(tls);
    SSL_CTX_free(listener->tls);
    listener->tls = tls;
}

void lp__listener_free(lp__listener *listener)
{
    SSL_CTX_free(listener->tls);
    free(listener);
}
