/* The end of a manager, one step after the other, each at the end of a turn of the home loop:
 * answer every waiter, have every accepted event kept, close the store, let the ports close what
 * they have, close the handles, call back. At the deadline a store that does not come back is left
 * behind. */
#include <stdlib.h>

#include "manager_private.h"

static const int64_t TIMEOUT_MAX_MS = INT64_MAX / 4; /* that much can be added to a clock */

/* Its thread goes on without us, and frees what it still uses. */
static void leave_store_behind(lp_manager *manager)
{
    lp_error_set(&manager->shutdown_error, LP_EDEADLINE,
                 "%s: a hook was still busy at the deadline of the shutdown and was left behind",
                 manager->store_name);
    lp__publish_abandon(manager);
    if (manager->replaying->engine != NULL)
        manager->engine = NULL; /* it is still being filled */
    lp__worker_abandon(manager->worker, lp__replay_left_behind, manager->replaying);
    manager->worker = NULL;
    manager->replaying = NULL;
    manager->ending = DRAINING_PORTS;
}

static void on_deadline(uv_timer_t *timer)
{
    lp_manager *manager = timer->data;
    lp__shutdown_step(manager); /* what is done by now is not late */
    if (manager->worker != NULL)
        leave_store_behind(manager);
    if (!uv_is_closing((uv_handle_t *)timer))
        lp__manager_soon(manager);
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
    if (timeout_ms > TIMEOUT_MAX_MS)
        timeout_ms = TIMEOUT_MAX_MS;
    manager->engine_open =
        lp__state(manager) == LP_STATE_SERVING || lp__state(manager) == LP_STATE_IN_DOUBT;
    manager->ending = ANSWERING;
    uv_mutex_lock(&manager->mailbox_mutex);
    manager->ports_closed = true;
    uv_mutex_unlock(&manager->mailbox_mutex);
    manager->shutdown_deadline_ms = lp__manager_now().mono_ms + timeout_ms;
    manager->writes_deadline_ms = manager->shutdown_deadline_ms - timeout_ms / 4;
    uv_update_time(manager->loop);
    uv_timer_start(&manager->shutdown_timer, on_deadline, (uint64_t)timeout_ms, 0);
    if (manager->worker != NULL && !manager->engine_open)
        lp__worker_cancel_replay(manager->worker);
    atomic_store(&manager->state,
                 LP_STATE_DRAINING); /* told in the first step, not from within the call */
    lp__manager_wake(manager);
    return LP_OK;
}

static void on_look_again(uv_timer_t *timer)
{
    (void)timer; /* the end of the turn does the work */
}

static bool is_writing(const lp_manager *manager)
{
    const lp__port_calls *home = &manager->home.calls;
    if (home->is_writing != NULL && home->is_writing(home->ctx))
        return true;
    return lp__ports_are_writing(manager);
}

/* With delete-after-first, an answer that is written whole is still told to the store, as long as
 * three quarters of the time have not passed. */
static bool awaits_writes(lp_manager *manager)
{
    enum { LOOK_AGAIN_MS = 10 };
    if (manager->worker == NULL || !manager->options.delete_after_first_retrieval ||
        !is_writing(manager) || lp__manager_now().mono_ms >= manager->writes_deadline_ms)
        return false;
    uv_timer_start(&manager->timer, on_look_again, LOOK_AGAIN_MS, 0);
    return true;
}

/* Whether the store is still being opened. Where it opened in spite of all, it is told what its
 * start made of it, as any other: it may be the last to know of a loss. */
static bool is_starting(lp_manager *manager)
{
    if (manager->worker == NULL || manager->engine_open)
        return false;
    lp__worker_phase phase = lp__worker_phase_get(manager->worker, NULL);
    if (phase == LP__WORKER_OPEN) {
        manager->replaying->engine = NULL; /* ours now */
        manager->engine_open = true;
    }
    return phase == LP__WORKER_OPENING;
}

/* Every waiter is answered in the first step; accepted events may take some turns more. */
static void answer_all(lp_manager *manager)
{
    if (is_starting(manager))
        return;
    if (manager->engine_open) {
        lp__publish_collect(manager);
        lp__publish_mailbox(manager);
        lp__engine_flush(manager->engine, lp__manager_now());
        lp__engine_drain(manager->engine, lp__manager_now());
        lp__publish_submit(manager);
        lp__publish_run_completions(manager);
    }
    if (!lp__publish_is_quiet(manager) || manager->completed.first != NULL ||
        awaits_writes(manager))
        return;
    if (manager->worker != NULL)
        lp__worker_stop(manager->worker, manager->shutdown_deadline_ms);
    manager->ending = STOPPING_STORE;
}

static void stop_store(lp_manager *manager)
{
    if (manager->worker != NULL) {
        lp_error error;
        lp__worker_phase phase = lp__worker_phase_get(manager->worker, &error);
        if (phase == LP__WORKER_CLOSED)
            manager->shutdown_error = error;
        else if (phase != LP__WORKER_FAILED) /* in which case there was nothing to be kept */
            return;
        lp__worker_join(manager->worker);
        manager->worker = NULL;
        manager->replaying->engine = NULL; /* ours again */
    }
    manager->ending = DRAINING_PORTS;
}

/* Any of these callbacks may free the manager. */
static void call_back(lp_manager *manager)
{
    lp__shutdown_call *call = manager->shutdown_calls;
    lp_error error = manager->shutdown_error;
    uint64_t unkept = manager->unkept;
    if (manager->unstarted) {
        atomic_store(&manager->state, LP_STATE_CLOSED);
        lp_manager_free(manager);
        return;
    }
    lp__manager_set_state(manager, LP_STATE_CLOSED, NULL);
    while (call != NULL) {
        lp__shutdown_call *next = call->next;
        call->done(manager, &error, unkept, call->ctx);
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
    uv_handle_t *handles[] = {(uv_handle_t *)&manager->wake, (uv_handle_t *)&manager->soon,
                              (uv_handle_t *)&manager->turn, (uv_handle_t *)&manager->timer,
                              (uv_handle_t *)&manager->shutdown_timer};
    manager->open_handles = sizeof(handles) / sizeof(handles[0]);
    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
        uv_close(handles[i], on_handle_closed);
}

/* All that was asked for has been answered: now the ports let go of their loops. */
static void tell_ports(lp_manager *manager)
{
    lp__port *home = &manager->home;
    manager->ports_told = true;
    lp__ports_drain(manager);
    home->is_draining = true;
    if (home->calls.drain != NULL)
        home->calls.drain(home->calls.ctx);
    else
        lp__port_drained(home);
}

static void drain_ports(lp_manager *manager)
{
    lp__publish_refuse_mailbox(manager);
    lp__publish_run_completions(manager);
    if (!manager->ports_told)
        tell_ports(manager);
    if (manager->home.is_drained && manager->ports == NULL)
        manager->ending = CLOSING_HANDLES;
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
    if (manager->ending == DRAINING_PORTS)
        drain_ports(manager);
    if (manager->ending == CLOSING_HANDLES)
        close_handles(manager);
}
