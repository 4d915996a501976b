/* The manager: publish and subscribe inside one program. Link `longpoll::core`.
 *
 * A manager lives on one loop of yours, its home loop. lp_publish, lp_publish_cjson and
 * lp_publish_all may be called from any thread; every other function belongs to the thread that
 * runs the home loop. All callbacks run there too (but on_log, see lp_log_cb), and never before the
 * call that caused them has returned. From within a callback every function may be called.
 *
 * A life: lp_manager_start, work, lp_manager_shutdown, its callback, lp_manager_free. */
#ifndef LONGPOLL_MANAGER_H
#define LONGPOLL_MANAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/event.h>
#include <longpoll/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;
struct cJSON;
struct lp_addon;

typedef struct lp_manager lp_manager;

typedef enum lp_state {
    LP_STATE_STARTING, /* the store is replayed; publishes and polls are refused */
    LP_STATE_SERVING,
    LP_STATE_IN_DOUBT, /* serves what it has and refuses publishes, until a restart */
    LP_STATE_DRAINING, /* shutting down */
    LP_STATE_CLOSED,   /* shut down, may be freed */
    LP_STATE_FAILED    /* the store did not open: shut down and free */
} lp_state;

LP_API const char *lp_state_name(lp_state state);

typedef enum lp_log_level { LP_LOG_ERROR, LP_LOG_WARN, LP_LOG_INFO, LP_LOG_DEBUG } lp_log_level;

/* One line without its newline. Runs on the home loop or on the add-on's thread. */
typedef void (*lp_log_cb)(void *ctx, lp_log_level level, const char *line);

/* The state changed; `error` says why for LP_STATE_FAILED and LP_STATE_IN_DOUBT, else it is NULL.
 */
typedef void (*lp_state_cb)(lp_manager *manager, lp_state state, const lp_error *error, void *ctx);

/* Zero means the default everywhere; a negative number is an error. */
typedef struct lp_manager_options {
    size_t struct_size; /* set by LP_MANAGER_OPTIONS_INIT */

    struct lp_addon *addon; /* NULL: events live in memory alone */

    /* golongpoll's options */
    int64_t max_timeout_s;    /* the longest a poll may wait: 110 */
    int64_t event_buffer_max; /* events kept a category: 250 */
    int64_t event_ttl_s;      /* events live this long: for ever */
    bool delete_after_first_retrieval;

    /* bounds */
    int64_t waiters_max;       /* polls that wait: 20,000 (then LP_EFULL) */
    int64_t categories_max;    /* categories that are remembered: 100,000 (then the stalest goes) */
    int64_t events_max;        /* events in all rings: 1,000,000 (then the oldest go) */
    int64_t events_bytes_max;  /* their bytes: 256 MiB (then the oldest go) */
    int64_t event_bytes_max;   /* data of one event: 1 MiB (LP_ETOOBIG) */
    int64_t answer_bytes_max;  /* one answer; the rest comes with the next poll: 4 MiB */
    int64_t pending_max;       /* events accepted and not yet kept: 65,536 (then LP_EFULL) */
    int64_t pending_bytes_max; /* their bytes: 64 MiB (then LP_EFULL) */

    lp_log_cb on_log; /* may be NULL */
    void *log_ctx;
    lp_state_cb on_state; /* may be NULL */
    void *state_ctx;

    int64_t poll_categories_max;  /* categories and prefixes that one poll may name: 1,024 */
    int64_t interests_max;        /* those of all waiting polls together: 1,000,000 (LP_EFULL) */
    int64_t idempotency_window_s; /* a key is remembered for so long: 86,400 */
    int64_t idempotency_max;      /* and so many keys at most: 100,000 (then the oldest go) */
} lp_manager_options;

#define LP_MANAGER_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(lp_manager_options)                                                                 \
    }

/* Starts a manager on `loop`, which must outlive it. Without an add-on it serves at once; with one,
 * the store is replayed on the add-on's thread while the loop runs, and on_state tells how that
 * ended. The loop stays alive until the manager is shut down. From LP_OK on the manager owns the
 * add-on; after a failure the caller still does. LP_EINVAL: an option, named by `error`, or a table
 * of hooks that is not whole. LP_ENOMEM. */
LP_API int lp_manager_start(struct uv_loop_s *loop, const lp_manager_options *options,
                            lp_manager **out, lp_error *error);

LP_API lp_state lp_manager_state(const lp_manager *manager);

/* ---- publish ------------------------------------------------------------ */

/* A publish has ended. LP_OK: the event is kept to the degree that the store's sync option names,
 * and can be seen. Else nobody will ever see it, and `error->message` has the sentence. `event` is
 * borrowed and is NULL when it was not kept. */
typedef void (*lp_publish_cb)(void *ctx, const lp_error *error, const lp_event *event);

/* Publishes `data`, one JSON value, whose bytes are kept exactly as they are. Any thread. Both
 * arguments are copied. `done` may be NULL; it runs exactly once if and only if LP_OK is returned.
 * Events of one thread are published in the order of its calls.
 * LP_EINVAL: no UTF-8 category of 1..LP_CATEGORY_MAX bytes, or data that is not valid JSON (RFC
 * 8259, at most 512 deep) or is null. LP_ETOOBIG: past event_bytes_max. LP_EFULL: the store is
 * behind its bound. LP_ESTARTING, LP_EINDOUBT, LP_ECLOSED: by the state of the manager. LP_ENOMEM.
 */
LP_API int lp_publish(lp_manager *manager, lp_str category, lp_str data, lp_publish_cb done,
                      void *ctx);

/* The same with the text of a cJSON value, which stays the caller's. */
LP_API int lp_publish_cjson(lp_manager *manager, lp_str category, const struct cJSON *data,
                            lp_publish_cb done, void *ctx);

typedef struct lp_publish_item {
    lp_str category, data;
} lp_publish_item;

/* An idempotency key is 1 to this many bytes. */
#define LP_IDEMPOTENCY_KEY_MAX 255

/* Several events that are kept all or none, follow each other in the order of all events with none
 * between them, and may carry a key under which they are published once. */
typedef struct lp_publish_request {
    size_t struct_size; /* set by LP_PUBLISH_REQUEST_INIT */
    const lp_publish_item *items;
    size_t item_count;      /* at least 1 */
    lp_str idempotency_key; /* empty: none */
} lp_publish_request;

#define LP_PUBLISH_REQUEST_INIT                                                                    \
    {                                                                                              \
        sizeof(lp_publish_request)                                                                 \
    }

/* How a request has ended; borrowed until the callback returns. */
typedef struct lp_publish_result {
    lp_error error;          /* LP_OK, or why nothing of it was kept */
    lp_event *const *events; /* item_count of them, NULL unless LP_OK; and NULL for a repeat when
                                they are not all in their rings any more */
    size_t event_count;
    bool repeated; /* the key was known: nothing was published, the answer is the first one's */
} lp_publish_result;

typedef void (*lp_publish_all_cb)(void *ctx, const lp_publish_result *result);

/* Publishes a request. Any thread; everything is copied. As lp_publish, and: LP_EINVAL: no items,
 * or a key of more than LP_IDEMPOTENCY_KEY_MAX bytes. LP_ETOOBIG: one item past event_bytes_max, or
 * all of them past pending_max or pending_bytes_max. The result's error may also be LP_ECONFLICT:
 * the key was used for other items. A request that failed leaves its key free; one that comes while
 * the first is pending ends with it. */
LP_API int lp_publish_all(lp_manager *manager, const lp_publish_request *request,
                          lp_publish_all_cb done, void *ctx);

/* ---- subscribe ---------------------------------------------------------- */

typedef struct lp_subscription lp_subscription;

/* One poll. */
typedef struct lp_query {
    size_t struct_size;
    lp_str category;   /* 1..LP_CATEGORY_MAX bytes; may be empty when others are named below */
    int64_t timeout_s; /* 1..max_timeout_s */
    bool has_since;
    int64_t
        since_ms; /* events later than this, milliseconds since the epoch; without it: from now */
    bool has_last_id; /* needs has_since or by_id: and those of this millisecond that come after */
    lp_id last_id;

    const lp_str *categories; /* more of them; one cursor serves all */
    size_t category_count;
    const lp_str *prefixes; /* every category that begins so, 1..LP_CATEGORY_MAX bytes each */
    size_t prefix_count;
    bool by_id;   /* last_id alone is the cursor; without it: since_ms if has_since, else from now.
                     The next poll goes on from the answer's last_id; lp_id_make(0, 0) is before
                     everything. Of an id that was never given
                     here nothing is known: a gap is told */
    int64_t last; /* without a cursor: begin with so many of the newest events; 0: none */
} lp_query;

#define LP_QUERY_INIT                                                                              \
    {                                                                                              \
        sizeof(lp_query)                                                                           \
    }

/* The answer to a poll; it and its events are borrowed until the callback returns. */
typedef struct lp_answer {
    lp_event *const *events; /* oldest first */
    size_t event_count;      /* 0: the poll timed out, or the manager shuts down */
    int64_t timestamp_ms;    /* of a timeout: safe to resume from as since_ms */
    bool gap;                /* events behind the cursor (without one: that came while it waited)
                                are missing: evicted, expired or lost */
    bool closing;            /* the manager shuts down */
    lp_id last_id; /* to go on from by id: everything up to it was told, or was not asked for */
} lp_answer;

typedef void (*lp_answer_cb)(void *ctx, const lp_answer *answer);

/* Waits for events. `on_answer` runs exactly once, unless the subscription is canceled first; after
 * it the subscription is gone. LP_EINVAL: the query. LP_ETOOBIG: poll_categories_max. LP_EFULL:
 * waiters_max, interests_max. LP_ESTARTING, LP_ECLOSED. LP_ENOMEM. */
LP_API int lp_subscribe(lp_manager *manager, const lp_query *query, lp_answer_cb on_answer,
                        void *ctx, lp_subscription **out);

/* Ends a subscription that has not been answered; its callback will not run. */
LP_API void lp_cancel(lp_subscription *subscription);

/* ---- figures ------------------------------------------------------------ */

/* Durations that were counted by their length. `counts[i]` is how many took at most
 * lp_histogram_bounds_us[i] microseconds (and more than the bound before), the last one how many
 * took longer than all bounds. */
#define LP_HISTOGRAM_BOUNDS 16
LP_API extern const uint32_t lp_histogram_bounds_us[LP_HISTOGRAM_BOUNDS];

typedef struct lp_histogram {
    uint64_t counts[LP_HISTOGRAM_BOUNDS + 1];
    uint64_t sum_us;
} lp_histogram;

typedef struct lp_stats {
    lp_state state;
    uint64_t waiters, categories, events, events_bytes, pending, pending_bytes; /* now */
    uint64_t published, refused;                                 /* since the start, in events */
    uint64_t answered, timed_out, delivered;                     /* since the start; of a stream,
                                                                    each answer counts */
    uint64_t evicted, expired, retrieved;                        /* events gone */
    uint64_t batches, failed_batches, replayed, damaged_records; /* the store */
    int64_t commit_since_ms; /* how long the add-on has been busy with one batch, 0: it is not */

    uint64_t interests, idempotency_keys; /* now: categories and prefixes waited for, and keys */
    uint64_t gaps, repeated, conflicting; /* answers that told one; publishes by their key */
    lp_histogram publish_duration;  /* from the call to its callback, of those that were kept */
    lp_histogram delivery_duration; /* from being visible to the answer of a poll that waited */
    lp_histogram commit_duration;   /* of the add-on's batches */
} lp_stats;

/* Fills at most `size` bytes (sizeof(lp_stats)) of `out`. */
LP_API void lp_manager_stats(const lp_manager *manager, lp_stats *out, size_t size);

/* LP_OK when a publish would be taken and, as far as is known, kept. Else the status that it would
 * get, with a sentence that says why: LP_ESTARTING, LP_ECLOSED, LP_EINDOUBT, or, for ten seconds
 * after a batch that was not kept (and until one is), what its failure was. */
LP_API int lp_manager_health(const lp_manager *manager, lp_error *why);

/* ---- the end ------------------------------------------------------------ */

/* `error->status` is LP_OK when all that was accepted is kept. LP_EDEADLINE: a hook of the add-on
 * was still busy at the deadline; `unkept` publishes were answered LP_EDEADLINE. Else what
 * on_shutdown said. */
typedef void (*lp_shutdown_cb)(lp_manager *manager, const lp_error *error, uint64_t unkept,
                               void *ctx);

/* Refuses new publishes and polls, answers every waiter, has every accepted event kept, closes the
 * store, and calls `done` (may be NULL) by the deadline. A second call is LP_OK, changes nothing,
 * and its `done` runs with the first one's. On a closed manager: LP_ECLOSED, and `done` does not
 * run. LP_ENOMEM. */
LP_API int lp_manager_shutdown(lp_manager *manager, int64_t timeout_ms, lp_shutdown_cb done,
                               void *ctx);

/* Frees a manager that is LP_STATE_CLOSED; LP_EINVAL, and nothing happens, in any other state. NULL
 * is fine. May be called from the shutdown callback. */
LP_API int lp_manager_free(lp_manager *manager);

#ifdef __cplusplus
}
#endif
#endif
