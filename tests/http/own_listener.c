/* See own_listener.h. */
#include "own_listener.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

static struct {
    h2o_accept_ctx_t *accept;
    size_t open;
#if H2O_USE_LIBUV
    uv_tcp_t listener;
#else
    h2o_socket_t *listener;
#endif
} own;

static int bound_socket(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(any);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&any, len), 0);
    cr_assert_eq(listen(fd, 10), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&any, &len), 0);
    h.port = ntohs(any.sin_port);
    return fd;
}

size_t own_connections(void)
{
    return own.open;
}

/* libh2o 2.2 forgets a queue's memory on its own loop. */
void own_dispose(h2o_context_t *context)
{
    h2o_multithread_queue_t *queue = H2O_USE_LIBUV ? NULL : context->queue;
    h2o_context_dispose(context);
    free(queue);
}

#if H2O_USE_LIBUV

static void on_closed(uv_handle_t *handle)
{
    own.open--;
    free(handle);
}

static void on_accept(uv_stream_t *listener, int status)
{
    uv_tcp_t *conn = malloc(sizeof(*conn));
    cr_assert_eq(status, 0);
    uv_tcp_init(listener->loop, conn);
    cr_assert_eq(uv_accept(listener, (uv_stream_t *)conn), 0);
    own.open++;
    if (own.accept->ssl_ctx)
        cr_assert_eq(lp_tls_accept(own.accept, (uv_stream_t *)conn, on_closed), LP_OK);
    else
        h2o_accept(own.accept, h2o_uv_socket_create((uv_stream_t *)conn, on_closed));
}

void own_listen(h2o_accept_ctx_t *accept)
{
    own.accept = accept;
    uv_tcp_init(accept->ctx->loop, &own.listener);
    cr_assert_eq(uv_tcp_open(&own.listener, bound_socket()), 0);
    cr_assert_eq(uv_listen((uv_stream_t *)&own.listener, 10, on_accept), 0);
}

void own_unlisten(void)
{
    uv_close((uv_handle_t *)&own.listener, NULL);
}

h2o_loop_t *own_loop_new(void)
{
    uv_loop_t *loop = malloc(sizeof(*loop));
    uv_loop_init(loop);
    return loop;
}

void own_loop_free(h2o_loop_t *loop)
{
    uv_run(loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(loop), 0);
    free(loop);
}

void own_turn(h2o_loop_t *loop)
{
    uv_run(loop, UV_RUN_NOWAIT);
}

#else

static void on_closed(void *data)
{
    (void)data;
    own.open--;
}

static void on_accept(h2o_socket_t *listener, const char *error)
{
    cr_assert_null(error);
    h2o_socket_t *socket = h2o_evloop_socket_accept(listener);
    if (!socket)
        return;
    own.open++;
    socket->on_close.cb = on_closed;
    if (own.accept->ssl_ctx)
        cr_assert_eq(lp_tls_accept_socket(own.accept, socket), LP_OK);
    else
        h2o_accept(own.accept, socket);
}

void own_listen(h2o_accept_ctx_t *accept)
{
    own.accept = accept;
    own.listener =
        h2o_evloop_socket_create(accept->ctx->loop, bound_socket(), H2O_SOCKET_FLAG_DONT_READ);
    h2o_socket_read_start(own.listener, on_accept);
}

void own_unlisten(void)
{
    h2o_socket_close(own.listener);
}

h2o_loop_t *own_loop_new(void)
{
    return h2o_evloop_create();
}

/* libh2o 2.2 leaves the loop's descriptor open, and the harness counts them. */
void own_loop_free(h2o_loop_t *loop)
{
    int fd = *(int *)(loop + 1);
    h2o_evloop_destroy(loop);
    close(fd);
}

void own_turn(h2o_loop_t *loop)
{
    h2o_evloop_run(loop, 0);
}

#endif
