/* What the columns of the tables mean, and the checksum that each row carries. */
#include "inside.h"

#include <errno.h>
#include <string.h>

#include "../shared/bytes.h"
#include "../shared/crc32c.h"

/* ---- checksums ------------------------------------------------------------------------------- */

/* Of a letter for the table, numbers, and texts, each behind its length. Kept with its sign, which
 * takes four bytes in a row instead of six. */
static int64_t checksum(char table, const uint64_t *numbers, size_t count, lp_str first,
                        lp_str second)
{
    uint8_t head[1 + 6 * 8], *at = head;
    *at++ = (uint8_t)table;
    for (size_t i = 0; i < count; i++, at += 8)
        lp__put_le64(at, numbers[i]);
    lp__put_le64(at, first.len);
    uint32_t crc = lp__crc32c(0, head, (size_t)(at + 8 - head));
    crc = lp__crc32c(crc, first.base, first.len);
    if (second.len > 0)
        crc = lp__crc32c(crc, second.base, second.len);
    return (int32_t)crc;
}

static int64_t event_crc(uint64_t seq, uint64_t random, lp_str category, lp_str data)
{
    return checksum('e', (uint64_t[]){seq, random}, 2, category, data);
}

static int64_t horizon_crc(lp_str category, uint64_t seq)
{
    return checksum('h', &seq, 1, category, (lp_str){"", 0});
}

static int64_t list_crc(lp_str list)
{
    return checksum('l', NULL, 0, list, (lp_str){"", 0});
}

static int64_t key_crc(const lp_idempotency *key)
{
    uint64_t numbers[] = {key->digest, key->seq, key->count, (uint64_t)key->expires_ms};
    return checksum('i', numbers, 4, key->key, (lp_str){"", 0});
}

static int64_t meta_crc(const char *name, uint64_t number, lp_str text)
{
    return checksum('m', &number, 1, lp_str_of(name), text);
}

/* ---- columns --------------------------------------------------------------------------------- */

static lp_str column_text(sqlite3_stmt *statement, int column)
{
    const char *base = (const char *)sqlite3_column_text(statement, column);
    return base != NULL ? (lp_str){base, (size_t)sqlite3_column_bytes(statement, column)}
                        : (lp_str){"", 0};
}

static lp_str column_blob(sqlite3_stmt *statement, int column)
{
    const char *base = sqlite3_column_blob(statement, column);
    return base != NULL ? (lp_str){base, (size_t)sqlite3_column_bytes(statement, column)}
                        : (lp_str){"", 0};
}

/* What an id holds beside its sequence number. */
uint64_t lp__event_random(lp_id id)
{
    uint64_t random = id.bytes[8] & 7;
    for (int i = 9; i < 16; i++)
        random = random << 8 | id.bytes[i];
    return random;
}

int lp__step(lp__sqlite *self, sqlite3_stmt *statement)
{
    int status = LP_OK;
    errno = 0;
    if (sqlite3_step(statement) != SQLITE_DONE)
        status = lp__db_failed(self, sqlite3_db_handle(statement), "cannot write to it");
    sqlite3_reset(statement);
    return status;
}

static void bind_text(sqlite3_stmt *statement, int at, lp_str text)
{
    sqlite3_bind_text64(statement, at, text.len > 0 ? text.base : "", text.len, SQLITE_STATIC,
                        SQLITE_UTF8);
}

void lp__bind_event(sqlite3_stmt *insert, int at, uint64_t seq, uint64_t random, lp_str category,
                    lp_str data)
{
    enum { COLUMNS = 5 };
    int first = at * COLUMNS + 1;
    sqlite3_bind_int64(insert, first, (int64_t)seq);
    sqlite3_bind_int64(insert, first + 1, (int64_t)random);
    bind_text(insert, first + 2, category);
    bind_text(insert, first + 3, data);
    sqlite3_bind_int64(insert, first + 4, event_crc(seq, random, category, data));
}

int lp__put_event(lp__sqlite *self, sqlite3_stmt *insert, uint64_t seq, uint64_t random,
                  lp_str category, lp_str data)
{
    lp__bind_event(insert, 0, seq, random, category, data);
    return lp__step(self, insert);
}

int lp__put_horizon(lp__sqlite *self, sqlite3_stmt *put, lp_str category, uint64_t seq)
{
    bind_text(put, 1, category);
    sqlite3_bind_int64(put, 2, (int64_t)seq);
    sqlite3_bind_int64(put, 3, horizon_crc(category, seq));
    return lp__step(self, put);
}

int lp__put_list(lp__sqlite *self, lp_str list)
{
    sqlite3_stmt *put = self->statements[LP__PUT_LIST];
    sqlite3_bind_blob64(put, 1, list.base, list.len, SQLITE_STATIC);
    sqlite3_bind_int64(put, 2, list_crc(list));
    return lp__step(self, put);
}

int lp__put_key(lp__sqlite *self, sqlite3_stmt *put, const lp_idempotency *key)
{
    bind_text(put, 1, key->key);
    sqlite3_bind_int64(put, 2, (int64_t)key->digest);
    sqlite3_bind_int64(put, 3, (int64_t)key->seq);
    sqlite3_bind_int64(put, 4, key->count);
    sqlite3_bind_int64(put, 5, key->expires_ms);
    sqlite3_bind_int64(put, 6, key_crc(key));
    return lp__step(self, put);
}

int lp__put_meta(lp__sqlite *self, sqlite3_stmt *put, const char *name, uint64_t number,
                 const char *text)
{
    lp_str given = lp_str_of(text);
    bind_text(put, 1, lp_str_of(name));
    sqlite3_bind_int64(put, 2, (int64_t)number);
    bind_text(put, 3, given);
    sqlite3_bind_int64(put, 4, meta_crc(name, number, given));
    return lp__step(self, put);
}

/* ---- reading events -------------------------------------------------------------------------- */

int lp__rows_open(lp__rows *rows, lp__sqlite *self, sqlite3 *db)
{
    static const char sql[] =
        "SELECT seq, random, category, data, crc FROM event WHERE seq >= ?1 ORDER BY seq";
    *rows = (lp__rows){
        .self = self, .db = db, .last = INT64_MIN, .seen = INT64_MIN, .tried = INT64_MIN};
    int code = sqlite3_prepare_v2(db, sql, -1, &rows->statement, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_int64(rows->statement, 1, INT64_MIN);
        return LP_OK;
    }
    rows->is_damaged = lp__db_is_damage(code) || (code & 0xff) == SQLITE_ERROR;
    return rows->is_damaged ? LP_OK : lp__db_failed(self, db, "cannot read its events");
}

void lp__rows_close(lp__rows *rows)
{
    sqlite3_finalize(rows->statement);
    rows->statement = NULL;
}

/* The least key above `after` that can be found from the end: behind what is damaged. */
static bool find_behind(lp__rows *rows, int64_t after, int64_t *found)
{
    sqlite3_stmt *statement = NULL;
    bool is_found = false;
    if (sqlite3_prepare_v2(rows->db, "SELECT seq FROM event WHERE seq > ?1 ORDER BY seq DESC", -1,
                           &statement, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(statement, 1, after);
        while (sqlite3_step(statement) == SQLITE_ROW) {
            int64_t seq = sqlite3_column_int64(statement, 0);
            if (seq <= after || (is_found && seq >= *found))
                break;
            *found = seq;
            is_found = true;
        }
    }
    sqlite3_finalize(statement);
    return is_found;
}

/* Moves the scan behind a row or page that cannot be read; false: there is nothing behind. */
static bool hop(lp__rows *rows)
{
    sqlite3_stmt *next = NULL;
    int64_t to = 0;
    bool has_next = false;
    sqlite3_reset(rows->statement);
    if (rows->last == INT64_MAX)
        return false;
    /* A row whose key can be read: what hangs on it is damaged. */
    if (sqlite3_prepare_v2(rows->db, "SELECT seq FROM event WHERE seq > ?1 ORDER BY seq LIMIT 1",
                           -1, &next, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(next, 1, rows->last);
        has_next = sqlite3_step(next) == SQLITE_ROW;
        to = has_next ? sqlite3_column_int64(next, 0) : 0;
    }
    sqlite3_finalize(next);
    if (has_next && to > rows->last && to != rows->tried) {
        rows->tried = to; /* SQLite complains of a page once, and may be able to read it */
    } else if (has_next && to > rows->last && to < INT64_MAX) {
        rows->unreadable++;
        rows->last = to++;
    } else if (!find_behind(rows, rows->last, &to)) {
        return false;
    }
    sqlite3_bind_int64(rows->statement, 1, to);
    return true;
}

static void take_row(lp__rows *rows, int64_t seq)
{
    sqlite3_stmt *row = rows->statement;
    rows->seq = (uint64_t)seq;
    rows->random = (uint64_t)sqlite3_column_int64(row, 1);
    rows->category = column_text(row, 2);
    rows->data = column_text(row, 3);
    rows->is_good = sqlite3_column_int64(row, 4) ==
                    event_crc(rows->seq, rows->random, rows->category, rows->data);
}

/* Where memory ran out a text is NULL, which must not pass for damage. */
static bool has_no_memory(sqlite3 *db)
{
    return sqlite3_errcode(db) == SQLITE_NOMEM;
}

int lp__rows_next(lp__rows *rows)
{
    while (rows->statement != NULL) {
        int code = sqlite3_step(rows->statement);
        if (code == SQLITE_DONE)
            return 0;
        if (code == SQLITE_ROW) {
            int64_t seq = sqlite3_column_int64(rows->statement, 0);
            /* A key that is too high may be the one that is damaged: only good rows count. */
            rows->is_damaged = rows->is_damaged || seq <= rows->seen;
            if (seq <= rows->last)
                continue;
            rows->seen = seq > rows->seen ? seq : rows->seen;
            take_row(rows, seq);
            if (!rows->is_good && has_no_memory(rows->db))
                return lp__db_failed(rows->self, rows->db, "cannot read its events");
            rows->last = rows->is_good ? seq : rows->last;
            return 1;
        }
        if (!lp__db_is_damage(code))
            return lp__db_failed(rows->self, rows->db, "cannot read its events");
        rows->is_damaged = true;
        if (!hop(rows))
            return 0;
    }
    return 0;
}

/* ---- reading the small tables ---------------------------------------------------------------- */

/* Why a table is not there for us: pages are damaged, or there is no such table or column. What a
 * lock, want of memory or a failing call keeps from being read is not damaged. */
static bool is_unreadable(int code)
{
    return lp__db_is_damage(code) || (code & 0xff) == SQLITE_ERROR;
}

/* LP_OK and a statement of NULL: the table cannot be read. */
static int begin(lp__sqlite *self, sqlite3 *db, const char *sql, sqlite3_stmt **statement,
                 bool *damaged)
{
    int code = sqlite3_prepare_v2(db, sql, -1, statement, NULL);
    if (code == SQLITE_OK)
        return LP_OK;
    *damaged = *damaged || is_unreadable(code);
    return is_unreadable(code) ? LP_OK : lp__db_failed(self, db, "cannot read it");
}

static int end(lp__sqlite *self, sqlite3 *db, sqlite3_stmt *statement, int status, int code,
               bool *damaged)
{
    if (status == LP_OK && statement != NULL && code != SQLITE_DONE) {
        *damaged = *damaged || lp__db_is_damage(code);
        if (!lp__db_is_damage(code))
            status = lp__db_failed(self, db, "cannot read it");
    }
    sqlite3_finalize(statement);
    return status;
}

static int count_bad(lp__sqlite *self, sqlite3 *db, uint64_t *bad)
{
    if (has_no_memory(db))
        return lp__db_failed(self, db, "cannot read it");
    ++*bad;
    return LP_OK;
}

static int read_horizons(lp__sqlite *self, sqlite3 *db, const lp__small *each, uint64_t *bad,
                         bool *damaged)
{
    sqlite3_stmt *row = NULL;
    int status = begin(self, db, "SELECT category, seq, crc FROM horizon", &row, damaged);
    int code = SQLITE_DONE;
    while (status == LP_OK && row != NULL && (code = sqlite3_step(row)) == SQLITE_ROW) {
        lp_str category = column_text(row, 0);
        uint64_t seq = (uint64_t)sqlite3_column_int64(row, 1);
        if (horizon_crc(category, seq) == sqlite3_column_int64(row, 2))
            status = each->horizon(each->ctx, category, seq);
        else
            status = count_bad(self, db, bad);
    }
    return end(self, db, row, status, code, damaged);
}

int lp__lists_read(lp__sqlite *self, sqlite3 *db, const lp__small *each, uint64_t *bad,
                   bool *damaged)
{
    sqlite3_stmt *row = NULL;
    int status = begin(self, db, "SELECT list, crc FROM horizon_list", &row, damaged);
    int code = SQLITE_DONE;
    while (status == LP_OK && row != NULL && (code = sqlite3_step(row)) == SQLITE_ROW) {
        lp_str list = column_blob(row, 0);
        if (list_crc(list) != sqlite3_column_int64(row, 1))
            status = count_bad(self, db, bad);
        else if ((status = lp__list_read(list, each->horizon, each->ctx)) == LP_EDAMAGED)
            status = count_bad(self, db, bad);
    }
    return end(self, db, row, status, code, damaged);
}

static int read_keys(lp__sqlite *self, sqlite3 *db, const lp__small *each, uint64_t *bad,
                     bool *damaged)
{
    sqlite3_stmt *row = NULL;
    int status = begin(self, db,
                       "SELECT key, digest, seq, count, expires_ms, crc FROM idempotency "
                       "ORDER BY number",
                       &row, damaged);
    int code = SQLITE_DONE;
    while (status == LP_OK && row != NULL && (code = sqlite3_step(row)) == SQLITE_ROW) {
        lp_idempotency key = {.key = column_text(row, 0),
                              .digest = (uint64_t)sqlite3_column_int64(row, 1),
                              .seq = (uint64_t)sqlite3_column_int64(row, 2),
                              .count = (uint32_t)sqlite3_column_int64(row, 3),
                              .expires_ms = sqlite3_column_int64(row, 4)};
        if (key_crc(&key) == sqlite3_column_int64(row, 5))
            status = each->key(each->ctx, &key);
        else
            status = count_bad(self, db, bad);
    }
    return end(self, db, row, status, code, damaged);
}

int lp__small_read(lp__sqlite *self, sqlite3 *db, const lp__small *each, uint64_t *bad,
                   bool *damaged)
{
    int status = read_horizons(self, db, each, bad, damaged);
    if (status == LP_OK)
        status = lp__lists_read(self, db, each, bad, damaged);
    return status == LP_OK ? read_keys(self, db, each, bad, damaged) : status;
}

/* ---- table meta ------------------------------------------------------------------------------ */

static bool take_meta(sqlite3_stmt *row, lp__meta *meta)
{
    const struct {
        const char *name;
        uint64_t *number;
    } numbers[] = {
        {"version", &meta->version}, {"highest", &meta->highest}, {"boot", &meta->boot},
        {"clean", &meta->clean},     {"sync", &meta->sync},       {"voids", &meta->voids},
    };
    lp_str name = column_text(row, 0), text = column_text(row, 2);
    uint64_t number = (uint64_t)sqlite3_column_int64(row, 1);
    if (memchr(name.base, '\0', name.len) != NULL ||
        meta_crc(name.base, number, text) != sqlite3_column_int64(row, 3))
        return false;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (strcmp(name.base, numbers[i].name) == 0)
            *numbers[i].number = number;
    if (strcmp(name.base, "loss") == 0)
        snprintf(meta->loss, sizeof(meta->loss), "%.*s", (int)text.len, text.base);
    return true;
}

int lp__meta_read(lp__sqlite *self, sqlite3 *db, lp__meta *meta, bool *damaged)
{
    sqlite3_stmt *row = NULL;
    *meta = (lp__meta){.is_good = true, .is_there = true, .sync = LP_SYNC_NEVER};
    int code = sqlite3_prepare_v2(db, "SELECT name, number, text, crc FROM meta", -1, &row, NULL);
    if (code != SQLITE_OK) {
        *damaged = lp__db_is_damage(code);
        meta->is_good = meta->is_there = false;
        return is_unreadable(code) ? LP_OK : lp__db_failed(self, db, "cannot read it");
    }
    int status = LP_OK;
    uint64_t bad = 0;
    while (status == LP_OK && (code = sqlite3_step(row)) == SQLITE_ROW)
        if (!take_meta(row, meta))
            status = count_bad(self, db, &bad);
    meta->is_good = bad == 0 && meta->version != 0;
    return end(self, db, row, status, code, damaged);
}
