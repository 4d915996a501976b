/* The model test's world: one engine, and beside it the reference, which is written in the simplest
 * possible way: one list of all events ever published with what became of each, read from end to
 * end.
 *
 *   reference.c   the list, the rules of cursors and gaps, what the engine says it removed
 *   once.c        idempotency keys
 *   store.c       commits that come late or fail
 *   restart.c     what comes back, and what must
 *   asks.c        what simulated clients ask for
 *   client.c      their cursor habits, and what they make of answers
 *   check.c       what every answer, and every poll that waits, must be
 *   world.c       time, publishing, figures
 *   model_test.c  chooses the steps */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/engine/engine.h"

enum {
    CATEGORIES_MAX = 32,
    NAME_WIDTH = 96,
    ASKED_MAX = 6,
    CLIENTS = 12,
    GROUP_MAX = 6,
    KEYS = 10,
    LATE_MAX = 64,
    LOG_LINES = 60,
    LOG_WIDTH = 200
};

typedef enum fate {
    PENDING, /* stamped, its commit has not come back */
    VISIBLE,
    DROPPED, /* its commit failed, or it was lost before its publisher was answered */
    REMOVED
} fate;

typedef struct ref_event {
    lp_event *event;
    uint64_t seq, number; /* the number is also its data */
    uint64_t group;       /* the number of the first event that was published with it */
    size_t key;           /* under which its group was published, an index and 1; 0: none */
    int category;
    uint64_t shown;      /* how many events had become visible with it; 0: not in this life */
    uint32_t visible_us; /* the moment of it */
    fate fate;
    lp_removal_reason reason; /* of a removed one */
    uint64_t removal;         /* how many had been removed with it */
    bool retrieved;           /* the engine was told so */
    bool put_back;            /* its removal is to be told once more */
    bool stored, deleted;     /* what the store knows of it */
} ref_event;

/* What was published under a key. */
typedef struct ref_key {
    int name;
    enum { KEY_PENDING, KEY_KEPT, KEY_FREE } state;
    uint64_t digest, seq;
    uint32_t count;
    int64_t expires_ms;
    int64_t kept_expires_ms; /* as the store has it: windows may become shorter */
    bool stored;             /* the store has it */
    bool forgettable;        /* and need not have it any more */
    bool voided;             /* it has it, and that nothing came of it */
} ref_key;

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
    int64_t keys_forgotten_ms;
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
    BY_ID,      /* the last_id of each answer, alone */
    STREAM,     /* the same, and one poll is answered again and again */
    HABITS
} habit;

/* What a poll asks for: indices of categories (some may be there twice), and prefixes. */
typedef struct interests {
    int categories[ASKED_MAX];
    char prefixes[ASKED_MAX][NAME_WIDTH];
    size_t category_count, prefix_count;
    size_t distinct; /* without duplicates and prefixes that others include */
    uint32_t mask;   /* the categories that it is about, a bit each */
} interests;

struct world;
struct poll;

typedef struct client {
    struct world *world;
    int number;
    habit habit;
    interests asks;
    bool by_id, has_since, has_id;
    int64_t since_ms, last;
    lp_id id;
    struct poll *poll;      /* when it waits, or its stream rests */
    bool made_up;           /* its id was not given by the engine */
    bool answered;          /* at least once, so that its cursor came from us */
    uint64_t claim;         /* it says that it has everything up to here */
    uint64_t last_received; /* the last event it got */
} client;

/* One poll on its way. */
typedef struct poll {
    lp__waiter waiter;
    client *client;
    interests asks;
    bool is_stream, rests;
    bool was_answered; /* a stream that goes on */
    bool flushed;      /* a flush has seen it */
    bool exact;        /* may be told of unsettled milliseconds */
    bool has_cursor, from_elsewhere, maybe_elsewhere;
    uint64_t position, cursor;
    uint64_t visible_then;  /* the newest event that was visible when it came */
    uint64_t removals_told; /* when it was answered last, how many events had been removed */
    uint64_t gone_then;     /* what was gone when it came */
    uint64_t floor_then;    /* the floor when it came */
    uint64_t shown_then;    /* how many events had become visible when it was flushed */
    uint64_t target;        /* without an id of ours: the newest event that its first flush found */
    int64_t deadline_ms;
    size_t bytes_max;
} poll;

typedef struct config {
    size_t ring, events_max, events_bytes_max, answer_bytes_max, categories_max, waiters_max;
    size_t interests_max;
    int64_t ttl_ms;
    bool delete_after_first, has_store, slow_commits;
    size_t keys_max;
    int64_t key_window_ms;
    size_t changes_at_once;
    int categories; /* that have names, and how many of these are published in */
    int published;
    int wall_jumps; /* one step in so many */
    int wide;       /* one client in so many asks for several categories or prefixes */
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
    uint64_t told_seq;    /* the highest position that was told as one to resume from */

    char names[CATEGORIES_MAX][NAME_WIDTH];
    uint64_t horizon[CATEGORIES_MAX];    /* the highest event that is gone, and not as retrieved */
    uint64_t overstated[CATEGORIES_MAX]; /* what the engine may take for it, see replay_log */
    bool may_overstate;
    bool has_horizon[CATEGORIES_MAX]; /* the engine has told one, or was told one */
    bool had_highest;                 /* when this life began, numbers had been given */
    uint64_t floor_low, floor_high;   /* the floor is between */
    uint64_t removals;
    uint64_t highest; /* of all events that were ever visible */
    uint64_t given;   /* the last number */
    uint64_t published;
    uint64_t shown;    /* how many events became visible in this life */
    ref_event *events; /* in the order of their numbers */
    size_t event_count, event_capacity;
    size_t pending_at; /* the first one that may be pending */
    size_t life_at;    /* the first one since the restart */
    size_t resolving;  /* the one whose resolving goes on, SIZE_MAX: none */
    bool flushing, replaying, dismissing;

    ref_key *keys; /* in the order of publishing */
    size_t key_count, key_capacity;
    size_t latest_key[KEYS];   /* an index and 1; 0: it was not used */
    int64_t longest_key[KEYS]; /* in a replay: the latest expiry of a record of it */
    bool shorter_window;       /* than that of a life before */
    int64_t keys_forgotten_ms; /* what the store was told in this life */

    unit *units; /* changes that no commit has taken, in order */
    size_t unit_count, unit_capacity;
    record *log;
    size_t log_count, log_capacity;
    uint64_t stored_horizon[CATEGORIES_MAX], stored_floor, stored_highest;
    size_t batch_events, batch_units; /* of the commit on its way */
    uint64_t batch_highest;
    int64_t batch_keys_forgotten_ms;
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
int64_t some_key_window(world *w);
#define chance(w, one_in) (rnd((w), (one_in)) == 0)

/* ---- reference.c; a mask has a bit for each category */
#define EVERY_CATEGORY  UINT32_MAX
#define ONE_CATEGORY(c) (UINT32_C(1) << (c))
void ref_publish(world *w, lp_event *event, int category, uint64_t number, uint64_t group);
void ref_show(world *w, ref_event *event);
void ref_remove(world *w, ref_event *event, lp_removal_reason reason);
/* NULL when there is none. */
ref_event *ref_find(world *w, uint64_t seq);
/* Its number, 0: there is none. */
uint64_t ref_newest_visible(world *w, uint32_t mask);
ref_event *ref_next_visible(world *w, uint32_t mask, uint64_t after);
ref_event *ref_oldest_visible(world *w, uint32_t mask);
size_t ref_count(const world *w, int category, fate which);
int64_t ref_oldest_pending_ms(const world *w); /* INT64_MAX */
/* -1 when it is none. */
int ref_category_named(const world *w, lp_str name);
/* What is gone of them; `overstated`: what may be taken for it. */
uint64_t ref_horizon(const world *w, uint32_t mask, bool overstated);
/* The categories that begin so. */
uint32_t ref_matches(const world *w, const char *prefix);
/* What a cursor has: everything up to this number. `highest` is the highest number ever given. */
uint64_t ref_cursor(uint64_t highest, bool has_id, int64_t since_ms, lp_id id);
/* Asks the engine (or, without a store, its figures) what it has removed, and checks each. */
void ref_learn(world *w);

/* ---- store.c */
void store_begin_commit(world *w);
void store_end_commit(world *w);
void store_commit_all(world *w);
void store_take_unit(world *w, const lp_batch *batch);
/* The batch on its way is kept, but nobody has been told. */
void store_keep_batch(world *w);
/* What was on its way has never been. */
void store_forget_units(world *w);
void store_free(world *w);

/* ---- restart.c */
void restart(world *w);

/* ---- once.c */
/* Publishes under some key, unless it is known. */
void publish_once(world *w);
void once_stamped(world *w, int key, lp_event *const *events, size_t count);
void once_ended(world *w, ref_key *key, bool kept);
void once_add_to_batch(world *w, lp_batch *batch, const ref_key *key);
void once_check_batch(world *w, const lp_batch *batch, size_t first, size_t count);
void once_forget_until(world *w, int64_t until_ms);
void once_restart(world *w);
void once_replay(world *w);
void once_replayed(world *w);

/* ---- asks.c */
void ask_for_one(client *c, int category);
void ask_for_all(client *c);
void ask_for_some(client *c);

/* ---- client.c */
void client_start(client *c);
void client_poll(client *c);
void client_go_on(client *c); /* its stream, which rests */
void client_leave(client *c);
void client_dismiss(client *c);
void client_keep_position(client *c); /* of its stream, as if the connection broke now */
void tell_late_retrieval(world *w);

/* ---- check.c */
void check_answer(world *w, const poll *p, const lp_answer *answer);
/* Whether a poll with this cursor must be told of a gap now. */
bool must_tell_gap(const world *w, const poll *p);
/* `position` can be resumed from: nothing that the poll is still to be told lies there. */
void check_position(world *w, const poll *p, lp_id position);
/* From where a poll with last=N begins. */
void check_begin(world *w, poll *p, int64_t last);
void check_waiting_clients(world *w);

/* ---- world.c */
void world_open(world *w, bool first);
/* Publishes `count` events in categories of its choice around `category`, as one group, under a key
 * if `key` is not NO_KEY. */
#define NO_KEY (-1)
void publish(world *w, int category, size_t count, int key);
void resolve(world *w, bool kept);
void flush(world *w);
void drain(world *w);
/* The engine reads its clock at `now`. */
void clock_was_read(world *w);
int64_t clock_max_ms(const world *w);
void check_figures(world *w);

#endif
