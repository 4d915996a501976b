/* Memory for many events that come at once: the replay of a large store. It is had from the kernel
 * in blocks with all their pages, which takes half the time that as many calls of malloc spend on
 * page faults and on growing the heap. An allocation is not reused when it is given back: a block
 * goes whole, with the last of its allocations.
 *
 * One thread at a time takes; any thread may give back. */
#ifndef LP_BLOCK_H
#define LP_BLOCK_H

#include <stddef.h>
#include <stdint.h>

typedef struct lp__block lp__block;

#define LP__BLOCK_ALIGN ((size_t)8)

/* `size` bytes, aligned to LP__BLOCK_ALIGN, from `*block`, which is replaced by a new one when they
 * do not fit any more (NULL: there is none yet). `*offset`, which is not 0, a multiple of that, and
 * less than 65,536 of them, is needed to give them back. NULL: they are too many for a block, or
 * there is no memory. */
void *lp__block_take(lp__block **block, size_t size, uint32_t *offset);

/* Nothing more is taken from it. NULL is fine. */
void lp__block_close(lp__block *block);

void lp__block_give(void *memory, uint32_t offset);

#endif
