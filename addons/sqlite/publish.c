/* on_publish: one batch, one transaction, all of it or nothing. */
#include "inside.h"

#include <string.h>

/* What the transaction of a batch will have changed, once it is committed. */
struct change {
    lp__trimmed trimmed;
    uint64_t rows, keys; /* inserted */
    uint64_t last_row;   /* the newest event that is there; 0: not known */
    uint64_t floor;      /* that it brings; 0: none */
    bool writes_highest, writes_run, writes_loss, sweeps, covers_loss;
    bool lists, empties_lists; /* its horizons are a row of horizon_list, which it emptied before */
    uint64_t retrieved;        /* rows deleted at once */
};

/* ---- within the transaction ------------------------------------------------------------------ */

static bool is_too_large(sqlite3 *db, const lp_event *event)
{
    enum { OVERHEAD = 100 };
    size_t max = (size_t)sqlite3_limit(db, SQLITE_LIMIT_LENGTH, -1);
    return lp_event_data(event).len + lp_event_category(event).len + OVERHEAD > max;
}

/* All events are looked at before any is inserted: with one of a group all of it is refused. */
static void refuse_events(lp__sqlite *self, lp_batch *batch)
{
    for (size_t i = 0, count = lp_batch_event_count(batch); i < count; i++)
        if (!lp_batch_failed(batch, i) && is_too_large(self->db, lp_batch_event(batch, i)))
            lp_batch_fail(batch, i, LP_ETOOBIG,
                          "the event is larger than a row of SQLite may be (publish less at once)");
}

static int insert_run(lp__sqlite *self, lp__sqlite_statement statement,
                      const lp_event *const *events, size_t count)
{
    sqlite3_stmt *insert = self->statements[statement];
    for (size_t i = 0; i < count; i++)
        lp__bind_event(insert, (int)i, lp_event_seq(events[i]),
                       lp__event_random(lp_event_id(events[i])), lp_event_category(events[i]),
                       lp_event_data(events[i]));
    return lp__step(self, insert);
}

static int insert_events(lp__sqlite *self, const lp_batch *batch, struct change *change)
{
    const lp_event *run[LP__SQLITE_ROWS];
    size_t len = 0;
    int status = LP_OK;
    for (size_t i = 0, count = lp_batch_event_count(batch); status == LP_OK && i < count; i++) {
        if (lp_batch_failed(batch, i))
            continue;
        run[len++] = lp_batch_event(batch, i);
        change->rows++;
        change->last_row = lp_event_seq(run[len - 1]);
        if (len == LP__SQLITE_ROWS) {
            status = insert_run(self, LP__INSERT_EVENTS, run, len);
            len = 0;
        }
    }
    for (size_t i = 0; status == LP_OK && i < len; i++)
        status = insert_run(self, LP__INSERT_EVENT, &run[i], 1);
    return status;
}

/* Those that no horizon tells of must not come back: they go now. */
static int delete_retrieved(lp__sqlite *self, lp_batch *batch, struct change *change)
{
    sqlite3_stmt *delete = self->statements[LP__DELETE_EVENT];
    for (size_t i = 0, count = lp_batch_removal_count(batch); i < count; i++) {
        lp_removal removal = lp_batch_removal(batch, i);
        if (removal.reason != LP_REMOVED_RETRIEVED)
            continue;
        sqlite3_bind_int64(delete, 1, (int64_t)removal.seq);
        int status = lp__step(self, delete);
        if (status != LP_OK)
            return status;
        change->retrieved += (uint64_t)sqlite3_changes64(self->db);
        if (removal.seq == change->last_row)
            change->last_row = 0;
    }
    return LP_OK;
}

static int put_horizons(lp__sqlite *self, lp_batch *batch, struct change *change)
{
    int status = LP_OK;
    change->lists = lp__lists_suit(self, batch);
    change->empties_lists = change->lists && lp__lists_are_due(&self->lists);
    if (change->empties_lists)
        status = lp__lists_empty(self);
    if (status == LP_OK && change->lists)
        status = lp__lists_put(self, batch);
    for (size_t i = 0, count = lp_batch_horizon_count(batch); status == LP_OK && i < count; i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        if (horizon.category.len == 0)
            change->floor = horizon.seq;
        else if (change->lists)
            continue;
        status =
            lp__put_horizon(self, self->statements[LP__PUT_HORIZON], horizon.category, horizon.seq);
    }
    return status;
}

static int put_keys(lp__sqlite *self, lp_batch *batch, struct change *change)
{
    for (size_t i = 0, count = lp_batch_idempotency_count(batch); i < count; i++) {
        lp_idempotency key = lp_batch_idempotency(batch, i);
        int status = lp__put_key(self, self->statements[LP__PUT_KEY], &key);
        if (status != LP_OK)
            return status;
        change->keys++;
    }
    return LP_OK;
}

static int trim(lp__sqlite *self, const lp_batch *batch, struct change *change)
{
    int status = LP_OK;
    if (self->trimming || lp__trim_is_due(self))
        status = lp__trim_events(self, LP__SQLITE_CHUNK, &change->trimmed);
    /* Now and then, so that keys go also where nothing is ever idle. */
    uint64_t new_keys = self->new_keys + change->keys;
    if (status == LP_OK && new_keys >= LP__SQLITE_KEYS)
        status = lp__trim_keys(self, new_keys, &change->trimmed);
    bool brings_dead = false;
    for (size_t i = 0, count = lp_batch_removal_count(batch); i < count && !brings_dead; i++)
        brings_dead = lp_batch_removal(batch, i).reason != LP_REMOVED_RETRIEVED;
    change->sweeps = self->sweep && !brings_dead && self->untold == 0 && !self->blind &&
                     change->trimmed.dead == self->dead.count;
    if (status == LP_OK && change->sweeps)
        status = lp__trim_horizons(self, &change->trimmed);
    if (change->trimmed.took_last && change->last_row == self->last_row)
        change->last_row = 0;
    return status;
}

/* The floor that covers what start found damaged comes with this batch: what was found is taken out
 * of the way, so that it is told only once. */
static int cover_damage(lp__sqlite *self, struct change *change)
{
    const uint64_t *seqs;
    size_t count = lp__dead_smallest(&self->bad, SIZE_MAX, &seqs);
    int status = LP_OK;
    change->covers_loss = true;
    for (size_t i = 0; status == LP_OK && i < count; i++) {
        sqlite3_bind_int64(self->statements[LP__SET_ASIDE], 1, (int64_t)seqs[i]);
        sqlite3_bind_int64(self->statements[LP__DELETE_EVENT], 1, (int64_t)seqs[i]);
        status = lp__db_run(self, LP__SET_ASIDE);
        if (status == LP_OK)
            status = lp__db_run(self, LP__DELETE_EVENT);
    }
    if (status == LP_OK && self->meta_is_bad) { /* also rows whose names are damaged */
        status = lp__db_exec(self, self->db, "DELETE FROM meta");
        self->run_noted = false;
        self->meta_highest = 0;
    } else if (status == LP_OK && self->loss_kept) {
        sqlite3_bind_text(self->statements[LP__DELETE_META], 1, "loss", -1, SQLITE_STATIC);
        status = lp__db_run(self, LP__DELETE_META);
    }
    return status;
}

int lp__note_run(lp__sqlite *self)
{
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {{"version", LP__SQLITE_VERSION},
                   {"boot", self->lost ? 0 : self->boot},
                   {"clean", 0},
                   {"sync", (uint64_t)self->sync}};
    int status = LP_OK;
    for (size_t i = 0; status == LP_OK && i < sizeof(numbers) / sizeof(numbers[0]); i++)
        status = lp__put_meta(self, self->statements[LP__PUT_META], numbers[i].name,
                              numbers[i].number, "");
    return status;
}

/* Only what the other rows do not say: the highest number mostly is that of the newest event. */
static int put_meta(lp__sqlite *self, lp_batch *batch, struct change *change)
{
    sqlite3_stmt *put = self->statements[LP__PUT_META];
    uint64_t highest = lp_batch_highest(batch), known = self->meta_highest;
    if (self->highest > highest)
        highest = self->highest;
    if (change->last_row > known)
        known = change->last_row;
    int status = LP_OK;
    change->writes_highest = highest > known;
    change->writes_run = !self->run_noted;
    change->writes_loss = self->loss[0] != '\0' && !self->loss_kept && !change->covers_loss;
    if (change->writes_highest)
        status = lp__put_meta(self, put, "highest", highest, "");
    if (status == LP_OK && change->writes_run)
        status = lp__note_run(self);
    if (status == LP_OK && change->writes_loss)
        status = lp__put_meta(self, put, "loss", 1, self->loss);
    return status;
}

static int write_batch(lp__sqlite *self, lp_batch *batch, struct change *change)
{
    refuse_events(self, batch);
    int status = insert_events(self, batch, change);
    if (status == LP_OK)
        status = delete_retrieved(self, batch, change);
    if (status == LP_OK)
        status = put_horizons(self, batch, change);
    if (status == LP_OK)
        status = put_keys(self, batch, change);
    if (status == LP_OK)
        status = trim(self, batch, change);
    if (status == LP_OK && change->floor != 0 && self->loss_told)
        status = cover_damage(self, change);
    if (status == LP_OK)
        status = put_meta(self, batch, change);
    return status;
}

/* ---- when it is committed -------------------------------------------------------------------- */

static void note_removed(lp__sqlite *self, const lp_batch *batch)
{
    for (size_t i = 0, count = lp_batch_removal_count(batch); i < count; i++) {
        lp_removal removal = lp_batch_removal(batch, i);
        if (removal.reason == LP_REMOVED_REPLAY && self->untold > 0)
            self->untold--;
        if (removal.reason != LP_REMOVED_RETRIEVED &&
            lp__dead_add(&self->dead, removal.seq) != LP_OK)
            self->blind = true;
    }
}

static void note_change(lp__sqlite *self, const lp_batch *batch, const struct change *change)
{
    uint64_t highest = lp_batch_highest(batch);
    self->rows += change->rows;
    self->rows -= change->retrieved < self->rows ? change->retrieved : self->rows;
    self->keys += change->keys;
    self->new_keys += change->keys;
    int64_t keys_ms = lp_batch_forgotten_keys_ms(batch);
    if (keys_ms > self->keys_forgotten_ms) {
        self->keys_forgotten_ms = keys_ms;
        self->key_check = true;
    }
    self->last_row = change->last_row;
    if (highest > self->highest)
        self->highest = highest;
    if (self->last_row > self->highest)
        self->highest = self->last_row;
    if (change->writes_highest)
        self->meta_highest = self->highest;
    self->run_noted = self->has_written = true;
    if (change->writes_loss)
        self->loss_kept = true;
    if (change->covers_loss) {
        self->set_aside += self->bad.count;
        lp__dead_free(&self->bad);
        self->loss[0] = '\0';
        self->loss_kept = self->loss_told = self->meta_is_bad = false;
    }
    if (change->sweeps)
        self->sweep = false;
    if (change->empties_lists)
        lp__lists_forget(&self->lists);
    if (change->lists)
        lp__lists_note_batch(&self->lists, batch);
    if (change->floor > self->floor) {
        self->floor = change->floor;
        self->sweep = true;
    }
    note_removed(self, batch);
    lp__trim_done(self, &change->trimmed);
    self->is_compact = false;
}

/* ---- when it is not -------------------------------------------------------------------------- */

static int refuse(lp__sqlite *self, lp_batch *batch, int status)
{
    const char *doubt = "; whether the batch will be there after a restart is in doubt";
    if (status == LP_ENOMEM)
        return lp_batch_error(batch, status, "sqlite \"%s\": out of memory", self->path);
    return lp_batch_error(batch, status, "sqlite \"%s\": %s%s%s", self->path, self->problem,
                          status == LP_EINDOUBT ? doubt : "", lp__sqlite_remedy(self, status));
}

/* The log may hold the batch whole and with its commit, and a start would find it there. One more
 * transaction is written over its first page, and checksums are chained: then all of it is void. */
static int void_commit(lp__sqlite *self)
{
    int status = lp__db_level(self, true);
    if (status == LP_OK)
        status = lp__db_run(self, LP__BEGIN);
    if (status == LP_OK)
        status = lp__put_meta(self, self->statements[LP__PUT_META], "voids", ++self->voids, "");
    if (status == LP_OK)
        status = lp__db_run(self, LP__COMMIT);
    if (status != LP_OK)
        lp__db_rollback(self);
    return status;
}

static int undo_commit(lp__sqlite *self, lp_batch *batch, int status)
{
    char problem[sizeof(self->problem)];
    /* Where the log could not be written there is no commit in it: that is written last. */
    bool is_gone = status == LP_ENOSPC &&
                   (self->failed_code == SQLITE_FULL || self->failed_code == SQLITE_IOERR_WRITE);
    memcpy(problem, self->problem, sizeof(problem));
    bool is_open = lp__db_rollback(self) != LP_OK;
    if (is_open || (void_commit(self) != LP_OK && !is_gone)) {
        self->in_doubt = true;
        status = LP_EINDOUBT;
    }
    memcpy(self->problem, problem, sizeof(problem));
    return refuse(self, batch, status);
}

static int publish(lp__sqlite *self, lp_batch *batch)
{
    struct change change = {.last_row = self->last_row};
    /* The first commit of a run is on disk whatever the level: the next start must know of it. */
    int status = lp__db_level(self, !self->run_noted);
    if (status == LP_OK)
        status = lp__db_run(self, LP__BEGIN);
    if (status != LP_OK)
        return refuse(self, batch, status);
    status = write_batch(self, batch, &change);
    if (status != LP_OK) {
        if (lp__db_rollback(self) != LP_OK) {
            self->in_doubt = true;
            status = LP_EINDOUBT;
        }
        return refuse(self, batch, status);
    }
    status = lp__db_run(self, LP__COMMIT);
    if (status != LP_OK)
        return undo_commit(self, batch, status);
    note_change(self, batch, &change);
    self->published_us = self->world.monotonic_us(self->world.ctx);
    lp__wal_committed(self); /* the batch is kept; what fails here is in `news` */
    return LP_OK;
}

/* Pages that are found damaged only now: the file is set aside and made anew, as by a start. What
 * is lost is told by the next one: until then the manager has it in memory. Where the new file does
 * not get its name or cannot be opened, the next start goes on with it. */
static int mend(lp__sqlite *self)
{
    char loss[sizeof(self->loss)];
    snprintf(loss, sizeof(loss),
             "sqlite \"%.200s\": its pages were damaged (%.80s), what could be read was kept",
             self->path, self->problem);
    int status = lp__rebuild(self, loss);
    if (status == LP_OK && (status = lp__db_open(self)) != LP_OK)
        lp__db_close(self, true);
    if (status != LP_OK)
        return status;
    int64_t rows = lp__db_number(self->db, "SELECT count(*) FROM event");
    memcpy(self->loss, loss, sizeof(loss));
    self->loss_kept = true;
    self->loss_told = false;
    self->rows = rows > 0 ? (uint64_t)rows : 0;
    self->meta_highest = self->highest;
    self->run_noted = false;
    self->set_aside = lp__file_count_aside(self);
    lp__sqlite_tell(self, "%s (the damaged file was set aside as %s.damaged-…)", loss, self->path);
    return LP_OK;
}

/* Whether the batch may have more luck now. Only what makes room for others may use the reserve. */
static bool make_room(lp__sqlite *self, const lp_batch *batch)
{
    bool more = self->dead.count > 0, has_more = more;
    if (lp_batch_event_count(batch) == 0)
        has_more = lp__space_spend(self) || has_more;
    has_more = (self->wal_pages > 0 && lp__wal_truncate(self) == LP_OK) || has_more;
    if (more && lp__trim_chunk(self, &more) == LP_OK)
        lp__wal_truncate(self);
    return has_more;
}

int lp__sqlite_publish(lp__sqlite *self, lp_batch *batch)
{
    if (self->read_only)
        return lp_batch_error(batch, LP_EACCES,
                              "sqlite \"%s\": opened to read only (open it without read_only)",
                              self->path);
    if (self->in_doubt) {
        lp__sqlite_problem(self, LP_EINDOUBT, "an earlier batch failed");
        return refuse(self, batch, LP_EINDOUBT);
    }
    if (self->db == NULL) {
        lp__sqlite_problem(self, LP_EDAMAGED, "its pages are damaged");
        return refuse(self, batch, LP_EDAMAGED);
    }
    int status = publish(self, batch);
    if (status == LP_EDAMAGED) {
        status = mend(self);
        status = status == LP_OK ? publish(self, batch) : refuse(self, batch, status);
    }
    if (status == LP_ENOSPC && self->db != NULL && make_room(self, batch))
        status = publish(self, batch);
    return status;
}
