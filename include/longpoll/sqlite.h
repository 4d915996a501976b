/* The SQLite store: a persistence add-on that keeps events in one database file, which the sqlite3
 * shell can query while it is in use. addons/sqlite/FORMAT.md has the schema, what a crash can lose
 * at each sync level, and queries to begin with. Link `longpoll::sqlite`. */
#ifndef LONGPOLL_SQLITE_H
#define LONGPOLL_SQLITE_H

#include <stdbool.h>

#include <longpoll/addon.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lp_sqlite_options {
    size_t struct_size; /* set by LP_SQLITE_OPTIONS_INIT */
    lp_sync sync;
    int64_t sync_interval_ms; /* 0: 1000 */
    bool read_only;           /* look, change nothing: on_publish fails with LP_EACCES */
} lp_sqlite_options;

#define LP_SQLITE_OPTIONS_INIT                                                                     \
    {                                                                                              \
        sizeof(lp_sqlite_options), LP_SYNC_INTERVAL, 0, false                                      \
    }

/* A store in the database `file`, which is made when it is missing (its directory must exist), with
 * `FILE-wal` and `FILE-shm` of SQLite, `FILE.lock` and `FILE.reserve` beside it. Nothing is touched
 * before the add-on is started. Its start fails with LP_EACCES, LP_ENOTFOUND (also for a file
 * with a second name, a hard link; symbolic links are followed), LP_EINUSE (open
 * already, in this process or another; readers share it) or LP_EVERSION (another program's
 * database or no database, and no `FILE.lock` beside it; or written by a later library), never
 * because of damage: a store's file that SQLite cannot read is set aside as `FILE.damaged-…` and a
 * new one begun, which is told as a loss. `options` may be NULL. The add-on belongs to whoever
 * starts it; one that never was started is freed with its own `destroy`. LP_EINVAL: options without
 * struct_size, a negative number, an empty path; `error` (may be NULL) has the sentence. LP_ENOMEM.
 */
LP_API int lp_sqlite_new(const char *file, const lp_sqlite_options *options, lp_addon **out,
                         lp_error *error);

#ifdef __cplusplus
}
#endif
#endif
