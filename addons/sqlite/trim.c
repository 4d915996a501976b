/* Deleting what is dead, sorted and in bulk: in the transactions of batches when there is much of
 * it, and in transactions of its own when nothing is published. */
#include "inside.h"

#include <stdlib.h>

/* A row that lives costs as much as a quarter of a dead one: the file stays near what lives, and a
 * chunk is long enough to be mostly one range. */
enum { DEAD_SHARE = 4 };

bool lp__trim_is_due(const lp__sqlite *self)
{
    uint64_t dead = self->dead.count, living = self->rows > dead ? self->rows - dead : 0;
    return dead >= LP__SQLITE_CHUNK && dead >= living / DEAD_SHARE;
}

struct ranges {
    int64_t from[LP__SQLITE_CHUNK], to[LP__SQLITE_CHUNK];
    size_t count;
};

/* The rows from the first to the last of `seqs`, as ranges in which all are dead. A look at the
 * keys in between costs less than a search for each. False: there are many living ones in between.
 */
static int find_ranges(lp__sqlite *self, const uint64_t *seqs, size_t count, struct ranges *ranges,
                       bool *found)
{
    sqlite3_stmt *find = self->statements[LP__FIND_EVENTS];
    size_t i = 0, seen = 0;
    bool is_open = false;
    int code;
    ranges->count = 0;
    sqlite3_bind_int64(find, 1, (int64_t)seqs[0]);
    sqlite3_bind_int64(find, 2, (int64_t)seqs[count - 1]);
    while ((code = sqlite3_step(find)) == SQLITE_ROW && seen++ < 3 * count) {
        uint64_t seq = (uint64_t)sqlite3_column_int64(find, 0);
        while (i < count && seqs[i] < seq)
            i++;
        bool is_dead = i < count && seqs[i] == seq;
        if (is_dead && !is_open)
            ranges->from[ranges->count++] = (int64_t)seq;
        if (is_dead)
            ranges->to[ranges->count - 1] = (int64_t)seq;
        is_open = is_dead;
    }
    int status = code == SQLITE_ROW || code == SQLITE_DONE
                     ? LP_OK
                     : lp__db_failed(self, self->db, "cannot read its events");
    sqlite3_reset(find);
    *found = code == SQLITE_DONE;
    return status;
}

static int delete_ranges(lp__sqlite *self, const struct ranges *ranges, lp__trimmed *trimmed)
{
    sqlite3_stmt *delete = self->statements[LP__DELETE_EVENTS];
    int status = LP_OK;
    for (size_t i = 0; status == LP_OK && i < ranges->count; i++) {
        sqlite3_bind_int64(delete, 1, ranges->from[i]);
        sqlite3_bind_int64(delete, 2, ranges->to[i]);
        status = lp__step(self, delete);
        if (status == LP_OK)
            trimmed->rows += (uint64_t)sqlite3_changes64(self->db);
    }
    return status;
}

static int delete_each(lp__sqlite *self, const uint64_t *seqs, size_t count, lp__trimmed *trimmed)
{
    sqlite3_stmt *delete = self->statements[LP__DELETE_EVENT];
    int status = LP_OK;
    for (size_t i = 0; status == LP_OK && i < count; i++) {
        sqlite3_bind_int64(delete, 1, (int64_t)seqs[i]);
        status = lp__step(self, delete);
        if (status == LP_OK)
            trimmed->rows += (uint64_t)sqlite3_changes64(self->db);
    }
    return status;
}

int lp__trim_events(lp__sqlite *self, size_t max, lp__trimmed *trimmed)
{
    const uint64_t *seqs;
    size_t count =
        lp__dead_smallest(&self->dead, max < LP__SQLITE_CHUNK ? max : LP__SQLITE_CHUNK, &seqs);
    bool found = false;
    if (count == 0)
        return LP_OK;
    struct ranges *ranges = count > 8 ? malloc(sizeof(*ranges)) : NULL;
    int status = ranges != NULL ? find_ranges(self, seqs, count, ranges, &found) : LP_OK;
    if (status == LP_OK)
        status =
            found ? delete_ranges(self, ranges, trimmed) : delete_each(self, seqs, count, trimmed);
    free(ranges);
    trimmed->dead = count;
    for (size_t i = count; i-- > 0 && seqs[i] >= self->last_row;)
        trimmed->took_last = trimmed->took_last || seqs[i] == self->last_row;
    return status;
}

/* ---- keys and horizons ----------------------------------------------------------------------- */

int64_t lp__keys_over_ms(const lp__sqlite *self)
{
    int64_t wall_ms = self->world.wall_ms(self->world.ctx);
    return wall_ms > self->keys_forgotten_ms ? wall_ms : self->keys_forgotten_ms;
}

/* Deletes those that are over of the `max` keys behind number `after`; `front`: up to the first
 * that is not. `*end` is the last that was looked at, 0 when there are no more. */
static int trim_some_keys(lp__sqlite *self, int64_t after, size_t max, bool front, int64_t *end,
                          lp__trimmed *trimmed)
{
    sqlite3_stmt *find = self->statements[LP__FIND_KEYS];
    int64_t over_ms = lp__keys_over_ms(self), first = 0, last = 0;
    size_t seen = 0;
    int code;
    *end = 0;
    sqlite3_bind_int64(find, 1, after);
    sqlite3_bind_int64(find, 2, (int64_t)max);
    while ((code = sqlite3_step(find)) == SQLITE_ROW) {
        bool is_over = sqlite3_column_int64(find, 1) <= over_ms;
        if (front && !is_over)
            break;
        int64_t number = sqlite3_column_int64(find, 0);
        *end = ++seen == max ? number : 0;
        if (is_over && first == 0)
            first = number;
        if (is_over)
            last = number;
    }
    int status = code == SQLITE_ROW || code == SQLITE_DONE
                     ? LP_OK
                     : lp__db_failed(self, self->db, "cannot read its keys");
    sqlite3_reset(find);
    if (status != LP_OK || first == 0)
        return status;
    sqlite3_stmt *delete = self->statements[LP__DELETE_KEYS];
    sqlite3_bind_int64(delete, 1, first);
    sqlite3_bind_int64(delete, 2, last);
    sqlite3_bind_int64(delete, 3, over_ms);
    status = lp__db_run(self, LP__DELETE_KEYS);
    if (status == LP_OK)
        trimmed->keys += (uint64_t)sqlite3_changes64(self->db);
    return status;
}

/* They are over about in the order in which they came: those in front go. Where that is not enough,
 * because the window was longer once, the others are looked through, twice as many as come. */
int lp__trim_keys(lp__sqlite *self, uint64_t new_keys, lp__trimmed *trimmed)
{
    int64_t end;
    size_t max = (size_t)(new_keys > LP__SQLITE_KEYS ? 2 * new_keys : 2 * LP__SQLITE_KEYS);
    int status = trim_some_keys(self, 0, max, true, &end, trimmed);
    trimmed->has_looked = status == LP_OK;
    if (status != LP_OK || trimmed->keys >= max / 2)
        return status;
    status = trim_some_keys(self, self->key_from, max, false, &trimmed->key_from, trimmed);
    trimmed->has_swept = status == LP_OK;
    return status;
}

/* A horizon that the floor has reached still keeps dead rows from coming back: they go first. */
int lp__trim_horizons(lp__sqlite *self, const lp__trimmed *trimmed)
{
    bool has_dead = self->dead.count > trimmed->dead || self->untold > 0 || self->blind;
    if (!self->sweep || has_dead)
        return LP_OK;
    sqlite3_bind_int64(self->statements[LP__SWEEP_HORIZONS], 1, (int64_t)self->floor);
    return lp__db_run(self, LP__SWEEP_HORIZONS);
}

void lp__trim_done(lp__sqlite *self, const lp__trimmed *trimmed)
{
    lp__dead_drop(&self->dead, trimmed->dead);
    self->rows -= trimmed->rows < self->rows ? trimmed->rows : self->rows;
    self->keys -= trimmed->keys < self->keys ? trimmed->keys : self->keys;
    if (trimmed->has_looked)
        self->new_keys = 0;
    if (trimmed->has_swept)
        self->key_from = trimmed->key_from;
    if (trimmed->took_last)
        self->last_row = 0;
    self->trimming =
        self->dead.count >= LP__SQLITE_CHUNK && (self->trimming || lp__trim_is_due(self));
}

int lp__trim_chunk(lp__sqlite *self, bool *more)
{
    lp__trimmed trimmed = {0};
    *more = false;
    int status = lp__db_level(self, !self->run_noted);
    if (status == LP_OK)
        status = lp__db_run(self, LP__BEGIN);
    if (status != LP_OK)
        return status;
    status = lp__trim_events(self, LP__SQLITE_CHUNK, &trimmed);
    if (status == LP_OK)
        status = lp__trim_keys(self, self->new_keys, &trimmed);
    bool empties_lists = status == LP_OK && lp__lists_can_empty(self);
    if (empties_lists)
        status = lp__lists_empty(self);
    bool sweeps = self->sweep && trimmed.dead == self->dead.count;
    if (status == LP_OK)
        status = lp__trim_horizons(self, &trimmed);
    bool writes_highest = trimmed.took_last && self->highest > self->meta_highest;
    if (status == LP_OK && writes_highest)
        status = lp__put_meta(self, self->statements[LP__PUT_META], "highest", self->highest, "");
    if (status == LP_OK && !self->run_noted)
        status = lp__note_run(self);
    bool writes_loss = self->loss[0] != '\0' && !self->loss_kept;
    if (status == LP_OK && writes_loss)
        status = lp__put_meta(self, self->statements[LP__PUT_META], "loss", 1, self->loss);
    if (status == LP_OK)
        status = lp__db_run(self, LP__COMMIT);
    if (status != LP_OK) {
        lp__db_rollback(self);
        return status; /* a deletion that comes back is deleted again */
    }
    self->run_noted = self->has_written = true;
    self->loss_kept = self->loss_kept || writes_loss;
    self->sweep = self->sweep && !sweeps;
    if (empties_lists)
        lp__lists_forget(&self->lists);
    if (writes_highest)
        self->meta_highest = self->highest;
    lp__trim_done(self, &trimmed);
    *more = self->dead.count > 0 || !trimmed.has_swept || trimmed.key_from != 0;
    return LP_OK;
}
