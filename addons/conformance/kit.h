/* Inside the conformance kit: one case that drives one store, and what it expects of it.
 *
 * A case is written as a straight line of steps. Each step does nothing once the case has failed or
 * was found not to apply, so no step needs a test behind it; whatever a step returns is valid then
 * too. One thread. */
#ifndef LP_CONFORMANCE_KIT_H
#define LP_CONFORMANCE_KIT_H

#include <stdbool.h>

#include <longpoll/conformance.h>
#include <longpoll/store.h>

/* An idempotency key that expires then has expired. */
#define LP__EXPIRED_MS 1

/* What is known about an event that was handed to the store. */
typedef enum lp__fate {
    LP__KEPT,    /* acknowledged: must be there */
    LP__LOOSE,   /* told as removed for a reason that a horizon covers: may be there */
    LP__DOUBT,   /* never decided (killed, or LP_EINDOUBT): may be there */
    LP__LEAVING, /* its removal was never decided: may be there */
    LP__GONE,    /* removed by retrieval: must not come back */
    LP__REFUSED  /* its batch failed, or it was refused: must not come back */
} lp__fate;

typedef struct lp__expected {
    lp_event *event;
    lp__fate fate;
    uint64_t batch; /* which batch it came with */
} lp__expected;

typedef struct lp__mark {
    char *name; /* a category or a key */
    size_t len;
    lp_idempotency record; /* of a key; `seq` also of a horizon */
} lp__mark;

typedef struct lp__marks {
    lp__mark *items;
    size_t count, capacity;
} lp__marks;

/* A removal that a replay pushed: it is about the events that came before it. */
typedef struct lp__withdrawal {
    uint64_t seq;
    size_t before;
} lp__withdrawal;

/* What a replay pushed. */
typedef struct lp__seen {
    lp_event **events;
    size_t count, capacity;
    lp__withdrawal *withdrawn; /* until lp__seen_finish takes them out of the events */
    size_t withdrawn_count, withdrawn_capacity;
    lp__marks horizons, keys;
    uint64_t highest;
    uint64_t losses;
    char loss[256];
    /* What the sink answers. */
    uint64_t cancel_after; /* events after which it answers LP_ECANCELED; 0: never */
    uint64_t kill_after;   /* events after which it kills this process; 0: never */
    int64_t expired_ms;
    size_t ring_size;
    bool out_of_memory;
} lp__seen;

/* What the process of a case tells the one that runs them, in memory that both share. */
typedef struct lp__told {
    bool ended; /* the rest is complete */
    lp_conformance_outcome outcome;
    char detail[1200];
    char directory[1024]; /* "": there is none (any more) */
} lp__told;

typedef struct lp__kit {
    const lp_conformance *options;
    const char *case_name;
    char directory[1024];
    lp_conformance_outcome outcome;
    char detail[1200];
    lp__told *told;

    lp_store *store;
    lp_batch *batch;
    uint64_t seq; /* of the next event */
    uint64_t batches;
    uint64_t seed, random;
    int64_t idle_at_ms; /* when lp__kit_tend calls on_idle; -1: after the next batch */

    lp__expected *expected; /* in rising order */
    size_t expected_count, expected_capacity;
    lp__marks horizons, keys; /* what was acknowledged, the newest of each */
    uint64_t highest;
    int64_t forgotten_keys_ms; /* keys that expire then or before may be missing */
    bool in_doubt;             /* the store has said LP_EINDOUBT: it may tell a loss */
    /* What came with batches that were never decided, until lp__expect_settle. */
    lp__marks doubt_horizons, doubt_keys;
    size_t doubts; /* how many batches */

    lp__seen seen;    /* of the last open */
    const char *what; /* for a child: what its case is at, for people */

    /* Puts a table of its own around the add-on's; NULL: none. NULL from it: no memory. */
    lp_addon *(*wrap)(lp_addon *inner);
} lp__kit;

/* ---- kit.c: a case and its store ----------------------------------------------------------------
 */

void lp__kit_fail(lp__kit *kit, const char *format, ...) LP_PRINTF(2, 3);
void lp__kit_not_applicable(lp__kit *kit, const char *why);
/* Not applicable unless all of these are claimed. */
void lp__kit_needs(lp__kit *kit, unsigned claims);
bool lp__kit_claims(const lp__kit *kit, unsigned claims);
/* Whether the case is still running. */
bool lp__kit_going(const lp__kit *kit);
uint64_t lp__kit_random(lp__kit *kit, uint64_t below);

int64_t lp__kit_now_ms(void);

/* Opens the store; what it pushes is in kit->seen. The first expects success. */
void lp__kit_open(lp__kit *kit);
int lp__kit_try_open(lp__kit *kit, lp_error *error);
/* The same with a sink of one's own. */
int lp__kit_open_into(lp__kit *kit, const lp_store_sink *sink, lp_error *error);
/* The same where the sink is expected to end the start with LP_ECANCELED after `events`. */
void lp__kit_open_canceled(lp__kit *kit, uint64_t events);
void lp__kit_close(lp__kit *kit);
void lp__kit_close_within(lp__kit *kit, int64_t timeout_ms);
/* Lets it do its work in the background, for as long as it asks to be called again at once. */
void lp__kit_idle(lp__kit *kit);
/* The same as a manager does beside its batches: one small slice, when it is due. */
void lp__kit_tend(lp__kit *kit);
/* Orders it to make itself small, until it is. */
void lp__kit_compact(lp__kit *kit);

/* Adds to the next batch. */
void lp__kit_event(lp__kit *kit, lp_str category, lp_str data);
/* An event whose category and data follow from its number, see lp__odd_event. */
void lp__kit_any_event(lp__kit *kit);
void lp__kit_any_events(lp__kit *kit, size_t count);
void lp__kit_removal(lp__kit *kit, uint64_t seq, lp_removal_reason reason);
void lp__kit_horizon(lp__kit *kit, lp_str category, uint64_t seq);
void lp__kit_key(lp__kit *kit, const lp_idempotency *record);
void lp__kit_forget_keys(lp__kit *kit, int64_t expires_ms);

/* Hands the batch to the store. The first expects success; the second returns what came of it. Both
 * note what is to be expected from now on. */
void lp__kit_append(lp__kit *kit);
int lp__kit_try_append(lp__kit *kit);

/* Close, open and check all that is expected: the sentence of a failure ends in `when`. */
void lp__kit_reopen(lp__kit *kit, const char *when);

/* Forgets everything, for another run in a fresh directory. */
void lp__kit_reset(lp__kit *kit);
/* A kit that has no directory and no store yet. */
void lp__kit_init(lp__kit *kit, const lp_conformance *options, const char *case_name);
void lp__kit_begin(lp__kit *kit);
void lp__kit_end(lp__kit *kit);
/* Adds to the sentence of a failed case how to repeat it and where its files are. */
void lp__kit_locate(lp__kit *kit);

/* ---- files.c: what lies beneath a directory
 * ------------------------------------------------------
 */

typedef struct lp__files {
    struct lp__file {
        char path[1280];
        uint64_t bytes;      /* its size */
        uint64_t disk_bytes; /* what it takes */
    } * items;
    size_t count, capacity;
} lp__files;

/* Makes kit->directory anew. */
void lp__kit_make_directory(lp__kit *kit);
/* All regular files beneath the case's directory, sorted by path. */
void lp__files_list(lp__kit *kit, lp__files *files);
void lp__files_free(lp__files *files);
void lp__files_remove(const char *directory);
/* The bytes of the largest file of the case, and what all of them take on the disk. */
uint64_t lp__files_largest(lp__kit *kit);
uint64_t lp__files_disk_bytes(lp__kit *kit);

/* ---- expect.c: what must be there, and what was found ------------------------------------------
 */

/* Notes the batch: with LP_OK as kept, else as the status says. */
void lp__expect_batch(lp__kit *kit, int status);
/* Decides events of LP__DOUBT by what was found: they are kept or gone from now on. */
void lp__expect_settle(lp__kit *kit);
/* Compares kit->seen with what is expected. */
void lp__expect_check(lp__kit *kit, const char *when);
/* The same where a loss was told: anything may be missing, and what is there must be right. From
 * now on no more is expected than was found. */
void lp__expect_check_loss(lp__kit *kit, const char *when);
lp__expected *lp__expect_find(lp__kit *kit, uint64_t seq);
void lp__expect_clear(lp__kit *kit);
/* What is wrong with an event that was pushed, against the one that was handed over; NULL: nothing.
 */
const char *lp__expect_difference(const lp_event *found, const lp_event *wanted);

/* ---- seen.c: what a replay pushed, and marks ----------------------------------------------------
 */

lp_store_sink lp__seen_sink(lp__seen *seen);
/* Takes the events out that were pushed and removed again. */
void lp__seen_finish(lp__seen *seen);
bool lp__seen_has(const lp__seen *seen, uint64_t seq);
void lp__seen_clear(lp__seen *seen);

/* The array with room for one more, NULL when there is no memory: it is as it was then. */
void *lp__grown(void *array, size_t *capacity, size_t count, size_t element);
bool lp__same(lp_str a, lp_str b);

/* Sets or replaces the mark with this name; false when there is no memory. */
bool lp__marks_set(lp__marks *marks, lp_str name, const lp_idempotency *record);
const lp__mark *lp__marks_find(const lp__marks *marks, lp_str name);
void lp__marks_clear(lp__marks *marks);
/* Whether an event is at or below its category's horizon, or the floor. */
bool lp__marks_cover(const lp__marks *horizons, const lp_event *event);

/* ---- odd.c: events that are hard to keep --------------------------------------------------------
 */

/* Categories and data with every oddity that is allowed; NULL base past the last. `*data` is the
 * caller's to free. False when there is no memory. */
bool lp__odd_pair(size_t i, char **category, size_t *category_len, char **data, size_t *data_len);
size_t lp__odd_count(void);
/* The event with this number: always the same one, of up to some kilobytes. NULL: no memory. */
lp_event *lp__odd_event(uint64_t seq);

/* ---- writer.c: a process of its own that appends ------------------------------------------------
 */

/* Where a child is when it is killed. */
typedef enum lp__phase {
    LP__PUBLISHING, /* by its parent, at any moment */
    LP__STARTING,   /* by itself from here on: before any batch, in on_start or right behind it */
    LP__IDLING,     /* after the batches, in on_idle or right behind it */
    LP__COMPACTING, /* the same in a thorough one */
    LP__CLOSING     /* the same in on_shutdown */
} lp__phase;

/* What the child does. Parent and child build the same batches, because both start from the same
 * kit; only the statuses travel. */
typedef struct lp__plan {
    void (*build)(lp__kit *kit, size_t batch);
    size_t batches;         /* SIZE_MAX: without end */
    size_t limited_batch;   /* from this one on writes fail beyond `limit` bytes of any file */
    size_t limited_batches; /* for so many; 0: none */
    uint64_t limit;
    bool close; /* close the store at the end, after a failed batch too; or just vanish, which the
                 * kernel treats as a kill -9 */
    lp__phase phase;
    int64_t kill_us;      /* into the phase; 0: when the phase has ended */
    uint64_t kill_events; /* LP__STARTING: when so many were pushed; 0: by time */
} lp__plan;

typedef struct lp__writer {
    int pid;
    int notes; /* the read end of a pipe */
    size_t batch;
    int64_t phase_us; /* how long the phase took a child that outlived it; else 0 */
} lp__writer;

/* Forks. The store must be closed. */
void lp__writer_start(lp__kit *kit, lp__writer *writer, const lp__plan *plan);
/* Waits for the next status, and notes the batch as expected. False when the child has ended. */
bool lp__writer_next(lp__kit *kit, lp__writer *writer, const lp__plan *plan, int *status);
/* Waits until the child is gone, kills it first if `signal` is not 0, and notes what it has told
 * still. The batch that it may have been at is in doubt. */
void lp__writer_end(lp__kit *kit, lp__writer *writer, const lp__plan *plan, int signal);

/* ---- flow.c: more events than are worth remembering ---------------------------------------------
 */

/* Set `data_bytes` (at most 4000) and `ring`, the rest is 0. */
typedef struct lp__flow {
    size_t data_bytes;
    uint64_t ring;  /* how many events are kept in all; 0: no bound */
    uint64_t given; /* events so far */
    uint64_t gone;  /* of those: the oldest, told as removed */
    uint64_t first_seq;
} lp__flow;

/* One batch of `count` events, with the removals and horizons of what left the rings before. */
void lp__flow_append(lp__kit *kit, lp__flow *flow, size_t count);
/* Tells all that is left as LP_REMOVED_REPLAY. */
void lp__flow_remove_all(lp__kit *kit, lp__flow *flow);
/* Closes, opens, and checks that what is not gone is there, to the byte. */
void lp__flow_reopen(lp__kit *kit, lp__flow *flow, const char *when);

/* ---- child.c: a part of a case in a process of its own
 * -------------------------------------------
 */

/* Runs `body` in a forked process. Its outcome becomes that of this kit, nothing else of what it
 * does. A child that dies of a signal, or does not end, fails the case: `what` names it. */
void lp__kit_in_child(lp__kit *kit, void (*body)(lp__kit *kit), const char *what);

/* ---- guard.c: a whole case in a process of its own ----------------------------------------------
 */

/* Begins the case, runs `body` and ends it, all in a forked process that is killed with all its
 * children after `timeout_ms`. The outcome, also that it crashed or hung, is noted in this kit. */
void lp__guard_run(lp__kit *kit, void (*body)(lp__kit *kit), int64_t timeout_ms);

/* ---- the cases --------------------------------------------------------------------------------
 */

void lp__case_order(lp__kit *kit);
void lp__case_all_or_nothing(lp__kit *kit);
void lp__case_refused_event(lp__kit *kit);
void lp__case_replay_cuts(lp__kit *kit);
void lp__case_removals(lp__kit *kit);
void lp__case_highest(lp__kit *kit);
void lp__case_keys(lp__kit *kit);
void lp__case_refused_group(lp__kit *kit);
void lp__case_forgotten_keys(lp__kit *kit);
void lp__case_horizon(lp__kit *kit);
void lp__case_horizon_kept(lp__kit *kit);
void lp__case_restart(lp__kit *kit);
void lp__case_kill(lp__kit *kit);
void lp__case_recovery(lp__kit *kit);
void lp__case_batches(lp__kit *kit);
void lp__case_categories(lp__kit *kit);
void lp__case_large(lp__kit *kit);
void lp__case_many(lp__kit *kit);
void lp__case_kill_start(lp__kit *kit);
void lp__case_kill_removals(lp__kit *kit);
void lp__case_kill_keys(lp__kit *kit);
void lp__case_kill_idle(lp__kit *kit);
void lp__case_kill_compact(lp__kit *kit);
void lp__case_kill_shutdown(lp__kit *kit);
void lp__case_damage(lp__kit *kit);
void lp__case_bounded(lp__kit *kit);
void lp__case_bounded_keys(lp__kit *kit);
void lp__case_vtable(lp__kit *kit);
void lp__case_idle(lp__kit *kit);
void lp__case_shutdown(lp__kit *kit);
void lp__case_compact(lp__kit *kit);
void lp__case_inspect(lp__kit *kit);
void lp__case_lock(lp__kit *kit);

#endif
