/* What the journal's tests share: directories of their own, events whose content follows from their
 * number, and what a start pushed. One thread. */
#ifndef JOURNAL_KIT_H
#define JOURNAL_KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/journal.h>
#include <longpoll/store.h>

#include "addons/journal/journal_private.h"

/* Event number n has this sequence number; its category and data follow from n. */
#define JK_BASE   ((uint64_t)1700000000000 << LP_SEQ_COUNTER_BITS)
#define JK_SEQ(n) (JK_BASE + (n))

enum { JK_CATEGORIES = 7 };

typedef struct jk_horizon {
    char category[64];
    uint64_t seq;
} jk_horizon;

typedef struct jk_key {
    char key[64];
    lp_idempotency record; /* key.base is not used */
} jk_key;

/* What a start pushed. */
typedef struct jk_content {
    uint64_t *events; /* numbers */
    size_t count, capacity;
    jk_horizon horizons[4096];
    size_t horizon_count;
    jk_key keys[256];
    size_t key_count;
    uint64_t highest; /* a sequence number */
    unsigned losses;
    uint64_t lost_records;
    char loss[1024]; /* the last sentence */
    char log[1024];  /* the last line */
    unsigned wrong;  /* events whose content is not that of their number, or out of order */
    lp_str skip;     /* a category that is passed over; base NULL: none */
} jk_content;

/* A new directory below TMPDIR; the caller frees the name. */
char *jk_directory(void);
/* The same in memory where there is such a place: for tests that open ten thousand journals. */
char *jk_directory_in_memory(void);
void jk_remove(const char *directory);          /* with all in it; it may be missing */
void jk_copy(const char *from, const char *to); /* the files; `to` is made, and emptied before */
/* Removes the files whose name contains `part`. */
void jk_remove_files(const char *directory, const char *part);
/* The files of a directory whose name ends so: how many, their bytes. */
size_t jk_count_files(const char *directory, const char *ending, uint64_t *bytes);
/* The name of the n-th segment file, in order; false: there is none. */
bool jk_segment(const char *directory, size_t n, char *path, size_t size);
/* The whole of a file; the caller frees it. */
uint8_t *jk_read(const char *path, size_t *len);
void jk_write(const char *path, const void *data, size_t len);

lp_journal_options jk_options(lp_sync sync, int64_t segment_bytes);

/* Opens; `content` may be NULL and is emptied before. NULL: it failed, see `error`. */
lp_store *jk_open_io(const char *directory, const lp_journal_options *options,
                     const lp__journal_io *io, jk_content *content, lp_error *error);
/* The same with the real calls, and it must work. */
lp_store *jk_open(const char *directory, const lp_journal_options *options, jk_content *content);
void jk_close(lp_store *store); /* cleanly */
void jk_content_free(jk_content *content);
/* Opens, looks, closes: for a journal that nothing is to be written to. */
void jk_look(const char *directory, const lp_journal_options *options, jk_content *content);

lp_event *jk_event(uint64_t n);
lp_event *jk_event_of(uint64_t n, size_t data_len); /* the same with data of another length */
/* Appends events first..first + count - 1 in one batch. */
int jk_append(lp_store *store, uint64_t first, size_t count, lp_error *error);
/* Appends a batch and frees it; it must work. */
void jk_commit(lp_store *store, lp_batch *batch);
lp_batch *jk_batch(void);
/* Appends a batch with nothing but a floor. */
void jk_raise_floor(lp_store *store, uint64_t n);
/* Idles until it does not ask for more at once. */
void jk_idle(lp_store *store);
uint64_t jk_figure(lp_store *store, const char *name);

bool jk_has(const jk_content *content, uint64_t n);
uint64_t jk_horizon_of(const jk_content *content, const char *category); /* 0: none */

#endif
