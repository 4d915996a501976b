/* journal_replay: how fast the journal takes events and gives them back, beside the least that any
 * journal must do, in the same run.
 *
 *   journal_replay [--dir DIR] [--events 1000000] [--bytes 200] [--append-ms 200]
 *                  [--rounds 5] [--categories 1000] [--retain 50000]
 *
 * Works in a directory of its own below DIR (default: the current one) and removes it.
 *
 * append: events/s through lp_store_append at each sync level and batches of 1, 64 and 1024, for
 * `append-ms` each, the medians of `rounds` of them: growing, where nothing is removed; and steady,
 * where each event removes the one `retain` events before it, as full rings do, so that segments
 * die and are used again. Beside them a raw loop: the same bytes framed (length and CRC32C) in one
 * buffer, one pwrite, and with `always` one fdatasync, on a growing file and with `always` on one
 * that was written before. The disk's bytes at the end of a steady run are told as a multiple of
 * what lives.
 *
 * replay: `events` events of `bytes` bytes through lp_store_open with a sink that counts, and
 * through lp_manager_start until it serves, with rings that hold all; beside them read() of the
 * same files, cache warm.
 *
 * Checked: in steady runs the disk holds at most twice what lives and four segments; the replays
 * give back every event, and the manager's stats say so too. Ends with 1 when a check fails. The
 * ratios are figures to be read, not checks: a busy machine moves them. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include <longpoll/journal.h>
#include <longpoll/manager.h>
#include <longpoll/store.h>

#include "client.h"
#include "figures.h"
#include "files.h"
#include "raw_write.h"

#define BATCH_MAX  1024
#define POOL       65536      /* events that are made before a clock runs */
#define SEGMENT    (16 << 20) /* the journal's default */
#define ROUNDS_MAX 99

static struct {
    char dir[3072];
    long events, bytes, append_ms, rounds, categories, retain;
    int64_t first_ms;
    uint64_t made;  /* events ever made: numbers their ids */
    uint64_t first; /* the first one of the store that is appended to */
    lp_event *pool[POOL];
} g;

/* ---- events -------------------------------------------------------------------------------------
 */

/* One millisecond for every 32 events, as a manager under load would stamp them. */
static uint64_t seq_of(uint64_t n)
{
    return lp_seq_first(g.first_ms + (int64_t)(n / 32)) + n % 32;
}

static lp_event *make_event(void)
{
    char data[16384], category[32];
    uint64_t n = g.made++;
    lp_event *event;

    snprintf(category, sizeof category, "load-%" PRIu64, n % (uint64_t)g.categories);
    memset(data, 'x', (size_t)g.bytes);
    data[0] = data[g.bytes - 1] = '"';
    if (lp_event_new(lp_id_make(seq_of(n), n * 2654435761u), lp_str_of(category),
                     (lp_str){data, (size_t)g.bytes}, &event) != LP_OK)
        fail("an event could not be made");
    return event;
}

static void fill_pool(void)
{
    for (size_t i = 0; i < POOL; i++) {
        lp_event_unref(g.pool[i]);
        g.pool[i] = make_event();
    }
}

/* ---- append -------------------------------------------------------------------------------------
 */

static lp_store *open_store(const char *directory, lp_sync sync, const lp_store_sink *sink)
{
    lp_journal_options options = LP_JOURNAL_OPTIONS_INIT;
    lp_store_sink nobody = {.expired_ms = INT64_MIN};
    lp_store *store;
    lp_addon *addon;
    lp_error error;

    options.sync = sync;
    if (lp_journal_new(directory, &options, &addon, &error) != LP_OK ||
        lp_store_open(addon, sink ? sink : &nobody, &store, &error) != LP_OK)
        fail("%s", error.message);
    return store;
}

static void close_store(lp_store *store)
{
    lp_error error;

    if (lp_store_close(store, 60000, &error) != LP_OK)
        fail("%s", error.message);
}

/* What a full ring says when event `n` comes in: the oldest one is gone. */
static void remove_oldest(lp_batch *batch, uint64_t n, lp_str category)
{
    uint64_t gone = seq_of(n - (uint64_t)g.retain);

    if (lp_batch_add_removal(batch, gone, LP_REMOVED_RING) != LP_OK ||
        lp_batch_add_horizon(batch, category, gone) != LP_OK)
        fail("out of memory");
}

static void append(lp_store *store, lp_batch *batch, size_t at, size_t count, bool steady)
{
    uint64_t n = g.made - POOL + at;
    lp_error error;

    lp_batch_clear(batch);
    for (size_t i = 0; i < count; i++) {
        lp_event *event = g.pool[at + i];
        if (lp_batch_add_event(batch, event) != LP_OK)
            fail("out of memory");
        if (steady && n + i >= g.first + (uint64_t)g.retain)
            remove_oldest(batch, n + i, lp_event_category(event));
    }
    lp_batch_set_highest(batch, lp_event_seq(g.pool[at + count - 1]));
    if (lp_store_append(store, batch, &error) != LP_OK)
        fail("%s", error.message);
}

/* Calls on_idle when it wants to be called. */
static void idle(lp_store *store, uint64_t *due_us)
{
    int64_t next_ms;
    lp_error error;

    if (now_us() < *due_us)
        return;
    if (lp_store_idle(store, 10, &next_ms, &error) != LP_OK)
        fail("%s", error.message);
    *due_us = now_us() + (uint64_t)(next_ms < 0 ? 10 : next_ms) * 1000;
}

/* Brings a store to where its rings are full and its segments have been used once. */
static void fill_store(lp_store *store, lp_batch *batch, uint64_t *idle_due_us)
{
    for (long done = 0; done < 4 * g.retain; done += POOL) {
        fill_pool();
        for (size_t at = 0; at < POOL; at += BATCH_MAX) {
            append(store, batch, at, BATCH_MAX, true);
            idle(store, idle_due_us);
        }
    }
}

/* Events/s through the store; `*disk` gets what its files take at the end. */
static double append_rate(lp_sync sync, size_t batch_size, bool steady, uint64_t *disk)
{
    char directory[4096];
    uint64_t spent_us = 0, count = 0, idle_due_us = 0;
    lp_store *store;
    lp_batch *batch;

    snprintf(directory, sizeof directory, "%s/append", g.dir);
    store = open_store(directory, sync, NULL);
    g.first = g.made;
    if (lp_batch_new(&batch) != LP_OK)
        fail("out of memory");
    if (steady)
        fill_store(store, batch, &idle_due_us);
    while (spent_us < (uint64_t)g.append_ms * 1000) {
        uint64_t start_us;
        fill_pool();
        start_us = now_us();
        for (size_t at = 0; at + batch_size <= POOL; at += batch_size) {
            append(store, batch, at, batch_size, steady);
            idle(store, &idle_due_us);
            count += batch_size;
            if (now_us() - start_us + spent_us >= (uint64_t)g.append_ms * 1000)
                break;
        }
        spent_us += now_us() - start_us;
    }
    *disk = directory_disk_bytes(directory);
    lp_batch_free(batch);
    close_store(store);
    directory_remove(directory);
    return (double)count * 1e6 / (double)spent_us;
}

/* What the raw loop writes of one event. */
static size_t raw_bytes(void)
{
    return sizeof(lp_id) + 10 + lp_event_category(g.pool[0]).len + (size_t)g.bytes;
}

/* Events/s of one round: the journal with nothing removed and with full rings, the raw loop on a
 * new file and again over it. */
enum { GROWING, STEADY, RAW, RAW_AGAIN, KINDS };

static void append_round(lp_sync sync, size_t batch_size, double rates[KINDS], uint64_t *disk)
{
    char path[4096];
    off_t end = 0;
    int fd;

    rates[GROWING] = append_rate(sync, batch_size, false, disk);
    rates[STEADY] = append_rate(sync, batch_size, true, disk);
    snprintf(path, sizeof path, "%s/raw", g.dir);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        fail("%s: %s", path, strerror(errno));
    rates[RAW] =
        raw_write_rate(fd, sync == LP_SYNC_ALWAYS, g.pool, POOL, batch_size, g.append_ms, &end);
    rates[RAW_AGAIN] = 0;
    if (sync == LP_SYNC_ALWAYS) {
        fdatasync(fd);
        rates[RAW_AGAIN] = raw_write_rate(fd, true, g.pool, POOL, batch_size, g.append_ms, &end);
    }
    close(fd);
    unlink(path);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median over the rounds of one kind, or of its ratio to another in the same round. */
static double median(double (*rates)[KINDS], int kind, int to)
{
    double values[ROUNDS_MAX];

    for (long i = 0; i < g.rounds; i++)
        values[i] = to < 0 ? rates[i][kind] : rates[i][kind] / rates[i][to];
    qsort(values, (size_t)g.rounds, sizeof *values, compare);
    return values[g.rounds / 2];
}

static void append_figures(lp_sync sync, const char *name, size_t batch_size)
{
    double rates[ROUNDS_MAX][KINDS];
    uint64_t disk = 0, most = 0;

    for (long i = 0; i < g.rounds; i++) {
        append_round(sync, batch_size, rates[i], &disk);
        most = disk > most ? disk : most;
    }
    printf("append %s, batch %zu: growing %.0f/s, steady %.0f/s; raw %.0f/s (ratios %.2f, %.2f)",
           name, batch_size, median(rates, GROWING, -1), median(rates, STEADY, -1),
           median(rates, RAW, -1), median(rates, GROWING, RAW), median(rates, STEADY, RAW));
    if (sync == LP_SYNC_ALWAYS)
        printf("; raw again over the file %.0f/s (%.2f, %.2f)", median(rates, RAW_AGAIN, -1),
               median(rates, GROWING, RAW_AGAIN), median(rates, STEADY, RAW_AGAIN));
    printf("; steady disk %.1f MB at most, %.2f times what lives\n", (double)most / 1e6,
           (double)most / (double)raw_bytes() / (double)g.retain);
    check(most <= 2 * raw_bytes() * (uint64_t)g.retain + 4 * SEGMENT,
          "%s, batch %zu: the disk holds %.1f MB where %.1f MB live", name, batch_size,
          (double)most / 1e6, (double)raw_bytes() * (double)g.retain / 1e6);
    fflush(stdout);
}

/* ---- replay -------------------------------------------------------------------------------------
 */

static int count_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    (void)id;
    (void)category;
    (void)data;
    ++*(uint64_t *)ctx;
    return LP_OK;
}

static void write_journal(const char *directory)
{
    lp_store *store = open_store(directory, LP_SYNC_NEVER, NULL);
    lp_batch *batch;
    long left = g.events;

    if (lp_batch_new(&batch) != LP_OK)
        fail("out of memory");
    while (left > 0) {
        fill_pool();
        for (size_t at = 0; at < POOL && left > 0; at += BATCH_MAX) {
            size_t count = left < BATCH_MAX ? (size_t)left : BATCH_MAX;
            append(store, batch, at, count, false);
            left -= (long)count;
        }
    }
    lp_batch_free(batch);
    close_store(store);
}

static double read_rate(const char *directory)
{
    uint64_t start_us = now_us(), total = directory_read(directory);
    uint64_t took_us = now_us() - start_us;

    printf("raw read(): %.1f MB in %.0f ms, %.2fM events/s\n", (double)total / 1e6,
           (double)took_us / 1e3, (double)g.events / (double)took_us);
    return (double)g.events / (double)took_us;
}

static void sink_figures(const char *directory, double raw)
{
    uint64_t count = 0, start_us = now_us(), took_us;
    lp_store_sink sink = {.ctx = &count, .event = count_event, .expired_ms = INT64_MIN};
    lp_store *store = open_store(directory, LP_SYNC_NEVER, &sink);

    took_us = now_us() - start_us;
    close_store(store);
    printf("replay into a counting sink: %" PRIu64 " events in %.0f ms, %.2fM events/s, ratio to "
           "read() %.3f\n",
           count, (double)took_us / 1e3, (double)count / (double)took_us,
           (double)count / (double)took_us / raw);
    check(count == (uint64_t)g.events, "%" PRIu64 " of %ld events were replayed", count, g.events);
}

typedef struct start {
    uint64_t start_us, took_us;
    lp_stats stats;
} start;

static void on_closed(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)unkept;
    (void)ctx;
    check(error->status == LP_OK, "shutdown: %s", error->message);
    lp_manager_free(manager);
}

static void on_state(lp_manager *manager, lp_state state, const lp_error *error, void *ctx)
{
    start *s = ctx;

    if (error)
        fail("%s", error->message);
    if (state != LP_STATE_SERVING)
        return;
    s->took_us = now_us() - s->start_us;
    lp_manager_stats(manager, &s->stats, sizeof s->stats);
    lp_manager_shutdown(manager, 60000, on_closed, NULL);
}

static void manager_figures(const char *directory, double raw)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    start s = {0};
    lp_manager *manager;
    uv_loop_t loop;
    lp_error error;

    if (lp_journal_new(directory, NULL, &options.addon, &error) != LP_OK)
        fail("%s", error.message);
    options.event_buffer_max = g.events;
    options.events_max = g.events + 1;
    options.events_bytes_max = g.events * (g.bytes + 1024);
    options.categories_max = g.categories + 1;
    options.on_state = on_state;
    options.state_ctx = &s;
    uv_loop_init(&loop);
    s.start_us = now_us();
    if (lp_manager_start(&loop, &options, &manager, &error) != LP_OK)
        fail("%s", error.message);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    printf("replay into a manager's rings: %" PRIu64 " events in %.0f ms, %.2fM events/s, ratio to "
           "read() %.3f, %.0f B a buffered event\n",
           s.stats.events, (double)s.took_us / 1e3, (double)s.stats.events / (double)s.took_us,
           (double)s.stats.events / (double)s.took_us / raw,
           (double)s.stats.events_bytes / (double)(s.stats.events ? s.stats.events : 1));
    check(s.stats.events == (uint64_t)g.events, "%" PRIu64 " of %ld events are in the rings",
          s.stats.events, g.events);
    check(s.stats.replayed == (uint64_t)g.events, "stats: %" PRIu64 " replayed of %ld",
          s.stats.replayed, g.events);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--dir",    "--events",     "--bytes",  "--append-ms",
                                        "--rounds", "--categories", "--retain", NULL};
    static const struct {
        lp_sync sync;
        const char *name;
    } levels[] = {
        {LP_SYNC_NEVER, "never"}, {LP_SYNC_INTERVAL, "interval"}, {LP_SYNC_ALWAYS, "always"}};
    static const size_t batches[] = {1, 64, 1024};
    char journal[4096];
    double raw;

    options_check(argc, argv, 1, known);
    g.events = option_number(argc, argv, "--events", 1000000);
    g.bytes = option_number(argc, argv, "--bytes", 200);
    g.append_ms = option_number(argc, argv, "--append-ms", 200);
    g.rounds = option_number(argc, argv, "--rounds", 5);
    g.categories = option_number(argc, argv, "--categories", 1000);
    g.retain = option_number(argc, argv, "--retain", 50000);
    g.retain -= g.retain % g.categories; /* the one that goes is of the same category */
    if (g.rounds < 1 || g.rounds > ROUNDS_MAX)
        fail("rounds are 1 to %d", ROUNDS_MAX);
    if (g.retain < 1)
        fail("retain is at least as many as the categories");
    if (g.events < 1 || g.bytes < 2 || g.bytes > 16384 || g.categories < 1)
        fail("events and categories are at least 1, bytes 2 to 16384");
    snprintf(g.dir, sizeof g.dir, "%s/journal-replay-XXXXXX",
             option_text(argc, argv, "--dir", "."));
    if (!mkdtemp(g.dir))
        fail("%s: %s", g.dir, strerror(errno));
    g.first_ms = now_wall_ms() - 86400000; /* a day ago: no clock is ahead */
    snprintf(journal, sizeof journal, "%s/journal", g.dir);

    for (size_t level = 0; g.append_ms > 0 && level < sizeof levels / sizeof *levels; level++)
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
            append_figures(levels[level].sync, levels[level].name, batches[b]);
    write_journal(journal);
    read_rate(journal); /* the first one warms */
    raw = read_rate(journal);
    sink_figures(journal, raw);
    manager_figures(journal, raw);
    directory_remove(journal);
    for (size_t i = 0; i < POOL; i++)
        lp_event_unref(g.pool[i]);
    if (rmdir(g.dir) != 0)
        fprintf(stderr, "%s: %s\n", g.dir, strerror(errno));
    return checks_result();
}
