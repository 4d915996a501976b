/* The lock file that keeps a second process, or a second add-on of this one, out of a store.
 *
 * The lock belongs to the open file, not to the process, and goes with it. Readers share it. */
#ifndef LP_SHARED_LOCK_H
#define LP_SHARED_LOCK_H

#include <stdbool.h>

/* Opens and locks `name`, relative to the open directory `dir` (or AT_FDCWD). `*fd` is the lock:
 * closing it lets go. It is -1 with LP_OK where a reader finds no lock file, which means that
 * nobody writes. LP_EINUSE: `*holder` is the process that has it, 0 when that is not known. Any
 * other status is that of errno, which is set. */
int lp__lock_take(int dir, const char *name, bool read_only, int *fd, long *holder);

#endif
