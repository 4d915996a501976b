/* Reads the query string of a poll: what golongpoll's subscribe handler takes from Go's net/url,
 * checked in its order, and behind that the parameters that this project adds (many categories,
 * prefixes, resume=id, last=N).
 *
 * Two steps, so that a poll that names one category allocates nothing: lp__wire_query_split finds
 * the parameters and says how much room their names need, lp__wire_query_read decodes and checks
 * them.
 *
 * No HTTP library and no libuv under it: any server may use it, on any thread. */
#ifndef LP_WIRE_QUERY_H
#define LP_WIRE_QUERY_H

#include <longpoll/manager.h>

typedef struct lp__wire_limits {
    int64_t timeout_s_max;
    size_t names_max; /* categories and prefixes of one poll, together */
} lp__wire_limits;

/* `last` is 1 to this many events. */
#define LP__WIRE_LAST_MAX 10000

/* A query that is being read. Its one category is decoded into `storage`, where `query.category`
 * points to: so it must not be moved or copied. */
typedef struct lp__wire_query {
    lp_query query;
    size_t room_bytes; /* set by lp__wire_query_split: what lp__wire_query_read needs, often 0 */
    char error[128];   /* the answer's body after LP_EINVAL */
    size_t error_len;

    /* the reader's own: the bytes behind the '?', the first valid value of each name, still
     * encoded, and what there is of the two that may be given several times */
    lp_str raw, timeout, category, since_time, last_id, resume, last;
    size_t category_count, prefix_count;
    lp__wire_limits limits;
    char storage[LP_CATEGORY_MAX];
} lp__wire_query;

/* Finds the parameters in `raw`, the bytes behind the '?' of a request's target (empty when there
 * is none), which `out` borrows. */
LP_API void lp__wire_query_split(lp_str raw, const lp__wire_limits *limits, lp__wire_query *out);

/* Checks the parameters and fills `query->query`, which borrows from `query` itself and from
 * `room`: `query->room_bytes` bytes, aligned for a pointer, NULL when that is 0.
 * LP_EINVAL: `query->error` has the body to answer with. */
LP_API int lp__wire_query_read(lp__wire_query *query, void *room);

/* Reads the Last-Event-ID of a stream that is resumed: the query goes on behind it, whatever cursor
 * it had. Of an id that is none of ours nothing is known: then it gets all there is, and a gap. */
LP_API void lp__wire_query_resume(lp__wire_query *query, lp_str last_event_id);

/* Decodes %-escapes and '+' into `out`, at most `max` bytes of it: the length that it needs, which
 * may be more than `max`; -1 when an escape is broken. */
int64_t lp__wire_unescape(lp_str text, char *out, size_t max);

/* Reads a base-10 integer as Go's strconv.ParseInt does: a sign and leading zeros are fine, white
 * space, underscores and overflow are not. */
bool lp__wire_integer(lp_str text, int64_t *out);

#endif
