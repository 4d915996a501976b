/* The heap behind the engine's deadlines, ages and keys. Four children a node: half the levels of
 * two, and the children of one node share a cache line. The nodes know their slots, so that any of
 * them can be taken out. One thread at a time. */
#include "heap.h"

#include <stdbool.h>
#include <stdlib.h>

#include <longpoll/status.h>

#define CHILDREN 4

void lp__heap_free(lp__heap *heap)
{
    free(heap->slots);
    *heap = (lp__heap){0};
}

int lp__heap_reserve(lp__heap *heap, size_t count)
{
    if (count <= heap->capacity)
        return LP_OK;
    size_t capacity = heap->capacity + heap->capacity / 2;
    if (capacity < count)
        capacity = count < 16 ? 16 : count;
    if (capacity > SIZE_MAX / sizeof(*heap->slots))
        return LP_ENOMEM;
    lp__heap_slot *slots = realloc(heap->slots, capacity * sizeof(*slots));
    if (!slots)
        return LP_ENOMEM;
    heap->slots = slots;
    heap->capacity = capacity;
    return LP_OK;
}

static void place(lp__heap *heap, size_t index, lp__heap_slot slot)
{
    heap->slots[index] = slot;
    slot.node->index = index;
}

/* Moves the hole at `index` up to where `slot` belongs. */
static void sift_up(lp__heap *heap, size_t index, lp__heap_slot slot)
{
    while (index > 0) {
        size_t parent = (index - 1) / CHILDREN;
        if (heap->slots[parent].key <= slot.key)
            break;
        place(heap, index, heap->slots[parent]);
        index = parent;
    }
    place(heap, index, slot);
}

/* Moves the hole at `index` down to where `slot` belongs. */
static void sift_down(lp__heap *heap, size_t index, lp__heap_slot slot)
{
    for (;;) {
        size_t first = index * CHILDREN + 1;
        if (first >= heap->count)
            break;
        size_t last = heap->count - first < CHILDREN ? heap->count : first + CHILDREN;
        size_t least = first;
        for (size_t child = first + 1; child < last; child++) {
            if (heap->slots[child].key < heap->slots[least].key)
                least = child;
        }
        if (slot.key <= heap->slots[least].key)
            break;
        place(heap, index, heap->slots[least]);
        index = least;
    }
    place(heap, index, slot);
}

/* Fills the hole at `index` with a slot whose key may be less or more than what was there. */
static void settle(lp__heap *heap, size_t index, lp__heap_slot slot)
{
    bool less_than_parent = index > 0 && slot.key < heap->slots[(index - 1) / CHILDREN].key;
    if (less_than_parent)
        sift_up(heap, index, slot);
    else
        sift_down(heap, index, slot);
}

void lp__heap_push(lp__heap *heap, lp__heap_node *node, uint64_t key)
{
    sift_up(heap, heap->count++, (lp__heap_slot){key, node});
}

void lp__heap_remove(lp__heap *heap, lp__heap_node *node)
{
    size_t index = node->index;
    lp__heap_slot last = heap->slots[--heap->count];
    node->index = LP__HEAP_NONE;
    if (last.node != node)
        settle(heap, index, last);
}

void lp__heap_rekey(lp__heap *heap, lp__heap_node *node, uint64_t key)
{
    settle(heap, node->index, (lp__heap_slot){key, node});
}
