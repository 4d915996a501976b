/* Answers that are being written: the deadline of each and the bound of all. libh2o has no timeout
 * for writes and tells nothing of those that fail. On the thread of their loop. See inside.h. */
#include "inside.h"

/* An answer counts against the bound on bytes in flight from this size on, and may be cut for its
 * sake from this age on: one that began in this very turn of the loop has not had the time to be
 * written. */
#define LARGE_BYTES 4096
#define SLOW_MS     100

void lp__inflight_leave(lp__exchange *exchange)
{
    if (!exchange->bytes)
        return;
    if (!lp__list_is_empty(&exchange->large_link))
        exchange->http->large_bytes -= exchange->bytes;
    lp__list_unlink(&exchange->large_link);
    lp__list_unlink(&exchange->link);
    lp__figure_add(&exchange->http->figures.inflight, -1);
    lp__figure_add(&exchange->http->figures.inflight_bytes, -(int64_t)exchange->bytes);
    exchange->bytes = 0;
}

/* The write fails, and libh2o then closes the connection. */
static void cut(lp__exchange *exchange, const char *why)
{
    lp__http *http = exchange->http;
    if (http->port)
        lp__port_log(http->port, LP_LOG_DEBUG, "http: an answer of %zu bytes was cut: %s",
                     exchange->bytes, why);
    lp__figure_add(&http->figures.answers_cut, 1);
    lp__inflight_leave(exchange);
    lp__socket_abort(lp__socket_of(exchange->req));
}

static void cut_late(lp__http *http, uint64_t now)
{
    while (!lp__list_is_empty(&http->inflight)) {
        lp__exchange *oldest = LP__CONTAINER(http->inflight.next, lp__exchange, link);
        if (now - oldest->started_ms < (uint64_t)http->site->options.answer_timeout_ms)
            return;
        cut(oldest, "its reader is too slow");
    }
}

static void cut_large(lp__http *http, uint64_t begun_by_ms)
{
    while (http->large_bytes > lp__http_inflight_max(http)) {
        lp__exchange *oldest = LP__CONTAINER(http->large.next, lp__exchange, large_link);
        if (oldest->started_ms > begun_by_ms)
            return;
        cut(oldest, "too many bytes are being written");
    }
}

/* What is too much when it is first looked at may be with the kernel already, and only be waiting
 * for this turn of the loop to say so. What of it is there later too is slow. */
static void look_at_large(lp__http *http, uint64_t now)
{
    if (http->excess_ms && now - http->excess_ms >= SLOW_MS) {
        cut_large(http, http->excess_ms);
        http->excess_ms = 0;
    }
    if (http->large_bytes <= lp__http_inflight_max(http))
        http->excess_ms = 0;
    else if (!http->excess_ms)
        http->excess_ms = now;
}

static void on_inflight_timer(void *ctx)
{
    lp__http *http = ctx;
    uint64_t now = lp__loop_now(http->loop),
             timeout = (uint64_t)http->site->options.answer_timeout_ms;
    cut_late(http, now);
    look_at_large(http, now);
    if (lp__list_is_empty(&http->inflight))
        return;
    lp__exchange *oldest = LP__CONTAINER(http->inflight.next, lp__exchange, link);
    uint64_t due = oldest->started_ms + timeout;
    if (http->excess_ms && http->excess_ms + SLOW_MS < due)
        due = http->excess_ms + SLOW_MS;
    lp__timer_start(http->timer, due - now);
}

static void join_large(lp__exchange *exchange)
{
    lp__http *http = exchange->http;
    lp__list_push_back(&http->large, &exchange->large_link);
    http->large_bytes += exchange->bytes;
    cut_large(http, exchange->started_ms - SLOW_MS);
    if (http->large_bytes > lp__http_inflight_max(http) && !http->excess_ms && http->timer)
        lp__timer_start(http->timer, 0);
}

/* Most answers leave the list within one turn of the loop, so the timer is not stopped when the
 * list gets empty: it fires once a timeout at most, and then looks. */
void lp__inflight_join(lp__exchange *exchange, size_t bytes)
{
    lp__http *http = exchange->http;
    lp__inflight_leave(exchange);
    exchange->started_ms = lp__loop_now(http->loop);
    exchange->bytes = bytes ? bytes : 1;
    lp__figure_add(&http->figures.inflight, 1);
    lp__figure_add(&http->figures.inflight_bytes, (int64_t)exchange->bytes);
    lp__list_push_back(&http->inflight, &exchange->link);
    if (!http->timer)
        lp__timer_open(http->loop, on_inflight_timer, http, &http->timer);
    if (http->timer && !lp__timer_is_started(http->timer))
        lp__timer_start(http->timer, (uint64_t)http->site->options.answer_timeout_ms);
    if (exchange->bytes >= LARGE_BYTES)
        join_large(exchange);
}

/* libh2o encrypts an answer whole into memory of its own, so under TLS readers share nothing. */
bool lp__inflight_is_crowded(const lp__exchange *exchange, size_t bytes, bool copies)
{
    const lp__http *http = exchange->http;
    bool is_tls = exchange->req->input.scheme == &H2O_URL_SCHEME_HTTPS;
    return (copies || is_tls) && bytes >= LARGE_BYTES &&
           http->large_bytes + bytes > 2 * lp__http_inflight_max(http);
}
