/* The LMDB store as an add-on: its options, its hooks, and the lines it writes for people. */
#include "inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "../shared/boot.h"
#include "../shared/errno_status.h"
#include "../shared/options.h"

enum { QUIET_MS = 1000, READERS_MS = 60000 };
#define MAP_STEP ((size_t)64 << 20)

/* ---- what goes wrong ------------------------------------------------------------------------- */

static int status_of(int code)
{
    switch (code) {
    case MDB_MAP_FULL: /* and it could not grow */
        return LP_ENOMEM;
    case MDB_TXN_FULL:
        return LP_ETOOBIG;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return LP_EDAMAGED;
    case MDB_VERSION_MISMATCH:
        return LP_EVERSION;
    default:
        return code > 0 ? lp__status_of_errno(code) : LP_EIO;
    }
}

int lp__lmdb_failed(lp__lmdb *lmdb, const char *what, int code)
{
    char reason[96];
    const char *text = code > 0 ? strerror_r(code, reason, sizeof(reason)) : mdb_strerror(code);
    snprintf(lmdb->problem, sizeof(lmdb->problem), "%s: %s", what, text);
    return status_of(code);
}

/* LMDB gave up in the middle of its work. Its memory and its files are left as they are. */
static int given_up(lp__lmdb *lmdb)
{
    lmdb->env = NULL;
    lmdb->in_doubt = true;
    return LP_EINDOUBT;
}

/* ---- hooks ----------------------------------------------------------------------------------- */

static int start(lp__lmdb *lmdb, lp_replay *replay)
{
    if (setjmp(lmdb->escape) != 0)
        return lp_replay_error(replay, given_up(lmdb), "lmdb \"%s\": %s", lmdb->path,
                               lmdb->problem);
    return lp__lmdb_start(lmdb, replay);
}

static int on_start(lp_addon *self, lp_replay *replay)
{
    lp__lmdb *lmdb = self->state;
    lmdb->boot = lmdb->host.boot(lmdb->host.ctx);
    int status = start(lmdb, replay);
    if (lmdb->meta.seed == 0 && getrandom(&lmdb->meta.seed, sizeof(lmdb->meta.seed), 0) < 0)
        lmdb->meta.seed = (uint64_t)lmdb->host.wall_ms(lmdb->host.ctx);
    if (status != LP_OK)
        lp__lmdb_close(lmdb);
    else
        lp__lmdb_space_make(lmdb);
    return status;
}

static int on_publish(lp_addon *self, lp_batch *batch)
{
    lp__lmdb *lmdb = self->state;
    if (setjmp(lmdb->escape) != 0)
        return lp_batch_error(batch, given_up(lmdb), "lmdb \"%s\": %s (restart)", lmdb->path,
                              lmdb->problem);
    return lp__lmdb_publish(lmdb, batch);
}

/* Syncs when it is due; `*delay_ms`: when it will be, -1: never. */
static int sync_if_due(lp__lmdb *lmdb, lp_idle *idle, int64_t now_ms, int64_t *delay_ms)
{
    *delay_ms = -1;
    if (lmdb->due_ms == 0)
        return LP_OK;
    if (now_ms < lmdb->due_ms) {
        *delay_ms = lmdb->due_ms - now_ms;
        return LP_OK;
    }
    bool was_durable = lmdb->is_durable;
    int status = lp__lmdb_env_sync(lmdb);
    if (status == LP_OK) {
        lmdb->due_ms = 0;
        if (lmdb->is_durable && !was_durable)
            lp_idle_log(idle,
                        "lmdb \"%s\": a sync failed; a commit took its place, nothing is lost, and "
                        "every batch is synced from now on (check the disk)",
                        lmdb->path);
        return LP_OK;
    }
    *delay_ms = lmdb->sync_interval_ms;
    return lp_idle_error(idle, status,
                         "lmdb \"%s\": %s; acknowledged events may be lost if this machine loses "
                         "power (check the disk)",
                         lmdb->path, lmdb->problem);
}

/* Deletes while there is time. `*delay_ms`: when to go on, -1: not before the next batch. */
static int trim_until(lp__lmdb *lmdb, int64_t until_ms, int64_t *delay_ms)
{
    bool more = true;
    int status = LP_OK;
    while (status == LP_OK && more) {
        status = lp__lmdb_trim_step(lmdb, LP__TRIM_ROWS, &more);
        if (status == LP_ENOSPC)
            status = lp__lmdb_space_trim(lmdb, &more);
        if (more && lmdb->host.monotonic_ms(lmdb->host.ctx) >= until_ms)
            break;
    }
    *delay_ms = status != LP_OK ? QUIET_MS : more ? 0 : -1;
    return status;
}

/* On an idle store, and not between the batches of a busy one. */
static int trim_if_quiet(lp__lmdb *lmdb, int64_t now_ms, int64_t until_ms, int64_t *delay_ms)
{
    *delay_ms = -1;
    bool sweeps = lmdb->sweep_wanted && lmdb->meta.floor != 0 && lmdb->untold == 0;
    if (lp__lmdb_trim_dead_count(lmdb) == 0 && !sweeps && !lmdb->keys_wanted &&
        !lp__lmdb_lists_can_empty(lmdb))
        return LP_OK;
    if (now_ms < lmdb->batch_ms + QUIET_MS) {
        *delay_ms = lmdb->batch_ms + QUIET_MS - now_ms;
        return LP_OK;
    }
    return trim_until(lmdb, until_ms, delay_ms);
}

static int work(lp__lmdb *lmdb, lp_idle *idle)
{
    int64_t now_ms = lmdb->host.monotonic_ms(lmdb->host.ctx), sync_ms, delay_ms;
    int64_t until_ms = now_ms + lp_idle_budget_ms(idle);
    if (lmdb->env != NULL && now_ms >= lmdb->readers_ms + READERS_MS) {
        int dead;
        mdb_reader_check(lmdb->env, &dead); /* killed ones hold free pages back */
        lmdb->readers_ms = now_ms;
    }
    int synced = sync_if_due(lmdb, idle, now_ms, &sync_ms);
    int status = lp_idle_is_thorough(idle) ? trim_until(lmdb, until_ms, &delay_ms)
                                           : trim_if_quiet(lmdb, now_ms, until_ms, &delay_ms);
    if (status == LP_OK && lp_idle_is_thorough(idle) && delay_ms < 0)
        status = lp__lmdb_compact(lmdb);
    lp__lmdb_space_make(lmdb);
    if (lmdb->due_ms == 0)
        sync_ms = -1; /* a compaction has synced everything */
    else if (sync_ms < 0)
        sync_ms = lmdb->due_ms > now_ms ? lmdb->due_ms - now_ms : 0;
    if (sync_ms >= 0 && (delay_ms < 0 || sync_ms < delay_ms))
        delay_ms = sync_ms;
    if (delay_ms >= 0)
        lp_idle_again(idle, delay_ms);
    if (status != LP_OK)
        return lp_idle_error(idle, status, "lmdb \"%s\": %s", lmdb->path, lmdb->problem);
    return synced;
}

/* What was acknowledged before the doubt is owed its sync all the same. It is tried once: a second
 * try on the same pages would say nothing. */
static int sync_in_doubt(lp__lmdb *lmdb, lp_idle *idle)
{
    int64_t now_ms = lmdb->host.monotonic_ms(lmdb->host.ctx);
    if (lmdb->due_ms == 0)
        return LP_OK;
    if (now_ms < lmdb->due_ms) {
        lp_idle_again(idle, lmdb->due_ms - now_ms);
        return LP_OK;
    }
    lmdb->due_ms = 0;
    char problem[sizeof(lmdb->problem)]; /* every batch that is refused tells it */
    memcpy(problem, lmdb->problem, sizeof(problem));
    int status = lp__lmdb_env_sync_in_doubt(lmdb);
    if (status != LP_OK)
        lp_idle_error(idle, status,
                      "lmdb \"%s\": %s; acknowledged events may be lost if this machine loses "
                      "power (check the disk and restart)",
                      lmdb->path, lmdb->problem);
    memcpy(lmdb->problem, problem, sizeof(problem));
    return status;
}

static int on_idle(lp_addon *self, lp_idle *idle)
{
    lp__lmdb *lmdb = self->state;
    if (lmdb->read_only)
        return LP_OK;
    if (lmdb->in_doubt)
        return sync_in_doubt(lmdb, idle);
    if (setjmp(lmdb->escape) != 0)
        return lp_idle_error(idle, given_up(lmdb), "lmdb \"%s\": %s (restart)", lmdb->path,
                             lmdb->problem);
    return work(lmdb, idle);
}

static int put_clean_mark(lp__lmdb *lmdb, MDB_txn *txn, void *ctx)
{
    (void)ctx;
    lp__meta meta = lmdb->meta;
    meta.is_clean = true;
    return lp__lmdb_meta_put(lmdb, txn, &meta);
}

/* Everything to disk, and a mark that says so. */
static int finish(lp__lmdb *lmdb)
{
    if (setjmp(lmdb->escape) != 0)
        return given_up(lmdb);
    return lp__lmdb_env_write_durably(lmdb, put_clean_mark, NULL);
}

static int on_shutdown(lp_addon *self, lp_ending *ending)
{
    lp__lmdb *lmdb = self->state;
    int status = LP_OK;
    if (!lmdb->read_only && !lmdb->meta.is_clean && !lmdb->in_doubt)
        status = finish(lmdb);
    if (status == LP_ENOSPC && lp__lmdb_space_spend(lmdb))
        status = finish(lmdb);
    if (lmdb->in_doubt && lmdb->due_ms != 0)
        status = lp__lmdb_env_sync_in_doubt(lmdb);
    if (status != LP_OK)
        lp_ending_error(ending, status, "lmdb \"%s\": not closed cleanly: %s", lmdb->path,
                        lmdb->problem);
    lp__lmdb_close(lmdb);
    return status;
}

static int on_inspect(lp_addon *self, lp_report *report)
{
    return lp__lmdb_inspect(self->state, report);
}

static void destroy(lp_addon *self)
{
    lp__lmdb *lmdb = self->state;
    lp__lmdb_close(lmdb);
    lp__dead_free(&lmdb->dead);
    lp__dead_free(&lmdb->doomed);
    lp__dead_free(&lmdb->refused);
    lp__lists_forget(&lmdb->lists);
    free(lmdb->path);
    free(lmdb);
}

/* ---- making one ------------------------------------------------------------------------------ */

static uint64_t real_boot(void *ctx)
{
    (void)ctx;
    return lp__boot_number();
}

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t real_monotonic_ms(void *ctx)
{
    (void)ctx;
    return clock_ms(CLOCK_MONOTONIC);
}

static int64_t real_wall_ms(void *ctx)
{
    (void)ctx;
    return clock_ms(CLOCK_REALTIME);
}

lp__lmdb_host lp__lmdb_host_real(void)
{
    return (lp__lmdb_host){
        .boot = real_boot,
        .monotonic_ms = real_monotonic_ms,
        .wall_ms = real_wall_ms,
        .map_step = MAP_STEP,
    };
}

static int check_options(const char *directory, const lp_lmdb_options *options, lp_error *error)
{
    if (directory == NULL || directory[0] == '\0')
        return lp_error_set(error, LP_EINVAL, "lmdb: the directory is empty (name one)");
    return lp__options_check_sync("lmdb", options->sync, options->sync_interval_ms, error);
}

int lp__lmdb_new(const char *directory, const lp_lmdb_options *given, const lp__lmdb_host *host,
                 lp_addon **out, lp_error *error)
{
    static const lp_addon hooks = {
        .abi = LP_ADDON_ABI,
        .struct_size = sizeof(lp_addon),
        .name = "lmdb",
        .on_start = on_start,
        .on_publish = on_publish,
        .on_shutdown = on_shutdown,
        .on_idle = on_idle,
        .on_inspect = on_inspect,
        .destroy = destroy,
    };
    lp_lmdb_options options = LP_LMDB_OPTIONS_INIT;
    *out = NULL;
    int status = lp__options_read(&options, sizeof(options), given, "LP_LMDB_OPTIONS_INIT", error);
    if (status == LP_OK)
        status = check_options(directory, &options, error);
    if (status != LP_OK)
        return status;
    lp__lmdb *lmdb = calloc(1, sizeof(*lmdb));
    char *path = strdup(directory);
    if (lmdb == NULL || path == NULL) {
        free(lmdb);
        free(path);
        return lp_error_set(error, LP_ENOMEM, "lmdb \"%s\": out of memory", directory);
    }
    lmdb->addon = hooks;
    lmdb->addon.state = lmdb;
    lmdb->path = path;
    lmdb->sync = options.sync;
    lmdb->sync_interval_ms =
        options.sync_interval_ms != 0 ? options.sync_interval_ms : LP__SYNC_INTERVAL_MS;
    lmdb->read_only = options.read_only;
    lmdb->host = *host;
    lmdb->dir = lmdb->lock = -1;
    lmdb->oldest_dead = lmdb->oldest_doomed = UINT64_MAX;
    lmdb->keys_forgotten_ms = INT64_MIN;
    *out = &lmdb->addon;
    return LP_OK;
}

int lp_lmdb_new(const char *directory, const lp_lmdb_options *options, lp_addon **out,
                lp_error *error)
{
    lp__lmdb_host host = lp__lmdb_host_real();
    return lp__lmdb_new(directory, options, &host, out, error);
}
