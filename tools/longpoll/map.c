/* See map.h: open addressing, never more than half full. */
#include "map.h"

#include <stdlib.h>
#include <string.h>

static uint64_t hash_of(lp_str key)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a; nobody who could choose categories waits here */
    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ (unsigned char)key.base[i]) * 0x100000001b3;
    return hash ^ hash >> 29;
}

static map_slot *slot_of(const number_map *map, lp_str key, uint64_t hash)
{
    size_t mask = map->capacity - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        map_slot *slot = &map->slots[i];
        if (slot->key == NULL || (slot->hash == hash && slot->len == key.len &&
                                  memcmp(slot->key, key.base, key.len) == 0))
            return slot;
    }
}

static bool grow(number_map *map)
{
    size_t capacity = map->capacity == 0 ? 64 : map->capacity * 2;
    struct number_map larger = {calloc(capacity, sizeof(map_slot)), capacity, map->count};
    if (larger.slots == NULL)
        return false;
    for (size_t i = 0; i < map->capacity; i++) {
        const map_slot *slot = &map->slots[i];
        if (slot->key != NULL)
            *slot_of(&larger, (lp_str){slot->key, slot->len}, slot->hash) = *slot;
    }
    free(map->slots);
    *map = larger;
    return true;
}

void map_free(number_map *map)
{
    for (size_t i = 0; i < map->capacity; i++)
        free(map->slots[i].key);
    free(map->slots);
    *map = (struct number_map){0};
}

uint64_t *map_find(const number_map *map, lp_str key)
{
    if (map->count == 0)
        return NULL;
    map_slot *slot = slot_of(map, key, hash_of(key));
    return slot->key != NULL ? &slot->value : NULL;
}

uint64_t *map_at(number_map *map, lp_str key)
{
    if (map->count * 2 >= map->capacity && !grow(map))
        return NULL;
    uint64_t hash = hash_of(key);
    map_slot *slot = slot_of(map, key, hash);
    if (slot->key != NULL)
        return &slot->value;
    char *copy = malloc(key.len + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, key.base, key.len);
    copy[key.len] = '\0';
    *slot = (map_slot){copy, key.len, hash, 0};
    map->count++;
    return &slot->value;
}

static int compare_slots(const void *a, const void *b)
{
    const map_slot *left = *(const map_slot *const *)a, *right = *(const map_slot *const *)b;
    size_t len = left->len < right->len ? left->len : right->len;
    int order = memcmp(left->key, right->key, len);
    return order != 0 ? order : (left->len > right->len) - (left->len < right->len);
}

const map_slot **map_sorted(const number_map *map)
{
    if (map->count == 0)
        return NULL;
    const map_slot **all = malloc(map->count * sizeof(map_slot *));
    if (all == NULL)
        return NULL;
    size_t count = 0;
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].key != NULL)
            all[count++] = &map->slots[i];
    }
    qsort(all, count, sizeof(map_slot *), compare_slots);
    return all;
}
