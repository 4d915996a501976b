#include <criterion/criterion.h>
#include <stdlib.h>

#include <longpoll/status.h>

#include "core/engine/heap.h"

enum { NODES = 200 };

static uint64_t state = 7;

static uint64_t rnd(uint64_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % below;
}

static void check_order(const lp__heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        cr_assert_eq(heap->slots[i].node->index, i);
        cr_assert_geq(heap->slots[i].key, heap->slots[0].key);
    }
}

Test(heap, gives_keys_in_rising_order)
{
    lp__heap heap = {0};
    lp__heap_node nodes[NODES];
    cr_assert_eq(lp__heap_reserve(&heap, NODES), LP_OK);
    for (int i = 0; i < NODES; i++)
        lp__heap_push(&heap, &nodes[i], rnd(50)); /* many are equal */
    uint64_t last = 0;
    for (int i = 0; i < NODES; i++) {
        lp__heap_slot least = heap.slots[0];
        cr_assert_geq(least.key, last);
        last = least.key;
        lp__heap_remove(&heap, least.node);
        cr_assert_eq(least.node->index, LP__HEAP_NONE);
    }
    cr_assert_eq(heap.count, 0);
    lp__heap_free(&heap);
}

Test(heap, keeps_the_least_on_top_through_any_changes)
{
    lp__heap heap = {0};
    lp__heap_node nodes[NODES];
    uint64_t keys[NODES];
    for (int i = 0; i < NODES; i++)
        nodes[i].index = LP__HEAP_NONE;
    for (int step = 0; step < 20000; step++) {
        size_t i = rnd(NODES);
        if (nodes[i].index == LP__HEAP_NONE) {
            cr_assert_eq(lp__heap_reserve(&heap, heap.count + 1), LP_OK);
            keys[i] = rnd(1000);
            lp__heap_push(&heap, &nodes[i], keys[i]);
        } else if (rnd(2)) {
            keys[i] = rnd(1000);
            lp__heap_rekey(&heap, &nodes[i], keys[i]);
        } else {
            lp__heap_remove(&heap, &nodes[i]);
        }
        uint64_t least = UINT64_MAX;
        for (int n = 0; n < NODES; n++) {
            if (nodes[n].index != LP__HEAP_NONE && keys[n] < least)
                least = keys[n];
        }
        if (heap.count > 0)
            cr_assert_eq(heap.slots[0].key, least);
        if (step % 100 == 0)
            check_order(&heap);
    }
    lp__heap_free(&heap);
}

Test(heap, takes_the_extreme_keys)
{
    lp__heap heap = {0};
    lp__heap_node first, last;
    cr_assert_eq(lp__heap_reserve(&heap, 2), LP_OK);
    lp__heap_push(&heap, &last, UINT64_MAX);
    lp__heap_push(&heap, &first, 0);
    cr_assert_eq(heap.slots[0].node, &first);
    lp__heap_rekey(&heap, &first, UINT64_MAX);
    lp__heap_rekey(&heap, &last, 1);
    cr_assert_eq(heap.slots[0].node, &last);
    lp__heap_free(&heap);
}

Test(heap, says_so_when_there_is_no_memory_and_stays_as_it_was)
{
    lp__heap heap = {0};
    lp__heap_node node;
    cr_assert_eq(lp__heap_reserve(&heap, 1), LP_OK);
    lp__heap_push(&heap, &node, 3);
    cr_assert_eq(lp__heap_reserve(&heap, SIZE_MAX / 2), LP_ENOMEM);
    cr_assert_eq(lp__heap_reserve(&heap, SIZE_MAX), LP_ENOMEM);
    cr_assert_eq(heap.count, 1);
    cr_assert_eq(heap.slots[0].node, &node);
    lp__heap_free(&heap);
    cr_assert_eq(heap.capacity, 0);
}
