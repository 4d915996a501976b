/* A hash table of keys, and a heap of those that are kept by the time at which they expire. All of
 * one life expire in the order in which they were published; only replay brings others. */
#include "keys.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"

enum { BUCKETS_MIN = 64 };

/* The length is in the hash's key: where one item ends and the next begins is part of it. */
static uint64_t add_text(uint64_t digest, lp_str text)
{
    uint64_t key[2] = {digest, text.len};
    return lp__hash(key, text.base, text.len);
}

uint64_t lp__keys_digest(uint64_t digest, lp_str category, lp_str data)
{
    return add_text(add_text(digest, category), data);
}

void lp__keys_init(lp__keys *keys, const uint64_t seed[2], size_t max, int64_t window_ms)
{
    *keys = (lp__keys){.seed = {seed[0], seed[1]},
                       .max = max > 0 ? max : SIZE_MAX,
                       .window_ms = window_ms,
                       .told_ms = INT64_MIN};
    lp__list_init(&keys->pending);
}

void lp__keys_free(lp__keys *keys)
{
    for (size_t i = 0; i < keys->bucket_count; i++) {
        while (keys->buckets[i] != NULL) {
            lp__key *key = keys->buckets[i];
            keys->buckets[i] = key->next_in_bucket;
            free(key);
        }
    }
    free(keys->buckets);
    lp__heap_free(&keys->kept);
}

/* ---- the table ---------------------------------------------------------- */

static lp__key **place_of(const lp__keys *keys, uint64_t hash, lp_str text)
{
    lp__key **at = &keys->buckets[hash & (keys->bucket_count - 1)];
    while (*at != NULL && ((*at)->hash != hash || (*at)->len != text.len ||
                           memcmp((*at)->text, text.base, text.len) != 0))
        at = &(*at)->next_in_bucket;
    return at;
}

static lp__key *look_up(const lp__keys *keys, lp_str text)
{
    if (keys->count == 0)
        return NULL;
    return *place_of(keys, lp__hash(keys->seed, text.base, text.len), text);
}

/* At most as many keys as buckets. */
static bool make_buckets(lp__keys *keys)
{
    if (keys->count < keys->bucket_count)
        return true;
    size_t count = keys->bucket_count == 0 ? BUCKETS_MIN : keys->bucket_count * 2;
    lp__key **buckets = calloc(count, sizeof(*buckets));
    if (buckets == NULL)
        return keys->bucket_count > 0; /* then they are crowded */
    for (size_t i = 0; i < keys->bucket_count; i++) {
        while (keys->buckets[i] != NULL) {
            lp__key *key = keys->buckets[i];
            keys->buckets[i] = key->next_in_bucket;
            key->next_in_bucket = buckets[key->hash & (count - 1)];
            buckets[key->hash & (count - 1)] = key;
        }
    }
    free(keys->buckets);
    keys->buckets = buckets;
    keys->bucket_count = count;
    return true;
}

static lp__key *insert(lp__keys *keys, lp_str text)
{
    if (!make_buckets(keys) || lp__heap_reserve(&keys->kept, keys->count + 1) != LP_OK)
        return NULL;
    lp__key *key = malloc(sizeof(*key) + text.len);
    if (key == NULL)
        return NULL;
    uint64_t hash = lp__hash(keys->seed, text.base, text.len);
    lp__key **bucket = &keys->buckets[hash & (keys->bucket_count - 1)];
    *key = (lp__key){.next_in_bucket = *bucket,
                     .hash = hash,
                     .by_expiry = {LP__HEAP_NONE},
                     .len = (uint16_t)text.len};
    lp__list_init(&key->pending_link);
    memcpy(key->text, text.base, text.len);
    *bucket = key;
    keys->count++;
    return key;
}

void lp__keys_drop(lp__keys *keys, lp__key *key)
{
    lp_str text = {key->text, key->len};
    *place_of(keys, key->hash, text) = key->next_in_bucket;
    if (key->by_expiry.index != LP__HEAP_NONE)
        lp__heap_remove(&keys->kept, &key->by_expiry);
    lp__list_unlink(&key->pending_link);
    keys->count--;
    free(key);
}

/* ---- forgetting --------------------------------------------------------- */

static int64_t within_ids(int64_t ms)
{
    static const int64_t MS_MAX = (INT64_C(1) << 48) - 1; /* what ids have for milliseconds */
    return ms < MS_MAX ? ms : MS_MAX;
}

/* The order in which they are forgotten: many expire in one millisecond, and of those the one that
 * was published first goes first. Laid out as an event's number, which has that order. */
static uint64_t order_of(const lp__key *key)
{
    uint64_t first = lp_seq_first(key->expires_ms);
    return first | (key->seq & (lp_seq_last(key->expires_ms) - first));
}

static void forget_soonest(lp__keys *keys)
{
    lp__heap_slot soonest = keys->kept.slots[0];
    if (soonest.key > keys->forgotten)
        keys->forgotten = soonest.key;
    lp__keys_drop(keys, LP__CONTAINER(soonest.node, lp__key, by_expiry));
}

void lp__keys_expire(lp__keys *keys, int64_t now_ms)
{
    while (keys->kept.count > 0 && lp_seq_ms(keys->kept.slots[0].key) <= now_ms)
        forget_soonest(keys);
}

int64_t lp__keys_forgotten(const lp__keys *keys)
{
    if (keys->forgotten == 0)
        return INT64_MIN;
    /* others of the same millisecond may be left, and what is on its way must outlive this */
    int64_t until_ms = lp_seq_ms(keys->forgotten);
    if (keys->kept.count > 0 && lp_seq_ms(keys->kept.slots[0].key) <= until_ms)
        until_ms = lp_seq_ms(keys->kept.slots[0].key) - 1;
    if (!lp__list_is_empty(&keys->pending)) {
        lp__key *soonest = LP__CONTAINER(keys->pending.next, lp__key, pending_link);
        if (soonest->expires_ms <= until_ms)
            until_ms = soonest->expires_ms - 1;
    }
    return until_ms > keys->told_ms || keys->tell_again ? until_ms : INT64_MIN;
}

/* ---- the life of a key -------------------------------------------------- */

lp__key *lp__keys_find(lp__keys *keys, lp_str text, int64_t now_ms)
{
    lp__keys_expire(keys, now_ms);
    lp__key *key = look_up(keys, text);
    if (key == NULL || key->owner != NULL || key->count > 0)
        return key;
    lp__keys_drop(keys, key);
    return NULL;
}

lp__key *lp__keys_add(lp__keys *keys, lp_str text, uint64_t digest, void *owner, int64_t now_ms)
{
    lp__key *key = insert(keys, text);
    if (key != NULL) {
        key->owner = owner;
        key->digest = digest;
        key->expires_ms = within_ids(now_ms + keys->window_ms);
        if (key->expires_ms <= keys->told_ms) /* the store lets go of what expires then */
            key->expires_ms = keys->told_ms + 1;
        lp__list_push_back(&keys->pending, &key->pending_link);
    }
    return key;
}

void lp__keys_keep(lp__keys *keys, lp__key *key, int64_t now_ms)
{
    lp__keys_expire(keys, now_ms);
    while (keys->kept.count >= keys->max)
        forget_soonest(keys);
    key->owner = NULL;
    lp__list_unlink(&key->pending_link);
    lp__heap_push(&keys->kept, &key->by_expiry, order_of(key));
}

/* ---- replay ------------------------------------------------------------- */

/* Whether `record` came after what is known of its key. */
static bool is_later(const lp_idempotency *record, const lp__key *known)
{
    return record->seq > known->seq || (record->seq == known->seq && record->count == 0);
}

int lp__keys_replay(lp__keys *keys, const lp_idempotency *record, int64_t now_ms)
{
    int64_t latest_ms = within_ids(now_ms + keys->window_ms); /* it may have been longer once */
    lp__key told = {.seq = record->seq,
                    .digest = record->digest,
                    .count = record->count,
                    .expires_ms = record->expires_ms < latest_ms ? record->expires_ms : latest_ms};
    lp__key *key = look_up(keys, record->key);
    if (told.expires_ms <= now_ms || (key == NULL && order_of(&told) <= keys->forgotten) ||
        (key != NULL && !is_later(record, key)))
        return LP_SKIPPED;
    if (key == NULL && (key = insert(keys, record->key)) == NULL)
        return LP_ENOMEM;
    if (key->by_expiry.index != LP__HEAP_NONE)
        lp__heap_remove(&keys->kept, &key->by_expiry);
    key->digest = told.digest;
    key->seq = told.seq;
    key->count = told.count;
    key->expires_ms = told.expires_ms;
    lp__heap_push(&keys->kept, &key->by_expiry, order_of(key));
    if (keys->kept.count > keys->max)
        forget_soonest(keys);
    return LP_OK;
}
