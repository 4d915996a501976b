/* The journal under the conformance kit, at each of its sync levels, and with segments so small
 * that every case crosses many of them.
 *
 *     conformance_journal [CASE] */
#include <longpoll/journal.h>

#include "report.h"

#include <stdio.h>
#include <string.h>

static int make(void *ctx, const char *directory, lp_addon **out, lp_error *error)
{
    return lp_journal_new(directory, ctx, out, error);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *label;
        lp_sync sync;
        int64_t segment_bytes;
    } runs[] = {
        {"journal interval", LP_SYNC_INTERVAL, 0},
        {"journal always", LP_SYNC_ALWAYS, 0},
        {"journal never", LP_SYNC_NEVER, 0},
        {"journal always, 4096", LP_SYNC_ALWAYS, 4096},
        {"journal interval, 65536", LP_SYNC_INTERVAL, 65536},
    };
    run_report report = {0};
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        lp_journal_options options = LP_JOURNAL_OPTIONS_INIT;
        options.sync = runs[i].sync;
        options.segment_bytes = runs[i].segment_bytes;
        lp_conformance conformance = LP_CONFORMANCE_INIT;
        conformance.name = "journal";
        conformance.make = make;
        conformance.ctx = &options;
        conformance.claims = LP_CLAIM_ALL;
        report.label = runs[i].label;
        if (report_run(&report, &conformance, argc, argv) < 0)
            return 1;
    }
    return report_end(&report);
}
