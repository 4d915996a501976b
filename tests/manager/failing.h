/* Allocations that fail, in programs that are linked with --wrap for malloc, calloc, realloc and
 * strdup: that catches the library and the tests, but not libuv and cJSON. Any thread. */
#ifndef TESTS_MANAGER_FAILING_H
#define TESTS_MANAGER_FAILING_H

/* Counts from 0 from here on; of these `count` fail from number `from` on, 0: all. */
void failing_begin(long from, long count);
/* None fails from here on. */
void failing_end(void);
/* How many there were since the beginning. */
long failing_counted(void);
/* The next one of this thread fails. */
void failing_next_here(void);
/* On this thread none fails or counts, until it is said again with 0. */
void failing_spare_here(int spare);
/* For messages. */
long failing_from(void);

#endif
