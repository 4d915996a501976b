/* One measurement of a store through the functions that drive an add-on: append, replay into a sink
 * that counts, replay into the rings of a manager. Each ends the program with a sentence when it
 * cannot do its work. One thread. */
#ifndef TOOL_BENCH_STORE_RUNS_H
#define TOOL_BENCH_STORE_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <longpoll/addon.h>

#include "../shared/load_figures.h"
#include "bench_store_pool.h"

/* What is appended and how, by ours and by the raw loops alike. */
typedef struct append_plan {
    const char *directory; /* is there and empty; files are left in it */
    const char *sync;      /* "always", "interval", "never" */
    size_t batch;          /* a power of two up to 1024 */
    uint64_t events;       /* ends the run, or: */
    long for_ms;
} append_plan;

typedef struct append_run {
    uint64_t events;
    stopwatch took;
} append_run;

/* A store of this kind, not opened yet. */
lp_addon *store_addon(const char *kind, const char *directory, const char *sync);

/* Whether this kind is compiled in and can be opened; says why not. */
bool store_is_there(const char *kind, const char *directory);

/* Appends through the store, its idle work included. With `retain`, each event removes the one
 * that came `retain` events before it, as full rings do, from a store that has come to its steady
 * state; `*disk` gets what the files take on disk at the end, before the store is closed. */
append_run store_append(const char *kind, const append_plan *plan, uint64_t retain,
                        event_pool *pool, uint64_t *disk);

/* What a child wrote whole to the other end of a pipe before it ended well; false: it did not. A
 * signal does not end the wait: the child ends soon. */
bool child_result(pid_t child, int from, void *out, size_t size);

/* Fills a store with the next `events` of the pool. */
void store_fill(const char *kind, const char *directory, uint64_t events, event_pool *pool);

/* The time of opening the store of `events` events with a sink that counts. */
stopwatch store_sink_time(const char *kind, const char *directory, uint64_t events);

/* The time of a manager's start until it serves, rings that hold all; in a process of its own, as a
 * start is. `*bytes` gets what the manager counts for a buffered event. */
stopwatch store_rings_time(const char *kind, const char *directory, uint64_t events,
                           const event_pool *pool, double *bytes);

#endif
