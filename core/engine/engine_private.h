/* What the engine's files share: the engine itself, its categories and what they offer each other.
 *
 *   category.c   the table of categories, their rings and horizons, what is forgotten
 *   index.c      the categories in the order of their names, for prefixes
 *   prefix.c     the prefixes that are waited for
 *   topic.c      what can be waited for: a category or a prefix, asked alike
 *   subscribe.c  waiters: what a query asks for, coming, resting and going
 *   answer.c     what a waiter is answered
 *   poll.c       who is answered, and when
 *   engine.c     stamping and resolving, bounds, expiry
 *   once.c       publish once: keys, and what was published under them
 *   changes.c    what a store must be told
 *   replay.c     what a store tells */
#ifndef LP_ENGINE_PRIVATE_H
#define LP_ENGINE_PRIVATE_H

#include "clock.h"
#include "engine.h"
#include "event_prepare.h"
#include "keys.h"

/* How a poll reads: a poll with an id of ours sees all that is visible; one without can only say
 * which millisecond it has, so it is told of whole milliseconds alone (see lp__engine_settled_ms).
 */
typedef enum lp__reading { LP__READS_VISIBLE, LP__READS_SETTLED, LP__READINGS } lp__reading;

/* What can be waited for: a category, or all that begin with a prefix. */
struct lp__topic {
    lp__list waiters[LP__READINGS]; /* their interests */
    uint64_t dirty_seq;             /* the first event since the last flush */
    uint64_t unsettled_seq; /* the first event that its settled readers wait to be shown, or less */
    uint64_t held_seq;   /* the first event that a settled reader is not shown at once, or less; 0:
                            none */
    lp__list dirty_link; /* has new events */
    lp__list unsettled_link;
    uint64_t mark; /* engine->marks when it was looked at last, so that nothing is taken twice */
    bool is_prefix;
    uint32_t waiting; /* in the lists of waiters, on the way there, or resting */
};

/* A place in the index of categories by name. */
typedef struct lp__index_node {
    uint64_t newest, horizon; /* the highest of all below and of its own, unless it is stale */
    bool stale;               /* then everything above is stale too */
    lp__category *parent, *left, *right;
} lp__index_node;

/* A publish into one of very many categories waits for memory most of the time. So what it touches
 * stands side by side at the end, before the name, and what it seldom needs in front. */
struct lp__category {
    lp__list changed_link; /* its horizon has to be told to the store */
    lp__list idle_link;    /* nothing but a horizon is left of it */
    lp__heap_node by_age;
    lp__topic topic;

    lp__category *next_in_bucket;
    uint64_t hash;
    lp_event **ring;
    uint32_t capacity, head, count;
    uint32_t reserved;  /* slots of pending events, and pins */
    uint64_t horizon;   /* events up to here are gone */
    uint64_t newest;    /* the last event of the ring; 0: it is empty */
    uint64_t unmatched; /* engine->prefix_changes when no prefix matched it last */
    lp__index_node node;
    bool kept;      /* counts against categories_max */
    bool forgotten; /* out of the table, waits for its horizon to be told */
    uint16_t name_len;
    char name[];
};

/* A prefix that is waited for. It lives as long as that. */
typedef struct lp__prefix {
    lp__topic topic;
    struct lp__prefix *next_in_bucket;
    uint64_t hash;
    size_t pins;
    size_t len;
    char text[];
} lp__prefix;

typedef struct lp__prefix_length {
    size_t length, count; /* how many prefixes have it */
} lp__prefix_length;

typedef struct lp__prefixes {
    lp__prefix **buckets;
    size_t bucket_count, count;
    lp__prefix_length *lengths; /* in rising order */
    size_t length_count, length_capacity;
} lp__prefixes;

/* Events [at, end) of a ring that belong to an answer; `seq` is the first one's. While `end` is 0
 * the ring has not been looked at, and `seq` may be less than that. */
typedef struct lp__run {
    uint64_t seq;
    lp__category *category;
    size_t at, end;
} lp__run;

enum { LP__FORESEEN = 16 }; /* a power of two */

struct lp__engine {
    lp__engine_options options;
    lp__clock clock;
    uint64_t random;       /* state of the generator of ids' random bits */
    uint64_t replayed_seq; /* the highest number of lives before this one */
    uint64_t first_seq;    /* the first one of this life; 0: none yet */
    uint64_t visible_seq;  /* the newest event that was made visible */
    uint64_t flushed_seq;  /* the same at the last flush */
    uint64_t begun_seq;    /* the same when this life began to serve */
    uint64_t floor;        /* the horizon of every category */

    lp__category **buckets;
    size_t bucket_count, category_count, kept_count;
    lp__heap by_age; /* categories with events, by a lower bound of their oldest event's seq */
    uint64_t foreseen[LP__FORESEEN]; /* hashes of categories, the last `foreseen_count` of them */
    size_t foreseen_count;

    struct lp__pending *pending; /* a ring: stamped, not resolved */
    size_t pending_capacity, pending_head, pending_count;

    lp__heap deadlines;
    lp__list fresh; /* waiters that came since the last flush */
    lp__list dirty, unsettled, changed, idle;
    size_t waiting, interest_count;
    lp__category *index; /* the categories that count, by name: the root */
    lp__prefixes prefixes;
    uint64_t prefix_changes; /* how many prefixes ever came to be waited for */
    uint64_t marks;
    lp__run *runs; /* room for the rings of an answer over several */
    size_t run_count, run_capacity;
    lp_event **merged; /* and for its events, or for those that wrap around the end of a ring */
    size_t merged_capacity;
    size_t press_cost; /* since the last flush, see poll.c */

    lp_removal *removals;
    size_t removal_count, removal_capacity, removal_taken;
    bool floor_changed, changes_are_urgent;

    uint64_t *replayed_removals;
    size_t replayed_removal_count, replayed_removal_capacity;
    lp__block *replay_block;   /* NULL: none is open */
    size_t replay_block_bytes; /* of events, ever taken from blocks */
    bool replaying;

    lp__keys keys;

    lp__engine_stats stats; /* the counters; gauges are filled in when asked for */
    size_t event_count, event_bytes;
    size_t held_peak;       /* see lp__engine_take_slack */
    int64_t slack_since_ms; /* in lp__now.mono_ms; INT64_MAX: there is none */
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
/* Counts it against categories_max, making room by forgetting others. It is pinned. */
void lp__category_keep(lp__engine *engine, lp__category *category);
/* It stays until `reserved` is less again, and the category released. */
void lp__category_pin(lp__category *category);
/* Something of it is gone: forgets it when nothing else is left. */
void lp__category_release(lp__engine *engine, lp__category *category);
void lp__category_free_all(lp__engine *engine);

/* Makes room for one more pending event. LP_ENOMEM. */
int lp__category_reserve(lp__engine *engine, lp__category *category);
/* Appends a visible event, which it takes over, into reserved room. */
void lp__category_push(lp__engine *engine, lp__category *category, lp_event *event);
/* Removes the oldest event. */
void lp__category_evict(lp__engine *engine, lp__category *category, lp_removal_reason reason);
/* Removes the event of this number if it is there. */
void lp__category_remove(lp__engine *engine, lp__category *category, uint64_t seq,
                         lp_removal_reason reason);
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

/* ---- index.c ------------------------------------------------------------ */

void lp__index_add(lp__engine *engine, lp__category *category);
void lp__index_remove(lp__engine *engine, lp__category *category);
/* Its newest event or its horizon has changed. */
void lp__index_touch(lp__category *category);

typedef struct lp__extent {
    uint64_t newest, horizon; /* the highest of all categories that begin so */
} lp__extent;
lp__extent lp__index_extent(const lp__engine *engine, lp_str prefix);

/* Visits the categories that begin so and have events behind `*after`, which the visitor may raise,
 * until it says false; what it said last. Nothing may change meanwhile. */
typedef bool (*lp__index_visitor)(void *ctx, lp__category *category);
bool lp__index_visit(const lp__engine *engine, lp_str prefix, const uint64_t *after,
                     lp__index_visitor visitor, void *ctx);

/* ---- prefix.c ----------------------------------------------------------- */

/* Finds or makes it; it is freed when it is released and nobody waits. NULL: out of memory. */
lp__prefix *lp__prefix_get(lp__engine *engine, lp_str text);
void lp__prefix_release(lp__engine *engine, lp__prefix *prefix);
void lp__prefix_free_all(lp__engine *engine);

/* The prefixes that are waited for and that a name begins with, the shortest first. Between two
 * steps prefixes may come and go. */
typedef struct lp__prefix_walk {
    lp_str name;
    uint64_t hash;
    size_t at; /* the hash is of so many bytes */
} lp__prefix_walk;
lp__prefix_walk lp__prefix_walk_begin(const lp__engine *engine, lp_str name);
/* NULL: there are no more. */
lp__prefix *lp__prefix_walk_next(const lp__engine *engine, lp__prefix_walk *walk);

/* ---- topic.c ------------------------------------------------------------ */

void lp__topic_init(lp__topic *topic, bool is_prefix);
/* It stays, whoever leaves, until it is unpinned. */
void lp__topic_pin(lp__topic *topic);
void lp__topic_unpin(lp__engine *engine, lp__topic *topic);
/* One waiter less. */
void lp__topic_leave(lp__engine *engine, lp__topic *topic);
bool lp__topic_covers(const lp__topic *topic, const lp__category *category);
/* The newest event; 0: there is none. */
uint64_t lp__topic_newest(const lp__engine *engine, const lp__topic *topic);
uint64_t lp__topic_horizon(const lp__engine *engine, const lp__topic *topic);
/* The first event behind `seq`, or something less that is behind `seq`; 0: there is none. */
uint64_t lp__topic_first_after(const lp__engine *engine, const lp__topic *topic, uint64_t seq);
/* Whether there is an event behind `after`, up to `limit`. */
bool lp__topic_has(const lp__engine *engine, const lp__topic *topic, uint64_t after,
                   uint64_t limit);
/* Before the newest `count` events up to `limit` of all the topics: the number that these are
 * behind. LP_ENOMEM. */
int lp__topics_position_of_last(lp__engine *engine, const lp__interest *interests,
                                size_t interest_count, size_t count, uint64_t limit, uint64_t *out);
/* The newest visible event has come to this category. */
void lp__topics_mark_dirty(lp__engine *engine, lp__category *category);

lp__category *lp__topic_category(const lp__topic *topic);
lp__prefix *lp__topic_prefix(const lp__topic *topic);

/* ---- subscribe.c -------------------------------------------------------- */

enum {
    LP__WAITER_SETTLED = 1 << 0,        /* see lp__reading */
    LP__WAITER_HAS_CURSOR = 1 << 1,     /* is told of gaps */
    LP__WAITER_FROM_ELSEWHERE = 1 << 2, /* its cursor was never given: a gap in any case */
    LP__WAITER_HAS_PREFIX = 1 << 3
};

/* Takes the waiter out of everything; its topics may be gone afterwards. */
void lp__waiter_leave(lp__engine *engine, lp__waiter *waiter);
/* Takes it out of everything but its topics' counts. */
void lp__waiter_rest(lp__engine *engine, lp__waiter *waiter);
/* It waits, and does not rest. */
bool lp__waiter_waits(const lp__waiter *waiter);

/* ---- answer.c ----------------------------------------------------------- */

/* Answers the waiter if there is something behind its position, up to `limit_seq`. One that came
 * while newer events were not settled waits for these, unless it is `closing`. */
bool lp__waiter_try(lp__engine *engine, lp__waiter *waiter, uint64_t limit_seq, bool closing);
/* Answers it without events. */
void lp__waiter_time_out(lp__engine *engine, lp__waiter *waiter, bool closing);

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
/* Notes whether the engine holds less than half of its peak; see lp__engine_take_slack. */
enum { LP__SLACK_MS = 1000 };
void lp__engine_note_slack(lp__engine *engine, int64_t mono_ms);
uint64_t lp__engine_random(lp__engine *engine);

/* ---- changes.c ---------------------------------------------------------- */

void lp__changes_note_removal(lp__engine *engine, uint64_t seq, lp_removal_reason reason);
void lp__changes_note_horizon(lp__engine *engine, lp__category *category);

#endif
