/* `longpoll bench store`: how fast each store takes events and gives them back and what they take
 * on disk, beside the least that any such store must do, in the same run. What is compared takes
 * turns, round by round. Main thread, but for the process that a manager's start gets. */
#include "bench_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shared/load_figures.h"
#include "bench_report.h"
#include "bench_store_files.h"
#include "bench_store_options.h"
#include "bench_store_raw.h"
#include "bench_store_runs.h"
#include "say.h"
#ifdef LONGPOLL_SQLITE
#include "bench_store_sqlite.h"
#endif
#ifdef LONGPOLL_LMDB
#include "bench_store_lmdb.h"
#endif

#define SLACK ((uint64_t)64 << 20) /* on disk: the journal's four segments */
#define AGAIN "framed pwrite again"

typedef struct store_kind {
    const char *name, *raw_name, *scan_name;
    /* NULL: the journal's, which is measured here */
    append_run (*raw_append)(const append_plan *plan, const event_pool *pool);
    uint64_t (*raw_scan)(const char *directory);
} store_kind;

static const store_kind kinds[] = {
    {"journal", "framed pwrite", "read()", NULL, NULL},
#ifdef LONGPOLL_SQLITE
    {"sqlite", "bare SQLite", "bare SQLite", raw_sqlite_append, raw_sqlite_scan},
#endif
#ifdef LONGPOLL_LMDB
    {"lmdb", "bare LMDB", "bare LMDB", raw_lmdb_append, raw_lmdb_scan},
#endif
};
enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

typedef struct bench {
    char dir[3072], work[3200];
    int64_t events, rounds, cell_ms, retain;
    event_pool *pool;
    bench_report *report;
} bench;

static void work_begin(const bench *b)
{
    if (mkdir(b->work, 0700) != 0)
        fail("%s: %s", b->work, strerror(errno));
}

static void work_end(const bench *b)
{
    directory_remove(b->work);
}

/* By the wall, and by the time on the processor, which a busy machine moves less. */
static void add_run(const bench *b, int64_t round, const char *case_name, const char *server,
                    append_run run)
{
    bench_report_add(b->report, (int)round, case_name, server, "rate", "events/s",
                     (double)run.events * 1e6 / (double)(run.took.wall_us + 1));
    bench_report_add(b->report, (int)round, case_name, server, "CPU", "us/event",
                     (double)run.took.cpu_us / (double)(run.events + 1));
}

/* ---- append ---------------------------------------------------------------------------------- */

typedef struct append_case {
    const store_kind *kind;
    append_plan plan;
    char growing[64], retained[64]; /* names of the cases */
} append_case;

/* The raw loop stands beside both cases of a store. */
static void add_raw(const bench *b, const append_case *at, int64_t round, const char *name,
                    append_run run)
{
    add_run(b, round, at->growing, name, run);
    add_run(b, round, at->retained, name, run);
}

static void raw_write_round(const bench *b, const append_case *at, int64_t round)
{
    char path[4096];
    off_t end = 0;

    snprintf(path, sizeof(path), "%s/raw", at->plan.directory);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        fail("%s: %s", path, strerror(errno));
    add_raw(b, at, round, at->kind->raw_name, raw_write(fd, &at->plan, b->pool, &end));
    fdatasync(fd);
    add_raw(b, at, round, AGAIN, raw_write(fd, &at->plan, b->pool, &end));
    close(fd);
}

static double payload_bytes(const bench *b)
{
    char buffer[32768];

    return (double)raw_payload(buffer, b->pool->at[0]);
}

static void check_disk(const bench *b, const append_case *at, int64_t round, uint64_t disk)
{
    double lives = payload_bytes(b) * (double)b->retain;
    bench_report_add(b->report, (int)round, at->retained, at->kind->name, "disk", "x living bytes",
                     (double)disk / lives);
    check((double)disk <= 2 * lives + (double)SLACK,
          "%s, %s: the disk holds %.1f MB where %.1f MB live", at->kind->name, at->retained,
          (double)disk / 1e6, lives / 1e6);
}

static void append_round(const bench *b, const append_case *at, int64_t round)
{
    const char *name = at->kind->name;
    uint64_t disk;

    work_begin(b);
    add_run(b, round, at->growing, name, store_append(name, &at->plan, 0, b->pool, &disk));
    work_end(b);
    work_begin(b);
    add_run(b, round, at->retained, name,
            store_append(name, &at->plan, (uint64_t)b->retain, b->pool, &disk));
    check_disk(b, at, round, disk);
    work_end(b);
    work_begin(b);
    if (at->kind->raw_append != NULL)
        add_raw(b, at, round, at->kind->raw_name, at->kind->raw_append(&at->plan, b->pool));
    else
        raw_write_round(b, at, round);
    work_end(b);
}

static void append_cell(const bench *b, const store_kind *kind, const char *sync, size_t batch)
{
    append_case at = {.kind = kind,
                      .plan = {.directory = b->work,
                               .sync = sync,
                               .batch = batch,
                               .events = (uint64_t)(batch == 1 ? b->events / 10 : b->events),
                               .for_ms = (long)b->cell_ms}};
    snprintf(at.growing, sizeof(at.growing), "%s, batch %zu, growing", sync, batch);
    snprintf(at.retained, sizeof(at.retained), "%s, batch %zu, retained", sync, batch);
    for (int64_t round = 0; round < b->rounds && !interrupt_seen(); round++)
        append_round(b, &at, round);
    bench_report_print(b->report);
}

static void append_all(const bench *b, const store_kind *kind, const char *levels)
{
    static const char *const syncs[] = {"never", "interval", "always"};
    static const size_t batches[] = {1, 64, 256, 1024};

    for (size_t s = 0; s < sizeof(syncs) / sizeof(*syncs); s++)
        for (size_t i = 0; i < sizeof(batches) / sizeof(*batches); i++)
            if (is_listed(levels, syncs[s]) && (batches[i] != 256 || s == 2) && !interrupt_seen())
                append_cell(b, kind, syncs[s], batches[i]);
}

/* ---- replay ---------------------------------------------------------------------------------- */

static append_run all_in(const bench *b, stopwatch took)
{
    return (append_run){(uint64_t)b->events, took};
}

static stopwatch scan_time(const store_kind *kind, const char *raw, const char *store)
{
    stopwatch start = stopwatch_start();

    if (kind->raw_scan != NULL)
        kind->raw_scan(raw);
    else
        directory_read(store);
    return stopwatch_spent(start);
}

static void replay_round(const bench *b, const store_kind *kind, int64_t round, const char *store,
                         const char *raw)
{
    static const char sink[] = "replay into a sink", rings[] = "replay into rings";
    double bytes;
    append_run scan = all_in(b, scan_time(kind, raw, store));

    add_run(b, round, sink, kind->scan_name, scan);
    add_run(b, round, sink, kind->name,
            all_in(b, store_sink_time(kind->name, store, (uint64_t)b->events)));
    add_run(b, round, rings, kind->scan_name, scan);
    add_run(b, round, rings, kind->name,
            all_in(b, store_rings_time(kind->name, store, (uint64_t)b->events, b->pool, &bytes)));
    bench_report_add(b->report, (int)round, rings, kind->name, "disk", "bytes/event",
                     (double)directory_disk_bytes(store) / (double)b->events);
}

static void replay_all(const bench *b, const store_kind *kind)
{
    append_plan plan = {
        .sync = "never", .batch = 1024, .events = (uint64_t)b->events, .for_ms = 3600000};
    char store[4096], raw[4096];

    snprintf(store, sizeof(store), "%s/store", b->dir);
    snprintf(raw, sizeof(raw), "%s/raw", b->dir);
    if (mkdir(store, 0700) != 0 || mkdir(raw, 0700) != 0)
        fail("%s: %s", b->dir, strerror(errno));
    plan.directory = raw;
    store_fill(kind->name, store, plan.events, b->pool);
    if (kind->raw_append != NULL)
        kind->raw_append(&plan, b->pool);
    scan_time(kind, raw, store); /* the first one warms */
    for (int64_t round = 0; round < b->rounds && !interrupt_seen(); round++)
        replay_round(b, kind, round, store, raw);
    bench_report_print(b->report);
    directory_remove(store);
    directory_remove(raw);
}

/* ---- the command ----------------------------------------------------------------------------- */

static void run(bench *b, const char *dir, const char *stores, const char *levels, bool has_replay)
{
    event_pool_init(b->pool);
    snprintf(b->dir, sizeof(b->dir), "%s/longpoll-bench-XXXXXX", dir);
    if (mkdtemp(b->dir) == NULL)
        fail("%s: %s", b->dir, strerror(errno));
    snprintf(b->work, sizeof(b->work), "%s/work", b->dir);
    bench_report_reference(b->report, AGAIN);
    for (size_t i = 0; i < KINDS; i++) {
        bench_report_reference(b->report, kinds[i].raw_name);
        if (kinds[i].raw_name != kinds[i].scan_name)
            bench_report_reference(b->report, kinds[i].scan_name);
    }
    for (size_t i = 0; i < KINDS; i++) {
        if (!is_listed(stores, kinds[i].name) || !store_is_there(kinds[i].name, b->work))
            continue;
        if (b->cell_ms > 0)
            append_all(b, &kinds[i], levels);
        if (has_replay && !interrupt_seen())
            replay_all(b, &kinds[i]);
    }
    event_pool_free(b->pool);
    if (rmdir(b->dir) != 0)
        say_note("%s: %s", b->dir, strerror(errno));
}

int bench_store(const command *self, int count, char **words)
{
    static event_pool pool;
    static bench b = {.events = 1000000, .rounds = 3, .cell_ms = 2000, .retain = 50000};
    const char *dir = ".", *stores = "journal,sqlite,lmdb", *levels = "always,interval,never";
    const char *events = NULL, *bytes = NULL, *categories = NULL, *retain = NULL, *rounds = NULL;
    const char *cell_ms = NULL;
    bool is_json = false, no_replay = false;
    lp_error error;
    pool.bytes = 200;
    pool.categories = 1000;
    const flag flags[] = {
        {"dir", "DIR", "where to make stores: a real disk, no tmpfs (.)", NULL, &dir},
        {"stores", "LIST", "of journal,sqlite,lmdb (all)", NULL, &stores},
        {"sync", "LIST", "of always,interval,never (all)", NULL, &levels},
        {"events", "N", "a cell writes at most, a replay reads (1000000)", NULL, &events},
        {"bytes", "N", "of the data of each (200)", NULL, &bytes},
        {"categories", "N", "that take turns (1000)", NULL, &categories},
        {"retain", "N", "events that a retained store keeps (50000)", NULL, &retain},
        {"cell-ms", "N", "that a cell writes at most; 0: no append (2000)", NULL, &cell_ms},
        {"no-replay", NULL, "leave replay out", &no_replay, NULL},
        {"rounds", "N", "of which the median is told (3)", NULL, &rounds},
        {"json", NULL, "one JSON object a line", &is_json, NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = command_read(self, flags, count, words, NULL, 0);
    const number_flag numbers[] = {
        {"events", events, 1000, 1000000000, &b.events},
        {"bytes", bytes, 2, EVENT_POOL_DATA_MAX, &pool.bytes},
        {"categories", categories, 1, 1000000, &pool.categories},
        {"retain", retain, 1, 100000000, &b.retain},
        {"cell-ms", cell_ms, 0, 3600000, &b.cell_ms},
        {"rounds", rounds, 1, 99, &b.rounds},
        {NULL, NULL, 0, 0, NULL},
    };
    if (status < 0)
        status = numbers_read(numbers);
    if (status < 0)
        status = list_check("stores", stores, "journal,sqlite,lmdb");
    if (status < 0)
        status = list_check("sync", levels, "always,interval,never");
    if (status >= 0)
        return status;
    /* the one that goes is of the same category as the one that comes */
    b.retain = (b.retain + pool.categories - 1) / pool.categories * pool.categories;
    fail_as("longpoll: bench store", EXIT_FAILED);
    b.pool = &pool;
    b.report = bench_report_new("store", is_json);
    run(&b, dir, stores, levels, !no_replay);
    bench_report_free(b.report);
    if (interrupt_check(&error) != LP_OK)
        return say_failed(&error);
    return checks_failed() > 0 ? EXIT_FAILED : EXIT_DONE;
}
