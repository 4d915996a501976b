/* The end of a start: pushes what is kept, and tells what is damaged. */
#include "inside.h"

#include <string.h>

struct pusher {
    lp__sqlite *self;
    lp_replay *replay;
    lp__categories horizons;
    int64_t keys_over_ms;
    uint64_t bytes, total;
    bool is_damaged; /* pages are, or small rows: the file has to be made anew */
    uint64_t records;
};

int lp__sqlite_loss(lp__sqlite *self, lp_replay *replay, uint64_t records, const char *detail)
{
    if (self->loss[0] == '\0')
        snprintf(self->loss, sizeof(self->loss), "%s", detail);
    self->loss_told = true;
    self->damaged_records += records;
    int status = lp_replay_loss(replay, records, detail);
    return status < 0 ? status : LP_OK;
}

static int push_horizon(void *ctx, lp_str category, uint64_t seq)
{
    struct pusher *pusher = ctx;
    lp__sqlite *self = pusher->self;
    int status = lp_replay_horizon(pusher->replay, category, seq);
    if (status == LP_EINVAL) {
        pusher->is_damaged = true;
        return LP_OK;
    }
    if (status < 0)
        return status;
    if (category.len == 0)
        self->floor = seq;
    else
        return lp__categories_put(&pusher->horizons, category, seq);
    return LP_OK;
}

static int push_key(void *ctx, const lp_idempotency *key)
{
    struct pusher *pusher = ctx;
    pusher->self->keys++;
    if (key->expires_ms <= pusher->keys_over_ms)
        return LP_OK;
    int status = lp_replay_idempotency(pusher->replay, key);
    if (status == LP_EINVAL)
        pusher->is_damaged = true;
    return status < 0 && status != LP_EINVAL ? status : LP_OK;
}

/* A row that is no event: it is told, and set aside once a floor is kept. */
static int refuse_row(struct pusher *pusher, uint64_t seq)
{
    pusher->records++;
    return lp__dead_add(&pusher->self->bad, seq);
}

static int push_row(struct pusher *pusher, const lp__rows *row)
{
    lp__sqlite *self = pusher->self;
    if (!row->is_good)
        return refuse_row(pusher, row->seq);
    if (row->seq <= pusher->horizons.newest &&
        row->seq <= lp__categories_find(&pusher->horizons, row->category)) {
        self->rows++;
        self->last_row = row->seq;
        return lp__dead_add(&self->dead, row->seq);
    }
    lp_id id = lp_id_make(row->seq, row->random);
    int status = lp_replay_event(pusher->replay, id, row->category, row->data);
    if (status == LP_EINVAL || status == LP_EORDER)
        return refuse_row(pusher, row->seq);
    if (status < 0)
        return status;
    self->untold += status == LP_SKIPPED;
    self->rows++;
    self->last_row = row->seq;
    return LP_OK;
}

static int push_events(struct pusher *pusher)
{
    lp__sqlite *self = pusher->self;
    lp__rows rows;
    int more = 0, status = lp__rows_open(&rows, self, self->db);
    while (status == LP_OK && (more = lp__rows_next(&rows)) == 1) {
        status = push_row(pusher, &rows);
        pusher->bytes += rows.data.len + rows.category.len + 32;
        if ((self->rows & 0xffff) == 0 && pusher->bytes < pusher->total)
            lp_replay_progress(pusher->replay, pusher->bytes, pusher->total);
    }
    if (status == LP_OK && more < 0)
        status =
            lp_replay_error(pusher->replay, more, "sqlite \"%s\": %s", self->path, self->problem);
    pusher->is_damaged = pusher->is_damaged || rows.is_damaged;
    pusher->records += rows.unreadable;
    lp__rows_close(&rows);
    return status;
}

/* ---- damage ---------------------------------------------------------------------------------- */

static int tell_rows(struct pusher *pusher)
{
    lp__sqlite *self = pusher->self;
    char detail[400];
    snprintf(detail, sizeof(detail),
             "sqlite \"%.200s\": %zu rows of its table event are damaged (%s)", self->path,
             self->bad.count,
             self->read_only ? "left in place" : "they will be moved to its table damaged");
    return lp__sqlite_loss(self, pusher->replay, pusher->records, detail);
}

/* Pages, or rows that only a new file gets rid of. Where that cannot be made now, the start goes on
 * with what there is, and tells it again the next time. */
static int tell_pages(struct pusher *pusher)
{
    lp__sqlite *self = pusher->self;
    char detail[400];
    snprintf(detail, sizeof(detail),
             "sqlite \"%.200s\": its pages are damaged, what can be read is kept (%s)", self->path,
             self->read_only ? "the file is left in place"
                             : "the damaged file is set aside whole as FILE.damaged-NUMBER");
    if (!self->read_only) {
        uint64_t highest = self->highest;
        int status = lp__rebuild(self, detail);
        if (status == LP_OK) {
            status = lp__db_open(self);
            if (status != LP_OK)
                return lp_replay_error(pusher->replay, status, "sqlite \"%s\": %s", self->path,
                                       self->problem);
            self->loss_kept = true;
            self->meta_highest = highest;
        } else if (self->db == NULL) {
            return lp_replay_error(pusher->replay, status, "sqlite \"%s\": %s", self->path,
                                   self->problem);
        } else {
            lp_replay_log(pusher->replay, "sqlite \"%s\": damaged, and not set aside: %s",
                          self->path, self->problem);
        }
    }
    self->set_aside = lp__file_count_aside(self);
    return lp__sqlite_loss(self, pusher->replay, pusher->records, detail);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int push_all(struct pusher *pusher)
{
    lp__sqlite *self = pusher->self;
    const lp__small each = {.ctx = pusher, .horizon = push_horizon, .key = push_key};
    uint64_t bad = 0;
    int status = lp__small_read(self, self->db, &each, &bad, &pusher->is_damaged);
    pusher->records += bad;
    pusher->is_damaged = pusher->is_damaged || bad > 0;
    if (status == LP_OK)
        status = push_events(pusher);
    if (self->last_row > self->highest)
        self->highest = self->last_row;
    if (status == LP_OK)
        status = lp_replay_highest(pusher->replay, self->highest);
    return status < 0 ? status : LP_OK;
}

int lp__sqlite_replay(lp__sqlite *self, lp_replay *replay)
{
    struct pusher pusher = {.self = self, .replay = replay, .keys_over_ms = lp__keys_over_ms(self)};
    lp__file_size(self, "", &pusher.total);
    int status = push_all(&pusher);
    if (status == LP_OK && pusher.is_damaged)
        status = tell_pages(&pusher);
    else if (status == LP_OK && self->bad.count > 0)
        status = tell_rows(&pusher);
    if (status == LP_OK && self->db != NULL && lp__lists_learn(self) != LP_OK)
        status = lp_replay_error(replay, LP_ENOMEM, "sqlite \"%s\": %s", self->path, self->problem);
    lp_replay_progress(replay, pusher.total, pusher.total);
    lp__categories_free(&pusher.horizons);
    self->sweep = self->floor != 0;
    return status;
}
