/* Server-sent events (WHATWG HTML, 9.2): the bytes of a stream, as lists of pieces that borrow the
 * events' wire texts, and what a request says about them.
 *
 * A stream begins with `id: <position>`, which a browser keeps although nothing is dispatched, so
 * that a reader that was told nothing yet resumes from there too; the same is its heartbeat.
 *
 * No HTTP library and no libuv under it: any server may use it, on any thread. */
#ifndef LP_WIRE_SSE_H
#define LP_WIRE_SSE_H

#include <longpoll/manager.h>

#include "answer.h"

#define LP__SSE_HEADERS 6
LP_API extern const lp__wire_header lp__sse_headers[LP__SSE_HEADERS];

/* Whether the value of an Accept header asks for a stream by name, with a weight that is not 0. */
LP_API bool lp__sse_is_accepted(lp_str accept);

/* Bytes of lp__sse_position. */
#define LP__SSE_POSITION_LEN (4 + LP_ID_TEXT_LEN + 2)

/* Writes the frame that says where the stream is: LP__SSE_POSITION_LEN bytes, not terminated. */
LP_API void lp__sse_position(lp_id position, char *out);

/* What an answer of a stream takes as frames: one an event, a gap in front, and the position where
 * there is no event. */
typedef struct lp__sse_size {
    size_t pieces;
    size_t scratch; /* bytes */
    size_t length;  /* of all pieces */
} lp__sse_size;

LP_API lp__sse_size lp__sse_measure(const lp_answer *answer);

/* Fills `pieces` and `scratch`, of that size each. The pieces borrow from the events, from
 * `scratch` and from constants. */
LP_API void lp__sse_build(const lp_answer *answer, char *scratch, lp_str *pieces);

#endif
