/* Writes the store anew as a file without gaps, which then takes the place of the old one. A crash
 * at any instant leaves one of the two whole: the new one has its name only when all of it is on
 * disk. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A transaction of the copy ends when it has so much. */
#define COPY_BYTES ((size_t)8 << 20)

struct copy {
    lp__lmdb *lmdb;
    MDB_env *env; /* of the new file */
    MDB_txn *from, *to;
    MDB_dbi main;
    size_t bytes; /* since the last commit */
};

static int next_transaction(struct copy *copy)
{
    int code = copy->to != NULL ? mdb_txn_commit(copy->to) : 0;
    copy->to = NULL;
    copy->bytes = 0;
    return code == 0 ? mdb_txn_begin(copy->env, NULL, 0, &copy->to) : code;
}

static int copy_rows(struct copy *copy, MDB_cursor *from, MDB_dbi to)
{
    MDB_val key, value;
    int code;
    while ((code = mdb_cursor_get(from, &key, &value, MDB_NEXT)) == 0) {
        if (copy->bytes >= COPY_BYTES && (code = next_transaction(copy)) != 0)
            return code;
        copy->bytes += key.mv_size + value.mv_size;
        if ((code = mdb_put(copy->to, to, &key, &value, MDB_APPEND)) != 0)
            return code;
    }
    return code == MDB_NOTFOUND ? 0 : code;
}

static int copy_tree(struct copy *copy, MDB_dbi from, const char *name)
{
    MDB_cursor *cursor;
    MDB_dbi to;
    int code = mdb_dbi_open(copy->to, name, MDB_CREATE, &to);
    if (code == 0)
        code = next_transaction(copy); /* the tree has its name from here on */
    if (code == 0)
        code = mdb_cursor_open(copy->from, from, &cursor);
    if (code != 0)
        return code;
    code = copy_rows(copy, cursor, to);
    mdb_cursor_close(cursor);
    return code;
}

static int copy_meta(struct copy *copy)
{
    MDB_val key = {strlen(LP__META_NAME), (void *)(uintptr_t)LP__META_NAME}, value;
    int code = mdb_get(copy->from, copy->lmdb->main, &key, &value);
    return code == 0 ? mdb_put(copy->to, copy->main, &key, &value, 0) : code;
}

static int copy_all(struct copy *copy)
{
    lp__lmdb *lmdb = copy->lmdb;
    int code = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &copy->from);
    if (code == 0)
        code = next_transaction(copy);
    if (code == 0)
        code = mdb_dbi_open(copy->to, NULL, 0, &copy->main);
    if (code == 0)
        code = copy_tree(copy, lmdb->events, LP__EVENTS_NAME);
    if (code == 0)
        code = copy_tree(copy, lmdb->horizons, LP__HORIZONS_NAME);
    if (code == 0)
        code = copy_tree(copy, lmdb->keys, LP__KEYS_NAME);
    if (code == 0)
        code = copy_meta(copy);
    if (code == 0) {
        code = mdb_txn_commit(copy->to);
        copy->to = NULL;
    }
    if (copy->to != NULL)
        mdb_txn_abort(copy->to);
    if (copy->from != NULL)
        mdb_txn_abort(copy->from);
    return code == 0 ? mdb_env_sync(copy->env, 1) : code;
}

/* Nobody else knows the new file: it needs no lock, and no sync before its end. */
static int write_copy(lp__lmdb *lmdb)
{
    struct copy copy = {.lmdb = lmdb};
    char *path = malloc(strlen(lmdb->real_path) + sizeof("/" LP__COMPACT_NAME));
    if (path == NULL)
        return ENOMEM;
    sprintf(path, "%s/" LP__COMPACT_NAME, lmdb->real_path);
    int code = mdb_env_create(&copy.env);
    if (code == 0) {
        mdb_env_set_userctx(copy.env, lmdb);
        mdb_env_set_assert(copy.env, lp__lmdb_env_on_assertion);
        mdb_env_set_maxdbs(copy.env, 3);
        code = mdb_env_set_mapsize(copy.env, 2 * lmdb->map_bytes);
        if (code == 0)
            code = mdb_env_open(copy.env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC | MDB_NOTLS,
                                0600);
        if (code == 0)
            code = copy_all(&copy);
        mdb_env_close(copy.env);
    }
    free(path);
    return code;
}

int lp__lmdb_compact(lp__lmdb *lmdb)
{
    int status = lp__lmdb_env_open(lmdb);
    if (status != LP_OK)
        return status;
    unlinkat(lmdb->dir, LP__COMPACT_NAME, 0);
    int code = write_copy(lmdb);
    if (code != 0) {
        unlinkat(lmdb->dir, LP__COMPACT_NAME, 0);
        return lp__lmdb_failed(lmdb, "cannot write " LP__COMPACT_NAME, code);
    }
    lp__lmdb_env_close(lmdb);
    lp__lmdb_env_drop_lock_file(lmdb);
    if (renameat(lmdb->dir, LP__COMPACT_NAME, lmdb->dir, LP__DATA_NAME) != 0 ||
        fsync(lmdb->dir) != 0)
        status = lp__lmdb_failed(lmdb, "cannot replace " LP__DATA_NAME, errno);
    else {
        lmdb->compactions++;
        lmdb->due_ms = 0;
    }
    int reopened = lp__lmdb_env_open(lmdb);
    return status != LP_OK ? status : reopened;
}
