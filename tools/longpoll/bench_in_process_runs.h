/* The measurements of `longpoll bench in-process`: a manager on a uv loop of its own, through the
 * public interface alone. Each runs in a process of its own, as a program's manager does, and ends
 * the whole with a sentence when it cannot do its work. Main thread. */
#ifndef TOOL_BENCH_IN_PROCESS_RUNS_H
#define TOOL_BENCH_IN_PROCESS_RUNS_H

#include <stdint.h>

#define IN_PROCESS_THREADS_MAX 64

typedef struct in_process_plan {
    const char *store;     /* "memory", or the kind of a store */
    const char *sync;      /* its level */
    const char *directory; /* for the store: is there and empty, and gets files */
    int threads;           /* that publish, beside the loop's own; 0: the loop's own does */
    uint64_t events;       /* that are published and timed */
    int64_t bytes;         /* of the data of each */
    uint64_t categories;   /* that take turns; in another order than that they came in */
    int64_t ring;          /* event_buffer_max */
} in_process_plan;

typedef struct in_process_run {
    uint64_t operations;
    uint64_t wall_us, cpu_us; /* of the whole process */
    uint64_t loop_cpu_us;     /* of the loop's thread alone */
    double memory_bytes;      /* that an operation left behind, see below */
    double wire_bytes;        /* of one event */
} in_process_run;

/* Publishes into rings that are full: each event pushes one out, its callback checks that it was
 * kept and that ids rise. */
in_process_run in_process_publish(const in_process_plan *plan);

/* Waiters on as many categories, each with one: publishes an event, which answers its waiter, which
 * waits again behind it. An operation is all of that. */
in_process_run in_process_wake(const in_process_plan *plan);

/* Publishes what stays: `memory_bytes` is what the process grew by for each event. */
in_process_run in_process_memory(const in_process_plan *plan);

#endif
