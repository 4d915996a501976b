/* Answers that are being written: the deadline of each and the bound of all. libh2o has no timeout
 * for writes and tells nothing of those that fail. Home loop only. See inside.h. */
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
    exchange->http->figures.inflight--;
    exchange->http->figures.inflight_bytes -= exchange->bytes;
    exchange->bytes = 0;
}

/* The write fails, and libh2o then closes the connection. */
static void cut(lp__exchange *exchange, const char *why)
{
    lp__http *http = exchange->http;
    if (http->manager)
        lp__manager_log(http->manager, LP_LOG_DEBUG, "http: an answer of %zu bytes was cut: %s",
                        exchange->bytes, why);
    http->figures.answers_cut++;
    lp__inflight_leave(exchange);
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
void lp__inflight_join(lp__exchange *exchange, size_t bytes)
{
    lp__http *http = exchange->http;
    lp__inflight_leave(exchange);
    exchange->started_ms = lp__loop_now(http->loop);
    exchange->bytes = bytes ? bytes : 1;
    http->figures.inflight++;
    http->figures.inflight_bytes += exchange->bytes;
    lp__list_push_back(&http->inflight, &exchange->link);
    if (!http->timer)
        lp__timer_open(http->loop, on_inflight_timer, http, &http->timer);
    if (http->timer && !lp__timer_is_started(http->timer))
        lp__timer_start(http->timer, (uint64_t)http->options.answer_timeout_ms);
    if (exchange->bytes >= LARGE_BYTES)
        join_large(exchange);
}
