/* One journal from within: its state, and what the files of this folder do for each other. All of
 * it runs on the add-on's thread. */
#ifndef LP_JOURNAL_INSIDE_H
#define LP_JOURNAL_INSIDE_H

#include <stdio.h>

#include "horizons.h"
#include "journal_private.h"
#include "scan.h"
#include "segment.h"

#define LP__SEGMENT_NAME_MAX 32
#define LP__DAMAGED_NAME_MAX 64
#define LP__COMPACT_NAME     "compact.tmp"
#define LP__CLEAN_NAME       "clean"
#define LP__LOCK_NAME        "lock"
#define LP__RESERVE_NAME     "reserve"
#define LP__SPARE_NAME       "spare"

/* Damage that start found and that a kept floor has not covered yet. */
typedef struct lp__damage {
    uint64_t number; /* of the segment */
    uint64_t last;   /* whole segments number..last are gone; 0: a range of one */
    uint64_t offset, size;
    uint32_t batch; /* of what comes behind it */
    bool has_file;  /* a whole segment: its file is there and cannot be used */
} lp__damage;

typedef struct lp__damages {
    lp__damage *at;
    size_t count, capacity;
} lp__damages;

/* How far the active segment is known to be on disk. */
typedef struct lp__synced {
    uint32_t batches;
    uint64_t end;
    size_t events;
} lp__synced;

typedef struct lp__compaction lp__compaction;

typedef struct lp__journal {
    lp_addon addon;
    char *path;
    lp_sync sync;
    int64_t sync_interval_us;
    uint64_t segment_bytes;
    bool read_only;
    lp__journal_io io;

    int dir, lock; /* -1: not open */
    uint64_t boot; /* written into new segments; 0 once acknowledged batches may be lost */

    lp__segments segments;
    uint64_t last_number; /* the last segment of the row, or the last that is missing */
    bool ends_in_hole;    /* it is a missing one */
    uint64_t next_number; /* never used before */
    uint64_t last_seq;    /* of the last event */
    uint64_t highest;
    lp__horizons horizons;
    int64_t keys_forgotten_ms; /* the greatest that a batch of this run told */

    lp__segment *active; /* the last of `segments`, NULL: the next batch opens one */
    int fd;              /* of the active segment */
    lp__synced synced;
    uint64_t begun;             /* the kernel was asked to write up to here to disk */
    size_t last_len;            /* of the batch before */
    bool dir_is_dirty;          /* the active segment's name is not on disk yet */
    int64_t due_us;             /* when unsynced bytes must be on disk */
    bool in_doubt, lost, blind; /* blind: memory ran out, what is dead is not known any more */
    bool has_written;
    bool has_reserve;
    bool owns_last;  /* compaction may take the segment of which a marker speaks */
    bool is_unclean; /* the last stop left no marker */
    bool told_loss;  /* by this start, and no batch was kept since: the next one tells it too */
    uint64_t spare_bytes; /* of the file that the next segment is made of; 0: there is none */
    uint32_t spare_seed;  /* of its old records */

    /* One header, then the batches that are not known to be on disk, then the one being written. */
    uint8_t *buffer;
    size_t buffer_capacity, kept;

    lp__damages damages;
    lp__reader reader;
    lp__compaction *compaction; /* NULL: none is under way */
    int64_t compact_after_us;   /* not before in an idle moment */
    int64_t compact_retry_us;   /* not before, after a failure */
    uint64_t compact_debt;      /* bytes published that nothing was merged for yet */
    bool compact_check;         /* something was written since it was looked whether to compact */

    uint64_t damaged_records, damaged_ranges, torn_tails, compactions, recycled, set_aside;
    char problem[256]; /* of the file call that failed last */
    int failed_status; /* and its status */
    char news[400];    /* for the log, when a hook next can write to it; "": none */
} lp__journal;

/* ---- journal.c ------------------------------------------------------------------------------- */

/* Notes which call failed on what, by errno, for the sentence of whoever reports it. Returns its
 * status: LP_ENOSPC, LP_EACCES, LP_ENOMEM or LP_EIO. */
int lp__journal_failed(lp__journal *journal, const char *what, const char *name);
/* Leaves a line for the log. */
void lp__journal_tell(lp__journal *journal, const char *format, ...) LP_PRINTF(2, 3);
/* "0000000000000001.seg" */
void lp__segment_name(uint64_t number, char *out);
/* Idempotency keys that expire at this time or before have no use any more: by the clock, or
 * because a batch said so. */
int64_t lp__journal_keys_over_ms(const lp__journal *journal);
/* Bytes of all segments, and those that compaction would carry over. */
void lp__journal_bytes(const lp__journal *journal, uint64_t *disk, uint64_t *live);
/* What the directory holds but for small change, and what it may hold. */
uint64_t lp__journal_disk(const lp__journal *journal);
uint64_t lp__journal_bound(const lp__journal *journal);

/* ---- account.c: what a committed record means for the memory of segments --------------------- */

/* This number was given, says something in the segment. */
void lp__journal_raise_highest(lp__journal *journal, lp__segment *segment, uint64_t seq);
/* LP_ENOMEM. */
int lp__journal_account(lp__journal *journal, lp__segment *segment, const lp__record *record);
/* All records of encoded bytes. Memory that runs out makes the journal blind. */
void lp__journal_account_all(lp__journal *journal, lp__segment *segment, const uint8_t *bytes,
                             size_t len);

/* ---- encode.c -------------------------------------------------------------------------------- */

int lp__journal_reserve(lp__journal *journal, size_t len); /* room in `buffer`; LP_ENOMEM */
void lp__journal_give_back(lp__journal *journal);          /* what a burst has left of it */
/* Writes a batch behind what is kept in `buffer`; `*len` gets its size, 0 when nothing of it needs
 * to be kept. LP_ENOMEM. */
int lp__journal_encode(lp__journal *journal, lp_batch *batch, uint32_t number, uint32_t seed,
                       size_t *len);

/* ---- append.c -------------------------------------------------------------------------------- */

int lp__journal_publish(lp__journal *journal, lp_batch *batch);

/* ---- the segment that is written: active.c, rescue.c ----------------------------------------- */

/* What the checksums of a new segment start with. */
uint64_t lp__epoch_random(lp__journal *journal);
/* The memory of a segment that is to follow the last one; nothing is written. LP_ENOMEM. */
int lp__active_prepare(lp__journal *journal, lp__segment **out);
/* Makes its file, writes its header (into the room at the start of `buffer`) and `len` bytes that
 * follow there. From LP_OK on it is the active segment. `*is_void`: after a failure, whether what
 * was written certainly is no whole batch. */
int lp__active_create(lp__journal *journal, lp__segment *segment, size_t len, bool *is_void);
/* Appends bytes to the active segment's file. */
int lp__active_write(lp__journal *journal, const uint8_t *bytes, size_t len, bool *is_void);
/* Everything written is on disk when this returns LP_OK; else it was kept in a new segment, or it
 * is not kept: then there is no active segment any more. */
int lp__active_sync(lp__journal *journal);
/* Cuts off what lies behind the records of the active segment: tidiness, where it fails. */
void lp__active_trim(lp__journal *journal);
/* Syncs (as the level wants it) and lets go of the active segment. */
void lp__active_retire(lp__journal *journal);
/* Sees to it durably that nothing counts behind what is committed. LP_EINDOUBT. */
int lp__active_void(lp__journal *journal);
/* Bytes that are written and not known to be on disk. */
uint64_t lp__active_unsynced(const lp__journal *journal);

/* ---- start: open.c (directory, lock, the row of segments), recover.c (their content), replay.c */

int lp__journal_open(lp__journal *journal, lp_replay *replay);
int lp__journal_recover(lp__journal *journal, lp_replay *replay, bool is_clean);
int lp__journal_replay(lp__journal *journal, lp_replay *replay);
void lp__journal_close(lp__journal *journal);

/* ---- reserve.c ------------------------------------------------------------------------------- */

/* Holds space back, where there is some. */
void lp__reserve_make(lp__journal *journal);
/* How much. */
uint64_t lp__reserve_bytes(const lp__journal *journal);
/* Gives it up: whether there was some. */
bool lp__reserve_spend(lp__journal *journal);

/* ---- spare.c --------------------------------------------------------------------------------- */

/* Gives one of the sealed segments from..to, which is about to be removed, a second name. NULL:
 * none is fit, or there is a spare. */
const lp__segment *lp__spare_link(lp__journal *journal, size_t from, size_t to);
/* Every other name of it is gone: makes it the spare, if there is room for one. */
void lp__spare_keep(lp__journal *journal, uint64_t bytes, uint32_t seed);
/* Gives it the name of a segment. Its descriptor, or -1: there is none, make a new file. */
int lp__spare_take(lp__journal *journal, const char *name);
/* Removes it: whether there was one. */
bool lp__spare_drop(lp__journal *journal);

/* ---- verify.c -------------------------------------------------------------------------------- */

/* Reads everything again and compares it with what is known. LP_EDAMAGED, told in the report. */
int lp__journal_verify(lp__journal *journal, lp_report *report);

/* ---- damage.c -------------------------------------------------------------------------------- */

/* Sets the bytes aside, remembers the damage and tells of it. What lp_replay_loss returned, or
 * LP_ENOMEM. */
int lp__damage_note(lp__journal *journal, lp_replay *replay, const lp__damage *damage,
                    uint64_t records);
/* After a floor was kept: overwrites what is damaged, so that it is told only once. */
void lp__damage_repair(lp__journal *journal, lp_batch *batch);
void lp__damage_file_name(uint64_t number, uint64_t offset, char *out);

/* ---- compact.c (when and what), merge.c and carry.c (how) ------------------------------------ */

/* A batch of `written` bytes was kept: does as much as keeps the directory within its bound. */
void lp__journal_compact_along(lp__journal *journal, uint64_t written);
/* Works until `until_us`. `*delay_ms`: when to go on, -1: not before the next batch. What fails is
 * told and put off, unless it was an order (`is_thorough`): then its status is returned. */
int lp__journal_compact(lp__journal *journal, bool is_thorough, int64_t until_us,
                        int64_t *delay_ms);

typedef enum lp__merge_state { LP__MERGE_MORE, LP__MERGE_DONE, LP__MERGE_FAILED } lp__merge_state;

/* Begins to write segments from..to of the row (both sealed) anew, as one. */
lp__merge_state lp__merge_begin(lp__journal *journal, size_t from, size_t to);
/* Opens a new file under LP__COMPACT_NAME: never the one of before, whose sync may have failed. */
int lp__open_temporary(lp__journal *journal);
/* A small step of it, about a millisecond. */
lp__merge_state lp__merge_step(lp__journal *journal);
void lp__compaction_abort(lp__journal *journal);
/* Whether a file holds dead events in front of segment `at` of the row: then a horizon that the
 * floor has reached is still needed, or they would come back. */
bool lp__has_dead_before(const lp__journal *journal, size_t at);

#endif
