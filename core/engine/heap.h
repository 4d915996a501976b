/* An intrusive min-heap: what comes next of many, by a 64-bit key. */
#ifndef LP_HEAP_H
#define LP_HEAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct lp__heap_node {
    size_t index; /* LP__HEAP_NONE when it is in no heap */
} lp__heap_node;

#define LP__HEAP_NONE SIZE_MAX

typedef struct lp__heap_slot {
    uint64_t key;
    lp__heap_node *node;
} lp__heap_slot;

typedef struct lp__heap {
    lp__heap_slot *slots;
    size_t count, capacity;
} lp__heap;

void lp__heap_free(lp__heap *heap);
/* Makes room for `count` nodes in all, so that the next pushes cannot fail. LP_ENOMEM. */
int lp__heap_reserve(lp__heap *heap, size_t count);
/* Room must have been reserved. */
void lp__heap_push(lp__heap *heap, lp__heap_node *node, uint64_t key);
void lp__heap_remove(lp__heap *heap, lp__heap_node *node);
void lp__heap_rekey(lp__heap *heap, lp__heap_node *node, uint64_t key);

#endif
