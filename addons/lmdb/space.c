/* Space that is held back, so that on a full disk what is dead can still be deleted: LMDB copies
 * each page that it changes, so deletes take pages before they give any.
 *
 * At first it is a file beside the data. When that was given up its space is among LMDB's free
 * pages, and the file never shrinks: from then on batches with events leave so much of them alone,
 * until there is room on the disk for a file again. */
#include "inside.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "../shared/disk.h"

/* Of deletes where space is short: the fewer rows, the fewer pages it takes. */
enum { SHORTEST_ROWS = 8, SHORT_STEPS = 4 };
/* Left alone where no file holds anything back: several deletes of SHORTEST_ROWS. */
enum { LEFT_ALONE_BYTES = 256 << 10, PATH_BYTES = 64 << 10 };
#define SCARCE_BYTES ((uint64_t)16 << 20)

void lp__lmdb_space_make(lp__lmdb *lmdb)
{
    if (!lmdb->read_only && lmdb->reserve_bytes == 0)
        lmdb->reserve_bytes = lp__disk_hold(lmdb->dir, LP__RESERVE_NAME);
}

bool lp__lmdb_space_spend(lp__lmdb *lmdb)
{
    bool had = lmdb->reserve_bytes > 0;
    lmdb->reserve_bytes = 0;
    return had && lp__disk_let_go(lmdb->dir, LP__RESERVE_NAME);
}

/* ---- room for events ------------------------------------------------------------------------- */

/* What LMDB can write to before the disk must give more. */
struct room {
    uint64_t now;   /* bytes, for the next transaction */
    uint64_t later; /* bytes that the last one freed: for the one after the next */
};

/* LMDB's list of free pages: by the transaction that freed them, how many and which. */
static int count_free(lp__lmdb *lmdb, size_t last_number, size_t page_bytes, struct room *room)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return code;
    if ((code = mdb_cursor_open(txn, 0, &cursor)) != 0) {
        mdb_txn_abort(txn);
        return code;
    }
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        size_t number, count;
        memcpy(&number, key.mv_data, sizeof(number));
        memcpy(&count, value.mv_data, sizeof(count));
        *(number < last_number ? &room->now : &room->later) += (uint64_t)count * page_bytes;
    }
    mdb_cursor_close(cursor); /* which the end of a read transaction does not */
    mdb_txn_abort(txn);
    return code == MDB_NOTFOUND ? 0 : code;
}

static bool find_room(lp__lmdb *lmdb, struct room *room)
{
    MDB_envinfo info;
    MDB_stat shape;
    struct stat file;
    *room = (struct room){0};
    mdb_env_info(lmdb->env, &info);
    mdb_env_stat(lmdb->env, &shape);
    if (fstatat(lmdb->dir, LP__DATA_NAME, &file, 0) != 0 ||
        count_free(lmdb, info.me_last_txnid, shape.ms_psize, room) != 0)
        return false;
    /* A write that failed has left the file longer than it counts. */
    uint64_t used = ((uint64_t)info.me_last_pgno + 1) * shape.ms_psize;
    if ((uint64_t)file.st_size > used)
        room->now += (uint64_t)file.st_size - used;
    /* A disk with much space that did not take the reserve has a limit that nobody tells. */
    uint64_t disk = lp__disk_free_bytes(lmdb->dir);
    if (disk < SCARCE_BYTES)
        room->now += disk;
    return true;
}

/* What a batch takes at most, and what is left alone. */
static uint64_t find_need(const lp_batch *batch)
{
    enum { PAGE = 4096, PAGE_MAX_ROW = 2038, PAGE_HEADER = 16, NODE = 32 };
    uint64_t bytes = PATH_BYTES + LEFT_ALONE_BYTES;
    for (size_t i = 0, count = lp_batch_event_count(batch); i < count; i++) {
        size_t size = lp__lmdb_event_size(lp_batch_event(batch, i));
        bytes += NODE + size;
        if (NODE + size > PAGE_MAX_ROW)
            bytes += PAGE_HEADER + PAGE - 1;
    }
    return bytes;
}

bool lp__lmdb_space_suffices(lp__lmdb *lmdb, const lp_batch *batch)
{
    struct room room;
    if (lmdb->reserve_bytes == 0)
        lp__lmdb_space_make(lmdb);
    if (lmdb->reserve_bytes > 0 || lp_batch_event_count(batch) == 0 || lmdb->env == NULL ||
        !find_room(lmdb, &room))
        return true;
    if (room.now >= find_need(batch))
        return true;
    lp__lmdb_failed(lmdb, "what is left is held back for deleting", ENOSPC);
    return false;
}

/* ---- making it ------------------------------------------------------------------------------- */

/* LMDB uses what a transaction freed from the second one after it on, which there may never be. */
static bool age(lp__lmdb *lmdb)
{
    struct room room;
    if (lmdb->env == NULL || !find_room(lmdb, &room) || room.later <= PATH_BYTES)
        return false;
    int status = lp__lmdb_env_touch(lmdb);
    if (status == LP_ENOSPC && lp__lmdb_space_spend(lmdb))
        status = lp__lmdb_env_touch(lmdb);
    return status == LP_OK;
}

int lp__lmdb_space_trim(lp__lmdb *lmdb, bool *more)
{
    int status = lp__lmdb_trim_step(lmdb, LP__SHORT_ROWS, more);
    if (status == LP_ENOSPC && lp__lmdb_space_spend(lmdb))
        status = lp__lmdb_trim_step(lmdb, LP__SHORT_ROWS, more);
    return status == LP_ENOSPC ? lp__lmdb_trim_step(lmdb, SHORTEST_ROWS, more) : status;
}

bool lp__lmdb_space_free(lp__lmdb *lmdb, const lp_batch *batch)
{
    /* Only what makes room for others may use the reserve. */
    bool has_more = lp_batch_event_count(batch) == 0 && lp__lmdb_space_spend(lmdb);
    bool more = lp__lmdb_trim_dead_count(lmdb) > 0;
    for (int i = 0; more && i < SHORT_STEPS; i++) {
        if (lp__lmdb_space_trim(lmdb, &more) != LP_OK)
            break;
        has_more = true;
    }
    return age(lmdb) || has_more;
}
