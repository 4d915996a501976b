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
    LP__KEPT,   /* acknowledged: must be there */
    LP__LOOSE,  /* told as removed for a reason that a horizon covers: may be there */
    LP__DOUBT,  /* never decided (killed, or LP_EINDOUBT): may be there */
    LP__GONE,   /* removed by retrieval: must not come back */
    LP__REFUSED /* its batch failed, or it was refused: must not come back */
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

/* What a replay pushed. */
typedef struct lp__seen {
    lp_event **events;
    size_t count, capacity;
    lp__marks horizons, keys;
    uint64_t highest;
    uint64_t losses;
    char loss[256];
    /* What the sink answers. */
    uint64_t cancel_after; /* events after which it answers LP_ECANCELED; 0: never */
    int64_t expired_ms;
    size_t ring_size;
    bool out_of_memory;
} lp__seen;

typedef struct lp__kit {
    const lp_conformance *options;
    const char *case_name;
    char directory[1024];
    lp_conformance_outcome outcome;
    char detail[1200];

    lp_store *store;
    lp_batch *batch;
    uint64_t seq; /* of the next event */
    uint64_t batches;
    uint64_t random;

    lp__expected *expected; /* in rising order */
    size_t expected_count, expected_capacity;
    lp__marks horizons, keys; /* what was acknowledged, the newest of each */
    uint64_t highest;
    bool in_doubt; /* the store has said LP_EINDOUBT: it may tell a loss */

    lp__seen seen; /* of the last open */
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

/* Opens the store; what it pushes is in kit->seen. */
void lp__kit_open(lp__kit *kit);
/* The same where the sink is expected to end the start with LP_ECANCELED after `events`. */
void lp__kit_open_canceled(lp__kit *kit, uint64_t events);
void lp__kit_close(lp__kit *kit);
/* Lets it do its work in the background, for as long as it asks to be called again at once. */
void lp__kit_idle(lp__kit *kit);

/* Adds to the next batch. */
void lp__kit_event(lp__kit *kit, lp_str category, lp_str data);
/* An event whose category and data follow from its number, see lp__odd_event. */
void lp__kit_any_event(lp__kit *kit);
void lp__kit_any_events(lp__kit *kit, size_t count);
void lp__kit_removal(lp__kit *kit, uint64_t seq, lp_removal_reason reason);
void lp__kit_horizon(lp__kit *kit, lp_str category, uint64_t seq);
void lp__kit_key(lp__kit *kit, const lp_idempotency *record);

/* Hands the batch to the store. The first expects success; the second returns what came of it. Both
 * note what is to be expected from now on. */
void lp__kit_append(lp__kit *kit);
int lp__kit_try_append(lp__kit *kit);

/* Close, open and check all that is expected: the sentence of a failure ends in `when`. */
void lp__kit_reopen(lp__kit *kit, const char *when);

/* Forgets everything, for another run in a fresh directory. */
void lp__kit_reset(lp__kit *kit);
/* The bytes of the largest file beneath a directory. */
uint64_t lp__kit_largest_file(const char *directory);
void lp__kit_begin(lp__kit *kit, const lp_conformance *options, const char *case_name);
void lp__kit_end(lp__kit *kit);

/* ---- expect.c: what must be there, and what was found ------------------------------------------
 */

/* Notes the batch: with LP_OK as kept, else as the status says. */
void lp__expect_batch(lp__kit *kit, int status);
/* Decides events of LP__DOUBT by what was found: they are kept or gone from now on. */
void lp__expect_settle(lp__kit *kit);
/* Compares kit->seen with what is expected. */
void lp__expect_check(lp__kit *kit, const char *when);
lp__expected *lp__expect_find(lp__kit *kit, uint64_t seq);
void lp__expect_clear(lp__kit *kit);

lp_store_sink lp__seen_sink(lp__seen *seen);
void lp__seen_clear(lp__seen *seen);

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

/* What the child does. Parent and child build the same batches, because both start from the same
 * kit; only the statuses travel. */
typedef struct lp__plan {
    void (*build)(lp__kit *kit, size_t batch);
    size_t batches;       /* 0: without end */
    size_t limited_batch; /* its writes fail beyond `limit` bytes of any file; SIZE_MAX: none */
    uint64_t limit;
    bool close; /* close the store at the end, or just vanish */
} lp__plan;

typedef struct lp__writer {
    int pid;
    int notes; /* the read end of a pipe */
    size_t batch;
} lp__writer;

/* Forks. The store must be closed. */
void lp__writer_start(lp__kit *kit, lp__writer *writer, const lp__plan *plan);
/* Waits for the next status, and notes the batch as expected. False when the child has ended. */
bool lp__writer_next(lp__kit *kit, lp__writer *writer, const lp__plan *plan, int *status);
/* Waits until the child is gone, kills it first if `signal` is not 0, and notes what it has told
 * still. The batch that it may have been at is in doubt. */
void lp__writer_end(lp__kit *kit, lp__writer *writer, const lp__plan *plan, int signal);

/* ---- the cases --------------------------------------------------------------------------------
 */

void lp__case_order(lp__kit *kit);
void lp__case_all_or_nothing(lp__kit *kit);
void lp__case_refused_event(lp__kit *kit);
void lp__case_replay_cuts(lp__kit *kit);
void lp__case_removals(lp__kit *kit);
void lp__case_highest(lp__kit *kit);
void lp__case_keys(lp__kit *kit);
void lp__case_horizon(lp__kit *kit);
void lp__case_restart(lp__kit *kit);
void lp__case_kill(lp__kit *kit);

#endif
