/* The bytes of a journal: headers of segments, records, the marker of a clean stop. FORMAT.md says
 * the same in words; nothing else in this folder knows an offset. No I/O. Any thread. */
#ifndef LP_JOURNAL_FORMAT_H
#define LP_JOURNAL_FORMAT_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <longpoll/addon.h>

#define LP__FORMAT_VERSION 1

/* ---- numbers, little-endian wherever they lie ------------------------------------------------ */

static inline uint32_t lp__get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static inline uint64_t lp__get_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

static inline void lp__put_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static inline void lp__put_u64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
}

/* ---- the header of a segment ----------------------------------------------------------------- */

#define LP__SEGMENT_HEADER 128
/* prev_batches of a segment that does not know what lies before it. */
#define LP__BATCHES_UNKNOWN UINT32_MAX

typedef struct lp__header {
    uint64_t number;       /* as in its name */
    uint64_t first;        /* it stands for all segments first..number */
    uint64_t epoch;        /* random, seeds its checksums */
    uint64_t boot;         /* the boot on which it was written, 0: unknown */
    uint32_t prev_batches; /* how many batches of segment first - 1 count; the rest is void */
    uint32_t batches;      /* merged: how many it has itself */
    uint8_t sync;          /* lp_sync */
    bool merged;           /* written whole by compaction */
    bool recycled;         /* made from an older file: what is behind its records means nothing */
    bool after_loss;       /* a loss was told before it, and no batch was kept since */
} lp__header;

typedef enum lp__header_state {
    LP__HEADER_GOOD,
    LP__HEADER_HALF,    /* one of its two copies is damaged */
    LP__HEADER_EMPTY,   /* short, or zeros: was being made */
    LP__HEADER_DAMAGED, /* neither copy can be used */
    LP__HEADER_VERSION  /* a copy is of a version that this library does not know */
} lp__header_state;

void lp__header_encode(const lp__header *header, uint8_t *out);
/* `len` may be less than LP__SEGMENT_HEADER; `*version` is set for LP__HEADER_VERSION. */
lp__header_state lp__header_decode(const uint8_t *data, size_t len, lp__header *out,
                                   unsigned *version);

/* What the checksums of a segment's records start with. */
uint32_t lp__epoch_seed(uint64_t epoch);

/* ---- records --------------------------------------------------------------------------------- */

#define LP__RECORD_HEADER 16

typedef enum lp__record_type {
    LP__RECORD_EVENT = 1,
    LP__RECORD_REMOVE = 2,
    LP__RECORD_HORIZON = 3,
    LP__RECORD_IDEMPOTENCY = 4,
    LP__RECORD_COMMIT = 5,
    LP__RECORD_PAD = 6,
    LP__RECORD_UNKNOWN = 7,   /* from here on: of a later library; a start refuses them */
    LP__RECORD_OPTIONAL = 128 /* from here on: passed over by readers that do not know it */
} lp__record_type;

#define LP__EVENT_FIXED       20
#define LP__HORIZON_FIXED     8
#define LP__IDEMPOTENCY_FIXED 28
#define LP__COMMIT_SIZE       16

typedef struct lp__record {
    uint64_t offset;        /* in its file */
    uint64_t size;          /* with header and padding */
    const uint8_t *payload; /* borrowed */
    uint32_t length;        /* of the payload */
    uint32_t batch;
    uint8_t type;
} lp__record;

static inline uint64_t lp__record_size(uint64_t length)
{
    return (LP__RECORD_HEADER + length + 7) & ~(uint64_t)7;
}

/* Writes the header in front of a payload that is in place, and the padding behind it. */
void lp__record_seal(uint8_t *record, lp__record_type type, uint32_t length, uint32_t batch,
                     uint32_t seed);

/* Gives a sealed record another batch number and seed. Returns its size. */
uint64_t lp__record_reseal(uint8_t *record, uint32_t batch, uint32_t seed);

/* No sequence number is this high or higher. */
#define LP__SEQ_END ((uint64_t)1 << 63)

static inline bool lp__record_is_unknown(const lp__record *record)
{
    return record->type >= LP__RECORD_UNKNOWN && record->type < LP__RECORD_OPTIONAL;
}

/* Reads only the header: whether it could be one. `*out` has all but `offset`. */
bool lp__record_peek(const uint8_t *data, lp__record *out);
/* Whether a peeked record verifies. PAD records need only their header. */
bool lp__record_verify(const uint8_t *data, const lp__record *record, uint32_t seed);
/* How many bytes at its start a record needs for lp__record_verify. */
uint64_t lp__record_verified_size(const lp__record *record);

/* Payloads of verified records. */
static inline lp_id lp__record_id(const lp__record *record)
{
    lp_id id;
    memcpy(id.bytes, record->payload, sizeof(id.bytes));
    return id;
}
/* lp_id_seq of the same, without a call: three times for each event. */
static inline uint64_t lp__record_seq(const lp__record *record)
{
    uint64_t high, low;
    memcpy(&high, record->payload, sizeof(high));
    memcpy(&low, record->payload + 8, sizeof(low));
    high = be64toh(high);
    return high >> 16 << 15 | (high & 0xfff) << 3 | (be64toh(low) >> 59 & 7);
}
lp_str lp__record_category(const lp__record *record); /* EVENT, HORIZON */
lp_str lp__record_data(const lp__record *record);     /* EVENT */
lp_idempotency lp__record_idempotency(const lp__record *record);

/* ---- the marker of a clean stop -------------------------------------------------------------- */

#define LP__CLEAN_SIZE 40

typedef struct lp__clean {
    uint64_t number, epoch; /* of the last segment */
    uint32_t batches;       /* that count in it */
} lp__clean;

void lp__clean_encode(const lp__clean *clean, uint8_t *out);
bool lp__clean_decode(const uint8_t *data, size_t len, lp__clean *out);

#endif
