/* longpoll bench latency, and longpoll bench sse: how fast an event reaches those who wait for it,
 * and that it reaches each once. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "../shared/values.h"
#include "bench_delivery.h"
#include "say.h"

typedef struct words_of {
    const char *subscribers, *rate, *categories, *publishers, *bytes, *seconds, *cursor;
} words_of;

typedef struct options {
    delivery_plan plan;
    bench_counts subscribers, rates, categories;
} options;

static int read_habit(const char *text, cursor_habit *out)
{
    for (int i = 0; i < HABIT_COUNT; i++) {
        *out = (cursor_habit)i;
        if (strcmp(habit_name(*out), text) == 0)
            return -1;
    }
    return say_usage("--cursor \"%s\": must be one of go, js and curl", text);
}

static int read_options(const words_of *w, options *out)
{
    int64_t ms = 0;
    int status = bench_numbers("subscribers", w->subscribers, &out->subscribers);
    if (status < 0)
        status = bench_numbers("rate", w->rate, &out->rates);
    if (status < 0)
        status = bench_numbers("categories", w->categories, &out->categories);
    if (status < 0)
        status = bench_number("publishers", w->publishers, &out->plan.publishers);
    if (status < 0)
        status = bench_number("bytes", w->bytes, &out->plan.bytes);
    if (status < 0)
        status = read_habit(w->cursor, &out->plan.habit);
    if (status < 0 && (!value_duration_ms(w->seconds, &ms) || ms < 1))
        status = say_usage("--seconds \"%s\": must be seconds, such as 10 or 0.5", w->seconds);
    out->plan.seconds = (double)ms / 1e3;
    return status;
}

static void run_case(bench_run *run, options *o)
{
    const delivery_plan *plan = &o->plan;
    char name[160];
    int n = snprintf(name, sizeof(name), "%ld subscribers x %ld events/s", plan->subscribers,
                     plan->rate);
    if (plan->categories > 1)
        n += snprintf(name + n, sizeof(name) - (size_t)n, ", %ld categories", plan->categories);
    if (plan->publishers > 1)
        n += snprintf(name + n, sizeof(name) - (size_t)n, ", %ld publishers", plan->publishers);
    if (plan->bytes != 200)
        snprintf(name + n, sizeof(name) - (size_t)n, ", %ld bytes", plan->bytes);
    if (bench_run_has_descriptors(run, name, plan->subscribers + plan->publishers))
        bench_run_case(run, name, delivery_measure, &o->plan);
}

static void run_cases(bench_run *run, options *o)
{
    for (int s = 0; s < o->subscribers.count; s++) {
        for (int r = 0; r < o->rates.count; r++) {
            for (int c = 0; c < o->categories.count; c++) {
                o->plan.subscribers = o->subscribers.at[s];
                o->plan.rate = o->rates.at[r];
                o->plan.categories = o->categories.at[c];
                run_case(run, o);
            }
        }
    }
}

static int deliver(const command *self, bench_run *run, bool streams, int count, char **words)
{
    options o = {.plan.streams = streams};
    words_of w = {"100", "200", "1", "1", "200", "5", "go"};
    const flag flags[] = {
        {"subscribers", "LIST", "readers, each with a connection (100)", NULL, &w.subscribers},
        {"rate", "LIST", "events a second, of all publishers (200)", NULL, &w.rate},
        {"categories", "LIST", "the readers share them (1)", NULL, &w.categories},
        {"publishers", "N", "each with one publish out (1)", NULL, &w.publishers},
        {"bytes", "N", "the data of an event (200)", NULL, &w.bytes},
        {"seconds", "T", "of publishing (5)", NULL, &w.seconds},
        {"cursor", "HABIT", "of polls: as clients in go, js or curl go on (go)", NULL, &w.cursor},
        BENCH_RUN_FLAGS(*run),
        {0},
    };
    int status = command_read(self, flags, count, words, NULL, 0);
    if (status < 0)
        status = read_options(&w, &o);
    bool has_many = status < 0 && (o.categories.count > 1 || o.categories.at[0] > 1);
    if (status < 0)
        status = bench_run_open(run, CAN_WAKE | CAN_CURSOR | (streams ? CAN_STREAM : 0u) |
                                         (has_many ? CAN_CATEGORIES : 0u));
    if (status >= 0)
        return status;
    run_cases(run, &o);
    return bench_run_close(run);
}

int bench_latency(const command *self, int count, char **words)
{
    bench_run run = BENCH_RUN("latency");
    return deliver(self, &run, false, count, words);
}

int bench_sse(const command *self, int count, char **words)
{
    bench_run run = BENCH_RUN("sse");
    return deliver(self, &run, true, count, words);
}
