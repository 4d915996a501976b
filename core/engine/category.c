/* Categories: the table, each one's ring of events and its horizon, and when one is forgotten. */
#include <stdlib.h>
#include <string.h>

#include "engine_private.h"
#include "hash.h"

enum { BUCKETS_MIN = 64, RING_MIN = 4, OLD_CATEGORIES_TRIED = 64 };

/* ---- the table ---------------------------------------------------------- */

static lp__category **bucket_of(lp__engine *engine, uint64_t hash)
{
    return &engine->buckets[hash & (engine->bucket_count - 1)];
}

static lp__category *find(lp__engine *engine, lp_str name, uint64_t hash)
{
    if (engine->bucket_count == 0)
        return NULL;
    lp__category *category = *bucket_of(engine, hash);
    while (category != NULL && (category->hash != hash || category->name_len != name.len ||
                                memcmp(category->name, name.base, name.len) != 0))
        category = category->next_in_bucket;
    return category;
}

lp__category *lp__category_find(lp__engine *engine, lp_str name)
{
    return find(engine, name, lp__hash(engine->options.seed, name.base, name.len));
}

/* At most half as many categories as buckets: where they are very many, each that stands before the
 * one looked for is waited for. */
static bool grow_table(lp__engine *engine)
{
    if (engine->category_count < engine->bucket_count / 2)
        return true;
    size_t old_count = engine->bucket_count;
    size_t count = old_count == 0 ? BUCKETS_MIN : old_count * 2;
    lp__category **buckets = calloc(count, sizeof(lp__category *));
    if (buckets == NULL)
        return old_count != 0;
    lp__category **old = engine->buckets;
    engine->buckets = buckets;
    engine->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            lp__category *category = old[i];
            old[i] = category->next_in_bucket;
            lp__category **bucket = bucket_of(engine, category->hash);
            category->next_in_bucket = *bucket;
            *bucket = category;
        }
    }
    free(old);
    return true;
}

lp__category *lp__category_get(lp__engine *engine, lp_str name)
{
    uint64_t hash = lp__hash(engine->options.seed, name.base, name.len);
    lp__category *category = find(engine, name, hash);
    if (category != NULL)
        return category;
    if (!grow_table(engine) ||
        lp__heap_reserve(&engine->by_age, engine->category_count + 1) != LP_OK)
        return NULL;
    category = calloc(1, sizeof(*category) + name.len);
    if (category == NULL)
        return NULL;
    category->hash = hash;
    category->by_age.index = LP__HEAP_NONE;
    category->node.stale = true;
    lp__topic_init(&category->topic, false);
    lp__list_init(&category->changed_link);
    lp__list_init(&category->idle_link);
    category->name_len = (uint16_t)name.len;
    memcpy(category->name, name.base, name.len);

    lp__category **bucket = bucket_of(engine, hash);
    category->next_in_bucket = *bucket;
    *bucket = category;
    engine->category_count++;
    return category;
}

/* The one that was foreseen so many calls ago, or another one of its bucket. */
static lp__category *foreseen(lp__engine *engine, size_t ago)
{
    return *bucket_of(engine, engine->foreseen[(engine->foreseen_count - ago) % LP__FORESEEN]);
}

/* One thing leads to the next: the bucket to the category, that to its ring, and that to the event
 * which the ring may lose. Each is fetched some calls after the one before. */
static void foresee(lp__engine *engine, lp_str name)
{
    enum { LINE = 64, TO_CATEGORY = 4, TO_RING = 7, TO_EVENT = 10 };
    uint64_t hash = lp__hash(engine->options.seed, name.base, name.len);
    __builtin_prefetch(bucket_of(engine, hash));
    engine->foreseen[engine->foreseen_count++ % LP__FORESEEN] = hash;

    lp__category *category = foreseen(engine, TO_CATEGORY);
    for (size_t at = 0; category != NULL && at <= sizeof(*category); at += LINE)
        __builtin_prefetch((const char *)category + at);
    category = foreseen(engine, TO_RING);
    if (category != NULL && category->ring != NULL)
        __builtin_prefetch(&category->ring[category->head]);
    category = foreseen(engine, TO_EVENT);
    if (category != NULL && category->count > 0)
        __builtin_prefetch(category->ring[category->head]);
}

void lp__engine_foresee(lp__engine *engine, lp_event *const *events, size_t count)
{
    enum { CACHED = 4096 }; /* so many categories are in the cache anyway */
    for (size_t i = 0; i < count && engine->category_count > CACHED; i++)
        foresee(engine, lp_event_category(events[i]));
}

static void unlink_from_table(lp__engine *engine, lp__category *category)
{
    lp__category **link = bucket_of(engine, category->hash);
    while (*link != category)
        link = &(*link)->next_in_bucket;
    *link = category->next_in_bucket;
    engine->category_count--;
}

/* ---- being forgotten ---------------------------------------------------- */

/* One that has lost its last event to make room for the next stays in the heap meanwhile. */
static void leave_heap(lp__engine *engine, lp__category *category)
{
    if (category->by_age.index != LP__HEAP_NONE)
        lp__heap_remove(&engine->by_age, &category->by_age);
}

/* Takes an empty category out of the table. Its horizon merges into the floor; one that the store
 * has not been told yet stays until it has. */
static void forget(lp__engine *engine, lp__category *category)
{
    leave_heap(engine, category);
    unlink_from_table(engine, category);
    lp__list_unlink(&category->topic.dirty_link);
    lp__list_unlink(&category->topic.unsettled_link);
    lp__list_unlink(&category->idle_link);
    if (category->kept) {
        lp__index_remove(engine, category);
        engine->kept_count--;
    }
    if (category->horizon > engine->floor) {
        engine->floor = category->horizon;
        engine->floor_changed = true;
    }
    free(category->ring);
    category->ring = NULL;
    category->forgotten = true;
    if (lp__list_is_empty(&category->changed_link))
        free(category);
}

void lp__category_pin(lp__category *category)
{
    if (category->count == 0 && category->reserved == 0)
        lp__list_unlink(&category->idle_link);
    category->reserved++;
}

void lp__category_release(lp__engine *engine, lp__category *category)
{
    if (category->count > 0 || category->reserved > 0)
        return;
    leave_heap(engine, category);
    free(category->ring);
    category->ring = NULL;
    category->capacity = category->head = 0;
    if (category->topic.waiting > 0)
        return;
    if (category->horizon <= engine->floor)
        forget(engine, category);
    else if (lp__list_is_empty(&category->idle_link))
        lp__list_push_back(&engine->idle, &category->idle_link);
}

/* One category less that counts: the one that is idle longest, else one of those with the oldest
 * events. */
static bool drop_stalest(lp__engine *engine)
{
    if (!lp__list_is_empty(&engine->idle)) {
        forget(engine, LP__CONTAINER(engine->idle.next, lp__category, idle_link));
        return true;
    }
    lp__category_oldest(engine); /* brings the heap's top up to date */
    for (size_t i = 0; i < engine->by_age.count && i < OLD_CATEGORIES_TRIED; i++) {
        lp__category *category = LP__CONTAINER(engine->by_age.slots[i].node, lp__category, by_age);
        if (category->topic.waiting > 0 || category->reserved > 0)
            continue;
        category->reserved++; /* stays while it is emptied */
        while (category->count > 0)
            lp__category_evict(engine, category, LP_REMOVED_BOUND);
        category->reserved--;
        lp__list_unlink(&category->idle_link);
        forget(engine, category);
        return true;
    }
    return false;
}

void lp__category_keep(lp__engine *engine, lp__category *category)
{
    if (category->kept)
        return;
    category->kept = true;
    lp__index_add(engine, category);
    engine->kept_count++;
    category->reserved++;
    while (engine->kept_count > engine->options.categories_max && drop_stalest(engine))
        ;
    category->reserved--;
}

void lp__category_free_all(lp__engine *engine)
{
    for (size_t i = 0; i < engine->bucket_count; i++) {
        while (engine->buckets[i] != NULL) {
            lp__category *category = engine->buckets[i];
            engine->buckets[i] = category->next_in_bucket;
            for (size_t n = 0; n < category->count; n++)
                lp_event_unref(lp__category_event(category, n));
            lp__list_unlink(&category->changed_link);
            free(category->ring);
            free(category);
        }
    }
    while (!lp__list_is_empty(&engine->changed)) {
        lp__category *category = LP__CONTAINER(engine->changed.next, lp__category, changed_link);
        lp__list_unlink(&category->changed_link);
        free(category);
    }
    free(engine->buckets);
}

/* ---- the ring ----------------------------------------------------------- */

static size_t slot_of(const lp__category *category, size_t i)
{
    size_t slot = (size_t)category->head + i;
    return slot < category->capacity ? slot : slot - category->capacity;
}

lp_event *lp__category_event(const lp__category *category, size_t i)
{
    return category->ring[slot_of(category, i)];
}

static bool resize_ring(lp__category *category, size_t capacity)
{
    lp_event **ring = malloc(capacity * sizeof(lp_event *));
    if (ring == NULL)
        return false;
    for (size_t i = 0; i < category->count; i++)
        ring[i] = lp__category_event(category, i);
    free(category->ring);
    category->ring = ring;
    category->capacity = (uint32_t)capacity;
    category->head = 0;
    return true;
}

int lp__category_reserve(lp__engine *engine, lp__category *category)
{
    size_t max = engine->options.event_buffer_max;
    size_t need = (size_t)category->count + category->reserved + 1;
    if (need > max && !engine->replaying)
        need = max;
    if (need > category->capacity) {
        size_t capacity = category->capacity == 0 ? RING_MIN : category->capacity;
        while (capacity < need)
            capacity *= 2;
        if (capacity > max && need <= max)
            capacity = max;
        if (!resize_ring(category, capacity))
            return LP_ENOMEM;
    }
    lp__category_pin(category); /* others that are stamped with it must not displace it */
    return LP_OK;
}

void lp__category_push(lp__engine *engine, lp__category *category, lp_event *event)
{
    category->reserved--;
    category->ring[slot_of(category, category->count)] = event;
    category->count++;
    category->newest = lp_event_seq(event);
    lp__index_touch(category);
    if (category->by_age.index == LP__HEAP_NONE)
        lp__heap_push(&engine->by_age, &category->by_age, lp_event_seq(event));
    engine->event_count++;
    engine->event_bytes += lp__event_bytes(event);
}

static void note_gone(lp__engine *engine, lp__category *category, lp_event *event,
                      lp_removal_reason reason)
{
    uint64_t seq = lp_event_seq(event);
    engine->event_count--;
    engine->event_bytes -= lp__event_bytes(event);
    if (reason == LP_REMOVED_RETRIEVED) {
        engine->stats.retrieved++;
    } else {
        lp__category_raise_horizon(engine, category, seq);
        if (reason == LP_REMOVED_TTL)
            engine->stats.expired++;
        else
            engine->stats.evicted++;
    }
    lp__changes_note_removal(engine, seq, reason);
    lp_event_unref(event);
}

static void set_newest(lp__category *category)
{
    size_t count = category->count;
    category->newest = count == 0 ? 0 : lp_event_seq(lp__category_event(category, count - 1));
    lp__index_touch(category);
}

static void after_last(lp__engine *engine, lp__category *category)
{
    set_newest(category);
    lp__category_release(engine, category);
}

void lp__category_evict(lp__engine *engine, lp__category *category, lp_removal_reason reason)
{
    lp_event *event = category->ring[category->head];
    category->head = (uint32_t)slot_of(category, 1);
    category->count--;
    note_gone(engine, category, event, reason);
    if (category->count == 0)
        after_last(engine, category);
}

void lp__category_remove(lp__engine *engine, lp__category *category, uint64_t seq,
                         lp_removal_reason reason)
{
    size_t i = lp__category_find_after(category, seq - 1);
    if (i == category->count || lp_event_seq(lp__category_event(category, i)) != seq)
        return;
    lp_event *event = lp__category_event(category, i);
    for (; i > 0; i--)
        category->ring[slot_of(category, i)] = category->ring[slot_of(category, i - 1)];
    category->ring[category->head] = event;
    set_newest(category);
    lp__category_evict(engine, category, reason);
}

void lp__category_filter(lp__engine *engine, lp__category *category,
                         bool (*gone)(const void *ctx, uint64_t seq), const void *ctx,
                         lp_removal_reason reason)
{
    size_t left = 0, count = category->count;
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        lp_event *event = lp__category_event(category, i);
        if (gone(ctx, lp_event_seq(event)))
            note_gone(engine, category, event, reason);
        else
            category->ring[slot_of(category, left++)] = event;
    }
    category->count = (uint32_t)left;
    if (left == 0)
        after_last(engine, category);
    else
        set_newest(category);
}

/* Most readers lack the last events alone, and what is before these is not in the processor's
 * cache: so the search begins at the end, and doubles its steps. */
size_t lp__category_find_after(const lp__category *category, uint64_t seq)
{
    size_t count = category->count, low = 0, high = count;
    if (category->newest <= seq)
        return count;
    for (size_t back = 1; back <= count; back *= 2) {
        if (lp_event_seq(lp__category_event(category, count - back)) <= seq) {
            low = count - back + 1;
            break;
        }
        high = count - back;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lp_event_seq(lp__category_event(category, middle)) > seq)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void lp__category_raise_horizon(lp__engine *engine, lp__category *category, uint64_t seq)
{
    if (seq <= category->horizon)
        return;
    category->horizon = seq;
    lp__index_touch(category);
    lp__changes_note_horizon(engine, category);
}

lp__category *lp__category_oldest(lp__engine *engine)
{
    /* A category's key is not touched when its ring moves on, only when it surfaces. */
    while (engine->by_age.count > 0) {
        lp__heap_slot top = engine->by_age.slots[0];
        lp__category *category = LP__CONTAINER(top.node, lp__category, by_age);
        if (category->count == 0) {
            leave_heap(engine, category);
            continue;
        }
        uint64_t seq = lp_event_seq(category->ring[category->head]);
        if (seq == top.key)
            return category;
        lp__heap_rekey(&engine->by_age, top.node, seq);
    }
    return NULL;
}
