/* longpoll bench hold: what many waiting polls cost a server, how fast one event wakes them, and
 * that all comes back when they have left. Its rounds are in bench_hold_round.c. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "../shared/load_figures.h"
#include "bench_hold_round.h"
#include "say.h"

enum { DESCRIPTORS_BESIDE = HOLD_PUBLISHERS + 16 };

static void run_cases(bench_run *run, const bench_counts *waiters, hold_plan *plan)
{
    for (int i = 0; i < waiters->count; i++) {
        char name[96];
        plan->waiters = waiters->at[i];
        snprintf(name, sizeof(name), "%ld waiters%s", plan->waiters,
                 plan->is_distinct ? ", distinct categories" : "");
        if (bench_run_has_descriptors(run, name, plan->waiters + DESCRIPTORS_BESIDE))
            bench_run_case(run, name, hold_measure, plan);
    }
}

int bench_hold(const command *self, int count, char **words)
{
    bench_run run = BENCH_RUN("hold");
    hold_plan plan = {0};
    bench_counts waiters;
    const char *waiters_text = "10000";
    run.needs_pids = true; /* to see when all polls wait */
    const flag flags[] = {
        {"waiters", "LIST", "polls that wait, each on a connection of its own (10000)", NULL,
         &waiters_text},
        {"distinct", NULL, "each waits for a category of its own", &plan.is_distinct, NULL},
        {"no-memory", NULL, "the server's memory is not judged: it runs under a sanitizer",
         &plan.ignores_memory, NULL},
        BENCH_RUN_FLAGS(run),
        {0},
    };
    int status = command_read(self, flags, count, words, NULL, 0);
    if (status < 0)
        status = bench_numbers("waiters", waiters_text, &waiters);
    if (status < 0)
        status = bench_run_open(&run, CAN_WAKE);
    if (status >= 0)
        return status;
    hold_baselines(&run, &plan);
    run_cases(&run, &waiters, &plan);
    return bench_run_close(&run);
}
