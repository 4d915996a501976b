/* Pushes what is kept, from the image of the file. */
#include "inside.h"

#include <stdlib.h>
#include <string.h>

/* The horizons that were pushed, by category. Open addressing, at most half full; the names are
 * the image's. */
struct horizons {
    lp_horizon *slots;
    size_t count, capacity;
    uint64_t newest; /* none is above this */
};

struct pusher {
    lp__lmdb *lmdb;
    lp_replay *replay;
    int64_t keys_over_ms;
    uint64_t damaged; /* rows */
    lp__aside aside;  /* where they go */
    uint64_t done, total;
    struct horizons horizons;
};

/* ---- horizons -------------------------------------------------------------------------------- */

/* The slot that holds it, or the empty one where it would go. */
static lp_horizon *find_slot(const struct pusher *pusher, lp_str category)
{
    const struct horizons *horizons = &pusher->horizons;
    uint64_t hash = lp__lmdb_category_hash(pusher->lmdb->meta.seed, category);
    for (;; hash++) {
        lp_horizon *slot = &horizons->slots[hash & (horizons->capacity - 1)];
        if (slot->seq == 0 || (slot->category.len == category.len &&
                               memcmp(slot->category.base, category.base, category.len) == 0))
            return slot;
    }
}

static int grow_horizons(struct pusher *pusher)
{
    struct horizons *horizons = &pusher->horizons, old = *horizons;
    size_t capacity = old.capacity == 0 ? 64 : old.capacity * 2;
    lp_horizon *slots = calloc(capacity, sizeof(*slots));
    if (slots == NULL)
        return LP_ENOMEM;
    horizons->slots = slots;
    horizons->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].seq != 0)
            *find_slot(pusher, old.slots[i].category) = old.slots[i];
    free(old.slots);
    return LP_OK;
}

/* The highest of a category counts. */
static int note_horizon(struct pusher *pusher, const lp_horizon *horizon)
{
    struct horizons *horizons = &pusher->horizons;
    if (horizon->seq == 0)
        return LP_OK;
    if (2 * horizons->count >= horizons->capacity && grow_horizons(pusher) != LP_OK)
        return LP_ENOMEM;
    lp_horizon *slot = find_slot(pusher, horizon->category);
    horizons->count += slot->seq == 0;
    if (horizon->seq > slot->seq)
        *slot = *horizon;
    if (horizon->seq > horizons->newest)
        horizons->newest = horizon->seq;
    return LP_OK;
}

/* Whether an event was removed, and only its row is left. */
static bool is_dead(const struct pusher *pusher, uint64_t seq, lp_str category)
{
    return seq != 0 && seq <= pusher->horizons.newest && seq <= find_slot(pusher, category)->seq;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* A row that does not verify. */
static int set_row_aside(struct pusher *pusher, lp__kind kind, const lp__row *row)
{
    pusher->damaged++;
    lp__lmdb_damage_add(pusher->lmdb, &pusher->aside, kind, row);
    return LP_OK;
}

/* One that does, and that is not taken. */
static int refuse_row(struct pusher *pusher, lp__kind kind, const lp__row *row)
{
    set_row_aside(pusher, kind, row);
    return lp__lmdb_damage_note(pusher->lmdb, kind, row);
}

static bool is_refused(int status)
{
    return status == LP_EINVAL || status == LP_EORDER;
}

static int push_event(void *ctx, const lp__row *row, bool is_tree)
{
    struct pusher *pusher = ctx;
    lp__lmdb *lmdb = pusher->lmdb;
    lp_id id;
    lp_str category, data;
    (void)is_tree;
    if ((++pusher->done & 0xffff) == 0)
        lp_replay_progress(pusher->replay, pusher->done, pusher->total);
    if (!lp__lmdb_event_decode(row, &id, &category, &data))
        return set_row_aside(pusher, LP__KIND_EVENT, row);
    uint64_t seq = lp__lmdb_seq_decode(row->key);
    if (is_dead(pusher, seq, category)) {
        if (seq > lmdb->last_seq)
            lmdb->last_seq = seq;
        lp__lmdb_trim_note(lmdb, seq);
        return LP_OK;
    }
    int status = lp_replay_event(pusher->replay, id, category, data);
    if (is_refused(status))
        return refuse_row(pusher, LP__KIND_EVENT, row);
    if (status >= 0 && seq > lmdb->last_seq)
        lmdb->last_seq = seq;
    lmdb->untold += status == LP_SKIPPED;
    return status;
}

static int push_listed(void *ctx, lp_str category, uint64_t seq)
{
    struct pusher *pusher = ctx;
    const lp_horizon horizon = {category, seq};
    int status = lp_replay_horizon(pusher->replay, category, seq);
    if (status < 0)
        return status;
    lp__lists_note(&pusher->lmdb->lists, category, seq);
    return note_horizon(pusher, &horizon);
}

/* Lists come in the order of their numbers. */
static int push_list(struct pusher *pusher, const lp__row *row)
{
    lp__lmdb *lmdb = pusher->lmdb;
    lp_str list;
    if (!lp__lmdb_list_decode(row, &list))
        return set_row_aside(pusher, LP__KIND_HORIZON, row);
    if (lmdb->lists.entries == 0)
        lmdb->first_list = lp__lmdb_list_number(row->key);
    lmdb->next_list = lp__lmdb_list_number(row->key) + 1;
    int status = lp__list_read(list, push_listed, pusher);
    return is_refused(status) || status == LP_EDAMAGED ? refuse_row(pusher, LP__KIND_HORIZON, row)
                                                       : status;
}

static int push_horizon(void *ctx, const lp__row *row, bool is_tree)
{
    struct pusher *pusher = ctx;
    lp_horizon horizon;
    (void)is_tree;
    if (lp__lmdb_is_list(row))
        return push_list(pusher, row);
    if (!lp__lmdb_horizon_decode(row, &horizon))
        return set_row_aside(pusher, LP__KIND_HORIZON, row);
    int status = lp_replay_horizon(pusher->replay, horizon.category, horizon.seq);
    if (is_refused(status))
        return refuse_row(pusher, LP__KIND_HORIZON, row);
    return status >= 0 ? note_horizon(pusher, &horizon) : status;
}

static int push_key(void *ctx, const lp__row *row, bool is_tree)
{
    struct pusher *pusher = ctx;
    lp_idempotency record;
    (void)is_tree;
    if (!lp__lmdb_key_decode(row, &record))
        return set_row_aside(pusher, LP__KIND_KEY, row);
    if (record.expires_ms <= pusher->keys_over_ms) {
        pusher->lmdb->keys_wanted = true;
        return LP_OK;
    }
    int status = lp_replay_idempotency(pusher->replay, &record);
    return is_refused(status) ? refuse_row(pusher, LP__KIND_KEY, row) : status;
}

static int tell_damage(struct pusher *pusher)
{
    lp__lmdb *lmdb = pusher->lmdb;
    char detail[1024], name[LP__ASIDE_MAX];
    if (pusher->damaged == 0)
        return LP_OK;
    lmdb->has_damage = lp__lmdb_damage_end(lmdb, &pusher->aside, name);
    lmdb->damaged_records += pusher->damaged;
    lmdb->meta.has_loss = true;
    if (lmdb->has_damage)
        snprintf(detail, sizeof(detail), "lmdb \"%s\": %llu rows are damaged (set aside in %s)",
                 lmdb->path, (unsigned long long)pusher->damaged, name);
    else
        snprintf(detail, sizeof(detail), "lmdb \"%s\": %llu rows are damaged (left in place%s)",
                 lmdb->path, (unsigned long long)pusher->damaged,
                 lmdb->read_only ? ""
                                 : ": they could not be set aside, the next start tries again");
    return lp_replay_loss(pusher->replay, pusher->damaged, detail);
}

/* The meta row's number, or what the rows themselves say where it is damaged. */
static int push_highest(struct pusher *pusher)
{
    lp__lmdb *lmdb = pusher->lmdb;
    lp__meta *meta = &lmdb->meta;
    if (meta->highest < lmdb->last_seq)
        meta->highest = lmdb->last_seq;
    return lp_replay_highest(pusher->replay, meta->highest);
}

int lp__lmdb_replay(lp__lmdb *lmdb, lp_replay *replay, lp__image *image)
{
    struct pusher pusher = {.lmdb = lmdb,
                            .replay = replay,
                            .keys_over_ms = lp__lmdb_keys_over_ms(lmdb),
                            .total = image->events.entries};
    int status = LP_OK;
    if (lmdb->meta.floor != 0)
        status = lp_replay_horizon(replay, (lp_str){"", 0}, lmdb->meta.floor);
    if (status >= 0)
        status = lp__lmdb_image_walk(image, &image->horizons, push_horizon, &pusher);
    if (status >= 0)
        status = lp__lmdb_image_walk(image, &image->events, push_event, &pusher);
    if (status >= 0)
        status = lp__lmdb_image_walk(image, &image->keys, push_key, &pusher);
    if (status >= 0)
        status = tell_damage(&pusher);
    if (status >= 0)
        status = push_highest(&pusher);
    if (status >= 0)
        lp_replay_progress(replay, pusher.total, pusher.total);
    if (pusher.aside.is_open) { /* the start has failed before they were told */
        char name[LP__ASIDE_MAX];
        lp__lmdb_damage_end(lmdb, &pusher.aside, name);
    }
    free(pusher.horizons.slots);
    lmdb->sweep_wanted = true;
    return status < 0 ? status : LP_OK;
}
