/* fanout: each event reaches each subscriber once, in order, and how fast.
 *
 *   fanout URL [--subscribers 100] [--rate 200] [--seconds 10] [--categories 1] [--publishers 1]
 *              [--cursor go|js|curl] [--bytes 200] [--timeout 30] [--pid SERVERPID]
 *
 * Subscribers follow the documented loop; subscriber i waits on category i % categories. The
 * publishers share the rate, each with one connection and one request out at a time, and take the
 * categories in turn. The server's ring must hold what a slow moment piles up: at 2000 events/s
 * start it with --event-buffer 10000 or so. The runs of the issue:
 *
 *   fanout http://127.0.0.1:8101 --subscribers 100 --rate 200 --seconds 10
 *   fanout http://127.0.0.1:8101 --subscribers 10 --rate 2000 --seconds 10
 *
 * Checked: every publish succeeds; every subscriber gets every event of its category exactly once,
 * in the order of each publisher; all subscribers of a category get one and the same order; no gap.
 * With --pid the server's CPU time per delivery is told too. Ends with 1 when a check fails. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "figures.h"
#include "subscriber.h"

#define DRAIN_US 10000000 /* what is under way has this long to arrive */

typedef struct reader {
    subscriber subscriber;
    char category[64];
    long *next; /* per publisher: the number of its next event in this category */
    uint64_t received, repeated, missed, order; /* order: a hash over the events as they came */
} reader;

typedef struct writer {
    connection connection;
    long index, sent, answered;
    long *count; /* per category: events published */
    char *body;
} writer;

static struct {
    http_client client;
    long subscribers, rate, seconds, categories, publishers, bytes;
    char run[32]; /* makes the categories those of this run */
    uint64_t start_us, published_us;
    reader *readers;
    writer *writers;
    long total, failed_publishes;
    uint32_t *latencies;
    size_t latency_count, latency_max;
    uint64_t received;
} g;

static void on_event(subscriber *s, const seen *event)
{
    reader *r = (reader *)s;
    long publisher, number;
    uint64_t sent_us;

    if (sscanf(event->data, "%ld:%ld:%" SCNu64 ":", &publisher, &number, &sent_us) != 3 ||
        publisher < 0 || publisher >= g.publishers)
        fail("an event that nobody published: %.100s", event->data);
    r->order = r->order * 1099511628211u + (uint64_t)(number * g.publishers + publisher + 1);
    r->received++;
    g.received++;
    if (number < r->next[publisher]) {
        r->repeated++;
        return;
    }
    r->missed += (uint64_t)(number - r->next[publisher]);
    r->next[publisher] = number + 1;
    if (g.latency_count < g.latency_max)
        g.latencies[g.latency_count++] = (uint32_t)(now_us() - sent_us);
}

static void publish(writer *w)
{
    long category = w->sent % g.categories;
    int n = sprintf(w->body, "{\"category\":\"%s-%ld\",\"data\":\"%ld:%ld:%" PRIu64 ":", g.run,
                    category, w->index, w->count[category]++, now_us());
    int pad = (int)g.bytes - n > 0 ? (int)g.bytes - n : 0;

    memset(w->body + n, 'x', (size_t)pad);
    memcpy(w->body + n + pad, "\"}", 2);
    w->sent++;
    connection_post(&w->connection, "/publish", w->body, (size_t)(n + pad) + 2);
}

static void on_published(connection *c, int status, char *body, size_t len)
{
    writer *w = c->owner;

    w->answered++;
    if (status == 200 && len == 17 && !memcmp(body, "{\"success\": true}", 17))
        return;
    if (g.failed_publishes++ == 0)
        printf("first failed publish: %d %.200s\n", status, body);
}

static void on_publisher_lost(connection *c, int error)
{
    (void)c;
    fail("the connection of a publisher was lost: %s", strerror(error));
}

/* When event `n` of a publisher is due. Publishers are set off against each other. */
static uint64_t due_us(const writer *w, long n)
{
    long k = n * g.publishers + w->index;

    return g.start_us + (uint64_t)((double)k * 1e6 / (double)g.rate);
}

static bool publish_what_is_due(uint64_t *next_us)
{
    uint64_t now = now_us();
    bool all = true;

    *next_us = UINT64_MAX;
    for (long p = 0; p < g.publishers; p++) {
        writer *w = &g.writers[p];
        long share = g.total / g.publishers + (p < g.total % g.publishers);
        if (w->sent == share) {
            all = all && w->answered == share;
            continue;
        }
        all = false;
        if (w->connection.busy)
            continue;
        if (due_us(w, w->sent) <= now)
            publish(w);
        else if (due_us(w, w->sent) < *next_us)
            *next_us = due_us(w, w->sent);
    }
    return all;
}

static void set_up(int argc, char **argv)
{
    cursor_habit habit = habit_parse(option_text(argc, argv, "--cursor", "go"));
    int64_t since_ms = now_wall_ms() - 1; /* events of this millisecond are meant too */

    g.subscribers = option_number(argc, argv, "--subscribers", 100);
    g.rate = option_number(argc, argv, "--rate", 200);
    g.seconds = option_number(argc, argv, "--seconds", 10);
    g.categories = option_number(argc, argv, "--categories", 1);
    g.publishers = option_number(argc, argv, "--publishers", 1);
    g.bytes = option_number(argc, argv, "--bytes", 200);
    if (!g.subscribers || !g.rate || !g.categories || !g.publishers)
        fail("subscribers, rate, categories and publishers are at least 1");
    g.total = g.rate * g.seconds;
    snprintf(g.run, sizeof g.run, "fanout-%ld", (long)getpid());
    g.latency_max = (size_t)g.total * (size_t)(g.subscribers / g.categories + 1);
    g.latencies = calloc(g.latency_max, sizeof *g.latencies);
    g.readers = calloc((size_t)g.subscribers, sizeof *g.readers);
    g.writers = calloc((size_t)g.publishers, sizeof *g.writers);
    for (long p = 0; p < g.publishers; p++) {
        writer *w = &g.writers[p];
        w->index = p;
        w->count = calloc((size_t)g.categories, sizeof *w->count);
        w->body = malloc((size_t)g.bytes + 512);
        connection_init(&w->connection, &g.client);
        w->connection.on_answer = on_published;
        w->connection.on_lost = on_publisher_lost;
        w->connection.owner = w;
    }
    for (long i = 0; i < g.subscribers; i++) {
        reader *r = &g.readers[i];
        r->next = calloc((size_t)g.publishers, sizeof *r->next);
        snprintf(r->category, sizeof r->category, "%s-%ld", g.run, i % g.categories);
        r->subscriber.category = r->category;
        r->subscriber.habit = habit;
        r->subscriber.timeout_s = (int)option_number(argc, argv, "--timeout", 30);
        r->subscriber.since_ms = since_ms;
        r->subscriber.on_event = on_event;
        subscriber_start(&r->subscriber, &g.client);
    }
}

static uint64_t expected_of(long category)
{
    long sum = 0;

    for (long p = 0; p < g.publishers; p++)
        sum += g.writers[p].count[category];
    return (uint64_t)sum;
}

static uint64_t expected_in_all(void)
{
    uint64_t sum = 0;

    for (long i = 0; i < g.subscribers; i++)
        sum += expected_of(i % g.categories);
    return sum;
}

static void run(void)
{
    uint64_t next_us, end_us;

    g.start_us = now_us();
    while (!publish_what_is_due(&next_us))
        client_turn(&g.client, next_us < now_us() + 100000 ? next_us : now_us() + 100000);
    g.published_us = now_us();
    end_us = g.published_us + DRAIN_US;
    while (g.received < expected_in_all() && now_us() < end_us)
        client_turn(&g.client, now_us() + 100000);
}

static void check_all(void)
{
    uint64_t missed = 0, repeated = 0, gaps = 0, lost = 0, disagree = 0;

    for (long i = 0; i < g.subscribers; i++) {
        reader *r = &g.readers[i];
        uint64_t distinct = 0;
        for (long p = 0; p < g.publishers; p++)
            distinct += (uint64_t)r->next[p];
        missed += r->missed + expected_of(i % g.categories) - distinct;
        repeated += r->repeated;
        gaps += r->subscriber.gaps;
        lost += r->subscriber.lost;
        disagree += r->order != g.readers[i % g.categories].order;
    }
    printf("received: %" PRIu64 " of %" PRIu64 ", missed %" PRIu64
           ", repeated or out of order %" PRIu64 ", answers with a gap %" PRIu64
           ", connections lost %" PRIu64 "\n",
           g.received, expected_in_all(), missed, repeated, gaps, lost);
    check(g.failed_publishes == 0, "%ld publishes were not answered with success",
          g.failed_publishes);
    check(missed == 0, "%" PRIu64 " events did not arrive", missed);
    check(repeated == 0, "%" PRIu64 " events came again, or out of order", repeated);
    check(gaps == 0, "%" PRIu64 " answers told of a gap (is the server's ring large enough?)",
          gaps);
    check(lost == 0, "%" PRIu64 " connections of subscribers were lost", lost);
    check(disagree == 0, "%" PRIu64 " subscribers saw another order", disagree);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--subscribers", "--rate",   "--seconds", "--categories",
                                        "--publishers",  "--cursor", "--bytes",   "--timeout",
                                        "--pid",         NULL};
    long pid;
    uint64_t cpu_us;
    double took;

    if (argc < 2)
        fail("usage: fanout URL [options] (see the top of fanout.c)");
    options_check(argc, argv, 2, known);
    client_init(&g.client, argv[1]);
    pid = option_number(argc, argv, "--pid", 0);
    cpu_us = process_cpu_us(pid);
    set_up(argc, argv);
    run();
    took = (double)(g.published_us - g.start_us) / 1e6;
    cpu_us = process_cpu_us(pid) - cpu_us;

    printf("published: %ld events, %.0f/s asked, %.0f/s done\n", g.total, (double)g.rate,
           (double)g.total / took);
    figures_sort(g.latencies, g.latency_count);
    printf("latency: p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, most %.2f ms\n",
           figures_at(g.latencies, g.latency_count, 0.50) / 1e3,
           figures_at(g.latencies, g.latency_count, 0.99) / 1e3,
           figures_at(g.latencies, g.latency_count, 0.999) / 1e3,
           figures_at(g.latencies, g.latency_count, 1) / 1e3);
    if (pid)
        printf("server: %.1f us CPU a delivery\n", (double)cpu_us / (double)g.received);
    check_all();
    return checks_result();
}
