/* See bench_store_pool.h. One thread. */
#include "bench_store_pool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../shared/load_client.h"
#include "../shared/load_figures.h"

#define DAY_MS    86400000
#define EVERY_MS  32 /* events of one millisecond */
#define NAME_SIZE 32

void event_pool_init(event_pool *pool)
{
    if (pool->bytes < 2 || pool->bytes > EVENT_POOL_DATA_MAX || pool->categories < 1)
        fail("events have 2 to %d bytes, and there is a category at least", EVENT_POOL_DATA_MAX);
    pool->first_ms = (int64_t)now_wall_ms() - DAY_MS; /* no clock is ahead */
    event_pool_fill(pool);
}

uint64_t event_pool_seq(const event_pool *pool, uint64_t n)
{
    return lp_seq_first(pool->first_ms + (int64_t)(n / EVERY_MS)) + n % EVERY_MS;
}

uint64_t event_pool_first(const event_pool *pool)
{
    return pool->made - EVENT_POOL;
}

static lp_event *make(const event_pool *pool, uint64_t n)
{
    char data[EVENT_POOL_DATA_MAX], category[NAME_SIZE];
    lp_event *event;

    snprintf(category, sizeof category, "load-%" PRIu64, n % (uint64_t)pool->categories);
    memset(data, 'x', (size_t)pool->bytes);
    data[0] = data[pool->bytes - 1] = '"';
    if (lp_event_new(lp_id_make(event_pool_seq(pool, n), n * 2654435761u), lp_str_of(category),
                     (lp_str){data, (size_t)pool->bytes}, &event) != LP_OK)
        fail("an event could not be made");
    return event;
}

void event_pool_fill(event_pool *pool)
{
    for (size_t i = 0; i < EVENT_POOL; i++) {
        lp_event_unref(pool->at[i]);
        pool->at[i] = make(pool, pool->made++);
    }
}

void event_pool_free(event_pool *pool)
{
    for (size_t i = 0; i < EVENT_POOL; i++) {
        lp_event_unref(pool->at[i]);
        pool->at[i] = NULL;
    }
}
