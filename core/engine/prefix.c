/* The prefixes that are waited for: a hash table, and the lengths that occur. A name is hashed once
 * from its beginning, and the hash is looked up at each of these lengths. The hash is keyed, so
 * that strangers who choose prefixes cannot make them collide. */
#include <stdlib.h>
#include <string.h>

#include "engine_private.h"

enum { BUCKETS_MIN = 64 };

/* ---- the hash ----------------------------------------------------------- */

static uint64_t extend(const lp__engine *engine, uint64_t hash, const char *bytes, size_t len)
{
    uint64_t factor = engine->options.seed[1] | 1;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)bytes[i]) * factor;
        hash ^= hash >> 29;
    }
    return hash;
}

static lp__prefix **bucket_of(const lp__prefixes *prefixes, uint64_t hash)
{
    return &prefixes->buckets[(hash ^ hash >> 32) & (prefixes->bucket_count - 1)];
}

static lp__prefix *find(const lp__prefixes *prefixes, lp_str text, uint64_t hash)
{
    if (prefixes->bucket_count == 0)
        return NULL;
    lp__prefix *prefix = *bucket_of(prefixes, hash);
    while (prefix != NULL && (prefix->hash != hash || prefix->len != text.len ||
                              memcmp(prefix->text, text.base, text.len) != 0))
        prefix = prefix->next_in_bucket;
    return prefix;
}

/* ---- the lengths -------------------------------------------------------- */

/* The index of the first length that is at least this. */
static size_t length_at(const lp__prefixes *prefixes, size_t length)
{
    size_t low = 0, high = prefixes->length_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (prefixes->lengths[middle].length >= length)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void count_length(lp__prefixes *prefixes, size_t length)
{
    size_t i = length_at(prefixes, length);
    lp__prefix_length *at = &prefixes->lengths[i];
    if (i == prefixes->length_count || at->length != length) {
        memmove(at + 1, at, (prefixes->length_count - i) * sizeof(*at));
        prefixes->length_count++;
        *at = (lp__prefix_length){length, 0};
    }
    at->count++;
}

static void uncount_length(lp__prefixes *prefixes, size_t length)
{
    size_t i = length_at(prefixes, length);
    lp__prefix_length *at = &prefixes->lengths[i];
    at->count--;
    if (at->count == 0) {
        prefixes->length_count--;
        memmove(at, at + 1, (prefixes->length_count - i) * sizeof(*at));
    }
}

/* ---- coming and going --------------------------------------------------- */

static bool grow_table(lp__prefixes *prefixes)
{
    if (prefixes->count < prefixes->bucket_count)
        return true;
    size_t old_count = prefixes->bucket_count;
    size_t count = old_count == 0 ? BUCKETS_MIN : old_count * 2;
    lp__prefix **buckets = calloc(count, sizeof(lp__prefix *)), **old = prefixes->buckets;
    if (buckets == NULL)
        return old_count != 0;
    prefixes->buckets = buckets;
    prefixes->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            lp__prefix *prefix = old[i], **bucket = bucket_of(prefixes, prefix->hash);
            old[i] = prefix->next_in_bucket;
            prefix->next_in_bucket = *bucket;
            *bucket = prefix;
        }
    }
    free(old);
    return true;
}

/* Its memory is given back with the last prefix. */
static void free_table(lp__prefixes *prefixes)
{
    if (prefixes->count > 0)
        return;
    free(prefixes->buckets);
    free(prefixes->lengths);
    *prefixes = (lp__prefixes){0};
}

static lp__prefix *allocate(lp__prefixes *prefixes, lp_str text)
{
    if (!grow_table(prefixes) ||
        !lp__reserve(&prefixes->lengths, &prefixes->length_capacity, prefixes->length_count + 1,
                     sizeof(lp__prefix_length)))
        return NULL;
    return calloc(1, sizeof(lp__prefix) + text.len);
}

lp__prefix *lp__prefix_get(lp__engine *engine, lp_str text)
{
    lp__prefixes *prefixes = &engine->prefixes;
    uint64_t hash = extend(engine, engine->options.seed[0], text.base, text.len);
    lp__prefix *prefix = find(prefixes, text, hash);
    if (prefix != NULL)
        return prefix;
    prefix = allocate(prefixes, text);
    if (prefix == NULL) {
        free_table(prefixes);
        return NULL;
    }
    lp__topic_init(&prefix->topic, true);
    prefix->hash = hash;
    prefix->len = text.len;
    memcpy(prefix->text, text.base, text.len);
    lp__prefix **bucket = bucket_of(prefixes, hash);
    prefix->next_in_bucket = *bucket;
    *bucket = prefix;
    prefixes->count++;
    engine->prefix_changes++;
    count_length(prefixes, text.len);
    return prefix;
}

void lp__prefix_release(lp__engine *engine, lp__prefix *prefix)
{
    lp__prefixes *prefixes = &engine->prefixes;
    if (prefix->topic.waiting > 0 || prefix->pins > 0)
        return;
    lp__prefix **link = bucket_of(prefixes, prefix->hash);
    while (*link != prefix)
        link = &(*link)->next_in_bucket;
    *link = prefix->next_in_bucket;
    prefixes->count--;
    uncount_length(prefixes, prefix->len);
    lp__list_unlink(&prefix->topic.dirty_link);
    lp__list_unlink(&prefix->topic.unsettled_link);
    free(prefix);
    free_table(prefixes);
}

void lp__prefix_free_all(lp__engine *engine)
{
    lp__prefixes *prefixes = &engine->prefixes;
    for (size_t i = 0; i < prefixes->bucket_count; i++) {
        while (prefixes->buckets[i] != NULL) {
            lp__prefix *prefix = prefixes->buckets[i];
            prefixes->buckets[i] = prefix->next_in_bucket;
            free(prefix);
        }
    }
    prefixes->count = 0;
    free_table(prefixes);
}

/* ---- which ones match --------------------------------------------------- */

lp__prefix_walk lp__prefix_walk_begin(const lp__engine *engine, lp_str name)
{
    return (lp__prefix_walk){name, engine->options.seed[0], 0};
}

lp__prefix *lp__prefix_walk_next(const lp__engine *engine, lp__prefix_walk *walk)
{
    const lp__prefixes *prefixes = &engine->prefixes;
    for (;;) {
        size_t i = length_at(prefixes, walk->at + 1);
        if (i == prefixes->length_count || prefixes->lengths[i].length > walk->name.len)
            return NULL;
        size_t length = prefixes->lengths[i].length;
        walk->hash = extend(engine, walk->hash, walk->name.base + walk->at, length - walk->at);
        walk->at = length;
        lp__prefix *prefix = find(prefixes, (lp_str){walk->name.base, length}, walk->hash);
        if (prefix != NULL)
            return prefix;
    }
}
