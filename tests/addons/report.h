/* How the programs of this folder run the conformance kit and say what came of it: a line for each
 * case, and a last line "N passed, N failed, N not applicable". KIT_KILL_ROUNDS, KIT_DAMAGE_ROUNDS,
 * KIT_MANY_EVENTS and KIT_SEED of the environment set the fields of the same name, where they are
 * numbers other than 0: for longer runs by hand. */
#ifndef TESTS_ADDONS_REPORT_H
#define TESTS_ADDONS_REPORT_H

#include <longpoll/conformance.h>

typedef struct run_report {
    const char *label; /* before each line */
    int passed, failed, not_applicable;
    char failed_cases[512]; /* their names, each between blanks */
    char detail[256];       /* of the last of them */
    int quiet;              /* says nothing of cases that fail, because they have to */
} run_report;

/* Runs the kit in a temporary directory beneath $TMPDIR. `directory` is filled in here, and `only`
 * from argv[1], if there is one. Returns the number of failed cases, -1 when it did not run.
 */
int report_run(run_report *report, lp_conformance *conformance, int argc, char **argv);

/* The last line. Returns what main returns: 0 when none failed, and some passed. */
int report_end(const run_report *report);

#endif
