/* on_publish: one batch, one transaction. */
#include "inside.h"

#include <stdlib.h>
#include <string.h>

/* Fewer dead rows than this are not worth a thought. */
enum { DEAD_MIN = 1000 };
/* After so many in one batch the next one may bring more. */
enum { MANY_REMOVALS = 4096 };

/* A batch on its way. What it changes in memory is done after the commit. */
struct publishing {
    lp_batch *batch;
    uint64_t *retrieved; /* removals that must be kept with it, rising */
    size_t retrieved_count;
    bool has_floor, has_news; /* anything that must be kept */
    lp__meta meta;
    uint64_t last_seq;
    uint64_t sweep_below; /* horizons from here on may be needed for what it removes */
    size_t events;
    uint64_t rows;                 /* of events, with those that are dead */
    bool has_lists, empties_lists; /* its horizons are in lists; those before were emptied */
    bool is_below_floor;           /* a horizon that got a row by that */
    uint64_t next_list;
    lp__trimmed trimmed;
};

static int refuse(const lp__lmdb *lmdb, lp_batch *batch, int status)
{
    switch (status) {
    case LP_ENOSPC:
        return lp_batch_error(batch, status,
                              "lmdb \"%s\": %s (free some space, it goes on by itself)", lmdb->path,
                              lmdb->problem);
    case LP_EINDOUBT:
        return lp_batch_error(batch, status,
                              "lmdb \"%s\": %s; whether the batch will be there after a restart is "
                              "in doubt (check the disk and restart)",
                              lmdb->path, lmdb->problem);
    case LP_EDAMAGED:
        return lp_batch_error(batch, status,
                              "lmdb \"%s\": %s (restart: a start sets damaged files aside)",
                              lmdb->path, lmdb->problem);
    default:
        return lp_batch_error(batch, status, "lmdb \"%s\": %s", lmdb->path, lmdb->problem);
    }
}

/* ---- what a batch brings --------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static int find_retrieved(struct publishing *publishing)
{
    const lp_batch *batch = publishing->batch;
    size_t count = lp_batch_removal_count(batch), found = 0;
    for (size_t i = 0; i < count; i++)
        found += lp_batch_removal(batch, i).reason == LP_REMOVED_RETRIEVED;
    if (found == 0)
        return LP_OK;
    publishing->retrieved = malloc(found * sizeof(*publishing->retrieved));
    if (publishing->retrieved == NULL)
        return LP_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        lp_removal removal = lp_batch_removal(batch, i);
        if (removal.reason == LP_REMOVED_RETRIEVED)
            publishing->retrieved[publishing->retrieved_count++] = removal.seq;
    }
    qsort(publishing->retrieved, found, sizeof(*publishing->retrieved), compare);
    return LP_OK;
}

/* Horizons come before the removals that they cover, in earlier batches where there are many of
 * them: until all removals are known, the rows that a horizon keeps away are not. */
static uint64_t find_sweep_below(const lp_batch *batch)
{
    uint64_t below = UINT64_MAX;
    size_t count = lp_batch_removal_count(batch);
    for (size_t i = 0; i < count && count < MANY_REMOVALS; i++) {
        lp_removal removal = lp_batch_removal(batch, i);
        if (removal.reason != LP_REMOVED_RETRIEVED && removal.seq < below)
            below = removal.seq;
    }
    return below != UINT64_MAX ? below : 0;
}

/* Refuses what cannot be appended, and looks whether there is anything to keep. */
static void look_at(const lp__lmdb *lmdb, struct publishing *publishing)
{
    lp_batch *batch = publishing->batch;
    uint64_t last = lmdb->last_seq, highest = lp_batch_highest(batch);
    size_t fit = 0;
    for (size_t i = 0, count = lp_batch_event_count(batch); i < count; i++) {
        uint64_t seq = lp_event_seq(lp_batch_event(batch, i));
        if (lp_batch_failed(batch, i))
            continue;
        if (seq <= last) {
            lp_batch_fail(batch, i, LP_EORDER,
                          "lmdb: its id does not come after that of the last event");
            continue;
        }
        last = seq;
        fit++;
    }
    publishing->sweep_below = find_sweep_below(batch);
    for (size_t i = 0, count = lp_batch_horizon_count(batch); i < count; i++)
        publishing->has_floor |= lp_batch_horizon(batch, i).category.len == 0;
    publishing->has_news = fit > 0 || publishing->retrieved_count > 0 ||
                           lp_batch_horizon_count(batch) > 0 ||
                           lp_batch_idempotency_count(batch) > 0 || highest > lmdb->meta.highest;
}

/* ---- into the transaction -------------------------------------------------------------------- */

static int put_event(MDB_cursor *cursor, const lp_event *event)
{
    uint8_t bytes[LP__SEQ_KEY];
    lp__lmdb_seq_encode(lp_event_seq(event), bytes);
    MDB_val key = {sizeof(bytes), bytes}, value = {lp__lmdb_event_size(event), NULL};
    int code = mdb_cursor_put(cursor, &key, &value, MDB_APPEND | MDB_RESERVE);
    if (code == MDB_KEYEXIST) { /* a damaged key sorts behind it */
        value.mv_size = lp__lmdb_event_size(event);
        code = mdb_cursor_put(cursor, &key, &value, MDB_RESERVE);
    }
    if (code == 0)
        lp__lmdb_event_encode(event, bytes, value.mv_data);
    return code;
}

static int put_events(lp__lmdb *lmdb, MDB_txn *txn, struct publishing *publishing)
{
    const lp_batch *batch = publishing->batch;
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, lmdb->events, &cursor);
    if (code != 0)
        return code;
    for (size_t i = 0, count = lp_batch_event_count(batch); code == 0 && i < count; i++) {
        if (lp_batch_failed(batch, i))
            continue;
        const lp_event *event = lp_batch_event(batch, i);
        code = put_event(cursor, event);
        publishing->last_seq = lp_event_seq(event);
        publishing->events++;
    }
    mdb_cursor_close(cursor);
    return code;
}

/* Goes to the category's own row, or behind those of others with its hash. */
int lp__lmdb_horizon_put(lp__lmdb *lmdb, MDB_cursor *cursor, const lp_horizon *horizon)
{
    uint8_t bytes[LP__SEQ_KEY], row_bytes[LP__HORIZON_MAX];
    uint64_t hash = lp__lmdb_category_hash(lmdb->meta.seed, horizon->category);
    for (;; hash++) {
        lp__lmdb_seq_encode(hash, bytes);
        MDB_val key = {sizeof(bytes), bytes}, value;
        int code = mdb_cursor_get(cursor, &key, &value, MDB_SET);
        if (code != 0 && code != MDB_NOTFOUND)
            return code;
        unsigned flags = code == 0 ? MDB_CURRENT : 0;
        if (code == 0) {
            lp__row row = {bytes, value.mv_data, sizeof(bytes), value.mv_size};
            lp_horizon found;
            bool is_good = lp__lmdb_horizon_decode(&row, &found);
            if (is_good &&
                (found.category.len != horizon->category.len ||
                 memcmp(found.category.base, horizon->category.base, found.category.len) != 0))
                continue;
            if (is_good && found.seq >= horizon->seq)
                return 0;
            if (!is_good)
                flags = 0; /* of another size, perhaps */
        }
        key = (MDB_val){sizeof(bytes), bytes};
        value.mv_size = lp__lmdb_horizon_encode(horizon->category, horizon->seq, bytes, row_bytes);
        value.mv_data = row_bytes;
        return mdb_cursor_put(cursor, &key, &value, flags);
    }
}

static int put_lists(lp__lmdb *lmdb, MDB_cursor *cursor, struct publishing *publishing)
{
    int code = 0;
    publishing->empties_lists = lp__lists_are_due(&lmdb->lists);
    publishing->next_list = lmdb->next_list;
    if (publishing->empties_lists)
        code = lp__lmdb_lists_empty(lmdb, cursor, &publishing->is_below_floor);
    return code == 0 ? lp__lmdb_lists_put(cursor, publishing->batch, &publishing->next_list) : code;
}

static int put_horizons(lp__lmdb *lmdb, MDB_txn *txn, struct publishing *publishing)
{
    const lp_batch *batch = publishing->batch;
    size_t count = lp_batch_horizon_count(batch);
    MDB_cursor *cursor;
    if (count == 0)
        return 0;
    int code = mdb_cursor_open(txn, lmdb->horizons, &cursor);
    if (code != 0)
        return code;
    if (publishing->has_lists)
        code = put_lists(lmdb, cursor, publishing);
    for (size_t i = 0; code == 0 && i < count; i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        if (horizon.category.len != 0 && !publishing->has_lists)
            code = lp__lmdb_horizon_put(lmdb, cursor, &horizon);
        else if (horizon.category.len == 0 && horizon.seq > publishing->meta.floor)
            publishing->meta.floor = horizon.seq;
    }
    mdb_cursor_close(cursor);
    if (code != 0 || publishing->sweep_below == 0)
        return code;
    return lp__lmdb_trim_horizons(lmdb, txn, 2 * count, publishing->sweep_below,
                                  &publishing->trimmed);
}

static int put_keys(lp__lmdb *lmdb, MDB_txn *txn, const lp_batch *batch, lp__trimmed *trimmed)
{
    size_t count = lp_batch_idempotency_count(batch);
    int code = 0;
    for (size_t i = 0; code == 0 && i < count; i++) {
        lp_idempotency record = lp_batch_idempotency(batch, i);
        uint8_t key_bytes[LP__KEY_MAX], value_bytes[LP__KEY_VALUE];
        MDB_val key = {lp__lmdb_key_encode(&record, key_bytes, value_bytes), key_bytes};
        MDB_val value = {sizeof(value_bytes), value_bytes};
        code = mdb_put(txn, lmdb->keys, &key, &value, 0);
    }
    return code == 0 && count > 0 ? lp__lmdb_trim_keys(lmdb, txn, 2 * count, trimmed) : code;
}

/* May be called again from the start, with a larger map. */
static int put_batch(lp__lmdb *lmdb, MDB_txn *txn, void *ctx)
{
    struct publishing *publishing = ctx;
    const lp_batch *batch = publishing->batch;
    publishing->meta = lmdb->meta;
    publishing->last_seq = lmdb->last_seq;
    publishing->trimmed = (lp__trimmed){0};
    publishing->events = 0;
    publishing->has_lists = lp__lmdb_lists_suit(lmdb, batch);
    publishing->empties_lists = publishing->is_below_floor = false;
    int code = 0;
    if (publishing->has_floor && lmdb->has_damage)
        code = lp__lmdb_damage_repair(lmdb, txn);
    if (code == 0)
        code = put_events(lmdb, txn, publishing);
    if (code == 0 && publishing->retrieved_count > 0)
        code = lp__lmdb_trim_events(lmdb, txn, publishing->retrieved, publishing->retrieved_count);
    if (code == 0)
        code = put_horizons(lmdb, txn, publishing);
    if (code == 0)
        code = put_keys(lmdb, txn, batch, &publishing->trimmed);
    size_t rows = lmdb->reserve_bytes > 0 ? LP__TRIM_ROWS : LP__SHORT_ROWS;
    if (publishing->events > rows / 2)
        rows = publishing->events * 2;
    if (code == 0)
        code = lp__lmdb_trim_doomed(lmdb, txn, rows, &publishing->trimmed);

    lp__meta *meta = &publishing->meta;
    if (lp_batch_highest(batch) > meta->highest)
        meta->highest = lp_batch_highest(batch);
    if (publishing->last_seq > meta->highest)
        meta->highest = publishing->last_seq;
    meta->boot = lmdb->boot;
    meta->sync = lmdb->sync;
    meta->is_clean = false;
    meta->has_loss = meta->has_loss && !publishing->has_floor;
    if (code == 0)
        code = lp__lmdb_meta_put(lmdb, txn, meta);
    MDB_stat stat;
    if (code == 0)
        code = mdb_stat(txn, lmdb->events, &stat);
    if (code == 0)
        publishing->rows = stat.ms_entries;
    return code;
}

/* ---- after the commit ------------------------------------------------------------------------ */

static void forget_removed(lp__lmdb *lmdb, const lp_batch *batch)
{
    for (size_t i = 0, count = lp_batch_removal_count(batch); i < count; i++) {
        lp_removal removal = lp_batch_removal(batch, i);
        if (removal.reason == LP_REMOVED_REPLAY && lmdb->untold > 0)
            lmdb->untold--;
        if (removal.reason != LP_REMOVED_RETRIEVED)
            lp__lmdb_trim_note(lmdb, removal.seq);
    }
}

static void account_lists(lp__lmdb *lmdb, const struct publishing *publishing)
{
    if (publishing->empties_lists)
        lp__lmdb_lists_emptied(lmdb, publishing->is_below_floor);
    if (publishing->has_lists) {
        lp__lists_note_batch(&lmdb->lists, publishing->batch);
        lmdb->next_list = publishing->next_list;
    }
}

static void account(lp__lmdb *lmdb, const struct publishing *publishing)
{
    account_lists(lmdb, publishing);
    if (publishing->meta.floor > lmdb->meta.floor)
        lp__lmdb_trim_want_sweep(lmdb);
    lmdb->meta = publishing->meta;
    lmdb->last_seq = publishing->last_seq;
    lmdb->has_written = true;
    if (publishing->has_floor) {
        lmdb->has_damage = false;
        lp__dead_free(&lmdb->refused);
    }
    lp__lmdb_trim_done(lmdb, &publishing->trimmed);
    forget_removed(lmdb, publishing->batch);
    uint64_t dead = lp__lmdb_trim_dead_count(lmdb);
    if (lmdb->dead.count >= DEAD_MIN && 2 * dead >= publishing->rows)
        lp__lmdb_trim_doom(lmdb);
}

/* The first one of a run tells the next start that there was one, whatever the level. */
static int commit(lp__lmdb *lmdb, struct publishing *publishing)
{
    if (!publishing->has_news)
        return LP_OK;
    if (!lp__lmdb_space_suffices(lmdb, publishing->batch))
        return LP_ENOSPC;
    return lmdb->has_written ? lp__lmdb_env_write(lmdb, put_batch, publishing)
                             : lp__lmdb_env_write_durably(lmdb, put_batch, publishing);
}

int lp__lmdb_publish(lp__lmdb *lmdb, lp_batch *batch)
{
    if (lmdb->read_only)
        return lp_batch_error(batch, LP_EACCES,
                              "lmdb \"%s\": opened to read only (open it without read_only)",
                              lmdb->path);
    if (lmdb->in_doubt)
        return refuse(lmdb, batch, LP_EINDOUBT);
    struct publishing publishing = {.batch = batch};
    if (lp_batch_forgotten_keys_ms(batch) > lmdb->keys_forgotten_ms) {
        lmdb->keys_forgotten_ms = lp_batch_forgotten_keys_ms(batch);
        lmdb->keys_wanted = true;
    }
    lmdb->batch_ms = lmdb->host.monotonic_ms(lmdb->host.ctx);
    int status = find_retrieved(&publishing);
    if (status != LP_OK)
        return lp_batch_error(batch, status, "lmdb \"%s\": out of memory", lmdb->path);
    look_at(lmdb, &publishing);
    status = commit(lmdb, &publishing);
    if (status == LP_ENOSPC && lp__lmdb_space_free(lmdb, batch))
        status = commit(lmdb, &publishing);
    if (status != LP_OK)
        refuse(lmdb, batch, status);
    else if (publishing.has_news)
        account(lmdb, &publishing);
    else
        forget_removed(lmdb, batch);
    free(publishing.retrieved);
    return status;
}
