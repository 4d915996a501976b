/* The SQLite store under the conformance kit, at each of its sync levels.
 *
 *     conformance_sqlite [CASE] */
#include <longpoll/sqlite.h>

#include "report.h"

#include <stdio.h>
#include <string.h>

static int make(void *ctx, const char *directory, lp_addon **out, lp_error *error)
{
    char file[4096];
    snprintf(file, sizeof(file), "%s/events.db", directory);
    return lp_sqlite_new(file, ctx, out, error);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *label;
        lp_sync sync;
    } runs[] = {
        {"sqlite interval", LP_SYNC_INTERVAL},
        {"sqlite always", LP_SYNC_ALWAYS},
        {"sqlite never", LP_SYNC_NEVER},
    };
    run_report report = {0};
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        lp_sqlite_options options = LP_SQLITE_OPTIONS_INIT;
        options.sync = runs[i].sync;
        lp_conformance conformance = LP_CONFORMANCE_INIT;
        conformance.name = "sqlite";
        conformance.make = make;
        conformance.ctx = &options;
        conformance.claims = LP_CLAIM_ALL;
        report.label = runs[i].label;
        if (report_run(&report, &conformance, argc, argv) < 0)
            return 1;
    }
    return report_end(&report);
}
