/* `longpoll bench in-process`: what a manager costs the program that it is in, without HTTP and
 * without a network: publishing, with each store, replay, waking, and memory. What is compared
 * takes turns, round by round. Main thread. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shared/load_figures.h"
#include "../shared/values.h"
#include "bench_in_process_runs.h"
#include "bench_report.h"
#include "bench_store.h"
#include "bench_store_files.h"
#include "bench_store_options.h"
#include "bench_store_runs.h"
#include "say.h"

#define STORES "memory,journal,sqlite,lmdb"
#define LEVELS "interval,always,never"
#define CASES  "publish,replay,memory,categories,wake"

enum { RING = 250, THREADS_LISTED = 8, CATEGORIES_FEW = 1000 };

typedef struct bench {
    char dir[3072], work[3200];
    int64_t events, rounds, categories;
    int64_t threads[THREADS_LISTED];
    size_t thread_count;
    event_pool *pool;
    bench_report *report;
} bench;

static double rate(const in_process_run *run)
{
    return (double)run->operations * 1e6 / (double)(run->wall_us + 1);
}

static double each(uint64_t us, const in_process_run *run)
{
    return (double)us / (double)run->operations;
}

static in_process_plan plan_of(const bench *b, const char *store, const char *sync)
{
    return (in_process_plan){.store = store,
                             .sync = sync,
                             .directory = b->work,
                             .events = (uint64_t)b->events,
                             .bytes = b->pool->bytes,
                             .categories = 1,
                             .ring = RING};
}

/* ---- publish ----------------------------------------------------------------------------------
 */

static void publish_round(const bench *b, int round, const char *store, const char *sync,
                          int64_t threads)
{
    char name[64], server[64];
    in_process_plan plan = plan_of(b, store, sync);
    in_process_run run;

    plan.threads = (int)threads;
    if (threads == 0)
        snprintf(name, sizeof(name), "from the loop's thread");
    else
        snprintf(name, sizeof(name), "from %" PRId64 " thread%s", threads, threads > 1 ? "s" : "");
    snprintf(server, sizeof(server), "%s%s%s", store, sync[0] != '\0' ? " " : "", sync);
    if (mkdir(b->work, 0700) != 0)
        fail("%s: %s", b->work, strerror(errno));
    run = in_process_publish(&plan);
    directory_remove(b->work);
    bench_report_add(b->report, round, name, server, "rate", "events/s", rate(&run));
    bench_report_add(b->report, round, name, server, "CPU", "us/event", each(run.cpu_us, &run));
    bench_report_add(b->report, round, name, server, "CPU of the loop", "us/event",
                     each(run.loop_cpu_us, &run));
}

static void publish_case(const bench *b, const char *stores, const char *levels, int64_t threads)
{
    static const char *const kinds[] = {"journal", "sqlite", "lmdb"};
    static const char *const syncs[] = {"interval", "always", "never"};

    for (int round = 0; round < b->rounds && !interrupt_seen(); round++) {
        if (is_listed(stores, "memory"))
            publish_round(b, round, "memory", "", threads);
        for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
            for (size_t s = 0; s < sizeof(syncs) / sizeof(*syncs); s++)
                if (is_listed(stores, kinds[k]) && is_listed(levels, syncs[s]) &&
                    store_is_there(kinds[k], b->work))
                    publish_round(b, round, kinds[k], syncs[s], threads);
    }
    bench_report_print(b->report);
}

/* ---- replay ------------------------------------------------------------------------------------
 */

static void replay_case(const bench *b, const char *kind)
{
    double bytes;

    if (!store_is_there(kind, b->work))
        return;
    if (mkdir(b->work, 0700) != 0)
        fail("%s: %s", b->work, strerror(errno));
    store_fill(kind, b->work, (uint64_t)b->events, b->pool);
    for (int round = 0; round < b->rounds && !interrupt_seen(); round++) {
        stopwatch took = store_rings_time(kind, b->work, (uint64_t)b->events, b->pool, &bytes);
        bench_report_add(b->report, round, "replay into rings", kind, "rate", "events/s",
                         (double)b->events * 1e6 / (double)(took.wall_us + 1));
        bench_report_add(b->report, round, "replay into rings", kind, "CPU", "us/event",
                         (double)took.cpu_us / (double)b->events);
    }
    directory_remove(b->work);
    bench_report_print(b->report);
}

/* ---- memory and growth -------------------------------------------------------------------------
 */

/* All events of one category, and one of each of many. */
static void memory_round(const bench *b, int round)
{
    in_process_plan plan = plan_of(b, "memory", "");
    in_process_run one, many;

    plan.ring = b->events;
    one = in_process_memory(&plan);
    bench_report_add(b->report, round, "buffered in one category", "memory",
                     "memory beside the wire text", "bytes/event",
                     one.memory_bytes - one.wire_bytes);
    plan.events = plan.categories = (uint64_t)b->categories;
    plan.ring = 1;
    many = in_process_memory(&plan);
    bench_report_add(b->report, round, "one event in each of many categories", "memory",
                     "memory beside the wire text", "bytes/category",
                     many.memory_bytes - many.wire_bytes);
    bench_report_add(b->report, round, "one event in each of many categories", "memory",
                     "memory beside the event", "bytes/category",
                     many.memory_bytes - one.memory_bytes);
}

/* Rings of one event, so that many categories hold as little as one can. */
static void categories_round(const bench *b, int round, int64_t categories)
{
    static const char name[] = "publish into rings of one event";
    char server[64];
    in_process_plan plan = plan_of(b, "memory", "");
    in_process_run run;

    plan.categories = (uint64_t)categories;
    plan.ring = 1;
    run = in_process_publish(&plan);
    snprintf(server, sizeof(server), "%" PRId64 " categor%s", categories,
             categories == 1 ? "y" : "ies");
    bench_report_add(b->report, round, name, server, "rate", "events/s", rate(&run));
    bench_report_add(b->report, round, name, server, "CPU", "us/event", each(run.cpu_us, &run));
}

static void wake_round(const bench *b, int round, int64_t waiters)
{
    static const char name[] = "publish, wake a waiter, wait again";
    char server[64];
    in_process_plan plan = plan_of(b, "memory", "");
    in_process_run run;

    plan.categories = (uint64_t)waiters;
    run = in_process_wake(&plan);
    snprintf(server, sizeof(server), "%" PRId64 " waiters", waiters);
    bench_report_add(b->report, round, name, server, "rate", "operations/s", rate(&run));
    bench_report_add(b->report, round, name, server, "CPU of the loop", "us/operation",
                     each(run.loop_cpu_us, &run));
}

static void rounds_of(const bench *b, bool memory, bool categories, bool wake)
{
    for (int round = 0; memory && round < b->rounds && !interrupt_seen(); round++)
        memory_round(b, round);
    bench_report_print(b->report);
    for (int round = 0; categories && round < b->rounds && !interrupt_seen(); round++) {
        categories_round(b, round, 1);
        categories_round(b, round, CATEGORIES_FEW);
        categories_round(b, round, b->categories);
    }
    bench_report_print(b->report);
    for (int round = 0; wake && round < b->rounds && !interrupt_seen(); round++)
        for (int64_t waiters = 1000; waiters <= 100000; waiters *= 10)
            wake_round(b, round, waiters);
    bench_report_print(b->report);
}

/* ---- the command -------------------------------------------------------------------------------
 */

static void run(bench *b, const char *dir, const char *stores, const char *levels,
                const char *cases)
{
    static const char *const kinds[] = {"journal", "sqlite", "lmdb"};

    snprintf(b->dir, sizeof(b->dir), "%s/longpoll-bench-XXXXXX", dir);
    if (mkdtemp(b->dir) == NULL)
        fail("%s: %s", b->dir, strerror(errno));
    snprintf(b->work, sizeof(b->work), "%s/work", b->dir);
    bench_report_reference(b->report, "1 category");
    for (size_t i = 0; is_listed(cases, "publish") && i < b->thread_count; i++)
        publish_case(b, stores, levels, b->threads[i]);
    rounds_of(b, is_listed(cases, "memory"), is_listed(cases, "categories"),
              is_listed(cases, "wake"));
    event_pool_init(b->pool);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
        if (is_listed(cases, "replay") && is_listed(stores, kinds[k]) && !interrupt_seen())
            replay_case(b, kinds[k]);
    event_pool_free(b->pool);
    if (rmdir(b->dir) != 0)
        say_note("%s: %s", b->dir, strerror(errno));
}

/* As numbers_read. */
static int read_threads(bench *b, const char *list)
{
    b->thread_count = 0;
    for (const char *at = list;; at++) {
        char word[16];
        int64_t value;
        size_t len = strcspn(at, ",");
        snprintf(word, sizeof(word), "%.*s", (int)len, at);
        if (len >= sizeof(word) || !value_count(word, &value) || value > IN_PROCESS_THREADS_MAX ||
            b->thread_count == THREADS_LISTED)
            return say_usage("--threads \"%s\": not up to %d numbers of 0 to %d, with commas", list,
                             THREADS_LISTED, IN_PROCESS_THREADS_MAX);
        b->threads[b->thread_count++] = value;
        at += len;
        if (*at == '\0')
            return -1;
    }
}

int bench_in_process(const command *self, int count, char **words)
{
    static event_pool pool;
    static bench b = {.events = 1000000, .rounds = 3, .categories = 1000000};
    const char *dir = ".", *stores = STORES, *levels = "interval,always", *cases = CASES;
    const char *threads = "0,1,4";
    const char *events = NULL, *bytes = NULL, *categories = NULL, *rounds = NULL;
    bool is_json = false;
    lp_error error;
    pool.bytes = 200;
    pool.categories = CATEGORIES_FEW;
    const flag flags[] = {
        {"cases", "LIST", "of " CASES " (all)", NULL, &cases},
        {"threads", "LIST", "that publish; 0: the loop's own (0,1,4)", NULL, &threads},
        {"stores", "LIST", "of " STORES " (all)", NULL, &stores},
        {"sync", "LIST", "of " LEVELS " (interval,always)", NULL, &levels},
        {"dir", "DIR", "where to make stores: a real disk, no tmpfs (.)", NULL, &dir},
        {"events", "N", "that are published, or replayed (1000000)", NULL, &events},
        {"bytes", "N", "of the data of each (200)", NULL, &bytes},
        {"categories", "N", "where it is about many (1000000)", NULL, &categories},
        {"rounds", "N", "of which the median is told (3)", NULL, &rounds},
        {"json", NULL, "one JSON object a line", &is_json, NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = command_read(self, flags, count, words, NULL, 0);
    const number_flag numbers[] = {
        {"events", events, 1000, 1000000000, &b.events},
        {"bytes", bytes, 2, EVENT_POOL_DATA_MAX, &pool.bytes},
        {"categories", categories, 1, 100000000, &b.categories},
        {"rounds", rounds, 1, 99, &b.rounds},
        {NULL, NULL, 0, 0, NULL},
    };
    if (status < 0)
        status = numbers_read(numbers);
    if (status < 0)
        status = list_check("cases", cases, CASES);
    if (status < 0)
        status = list_check("stores", stores, STORES);
    if (status < 0)
        status = list_check("sync", levels, LEVELS);
    if (status < 0)
        status = read_threads(&b, threads);
    if (status >= 0)
        return status;
    fail_as("longpoll: bench in-process", EXIT_FAILED);
    b.pool = &pool;
    b.report = bench_report_new("in-process", is_json);
    run(&b, dir, stores, levels, cases);
    bench_report_free(b.report);
    if (interrupt_check(&error) != LP_OK)
        return say_failed(&error);
    return checks_failed() > 0 ? EXIT_FAILED : EXIT_DONE;
}
