/* Rows whose checksum is wrong, and those that the start refuses: told at each start, and deleted
 * in the transaction that keeps the floor which covers them. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static lp_str key_of(const lp__row *row)
{
    return (lp_str){(const char *)row->key, row->key_len};
}

/* ---- setting aside --------------------------------------------------------------------------- */

static bool write_whole(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t wrote = write(fd, bytes, len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        bytes += wrote;
        len -= (size_t)wrote;
    }
    return true;
}

static const char *const kinds[] = {"event", "horizon", "key"};

void lp__lmdb_damage_add(lp__lmdb *lmdb, lp__aside *aside, lp__kind kind, const lp__row *row)
{
    if (lmdb->read_only || aside->has_failed)
        return;
    if (!aside->is_open) {
        aside->fd = openat(lmdb->dir, LP__ROWS_ASIDE_NEW,
                           O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        aside->is_open = aside->fd >= 0;
    }
    char head[80];
    int len =
        snprintf(head, sizeof(head), "%s %zu %zu\n", kinds[kind], row->key_len, row->value_len);
    aside->has_failed = !aside->is_open ||
                        !write_whole(aside->fd, (const uint8_t *)head, (size_t)len) ||
                        !write_whole(aside->fd, row->key, row->key_len) ||
                        !write_whole(aside->fd, row->value, row->value_len) ||
                        !write_whole(aside->fd, (const uint8_t *)"\n", 1);
    aside->hash = lp__lmdb_category_hash(aside->hash + (uint64_t)kind, key_of(row));
    aside->hash =
        lp__lmdb_category_hash(aside->hash, (lp_str){(const char *)row->value, row->value_len});
}

bool lp__lmdb_damage_end(lp__lmdb *lmdb, lp__aside *aside, char *name)
{
    if (!aside->is_open)
        return false;
    bool is_good = !aside->has_failed && fdatasync(aside->fd) == 0;
    close(aside->fd);
    aside->is_open = false;
    snprintf(name, LP__ASIDE_MAX, LP__ROWS_ASIDE_PREFIX "%016llx", (unsigned long long)aside->hash);
    if (is_good && renameat(lmdb->dir, LP__ROWS_ASIDE_NEW, lmdb->dir, name) == 0)
        return fsync(lmdb->dir) == 0;
    unlinkat(lmdb->dir, LP__ROWS_ASIDE_NEW, 0);
    return false;
}

/* ---- repair ---------------------------------------------------------------------------------- */

int lp__lmdb_damage_note(lp__lmdb *lmdb, lp__kind kind, const lp__row *row)
{
    return lp__dead_add(&lmdb->refused, lp__lmdb_category_hash(kind, key_of(row)));
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static bool was_refused(lp__lmdb *lmdb, lp__kind kind, const lp__row *row)
{
    const uint64_t *hashes;
    size_t count = lp__dead_smallest(&lmdb->refused, SIZE_MAX, &hashes);
    uint64_t hash = lp__lmdb_category_hash(kind, key_of(row));
    return count > 0 && bsearch(&hash, hashes, count, sizeof(hash), compare) != NULL;
}

/* What replay would push of a row. */
static bool is_event(const lp__row *row)
{
    lp_id id;
    lp_str category, data;
    uint64_t seq = row->key_len == LP__SEQ_KEY ? lp__lmdb_seq_decode(row->key) : 0;
    return seq != 0 && seq <= INT64_MAX && lp__lmdb_event_decode(row, &id, &category, &data);
}

static bool is_horizon(const lp__row *row)
{
    lp_horizon horizon;
    lp_str list;
    return lp__lmdb_is_list(row) ? lp__lmdb_list_decode(row, &list)
                                 : lp__lmdb_horizon_decode(row, &horizon);
}

static bool is_key(const lp__row *row)
{
    lp_idempotency record;
    return lp__lmdb_key_decode(row, &record);
}

/* Row by row: a damaged key cannot be looked up. */
static int repair_tree(lp__lmdb *lmdb, MDB_txn *txn, MDB_dbi tree, lp__kind kind,
                       bool (*is_good)(const lp__row *row))
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(txn, tree, &cursor);
    if (code != 0)
        return code;
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        lp__row row = {key.mv_data, value.mv_data, key.mv_size, value.mv_size};
        bool is_bad = !is_good(&row) || was_refused(lmdb, kind, &row);
        if (is_bad && (code = mdb_cursor_del(cursor, 0)) != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
}

int lp__lmdb_damage_repair(lp__lmdb *lmdb, MDB_txn *txn)
{
    int code = repair_tree(lmdb, txn, lmdb->events, LP__KIND_EVENT, is_event);
    if (code == 0)
        code = repair_tree(lmdb, txn, lmdb->horizons, LP__KIND_HORIZON, is_horizon);
    return code == 0 ? repair_tree(lmdb, txn, lmdb->keys, LP__KIND_KEY, is_key) : code;
}
