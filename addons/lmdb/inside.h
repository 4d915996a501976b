/* One LMDB store from within: its state, and what the files of this folder do for each other. All
 * of it runs on the add-on's thread. */
#ifndef LP_LMDB_INSIDE_H
#define LP_LMDB_INSIDE_H

#include <setjmp.h>
#include <stdio.h>

#include <lmdb.h>

#include "../shared/dead.h"
#include "../shared/lists.h"
#include "format.h"
#include "image.h"
#include "lmdb_private.h"

#define LP__DATA_NAME         "data.mdb"
#define LP__MDB_LOCK_NAME     "lock.mdb"
#define LP__LOCK_NAME         "longpoll.lock"
#define LP__RESERVE_NAME      "longpoll.reserve"
#define LP__COMPACT_NAME      "longpoll.compact"
#define LP__SET_ASIDE_PREFIX  "data.mdb.damaged-"
#define LP__ROWS_ASIDE_PREFIX "rows.damaged-"
#define LP__ROWS_ASIDE_NEW    "rows.damaged.new"

/* Rows that one transaction deletes at most, unless more than half as many come in with it. */
enum { LP__TRIM_ROWS = 2000, LP__SHORT_ROWS = 64 /* where space is short */ };

typedef struct lp__lmdb {
    lp_addon addon;
    char *path;
    lp_sync sync;
    int64_t sync_interval_ms;
    bool read_only;
    lp__lmdb_host host;

    int dir, lock;   /* -1: not open */
    char *real_path; /* for LMDB, which is told again later: the host may change its directory */
    uint64_t boot;
    MDB_env *env; /* NULL: closed, and opened when it is needed */
    MDB_dbi main, events, horizons, keys;
    size_t map_bytes;
    jmp_buf escape; /* to the hook that runs, from an assertion of LMDB */

    lp__meta meta;     /* as it was committed last */
    uint64_t last_seq; /* of the last event */
    bool has_damage;   /* refused rows are still there, and may be deleted: they were set aside */
    lp__dead refused;  /* hashes of the keys of those that verify, and that nobody took */
    bool has_written;
    bool is_durable; /* a sync failed: every commit is synced whole from now on */
    bool in_doubt;
    int64_t due_ms;            /* when the last commit must be on disk, 0: it is */
    int64_t batch_ms;          /* of the last batch */
    int64_t readers_ms;        /* dead readers were looked for */
    uint64_t reserve_bytes;    /* held back; 0: it was given up, or there was no room for it */
    bool is_blind;             /* memory ran out, what is dead is not known any more */
    bool sweep_wanted;         /* horizons may have come under the floor */
    bool sweep_again;          /* others may have, where the sweep has been */
    uint64_t sweep_from;       /* where the sweep goes on */
    bool keys_wanted;          /* keys may have expired, or were forgotten */
    int64_t keys_forgotten_ms; /* the greatest expiry that a batch of this run told */

    /* Removed events whose rows are still there. When they are as many as the living they become
     * the doomed, which are sorted once and deleted in rising order, while others gather. */
    lp__dead dead, doomed;
    uint64_t oldest_dead, oldest_doomed; /* or younger than that; UINT64_MAX: none */
    uint64_t untold; /* rows that replay passed over, and no batch has told as removed yet */

    lp__lists lists;                /* of horizons, in the tree of these */
    uint64_t first_list, next_list; /* their numbers */

    uint64_t damaged_records, set_aside, compactions;
    char problem[400]; /* of what failed last */
} lp__lmdb;

/* ---- lmdb.c ---------------------------------------------------------------------------------- */

/* Notes what failed, by a code of LMDB or an errno. Returns its status. */
int lp__lmdb_failed(lp__lmdb *lmdb, const char *what, int code);

/* ---- env.c: LMDB's environment --------------------------------------------------------------- */

/* Opens it if it is closed. */
int lp__lmdb_env_open(lp__lmdb *lmdb);
void lp__lmdb_env_on_assertion(MDB_env *env, const char *message);
void lp__lmdb_env_close(lp__lmdb *lmdb);
/* Does `work` in one transaction and commits it; where the map is too small for it, it grows, and
 * `work` is done again from the start. `work` returns a code of LMDB. LP_OK: kept as the level
 * wants it. LP_EINDOUBT: nobody knows. Else it is not kept, and never will be. */
typedef int (*lp__env_work)(lp__lmdb *lmdb, MDB_txn *txn, void *ctx);
int lp__lmdb_env_write(lp__lmdb *lmdb, lp__env_work work, void *ctx);
/* The same, and it is on disk whatever the level. */
int lp__lmdb_env_write_durably(lp__lmdb *lmdb, lp__env_work work, void *ctx);
/* From now on every commit is on disk before it returns. */
void lp__lmdb_env_make_durable(lp__lmdb *lmdb);
/* What was committed is on disk. */
int lp__lmdb_env_sync(lp__lmdb *lmdb);
/* The same where nobody knows what LMDB is at: it is left alone, and nothing is written. */
int lp__lmdb_env_sync_in_doubt(lp__lmdb *lmdb);
/* A transaction that changes nothing. */
int lp__lmdb_env_touch(lp__lmdb *lmdb);
int lp__lmdb_meta_put(lp__lmdb *lmdb, MDB_txn *txn, const lp__meta *meta); /* a code of LMDB */
/* LMDB's lock file knows the number of the last transaction of the data file it was made beside. */
void lp__lmdb_env_drop_lock_file(lp__lmdb *lmdb);

/* ---- start.c, replay.c ----------------------------------------------------------------------- */

int lp__lmdb_start(lp__lmdb *lmdb, lp_replay *replay);
void lp__lmdb_close(lp__lmdb *lmdb);
/* How many files were set aside, and the next free number of one. */
void lp__lmdb_count_set_aside(lp__lmdb *lmdb, uint64_t *files, uint64_t *rows, uint64_t *next);
int lp__lmdb_replay(lp__lmdb *lmdb, lp_replay *replay, lp__image *image);

/* ---- damage.c -------------------------------------------------------------------------------- */

/* Rows on their way into one file, which has its name only when all of it is on disk. The name
 * follows from what is in it: starts that find the same rows keep one file. */
typedef struct lp__aside { /* zeroed: none */
    int fd;
    bool is_open, has_failed;
    uint64_t hash;
} lp__aside;
typedef enum lp__kind { LP__KIND_EVENT, LP__KIND_HORIZON, LP__KIND_KEY } lp__kind;
#define LP__ASIDE_MAX 64
void lp__lmdb_damage_add(lp__lmdb *lmdb, lp__aside *aside, lp__kind kind, const lp__row *row);
/* Ends it in every case. Whether all rows are there; then `name` (LP__ASIDE_MAX) is its name. */
bool lp__lmdb_damage_end(lp__lmdb *lmdb, lp__aside *aside, char *name);
/* Notes a row that verifies, and that nobody took. */
int lp__lmdb_damage_note(lp__lmdb *lmdb, lp__kind kind, const lp__row *row);
/* Deletes those, and every row that does not verify. A code of LMDB. */
int lp__lmdb_damage_repair(lp__lmdb *lmdb, MDB_txn *txn);

/* ---- publish.c, trim.c ----------------------------------------------------------------------- */

int lp__lmdb_publish(lp__lmdb *lmdb, lp_batch *batch);
/* By a cursor of the tree of horizons. A code of LMDB. */
int lp__lmdb_horizon_put(lp__lmdb *lmdb, MDB_cursor *cursor, const lp_horizon *horizon);

/* What one transaction deleted. */
typedef struct lp__trimmed {
    size_t doomed;
    uint64_t sweep_from;
    bool has_swept, sweep_ended;
    bool keys_ended; /* all keys that are over are gone */
} lp__trimmed;

/* An event is gone, and its row may be deleted at leisure. */
void lp__lmdb_trim_note(lp__lmdb *lmdb, uint64_t seq);
/* All that are dead now are to be deleted. */
void lp__lmdb_trim_doom(lp__lmdb *lmdb);
/* Horizons may not be needed any more. */
void lp__lmdb_trim_want_sweep(lp__lmdb *lmdb);
size_t lp__lmdb_trim_dead_count(const lp__lmdb *lmdb);
/* Keys that expire at this time or before have no use any more: by the clock, or a batch said so.
 */
int64_t lp__lmdb_keys_over_ms(const lp__lmdb *lmdb);
/* Deletes at most `max` of the doomed; at most `max` keys that are over; of the next `max`
 * horizons, those below `below` that the floor covers. A code of LMDB. */
int lp__lmdb_trim_doomed(lp__lmdb *lmdb, MDB_txn *txn, size_t max, lp__trimmed *out);
int lp__lmdb_trim_keys(lp__lmdb *lmdb, MDB_txn *txn, size_t max, lp__trimmed *out);
int lp__lmdb_trim_horizons(lp__lmdb *lmdb, MDB_txn *txn, size_t max, uint64_t below,
                           lp__trimmed *out);
/* After the transaction was committed. */
void lp__lmdb_trim_done(lp__lmdb *lmdb, const lp__trimmed *trimmed);
/* One step of it, of at most `max` rows of a kind, in a transaction of its own. `*more`: there is
 * more to do. */
int lp__lmdb_trim_step(lp__lmdb *lmdb, size_t max, bool *more);
/* Deletes the events `seqs`, which rise. A code of LMDB. */
int lp__lmdb_trim_events(lp__lmdb *lmdb, MDB_txn *txn, const uint64_t *seqs, size_t count);

/* ---- lists.c: lists of horizons -------------------------------------------------------------- */

/* Whether the horizons of a batch go into lists. */
bool lp__lmdb_lists_suit(const lp__lmdb *lmdb, const lp_batch *batch);
/* Writes them, but the floor, from list `*number` on. A code of LMDB. */
int lp__lmdb_lists_put(MDB_cursor *cursor, const lp_batch *batch, uint64_t *number);
/* Gives the newest of each category a row of its own, and deletes the lists. `*is_below_floor`: a
 * sweep may find some of these. A code of LMDB. */
int lp__lmdb_lists_empty(lp__lmdb *lmdb, MDB_cursor *cursor, bool *is_below_floor);
void lp__lmdb_lists_emptied(lp__lmdb *lmdb, bool is_below_floor); /* after its commit */
/* Whether there is something to empty, and room for it. */
bool lp__lmdb_lists_can_empty(const lp__lmdb *lmdb);

/* ---- space.c: space held back on the disk ---------------------------------------------------- */

void lp__lmdb_space_make(lp__lmdb *lmdb);  /* where there is some */
bool lp__lmdb_space_spend(lp__lmdb *lmdb); /* gives it up: whether there was some */
/* Whether a batch leaves enough for deletes; if not, `problem` says so. */
bool lp__lmdb_space_suffices(lp__lmdb *lmdb, const lp_batch *batch);
/* Makes room after LP_ENOSPC: whether the batch may have more luck now. */
bool lp__lmdb_space_free(lp__lmdb *lmdb, const lp_batch *batch);
/* lp__lmdb_trim_step that gets by with little space. */
int lp__lmdb_space_trim(lp__lmdb *lmdb, bool *more);

/* ---- compact.c, inspect.c -------------------------------------------------------------------- */

/* Writes the store anew, without gaps. */
int lp__lmdb_compact(lp__lmdb *lmdb);

int lp__lmdb_inspect(lp__lmdb *lmdb, lp_report *report);

#endif
