/* The bytes of the answers: bodies as lists of pieces that borrow the events' wire texts, and the
 * constant headers of the two handlers.
 *
 * No HTTP library and no libuv under it: any server may use it, on any thread. */
#ifndef LP_WIRE_ANSWER_H
#define LP_WIRE_ANSWER_H

#include <longpoll/manager.h>

typedef struct lp__wire_header {
    lp_str name, lower; /* as golongpoll spells it, and in lower case */
    lp_str value;
} lp__wire_header;

#define LP__SUBSCRIBE_HEADERS 5
#define LP__PUBLISH_HEADERS   2
LP_API extern const lp__wire_header lp__subscribe_headers[LP__SUBSCRIBE_HEADERS];
LP_API extern const lp__wire_header lp__publish_headers[LP__PUBLISH_HEADERS];

/* Room that a timeout's body needs. */
#define LP__ANSWER_SCRATCH 160

/* How many pieces lp__answer_build makes of an answer at most. */
LP_API size_t lp__answer_pieces_max(const lp_answer *answer);

/* Builds the body of an answer: fills `pieces` and `*count`, and returns the length of all. The
 * pieces borrow from the events, from `scratch` (LP__ANSWER_SCRATCH bytes) and from constants. */
LP_API size_t lp__answer_build(const lp_answer *answer, char *scratch, lp_str *pieces,
                               size_t *count);

/* The body of a timeout to a poll that resumes by id: with the id to go on from. In `scratch`. */
LP_API lp_str lp__answer_timeout_by_id(const lp_answer *answer, char *scratch);

/* Copies pieces one behind the other; `out` has room for all. */
LP_API void lp__answer_flatten(const lp_str *pieces, size_t count, char *out);

/* {"error": "…"} around a sentence, which is escaped, and cut where it would not fit: writes at
 * most `max` bytes (at least 32) and returns how many. */
LP_API size_t lp__answer_error(const char *sentence, char *out, size_t max);

LP_API extern const lp_str lp__answer_published;       /* {"success": true} */
LP_API extern const lp_str lp__answer_method_not_post; /* 405 of a publish */

#endif
