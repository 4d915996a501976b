/* A port away from home, on its own thread: how it comes and goes, its turn, and what it says. What
 * arrives there is in ports.c. */
#include <stdlib.h>
#include <string.h>

#include "histogram.h"
#include "manager_private.h"

/* ---- mail --------------------------------------------------------------- */

void lp__mail_init(lp__mail *mail)
{
    mail->first = NULL;
    mail->last = &mail->first;
    lp__queue_init(&mail->publications);
    mail->publication_count = 0;
}

bool lp__mail_is_empty(const lp__mail *mail)
{
    return mail->first == NULL && mail->publications.first == NULL;
}

void lp__mail_add(lp__mail *mail, lp__message *message, lp__message_kind kind)
{
    message->next = NULL;
    message->kind = kind;
    *mail->last = message;
    mail->last = &message->next;
}

void lp__mail_add_publication(lp__mail *mail, lp__publication *publication)
{
    lp__queue_push(&mail->publications, publication);
    mail->publication_count++;
}

lp__publication *lp__mail_next_publication(lp__mail *mail)
{
    lp__publication *publication = lp__queue_pop(&mail->publications);
    mail->publication_count -= publication != NULL;
    return publication;
}

lp__message *lp__mail_next(lp__mail *mail)
{
    lp__message *message = mail->first;
    if (message != NULL && (mail->first = message->next) == NULL)
        mail->last = &mail->first;
    return message;
}

void lp__mail_move(lp__mail *from, lp__mail *to)
{
    if (from->first != NULL) {
        *to->last = from->first;
        to->last = from->last;
    }
    lp__queue_append(&to->publications, &from->publications);
    to->publication_count += from->publication_count;
    lp__mail_init(from);
}

/* ---- coming ------------------------------------------------------------- */

static lp__remote *new_remote(lp_manager *manager, const lp__port_calls *calls)
{
    lp__remote *remote = calloc(1, sizeof(*remote));
    if (remote == NULL)
        return NULL;
    if (uv_mutex_init(&remote->mutex) != 0) {
        free(remote);
        return NULL;
    }
    remote->options = manager->options;
    remote->port = (lp__port){
        .manager = manager, .options = &remote->options, .calls = *calls, .remote = remote};
    lp__mail *mails[] = {&remote->to_send, &remote->received, &remote->to_home, &remote->to_port,
                         &remote->out};
    for (size_t i = 0; i < sizeof(mails) / sizeof(mails[0]); i++)
        lp__mail_init(mails[i]);
    return remote;
}

void lp__remote_free(lp__remote *remote)
{
    uv_mutex_destroy(&remote->mutex);
    free(remote);
}

int lp__port_attach(lp_manager *manager, const lp__port_calls *calls, lp__port **out)
{
    lp__remote *remote = new_remote(manager, calls);
    if (remote == NULL)
        return LP_ENOMEM;
    uv_mutex_lock(&manager->mailbox_mutex);
    bool closed = manager->ports_closed;
    if (!closed) {
        remote->next = manager->new_ports;
        manager->new_ports = remote;
        atomic_store(&manager->has_new_ports, true);
    }
    uv_mutex_unlock(&manager->mailbox_mutex);
    if (closed) {
        lp__remote_free(remote);
        return LP_ECLOSED;
    }
    *out = &remote->port;
    return LP_OK;
}

/* ---- sending ------------------------------------------------------------ */

/* Asks for a turn, unless this is one or it was asked for already. */
static void want_turn(lp__remote *remote, bool is_first)
{
    if (is_first && !remote->in_turn && !remote->is_deaf)
        remote->port.calls.soon(remote->port.calls.ctx);
}

void lp__remote_send(lp__remote *remote, lp__message *message, lp__message_kind kind)
{
    bool is_first = lp__mail_is_empty(&remote->to_send);
    lp__mail_add(&remote->to_send, message, kind);
    want_turn(remote, is_first);
}

void lp__remote_send_publication(lp__remote *remote, lp__publication *publication)
{
    bool is_first = lp__mail_is_empty(&remote->to_send);
    lp__mail_add_publication(&remote->to_send, publication);
    remote->awaited++;
    want_turn(remote, is_first);
}

static void count_deliveries(lp__remote *remote)
{
    if (!remote->has_delivered)
        return;
    lp__histogram_merge(&remote->delivery_duration, &remote->deliveries);
    memset(&remote->deliveries, 0, sizeof(remote->deliveries));
    remote->has_delivered = false;
}

/* With the mutex. Behind it, where the last message was sent, the manager may end: nothing of it is
 * touched any more. */
static void hand_over(lp__remote *remote)
{
    count_deliveries(remote);
    if (lp__mail_is_empty(&remote->to_send))
        return;
    bool was_empty = lp__mail_is_empty(&remote->to_home);
    lp__mail_move(&remote->to_send, &remote->to_home);
    atomic_store(&remote->mail_at_home, true);
    if (was_empty)
        lp__manager_wake(remote->port.manager);
}

void lp__remote_flush(lp__remote *remote)
{
    if (lp__mail_is_empty(&remote->to_send) && !remote->has_delivered)
        return;
    uv_mutex_lock(&remote->mutex);
    hand_over(remote);
    uv_mutex_unlock(&remote->mutex);
}

/* ---- the turn ----------------------------------------------------------- */

static void receive(lp__remote *remote)
{
    if (!atomic_exchange(&remote->mail_here, false))
        return;
    uv_mutex_lock(&remote->mutex);
    lp__mail_move(&remote->to_port, &remote->received);
    uv_mutex_unlock(&remote->mutex);
}

/* Behind what crossed the end of the manager, and is refused. One that has left is not told. */
static void drain(lp__remote *remote)
{
    lp__port *port = &remote->port;
    if (!remote->wants_to_drain || remote->awaited > 0)
        return;
    remote->wants_to_drain = false;
    port->is_draining = true;
    if (port->calls.drain != NULL)
        port->calls.drain(port->calls.ctx);
    else
        lp__remote_drained(remote);
}

static void end_report(lp__remote *remote, lp__message *message);

static void open_message(lp__remote *remote, lp__message *message)
{
    if (message->kind == LP__REPORTED)
        end_report(remote, message);
    else if (message->kind == LP__DRAIN)
        remote->wants_to_drain = true;
    else
        lp__remote_poll_receive(remote, message);
}

/* Stops where the port is detached from within: the rest is the home thread's. */
void lp__remote_work_off(lp__remote *remote, lp__mail *mail)
{
    lp__publication *publication;
    while (!remote->wants_to_leave && (publication = lp__mail_next_publication(mail)) != NULL) {
        lp__publication_end(publication);
        remote->awaited--;
    }
    lp__message *message;
    while (!remote->wants_to_leave && (message = lp__mail_next(mail)) != NULL)
        open_message(remote, message);
}

static void leave(lp__remote *remote);

void lp__remote_turn(lp__remote *remote)
{
    remote->in_turn = true;
    receive(remote);
    lp__remote_work_off(remote, &remote->received);
    drain(remote);
    remote->in_turn = false;
    if (remote->wants_to_leave)
        leave(remote);
    else
        lp__remote_flush(remote);
}

/* ---- going -------------------------------------------------------------- */

void lp__remote_drained(lp__remote *remote)
{
    if (remote->port.is_drained)
        return;
    lp__remote_send(remote, &remote->drained, LP__DRAINED);
    remote->port.is_draining = false;
    remote->port.is_drained = true;
}

/* The port is the home thread's from here on, or where that is done with it, gone. One that has
 * drained is looked at there once more by itself, and wakes nobody. */
static void leave(lp__remote *remote)
{
    remote->wants_to_leave = false;
    uv_mutex_lock(&remote->mutex);
    bool is_alone = remote->home_is_done;
    if (!is_alone) {
        bool was_empty = lp__mail_is_empty(&remote->to_home);
        bool wakes = !remote->port.is_drained && lp__mail_is_empty(&remote->to_send) && was_empty;
        hand_over(remote);
        remote->has_left = true;
        atomic_store(&remote->mail_at_home, true);
        if (wakes)
            lp__manager_wake(remote->port.manager);
    }
    uv_mutex_unlock(&remote->mutex);
    if (!is_alone)
        return;
    lp__remote_work_off(remote, &remote->received);
    lp__remote_work_off(remote, &remote->to_port);
    lp__remote_free(remote);
}

void lp__remote_detach(lp__remote *remote)
{
    uv_mutex_lock(&remote->mutex);
    remote->is_deaf = true;
    uv_mutex_unlock(&remote->mutex);
    if (remote->in_turn)
        remote->wants_to_leave = true;
    else
        leave(remote);
}

/* ---- what it says of itself, and asks ----------------------------------- */

/* Events of an answer that has been written whole. */
struct lp__retrieved {
    lp__message message;
    uv_sem_t *handled; /* somebody waits for it, and its memory is theirs; else NULL */
    lp_event *const *events;
    size_t count;
    lp_event *own[]; /* referenced, unless somebody waits */
};

/* Where there is no memory for a message: it waits until home has heard. That this answer was
 * written must not be lost, or its events would be given out again. */
static void retrieved_and_wait(lp__remote *remote, lp_event *const *events, size_t count)
{
    uv_sem_t handled;
    if (uv_sem_init(&handled, 0) != 0)
        return;
    lp__retrieved said = {.handled = &handled, .events = events, .count = count};
    lp__remote_send(remote, &said.message, LP__RETRIEVED);
    lp__remote_flush(remote);
    uv_sem_wait(&handled);
    uv_sem_destroy(&handled);
}

void lp__remote_retrieved(lp__remote *remote, lp_event *const *events, size_t count)
{
    if (remote->port.is_drained || !remote->options.delete_after_first_retrieval || count == 0)
        return;
    atomic_fetch_add(&remote->in_flight, 1);
    lp__retrieved *said = malloc(sizeof(*said) + count * sizeof(lp_event *));
    if (said == NULL) {
        retrieved_and_wait(remote, events, count);
        return;
    }
    *said = (lp__retrieved){.events = said->own, .count = count};
    for (size_t i = 0; i < count; i++)
        said->own[i] = lp_event_ref(events[i]);
    lp__remote_send(remote, &said->message, LP__RETRIEVED);
}

void lp__retrieved_handle(lp_manager *manager, lp__remote *remote, lp__message *message,
                          lp__now now)
{
    lp__retrieved *said = LP__CONTAINER(message, lp__retrieved, message);
    lp__manager_retrieved(manager, now, said->events, said->count);
    atomic_fetch_sub(&remote->in_flight, 1);
    if (said->handled != NULL) {
        uv_sem_post(said->handled);
        return;
    }
    for (size_t i = 0; i < said->count; i++)
        lp_event_unref(said->own[i]);
    free(said);
}

typedef struct report_call {
    lp__message message;
    lp__report_cb done;
    void *ctx;
    lp__report report;
} report_call;

int lp__remote_report(lp__remote *remote, lp__report_cb done, void *ctx)
{
    report_call *call = malloc(sizeof(*call));
    if (call == NULL)
        return LP_ENOMEM;
    call->done = done;
    call->ctx = ctx;
    remote->awaited++;
    lp__remote_send(remote, &call->message, LP__REPORT);
    return LP_OK;
}

void lp__report_handle(const lp_manager *manager, lp__remote *remote, lp__message *message)
{
    report_call *call = LP__CONTAINER(message, report_call, message);
    lp_manager_stats(manager, &call->report.stats, sizeof(call->report.stats));
    lp_manager_health(manager, &call->report.health);
    lp__mail_add(&remote->out, message, LP__REPORTED);
}

static void end_report(lp__remote *remote, lp__message *message)
{
    report_call *call = LP__CONTAINER(message, report_call, message);
    call->done(call->ctx, &call->report);
    free(call);
    remote->awaited--;
}
