/* The write-ahead log: when it is synced, when it is checkpointed, and what follows when that
 * fails. */
#include "inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

void lp__sqlite_tell(lp__sqlite *self, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(self->news, sizeof(self->news), format, args);
    va_end(args);
}

/* ---- syncing --------------------------------------------------------------------------------- */

/* SQLite has no call for it, but it hands out the file, and with it the file's own sync, which also
 * syncs the directory of a log that is new. */
static int sync_file(lp__sqlite *self)
{
    sqlite3_file *log = NULL;
    int code = sqlite3_file_control(self->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (code != SQLITE_OK || log == NULL || log->pMethods == NULL)
        return LP_OK; /* not opened yet: nothing was written */
    code = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
    if (code == SQLITE_OK)
        return LP_OK;
    lp__sqlite_problem(self, LP_EIO, "cannot sync its write-ahead log: %s", sqlite3_errstr(code));
    self->failed_code = code;
    return LP_EIO;
}

/* What the kernel could not write it may have dropped: a second sync of the same bytes would say
 * nothing. As long as they can be read back, they are copied into the database and synced there. */
static int rescue(lp__sqlite *self)
{
    char problem[256];
    snprintf(problem, sizeof(problem), "%.255s", self->problem);
    int status = lp__wal_truncate(self);
    if (status == LP_OK) {
        lp__sqlite_tell(self,
                        "sqlite \"%s\": %s; what it held is safe in the database now (check the "
                        "disk)",
                        self->path, problem);
        return LP_OK;
    }
    if (!self->lost)
        self->run_noted = false; /* the next batch says so in table meta */
    self->lost = true;
    lp__sqlite_tell(self,
                    "sqlite \"%s\": %s; events of the last moments may be lost if the machine goes "
                    "down (check the disk and restart)",
                    self->path, problem);
    return LP_EIO;
}

int lp__wal_sync(lp__sqlite *self)
{
    self->due_us = 0;
    int status = sync_file(self);
    return status == LP_OK ? LP_OK : rescue(self);
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

/* Another program that reads keeps the log from being begun anew, and it grows. */
static void look_at_readers(lp__sqlite *self, int pages, int done)
{
    enum { MANY = 3 * LP__SQLITE_WAL_PAGES };
    if (done >= pages) {
        self->wal_told = 0;
        return;
    }
    if (pages < MANY || (uint64_t)pages < 2 * self->wal_told)
        return;
    self->wal_told = (uint64_t)pages;
    lp__sqlite_tell(self,
                    "sqlite \"%s\": its write-ahead log has grown to %d MiB, because another "
                    "program has been reading the database for long (let it end its transaction)",
                    self->path, pages / 256);
}

int lp__wal_checkpoint(lp__sqlite *self)
{
    int pages = 0, done = 0;
    errno = 0;
    int code =
        sqlite3_wal_checkpoint_v2(self->db, "main", SQLITE_CHECKPOINT_PASSIVE, &pages, &done);
    self->checkpoints++;
    lp__space_look(self);
    if (code == SQLITE_OK) {
        look_at_readers(self, pages, done);
        self->wal_next = done >= pages ? self->wal_limit : (uint64_t)pages + 256;
        if (done >= pages)
            self->due_us = 0;
        return LP_OK;
    }
    self->wal_next = self->wal_pages + 256; /* not at once again */
    if ((code & 0xff) == SQLITE_BUSY)
        return LP_OK;
    lp__db_failed(self, self->db, "cannot checkpoint its write-ahead log");
    if (code == SQLITE_IOERR_FSYNC)
        return rescue(self);
    lp__sqlite_tell(self, "sqlite \"%s\": %s", self->path, self->problem);
    return LP_OK; /* the log has it all, and the next checkpoint tries again */
}

int lp__wal_truncate(lp__sqlite *self)
{
    int pages = 0, done = 0;
    errno = 0;
    int code =
        sqlite3_wal_checkpoint_v2(self->db, "main", SQLITE_CHECKPOINT_TRUNCATE, &pages, &done);
    self->checkpoints++;
    if (code != SQLITE_OK)
        return lp__db_failed(self, self->db, "cannot checkpoint its write-ahead log");
    self->wal_pages = 0;
    self->wal_next = self->wal_limit;
    self->wal_told = 0;
    self->due_us = 0;
    return LP_OK;
}

int lp__wal_committed(lp__sqlite *self)
{
    int64_t now_us = self->world.monotonic_us(self->world.ctx);
    int status = LP_OK;
    if (self->sync == LP_SYNC_INTERVAL) {
        if (self->due_us == 0)
            self->due_us = now_us + self->sync_interval_us;
        else if (now_us >= self->due_us)
            status = lp__wal_sync(self);
    }
    if (status == LP_OK && self->wal_pages >= self->wal_next)
        status = lp__wal_checkpoint(self);
    return status;
}
