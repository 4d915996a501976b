/* lp_subscribe and lp_cancel without a store: which queries are refused, what is answered, and
 * calls from within callbacks. */
#include <criterion/criterion.h>

#include "world.h"

/* ---- queries ------------------------------------------------------------ */

Test(subscribe, refuses_a_query_that_is_wrong)
{
    char category[LP_CATEGORY_MAX + 2];
    test_world world;
    test_poll polled = {0};
    world_init(&world);
    world.options.max_timeout_s = 120;
    world_start(&world);

    lp_query wrong[8];
    for (int i = 0; i < 8; i++)
        wrong[i] = query_now("a");
    memset(category, 'c', sizeof(category) - 1);
    category[sizeof(category) - 1] = '\0';
    wrong[0].category.len = 0;
    wrong[1].category = (lp_str){category, LP_CATEGORY_MAX + 1};
    wrong[2].timeout_s = 0;
    wrong[3].timeout_s = -1;
    wrong[4].timeout_s = 121;
    wrong[5].has_last_id = true;
    wrong[6].struct_size = 0;
    wrong[7].timeout_s = INT64_MAX;
    for (int i = 0; i < 8; i++)
        cr_assert_eq(world_poll(&world, wrong[i], &polled), LP_EINVAL, "query %d", i);
    cr_assert_eq(world_stats(&world).waiters, 0);
    world_end(&world);
}

static void poll_is(test_world *world, lp_query query, int status)
{
    test_poll polled = {0};
    cr_expect_eq(world_poll(world, query, &polled), status);
    if (status == LP_OK)
        world_cancel(world, &polled);
    cr_assert_eq(world_stats(world).waiters, 0);
}

Test(subscribe, checks_each_of_many_names)
{
    static const lp_str names[] = {{"b", 1}, {"c", 1}, {"d", 1}, {"", 0}};
    test_world world;
    world_init(&world);
    world.options.poll_categories_max = 3;
    world_start(&world);

    lp_query query = query_now("a");
    query.categories = names;
    query.category_count = 2;
    poll_is(&world, query, LP_OK);
    query.category_count = 3;
    poll_is(&world, query, LP_ETOOBIG);
    query.category.len = 0;
    poll_is(&world, query, LP_OK);
    query.category_count = SIZE_MAX;
    poll_is(&world, query, LP_ETOOBIG);

    query = query_now("a");
    query.prefixes = names + 2;
    query.prefix_count = 1;
    poll_is(&world, query, LP_OK);
    query.prefix_count = 2;
    poll_is(&world, query, LP_EINVAL);
    query.prefix_count = 4;
    poll_is(&world, query, LP_ETOOBIG);

    query = query_now("a");
    query.last = -1;
    poll_is(&world, query, LP_EINVAL);
    query.last = INT64_MAX;
    poll_is(&world, query, LP_OK);
    query.has_last_id = query.by_id = true; /* with by_id it needs no time */
    poll_is(&world, query, LP_OK);
    world_end(&world);
}

/* A program that was compiled with an older header knows less of a query. */
Test(subscribe, looks_at_no_member_that_the_caller_does_not_know)
{
    test_world world;
    world_init(&world);
    world_start(&world);
    lp_query query = query_now("a");
    query.struct_size = offsetof(lp_query, categories);
    query.category_count = query.prefix_count = 1; /* and no names: what lies behind is not ours */
    query.last = -1;
    poll_is(&world, query, LP_OK);
    query.category.len = 0;
    poll_is(&world, query, LP_EINVAL);
    world_end(&world);
}

Test(subscribe, waits_up_to_max_timeout_s)
{
    test_world world;
    test_poll least = {0}, most = {0};
    world_init(&world);
    world.options.max_timeout_s = 2;
    world_start(&world);
    lp_query query = query_now("a");
    query.timeout_s = 3;
    cr_assert_eq(world_poll(&world, query, &least), LP_EINVAL);
    query.timeout_s = 1;
    cr_assert_eq(world_poll(&world, query, &least), LP_OK);
    query.timeout_s = 2;
    cr_assert_eq(world_poll(&world, query, &most), LP_OK);
    world_run(&world, &world.answers, 2);
    cr_assert_eq(least.place, 1);
    cr_assert_eq(most.place, 2);
    cr_assert_eq(world_stats(&world).timed_out, 2);
    world_end(&world);
}

/* ---- answers ------------------------------------------------------------ */

Test(subscribe, gives_every_poll_the_events_behind_its_cursor)
{
    test_world world;
    test_poll polled = {0};
    world_init(&world);
    world_start(&world);
    lp_event *first = world_keep(&world, "a", "1");
    lp_event *second = world_keep(&world, "a", "2");
    world_keep(&world, "b", "3");

    world_answer(&world, query_all("a"), &polled);
    cr_assert_eq(polled.count, 2);
    cr_assert_eq(polled.events[0], first);
    cr_assert_eq(polled.events[1], second);
    world_answer(&world, query_after("a", first), &polled);
    cr_assert_eq(polled.count, 1);
    cr_assert_eq(polled.events[0], second);
    world_answer(&world, query_from("a", first), &polled);
    cr_assert_eq(polled.count, 2);
    world_answer(&world, query_since("a", lp_event_timestamp_ms(first) - 1), &polled);
    cr_assert_eq(polled.events[0], first);
    world_end(&world);
}

Test(subscribe, without_a_cursor_gets_what_comes_from_now_on)
{
    test_world world;
    test_poll polled = {0};
    world_init(&world);
    world_start(&world);
    world_keep(&world, "a", "1");
    cr_assert_eq(world_poll(&world, query_now("a"), &polled), LP_OK);
    world_turn(&world);
    lp_event *event = world_keep(&world, "a", "2");
    world_run(&world, &polled.calls, 1);
    cr_assert_eq(polled.count, 1);
    cr_assert_eq(polled.events[0], event);
    cr_assert_not(polled.gap);
    world_end(&world);
}

Test(subscribe, wakes_all_polls_of_a_category_with_the_same_events)
{
    enum { COUNT = 50 };
    static test_poll polled[COUNT];
    test_world world;
    struct test_poll other = {0};
    world_init(&world);
    world_start(&world);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(world_poll(&world, query_now("a"), &polled[i]), LP_OK);
    cr_assert_eq(world_poll(&world, query_now("b"), &other), LP_OK);
    world_turn(&world);
    lp_event *event = world_keep(&world, "a", "1");
    world_run(&world, &world.answers, COUNT);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(polled[i].events[0], event);
    world_turn(&world);
    cr_assert_eq(other.calls, 0);
    cr_assert_eq(world_stats(&world).waiters, 1);
    world_end(&world);
    cr_assert(other.closing);
}

/* Promise 2: by values, whatever the clock did meanwhile. */
Test(subscribe, times_out_with_a_timestamp_that_misses_nothing)
{
    test_world world;
    test_poll polled = {0}, next = {0};
    world_init(&world);
    world_start(&world);
    lp_event *before = world_keep(&world, "a", "1");
    lp_query query = query_after("a", before);
    query.timeout_s = 1;
    world_answer(&world, query, &polled);
    cr_assert_eq(polled.count, 0);
    cr_assert_not(polled.gap);
    cr_assert_not(polled.closing);
    cr_assert_geq(polled.timestamp_ms, lp_event_timestamp_ms(before));

    lp_event *after = world_keep(&world, "a", "2");
    cr_assert_gt(lp_event_timestamp_ms(after), polled.timestamp_ms);
    world_answer(&world, query_since("a", polled.timestamp_ms), &next);
    cr_assert_eq(next.count, 1);
    cr_assert_eq(next.events[0], after);
    cr_assert_not(next.gap);
    world_end(&world);
}

Test(subscribe, is_told_of_a_gap_where_it_was_not_served)
{
    test_world world;
    test_poll polled = {0};
    world_init(&world);
    world_start(&world);
    lp_event *event = world_keep(&world, "a", "1");
    world_answer(&world, query_since("a", lp_event_timestamp_ms(event) - 3600000), &polled);
    cr_assert(polled.gap, "without a store nobody knows what was before the start");
    cr_assert_eq(polled.count, 1);
    world_end(&world);
}

/* ---- from within callbacks ---------------------------------------------- */

static void poll_on(test_poll *polled)
{
    test_poll *next = polled->user;
    cr_assert_eq(
        world_poll(polled->world, query_after("a", polled->events[polled->count - 1]), next),
        LP_OK);
    cr_assert_eq(next->calls, 0);
}

Test(subscribe, can_be_called_from_an_answer)
{
    test_world world;
    test_poll second = {0}, first = {.then = poll_on, .user = &second};
    world_init(&world);
    world_start(&world);
    lp_event *before = world_keep(&world, "a", "0");
    cr_assert_eq(world_poll(&world, query_after("a", before), &first), LP_OK);
    world_turn(&world);
    lp_event *one = world_keep(&world, "a", "1");
    world_run(&world, &first.calls, 1);
    lp_event *two = world_keep(&world, "a", "2");
    world_run(&world, &second.calls, 1);
    cr_assert_eq(first.events[0], one);
    cr_assert_eq(second.count, 1);
    cr_assert_eq(second.events[0], two);
    world_end(&world);
}

static void cancel_others(test_poll *polled)
{
    test_poll *others = polled->user;
    for (int i = 0; i < 4; i++)
        if (others[i].subscription != NULL && &others[i] != polled)
            world_cancel(polled->world, &others[i]);
}

Test(subscribe, can_be_canceled_from_the_answer_of_a_neighbour)
{
    test_world world;
    test_poll polls[4] = {{0}};
    world_init(&world);
    world_start(&world);
    for (int i = 0; i < 4; i++) {
        polls[i] = (test_poll){.then = cancel_others, .user = polls};
        cr_assert_eq(world_poll(&world, query_now("a"), &polls[i]), LP_OK);
    }
    world_turn(&world);
    world_keep(&world, "a", "1");
    world_run(&world, &world.answers, 1);
    cr_assert_eq(world_stats(&world).waiters, 0);
    world_end(&world);
    cr_assert_eq(world.answers, 1);
}

/* The same before the first turn of the loop has looked at them. */
Test(subscribe, can_be_canceled_from_the_answer_of_a_neighbour_that_came_with_it)
{
    test_world world;
    test_poll polls[4] = {{0}};
    world_init(&world);
    world_start(&world);
    world_keep(&world, "a", "1");
    for (int i = 0; i < 4; i++) {
        polls[i] = (test_poll){.then = cancel_others, .user = polls};
        cr_assert_eq(world_poll(&world, query_all("a"), &polls[i]), LP_OK);
    }
    world_run(&world, &world.answers, 1);
    world_turn(&world);
    cr_assert_eq(world.answers, 1);
    cr_assert_eq(world_stats(&world).waiters, 0);
    world_end(&world);
}

static void on_answer_that_cancels_itself(void *ctx, const lp_answer *answer)
{
    lp_subscription **own = ctx;
    cr_assert_eq(answer->event_count, 1);
    lp_cancel(*own);
    *own = NULL;
}

static bool is_null(void *ctx)
{
    return *(lp_subscription **)ctx == NULL;
}

Test(subscribe, may_be_canceled_in_its_own_answer)
{
    test_world world;
    lp_subscription *own;
    world_init(&world);
    world.options.delete_after_first_retrieval = true;
    world_start(&world);
    world_keep(&world, "a", "1");
    lp_query query = query_all("a");
    cr_assert_eq(lp_subscribe(world.manager, &query, on_answer_that_cancels_itself, &own, &own),
                 LP_OK);
    world_run_until(&world, is_null, &own);
    cr_assert_eq(world_stats(&world).waiters, 0);
    world_end(&world);
}

static void cancel_from_completion(test_publish *published)
{
    world_cancel(published->world, published->user);
}

Test(subscribe, can_be_canceled_from_a_completion)
{
    test_world world;
    test_poll polled = {0};
    test_publish published = {.then = cancel_from_completion, .user = &polled};
    world_init(&world);
    world_start(&world);
    cr_assert_eq(world_poll(&world, query_now("b"), &polled), LP_OK);
    cr_assert_eq(world_publish(&world, "a", "1", &published), LP_OK);
    world_run(&world, &published.calls, 1);
    world_keep(&world, "b", "1");
    world_turn(&world);
    cr_assert_eq(polled.calls, 0);
    world_end(&world);
}

Test(subscribe, that_was_canceled_at_once_leaves_nothing_behind)
{
    test_world world;
    test_poll polled = {0};
    world_init(&world);
    world_start(&world);
    cr_assert_eq(world_poll(&world, query_now("a"), &polled), LP_OK);
    cr_assert_eq(world_stats(&world).waiters, 1);
    world_cancel(&world, &polled);
    cr_assert_eq(world_stats(&world).waiters, 0);
    cr_assert_eq(world_stats(&world).categories, 0);
    world_turn(&world);
    cr_assert_eq(polled.calls, 0);
    world_end(&world);
}

/* ---- calls that the manager does not expect ----------------------------- */

typedef struct late_caller {
    uv_prepare_t prepare;
    test_world *world;
    test_poll *polled;
    bool armed;
} late_caller;

static void on_late_prepare(uv_prepare_t *prepare)
{
    late_caller *caller = prepare->data;
    if (!caller->armed)
        return;
    caller->armed = false;
    if (world_poll(caller->world, query_all("a"), caller->polled) != LP_OK)
        abort();
}

/* The last moment before the loop waits: nothing but the library itself can wake it. */
Test(subscribe, is_answered_when_it_was_called_just_before_the_loop_waits)
{
    test_world world;
    test_poll polled = {0};
    late_caller caller = {.world = &world, .polled = &polled};
    world_init(&world);
    uv_prepare_init(&world.loop, &caller.prepare);
    caller.prepare.data = &caller;
    uv_prepare_start(&caller.prepare, on_late_prepare); /* before the manager's, runs behind it */
    world_start(&world);
    world_keep(&world, "a", "1");
    world_turn(&world);
    caller.armed = true;
    world_run(&world, &polled.calls, 1);
    cr_assert_eq(polled.count, 1);
    uv_close((uv_handle_t *)&caller.prepare, NULL);
    world_end(&world);
}

/* ---- delete after first retrieval --------------------------------------- */

Test(subscribe, takes_events_along_with_delete_after_first_retrieval)
{
    enum { COUNT = 20 };
    test_world world;
    test_poll polled = {0}, again = {0};
    char data[16];
    world_init(&world);
    world.options.delete_after_first_retrieval = true;
    world.options.event_buffer_max = COUNT;
    world_start(&world);
    lp_event *last = NULL;
    for (int i = 0; i < COUNT + COUNT / 2; i++) { /* the ring's end is in the middle of them */
        snprintf(data, sizeof(data), "%d", i);
        last = world_keep(&world, "a", data);
    }
    world_answer(&world, query_all("a"), &polled);
    cr_assert_eq(polled.count, COUNT);
    cr_assert_eq(polled.events[COUNT - 1], last);
    cr_assert_eq(world_stats(&world).events, 0);
    cr_assert_eq(world_stats(&world).retrieved, COUNT);

    cr_assert_eq(world_poll(&world, query_all("a"), &again), LP_OK);
    world_turn(&world);
    cr_assert_eq(again.calls, 0);
    last = world_keep(&world, "a", "\"new\"");
    world_run(&world, &again.calls, 1);
    cr_assert_eq(again.count, 1);
    cr_assert_eq(again.events[0], last);
    world_end(&world);
}

/* The events are borrowed: nobody but the ring holds them while they are taken out of it. */
static void on_answer_that_keeps_nothing(void *ctx, const lp_answer *answer)
{
    *(int *)ctx += (int)answer->event_count;
}

Test(subscribe, frees_events_that_were_retrieved)
{
    enum { COUNT = 20 };
    test_world world;
    lp_subscription *subscription;
    int count = 0;
    world_init(&world);
    world.options.delete_after_first_retrieval = true;
    world.options.event_buffer_max = COUNT;
    world_start(&world);
    lp_str a = lp_str_of("a"), one = lp_str_of("1");
    for (int i = 0; i < COUNT + COUNT / 2; i++)
        cr_assert_eq(lp_publish(world.manager, a, one, NULL, NULL), LP_OK);
    world_turn(&world);
    cr_assert_eq(world_stats(&world).events, COUNT);
    lp_query query = query_all("a");
    cr_assert_eq(
        lp_subscribe(world.manager, &query, on_answer_that_keeps_nothing, &count, &subscription),
        LP_OK);
    world_run(&world, &count, COUNT);
    cr_assert_eq(world_stats(&world).events, 0);
    cr_assert_eq(world_stats(&world).events_bytes, 0);
    world_end(&world);
}

Test(subscribe, refuses_lists_that_are_null)
{
    test_world world;
    lp_subscription *subscription;
    world_init(&world);
    world_start(&world);
    lp_query query = query_all("a");
    query.category_count = 1;
    cr_assert_eq(
        lp_subscribe(world.manager, &query, on_answer_that_keeps_nothing, NULL, &subscription),
        LP_EINVAL);
    query.category_count = 0;
    query.prefix_count = 1;
    cr_assert_eq(
        lp_subscribe(world.manager, &query, on_answer_that_keeps_nothing, NULL, &subscription),
        LP_EINVAL);
    lp_publish_request request = LP_PUBLISH_REQUEST_INIT;
    request.item_count = 2;
    cr_assert_eq(lp_publish_all(world.manager, &request, NULL, NULL), LP_EINVAL);
    world_end(&world);
}
