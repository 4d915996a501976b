/* The LMDB store under the conformance kit, at each of its sync levels.
 *
 *     conformance_lmdb [CASE] */
#include <longpoll/lmdb.h>

#include "report.h"

static int make(void *ctx, const char *directory, lp_addon **out, lp_error *error)
{
    return lp_lmdb_new(directory, ctx, out, error);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *label;
        lp_sync sync;
    } runs[] = {
        {"lmdb interval", LP_SYNC_INTERVAL},
        {"lmdb always", LP_SYNC_ALWAYS},
        {"lmdb never", LP_SYNC_NEVER},
    };
    run_report report = {0};
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        lp_lmdb_options options = LP_LMDB_OPTIONS_INIT;
        options.sync = runs[i].sync;
        lp_conformance conformance = LP_CONFORMANCE_INIT;
        conformance.name = "lmdb";
        conformance.make = make;
        conformance.ctx = &options;
        conformance.claims = LP_CLAIM_ALL;
        report.label = runs[i].label;
        if (report_run(&report, &conformance, argc, argv) < 0)
            return 1;
    }
    return report_end(&report);
}
