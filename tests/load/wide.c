/* wide: what a poll over many categories costs, and what it costs the others. In process, without
 * HTTP.
 *
 *   wide [--categories 100000] [--named 1000] [--rounds 200] [--publishes 200000]
 *
 * One engine with so many categories named room/N, one event in each. Three kinds of polls: of one
 * category, of `named` of them, of the prefix room/. Told for each, as medians: how long it takes
 * to come and find nothing new, to be answered one new event, to be answered everything from the
 * beginning; its memory; and the rate of publishing to a category that it does not ask for, while
 * such polls wait, as a ratio to the rate without any. Last: one event for 10,000 polls of a kind.
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/engine/engine.h"
#include "core/engine/event_prepare.h"

enum { NAME_MAX_LEN = 24, PARKED = 500, WOKEN = 10000, ROUNDS_MAX = 10000, FLUSH_EVERY = 64 };

typedef enum kind { ONE, NAMED, PREFIX, KINDS } kind;

static const char *const kind_names[] = {"one category", "named categories", "prefix"};

typedef struct poll {
    lp__waiter waiter;
    size_t answers, events;
    uint64_t last_seq;
} poll;

static struct {
    long categories, named, rounds, publishes;
    lp__engine *engine;
    lp__now now;
    char (*texts)[NAME_MAX_LEN];
    lp_str *names;
} g = {.categories = 100000, .named = 1000, .rounds = 200, .publishes = 200000};

static double read_us(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double now_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

/* Rates are of CPU time, so that others on the machine do not spoil their ratios. */
static double cpu_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

static void expect(bool is_so, const char *what)
{
    if (is_so)
        return;
    fprintf(stderr, "wide: %s\n", what);
    exit(1);
}

static uint64_t publish(lp_str category)
{
    static const char data[] =
        "\"two hundred bytes: ------------------------------------------------------------"
        "--------------------------------------------------------------------------------"
        "--------------------------------------\"";
    lp_event *event;
    expect(lp__event_prepare(category, (lp_str){data, sizeof(data) - 1}, &event) == LP_OK &&
               lp__engine_stamp(g.engine, g.now, &event, 1) == LP_OK,
           "cannot publish");
    uint64_t seq = lp_event_seq(event);
    lp_event_unref(event);
    lp__engine_resolve(g.engine, g.now, true);
    return seq;
}

static void on_answer(lp__waiter *waiter, const lp_answer *answer)
{
    poll *p = LP__CONTAINER(waiter, poll, waiter);
    p->answers++;
    p->events += answer->event_count;
    p->last_seq = lp_id_seq(answer->last_id);
}

/* By id behind `seq`; 0: from now on. */
static void ask(poll *p, kind of, uint64_t seq)
{
    static const lp_str room = {"room/", 5};
    lp_query query = LP_QUERY_INIT;
    query.by_id = true;
    query.has_last_id = seq != 0;
    query.last_id = lp_id_make(seq, 0);
    if (of == ONE)
        query.category = g.names[0];
    query.categories = g.names;
    query.category_count = of == NAMED ? (size_t)g.named : 0;
    query.prefixes = &room;
    query.prefix_count = of == PREFIX;
    *p = (poll){.waiter = {.answer = on_answer}};
    expect(lp__engine_subscribe(g.engine, g.now, &query, 100000, &p->waiter) == LP_OK,
           "cannot subscribe");
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return values[count / 2];
}

/* ---- one poll ----------------------------------------------------------- */

static void measure_poll(kind of)
{
    static double finding_nothing[ROUNDS_MAX], one_event[ROUNDS_MAX], everything[ROUNDS_MAX];
    poll p;
    for (long i = 0; i < g.rounds; i++) {
        uint64_t newest = publish(lp_str_of("elsewhere"));
        publish(lp_str_of("elsewhere")); /* so that there is something behind its cursor */
        double begun = now_us();
        ask(&p, of, newest);
        lp__engine_flush(g.engine, g.now);
        finding_nothing[i] = now_us() - begun;
        expect(p.answers == 0, "a poll that has everything was answered");
        publish(g.names[0]);
        begun = now_us();
        lp__engine_flush(g.engine, g.now);
        one_event[i] = now_us() - begun;
        expect(p.answers == 1 && p.events == 1, "one event was not answered");
    }
    size_t answers = 0, events = 0;
    long rounds = g.rounds < 20 ? g.rounds : 20;
    for (long i = 0; i < rounds; i++) {
        uint64_t seq = 1;
        answers = events = 0;
        double begun = now_us();
        do {
            ask(&p, of, seq);
            lp__engine_flush(g.engine, g.now);
            answers += p.answers;
            events += p.events;
            seq = p.last_seq;
        } while (p.answers > 0);
        everything[i] = now_us() - begun;
        lp__engine_cancel(g.engine, &p.waiter);
    }
    printf("%-18s %12.1f %12.1f %14.1f   (%zu events in %zu answers, %.2f us each)\n",
           kind_names[of], median(finding_nothing, (size_t)g.rounds),
           median(one_event, (size_t)g.rounds), median(everything, (size_t)rounds), events, answers,
           median(everything, (size_t)rounds) / (double)events);
}

/* ---- many that wait ----------------------------------------------------- */

static double publishes_per_s(lp_str category)
{
    double begun = cpu_us();
    for (long i = 0; i < g.publishes; i++) {
        publish(category);
        if (i % FLUSH_EVERY == 0)
            lp__engine_flush(g.engine, g.now);
    }
    lp__engine_flush(g.engine, g.now);
    return (double)g.publishes / (cpu_us() - begun) * 1e6;
}

static void measure_parked(kind of)
{
    static poll polls[PARKED];
    enum { TRIES = 15 };
    double ratios[TRIES], rate = 0;
    size_t bytes = 0;
    lp_str elsewhere = lp_str_of("elsewhere");
    for (int n = 0; n < TRIES; n++) {
        double alone = publishes_per_s(elsewhere);
        size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
        for (size_t i = 0; i < PARKED; i++)
            ask(&polls[i], of, 0);
        lp__engine_flush(g.engine, g.now);
        bytes = (mallinfo2().uordblks + mallinfo2().hblkhd - before) / PARKED + sizeof(lp__waiter);
        rate = publishes_per_s(elsewhere);
        ratios[n] = rate / alone;
        for (size_t i = 0; i < PARKED; i++)
            lp__engine_cancel(g.engine, &polls[i].waiter);
    }
    printf("%-18s %12zu %12.2f %14.0f\n", kind_names[of], bytes, median(ratios, TRIES), rate);
}

static void measure_asked_meanwhile(kind of)
{
    enum { TRIES = 15 };
    double ratios[TRIES], asking = 0;
    for (int n = 0; n < TRIES; n++) {
        double publishing[2] = {0};
        for (int asks = 0; asks < 2; asks++) {
            poll p;
            for (long i = 0; i < g.publishes / FLUSH_EVERY; i++) {
                double begun = cpu_us();
                if (asks) {
                    ask(&p, of, 0);
                    lp__engine_flush(g.engine, g.now);
                    lp__engine_cancel(g.engine, &p.waiter);
                    asking += cpu_us() - begun;
                    begun = cpu_us();
                }
                for (int e = 0; e < FLUSH_EVERY; e++)
                    publish(g.names[(i * 7919 + e * 104729) % g.categories]);
                lp__engine_flush(g.engine, g.now);
                publishing[asks] += cpu_us() - begun;
            }
        }
        ratios[n] = publishing[0] / publishing[1];
    }
    printf("%-18s %12.2f %12.1f\n", kind_names[of], median(ratios, TRIES),
           asking / TRIES / (double)(g.publishes / FLUSH_EVERY));
}

static void measure_waking(kind of)
{
    poll *polls = calloc(WOKEN, sizeof(*polls));
    double took[5];
    for (int n = 0; n < 5; n++) {
        for (size_t i = 0; i < WOKEN; i++)
            ask(&polls[i], of, 0);
        lp__engine_flush(g.engine, g.now);
        publish(g.names[0]);
        double begun = now_us();
        lp__engine_flush(g.engine, g.now);
        took[n] = now_us() - begun;
        for (size_t i = 0; i < WOKEN; i++)
            expect(polls[i].answers == 1, "a poll was not woken");
    }
    printf("%-18s %12.1f   (%.2f us each)\n", kind_names[of], median(took, 5) / 1e3,
           median(took, 5) / WOKEN);
    free(polls);
}

/* ---- ------------------------------------------------------------------- */

static void begin(void)
{
    lp__engine_options options = {.event_buffer_max = 250,
                                  .waiters_max = 20000,
                                  .categories_max = (size_t)g.categories + 10,
                                  .events_max = 1000000,
                                  .events_bytes_max = 1 << 30,
                                  .answer_bytes_max = 4 << 20,
                                  .seed = {0x0123456789abcdef, 0xfedcba9876543210}};
    g.now = (lp__now){.wall_ms = 1700000000000, .mono_ms = 1};
    expect(lp__engine_new(&options, g.now, &g.engine) == LP_OK, "out of memory");
    g.texts = calloc((size_t)g.categories, sizeof(*g.texts));
    g.names = calloc((size_t)g.categories, sizeof(*g.names));
    for (long i = 0; i < g.categories; i++) {
        snprintf(g.texts[i], sizeof(g.texts[i]), "room/%06ld", i * 611953 % 1000000);
        g.names[i] = lp_str_of(g.texts[i]);
        publish(g.names[i]);
    }
}

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        long *value, max;
    } flags[] = {{"--categories", &g.categories, 1000000},
                 {"--named", &g.named, 100000},
                 {"--rounds", &g.rounds, ROUNDS_MAX},
                 {"--publishes", &g.publishes, 100000000}};
    for (int i = 1; i + 1 < argc; i += 2) {
        for (size_t n = 0; n < sizeof(flags) / sizeof(flags[0]); n++) {
            if (strcmp(argv[i], flags[n].name) == 0)
                *flags[n].value = strtol(argv[i + 1], NULL, 10);
        }
    }
    for (size_t n = 0; n < sizeof(flags) / sizeof(flags[0]); n++)
        expect(*flags[n].value >= 1 && *flags[n].value <= flags[n].max, "a figure out of range");
    expect(g.named <= g.categories, "--named is more than --categories");

    begin();
    printf("%ld categories, %ld named\n\n", g.categories, g.named);
    printf("%-18s %12s %12s %14s\n", "us, medians", "nothing new", "one event", "everything");
    for (int of = 0; of < KINDS; of++)
        measure_poll((kind)of);
    printf("\n%-18s %12s %12s %14s\n", "500 that wait", "bytes each", "pub ratio", "publishes/s");
    for (int of = 0; of < KINDS; of++)
        measure_parked((kind)of);
    printf("\n%-18s %12s %12s\n", "asked every 64", "pub ratio", "us to ask");
    for (int of = 0; of < KINDS; of++)
        measure_asked_meanwhile((kind)of);
    printf("\n%-18s %12s\n", "wake 10,000", "ms");
    measure_waking(ONE);
    measure_waking(PREFIX);
    lp__engine_drain(g.engine, g.now);
    lp__engine_free(g.engine);
    free(g.texts);
    free(g.names);
    return 0;
}
