/* One manager on a loop of its own, for tests: what it calls back with is recorded, and the loop
 * runs until what is waited for has happened, or until a deadline that means failure.
 *
 * Every function is called on one thread, which runs the loop. Each callback checks that it comes
 * on that thread, once, and not from within a call of the library. */
#ifndef TESTS_MANAGER_WORLD_H
#define TESTS_MANAGER_WORLD_H

#include <stdbool.h>

#include <uv.h>

#include <longpoll/addon.h>
#include <longpoll/manager.h>

typedef struct test_world {
    uv_loop_t loop;
    uv_thread_t thread;
    int calling; /* calls of the library that have not returned */

    lp_manager_options options; /* to be changed before world_start */
    lp_manager *manager;
    int completions, answers; /* so far, of all publishes and polls */

    lp_state states[16]; /* that on_state told */
    size_t state_count;
    lp_error state_error; /* the last that came with a state */
    void (*on_state)(struct test_world *world, lp_state state);
    void *user;

    int ended; /* shutdown callbacks */
    lp_error end_error;
    uint64_t unkept;
    bool free_at_end; /* frees the manager within the callback */

    /* the world's own */
    uv_timer_t watchdog;
    uv_prepare_t look;
    bool (*met)(void *ctx);
    void *met_ctx;
    lp_event **held;
    size_t held_count, held_capacity;
    uv_mutex_t log_mutex;
    char lines[64][256];
    size_t line_count;
} test_world;

/* A publish and its completion. */
typedef struct test_publish {
    test_world *world;
    int calls, place; /* how often it was completed; as the how-manieth of all */
    lp_error error;
    lp_event *event; /* borrowed from the world; NULL: it was not kept */
    void (*then)(struct test_publish *published);
    void *user;
} test_publish;

enum { POLLED_MAX = 600 };

/* A poll and its answer. */
typedef struct test_poll {
    test_world *world;
    lp_subscription *subscription;
    int calls, place;
    size_t count;
    lp_event *events[POLLED_MAX]; /* borrowed from the world */
    int64_t timestamp_ms;
    bool gap, closing;
    void (*then)(struct test_poll *polled); /* within the callback */
    void *user;
} test_poll;

void world_init(test_world *world);
/* Starts the manager, and runs until its store is open where there is one. */
void world_start(test_world *world);
/* Only starts it: the status. */
int world_begin(test_world *world, lp_error *error);
void world_shutdown(test_world *world, int64_t timeout_ms);
/* Shuts the manager down if nobody has, frees it, closes the loop: all of that must work. */
void world_end(test_world *world);
/* The last part of it, where no manager was started. */
void world_close(test_world *world);

int world_publish(test_world *world, const char *category, const char *data, test_publish *out);
/* Publishes and runs until it is kept: the event, borrowed from the world. */
lp_event *world_keep(test_world *world, const char *category, const char *data);

lp_query query_now(const char *category);
/* Without an id: whole milliseconds, as far as they are over. */
lp_query query_since(const char *category, int64_t since_ms);
/* With an id: all that is visible behind it. */
lp_query query_behind(const char *category, uint64_t seq);
lp_query query_after(const char *category, const lp_event *event);
lp_query query_from(const char *category, const lp_event *event);
/* Everything that the category has. */
lp_query query_all(const char *category);

int world_poll(test_world *world, lp_query query, test_poll *out);
/* Polls and runs until it is answered. */
void world_answer(test_world *world, lp_query query, test_poll *out);
void world_cancel(test_world *world, test_poll *polled);

void world_run_until(test_world *world, bool (*met)(void *ctx), void *ctx);
/* Runs until the counter is at least so high. */
void world_run(test_world *world, const int *counter, int at_least);
void world_run_to_state(test_world *world, lp_state state);
/* Runs what can be run without waiting. */
void world_turn(test_world *world);

/* For callbacks of other kinds: that it comes on the right thread and not from within a call; that
 * an event lives as long as the world. */
void world_check_callback(const test_world *world);
lp_event *world_hold(test_world *world, const lp_event *event);

lp_stats world_stats(const test_world *world);
bool world_logged(test_world *world, const char *part);
/* Any thread, while the manager runs. */
bool event_is(const lp_event *event, const char *data);

#endif
