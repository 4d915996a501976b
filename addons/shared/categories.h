/* Horizons by category. No I/O. Used on the add-on's thread. */
#ifndef LP_ADDONS_CATEGORIES_H
#define LP_ADDONS_CATEGORIES_H

#include <longpoll/event.h>

typedef struct lp__category {
    uint64_t seq;
    size_t len;
    char text[];
} lp__category;

typedef struct lp__categories { /* zeroed: empty */
    lp__category **slots;
    size_t count, capacity;
    uint64_t newest; /* no horizon is above this */
} lp__categories;

void lp__categories_free(lp__categories *categories);
/* The higher one counts. LP_ENOMEM leaves them as they were. */
int lp__categories_put(lp__categories *categories, lp_str category, uint64_t seq);
/* 0: it has none. */
uint64_t lp__categories_find(const lp__categories *categories, lp_str category);

#endif
