/* Driving an add-on without a manager: open, append, idle, inspect, close.
 *
 * The manager's own thread, the conformance kit and tools that convert one store into another all
 * go through these functions. A store is used by one thread at a time; every call may block. */
#ifndef LONGPOLL_STORE_H
#define LONGPOLL_STORE_H

#include <longpoll/addon.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lp_store lp_store;

/* What on_start pushes, for whoever opens the store. Each function may be NULL and then takes
 * everything. What it returns goes back to the add-on (see lp_replay_event): LP_OK, LP_SKIPPED, or
 * a negative status that ends the start. All arguments are borrowed until it returns. */
typedef struct lp_store_sink {
    void *ctx;
    int (*event)(void *ctx, lp_id id, lp_str category, lp_str data);
    int (*removal)(void *ctx, uint64_t seq);
    int (*horizon)(void *ctx, lp_str category, uint64_t seq);
    int (*idempotency)(void *ctx, const lp_idempotency *record);
    int (*highest)(void *ctx, uint64_t seq);
    int (*loss)(void *ctx, uint64_t records, const char *detail);
    void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
    void (*log)(void *ctx, const char *line); /* also later, from append and idle */
    int64_t expired_ms;                       /* INT64_MIN: nothing expires */
    size_t ring_size;                         /* 0: no bound */
} lp_store_sink;

/* Calls on_start. From success on the store owns the add-on and `*sink` is copied; after a failure
 * the add-on has been destroyed (except for LP_EINVAL on the table itself, which leaves it alone).
 * LP_EINVAL: a table without its required hooks, or of another ABI. Else what on_start returned,
 * its LP_EINVAL as LP_EDAMAGED, so that the two cannot be mistaken. Records that the add-on pushed
 * in spite of LP_EINVAL or LP_EORDER count as a loss, when it told none itself. */
LP_API int lp_store_open(lp_addon *addon, const lp_store_sink *sink, lp_store **out,
                         lp_error *error);

/* Calls on_publish. After LP_OK look at lp_batch_failed for single events. A batch without content
 * is LP_OK at once. After LP_EINDOUBT no batch is handed on: every later one is LP_EINDOUBT. */
LP_API int lp_store_append(lp_store *store, lp_batch *batch, lp_error *error);

/* Calls on_idle with a budget. `*next_ms` is when it wants to be called again, -1: after the next
 * batch. LP_OK with -1 when the add-on has no such hook. */
LP_API int lp_store_idle(lp_store *store, int64_t budget_ms, int64_t *next_ms, lp_error *error);

/* Calls on_idle once with the order to make the store as small as it gets. Go on while `*next_ms`
 * is not -1. LP_OK with -1 when the add-on has no such hook. */
LP_API int lp_store_compact(lp_store *store, int64_t budget_ms, int64_t *next_ms, lp_error *error);

/* Calls on_inspect; each figure goes to one of the two functions (`text` is NULL or `number` 0
 * accordingly). LP_ENOTFOUND when the add-on has no such hook. */
typedef void (*lp_store_figure_cb)(void *ctx, const char *name, uint64_t number, const char *text);
LP_API int lp_store_inspect(lp_store *store, lp_store_figure_cb figure, void *ctx, lp_error *error);

/* The same, and checks all that the add-on can check beyond what its start has read. LP_EDAMAGED
 * with the first thing that is wrong. Changes nothing. */
LP_API int lp_store_verify(lp_store *store, lp_store_figure_cb figure, void *ctx, lp_error *error);

/* Calls on_shutdown and destroy, and frees the store. Returns what on_shutdown returned. */
LP_API int lp_store_close(lp_store *store, int64_t timeout_ms, lp_error *error);

LP_API const char *lp_store_name(const lp_store *store);

/* A batch of one's own. Functions that add return LP_OK or LP_ENOMEM, which leaves it as it was,
 * and LP_EORDER for an event that does not come after the one before it; events are referenced,
 * everything else is copied. */
LP_API int lp_batch_new(lp_batch **out);
LP_API void lp_batch_free(lp_batch *batch); /* NULL is fine */
LP_API int lp_batch_add_event(lp_batch *batch, lp_event *event);
LP_API int lp_batch_add_removal(lp_batch *batch, uint64_t seq, lp_removal_reason reason);
LP_API int lp_batch_add_horizon(lp_batch *batch, lp_str category, uint64_t seq);
LP_API int lp_batch_add_idempotency(lp_batch *batch, const lp_idempotency *record);
LP_API void lp_batch_set_highest(lp_batch *batch, uint64_t seq);
LP_API void lp_batch_set_forgotten_keys(lp_batch *batch, int64_t expires_ms);
/* The last `count` events (all, if there are fewer) were published together: kept all or none. */
LP_API void lp_batch_group(lp_batch *batch, size_t count);
/* Why event `i` was refused, LP_OK when it was not; `*reason` (may be NULL) is borrowed. */
LP_API int lp_batch_status(const lp_batch *batch, size_t i, const char **reason);
/* Empties the batch and keeps its memory. */
LP_API void lp_batch_clear(lp_batch *batch);

#ifdef __cplusplus
}
#endif
#endif
