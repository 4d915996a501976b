/* The polls of a port away from home. One is touched by two threads, in turns: its waiter is the
 * home thread's between START (or CONTINUE) and the answer, all else is the port's, and what a
 * message carries belongs to the side that has the message.
 *
 * `ask`, `end` and `answer` are its messages. CANCEL and DISMISS may cross an answer: so home sends
 * `end` back in every case, and the poll is freed when it is over and `end` is back. */
#include <stdlib.h>
#include <string.h>

#include "manager_private.h"

typedef struct remote_poll {
    lp__poll poll;
    lp__message ask, end, answer;

    bool is_awaited;  /* counted as such by its port */
    bool is_over;     /* answered or refused, or canceled and home has heard of it */
    bool is_canceled; /* nothing is called any more */
    bool is_answered; /* `with.answer` is the last one */
    bool end_is_out;

    bool is_subscribed; /* the home thread's: the engine has had it */

    int status;         /* POLL_REFUSED, POLL_LOST */
    int64_t timeout_ms; /* POLL_START, POLL_CONTINUE */
    lp_id position;     /* POLL_OPENED */
    union {
        lp_query *query;  /* POLL_START; its one allocation */
        lp_answer answer; /* POLL_ANSWERED; its events are referenced */
    } with;
    lp_event *one; /* the array of an answer with one event */
} remote_poll;

/* ---- queries ------------------------------------------------------------ */

static size_t text_bytes(const lp_str *texts, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += texts[i].len;
    return bytes;
}

static lp_str copy_text(char **room, lp_str text)
{
    lp_str copy = {*room, text.len};
    if (text.len > 0)
        memcpy(*room, text.base, text.len);
    *room += text.len;
    return copy;
}

static const lp_str *copy_texts(lp_str *to, char **room, const lp_str *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = copy_text(room, texts[i]);
    return to;
}

/* In one piece. NULL: no memory. */
static lp_query *copy_query(const lp_query *query)
{
    size_t names = query->category_count + query->prefix_count;
    lp_query *copy = malloc(sizeof(*copy) + names * sizeof(lp_str) + query->category.len +
                            text_bytes(query->categories, query->category_count) +
                            text_bytes(query->prefixes, query->prefix_count));
    if (copy == NULL)
        return NULL;
    lp_str *texts = (lp_str *)(copy + 1);
    char *room = (char *)(texts + names);
    *copy = *query;
    copy->category = copy_text(&room, query->category);
    copy->categories = copy_texts(texts, &room, query->categories, query->category_count);
    copy->prefixes =
        copy_texts(texts + query->category_count, &room, query->prefixes, query->prefix_count);
    return copy;
}

/* ---- asking: the port's thread ------------------------------------------ */

static remote_poll *remote_poll_of(lp__poll *poll)
{
    return LP__CONTAINER(poll, remote_poll, poll);
}

static void on_answer(lp__waiter *waiter, const lp_answer *answer);

int lp__remote_poll_start(lp__remote *remote, const lp_query *query,
                          const lp__poll_options *options, lp__poll **out)
{
    remote_poll *self = calloc(1, sizeof(*self));
    if (self == NULL)
        return LP_ENOMEM;
    self->with.query = copy_query(query);
    if (self->with.query == NULL) {
        free(self);
        return LP_ENOMEM;
    }
    self->poll = (lp__poll){.waiter = {.answer = on_answer,
                                       .is_stream = options->is_stream,
                                       .answer_bytes_max = options->answer_bytes_max},
                            .port = &remote->port,
                            .calls = options->calls,
                            .ctx = options->ctx};
    self->timeout_ms = options->timeout_ms;
    self->is_awaited = true;
    remote->awaited++;
    lp__remote_send(remote, &self->ask, LP__POLL_START);
    *out = &self->poll;
    return LP_OK;
}

/* Its `ask` is back: OPENED has come before the answer. */
void lp__remote_poll_continue(lp__poll *poll, int64_t timeout_ms)
{
    remote_poll *self = remote_poll_of(poll);
    if (poll->port->is_drained)
        return;
    self->timeout_ms = timeout_ms;
    lp__remote_send(poll->port->remote, &self->ask, LP__POLL_CONTINUE);
}

static void end(remote_poll *self, lp__message_kind kind)
{
    if (self->end_is_out || self->poll.port->is_drained)
        return;
    self->end_is_out = true;
    lp__remote_send(self->poll.port->remote, &self->end, kind);
}

/* One that was dismissed is answered in any case: that is its end. */
void lp__remote_poll_cancel(lp__poll *poll)
{
    remote_poll *self = remote_poll_of(poll);
    self->is_canceled = true;
    end(self, LP__POLL_CANCEL);
}

void lp__remote_poll_dismiss(lp__poll *poll)
{
    end(remote_poll_of(poll), LP__POLL_DISMISS);
}

/* ---- what it is told: the port's thread --------------------------------- */

static void answered(lp__remote *remote, remote_poll *self)
{
    lp_answer *answer = &self->with.answer;
    bool has_events = answer->event_count > 0;
    if (!self->is_canceled) {
        if (has_events)
            remote->has_delivered |= lp__delivery_add(&remote->deliveries, &self->poll.waiter);
        self->poll.calls->answered(self->poll.ctx, answer);
    }
    self->is_answered = true;
    self->is_over |= !self->poll.waiter.is_stream;
    for (size_t i = 0; i < answer->event_count; i++)
        lp_event_unref(answer->events[i]);
    if (answer->event_count > 1)
        free((void *)(uintptr_t)answer->events);
    if (has_events && remote->options.delete_after_first_retrieval)
        atomic_fetch_sub(&remote->in_flight, 1);
}

static void refused(remote_poll *self)
{
    self->is_over = true;
    if (!self->is_canceled)
        self->poll.calls->refused(self->poll.ctx, self->status);
}

/* A stream that was opened cannot be refused: it is told to end where it is. */
static void lost(remote_poll *self)
{
    if (!self->poll.waiter.is_stream) {
        refused(self);
        return;
    }
    lp_answer answer = {.closing = true,
                        .last_id = self->is_answered ? self->with.answer.last_id : self->position};
    if (!self->is_canceled)
        self->poll.calls->answered(self->poll.ctx, &answer);
}

static remote_poll *open_message(lp__remote *remote, lp__message *message)
{
    remote_poll *self;
    switch (message->kind) {
    case LP__POLL_OPENED:
        self = LP__CONTAINER(message, remote_poll, ask);
        if (!self->is_canceled)
            self->poll.calls->opened(self->poll.ctx, self->position);
        return self;
    case LP__POLL_REFUSED:
        self = LP__CONTAINER(message, remote_poll, ask);
        refused(self);
        return self;
    case LP__POLL_ANSWERED:
        self = LP__CONTAINER(message, remote_poll, answer);
        answered(remote, self);
        return self;
    case LP__POLL_LOST:
        self = LP__CONTAINER(message, remote_poll, answer);
        lost(self);
        return self;
    default:
        self = LP__CONTAINER(message, remote_poll, end);
        self->end_is_out = false;
        self->is_over |= self->is_canceled;
        return self;
    }
}

void lp__remote_poll_receive(lp__remote *remote, lp__message *message)
{
    bool is_opened = message->kind == LP__POLL_OPENED;
    remote_poll *self = open_message(remote, message);
    if (self->is_awaited && (self->is_over || is_opened)) {
        self->is_awaited = false;
        remote->awaited--;
    }
    if (self->is_over && !self->end_is_out)
        free(self);
}

/* ---- what it asks for: the home thread ---------------------------------- */

static void start(lp_manager *manager, lp__remote *remote, remote_poll *self, lp__now now)
{
    lp__waiter *waiter = &self->poll.waiter;
    lp_query *query = self->with.query;
    self->status = lp__poll_refusal(lp__state(manager));
    if (self->status == LP_OK)
        self->status = lp__engine_subscribe(manager->engine, now, query, self->timeout_ms, waiter);
    free(query);
    self->is_subscribed = self->status == LP_OK;
    if (!self->is_subscribed) {
        lp__mail_add(&remote->out, &self->ask, LP__POLL_REFUSED);
    } else if (waiter->is_stream) {
        self->position = lp__engine_position(manager->engine, waiter);
        lp__mail_add(&remote->out, &self->ask, LP__POLL_OPENED);
    }
}

void lp__remote_poll_handle(lp_manager *manager, lp__remote *remote, lp__message *message,
                            lp__now now)
{
    if (message->kind == LP__POLL_START) {
        start(manager, remote, LP__CONTAINER(message, remote_poll, ask), now);
        return;
    }
    if (message->kind == LP__POLL_CONTINUE) {
        remote_poll *self = LP__CONTAINER(message, remote_poll, ask);
        if (lp__poll_refusal(lp__state(manager)) == LP_OK)
            lp__engine_continue(manager->engine, now, self->timeout_ms, &self->poll.waiter);
        return;
    }
    remote_poll *self = LP__CONTAINER(message, remote_poll, end);
    if (self->is_subscribed && message->kind == LP__POLL_CANCEL)
        lp__engine_cancel(manager->engine, &self->poll.waiter);
    else if (self->is_subscribed)
        lp__engine_dismiss(manager->engine, now, &self->poll.waiter);
    lp__mail_add(&remote->out, message, LP__POLL_ENDED);
}

/* ---- its answer: the home thread ---------------------------------------- */

/* References to the events of an answer, in memory of their own unless it is one. */
static bool hold_events(remote_poll *self, const lp_answer *answer)
{
    size_t count = answer->event_count;
    lp_event **events = count > 1 ? malloc(count * sizeof(*events)) : &self->one;
    if (events == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        events[i] = lp_event_ref(answer->events[i]);
    self->with.answer = *answer;
    self->with.answer.events = events;
    return true;
}

static void on_answer(lp__waiter *waiter, const lp_answer *answer)
{
    remote_poll *self = LP__CONTAINER(waiter, remote_poll, poll.waiter);
    lp__remote *remote = self->poll.port->remote;
    if (!hold_events(self, answer)) {
        self->status = LP_ENOMEM;
        lp__mail_add(&remote->out, &self->answer, LP__POLL_LOST);
        return;
    }
    if (answer->event_count > 0 && remote->options.delete_after_first_retrieval)
        atomic_fetch_add(&remote->in_flight, 1);
    lp__mail_add(&remote->out, &self->answer, LP__POLL_ANSWERED);
}
