/* The list of cases and the function that runs them. */
#include "kit.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

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
    {"replay-cuts", "a start with a ring size and a TTL loses nothing that is within them",
     lp__case_replay_cuts},
    {"removals", "an event that was removed by its retrieval does not come back",
     lp__case_removals},
    {"highest", "the highest sequence number comes back, with no event left too", lp__case_highest},
    {"keys", "idempotency keys come back until they expire", lp__case_keys},
    {"horizon", "horizons and the floor come back, the newest of each", lp__case_horizon},
    {"restart", "odd and large events survive any number of restarts", lp__case_restart},
    {"kill", "what was acknowledged survives a kill -9 at any moment", lp__case_kill},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

const char *lp_conformance_case_name(size_t i)
{
    return i < CASES ? cases[i].name : NULL;
}

const char *lp_conformance_case_rule(size_t i)
{
    return i < CASES ? cases[i].rule : NULL;
}

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool run_case(lp__kit *kit, const lp_conformance *options, size_t i,
                     lp_conformance_cb on_case, void *ctx)
{
    int64_t started = monotonic_ms();
    lp__kit_begin(kit, options, cases[i].name);
    cases[i].run(kit);
    lp__kit_close(kit); /* so that a failing close fails the case */
    lp__kit_end(kit);
    lp_conformance_result result = {.name = cases[i].name,
                                    .outcome = kit->outcome,
                                    .detail = kit->detail,
                                    .elapsed_ms = monotonic_ms() - started};
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
