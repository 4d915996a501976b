/* Polls without HTTP, and what core/http needs to make its own. Home loop. */
#include <stdlib.h>
#include <string.h>

#include "manager_private.h"

struct lp_subscription {
    lp__waiter waiter;
    lp_manager *manager;
    bool is_answering; /* it is gone after the callback, whatever that calls */
    lp_answer_cb on_answer;
    void *ctx;
};

static int check_query(const lp_manager *manager, const lp_query *query)
{
    if (query->struct_size < offsetof(lp_query, last_id) + sizeof(lp_id))
        return LP_EINVAL;
    if (query->category.len == 0 || query->category.len > LP_CATEGORY_MAX)
        return LP_EINVAL;
    if (query->timeout_s < 1 || query->timeout_s > manager->options.max_timeout_s)
        return LP_EINVAL;
    return query->has_last_id && !query->has_since ? LP_EINVAL : LP_OK;
}

int lp__manager_subscribe(lp_manager *manager, const lp_query *query, int64_t timeout_ms,
                          lp__waiter *waiter)
{
    switch (lp__state(manager)) {
    case LP_STATE_STARTING:
        return LP_ESTARTING;
    case LP_STATE_SERVING:
    case LP_STATE_IN_DOUBT:
        break;
    default:
        return LP_ECLOSED;
    }
    int status = check_query(manager, query);
    if (status == LP_OK)
        status =
            lp__engine_subscribe(manager->engine, lp__manager_now(), query, timeout_ms, waiter);
    if (status == LP_OK)
        lp__manager_soon(manager);
    return status;
}

void lp__manager_cancel(lp_manager *manager, lp__waiter *waiter)
{
    lp__engine_cancel(manager->engine, waiter);
}

void lp__manager_dismiss(lp_manager *manager, lp__waiter *waiter)
{
    lp__engine_dismiss(manager->engine, lp__manager_now(), waiter);
}

void lp__manager_retrieved(lp_manager *manager, lp_event *const *events, size_t count)
{
    if (manager->engine != NULL)
        lp__engine_retrieved(manager->engine, lp__manager_now(), events, count);
}

static void on_answer(lp__waiter *waiter, const lp_answer *answer)
{
    lp_subscription *subscription = LP__CONTAINER(waiter, lp_subscription, waiter);
    subscription->is_answering = true;
    subscription->on_answer(subscription->ctx, answer);
    if (answer->event_count > 0 && subscription->manager->options.delete_after_first_retrieval)
        lp__manager_retrieved(subscription->manager, answer->events, answer->event_count);
    free(subscription);
}

int lp_subscribe(lp_manager *manager, const lp_query *query, lp_answer_cb answer_cb, void *ctx,
                 lp_subscription **out)
{
    lp_subscription *subscription = calloc(1, sizeof(*subscription));
    if (subscription == NULL)
        return LP_ENOMEM;
    subscription->manager = manager;
    subscription->on_answer = answer_cb;
    subscription->ctx = ctx;
    subscription->waiter.answer = on_answer;
    int status =
        lp__manager_subscribe(manager, query, query->timeout_s * 1000, &subscription->waiter);
    if (status != LP_OK) {
        free(subscription);
        return status;
    }
    *out = subscription;
    return LP_OK;
}

void lp_cancel(lp_subscription *subscription)
{
    if (subscription->is_answering)
        return;
    lp__manager_cancel(subscription->manager, &subscription->waiter);
    free(subscription);
}
