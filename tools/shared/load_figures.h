/* What load programs share beside the client: arguments, sentences for failures, percentiles,
 * and what /proc tells about the server. One thread. */
#ifndef LOAD_FIGURES_H
#define LOAD_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ends the program with a sentence on standard error: it could not do its work. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* What stands before the sentences of fail and check ("error" at first; borrowed), and the status
 * that fail ends with (2 at first). */
void fail_as(const char *prefix, int status);

/* Says on standard error what does not hold, and counts it. */
void check(bool holds, const char *format, ...) __attribute__((format(printf, 2, 3)));
int checks_failed(void);
/* Prints how it went; 1 when a check failed, else 0. */
int checks_result(void);

/* Options as "--name VALUE" behind the positional arguments. An option that is in no `known`
 * (NULL-terminated) ends the program. */
void options_check(int argc, char **argv, int first, const char *const *known);
const char *option_text(int argc, char **argv, const char *name, const char *otherwise);
long option_number(int argc, char **argv, const char *name, long otherwise);

/* Sorts `values`; the p-th part of it (0..1). 0 when there are none. */
void figures_sort(uint32_t *values, size_t count);
uint32_t figures_at(const uint32_t *sorted, size_t count, double p);

/* Time that has passed: on the wall, and of this process on a processor, which a busy machine moves
 * less. */
typedef struct stopwatch {
    uint64_t wall_us, cpu_us;
} stopwatch;
stopwatch stopwatch_start(void);
stopwatch stopwatch_spent(stopwatch since);

/* Of a process of this machine; a pid of 0 gives 0. CPU time is that of all its threads. */
uint64_t process_cpu_us(long pid);
size_t process_descriptors(long pid);
/* How many descriptors it may open; this process with a pid of 0. */
size_t process_descriptors_max(long pid);
bool process_exists(long pid);
typedef struct process_memory {
    uint64_t pss_kb, anonymous_kb;
    uint64_t shared_kb; /* its share of shared memory that is no file */
} process_memory;
process_memory process_memory_get(long pid);

#endif
