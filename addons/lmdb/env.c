/* LMDB's environment: opening it, the map that grows, and what a failed commit means. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READERS = 126, LOCK_FILE_BYTES = 8192 };

/* ---- opening --------------------------------------------------------------------------------- */

/* LMDB aborts the process when this returns. The hook that runs ends with LP_EINDOUBT instead, and
 * the environment is never touched again. */
void lp__lmdb_env_on_assertion(MDB_env *env, const char *message)
{
    lp__lmdb *lmdb = mdb_env_get_userctx(env);
    snprintf(lmdb->problem, sizeof(lmdb->problem), "LMDB gave up: %s", message);
    longjmp(lmdb->escape, 1);
}

/* LMDB writes to a map of its lock file, which on a full disk must have no holes. */
static int prepare_lock_file(lp__lmdb *lmdb)
{
    static const uint8_t zeros[LOCK_FILE_BYTES];
    int fd = openat(lmdb->dir, LP__MDB_LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat stat;
    int code = 0;
    if (fd < 0 || fstat(fd, &stat) != 0)
        code = errno;
    else if (stat.st_size < LOCK_FILE_BYTES) {
        ssize_t wrote = pwrite(fd, zeros, sizeof(zeros), 0);
        if (wrote != (ssize_t)sizeof(zeros))
            code = wrote < 0 ? errno : ENOSPC;
    }
    if (fd >= 0)
        close(fd);
    return code == 0 ? LP_OK : lp__lmdb_failed(lmdb, "cannot make " LP__MDB_LOCK_NAME, code);
}

void lp__lmdb_env_drop_lock_file(lp__lmdb *lmdb)
{
    unlinkat(lmdb->dir, LP__MDB_LOCK_NAME, 0);
}

/* In a new file. */
static int make_trees(lp__lmdb *lmdb, MDB_txn *txn)
{
    int code = mdb_dbi_open(txn, LP__EVENTS_NAME, MDB_CREATE, &lmdb->events);
    if (code == 0)
        code = mdb_dbi_open(txn, LP__HORIZONS_NAME, MDB_CREATE, &lmdb->horizons);
    if (code == 0)
        code = mdb_dbi_open(txn, LP__KEYS_NAME, MDB_CREATE, &lmdb->keys);
    return code == 0 ? lp__lmdb_meta_put(lmdb, txn, &lmdb->meta) : code;
}

static int open_trees(lp__lmdb *lmdb, MDB_env *env)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(env, NULL, 0, &txn);
    if (code != 0)
        return code;
    code = mdb_dbi_open(txn, NULL, 0, &lmdb->main);
    if (code == 0)
        code = mdb_dbi_open(txn, LP__EVENTS_NAME, 0, &lmdb->events);
    if (code == MDB_NOTFOUND)
        code = make_trees(lmdb, txn);
    else if (code == 0) {
        code = mdb_dbi_open(txn, LP__HORIZONS_NAME, 0, &lmdb->horizons);
        if (code == 0)
            code = mdb_dbi_open(txn, LP__KEYS_NAME, 0, &lmdb->keys);
    }
    if (code == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return code;
}

static int fill_new(lp__lmdb *lmdb, MDB_env *env)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(env, NULL, 0, &txn);
    if (code != 0)
        return code;
    code = mdb_dbi_open(txn, NULL, 0, &lmdb->main);
    if (code == 0)
        code = make_trees(lmdb, txn);
    if (code == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return code;
}

static int write_new(lp__lmdb *lmdb)
{
    MDB_env *env = NULL;
    char *path = malloc(strlen(lmdb->real_path) + sizeof("/" LP__COMPACT_NAME));
    if (path == NULL)
        return ENOMEM;
    sprintf(path, "%s/" LP__COMPACT_NAME, lmdb->real_path);
    int code = mdb_env_create(&env);
    if (code == 0) {
        mdb_env_set_userctx(env, lmdb);
        mdb_env_set_assert(env, lp__lmdb_env_on_assertion);
        mdb_env_set_maxdbs(env, 3);
        code = mdb_env_set_mapsize(env, lmdb->host.map_step);
        if (code == 0)
            code = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS, 0600);
        if (code == 0)
            code = fill_new(lmdb, env);
        mdb_env_close(env);
    }
    free(path);
    return code;
}

/* A new data file has its name only when all of it is on disk: one that is damaged, empty or
 * missing beside LMDB's lock file is then a loss, and none that a power cut in the first start has
 * left. */
static int make_data(lp__lmdb *lmdb)
{
    unlinkat(lmdb->dir, LP__COMPACT_NAME, 0);
    int code = write_new(lmdb);
    if (code == 0 && (renameat(lmdb->dir, LP__COMPACT_NAME, lmdb->dir, LP__DATA_NAME) != 0 ||
                      fsync(lmdb->dir) != 0))
        code = errno;
    if (code == 0) {
        lp__lmdb_env_drop_lock_file(lmdb);
        return LP_OK;
    }
    unlinkat(lmdb->dir, LP__COMPACT_NAME, 0);
    return lp__lmdb_failed(lmdb, "cannot make " LP__DATA_NAME, code);
}

/* Whether it is new; its size. */
static bool stat_data(lp__lmdb *lmdb, size_t *size)
{
    struct stat stat;
    bool is_there = fstatat(lmdb->dir, LP__DATA_NAME, &stat, 0) == 0 && stat.st_size > 0;
    *size = is_there ? (size_t)stat.st_size : 0;
    return !is_there;
}

int lp__lmdb_env_open(lp__lmdb *lmdb)
{
    if (lmdb->env != NULL)
        return LP_OK;
    size_t size;
    int status = stat_data(lmdb, &size) ? make_data(lmdb) : LP_OK;
    if (status == LP_OK)
        status = prepare_lock_file(lmdb);
    if (status != LP_OK)
        return status;
    unsigned flags = MDB_NOTLS;
    if (lmdb->sync != LP_SYNC_ALWAYS && !lmdb->is_durable)
        flags |= MDB_NOMETASYNC;
    lmdb->map_bytes = (size + lmdb->host.map_step) & ~((size_t)65536 - 1);
    MDB_env *env = NULL;
    int code = mdb_env_create(&env);
    if (code == 0) {
        mdb_env_set_userctx(env, lmdb);
        mdb_env_set_assert(env, lp__lmdb_env_on_assertion);
        mdb_env_set_maxdbs(env, 3);
        mdb_env_set_maxreaders(env, READERS);
        code = mdb_env_set_mapsize(env, lmdb->map_bytes);
    }
    if (code == 0)
        code = mdb_env_open(env, lmdb->real_path, flags, 0600);
    if (code == 0)
        code = open_trees(lmdb, env);
    if (code != 0) {
        if (env != NULL)
            mdb_env_close(env);
        return lp__lmdb_failed(lmdb, "cannot open " LP__DATA_NAME, code);
    }
    lmdb->env = env;
    return LP_OK;
}

void lp__lmdb_env_close(lp__lmdb *lmdb)
{
    if (lmdb->env != NULL)
        mdb_env_close(lmdb->env);
    lmdb->env = NULL;
}

/* ---- writing --------------------------------------------------------------------------------- */

int lp__lmdb_meta_put(lp__lmdb *lmdb, MDB_txn *txn, const lp__meta *meta)
{
    MDB_val key = {strlen(LP__META_NAME), (void *)(uintptr_t)LP__META_NAME};
    MDB_val value = {LP__META_SIZE, NULL};
    int code = mdb_put(txn, lmdb->main, &key, &value, MDB_RESERVE);
    if (code == 0)
        lp__lmdb_meta_encode(meta, value.mv_data);
    return code;
}

void lp__lmdb_env_make_durable(lp__lmdb *lmdb)
{
    lmdb->is_durable = true;
    if (lmdb->env != NULL)
        mdb_env_set_flags(lmdb->env, MDB_NOMETASYNC, 0);
}

/* A failed attempt leaves LMDB without a map, and it must be closed. */
static int grow_map(lp__lmdb *lmdb)
{
    size_t step = lmdb->map_bytes > lmdb->host.map_step ? lmdb->map_bytes : lmdb->host.map_step;
    if (lmdb->map_bytes > SIZE_MAX / 4)
        return ENOMEM;
    int code = mdb_env_set_mapsize(lmdb->env, lmdb->map_bytes + step);
    if (code == 0)
        lmdb->map_bytes += step;
    else
        lp__lmdb_env_close(lmdb);
    return code;
}

/* Where the file could not be written whole, LMDB says EIO. One more page tells why. */
static int ask_disk(lp__lmdb *lmdb, int code)
{
    static const uint8_t zeros[4096];
    struct stat stat;
    if (code != EIO)
        return code;
    int fd = openat(lmdb->dir, LP__DATA_NAME, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return code;
    if (fstat(fd, &stat) == 0) {
        if (pwrite(fd, zeros, sizeof(zeros), stat.st_size) < 0)
            code = errno;
        if (ftruncate(fd, stat.st_size) != 0)
            code = errno;
    }
    close(fd);
    return code;
}

/* Writes the meta row anew as it is, so that there is something to commit. */
static int touch_meta(lp__lmdb *lmdb, MDB_txn *txn, void *ctx)
{
    MDB_val key = {strlen(LP__META_NAME), (void *)(uintptr_t)LP__META_NAME}, value;
    uint8_t bytes[LP__META_SIZE];
    (void)ctx;
    int code = mdb_get(txn, lmdb->main, &key, &value);
    if (code != 0 || value.mv_size != sizeof(bytes))
        return code != 0 ? code : MDB_CORRUPTED;
    memcpy(bytes, value.mv_data, sizeof(bytes));
    value.mv_data = bytes;
    return mdb_put(txn, lmdb->main, &key, &value, 0);
}

static int commit_once(lp__lmdb *lmdb, lp__env_work work, void *ctx, size_t *number)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
    if (code != 0)
        return code;
    *number = mdb_txn_id(txn);
    code = work(lmdb, txn, ctx);
    if (code != 0) {
        mdb_txn_abort(txn);
        return code;
    }
    return mdb_txn_commit(txn);
}

/* The page that makes transaction `number` count may have been written or not. Another transaction
 * after it, on disk whole, ends the doubt: it either follows it or takes its place.
 * LP_OK: the transaction is kept. */
static int settle(lp__lmdb *lmdb, size_t number, int status)
{
    char problem[sizeof(lmdb->problem)];
    memcpy(problem, lmdb->problem, sizeof(problem));
    lp__lmdb_env_close(lmdb);
    lmdb->is_durable = true;
    if (lp__lmdb_env_open(lmdb) != LP_OK) {
        lmdb->in_doubt = true;
        return LP_EINDOUBT;
    }
    MDB_envinfo info;
    size_t next;
    mdb_env_info(lmdb->env, &info);
    bool is_kept = info.me_last_txnid >= number;
    if (commit_once(lmdb, touch_meta, NULL, &next) == 0) {
        memcpy(lmdb->problem, problem, sizeof(problem));
        return is_kept ? LP_OK : status;
    }
    lmdb->in_doubt = true;
    return LP_EINDOUBT;
}

/* Whether LMDB refuses to go on: it does after a meta page could not be written. */
static bool is_stuck(lp__lmdb *lmdb)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
    if (code == 0)
        mdb_txn_abort(txn);
    return code == MDB_PANIC;
}

int lp__lmdb_env_write(lp__lmdb *lmdb, lp__env_work work, void *ctx)
{
    size_t number = 0;
    int code;
    do {
        int status = lmdb->in_doubt ? LP_EINDOUBT : lp__lmdb_env_open(lmdb);
        if (status != LP_OK)
            return status;
        code = commit_once(lmdb, work, ctx, &number);
        if (code == MDB_MAP_FULL) {
            code = grow_map(lmdb);
            if (code == 0)
                code = MDB_MAP_FULL;
        }
    } while (code == MDB_MAP_FULL);
    if (code == 0) {
        MDB_envinfo info;
        mdb_env_info(lmdb->env, &info);
        bool has_written = info.me_last_txnid >= number; /* one that changes nothing does not */
        if (has_written && lmdb->sync == LP_SYNC_INTERVAL && !lmdb->is_durable && lmdb->due_ms == 0)
            lmdb->due_ms = lmdb->host.monotonic_ms(lmdb->host.ctx) + lmdb->sync_interval_ms;
        return LP_OK;
    }
    int status = lp__lmdb_failed(lmdb, "cannot write to " LP__DATA_NAME, ask_disk(lmdb, code));
    if (status != LP_ENOSPC && status != LP_ENOMEM)
        lp__lmdb_env_make_durable(lmdb);
    return lmdb->env != NULL && number != 0 && is_stuck(lmdb) ? settle(lmdb, number, status)
                                                              : status;
}

int lp__lmdb_env_touch(lp__lmdb *lmdb)
{
    return lp__lmdb_env_write(lmdb, touch_meta, NULL);
}

int lp__lmdb_env_write_durably(lp__lmdb *lmdb, lp__env_work work, void *ctx)
{
    int status = lmdb->in_doubt ? LP_EINDOUBT : lp__lmdb_env_open(lmdb);
    if (status != LP_OK)
        return status;
    mdb_env_set_flags(lmdb->env, MDB_NOMETASYNC, 0);
    status = lp__lmdb_env_write(lmdb, work, ctx);
    if (lmdb->env != NULL && lmdb->sync != LP_SYNC_ALWAYS && !lmdb->is_durable)
        mdb_env_set_flags(lmdb->env, MDB_NOMETASYNC, 1);
    return status;
}

int lp__lmdb_env_sync(lp__lmdb *lmdb)
{
    int status = lp__lmdb_env_open(lmdb);
    if (status != LP_OK)
        return status;
    if (mdb_env_sync(lmdb->env, 1) == 0)
        return LP_OK;
    /* A second try on the same pages would say nothing. A commit writes new ones, and refers to all
     * that was synced before. */
    lp__lmdb_env_make_durable(lmdb);
    return lp__lmdb_env_touch(lmdb);
}

int lp__lmdb_env_sync_in_doubt(lp__lmdb *lmdb)
{
    int code = 0, fd = openat(lmdb->dir, LP__DATA_NAME, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fdatasync(fd) != 0)
        code = errno;
    if (fd >= 0)
        close(fd);
    return code == 0 ? LP_OK : lp__lmdb_failed(lmdb, "cannot sync " LP__DATA_NAME, code);
}
