/* longpoll bench catch-up: what it costs to answer a whole ring of events to one who was away. */
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shared/load_figures.h"
#include "../shared/values.h"
#include "bench_run.h"
#include "say.h"

#define WARM_UP_US  200000
#define SETTLE_US   2000000 /* golongpoll answers a publish before its event is in the ring */
#define DEADLINE_US 60000000
#define TURN_US     10000

enum { PUBLISHERS = 16, REQUEST_LEN_MAX = 1024 };

/* What each event's data begin with: they are counted in an answer by it. */
static const char marker[] = "an event ";

typedef struct plan {
    long events, connections, bytes;
    double seconds;
} plan;

typedef struct catch_up catch_up;

typedef struct poller {
    connection connection;
    catch_up *of;
    size_t len; /* of the answer that was read; 0: none has been */
} poller;

struct catch_up {
    const plan *plan;
    const bench_target *target;
    http_client client;
    char category[64], get[REQUEST_LEN_MAX];
    size_t get_len;
    char *data;
    bench_message message;
    connection publishers[PUBLISHERS];
    poller *pollers;
    long published, failures;
    uint64_t answers, filled_us;
    long ending; /* pollers that have ended */
    bool is_ending;
};

static void on_lost(connection *c, int error)
{
    catch_up *u = c->owner;
    fail("%s: a connection was lost: %s (is the server at %s running?)", u->target->name,
         error != 0 ? strerror(error) : "closed", u->target->url);
}

static void turn(catch_up *u, uint64_t *deadline_us, const char *what)
{
    if (*deadline_us == 0)
        *deadline_us = now_us() + DEADLINE_US;
    if (now_us() > *deadline_us)
        fail("%s: gave up waiting until %s", u->target->name, what);
    bench_turn(&u->client, now_us() + TURN_US);
}

/* ---- the ring is filled ---------------------------------------------------------------------- */

static void on_published(connection *c, int status, char *body, size_t len)
{
    catch_up *u = c->owner;
    if (!kind_published(u->target->kind, status, body, len))
        check(u->failures++ > 0, "%s: a publish was answered %d: %.200s", u->target->name, status,
              body);
    u->published++;
}

static void fill(catch_up *u)
{
    uint64_t deadline_us = 0;
    long sent = 0;
    kind_publish(u->target->kind, &u->message, u->category, u->data, (size_t)u->plan->bytes, 1);
    for (int p = 0; p < PUBLISHERS; p++) {
        connection_init(&u->publishers[p], &u->client);
        u->publishers[p].on_answer = on_published;
        u->publishers[p].on_lost = on_lost;
        u->publishers[p].owner = u;
    }
    while (u->published < u->plan->events) {
        for (int p = 0; p < PUBLISHERS && sent < u->plan->events; p++) {
            if (!u->publishers[p].busy) {
                connection_send(&u->publishers[p], &u->message.request);
                sent++;
            }
        }
        turn(u, &deadline_us, "all events are published");
    }
    for (int p = 0; p < PUBLISHERS; p++)
        connection_free(&u->publishers[p]);
}

/* ---- and answered ---------------------------------------------------------------------------- */

static long count_events(const char *body, size_t len)
{
    long count = 0;
    const char *end = body + len, *at = body;
    while ((at = memmem(at, (size_t)(end - at), marker, sizeof(marker) - 1)) != NULL) {
        count++;
        at += sizeof(marker) - 1;
    }
    return count;
}

/* The first answer is read; those behind it must be as long. */
static void on_answer(connection *c, int status, char *body, size_t len)
{
    poller *p = (poller *)c;
    catch_up *u = p->of;
    if (status != 200)
        fail("%s: a poll was answered %d: %.200s", u->target->name, status, body);
    if (p->len == 0) {
        long count = count_events(body, len);
        if (count < u->plan->events && now_us() < u->filled_us + SETTLE_US) {
            connection_send_bytes(c, u->get, u->get_len);
            return;
        }
        check(count == u->plan->events || u->failures++ > 0,
              "%s: an answer has %ld events, not %ld (does its ring hold as many?)",
              u->target->name, count, u->plan->events);
        p->len = len;
    }
    check(len == p->len || u->failures++ > 0, "%s: an answer of %zu bytes, after one of %zu",
          u->target->name, len, p->len);
    u->answers++;
    if (u->is_ending)
        u->ending++;
    else
        connection_send_bytes(c, u->get, u->get_len);
}

static void pollers_start(catch_up *u)
{
    char path[256];
    snprintf(path, sizeof(path),
             kind_is(u->target->kind, "nchan") ? "/multi?id=%s"
                                               : "/events?timeout=10&category=%s&since_time=1",
             u->category);
    u->get_len = request_format(&u->client, &(request){.method = "GET", .path = path}, u->get,
                                sizeof(u->get));
    u->pollers = calloc((size_t)u->plan->connections, sizeof(poller));
    if (u->pollers == NULL)
        fail("out of memory");
    for (long i = 0; i < u->plan->connections; i++) {
        poller *p = &u->pollers[i];
        p->of = u;
        connection_init(&p->connection, &u->client);
        p->connection.on_answer = on_answer;
        p->connection.on_lost = on_lost;
        p->connection.owner = u;
        connection_send_bytes(&p->connection, u->get, u->get_len);
    }
}

/* For so long, and until an answer has come. */
static void run_for(catch_up *u, double us)
{
    uint64_t until = now_us() + (uint64_t)us, deadline = until + DEADLINE_US, before = u->answers;
    while (now_us() < until || (u->answers == before && now_us() < deadline))
        bench_turn(&u->client, now_us() < until ? until : deadline);
}

static void end(catch_up *u)
{
    uint64_t deadline_us = 0;
    u->is_ending = true;
    while (u->ending < u->plan->connections)
        turn(u, &deadline_us, "the last answers have come");
    for (long i = 0; i < u->plan->connections; i++)
        connection_free(&u->pollers[i].connection);
    free(u->pollers);
    free(u->data);
    message_free(&u->message);
    client_free(&u->client);
}

static void report(bench_report *to, const catch_up *u, int round, const char *case_name,
                   const bench_spent *spent, double answers, double bytes)
{
    const char *name = u->target->name;
    double seconds = (double)spent->wall_us / 1e6;
    bench_report_add(to, round, case_name, name, "rate", "answers/s", answers / seconds);
    bench_report_add(to, round, case_name, name, "throughput", "MB/s", bytes / seconds / 1e6);
    if (u->target->pid != 0) {
        double each = (double)spent->server_us / answers;
        bench_report_add(to, round, case_name, name, "server CPU", "us/answer", each);
        bench_report_add(to, round, case_name, name, "server CPU of an event", "us/event",
                         each / (double)u->plan->events);
    }
    bench_report_add(to, round, case_name, name, "client CPU", "us/answer",
                     (double)spent->own_us / answers);
}

static void measure(bench_run *run, const bench_target *target, int round, const char *case_name,
                    void *ctx)
{
    catch_up u = {.plan = ctx, .target = target};
    u.data = malloc((size_t)u.plan->bytes);
    if (u.data == NULL)
        fail("out of memory");
    memset(u.data, 'x', (size_t)u.plan->bytes);
    memcpy(u.data, marker, sizeof(marker) - 1);
    snprintf(u.category, sizeof(u.category), "catch-up-%ld-%" PRIu64, (long)getpid(), now_us());
    client_init(&u.client, target->url);
    fill(&u);
    u.filled_us = now_us();
    pollers_start(&u);
    run_for(&u, WARM_UP_US);
    uint64_t answers = u.answers, bytes = u.client.answer_bytes;
    bench_spent spent = bench_spent_start(target);
    run_for(&u, u.plan->seconds * 1e6);
    spent = bench_spent_get(spent);
    answers = u.answers - answers;
    bytes = u.client.answer_bytes - bytes;
    end(&u);
    if (answers == 0)
        fail("%s: answers no poll", target->name);
    report(run->report, &u, round, case_name, &spent, (double)answers, (double)bytes);
}

int bench_catch_up(const command *self, int count, char **words)
{
    bench_run run = BENCH_RUN("catch-up");
    plan p = {0};
    bench_counts events;
    int64_t ms = 0;
    const char *events_text = "250", *connections = "16", *bytes = "200", *seconds = "2";
    const flag flags[] = {
        {"events", "LIST", "those of one answer; the servers' rings must hold them (250)", NULL,
         &events_text},
        {"connections", "N", "each with one poll out (16)", NULL, &connections},
        {"bytes", "N", "the data of an event, from 16 up (200)", NULL, &bytes},
        {"seconds", "T", "of one measurement (2)", NULL, &seconds},
        BENCH_RUN_FLAGS(run),
        {0},
    };
    int status = command_read(self, flags, count, words, NULL, 0);
    if (status < 0)
        status = bench_numbers("events", events_text, &events);
    if (status < 0)
        status = bench_number("connections", connections, &p.connections);
    if (status < 0)
        status = bench_number("bytes", bytes, &p.bytes);
    if (status < 0 && p.bytes < 16)
        status = say_usage("--bytes %s: must be at least 16", bytes);
    if (status < 0 && (!value_duration_ms(seconds, &ms) || ms < 1))
        status = say_usage("--seconds \"%s\": must be seconds, such as 2 or 0.5", seconds);
    for (int i = 0; status < 0 && i < events.count; i++)
        run.ring = events.at[i] > run.ring ? events.at[i] : run.ring;
    if (status < 0)
        status = bench_run_open(&run, CAN_CURSOR);
    if (status >= 0)
        return status;
    p.seconds = (double)ms / 1e3;
    for (int i = 0; i < events.count; i++) {
        char name[96];
        p.events = events.at[i];
        snprintf(name, sizeof(name), "%ld events an answer", p.events);
        if (bench_run_has_descriptors(&run, name, p.connections + PUBLISHERS))
            bench_run_case(&run, name, measure, &p);
    }
    return bench_run_close(&run);
}
