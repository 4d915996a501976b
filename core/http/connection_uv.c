/* The flavour "libh2o on libuv": a listener's connections. See connection.h. */
#include "connection_uv.h"

#include <stdlib.h>
#include <unistd.h>

typedef struct connection {
    lp__connection super;
    uv_tcp_t tcp;  /* its `data` is libh2o's */
    lp__tls tls[]; /* one, or none in clear */
} connection;

static const uv_handle_t *handle_of(const lp__connection *conn)
{
    return (const uv_handle_t *)&((const connection *)conn)->tcp;
}

/* libh2o calls this when it has closed the connection. */
static void on_closed(uv_handle_t *handle)
{
    connection *conn = LP__CONTAINER(handle, connection, tcp);
    lp__listener_closed(&conn->super, conn->super.tls && lp__tls_end(conn->super.tls));
    free(conn);
}

static void on_never_opened(uv_handle_t *handle)
{
    free(LP__CONTAINER(handle, connection, tcp));
}

lp__connection *lp__connection_new(lp__listener *listener, h2o_loop_t *loop, int fd, bool has_tls)
{
    connection *conn = calloc(1, sizeof(*conn) + (has_tls ? sizeof(lp__tls) : 0));
    if (!conn || uv_tcp_init(loop, &conn->tcp) != 0) {
        free(conn);
        close(fd);
        return NULL;
    }
    if (uv_tcp_open(&conn->tcp, fd) != 0) {
        uv_close((uv_handle_t *)&conn->tcp, on_never_opened);
        close(fd);
        return NULL;
    }
    lp__list_init(&conn->super.link);
    conn->super.listener = listener;
    conn->super.tls = has_tls ? conn->tls : NULL;
    conn->super.socket = h2o_uv_socket_create((uv_stream_t *)&conn->tcp, on_closed);
    return &conn->super;
}

void lp__connection_begin_tls(lp__connection *conn, lp__tls_group *group, SSL_CTX *ctx)
{
    uv_stream_t *stream = (uv_stream_t *)&((connection *)conn)->tcp;
    lp__tls_begin(conn->tls, group, stream, conn->socket, ctx);
}

/* A stream that is active reads, or writes. */
bool lp__connection_is_reading(const lp__connection *conn)
{
    return uv_is_active(handle_of(conn)) &&
           uv_stream_get_write_queue_size((const uv_stream_t *)handle_of(conn)) == 0;
}

bool lp__connection_is_closing(const lp__connection *conn)
{
    return uv_is_closing(handle_of(conn));
}

/* ---- clients that leave ------------------------------------------------ */

/* libuv reports what it has read, and nothing before that. */
lp__list *lp__loop_watches(h2o_loop_t *loop)
{
    (void)loop;
    return NULL;
}

void lp__socket_watch(h2o_socket_t *socket)
{
    (void)socket;
}

void lp__socket_unwatch(h2o_socket_t *socket)
{
    (void)socket;
}
