/* The list of cases and the function that runs them. */
#include "kit.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const char *rule;
    void (*run)(lp__kit *kit);
} cases[] = {
    {"order", "events come back once each, in the order of their ids, to the byte", lp__case_order},
    {"all-or-nothing", "a batch whose writes fail is kept whole, or nothing of it comes back",
     lp__case_all_or_nothing},
    {"refused-event", "an event past the store's bound is refused, with a reason, and alone",
     lp__case_refused_event},
    {"refused-group", "events that were published together are refused together, with their key",
     lp__case_refused_group},
    {"replay-cuts", "a start with a ring size and a TTL loses nothing that is within them",
     lp__case_replay_cuts},
    {"removals", "an event that was removed by its retrieval does not come back",
     lp__case_removals},
    {"highest", "the highest sequence number comes back, with no event left too", lp__case_highest},
    {"keys", "idempotency keys come back until they expire", lp__case_keys},
    {"forgotten-keys", "of keys that the manager forgets, only those need not come back",
     lp__case_forgotten_keys},
    {"horizon", "horizons and the floor come back, the newest of each", lp__case_horizon},
    {"horizon-kept", "a horizon stays, the floor above it too, while its events may come back",
     lp__case_horizon_kept},
    {"restart", "odd and large events survive any number of restarts", lp__case_restart},
    {"batches", "batches of nothing, or of removals, horizons or a number alone, are kept too",
     lp__case_batches},
    {"categories", "categories, horizons and keys of every odd name are kept apart, to the byte",
     lp__case_categories},
    {"large", "data of every size up to 1 MiB, and batches of 8 MiB, come back to the byte",
     lp__case_large},
    {"many", "a great many small events come back", lp__case_many},
    {"recovery", "after failed writes a store goes on by itself, or says that it is in doubt",
     lp__case_recovery},
    {"kill", "what was acknowledged survives a kill -9 in on_publish", lp__case_kill},
    {"kill-removals", "removals, horizons and keys that were acknowledged survive a kill -9",
     lp__case_kill_removals},
    {"kill-keys", "after a kill -9 a key is there with all its events, or neither is",
     lp__case_kill_keys},
    {"kill-start", "a kill -9 in on_start, and before the first batch, loses nothing",
     lp__case_kill_start},
    {"kill-idle", "a kill -9 in on_idle loses nothing", lp__case_kill_idle},
    {"kill-compact", "a kill -9 in a thorough on_idle loses nothing", lp__case_kill_compact},
    {"kill-shutdown", "a kill -9 in on_shutdown loses nothing", lp__case_kill_shutdown},
    {"damage", "damaged files never fail a start, and what is missing is told as a loss",
     lp__case_damage},
    {"bounded", "files stay within four times what the rings hold, and a constant",
     lp__case_bounded},
    {"bounded-keys", "files stay within four times what the keys take that are not forgotten",
     lp__case_bounded_keys},
    {"vtable", "tables of an older and of a newer add-on work as one of today", lp__case_vtable},
    {"idle", "on_idle heeds its budget, and stops asking to be called again at once",
     lp__case_idle},
    {"shutdown", "on_shutdown keeps everything, its deadline passed or not", lp__case_shutdown},
    {"compact", "a thorough on_idle comes to an end and changes nothing that is kept",
     lp__case_compact},
    {"inspect", "on_inspect finds nothing wrong with a sound store, and changes nothing",
     lp__case_inspect},
    {"lock", "a store that is open cannot be opened a second time", lp__case_lock},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

/* The time that a case is given, and more for each round, event or MiB that was asked for. Above
 * the deadlines of writer.c and child.c, which know more about what hangs. */
#define FIRST_MS  150000
#define KILL_MS   5000
#define DAMAGE_MS 2000
#define MANY_MS   2
#define SPARE_MS  1000

const char *lp_conformance_case_name(size_t i)
{
    return i < CASES ? cases[i].name : NULL;
}

const char *lp_conformance_case_rule(size_t i)
{
    return i < CASES ? cases[i].rule : NULL;
}

/* Many times what any case needs on a slow disk and under a sanitizer. */
static int64_t timeout_of(const lp_conformance *options)
{
    int64_t kills = options->kill_rounds, damages = options->damage_rounds,
            many = options->many_events, spare = (int64_t)(options->spare_bytes >> 20);
    return options->case_timeout_ms ? options->case_timeout_ms
                                    : FIRST_MS + kills * KILL_MS + damages * DAMAGE_MS +
                                          many * MANY_MS + spare * SPARE_MS;
}

static bool run_case(lp__kit *kit, const lp_conformance *options, size_t i,
                     lp_conformance_cb on_case, void *ctx)
{
    int64_t started = lp__kit_now_ms();
    lp__kit_init(kit, options, cases[i].name);
    lp__guard_run(kit, cases[i].run, timeout_of(options));
    lp_conformance_result result = {.name = cases[i].name,
                                    .outcome = kit->outcome,
                                    .detail = kit->detail,
                                    .elapsed_ms = lp__kit_now_ms() - started};
    if (on_case)
        on_case(ctx, &result);
    return kit->outcome != LP_CASE_FAILED;
}

static int check_options(const lp_conformance *given, lp_conformance *options, lp_error *error)
{
    *options = (lp_conformance){.struct_size = sizeof(*options)};
    if (given->struct_size < sizeof(given->struct_size))
        return lp_error_set(error, LP_EINVAL,
                            "conformance: struct_size is 0 (use LP_CONFORMANCE_INIT)");
    memcpy(options, given,
           given->struct_size < sizeof(*options) ? given->struct_size : sizeof(*options));
    if (!options->name || !options->name[0] || strchr(options->name, '/'))
        return lp_error_set(error, LP_EINVAL,
                            "conformance: the name is empty or has a slash (it names directories)");
    if (!options->make)
        return lp_error_set(error, LP_EINVAL, "conformance: make is NULL (it makes the add-on)");
    if (!options->directory || !options->directory[0])
        return lp_error_set(error, LP_EINVAL,
                            "conformance: directory is empty (give one to work in)");
    if (options->case_timeout_ms < 0)
        return lp_error_set(error, LP_EINVAL,
                            "conformance: case_timeout_ms is negative (give 0 for the default)");
    bool known = !options->only;
    for (size_t i = 0; i < CASES && !known; i++)
        known = strcmp(options->only, cases[i].name) == 0;
    if (!known)
        return lp_error_set(error, LP_EINVAL, "conformance: there is no case \"%s\"",
                            options->only);
    return LP_OK;
}

int lp_conformance_run(const lp_conformance *conformance, lp_conformance_cb on_case, void *ctx,
                       lp_error *error)
{
    lp_conformance options;
    int status = check_options(conformance, &options, error);
    if (status != LP_OK)
        return status;
    lp__kit *kit = malloc(sizeof(*kit));
    if (!kit)
        return lp_error_set(error, LP_ENOMEM, "conformance: no memory");
    int failed = 0;
    for (size_t i = 0; i < CASES; i++)
        if (!options.only || strcmp(options.only, cases[i].name) == 0)
            failed += !run_case(kit, &options, i, on_case, ctx);
    free(kit);
    return failed;
}
