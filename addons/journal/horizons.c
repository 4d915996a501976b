/* The table of horizons: open addressing with linear probing, removal only in bulk. */
#include "horizons.h"

#include <stdlib.h>

enum { CAPACITY_MIN = 64, SWEEP_SLACK = 1024 };

void lp__horizons_free(lp__horizons *horizons)
{
    for (size_t i = 0; i < horizons->capacity; i++)
        free(horizons->slots[i]);
    free(horizons->slots);
    horizons->slots = NULL;
    horizons->count = horizons->capacity = 0;
}

/* Seeded, because strangers choose the names of categories. */
static uint64_t hash_of(const lp__horizons *horizons, lp_str category)
{
    uint64_t hash = horizons->seed ^ category.len;
    for (size_t i = 0; i < category.len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, category.base + i, category.len - i < 8 ? category.len - i : 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29 ^ horizons->seed >> 7;
    }
    hash *= 0xbf58476d1ce4e5b9u;
    return hash ^ hash >> 32;
}

/* The slot of a category, or the free one where it belongs. */
static size_t slot_of(const lp__horizons *horizons, lp_str category, uint64_t hash)
{
    size_t mask = horizons->capacity - 1;
    size_t slot = hash & mask;
    for (;; slot = (slot + 1) & mask) {
        const lp__horizon_entry *entry = horizons->slots[slot];
        if (entry == NULL || (entry->hash == hash && entry->category_len == category.len &&
                              memcmp(entry->category, category.base, category.len) == 0))
            return slot;
    }
}

/* Moves all entries above `above` to a new table; frees the others. */
static bool rebuild(lp__horizons *horizons, size_t capacity, uint64_t above)
{
    lp__horizon_entry **old = horizons->slots;
    size_t old_capacity = horizons->capacity;
    lp__horizon_entry **slots = calloc(capacity, sizeof(*slots));
    if (slots == NULL)
        return false;
    horizons->slots = slots;
    horizons->capacity = capacity;
    horizons->count = 0;
    for (size_t i = 0; i < old_capacity; i++) {
        lp__horizon_entry *entry = old[i];
        if (entry == NULL)
            continue;
        if (entry->seq <= above) {
            entry->segment->horizon_bytes -= entry->size;
            free(entry);
            continue;
        }
        size_t slot = entry->hash & (capacity - 1);
        while (slots[slot] != NULL)
            slot = (slot + 1) & (capacity - 1);
        slots[slot] = entry;
        horizons->count++;
    }
    free(old);
    return true;
}

lp__horizon_entry *lp__horizons_find(const lp__horizons *horizons, lp_str category)
{
    if (horizons->count == 0)
        return NULL;
    return horizons->slots[slot_of(horizons, category, hash_of(horizons, category))];
}

static int raise_floor(lp__horizons *horizons, uint64_t seq, lp__segment *segment, uint64_t size)
{
    if (seq <= horizons->floor)
        return LP_OK;
    if (horizons->floor_segment != NULL)
        horizons->floor_segment->horizon_bytes -= horizons->floor_size;
    horizons->floor = seq;
    horizons->floor_segment = segment;
    horizons->floor_size = (uint32_t)size;
    segment->horizon_bytes += size;
    return LP_OK;
}

int lp__horizons_raise(lp__horizons *horizons, lp_str category, uint64_t seq, lp__segment *segment,
                       uint64_t size)
{
    if (category.len == 0)
        return raise_floor(horizons, seq, segment, size);
    if (horizons->count * 2 >= horizons->capacity) {
        size_t capacity = horizons->capacity == 0 ? CAPACITY_MIN : horizons->capacity * 2;
        if (!rebuild(horizons, capacity, 0))
            return LP_ENOMEM;
    }
    uint64_t hash = hash_of(horizons, category);
    size_t slot = slot_of(horizons, category, hash);
    lp__horizon_entry *entry = horizons->slots[slot];
    if (entry == NULL) {
        entry = malloc(sizeof(*entry) + category.len);
        if (entry == NULL)
            return LP_ENOMEM;
        entry->hash = hash;
        entry->category_len = (uint32_t)category.len;
        memcpy(entry->category, category.base, category.len);
        horizons->slots[slot] = entry;
        horizons->count++;
    } else if (seq <= entry->seq) {
        return LP_OK;
    } else {
        entry->segment->horizon_bytes -= entry->size;
    }
    entry->seq = seq;
    entry->segment = segment;
    entry->size = (uint32_t)size;
    segment->horizon_bytes += size;
    if (seq > horizons->newest)
        horizons->newest = seq;
    return LP_OK;
}

void lp__horizons_move(lp__horizons *horizons, lp__horizon_entry *entry, lp__segment *segment)
{
    lp__segment **where = entry != NULL ? &entry->segment : &horizons->floor_segment;
    uint32_t size = entry != NULL ? entry->size : horizons->floor_size;
    (*where)->horizon_bytes -= size;
    segment->horizon_bytes += size;
    *where = segment;
}

void lp__horizons_sweep(lp__horizons *horizons, bool is_due)
{
    if (!is_due && horizons->count < horizons->swept_count * 2 + SWEEP_SLACK)
        return;
    size_t reached = 0;
    for (size_t i = 0; i < horizons->capacity; i++)
        reached += horizons->slots[i] != NULL && horizons->slots[i]->seq <= horizons->floor;
    if (reached > 0) {
        size_t capacity = CAPACITY_MIN;
        while (capacity < (horizons->count - reached + 1) * 4)
            capacity *= 2;
        rebuild(horizons, capacity, horizons->floor);
    }
    horizons->swept_count = horizons->count;
}
