/* See bench_delivery.h. Reader i waits on category i % categories. The publishers share the rate,
 * each with one connection and one publish out at a time, and take the categories in turn. An
 * event's data are PUBLISHER:NUMBER:SENT_US:xxx…, numbered for each publisher and category. */
#include "bench_delivery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shared/load_figures.h"

#define SETTLE_US 100000   /* before the first event, and for what comes again after the last */
#define DRAIN_US  10000000 /* what is under way has this long to arrive */
#define TURN_US   100000

typedef struct delivery delivery;

typedef struct receiver {
    bench_reader reader;
    delivery *delivery;
    char category[64];
    long *next; /* per publisher: the number of its next event in this category */
    uint64_t received, repeated, missed, order; /* order: a hash over the events as they came */
} receiver;

typedef struct sender {
    connection connection;
    delivery *delivery;
    bench_message message;
    long index, sent, answered;
    long *count; /* per category: events published */
    char *data;
} sender;

struct delivery {
    const delivery_plan *plan;
    const bench_target *target;
    http_client client;
    char run[32]; /* makes the categories those of this round */
    receiver *receivers;
    sender *senders;
    long total, failed_publishes;
    uint64_t start_us, received, arrived; /* the second without those that came again */
    uint32_t *latencies;
    size_t latency_count, latency_max;
};

static void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

/* ---- readers --------------------------------------------------------------------------------- */

static void on_event(bench_reader *reader, const char *data, size_t len)
{
    receiver *r = (receiver *)reader;
    delivery *d = r->delivery;
    char *at;
    long publisher = strtol(data, &at, 10);
    long number = *at == ':' ? strtol(at + 1, &at, 10) : -1;
    uint64_t sent_us = *at == ':' ? strtoull(at + 1, &at, 10) : 0;
    if (number < 0 || sent_us == 0 || publisher < 0 || publisher >= d->plan->publishers)
        fail("%s: an event that nobody published: %.*s", d->target->name, (int)(len % 100), data);
    r->order = r->order * 1099511628211u + (uint64_t)(number * d->plan->publishers + publisher + 1);
    r->received++;
    d->received++;
    if (number < r->next[publisher]) {
        r->repeated++;
        return;
    }
    d->arrived++;
    r->missed += (uint64_t)(number - r->next[publisher]);
    r->next[publisher] = number + 1;
    if (d->latency_count < d->latency_max)
        d->latencies[d->latency_count++] = (uint32_t)(now_us() - sent_us);
}

static void receivers_start(delivery *d)
{
    const delivery_plan *plan = d->plan;
    d->receivers = zeroed((size_t)plan->subscribers, sizeof(receiver));
    for (long i = 0; i < plan->subscribers; i++) {
        receiver *r = &d->receivers[i];
        r->delivery = d;
        r->next = zeroed((size_t)plan->publishers, sizeof(long));
        snprintf(r->category, sizeof(r->category), "%s-%ld", d->run, i % plan->categories);
        r->reader.kind = d->target->kind;
        r->reader.streams = plan->streams;
        r->reader.on_event = on_event;
        r->reader.subscriber.habit = plan->habit;
        r->reader.subscriber.category = r->category;
        reader_start(&r->reader, &d->client);
    }
}

/* ---- publishers ------------------------------------------------------------------------------ */

static void publish(sender *s)
{
    delivery *d = s->delivery;
    char category[64];
    long number = s->sent % d->plan->categories;
    int n = sprintf(s->data, "%ld:%ld:%" PRIu64 ":", s->index, s->count[number]++, now_us());
    size_t len = (size_t)(n > d->plan->bytes ? n : d->plan->bytes);
    memset(s->data + n, 'x', len - (size_t)n);
    snprintf(category, sizeof(category), "%s-%ld", d->run, number);
    kind_publish(d->target->kind, &s->message, category, s->data, len, 1);
    s->sent++;
    connection_send(&s->connection, &s->message.request);
}

static void on_published(connection *c, int status, char *body, size_t len)
{
    sender *s = c->owner;
    delivery *d = s->delivery;
    s->answered++;
    if (!kind_published(d->target->kind, status, body, len))
        check(d->failed_publishes++ > 0, "%s: a publish was answered %d: %.200s", d->target->name,
              status, body);
}

static void on_publisher_lost(connection *c, int error)
{
    sender *s = c->owner;
    fail("%s: the connection of a publisher was lost: %s (is the server at %s running?)",
         s->delivery->target->name, error != 0 ? strerror(error) : "closed",
         s->delivery->target->url);
}

static void senders_start(delivery *d)
{
    d->senders = zeroed((size_t)d->plan->publishers, sizeof(sender));
    for (long p = 0; p < d->plan->publishers; p++) {
        sender *s = &d->senders[p];
        s->delivery = d;
        s->index = p;
        s->count = zeroed((size_t)d->plan->categories, sizeof(long));
        s->data = zeroed(1, (size_t)d->plan->bytes + 128);
        connection_init(&s->connection, &d->client);
        s->connection.on_answer = on_published;
        s->connection.on_lost = on_publisher_lost;
        s->connection.owner = s;
        connection_open(&s->connection);
    }
}

/* When event `n` of a publisher is due. Publishers are set off against each other. */
static uint64_t due_us(const sender *s, long n)
{
    const delivery_plan *plan = s->delivery->plan;
    long k = n * plan->publishers + s->index;
    return s->delivery->start_us + (uint64_t)((double)k * 1e6 / (double)plan->rate);
}

/* Whether all has been published and answered; `*next_us` is when the next one is due. */
static bool publish_what_is_due(delivery *d, uint64_t *next_us)
{
    uint64_t now = now_us();
    bool all = true;
    *next_us = UINT64_MAX;
    for (long p = 0; p < d->plan->publishers; p++) {
        sender *s = &d->senders[p];
        long share = d->total / d->plan->publishers + (p < d->total % d->plan->publishers);
        if (s->sent == share) {
            all = all && s->answered == share;
            continue;
        }
        all = false;
        if (s->connection.busy)
            continue;
        if (due_us(s, s->sent) <= now)
            publish(s);
        else if (due_us(s, s->sent) < *next_us)
            *next_us = due_us(s, s->sent);
    }
    return all;
}

/* ---- what is to hold ------------------------------------------------------------------------- */

static uint64_t expected_of(const delivery *d, long category)
{
    long sum = 0;
    for (long p = 0; p < d->plan->publishers; p++)
        sum += d->senders[p].count[category];
    return (uint64_t)sum;
}

static uint64_t expected_in_all(const delivery *d)
{
    uint64_t sum = 0;
    for (long c = 0; c < d->plan->categories && c < d->plan->subscribers; c++) {
        long readers = (d->plan->subscribers - c - 1) / d->plan->categories + 1;
        sum += expected_of(d, c) * (uint64_t)readers;
    }
    return sum;
}

static void check_all(const delivery *d)
{
    uint64_t missed = 0, repeated = 0, gaps = 0, lost = 0, disagree = 0;
    const char *name = d->target->name;
    for (long i = 0; i < d->plan->subscribers; i++) {
        const receiver *r = &d->receivers[i];
        uint64_t distinct = 0;
        for (long p = 0; p < d->plan->publishers; p++)
            distinct += (uint64_t)r->next[p];
        missed += r->missed + expected_of(d, i % d->plan->categories) - distinct;
        repeated += r->repeated;
        gaps += r->reader.subscriber.gaps;
        lost += r->reader.subscriber.lost;
        disagree += r->order != d->receivers[i % d->plan->categories].order;
    }
    check(d->failed_publishes == 0, "%s: %ld publishes were not answered with success", name,
          d->failed_publishes);
    check(missed == 0, "%s: %" PRIu64 " events did not arrive", name, missed);
    check(repeated == 0, "%s: %" PRIu64 " events came again, or out of order", name, repeated);
    check(gaps == 0, "%s: %" PRIu64 " times it told of a gap (is its ring large enough?)", name,
          gaps);
    check(lost == 0, "%s: %" PRIu64 " connections of subscribers were lost", name, lost);
    check(disagree == 0, "%s: %" PRIu64 " subscribers saw another order", name, disagree);
}

/* ---- a round --------------------------------------------------------------------------------- */

static void run_for(delivery *d, uint64_t us)
{
    uint64_t until = now_us() + us;
    while (now_us() < until)
        bench_turn(&d->client, until);
}

static void run_all(delivery *d)
{
    uint64_t next_us, end_us;
    d->start_us = now_us();
    while (!publish_what_is_due(d, &next_us)) {
        uint64_t turn_us = now_us() + TURN_US;
        bench_turn(&d->client, next_us < turn_us ? next_us : turn_us);
    }
    end_us = now_us() + DRAIN_US;
    while (d->arrived < expected_in_all(d) && now_us() < end_us)
        bench_turn(&d->client, now_us() + TURN_US);
}

static void end(delivery *d)
{
    for (long i = 0; i < d->plan->subscribers; i++) {
        reader_stop(&d->receivers[i].reader);
        reader_free(&d->receivers[i].reader);
        free(d->receivers[i].next);
    }
    for (long p = 0; p < d->plan->publishers; p++) {
        connection_free(&d->senders[p].connection);
        message_free(&d->senders[p].message);
        free(d->senders[p].count);
        free(d->senders[p].data);
    }
    free(d->receivers);
    free(d->senders);
    free(d->latencies);
    client_free(&d->client);
}

static void report(delivery *d, bench_report *to, int round, const char *case_name,
                   bench_spent spent)
{
    static const struct {
        const char *name;
        double part;
    } parts[] = {{"latency p50", 0.5}, {"latency p99", 0.99}, {"latency p99.9", 0.999}};
    const char *name = d->target->name;
    figures_sort(d->latencies, d->latency_count);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        bench_report_add(to, round, case_name, name, parts[i].name, "ms",
                         figures_at(d->latencies, d->latency_count, parts[i].part) / 1e3);
    if (d->received == 0)
        return;
    if (d->target->pid != 0)
        bench_report_add(to, round, case_name, name, "server CPU", "us/delivery",
                         (double)spent.server_us / (double)d->received);
    bench_report_add(to, round, case_name, name, "client CPU", "us/delivery",
                     (double)spent.own_us / (double)d->received);
}

void delivery_measure(bench_run *run, const bench_target *target, int round, const char *case_name,
                      void *ctx)
{
    delivery d = {.plan = ctx, .target = target};
    d.total = (long)((double)d.plan->rate * d.plan->seconds);
    d.latency_max = (size_t)d.total * ((size_t)(d.plan->subscribers / d.plan->categories) + 1);
    d.latencies = zeroed(d.latency_max + 1, sizeof(*d.latencies));
    snprintf(d.run, sizeof(d.run), "bench-%ld-%" PRIu64, (long)getpid(), now_us());
    client_init(&d.client, target->url);
    receivers_start(&d);
    senders_start(&d);
    run_for(&d, SETTLE_US);
    bench_spent spent = bench_spent_start(target);
    run_all(&d);
    spent = bench_spent_get(spent);
    run_for(&d, SETTLE_US);
    report(&d, run->report, round, case_name, spent);
    check_all(&d);
    end(&d);
}
