/* A port that a test attaches and turns by hand, on the thread of its world: so what crosses what
 * is the test's to decide. What it calls back with is recorded. */
#ifndef TESTS_MANAGER_AWAY_H
#define TESTS_MANAGER_AWAY_H

#include "core/manager/port.h"
#include "world.h"

typedef struct test_port {
    test_world *world;
    lp__port *port;
    int soons, wakes, drains; /* calls so far */
    bool is_asked;            /* for a turn */
    bool drains_later;        /* does not say itself that it has drained */
    bool leaves_at_drain;     /* says so, and is detached within the call */
    bool is_writing;          /* what it says of answers */
} test_port;

/* A poll, or a stream. */
typedef struct away_poll {
    test_port *away;
    lp__poll *poll;
    int opened, answers, refused; /* calls so far */
    int status;                   /* of the refusal */
    lp_id position;
    size_t count; /* of the last answer's events */
    uint64_t first_seq, last_seq;
    lp_event *first; /* borrowed from the world */
    bool closing;
    void (*then)(struct away_poll *self); /* within any of the calls */
} away_poll;

typedef struct away_publish {
    int calls, status;
    uint64_t seq;
    int *place, placed; /* as the how-manieth */
    void (*then)(struct away_publish *self);
    test_port *away;
} away_publish;

int away_attach(test_world *world, test_port *away);
void away_detach(test_port *away);
/* Its turn, if it was asked for one. */
void away_turn(test_port *away);
/* Turns of both until neither has anything to do at once. */
void away_settle(test_port *away);
/* Turns of both until the counter is at least so high. */
void away_run(test_port *away, const int *counter, int at_least);

int away_start(test_port *away, lp_query query, bool is_stream, away_poll *out);
int away_publish_all(test_port *away, const char *category, const char *data, int count,
                     const char *key, away_publish *out);

#endif
