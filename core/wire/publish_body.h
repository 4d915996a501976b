/* Reads the body of a publish: what golongpoll's publish handler takes from Go's encoding/json,
 * except that the data's bytes are kept; or an array of such objects.
 *
 * No HTTP library and no libuv under it: any server may use it, on any thread. */
#ifndef LP_WIRE_PUBLISH_BODY_H
#define LP_WIRE_PUBLISH_BODY_H

#include <stdbool.h>

#include <longpoll/manager.h>

typedef struct lp__publish_body {
    lp_str category; /* in `storage`: the struct must not be moved or copied */
    lp_str data;     /* a slice of the body: one JSON value that has been checked */
    char storage[LP_CATEGORY_MAX];
    lp_str error; /* the answer's body after LP_EINVAL; static */
} lp__publish_body;

/* One event. LP_EINVAL: `out->error` has the body to answer with, status 400. */
int lp__publish_body_read(lp_str body, lp__publish_body *out);

/* The events of a body that is one object or an array of them. */
typedef struct lp__publish_items {
    lp_publish_item *items; /* borrow from the body and from this struct, which must not be moved */
    size_t count;
    bool is_array;
    lp_str error; /* after a failure: a whole body to answer with */
    lp__publish_body one;
    lp_publish_item one_item;
    char *storage; /* of the categories of an array */
    char error_text[160];
} lp__publish_items;

/* LP_EINVAL, `error` says why, status 400: a body that lp__publish_body_read refuses, an array that
 * has no items or one that it would refuse; the first such item is named, counted from 1.
 * LP_ETOOBIG, status 413: more than `items_max` items. LP_ENOMEM. After any of them nothing needs
 * to be freed. */
LP_API int lp__publish_items_read(lp_str body, size_t items_max, lp__publish_items *out);
LP_API void lp__publish_items_free(lp__publish_items *items);

#endif
