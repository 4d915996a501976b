/* See group.h. */
#include "group.h"

#include <stdarg.h>

#include "check.h"

static void on_published(void *ctx, const lp_publish_result *result)
{
    test_group *group = ctx;
    test_world *world = group->world;
    world_check_callback(world);
    CHECK_IS(group->calls, 0);
    CHECK_IS(result->event_count, group->count);
    CHECK(result->events == NULL || result->error.status == LP_OK);
    CHECK(result->events != NULL || result->error.status != LP_OK || result->repeated);
    CHECK((result->error.status == LP_OK) == (result->error.message[0] == '\0'));
    group->calls++;
    group->place = ++world->completions;
    group->error = result->error;
    group->repeated = result->repeated;
    group->has_events = result->events != NULL;
    if (group->has_events) {
        group->events = malloc(group->count * sizeof(*group->events));
        CHECK(group->events != NULL);
        for (size_t i = 0; i < group->count; i++) {
            group->events[i] = world_hold(world, result->events[i]);
            CHECK(i == 0 ||
                  lp_event_seq(group->events[i]) == lp_event_seq(group->events[i - 1]) + 1);
        }
    }
    if (group->then != NULL)
        group->then(group);
}

static int publish(test_group *out, test_world *world, const char *key,
                   const lp_publish_item *items, size_t count)
{
    lp_publish_request request = LP_PUBLISH_REQUEST_INIT;
    request.items = items;
    request.item_count = count;
    if (key != NULL)
        request.idempotency_key = lp_str_of(key);
    out->world = world;
    out->count = count;
    world->calling++;
    int status = lp_publish_all(world->manager, &request, on_published, out);
    world->calling--;
    return status;
}

static lp_publish_item item_of(const char *text)
{
    const char *data = strchr(text, '=');
    CHECK(data != NULL);
    return (lp_publish_item){{text, (size_t)(data - text)}, lp_str_of(data + 1)};
}

int group_publish(test_group *out, test_world *world, const char *key, ...)
{
    lp_publish_item items[GROUP_MAX];
    size_t count = 0;
    const char *text;
    va_list args;
    va_start(args, key);
    while ((text = va_arg(args, const char *)) != NULL) {
        CHECK(count < GROUP_MAX);
        items[count++] = item_of(text);
    }
    va_end(args);
    return publish(out, world, key, items, count);
}

int group_publish_many(test_group *out, test_world *world, const char *key, size_t count,
                       const char *category, lp_str data)
{
    lp_publish_item *items = malloc(count * sizeof(*items));
    CHECK(items != NULL);
    for (size_t i = 0; i < count; i++)
        items[i] = (lp_publish_item){lp_str_of(category), data};
    int status = publish(out, world, key, items, count);
    free(items);
    return status;
}

void group_run(test_group *out, test_world *world, const char *key, const char *item)
{
    *out = (test_group){0};
    CHECK_IS(group_publish(out, world, key, item, NULL), LP_OK);
    group_await(out);
}

void group_await(test_group *group)
{
    world_run(group->world, &group->calls, 1);
}

void group_free(test_group *group)
{
    free(group->events);
    group->events = NULL;
}
