/* The ten-line add-on of examples/ under the conformance kit: it keeps events and nothing else.
 *
 *     conformance_example [CASE] */
#define main ten_line_addon_main
int ten_line_addon_main(int argc, char **argv);
#include "examples/ten_line_addon.c"
#undef main

#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void destroy_and_free(lp_addon *self)
{
    destroy(self);
    free(self);
}

static int make(void *ctx, const char *directory, lp_addon **out, lp_error *error)
{
    char path[1100];
    (void)ctx;
    snprintf(path, sizeof(path), "%s/events", directory);
    lp_addon *addon = calloc(1, sizeof(*addon));
    FILE *file = fopen(path, "a+b");
    if (!addon || !file)
        return lp_error_set(error, LP_EIO, "%s: %s", path, strerror(errno));
    *addon = (lp_addon)LP_ADDON_INIT("ten-line");
    addon->state = file;
    addon->on_start = on_start;
    addon->on_publish = on_publish;
    addon->on_shutdown = on_shutdown;
    addon->destroy = destroy_and_free;
    *out = addon;
    return LP_OK;
}

enum { PASSES = 20 };

int main(int argc, char **argv)
{
    run_report report = {.label = "ten-line"};
    lp_conformance conformance = LP_CONFORMANCE_INIT;
    conformance.name = "ten-line";
    conformance.make = make;
    conformance.claims = LP_CLAIM_CRASH;
    conformance.event_bytes_max = 1 << 20;
    if (report_run(&report, &conformance, argc, argv) < 0)
        return 1;
    /* Without removals, kill-removals, horizon, horizon-kept, keys, forgotten-keys, kill-keys,
     * highest, damage, bounded, bounded-keys, inspect, lock. */
    if (argc < 2 && report.passed != PASSES)
        fprintf(stderr, "ten-line: %d cases passed, expected %d\n", report.passed, PASSES);
    return report_end(&report) || (argc < 2 && report.passed != PASSES);
}
