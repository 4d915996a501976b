/* See dead.h. */
#include "dead.h"

#include <stdlib.h>
#include <string.h>

#include <longpoll/status.h>

enum { CAPACITY_MIN = 1024 };

void lp__dead_free(lp__dead *dead)
{
    free(dead->at);
    *dead = (lp__dead){0};
}

/* Room for one more: that of dropped numbers first. */
static int make_room(lp__dead *dead)
{
    if (dead->first + dead->count < dead->capacity)
        return LP_OK;
    if (dead->first > dead->capacity / 2) {
        memmove(dead->at, dead->at + dead->first, dead->count * sizeof(*dead->at));
        dead->first = 0;
        return LP_OK;
    }
    size_t capacity = dead->capacity == 0 ? CAPACITY_MIN : dead->capacity * 2;
    uint64_t *at = realloc(dead->at, capacity * sizeof(*at));
    if (at == NULL)
        return LP_ENOMEM;
    dead->at = at;
    dead->capacity = capacity;
    return LP_OK;
}

int lp__dead_add(lp__dead *dead, uint64_t seq)
{
    if (make_room(dead) != LP_OK)
        return LP_ENOMEM;
    size_t end = dead->first + dead->count++;
    dead->at[end] = seq;
    if (dead->count > 1 && dead->at[end - 1] > seq)
        dead->is_unsorted = true;
    return LP_OK;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

size_t lp__dead_smallest(lp__dead *dead, size_t max, const uint64_t **out)
{
    *out = NULL;
    if (dead->count == 0)
        return 0;
    if (dead->is_unsorted)
        qsort(dead->at + dead->first, dead->count, sizeof(*dead->at), compare);
    dead->is_unsorted = false;
    *out = dead->at + dead->first;
    return dead->count < max ? dead->count : max;
}

void lp__dead_drop(lp__dead *dead, size_t count)
{
    dead->first += count;
    dead->count -= count;
    if (dead->count == 0)
        dead->first = 0;
}
