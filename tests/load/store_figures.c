/* store_figures: how fast each store takes events and gives them back and what they take on disk,
 * beside the least that any such store must do, in the same run.
 *
 *   store_figures [--dir DIR] [--stores journal,sqlite,lmdb] [--sync always,interval,never]
 *                 [--events 1000000] [--bytes 200] [--categories 1000] [--retain 50000]
 *                 [--rounds 3] [--cell-ms 2000] [--replay 1]
 *
 * Works in a directory of its own below DIR (default: the current one; a real disk, no tmpfs) and
 * removes it. Prints Markdown. What is compared takes turns, `rounds` times; figures are medians,
 * and ratios are medians of the ratios within a round.
 *
 * append: events/s through lp_store_append and lp_store_idle in batches, until `events` are written
 * (a tenth of them in batches of 1) or `cell-ms` have passed. `growing`: nothing is removed.
 * `retained`: each event removes the one `retain` events before it, and raises the horizon of its
 * category, as full rings do, in a store that has come to its steady state. Beside them the raw
 * loop: for the journal the same bytes framed (length and CRC32C) in one buffer, one pwrite, and
 * with `always` one fdatasync, on a growing file and again over it; for SQLite and LMDB a bare loop
 * with the same flags (raw_sqlite.h, raw_lmdb.h). `disk` is what a retained store takes at the end,
 * as a multiple of the payload that lives. `CPU` ratios are of events by time on the processor,
 * which a busy machine moves less.
 *
 * replay: `events` events through lp_store_open with a sink that counts, and through
 * lp_manager_start until it serves, with rings that hold all, in a process of its own. Beside them,
 * cache warm: read() of the journal's files, a bare scan of what the bare loop wrote. By the wall,
 * and by the time on the processor, which a busy machine moves less.
 *
 * Checked: retained stores take at most twice what lives and 64 MiB; the replays give back every
 * event, and the manager's figures say so too. Ends with 1 when a check fails. The rates and ratios
 * are figures to be read, not checks: a busy machine moves them. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "figures.h"
#include "files.h"
#include "raw_write.h"
#include "store_runs.h"
#ifdef LONGPOLL_SQLITE
#include "raw_sqlite.h"
#endif
#ifdef LONGPOLL_LMDB
#include "raw_lmdb.h"
#endif

#define ROUNDS_MAX 99
#define SLACK      ((uint64_t)64 << 20) /* on disk: the journal's four segments */

static struct {
    char dir[3072], work[3200];
    long events, rounds, cell_ms, retain;
    event_pool pool;
} g;

/* ---- kinds -----------------------------------------------------------------------------------
 */

typedef struct cell_target {
    const char *sync;
    size_t batch;
    const char *text;
} cell_target;

typedef struct store_kind {
    const char *name, *raw_name;
    /* NULL: the journal's, which is measured here */
    append_run (*raw_append)(const append_plan *plan, const event_pool *pool);
    uint64_t (*raw_scan)(const char *directory);
    const char *append_target, *replay_target;
    const cell_target *targets; /* instead of append_target, up to one without a sync */
} store_kind;

static const cell_target journal_targets[] = {{"interval", 64, "0.8"},
                                              {"always", 1, "0.9"},
                                              {"always", 64, "1.0, retained"},
                                              {"always", 256, "0.8"},
                                              {NULL, 0, NULL}};

static const store_kind kinds[] = {
    {"journal", "framed pwrite", NULL, NULL, "", "rings: 3.0M/s", journal_targets},
#ifdef LONGPOLL_SQLITE
    {"sqlite", "bare SQLite", raw_sqlite_append, raw_sqlite_scan, "0.8, retained 0.55", "sink: 0.7",
     NULL},
#endif
#ifdef LONGPOLL_LMDB
    {"lmdb", "bare LMDB", raw_lmdb_append, raw_lmdb_scan, "0.8, retained 0.55", "sink: 0.7", NULL},
#endif
};

static const char *target_of(const store_kind *kind, const char *sync, size_t batch)
{
    for (const cell_target *t = kind->targets; t && t->sync; t++)
        if (strcmp(t->sync, sync) == 0 && t->batch == batch)
            return t->text;
    return kind->append_target;
}

/* Whether `name` is in a list with commas. */
static bool is_listed(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = list; (at = strstr(at, name)); at += len)
        if ((at == list || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
            return true;
    return false;
}

static void work_begin(void)
{
    if (mkdir(g.work, 0700) != 0)
        fail("%s: %s", g.work, strerror(errno));
}

static void work_end(void)
{
    directory_remove(g.work);
}

/* ---- medians ---------------------------------------------------------------------------------
 */

/* What is measured; then the same by the time on the processor. */
enum { GROWING, RETAINED, RAW, RAW_AGAIN, SINK, RINGS, SCAN, CPU, FIGURES = 2 * CPU };

typedef double rounds_of[ROUNDS_MAX][FIGURES];

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median over the rounds of one figure, or (`to` >= 0) of its ratio to another in the same
 * round. */
static double median(rounds_of rates, int figure, int to)
{
    double values[ROUNDS_MAX];

    for (long i = 0; i < g.rounds; i++)
        values[i] = to < 0 ? rates[i][figure] : rates[i][figure] / rates[i][to];
    qsort(values, (size_t)g.rounds, sizeof *values, compare);
    return values[g.rounds / 2];
}

static void set_rates(double rates[FIGURES], int figure, append_run run)
{
    rates[figure] = (double)run.events * 1e6 / (double)(run.took.wall_us + 1);
    rates[CPU + figure] = (double)run.events * 1e6 / (double)(run.took.cpu_us + 1);
}

/* A rate in three digits: "965k", "5.61M". */
static const char *rate_text(double rate, char out[16])
{
    if (rate >= 1e6)
        snprintf(out, 16, "%.*fM", rate < 1e7 ? 2 : 1, rate / 1e6);
    else
        snprintf(out, 16, "%.*fk", rate < 1e4 ? 2 : rate < 1e5 ? 1 : 0, rate / 1e3);
    return out;
}

static void print_rate(rounds_of rates, int figure)
{
    char text[16];

    printf(" %s |", rate_text(median(rates, figure, -1), text));
}

static void print_ratio(rounds_of rates, int figure, int to)
{
    printf(" %.2f |", median(rates, figure, to));
}

/* ---- append ----------------------------------------------------------------------------------
 */

static void raw_write_round(const append_plan *plan, double rates[FIGURES])
{
    char path[4096];
    off_t end = 0;
    int fd;

    snprintf(path, sizeof path, "%s/raw", plan->directory);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        fail("%s: %s", path, strerror(errno));
    set_rates(rates, RAW, raw_write(fd, plan, &g.pool, &end));
    fdatasync(fd);
    set_rates(rates, RAW_AGAIN, raw_write(fd, plan, &g.pool, &end));
    close(fd);
}

/* `*disk` gets what a retained store takes. */
static void append_round(const store_kind *kind, const append_plan *plan, uint64_t retain,
                         double rates[FIGURES], uint64_t *disk)
{
    uint64_t unused;

    for (int figure = GROWING; figure <= RAW; figure++) {
        work_begin();
        if (figure != RAW)
            set_rates(rates, figure,
                      store_append(kind->name, plan, figure == RETAINED ? retain : 0, &g.pool,
                                   figure == RETAINED ? disk : &unused));
        else if (kind->raw_append)
            set_rates(rates, RAW, kind->raw_append(plan, &g.pool));
        else
            raw_write_round(plan, rates);
        work_end();
    }
}

static double payload_bytes(void)
{
    char buffer[32768];

    return (double)raw_payload(buffer, g.pool.at[0]);
}

static void append_row(const store_kind *kind, const char *sync, size_t batch)
{
    append_plan plan = {.directory = g.work, .sync = sync, .batch = batch, .for_ms = g.cell_ms};
    uint64_t retain, disk = 0, most = 0;
    rounds_of rates;
    double lives;

    plan.events = (uint64_t)(batch == 1 ? g.events / 10 : g.events);
    retain = (uint64_t)g.retain;
    for (long i = 0; i < g.rounds; i++) {
        append_round(kind, &plan, retain, rates[i], &disk);
        most = disk > most ? disk : most;
    }
    lives = payload_bytes() * (double)retain;
    printf("| %s | %zu |", sync, batch);
    print_rate(rates, GROWING);
    print_rate(rates, RETAINED);
    print_rate(rates, RAW);
    if (!kind->raw_append)
        print_rate(rates, RAW_AGAIN);
    print_ratio(rates, GROWING, RAW);
    print_ratio(rates, RETAINED, RAW);
    if (!kind->raw_append)
        print_ratio(rates, RETAINED, RAW_AGAIN);
    print_ratio(rates, CPU + GROWING, CPU + RAW);
    print_ratio(rates, CPU + RETAINED, CPU + RAW);
    printf(" %s | %.2f |\n", target_of(kind, sync, batch), (double)most / lives);
    fflush(stdout);
    check((double)most <= 2 * lives + (double)SLACK,
          "%s, %s, batch %zu: the disk holds %.1f MB where %.1f MB live", kind->name, sync, batch,
          (double)most / 1e6, lives / 1e6);
}

static void append_table(const store_kind *kind, const char *levels)
{
    static const char *const syncs[] = {"never", "interval", "always"};
    static const size_t batches[] = {1, 64, 256, 1024};

    printf("\n### %s: append, events/s\n\n", kind->name);
    if (kind->raw_append)
        printf("| sync | batch | growing | retained | %s | growing : raw | retained : raw | "
               "growing : raw, "
               "CPU | retained : raw, CPU | target | disk, retained |\n"
               "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
               kind->raw_name);
    else
        printf("| sync | batch | growing | retained | %s | over it again | growing : raw "
               "| retained : raw | retained : again | growing : raw, CPU | retained : raw, CPU | "
               "target | disk, retained |\n"
               "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
               kind->raw_name);
    for (size_t s = 0; s < sizeof syncs / sizeof *syncs; s++)
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
            if (is_listed(levels, syncs[s]) && (batches[b] != 256 || s == 2))
                append_row(kind, syncs[s], batches[b]);
}

/* ---- replay ----------------------------------------------------------------------------------
 */

static append_run all_in(stopwatch took)
{
    return (append_run){(uint64_t)g.events, took};
}

static stopwatch scan_time(const store_kind *kind, const char *raw, const char *store)
{
    stopwatch start = stopwatch_start();

    if (kind->raw_scan)
        kind->raw_scan(raw);
    else
        directory_read(store);
    return stopwatch_spent(start);
}

static void print_replay(rounds_of rates, const char *clock, int first, const char *target)
{
    printf("| %s |", clock);
    for (int figure = first; figure < first + 3; figure++)
        print_rate(rates, figure);
    print_ratio(rates, first, first + 2);
    print_ratio(rates, first + 1, first);
    printf(" %s |\n", target);
}

static void replay_table(const store_kind *kind)
{
    append_plan plan = {
        .sync = "never", .batch = 1024, .events = (uint64_t)g.events, .for_ms = 3600000};
    char store[4096], raw[4096];
    double bytes, disk, raw_disk;
    rounds_of rates;

    snprintf(store, sizeof store, "%s/store", g.dir);
    snprintf(raw, sizeof raw, "%s/raw", g.dir);
    if (mkdir(store, 0700) != 0 || mkdir(raw, 0700) != 0)
        fail("%s: %s", g.dir, strerror(errno));
    plan.directory = raw;
    store_fill(kind->name, store, plan.events, &g.pool);
    if (kind->raw_append)
        kind->raw_append(&plan, &g.pool);
    disk = (double)directory_disk_bytes(store);
    raw_disk = (double)directory_disk_bytes(raw);
    scan_time(kind, raw, store); /* the first one warms */
    for (long i = 0; i < g.rounds; i++) {
        set_rates(rates[i], SCAN, all_in(scan_time(kind, raw, store)));
        set_rates(rates[i], SINK, all_in(store_sink_time(kind->name, store, plan.events)));
        set_rates(rates[i], RINGS,
                  all_in(store_rings_time(kind->name, store, plan.events, &g.pool, &bytes)));
    }
    directory_remove(store);
    directory_remove(raw);

    printf("\n### %s: replay of %ld events\n\n"
           "| events/s, by | into a sink | into rings | %s | sink : raw | rings : sink | target |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n",
           kind->name, g.events, kind->raw_scan ? "bare scan" : "read()");
    print_replay(rates, "the wall", SINK, kind->replay_target);
    print_replay(rates, "processor", CPU + SINK, "");
    printf("\nAn event of %.0f bytes of payload takes %.0f bytes on disk", payload_bytes(),
           disk / (double)g.events);
    if (kind->raw_scan)
        printf(" (bare loop: %.0f)", raw_disk / (double)g.events);
    printf(", %.0f in a ring.\n", bytes);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--dir",    "--stores",     "--sync",   "--events",
                                        "--bytes",  "--retain",     "--rounds", "--cell-ms",
                                        "--replay", "--categories", NULL};
    const char *stores = option_text(argc, argv, "--stores", "journal,sqlite,lmdb");
    const char *levels = option_text(argc, argv, "--sync", "always,interval,never");

    options_check(argc, argv, 1, known);
    g.events = option_number(argc, argv, "--events", 1000000);
    g.pool.bytes = option_number(argc, argv, "--bytes", 200);
    g.pool.categories = option_number(argc, argv, "--categories", 1000);
    g.retain = option_number(argc, argv, "--retain", 50000);
    g.retain -= g.retain % g.pool.categories; /* the one that goes is of the same category */
    g.rounds = option_number(argc, argv, "--rounds", 3);
    g.cell_ms = option_number(argc, argv, "--cell-ms", 2000);
    if (g.rounds < 1 || g.rounds > ROUNDS_MAX)
        fail("rounds are 1 to %d", ROUNDS_MAX);
    if (g.events < 10 || g.retain < 1)
        fail("events are at least 10, and retain is at least as many as the categories");
    event_pool_init(&g.pool);
    snprintf(g.dir, sizeof g.dir, "%s/store-figures-XXXXXX", option_text(argc, argv, "--dir", "."));
    if (!mkdtemp(g.dir))
        fail("%s: %s", g.dir, strerror(errno));
    snprintf(g.work, sizeof g.work, "%s/work", g.dir);

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!is_listed(stores, kinds[i].name) || !store_is_there(kinds[i].name, g.work))
            continue;
        if (g.cell_ms > 0)
            append_table(&kinds[i], levels);
        if (option_number(argc, argv, "--replay", 1))
            replay_table(&kinds[i]);
    }
    event_pool_free(&g.pool);
    if (rmdir(g.dir) != 0)
        fprintf(stderr, "%s: %s\n", g.dir, strerror(errno));
    return checks_result();
}
