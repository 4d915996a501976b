/* The kinds of servers that `longpoll bench` knows: what their requests look like, and what they
 * can do. Nothing here is sent; one thread.
 *
 *   longpoll, golongpoll   POST /publish and GET /events, as longpolld serves them
 *   nchan                  POST /pub?id=C; GET /sub?id=C, which answers one message at a time to
 * polls and serves streams; GET /multi?id=C, which has nchan_longpoll_multipart_response responder
 * `longpoll bench responder`: as longpoll, but with one category h2o                    a floor:
 * POST /publish is answered and forgotten, GET /events is parked, POST /wake answers all that are
 * parked one event, whatever their category
 */
#ifndef TOOL_BENCH_KIND_H
#define TOOL_BENCH_KIND_H

#include <stdbool.h>
#include <stddef.h>

#include "../shared/load_client.h"

typedef enum bench_ability {
    CAN_CATEGORIES = 1, /* an event wakes those of its category alone */
    CAN_CURSOR = 2,     /* keeps events for those who come later */
    CAN_BATCH = 4,      /* arrays of events in one publish */
    CAN_STREAM = 8,     /* server-sent events */
    CAN_WAKE = 16       /* answers what waits */
} bench_ability;

typedef struct bench_kind {
    const char *name;
    unsigned abilities;
} bench_kind;

/* NULL for another name. */
const bench_kind *kind_find(const char *name);
bool kind_is(const bench_kind *kind, const char *name);

/* A publish, made again and again in the same memory: all zero before the first time. */
typedef struct bench_message {
    char path[1200];
    char *body;
    size_t len, capacity;
    request request; /* what to send: borrows the rest */
} bench_message;

/* `count` events with the same data; neither data nor category needs escaping. */
void kind_publish(const bench_kind *kind, bench_message *message, const char *category,
                  const char *data, size_t len, int count);
/* The event that wakes those who wait on the category. */
void kind_wake(const bench_kind *kind, bench_message *message, const char *category,
               const char *data, size_t len);
void message_free(bench_message *message);

/* Whether this is the answer to a publish that was kept. */
bool kind_published(const bench_kind *kind, int status, const char *body, size_t len);

#endif
