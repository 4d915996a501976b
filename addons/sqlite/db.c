/* The connection: opened, checked, its statements prepared, its results understood. */
#include "inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../shared/errno_status.h"

/* ---- results --------------------------------------------------------------------------------- */

/* SQLite tells a bad sector (EIO) as CORRUPTFS. IOERR_READ is any other reason, which may pass. */
bool lp__db_is_damage(int code)
{
    return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB ||
           code == SQLITE_IOERR_SHORT_READ || code == SQLITE_IOERR_CORRUPTFS;
}

/* SQLite keeps the number of some failed calls and not of others: that of a step is still there, if
 * it was cleared before. */
static int errno_of(sqlite3 *db)
{
    int number = db != NULL ? sqlite3_system_errno(db) : 0;
    return number != 0 ? number : errno;
}

static int status_of(sqlite3 *db, int code)
{
    if (lp__db_is_damage(code))
        return LP_EDAMAGED;
    switch (code & 0xff) {
    case SQLITE_FULL:
        return LP_ENOSPC;
    case SQLITE_NOMEM:
        return LP_ENOMEM;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return LP_EACCES;
    case SQLITE_CANTOPEN: /* too many open files, for one, is not a matter of rights */
        return errno_of(db) != 0 ? lp__status_of_errno(errno_of(db)) : LP_EACCES;
    case SQLITE_IOERR: {
        if (code == SQLITE_IOERR_NOMEM)
            return LP_ENOMEM;
        return errno_of(db) != 0 ? lp__status_of_errno(errno_of(db)) : LP_EIO;
    }
    default:
        return LP_EIO;
    }
}

int lp__sqlite_problem(lp__sqlite *self, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(self->problem, sizeof(self->problem), format, args);
    va_end(args);
    self->failed_status = status;
    self->failed_code = self->failed_errno = 0;
    return status;
}

static bool is_locked(int code)
{
    return (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED;
}

const char *lp__sqlite_remedy(const lp__sqlite *self, int status)
{
    switch (status) {
    case LP_ENOSPC:
        return " (free some space, it goes on by itself)";
    case LP_EDAMAGED:
        return " (restart to set it aside)";
    case LP_EACCES:
        return " (give this user the right to write to it and its directory)";
    case LP_EINDOUBT:
        return " (check the disk and restart)";
    case LP_EIO:
        if (self->failed_errno == EMFILE || self->failed_errno == ENFILE)
            return " (let it have more open files: ulimit -n)";
        return self->failed_code == 0 || is_locked(self->failed_code) ? "" : " (check the disk)";
    default:
        return "";
    }
}

int lp__db_failed(lp__sqlite *self, sqlite3 *db, const char *what)
{
    if (db == NULL)
        return lp__sqlite_problem(self, LP_ENOMEM, "%s: out of memory", what);
    int code = sqlite3_extended_errcode(db), number = errno_of(db);
    int status = status_of(db, code);
    char reason[96] = "", text[128] = "";
    bool is_call = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN;
    if (is_call && number != 0)
        snprintf(text, sizeof(text), ": %s", strerror_r(number, reason, sizeof(reason)));
    if (is_locked(code))
        lp__sqlite_problem(self, status,
                           "%s: another program has locked the database (end its transaction, or "
                           "close it)",
                           what);
    else
        lp__sqlite_problem(self, status, "%s: %s%s", what, sqlite3_errmsg(db), text);
    self->failed_code = code;
    self->failed_errno = is_call ? number : 0;
    return status;
}

int lp__db_exec(lp__sqlite *self, sqlite3 *db, const char *sql)
{
    errno = 0;
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return LP_OK;
    return lp__db_failed(self, db, "cannot use it");
}

int64_t lp__db_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

int lp__db_run(lp__sqlite *self, lp__sqlite_statement statement)
{
    return lp__step(self, self->statements[statement]);
}

int lp__db_level(lp__sqlite *self, bool full)
{
    full = full || self->sync == LP_SYNC_ALWAYS;
    if (self->is_full == full)
        return LP_OK;
    int status =
        lp__db_exec(self, self->db, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
    if (status == LP_OK)
        self->is_full = full;
    return status;
}

int lp__db_rollback(lp__sqlite *self)
{
    if (sqlite3_get_autocommit(self->db))
        return LP_OK;
    char problem[sizeof(self->problem)];
    int failed = self->failed_status;
    memcpy(problem, self->problem, sizeof(problem));
    int status = lp__db_run(self, LP__ROLLBACK);
    if (status == LP_OK) {
        memcpy(self->problem, problem, sizeof(problem));
        self->failed_status = failed;
    }
    return status;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int on_log(void *ctx, sqlite3 *db, const char *name, int pages)
{
    (void)db, (void)name;
    ((lp__sqlite *)ctx)->wal_pages = (uint64_t)pages;
    return SQLITE_OK;
}

/* Without a log the file can be taken as it is. With one SQLite wants an index of it in memory that
 * processes share; it keeps that to itself where it need not lock anything: FILE.lock has seen to
 * that. Either way nothing is written. */
static int open_to_read(lp__sqlite *self)
{
    uint64_t log = 0;
    bool has_log = lp__file_size(self, "-wal", &log) && log > 0;
    static const char *const hex = "0123456789ABCDEF";
    char *uri = malloc(strlen(self->file) * 3 + 64), *at = uri;
    if (uri == NULL)
        return SQLITE_NOMEM;
    at += sprintf(at, "file:");
    for (const char *from = self->file; *from != '\0'; from++) {
        if (strchr("?#%", *from) == NULL) {
            *at++ = *from;
            continue;
        }
        *at++ = '%';
        *at++ = hex[(unsigned char)*from >> 4];
        *at++ = hex[(unsigned char)*from & 15];
    }
    strcpy(at, has_log ? "?mode=ro" : "?mode=ro&immutable=1");
    int code = sqlite3_open_v2(uri, &self->db,
                               SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX |
                                   SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE,
                               has_log ? "unix-none" : self->world.vfs);
    free(uri);
    if (code == SQLITE_OK && has_log)
        code = sqlite3_exec(self->db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL);
    return code;
}

static int open_to_write(lp__sqlite *self)
{
    errno = 0;
    int code = sqlite3_open_v2(self->file, &self->db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                                   SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE,
                               self->world.vfs);
    if (code == SQLITE_OK && sqlite3_db_readonly(self->db, "main") == 1)
        code = SQLITE_READONLY;
    return code;
}

static int configure(lp__sqlite *self)
{
    static const char pragmas[] = "PRAGMA synchronous=FULL; PRAGMA secure_delete=OFF;"
                                  "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
                                  "PRAGMA cache_size=-8192; PRAGMA mmap_size=0;"
                                  "PRAGMA journal_size_limit=8388608";
    sqlite3_busy_timeout(self->db, LP__SQLITE_BUSY_MS);
    sqlite3_db_config(self->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(self->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, (int)self->read_only, NULL);
    if (!self->read_only)
        sqlite3_wal_hook(self->db, on_log, self);
    self->is_full = true;
    return lp__db_exec(self, self->db, pragmas);
}

/* ---- whose it is ----------------------------------------------------------------------------- */

/* The version stands in the header, and in table meta under a checksum: damage to one of them is
 * not a reason to refuse the file. */
static int check_version(lp__sqlite *self)
{
    int64_t application = lp__db_number(self->db, "PRAGMA application_id");
    if (sqlite3_errcode(self->db) != SQLITE_OK)
        return lp__db_failed(self, self->db, "cannot read it");
    int64_t version = lp__db_number(self->db, "PRAGMA user_version");
    if (sqlite3_errcode(self->db) != SQLITE_OK)
        return lp__db_failed(self, self->db, "cannot read it");
    lp__meta meta;
    bool damaged = false;
    int status = lp__meta_read(self, self->db, &meta, &damaged);
    bool is_ours = application == LP__SQLITE_APPLICATION_ID && version == LP__SQLITE_VERSION;
    if (status != LP_OK)
        return status;
    if (damaged || (!meta.is_there && is_ours))
        return lp__sqlite_problem(self, LP_EDAMAGED, "its table meta cannot be read");
    if (meta.version != 0)
        version = (int64_t)meta.version;
    else if (application != LP__SQLITE_APPLICATION_ID)
        return lp__sqlite_problem(self, LP_EVERSION,
                                  "it is another program's database (name another file)");
    if (version != LP__SQLITE_VERSION)
        return lp__sqlite_problem(self, LP_EVERSION,
                                  "it has schema version %lld and this library knows version %d "
                                  "(use the library that wrote it, or a newer one)",
                                  (long long)version, LP__SQLITE_VERSION);
    return LP_OK;
}

static int use_log(lp__sqlite *self)
{
    sqlite3_stmt *statement = NULL;
    bool is_log = false;
    int code = sqlite3_prepare_v2(self->db, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
    if (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        is_log = sqlite3_stricmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
    if (statement != NULL)
        code = sqlite3_finalize(statement);
    if (is_log)
        return LP_OK;
    if (code != SQLITE_OK)
        return lp__db_failed(self, self->db, "cannot use a write-ahead log");
    return lp__sqlite_problem(self, LP_EIO,
                              "its file system allows no write-ahead log (use a local one)");
}

static int prepare(lp__sqlite *self)
{
    static const char *const texts[] = {
#define TEXT(name, sql) sql,
        LP__SQLITE_STATEMENTS(TEXT)
#undef TEXT
    };
    for (size_t i = 0; i < LP__STATEMENT_COUNT; i++) {
        int code = sqlite3_prepare_v3(self->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &self->statements[i], NULL);
        if ((code & 0xff) == SQLITE_ERROR) { /* no such table, no such column */
            lp__db_failed(self, self->db, "its schema is damaged");
            return self->failed_status = LP_EDAMAGED;
        }
        if (code != SQLITE_OK)
            return lp__db_failed(self, self->db, "cannot read its schema");
    }
    return LP_OK;
}

int lp__db_open(lp__sqlite *self)
{
    int code = self->read_only ? open_to_read(self) : open_to_write(self);
    if (code != SQLITE_OK)
        return code == SQLITE_READONLY
                   ? lp__sqlite_problem(self, LP_EACCES, "this user may not write to it")
                   : lp__db_failed(self, self->db, "cannot open it");
    int status = configure(self);
    if (status == LP_OK)
        status = check_version(self);
    if (status == LP_OK && !self->read_only)
        status = use_log(self);
    if (status == LP_OK && !self->read_only)
        status = prepare(self);
    return status;
}

void lp__db_close(lp__sqlite *self, bool keep_log)
{
    for (size_t i = 0; i < LP__STATEMENT_COUNT; i++) {
        sqlite3_finalize(self->statements[i]);
        self->statements[i] = NULL;
    }
    if (self->db != NULL && keep_log)
        sqlite3_db_config(self->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close_v2(self->db);
    self->db = NULL;
}
