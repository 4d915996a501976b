/* The HTTP side of one manager: its options and its life; and exchanges, with the list of answers
 * in flight, their deadlines and their bound. Home loop only. See inside.h. */
#include "inside.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define KIB(n)             ((int64_t)(n) << 10)
#define HEADER_BYTES_MAX   KIB(16)
#define BODY_BYTES_EXTRA   KIB(8)
#define ANSWER_TIMEOUT_MS  30000
#define INFLIGHT_BYTES_MAX KIB(256 << 10)

/* An answer counts against the bound on bytes in flight from this size on, and may be cut for its
 * sake from this age on: one that began in this very turn of the loop has not had the time to be
 * written. */
#define LARGE_BYTES 4096
#define SLOW_MS     100

/* ---- life -------------------------------------------------------------- */

lp__http *lp__http_ref(lp__http *http)
{
    http->refs++;
    return http;
}

void lp__http_unref(lp__http *http)
{
    if (--http->refs == 0)
        free(http);
}

static bool is_ending(const lp__http *http)
{
    return !http->manager || lp_manager_state(http->manager) == LP_STATE_DRAINING ||
           lp_manager_state(http->manager) == LP_STATE_CLOSED;
}

/* Once the manager ends, the timer lives only as long as there are answers to be timed: then
 * nothing of ours is left on the loop. */
static void close_timer_when_done(lp__http *http)
{
    if (http->timer && lp__list_is_empty(&http->inflight) && is_ending(http)) {
        lp__timer_close(http->timer, NULL, NULL);
        http->timer = NULL;
    }
}

static void on_watch_closed(void *ctx)
{
    lp__manager_drained(ctx);
}

/* Every waiter has been answered. Answers may still be being written; they need the timer only. */
static void drain(void *ctx)
{
    lp__http *http = ctx;
    close_timer_when_done(http);
    if (!http->watch) {
        lp__manager_drained(http->manager);
        return;
    }
    lp__watch_close(http->watch, on_watch_closed, http->manager);
    http->watch = NULL;
}

static void on_manager_free(void *ctx)
{
    lp__http *http = ctx;
    http->manager = NULL;
    close_timer_when_done(http);
    lp__http_unref(http);
}

static void fill_defaults(lp__http *http)
{
    lp_http_options *options = &http->options;
    options->struct_size = sizeof(*options);
    if (!options->header_bytes_max)
        options->header_bytes_max = HEADER_BYTES_MAX;
    if (!options->body_bytes_max)
        options->body_bytes_max =
            lp__manager_options(http->manager)->event_bytes_max + BODY_BYTES_EXTRA;
    if (!options->answer_timeout_ms)
        options->answer_timeout_ms = ANSWER_TIMEOUT_MS;
    if (!options->inflight_bytes_max)
        options->inflight_bytes_max = INFLIGHT_BYTES_MAX;
}

static bool is_writing(const void *ctx)
{
    return !lp__list_is_empty(&((const lp__http *)ctx)->inflight);
}

int lp__http_of(lp_manager *manager, lp__http **out)
{
    lp__manager_http *slot = lp__manager_http_slot(manager);
    *out = slot->http;
    if (*out)
        return LP_OK;
    lp__http *http = calloc(1, sizeof(*http));
    if (!http)
        return LP_ENOMEM;
    http->refs = 1;
    http->manager = manager;
    http->loop = lp__manager_loop(manager);
    lp__list_init(&http->inflight);
    lp__list_init(&http->large);
    lp__list_init(&http->pending);
    fill_defaults(http);
    *slot = (lp__manager_http){http, drain, on_manager_free, is_writing};
    *out = http;
    return LP_OK;
}

int lp_http_configure(lp_manager *manager, const lp_http_options *options, lp_error *error)
{
    lp_http_options given = LP_HTTP_OPTIONS_INIT;
    size_t size = options->struct_size < sizeof(given) ? options->struct_size : sizeof(given);
    memcpy(&given, options, size);
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"header_bytes_max", given.header_bytes_max},
        {"body_bytes_max", given.body_bytes_max},
        {"answer_timeout_ms", given.answer_timeout_ms},
        {"inflight_bytes_max", given.inflight_bytes_max},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (numbers[i].value < 0)
            return lp_error_set(error, LP_EINVAL,
                                "%s: %lld is negative (give a positive number, or 0 for the "
                                "default)",
                                numbers[i].name, (long long)numbers[i].value);
    lp__http *http;
    int status = lp__http_of(manager, &http);
    if (status != LP_OK)
        return lp_error_set(error, status, "%s", lp_strerror(status));
    http->options = given;
    fill_defaults(http);
    return LP_OK;
}

int lp__http_check_sigpipe(lp_error *error)
{
    struct sigaction action;
    if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
        return LP_OK;
    return lp_error_set(error, LP_EINVAL,
                        "SIGPIPE would end the program when a client resets its connection (call "
                        "signal(SIGPIPE, SIG_IGN) first)");
}

/* ---- answers in flight ------------------------------------------------- */

static void leave_inflight(lp__exchange *exchange)
{
    if (!exchange->bytes)
        return;
    if (!lp__list_is_empty(&exchange->large_link))
        exchange->http->large_bytes -= exchange->bytes;
    lp__list_unlink(&exchange->large_link);
    lp__list_unlink(&exchange->link);
    exchange->bytes = 0;
}

/* The write fails, and libh2o then closes the connection. */
static void cut(lp__exchange *exchange, const char *why)
{
    lp__http *http = exchange->http;
    if (http->manager)
        lp__manager_log(http->manager, LP_LOG_DEBUG, "http: an answer of %zu bytes was cut: %s",
                        exchange->bytes, why);
    leave_inflight(exchange);
    lp__socket_abort(lp__socket_of(exchange->req));
}

static void on_inflight_timer(void *ctx)
{
    lp__http *http = ctx;
    uint64_t now = lp__loop_now(http->loop), timeout = (uint64_t)http->options.answer_timeout_ms;
    while (!lp__list_is_empty(&http->inflight)) {
        lp__exchange *oldest = LP__CONTAINER(http->inflight.next, lp__exchange, link);
        if (now - oldest->started_ms < timeout) {
            lp__timer_start(http->timer, oldest->started_ms + timeout - now);
            return;
        }
        cut(oldest, "its reader is too slow");
    }
}

static void join_large(lp__exchange *exchange)
{
    lp__http *http = exchange->http;
    lp__list_push_back(&http->large, &exchange->large_link);
    http->large_bytes += exchange->bytes;
    while (http->large_bytes > (size_t)http->options.inflight_bytes_max) {
        lp__exchange *oldest = LP__CONTAINER(http->large.next, lp__exchange, large_link);
        if (exchange->started_ms - oldest->started_ms < SLOW_MS)
            return;
        cut(oldest, "too many bytes are being written");
    }
}

/* Most answers leave the list within one turn of the loop, so the timer is not stopped when the
 * list gets empty: it fires once a timeout at most, and then looks. */
static void join_inflight(lp__exchange *exchange, size_t bytes)
{
    lp__http *http = exchange->http;
    exchange->started_ms = lp__loop_now(http->loop);
    exchange->bytes = bytes ? bytes : 1;
    lp__list_push_back(&http->inflight, &exchange->link);
    if (!http->timer)
        lp__timer_open(http->loop, on_inflight_timer, http, &http->timer);
    if (http->timer && !lp__timer_is_started(http->timer))
        lp__timer_start(http->timer, (uint64_t)http->options.answer_timeout_ms);
    if (exchange->bytes >= LARGE_BYTES)
        join_large(exchange);
}

/* ---- exchanges --------------------------------------------------------- */

/* Runs when the request's pool is cleared, whatever ended the request. The descriptor and the
 * pool's other memory are still there. */
static void lp__exchange_dispose(void *memory)
{
    lp__exchange *exchange = memory;
    lp__http *http = exchange->http;
    if (exchange->watched_fd >= 0 && http->watch)
        lp__watch_remove(http->watch, exchange->watched_fd);
    if (exchange->is_waiting && http->manager)
        lp__manager_cancel(http->manager, &exchange->waiter);
    if (exchange->publish)
        lp__publish_forget(exchange->publish);
    for (size_t i = 0; i < exchange->event_count; i++)
        lp_event_unref(exchange->events[i]);
    leave_inflight(exchange);
    close_timer_when_done(http);
    lp__http_unref(http);
}

static size_t header_bytes(const h2o_req_t *req)
{
    size_t bytes = req->input.method.len + req->input.path.len + req->input.authority.len;
    for (size_t i = 0; i < req->headers.size; i++)
        bytes += req->headers.entries[i].name->len + req->headers.entries[i].value.len + 4;
    return bytes;
}

lp__exchange *lp__exchange_start(lp__http *http, h2o_req_t *req)
{
    lp__exchange *exchange =
        h2o_mem_alloc_shared(&req->pool, sizeof(*exchange), lp__exchange_dispose);
    memset(exchange, 0, sizeof(*exchange));
    exchange->http = lp__http_ref(http);
    exchange->req = req;
    exchange->watched_fd = -1;
    lp__list_init(&exchange->link);
    lp__list_init(&exchange->large_link);

    const char *refusal = NULL;
    int status = 500;
    if (req->conn->ctx->loop != http->loop) {
        refusal = "the libh2o context is not on the home loop of the manager";
    } else if (req->version >= 0x200) {
        status = 505;
        refusal = "HTTP/2 is not served here: switch it off, or put a proxy in front";
    } else if (header_bytes(req) > (size_t)http->options.header_bytes_max) {
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

bool lp__method_is(const h2o_req_t *req, const char *method)
{
    return h2o_memis(req->method.base, req->method.len, method, strlen(method));
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

static void add_header(h2o_req_t *req, const lp__wire_header *header)
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
                       req->res.headers.size + reply->header_count + 2);
    for (size_t i = 0; i < reply->header_count; i++)
        add_header(req, &reply->headers[i]);
    if (reply->allow)
        add_header(req, &(lp__wire_header){{"Allow", 5}, {"allow", 5}, lp_str_of(reply->allow)});
    if (reply->retry_after_s) {
        char *text = h2o_mem_alloc_pool(&req->pool, 12);
        size_t len = (size_t)snprintf(text, 12, "%d", reply->retry_after_s);
        add_header(req, &(lp__wire_header){{"Retry-After", 11}, {"retry-after", 11}, {text, len}});
    }
    if (reply->close || req->conn->ctx->shutdown_requested)
        req->http1_is_persistent = 0;
}

void lp__exchange_send(lp__exchange *exchange, h2o_iovec_t *pieces, size_t count, size_t length,
                       h2o_send_state_t state)
{
    join_inflight(exchange, length);
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
    default:
        *retry_after_s = 0; /* in doubt: a restart is needed */
        return 503;
    }
}

void lp__http_end_pending(lp__http *http, h2o_context_t *context)
{
    lp__list ended;
    lp__list_take(&http->pending, &ended);
    while (!lp__list_is_empty(&ended)) {
        lp__exchange *exchange = LP__CONTAINER(ended.next, lp__exchange, link);
        lp__list_unlink(&exchange->link);
        if (exchange->req->conn->ctx != context) {
            lp__list_push_back(&http->pending, &exchange->link);
            continue;
        }
        lp__publish_forget(exchange->publish);
        exchange->publish = NULL;
        lp__exchange_reply(exchange, &(lp__reply){.status = 503, .close = true});
    }
}
