/* One world: a store that lives through many power cuts, and at each moment in between is looked at
 * in the states in which a cut might have left it. One thread. */
#ifndef POWER_CUT_LIFE_H
#define POWER_CUT_LIFE_H

#include <stdbool.h>
#include <stdint.h>

enum { PL_MIXED = 3 }; /* in the place of an lp_sync: another with each start */

typedef struct pl_setup {
    int level; /* an lp_sync or PL_MIXED */
    uint64_t seed;
    unsigned lives;
    bool forgets;          /* the store is opened at `never` where `interval` was asked for */
    bool splits;           /* keys are kept in a commit of their own, behind that of their events */
    unsigned lies;         /* see pc_disk_lie */
    const char *directory; /* for files, emptied before and after */
    bool traces;           /* says on standard output what it does */
    bool begins_calm;      /* no cuts in the first start, which makes the store */
    const char *keep;      /* where a state that failed is to be left; NULL: nowhere */
} pl_setup;

/* How far it has come. Lies in memory that a parent process can read. */
typedef struct pl_report {
    unsigned lives, batches, cuts, kills, closes,
        missing;               /* missing: looks that had lost something */
    char where[160], why[400]; /* what is wrong; empty: nothing */
} pl_report;

/* Whether all was as promised. */
bool pl_run(const pl_setup *setup, pl_report *report);

#endif
