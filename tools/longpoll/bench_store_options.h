/* What the benchmarks that need no server read from their command line. Main thread. */
#ifndef TOOL_BENCH_STORE_OPTIONS_H
#define TOOL_BENCH_STORE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* A flag with a number: `text` is what was given, NULL to leave `*out` as it is. */
typedef struct number_flag {
    const char *name;
    const char *text;
    int64_t least, most;
    int64_t *out;
} number_flag;

/* Up to the one without a name. Returns -1 to go on, or the exit status: it has been said. */
int numbers_read(const number_flag *numbers);

/* Whether `name` is in a list with commas. */
bool is_listed(const char *list, const char *name);

/* Each word of the list `given` to the flag `name` has to be in the list `known`. As numbers_read.
 */
int list_check(const char *name, const char *given, const char *known);

#endif
