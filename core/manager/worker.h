/* The add-on's thread: opens the store, commits batches one after the other, gives the add-on its
 * idle time, closes it.
 *
 * Functions here are called on the home loop, unless said otherwise; they never block but for
 * lp__worker_join. */
#ifndef LP_WORKER_H
#define LP_WORKER_H

#include <stdatomic.h>

#include <longpoll/manager.h>
#include <longpoll/store.h>

typedef struct lp__worker lp__worker;

/* A batch on its way to the store and back. */
typedef struct lp__job {
    struct lp__job *next;
    lp_batch *batch;
    int status; /* of the whole batch, once it is done */
    lp_error error;
    size_t bytes; /* of its events */
    uint64_t took_us;
} lp__job;

int lp__job_new(lp__job **out);
void lp__job_free(lp__job *job);

typedef struct lp__worker_hooks {
    void *ctx;
    void (*wake)(void *ctx); /* worker's thread: something is done */
    void (*log)(void *ctx, lp_log_level level, const char *line); /* worker's thread */
    /* Where replay goes, on the worker's thread; `opened` is called with the ctx of the sink once
     * it has ended well. */
    lp_store_sink sink;
    void (*opened)(void *sink_ctx);
} lp__worker_hooks;

/* Starts the thread, which opens the add-on at once. LP_EINVAL: its table. LP_ENOMEM. After a
 * failure the add-on is the caller's. `*shared` is set before the thread begins, for the sink. */
int lp__worker_start(lp_addon *addon, const lp__worker_hooks *hooks, _Atomic(lp__worker *) *shared,
                     lp__worker **out, lp_error *error);

typedef enum lp__worker_phase {
    LP__WORKER_OPENING,
    LP__WORKER_OPEN,
    LP__WORKER_FAILED, /* did not open; the thread has ended */
    LP__WORKER_CLOSED  /* closed; the thread has ended */
} lp__worker_phase;

/* Where it is; `error` (may be NULL) is why it failed, or what closing it returned. */
lp__worker_phase lp__worker_phase_get(lp__worker *worker, lp_error *error);

void lp__worker_submit(lp__worker *worker, lp__job *job);
/* The next job that is done, NULL when there is none. */
lp__job *lp__worker_done(lp__worker *worker);
/* How long it has been busy with one batch, in milliseconds; 0: it is not. */
int64_t lp__worker_busy_ms(lp__worker *worker);

/* Cuts a replay short: it fails with LP_ECANCELED, if it is not past that. */
void lp__worker_cancel_replay(lp__worker *worker);
/* Closes the store once all that was submitted is done. */
void lp__worker_stop(lp__worker *worker, int64_t deadline_mono_ms);
/* Frees a worker whose thread has ended. */
void lp__worker_join(lp__worker *worker);
/* Leaves a worker whose hook does not come back: no hook of ours is called any more. If it does
 * come back, what was submitted and is not in work is dropped, what was kept meanwhile is taken
 * back, the store is closed, and `left_behind(ctx)` runs on the thread. */
void lp__worker_abandon(lp__worker *worker, void (*left_behind)(void *ctx), void *ctx);
/* A line for the log of the host; on the worker's thread. */
void lp__worker_log(lp__worker *worker, lp_log_level level, const char *line);
/* For the sink, on the worker's thread. */
bool lp__worker_is_canceled(lp__worker *worker);

#endif
