/* Lists of horizons in the tree of horizons, for batches that bring many. See ../shared/lists.h. */
#include "inside.h"

#include <string.h>

/* On a full disk rows that are there already are changed instead. */
bool lp__lmdb_lists_suit(const lp__lmdb *lmdb, const lp_batch *batch)
{
    return lp_batch_horizon_count(batch) >= LP__LIST_MIN && lmdb->reserve_bytes > 0;
}

static int put_list(MDB_cursor *cursor, uint64_t number, uint8_t *bytes, size_t size)
{
    uint8_t key_bytes[LP__LIST_KEY];
    lp__lmdb_list_key(number, key_bytes);
    lp__lmdb_row_seal(LP__ROW_LIST, key_bytes, sizeof(key_bytes), bytes, size);
    MDB_val key = {sizeof(key_bytes), key_bytes}, value = {size, bytes};
    return mdb_cursor_put(cursor, &key, &value, 0);
}

int lp__lmdb_lists_put(MDB_cursor *cursor, const lp_batch *batch, uint64_t *number)
{
    uint8_t bytes[LP__LIST_SIZE];
    char *const first = (char *)bytes + LP__LIST_FIXED, *const end = (char *)bytes + sizeof(bytes);
    char *at = first;
    int code = 0;
    for (size_t i = 0, count = lp_batch_horizon_count(batch); code == 0 && i < count; i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        if (horizon.category.len == 0)
            continue;
        if (LP__LIST_ENTRY + horizon.category.len > (size_t)(end - at)) {
            code = put_list(cursor, (*number)++, bytes, (size_t)(at - (char *)bytes));
            at = first;
        }
        at = lp__list_put(at, horizon.category, horizon.seq);
    }
    return code == 0 && at > first
               ? put_list(cursor, (*number)++, bytes, (size_t)(at - (char *)bytes))
               : code;
}

/* ---- emptying -------------------------------------------------------------------------------- */

struct emptying {
    lp__lmdb *lmdb;
    MDB_cursor *cursor;
    bool is_below_floor; /* one of those that got a row */
    int code;            /* of LMDB */
};

/* What the lists hold a newer one of has no row yet, and gets none. */
static int put_newest(void *ctx, lp_str category, uint64_t seq)
{
    struct emptying *emptying = ctx;
    const lp_horizon horizon = {category, seq};
    if (seq < lp__categories_find(&emptying->lmdb->lists.newest, category))
        return LP_OK;
    emptying->is_below_floor = emptying->is_below_floor || seq <= emptying->lmdb->meta.floor;
    emptying->code = lp__lmdb_horizon_put(emptying->lmdb, emptying->cursor, &horizon);
    return emptying->code == 0 ? LP_OK : LP_EIO;
}

/* A list that does not verify stays, for a start to tell of. */
static int empty_list(struct emptying *emptying, const lp__row *row)
{
    uint8_t bytes[LP__LIST_SIZE];
    lp_str list;
    if (row->value_len > sizeof(bytes) || !lp__lmdb_list_decode(row, &list))
        return 0;
    memcpy(bytes, list.base, list.len);
    int code = mdb_cursor_del(emptying->cursor, 0);
    if (code == 0)
        lp__list_read((lp_str){(const char *)bytes, list.len}, put_newest, emptying);
    return code == 0 ? emptying->code : code;
}

int lp__lmdb_lists_empty(lp__lmdb *lmdb, MDB_cursor *cursor, bool *is_below_floor)
{
    struct emptying emptying = {.lmdb = lmdb, .cursor = cursor};
    uint8_t bytes[LP__LIST_KEY];
    int code = 0;
    for (uint64_t number = lmdb->first_list; code == 0 && number < lmdb->next_list; number++) {
        MDB_val key = {sizeof(bytes), bytes}, value;
        lp__lmdb_list_key(number, bytes);
        code = mdb_cursor_get(cursor, &key, &value, MDB_SET);
        if (code == MDB_NOTFOUND)
            code = 0; /* damaged once, and deleted */
        else if (code == 0)
            code = empty_list(&emptying,
                              &(lp__row){bytes, value.mv_data, sizeof(bytes), value.mv_size});
    }
    *is_below_floor = emptying.is_below_floor;
    return code;
}

void lp__lmdb_lists_emptied(lp__lmdb *lmdb, bool is_below_floor)
{
    lp__lists_forget(&lmdb->lists);
    lmdb->first_list = lmdb->next_list;
    if (is_below_floor)
        lp__lmdb_trim_want_sweep(lmdb);
}

bool lp__lmdb_lists_can_empty(const lp__lmdb *lmdb)
{
    return lmdb->lists.entries > 0 && lmdb->reserve_bytes > 0;
}
