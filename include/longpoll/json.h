/* JSON as slices of its own text: what is checked is neither copied nor converted, so a number of
 * any length and the order of members stay what they were. The check is the one that decides what a
 * publisher may send (RFC 8259, valid UTF-8, at most 512 arrays and objects deep).
 *
 * Nothing here allocates or keeps state. Any thread. */
#ifndef LONGPOLL_JSON_H
#define LONGPOLL_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <longpoll/event.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether `text` is one JSON value with white space around it at most. `value` (may be NULL) gets
 * the value without that: a slice of `text`. */
LP_API bool lp_json_check(lp_str text, lp_str *value);

/* Walks the members of an object. Only for a slice that lp_json_check has returned and that begins
 * with '{': `*at` starts as its `base` and is moved by each call. `name` is a string with its
 * quotes, `value` a value; both are slices. False, and nothing else is set, after the last one. */
LP_API bool lp_json_member(const char **at, lp_str *name, lp_str *value);

/* Decodes a string, given with its quotes as the functions above return it, into `out`: at most
 * `max` bytes, without a terminating NUL (and `\u0000` is a byte 0). Returns the length of the
 * whole, which is more than `max` when it did not fit; `max` may be 0. Surrogates without their
 * other half become U+FFFD. */
LP_API size_t lp_json_unescape(lp_str string, char *out, size_t max);

/* Whether a string with its quotes, once decoded, is `text`: for the names of members. */
LP_API bool lp_json_is(lp_str string, const char *text);

#ifdef __cplusplus
}
#endif
#endif
