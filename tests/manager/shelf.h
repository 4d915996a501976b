/* An add-on for tests: keeps everything in memory that outlives the manager, so that a manager can
 * be started on it again; blocks in its hooks until it is released, fails when it is told to, and
 * notes what its hooks were given.
 *
 * Its hooks run on the add-on's thread; the functions here on any thread. Fields marked "set" are
 * set while no manager runs; the others are read through the functions, or while no manager runs.
 */
#ifndef TESTS_MANAGER_SHELF_H
#define TESTS_MANAGER_SHELF_H

#include <uv.h>

#include <longpoll/addon.h>

enum {
    SHELF_HOLD_START = 1,
    SHELF_HOLD_PUBLISH = 2,
    SHELF_HOLD_SHUTDOWN = 4,
    SHELF_HOLD_IDLE = 8,
    SHELF_HOLD_LOSS = 16 /* in on_start, when all but the loss is pushed */
};
enum { SHELF_BATCHES = 4096, SHELF_REASONS = LP_REMOVED_REPLAY + 1 };

typedef struct shelf_horizon {
    size_t category_len;
    char category[LP_CATEGORY_MAX];
    uint64_t seq;
} shelf_horizon;

typedef struct shelf_key {
    char text[LP_CATEGORY_MAX];
    lp_idempotency record; /* key.base is not used */
} shelf_key;

/* What one batch brought, and how it ended. */
typedef struct shelf_batch {
    size_t events, horizons, keys, removals[SHELF_REASONS];
    int64_t forgotten_keys_ms;
    uint64_t highest;
    int status;
} shelf_batch;

typedef struct test_shelf {
    uv_mutex_t mutex;
    uv_cond_t changed;

    /* what is kept */
    lp_event **events;
    size_t event_count, event_capacity;
    shelf_horizon *horizons;
    size_t horizon_count, horizon_capacity;
    uint64_t highest;
    shelf_key *keys; /* as they came, also those that are over */
    size_t key_count, key_capacity;

    /* set: what on_start does */
    int start_status; /* fails with start_sentence */
    const char *start_sentence;
    const char *loss;           /* tells of one */
    size_t hold_after;          /* SHELF_HOLD_START holds before this event is pushed */
    bool tells_progress;        /* while it is held, 50 of 100 bytes */
    bool heeds_no_cancellation; /* goes on where a push says LP_ECANCELED, and returns LP_OK */

    /* set: what the other hooks do */
    int hold_from_batch; /* SHELF_HOLD_PUBLISH lets so many batches pass */
    const char *refused; /* data of events that are refused, for refused_reason */
    const char *refused_reason;
    int64_t idle_again_ms; /* what on_idle asks for, -1: nothing */
    int shutdown_status;

    /* what happened */
    int starts, batch_count, idles, idles_before_batch, shutdowns, destroyed, cancellations;
    int batches_at_idle; /* how many batches there were at the last on_idle */
    shelf_batch batches[SHELF_BATCHES];
    int64_t remaining_ms; /* until the deadline, as on_shutdown was told */
    int64_t expired_ms;   /* as on_start was told */
    size_t ring_size;

    /* guarded by the mutex */
    int hold, held;
    int fail_status, fail_count; /* so many batches more are failed */
    bool fails_events_only;      /* batches without events are kept all the same */
    const char *fail_sentence;   /* NULL: none */
} test_shelf;

void shelf_init(test_shelf *shelf);
void shelf_free(test_shelf *shelf);
/* A new add-on on this shelf; a manager or lp_store frees it. */
lp_addon *shelf_addon(test_shelf *shelf);

/* Lets these hooks block from their next call on. */
void shelf_hold(test_shelf *shelf, int hooks);
/* Waits until the hook is blocked. */
void shelf_wait_held(test_shelf *shelf, int hook);
void shelf_release(test_shelf *shelf, int hooks);
/* The next `count` batches fail. */
void shelf_fail(test_shelf *shelf, int count, int status, const char *sentence);
/* Waits until the counter is at least so high. */
void shelf_wait(test_shelf *shelf, const int *counter, int at_least);
int shelf_read(test_shelf *shelf, const int *counter);
/* The batch with this number, a copy. */
shelf_batch shelf_batch_at(test_shelf *shelf, int number);
/* How many removals for this reason all kept batches brought. */
size_t shelf_removals(test_shelf *shelf, lp_removal_reason reason);
/* The kept horizon of a category, 0: none. */
uint64_t shelf_horizon_of(test_shelf *shelf, const char *category);
bool shelf_has(test_shelf *shelf, uint64_t seq);

#endif
