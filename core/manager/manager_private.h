/* What the manager's files share.
 *
 *   manager.c    life on the home loop: start, the end of a turn, state, figures
 *   options.c    defaults and checks
 *   publish.c    the way in: mailbox, batches, completions
 *   subscribe.c  polls without HTTP
 *   replay.c     the way from the store into the engine, at start
 *   shutdown.c   the end
 *   worker.c     the add-on's thread */
#ifndef LP_MANAGER_PRIVATE_H
#define LP_MANAGER_PRIVATE_H

#include <stdatomic.h>

#include <uv.h>

#include "../engine/engine.h"
#include "inside.h"
#include "worker.h"

enum {
    BATCH_EVENTS_MAX = 4096,
    BATCH_BYTES_MAX = 1024 * 1024,
    BATCH_CHANGES_MAX = 65536,
    CHANGES_DELAY_MS = 1000
};

/* A publish on its way: from lp_publish to its callback. */
typedef struct lp__publication {
    struct lp__publication *next;
    lp_event *event;
    lp_publish_cb done;
    void *ctx;
    int status;
    char *reason; /* NULL: the text of the status */
} lp__publication;

typedef struct lp__queue {
    lp__publication *first, **last;
} lp__queue;

typedef struct lp__shutdown_call {
    struct lp__shutdown_call *next;
    lp_shutdown_cb done;
    void *ctx;
} lp__shutdown_call;

/* What the add-on's thread fills during replay. It outlives the manager where a hook never returns.
 */
typedef struct lp__replaying {
    lp__engine *engine;
    _Atomic(lp__worker *) worker;
    atomic_uint_fast64_t events, damaged;
    lp__now begun;
    uint64_t told_ms;
    uint64_t total_bytes, done_bytes;
    bool loss;
} lp__replaying;

struct lp_manager {
    lp_manager_options options;
    uv_loop_t *loop;

    atomic_int state;
    lp__engine *engine;  /* the add-on's thread's while LP_STATE_STARTING */
    char store_name[64]; /* the add-on's, which may go before the manager does */

    uv_async_t wake;
    uv_idle_t soon;
    uv_prepare_t turn;
    uv_timer_t timer;
    uv_timer_t shutdown_timer;
    int open_handles;

    uv_mutex_t mailbox_mutex;
    lp__queue mailbox;
    bool mailbox_closed;
    atomic_uint_fast64_t pending, pending_bytes, refused;

    lp__queue completed; /* their callbacks run at the end of the turn */

    lp__worker *worker; /* NULL: no store */
    lp__replaying *replaying;
    lp__job *gathering;
    lp__queue waiting; /* publications whose events are pending, in their order */
    size_t jobs_out;
    bool changes_held; /* a batch failed: no change is urgent */
    int64_t failure_logged_ms;
    int64_t changes_at_ms; /* when changes alone make a batch, INT64_MAX: there are none */
    int64_t timer_at_ms;   /* what the timer is set to */

    lp_error doubt; /* why no batch follows any more, if its status is not LP_OK */
    lp_error shutdown_error;
    lp__shutdown_call *shutdown_calls, **shutdown_calls_last;
    int64_t shutdown_deadline_ms, writes_deadline_ms;
    uint64_t unkept;
    enum {
        RUNNING,
        ANSWERING,
        STOPPING_STORE,
        DRAINING_HTTP,
        CLOSING_HANDLES,
        HANDLES_CLOSING,
        ENDED
    } ending;
    bool engine_open; /* at the shutdown: it was serving */
    bool draining_told, changes_told, http_told;
    bool unstarted; /* nobody but itself frees it */

    lp__manager_http http;
    struct {
        uint64_t published, batches, failed_batches;
    } count;
};

lp__now lp__manager_now(void);
lp_state lp__state(const lp_manager *manager);
void lp__manager_set_state(lp_manager *manager, lp_state state, const lp_error *error);
/* Makes the loop come by on_turn_end: from any thread, and on the home loop, which then does not
 * wait before. */
void lp__manager_wake(lp_manager *manager);
void lp__manager_soon(lp_manager *manager);

/* options.c */
int lp__manager_options_fill(const lp_manager_options *given, lp_manager_options *out,
                             lp_error *error);

/* publish.c */
void lp__queue_init(lp__queue *queue);
void lp__publish_mailbox(lp_manager *manager);         /* takes in what came from other threads */
void lp__publish_submit(lp_manager *manager);          /* hands gathered work to the store */
void lp__publish_collect(lp_manager *manager);         /* takes back what the store has done */
void lp__publish_run_completions(lp_manager *manager); /* calls back */
void lp__publish_refuse_mailbox(lp_manager *manager);  /* LP_ECLOSED to what came in too late */
void lp__publish_abandon(lp_manager *manager); /* all that is pending ends with LP_EDEADLINE */
bool lp__publish_is_quiet(const lp_manager *manager); /* nothing is on its way */

/* replay.c */
int lp__replay_start(lp_manager *manager, lp_error *error);
void lp__replay_left_behind(void *replaying);

/* shutdown.c */
void lp__shutdown_step(lp_manager *manager);

#endif
