/* Reads the query string of a poll: what golongpoll's subscribe handler takes from Go's net/url,
 * checked in its order.
 *
 * No HTTP library and no libuv under it: any server may use it, on any thread. */
#ifndef LP_WIRE_QUERY_H
#define LP_WIRE_QUERY_H

#include <longpoll/manager.h>

/* A query that has been read. The category is decoded into `storage`, where `query.category` points
 * to: so it must not be moved or copied. */
typedef struct lp__wire_query {
    lp_query query;
    char storage[LP_CATEGORY_MAX];
    char error[128]; /* the answer's body after LP_EINVAL */
    size_t error_len;
} lp__wire_query;

/* Reads `raw`, the bytes behind the '?' of a request's target (empty when there is none).
 * LP_EINVAL: `out->error` has the body to answer with. */
LP_API int lp__wire_query_read(lp_str raw, int64_t max_timeout_s, lp__wire_query *out);

/* Decodes %-escapes and '+' into `out`, at most `max` bytes of it: the length that it needs, which
 * may be more than `max`; -1 when an escape is broken. */
int64_t lp__wire_unescape(lp_str text, char *out, size_t max);

/* Reads a base-10 integer as Go's strconv.ParseInt does: a sign and leading zeros are fine, white
 * space, underscores and overflow are not. */
bool lp__wire_integer(lp_str text, int64_t *out);

#endif
