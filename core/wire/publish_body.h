/* Reads the body of a publish: what golongpoll's publish handler takes from Go's encoding/json,
 * except that the data's bytes are kept.
 *
 * No HTTP library and no libuv under it: any server may use it, on any thread. */
#ifndef LP_WIRE_PUBLISH_BODY_H
#define LP_WIRE_PUBLISH_BODY_H

#include <longpoll/event.h>

typedef struct lp__publish_body {
    lp_str category; /* in `storage`: the struct must not be moved or copied */
    lp_str data;     /* a slice of the body: one JSON value that has been checked */
    char storage[LP_CATEGORY_MAX];
    lp_str error; /* the answer's body after LP_EINVAL; static */
} lp__publish_body;

/* LP_EINVAL: `out->error` has the body to answer with, status 400. */
LP_API int lp__publish_body_read(lp_str body, lp__publish_body *out);

#endif
