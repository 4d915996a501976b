/* Publishes over HTTP: reading them, and answering when their event is kept or refused. Home loop
 * only. */
#include "inside.h"

#include <stdlib.h>
#include <string.h>

#include "../wire/publish_body.h"

/* What the manager calls back with. It outlives the request when that ends first. */
struct lp__publish {
    lp__exchange *exchange; /* NULL when the request has ended */
};

static const lp__reply publish_reply = {
    .status = 200, .headers = lp__publish_headers, .header_count = LP__PUBLISH_HEADERS};

void lp__publish_forget(struct lp__publish *publish)
{
    lp__list_unlink(&publish->exchange->link);
    publish->exchange = NULL;
}

static void answer(lp__exchange *exchange, int http_status, lp_str body)
{
    lp__reply reply = publish_reply;
    reply.status = http_status;
    reply.body = body;
    lp__exchange_reply(exchange, &reply);
}

static void refuse(lp__exchange *exchange, int status, const char *sentence)
{
    lp__reply reply = publish_reply;
    int http_status = lp__reply_status(status, &reply.retry_after_s);
    reply.close = status == LP_ECLOSED;
    lp__exchange_error(exchange, http_status, &reply, sentence);
}

static void on_published(void *ctx, const lp_publish_result *result)
{
    struct lp__publish *publish = ctx;
    lp__exchange *exchange = publish->exchange;
    const lp_error *error = &result->error;
    if (exchange) {
        lp__publish_forget(publish);
        exchange->publish = NULL;
        if (error->status == LP_OK)
            answer(exchange, 200, lp__answer_published);
        else
            refuse(exchange, error->status, error->message);
    }
    free(publish);
}

static void publish(lp__exchange *exchange, const lp__publish_body *body)
{
    lp__http *http = exchange->http;
    lp_publish_item item = {body->category, body->data};
    lp_publish_request request = LP_PUBLISH_REQUEST_INIT;
    request.items = &item;
    request.item_count = 1;
    struct lp__publish *publish = http->manager ? malloc(sizeof(*publish)) : NULL;
    int status = http->manager ? LP_ENOMEM : LP_ECLOSED;
    if (publish)
        status = lp__manager_publish(http->manager, &request, on_published, publish);
    if (status == LP_OK) {
        publish->exchange = exchange;
        exchange->publish = publish;
        lp__list_push_back(&http->pending, &exchange->link);
        return;
    }
    free(publish);
    refuse(exchange, status,
           status == LP_EFULL     ? "the store is behind its bound, try again later"
           : status == LP_ETOOBIG ? "the event is too large"
                                  : lp_strerror(status));
}

/* ---- pages of strangers ------------------------------------------------ */

static h2o_iovec_t without_default_port(h2o_iovec_t host, const char *port)
{
    size_t len = strlen(port);
    if (host.len > len && memcmp(host.base + host.len - len, port, len) == 0)
        host.len -= len;
    return host;
}

/* Whether a page at `origin` ("https://host[:port]", RFC 6454) is served by the host that the
 * request names. "null", what cannot be read, and a request without a host are not. */
static bool is_own_origin(h2o_iovec_t origin, h2o_iovec_t host)
{
    const char *port = ":80";
    if (origin.len > 7 && h2o_lcstris(origin.base, 7, H2O_STRLIT("http://"))) {
        origin = h2o_iovec_init(origin.base + 7, origin.len - 7);
    } else if (origin.len > 8 && h2o_lcstris(origin.base, 8, H2O_STRLIT("https://"))) {
        origin = h2o_iovec_init(origin.base + 8, origin.len - 8);
        port = ":443";
    } else {
        return false;
    }
    origin = without_default_port(origin, port);
    host = without_default_port(host, port);
    return origin.len && origin.len == host.len &&
           strncasecmp(origin.base, host.base, host.len) == 0;
}

static bool is_foreign(const h2o_req_t *req)
{
    ssize_t at = -1;
    while ((at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("origin"), at)) != -1)
        if (!is_own_origin(req->headers.entries[at].value, req->input.authority))
            return true;
    return false;
}

/* ---- a request --------------------------------------------------------- */

static void answer_other_method(lp__exchange *exchange)
{
    lp__reply reply = publish_reply;
    reply.status = 405;
    reply.allow = "POST";
    reply.body = lp__answer_method_not_post;
    if (lp__method_is(exchange->req, "OPTIONS"))
        reply = (lp__reply){.status = 204, .allow = "POST, OPTIONS"};
    lp__exchange_reply(exchange, &reply);
}

void lp__serve_publish(lp__http *http, h2o_req_t *req)
{
    lp__exchange *exchange = lp__exchange_start(http, req);
    if (!exchange)
        return;
    if (!lp__method_is(req, "POST")) {
        answer_other_method(exchange);
        return;
    }
    if (http->options.refuse_foreign_origin && is_foreign(req)) {
        lp__exchange_error(exchange, 403, &publish_reply,
                           "publishing from a page of another origin is not allowed");
        return;
    }
    if (req->entity.len > (size_t)http->options.body_bytes_max) {
        refuse(exchange, LP_ETOOBIG, "the request's body is too large");
        return;
    }
    lp__publish_body body;
    lp_str raw = {req->entity.base, req->entity.len};
    if (lp__publish_body_read(raw, &body) != LP_OK)
        answer(exchange, 400, body.error);
    else
        publish(exchange, &body);
}
