/* GET /health: whether a publish would be kept, and why not. Home loop only. */
#include "inside.h"

#include <stdio.h>
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

void lp__serve_health(lp__http *http, h2o_req_t *req)
{
    lp__exchange *exchange = lp__exchange_start_internal(http, req);
    if (!exchange || !lp__exchange_is_get(exchange, &health_reply))
        return;
    lp_error why = {LP_ECLOSED, "the manager has ended"};
    lp_state state = http->manager ? lp_manager_state(http->manager) : LP_STATE_CLOSED;
    lp__reply reply = health_reply;
    if (http->manager && lp_manager_health(http->manager, &why) == LP_OK) {
        reply.body = lp_str_of("{\"status\":\"serving\"}");
    } else {
        const char *status = state == LP_STATE_SERVING ? "unable to keep" : lp_state_name(state);
        reply.status = 503;
        if (state == LP_STATE_SERVING || state == LP_STATE_STARTING)
            lp__reply_status(why.status, &reply.retry_after_s);
        reply.body = explain(&req->pool, status, why.message);
    }
    lp__exchange_reply(exchange, &reply);
}
