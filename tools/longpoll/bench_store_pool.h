/* The events that `longpoll bench store` appends: made before a clock runs, with ids that rise as
 * those of a manager under load would. One thread. */
#ifndef TOOL_BENCH_STORE_POOL_H
#define TOOL_BENCH_STORE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include <longpoll/event.h>

#define EVENT_POOL          65536 /* a multiple of every batch size */
#define EVENT_POOL_DATA_MAX 16384

typedef struct event_pool {
    int64_t bytes;      /* of the data of each */
    int64_t categories; /* they take turns */
    int64_t first_ms;
    uint64_t made; /* events ever made: numbers them */
    lp_event *at[EVENT_POOL];
} event_pool;

/* `pool` is zeroed but for `bytes` (2 to EVENT_POOL_DATA_MAX) and `categories`. */
void event_pool_init(event_pool *pool);
/* Replaces all events by the next ones. */
void event_pool_fill(event_pool *pool);
void event_pool_free(event_pool *pool);

/* The sequence number of the n-th event ever made, and the number of the first in the pool. */
uint64_t event_pool_seq(const event_pool *pool, uint64_t n);
uint64_t event_pool_first(const event_pool *pool);

#endif
