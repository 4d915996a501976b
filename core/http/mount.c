/* Handlers in a host's own libh2o config, and the functions that serve one request from a handler
 * of its own. Mounting is the home thread's; what libh2o calls is on the thread of its context. */
#include "inside.h"

#include <string.h>

typedef void (*serve_fn)(lp__http *http, h2o_req_t *req);

typedef struct mounted {
    h2o_handler_t super;
    lp__site *site;
    serve_fn serve;
} mounted;

/* Where there is nothing of ours to serve with. */
static void refuse(h2o_req_t *req, int status, const char *reason, const char *sentence)
{
    size_t max = 2 * strlen(sentence) + 32;
    char *body = h2o_mem_alloc_pool(&req->pool, max);
    req->res.status = status;
    req->res.reason = reason;
    req->http1_is_persistent = 0;
    for (size_t i = 0; i < LP__PUBLISH_HEADERS; i++)
        lp__add_header(req, &lp__publish_headers[i]);
    h2o_send_inline(req, body, lp__answer_error(sentence, body, max));
}

/* libh2o's paths take in all that is below them; golongpoll's do not, and neither do ours. */
static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    mounted *self = (mounted *)handler;
    if (req->path_normalized.len != req->pathconf->path.len)
        return -1;
    lp__http *http = h2o_context_get_handler_context(req->conn->ctx, handler);
    if (http)
        self->serve(http, req);
    else
        refuse(req, 503, "Service Unavailable", lp_strerror(LP_ENOMEM));
    return 0;
}

/* On the thread of the context's loop. */
static void on_context_init(h2o_handler_t *handler, h2o_context_t *context)
{
    lp__site *site = ((mounted *)handler)->site;
    h2o_context_set_handler_context(context, handler, lp__http_attach(site, context->loop));
}

static void on_context_dispose(h2o_handler_t *handler, h2o_context_t *context)
{
    lp__http *http = h2o_context_get_handler_context(context, handler);
    if (http)
        lp__http_unref(http);
}

static void on_dispose(h2o_handler_t *handler)
{
    lp__site_unref(((mounted *)handler)->site);
}

/* ---- what libh2o refuses before a handler sees it ---------------------- */

typedef struct refusals {
    h2o_filter_t super;
    lp__site *site;
} refusals;

/* A body past its bound, a broken body: libh2o answers them before it has looked at the path, so
 * they are the fallback path's. Pages may read them like all others. */
static void on_setup_stream(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
    lp__http *http = h2o_context_get_filter_context(req->conn->ctx, filter);
    if (req->res.status >= 400 && req->res.status != 404) {
        if (http)
            lp__http_count_refusal(http, req->res.status);
        lp__origin_add_headers(&((refusals *)filter)->site->origins, req, NULL);
    }
    h2o_setup_next_ostream(req, slot);
}

static void on_init_refusals(h2o_filter_t *filter, h2o_context_t *context)
{
    lp__site *site = ((refusals *)filter)->site;
    h2o_context_set_filter_context(context, filter, lp__http_attach(site, context->loop));
}

static void on_end_refusals(h2o_filter_t *filter, h2o_context_t *context)
{
    lp__http *http = h2o_context_get_filter_context(context, filter);
    if (http)
        lp__http_unref(http);
}

static void on_dispose_refusals(h2o_filter_t *filter)
{
    lp__site_unref(((refusals *)filter)->site);
}

void lp__http_mount_refusals(lp__site *site, h2o_pathconf_t *fallback)
{
    refusals *filter = (refusals *)h2o_create_filter(fallback, sizeof(*filter));
    filter->super.on_setup_ostream = on_setup_stream;
    filter->super.on_context_init = on_init_refusals;
    filter->super.on_context_dispose = on_end_refusals;
    filter->super.dispose = on_dispose_refusals;
    filter->site = lp__site_ref(site);
}

/* ---- mounting ---------------------------------------------------------- */

static int mount(lp_manager *manager, h2o_hostconf_t *host, const char *path, serve_fn serve,
                 lp_error *error)
{
    lp__site *site;
    if (!path || path[0] != '/')
        return lp_error_set(error, LP_EINVAL, "path \"%s\": does not start with '/'",
                            path ? path : "");
    if (lp__http_check_sigpipe(error) != LP_OK)
        return LP_EINVAL;
    int status = lp__site_of(manager, &site);
    if (status != LP_OK)
        return lp_error_set(error, status, "%s", lp_strerror(status));
    h2o_pathconf_t *conf = h2o_config_register_path(host, path, 0);
    mounted *self = (mounted *)h2o_create_handler(conf, sizeof(*self));
    self->super.on_req = on_request;
    self->super.on_context_init = on_context_init;
    self->super.on_context_dispose = on_context_dispose;
    self->super.dispose = on_dispose;
    self->site = lp__site_ref(site);
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

/* On any loop: only what is on the home loop may be made here. */
static lp__http *find(lp_manager *manager, const h2o_req_t *req)
{
    lp__site *site = __atomic_load_n(&lp__manager_http_slot(manager)->http, __ATOMIC_ACQUIRE);
    h2o_loop_t *loop = req->conn->ctx->loop;
    if (!site && (void *)loop != (void *)lp__manager_loop(manager))
        return NULL;
    if (!site && lp__site_of(manager, &site) != LP_OK)
        return NULL;
    return lp__http_of_loop(site, loop);
}

static void serve_one(lp_manager *manager, h2o_req_t *req, serve_fn serve)
{
    lp__http *http = find(manager, req);
    if (http)
        serve(http, req);
    else
        refuse(req, 500, "Internal Server Error",
               "this libh2o context is not on the home loop of the manager, and has none of its "
               "handlers (mount one of lp_http_mount_* in its config)");
}

void lp_http_subscribe(lp_manager *manager, h2o_req_t *req)
{
    serve_one(manager, req, lp__serve_subscribe);
}

void lp_http_publish(lp_manager *manager, h2o_req_t *req)
{
    serve_one(manager, req, lp__serve_publish);
}
