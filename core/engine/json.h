/* The strict RFC 8259 check that decides what is JSON: iterative, no allocation, UTF-8 checked, at
 * most LP__JSON_DEPTH_MAX arrays and objects deep. It returns slices of the text that it was given.
 */
#ifndef LP_JSON_H
#define LP_JSON_H

#include <stdbool.h>

#include <longpoll/event.h>

#define LP__JSON_DEPTH_MAX 512

/* Skips white space and one JSON value from `*at` on; `value` gets the value's bytes and `*at`
 * moves behind it. LP_EINVAL when there is no valid value; `*at` is then where it went wrong. */
int lp__json_value(const char **at, const char *end, lp_str *value);

/* Whether `text` is one JSON value, with white space around it at most; `value` (may be NULL) gets
 * it without that. */
bool lp__json_check(lp_str text, lp_str *value);

/* Walks the members of an object that lp__json_value has accepted: `*at` starts at its '{'. Each
 * call gives the next name (a string with its quotes) and value; false at the end. */
bool lp__json_member(const char **at, lp_str *name, lp_str *value);

/* Decodes an accepted string with its quotes into `out`, at most `max` bytes: the length it needs
 * (which may be more than `max`). Escaped lone surrogates become U+FFFD, as in Go. */
size_t lp__json_unescape(lp_str string, char *out, size_t max);

/* Whether the bytes are valid UTF-8 (RFC 3629). */
bool lp__utf8_check(lp_str text);

#endif
