/* The keyed hash of category names: SipHash-1-3, so that a stranger who chooses names cannot make
 * them collide without the key. Any thread. */
#ifndef LP_HASH_H
#define LP_HASH_H

#include <stddef.h>
#include <stdint.h>

/* `data` may be NULL when `len` is 0. The same on machines of either byte order. */
uint64_t lp__hash(const uint64_t key[2], const void *data, size_t len);

#endif
