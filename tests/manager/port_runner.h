/* A thread with a loop and a port, which publishes, polls, streams, cancels and dismisses at
 * random, and checks what it is told: each callback once and on its thread, each event once and in
 * the order of its publisher. Several of them share one world, whose home loop runs on the test's
 * thread. */
#ifndef TESTS_MANAGER_PORT_RUNNER_H
#define TESTS_MANAGER_PORT_RUNNER_H

#include <stdatomic.h>

#include "core/manager/port.h"
#include "world.h"

enum {
    CATEGORIES = 3,
    READERS = 8, /* of a runner; every third one is a stream */
    RUNNERS_MAX = 8,
    PUBLISHERS_MAX = 64 /* each life of a port is one */
};

/* What all runners of a test share. */
typedef struct port_arena {
    test_world *world;
    int steps;         /* in each of which a runner does something */
    int detach_one_in; /* steps; 0: never */
    bool retrieves;    /* delete-after-first */
    atomic_int publishers;
    atomic_int publishing;  /* runners that are not through their steps */
    atomic_int outstanding; /* publishes that have not ended */
    atomic_int kept[PUBLISHERS_MAX][CATEGORIES];
    atomic_bool is_retrieved; /* all of it: with delete-after-first the readers cannot tell */
    atomic_bool is_closed;    /* the manager's end has begun, and not all that is asked for comes */
} port_arena;

typedef struct port_reader {
    struct port_runner *runner;
    lp__poll *poll; /* NULL: there is none */
    int category;
    bool is_stream, rests, is_dismissed, has_been_opened;
    lp_id cursor;
    int seen[PUBLISHERS_MAX];
    uint64_t last_seq;
} port_reader;

typedef struct port_runner {
    port_arena *arena;
    uv_thread_t thread;
    lp__port *port;
    uint64_t random;
    int publisher, published[CATEGORIES];
    port_reader readers[READERS];
    bool is_soon; /* its turn */
    int drains;
    atomic_bool has_ended;
    bool was_refused; /* the manager is closed */

    /* its loop, of one of two kinds */
    bool on_uv;
    uv_loop_t loop;
    uv_async_t alarm;
    uv_mutex_t mutex;
    uv_cond_t changed;
    bool is_rung;
} port_runner;

void arena_init(port_arena *arena, test_world *world, int steps);
void runner_start(port_runner *runner, port_arena *arena, uint64_t seed, bool on_uv);
/* Behind the thread's end. */
void runner_join(port_runner *runner);

#endif
