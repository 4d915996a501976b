/* What the tests of the LMDB store share: directories of their own, events whose content follows
 * from their number, and what a start pushed. What cannot work ends the program. One thread. */
#ifndef LMDB_KIT_H
#define LMDB_KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/store.h>

#include "addons/lmdb/lmdb_private.h"

/* Event number n has this sequence number; its category and data follow from n. */
#define LK_BASE   ((uint64_t)1700000000000 << LP_SEQ_COUNTER_BITS)
#define LK_SEQ(n) (LK_BASE + (n))

enum { LK_CATEGORIES = 7, LK_EVENTS_MAX = 200000 };

/* What a start pushed. */
typedef struct lk_content {
    uint64_t *events; /* their numbers */
    size_t count;
    uint64_t floor;
    uint64_t horizons[LK_CATEGORIES]; /* of the usual categories */
    size_t horizon_count;             /* of all but the floor */
    size_t key_count;
    lp_idempotency key; /* the last one; key.base is not used */
    char key_text[256];
    uint64_t highest;
    unsigned losses;
    uint64_t lost_records;
    char loss[1024]; /* the last sentence */
    unsigned wrong;  /* events whose content is not that of their number, or out of order */
} lk_content;

/* A directory of its own below TMPDIR, or in memory if that is not set; the caller frees it. */
char *lk_directory(void);
void lk_remove(const char *directory); /* with all that is in it; it may be missing */
void lk_copy(const char *from, const char *to);
uint8_t *lk_read(const char *path, size_t *len); /* the caller frees it */
void lk_write(const char *path, const void *bytes, size_t len);
/* A path in a directory: valid until the next call. */
const char *lk_path(const char *directory, const char *name);
/* How many names begin so. */
size_t lk_count(const char *directory, const char *prefix);
/* One number that changes with every byte and name of a directory. */
uint64_t lk_sum(const char *directory);

lp_lmdb_options lk_options(lp_sync sync);

/* Opens; `host` NULL: the real one. `content` (may be NULL) is emptied before. NULL: see `error`.
 */
lp_store *lk_try_open(const char *directory, const lp_lmdb_options *options,
                      const lp__lmdb_host *host, lk_content *content, lp_error *error);
lp_store *lk_open(const char *directory, const lp_lmdb_options *options, lk_content *content);
void lk_close(lp_store *store);
void lk_look(const char *directory, const lp_lmdb_options *options, lk_content *content);
void lk_content_free(lk_content *content);
bool lk_has(const lk_content *content, uint64_t n);

lp_event *lk_event_of(uint64_t n, size_t data_len);
const char *lk_category(uint64_t n);
lp_batch *lk_batch(void);
void lk_add(lp_batch *batch, uint64_t n);
/* Events first..first + count - 1 in one batch. */
int lk_append(lp_store *store, uint64_t first, size_t count, lp_error *error);
/* Appends a batch and frees it. */
void lk_commit(lp_store *store, lp_batch *batch);
void lk_raise_floor(lp_store *store, uint64_t n);
uint64_t lk_figure(lp_store *store, const char *name);
int lk_verify(lp_store *store, lp_error *error);
/* Orders compaction until it is done. */
void lk_compact(lp_store *store);

#endif
