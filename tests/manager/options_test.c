/* lp_manager_options: what is refused, and what each bound does at its edge. Without a store, as
 * far as that goes; the bounds on what is pending are tested with one, in commit.c. */
#include <criterion/criterion.h>

#include <stddef.h>

#include "../../core/manager/inside.h"
#include "world.h"

/* ---- defaults and refusals ---------------------------------------------- */

static const struct {
    const char *name;
    size_t offset;
    int64_t fallback;
} numbers[] = {
#define NUMBER(name, fallback)                                                                     \
    {                                                                                              \
#name, offsetof(lp_manager_options, name), fallback                                        \
    }
    NUMBER(max_timeout_s, 110),
    NUMBER(event_buffer_max, 250),
    NUMBER(event_ttl_s, 0),
    NUMBER(waiters_max, 20000),
    NUMBER(categories_max, 100000),
    NUMBER(events_max, 1000000),
    NUMBER(events_bytes_max, 256 << 20),
    NUMBER(event_bytes_max, 1 << 20),
    NUMBER(answer_bytes_max, 4 << 20),
    NUMBER(pending_max, 65536),
    NUMBER(pending_bytes_max, 64 << 20),
};
enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };

static void set(lp_manager_options *options, int i, int64_t value)
{
    memcpy((char *)options + numbers[i].offset, &value, sizeof(value));
}

Test(options, that_are_zero_get_their_defaults)
{
    test_world world;
    world_init(&world);
    world_start(&world);
    const lp_manager_options *filled = lp__manager_options(world.manager);
    for (int i = 0; i < NUMBERS; i++) {
        int64_t value;
        memcpy(&value, (const char *)filled + numbers[i].offset, sizeof(value));
        cr_assert_eq(value, numbers[i].fallback, "%s", numbers[i].name);
    }
    cr_assert_not(filled->delete_after_first_retrieval);
    world_end(&world);
}

Test(options, may_be_left_out)
{
    uv_loop_t loop;
    lp_manager *manager;
    cr_assert_eq(uv_loop_init(&loop), 0);
    cr_assert_eq(lp_manager_start(&loop, NULL, &manager, NULL), LP_OK);
    cr_assert_eq(lp_manager_state(manager), LP_STATE_SERVING);
    cr_assert_eq(lp_manager_shutdown(manager, 0, NULL, NULL), LP_OK);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(lp_manager_free(manager), LP_OK);
    cr_assert_eq(uv_loop_close(&loop), 0);
}

Test(options, that_are_negative_are_refused_by_name)
{
    test_world world;
    world_init(&world);
    for (int i = 0; i < NUMBERS; i++) {
        for (int n = 0; n < 2; n++) {
            lp_error error = {LP_OK, ""};
            set(&world.options, i, n == 0 ? -1 : INT64_MIN);
            cr_assert_eq(world_begin(&world, &error), LP_EINVAL, "%s", numbers[i].name);
            cr_assert_eq(error.status, LP_EINVAL);
            cr_assert_not_null(strstr(error.message, numbers[i].name), "%s", error.message);
            cr_assert_null(world.manager);
        }
        set(&world.options, i, 0);
    }
    world_close(&world);
}

Test(options, that_are_too_large_are_refused_by_name_or_work)
{
    test_world world;
    world_init(&world);
    for (int i = 0; i < NUMBERS; i++) {
        lp_error error = {LP_OK, ""};
        set(&world.options, i, INT64_MAX);
        cr_assert_eq(world_begin(&world, &error), LP_EINVAL, "%s", numbers[i].name);
        cr_assert_not_null(strstr(error.message, numbers[i].name), "%s", error.message);
        long long most;
        cr_assert_eq(sscanf(strstr(error.message, "at most"), "at most %lld", &most), 1);
        set(&world.options, i, most);
    }
    world_start(&world); /* all of them at their most */
    test_poll polled = {0};
    world_keep(&world, "a", "1");
    world_answer(&world, query_all("a"), &polled);
    cr_assert_eq(polled.count, 1);
    lp_query query = query_now("a");
    query.timeout_s = world.options.max_timeout_s;
    cr_assert_eq(world_poll(&world, query, &polled), LP_OK);
    world_turn(&world);
    cr_assert_eq(polled.calls, 0);
    world_end(&world);
}

Test(options, from_another_version_of_the_header_are_read_as_far_as_they_go)
{
    test_world world;
    lp_error error = {LP_OK, ""};
    world_init(&world);
    world.options.struct_size = 0;
    cr_assert_eq(world_begin(&world, &error), LP_EINVAL);
    cr_assert_not_null(strstr(error.message, "LP_MANAGER_OPTIONS_INIT"));
    world.options.struct_size = offsetof(lp_manager_options, waiters_max);
    world.options.waiters_max = -1; /* beyond what its author knew */
    world.options.event_buffer_max = 3;
    cr_assert_eq(world_begin(&world, &error), LP_OK);
    cr_assert_eq(lp__manager_options(world.manager)->waiters_max, 20000);
    cr_assert_eq(lp__manager_options(world.manager)->event_buffer_max, 3);
    world_end(&world);
}

/* ---- waiters_max -------------------------------------------------------- */

Test(options, waiters_max_refuses_one_poll_more_until_a_place_comes_back)
{
    test_world world;
    test_poll polled[3] = {{0}};
    world_init(&world);
    world.options.waiters_max = 2;
    world_start(&world);
    cr_assert_eq(world_poll(&world, query_now("a"), &polled[0]), LP_OK);
    cr_assert_eq(world_poll(&world, query_now("b"), &polled[1]), LP_OK);
    cr_assert_eq(world_poll(&world, query_now("c"), &polled[2]), LP_EFULL);
    world_cancel(&world, &polled[0]);
    cr_assert_eq(world_poll(&world, query_now("c"), &polled[2]), LP_OK);
    cr_assert_eq(world_poll(&world, query_now("a"), &polled[0]), LP_EFULL);
    world_turn(&world);
    world_keep(&world, "b", "1");
    world_run(&world, &polled[1].calls, 1);
    cr_assert_eq(world_poll(&world, query_now("a"), &polled[0]), LP_OK);
    world_end(&world);
}

/* ---- rings -------------------------------------------------------------- */

static void keep_many(test_world *world, const char *category, int count, lp_event **events)
{
    for (int i = 0; i < count; i++) {
        char data[16];
        snprintf(data, sizeof(data), "%d", i);
        events[i] = world_keep(world, category, data);
    }
}

Test(options, event_buffer_max_drops_the_oldest_of_the_category_and_tells_of_the_gap)
{
    test_world world;
    test_poll polled = {0};
    lp_event *events[4];
    world_init(&world);
    world.options.event_buffer_max = 3;
    world_start(&world);
    keep_many(&world, "a", 3, events);
    world_answer(&world, query_after("a", events[0]), &polled);
    cr_assert_not(polled.gap);
    cr_assert_eq(world_stats(&world).evicted, 0);

    events[3] = world_keep(&world, "a", "3");
    cr_assert_eq(world_stats(&world).evicted, 1);
    cr_assert_eq(world_stats(&world).events, 3);
    world_answer(&world, query_after("a", events[0]), &polled);
    cr_assert_not(polled.gap, "it has the one that is gone");
    cr_assert_eq(polled.count, 3);
    world_answer(&world, query_from("a", events[0]), &polled);
    cr_assert(polled.gap);
    cr_assert_eq(polled.count, 3);
    cr_assert_eq(polled.events[0], events[1]);
    world_end(&world);
}

Test(options, events_max_drops_the_oldest_of_all_and_tells_of_the_gap)
{
    test_world world;
    test_poll polled = {0};
    lp_event *quiet[2], *loud[4];
    world_init(&world);
    world.options.events_max = 5;
    world_start(&world);
    keep_many(&world, "quiet", 2, quiet);
    keep_many(&world, "loud", 3, loud);
    cr_assert_eq(world_stats(&world).events, 5);
    cr_assert_eq(world_stats(&world).evicted, 0);
    loud[3] = world_keep(&world, "loud", "3");
    cr_assert_eq(world_stats(&world).events, 5);
    world_answer(&world, query_from("quiet", quiet[0]), &polled);
    cr_assert(polled.gap);
    cr_assert_eq(polled.count, 1);
    cr_assert_eq(polled.events[0], quiet[1]);
    world_answer(&world, query_after("loud", loud[0]), &polled);
    cr_assert_not(polled.gap);
    cr_assert_eq(polled.count, 3);
    world_end(&world);
}

Test(options, events_bytes_max_drops_the_oldest_of_all_and_tells_of_the_gap)
{
    test_world world;
    test_poll polled = {0};
    lp_event *events[4];
    world_init(&world);
    world_start(&world);
    keep_many(&world, "a", 3, events);
    int64_t bytes = (int64_t)world_stats(&world).events_bytes;
    world_end(&world);

    world_init(&world);
    world.options.events_bytes_max = bytes; /* three fit exactly */
    world_start(&world);
    keep_many(&world, "a", 3, events);
    cr_assert_eq(world_stats(&world).events, 3);
    cr_assert_eq(world_stats(&world).events_bytes, bytes);
    events[3] = world_keep(&world, "b", "3");
    cr_assert_eq(world_stats(&world).events, 3);
    world_answer(&world, query_from("a", events[0]), &polled);
    cr_assert(polled.gap);
    cr_assert_eq(polled.count, 2);
    world_end(&world);

    world_init(&world);
    world.options.events_bytes_max = bytes - 1; /* and with one byte less, two */
    world_start(&world);
    keep_many(&world, "a", 3, events);
    cr_assert_eq(world_stats(&world).events, 2);
    world_end(&world);
}

Test(options, events_bytes_max_holds_one_event_that_is_larger)
{
    test_world world;
    test_poll polled = {0};
    world_init(&world);
    world.options.events_bytes_max = 1;
    world_start(&world);
    world_keep(&world, "a", "1");
    lp_event *event = world_keep(&world, "a", "2");
    cr_assert_eq(world_stats(&world).events, 1);
    world_answer(&world, query_all("a"), &polled);
    cr_assert_eq(polled.events[0], event);
    world_end(&world);
}

Test(options, categories_max_forgets_the_stalest_and_tells_of_the_gap)
{
    test_world world;
    test_poll polled = {0};
    lp_event *events[3];
    world_init(&world);
    world.options.categories_max = 2;
    world_start(&world);
    events[0] = world_keep(&world, "a", "1");
    events[1] = world_keep(&world, "b", "1");
    cr_assert_eq(world_stats(&world).categories, 2);
    events[2] = world_keep(&world, "c", "1");
    cr_assert_eq(world_stats(&world).categories, 2);
    cr_assert_eq(world_stats(&world).events, 2);
    world_answer(&world, query_from("b", events[1]), &polled);
    cr_assert_eq(polled.events[0], events[1]);

    /* "a" is gone, and whoever had not seen its event is told when it comes back */
    cr_assert_eq(world_poll(&world, query_from("a", events[0]), &polled), LP_OK);
    world_turn(&world);
    world_keep(&world, "a", "2");
    world_run(&world, &polled.calls, 1);
    cr_assert(polled.gap);
    cr_assert_eq(polled.count, 1);
    world_end(&world);
}

Test(options, categories_max_leaves_categories_with_polls_alone)
{
    test_world world;
    test_poll polled = {0};
    world_init(&world);
    world.options.categories_max = 2;
    world_start(&world);
    lp_event *event = world_keep(&world, "a", "1");
    cr_assert_eq(world_poll(&world, query_after("a", event), &polled), LP_OK);
    world_turn(&world);
    world_keep(&world, "b", "1");
    world_keep(&world, "c", "1");
    world_keep(&world, "d", "1");
    cr_assert_eq(polled.calls, 0);
    event = world_keep(&world, "a", "2");
    world_run(&world, &polled.calls, 1);
    cr_assert_eq(polled.count, 1); /* with a gap or not: the floor has risen with the others */
    cr_assert_eq(polled.events[0], event);
    world_end(&world);
}

Test(options, event_ttl_s_expires_events_by_itself_and_tells_of_the_gap)
{
    test_world world;
    test_poll polled = {0}, waiting = {0};
    world_init(&world);
    world.options.event_ttl_s = 1;
    world_start(&world);
    lp_event *event = world_keep(&world, "a", "1");
    world_answer(&world, query_all("a"), &polled);
    cr_assert_eq(polled.count, 1);
    lp_query query = query_after("a", event);
    query.timeout_s = 2;
    world_answer(&world, query, &waiting); /* in which time the event goes */
    cr_assert_eq(waiting.count, 0);
    cr_assert_not(waiting.gap);
    cr_assert_eq(world_stats(&world).expired, 1);
    cr_assert_eq(world_stats(&world).events, 0);
    query = query_from("a", event);
    query.timeout_s = 1;
    world_answer(&world, query, &polled);
    cr_assert_eq(polled.count, 0);
    cr_assert(polled.gap);
    world_end(&world);
}

/* ---- answer_bytes_max --------------------------------------------------- */

/* Follows the documented loop until all is there: each event once, in order. */
static int follow(test_world *world, lp_event **events, int count, bool with_id)
{
    test_poll polled = {0};
    lp_query query = with_id ? query_from("a", events[0])
                             : query_since("a", lp_event_timestamp_ms(events[0]) - 1);
    int seen = 0, answers = 0;
    while (seen < count) {
        world_answer(world, query, &polled);
        answers++;
        cr_assert_gt(polled.count, 0);
        for (size_t i = 0; i < polled.count; i++)
            cr_assert_eq(polled.events[i], events[seen++]);
        lp_event *last = events[seen - 1];
        query = with_id ? query_after("a", last) : query_since("a", lp_event_timestamp_ms(last));
    }
    return answers;
}

Test(options, answer_bytes_max_carries_the_rest_over_to_the_next_poll)
{
    enum { COUNT = 40 };
    test_world world;
    test_poll polled = {0};
    lp_event *events[COUNT];
    world_init(&world);
    world.options.answer_bytes_max = 1000; /* some seven of them */
    world_start(&world);
    for (int i = 0; i < COUNT; i++) {
        events[i] = world_keep(&world, "a", "\"1234567890123456789012345678901234567890\"");
        if (i % 4 == 3) /* some share a millisecond, some do not */
            uv_sleep(2);
    }
    cr_assert_geq(follow(&world, events, COUNT, true), COUNT / 8);
    cr_assert_gt(follow(&world, events, COUNT, false), 1);
    world_answer(&world, query_after("a", events[0]), &polled);
    size_t bytes = 0;
    for (size_t i = 0; i < polled.count; i++)
        bytes += lp_event_wire(polled.events[i]).len + 1;
    cr_assert_leq(bytes, 1000);
    cr_assert_gt(bytes + lp_event_wire(events[0]).len + 1, 1000, "it is used as far as it goes");
    world_end(&world);
}

Test(options, answer_bytes_max_lets_one_event_through_that_is_larger)
{
    test_world world;
    lp_event *events[5];
    world_init(&world);
    world.options.answer_bytes_max = 1;
    world_start(&world);
    for (int i = 0; i < 5; i++) {
        events[i] = world_keep(&world, "a", "1");
        uv_sleep(2);
    }
    cr_assert_eq(follow(&world, events, 5, true), 5);
    cr_assert_eq(follow(&world, events, 5, false), 5);
    world_end(&world);
}
