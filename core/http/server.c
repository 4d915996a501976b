/* A small HTTP server for programs that have none: a libh2o config and context of its own on the
 * manager's home loop, a listener, and an orderly stop. Home loop only.
 *
 * The stop: the listener closes, idle connections end at once, the others when their answer is out;
 * at the deadline all that is left is cut. libh2o's context is disposed when no connection is left,
 * since it aborts earlier. */
#include "inside.h"
#include "paths.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LISTEN_DEFAULT       "127.0.0.1:8101"
#define CONNECTIONS_MAX      20000
#define RESERVED_DESCRIPTORS 64 /* for the store, the loop, the log */
#define REQUEST_TIMEOUT_MS   10000
#define REQUEST_BYTES_MAX    ((int64_t)64 << 20)
#define SWEEP_MS             20 /* how often a stopping server looks for idle connections */
#define FAILURE_LOG_MS       1000

#define REFUSAL_BODY     "{\"error\": \"too many connections are open, try again soon\"}"
#define REFUSAL_BODY_LEN "58"

static const char refusal[] = "HTTP/1.1 503 Service Unavailable\r\n"
                              "Content-Type: application/json\r\n"
                              "Content-Length: " REFUSAL_BODY_LEN "\r\n"
                              "Retry-After: 1\r\n"
                              "Connection: close\r\n"
                              "\r\n" REFUSAL_BODY;
_Static_assert(sizeof(REFUSAL_BODY) - 1 == 58, "as REFUSAL_BODY_LEN says");

struct lp_server {
    lp__http *http;
    lp__listener *listener;
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    lp__timer *timer;          /* while it stops */
    char *tls_chain, *tls_key; /* to be read again; NULL in clear */
    uint64_t deadline_ms, failure_logged_ms;
    bool stopping, is_empty, was_cut;
    int port;
    void (*done)(void *ctx);
    void *ctx;
};

/* ---- start ------------------------------------------------------------- */

static void on_accepted(void *ctx, h2o_socket_t *socket, SSL_CTX *tls)
{
    lp_server *server = ctx;
    server->accept.ssl_ctx = tls;
    lp__http_count(server->http, LP__COUNTED_OPENED);
    h2o_accept(&server->accept, socket);
}

static void on_closed(void *ctx, bool tls_failed)
{
    lp_server *server = ctx;
    lp__http_count(server->http, LP__COUNTED_CLOSED);
    if (tls_failed)
        lp__http_count(server->http, LP__COUNTED_TLS_FAILURE);
}

static void on_refused(void *ctx)
{
    lp_server *server = ctx;
    lp__http_count(server->http, LP__COUNTED_REFUSED);
}

static void on_accept_failed(void *ctx, const char *what)
{
    lp_server *server = ctx;
    uint64_t now = lp__loop_now(server->http->loop);
    if (!server->http->manager || now - server->failure_logged_ms < FAILURE_LOG_MS)
        return;
    server->failure_logged_ms = now;
    lp__manager_log(server->http->manager, LP_LOG_WARN, "http: a connection was not accepted: %s",
                    what);
}

static void on_empty(void *ctx)
{
    lp_server *server = ctx;
    server->is_empty = true;
    lp__timer_start(server->timer, 0);
}

static int read_options(const lp_server_options *given, lp_server_options *out, lp_error *error)
{
    *out = (lp_server_options)LP_SERVER_OPTIONS_INIT;
    if (given) {
        size_t size = given->struct_size < sizeof(*out) ? given->struct_size : sizeof(*out);
        memcpy(out, given, size);
    }
    if (out->connections_max < 0 || out->request_timeout_ms < 0 || out->request_bytes_max < 0)
        return lp_error_set(
            error, LP_EINVAL,
            "connections_max %lld, request_timeout_ms %lld, request_bytes_max %lld: none may be "
            "negative (0 is the default)",
            (long long)out->connections_max, (long long)out->request_timeout_ms,
            (long long)out->request_bytes_max);
    if (!out->listen)
        out->listen = LISTEN_DEFAULT;
    if (!out->events_path)
        out->events_path = "/events";
    if (!out->publish_path)
        out->publish_path = "/publish";
    if (!out->health_path)
        out->health_path = "/health";
    if (!out->metrics_path)
        out->metrics_path = "/metrics";
    if (!out->request_timeout_ms)
        out->request_timeout_ms = REQUEST_TIMEOUT_MS;
    if (!out->connections_max) {
        struct rlimit limit;
        out->connections_max = CONNECTIONS_MAX;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
            limit.rlim_cur < CONNECTIONS_MAX + RESERVED_DESCRIPTORS)
            out->connections_max = limit.rlim_cur > 2 * RESERVED_DESCRIPTORS
                                       ? (int64_t)limit.rlim_cur - RESERVED_DESCRIPTORS
                                       : (int64_t)limit.rlim_cur / 2;
    }
    return LP_OK;
}

static int configure(lp_server *server, const lp_server_options *options, lp_error *error)
{
    lp_manager *manager = server->http->manager;
    h2o_globalconf_t *config = &server->config;
    h2o_config_init(config);
    config->http1.upgrade_to_http2 = 0;
    config->http1.req_timeout = (uint64_t)options->request_timeout_ms;
    config->handshake_timeout = (uint64_t)options->request_timeout_ms;
    config->max_request_entity_size = (size_t)server->http->options.body_bytes_max;
    config->server_name = h2o_iovec_init(NULL, 0);
    h2o_hostconf_t *host =
        h2o_config_register_host(config, h2o_iovec_init(H2O_STRLIT("default")), 65535);

    int status = LP_OK;
    if (options->events_path[0])
        status = lp_http_mount_events(manager, host, options->events_path, error);
    if (status == LP_OK && options->publish_path[0])
        status = lp_http_mount_publish(manager, host, options->publish_path, error);
    if (status == LP_OK && options->health_path[0])
        status = lp_http_mount_health(manager, host, options->health_path, error);
    if (status == LP_OK && options->metrics_path[0])
        status = lp_http_mount_metrics(manager, host, options->metrics_path, error);
    lp__http_mount_refusals(server->http, &host->fallback_path);
    lp__path_complete(&host->fallback_path);
    for (size_t i = 0; i < host->paths.size; i++)
        lp__path_complete(&host->paths.entries[i]);
    if (status != LP_OK)
        h2o_config_dispose(config);
    return status;
}

static void on_stop_timer(void *ctx);

/* Room for four bodies: buffers double as they grow, so one may take twice its size. */
static size_t request_bytes_max(const lp_server_options *options, const lp_http_options *http)
{
    int64_t body = http->body_bytes_max, least = body < INT64_MAX / 8 ? 8 * body : INT64_MAX;
    if (options->request_bytes_max)
        return (size_t)options->request_bytes_max;
    return (size_t)(least > REQUEST_BYTES_MAX ? least : REQUEST_BYTES_MAX);
}

static int read_tls(lp_server *server, const lp_server_options *options, SSL_CTX **out,
                    lp_error *error)
{
    *out = NULL;
    if (!options->tls_chain && !options->tls_key)
        return LP_OK;
    int status = lp_tls_new(options->tls_chain, options->tls_key, out, error);
    if (status != LP_OK)
        return status;
    server->tls_chain = strdup(options->tls_chain);
    server->tls_key = strdup(options->tls_key);
    if (server->tls_chain && server->tls_key)
        return LP_OK;
    SSL_CTX_free(*out);
    return lp_error_set(error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
}

static int listen_on(lp_server *server, const lp_server_options *options, lp_error *error)
{
    const lp_http_options *http = &server->http->options;
    SSL_CTX *tls;
    int status = read_tls(server, options, &tls, error);
    if (status != LP_OK)
        return status;
    lp__listener_options listening = {
        .address = options->listen,
        .connections_max = (size_t)options->connections_max,
        .refusal = {refusal, sizeof(refusal) - 1},
        .request_bytes_max = request_bytes_max(options, http),
        .header_bytes_max = (size_t)http->header_bytes_max,
        .write_timeout_ms = (uint64_t)http->answer_timeout_ms,
        .tls = tls,
        .accepted = on_accepted,
        .closed = on_closed,
        .refused = on_refused,
        .failed = on_accept_failed,
        .empty = on_empty,
        .ctx = server,
    };
    status = lp__listener_open(server->http->loop, &listening, &server->listener, error);
    SSL_CTX_free(tls); /* the listener has one of its own */
    if (status == LP_OK)
        server->port = lp__listener_port(server->listener);
    return status;
}

static void free_server(lp_server *server)
{
    free(server->tls_chain);
    free(server->tls_key);
    free(server);
}

int lp_server_start(lp_manager *manager, const lp_server_options *given, lp_server **out,
                    lp_error *error)
{
    lp_server_options options;
    lp__http *http;
    int status = read_options(given, &options, error);
    if (status == LP_OK)
        status = lp__http_check_sigpipe(error);
    if (status != LP_OK)
        return status;
    lp_server *server = calloc(1, sizeof(*server));
    if (!server || lp__http_of(manager, &http) != LP_OK ||
        lp__timer_open(http->loop, on_stop_timer, server, &server->timer) != LP_OK) {
        free(server);
        return lp_error_set(error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
    }
    server->http = lp__http_ref(http);
    status = configure(server, &options, error);
    if (status != LP_OK)
        goto failed;
    status = listen_on(server, &options, error);
    if (status != LP_OK) {
        h2o_config_dispose(&server->config);
        goto failed;
    }
    h2o_context_init(&server->context, http->loop, &server->config);
    server->accept.ctx = &server->context;
    server->accept.hosts = server->config.hosts;
    *out = server;
    return LP_OK;

failed:
    lp__timer_close(server->timer, NULL, NULL);
    lp__http_unref(http);
    free_server(server);
    return status;
}

int lp_server_port(const lp_server *server)
{
    return server->port;
}

size_t lp_server_connections(const lp_server *server)
{
    return lp__listener_connections(server->listener);
}

int lp_server_reload_tls(lp_server *server, lp_error *error)
{
    SSL_CTX *tls;
    if (!server->tls_chain)
        return lp_error_set(error, LP_EINVAL,
                            "the server does not speak TLS (start it with a chain and a key)");
    int status = lp_tls_new(server->tls_chain, server->tls_key, &tls, error);
    if (status != LP_OK)
        return status;
    lp__listener_set_tls(server->listener, tls);
    SSL_CTX_free(tls);
    return LP_OK;
}

/* ---- stop -------------------------------------------------------------- */

static void on_freed(void *ctx)
{
    lp_server *server = ctx;
    void (*done)(void *ctx) = server->done;
    void *done_ctx = server->ctx;
    lp__http_unref(server->http);
    free_server(server);
    if (done)
        done(done_ctx);
}

/* libh2o's handles lie in the server's memory and may be closed in the same turn as the timer: one
 * more turn, and they are gone for sure. */
static void on_timer_closed(void *ctx)
{
    lp_server *server = ctx;
    lp__timer *last;
    if (lp__timer_open(server->http->loop, on_stop_timer, server, &last) == LP_OK)
        lp__timer_close(last, on_freed, server);
    else
        on_freed(server);
}

/* h2o_context_dispose runs the loop once, without waiting, inside itself; a timer's callback is
 * where that does no harm. */
static void finish(lp_server *server)
{
    lp__listener_free(server->listener);
    h2o_context_dispose(&server->context);
    h2o_config_dispose(&server->config);
    lp__timer_close(server->timer, on_timer_closed, server);
}

/* A manager that shuts down ends them itself, behind the last events. */
static void end_streams(lp_server *server)
{
    lp_manager *manager = server->http->manager;
    lp_state state = manager ? lp_manager_state(manager) : LP_STATE_CLOSED;
    if (state == LP_STATE_SERVING || state == LP_STATE_IN_DOUBT)
        lp__streams_end(server->http, &server->context);
}

static void on_stop_timer(void *ctx)
{
    lp_server *server = ctx;
    if (server->is_empty) {
        finish(server);
        return;
    }
    end_streams(server);
    lp__listener_end_idle(server->listener);
    uint64_t now = lp__loop_now(server->http->loop);
    if (now >= server->deadline_ms) {
        if (!server->was_cut)
            lp__http_end_pending(server->http, &server->context);
        server->was_cut = true;
        lp__listener_end_all(server->listener);
    }
    lp__timer_start(server->timer, SWEEP_MS);
}

int lp_server_stop(lp_server *server, int64_t timeout_ms, void (*done)(void *ctx), void *ctx)
{
    if (server->stopping)
        return LP_OK;
    server->stopping = true;
    server->done = done;
    server->ctx = ctx;
    server->deadline_ms =
        lp__loop_now(server->http->loop) + (timeout_ms > 0 ? (uint64_t)timeout_ms : 0);
    /* h2o_context_request_shutdown would start a timer for HTTP/2's sake as well */
    server->context.shutdown_requested = 1;
    lp__timer_start(server->timer, 0);
    lp__listener_stop(server->listener);
    return LP_OK;
}
