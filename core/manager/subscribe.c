/* Polls without HTTP. Home loop. */
#include <stdlib.h>

#include "manager_private.h"

struct lp_subscription {
    lp__poll poll;     /* first: it is freed with it */
    bool is_answering; /* it is gone after the callback, whatever that calls */
    lp_answer_cb on_answer;
    void *ctx;
};

static void on_answered(void *ctx, const lp_answer *answer)
{
    lp_subscription *subscription = ctx;
    lp__port *port = subscription->poll.port;
    subscription->is_answering = true;
    subscription->on_answer(subscription->ctx, answer);
    if (answer->event_count > 0 && port->options->delete_after_first_retrieval)
        lp__port_retrieved(port, answer->events, answer->event_count);
}

static const lp__poll_calls calls = {.answered = on_answered};

/* Of any query: what is out of range is refused later. */
static int64_t timeout_ms_of(const lp_query *query)
{
    return query->timeout_s > 0 && query->timeout_s <= INT32_MAX ? query->timeout_s * 1000 : 0;
}

int lp_subscribe(lp_manager *manager, const lp_query *query, lp_answer_cb answer_cb, void *ctx,
                 lp_subscription **out)
{
    lp__poll_options options = {.calls = &calls, .timeout_ms = timeout_ms_of(query)};
    lp__poll *poll;
    int status =
        lp__poll_start_sized(&manager->home, query, &options, sizeof(lp_subscription), &poll);
    if (status != LP_OK)
        return status;
    lp_subscription *subscription = LP__CONTAINER(poll, lp_subscription, poll);
    poll->ctx = subscription;
    subscription->on_answer = answer_cb;
    subscription->ctx = ctx;
    *out = subscription;
    return LP_OK;
}

void lp_cancel(lp_subscription *subscription)
{
    if (!subscription->is_answering)
        lp__poll_cancel(&subscription->poll);
}
