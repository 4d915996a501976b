/* Handlers in a host's own libh2o config, the functions that serve one request from a handler of
 * its own. Home loop only. */
#include "inside.h"

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

/* ---- what libh2o refuses before a handler sees it ---------------------- */

typedef struct refusals {
    h2o_filter_t super;
    lp__http *http;
} refusals;

/* A body past its bound, a broken body: libh2o answers them before it has looked at the path, so
 * they are the fallback path's. Pages may read them like all others. */
static void on_setup_stream(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
    lp__http *http = ((refusals *)filter)->http;
    if (req->res.status >= 400 && req->res.status != 404) {
        lp__http_count_refusal(http, req->res.status);
        lp__origin_add_headers(http, req, NULL);
    }
    h2o_setup_next_ostream(req, slot);
}

static void on_dispose_refusals(h2o_filter_t *filter)
{
    lp__http_unref(((refusals *)filter)->http);
}

void lp__http_mount_refusals(lp__http *http, h2o_pathconf_t *fallback)
{
    refusals *filter = (refusals *)h2o_create_filter(fallback, sizeof(*filter));
    filter->super.on_setup_ostream = on_setup_stream;
    filter->super.dispose = on_dispose_refusals;
    filter->http = lp__http_ref(http);
}

/* ---- mounting ---------------------------------------------------------- */

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

int lp_http_mount_metrics(lp_manager *manager, h2o_hostconf_t *host, const char *path,
                          lp_error *error)
{
    return mount(manager, host, path, lp__serve_metrics, error);
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
