/* Idempotency keys: what was published under which, for as long as the window lasts and as many as
 * the bound allows.
 *
 * A key is pending from lp__keys_add until it is kept (lp__keys_keep) or free again
 * (lp__keys_drop). Kept keys are forgotten when their time is over, and the soonest of them when
 * there are too many; pending ones are bounded by what may be pending at all. Times are the
 * engine's clock, milliseconds since the epoch. One thread at a time. */
#ifndef LP_KEYS_H
#define LP_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/addon.h>

#include "heap.h"
#include "list.h"

typedef struct lp__key {
    struct lp__key *next_in_bucket;
    uint64_t hash;
    lp__heap_node by_expiry; /* of one that is kept */
    lp__list pending_link;   /* of one that is not */
    void *owner;             /* what it is pending for; NULL: it is kept */
    uint64_t digest;
    uint64_t seq; /* the first event's; what follows is set with it */
    int64_t expires_ms;
    uint32_t count; /* of one that is kept, 0: the store told that it is free again */
    uint16_t len;
    char text[];
} lp__key;

typedef struct lp__keys {
    uint64_t seed[2];
    size_t max;
    int64_t window_ms;
    lp__key **buckets;
    size_t bucket_count, count;
    lp__heap kept;
    lp__list pending;   /* the soonest first */
    uint64_t forgotten; /* the last one's place in the order of expiry; 0: none was */
    int64_t told_ms;    /* what the store was told of them, at the most */
    bool tell_again;    /* that batch was not kept */
} lp__keys;

/* The digest of what is published under a key. Begins with 0; stores keep it, so it never changes
 * from one version to the next. */
uint64_t lp__keys_digest(uint64_t digest, lp_str category, lp_str data);

void lp__keys_init(lp__keys *keys, const uint64_t seed[2], size_t max, int64_t window_ms);
void lp__keys_free(lp__keys *keys);

/* Forgets those whose time is over. */
void lp__keys_expire(lp__keys *keys, int64_t now_ms);

/* One that is pending, or kept and not over; else NULL. */
lp__key *lp__keys_find(lp__keys *keys, lp_str text, int64_t now_ms);

/* Adds one that is pending, and takes all the memory that keeping it needs. NULL: out of memory. */
lp__key *lp__keys_add(lp__keys *keys, lp_str text, uint64_t digest, void *owner, int64_t now_ms);

/* What is published under it is kept; makes room by forgetting others. */
void lp__keys_keep(lp__keys *keys, lp__key *key, int64_t now_ms);

/* It is free again, and gone. */
void lp__keys_drop(lp__keys *keys, lp__key *key);

/* One that a store tells of, before anything else and in any order. LP_OK, LP_SKIPPED (over, or one
 * too many), LP_ENOMEM. */
int lp__keys_replay(lp__keys *keys, const lp_idempotency *record, int64_t now_ms);

/* Every key that expires at this time or before is forgotten; INT64_MIN: there is nothing to tell
 * that was not told. */
int64_t lp__keys_forgotten(const lp__keys *keys);

#endif
