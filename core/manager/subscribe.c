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

static bool are_names(const lp_str *names, size_t count)
{
    if (names == NULL && count > 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (names[i].len == 0 || names[i].len > LP_CATEGORY_MAX)
            return false;
    return true;
}

/* Copies what the caller's header knew of a query, and says what is wrong with it. */
static int read_query(const lp_manager *manager, const lp_query *given, lp_query *query)
{
    if (given->struct_size < offsetof(lp_query, last_id) + sizeof(lp_id))
        return LP_EINVAL;
    memset(query, 0, sizeof(*query));
    memcpy(query, given, given->struct_size < sizeof(*query) ? given->struct_size : sizeof(*query));
    bool names_one = query->category.len > 0;
    size_t max = (size_t)manager->options.poll_categories_max;
    if (query->category_count > max || query->prefix_count > max)
        return LP_ETOOBIG;
    size_t more = query->category_count + query->prefix_count;
    if (names_one ? query->category.len > LP_CATEGORY_MAX : more == 0)
        return LP_EINVAL;
    if (names_one + more > max)
        return LP_ETOOBIG;
    if (!are_names(query->categories, query->category_count) ||
        !are_names(query->prefixes, query->prefix_count))
        return LP_EINVAL;
    if (query->timeout_s < 1 || query->timeout_s > manager->options.max_timeout_s ||
        query->last < 0)
        return LP_EINVAL;
    return query->has_last_id && !query->has_since && !query->by_id ? LP_EINVAL : LP_OK;
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
    lp_query checked;
    int status = read_query(manager, query, &checked);
    if (status == LP_OK)
        status =
            lp__engine_subscribe(manager->engine, lp__manager_now(), &checked, timeout_ms, waiter);
    if (status == LP_OK)
        lp__manager_soon(manager);
    return status;
}

void lp__manager_continue(lp_manager *manager, int64_t timeout_ms, lp__waiter *waiter)
{
    lp__engine_continue(manager->engine, lp__manager_now(), timeout_ms, waiter);
    lp__manager_soon(manager);
}

lp_id lp__manager_position(const lp_manager *manager, const lp__waiter *waiter)
{
    return lp__engine_position(manager->engine, waiter);
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
    if (answer->event_count > 0)
        lp__manager_delivered(subscription->manager, waiter);
    subscription->on_answer(subscription->ctx, answer);
    if (answer->event_count > 0 && subscription->manager->options.delete_after_first_retrieval)
        lp__manager_retrieved(subscription->manager, answer->events, answer->event_count);
    free(subscription);
}

/* Of any query: what is out of range is refused later. */
static int64_t timeout_ms_of(const lp_query *query)
{
    return query->timeout_s > 0 && query->timeout_s <= INT32_MAX ? query->timeout_s * 1000 : 0;
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
    int status = lp__manager_subscribe(manager, query, timeout_ms_of(query), &subscription->waiter);
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
