/* Publishing at a rate to many readers, and what came of it: the work of `bench latency` and `bench
 * sse`. Main thread. */
#ifndef TOOL_BENCH_DELIVERY_H
#define TOOL_BENCH_DELIVERY_H

#include "bench_reader.h"
#include "bench_run.h"

typedef struct delivery_plan {
    long subscribers, rate, categories, publishers, bytes;
    double seconds;
    cursor_habit habit;
    bool streams;
} delivery_plan;

/* One round. Each event is to reach each reader of its category once, in the order of its
 * publisher, and all of them in one order: what does not hold is a failed check. */
bench_measure delivery_measure; /* its ctx is a delivery_plan */

#endif
