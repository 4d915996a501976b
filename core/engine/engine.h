/* The rules of long-poll publish/subscribe and nothing else: which event gets which id, who sees
 * it, what a poll is answered, what is forgotten. No I/O, no threads, no clock (time is passed in),
 * no libuv.
 *
 * Used by one thread at a time. No function calls back except lp__engine_flush,
 * lp__engine_resolve, lp__engine_dismiss and lp__engine_drain, which answer waiters; from within an
 * answer, everything but those, lp__engine_stamp and lp__engine_free may be called. The events of
 * an answer are borrowed and must not be used after lp__engine_retrieved. */
#ifndef LP_ENGINE_H
#define LP_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/addon.h>
#include <longpoll/event.h>
#include <longpoll/manager.h>

#include "heap.h"
#include "list.h"

typedef struct lp__engine lp__engine;
typedef struct lp__category lp__category;

/* Two clocks read at one moment: wall time in milliseconds since the epoch, which may step, and
 * time that only rises, in milliseconds since anything. */
typedef struct lp__now {
    int64_t wall_ms;
    int64_t mono_ms;
    uint32_t mono_us; /* low bits of the second one in microseconds: for figures alone */
} lp__now;

typedef struct lp__engine_options {
    size_t event_buffer_max;
    int64_t event_ttl_ms; /* 0: for ever */
    bool delete_after_first_retrieval;
    size_t waiters_max, categories_max;
    size_t interests_max; /* 0: any number */
    size_t events_max, events_bytes_max, answer_bytes_max;
    size_t keys_max;
    int64_t keys_window_ms;
    bool has_store;   /* collect changes for lp__engine_take_changes */
    uint64_t seed[2]; /* random: ids and the hash */
} lp__engine_options;

/* LP_ENOMEM. `now` starts the clock. */
int lp__engine_new(const lp__engine_options *options, lp__now now, lp__engine **out);
/* Waiters must be gone (lp__engine_drain); pending events are dropped. */
void lp__engine_free(lp__engine *engine);

/* ---- publish: stamp, then keep, then resolve ---------------------------- */

/* Gives prepared events (see event_prepare.h) their ids, whose numbers follow each other by one,
 * and their place in the order. They are pending from now on: nobody sees them, and no timeout's
 * timestamp passes them. The engine takes its own references. All the memory that their insertion
 * needs is taken here. LP_ENOMEM: none is stamped. */
int lp__engine_stamp(lp__engine *engine, lp__now now, lp_event *const *events, size_t count);

enum { LP__FORESEEN_AHEAD = 12 };

/* A hint: these will be stamped, after LP__FORESEEN_AHEAD more of which this is said. What is
 * looked at then is fetched into the processor's cache meanwhile: among very many categories,
 * waiting for that is most of the work. */
void lp__engine_foresee(lp__engine *engine, lp_event *const *events, size_t count);

/* Decides the oldest pending event: kept, and seen from now on, or dropped. In the order of
 * stamping. */
void lp__engine_resolve(lp__engine *engine, lp__now now, bool kept);

/* ---- subscribe ---------------------------------------------------------- */

typedef struct lp__waiter lp__waiter;
typedef struct lp__topic lp__topic;

/* What a poll waits for: one category, or one prefix. */
typedef struct lp__interest {
    lp__list link; /* among the topic's waiters; the first one's: among those that came just now */
    lp__waiter *waiter;
    lp__topic *topic;
} lp__interest;

/* One poll that waits. Embedded in something of the caller's, which stays put until it is answered
 * or canceled.
 *
 * A stream is a poll that is answered again and again: after an answer it rests (nothing is
 * answered, nothing is lost but by the bounds of the rings, and then told as a gap), until
 * lp__engine_continue lets it wait again behind that answer. It ends by lp__engine_cancel alone. */
struct lp__waiter {
    void (*answer)(lp__waiter *waiter,
                   const lp_answer *answer); /* set by the caller; may free the waiter */
    bool is_stream;                          /* set by the caller, and so is what follows */
    size_t answer_bytes_max;                 /* 0: the engine's; where events of thousands of
                                                categories wait for it, an answer may be larger, up
                                                to the engine's */
    uint32_t visible_us; /* in an answer: when its first event became visible, low bits of
                            lp__now.mono_us; 0: the poll did not wait for it */

    /* the engine's own */
    uint8_t flags;
    uint32_t interest_count; /* 0: it neither waits nor rests */
    lp__interest *interests; /* `one`, or an allocation */
    lp__interest one;
    lp__heap_node deadline;
    uint64_t position; /* it has everything up to here */
    uint64_t target;   /* an event that has to be settled before it is answered; 0: none */
    uint64_t cursor;   /* the same as the client said it: what a gap is judged by */
    uint64_t came_seq; /* what was visible when it began to wait */
};

/* Lets a poll wait for the next lp__engine_flush, and from there on until it is answered, at most
 * `timeout_ms`. The query has been checked (its strings are not kept); its timeout_s is not looked
 * at. Names that are given twice, and prefixes that begin with another one, count once.
 * LP_EINVAL: it names nothing. LP_EFULL: waiters_max, interests_max. LP_ENOMEM. */
int lp__engine_subscribe(lp__engine *engine, lp__now now, const lp_query *query, int64_t timeout_ms,
                         lp__waiter *waiter);

/* Lets a stream that rests wait again, behind what its last answer said. Cannot fail. */
void lp__engine_continue(lp__engine *engine, lp__now now, int64_t timeout_ms, lp__waiter *waiter);

/* The id to resume from: everything up to it has been told to the poll, or is none of what it asks
 * for. Of one that waits or rests. */
lp_id lp__engine_position(const lp__engine *engine, const lp__waiter *waiter);

/* Ends a poll without an answer, and a stream. Fine for a poll that was answered. */
void lp__engine_cancel(lp__engine *engine, lp__waiter *waiter);

/* Answers a poll that waits with a timeout, `closing` set; one that rests is left alone. Not from
 * within an answer. */
void lp__engine_dismiss(lp__engine *engine, lp__now now, lp__waiter *waiter);

/* Answers all waiters that have something to be told: new events, timeouts; expires events. To be
 * called once all that came in at one moment has been handed in, and at the deadline. */
void lp__engine_flush(lp__engine *engine, lp__now now);

/* When lp__engine_flush must be called next, in lp__now.mono_ms; INT64_MAX: not before something
 * comes in. */
int64_t lp__engine_deadline(const lp__engine *engine);

/* Whether less than half of what was held at a peak has been held for a second: told once, after a
 * flush. malloc keeps what was freed between things that stay, which then is most of it. */
bool lp__engine_take_slack(lp__engine *engine);

/* Answers every waiter with what it has to be told now, `closing` set. A stream rests behind that,
 * and is to be canceled; one that rests already is not answered. */
void lp__engine_drain(lp__engine *engine, lp__now now);

/* An answer that carried these events has been written whole: with delete-after-first they are
 * removed. They may be of several categories. Within the answer its own array will do; later the
 * caller holds references. */
void lp__engine_retrieved(lp__engine *engine, lp__now now, lp_event *const *events, size_t count);

/* ---- publish once ------------------------------------------------------- */

/* The engine's idempotency keys (keys.h); their time is lp__engine_clock_ms. */
struct lp__keys *lp__engine_keys(lp__engine *engine);
/* What the engine's clock shows, milliseconds since the epoch. */
int64_t lp__engine_clock_ms(lp__engine *engine, lp__now now);
/* The visible event with this number, borrowed; NULL: it is not in its ring. */
lp_event *lp__engine_find(lp__engine *engine, lp_str category, uint64_t seq);

/* ---- what a store must be told ------------------------------------------ */

/* Whether there are changes to be taken. */
bool lp__engine_changed(const lp__engine *engine);

/* Whether they should be told now, not just with the next event: removals that no rule would
 * repeat, a raised floor. */
bool lp__engine_changes_are_urgent(const lp__engine *engine);

/* Moves removals (at most `max` of them) and horizons that came up since the last call into
 * `batch`, and sets its highest sequence number. LP_ENOMEM: what is not in the batch is kept for
 * the next call. */
int lp__engine_take_changes(lp__engine *engine, size_t max, lp_batch *batch);

/* The batch with these changes was not kept: they are told again. LP_OK. */
int lp__engine_put_back_changes(lp__engine *engine, const lp_batch *batch);

/* ---- replay, before anything else --------------------------------------- */

/* Each as lp_replay_* in addon.h says. */
void lp__engine_replay_begin(lp__engine *engine);
int lp__engine_replay_event(lp__engine *engine, lp__now now, lp_id id, lp_str category,
                            lp_str data);
int lp__engine_replay_removal(lp__engine *engine, uint64_t seq);
int lp__engine_replay_horizon(lp__engine *engine, lp_str category, uint64_t seq);
int lp__engine_replay_idempotency(lp__engine *engine, lp__now now, const lp_idempotency *record);
void lp__engine_replay_highest(lp__engine *engine, lp__now now, uint64_t seq);

/* The store has told everything: applies removals and the bounds. To be called once, also after a
 * failed replay. */
void lp__engine_replay_end(lp__engine *engine, lp__now now);

/* History up to now may be missing: raises the floor to now. After replay, or without a store. */
void lp__engine_raise_floor(lp__engine *engine, lp__now now);

/* Events of this timestamp and older are expired; INT64_MIN when nothing expires. */
int64_t lp__engine_expired_ms(lp__engine *engine, lp__now now);

/* ---- figures ------------------------------------------------------------ */

typedef struct lp__engine_stats {
    size_t waiters, interests, categories, events, events_bytes, pending;
    uint64_t answered, timed_out, delivered, gaps, evicted, expired, retrieved;
    uint64_t highest; /* the highest sequence number ever given */
} lp__engine_stats;

void lp__engine_stats_get(const lp__engine *engine, lp__engine_stats *out);

#endif
