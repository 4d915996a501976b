/* Polls of a port: checked here, and handed to the engine. See port.h. */
#include <stdlib.h>
#include <string.h>

#include "manager_private.h"

/* ---- queries ------------------------------------------------------------ */

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
static int read_query(const lp_manager_options *options, const lp_query *given, lp_query *query)
{
    if (given->struct_size < offsetof(lp_query, last_id) + sizeof(lp_id))
        return LP_EINVAL;
    memset(query, 0, sizeof(*query));
    memcpy(query, given, given->struct_size < sizeof(*query) ? given->struct_size : sizeof(*query));
    bool names_one = query->category.len > 0;
    size_t max = (size_t)options->poll_categories_max;
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
    if (query->timeout_s < 1 || query->timeout_s > options->max_timeout_s || query->last < 0)
        return LP_EINVAL;
    return query->has_last_id && !query->has_since && !query->by_id ? LP_EINVAL : LP_OK;
}

int lp__poll_refusal(lp_state state)
{
    switch (state) {
    case LP_STATE_STARTING:
        return LP_ESTARTING;
    case LP_STATE_SERVING:
    case LP_STATE_IN_DOUBT:
        return LP_OK;
    default:
        return LP_ECLOSED;
    }
}

int lp__poll_check(const lp__port *port, const lp_query *given, lp_query *query)
{
    int status = lp__poll_refusal(lp__port_state(port));
    return status == LP_OK ? read_query(port->options, given, query) : status;
}

/* ---- at home ------------------------------------------------------------ */

/* A stream may be canceled within the call, and then it is gone. */
static void on_answer(lp__waiter *waiter, const lp_answer *answer)
{
    lp__poll *poll = LP__CONTAINER(waiter, lp__poll, waiter);
    bool is_over = !waiter->is_stream;
    poll->port->manager->has_called_back = true;
    if (answer->event_count > 0)
        lp__delivery_add(&poll->port->manager->count.delivery_duration, waiter);
    poll->calls->answered(poll->ctx, answer);
    if (is_over)
        free(poll);
}

int lp__poll_start_sized(lp__port *port, const lp_query *query, const lp__poll_options *options,
                         size_t size, lp__poll **out)
{
    lp_manager *manager = port->manager;
    lp_query checked;
    int status = lp__poll_check(port, query, &checked);
    if (status != LP_OK)
        return status;
    lp__poll *poll = calloc(1, size);
    if (poll == NULL)
        return LP_ENOMEM;
    poll->port = port;
    poll->calls = options->calls;
    poll->ctx = options->ctx;
    poll->waiter.answer = on_answer;
    poll->waiter.is_stream = options->is_stream;
    poll->waiter.answer_bytes_max = options->answer_bytes_max;
    status = lp__engine_subscribe(manager->engine, lp__manager_now(), &checked, options->timeout_ms,
                                  &poll->waiter);
    if (status != LP_OK) {
        free(poll);
        return status;
    }
    lp__manager_soon(manager);
    *out = poll;
    if (options->is_stream)
        poll->calls->opened(poll->ctx, lp__engine_position(manager->engine, &poll->waiter));
    return LP_OK;
}

int lp__poll_start(lp__port *port, const lp_query *query, const lp__poll_options *options,
                   lp__poll **out)
{
    lp_query checked;
    if (port->remote == NULL)
        return lp__poll_start_sized(port, query, options, sizeof(lp__poll), out);
    int status = lp__poll_check(port, query, &checked);
    return status == LP_OK ? lp__remote_poll_start(port->remote, &checked, options, out) : status;
}

void lp__poll_continue(lp__poll *poll, int64_t timeout_ms)
{
    lp_manager *manager = poll->port->manager;
    if (poll->port->remote != NULL) {
        lp__remote_poll_continue(poll, timeout_ms);
        return;
    }
    lp__engine_continue(manager->engine, lp__manager_now(), timeout_ms, &poll->waiter);
    lp__manager_soon(manager);
}

/* Thousands of clients may leave and nothing come after them: the end of a turn sees what they have
 * left behind. */
static void note_slack(lp_manager *manager)
{
    if (manager->ending == RUNNING)
        lp__manager_soon(manager);
}

void lp__poll_cancel(lp__poll *poll)
{
    if (poll->port->remote != NULL) {
        lp__remote_poll_cancel(poll);
        return;
    }
    lp__engine_cancel(poll->port->manager->engine, &poll->waiter);
    note_slack(poll->port->manager);
    free(poll);
}

void lp__poll_dismiss(lp__poll *poll)
{
    if (poll->port->remote != NULL) {
        lp__remote_poll_dismiss(poll);
        return;
    }
    lp_manager *manager = poll->port->manager;
    lp__engine_dismiss(manager->engine, lp__manager_now(), &poll->waiter);
    note_slack(manager);
}
