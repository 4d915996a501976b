/* See report.h. */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_case(void *ctx, const lp_conformance_result *result)
{
    static const char *words[] = {"ok", "FAILED", "n/a"};
    run_report *report = ctx;
    size_t len = strlen(report->failed_cases);
    if (result->outcome == LP_CASE_FAILED) {
        snprintf(report->failed_cases + len, sizeof(report->failed_cases) - len, " %s ",
                 result->name);
        snprintf(report->detail, sizeof(report->detail), "%s", result->detail);
    }
    report->passed += result->outcome == LP_CASE_PASSED;
    report->failed += result->outcome == LP_CASE_FAILED;
    report->not_applicable += result->outcome == LP_CASE_NOT_APPLICABLE;
    printf("%-24s %-15s %-7s %6lld ms%s%s\n", report->label, result->name, words[result->outcome],
           (long long)result->elapsed_ms, result->detail[0] ? "  " : "", result->detail);
    fflush(stdout);
}

/* Failed cases leave their directories, which are of no use when they have to fail. */
static void remove_directory(const char *directory)
{
    char command[1100];
    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    if (system(command) != 0)
        fprintf(stderr, "%s could not be removed\n", directory);
}

/* A number of the environment, 0 when it is not set. */
static uint64_t number_of(const char *name)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

/* More of everything, by hand. */
static void scale(lp_conformance *conformance)
{
    uint64_t kills = number_of("KIT_KILL_ROUNDS"), many = number_of("KIT_MANY_EVENTS"),
             damages = number_of("KIT_DAMAGE_ROUNDS"), seed = number_of("KIT_SEED");
    if (kills)
        conformance->kill_rounds = (unsigned)kills;
    if (many)
        conformance->many_events = (unsigned)many;
    if (damages)
        conformance->damage_rounds = (unsigned)damages;
    if (seed)
        conformance->seed = seed;
}

int report_run(run_report *report, lp_conformance *conformance, int argc, char **argv)
{
    char directory[1024];
    const char *base = getenv("TMPDIR");
    lp_error error;
    snprintf(directory, sizeof(directory), "%s/conformance-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(directory)) {
        perror(directory);
        return -1;
    }
    conformance->directory = directory;
    scale(conformance);
    if (argc > 1)
        conformance->only = argv[1];
    report->failed_cases[0] = report->detail[0] = '\0';
    int failed = lp_conformance_run(conformance, on_case, report, &error);
    if (failed < 0)
        fprintf(stderr, "%s: %s\n", report->label, error.message);
    if (failed == 0 || report->quiet)
        remove_directory(directory);
    return failed < 0 ? -1 : failed;
}

int report_end(const run_report *report)
{
    printf("%d passed, %d failed, %d not applicable\n", report->passed, report->failed,
           report->not_applicable);
    return report->failed == 0 && report->passed > 0 ? 0 : 1;
}
