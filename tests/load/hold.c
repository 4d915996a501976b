/* hold: what ten thousand waiting polls cost, how fast one event wakes them, and that all comes
 * back when they leave.
 *
 *   hold URL --pid SERVERPID [--waiters 10000] [--distinct 0|1] [--rounds 3] [--stats FILE]
 *        [--memory 0|1]
 *
 * Client and server take one descriptor a waiter each (ulimit -n). Over TLS with a URL of https. In
 * this order:
 *   1. memory per waiter: the server's Pss and Anonymous (/proc/PID/smaps_rollup) with all polls
 *      waiting, less what it had before the first connection. The polls count as waiting when the
 *      server has a descriptor for each and has used no CPU time for 200 ms.
 *   2. one event (with --distinct 1, a category for each waiter, one event for each) and the time
 *      from its publish until all have it.
 *   3. all poll again, and then every connection is closed at once, half by FIN and half by RST;
 * the time until the server's descriptors (/proc/PID/fd) are back at the start value. `rounds`
 *      times over: a server that kept its waiters would refuse polls (its bound is 20,000) or grow
 *      from round to round.
 * With --stats FILE the server is slow_store_server, which writes its own figures into FILE on
 * SIGUSR1: waiters, connections and allocated bytes are then compared with the start value too.
 *
 * Checked: every waiter gets the event once; descriptors (with --stats waiters and connections)
 * come back to the start value within five seconds; allocated bytes come back to within 1 MiB and 1
 * % of what the waiters took; memory of the last round is within 4 MiB and 5 % of that of the first
 * (both not with --memory 0, for servers under sanitizers). Ends with 1 when a check fails. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "figures.h"
#include "subscriber.h"

#define CONNECTING_MAX 256        /* SYNs out at a time: fewer than any listen backlog */
#define PUBLISHERS     16         /* connections that publish with --distinct */
#define DEADLINE_US    60000000   /* for anything */
#define QUIET_US       200000     /* without CPU time: the server has nothing to do */
#define BACK_US        5000000    /* descriptors have to be back by then */
#define SLACK_BYTES    (1L << 20) /* free lists of the libraries below */
#define SLACK_KB       4096

typedef struct waiter {
    subscriber subscriber;
    char category[64];
    uint64_t received;
} waiter;

typedef struct server_stats {
    long waiters, connections, allocated;
} server_stats;

static struct {
    http_client client;
    long count, pid;
    bool distinct, memory;
    const char *stats_path;
    char run[32];
    waiter *waiters;
    connection publishers[PUBLISHERS];
    size_t received, published, publish_failures;
    uint64_t published_us;
    uint32_t *latencies;
} g;

static void on_event(subscriber *s, const seen *event)
{
    waiter *w = (waiter *)s;

    (void)event;
    w->received++;
    g.latencies[g.received++ % (size_t)g.count] = (uint32_t)(now_us() - g.published_us);
    s->stopped = true;
}

static void on_published(connection *c, int status, char *body, size_t len)
{
    (void)c;
    (void)len;
    if (status != 200 && g.publish_failures++ == 0)
        printf("first failed publish: %d %.200s\n", status, body);
    g.published++;
}

static void on_publisher_lost(connection *c, int error)
{
    (void)c;
    fail("the connection of a publisher was lost: %s", error ? strerror(error) : "closed");
}

static void turn(uint64_t *deadline_us, const char *what)
{
    if (*deadline_us == 0)
        *deadline_us = now_us() + DEADLINE_US;
    if (now_us() > *deadline_us)
        fail("gave up waiting until %s", what);
    client_turn(&g.client, now_us() + 10000);
}

/* ---- what the server says -----------------------------------------------------------------------
 */

static server_stats stats_get(void)
{
    server_stats stats = {0, 0, 0};
    uint64_t deadline_us = 0;

    if (!g.stats_path)
        return stats;
    unlink(g.stats_path); /* it is renamed into place when it is whole */
    kill((pid_t)g.pid, SIGUSR1);
    for (;;) {
        FILE *file = fopen(g.stats_path, "r");
        if (file) {
            if (fscanf(file, "waiters %ld connections %ld allocated %ld", &stats.waiters,
                       &stats.connections, &stats.allocated) != 3)
                fail("%s: not as expected", g.stats_path);
            fclose(file);
            return stats;
        }
        turn(&deadline_us, "the server has written its figures");
    }
}

static void wait_until_quiet(void)
{
    uint64_t cpu_us = process_cpu_us(g.pid), since_us = now_us(), deadline_us = 0;

    while (now_us() - since_us < QUIET_US) {
        turn(&deadline_us, "the server is quiet");
        if (process_cpu_us(g.pid) != cpu_us) {
            cpu_us = process_cpu_us(g.pid);
            since_us = now_us();
        }
    }
}

/* ---- steps --------------------------------------------------------------------------------------
 */

static void all_poll(size_t descriptors_at_start)
{
    int64_t since_ms = now_wall_ms();
    uint64_t deadline_us = 0;
    long connected = 0;

    for (long i = 0; i < g.count; i++) {
        waiter *w = &g.waiters[i];
        w->subscriber.stopped = false;
        w->subscriber.since_ms = since_ms;
        w->subscriber.last_id[0] = '\0';
        if (w->subscriber.connection.fd >= 0)
            subscriber_poll(&w->subscriber);
        else
            subscriber_start(&w->subscriber, &g.client);
        while (connected < i - CONNECTING_MAX) {
            if (g.waiters[connected].subscriber.connection.connected)
                connected++;
            else
                turn(&deadline_us, "all are connected");
        }
    }
    while (process_descriptors(g.pid) < descriptors_at_start + (size_t)g.count)
        turn(&deadline_us, "the server has accepted all connections");
    wait_until_quiet();
}

static void publish(connection *c, long i)
{
    char body[160];
    int n = snprintf(body, sizeof body, "{\"category\":\"%s\",\"data\":\"wake\"}",
                     g.waiters[i].category);

    connection_post(c, "/publish", body, (size_t)n);
}

static void wake_all(void)
{
    long to_publish = g.distinct ? g.count : 1, sent = 0;
    uint64_t deadline_us = 0, cpu_us = process_cpu_us(g.pid);

    g.received = g.published = 0;
    g.published_us = now_us();
    while (g.received < (size_t)g.count || g.published < (size_t)to_publish) {
        for (int p = 0; p < PUBLISHERS && sent < to_publish; p++)
            if (!g.publishers[p].busy)
                publish(&g.publishers[p], sent++);
        turn(&deadline_us, "all have their event");
    }
    cpu_us = process_cpu_us(g.pid) - cpu_us;
    figures_sort(g.latencies, (size_t)g.count);
    printf("wake: %zu waiters have it, half after %.1f ms, the last after %.1f ms (%.1f us each), "
           "server CPU %.1f us each\n",
           g.received, figures_at(g.latencies, (size_t)g.count, 0.5) / 1e3,
           figures_at(g.latencies, (size_t)g.count, 1) / 1e3,
           (double)figures_at(g.latencies, (size_t)g.count, 1) / (double)g.count,
           (double)cpu_us / (double)g.count);
    wait_until_quiet();
    for (long i = 0; i < g.count; i++)
        if (g.waiters[i].received != 1) {
            check(false, "waiter %ld got the event %" PRIu64 " times", i, g.waiters[i].received);
            break;
        }
}

static server_stats close_all(size_t descriptors_at_start, server_stats start, server_stats waiting)
{
    uint64_t closed_us, done_us, start_us = now_us();
    size_t descriptors;
    server_stats after;

    for (long i = 0; i < g.count; i++)
        connection_close(&g.waiters[i].subscriber.connection, i % 2 == 1);
    closed_us = now_us();
    do {
        descriptors = process_descriptors(g.pid);
        done_us = now_us();
    } while (descriptors > descriptors_at_start && done_us < closed_us + BACK_US);
    printf("closed: all %ld connections in %.1f ms; descriptors %zu (at the start %zu) %.1f ms "
           "later\n",
           g.count, (double)(closed_us - start_us) / 1e3, descriptors, descriptors_at_start,
           (double)(done_us - closed_us) / 1e3);
    check(descriptors == descriptors_at_start, "%zu descriptors are open, %zu were at the start",
          descriptors, descriptors_at_start);
    after = stats_get();
    if (!g.stats_path)
        return after;
    printf("stats: waiters %ld, connections %ld, allocated %ld B (at the start %ld, %ld, %ld B; "
           "waiting %ld, %ld, %ld B: %ld B a waiter)\n",
           after.waiters, after.connections, after.allocated, start.waiters, start.connections,
           start.allocated, waiting.waiters, waiting.connections, waiting.allocated,
           (waiting.allocated - start.allocated) / g.count);
    check(waiting.waiters == start.waiters + g.count, "%ld polls were waiting, not %ld",
          waiting.waiters - start.waiters, g.count);
    check(after.waiters == start.waiters, "%ld waiters are left", after.waiters - start.waiters);
    check(after.connections == start.connections, "%ld connections are left",
          after.connections - start.connections);
    return after;
}

static void check_allocated(server_stats start, server_stats waiting, server_stats after)
{
    check(!g.memory || after.allocated - start.allocated <=
                           SLACK_BYTES + (waiting.allocated - start.allocated) / 100,
          "%ld bytes are left allocated", after.allocated - start.allocated);
}

static void set_up(void)
{
    snprintf(g.run, sizeof g.run, "hold-%ld", (long)getpid());
    g.waiters = calloc((size_t)g.count, sizeof *g.waiters);
    g.latencies = calloc((size_t)g.count, sizeof *g.latencies);
    for (int p = 0; p < PUBLISHERS; p++) {
        connection_init(&g.publishers[p], &g.client);
        g.publishers[p].on_answer = on_published;
        g.publishers[p].on_lost = on_publisher_lost;
    }
    for (long i = 0; i < g.count; i++) {
        waiter *w = &g.waiters[i];
        snprintf(w->category, sizeof w->category, "%s-%ld", g.run, g.distinct ? i : 0);
        w->subscriber.connection.fd = -1;
        w->subscriber.category = w->category;
        w->subscriber.habit = HABIT_GO;
        w->subscriber.timeout_s = 110;
        w->subscriber.on_event = on_event;
    }
}

/* One event on each publisher's connection and one poll that times out, so that what the server
 * makes once is not counted as a waiter's. Closes them again. */
static void warm_up(void)
{
    static const char body[] = "{\"category\":\"hold-warm-up\",\"data\":\"x\"}";
    uint64_t deadline_us = 0;

    for (int p = 0; p < PUBLISHERS; p++)
        connection_post(&g.publishers[p], "/publish", body, sizeof body - 1);
    while (g.published < PUBLISHERS)
        turn(&deadline_us, "the server answers");
    connection_get(&g.publishers[0], "/events?timeout=1&category=hold-warm-up-poll");
    while (g.published < PUBLISHERS + 1)
        turn(&deadline_us, "a poll times out");
    for (int p = 0; p < PUBLISHERS; p++)
        connection_close(&g.publishers[p], false);
    wait_until_quiet();
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--pid",   "--waiters", "--distinct", "--rounds",
                                        "--stats", "--memory",  NULL};
    process_memory before, first = {0, 0}, previous = {0, 0}, last = {0, 0};
    size_t descriptors;
    server_stats start, after;
    long rounds;

    if (argc < 2 || !option_number(argc, argv, "--pid", 0))
        fail("usage: hold URL --pid SERVERPID [options] (see the top of hold.c)");
    options_check(argc, argv, 2, known);
    client_init(&g.client, argv[1]);
    g.pid = option_number(argc, argv, "--pid", 0);
    g.count = option_number(argc, argv, "--waiters", 10000);
    g.distinct = option_number(argc, argv, "--distinct", 0) != 0;
    g.memory = option_number(argc, argv, "--memory", 1) != 0;
    g.stats_path = option_text(argc, argv, "--stats", NULL);
    rounds = option_number(argc, argv, "--rounds", 3);
    if (g.count < 1 || rounds < 1)
        fail("waiters and rounds are at least 1");
    set_up();
    warm_up();
    descriptors = process_descriptors(g.pid);
    before = process_memory_get(g.pid);
    start = stats_get();

    for (long round = 0; round < rounds; round++) {
        server_stats waiting;
        all_poll(descriptors);
        previous = last;
        last = process_memory_get(g.pid);
        waiting = stats_get();
        if (round == 0) {
            printf("memory: %.1f KB Pss, %.1f KB Anonymous a waiter (%ld waiters)\n",
                   (double)(last.pss_kb - before.pss_kb) / (double)g.count,
                   (double)(last.anonymous_kb - before.anonymous_kb) / (double)g.count, g.count);
            wake_all();
            for (int p = 0; p < PUBLISHERS; p++)
                connection_close(&g.publishers[p], false);
            all_poll(descriptors);
            first = last = process_memory_get(g.pid);
            waiting = stats_get();
            printf("memory: %.1f KB Pss, %.1f KB Anonymous a waiter that was woken once\n",
                   (double)(first.pss_kb - before.pss_kb) / (double)g.count,
                   (double)(first.anonymous_kb - before.anonymous_kb) / (double)g.count);
        }
        after = close_all(descriptors, start, waiting);
        if (round == 0 && g.distinct) /* each category keeps its event */
            start.allocated = after.allocated;
        check_allocated(start, waiting, after);
    }
    printf("memory: %" PRIu64 " KB Anonymous at the start, %" PRIu64 " with all waiting first, "
           "%" PRIu64 " last, %" PRIu64 " after the end\n",
           before.anonymous_kb, first.anonymous_kb, last.anonymous_kb,
           process_memory_get(g.pid).anonymous_kb);
    /* the first rounds touch pages that malloc gave out before and nobody had written to */
    check(!g.memory || rounds < 3 ||
              last.anonymous_kb <= previous.anonymous_kb + previous.anonymous_kb / 20 + SLACK_KB,
          "memory grows from round to round");
    return checks_result();
}
