/* GET /health: whether a publish would be kept, and why not. On the thread of the
 * request's loop. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const lp__reply health_reply = {
    .status = 200,
    .headers = lp__subscribe_headers, /* nothing may cache this either */
    .header_count = LP__SUBSCRIBE_HEADERS};

/* {"status":"…","reason":"…"}; the reason is quoted and escaped as errors are. */
static lp_str explain(h2o_mem_pool_t *pool, const char *status, const char *reason)
{
    enum { BODY_MAX = 64 + 6 * sizeof(((lp_error *)NULL)->message) };
    static const char before[] = "{\"error\": ";
    char quoted[BODY_MAX];
    size_t len = lp__answer_error(reason, quoted, sizeof(quoted)) - (sizeof(before) - 1);
    char *body = h2o_mem_alloc_pool(pool, BODY_MAX + 64);
    int head = snprintf(body, 64, "{\"status\":\"%s\",\"reason\":", status);
    memcpy(body + head, quoted + sizeof(before) - 1, len);
    return (lp_str){body, (size_t)head + len};
}

static void answer(lp__exchange *exchange, lp_state state, const lp_error *health)
{
    lp__reply reply = health_reply;
    if (health->status == LP_OK) {
        reply.body = lp_str_of("{\"status\":\"serving\"}");
    } else {
        const char *status = state == LP_STATE_SERVING ? "unable to keep" : lp_state_name(state);
        reply.status = 503;
        if (state == LP_STATE_SERVING || state == LP_STATE_STARTING)
            lp__reply_status(health->status, &reply.retry_after_s);
        reply.body = explain(&exchange->req->pool, status, health->message);
    }
    lp__exchange_reply(exchange, &reply);
}

static void on_report(void *ctx, const lp__report *report)
{
    lp__exchange *exchange = lp__pending_end(ctx);
    if (exchange)
        answer(exchange, report->stats.state, &report->health);
    free(ctx);
}

void lp__serve_health(lp__http *http, h2o_req_t *req)
{
    lp__exchange *exchange = lp__exchange_start_internal(http, req);
    if (!exchange || !lp__exchange_is_get(exchange, &health_reply))
        return;
    int status = lp__report_for(exchange, on_report);
    if (status == LP_ECLOSED)
        answer(exchange, LP_STATE_CLOSED, &(lp_error){LP_ECLOSED, "the manager has ended"});
    else if (status != LP_OK)
        answer(exchange, lp__http_state(http), &(lp_error){status, "out of memory"});
}
