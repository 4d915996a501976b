/* What ports and polls are inside, for the files of core/manager.
 *
 *   port.c         what a port is asked for; the home port
 *   poll.c         the same for polls
 *   remote.c       a port away from home: its life, on its own thread
 *   remote_poll.c  the polls of one: on its thread, and on the home thread
 *   ports.c        all of them, seen from the home thread
 *
 * A port away from home is a `lp__remote`. Both sides put what they have to say into mail of their
 * own and hand it over once a turn, under the port's mutex: that is all that they share. A message
 * lives in what it is about, so sending one needs no memory; it belongs to the side that has it,
 * and one that asks for something goes back as the answer. Messages of one direction arrive in
 * their order, and so do publications. */
#ifndef LP_PORT_PRIVATE_H
#define LP_PORT_PRIVATE_H

#include <stdatomic.h>

#include <uv.h>

#include "port.h"

struct lp__publication;

typedef struct lp__queue {
    struct lp__publication *first, **last;
} lp__queue;

void lp__queue_init(lp__queue *queue);
void lp__queue_push(lp__queue *queue, struct lp__publication *publication);
struct lp__publication *lp__queue_pop(lp__queue *queue);
lp__queue lp__queue_take(lp__queue *queue); /* to be popped from, not pushed to */
/* Puts all of `from` behind what is in `to`. */
void lp__queue_append(lp__queue *to, lp__queue *from);

/* ---- mail --------------------------------------------------------------- */

typedef enum lp__message_kind {
    /* to the home loop */
    LP__POLL_START,
    LP__POLL_CONTINUE,
    LP__POLL_CANCEL,
    LP__POLL_DISMISS,
    LP__RETRIEVED,
    LP__REPORT,
    LP__DRAINED,
    /* from it */
    LP__POLL_OPENED,   /* START, of a stream */
    LP__POLL_REFUSED,  /* START */
    LP__POLL_ANSWERED, /* its own */
    LP__POLL_LOST,     /* in place of an answer for which there was no memory */
    LP__POLL_ENDED,    /* CANCEL or DISMISS: behind it home does not know the poll */
    LP__REPORTED,
    LP__DRAIN
} lp__message_kind;

typedef struct lp__message {
    struct lp__message *next;
    lp__message_kind kind;
} lp__message;

typedef struct lp__mail {
    lp__message *first, **last;
    lp__queue publications;
    size_t publication_count;
} lp__mail;

void lp__mail_init(lp__mail *mail);
bool lp__mail_is_empty(const lp__mail *mail);
void lp__mail_add(lp__mail *mail, lp__message *message, lp__message_kind kind);
void lp__mail_add_publication(lp__mail *mail, struct lp__publication *publication);
/* NULL: there is none (left). */
lp__message *lp__mail_next(lp__mail *mail);
struct lp__publication *lp__mail_next_publication(lp__mail *mail);
/* Puts all of `from` behind what is in `to`. */
void lp__mail_move(lp__mail *from, lp__mail *to);

/* ---- ports -------------------------------------------------------------- */

typedef struct lp__remote lp__remote;

struct lp__port {
    lp_manager *manager;
    const lp_manager_options *options;
    lp__port_calls calls;
    lp__remote *remote; /* NULL: it is the home port */
    bool has_calls;     /* of the home port: somebody has taken it */
    bool is_draining;   /* it was told to, and has not said that it has */
    bool is_drained;
};

struct lp__remote {
    lp__port port;
    lp_manager_options options; /* a copy, for the time behind the manager's end */

    /* the port's thread */
    bool in_turn;
    bool wants_to_leave;     /* it was detached in the turn */
    bool wants_to_drain;     /* it was told to, and is once all that it awaits has come */
    size_t awaited;          /* polls that have not begun or ended, publications, reports */
    lp__mail to_send;        /* in the next turn */
    lp__mail received;       /* in this one */
    lp__message drained;     /* DRAINED */
    lp_histogram deliveries; /* of this turn */
    bool has_delivered;

    /* whoever has the mutex */
    uv_mutex_t mutex;
    lp__mail to_home, to_port;
    lp_histogram delivery_duration;
    bool is_deaf;      /* it was detached: none of its calls is called any more */
    bool has_left;     /* and it is the home thread's, on which what comes for it ends */
    bool home_is_done; /* the manager does not know it any more */

    atomic_bool mail_at_home, mail_here; /* whether the mutex is worth being taken */
    /* With delete-after-first: answers on their way to the port, and what it says of answers that
     * were written on its way home. */
    atomic_size_t in_flight;

    /* the home thread */
    lp__remote *next;
    lp__mail out;      /* of this turn */
    lp__message drain; /* DRAIN */
    size_t accepted;   /* publications that have not ended */
    bool has_drained, is_known_to_have_left;
};

/* ---- on the port's thread ----------------------------------------------- */

void lp__remote_send(lp__remote *remote, lp__message *message, lp__message_kind kind);
void lp__remote_send_publication(lp__remote *remote, struct lp__publication *publication);
/* Sends, and waits for nothing. */
void lp__remote_flush(lp__remote *remote);
void lp__remote_turn(lp__remote *remote);
void lp__remote_drained(lp__remote *remote);
void lp__remote_detach(lp__remote *remote);
void lp__remote_retrieved(lp__remote *remote, lp_event *const *events, size_t count);
int lp__remote_report(lp__remote *remote, lp__report_cb done, void *ctx);
/* Does what all the mail of a side that is over would have had it do: runs on the home thread where
 * the port has left. */
void lp__remote_work_off(lp__remote *remote, lp__mail *mail);
void lp__remote_free(lp__remote *remote);

/* ---- polls -------------------------------------------------------------- */

struct lp__poll {
    lp__waiter waiter; /* of a remote port: the home thread's */
    lp__port *port;
    const lp__poll_calls *calls;
    void *ctx;
};

/* lp__poll_start with so much memory in all, zeroed behind the poll, which begins it. At home. */
int lp__poll_start_sized(lp__port *port, const lp_query *query, const lp__poll_options *options,
                         size_t size, lp__poll **out);
/* Whether a poll can begin now, and with this query: LP_OK, and its copy. */
int lp__poll_check(const lp__port *port, const lp_query *given, lp_query *query);
/* LP_OK, LP_ESTARTING, LP_ECLOSED. */
int lp__poll_refusal(lp_state state);

/* The port's thread; a query that has been checked. */
int lp__remote_poll_start(lp__remote *remote, const lp_query *query,
                          const lp__poll_options *options, lp__poll **out);
void lp__remote_poll_continue(lp__poll *poll, int64_t timeout_ms);
void lp__remote_poll_cancel(lp__poll *poll);
void lp__remote_poll_dismiss(lp__poll *poll);
/* One of the messages about polls from home. */
void lp__remote_poll_receive(lp__remote *remote, lp__message *message);
/* The home thread: one of those from the port. */
void lp__remote_poll_handle(lp_manager *manager, lp__remote *remote, lp__message *message,
                            lp__now now);

/* ---- all of them, on the home thread ------------------------------------ */

/* Takes in what they have sent: at the beginning of a turn. */
void lp__ports_collect(lp_manager *manager);
/* Hands over what there is for them, and lets go of those that are over: at the end of a turn. */
void lp__ports_send(lp_manager *manager);
/* Tells them that the manager is about to end; none comes behind that. */
void lp__ports_drain(lp_manager *manager);
/* Whether one of them has answers that are not written, or has not said that they are. */
bool lp__ports_are_writing(const lp_manager *manager);
void lp__ports_add_deliveries(const lp_manager *manager, lp_histogram *durations);

/* Of what a port has sent: what became of it is known there. */
typedef struct lp__retrieved lp__retrieved;
void lp__retrieved_handle(lp_manager *manager, lp__remote *remote, lp__message *message,
                          lp__now now);
void lp__report_handle(const lp_manager *manager, lp__remote *remote, lp__message *message);

#endif
