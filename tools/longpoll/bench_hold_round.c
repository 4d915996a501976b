/* See bench_hold_round.h. A round, in this order:
 *   1. all poll; memory is read once the server has a descriptor for each and is quiet.
 *   2. one event (with distinct categories one for each), and the time until all have it.
 *   3. all poll again: memory of waiters that were woken once.
 *   4. every connection is closed, half by FIN and half by RST, and the server's descriptors are
 *      waited for. A server that kept its waiters would grow from round to round. */
#include "bench_hold_round.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_reader.h"
#include "say.h"

#define CONNECTING_MAX 256      /* SYNs out at a time: fewer than any listen backlog */
#define DEADLINE_US    60000000 /* for anything */
#define TURN_US        10000
#define QUIET_US       200000  /* a server that has nothing to do uses less than */
#define QUIET_CPU_US   4000    /* so much of it */
#define LOOK_US        500     /* between looks at what changes fast */
#define GIVE_BACK_US   1500000 /* servers have so long to give memory back */
#define SLACK_KB       4096
#define FRESH_KB       16384 /* a server that has just been started has less */

typedef struct hold hold;

typedef struct waiter {
    bench_reader reader;
    hold *hold;
    char category[64];
    uint64_t received;
} waiter;

struct hold {
    hold_plan *plan;
    const bench_target *target;
    hold_baseline *baseline;
    bench_report *report;
    int round;
    const char *case_name;

    http_client client;
    char run[48];
    waiter *waiters;
    connection publishers[HOLD_PUBLISHERS];
    bench_message message;
    size_t received, published, publish_failures;
    uint64_t published_us;
    uint32_t *latencies;
    long waiters_told; /* by the server's metrics; -1: it does not tell */
};

/* ---- turns ----------------------------------------------------------------------------------- */

static void turn(hold *h, uint64_t *deadline_us, const char *what)
{
    if (*deadline_us == 0)
        *deadline_us = now_us() + DEADLINE_US;
    if (now_us() > *deadline_us)
        fail("%s: gave up waiting until %s", h->target->name, what);
    bench_turn(&h->client, now_us() + TURN_US);
}

static void wait_us(hold *h, uint64_t us)
{
    uint64_t until = now_us() + us;
    while (now_us() < until)
        client_turn(&h->client, until);
}

/* Until the server does hardly anything; where it never rests, for as long as anything may take. */
static void wait_until_quiet(hold *h)
{
    uint64_t cpu_us = process_cpu_us(h->target->pid), since_us = now_us();
    uint64_t until_us = since_us + DEADLINE_US;
    while (now_us() - since_us < QUIET_US && now_us() < until_us) {
        bench_turn(&h->client, now_us() + TURN_US);
        if (process_cpu_us(h->target->pid) - cpu_us > QUIET_CPU_US) {
            cpu_us = process_cpu_us(h->target->pid);
            since_us = now_us();
        }
    }
}

static void told(const hold *h, const char *figure, const char *unit, double value)
{
    bench_report_add(h->report, h->round, h->case_name, h->target->name, figure, unit, value);
}

static uint64_t user_kb(const process_memory *memory)
{
    return memory->anonymous_kb + memory->shared_kb;
}

static uint64_t told_memory(const hold *h, const char *figure)
{
    process_memory now = process_memory_get(h->target->pid);
    double more = (double)user_kb(&now) - (double)user_kb(&h->baseline->memory);
    told(h, figure, "KiB/waiter", more / (double)h->plan->waiters);
    return user_kb(&now);
}

/* ---- publishing ------------------------------------------------------------------------------ */

static void on_published(connection *c, int status, char *body, size_t len)
{
    hold *h = c->owner;
    if (!kind_published(h->target->kind, status, body, len))
        check(h->publish_failures++ > 0, "%s: a publish was answered %d: %.200s", h->target->name,
              status, body);
    h->published++;
}

static void on_publisher_lost(connection *c, int error)
{
    hold *h = c->owner;
    fail("%s: the connection of a publisher was lost: %s (is the server at %s running?)",
         h->target->name, error != 0 ? strerror(error) : "closed", h->target->url);
}

static void publish(hold *h, connection *c, const char *category)
{
    kind_wake(h->target->kind, &h->message, category, "wake", 4);
    connection_send(c, &h->message.request);
}

static void publishers_init(hold *h)
{
    for (int p = 0; p < HOLD_PUBLISHERS; p++) {
        connection_init(&h->publishers[p], &h->client);
        h->publishers[p].on_answer = on_published;
        h->publishers[p].on_lost = on_publisher_lost;
        h->publishers[p].owner = h;
    }
}

static void publishers_close(hold *h)
{
    for (int p = 0; p < HOLD_PUBLISHERS; p++)
        connection_free(&h->publishers[p]);
}

static void on_metrics(connection *c, int status, char *body, size_t len)
{
    hold *h = c->owner;
    const char *found = status == 200 ? strstr(body, "\nlongpoll_waiters ") : NULL;
    (void)len;
    h->waiters_told = found != NULL ? strtol(found + strlen("\nlongpoll_waiters "), NULL, 10) : -1;
    h->published++;
}

static void check_waiters(hold *h, long expected)
{
    connection *c = &h->publishers[0];
    size_t before = h->published;
    uint64_t deadline_us = 0;
    if (!kind_is(h->target->kind, "longpoll"))
        return;
    c->on_answer = on_metrics;
    connection_get(c, "/metrics");
    while (h->published == before)
        turn(h, &deadline_us, "it has told its metrics");
    c->on_answer = on_published;
    check(h->waiters_told < 0 || h->waiters_told == expected, "%s: %ld polls wait, not %ld",
          h->target->name, h->waiters_told, expected);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void on_event(bench_reader *reader, const char *data, size_t len)
{
    waiter *w = (waiter *)reader;
    hold *h = w->hold;
    (void)data;
    (void)len;
    w->received++;
    h->latencies[h->received++ % (size_t)h->plan->waiters] = (uint32_t)(now_us() - h->published_us);
    reader_stop(reader);
}

static void all_poll(hold *h, bool first)
{
    uint64_t deadline_us = 0;
    long connected = 0;
    for (long i = 0; i < h->plan->waiters; i++) {
        if (first)
            reader_start(&h->waiters[i].reader, &h->client);
        else
            reader_poll(&h->waiters[i].reader);
        while (connected < i - CONNECTING_MAX) {
            if (h->waiters[connected].reader.subscriber.connection.connected)
                connected++;
            else
                turn(h, &deadline_us, "all are connected");
        }
    }
    while (process_descriptors(h->target->pid) <
           h->baseline->descriptors + (size_t)h->plan->waiters)
        turn(h, &deadline_us, "it has accepted all connections");
    wait_until_quiet(h);
}

/* The one event of a server without categories wakes all: then its figures are of another work. */
static bool has_own_categories(const hold *h)
{
    return h->plan->is_distinct && (h->target->kind->abilities & CAN_CATEGORIES) != 0;
}

static void wake_all(hold *h)
{
    bool is_distinct = has_own_categories(h);
    long waiters = h->plan->waiters, to_publish = is_distinct ? waiters : 1, sent = 0;
    uint64_t deadline_us = 0;
    h->received = h->published = 0;
    bench_spent spent = bench_spent_start(h->target);
    h->published_us = now_us();
    while (h->received < (size_t)waiters || h->published < (size_t)to_publish) {
        for (int p = 0; p < HOLD_PUBLISHERS && sent < to_publish; p++) {
            if (!h->publishers[p].busy)
                publish(h, &h->publishers[p], h->waiters[sent++].category);
        }
        turn(h, &deadline_us, "all have their event");
    }
    spent = bench_spent_get(spent);
    figures_sort(h->latencies, (size_t)waiters);
    if (is_distinct == h->plan->is_distinct) {
        told(h, "half woken", "ms", figures_at(h->latencies, (size_t)waiters, 0.5) / 1e3);
        told(h, "last woken", "ms", figures_at(h->latencies, (size_t)waiters, 1) / 1e3);
        told(h, "server CPU", "us/delivery", (double)spent.server_us / (double)waiters);
        told(h, "client CPU", "us/delivery", (double)spent.own_us / (double)waiters);
    }
    wait_until_quiet(h);
    for (long i = 0; i < waiters; i++) {
        if (h->waiters[i].received != 1) {
            check(false, "%s: waiter %ld got the event %" PRIu64 " times", h->target->name, i,
                  h->waiters[i].received);
            break;
        }
    }
}

/* A floor does not see its clients leave: an event takes those that it has kept. */
static void let_go(hold *h)
{
    uint64_t deadline_us = 0;
    if (!kind_is(h->target->kind, "h2o"))
        return;
    h->published = 0;
    publish(h, &h->publishers[0], "none");
    while (h->published == 0)
        turn(h, &deadline_us, "it has answered");
    connection_close(&h->publishers[0], false);
}

static void close_all(hold *h)
{
    uint64_t closed_us, done_us, lost = 0;
    size_t descriptors;
    for (long i = 0; i < h->plan->waiters; i++) {
        connection_close(&h->waiters[i].reader.subscriber.connection, i % 2 == 1);
        lost += h->waiters[i].reader.subscriber.lost;
    }
    closed_us = now_us();
    let_go(h);
    for (;;) {
        descriptors = process_descriptors(h->target->pid);
        done_us = now_us();
        if (descriptors <= h->baseline->descriptors || done_us > closed_us + DEADLINE_US)
            break;
        bench_turn(&h->client, now_us() + LOOK_US);
    }
    check(lost == 0, "%s: %" PRIu64 " connections of waiters were lost", h->target->name, lost);
    if (!kind_is(h->target->kind, "h2o"))
        told(h, "leaving seen", "ms", (double)(done_us - closed_us) / 1e3);
    if (kind_is(h->target->kind, "longpoll"))
        check(descriptors <= h->baseline->descriptors,
              "%s: %zu descriptors are open, %zu were at the start", h->target->name, descriptors,
              h->baseline->descriptors);
}

/* The first rounds touch pages that malloc gave out before and nobody had written to. */
static void check_memory(hold *h, uint64_t waiting_kb)
{
    uint64_t before = h->baseline->waiting_kb;
    check(h->plan->ignores_memory || !kind_is(h->target->kind, "longpoll") || h->round < 2 ||
              waiting_kb <= before + before / 20 + SLACK_KB,
          "%s: memory grows from round to round: %" PRIu64 " KiB, then %" PRIu64, h->target->name,
          before, waiting_kb);
    h->baseline->waiting_kb = waiting_kb;
}

/* ---- a round --------------------------------------------------------------------------------- */

static void open_waiters(hold *h)
{
    size_t count = (size_t)h->plan->waiters;
    h->waiters = calloc(count, sizeof(waiter));
    h->latencies = calloc(count, sizeof(uint32_t));
    if (h->waiters == NULL || h->latencies == NULL)
        fail("out of memory");
    snprintf(h->run, sizeof(h->run), "hold-%ld-%" PRIu64, (long)getpid(), now_us());
    bool is_distinct = has_own_categories(h);
    for (size_t i = 0; i < count; i++) {
        waiter *w = &h->waiters[i];
        w->hold = h;
        snprintf(w->category, sizeof(w->category), "%.40s-%zu", h->run, is_distinct ? i : 0);
        w->reader.kind = h->target->kind;
        w->reader.on_event = on_event;
        w->reader.subscriber.habit = HABIT_GO;
        w->reader.subscriber.category = w->category;
    }
}

static void end(hold *h)
{
    for (long i = 0; i < h->plan->waiters; i++)
        reader_free(&h->waiters[i].reader);
    publishers_close(h);
    message_free(&h->message);
    free(h->waiters);
    free(h->latencies);
    client_free(&h->client);
}

void hold_measure(bench_run *run, const bench_target *target, int round, const char *case_name,
                  void *ctx)
{
    hold_plan *plan = ctx;
    hold h = {.plan = plan,
              .target = target,
              .baseline = &plan->baselines[target - run->targets],
              .report = run->report,
              .round = round,
              .case_name = case_name};
    client_init(&h.client, target->url);
    publishers_init(&h);
    open_waiters(&h);
    all_poll(&h, true);
    if (round == 0) { /* later ones are of a server that has served before */
        double all_kb = (double)told_memory(&h, "memory waiting");
        told(&h, "memory of the whole process", "KiB/waiter", all_kb / (double)plan->waiters);
    }
    check_waiters(&h, plan->waiters);
    wake_all(&h);
    publishers_close(&h);
    told_memory(&h, "memory after the wake-up");
    all_poll(&h, false);
    check_memory(&h, told_memory(&h, "memory waiting again"));
    close_all(&h);
    wait_until_quiet(&h);
    wait_us(&h, GIVE_BACK_US);
    told_memory(&h, "memory when they have left");
    check_waiters(&h, 0);
    end(&h);
}

static void on_warm_up(bench_reader *reader, const char *data, size_t len)
{
    (void)data;
    (void)len;
    reader_stop(reader);
}

/* Polls that are answered, so many that each loop of the server gets one, and an event on each
 * publisher's connection. */
static void warm_up(hold *h)
{
    static bench_reader readers[HOLD_PUBLISHERS];
    uint64_t deadline_us = 0;
    int stopped = 0;
    snprintf(h->run, sizeof(h->run), "hold-%ld-%" PRIu64, (long)getpid(), now_us());
    for (int r = 0; r < HOLD_PUBLISHERS; r++) {
        readers[r] = (bench_reader){.kind = h->target->kind, .on_event = on_warm_up};
        readers[r].subscriber.habit = HABIT_GO;
        readers[r].subscriber.category = h->run;
        reader_start(&readers[r], &h->client);
    }
    wait_until_quiet(h);
    for (int p = 0; p < HOLD_PUBLISHERS; p++)
        publish(h, &h->publishers[p], h->run);
    while (h->published < HOLD_PUBLISHERS || stopped < HOLD_PUBLISHERS) {
        turn(h, &deadline_us, "it answers");
        stopped = 0;
        for (int r = 0; r < HOLD_PUBLISHERS; r++)
            stopped += readers[r].subscriber.stopped;
    }
    for (int r = 0; r < HOLD_PUBLISHERS; r++)
        reader_free(&readers[r]);
    publishers_close(h);
    wait_until_quiet(h);
}

void hold_baselines(bench_run *run, hold_plan *plan)
{
    for (int i = 0; i < run->target_count; i++) {
        hold h = {.plan = plan, .target = &run->targets[i], .baseline = &plan->baselines[i]};
        client_init(&h.client, h.target->url);
        publishers_init(&h);
        warm_up(&h);
        message_free(&h.message);
        client_free(&h.client);
        h.baseline->descriptors = process_descriptors(h.target->pid);
        h.baseline->memory = process_memory_get(h.target->pid);
        if (user_kb(&h.baseline->memory) > FRESH_KB)
            say_note("%s: has %" PRIu64 " KiB before the first poll (start it anew, or its memory "
                     "a waiter is told too small)",
                     h.target->name, user_kb(&h.baseline->memory));
    }
}
