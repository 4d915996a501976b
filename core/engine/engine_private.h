/* What the engine's files share: the engine itself, its categories and what they offer each other.
 *
 *   category.c   the table of categories, their rings and horizons, what is forgotten
 *   poll.c       waiters: who is answered what, and when
 *   engine.c     stamping and resolving, bounds, expiry
 *   changes.c    what a store must be told
 *   replay.c     what a store tells */
#ifndef LP_ENGINE_PRIVATE_H
#define LP_ENGINE_PRIVATE_H

#include "clock.h"
#include "engine.h"
#include "event_prepare.h"

/* How a poll reads: a poll with an id of ours sees all that is visible; one without can only say
 * which millisecond it has, so it is told of whole milliseconds alone (see lp__engine_settled_ms).
 */
typedef enum lp__reading { LP__READS_VISIBLE, LP__READS_SETTLED, LP__READINGS } lp__reading;

struct lp__category {
    lp__category *next_in_bucket;
    uint64_t hash;

    lp_event **ring;
    size_t capacity, head, count;
    size_t reserved;  /* slots of pending events, and pins */
    uint64_t horizon; /* events up to here are gone */
    lp__heap_node by_age;

    lp__list waiters[LP__READINGS];
    size_t waiting;         /* in these lists, or on the way there */
    uint64_t dirty_seq;     /* the first event since the last flush */
    uint64_t unsettled_seq; /* the first event that its settled readers wait to be shown */
    uint64_t held_seq;   /* the first event that a settled reader is not shown at once; 0: none */
    lp__list dirty_link; /* has new events */
    lp__list unsettled_link;
    lp__list changed_link; /* its horizon has to be told to the store */
    lp__list idle_link;    /* nothing but a horizon is left of it */
    bool kept;             /* counts against categories_max */
    bool forgotten;        /* out of the table, waits for its horizon to be told */

    size_t name_len;
    char name[];
};

struct lp__engine {
    lp__engine_options options;
    lp__clock clock;
    uint64_t random;       /* state of the generator of ids' random bits */
    uint64_t replayed_seq; /* the highest number of lives before this one */
    uint64_t first_seq;    /* the first one of this life; 0: none yet */
    uint64_t visible_seq;  /* the newest event that was made visible */
    uint64_t floor;        /* the horizon of every category */

    lp__category **buckets;
    size_t bucket_count, category_count, kept_count;
    lp__heap by_age; /* categories with events, by a lower bound of their oldest event's seq */

    struct lp__pending *pending; /* a ring: stamped, not resolved */
    size_t pending_capacity, pending_head, pending_count;

    lp__heap deadlines;
    lp__list fresh; /* waiters that came since the last flush */
    lp__list dirty, unsettled, changed, idle;
    size_t waiting;
    lp_event **scratch; /* room for an answer whose events wrap around the end of a ring */
    size_t scratch_capacity;

    lp_removal *removals;
    size_t removal_count, removal_capacity, removal_taken;
    bool floor_changed, changes_are_urgent;

    uint64_t *replayed_removals;
    size_t replayed_removal_count, replayed_removal_capacity;
    lp__block *replay_block;   /* NULL: none is open */
    size_t replay_block_bytes; /* of events, ever taken from blocks */
    bool replaying;

    lp__engine_stats stats; /* the counters; gauges are filled in when asked for */
    size_t event_count, event_bytes;
};

typedef struct lp__pending {
    lp_event *event;
    lp__category *category;
} lp__pending;

/* Grows an array of `size`-byte items to hold `count`; false: out of memory, and nothing changed.
 */
bool lp__reserve(void *array, size_t *capacity, size_t count, size_t size);

/* ---- category.c --------------------------------------------------------- */

lp__category *lp__category_find(lp__engine *engine, lp_str name);
/* Finds or makes it; it must be released if it turns out not to be needed. NULL: out of memory. */
lp__category *lp__category_get(lp__engine *engine, lp_str name);
/* Counts it against categories_max, making room by forgetting others. */
void lp__category_keep(lp__engine *engine, lp__category *category);
/* Something of it is gone: forgets it when nothing else is left. */
void lp__category_release(lp__engine *engine, lp__category *category);
void lp__category_free_all(lp__engine *engine);

/* Makes room for one more pending event. LP_ENOMEM. */
int lp__category_reserve(lp__engine *engine, lp__category *category);
/* Appends a visible event, which it takes over, into reserved room. */
void lp__category_push(lp__engine *engine, lp__category *category, lp_event *event);
/* Removes the oldest event. */
void lp__category_evict(lp__engine *engine, lp__category *category, lp_removal_reason reason);
/* Removes the events for which `gone` says so, for `reason`. */
void lp__category_filter(lp__engine *engine, lp__category *category,
                         bool (*gone)(const void *ctx, uint64_t seq), const void *ctx,
                         lp_removal_reason reason);
void lp__category_raise_horizon(lp__engine *engine, lp__category *category, uint64_t seq);

lp_event *lp__category_event(const lp__category *category, size_t i);
/* The index of the first event behind `seq`; the count when there is none. */
size_t lp__category_find_after(const lp__category *category, uint64_t seq);
/* The category with the oldest event of all, NULL when there are no events. */
lp__category *lp__category_oldest(lp__engine *engine);

/* ---- poll.c ------------------------------------------------------------- */

/* The last millisecond of which nothing new can become visible: before now, and before every
 * pending event. It is what timeouts tell, and how far polls without an id are served. */
int64_t lp__engine_settled_ms(const lp__engine *engine);
/* The category is about to lose its oldest event: if its waiters have not been shown it yet, they
 * are answered with what there is. */
void lp__poll_press(lp__engine *engine, lp__category *category);

/* ---- engine.c ----------------------------------------------------------- */

/* Evicts until one more event of `bytes` fits the ring of its category and the bounds of the
 * engine. */
void lp__engine_make_room(lp__engine *engine, lp__category *category, size_t bytes);
void lp__engine_expire(lp__engine *engine);
uint64_t lp__engine_random(lp__engine *engine);

/* ---- changes.c ---------------------------------------------------------- */

void lp__changes_note_removal(lp__engine *engine, uint64_t seq, lp_removal_reason reason);
void lp__changes_note_horizon(lp__engine *engine, lp__category *category);

#endif
