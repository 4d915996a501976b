/* What stands on each path of a server beside our handlers: errors in JSON, the absolute form of a
 * request's target, and the word to the connection that a request is served. On
 * the thread of the request's loop. */
#include "paths.h"

#include "inside.h"

#include <string.h>

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
    lp__connection_serves(req); /* also those that no handler has seen */
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
    h2o_iovec_t target = req->input.path;
    size_t scheme = 0;
    if (target.len > 7 && h2o_lcstris(target.base, 7, H2O_STRLIT("http://")))
        scheme = 7;
    else if (target.len > 8 && h2o_lcstris(target.base, 8, H2O_STRLIT("https://")))
        scheme = 8;
    else
        return false;
    size_t at = scheme;
    while (at < target.len && target.base[at] != '/' && target.base[at] != '?')
        at++;
    /* the Host header is to be ignored then */
    req->authority = req->input.authority = h2o_iovec_init(target.base + scheme, at - scheme);
    req->path = h2o_iovec_init(target.base + at, target.len - at);
    req->path_normalized = h2o_url_normalize_path(&req->pool, req->path.base, req->path.len,
                                                  &req->query_at, &req->norm_indexes);
    return true;
}

static int on_absolute(h2o_handler_t *handler, h2o_req_t *req);

static int handle(h2o_pathconf_t *path, h2o_req_t *req)
{
    req->pathconf = path;
    for (size_t i = 0; i < path->handlers.size; i++) {
        h2o_handler_t *handler = path->handlers.entries[i];
        if (handler->on_req != on_absolute && handler->on_req(handler, req) == 0)
            return 0;
    }
    return -1;
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
            memcmp(path->path.base, req->path_normalized.base, path->path.len) == 0)
            return handle(path, req);
    }
    return -1;
}

/* ---- all together ------------------------------------------------------ */

/* Stands in front of the mounted handlers. */
static int on_begin(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    if (lp__connection_serves(req))
        return -1;
    lp__request_drop(req);
    return 0;
}

void lp__path_complete(h2o_pathconf_t *path)
{
    h2o_handler_t *first = h2o_create_handler(path, sizeof(*first));
    first->on_req = on_begin;
    h2o_handler_t **all = path->handlers.entries;
    memmove(all + 1, all, (path->handlers.size - 1) * sizeof(*all));
    all[0] = first;
    h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = on_absolute;
    speak_json(path);
}
