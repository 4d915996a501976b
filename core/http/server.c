/* A small HTTP server for programs that have none: a libh2o config and context of its own on the
 * manager's home loop, a listener, and an orderly stop. Home loop only.
 *
 * The stop: the listener closes, idle connections end at once, the others when their answer is out;
 * at the deadline all that is left is cut. libh2o's context is disposed when no connection is left,
 * since it aborts earlier. */
#include "inside.h"

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
    lp__timer *timer; /* while it stops */
    uint64_t deadline_ms, failure_logged_ms;
    bool stopping, is_empty, was_cut;
    int port;
    void (*done)(void *ctx);
    void *ctx;
};

/* ---- answers that libh2o makes itself ---------------------------------- */

/* 404, a body past the bound, a broken body: their text becomes JSON like all others. Not so what
 * libh2o cannot read as a request (a broken request line, more than 100 headers, or more bytes of
 * them than it takes): it writes its own "Bad Request" to the socket, past every filter. */
typedef struct json_error {
    h2o_ostream_t super;
    char body[64];
    size_t len;
} json_error;

static void send_json_error(h2o_ostream_t *stream, h2o_req_t *req, h2o_iovec_t *pieces,
                            size_t count, h2o_send_state_t state)
{
    json_error *self = (json_error *)stream;
    h2o_iovec_t body = h2o_iovec_init(self->body, self->len);
    (void)pieces;
    h2o_ostream_send_next(stream, req, &body, count ? 1 : 0, state);
}

static void on_setup_stream(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
    ssize_t type = h2o_find_header(&req->res.headers, H2O_TOKEN_CONTENT_TYPE, -1);
    (void)filter;
    if (req->res.status < 400 || type == -1 ||
        !h2o_memis(req->res.headers.entries[type].value.base,
                   req->res.headers.entries[type].value.len,
                   H2O_STRLIT("text/plain; charset=utf-8"))) {
        h2o_setup_next_ostream(req, slot);
        return;
    }
    const char *sentence = req->res.status == 404   ? "not found"
                           : req->res.status == 413 ? "the request's body is too large"
                           : req->res.status == 417 ? "unknown expectation"
                                                    : "broken request";
    h2o_set_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE,
                   H2O_STRLIT("application/json"), 1);
    json_error *self = (json_error *)h2o_add_ostream(req, sizeof(*self), slot);
    self->super.do_send = send_json_error;
    self->len = lp__answer_error(sentence, self->body, sizeof(self->body));
    req->res.content_length = self->len;
    h2o_setup_next_ostream(req, &self->super.next);
}

static void speak_json(h2o_pathconf_t *path)
{
    h2o_filter_t *filter = h2o_create_filter(path, sizeof(*filter));
    filter->on_setup_ostream = on_setup_stream;
}

/* ---- "GET http://host/path" -------------------------------------------- */

/* The absolute form of a request's target (RFC 9112, 3.2.2), which libh2o takes for a path. */
static bool strip_authority(h2o_req_t *req)
{
    enum { SCHEME = sizeof("http://") - 1 };
    h2o_iovec_t target = req->input.path;
    if (target.len <= SCHEME || !h2o_lcstris(target.base, SCHEME, H2O_STRLIT("http://")))
        return false;
    size_t at = SCHEME;
    while (at < target.len && target.base[at] != '/' && target.base[at] != '?')
        at++;
    /* the Host header is to be ignored then */
    req->authority = req->input.authority = h2o_iovec_init(target.base + SCHEME, at - SCHEME);
    req->path = h2o_iovec_init(target.base + at, target.len - at);
    req->path_normalized = h2o_url_normalize_path(&req->pool, req->path.base, req->path.len,
                                                  &req->query_at, &req->norm_indexes);
    return true;
}

/* Stands behind the mounted handlers of each path and where no path matches, and serves what they
 * would have served in the common form. */
static int on_absolute(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    if (!strip_authority(req))
        return -1;
    for (size_t i = 0; i < req->hostconf->paths.size; i++) {
        h2o_pathconf_t *path = &req->hostconf->paths.entries[i];
        if (path->path.len == req->path_normalized.len &&
            memcmp(path->path.base, req->path_normalized.base, path->path.len) == 0) {
            req->pathconf = path;
            return path->handlers.entries[0]->on_req(path->handlers.entries[0], req);
        }
    }
    return -1;
}

static void complete_path(h2o_pathconf_t *path)
{
    h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = on_absolute;
    speak_json(path);
}

/* ---- start ------------------------------------------------------------- */

static void on_accepted(void *ctx, h2o_socket_t *socket)
{
    lp_server *server = ctx;
    h2o_accept(&server->accept, socket);
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
    complete_path(&host->fallback_path);
    for (size_t i = 0; i < host->paths.size; i++)
        complete_path(&host->paths.entries[i]);
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

static int listen_on(lp_server *server, const lp_server_options *options, lp_error *error)
{
    const lp_http_options *http = &server->http->options;
    lp__listener_options listening = {
        .address = options->listen,
        .connections_max = (size_t)options->connections_max,
        .refusal = {refusal, sizeof(refusal) - 1},
        .request_bytes_max = request_bytes_max(options, http),
        .header_bytes_max = (size_t)http->header_bytes_max,
        .write_timeout_ms = (uint64_t)http->answer_timeout_ms,
        .accepted = on_accepted,
        .failed = on_accept_failed,
        .empty = on_empty,
        .ctx = server,
    };
    int status = lp__listener_open(server->http->loop, &listening, &server->listener, error);
    if (status == LP_OK)
        server->port = lp__listener_port(server->listener);
    return status;
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
    free(server);
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

/* ---- stop -------------------------------------------------------------- */

static void on_freed(void *ctx)
{
    lp_server *server = ctx;
    void (*done)(void *ctx) = server->done;
    void *done_ctx = server->ctx;
    lp__http_unref(server->http);
    free(server);
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

static void on_stop_timer(void *ctx)
{
    lp_server *server = ctx;
    if (server->is_empty) {
        finish(server);
        return;
    }
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
