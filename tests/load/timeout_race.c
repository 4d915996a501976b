/* timeout_race: no event is lost when a poll times out in the very moment of a publish.
 *
 *   timeout_race URL [--moments 5000] [--lanes 300] [--spread-us 2000] [--cursor all|go|js|curl]
 *
 * Each lane has a category, a subscriber that polls with timeout=1, and a publisher of its own that
 * aims one event at the moment in which the poll will time out: an estimate of that moment, kept
 * per lane from the timeouts that it saw, plus or minus `spread-us` at random. Lanes start
 * staggered over a second, and take the cursor habits of golongpoll's Go client, its JavaScript
 * client and curl in turn. 5000 moments on 300 lanes take about 20 seconds. Also to be run against
 * slow_store_server, where an event is stamped 5 ms before it can be seen.
 *
 * Checked: every event of a lane arrives exactly once, in order, whatever the cursor; no gap; and
 * that the moments were met: at least a tenth of the events was sent before the end of its poll and
 * at least a tenth after. Ends with 1 when a check fails. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load_figures.h"
#include "load_subscriber.h"

#define TIMEOUT_US 1000000
#define LAST_US    5000000 /* the last events have this long to arrive */
#define NEAR_US    1000    /* "within 1 ms of the timeout" */

typedef struct lane {
    subscriber subscriber;
    connection publisher;
    char category[64];
    double timeout_us; /* how long a poll takes to time out, as seen from here */
    /* the moment: the end of the poll that waits, and the publish that is aimed at it */
    bool aimed;
    uint64_t due_us, sent_us, ended_us; /* the latter two are 0 before */
    long published, next;
    uint64_t missed, repeated;
} lane;

static struct {
    http_client client;
    long moments, lanes, spread_us, aimed, answered, before, after, near;
    char run[32];
    lane *lane;
    uint64_t received;
} g;

static void on_event(subscriber *s, const seen *event)
{
    lane *l = (lane *)s;
    long number = atol(event->data);

    g.received++;
    if (number < l->next) {
        l->repeated++;
        return;
    }
    l->missed += (uint64_t)(number - l->next);
    l->next = number + 1;
}

/* A moment is over when its poll has ended and its event has been sent. */
static void judge(lane *l)
{
    uint64_t apart;

    if (!l->sent_us || !l->ended_us)
        return;
    apart = l->sent_us < l->ended_us ? l->ended_us - l->sent_us : l->sent_us - l->ended_us;
    g.before += l->sent_us < l->ended_us;
    g.after += l->sent_us >= l->ended_us;
    g.near += apart < NEAR_US;
    l->aimed = false;
}

static void on_answered(subscriber *s, bool timed_out)
{
    lane *l = (lane *)s;
    uint64_t now = now_us();

    if (timed_out) {
        /* the scheduler makes some late; the estimate follows early ones faster */
        double error = (double)(now - s->connection.sent_us) - l->timeout_us;
        l->timeout_us += error < 0 ? error / 2 : error / 16;
    }
    if (!l->aimed || l->ended_us)
        return;
    if (!timed_out && !l->sent_us) { /* the event of the moment before: aim anew */
        l->aimed = false;
        g.aimed--;
        return;
    }
    l->ended_us = now;
    judge(l);
}

static void on_polled(subscriber *s)
{
    lane *l = (lane *)s;
    long jitter = g.spread_us ? random() % (2 * g.spread_us + 1) - g.spread_us : 0;

    if (l->aimed || g.aimed >= g.moments)
        return;
    g.aimed++;
    l->aimed = true;
    l->sent_us = l->ended_us = 0;
    l->due_us = s->connection.sent_us + (uint64_t)(l->timeout_us + (double)jitter);
}

static void publish(lane *l)
{
    char body[160];
    int n = snprintf(body, sizeof body, "{\"category\":\"%s\",\"data\":\"%ld\"}", l->category,
                     l->published++);

    if (l->publisher.busy)
        fail("a publish took longer than a poll");
    connection_post(&l->publisher, "/publish", body, (size_t)n);
    l->sent_us = l->publisher.sent_us;
    judge(l);
}

static void on_published(connection *c, int status, char *body, size_t len)
{
    (void)c;
    (void)len;
    g.answered++;
    check(status == 200, "a publish was answered %d: %.200s", status, body);
}

static void on_publisher_lost(connection *c, int error)
{
    (void)c;
    fail("the connection of a publisher was lost: %s", error ? strerror(error) : "closed");
}

static void set_up(const char *cursor)
{
    g.lane = calloc((size_t)g.lanes, sizeof *g.lane);
    snprintf(g.run, sizeof g.run, "race-%ld", (long)getpid());
    for (long i = 0; i < g.lanes; i++) {
        lane *l = &g.lane[i];
        snprintf(l->category, sizeof l->category, "%s-%ld", g.run, i);
        l->timeout_us = TIMEOUT_US;
        l->subscriber.category = l->category;
        l->subscriber.habit =
            !strcmp(cursor, "all") ? (cursor_habit)(i % HABIT_COUNT) : habit_parse(cursor);
        l->subscriber.timeout_s = 1;
        l->subscriber.since_ms = now_wall_ms();
        l->subscriber.on_event = on_event;
        l->subscriber.on_answered = on_answered;
        l->subscriber.on_polled = on_polled;
        connection_init(&l->publisher, &g.client);
        l->publisher.on_answer = on_published;
        l->publisher.on_lost = on_publisher_lost;
        connection_open(&l->publisher);
    }
}

static void run(void)
{
    uint64_t start_us = now_us(), end_us = 0;
    long started = 0;

    while (g.answered < g.moments || (g.received < (uint64_t)g.moments && now_us() < end_us)) {
        uint64_t now = now_us(), next_us = now + 10000;
        while (started < g.lanes &&
               now >= start_us + (uint64_t)started * TIMEOUT_US / (uint64_t)g.lanes)
            subscriber_start(&g.lane[started++].subscriber, &g.client);
        for (long i = 0; i < started; i++) {
            lane *l = &g.lane[i];
            if (!l->aimed || l->sent_us)
                continue;
            if (l->due_us <= now)
                publish(l);
            else if (l->due_us < next_us)
                next_us = l->due_us;
        }
        client_turn(&g.client, next_us);
        end_us = g.answered < g.moments ? now_us() + LAST_US : end_us;
    }
}

static void check_all(void)
{
    uint64_t all_missed = 0, repeated = 0, gaps = 0, lost = 0, timeouts = 0;

    for (int habit = 0; habit < HABIT_COUNT; habit++) {
        uint64_t missed = 0, published = 0;
        for (long i = 0; i < g.lanes; i++) {
            lane *l = &g.lane[i];
            if (l->subscriber.habit != (cursor_habit)habit)
                continue;
            published += (uint64_t)l->published;
            missed += l->missed + (uint64_t)(l->published - l->next);
            repeated += l->repeated;
            gaps += l->subscriber.gaps;
            lost += l->subscriber.lost;
            timeouts += l->subscriber.timeouts;
        }
        if (published)
            printf("cursor %s: %" PRIu64 " events, missed %" PRIu64 "\n", habit_name(habit),
                   published, missed);
        all_missed += missed;
    }
    printf("timeouts %" PRIu64 ", repeated or out of order %" PRIu64 ", gaps %" PRIu64
           ", connections lost %" PRIu64 "\n",
           timeouts, repeated, gaps, lost);
    check(all_missed == 0, "%" PRIu64 " events did not arrive", all_missed);
    check(repeated == 0, "%" PRIu64 " events came again, or out of order", repeated);
    check(gaps == 0, "%" PRIu64 " answers told of a gap", gaps);
    check(lost == 0, "%" PRIu64 " connections of subscribers were lost", lost);
    check(g.before * 10 >= g.moments && g.after * 10 >= g.moments,
          "the moments were not met: %ld before, %ld after", g.before, g.after);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--moments", "--lanes", "--spread-us", "--cursor", NULL};

    if (argc < 2)
        fail("usage: timeout_race URL [options] (see the top of timeout_race.c)");
    options_check(argc, argv, 2, known);
    client_init(&g.client, argv[1]);
    g.moments = option_number(argc, argv, "--moments", 5000);
    g.lanes = option_number(argc, argv, "--lanes", 300);
    g.spread_us = option_number(argc, argv, "--spread-us", 2000);
    if (g.lanes < 1 || g.moments < 1)
        fail("lanes and moments are at least 1");
    srandom(1);
    set_up(option_text(argc, argv, "--cursor", "all"));
    run();
    printf("moments: %ld, the event was sent before the end of its poll %ld, after it %ld, within "
           "1 ms of it %ld\n",
           g.moments, g.before, g.after, g.near);
    check_all();
    return checks_result();
}
