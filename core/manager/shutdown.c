/* The end of a manager, one step after the other, each at the end of a turn of the home loop:
 * answer every waiter, have every accepted event kept, close the store, let HTTP close what it has,
 * close the handles, call back. At the deadline a store that does not come back is left behind. */
#include <stdlib.h>

#include "manager_private.h"

static void on_deadline(uv_timer_t *timer)
{
    lp_manager *manager = timer->data;
    if (manager->worker == NULL)
        return;
    lp_error_set(&manager->shutdown_error, LP_EDEADLINE,
                 "%s: a hook was still busy at the deadline of the shutdown and was left behind",
                 manager->options.addon->name);
    lp__publish_mailbox(manager);
    lp__publish_abandon(manager);
    bool owns_engine = manager->replaying->engine != NULL;
    if (owns_engine)
        manager->engine = NULL; /* it is still being filled */
    lp__worker_abandon(manager->worker, lp__replay_left_behind, manager->replaying);
    manager->worker = NULL;
    manager->replaying = NULL;
    manager->ending = DRAINING_HTTP;
    lp__manager_wake(manager);
}

int lp_manager_shutdown(lp_manager *manager, int64_t timeout_ms, lp_shutdown_cb done, void *ctx)
{
    if (manager->ending == ENDED)
        return LP_ECLOSED;
    if (done != NULL) {
        lp__shutdown_call *call = calloc(1, sizeof(*call));
        if (call == NULL)
            return LP_ENOMEM;
        call->done = done;
        call->ctx = ctx;
        *manager->shutdown_calls_last = call;
        manager->shutdown_calls_last = &call->next;
    }
    if (manager->ending != RUNNING)
        return LP_OK;

    if (timeout_ms < 0)
        timeout_ms = 0;
    manager->engine_open =
        lp__state(manager) == LP_STATE_SERVING || lp__state(manager) == LP_STATE_IN_DOUBT;
    manager->ending = ANSWERING;
    manager->shutdown_deadline_ms = lp__manager_now().mono_ms + timeout_ms;
    uv_update_time(manager->loop);
    uv_timer_start(&manager->shutdown_timer, on_deadline, (uint64_t)timeout_ms, 0);
    if (manager->worker != NULL && !manager->engine_open)
        lp__worker_stop(manager->worker, manager->shutdown_deadline_ms); /* cuts a replay short */
    atomic_store(&manager->state, LP_STATE_DRAINING); /* told in the first step, not from within the call */
    lp__manager_wake(manager);
    return LP_OK;
}

/* Every waiter is answered in the first step; accepted events may take some turns more. */
static void answer_all(lp_manager *manager)
{
    if (manager->engine_open) {
        lp__publish_collect(manager);
        lp__publish_mailbox(manager);
        manager->in_engine = true;
        lp__engine_flush(manager->engine, lp__manager_now());
        lp__engine_drain(manager->engine, lp__manager_now());
        manager->in_engine = false;
        lp__publish_submit(manager);
        lp__publish_run_completions(manager);
    }
    if (!lp__publish_is_quiet(manager) || manager->completed.first != NULL)
        return;
    if (manager->worker != NULL)
        lp__worker_stop(manager->worker, manager->shutdown_deadline_ms);
    manager->ending = STOPPING_STORE;
}

static void stop_store(lp_manager *manager)
{
    if (manager->worker != NULL) {
        lp__worker_phase phase = lp__worker_phase_get(manager->worker, &manager->shutdown_error);
        if (phase != LP__WORKER_CLOSED && phase != LP__WORKER_FAILED)
            return;
        lp__worker_join(manager->worker);
        manager->worker = NULL;
        manager->replaying->engine = NULL; /* ours again */
    }
    manager->ending = DRAINING_HTTP;
}

static void call_back(lp_manager *manager)
{
    lp__shutdown_call *call = manager->shutdown_calls;
    lp_error error = manager->shutdown_error;
    uint64_t unkept = manager->unkept;
    while (call != NULL) {
        lp__shutdown_call *next = call->next;
        call->done(manager, &error, unkept, call->ctx); /* the last one may free the manager */
        free(call);
        call = next;
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    lp_manager *manager = handle->data;
    if (--manager->open_handles > 0)
        return;
    manager->ending = ENDED;
    lp__manager_set_state(manager, LP_STATE_CLOSED, NULL);
    call_back(manager);
}

static void close_handles(lp_manager *manager)
{
    uv_mutex_lock(&manager->mailbox_mutex);
    bool empty = manager->mailbox.first == NULL;
    manager->mailbox_closed = empty;
    uv_mutex_unlock(&manager->mailbox_mutex);
    if (!empty || manager->completed.first != NULL) {
        lp__publish_refuse_mailbox(manager);
        lp__publish_run_completions(manager);
        lp__manager_wake(manager);
        return;
    }
    manager->ending = HANDLES_CLOSING;
    uv_handle_t *handles[] = {(uv_handle_t *)&manager->wake, (uv_handle_t *)&manager->turn,
                              (uv_handle_t *)&manager->timer,
                              (uv_handle_t *)&manager->shutdown_timer};
    manager->open_handles = sizeof(handles) / sizeof(handles[0]);
    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
        uv_close(handles[i], on_handle_closed);
}

void lp__manager_drained(lp_manager *manager)
{
    manager->ending = CLOSING_HANDLES;
    lp__manager_wake(manager);
}

static void drain_http(lp_manager *manager)
{
    lp__publish_run_completions(manager);
    if (manager->http_told)
        return;
    manager->http_told = true;
    if (manager->http.drain != NULL)
        manager->http.drain(manager->http.http);
    else
        lp__manager_drained(manager);
}

void lp__shutdown_free(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)error, (void)unkept, (void)ctx;
    lp_manager_free(manager);
}

void lp__shutdown_step(lp_manager *manager)
{
    if (!manager->draining_told) {
        manager->draining_told = true;
        lp__manager_set_state(manager, LP_STATE_DRAINING, NULL);
    }
    if (manager->ending == ANSWERING)
        answer_all(manager);
    if (manager->ending == STOPPING_STORE)
        stop_store(manager);
    if (manager->ending == DRAINING_HTTP)
        drain_http(manager);
    if (manager->ending == CLOSING_HANDLES)
        close_handles(manager);
}
