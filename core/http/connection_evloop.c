/* The flavour "libh2o-evloop": a listener's connections. See connection.h. */
#include "connection_evloop.h"
#include "evloop.h"

#include <stdlib.h>
#include <unistd.h>

typedef struct connection {
    lp__connection super;
    lp__evloop *evloop;
    lp__tls tls[]; /* one, or none in clear */
} connection;

static void end(connection *conn, bool tls_failed)
{
    lp__evloop *evloop = conn->evloop;
    lp__listener_closed(&conn->super, tls_failed);
    free(conn);
    lp__evloop_release(evloop);
}

static void on_closed(void *data)
{
    end(data, false);
}

static void on_tls_closed(lp__tls *tls)
{
    end(LP__CONTAINER(tls, connection, tls), lp__tls_end(tls));
}

lp__connection *lp__connection_new(lp__listener *listener, h2o_loop_t *loop, int fd, bool has_tls)
{
    connection *conn = calloc(1, sizeof(*conn) + (has_tls ? sizeof(lp__tls) : 0));
    if (!conn) {
        close(fd);
        return NULL;
    }
    lp__list_init(&conn->super.link);
    conn->super.listener = listener;
    conn->super.tls = has_tls ? conn->tls : NULL;
    conn->super.socket = h2o_evloop_socket_create(loop, fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    conn->super.socket->on_close.cb = on_closed;
    conn->super.socket->on_close.data = conn;
    conn->evloop = lp__evloop_of(loop);
    lp__evloop_hold(conn->evloop);
    return &conn->super;
}

void lp__connection_begin_tls(lp__connection *conn, lp__tls_group *group, SSL_CTX *ctx)
{
    (void)group;
    lp__tls_begin(conn->tls, conn->socket, ctx, on_tls_closed);
}

/* ---- clients that leave ------------------------------------------------ */

/* A loop of the host's has no room for what we would keep with it. */
lp__list *lp__loop_watches(h2o_loop_t *loop)
{
    lp__evloop *evloop = lp__evloop_of(loop);
    return evloop ? &evloop->watches : NULL;
}

/* Also marks the sockets whose request is parked. */
static void on_readable(h2o_socket_t *socket, const char *error)
{
    (void)error; /* none: nothing was read */
    lp__watch_readable(socket);
}

/* libh2o has stopped to read in this turn, or in one before, and will start again: what it does in
 * one turn reaches the kernel only as far as it is a change, and this makes it none. */
void lp__socket_watch(h2o_socket_t *socket)
{
    h2o_socket_dont_read(socket, 1);
    h2o_socket_read_start(socket, on_readable);
}

void lp__socket_unwatch(h2o_socket_t *socket)
{
    h2o_socket_read_stop(socket);
    h2o_socket_dont_read(socket, 0);
}

/* ---- what they are doing ----------------------------------------------- */

bool lp__connection_is_reading(const lp__connection *conn)
{
    return h2o_socket_is_reading(conn->socket) && conn->socket->_cb.read != on_readable &&
           !h2o_socket_is_writing(conn->socket);
}

/* libh2o closes at once, and then it is none of the listener's. */
bool lp__connection_is_closing(const lp__connection *conn)
{
    (void)conn;
    return false;
}
