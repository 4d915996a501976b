/* The conformance kit: what every persistence add-on must hold, as tests that its author runs.
 * Link `longpoll::conformance`. examples/file_per_category_kit.c runs it in twenty lines.
 *
 * The kit drives the add-on through longpoll/store.h, as a manager does, in fresh directories. It
 * prints nothing: each case is told to a callback. lp_conformance_case_name and _rule list the
 * cases.
 *
 * Every case runs in a forked process of its own with a time limit (case_timeout_ms), so that an
 * add-on which crashes or hangs in any hook, in `make` or in destroy fails its case and not the
 * runner: "ended by signal 11", "exit status 1", "did not end within 2.000 s". What is left of the
 * case's processes is killed then (SIGKILL to their process group). The process of a case ends with
 * exit(0), so that leak checkers look at it, and what the host has given to atexit runs there too;
 * another exit status, as theirs, fails the case. Many cases fork again: to kill a process in the
 * middle of a hook, and to let writes fail. The calling process should have no other threads. No
 * case measures speed: its deadlines are for hooks that hang. */
#ifndef LONGPOLL_CONFORMANCE_H
#define LONGPOLL_CONFORMANCE_H

#include <stddef.h>
#include <stdint.h>

#include <longpoll/addon.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What an add-on claims to keep beside the events of a batch, and in spite of what. A case that
 * needs something that is not claimed is reported as not applicable, and the others leave it out:
 * an add-on of ten lines claims LP_CLAIM_CRASH or nothing. More claims may be added; an add-on that
 * was written before does not have them, and LP_CLAIM_ALL is what its author's header knew. */
typedef enum lp_claim {
    /* Events that were removed with LP_REMOVED_RETRIEVED stay away. */
    LP_CLAIM_REMOVALS = 1,
    /* Horizons of categories, and the floor, come back: the newest of each. One that the floor has
     * reached may be forgotten, but not before the events below it are deleted: the floor tells
     * that events may be missing, and does not keep away one that is pushed. */
    LP_CLAIM_HORIZONS = 2,
    /* Idempotency keys come back until they expire or are forgotten. */
    LP_CLAIM_IDEMPOTENCY = 4,
    /* The highest sequence number comes back, also when no event has it any more. */
    LP_CLAIM_HIGHEST = 8,
    /* What was acknowledged survives a kill -9 in any hook and between them. */
    LP_CLAIM_CRASH = 16,
    /* A batch that a kill -9 cut is there with all its events, removals, horizons and keys, or with
     * nothing. (That a batch which failed leaves nothing is no claim: every add-on must.) */
    LP_CLAIM_ATOMIC = 32,
    /* A store that is open cannot be opened again, in this process or another: LP_EINUSE. */
    LP_CLAIM_LOCK = 64,
    /* Whatever happened to one file of a closed store (bits, pages, its end, all of it), the start
     * succeeds, pushes nothing that was not kept, and tells a loss when anything is missing: once,
     * if the next batch could be kept. LP_EVERSION is the one failure that is allowed. */
    LP_CLAIM_DAMAGE = 128,
    /* The files beneath the directory take at most four times the bytes of the living events, each
     * counted with 100 bytes, and `spare_bytes`: after any number of events have gone through the
     * rings, and after a thorough on_idle when a replay took none of them. Keys that are claimed
     * too count in the same way until they expire or are forgotten. */
    LP_CLAIM_BOUNDED = 256
} lp_claim;

#define LP_CLAIM_ALL                                                                               \
    (LP_CLAIM_REMOVALS | LP_CLAIM_HORIZONS | LP_CLAIM_IDEMPOTENCY | LP_CLAIM_HIGHEST |             \
     LP_CLAIM_CRASH | LP_CLAIM_ATOMIC | LP_CLAIM_LOCK | LP_CLAIM_DAMAGE | LP_CLAIM_BOUNDED)

typedef struct lp_conformance {
    size_t struct_size; /* set by LP_CONFORMANCE_INIT */
    const char *name;   /* of the add-on, for directories */

    /* Makes an add-on that keeps what it keeps in `directory`, which is there, and empty the first
     * time. Called once for each time that the store is opened, always in a forked child: what it
     * changes in `ctx` does not reach the caller. Returns LP_OK or a negative status and fills
     * `error`. */
    int (*make)(void *ctx, const char *directory, lp_addon **out, lp_error *error);
    void *ctx;

    /* An existing directory. Each case works in a new one beneath it, which is removed again unless
     * the case failed. */
    const char *directory;
    unsigned claims; /* lp_claim, or-ed */
    /* The store refuses events with more data than this, one by one (lp_batch_fail), and with them
     * what was published together with them. 0: it has no bound of its own, and takes events of
     * 1 MiB and batches of 8. */
    size_t event_bytes_max;
    unsigned kill_rounds;   /* of each case that kills; 0: 8 */
    const char *only;       /* the one case to run; NULL: all */
    unsigned many_events;   /* of the case "many"; 0: 50000 */
    unsigned damage_rounds; /* of the case "damage"; 0: 40 */
    /* Of the case "bounded": what files may take beside the living events, for segments and logs of
     * a fixed size. 0: 48 MiB. The case writes three to four times as much, and 30 MiB. */
    uint64_t spare_bytes;
    /* Of all that looks random; 0: always the same. Failed cases tell it. What depends on the
     * moment of a kill differs all the same. */
    uint64_t seed;
    /* After which a case has failed and its processes are killed. 0: 150 s, and for each of
     * kill_rounds 5 s more, of damage_rounds 2 s, of many_events 2 ms, of spare_bytes 1 s a MiB,
     * where they are set. */
    int64_t case_timeout_ms;
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
    /* What was expected and what was found, or why it does not apply; else "". One line. */
    const char *detail;
    int64_t elapsed_ms;
} lp_conformance_result;

/* A case has ended. `result` is borrowed until it returns. Called in the caller's process. */
typedef void (*lp_conformance_cb)(void *ctx, const lp_conformance_result *result);

/* Runs all cases, one after the other; a failed one does not stop the rest. Returns how many
 * failed, or LP_EINVAL with a sentence: something required is missing, or `only` names no case.
 * LP_ENOMEM. `on_case` may be NULL. */
LP_API int lp_conformance_run(const lp_conformance *conformance, lp_conformance_cb on_case,
                              void *ctx, lp_error *error);

/* The name of case `i` and what it holds add-ons to, one sentence; NULL past the last. Static. */
LP_API const char *lp_conformance_case_name(size_t i);
LP_API const char *lp_conformance_case_rule(size_t i);

#ifdef __cplusplus
}
#endif
#endif
