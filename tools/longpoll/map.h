/* A table from bytes to a number: horizons by category, keys by name. No I/O, one thread. */
#ifndef TOOL_MAP_H
#define TOOL_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/event.h>

typedef struct map_slot {
    char *key; /* NULL: free */
    size_t len;
    uint64_t hash, value;
} map_slot;

typedef struct number_map { /* zeroed: empty */
    map_slot *slots;
    size_t capacity, count;
} number_map;

void map_free(number_map *map);

/* The value of a key, or NULL. */
uint64_t *map_find(const number_map *map, lp_str key);

/* The same, and adds the key with the value 0 when it is missing; NULL when there is no memory. */
uint64_t *map_at(number_map *map, lp_str key);

/* All slots in the order of their keys' bytes, `count` of them; the caller frees the array. NULL
 * when there is no memory, or when the map is empty. */
const map_slot **map_sorted(const number_map *map);

#endif
