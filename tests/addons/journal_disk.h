/* A disk double for the journal's I/O table: passes every call on to real files, keeps book of what
 * a power cut could leave of them, and lets chosen calls fail. One thread, one directory.
 *
 * What counts as on disk is the least that POSIX promises: bytes after a good fdatasync of their
 * file, names after a good fsync of the directory. Of everything else any part may be there:
 * directory changes in their order or in any, bytes in sectors of 512 in any combination. Bytes
 * whose fdatasync failed stay in that state for good, whatever a later call returns. */
#ifndef JOURNAL_DISK_H
#define JOURNAL_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "addons/journal/journal_private.h"

typedef struct jd_disk jd_disk;

typedef enum jd_fault {
    JD_NONE,
    JD_EIO,      /* nothing is done, the call fails with EIO */
    JD_EIO_DONE, /* all is done, the call fails with EIO */
    JD_EIO_HALF, /* half of a write is done, the call fails with EIO */
    JD_ENOSPC,   /* half of a write is done and told, then it fails with ENOSPC */
    JD_SHORT,    /* half of a write is done and told; nothing fails */
    JD_FAULT_COUNT,
    JD_KILLED /* nothing is done any more: the process is as good as dead */
} jd_fault;

/* Which calls a fault can hit. */
typedef enum jd_call {
    JD_WRITE = 1,
    JD_SYNC = 2,
    JD_SYNC_DIR = 4,
    JD_CREATE = 8,
    JD_OTHER = 16, /* truncate, rename, unlink */
    JD_ALL = 31
} jd_call;

jd_disk *jd_new(const char *directory);
void jd_free(jd_disk *disk);
lp__journal_io jd_io(jd_disk *disk);

/* From now on calls of the kinds in `calls` are counted from 1; numbers first..first+count-1 fail.
 */
void jd_plan(jd_disk *disk, jd_fault fault, unsigned calls, uint64_t first, uint64_t count);
uint64_t jd_calls(const jd_disk *disk);  /* of the planned kinds, since jd_plan */
uint64_t jd_faults(const jd_disk *disk); /* that hit, since jd_plan */

/* Called before each call that changes something; NULL: nobody. */
void jd_on_call(jd_disk *disk, void (*before)(void *ctx), void *ctx);

void jd_pass_time(jd_disk *disk, int64_t us);
void jd_set_boot(jd_disk *disk, uint64_t boot);

/* Writes into `directory` (emptied before) one of the states that a power cut now could leave,
 * chosen by `seed`: 0: only what is on disk for sure, 1: everything. */
void jd_image(const jd_disk *disk, uint64_t seed, const char *directory);

#endif
