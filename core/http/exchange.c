/* Exchanges: a request and its answer, from the first check to the memory's end. On the thread of
 * the request's loop. See inside.h. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lp__exchange_set_poll(lp__exchange *exchange, lp__poll *poll)
{
    lp_http_figures *figures = &exchange->http->figures;
    uint64_t *waiting = exchange->stream ? &figures->streams : &figures->polls;
    if (!exchange->poll != !poll)
        lp__figure_add(waiting, poll ? 1 : -1);
    if (poll && exchange->stream)
        lp__figure_add(&figures->streams_begun, 1);
    exchange->poll = poll;
}

void lp__pending_begin(lp__pending *pending, lp__exchange *exchange)
{
    pending->exchange = exchange;
    exchange->pending = pending;
    lp__list_push_back(&exchange->http->pending, &exchange->link);
}

lp__exchange *lp__pending_end(lp__pending *pending)
{
    lp__exchange *exchange = pending->exchange;
    if (exchange) {
        lp__list_unlink(&exchange->link);
        exchange->pending = NULL;
    }
    pending->exchange = NULL;
    return exchange;
}

int lp__report_for(lp__exchange *exchange, lp__report_cb done)
{
    lp__port *port = exchange->http->port;
    lp__pending *pending = port ? malloc(sizeof(*pending)) : NULL;
    if (!pending)
        return port ? LP_ENOMEM : LP_ECLOSED;
    lp__pending_begin(pending, exchange); /* at home it is decided at once */
    int status = lp__port_report(port, done, pending);
    if (status != LP_OK) {
        lp__pending_end(pending);
        free(pending);
    }
    return status;
}

/* Runs when the request's pool is cleared, whatever ended the request. The descriptor and the
 * pool's other memory are still there. */
static void on_end(void *memory)
{
    lp__exchange *exchange = *(lp__exchange **)memory;
    lp__http *http = exchange->http;
    if (exchange->watched_fd >= 0 && http->watch)
        lp__watch_remove(http->watch, exchange->watched_fd);
    if (exchange->poll)
        lp__poll_cancel(exchange->poll);
    lp__exchange_set_poll(exchange, NULL);
    if (exchange->pending)
        lp__pending_end(exchange->pending);
    if (exchange->stream)
        lp__stream_forget(exchange->stream);
    for (size_t i = 0; i < exchange->event_count; i++)
        lp_event_unref(exchange->events[i]);
    lp__inflight_leave(exchange);
    lp__http_close_timer(http);
    lp__http_unref(http);
}

static size_t header_bytes(const h2o_req_t *req)
{
    size_t bytes = req->input.method.len + req->input.path.len + req->input.authority.len;
    for (size_t i = 0; i < req->headers.size; i++)
        bytes += req->headers.entries[i].name->len + req->headers.entries[i].value.len + 4;
    return bytes;
}

static lp__exchange *new_exchange(lp__http *http, h2o_req_t *req)
{
    lp__exchange *exchange = h2o_mem_alloc_pool(&req->pool, sizeof(*exchange));
    lp__exchange **end = h2o_mem_alloc_shared(&req->pool, sizeof(*end), on_end);
    *end = exchange;
    memset(exchange, 0, sizeof(*exchange));
    exchange->http = lp__http_ref(http);
    exchange->req = req;
    exchange->watched_fd = -1;
    lp__list_init(&exchange->link);
    lp__list_init(&exchange->large_link);
    return exchange;
}

/* NULL when the request has been dropped or refused. */
static lp__exchange *start(lp__http *http, h2o_req_t *req, bool is_wire)
{
    if (!lp__connection_serves(req)) {
        lp__request_drop(req);
        return NULL;
    }
    lp__exchange *exchange = new_exchange(http, req);
    exchange->is_wire = is_wire;
    const char *refusal = NULL;
    int status = 0;
    if (req->version >= 0x200) {
        status = 505;
        refusal = "HTTP/2 is not served here: switch it off, or put a proxy in front";
    } else if (header_bytes(req) > (size_t)http->site->options.header_bytes_max) {
        status = 431;
        refusal = "the request's headers are too large";
    }
    if (!refusal)
        return exchange;
    lp__exchange_error(exchange, status,
                       &(lp__reply){.headers = lp__publish_headers,
                                    .header_count = LP__PUBLISH_HEADERS,
                                    .close = true},
                       refusal);
    return NULL;
}

lp__exchange *lp__exchange_start(lp__http *http, h2o_req_t *req)
{
    return start(http, req, true);
}

lp__exchange *lp__exchange_start_internal(lp__http *http, h2o_req_t *req)
{
    return start(http, req, false);
}

bool lp__method_is(const h2o_req_t *req, const char *method)
{
    return h2o_memis(req->method.base, req->method.len, method, strlen(method));
}

bool lp__exchange_is_get(lp__exchange *exchange, const lp__reply *like)
{
    const h2o_req_t *req = exchange->req;
    lp__reply reply = *like;
    if (lp__method_is(req, "GET") || lp__method_is(req, "HEAD"))
        return true;
    reply.allow = "GET, HEAD, OPTIONS";
    reply.status = 204;
    if (lp__method_is(req, "OPTIONS"))
        lp__exchange_reply(exchange, &reply);
    else
        lp__exchange_error(exchange, 405, &reply, "Invalid HTTP Method. Only GET allowed.");
    return false;
}

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {204, "No Content"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {405, "Method Not Allowed"},
        {413, "Request Entity Too Large"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Error";
}

void lp__add_header(h2o_req_t *req, const lp__wire_header *header)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, header->lower.base, header->lower.len, 1,
                          header->name.base, header->value.base, header->value.len);
}

void lp__exchange_set_headers(lp__exchange *exchange, const lp__reply *reply, size_t length)
{
    h2o_req_t *req = exchange->req;
    req->res.status = reply->status;
    req->res.reason = reason_of(reply->status);
    req->res.content_length = length;
    h2o_vector_reserve(&req->pool, &req->res.headers,
                       req->res.headers.size + reply->header_count + 8);
    for (size_t i = 0; i < reply->header_count; i++)
        lp__add_header(req, &reply->headers[i]);
    if (reply->extra)
        lp__add_header(req, reply->extra);
    if (reply->allow)
        lp__add_header(req,
                       &(lp__wire_header){{"Allow", 5}, {"allow", 5}, lp_str_of(reply->allow)});
    if (reply->retry_after_s) {
        char *text = h2o_mem_alloc_pool(&req->pool, 12);
        size_t len = (size_t)snprintf(text, 12, "%d", reply->retry_after_s);
        lp__add_header(req,
                       &(lp__wire_header){{"Retry-After", 11}, {"retry-after", 11}, {text, len}});
    }
    if (exchange->is_wire) {
        lp__origin_add_headers(&exchange->http->site->origins, req, reply->allow);
        lp__http_count_refusal(exchange->http, reply->status);
    }
    if (reply->close || req->conn->ctx->shutdown_requested)
        req->http1_is_persistent = 0;
}

void lp__exchange_send(lp__exchange *exchange, h2o_iovec_t *pieces, size_t count, size_t length,
                       h2o_send_state_t state)
{
    lp__inflight_join(exchange, length);
    h2o_start_response(exchange->req, &exchange->generator);
    h2o_send(exchange->req, pieces, count, state);
}

void lp__exchange_reply(lp__exchange *exchange, const lp__reply *reply)
{
    bool has_body = reply->status != 204;
    h2o_iovec_t body = h2o_iovec_init(reply->body.base, reply->body.len);
    lp__exchange_set_headers(exchange, reply, has_body ? body.len : SIZE_MAX);
    bool sends = has_body && body.len && !lp__method_is(exchange->req, "HEAD");
    lp__exchange_send(exchange, &body, sends, body.len, H2O_SEND_STATE_FINAL);
}

void lp__exchange_error(lp__exchange *exchange, int status, const lp__reply *like,
                        const char *sentence)
{
    lp__reply reply = *like;
    size_t max = 2 * strlen(sentence) + 32;
    char *body = h2o_mem_alloc_pool(&exchange->req->pool, max);
    reply.status = status;
    reply.body = (lp_str){body, lp__answer_error(sentence, body, max)};
    lp__exchange_reply(exchange, &reply);
}

int lp__reply_status(int status, int *retry_after_s)
{
    switch (status) {
    case LP_EFULL:
    case LP_ESTARTING:
    case LP_ECLOSED:
    case LP_EDEADLINE:
    case LP_ENOMEM:
        *retry_after_s = 1;
        return 503;
    case LP_ENOSPC:
    case LP_EIO:
        *retry_after_s = 10; /* somebody has to make room or mend a disk */
        return 503;
    case LP_ETOOBIG:
        *retry_after_s = 0;
        return 413;
    case LP_EINVAL: /* the store can never take it */
        *retry_after_s = 0;
        return 400;
    case LP_ECONFLICT:
        *retry_after_s = 0;
        return 422;
    default:
        *retry_after_s = 0; /* in doubt: a restart is needed */
        return 503;
    }
}

void lp__http_end_pending(lp__http *http, h2o_context_t *context)
{
    const lp__reply why = {.headers = lp__publish_headers,
                           .header_count = LP__PUBLISH_HEADERS,
                           .retry_after_s = 1,
                           .close = true};
    lp__list ended;
    lp__list_take(&http->pending, &ended);
    while (!lp__list_is_empty(&ended)) {
        lp__exchange *exchange = LP__CONTAINER(ended.next, lp__exchange, link);
        lp__list_unlink(&exchange->link);
        if (exchange->req->conn->ctx != context) {
            lp__list_push_back(&http->pending, &exchange->link);
            continue;
        }
        lp__pending_end(exchange->pending);
        lp__exchange_error(exchange, 503, &why,
                           exchange->is_wire
                               ? "the server stops, and it is not known yet whether this is kept"
                               : "the server stops");
    }
}
