/* The model test's world: one engine, and beside it the reference, which is written in the simplest
 * possible way: one list of all events ever published with what became of each, read from end to
 * end.
 *
 *   reference.c   the list, the rules of cursors and gaps, what the engine says it removed
 *   store.c       commits that come late or fail, and restarts
 *   client.c      simulated clients: their cursor habits, and the checks of every answer
 *   world.c       time, publishing, figures
 *   model_test.c  chooses the steps */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/engine/engine.h"

enum { CATEGORIES_MAX = 12, CLIENTS = 12, LATE_MAX = 64, LOG_LINES = 60, LOG_WIDTH = 160 };

typedef enum fate {
    PENDING, /* stamped, its commit has not come back */
    VISIBLE,
    DROPPED, /* its commit failed, or it was lost before its publisher was answered */
    REMOVED
} fate;

typedef struct ref_event {
    lp_event *event;
    uint64_t seq, number; /* the number is also its data */
    int category;
    fate fate;
    lp_removal_reason reason; /* of a removed one */
    bool retrieved;           /* the engine was told so */
    bool put_back;            /* its removal is to be told once more */
    bool stored, deleted;     /* what the store knows of it */
} ref_event;

/* What one call of lp__engine_take_changes gave: a store keeps all of it or nothing. */
typedef struct change {
    enum { REMOVAL, HORIZON } kind;
    uint64_t seq;
    int category; /* -1: the floor */
    lp_removal_reason reason;
} change;

typedef struct unit {
    change *changes;
    size_t count;
    uint64_t highest;
} unit;

/* A line of the log that an append-only store would have. */
typedef struct record {
    enum { LOG_EVENT, LOG_REMOVAL, LOG_HORIZON } kind;
    uint64_t seq;
    int category;
} record;

typedef enum habit {
    GO,         /* since_time moves to the timeout's timestamp, last_id stays */
    JAVASCRIPT, /* both stay */
    CURL,       /* since_time alone, of the last event or of the timeout */
    HABITS
} habit;

struct world;
struct poll;

typedef struct client {
    struct world *world;
    int number;
    habit habit;
    int category;
    bool has_since, has_id;
    int64_t since_ms;
    lp_id id;
    struct poll *poll;      /* when it waits */
    bool made_up;           /* its id was not given by the engine */
    bool answered;          /* at least once, so that its cursor came from us */
    uint64_t claim;         /* it says that it has everything up to here */
    uint64_t last_received; /* the last event it got */
} client;

/* One poll on its way. */
typedef struct poll {
    lp__waiter waiter;
    client *client;
    bool flushed; /* a flush has seen it */
    bool exact;   /* has an id of ours: may be told of unsettled milliseconds */
    bool has_cursor, from_elsewhere;
    uint64_t position, cursor;
    uint64_t target; /* without an id of ours: the newest event that its first flush found */
    int64_t deadline_ms;
} poll;

typedef struct config {
    size_t ring, events_max, events_bytes_max, answer_bytes_max, categories_max, waiters_max;
    int64_t ttl_ms;
    bool delete_after_first, has_store, slow_commits;
    size_t changes_at_once;
    int categories;
    int wall_jumps; /* one step in so many */
} config;

typedef struct world {
    uint64_t seed, random;
    size_t step;
    config config;
    lp__engine *engine;
    lp__now now;
    int64_t read_ms;      /* when the engine read its clock last, monotonic */
    int64_t clock_halves; /* twice the engine's clock at most */
    int64_t told_ms;      /* the highest timestamp of a timeout */

    char names[CATEGORIES_MAX][24];
    uint64_t horizon[CATEGORIES_MAX];    /* the highest event that is gone, and not as retrieved */
    uint64_t overstated[CATEGORIES_MAX]; /* what the engine may take for it, see replay_log */
    bool may_overstate;
    uint64_t floor_low, floor_high; /* the floor is between */
    uint64_t highest;               /* of all events that were ever visible */
    uint64_t given;                 /* the last number */
    uint64_t published;
    ref_event *events; /* in the order of their numbers */
    size_t event_count, event_capacity;
    size_t pending_at; /* the first one that may be pending */
    size_t life_at;    /* the first one since the restart */
    size_t resolving;  /* the one whose resolving goes on, SIZE_MAX: none */
    bool flushing, replaying;

    unit *units; /* changes that no commit has taken, in order */
    size_t unit_count, unit_capacity;
    record *log;
    size_t log_count, log_capacity;
    uint64_t stored_horizon[CATEGORIES_MAX], stored_floor, stored_highest;
    size_t batch_events, batch_units; /* of the commit on its way */
    uint64_t batch_highest;
    bool committing;

    client clients[CLIENTS];
    client probe;
    uint64_t late[LATE_MAX]; /* events of one answer that were retrieved, and not told yet */
    size_t late_count;
    lp__engine_stats counted, base; /* what the engine should have counted, since base */

    char lines[LOG_LINES][LOG_WIDTH];
    size_t line_count;
    size_t visible_count, visible_bytes;
} world;

/* ---- model_test.c */
void say(world *w, const char *format, ...) LP_PRINTF(2, 3);
/* Prints the seed, the configuration and the last lines, and ends the program with 1. */
_Noreturn void fail(world *w, const char *format, ...) LP_PRINTF(2, 3);
uint64_t rnd(world *w, uint64_t below);
#define chance(w, one_in) (rnd((w), (one_in)) == 0)

/* ---- reference.c */
void ref_publish(world *w, lp_event *event, int category, uint64_t number);
void ref_show(world *w, ref_event *event);
void ref_remove(world *w, ref_event *event, lp_removal_reason reason);
/* NULL when there is none. */
ref_event *ref_find(world *w, uint64_t seq);
/* Its number, 0: there is none. */
uint64_t ref_newest_visible(world *w, int category);
ref_event *ref_next_visible(world *w, int category, uint64_t after);
ref_event *ref_oldest_visible(world *w, int category); /* -1: of all */
size_t ref_count(const world *w, int category, fate which);
int64_t ref_oldest_pending_ms(const world *w); /* INT64_MAX */
/* -1 when it is none. */
int ref_category_named(const world *w, lp_str name);
/* What a cursor has: everything up to this number. `highest` is the highest number ever given. */
uint64_t ref_cursor(uint64_t highest, bool has_id, int64_t since_ms, lp_id id);
/* Asks the engine (or, without a store, its figures) what it has removed, and checks each. */
void ref_learn(world *w);

/* ---- store.c */
void store_begin_commit(world *w);
void store_end_commit(world *w);
void store_commit_all(world *w);
void store_take_unit(world *w, const lp_batch *batch);
void restart(world *w);
void store_free(world *w);

/* ---- client.c */
void client_start(client *c, int category);
void client_poll(client *c);
void client_leave(client *c);
void clients_after_flush(world *w);
void tell_late_retrieval(world *w);

/* ---- world.c */
void world_open(world *w, bool first);
void publish(world *w, int category);
void resolve(world *w, bool kept);
void flush(world *w);
void drain(world *w);
/* The engine reads its clock at `now`. */
void clock_was_read(world *w);
int64_t clock_max_ms(const world *w);
void check_figures(world *w);

#endif
