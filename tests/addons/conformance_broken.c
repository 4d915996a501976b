/* The conformance kit itself: a sound add-on passes every case, and for each way to break the
 * contract the case that is meant to finds it.
 *
 *     conformance_broken [CASE] */
#include "log_addon.h"
#include "report.h"

#include <stdio.h>
#include <string.h>

static int make(void *ctx, const char *directory, lp_addon **out, lp_error *error)
{
    int status = log_addon_new(directory, *(log_defect *)ctx, out);
    return status == LP_OK ? LP_OK : lp_error_set(error, status, "log: no memory");
}

static const struct {
    const char *label;
    log_defect defect;
    const char *finds; /* the case */
    const char *says;  /* and a part of its sentence; NULL: any */
    int64_t case_timeout_ms;
} runs[] = {
    {"sound", LOG_SOUND, NULL},
    {"loses the last event", LOG_LOSES_THE_LAST_EVENT, "order"},
    {"reverses the order", LOG_REVERSES_THE_ORDER, "order"},
    {"keeps half a batch", LOG_KEEPS_HALF_A_BATCH, "all-or-nothing"},
    {"takes large events", LOG_TAKES_LARGE_EVENTS, "refused-event"},
    {"cuts one too many", LOG_CUTS_ONE_TOO_MANY, "replay-cuts"},
    {"cuts the young", LOG_CUTS_THE_YOUNG, "replay-cuts"},
    {"forgets removals", LOG_FORGETS_REMOVALS, "removals"},
    {"forgets the highest", LOG_FORGETS_THE_HIGHEST, "highest"},
    {"forgets keys", LOG_FORGETS_KEYS, "keys"},
    {"forgets too many keys", LOG_FORGETS_TOO_MANY_KEYS, "forgotten-keys"},
    {"keeps forgotten keys", LOG_KEEPS_FORGOTTEN_KEYS, "bounded-keys"},
    {"writes keys first", LOG_WRITES_KEYS_FIRST, "kill-keys"},
    {"writes keys later", LOG_WRITES_KEYS_LATER, "kill-keys"},
    {"keeps half a group", LOG_KEEPS_HALF_A_GROUP, "refused-group"},
    {"keeps a refused key", LOG_KEEPS_THE_REFUSED_KEY, "refused-group"},
    {"drops the horizon", LOG_DROPS_THE_HORIZON, "horizon"},
    {"drops the floor", LOG_DROPS_THE_FLOOR, "horizon"},
    {"sweeps horizons", LOG_SWEEPS_HORIZONS, "horizon-kept"},
    {"skips low horizons", LOG_SKIPS_LOW_HORIZONS, "horizon-kept"},
    {"ends text at NUL", LOG_ENDS_TEXT_AT_NUL, "restart"},
    {"writes later", LOG_WRITES_LATER, "kill"},
    {"wants events", LOG_WANTS_EVENTS, "batches"},
    {"cuts long names", LOG_CUTS_LONG_NAMES, "categories"},
    {"cuts large data", LOG_CUTS_LARGE_DATA, "large"},
    {"forgets beyond 10000", LOG_FORGETS_BEYOND_10000, "many"},
    {"stays failed", LOG_STAYS_FAILED, "recovery"},
    {"writes removals later", LOG_WRITES_REMOVALS_LATER, "kill-removals"},
    {"rewrites at the start", LOG_REWRITES_AT_START, "kill-start"},
    {"rewrites in idle", LOG_REWRITES_IN_IDLE, "kill-idle"},
    {"rewrites to compact", LOG_REWRITES_TO_COMPACT, "kill-compact"},
    {"rewrites at the end", LOG_REWRITES_AT_THE_END, "kill-shutdown"},
    {"trusts its file", LOG_TRUSTS_ITS_FILE, "damage"},
    {"hides losses", LOG_HIDES_LOSSES, "damage"},
    {"refuses damage", LOG_REFUSES_DAMAGE, "damage"},
    {"dies of damage", LOG_DIES_OF_DAMAGE, "damage"},
    {"never deletes", LOG_NEVER_DELETES, "bounded"},
    {"needs idle", LOG_NEEDS_IDLE, "vtable"},
    {"asks for ever", LOG_ASKS_FOR_EVER, "idle"},
    {"idles long", LOG_IDLES_LONG, "idle"},
    {"gives up late", LOG_GIVES_UP_LATE, "shutdown"},
    {"compacts too much", LOG_COMPACTS_TOO_MUCH, "compact"},
    {"trims to inspect", LOG_TRIMS_TO_INSPECT, "inspect"},
    {"cries wolf", LOG_CRIES_WOLF, "inspect"},
    {"shares its file", LOG_SHARES_ITS_FILE, "lock"},
    {"locks by process", LOG_LOCKS_BY_PROCESS, "lock"},
    {"leaves a torn batch", LOG_LEAVES_A_TORN_BATCH, "all-or-nothing"},
    {"crashes at the start", LOG_CRASHES_AT_START, "order", "ended by signal 11 "},
    {"exits at the start", LOG_EXITS_AT_START, "removals", "exit status 7"},
    {"hangs in publish", LOG_HANGS_IN_PUBLISH, "order", "did not end within 1.000 s", 1000},
    {"a writer hangs", LOG_HANGS_IN_PUBLISH, "recovery", "did not end within 1.000 s", 1000},
};

/* Whether the kit said what it should have. */
static int is_right(const run_report *report, const char *finds, const char *says)
{
    char name[64];
    snprintf(name, sizeof(name), " %s ", finds ? finds : "");
    if (says && !strstr(report->detail, says))
        return 0;
    return finds ? strstr(report->failed_cases, name) != NULL : report->failed_cases[0] == '\0';
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        log_defect defect = runs[i].defect;
        run_report report = {.label = runs[i].label, .quiet = 1};
        lp_conformance conformance = LP_CONFORMANCE_INIT;
        conformance.name = "log";
        conformance.make = make;
        conformance.ctx = &defect;
        conformance.claims = LP_CLAIM_ALL;
        conformance.event_bytes_max = LOG_EVENT_BYTES_MAX;
        conformance.spare_bytes = 2 << 20;
        conformance.only = runs[i].finds;
        conformance.case_timeout_ms = runs[i].case_timeout_ms;
        if (report_run(&report, &conformance, argc, argv) < 0)
            return 1;
        int right = is_right(&report, runs[i].finds, runs[i].says);
        if (!right && argc < 2)
            printf("the kit should have failed \"%s\" in \"%s\", it failed:%s\n", runs[i].label,
                   runs[i].finds ? runs[i].finds : "none", report.failed_cases);
        passed += right;
        failed += !right;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return argc < 2 && failed != 0;
}
