/* Horizons of batches that bring many of them: the SQLite and the LMDB store keep these in lists.
 *
 *   horizon_lists [SEED [HISTORIES]]
 *
 * A history is random: batches with few and with many horizons, idle moments, compactions, floors,
 * stops and kills. After each stop and kill a start returns for every category the highest horizon
 * that was acknowledged, or a floor at or above it. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <longpoll/lmdb.h>
#include <longpoll/sqlite.h>
#include <longpoll/store.h>

enum { CATEGORIES = 2100, RUNS = 5, BATCHES = 60 };

struct world {
    uint64_t horizons[CATEGORIES], floor, next; /* what was acknowledged */
    uint64_t random;
};

static const char *kind, *path;

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "horizon_lists: %s: %s: %s\n", kind, what, detail);
    exit(1);
}

static uint64_t random_below(struct world *world, uint64_t below)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return world->random % below;
}

static lp_str category(size_t i, char text[16])
{
    return (lp_str){text, (size_t)snprintf(text, 16, "category %zu", i)};
}

static lp_store *open_store(const lp_store_sink *sink)
{
    lp_addon *addon = NULL;
    lp_store *store = NULL;
    lp_error error;
    int status;
    if (strcmp(kind, "sqlite") == 0) {
        lp_sqlite_options options = LP_SQLITE_OPTIONS_INIT;
        options.sync = LP_SYNC_NEVER;
        status = lp_sqlite_new(path, &options, &addon, &error);
    } else {
        lp_lmdb_options options = LP_LMDB_OPTIONS_INIT;
        options.sync = LP_SYNC_NEVER;
        status = lp_lmdb_new(path, &options, &addon, &error);
    }
    if (status != LP_OK || lp_store_open(addon, sink, &store, &error) != LP_OK)
        fail("open", error.message);
    return store;
}

/* ---- what is kept ---------------------------------------------------------------------------- */

static int take_horizon(void *ctx, lp_str name, uint64_t seq)
{
    struct world *found = ctx;
    char text[32] = "";
    if (name.len == 0) {
        found->floor = seq;
        return LP_OK;
    }
    memcpy(text, name.base, name.len < sizeof(text) - 1 ? name.len : sizeof(text) - 1);
    size_t i = (size_t)strtoul(text + strlen("category "), NULL, 10);
    if (seq > found->horizons[i])
        found->horizons[i] = seq;
    return LP_OK;
}

static int take_loss(void *ctx, uint64_t records, const char *detail)
{
    (void)ctx, (void)records;
    fail("a loss was told", detail);
    return LP_OK;
}

static void count_horizons(void *ctx, const char *name, uint64_t number, const char *text)
{
    (void)text;
    if (strcmp(name, "horizons") == 0)
        *(uint64_t *)ctx = number;
}

static lp_store *open_and_compare(const struct world *world)
{
    static struct world found;
    char text[64];
    lp_error error;
    uint64_t count = 0, kept = 0;
    memset(&found, 0, sizeof(found));
    lp_store_sink sink = {
        .ctx = &found, .horizon = take_horizon, .loss = take_loss, .expired_ms = INT64_MIN};
    lp_store *store = open_store(&sink);
    if (found.floor != world->floor)
        fail("the floor", "not the one that was acknowledged");
    for (size_t i = 0; i < CATEGORIES; i++) {
        snprintf(text, sizeof(text), "%zu: %" PRIu64 ", acknowledged %" PRIu64, i,
                 found.horizons[i], world->horizons[i]);
        kept += found.horizons[i] != 0;
        if (found.horizons[i] > world->horizons[i] ||
            (found.horizons[i] < world->horizons[i] && world->horizons[i] > world->floor))
            fail("category", text);
    }
    if (lp_store_inspect(store, count_horizons, &count, &error) != LP_OK)
        fail("inspect", error.message);
    kept += strcmp(kind, "sqlite") == 0 && found.floor != 0; /* it has a row for the floor */
    snprintf(text, sizeof(text), "%" PRIu64 " of %" PRIu64, count, kept);
    if (count != kept)
        fail("the figure of horizons", text);
    return store;
}

/* ---- a history ------------------------------------------------------------------------------- */

static void append(lp_store *store, struct world *world)
{
    static lp_batch *batch;
    lp_error error;
    char text[16];
    if (batch == NULL && lp_batch_new(&batch) != LP_OK)
        fail("batch", "out of memory");
    lp_batch_clear(batch);
    size_t count = (size_t)random_below(world, random_below(world, 4) == 0 ? 12 : 400) + 1;
    size_t first = (size_t)random_below(world, CATEGORIES);
    size_t step = random_below(world, 2) == 0 ? 1 : 7;
    for (size_t n = 0; n < count; n++) {
        size_t i = (first + n * step) % CATEGORIES;
        world->horizons[i] = ++world->next;
        lp_batch_add_horizon(batch, category(i, text), world->next);
    }
    uint64_t floor = world->next - random_below(world, 1000) % world->next;
    if (random_below(world, 50) == 0 && floor > world->floor) {
        world->floor = floor;
        lp_batch_add_horizon(batch, (lp_str){"", 0}, world->floor);
    }
    lp_batch_set_highest(batch, world->next);
    if (lp_store_append(store, batch, &error) != LP_OK)
        fail("append", error.message);
}

static void run(lp_store *store, struct world *world)
{
    lp_error error;
    int64_t next_ms = 0;
    for (int i = 0; i < BATCHES; i++) {
        append(store, world);
        if (random_below(world, 10) == 0 && lp_store_idle(store, 5, &next_ms, &error) != LP_OK)
            fail("idle", error.message);
        if (random_below(world, 60) > 0)
            continue;
        do
            if (lp_store_compact(store, 100, &next_ms, &error) != LP_OK)
                fail("compact", error.message);
        while (next_ms == 0);
    }
}

/* One that is killed is in a process of its own, and the parent follows its steps. */
static void run_and_end(struct world *world, bool is_killed)
{
    int ends[2], status = 0;
    lp_error error;
    pid_t child = -1;
    fflush(stdout);
    if (is_killed && (pipe(ends) != 0 || (child = fork()) < 0))
        fail("fork", "no process");
    if (child > 0) {
        if (waitpid(child, &status, 0) != child || status != 0 ||
            read(ends[0], world, sizeof(*world)) != (ssize_t)sizeof(*world))
            fail("child", "it failed");
        close(ends[0]);
        close(ends[1]);
        return;
    }
    lp_store *store = open_and_compare(world);
    run(store, world);
    if (child == 0)
        _exit(write(ends[1], world, sizeof(*world)) == (ssize_t)sizeof(*world) ? 0 : 1);
    if (lp_store_close(store, 10000, &error) != LP_OK)
        fail("close", error.message);
}

static void history(const char *store_kind, uint64_t seed)
{
    static struct world world;
    char directory[] = "horizon_lists-XXXXXX", name[64], command[96];
    lp_error error;
    memset(&world, 0, sizeof(world));
    world.random = seed * 2654435761u + 1;
    if (mkdtemp(directory) == NULL)
        fail("mkdtemp", directory);
    kind = store_kind;
    snprintf(name, sizeof(name), "%s%s", directory,
             strcmp(kind, "sqlite") == 0 ? "/events.db" : "");
    path = name;
    for (int i = 0; i < RUNS; i++)
        run_and_end(&world, random_below(&world, 2) == 0);
    if (lp_store_close(open_and_compare(&world), 10000, &error) != LP_OK)
        fail("close", error.message);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    if (system(command) != 0)
        fail("rm", directory);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)getpid();
    uint64_t histories = argc > 2 ? strtoull(argv[2], NULL, 10) : 3;
    for (uint64_t i = 0; i < histories; i++) {
        printf("seed %" PRIu64 "\n", seed + i);
        history("sqlite", seed + i);
        history("lmdb", seed + i);
    }
    return 0;
}
