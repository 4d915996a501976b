/* Checks for programs that cannot use Criterion's, and for what they share with those that do: a
 * check that does not hold says where, and aborts. Any thread. */
#ifndef TESTS_MANAGER_CHECK_H
#define TESTS_MANAGER_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Two integers. */
#define CHECK_IS(actual, expected)                                                                 \
    do {                                                                                           \
        long long check_actual = (long long)(actual), check_expected = (long long)(expected);      \
        if (check_actual != check_expected) {                                                      \
            fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #actual,          \
                    check_actual, check_expected);                                                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* `part` occurs in `text`. */
#define CHECK_SAYS(text, part)                                                                     \
    do {                                                                                           \
        const char *check_text = (text);                                                           \
        if (strstr(check_text, (part)) == NULL) {                                                  \
            fprintf(stderr, "%s:%d: \"%s\" does not say \"%s\"\n", __FILE__, __LINE__, check_text, \
                    (part));                                                                       \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The tests of a plain program: all of them, or those named on the command line. */
typedef struct plain_test {
    const char *name;
    void (*run)(void);
} plain_test;

#define PLAIN_TEST(name)                                                                           \
    {                                                                                              \
#name, name                                                                                \
    }

static inline int run_plain_tests(const plain_test *tests, size_t count, int argc, char **argv)
{
    int found = 0;
    for (size_t i = 0; i < count; i++) {
        int wanted = argc < 2;
        for (int n = 1; n < argc; n++)
            wanted |= strcmp(argv[n], tests[i].name) == 0;
        if (!wanted)
            continue;
        found++;
        printf("%s\n", tests[i].name);
        fflush(stdout);
        tests[i].run();
    }
    return found > 0 ? 0 : 1;
}

#endif
