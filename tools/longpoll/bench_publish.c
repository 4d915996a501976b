/* longpoll bench publish: how many events a server takes, and what each costs it. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shared/load_figures.h"
#include "../shared/values.h"
#include "bench_run.h"
#include "say.h"

enum { DIGITS = 7, PLACES_MAX = 4096, FILL_BATCH = 256, FILL_CONNECTIONS = 16 };

#define WARM_UP_US  200000
#define DEADLINE_US 10000000
/* What a category's number is written over. */
static const char placeholder[] = "@@@@@@@";

typedef struct options {
    bench_counts connections, batches;
    long bytes, categories;
    double seconds;
    bool fills;
} options;

typedef struct load load;

/* A publisher: sends the same bytes again and again, but for the category's number. */
typedef struct publisher {
    connection connection;
    load *load;
    char *bytes;
    size_t len;
    size_t places[PLACES_MAX]; /* of the number */
    size_t place_count;
} publisher;

struct load {
    const options *options;
    const bench_target *target;
    long connections, batch;
    http_client client;
    publisher *publishers;
    long category; /* the next one */
    uint64_t answers, failures;
    bool ending;
    long busy;
};

static void write_number(publisher *p)
{
    load *l = p->load;
    char digits[DIGITS + 1];
    for (size_t i = 0; i < p->place_count; i++) {
        snprintf(digits, sizeof(digits), "%0*ld", DIGITS, l->category);
        memcpy(p->bytes + p->places[i], digits, DIGITS);
        l->category = (l->category + 1) % l->options->categories;
    }
}

static void publish(publisher *p)
{
    if (p->place_count > 0)
        write_number(p);
    connection_send_bytes(&p->connection, p->bytes, p->len);
}

static void on_answer(connection *c, int status, char *body, size_t len)
{
    publisher *p = c->owner;
    load *l = p->load;
    l->answers++;
    if (!kind_published(l->target->kind, status, body, len))
        check(l->failures++ > 0, "%s: a publish was answered %d: %.200s", l->target->name, status,
              body);
    if (l->ending)
        l->busy--;
    else
        publish(p);
}

static void on_lost(connection *c, int error)
{
    publisher *p = c->owner;
    fail("%s: a connection was lost: %s (is the server at %s running?)", p->load->target->name,
         error != 0 ? strerror(error) : "closed", p->load->target->url);
}

static void publisher_open(load *l, publisher *p, const char *category, const char *data)
{
    bench_message message = {0};
    kind_publish(l->target->kind, &message, category, data, (size_t)l->options->bytes,
                 (int)l->batch);
    size_t capacity = message.len + strlen(message.path) + 512;
    p->load = l;
    p->bytes = malloc(capacity);
    if (p->bytes == NULL)
        fail("out of memory");
    p->len = request_format(&l->client, &message.request, p->bytes, capacity);
    message_free(&message);
    for (const char *at = p->bytes;
         (at = memmem(at, p->len - (size_t)(at - p->bytes), placeholder, DIGITS)) != NULL; at++)
        p->places[p->place_count++] = (size_t)(at - p->bytes);
    connection_init(&p->connection, &l->client);
    p->connection.on_answer = on_answer;
    p->connection.on_lost = on_lost;
    p->connection.owner = p;
}

static void load_open(load *l)
{
    char category[64];
    char *data = malloc((size_t)l->options->bytes);
    l->publishers = calloc((size_t)l->connections, sizeof(publisher));
    if (data == NULL || l->publishers == NULL)
        fail("out of memory");
    memset(data, 'x', (size_t)l->options->bytes);
    snprintf(category, sizeof(category), "bench-%ld%s%s", (long)getpid(),
             l->options->categories > 1 ? "-" : "", l->options->categories > 1 ? placeholder : "");
    client_init(&l->client, l->target->url);
    for (long i = 0; i < l->connections; i++)
        publisher_open(l, &l->publishers[i], category, data);
    free(data);
    for (long i = 0; i < l->connections; i++)
        publish(&l->publishers[i]);
}

/* For so long, and until an answer has come. */
static void load_run(load *l, double us)
{
    uint64_t until = now_us() + (uint64_t)us, deadline = until + DEADLINE_US, before = l->answers;
    while (now_us() < until || (l->answers == before && now_us() < deadline))
        bench_turn(&l->client, now_us() < until ? until : deadline);
}

static void load_close(load *l)
{
    uint64_t deadline = now_us() + DEADLINE_US;
    l->ending = true;
    l->busy = l->connections;
    while (l->busy > 0) {
        bench_turn(&l->client, now_us() + 10000);
        if (now_us() > deadline)
            fail("%s: does not answer its last publishes", l->target->name);
    }
    for (long i = 0; i < l->connections; i++) {
        connection_free(&l->publishers[i].connection);
        free(l->publishers[i].bytes);
    }
    free(l->publishers);
    client_free(&l->client);
}

/* An event in each category, in large arrays where the server takes them. */
static void fill(const options *o, const bench_target *target)
{
    bool takes_arrays = (target->kind->abilities & CAN_BATCH) != 0;
    load l = {.options = o,
              .target = target,
              .connections = FILL_CONNECTIONS,
              .batch = takes_arrays ? FILL_BATCH : 1};
    load_open(&l);
    while ((long)l.answers * l.batch < o->categories)
        bench_turn(&l.client, now_us() + WARM_UP_US);
    load_close(&l);
}

static void measure(bench_run *run, const bench_target *target, int round, const char *case_name,
                    void *ctx)
{
    load l = *(const load *)ctx;
    l.target = target;
    if (l.options->fills && round == 0 && !target->is_reference)
        fill(l.options, target);
    load_open(&l);
    load_run(&l, WARM_UP_US);
    uint64_t before = l.answers;
    bench_spent spent = bench_spent_start(target);
    load_run(&l, l.options->seconds * 1e6);
    spent = bench_spent_get(spent);
    double events = (double)(l.answers - before) * (double)l.batch;
    load_close(&l);
    if (events == 0)
        fail("%s: answers no publish", target->name);
    bench_report_add(run->report, round, case_name, target->name, "rate", "events/s",
                     events * 1e6 / (double)spent.wall_us);
    if (target->pid != 0)
        bench_report_add(run->report, round, case_name, target->name, "server CPU", "us/event",
                         (double)spent.server_us / events);
    bench_report_add(run->report, round, case_name, target->name, "client CPU", "us/event",
                     (double)spent.own_us / events);
}

static void run_cases(bench_run *run, const options *o)
{
    for (int b = 0; b < o->batches.count; b++) {
        for (int c = 0; c < o->connections.count; c++) {
            load l = {.options = o, .connections = o->connections.at[c], .batch = o->batches.at[b]};
            char name[128];
            int n = snprintf(name, sizeof(name), "%ld connection%s", l.connections,
                             l.connections > 1 ? "s" : "");
            if (l.batch > 1)
                n += snprintf(name + n, sizeof(name) - (size_t)n, ", arrays of %ld", l.batch);
            if (o->categories > 1)
                n +=
                    snprintf(name + n, sizeof(name) - (size_t)n, ", %ld categories", o->categories);
            if (o->bytes != 200)
                snprintf(name + n, sizeof(name) - (size_t)n, ", %ld bytes", o->bytes);
            if (bench_run_has_descriptors(run, name, l.connections))
                bench_run_case(run, name, measure, &l);
        }
    }
}

static int read_options(const char *connections, const char *batch, const char *bytes,
                        const char *categories, const char *seconds, options *out)
{
    int64_t ms;
    int status = bench_numbers("connections", connections, &out->connections);
    if (status < 0)
        status = bench_numbers("batch", batch, &out->batches);
    if (status < 0)
        status = bench_number("bytes", bytes, &out->bytes);
    if (status < 0)
        status = bench_number("categories", categories, &out->categories);
    if (status >= 0)
        return status;
    for (int i = 0; i < out->batches.count; i++) {
        if (out->batches.at[i] > PLACES_MAX)
            return say_usage("--batch %ld: must be at most %d", out->batches.at[i], PLACES_MAX);
    }
    if (out->categories > 10000000)
        return say_usage("--categories %s: must be at most 10000000", categories);
    if (!value_duration_ms(seconds, &ms) || ms < 1)
        return say_usage("--seconds \"%s\": must be seconds, such as 2 or 0.5", seconds);
    out->seconds = (double)ms / 1e3;
    return -1;
}

int bench_publish(const command *self, int count, char **words)
{
    bench_run run = BENCH_RUN("publish");
    options o = {0};
    const char *connections = "1,16,64", *batch = "1", *bytes = "200", *categories = "1",
               *seconds = "2";
    const flag flags[] = {
        {"connections", "LIST", "connections, each with one publish out (1,16,64)", NULL,
         &connections},
        {"batch", "LIST", "events of one publish, as an array (1)", NULL, &batch},
        {"bytes", "N", "the data of an event (200)", NULL, &bytes},
        {"categories", "N", "published to in turn (1)", NULL, &categories},
        {"fill", NULL, "first publish one event to each category", &o.fills, NULL},
        {"seconds", "T", "of one measurement (2)", NULL, &seconds},
        BENCH_RUN_FLAGS(run),
        {0},
    };
    int status = command_read(self, flags, count, words, NULL, 0);
    if (status < 0)
        status = read_options(connections, batch, bytes, categories, seconds, &o);
    bool has_arrays = status < 0 && (o.batches.count > 1 || o.batches.at[0] > 1);
    if (status < 0)
        status = bench_run_open(&run, has_arrays ? CAN_BATCH : 0);
    if (status >= 0)
        return status;
    run_cases(&run, &o);
    return bench_run_close(&run);
}
