/* Which boot of the machine this is: a store that was not closed, on another boot, may have lost
 * what it had not synced. Any thread. */
#ifndef LP_SHARED_BOOT_H
#define LP_SHARED_BOOT_H

#include <stdint.h>

/* A number of this boot, the same for every process of it; 0: it is not known. */
uint64_t lp__boot_number(void);

#endif
