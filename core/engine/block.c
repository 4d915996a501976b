/* See block.h. */
#include "block.h"

#include <stdatomic.h>

#include <sys/mman.h>

#define BLOCK ((size_t)128 << 10)

enum { LARGEST = 8 * 1024 }; /* wastes little at the end of a block */

struct lp__block {
    atomic_size_t held; /* allocations that are not given back; while it is open, BLOCK more less
                           those that were taken, so that taking does not touch it */
    size_t taken, used;
};

static void drop(lp__block *block, size_t count)
{
    if (atomic_fetch_sub_explicit(&block->held, count, memory_order_acq_rel) == count)
        munmap(block, BLOCK);
}

/* No huge page is asked for: where a hypervisor takes free ones back, the first touch of each costs
 * more than all that is saved. */
static lp__block *new_block(void)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_POPULATE
    flags |= MAP_POPULATE; /* all its pages in one call */
#endif
    lp__block *block = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (block == MAP_FAILED)
        return NULL;
    atomic_init(&block->held, BLOCK);
    block->taken = 0;
    block->used = (sizeof(*block) + LP__BLOCK_ALIGN - 1) / LP__BLOCK_ALIGN * LP__BLOCK_ALIGN;
    return block;
}

void *lp__block_take(lp__block **block, size_t size, uint32_t *offset)
{
    if (size > LARGEST)
        return NULL;
    size = (size + LP__BLOCK_ALIGN - 1) / LP__BLOCK_ALIGN * LP__BLOCK_ALIGN;
    if (*block == NULL || BLOCK - (*block)->used < size) {
        lp__block *fresh = new_block();
        if (fresh == NULL)
            return NULL;
        lp__block_close(*block);
        *block = fresh;
    }
    lp__block *from = *block;
    *offset = (uint32_t)from->used;
    from->used += size;
    from->taken++;
    return (char *)from + *offset;
}

void lp__block_close(lp__block *block)
{
    if (block != NULL)
        drop(block, BLOCK - block->taken);
}

void lp__block_give(void *memory, uint32_t offset)
{
    drop((lp__block *)(void *)((char *)memory - offset), 1);
}
