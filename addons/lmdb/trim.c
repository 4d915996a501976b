/* Deletes what is not needed any more: rows of removed events, keys that have expired, horizons
 * that the floor covers. In bulk, and in the order of keys. */
#include "inside.h"

/* ---- removed events -------------------------------------------------------------------------- */

void lp__lmdb_trim_note(lp__lmdb *lmdb, uint64_t seq)
{
    if (lp__dead_add(&lmdb->dead, seq) != LP_OK)
        lmdb->is_blind = true;
    else if (seq < lmdb->oldest_dead)
        lmdb->oldest_dead = seq;
}

void lp__lmdb_trim_doom(lp__lmdb *lmdb)
{
    if (lmdb->doomed.count > 0)
        return;
    lp__dead empty = lmdb->doomed;
    lmdb->doomed = lmdb->dead;
    lmdb->oldest_doomed = lmdb->oldest_dead;
    lmdb->dead = empty;
    lmdb->oldest_dead = UINT64_MAX;
}

size_t lp__lmdb_trim_dead_count(const lp__lmdb *lmdb)
{
    return lmdb->dead.count + lmdb->doomed.count;
}

static int delete_event(MDB_cursor *cursor, uint64_t seq)
{
    uint8_t bytes[LP__SEQ_KEY];
    lp__lmdb_seq_encode(seq, bytes);
    MDB_val key = {sizeof(bytes), bytes}, value;
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET);
    if (code == 0)
        code = mdb_cursor_del(cursor, 0);
    return code != MDB_NOTFOUND ? code : 0; /* never kept, or deleted already */
}

/* LMDB fills a page that is less than a quarter full from its neighbour, row by row: deleted one
 * after the other, most rows would first be moved. So a few pages at a time are thinned out before
 * the rest of their rows goes. A few, because LMDB uses the copies of pages that became empty for
 * the next ones. */
static int delete_group(MDB_cursor *cursor, const uint64_t *seqs, size_t count)
{
    enum { LAST = 3 }; /* one of so many rows goes last */
    int code = 0;
    for (size_t i = 0; code == 0 && i < count; i++)
        if (i % LAST != 0)
            code = delete_event(cursor, seqs[i]);
    for (size_t i = 0; code == 0 && i < count; i += LAST)
        code = delete_event(cursor, seqs[i]);
    return code;
}

int lp__lmdb_trim_events(lp__lmdb *lmdb, MDB_txn *txn, const uint64_t *seqs, size_t count)
{
    enum { GROUP = 96 };
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, lmdb->events, &cursor);
    if (code != 0)
        return code;
    for (size_t i = 0; code == 0 && i < count; i += GROUP)
        code = delete_group(cursor, seqs + i, count - i < GROUP ? count - i : GROUP);
    mdb_cursor_close(cursor);
    return code;
}

int lp__lmdb_trim_doomed(lp__lmdb *lmdb, MDB_txn *txn, size_t max, lp__trimmed *out)
{
    const uint64_t *seqs;
    out->doomed = lp__dead_smallest(&lmdb->doomed, max, &seqs);
    return out->doomed > 0 ? lp__lmdb_trim_events(lmdb, txn, seqs, out->doomed) : 0;
}

/* ---- keys and horizons ----------------------------------------------------------------------- */

int64_t lp__lmdb_keys_over_ms(const lp__lmdb *lmdb)
{
    int64_t wall_ms = lmdb->host.wall_ms(lmdb->host.ctx);
    return wall_ms > lmdb->keys_forgotten_ms ? wall_ms : lmdb->keys_forgotten_ms;
}

/* They lie in the order in which they expire. */
int lp__lmdb_trim_keys(lp__lmdb *lmdb, MDB_txn *txn, size_t max, lp__trimmed *out)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int64_t over_ms = lp__lmdb_keys_over_ms(lmdb);
    int code = mdb_cursor_open(txn, lmdb->keys, &cursor);
    if (code != 0)
        return code;
    for (size_t i = 0; code == 0 && i < max; i++) {
        code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
        out->keys_ended = code == MDB_NOTFOUND || key.mv_size < LP__KEY_FIXED ||
                          lp__lmdb_key_expires_ms(key.mv_data) > over_ms;
        if (code != 0 || out->keys_ended)
            break;
        code = mdb_cursor_del(cursor, 0);
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
}

/* A horizon is needed as long as it is above the floor, and as long as a removed event that it
 * keeps away may still have its row. */
static bool is_covered(const lp__lmdb *lmdb, const MDB_val *key, const MDB_val *value,
                       uint64_t below)
{
    lp__row row = {key->mv_data, value->mv_data, key->mv_size, value->mv_size};
    lp_horizon horizon;
    return lp__lmdb_horizon_decode(&row, &horizon) && horizon.seq <= lmdb->meta.floor &&
           horizon.seq < below && horizon.seq < lmdb->oldest_dead &&
           horizon.seq < lmdb->oldest_doomed;
}

int lp__lmdb_trim_horizons(lp__lmdb *lmdb, MDB_txn *txn, size_t max, uint64_t below,
                           lp__trimmed *out)
{
    if (!lmdb->sweep_wanted || lmdb->is_blind || lmdb->untold > 0 || lmdb->meta.floor == 0)
        return 0;
    MDB_cursor *cursor;
    MDB_val value;
    uint8_t bytes[LP__SEQ_KEY];
    lp__lmdb_seq_encode(lmdb->sweep_from, bytes);
    MDB_val key = {sizeof(bytes), bytes};
    int code = mdb_cursor_open(txn, lmdb->horizons, &cursor);
    if (code != 0)
        return code;
    code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (size_t i = 0; code == 0 && i < max; i++) {
        if (is_covered(lmdb, &key, &value, below))
            code = mdb_cursor_del(cursor, 0);
        if (code == 0)
            code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    out->has_swept = true;
    out->sweep_ended = code == MDB_NOTFOUND;
    out->sweep_from =
        code == 0 && key.mv_size == LP__SEQ_KEY ? lp__lmdb_seq_decode(key.mv_data) : 0;
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
}

/* ---- transactions ---------------------------------------------------------------------------- */

void lp__lmdb_trim_want_sweep(lp__lmdb *lmdb)
{
    if (lmdb->sweep_from != 0)
        lmdb->sweep_again = true;
    lmdb->sweep_wanted = true;
}

void lp__lmdb_trim_done(lp__lmdb *lmdb, const lp__trimmed *trimmed)
{
    if (trimmed->has_swept) {
        lmdb->sweep_from = trimmed->sweep_from;
        if (trimmed->sweep_ended) {
            lmdb->sweep_wanted = lmdb->sweep_again;
            lmdb->sweep_again = false;
        }
    }
    lmdb->keys_wanted = lmdb->keys_wanted && !trimmed->keys_ended;
    lp__dead_drop(&lmdb->doomed, trimmed->doomed);
    if (lmdb->doomed.count > 0 || lmdb->oldest_doomed == UINT64_MAX)
        return;
    lmdb->oldest_doomed = UINT64_MAX;
    lp__lmdb_trim_want_sweep(lmdb); /* horizons that were needed for them are not any more */
}

struct step {
    size_t max;
    bool empties_lists, is_below_floor;
    lp__trimmed out;
};

static int empty_lists(lp__lmdb *lmdb, MDB_txn *txn, struct step *step)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, lmdb->horizons, &cursor);
    if (code != 0)
        return code;
    code = lp__lmdb_lists_empty(lmdb, cursor, &step->is_below_floor);
    mdb_cursor_close(cursor);
    return code;
}

static int trim(lp__lmdb *lmdb, MDB_txn *txn, void *ctx)
{
    struct step *step = ctx;
    step->out = (lp__trimmed){0};
    step->empties_lists = step->max >= LP__TRIM_ROWS && lp__lmdb_lists_can_empty(lmdb);
    step->is_below_floor = false;
    int code = lp__lmdb_trim_doomed(lmdb, txn, step->max, &step->out);
    if (code == 0 && step->empties_lists)
        code = empty_lists(lmdb, txn, step);
    if (code == 0)
        code = lp__lmdb_trim_keys(lmdb, txn, step->max, &step->out);
    return code == 0 ? lp__lmdb_trim_horizons(lmdb, txn, step->max, UINT64_MAX, &step->out) : code;
}

int lp__lmdb_trim_step(lp__lmdb *lmdb, size_t max, bool *more)
{
    struct step step = {.max = max};
    lp__lmdb_trim_doom(lmdb);
    int status = lp__lmdb_env_write(lmdb, trim, &step);
    *more = false;
    if (status != LP_OK)
        return status;
    lp__lmdb_trim_done(lmdb, &step.out);
    if (step.empties_lists)
        lp__lmdb_lists_emptied(lmdb, step.is_below_floor);
    *more = step.is_below_floor || lp__lmdb_trim_dead_count(lmdb) > 0 || lmdb->keys_wanted ||
            (step.out.has_swept && lmdb->sweep_wanted);
    return LP_OK;
}
