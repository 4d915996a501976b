/* Handlers in a host's own libh2o config, the functions that serve one request from a handler of
 * its own, and the health answer. Home loop only. */
#include "inside.h"

#include <stdio.h>
#include <string.h>

typedef void (*serve_fn)(lp__http *http, h2o_req_t *req);

typedef struct mounted {
    h2o_handler_t super;
    lp__http *http;
    serve_fn serve;
} mounted;

/* libh2o's paths take in all that is below them; golongpoll's do not, and neither do ours. */
static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    mounted *self = (mounted *)handler;
    if (req->path_normalized.len != req->pathconf->path.len)
        return -1;
    self->serve(self->http, req);
    return 0;
}

static void on_dispose(h2o_handler_t *handler)
{
    lp__http_unref(((mounted *)handler)->http);
}

static int mount(lp_manager *manager, h2o_hostconf_t *host, const char *path, serve_fn serve,
                 lp_error *error)
{
    lp__http *http;
    if (!path || path[0] != '/')
        return lp_error_set(error, LP_EINVAL, "path \"%s\": does not start with '/'",
                            path ? path : "");
    if (lp__http_check_sigpipe(error) != LP_OK)
        return LP_EINVAL;
    int status = lp__http_of(manager, &http);
    if (status != LP_OK)
        return lp_error_set(error, status, "%s", lp_strerror(status));
    h2o_pathconf_t *conf = h2o_config_register_path(host, path, 0);
    mounted *self = (mounted *)h2o_create_handler(conf, sizeof(*self));
    self->super.on_req = on_request;
    self->super.dispose = on_dispose;
    self->http = lp__http_ref(http);
    self->serve = serve;
    return LP_OK;
}

int lp_http_mount_events(lp_manager *manager, h2o_hostconf_t *host, const char *path,
                         lp_error *error)
{
    return mount(manager, host, path, lp__serve_subscribe, error);
}

int lp_http_mount_publish(lp_manager *manager, h2o_hostconf_t *host, const char *path,
                          lp_error *error)
{
    return mount(manager, host, path, lp__serve_publish, error);
}

int lp_http_mount_health(lp_manager *manager, h2o_hostconf_t *host, const char *path,
                         lp_error *error)
{
    return mount(manager, host, path, lp__serve_health, error);
}

static void serve_one(lp_manager *manager, h2o_req_t *req, serve_fn serve)
{
    lp__http *http;
    if (lp__http_of(manager, &http) == LP_OK)
        serve(http, req);
    else
        h2o_send_error_503(req, "Service Unavailable", lp_strerror(LP_ENOMEM), 0);
}

void lp_http_subscribe(lp_manager *manager, h2o_req_t *req)
{
    serve_one(manager, req, lp__serve_subscribe);
}

void lp_http_publish(lp_manager *manager, h2o_req_t *req)
{
    serve_one(manager, req, lp__serve_publish);
}

void lp__serve_health(lp__http *http, h2o_req_t *req)
{
    lp__exchange *exchange = lp__exchange_start(http, req);
    if (!exchange)
        return;
    lp__reply reply = {.status = 200,
                       .headers = lp__subscribe_headers, /* nothing may cache this either */
                       .header_count = LP__SUBSCRIBE_HEADERS};
    if (!lp__method_is(req, "GET") && !lp__method_is(req, "HEAD")) {
        bool asks = lp__method_is(req, "OPTIONS");
        reply.allow = "GET, HEAD, OPTIONS";
        reply.status = 204;
        if (asks)
            lp__exchange_reply(exchange, &reply);
        else
            lp__exchange_error(exchange, 405, &reply, "Invalid HTTP Method. Only GET allowed.");
        return;
    }
    lp_state state = http->manager ? lp_manager_state(http->manager) : LP_STATE_CLOSED;
    char *body = h2o_mem_alloc_pool(&req->pool, 64);
    int len = snprintf(body, 64, "{\"status\":\"%s\"}", lp_state_name(state));
    reply.body = (lp_str){body, (size_t)len};
    if (state != LP_STATE_SERVING) {
        reply.status = 503;
        reply.retry_after_s = state == LP_STATE_STARTING ? 1 : 0;
    }
    lp__exchange_reply(exchange, &reply);
}
