/* What the files of the flavour "libh2o-evloop" share: what we keep of a loop that is ours, be it
 * the home loop's or a thread's own. A loop that a host made and runs has nothing of this: what is
 * opened on it stands alone, and what is closed on it is gone when the call returns. On the loop's
 * thread. */
#ifndef LP_HTTP_EVLOOP_H
#define LP_HTTP_EVLOOP_H

#include "flavour.h"

/* Something that is closed and waits for the end of the turn. */
typedef struct lp__closing {
    lp__list link;
    void (*dispose)(struct lp__closing *closing); /* frees what it is a member of */
    void (*closed)(void *ctx);                    /* NULL: nobody cares */
    void *ctx;
} lp__closing;

typedef struct lp__evloop {
    h2o_timeout_t mark; /* the first of the loop's timeouts, never used as one: it is found by it */
    size_t timeout_count; /* of the loop's, how many are ours */
    h2o_loop_t *loop;
    int epoll_fd;     /* the loop's own */
    lp__list closing; /* to be disposed of at the end of the turn */
    lp__list watches; /* see lp__loop_watches */
    size_t holds;     /* what keeps the loop from ending */
    bool closes_late; /* somebody runs it: closing waits for the end of the turn */
    void (*held)(struct lp__evloop *evloop, bool is_held); /* NULL: nobody cares */
} lp__evloop;

/* NULL of a loop that is the host's. */
lp__evloop *lp__evloop_of(const h2o_loop_t *loop);

/* Of zeroed memory: makes the loop. LP_ENOMEM, LP_EFULL. */
int lp__evloop_open(lp__evloop *evloop);
/* Nothing of ours and no context is on it any more. */
void lp__evloop_destroy(lp__evloop *evloop);

/* Waits for at most `wait_ms` and runs what there is to run, then what was closed. */
void lp__evloop_turn(lp__evloop *evloop, int wait_ms);
/* Milliseconds until it has something to run without an event; -1: never. */
int lp__evloop_wait(const lp__evloop *evloop);

/* libh2o's contexts keep a loop of libuv's alive, and so they do here. */
bool lp__evloop_has_contexts(const lp__evloop *evloop);

/* NULL is a loop that is the host's, here and below. */
void lp__evloop_hold(lp__evloop *evloop);
void lp__evloop_release(lp__evloop *evloop);
void lp__evloop_close(lp__evloop *evloop, lp__closing *closing);
void lp__evloop_close_all(lp__evloop *evloop);

#endif
