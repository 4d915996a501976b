/* The model test: drives core/engine through engine.h with random steps and compares all that it
 * does with a reference (world.h says what is where).
 *
 *   model_test [SEED [STEPS]]     one seed of so many steps; without arguments a fixed handful
 *
 * One run is many short worlds, each with a configuration of its own. A failure prints the seed of
 * its world, which alone reproduces it: model_test SEED 1. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum { WORLD_STEPS = 1500 };

/* ---- chance, log, failure -----------------------------------------------------------------------
 */

/* splitmix64 */
uint64_t rnd(world *w, uint64_t below)
{
    uint64_t z = w->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % below;
}

void say(world *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->lines[w->line_count++ % LOG_LINES], LOG_WIDTH, format, args);
    va_end(args);
}

static void print_config(const config *c)
{
    printf("ring %zu, events %zu, bytes %zu, answer %zu, categories %d of %zu, waiters %zu, "
           "interests %zu, ttl %" PRId64
           ", delete after first %d, store %d, slow %d, changes at once %zu\n",
           c->ring, c->events_max, c->events_bytes_max, c->answer_bytes_max, c->categories,
           c->categories_max, c->waiters_max, c->interests_max, c->ttl_ms, c->delete_after_first,
           c->has_store, c->slow_commits, c->changes_at_once);
}

_Noreturn void fail(world *w, const char *format, ...)
{
    va_list args;
    size_t first = w->line_count > LOG_LINES ? w->line_count - LOG_LINES : 0;
    for (size_t i = first; i < w->line_count; i++)
        printf("    %s\n", w->lines[i % LOG_LINES]);
    print_config(&w->config);
    printf("seed %" PRIu64 ", step %zu: ", w->seed, w->step);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    exit(1);
}

/* ---- steps --------------------------------------------------------------------------------------
 */

static void step_publish(world *w)
{
    uint64_t count = chance(w, 20) ? 1 + rnd(w, 30) : 1 + rnd(w, 3);
    int category = (int)rnd(w, (uint64_t)w->config.published);
    while (count-- > 0) {
        publish(w, category, chance(w, 6) ? 1 + (size_t)rnd(w, GROUP_MAX) : 1, NO_KEY);
        if (chance(w, 10))
            publish_once(w);
        if (chance(w, 20))
            flush(w);
    }
}

static void step_poll(world *w)
{
    client *c = &w->clients[rnd(w, CLIENTS)];
    if (chance(w, 60))
        client_start(c);
    if (!c->poll) {
        if (chance(w, 20))
            ask_for_some(c); /* with the same cursor */
        client_poll(c);
        if (c->poll && chance(w, 12)) { /* told its position, and broken off */
            client_keep_position(c);
            client_leave(c);
        }
    } else if (chance(w, 20)) {
        if (chance(w, 3))
            client_keep_position(c);
        if (chance(w, 4))
            client_dismiss(c);
        else
            client_leave(c);
    } else if (c->poll->rests) {
        client_go_on(c);
    }
}

/* Reads all that is there: of one category (-1: of all), each time in another way. */
static void step_probe(world *w, int category)
{
    client *c = &w->probe;
    if (category < 0)
        ask_for_all(c);
    else
        ask_for_one(c, category);
    c->by_id = chance(w, 2);
    c->has_since = !c->by_id;
    c->has_id = true;
    c->since_ms = 1;
    c->id = lp_id_make(lp_seq_first(1), 0);
    client_poll(c);
    if (!c->poll)
        return;
    flush(w);
    client_leave(c);
}

static void step_time(world *w)
{
    int64_t passed = chance(w, 2)   ? 1
                     : chance(w, 2) ? (int64_t)rnd(w, 20)
                     : chance(w, 3) ? (int64_t)rnd(w, 1500)
                                    : 0;
    int64_t deadline_ms = lp__engine_deadline(w->engine);
    if (chance(w, 20) && deadline_ms != INT64_MAX && deadline_ms > w->now.mono_ms)
        passed = deadline_ms - w->now.mono_ms - (chance(w, 2) ? 1 : 0);
    w->now.mono_ms += passed;
    w->now.wall_ms += passed;
    w->now.mono_us = (uint32_t)(w->now.mono_ms * 1000 + (int64_t)rnd(w, 1000)) | 1;
    if (w->config.wall_jumps && chance(w, (uint64_t)w->config.wall_jumps)) {
        int64_t jump = (int64_t)rnd(w, chance(w, 2) ? 5 : chance(w, 2) ? 3000 : 7200000);
        w->now.wall_ms += chance(w, 3) ? jump : -jump;
        if (w->now.wall_ms < 1)
            w->now.wall_ms = 1;
        say(w, "the wall clock jumps");
    }
}

static void one_step(world *w)
{
    uint64_t choice = rnd(w, 100);
    if (choice < 22) {
        step_publish(w);
    } else if (choice < 50) {
        step_poll(w);
    } else if (choice < 60) {
        store_begin_commit(w);
    } else if (choice < 72) {
        store_end_commit(w);
    } else if (choice < 95) {
        step_time(w);
    } else if (choice < 97) {
        tell_late_retrieval(w);
    } else if (choice < 99) {
        step_probe(w, (int)rnd(w, (uint64_t)w->config.categories + 1) - 1);
    } else if (chance(w, 4)) {
        restart(w);
        for (int i = -1; i < w->config.categories; i++)
            step_probe(w, i);
    }
    if (chance(w, 2) || lp__engine_deadline(w->engine) <= w->now.mono_ms)
        flush(w);
    if (chance(w, 4))
        check_figures(w);
}

/* ---- worlds -------------------------------------------------------------------------------------
 */

int64_t some_key_window(world *w)
{
    static const int64_t windows[] = {1, 20, 1000, 1000000};
    return windows[rnd(w, 4)];
}

static config some_config(world *w)
{
    static const int64_t ttls[] = {50, 1000, 60000};
    config c = {
        .ring = chance(w, 3) ? 250 : 1 + rnd(w, 8),
        .events_max = chance(w, 2) ? 1000000 : 1 + rnd(w, 20),
        .events_bytes_max = chance(w, 2) ? 1000000 : 300 + rnd(w, 3000),
        .answer_bytes_max = chance(w, 2) ? 1000000 : 1 + rnd(w, 800),
        .waiters_max = chance(w, 2) ? 1000 : 1 + rnd(w, 10),
        .interests_max = chance(w, 2) ? 1000 : 1 + rnd(w, 20),
        .categories = 1 + (int)rnd(w, chance(w, 4)   ? CATEGORIES_MAX
                                      : chance(w, 3) ? 12
                                                     : 6),
        .categories_max = 1000,
        .ttl_ms = chance(w, 3) ? ttls[rnd(w, 3)] : 0,
        .delete_after_first = chance(w, 4),
        .has_store = !chance(w, 4),
        .slow_commits = !chance(w, 4),
        .keys_max = chance(w, 3) ? 1000 : 1 + rnd(w, KEYS),
        .key_window_ms = some_key_window(w),
        .changes_at_once = chance(w, 2) ? 1000 : 1 + rnd(w, 3),
        .wall_jumps = chance(w, 3) ? 0 : 5 + (int)rnd(w, 100),
        .wide = 1 + (int)rnd(w, 4),
    };
    c.published = c.categories - (int)rnd(w, 1 + (uint64_t)c.categories / 3);
    if (c.has_store && chance(w, 3))
        c.categories_max = 1 + rnd(w, (uint64_t)c.categories);
    return c;
}

/* Names that begin alike, and names that are the beginning of others. */
static void choose_names(world *w)
{
    static const char *const some[] = {
        "room/",
        "room/1",
        "room/10",
        "room/1/a",
        "room/1/b",
        "room/2",
        "r",
        "\"\xc3\xa9\\\n0",
        "\"\xc3\xa9\\\n1",
        "\xc3\xa9",
        "a name that is longer than most, so that beginnings of it are of every length: 1",
        "a name that is longer than most, so that beginnings of it are of every length: 2"};
    const size_t count = sizeof(some) / sizeof(some[0]);
    const size_t all = (size_t)w->config.categories < count ? count : CATEGORIES_MAX;
    bool taken[CATEGORIES_MAX] = {false};
    for (int i = 0; i < w->config.categories; i++) {
        size_t at = (size_t)rnd(w, all);
        while (taken[at])
            at = (at + 1) % all;
        taken[at] = true;
        if (at < count)
            snprintf(w->names[i], NAME_WIDTH, "%s", some[at]);
        else
            snprintf(w->names[i], NAME_WIDTH, "room/%zu/%zu", at % 3, at * at);
    }
}

static void run_world(uint64_t seed, size_t steps)
{
    world *w = calloc(1, sizeof(*w));
    w->seed = w->random = seed;
    w->config = some_config(w);
    w->now = (lp__now){chance(w, 20) ? 5 : INT64_C(1700000000000), (int64_t)rnd(w, 100000), 1};
    w->resolving = SIZE_MAX;
    w->keys_forgotten_ms = INT64_MIN;
    choose_names(w);
    world_open(w, true);
    for (int i = 0; i <= CLIENTS; i++) {
        client *c = i < CLIENTS ? &w->clients[i] : &w->probe;
        c->world = w;
        c->number = i;
        if (i < CLIENTS)
            client_start(c);
    }
    for (; w->step < steps; w->step++)
        one_step(w);

    drain(w);
    for (int i = 0; i < CLIENTS; i++)
        client_leave(&w->clients[i]); /* streams that rest */
    lp__engine_free(w->engine);
    for (size_t i = 0; i < w->event_count; i++)
        lp_event_unref(w->events[i].event);
    free(w->events);
    free(w->keys);
    store_free(w);
    free(w);
}

static void run(uint64_t seed, size_t steps)
{
    printf("seed %" PRIu64 ", %zu steps\n", seed, steps);
    fflush(stdout);
    for (size_t done = 0; done < steps; done += WORLD_STEPS)
        run_world(seed + done / WORLD_STEPS, WORLD_STEPS);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        run(strtoull(argv[1], NULL, 10), argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000);
        return 0;
    }
    for (uint64_t i = 0; i < 4; i++)
        run(1 + i * 1000000, MODEL_STEPS / 4);
    return 0;
}
