/* Publishing several events, and publishing once, in a world. As world.h says, on its thread. */
#ifndef TESTS_MANAGER_GROUP_H
#define TESTS_MANAGER_GROUP_H

#include "world.h"

enum { GROUP_MAX = 8 };

/* A request and its completion. */
typedef struct test_group {
    test_world *world;
    int calls, place;
    lp_error error;
    size_t count;      /* of its items */
    bool has_events;   /* in the result */
    lp_event **events; /* `count` of them, borrowed from the world, or NULL */
    bool repeated;
    void (*then)(struct test_group *group);
    void *user;
} test_group;

/* Items are "category=data", as many as come before a NULL. `key` may be NULL. */
int group_publish(test_group *out, test_world *world, const char *key, ...);
/* `count` times the same item. */
int group_publish_many(test_group *out, test_world *world, const char *key, size_t count,
                       const char *category, lp_str data);
/* Publishes one item and runs until its end. */
void group_run(test_group *out, test_world *world, const char *key, const char *item);
/* Runs until it has ended. */
void group_await(test_group *group);
void group_free(test_group *group);

#endif
