/* The SQLite store as an add-on: its options, its hooks, and the lines it writes for people. */
#include "inside.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../shared/boot.h"
#include "../shared/options.h"

enum { QUIET_US = 1000000, PAGES_MIN = 256 };

/* ---- the real world -------------------------------------------------------------------------- */

static int64_t real_monotonic_us(void *ctx)
{
    struct timespec now;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t real_wall_ms(void *ctx)
{
    struct timespec now;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t real_boot(void *ctx)
{
    (void)ctx;
    return lp__boot_number();
}

lp__sqlite_world lp__sqlite_world_real(void)
{
    return (lp__sqlite_world){
        .monotonic_us = real_monotonic_us, .wall_ms = real_wall_ms, .boot = real_boot};
}

/* ---- hooks ----------------------------------------------------------------------------------- */

static int on_start(lp_addon *self_addon, lp_replay *replay)
{
    lp__sqlite *self = self_addon->state;
    self->boot = self->world.boot(self->world.ctx);
    int status = lp__sqlite_open(self, replay);
    if (status == LP_OK && self->db != NULL)
        status = lp__sqlite_replay(self, replay);
    if (status != LP_OK)
        lp__sqlite_close(self, true);
    else
        lp__space_make(self);
    return status;
}

static int on_publish(lp_addon *self_addon, lp_batch *batch)
{
    lp__sqlite *self = self_addon->state;
    int status = lp__sqlite_publish(self, batch);
    if (self->news[0] != '\0')
        lp_batch_log(batch, "%s", self->news);
    self->news[0] = '\0';
    return status;
}

/* ---- idle ------------------------------------------------------------------------------------ */

struct errand {
    lp__sqlite *self;
    int64_t until_us, delay_ms; /* delay_ms -1: not before the next batch */
};

static int64_t now_us(const lp__sqlite *self)
{
    return self->world.monotonic_us(self->world.ctx);
}

static void again(struct errand *errand, int64_t delay_ms)
{
    if (delay_ms < 0) /* it has become due meanwhile */
        delay_ms = 0;
    if (errand->delay_ms < 0 || delay_ms < errand->delay_ms)
        errand->delay_ms = delay_ms;
}

static int sync_if_due(struct errand *errand)
{
    lp__sqlite *self = errand->self;
    int64_t left_us = self->due_us - now_us(self);
    if (self->due_us == 0)
        return LP_OK;
    if (left_us <= 0)
        return lp__wal_sync(self);
    again(errand, (left_us + 999) / 1000);
    return LP_OK;
}

/* Gives pages that nobody uses back to the file system, when they are most of the file. */
static int shrink(struct errand *errand)
{
    lp__sqlite *self = errand->self;
    int64_t pages = lp__db_number(self->db, "PRAGMA page_count");
    int64_t unused = lp__db_number(self->db, "PRAGMA freelist_count");
    if (pages < PAGES_MIN || unused < pages / 2)
        return LP_OK;
    int status = lp__db_exec(self, self->db, "PRAGMA incremental_vacuum(256)");
    if (status == LP_OK)
        status = lp__wal_committed(self);
    /* A file whose auto_vacuum somebody has turned off gives nothing back. */
    if (lp__db_number(self->db, "PRAGMA freelist_count") < unused)
        again(errand, 0);
    return status;
}

/* What can wait until nothing has been published for a while. */
static int tidy(struct errand *errand)
{
    lp__sqlite *self = errand->self;
    int status = LP_OK;
    bool more = self->dead.count > 0 || self->key_check || (self->sweep && !self->blind) ||
                lp__lists_can_empty(self);
    if (self->key_check)
        self->key_from = 0;
    self->key_check = false;
    for (bool has_time = true; status == LP_OK && more && has_time;) {
        status = lp__trim_chunk(self, &more);
        if (status == LP_OK)
            status = lp__wal_committed(self);
        has_time = now_us(self) < errand->until_us;
    }
    if (status == LP_OK && more)
        again(errand, 0);
    if (status == LP_OK && !more) {
        lp__space_make(self);
        status = shrink(errand);
    }
    if (self->due_us != 0)
        again(errand, (self->due_us - now_us(self) + 999) / 1000);
    return status;
}

/* The order to make it as small as it gets. VACUUM is one call, however long it takes. */
static int compact(struct errand *errand)
{
    lp__sqlite *self = errand->self;
    bool more = self->dead.count > 0 || self->keys > 0 || lp__lists_can_empty(self);
    int status = LP_OK;
    if (self->key_check)
        self->key_from = 0;
    self->key_check = false;
    for (bool has_time = true; status == LP_OK && more && has_time;) {
        status = lp__trim_chunk(self, &more);
        has_time = now_us(self) < errand->until_us;
    }
    if (status != LP_OK || more) {
        again(errand, 0);
        return status;
    }
    if (self->is_compact)
        return LP_OK;
    status = lp__db_exec(self, self->db, "VACUUM");
    if (status == LP_OK)
        status = lp__wal_truncate(self);
    self->is_compact = status == LP_OK;
    return status;
}

static int do_errands(struct errand *errand, const lp_idle *idle)
{
    lp__sqlite *self = errand->self;
    int status = sync_if_due(errand);
    if (status != LP_OK)
        return status;
    if (self->in_doubt) /* what was acknowledged before is synced all the same, and no more */
        return LP_OK;
    if (lp_idle_is_thorough(idle))
        return compact(errand);
    int64_t quiet_us = now_us(self) - self->published_us;
    if (self->has_written && quiet_us < QUIET_US)
        again(errand, (QUIET_US - quiet_us + 999) / 1000);
    else
        status = tidy(errand);
    return status;
}

static int on_idle(lp_addon *self_addon, lp_idle *idle)
{
    lp__sqlite *self = self_addon->state;
    if (self->read_only || self->db == NULL)
        return LP_OK;
    struct errand errand = {self, now_us(self) + lp_idle_budget_ms(idle) * 1000, -1};
    self->problem[0] = '\0';
    int status = do_errands(&errand, idle);
    if (status == LP_OK && errand.delay_ms >= 0)
        lp_idle_again(idle, errand.delay_ms);
    if (status != LP_OK) {
        lp_idle_again(idle, 1000);
        status = lp_idle_error(idle, status, "sqlite \"%s\": %s%s", self->path, self->problem,
                               lp__sqlite_remedy(self, status));
    }
    if (self->news[0] != '\0')
        lp_idle_log(idle, "%s", self->news);
    self->news[0] = '\0';
    return status;
}

/* ---- shutdown -------------------------------------------------------------------------------- */

/* Says in a transaction of its own, on disk, that everything is there. */
static int write_mark(lp__sqlite *self)
{
    int status = lp__db_level(self, true);
    if (status == LP_OK)
        status = lp__db_run(self, LP__BEGIN);
    if (status == LP_OK)
        status = lp__put_meta(self, self->statements[LP__PUT_META], "clean", 1, "");
    if (status == LP_OK)
        status = lp__db_run(self, LP__COMMIT);
    if (status != LP_OK)
        lp__db_rollback(self);
    return status;
}

static int on_shutdown(lp_addon *self_addon, lp_ending *ending)
{
    lp__sqlite *self = self_addon->state;
    int64_t left_ms = lp_ending_remaining_ms(ending);
    int status = LP_OK;
    bool writes = self->has_written && !self->in_doubt && !self->lost && self->db != NULL;
    if (self->db != NULL)
        sqlite3_busy_timeout(self->db,
                             left_ms < LP__SQLITE_BUSY_MS ? (int)left_ms : LP__SQLITE_BUSY_MS);
    if (writes) {
        status = write_mark(self);
        if (status == LP_ENOSPC && lp__space_spend(self))
            status = write_mark(self);
        /* The mark is the last thing in the log; without a checkpoint the next start reads it. */
        if (status == LP_OK && lp_ending_remaining_ms(ending) > 0)
            lp__wal_truncate(self);
    }
    if (self->in_doubt && self->due_us != 0 && self->db != NULL)
        status = lp__wal_sync(self);
    if (status != LP_OK)
        lp_ending_error(ending, status,
                        "sqlite \"%s\": not closed cleanly: %s (a start after a reboot may tell "
                        "of a loss)",
                        self->path, self->problem);
    bool has_time = lp_ending_remaining_ms(ending) > 0;
    lp__sqlite_close(self, self->in_doubt || self->lost || !has_time);
    return status;
}

static int on_inspect(lp_addon *self_addon, lp_report *report)
{
    return lp__sqlite_inspect(self_addon->state, report);
}

static void destroy(lp_addon *self_addon)
{
    lp__sqlite *self = self_addon->state;
    lp__sqlite_close(self, true);
    lp__dead_free(&self->dead);
    lp__dead_free(&self->bad);
    lp__lists_forget(&self->lists);
    free(self->path);
    free(self->file);
    free(self);
}

/* ---- making one ------------------------------------------------------------------------------ */

static int check_options(const char *file, const lp_sqlite_options *options, lp_error *error)
{
    if (file == NULL || file[0] == '\0')
        return lp_error_set(error, LP_EINVAL, "sqlite: the file is empty (name one)");
    if (strlen(file) > LP__SQLITE_PATH_MAX - 64)
        return lp_error_set(error, LP_EINVAL, "sqlite: the path has %zu bytes (at most %d)",
                            strlen(file), LP__SQLITE_PATH_MAX - 64);
    return lp__options_check_sync("sqlite", options->sync, options->sync_interval_ms, error);
}

/* SQLite takes ":memory:" and "file:…" for something else than files of these names. */
static char *file_name(const char *path)
{
    size_t size = strlen(path) + 3;
    char *file = malloc(size);
    if (file != NULL)
        snprintf(file, size, "%s%s", path[0] == '/' ? "" : "./", path);
    return file;
}

static void set_options(lp__sqlite *self, const lp_sqlite_options *options)
{
    int64_t interval_ms = options->sync_interval_ms;
    self->sync = options->sync;
    self->sync_interval_us = (interval_ms != 0 ? interval_ms : LP__SYNC_INTERVAL_MS) * 1000;
    self->read_only = options->read_only;
    self->lock = -1;
    self->wal_next = self->wal_limit = LP__SQLITE_WAL_PAGES;
    self->key_check = true;
    self->keys_forgotten_ms = INT64_MIN;
}

int lp__sqlite_new(const char *file, const lp_sqlite_options *given, const lp__sqlite_world *world,
                   lp_addon **out, lp_error *error)
{
    static const lp_addon hooks = {
        .abi = LP_ADDON_ABI,
        .struct_size = sizeof(lp_addon),
        .name = "sqlite",
        .on_start = on_start,
        .on_publish = on_publish,
        .on_shutdown = on_shutdown,
        .on_idle = on_idle,
        .on_inspect = on_inspect,
        .destroy = destroy,
    };
    lp_sqlite_options options = LP_SQLITE_OPTIONS_INIT;
    *out = NULL;
    int status =
        lp__options_read(&options, sizeof(options), given, "LP_SQLITE_OPTIONS_INIT", error);
    if (status == LP_OK)
        status = check_options(file, &options, error);
    if (status != LP_OK)
        return status;
    lp__sqlite *self = calloc(1, sizeof(*self));
    char *path = strdup(file), *name = file_name(file);
    if (self == NULL || path == NULL || name == NULL) {
        free(self);
        free(path);
        free(name);
        return lp_error_set(error, LP_ENOMEM, "sqlite \"%s\": out of memory", file);
    }
    self->addon = hooks;
    self->addon.state = self;
    self->path = path;
    self->file = name;
    self->world = *world;
    set_options(self, &options);
    *out = &self->addon;
    return LP_OK;
}

int lp_sqlite_new(const char *file, const lp_sqlite_options *options, lp_addon **out,
                  lp_error *error)
{
    lp__sqlite_world world = lp__sqlite_world_real();
    return lp__sqlite_new(file, options, &world, out, error);
}
