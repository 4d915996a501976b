/* A libh2o server of your own with checks of your own: whoever has the token may subscribe and
 * publish, and everything else about the server stays yours.
 *
 *     own_handler [PORT]
 *
 * curl -H 'Authorization: Bearer letmein' 'http://127.0.0.1:8102/feed?category=c&timeout=20' */
/* README begin */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <h2o.h>

#include <longpoll/http.h>

static lp_manager *manager;
static h2o_globalconf_t config;
static h2o_context_t context;
static h2o_accept_ctx_t accept_context = {.ctx = &context, .hosts = NULL};

static int may_not(h2o_req_t *req)
{
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_AUTHORIZATION, -1);
    if (at != -1 && h2o_memis(req->headers.entries[at].value.base,
                              req->headers.entries[at].value.len, H2O_STRLIT("Bearer letmein")))
        return 0;
    h2o_send_error_403(req, "Forbidden", "a token, please\n", 0);
    return 1;
}

static int on_feed(h2o_handler_t *self, h2o_req_t *req)
{
    (void)self;
    if (!may_not(req))
        lp_http_subscribe(manager, req);
    return 0;
}

static int on_send(h2o_handler_t *self, h2o_req_t *req)
{
    (void)self;
    if (!may_not(req))
        lp_http_publish(manager, req);
    return 0;
}
/* README end */

static void on_connection(uv_stream_t *listener, int status)
{
    if (status != 0)
        return;
    uv_tcp_t *connection = h2o_mem_alloc(sizeof(*connection));
    uv_tcp_init(listener->loop, connection);
    if (uv_accept(listener, (uv_stream_t *)connection) != 0) {
        uv_close((uv_handle_t *)connection, (uv_close_cb)free);
        return;
    }
    uv_tcp_nodelay(connection, 1);
    h2o_accept(&accept_context, h2o_uv_socket_create((uv_stream_t *)connection, (uv_close_cb)free));
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_error error;
    struct sockaddr_in address;
    uv_tcp_t listener;

    signal(SIGPIPE, SIG_IGN);
    if (lp_manager_start(loop, &options, &manager, &error) != LP_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }

    h2o_config_init(&config);
    config.http1.upgrade_to_http2 = 0; /* see longpoll/http.h */
    config.server_name = h2o_iovec_init(H2O_STRLIT("own_handler"));
    h2o_hostconf_t *host =
        h2o_config_register_host(&config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_create_handler(h2o_config_register_path(host, "/feed", 0), sizeof(h2o_handler_t))->on_req =
        on_feed;
    h2o_create_handler(h2o_config_register_path(host, "/send", 0), sizeof(h2o_handler_t))->on_req =
        on_send;
    h2o_context_init(&context, loop, &config);
    accept_context.hosts = config.hosts;

    uv_ip4_addr("127.0.0.1", argc > 1 ? atoi(argv[1]) : 8102, &address);
    uv_tcp_init(loop, &listener);
    int failed = uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0);
    if (!failed)
        failed = uv_listen((uv_stream_t *)&listener, 128, on_connection);
    if (failed) {
        fprintf(stderr, "own_handler: %s\n", uv_strerror(failed));
        return 1;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
