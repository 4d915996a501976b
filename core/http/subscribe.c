/* Polls over HTTP: reading, parking and answering them. Those that ask for a stream are stream.c's
 * from then on. On the thread of their loop.
 *
 * A request is parked as a poll of its loop's port. It ends in one of four ways: the manager
 * answers it; its client leaves; its connection is torn down under it; or the manager has no room
 * for it. Behind each of them its exchange ends. */
#include "inside.h"

#include <stdlib.h>

#include "../wire/query.h"
#include "../wire/sse.h"

#define METHODS "GET, POST, HEAD, OPTIONS"

/* Answers of more events than this are copied into one piece when the events are small: a long list
 * of small pieces costs more in the kernel than the copy, and libh2o puts the list on the stack. */
#define PIECEWISE_EVENTS      8
#define PIECEWISE_EVENTS_MAX  512
#define PIECEWISE_EVENT_BYTES 8192

static const lp__reply poll_reply = {
    .status = 200, .headers = lp__subscribe_headers, .header_count = LP__SUBSCRIBE_HEADERS};

void lp__subscribe_unwatch(lp__exchange *exchange)
{
    if (exchange->watched_fd >= 0 && exchange->http->watch)
        lp__watch_remove(exchange->http->watch, exchange->watched_fd);
    exchange->watched_fd = -1;
}

/* Its client sends no more. It may still read (half a close), so it is answered like any other;
 * when it is gone the write fails. Either way libh2o closes the connection behind the answer. */
void lp__subscribe_gone(void *tag)
{
    lp__exchange *exchange = tag;
    if (exchange->stream)
        lp__stream_gone(exchange);
    else
        lp__poll_dismiss(exchange->poll);
}

/* ---- answering --------------------------------------------------------- */

static void hold_events(lp__exchange *exchange, const lp_answer *answer)
{
    exchange->events =
        h2o_mem_alloc_pool(&exchange->req->pool, answer->event_count * sizeof(*exchange->events));
    for (size_t i = 0; i < answer->event_count; i++)
        exchange->events[i] = lp_event_ref(answer->events[i]);
    exchange->event_count = answer->event_count;
}

static bool is_better_copied(const lp_answer *answer, size_t length)
{
    return answer->event_count > PIECEWISE_EVENTS_MAX ||
           (answer->event_count > PIECEWISE_EVENTS &&
            length / answer->event_count < PIECEWISE_EVENT_BYTES);
}

/* The whole answer is with the kernel: with delete-after-first its events are gone now. Behind
 * h2o_send the exchange may be gone too, and the connection's next request is being served. */
static void on_written(h2o_generator_t *generator, h2o_req_t *req)
{
    lp__exchange *exchange = LP__CONTAINER(generator, lp__exchange, generator);
    lp__port *port = exchange->http->port;
    if (port)
        lp__port_retrieved(port, exchange->events, exchange->event_count);
    h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
}

static void send_body(lp__exchange *exchange, const lp_answer *answer, h2o_iovec_t *pieces,
                      size_t count, size_t length)
{
    bool deletes = answer->event_count && exchange->http->site->bounds.delete_after_first_retrieval;
    bool copies = is_better_copied(answer, length);
    if (lp__inflight_is_crowded(exchange, length, copies)) {
        lp__reply reply = poll_reply;
        reply.retry_after_s = 1;
        lp__exchange_error(exchange, 503, &reply, "too many answers are being written");
        return;
    }
    if (deletes || (answer->event_count && !copies))
        hold_events(exchange, answer);
    if (copies) {
        char *body = h2o_mem_alloc_pool(&exchange->req->pool, length);
        lp__answer_flatten((const lp_str *)(const void *)pieces, count, body);
        pieces[0] = h2o_iovec_init(body, length);
        count = 1;
    }
    lp__reply reply = poll_reply;
    reply.close = answer->closing;
    lp__exchange_set_headers(exchange, &reply, length);
    if (deletes)
        exchange->generator.proceed = on_written;
    lp__exchange_send(exchange, pieces, count, length,
                      deletes ? H2O_SEND_STATE_IN_PROGRESS : H2O_SEND_STATE_FINAL);
}

static void on_answered(void *ctx, const lp_answer *answer)
{
    lp__exchange *exchange = ctx;
    lp__exchange_set_poll(exchange, NULL);
    lp__subscribe_unwatch(exchange);

    h2o_mem_pool_t *pool = &exchange->req->pool;
    size_t count, max = lp__answer_pieces_max(answer);
    lp_str few[2 * PIECEWISE_EVENTS + 1];
    lp_str *pieces =
        max <= sizeof(few) / sizeof(few[0]) ? few : h2o_mem_alloc_pool(pool, max * sizeof(*pieces));
    char *scratch = answer->event_count ? NULL : h2o_mem_alloc_pool(pool, LP__ANSWER_SCRATCH);
    size_t length = lp__answer_build(answer, scratch, pieces, &count);
    if (!answer->event_count && exchange->is_by_id) {
        pieces[0] = lp__answer_timeout_by_id(answer, scratch);
        length = pieces[0].len;
    }
    send_body(exchange, answer, (h2o_iovec_t *)(void *)pieces, count, length);
}

/* ---- asking ------------------------------------------------------------ */

static bool asks_for_stream(const h2o_req_t *req)
{
    ssize_t at = -1;
    while ((at = h2o_find_header(&req->headers, H2O_TOKEN_ACCEPT, at)) != -1) {
        h2o_iovec_t value = req->headers.entries[at].value;
        if (lp__sse_is_accepted((lp_str){value.base, value.len}))
            return true;
    }
    return false;
}

void lp__subscribe_refuse(lp__exchange *exchange, int status)
{
    lp__reply reply = poll_reply;
    int http_status = lp__reply_status(status, &reply.retry_after_s);
    const char *sentence =
        status == LP_EFULL ? "too many polls are waiting, try again later" : lp_strerror(status);
    reply.close = status == LP_ECLOSED;
    if (reply.retry_after_s && asks_for_stream(exchange->req))
        lp__stream_refuse(exchange, &reply, sentence);
    else
        lp__exchange_error(exchange, http_status, &reply, sentence);
}

static int watch(lp__exchange *exchange)
{
    lp__http *http = exchange->http;
    int status = LP_OK;
    if (!http->watch)
        status = lp__watch_open(http->loop, lp__subscribe_gone, &http->watch);
    if (status == LP_OK)
        status = lp__watch_add(http->watch, exchange->req, exchange);
    if (status == LP_OK)
        exchange->watched_fd = lp__socket_of(exchange->req);
    return status;
}

int lp__subscribe_wait(lp__exchange *exchange, const lp_query *query,
                       const lp__poll_options *options)
{
    lp__port *port = exchange->http->port;
    lp__poll *poll;
    int status = port ? lp__poll_start(port, query, options, &poll) : LP_ECLOSED;
    if (status != LP_OK)
        return status;
    lp__exchange_set_poll(exchange, poll);
    status = watch(exchange);
    if (status != LP_OK) {
        lp__exchange_set_poll(exchange, NULL);
        lp__poll_cancel(poll);
    }
    return status;
}

static void on_refused(void *ctx, int status)
{
    lp__exchange *exchange = ctx;
    lp__exchange_set_poll(exchange, NULL);
    lp__subscribe_unwatch(exchange);
    lp__subscribe_refuse(exchange, status);
}

static void park(lp__exchange *exchange, const lp_query *query)
{
    static const lp__poll_calls calls = {.answered = on_answered, .refused = on_refused};
    int status = lp__subscribe_wait(exchange, query,
                                    &(lp__poll_options){.calls = &calls,
                                                        .ctx = exchange,
                                                        .timeout_ms = query->timeout_s * 1000});
    if (status != LP_OK)
        lp__subscribe_refuse(exchange, status);
}

/* ---- reading ----------------------------------------------------------- */

static lp_str raw_query(const h2o_req_t *req)
{
    if (req->query_at == SIZE_MAX)
        return (lp_str){"", 0};
    return (lp_str){req->path.base + req->query_at + 1, req->path.len - req->query_at - 1};
}

static void resume_stream(const h2o_req_t *req, lp__wire_query *query)
{
    ssize_t at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("last-event-id"), -1);
    if (at == -1 || !req->headers.entries[at].value.len)
        return;
    h2o_iovec_t value = req->headers.entries[at].value;
    lp__wire_query_resume(query, (lp_str){value.base, value.len});
}

static void answer_head(lp__exchange *exchange)
{
    /* What a poll will be answered is not known, so no length is told (RFC 9110, 8.6). */
    lp__exchange_set_headers(exchange, &poll_reply, SIZE_MAX);
    lp__exchange_send(exchange, NULL, 0, 0, H2O_SEND_STATE_FINAL);
}

static void refuse_query(lp__exchange *exchange, const lp__wire_query *query)
{
    lp__http *http = exchange->http;
    lp__reply reply = poll_reply;
    if (http->site->options.strict_status)
        reply.status = 400;
    else
        lp__figure_add(&http->figures.refused_bad,
                       1); /* what is not 200 is counted by its status */
    char *body = h2o_mem_alloc_pool(&exchange->req->pool, query->error_len);
    memcpy(body, query->error, query->error_len);
    reply.body = (lp_str){body, query->error_len};
    lp__exchange_reply(exchange, &reply);
}

static void serve_query(lp__exchange *exchange, lp__wire_query *query)
{
    bool is_head = lp__method_is(exchange->req, "HEAD");
    if (!asks_for_stream(exchange->req)) {
        exchange->is_by_id = query->query.by_id;
        if (is_head)
            answer_head(exchange);
        else
            park(exchange, &query->query);
        return;
    }
    resume_stream(exchange->req, query);
    if (is_head)
        lp__stream_answer_head(exchange);
    else
        lp__stream_start(exchange, &query->query);
}

void lp__serve_subscribe(lp__http *http, h2o_req_t *req)
{
    lp__figure_add(&http->figures.requests_events, 1);
    lp__exchange *exchange = lp__exchange_start(http, req);
    if (!exchange)
        return;
    if (lp__method_is(req, "OPTIONS")) {
        lp__exchange_reply(exchange, &(lp__reply){.status = 204, .allow = METHODS});
        return;
    }
    if (!http->port) {
        lp__subscribe_refuse(exchange, LP_ECLOSED);
        return;
    }
    lp__wire_query query;
    const lp_manager_options *bounds = &http->site->bounds;
    lp__wire_query_split(
        raw_query(req),
        &(lp__wire_limits){bounds->max_timeout_s, (size_t)bounds->poll_categories_max}, &query);
    void *room = query.room_bytes ? malloc(query.room_bytes) : NULL; /* the engine keeps no names */
    if (query.room_bytes && !room)
        lp__subscribe_refuse(exchange, LP_ENOMEM);
    else if (lp__wire_query_read(&query, room) != LP_OK)
        refuse_query(exchange, &query);
    else
        serve_query(exchange, &query);
    free(room);
}
