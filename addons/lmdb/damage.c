/* Rows whose checksum is wrong: told at each start, and deleted in the transaction that keeps the
 * floor which covers them. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../shared/crc32c.h"

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

bool lp__lmdb_damage_set_aside(lp__lmdb *lmdb, const char *tree, const lp__row *row, char *name)
{
    snprintf(name, LP__ASIDE_MAX, LP__ROW_ASIDE_PREFIX "%s-%08lx%08lx", tree,
             (unsigned long)lp__crc32c(0, row->key, row->key_len),
             (unsigned long)lp__crc32c(0, row->value, row->value_len));
    if (lmdb->read_only)
        return false;
    int fd = openat(lmdb->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool is_good =
        write_whole(fd, row->key, row->key_len) && write_whole(fd, row->value, row->value_len);
    if (is_good)
        fdatasync(fd);
    close(fd);
    if (!is_good)
        unlinkat(lmdb->dir, name, 0);
    return is_good;
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
    return lp__lmdb_horizon_decode(row, &horizon);
}

static bool is_key(const lp__row *row)
{
    lp_idempotency record;
    return lp__lmdb_key_decode(row, &record);
}

/* Row by row: a damaged key cannot be looked up. */
static int repair_tree(MDB_txn *txn, MDB_dbi tree, bool (*is_good)(const lp__row *row))
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(txn, tree, &cursor);
    if (code != 0)
        return code;
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        lp__row row = {key.mv_data, value.mv_data, key.mv_size, value.mv_size};
        if (!is_good(&row) && (code = mdb_cursor_del(cursor, 0)) != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
}

int lp__lmdb_damage_repair(lp__lmdb *lmdb, MDB_txn *txn)
{
    int code = repair_tree(txn, lmdb->events, is_event);
    if (code == 0)
        code = repair_tree(txn, lmdb->horizons, is_horizon);
    return code == 0 ? repair_tree(txn, lmdb->keys, is_key) : code;
}
