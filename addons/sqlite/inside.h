/* One SQLite store from within: its state, and what the files of this folder do for each other. All
 * of it runs on the add-on's thread, and on one connection. */
#ifndef LP_SQLITE_INSIDE_H
#define LP_SQLITE_INSIDE_H

#include <sqlite3.h>
#include <stdio.h>

#include "../shared/dead.h"
#include "../shared/lists.h"
#include "sqlite_private.h"

#define LP__SQLITE_APPLICATION_ID 0x6c70636c
#define LP__SQLITE_VERSION        2
#define LP__SQLITE_PATH_MAX       4096
/* A path with what is put behind it: ".damaged-123-wal". */
#define LP__SQLITE_NAME_MAX (LP__SQLITE_PATH_MAX + 64)
/* Rows that are deleted in one transaction: more would stall publishes. */
#define LP__SQLITE_CHUNK 2000
/* After so many keys that came, old ones are looked for in the transaction of a batch. */
#define LP__SQLITE_KEYS 512
/* From this many pages in the write-ahead log on it is checkpointed after a commit. */
#define LP__SQLITE_WAL_PAGES 1500
/* How long a lock of another program is waited for. */
#define LP__SQLITE_BUSY_MS 3000

/* Events that one statement inserts; what is left of a batch goes one by one. OR FAIL spares SQLite
 * the copy of pages that would take back the rows before one that fails: all of it is rolled back.
 */
#define LP__SQLITE_ROWS   16
#define LP__SQLITE_ROW    "(?, ?, ?, ?, ?)"
#define LP__SQLITE_4_ROWS LP__SQLITE_ROW "," LP__SQLITE_ROW "," LP__SQLITE_ROW "," LP__SQLITE_ROW
#define LP__SQLITE_16_ROWS                                                                         \
    LP__SQLITE_4_ROWS "," LP__SQLITE_4_ROWS "," LP__SQLITE_4_ROWS "," LP__SQLITE_4_ROWS

/* Of a category that may have a higher one. */
#define LP__SQLITE_RAISE                                                                           \
    "INSERT INTO horizon VALUES (?1, ?2, ?3) ON CONFLICT (category) DO UPDATE "                    \
    "SET seq = excluded.seq, crc = excluded.crc WHERE excluded.seq > seq"

/* X(name, SQL): statements that are kept prepared. */
#define LP__SQLITE_STATEMENTS(X)                                                                   \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(INSERT_EVENT, "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5)")                               \
    X(INSERT_EVENTS, "INSERT OR FAIL INTO event VALUES " LP__SQLITE_16_ROWS)                       \
    X(DELETE_EVENT, "DELETE FROM event WHERE seq = ?1")                                            \
    X(DELETE_EVENTS, "DELETE FROM event WHERE seq BETWEEN ?1 AND ?2")                              \
    X(FIND_EVENTS, "SELECT seq FROM event WHERE seq BETWEEN ?1 AND ?2")                            \
    X(SET_ASIDE, "INSERT INTO damaged SELECT * FROM event WHERE seq = ?1")                         \
    X(PUT_HORIZON, "INSERT OR REPLACE INTO horizon VALUES (?1, ?2, ?3)")                           \
    X(RAISE_HORIZON, LP__SQLITE_RAISE)                                                             \
    X(PUT_LIST, "INSERT INTO horizon_list VALUES (NULL, ?1, ?2)")                                  \
    X(DROP_LISTS, "DELETE FROM horizon_list")                                                      \
    X(SWEEP_HORIZONS, "DELETE FROM horizon WHERE category <> '' AND seq <= ?1")                    \
    X(PUT_KEY, "INSERT INTO idempotency VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6)")                    \
    X(FIND_KEYS, "SELECT number, expires_ms FROM idempotency WHERE number > ?1 ORDER BY number "   \
                 "LIMIT ?2")                                                                       \
    X(DELETE_KEYS, "DELETE FROM idempotency WHERE number BETWEEN ?1 AND ?2 AND expires_ms <= ?3")  \
    X(PUT_META, "INSERT OR REPLACE INTO meta VALUES (?1, ?2, ?3, ?4)")                             \
    X(DELETE_META, "DELETE FROM meta WHERE name = ?1")

typedef enum lp__sqlite_statement {
#define LP__SQLITE_ENUM(name, sql) LP__##name,
    LP__SQLITE_STATEMENTS(LP__SQLITE_ENUM)
#undef LP__SQLITE_ENUM
        LP__STATEMENT_COUNT
} lp__sqlite_statement;

typedef struct lp__sqlite {
    lp_addon addon;
    char *path; /* as it was given, for sentences */
    char *file; /* for SQLite: once it is started, from the root on and without links */
    lp_sync sync;
    int64_t sync_interval_us;
    bool read_only;
    lp__sqlite_world world;

    int lock;      /* -1: none */
    bool had_lock; /* there was a lock file before this start, so a store has been here */
    sqlite3 *db;   /* NULL while it runs: it could not be made anew, and only a restart helps */
    sqlite3_stmt *statements[LP__STATEMENT_COUNT];
    bool is_full; /* PRAGMA synchronous is FULL */
    uint64_t boot;

    uint64_t rows, keys;   /* how many there are */
    uint64_t highest;      /* ever given */
    uint64_t meta_highest; /* the one in table meta */
    uint64_t last_row;     /* the newest event that is there; 0: not known */
    uint64_t floor;
    lp__dead dead;             /* to be deleted */
    uint64_t untold;           /* rows that replay skipped and no batch has told as removed yet */
    bool blind;                /* memory ran out: what is dead is not all known */
    bool sweep;                /* the floor has risen: horizons below it may go */
    bool trimming;             /* deleting within the batches until nothing is dead */
    bool key_check;            /* keys may have expired, or were forgotten */
    int64_t keys_forgotten_ms; /* the greatest that a batch of this run told */
    uint64_t new_keys;         /* since old ones were looked for */
    int64_t key_from;          /* rows of keys up to this number were looked at; 0: begin again */
    bool is_compact;           /* nothing was written since VACUUM */
    bool run_noted;            /* table meta says that this run writes */
    bool has_written;          /* since the start */
    bool in_doubt;             /* a failed batch may come back: no other is kept until a restart */
    bool lost; /* the log could not be synced: the next start on another boot says so */

    lp__lists lists; /* what is in table horizon_list */

    /* A loss that start has told, and the rows to set aside for it. Both stay until a batch brings
     * the floor that covers it: a crash before that has the next start tell it again. */
    lp__dead bad;     /* rows that start found damaged */
    char loss[400];   /* the sentence; empty: none */
    bool loss_told;   /* by this run's start, so that the next floor covers it */
    bool loss_kept;   /* table meta has it, and has to be rid of it then */
    bool meta_is_bad; /* table meta has damaged rows, and has to be written anew then */

    int64_t due_us;       /* when the write-ahead log must be on disk; 0: it is */
    int64_t published_us; /* when the last batch came */
    uint64_t wal_pages;   /* in the log, as of the last commit */
    uint64_t wal_next;    /* from so many on it is checkpointed again */
    uint64_t wal_told;    /* the log said that it has grown to this */
    uint64_t wal_limit;   /* LP__SQLITE_WAL_PAGES, or less where space is scarce */
    uint64_t reserve;     /* bytes held back in FILE.reserve */
    uint64_t voids;       /* failed commits that were covered up */
    uint64_t damaged_records, set_aside, checkpoints;

    /* Of the call that failed last: its status, SQLite's code and errno; 0: it was none of its. */
    int failed_status, failed_code, failed_errno;
    char problem[LP__SQLITE_NAME_MAX + 256]; /* of the call that failed last */
    char news[512];                          /* for the log, when a hook next can write to it */
} lp__sqlite;

/* ---- db.c: the connection -------------------------------------------------------------------- */

/* Opens `self->file`, checks whose it is and prepares the statements. LP_EDAMAGED: SQLite cannot
 * read it; `self->db` may be open then, for what can be salvaged. LP_EVERSION, LP_EACCES, … with
 * `problem`. */
int lp__db_open(lp__sqlite *self);
/* Lets go of it. `keep_log`: the write-ahead log stays beside it. */
void lp__db_close(lp__sqlite *self, bool keep_log);
/* Notes why a call failed, with its status. `db` may be NULL. */
int lp__db_failed(lp__sqlite *self, sqlite3 *db, const char *what);
/* What to do about the call that failed last, to be put behind `problem`; "" where that says it. */
const char *lp__sqlite_remedy(const lp__sqlite *self, int status);
/* Whether it says that SQLite's own pages are damaged. */
bool lp__db_is_damage(int code);
/* Notes a problem of ours. */
int lp__sqlite_problem(lp__sqlite *self, int status, const char *format, ...) LP_PRINTF(3, 4);
int lp__db_run(lp__sqlite *self, lp__sqlite_statement statement); /* a step without rows, a reset */
int lp__db_exec(lp__sqlite *self, sqlite3 *db, const char *sql);
int64_t lp__db_number(sqlite3 *db, const char *sql); /* its first column; -1: none */
/* `full`: PRAGMA synchronous=FULL, else that of the level. */
int lp__db_level(lp__sqlite *self, bool full);
int lp__db_rollback(lp__sqlite *self); /* where a transaction is open */

/* ---- rows.c: what the columns mean and their checksums --------------------------------------- */

uint64_t lp__event_random(lp_id id);
/* Binds row `at` of those that a statement inserts; the first is 0. */
void lp__bind_event(sqlite3_stmt *insert, int at, uint64_t seq, uint64_t random, lp_str category,
                    lp_str data);
/* Binds and runs; LP_OK, or what failed. */
int lp__put_event(lp__sqlite *self, sqlite3_stmt *insert, uint64_t seq, uint64_t random,
                  lp_str category, lp_str data);
int lp__put_horizon(lp__sqlite *self, sqlite3_stmt *put, lp_str category, uint64_t seq);
int lp__put_list(lp__sqlite *self, lp_str list);
int lp__put_key(lp__sqlite *self, sqlite3_stmt *put, const lp_idempotency *key);
int lp__put_meta(lp__sqlite *self, sqlite3_stmt *put, const char *name, uint64_t number,
                 const char *text);
/* Runs a statement that is bound. */
int lp__step(lp__sqlite *self, sqlite3_stmt *statement);

/* All events in the order of their keys; where pages are damaged, those that can be reached. */
typedef struct lp__rows {
    lp__sqlite *self;
    sqlite3 *db;
    sqlite3_stmt *statement;
    int64_t tried;       /* the key of a row that could not be read once */
    int64_t last, seen;  /* keys: of the last good row, and the highest of all */
    bool is_damaged;     /* pages are */
    uint64_t unreadable; /* rows whose key can be read and no more; others are not known */
    /* of this row */
    uint64_t seq, random;
    lp_str category, data;
    bool is_good; /* its checksum is right */
} lp__rows;

int lp__rows_open(lp__rows *rows, lp__sqlite *self, sqlite3 *db);
int lp__rows_next(lp__rows *rows); /* 1: a row, 0: the end, or a negative status */
void lp__rows_close(lp__rows *rows);

/* The same for the small tables: calls `each` for every good row and counts the others. LP_OK also
 * where damage cuts it short: then `*damaged`. What `each` returned when it is not LP_OK. */
typedef struct lp__small {
    void *ctx;
    int (*horizon)(void *ctx, lp_str category, uint64_t seq);
    int (*key)(void *ctx, const lp_idempotency *key);
} lp__small;

int lp__small_read(lp__sqlite *self, sqlite3 *db, const lp__small *each, uint64_t *bad,
                   bool *damaged);

/* Table horizon_list alone, in the same way. */
int lp__lists_read(lp__sqlite *self, sqlite3 *db, const lp__small *each, uint64_t *bad,
                   bool *damaged);

/* Table meta. What is damaged or missing is 0 and `is_good` false; `is_there`: the table is. */
typedef struct lp__meta {
    bool is_good, is_there;
    uint64_t version, highest, boot, clean, sync, voids;
    char loss[400];
} lp__meta;

int lp__meta_read(lp__sqlite *self, sqlite3 *db, lp__meta *meta, bool *damaged);

/* ---- files.c: the files beside the database -------------------------------------------------- */

void lp__file_name(const lp__sqlite *self, const char *suffix, char *out);
bool lp__file_size(const lp__sqlite *self, const char *suffix, uint64_t *size); /* false: none */
void lp__file_remove_new(const lp__sqlite *self);
int lp__file_sync_dir(lp__sqlite *self);
/* FILE.tmp is whole and on disk: it becomes FILE.new. */
int lp__file_complete(lp__sqlite *self);
/* Sets FILE aside with its log, if it is there, and gives FILE.new its name. */
int lp__file_swap(lp__sqlite *self);
uint64_t lp__file_count_aside(const lp__sqlite *self);

/* ---- rebuild.c: a new file, and what is saved of a damaged one ------------------------------- */

/* Makes FILE anew and sets the old one aside, if there is one. What can be read through `self->db`
 * (NULL: nothing) is carried over. `loss` (NULL: none) is kept in it until a floor covers it. The
 * connection is closed. */
int lp__rebuild(lp__sqlite *self, const char *loss);

/* ---- open.c and replay.c: start -------------------------------------------------------------- */

int lp__sqlite_open(lp__sqlite *self, lp_replay *replay);
int lp__sqlite_replay(lp__sqlite *self, lp_replay *replay);
/* Tells of it, and remembers it until a floor is kept. */
int lp__sqlite_loss(lp__sqlite *self, lp_replay *replay, uint64_t records, const char *detail);
void lp__sqlite_close(lp__sqlite *self, bool keep_log);

/* ---- publish.c ------------------------------------------------------------------------------- */

int lp__sqlite_publish(lp__sqlite *self, lp_batch *batch);
/* Within a transaction: says in table meta that this run writes. */
int lp__note_run(lp__sqlite *self);

/* ---- lists.c: table horizon_list ------------------------------------------------------------- */

/* Whether the horizons of a batch go into a list. */
bool lp__lists_suit(const lp__sqlite *self, const lp_batch *batch);
/* Within a transaction: all of them but the floor. */
int lp__lists_put(lp__sqlite *self, const lp_batch *batch);
/* What is in them, for a start. */
int lp__lists_learn(lp__sqlite *self);
/* Whether there is something to be emptied into table horizon, and room for it. */
bool lp__lists_can_empty(const lp__sqlite *self);
int lp__lists_empty(lp__sqlite *self); /* within a transaction */
/* How many of their categories have no row of their own. */
uint64_t lp__lists_count(lp__sqlite *self);

/* ---- trim.c: deleting what is dead ----------------------------------------------------------- */

typedef struct lp__trimmed {
    size_t dead;     /* of `self->dead`, from the smallest on */
    uint64_t rows;   /* deleted */
    bool took_last;  /* `self->last_row` is among them */
    uint64_t keys;   /* deleted */
    bool has_looked; /* for keys that are over */
    bool has_swept;  /* keys were looked at up to `key_from`; 0: to the last */
    int64_t key_from;
} lp__trimmed;

/* Within a transaction: deletes up to `max` dead rows. */
int lp__trim_events(lp__sqlite *self, size_t max, lp__trimmed *trimmed);
/* Keys that expire at this time or before have no use any more: by the clock, or a batch said so.
 */
int64_t lp__keys_over_ms(const lp__sqlite *self);
/* Within a transaction: such keys, so that they go at least as fast as `new_keys` come; and
 * horizons that the floor has reached. */
int lp__trim_keys(lp__sqlite *self, uint64_t new_keys, lp__trimmed *trimmed);
int lp__trim_horizons(lp__sqlite *self, const lp__trimmed *trimmed);
/* After its commit. */
void lp__trim_done(lp__sqlite *self, const lp__trimmed *trimmed);
/* One transaction of its own: `*more` when there is more to do. */
int lp__trim_chunk(lp__sqlite *self, bool *more);
bool lp__trim_is_due(const lp__sqlite *self);

/* ---- space.c: space held back -------------------------------------------------------------- */

void lp__space_make(lp__sqlite *self);  /* takes it, where there is some */
void lp__space_look(lp__sqlite *self);  /* how long the log may get, by the space that is left */
bool lp__space_spend(lp__sqlite *self); /* gives it up, also an earlier run's: was there any? */

/* ---- inspect.c --------------------------------------------------------------------------------
 */

int lp__sqlite_inspect(lp__sqlite *self, lp_report *report);

/* ---- sync.c: the write-ahead log ------------------------------------------------------------- */

int lp__wal_sync(lp__sqlite *self);       /* fdatasync of it; on failure what can be done is done */
int lp__wal_checkpoint(lp__sqlite *self); /* when it is long */
int lp__wal_truncate(lp__sqlite *self);   /* all of it into the database, and the file to nothing */
int lp__wal_committed(lp__sqlite *self);  /* after each commit: what the level wants */

void lp__sqlite_tell(lp__sqlite *self, const char *format, ...) LP_PRINTF(2, 3);

#endif
