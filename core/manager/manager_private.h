/* What the manager's files share.
 *
 *   manager.c    life on the home loop: start, the end of a turn, state
 *   options.c    defaults and checks
 *   publish.c    the way in, on any thread: checks, bounds, the mailbox
 *   accept.c     from the mailbox into the engine and a batch; keys; completions
 *   commit.c     batches to the store and back
 *   figures.c    figures and health
 *   port.c       a loop's way in; see port_private.h, also for poll.c, remote.c, ports.c
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
#include "port_private.h"
#include "worker.h"

enum {
    BATCH_EVENTS_MAX = 4096,
    BATCH_BYTES_MAX = 1024 * 1024,
    BATCH_CHANGES_MAX = 65536,
    CHANGES_DELAY_MS = 1000,
    LP__FAILURE_LASTS_MS = 10000 /* a batch that was not kept: for lp_manager_health */
};

struct lp__key;

/* A publish on its way: from lp_publish to its callback. One without a key and with one event,
 * which most are, is one cache line. */
typedef struct lp__publication {
    struct lp__publication *next;
    uint32_t count;
    uint32_t called_us; /* when it was called, as lp__now.mono_us */
    int status;
    bool is_single : 1; /* `done.single`, else `done.all` */
    bool is_remote : 1; /* of a port away from home */
    bool has_key : 1;
    bool is_repeated : 1;
    bool is_lost : 1; /* a repeat, and the first one's events are gone */
    char *reason;     /* NULL: the text of the status */
    union {
        lp_publish_cb single;
        lp_publish_all_cb all;
    } done; /* may be NULL */
    void *ctx;
    lp_event *events[]; /* `count` of them; behind them an lp__remote * where it is remote, and an
                           lp__once where it has a key */
} lp__publication;

/* What a publication with a key has besides. */
typedef struct lp__once {
    uint64_t digest;     /* of its items */
    struct lp__key *key; /* that is pending for it */
    lp__queue joined;    /* repeats that end with it */
    size_t key_len;
    char text[];
} lp__once;

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
    bool mailbox_closed, ports_closed;
    lp__remote *new_ports; /* with the mutex */
    atomic_bool has_new_ports;
    atomic_uint_fast64_t pending, pending_bytes, refused;

    lp__queue completed;  /* their callbacks run at the end of the turn */
    bool has_called_back; /* in this turn, on the home thread */

    lp__worker *worker; /* NULL: no store */
    lp__replaying *replaying;
    lp__job *gathering;
    lp__queue waiting; /* publications whose events are pending, in their order */
    size_t jobs_out;
    bool changes_held; /* a batch failed: no change is urgent */
    int64_t failure_logged_ms, failed_at_ms;
    lp_error failure;      /* of the last batch, or of the start; LP_OK: none */
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
        DRAINING_PORTS,
        CLOSING_HANDLES,
        HANDLES_CLOSING,
        ENDED
    } ending;
    bool engine_open; /* at the shutdown: it was serving */
    bool draining_told, changes_told, ports_told;
    bool unstarted; /* nobody but itself frees it */

    lp__port home;
    lp__remote *ports;
    lp__queue arrived; /* publications of theirs, to be taken in */
    lp__manager_http http;
    struct {
        uint64_t published, repeated, conflicting, batches, failed_batches;
        lp_histogram publish_duration, delivery_duration, commit_duration;
    } count;
};

lp__now lp__manager_now(void);
uint32_t lp__manager_mono_us(void); /* as lp__now.mono_us */
lp_state lp__state(const lp_manager *manager);
void lp__manager_set_state(lp_manager *manager, lp_state state, const lp_error *error);
/* Makes the loop come by on_turn_end: from any thread, and on the home loop, which then does not
 * wait before. */
void lp__manager_wake(lp_manager *manager);
void lp__manager_soon(lp_manager *manager);
/* The end of a turn of the home loop. */
void lp__manager_turn(lp_manager *manager);

void lp__manager_log(const lp_manager *manager, lp_log_level level, const char *format, ...)
    LP_PRINTF(3, 4);

/* options.c */
int lp__manager_options_fill(const lp_manager_options *given, lp_manager_options *out,
                             lp_error *error);

/* publish.c */
size_t lp__publication_bytes(const lp__publication *publication); /* against what may be pending */
lp__once *lp__publication_once(lp__publication *publication);     /* NULL: it has no key */
lp__remote *lp__publication_remote(const lp__publication *publication); /* NULL: it is of none */
int lp__publish_from(lp__port *port, const lp_publish_request *request, lp_publish_all_cb done,
                     void *ctx);

/* port.c: events of an answer that was written whole. Fine where there is no engine any more. */
void lp__manager_retrieved(lp_manager *manager, lp__now now, lp_event *const *events, size_t count);

/* figures.c: an answer with events is handed on now. False: its poll did not wait for them. */
bool lp__delivery_add(lp_histogram *durations, const lp__waiter *waiter);

/* accept.c */
void lp__publish_mailbox(lp_manager *manager);         /* takes in what came from other threads */
void lp__publish_run_completions(lp_manager *manager); /* calls back */
void lp__publish_refuse_mailbox(lp_manager *manager);  /* LP_ECLOSED to what came in too late */
/* Ends it: its callback runs at the end of the turn. `reason` may be NULL and is copied. */
void lp__publish_complete(lp_manager *manager, lp__publication *publication, int status,
                          const char *reason);

/* Calls back, and frees it. On the thread whose publication it is. */
void lp__publication_end(lp__publication *publication);

/* commit.c */
/* The batch that is being filled, with room for so many events more; NULL: out of memory. */
lp__job *lp__publish_job(lp_manager *manager, size_t events, size_t bytes);
void lp__publish_submit(lp_manager *manager);  /* hands gathered work to the store */
void lp__publish_collect(lp_manager *manager); /* takes back what the store has done */
void lp__publish_abandon(lp_manager *manager); /* all that is pending ends with LP_EDEADLINE */
bool lp__publish_is_quiet(const lp_manager *manager); /* nothing is on its way */

/* replay.c */
int lp__replay_start(lp_manager *manager, lp_error *error);
void lp__replay_left_behind(void *replaying);

/* shutdown.c */
void lp__shutdown_step(lp_manager *manager);

#endif
