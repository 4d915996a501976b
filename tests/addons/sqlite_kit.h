/* What the SQLite store's tests share: directories of their own, events whose content follows from
 * their number, and what a start pushed. One thread. */
#ifndef SQLITE_KIT_H
#define SQLITE_KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/sqlite.h>
#include <longpoll/store.h>

#include "addons/sqlite/sqlite_private.h"

/* Event number n has this sequence number; its category and data follow from n. */
#define SK_BASE   ((uint64_t)1700000000000 << LP_SEQ_COUNTER_BITS)
#define SK_SEQ(n) (SK_BASE + (n))

enum { SK_CATEGORIES = 7, SK_EVENTS_MAX = 32768 };

/* What a start pushed. */
typedef struct sk_content {
    uint64_t events[SK_EVENTS_MAX]; /* numbers */
    size_t count;
    uint64_t horizons[SK_CATEGORIES]; /* sequence numbers by category */
    uint64_t floor, highest;
    size_t keys;
    unsigned losses, wrong; /* wrong: content that is not that of its number, or out of order */
    uint64_t lost_records;
    char loss[1024]; /* the last sentence */
    char log[1024];  /* the last line, also later */
} sk_content;

typedef struct sk_place {
    char directory[256];
    char file[300];
} sk_place;

sk_place sk_place_new(void);
void sk_place_remove(const sk_place *place);
/* A new place with copies of all files: what a kill -9 would leave. */
sk_place sk_place_copy(const sk_place *place);
bool sk_has_file(const sk_place *place, const char *suffix);
uint64_t sk_file_size(const sk_place *place, const char *suffix);
uint8_t *sk_read(const sk_place *place, const char *suffix, size_t *len);
void sk_write(const sk_place *place, const char *suffix, const void *data, size_t len);
/* A checksum over the names and contents of all files. */
uint64_t sk_digest(const sk_place *place);

lp_sqlite_options sk_options(lp_sync sync);
/* NULL with `error` when it does not start. `world` NULL: the real one. */
lp_store *sk_open_world(const sk_place *place, const lp_sqlite_options *options,
                        const lp__sqlite_world *world, sk_content *content, lp_error *error);
lp_store *sk_open(const sk_place *place, lp_sync sync, sk_content *content); /* or ends the test */
void sk_close(lp_store *store);
/* Opens and closes. */
void sk_look(const sk_place *place, lp_sync sync, sk_content *content);

void sk_category(uint64_t n, char *out, size_t size);
lp_batch *sk_batch(void);
void sk_add_event(lp_batch *batch, uint64_t n, size_t len); /* len 0: the usual */
int sk_append(lp_store *store, uint64_t first, size_t count, lp_error *error);
int sk_commit(lp_store *store, lp_batch *batch, lp_error *error); /* and frees it */
void sk_raise_floor(lp_store *store, uint64_t n);
uint64_t sk_figure(lp_store *store, const char *name);
bool sk_has(const sk_content *content, uint64_t n);
/* Runs SQL on the file as another program would: LP_OK or what SQLite said. */
int sk_sql(const sk_place *place, const char *sql);
/* The first column of the first row. */
int64_t sk_number(const sk_place *place, const char *sql);

#endif
