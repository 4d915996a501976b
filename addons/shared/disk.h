/* Space on the disk that a store is on, and a file that holds some of it back: on a full disk it is
 * given up for what makes room again. Any thread. */
#ifndef LP_SHARED_DISK_H
#define LP_SHARED_DISK_H

#include <stdbool.h>
#include <stdint.h>

/* What an open file or directory may still take; UINT64_MAX: that is not known. */
uint64_t lp__disk_free_bytes(int fd);

/* Makes the file `name` in the open directory `dir`, unless there is one already: 1 MiB, or a
 * sixteenth of a small disk. Returns its size; 0: there is no room for four of it. */
uint64_t lp__disk_hold(int dir, const char *name);

/* Gives the space up. */
bool lp__disk_let_go(int dir, const char *name);

#endif
