/* JSON once more, written as the grammar of RFC 8259 reads: recursive, a byte at a time. What the
 * fuzz targets compare the library's own check with. */
#ifndef TESTS_JSON_REFERENCE_H
#define TESTS_JSON_REFERENCE_H

#include "fuzz.h"

typedef struct json_facts {
    bool long_number;    /* of more than 63 characters */
    bool lone_surrogate; /* an escaped one without its other half */
} json_facts;

/* Reads one value, with white space before it: where it ends, NULL when there is none. `start` gets
 * where it begins; facts are added. */
const char *json_reference_value(const char *at, const char *end, const char **start,
                                 json_facts *facts);

/* Reads a string with its quotes at `at`: where it ends, NULL when there is none. What it says goes
 * to `out`, which has room for as many bytes as the string has, and its length to `*len`. */
const char *json_reference_string(const char *at, const char *end, char *out, size_t *len,
                                  json_facts *facts);

const char *json_reference_space(const char *at, const char *end);

/* Whether all of it is UTF-8. */
bool json_reference_utf8(lp_str text);

#endif
