/* Pushes what is kept, from the image of the file. */
#include "inside.h"

#include <string.h>

struct pusher {
    lp__lmdb *lmdb;
    lp_replay *replay;
    int64_t wall_ms;
    uint64_t damaged; /* rows */
    char where[160];  /* what became of the first one */
    uint64_t done, total;
};

static int refuse_row(struct pusher *pusher, const char *tree, const lp__row *row)
{
    lp__lmdb *lmdb = pusher->lmdb;
    char name[LP__ASIDE_MAX];
    bool is_aside = lp__lmdb_damage_set_aside(lmdb, tree, row, name);
    if (pusher->damaged++ == 0) {
        if (is_aside)
            snprintf(pusher->where, sizeof(pusher->where), "set aside in %s", name);
        else
            snprintf(pusher->where, sizeof(pusher->where), "%s",
                     lmdb->read_only ? "left in place" : "it could not be set aside");
    }
    lmdb->has_damage = true;
    return LP_OK;
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
        return refuse_row(pusher, "event", row);
    int status = lp_replay_event(pusher->replay, id, category, data);
    if (is_refused(status))
        return refuse_row(pusher, "event", row);
    if (status >= 0)
        lmdb->last_seq = lp__lmdb_seq_decode(row->key);
    return status;
}

static int push_horizon(void *ctx, const lp__row *row, bool is_tree)
{
    struct pusher *pusher = ctx;
    lp_horizon horizon;
    (void)is_tree;
    if (!lp__lmdb_horizon_decode(row, &horizon))
        return refuse_row(pusher, "horizon", row);
    int status = lp_replay_horizon(pusher->replay, horizon.category, horizon.seq);
    return is_refused(status) ? refuse_row(pusher, "horizon", row) : status;
}

static int push_key(void *ctx, const lp__row *row, bool is_tree)
{
    struct pusher *pusher = ctx;
    lp_idempotency record;
    (void)is_tree;
    if (!lp__lmdb_key_decode(row, &record))
        return refuse_row(pusher, "key", row);
    if (record.expires_ms <= pusher->wall_ms)
        return LP_OK;
    int status = lp_replay_idempotency(pusher->replay, &record);
    return is_refused(status) ? refuse_row(pusher, "key", row) : status;
}

static int tell_damage(struct pusher *pusher)
{
    lp__lmdb *lmdb = pusher->lmdb;
    char detail[1024];
    if (pusher->damaged == 0)
        return LP_OK;
    lmdb->damaged_records += pusher->damaged;
    lmdb->meta.has_loss = true;
    snprintf(detail, sizeof(detail), "lmdb \"%s\": %llu rows are damaged (the first one: %s)",
             lmdb->path, (unsigned long long)pusher->damaged, pusher->where);
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
                            .wall_ms = lmdb->host.wall_ms(lmdb->host.ctx),
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
    lmdb->sweep_wanted = true;
    return status < 0 ? status : LP_OK;
}
