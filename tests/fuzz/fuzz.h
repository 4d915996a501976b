/* What the fuzz targets share. Each target is one function that takes bytes and checks properties
 * of the code under it; a property that does not hold ends the program. The same function is built
 * twice: with libFuzzer's main, which makes up bytes (preset "fuzz"), and with the one in
 * corpus_main.c, which takes those of a kept corpus (every other preset). One thread. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <longpoll/event.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property, in words that stand in the message when it does not hold. */
#define FUZZ_HOLDS(condition, what)                                                                \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, what);               \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline bool fuzz_equal(lp_str a, lp_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

/* Whether `part` lies inside `whole`. */
static inline bool fuzz_inside(lp_str part, lp_str whole)
{
    return part.base >= whole.base && part.base + part.len <= whole.base + whole.len;
}

/* A copy of exactly so many bytes, so that AddressSanitizer sees a read behind them. */
static inline char *fuzz_copy(const void *bytes, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    FUZZ_HOLDS(copy != NULL, "there is memory");
    if (len > 0)
        memcpy(copy, bytes, len);
    return copy;
}

#endif
