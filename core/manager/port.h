/* A loop's way to the manager. The home loop has a port by itself, and its calls go straight into
 * the engine; any other loop that wants to publish and to wait for events attaches one. Between
 * such a loop and the home loop travel messages, in batches: what a turn of the loop has to say
 * goes at its end, with one wake-up, and what comes back is told in one turn.
 *
 * Everything here belongs to the thread of the port's loop, and calls back there. A port that is
 * attached keeps the manager from ending: its loop has to run until it is told to drain, or it is
 * detached. */
#ifndef LP_MANAGER_PORT_H
#define LP_MANAGER_PORT_H

#include "inside.h"

typedef struct lp__port lp__port;

typedef struct lp__port_calls {
    /* lp__port_turn is to be called, in this turn of the port's loop (`soon`: what was asked for on
     * its own thread is to be sent), or because there is mail (`wake`; any thread). Neither may
     * call a port from within. */
    void (*soon)(void *ctx);
    void (*wake)(void *ctx);
    /* Everything that was asked for has ended but streams, which are to be canceled, and the
     * manager is about to end: called once, from lp__port_turn; at home from a turn of the manager.
     * lp__port_drained must be called, now or later, when nothing of ours is on the loop; from then
     * on every call is LP_ECLOSED. */
    void (*drain)(void *ctx);
    /* Whether answers are being written (delete-after-first): the store stays open for these. To be
     * true from the callback that has the answer until lp__port_retrieved has been called. Home
     * thread; `ctx`'s own affair to be safe. */
    bool (*is_writing)(const void *ctx);
    void *ctx;
} lp__port_calls;

/* The port of the home loop: takes `calls` where it has none yet. `soon` and `wake` may be NULL:
 * then the manager's own turn of the uv loop is the port's. Where `soon` is given, the manager's
 * turn is run by lp__port_turn as well, so that another loop can run it. */
LP_API int lp__port_home(lp_manager *manager, const lp__port_calls *calls, lp__port **out);
/* From any thread whose loop is not the home loop, while the manager has not been shut down.
 * LP_ECLOSED, LP_ENOMEM. */
LP_API int lp__port_attach(lp_manager *manager, const lp__port_calls *calls, lp__port **out);
/* The last call; none of its calls is called from here on. Its polls must have ended, or been
 * canceled. Callbacks of publishes and reports that are still on their way run on the home thread,
 * or where the manager has ended, now. Of a port that has drained too; the home port's is fine at
 * any time. May be called from within a callback. */
LP_API void lp__port_detach(lp__port *port);
LP_API void lp__port_drained(lp__port *port);

/* Sends what was asked for since the last call, and calls back for what has come. */
LP_API void lp__port_turn(lp__port *port);

/* Any state may be a moment old away from home. LP_STATE_CLOSED once it has drained. */
LP_API lp_state lp__port_state(const lp__port *port);
LP_API void lp__port_log(const lp__port *port, lp_log_level level, const char *format, ...)
    LP_PRINTF(3, 4);

/* As lp_publish_all, for data that has passed the JSON check. `done` runs on the port's thread. */
LP_API int lp__port_publish(lp__port *port, const lp_publish_request *request,
                            lp_publish_all_cb done, void *ctx);

/* ---- polls --------------------------------------------------------------- */

/* One poll, or one stream (see engine.h). */
typedef struct lp__poll lp__poll;

typedef struct lp__poll_calls {
    /* Of a stream alone, and before any answer: the id to resume from. */
    void (*opened)(void *ctx, lp_id position);
    /* Its answer: after it a poll is gone, and a stream rests until lp__poll_continue; one whose
     * answer says `closing` is to be canceled. */
    void (*answered)(void *ctx, const lp_answer *answer);
    /* In place of both: it could not begin to wait (LP_EFULL, LP_ENOMEM, …), and is gone. */
    void (*refused)(void *ctx, int status);
} lp__poll_calls;

typedef struct lp__poll_options {
    const lp__poll_calls *calls; /* static */
    void *ctx;
    int64_t timeout_ms;
    bool is_stream;
    size_t answer_bytes_max; /* 0: the manager's */
} lp__poll_options;

/* Begins to wait; the query's strings are not kept. What can be said at once is returned (then
 * nothing is called): LP_EINVAL, LP_ETOOBIG, LP_ESTARTING, LP_ECLOSED, LP_ENOMEM, and at home
 * whatever else `refused` would say. `opened` may run before this returns. */
LP_API int lp__poll_start(lp__port *port, const lp_query *query, const lp__poll_options *options,
                          lp__poll **out);
/* Lets a stream wait again, behind its last answer. */
LP_API void lp__poll_continue(lp__poll *poll, int64_t timeout_ms);
/* Nothing is called any more; it is gone. Not for a poll that was answered or refused. */
LP_API void lp__poll_cancel(lp__poll *poll);
/* Answers it soon with what there is, a timeout if nothing, `closing` set: its client has stopped
 * asking. Not for streams, not from within an answer. */
LP_API void lp__poll_dismiss(lp__poll *poll);

/* An answer with these events has been written whole (delete-after-first). References are taken.
 * Away from home it waits for the home loop where there is no memory, for this must not be lost. */
LP_API void lp__port_retrieved(lp__port *port, lp_event *const *events, size_t count);

/* ---- figures ------------------------------------------------------------- */

/* What lp_manager_stats and lp_manager_health say; borrowed until the callback returns. */
typedef struct lp__report {
    lp_stats stats;
    lp_error health;
} lp__report;

typedef void (*lp__report_cb)(void *ctx, const lp__report *report);

/* `done` runs once, at home before this returns. LP_ECLOSED, LP_ENOMEM. */
LP_API int lp__port_report(lp__port *port, lp__report_cb done, void *ctx);

#endif
