/* The sequence numbers of events that are gone while a store still holds their rows: it deletes
 * them later, sorted and in bulk. What is forgotten here (memory ran out, a crash) is told again as
 * removed after the next start. No I/O. Used on the add-on's thread. */
#ifndef LP_SHARED_DEAD_H
#define LP_SHARED_DEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lp__dead { /* zeroed: empty */
    uint64_t *at;
    size_t first, count; /* the numbers are at[first] .. at[first + count - 1] */
    size_t capacity;
    bool is_unsorted;
} lp__dead;

void lp__dead_free(lp__dead *dead);

/* LP_ENOMEM leaves it as it was. */
int lp__dead_add(lp__dead *dead, uint64_t seq);

/* The `max` smallest numbers, rising; fewer when there are fewer. Returns how many. `*out` is
 * borrowed until the next call. */
size_t lp__dead_smallest(lp__dead *dead, size_t max, const uint64_t **out);

/* Forgets the `count` smallest: their rows are deleted. */
void lp__dead_drop(lp__dead *dead, size_t count);

#endif
