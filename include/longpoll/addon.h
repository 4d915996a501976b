/* The add-on contract: what the author of a persistence add-on implements, and the functions with
 * which its hooks read their arguments.
 *
 * All hooks of one add-on run on one thread of its own, one at a time, and may block. An author
 * writes no thread and no lock. A hook may call every function of this header and of event.h, and
 * nothing of manager.h. The nouns it is given (lp_replay, lp_batch, …) are borrowed until it
 * returns, and so is all that it reads from them.
 *
 * Every hook returns LP_OK or a negative lp_status. The sentence that explains a failure travels
 * with the noun: `return lp_batch_error(batch, LP_ENOSPC, "%s: disk full", path);`. */
#ifndef LONGPOLL_ADDON_H
#define LONGPOLL_ADDON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/event.h>
#include <longpoll/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lp_addon lp_addon;
typedef struct lp_replay lp_replay; /* where on_start pushes what is kept */
typedef struct lp_batch lp_batch;   /* everything of one commit */
typedef struct lp_ending lp_ending; /* a shutdown and its deadline */
typedef struct lp_idle lp_idle;     /* a budget of time for work in the background */
typedef struct lp_report lp_report; /* figures and remarks about a store */

#define LP_ADDON_ABI 1

/* How well an acknowledged batch is kept. Every level survives a kill -9 whole, and no level may
 * damage the store. */
typedef enum lp_sync {
    LP_SYNC_INTERVAL = 0, /* written before it is acknowledged, on disk within the interval, also
                             when nothing more is published: a power cut loses at most that */
    LP_SYNC_ALWAYS = 1,   /* on disk before it is acknowledged: a power cut loses nothing */
    LP_SYNC_NEVER = 2     /* written before it is acknowledged; the kernel decides when to disk */
} lp_sync;

/* The table of hooks. Fields are only ever appended; `struct_size` is baked in by the compiler of
 * the author, and hooks beyond it count as absent. */
struct lp_addon {
    uint32_t abi;         /* LP_ADDON_ABI, set by LP_ADDON_INIT */
    uint32_t struct_size; /* sizeof(lp_addon), set by LP_ADDON_INIT */
    const char *name;     /* "journal": for logs and messages; lives as long as the add-on */
    void *state;          /* the add-on's own */

    /* Required. Called first, once. Opens the store and pushes what it keeps: events oldest first,
     * horizons, idempotency keys, the highest sequence number, damage. A push that returns
     * LP_SKIPPED is not an error; a push that returns a negative status ends the start, and the
     * hook returns it. When the hook fails, only `destroy` is called afterwards. */
    int (*on_start)(lp_addon *self, lp_replay *replay);

    /* Required. Keeps the whole batch at the add-on's sync level, or returns a negative status and
     * keeps none of it: no event of a failed batch may come back at the next on_start. When that
     * cannot be promised any more the hook returns LP_EINDOUBT, and no batch follows. An event
     * that can never be kept is refused with lp_batch_fail, and all that was published together
     * with it; its other neighbours are kept. */
    int (*on_publish)(lp_addon *self, lp_batch *batch);

    /* Required. Called last, once, after a successful on_start: flush and close. */
    int (*on_shutdown)(lp_addon *self, lp_ending *ending);

    /* Optional. Called when there is time: at the deadline that the last call asked for, also in
     * the middle of heavy publishing. Does a slice of background work within the budget. Its first
     * call comes right after on_start. */
    int (*on_idle)(lp_addon *self, lp_idle *idle);

    /* Optional. Tells sizes, counts and damage. Between on_start and on_shutdown. */
    int (*on_inspect)(lp_addon *self, lp_report *report);

    /* Optional. Frees the add-on itself. The last call of all. */
    void (*destroy)(lp_addon *self);
};

/* lp_addon mine = LP_ADDON_INIT("mine"); and then the hooks. */
#define LP_ADDON_INIT(name)                                                                        \
    {                                                                                              \
        LP_ADDON_ABI, (uint32_t)sizeof(lp_addon), (name), NULL, NULL, NULL, NULL, NULL, NULL, NULL \
    }

/* ---- on_start: pushing what is kept ------------------------------------- */

/* Pushes one event; everything is copied. Events come in rising order of their ids.
 * LP_OK: taken. LP_SKIPPED: expired, beyond the ring or below its horizon; go on. What is skipped
 * is told as removed in the first batch, so an add-on need not note it. LP_EORDER: not after the
 * event before it. LP_EINVAL: no event (the record is damaged). LP_ECANCELED: stop, return it.
 * LP_ENOMEM. */
LP_API int lp_replay_event(lp_replay *replay, lp_id id, lp_str category, lp_str data);

/* Pushes a removal that was kept after the event itself was pushed: for stores that append only.
 * A number that is not there is fine. */
LP_API int lp_replay_removal(lp_replay *replay, uint64_t seq);

/* Pushes a horizon: events of `category` up to and with `seq` are gone, and clients that had not
 * seen them are told. An empty category is the floor of the manager: clients
 * whose cursor is below it are told of a gap in every category. The floor removes no event, and
 * does not allow an add-on to drop one. Horizons may come in any order, also after events that they
 * remove. */
LP_API int lp_replay_horizon(lp_replay *replay, lp_str category, uint64_t seq);

/* The answer that a publish with an idempotency key was given. */
typedef struct lp_idempotency {
    lp_str key;         /* 1 to 255 bytes, the publisher's */
    uint64_t digest;    /* of the body: another body under the same key is an error */
    uint64_t seq;       /* the first event it published */
    uint32_t count;     /* how many it published; 0: none, and the key is free again, whatever a
                           record of the same `seq` says */
    int64_t expires_ms; /* milliseconds since the epoch; may be forgotten from then on */
} lp_idempotency;

/* Records may come in any order; of several with one key that of the highest `seq` counts.
 * LP_EINVAL: no record (it is damaged). */
LP_API int lp_replay_idempotency(lp_replay *replay, const lp_idempotency *record);

/* Pushes the highest sequence number that was ever given, whether its event is kept or not. */
LP_API int lp_replay_highest(lp_replay *replay, uint64_t seq);

/* Says that history may be missing: `records` were damaged (0: it is not known how many), `detail`
 * says what happened and in which file the damaged bytes were set aside. Every client whose cursor
 * is older is told of a gap. Also for a store that was not closed, on another boot, at a sync level
 * below `always`. */
LP_API int lp_replay_loss(lp_replay *replay, uint64_t records, const char *detail);

/* Events of this timestamp and older are expired: an add-on may leave them out, if it treats them
 * as removed. INT64_MIN when nothing expires. */
LP_API int64_t lp_replay_expired_ms(const lp_replay *replay);
/* How many events of one category are worth pushing. */
LP_API size_t lp_replay_ring_size(const lp_replay *replay);
/* Says how far it has come, for the log. `total` is 0 when it is not known. */
LP_API void lp_replay_progress(lp_replay *replay, uint64_t done_bytes, uint64_t total_bytes);
/* A line for the log of the host. */
LP_API void lp_replay_log(lp_replay *replay, const char *format, ...) LP_PRINTF(2, 3);
LP_API int lp_replay_error(lp_replay *replay, int status, const char *format, ...) LP_PRINTF(3, 4);

/* ---- on_publish: one commit --------------------------------------------- */

typedef enum lp_removal_reason {
    LP_REMOVED_RING = 1,      /* the ring was full; covered by the horizon of its category */
    LP_REMOVED_TTL = 2,       /* expired; covered by the horizon of its category */
    LP_REMOVED_BOUND = 3,     /* a bound of the manager; covered by the horizon of its category */
    LP_REMOVED_RETRIEVED = 4, /* delete after first retrieval; no horizon tells of it */
    LP_REMOVED_REPLAY = 5     /* pushed at on_start and not taken */
} lp_removal_reason;

typedef struct lp_removal {
    uint64_t seq;
    lp_removal_reason reason;
} lp_removal;

typedef struct lp_horizon {
    lp_str category; /* empty: the floor */
    uint64_t seq;
} lp_horizon;

/* New events, in rising order of their ids. There may be none: a batch may bring removals alone. */
LP_API size_t lp_batch_event_count(const lp_batch *batch);
LP_API const lp_event *lp_batch_event(const lp_batch *batch, size_t i);
/* Events that are gone. To be deleted at leisure, except LP_REMOVED_RETRIEVED ones, which must not
 * come back at the next on_start once the batch is kept. */
LP_API size_t lp_batch_removal_count(const lp_batch *batch);
LP_API lp_removal lp_batch_removal(const lp_batch *batch, size_t i);
/* Horizons that were raised: at most one a category, its newest. */
LP_API size_t lp_batch_horizon_count(const lp_batch *batch);
LP_API lp_horizon lp_batch_horizon(const lp_batch *batch, size_t i);
/* Idempotency records of the batch's publishes. An add-on that keeps them keeps each in one commit
 * with its events. Keeping them is optional, as are horizons and removals: a publish that is
 * repeated after a restart is then published again. */
LP_API size_t lp_batch_idempotency_count(const lp_batch *batch);
LP_API lp_idempotency lp_batch_idempotency(const lp_batch *batch, size_t i);
/* Idempotency records that expire at this time or before are forgotten, because their time is over
 * or there were too many of them: they need not be kept any longer, nor pushed at the next
 * on_start; the greatest value since on_start counts, and records of this batch and of later ones
 * expire after it. A start that pushes a forgotten record does no harm. An add-on that bounds its
 * store lets go of them, for their time may be far off. INT64_MIN when the batch says nothing of
 * them. */
LP_API int64_t lp_batch_forgotten_keys_ms(const lp_batch *batch);
/* The highest sequence number ever given. At least that of the last event. */
LP_API uint64_t lp_batch_highest(const lp_batch *batch);

/* Refuses event `i` for good, with a reason that its publisher gets. Events that were published
 * together are kept all or none: with one of them all are refused, and their idempotency record
 * leaves the batch. So an add-on that refuses looks at all events first, then keeps those for which
 * lp_batch_failed is false, and then the records. */
LP_API void lp_batch_fail(lp_batch *batch, size_t i, int status, const char *reason);
/* Whether event `i` was refused. */
LP_API bool lp_batch_failed(const lp_batch *batch, size_t i);
LP_API void lp_batch_log(lp_batch *batch, const char *format, ...) LP_PRINTF(2, 3);
LP_API int lp_batch_error(lp_batch *batch, int status, const char *format, ...) LP_PRINTF(3, 4);

/* ---- on_shutdown, on_idle, on_inspect ----------------------------------- */

/* Milliseconds until the deadline of the shutdown, 0 when it has passed. */
LP_API int64_t lp_ending_remaining_ms(const lp_ending *ending);
LP_API int lp_ending_error(lp_ending *ending, int status, const char *format, ...) LP_PRINTF(3, 4);

/* How many milliseconds this call should take at most. */
LP_API int64_t lp_idle_budget_ms(const lp_idle *idle);
/* Asks to be called again in `delay_ms` (0: as soon as there is time). Without it the next call
 * comes after the next batch. */
LP_API void lp_idle_again(lp_idle *idle, int64_t delay_ms);
/* True when this is no idle moment but an order: make the store as small as it gets, asking to be
 * called again until it is (`longpoll store compact`). */
LP_API bool lp_idle_is_thorough(const lp_idle *idle);
LP_API void lp_idle_log(lp_idle *idle, const char *format, ...) LP_PRINTF(2, 3);
LP_API int lp_idle_error(lp_idle *idle, int status, const char *format, ...) LP_PRINTF(3, 4);

/* Tells one figure or remark. Names are lower case with underscores and carry their unit
 * ("disk_bytes", "events", "damaged_records"); `name` and `text` are copied. */
LP_API void lp_report_number(lp_report *report, const char *name, uint64_t value);
LP_API void lp_report_text(lp_report *report, const char *name, const char *text);
/* True when everything is to be checked, however long it takes, and damage is to be returned as
 * LP_EDAMAGED (`longpoll store verify`). Nothing is repaired. */
LP_API bool lp_report_is_thorough(const lp_report *report);
LP_API int lp_report_error(lp_report *report, int status, const char *format, ...) LP_PRINTF(3, 4);

#ifdef __cplusplus
}
#endif
#endif
