/* Making a database: an empty one, or one that takes the place of a damaged one and holds what
 * could be read of it. It is complete and on disk before it gets its name. */
#include "inside.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a row is, FORMAT.md says. */
static const char schema[] =
    "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=DELETE;"
    "PRAGMA synchronous=FULL; PRAGMA secure_delete=OFF;"
    "BEGIN IMMEDIATE;"
    "PRAGMA application_id=1819304812; PRAGMA user_version=2;"
    "CREATE TABLE event (seq INTEGER PRIMARY KEY, random INTEGER NOT NULL, category TEXT NOT NULL,"
    " data TEXT NOT NULL, crc INTEGER NOT NULL);"
    "CREATE TABLE horizon (category TEXT PRIMARY KEY NOT NULL, seq INTEGER NOT NULL,"
    " crc INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE horizon_list (number INTEGER PRIMARY KEY, list BLOB NOT NULL,"
    " crc INTEGER NOT NULL);"
    "CREATE TABLE idempotency (number INTEGER PRIMARY KEY, key TEXT NOT NULL,"
    " digest INTEGER NOT NULL, seq INTEGER NOT NULL, count INTEGER NOT NULL,"
    " expires_ms INTEGER NOT NULL, crc INTEGER NOT NULL);"
    "CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, number INTEGER NOT NULL,"
    " text TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE damaged (seq, random, category, data, crc);"
    "CREATE VIEW events AS SELECT seq,"
    " printf('%08x-%04x-7%03x-%04x-%012x', seq >> 31, (seq >> 15) & 65535, (seq >> 3) & 4095,"
    " 32768 | ((seq & 7) << 11) | ((random >> 48) & 2047), random & 281474976710655) AS id,"
    " seq >> 15 AS timestamp,"
    " strftime('%Y-%m-%d %H:%M:%f', (seq >> 15) / 1000.0, 'unixepoch') AS time,"
    " category, data FROM event;"
    "CREATE VIEW horizons AS SELECT category, seq >> 15 AS timestamp,"
    " strftime('%Y-%m-%d %H:%M:%f', (seq >> 15) / 1000.0, 'unixepoch') AS time FROM horizon;";

struct copy {
    lp__sqlite *self;
    sqlite3 *to;
    sqlite3_stmt *event, *horizon, *key, *meta;
    int64_t keys_over_ms;
};

/* SQLite would make it readable for everybody. The log and its index have the rights of the file.
 */
static void make_private(const lp__sqlite *self, const char *name)
{
    struct stat old;
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return; /* SQLite will say why */
    if (stat(self->file, &old) == 0 && old.st_size > 0)
        fchmod(fd, old.st_mode & 0666);
    close(fd);
}

static int make(struct copy *copy)
{
    lp__sqlite *self = copy->self;
    char name[LP__SQLITE_NAME_MAX];
    lp__file_remove_new(self);
    lp__file_name(self, ".tmp", name);
    make_private(self, name);
    if (sqlite3_open_v2(name, &copy->to,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                            SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE,
                        self->world.vfs) != SQLITE_OK)
        return lp__db_failed(self, copy->to, "cannot make it");
    if (lp__db_exec(self, copy->to, schema) != LP_OK)
        return lp__db_failed(self, copy->to, "cannot make it");
    static const char *const texts[] = {
        "INSERT OR IGNORE INTO event VALUES (?1, ?2, ?3, ?4, ?5)", LP__SQLITE_RAISE,
        "INSERT INTO idempotency VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6)",
        "INSERT INTO meta VALUES (?1, ?2, ?3, ?4)"};
    sqlite3_stmt **const statements[] = {&copy->event, &copy->horizon, &copy->key, &copy->meta};
    for (size_t i = 0; i < 4; i++)
        if (sqlite3_prepare_v2(copy->to, texts[i], -1, statements[i], NULL) != SQLITE_OK)
            return lp__db_failed(self, copy->to, "cannot make it");
    return LP_OK;
}

static int copy_horizon(void *ctx, lp_str category, uint64_t seq)
{
    struct copy *copy = ctx;
    return lp__put_horizon(copy->self, copy->horizon, category, seq);
}

static int copy_key(void *ctx, const lp_idempotency *key)
{
    struct copy *copy = ctx;
    return key->expires_ms > copy->keys_over_ms ? lp__put_key(copy->self, copy->key, key) : LP_OK;
}

static int copy_events(struct copy *copy)
{
    lp__rows rows;
    int status = lp__rows_open(&rows, copy->self, copy->self->db), more = 0;
    while (status == LP_OK && (more = lp__rows_next(&rows)) == 1)
        if (rows.is_good)
            status = lp__put_event(copy->self, copy->event, rows.seq, rows.random, rows.category,
                                   rows.data);
    lp__rows_close(&rows);
    return status == LP_OK && more < 0 ? more : status;
}

/* A page that cannot be read is no reason to lose the others. */
static int copy_all(struct copy *copy)
{
    lp__sqlite *self = copy->self;
    const lp__small each = {.ctx = copy, .horizon = copy_horizon, .key = copy_key};
    uint64_t bad = 0;
    bool damaged = false;
    /* A file that is shorter than its header says is read as far as it goes. */
    sqlite3_exec(self->db, "PRAGMA writable_schema=ON", NULL, NULL, NULL);
    int status = lp__small_read(self, self->db, &each, &bad, &damaged);
    return status == LP_OK ? copy_events(copy) : status;
}

static int put_meta(struct copy *copy, const char *loss)
{
    lp__sqlite *self = copy->self;
    lp__meta old = {.is_good = false};
    bool damaged = false;
    int status = self->db != NULL ? lp__meta_read(self, self->db, &old, &damaged) : LP_OK;
    if (self->highest > old.highest)
        old.highest = self->highest;
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {{"version", LP__SQLITE_VERSION}, {"highest", old.highest}, {"boot", self->boot},
                   {"clean", loss == NULL},         {"sync", LP_SYNC_ALWAYS}, {"voids", 0}};
    for (size_t i = 0; status == LP_OK && i < sizeof(numbers) / sizeof(numbers[0]); i++)
        status = lp__put_meta(self, copy->meta, numbers[i].name, numbers[i].number, "");
    if (status == LP_OK && loss != NULL)
        status = lp__put_meta(self, copy->meta, "loss", 1, loss);
    return status;
}

static int finish(struct copy *copy)
{
    sqlite3_finalize(copy->event);
    sqlite3_finalize(copy->horizon);
    sqlite3_finalize(copy->key);
    sqlite3_finalize(copy->meta);
    copy->event = copy->horizon = copy->key = copy->meta = NULL;
    int status = lp__db_exec(copy->self, copy->to, "COMMIT");
    if (status == LP_OK)
        status = lp__db_exec(copy->self, copy->to, "PRAGMA journal_mode=WAL");
    return status;
}

static void drop(struct copy *copy)
{
    sqlite3_finalize(copy->event);
    sqlite3_finalize(copy->horizon);
    sqlite3_finalize(copy->key);
    sqlite3_finalize(copy->meta);
    sqlite3_close_v2(copy->to);
}

int lp__rebuild(lp__sqlite *self, const char *loss)
{
    struct copy copy = {.self = self, .keys_over_ms = lp__keys_over_ms(self)};
    int status = make(&copy);
    if (status == LP_OK && self->db != NULL)
        status = copy_all(&copy);
    if (status == LP_OK)
        status = put_meta(&copy, loss);
    if (status == LP_OK)
        status = finish(&copy);
    drop(&copy);
    if (status == LP_OK)
        status = lp__file_complete(self);
    if (status != LP_OK) {
        lp__file_remove_new(self);
        return status;
    }
    lp__db_close(self, true);
    status = lp__file_swap(self);
    if (status == LP_OK)
        lp__dead_free(&self->bad);
    return status;
}
