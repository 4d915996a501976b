/* The conformance kit: what every persistence add-on must hold, as tests that its author runs.
 * Link `longpoll::conformance`.
 *
 * The kit drives the add-on through longpoll/store.h, as a manager does, in fresh directories. It
 * prints nothing: each case is told to a callback. Some cases fork (to kill a writer in the middle
 * of its work, to let writes fail); the calling process should have no other threads. */
#ifndef LONGPOLL_CONFORMANCE_H
#define LONGPOLL_CONFORMANCE_H

#include <stdint.h>

#include <longpoll/addon.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What an add-on claims to keep beside the events of a batch, and in spite of what. A case that
 * needs something that is not claimed is reported as not applicable. */
typedef enum lp_claim {
    LP_CLAIM_REMOVALS = 1,    /* events that were retrieved and removed stay away */
    LP_CLAIM_HORIZONS = 2,    /* horizons of categories, and the floor */
    LP_CLAIM_IDEMPOTENCY = 4, /* idempotency keys */
    LP_CLAIM_HIGHEST = 8,     /* the highest sequence number, when no event has it any more */
    LP_CLAIM_CRASH = 16,      /* what was acknowledged survives a kill -9 */
    LP_CLAIM_ATOMIC = 32 /* of a batch that a kill -9 or a failing write cut, nothing is left */
} lp_claim;

#define LP_CLAIM_ALL                                                                               \
    (LP_CLAIM_REMOVALS | LP_CLAIM_HORIZONS | LP_CLAIM_IDEMPOTENCY | LP_CLAIM_HIGHEST |             \
     LP_CLAIM_CRASH | LP_CLAIM_ATOMIC)

typedef struct lp_conformance {
    size_t struct_size; /* set by LP_CONFORMANCE_INIT */
    const char *name;   /* of the add-on, for directories */

    /* Makes an add-on that keeps what it keeps in `directory`, which is there, and empty the first
     * time. Called once for each time that the store is opened, also in forked children. Returns
     * LP_OK or a negative status and fills `error`. */
    int (*make)(void *ctx, const char *directory, lp_addon **out, lp_error *error);
    void *ctx;

    const char *directory;  /* an existing one; each case works in a new one beneath it, which is
                               removed again unless the case failed */
    unsigned claims;        /* lp_claim, or-ed */
    size_t event_bytes_max; /* the store refuses events with more data than this; 0: it has no
                               bound of its own */
    unsigned kill_rounds;   /* of the kill case: 0 means 8 */
    const char *only;       /* the one case to run; NULL: all */
} lp_conformance;

#define LP_CONFORMANCE_INIT                                                                        \
    {                                                                                              \
        sizeof(lp_conformance)                                                                     \
    }

typedef enum lp_conformance_outcome {
    LP_CASE_PASSED,
    LP_CASE_FAILED,
    LP_CASE_NOT_APPLICABLE
} lp_conformance_outcome;

typedef struct lp_conformance_result {
    const char *name; /* of the case: "order" */
    lp_conformance_outcome outcome;
    const char
        *detail; /* what was expected and what was found, or why it does not apply; else "" */
    int64_t elapsed_ms;
} lp_conformance_result;

/* A case has ended. `result` is borrowed until it returns. */
typedef void (*lp_conformance_cb)(void *ctx, const lp_conformance_result *result);

/* Runs all cases, one after the other; a failed one does not stop the rest. Returns how many
 * failed, or LP_EINVAL with a sentence: something required is missing, or `only` names no case.
 * LP_ENOMEM. `on_case` may be NULL. */
LP_API int lp_conformance_run(const lp_conformance *conformance, lp_conformance_cb on_case,
                              void *ctx, lp_error *error);

/* The name of case `i` and what it holds add-ons to; NULL past the last. */
LP_API const char *lp_conformance_case_name(size_t i);
LP_API const char *lp_conformance_case_rule(size_t i);

#ifdef __cplusplus
}
#endif
#endif
