/* The rows of the store: what keys and values look like, and whether they verify. FORMAT.md is its
 * specification. No I/O; any thread. */
#ifndef LP_LMDB_FORMAT_H
#define LP_LMDB_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/addon.h>

enum { LP__LMDB_FORMAT_VERSION = 2 };

#define LP__NAME_PREFIX   "longpoll."
#define LP__META_NAME     "longpoll.meta"
#define LP__EVENTS_NAME   "longpoll.events"
#define LP__HORIZONS_NAME "longpoll.horizons"
#define LP__KEYS_NAME     "longpoll.keys"

/* What a row is; checksums start with it. */
typedef enum lp__row_type {
    LP__ROW_META = 1,
    LP__ROW_EVENT = 2,
    LP__ROW_HORIZON = 3,
    LP__ROW_KEY = 4,
    LP__ROW_LIST = 5
} lp__row_type;

/* A row as it lies in the file. Borrowed. */
typedef struct lp__row {
    const uint8_t *key, *value;
    size_t key_len, value_len;
} lp__row;

/* Writes the checksum at the start of a value that is in place. */
void lp__lmdb_row_seal(lp__row_type type, const void *key, size_t key_len, uint8_t *value,
                       size_t value_len);

/* ---- the meta row ---------------------------------------------------------------------------- */

#define LP__META_SIZE 48

typedef struct lp__meta {
    uint64_t highest; /* sequence number ever given */
    uint64_t floor;   /* the horizon of every category, 0: none */
    uint64_t boot;    /* that wrote it */
    uint64_t seed;    /* of the hashes of categories */
    lp_sync sync;     /* that it was written at */
    bool is_clean;    /* the store was closed */
    bool has_loss;    /* a loss was told that no floor covers yet */
} lp__meta;

typedef enum lp__meta_state { LP__META_GOOD, LP__META_VERSION, LP__META_DAMAGED } lp__meta_state;

void lp__lmdb_meta_encode(const lp__meta *meta, uint8_t *out);
/* `*version` is set for LP__META_VERSION. */
lp__meta_state lp__lmdb_meta_decode(const lp__row *row, lp__meta *out, unsigned *version);

/* ---- events ---------------------------------------------------------------------------------- */

#define LP__SEQ_KEY     8
#define LP__EVENT_FIXED 14

void lp__lmdb_seq_encode(uint64_t seq, uint8_t *out);
uint64_t lp__lmdb_seq_decode(const uint8_t *key);

size_t lp__lmdb_event_size(const lp_event *event);
void lp__lmdb_event_encode(const lp_event *event, const uint8_t *key, uint8_t *out);
bool lp__lmdb_event_decode(const lp__row *row, lp_id *id, lp_str *category, lp_str *data);

/* ---- horizons -------------------------------------------------------------------------------- */

#define LP__HORIZON_FIXED 12
#define LP__HORIZON_MAX   (LP__HORIZON_FIXED + LP_CATEGORY_MAX)

/* Where a category belongs; when another one has that key, the next number is tried. */
uint64_t lp__lmdb_category_hash(uint64_t seed, lp_str category);
/* Returns the size of the value. */
size_t lp__lmdb_horizon_encode(lp_str category, uint64_t seq, const uint8_t *key, uint8_t *out);
bool lp__lmdb_horizon_decode(const lp__row *row, lp_horizon *out);

/* ---- lists of horizons ----------------------------------------------------------------------- */

/* In the tree of horizons, behind all of them: eight bytes of ones, and a number. */
#define LP__LIST_KEY 16
/* Of a value: the checksum, and entries. Two of them fit a page. */
#define LP__LIST_FIXED 4
#define LP__LIST_SIZE  1960

void lp__lmdb_list_key(uint64_t number, uint8_t *out);
uint64_t lp__lmdb_list_number(const uint8_t *key);
bool lp__lmdb_is_list(const lp__row *row); /* by its key */
/* `out`: the entries. */
bool lp__lmdb_list_decode(const lp__row *row, lp_str *out);

/* ---- idempotency keys ------------------------------------------------------------------------ */

#define LP__KEY_FIXED 8 /* of the key: when it expires; what follows is the publisher's */
#define LP__KEY_MAX   (LP__KEY_FIXED + 255)
#define LP__KEY_VALUE 24

/* Returns the size of the key. */
size_t lp__lmdb_key_encode(const lp_idempotency *record, uint8_t *key, uint8_t *value);
bool lp__lmdb_key_decode(const lp__row *row, lp_idempotency *out);
/* When a key of these bytes expires. */
int64_t lp__lmdb_key_expires_ms(const uint8_t *key);

#endif
