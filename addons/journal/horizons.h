/* The newest horizon of each category that the journal holds, and in which segment it lies, so that
 * compaction knows which records are still needed. No I/O. Used on the add-on's thread. */
#ifndef LP_JOURNAL_HORIZONS_H
#define LP_JOURNAL_HORIZONS_H

#include "segment.h"

typedef struct lp__horizon_entry {
    uint64_t seq;
    uint64_t hash;
    lp__segment *segment; /* where the record lies */
    uint32_t size;        /* of the record */
    uint32_t category_len;
    char category[];
} lp__horizon_entry;

typedef struct lp__horizons {
    lp__horizon_entry **slots; /* open addressing */
    size_t count, capacity;
    size_t swept_count; /* entries after the last sweep */
    uint64_t seed;
    uint64_t floor;             /* the newest horizon of the empty category */
    lp__segment *floor_segment; /* where it lies, NULL: there is none */
    uint32_t floor_size;
    uint64_t newest; /* no horizon, the floor aside, is higher */
} lp__horizons;

void lp__horizons_free(lp__horizons *horizons);

/* A record of `size` bytes in `segment` raises the horizon of `category`; the older record of it is
 * not needed any more. One that does not raise it is ignored. LP_ENOMEM. */
int lp__horizons_raise(lp__horizons *horizons, lp_str category, uint64_t seq, lp__segment *segment,
                       uint64_t size);

/* NULL: none is known. */
lp__horizon_entry *lp__horizons_find(const lp__horizons *horizons, lp_str category);

/* The record of an entry (NULL: of the floor) lies elsewhere now. */
void lp__horizons_move(lp__horizons *horizons, lp__horizon_entry *entry, lp__segment *segment);

/* Forgets categories whose horizon the floor has reached: when it is due, or when the table has
 * grown so much that it is worth it. */
void lp__horizons_sweep(lp__horizons *horizons, bool is_due);

#endif
