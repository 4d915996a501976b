/* A publisher with small rings, its book of every batch, and what a store must give back of them
 * after a power cut. Its events have odd categories and odd data, which follow from their numbers.
 * One thread. */
#ifndef POWER_CUT_WORLD_H
#define POWER_CUT_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/store.h>

enum {
    PW_CATEGORIES = 7,
    PW_RING = 6,
    PW_EVENTS = 16384, /* a world ends before this many */
    PW_KEYS = 4096,
    PW_PENDING = 1024,
    PW_WHY = 256
};

/* Events that were published together, under a key. */
typedef struct pw_publication {
    uint64_t first; /* number of the first event */
    uint32_t count;
} pw_publication;

/* What a start pushed. */
typedef struct pw_content {
    uint8_t has[PW_EVENTS], has_key[PW_KEYS];
    pw_publication keys[PW_KEYS];
    uint64_t horizons[PW_CATEGORIES + 1]; /* sequence numbers; the last is the floor */
    uint64_t highest, last;
    size_t count;
    unsigned losses;
    char loss[256], log[256]; /* the last of each */
    char wrong[PW_WHY];       /* what no store may push */
} pw_content;

/* Collects into `content`, which is emptied. */
lp_store_sink pw_sink(pw_content *content);

typedef enum pw_state {
    PW_NEVER, /* never published, or lost, or removed for good: must not come back */
    PW_LIVE,
    PW_EITHER /* removed, and deleted when the store likes */
} pw_state;

/* What is known of one event: its state before the history begins, and the batches since that
 * published and removed it. */
typedef struct pw_event {
    uint8_t state, reason;
    uint32_t published, removed; /* PW_NO_BATCH: none */
} pw_event;
#define PW_NO_BATCH UINT32_MAX

/* What a batch, or the time before all batches, left of the rest. */
typedef struct pw_marks {
    uint64_t horizons[PW_CATEGORIES + 1], highest;
    uint64_t keys;      /* "key 0" .. */
    uint64_t forgotten; /* that many of them, the oldest, need not be there */
    int64_t acked_ms;
} pw_marks;

enum { PW_BATCHES = 8192 };

typedef struct pw_world {
    uint64_t random;
    uint64_t next; /* number of the next event */
    pw_event events[PW_EVENTS];
    pw_marks marks[PW_BATCHES + 1];     /* [k]: after k batches */
    uint32_t acked;                     /* batches that were acknowledged */
    uint32_t synced;                    /* of these must have survived a power cut by now */
    bool is_flying;                     /* one more is being kept */
    uint64_t owed_floor;                /* a loss was told; to be told again until this is kept */
    uint64_t wanted[PW_CATEGORIES + 1]; /* horizons, for the next batch */
    pw_publication keys[PW_KEYS];
    uint8_t is_key_lost[PW_KEYS];
    uint64_t ring[PW_CATEGORIES][PW_RING];
    size_t ring_count[PW_CATEGORIES];
    lp_removal removals[PW_PENDING];
    size_t removal_count;
} pw_world;

/* What may be found after a power cut at one moment. */
typedef struct pw_expectation {
    uint32_t least, acked, most; /* batches */
    bool may_tell;               /* a loss may be told though nothing is missing */
    bool has_holes;              /* what is missing need not be the end, if it is told */
    uint64_t owed_floor;
} pw_expectation;

void pw_init(pw_world *world, uint64_t seed);
uint64_t pw_below(pw_world *world, uint64_t limit);
bool pw_is_full(const pw_world *world);

/* Fills the next batch and takes it for flying; pw_acked: it was acknowledged. Its idempotency keys
 * go into `keys`: the same batch, or another one that a careless store keeps behind it. */
void pw_publish(pw_world *world, lp_batch *batch, lp_batch *keys);
void pw_acked(pw_world *world, int64_t now_ms);
/* Everything acknowledged up to then must survive from now on. */
void pw_synced_up_to(pw_world *world, int64_t acked_ms);

pw_expectation pw_expect(const pw_world *world);
/* Compares; the reason goes to `why`, of PW_WHY bytes. */
bool pw_verify(const pw_world *world, const pw_expectation *expectation, const pw_content *content,
               char *why);
/* The world goes on from what was found, where `expectation` held. */
void pw_adopt(pw_world *world, const pw_expectation *expectation, const pw_content *content);
/* A loss was told by a start that nothing was adopted from. */
void pw_owe_floor(pw_world *world);
/* A loss was told, and no floor has been acknowledged since. */
bool pw_has_floor_to_tell(const pw_world *world);

#endif
