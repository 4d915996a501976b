/* The rounds of `longpoll bench hold`. Main thread. */
#ifndef TOOL_BENCH_HOLD_ROUND_H
#define TOOL_BENCH_HOLD_ROUND_H

#include "../shared/load_figures.h"
#include "bench_run.h"

enum { HOLD_PUBLISHERS = 16 }; /* connections that publish when there are many categories */

/* A server before the first connection, and with all polls waiting in the round before. */
typedef struct hold_baseline {
    process_memory memory;
    size_t descriptors;
    uint64_t waiting_kb;
} hold_baseline;

typedef struct hold_plan {
    long waiters;
    bool is_distinct, ignores_memory;
    hold_baseline baselines[TARGETS_MAX];
} hold_plan;

/* Serves each target a few requests, so that what it makes once is nobody's cost, and notes its
 * figures. */
void hold_baselines(bench_run *run, hold_plan *plan);

bench_measure hold_measure; /* its ctx is a hold_plan */

#endif
