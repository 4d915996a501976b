/* Several events in one publish: kept all or none, in one batch, one behind the other. A plain
 * program, for ThreadSanitizer. */
#include "check.h"
#include "group.h"
#include "stored.h"

static void check_kept(test_shelf *shelf, const test_group *group)
{
    CHECK_IS(group->error.status, LP_OK);
    for (size_t i = 0; i < group->count; i++)
        CHECK(shelf_has(shelf, lp_event_seq(group->events[i])));
}

static void group_without_a_store_is_seen_whole_by_every_category(void)
{
    test_world world;
    test_group group = {0};
    test_poll a = {0}, b = {0};
    world_init(&world);
    world_start(&world);
    CHECK_IS(world_poll(&world, query_now("a"), &a), LP_OK);
    CHECK_IS(group_publish(&group, &world, NULL, "a=1", "b=2", "a= 3 ", NULL), LP_OK);
    CHECK_IS(group.calls, 0);
    CHECK_IS(world_stats(&world).pending, 3);
    group_await(&group);
    world_run(&world, &a.calls, 1);
    CHECK_IS(a.count, 2);
    CHECK(a.events[0] == group.events[0] && a.events[1] == group.events[2]);
    CHECK(event_is(a.events[1], "3"));
    world_answer(&world, query_behind("b", lp_event_seq(group.events[1]) - 1), &b);
    CHECK(b.events[0] == group.events[1]);
    CHECK_IS(world_stats(&world).published, 3);
    CHECK_IS(world_stats(&world).pending, 0);
    group_free(&group);
    world_end(&world);
}

static void what_is_not_whole_is_refused_whole(void)
{
    test_world world;
    test_group group = {0};
    char key[LP_IDEMPOTENCY_KEY_MAX + 2];
    memset(key, 'k', sizeof(key));
    key[LP_IDEMPOTENCY_KEY_MAX + 1] = '\0';
    world_init(&world);
    world.options.event_bytes_max = 8;
    world.options.pending_max = 4;
    world.options.pending_bytes_max = 1000;
    world_start(&world);
    CHECK_IS(group_publish(&group, &world, NULL, NULL), LP_EINVAL);
    CHECK_IS(group_publish(&group, &world, key, "a=1", NULL), LP_EINVAL);
    CHECK_IS(group_publish(&group, &world, NULL, "a=1", "a=null", NULL), LP_EINVAL);
    CHECK_IS(group_publish(&group, &world, NULL, "a=1", "a=]", NULL), LP_EINVAL);
    CHECK_IS(group_publish(&group, &world, NULL, "a=1", "=1", NULL), LP_EINVAL);
    CHECK_IS(group_publish(&group, &world, NULL, "a=1", "a=123456789", NULL), LP_ETOOBIG);
    CHECK_IS(group_publish(&group, &world, NULL, "a=1", "a=1", "a=1", "a=1", "a=1", NULL),
             LP_ETOOBIG);
    lp_publish_request old = {.struct_size = sizeof(size_t)};
    CHECK_IS(lp_publish_all(world.manager, &old, NULL, NULL), LP_EINVAL);
    world_turn(&world);
    CHECK_IS(group.calls, 0);
    CHECK_IS(world_stats(&world).published, 0);
    CHECK_IS(world_stats(&world).pending, 0);
    CHECK_IS(world_stats(&world).pending_bytes, 0);
    key[LP_IDEMPOTENCY_KEY_MAX] = '\0';
    CHECK_IS(group_publish(&group, &world, key, "a=1", "a=2", NULL), LP_OK);
    group_await(&group);
    CHECK_IS(group.error.status, LP_OK);
    group_free(&group);
    world_end(&world);
}

/* Where it cannot fit at all the publisher is not told to try again. */
static void group_past_the_bounds_is_too_big_and_one_that_must_wait_is_not(void)
{
    static char large[600];
    test_world world;
    test_shelf shelf;
    test_group first = {0}, second = {0}, third = {0};
    memset(large, '1', sizeof(large));
    lp_str data = {large, sizeof(large)};
    stored_init(&world, &shelf);
    world.options.pending_max = 4;
    world.options.pending_bytes_max = 2500;
    world_start(&world);
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(group_publish_many(&first, &world, NULL, 4, "a", data), LP_ETOOBIG);
    CHECK_IS(group_publish_many(&first, &world, NULL, 3, "a", lp_str_of("1")), LP_OK);
    CHECK_IS(group_publish_many(&second, &world, NULL, 2, "a", lp_str_of("1")), LP_EFULL);
    CHECK_IS(lp_manager_health(world.manager, NULL), LP_OK);
    CHECK_IS(group_publish_many(&third, &world, NULL, 1, "a", lp_str_of("1")), LP_OK);
    lp_error why;
    CHECK_IS(lp_manager_health(world.manager, &why), LP_EFULL);
    CHECK_SAYS(why.message, "shelf");
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    group_await(&first);
    group_await(&third);
    CHECK_IS(group_publish_many(&second, &world, NULL, 2, "a", lp_str_of("1")), LP_OK);
    group_await(&second);
    CHECK_IS(world_stats(&world).pending, 0);
    CHECK_IS(world_stats(&world).refused, 6);
    group_free(&first);
    group_free(&second);
    group_free(&third);
    stored_end(&world, &shelf);
}

static void group_of_a_failed_batch_is_seen_by_nobody(void)
{
    test_world world;
    test_shelf shelf;
    test_group group = {0}, next = {0};
    test_poll polled = {0};
    stored_start(&world, &shelf);
    shelf_fail(&shelf, 1, LP_ENOSPC, "the shelf is full");
    CHECK_IS(group_publish(&group, &world, "key", "a=1", "a=2", NULL), LP_OK);
    group_await(&group);
    CHECK_IS(group.error.status, LP_ENOSPC);
    CHECK_SAYS(group.error.message, "the shelf is full");
    CHECK_IS(world_stats(&world).refused, 2);
    CHECK_IS(world_stats(&world).pending, 0);
    lp_error why;
    CHECK_IS(lp_manager_health(world.manager, &why), LP_ENOSPC);
    CHECK_SAYS(why.message, "the shelf is full");
    CHECK_IS(group_publish(&next, &world, "key", "a=3", "a=4", NULL), LP_OK);
    group_await(&next);
    check_kept(&shelf, &next);
    CHECK(!next.repeated);
    CHECK_IS(lp_manager_health(world.manager, &why), LP_OK);
    world_answer(&world, query_behind("a", 1), &polled);
    CHECK_IS(polled.count, 2);
    CHECK(polled.events[0] == next.events[0]);
    group_free(&next);
    stored_end(&world, &shelf);
}

static void refused_event_takes_its_group_along_and_nothing_else(void)
{
    test_world world;
    test_shelf shelf;
    test_group before = {0}, group = {0}, behind = {0}, again = {0};
    test_poll polled = {0};
    stored_init(&world, &shelf);
    shelf.refused = "3";
    shelf.refused_reason = "three is too many";
    world_start(&world);
    CHECK_IS(group_publish(&before, &world, "before", "a=1", "a=2", NULL), LP_OK);
    CHECK_IS(group_publish(&group, &world, "refused", "a=1", "b=3", "a=4", NULL), LP_OK);
    CHECK_IS(group_publish(&behind, &world, "behind", "a=5", NULL), LP_OK);
    group_await(&behind);
    CHECK_IS(shelf_batch_at(&shelf, 0).events, 6);
    check_kept(&shelf, &before);
    check_kept(&shelf, &behind);
    CHECK_IS(group.error.status, LP_ETOOBIG);
    CHECK_SAYS(group.error.message, "three is too many");
    CHECK(before.place < group.place && group.place < behind.place);
    world_answer(&world, query_behind("a", 1), &polled);
    CHECK_IS(polled.count, 3);
    CHECK_IS(shelf.key_count, 2);
    CHECK_IS(world_stats(&world).idempotency_keys, 2);

    /* its key is free, and the keys of the others are not */
    CHECK_IS(group_publish(&again, &world, "refused", "a=6", NULL), LP_OK);
    group_await(&again);
    check_kept(&shelf, &again);
    CHECK(!again.repeated);
    group_free(&again);
    group_run(&again, &world, "behind", "a=5");
    CHECK(again.repeated && again.events[0] == behind.events[0]);
    group_free(&before);
    group_free(&behind);
    group_free(&again);
    stored_end(&world, &shelf);
}

/* Promise of a batch: a group is never in two of them, however the limits of a batch fall. */
static void no_batch_splits_a_group(void)
{
    enum { GROUPS = 40, SIZE = 700, LARGE = 5000 };
    static char data[3000];
    static test_group groups[GROUPS];
    test_world world;
    test_shelf shelf;
    memset(groups, 0, sizeof(groups));
    memset(data, '1', sizeof(data));
    stored_init(&world, &shelf);
    world.options.event_buffer_max = world.options.pending_max = 1000000;
    world.options.pending_bytes_max = 1 << 30;
    world_start(&world);
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    for (int i = 0; i < GROUPS; i++) {
        size_t count = i == 20 ? LARGE : SIZE + (size_t)i;
        lp_str text = {data, i % 3 == 2 ? sizeof(data) : 1};
        CHECK_IS(group_publish_many(&groups[i], &world, NULL, count, "a", text), LP_OK);
        if (i % 7 == 0)
            world_turn(&world);
    }
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    group_await(&groups[GROUPS - 1]);
    int group = 0;
    CHECK(shelf.batch_count > 10);
    for (int i = 0; i < shelf.batch_count; i++) {
        size_t events = shelf_batch_at(&shelf, i).events;
        while (events > 0) {
            CHECK(group < GROUPS && groups[group].count <= events);
            events -= groups[group++].count;
        }
    }
    CHECK_IS(group, GROUPS);
    uint64_t last_seq = 0;
    for (int i = 0; i < GROUPS; i++) {
        check_kept(&shelf, &groups[i]);
        CHECK_IS(groups[i].place, i + 1);
        CHECK(lp_event_seq(groups[i].events[0]) > last_seq);
        last_seq = lp_event_seq(groups[i].events[groups[i].count - 1]);
        group_free(&groups[i]);
    }
    stored_end(&world, &shelf);
}

/* ---- threads ------------------------------------------------------------ */

enum { THREADS = 4, CALLS = 300 };

typedef struct publisher {
    uv_thread_t thread;
    test_world *world;
    int number, ended;
    uint64_t last_seq;
} publisher;

typedef struct thread_call {
    publisher *by;
    int number;
} thread_call;

static int calls_ended;

/* The data of an item is [publisher, call, item]. */
static void on_thread_call(void *ctx, const lp_publish_result *result)
{
    thread_call *call = ctx;
    publisher *by = call->by;
    CHECK_IS(result->error.status, LP_OK);
    CHECK_IS(call->number, by->ended);
    by->ended++;
    for (size_t i = 0; i < result->event_count; i++) {
        char data[64];
        snprintf(data, sizeof(data), "[%d,%d,%zu]", by->number, call->number, i);
        CHECK(event_is(result->events[i], data));
        uint64_t seq = lp_event_seq(result->events[i]);
        CHECK(i == 0 ? seq > by->last_seq : seq == by->last_seq + 1);
        by->last_seq = seq;
    }
    calls_ended++;
    free(call);
}

static void publish_groups(void *arg)
{
    publisher *by = arg;
    for (int n = 0; n < CALLS; n++) {
        char texts[5][64];
        lp_publish_item items[5];
        size_t count = (size_t)(1 + n % 5);
        for (size_t i = 0; i < count; i++) {
            snprintf(texts[i], sizeof(texts[i]), "[%d,%d,%zu]", by->number, n, i);
            items[i] = (lp_publish_item){lp_str_of("a"), lp_str_of(texts[i])};
        }
        char key[32];
        snprintf(key, sizeof(key), "%d-%d", by->number, n);
        lp_publish_request request = LP_PUBLISH_REQUEST_INIT;
        request.items = items;
        request.item_count = count;
        if (n % 2 == 0)
            request.idempotency_key = lp_str_of(key);
        thread_call *call = malloc(sizeof(*call));
        CHECK(call != NULL);
        *call = (thread_call){by, n};
        CHECK_IS(lp_publish_all(by->world->manager, &request, on_thread_call, call), LP_OK);
    }
}

static void publish_from_threads(test_world *world)
{
    publisher publishers[THREADS];
    memset(publishers, 0, sizeof(publishers));
    calls_ended = 0;
    for (int i = 0; i < THREADS; i++) {
        publishers[i].world = world;
        publishers[i].number = i;
        CHECK_IS(uv_thread_create(&publishers[i].thread, publish_groups, &publishers[i]), 0);
    }
    world_run(world, &calls_ended, THREADS * CALLS);
    for (int i = 0; i < THREADS; i++) {
        uv_thread_join(&publishers[i].thread);
        CHECK_IS(publishers[i].ended, CALLS);
    }
}

static void calls_of_a_thread_keep_their_order_without_a_store(void)
{
    test_world world;
    world_init(&world);
    world_start(&world);
    publish_from_threads(&world);
    CHECK_IS(world_stats(&world).idempotency_keys, THREADS * CALLS / 2);
    world_end(&world);
}

static void calls_of_a_thread_keep_their_order_with_a_store(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    world.options.event_buffer_max = THREADS * CALLS * 3;
    world_start(&world);
    publish_from_threads(&world);
    CHECK_IS(shelf.event_count, THREADS * CALLS * 3);
    CHECK_IS(shelf.key_count, THREADS * CALLS / 2);
    stored_end(&world, &shelf);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(group_without_a_store_is_seen_whole_by_every_category),
        PLAIN_TEST(what_is_not_whole_is_refused_whole),
        PLAIN_TEST(group_past_the_bounds_is_too_big_and_one_that_must_wait_is_not),
        PLAIN_TEST(group_of_a_failed_batch_is_seen_by_nobody),
        PLAIN_TEST(refused_event_takes_its_group_along_and_nothing_else),
        PLAIN_TEST(no_batch_splits_a_group),
        PLAIN_TEST(calls_of_a_thread_keep_their_order_without_a_store),
        PLAIN_TEST(calls_of_a_thread_keep_their_order_with_a_store),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
