/* Reading numbers, sizes and times as people write them on a command line. No state, any thread. */
#ifndef TOOL_VALUES_H
#define TOOL_VALUES_H

#include <stdbool.h>
#include <stdint.h>

/* "250": digits alone. False for anything else and past INT64_MAX, here and below. */
bool value_count(const char *text, int64_t *out);

/* "4096", "64KiB", "1MiB", "2GiB". */
bool value_bytes(const char *text, int64_t *out);

/* "10", "0.5", "1s", "500ms", "15m", "12h", "7d" in milliseconds; without a unit it is seconds.
 * Digits behind the third decimal of a second are refused. */
bool value_duration_ms(const char *text, int64_t *out);

#endif
