/* Publish once: what comes again under its key, while the first is pending, behind it, behind a
 * failure, behind a restart, and when the key was forgotten. A plain program, for ThreadSanitizer.
 */
#include "check.h"
#include "group.h"
#include "stored.h"

static void check_is_first(const test_group *group)
{
    CHECK_IS(group->error.status, LP_OK);
    CHECK(!group->repeated && group->has_events);
}

/* Was answered as the first one was. */
static void check_repeats(const test_group *group, const test_group *first)
{
    CHECK_IS(group->error.status, LP_OK);
    CHECK(group->repeated && group->has_events);
    CHECK_IS(group->count, first->count);
    for (size_t i = 0; i < group->count; i++)
        CHECK_IS(lp_event_seq(group->events[i]), lp_event_seq(first->events[i]));
}

static size_t count_of(test_world *world, const char *category)
{
    test_poll polled = {0};
    lp_query query = query_behind(category, 1);
    query.timeout_s = 1;
    world_answer(world, query, &polled);
    return polled.count;
}

/* ---- without a store ---------------------------------------------------- */

static void repeat_is_answered_as_the_first_and_publishes_nothing(void)
{
    test_world world;
    test_group first = {0}, repeat = {0}, other = {0}, none = {0};
    world_init(&world);
    world_start(&world);
    CHECK_IS(group_publish(&first, &world, "key", "a=1", "b=2", NULL), LP_OK);
    group_await(&first);
    check_is_first(&first);
    CHECK_IS(group_publish(&repeat, &world, "key", "a=1", "b= 2", NULL), LP_OK);
    CHECK_IS(repeat.calls, 0);
    group_await(&repeat);
    check_repeats(&repeat, &first);
    CHECK_IS(group_publish(&other, &world, "Key", "a=1", "b=2", NULL), LP_OK);
    CHECK_IS(group_publish(&none, &world, NULL, "a=1", "b=2", NULL), LP_OK);
    group_await(&none);
    check_is_first(&other);
    check_is_first(&none);
    CHECK_IS(count_of(&world, "a"), 3);
    lp_stats stats = world_stats(&world);
    CHECK_IS(stats.published, 6);
    CHECK_IS(stats.repeated, 1);
    CHECK_IS(stats.idempotency_keys, 2);
    CHECK_IS(stats.pending, 0);
    CHECK_IS(stats.pending_bytes, 0);
    group_free(&first);
    group_free(&repeat);
    group_free(&other);
    group_free(&none);
    world_end(&world);
}

static void key_with_other_items_is_a_conflict(void)
{
    test_world world;
    test_group first = {0}, others[5] = {0};
    world_init(&world);
    world_start(&world);
    CHECK_IS(group_publish(&first, &world, "key", "a=1", "ab=2", NULL), LP_OK);
    CHECK_IS(group_publish(&others[0], &world, "key", "a=1", "ab=3", NULL), LP_OK);
    CHECK_IS(group_publish(&others[1], &world, "key", "a=1", NULL), LP_OK);
    CHECK_IS(group_publish(&others[2], &world, "key", "ab=2", "a=1", NULL), LP_OK);
    CHECK_IS(group_publish(&others[3], &world, "key", "aa=1", "b=2", NULL), LP_OK);
    CHECK_IS(group_publish(&others[4], &world, "key", "a=1", "ab=2", "a=3", NULL), LP_OK);
    group_await(&others[4]);
    check_is_first(&first);
    for (int i = 0; i < 5; i++) {
        CHECK_IS(others[i].error.status, LP_ECONFLICT);
        CHECK(!others[i].has_events && !others[i].repeated);
    }
    CHECK_IS(world_stats(&world).conflicting, 5);
    CHECK_IS(world_stats(&world).published, 2);
    group_free(&first);
    world_end(&world);
}

/* A repeat of what is not in its ring any more is told that it was published, and nothing else. */
static void repeat_of_evicted_events_has_none(void)
{
    test_world world;
    test_group first = {0}, repeat = {0};
    world_init(&world);
    world.options.event_buffer_max = 2;
    world_start(&world);
    CHECK_IS(group_publish(&first, &world, "key", "a=1", "b=2", NULL), LP_OK);
    group_await(&first);
    world_keep(&world, "a", "3");
    CHECK_IS(group_publish(&repeat, &world, "key", "a=1", "b=2", NULL), LP_OK);
    group_await(&repeat);
    check_repeats(&repeat, &first);
    group_free(&repeat);
    world_keep(&world, "a", "4");
    repeat = (test_group){0};
    CHECK_IS(group_publish(&repeat, &world, "key", "a=1", "b=2", NULL), LP_OK);
    group_await(&repeat);
    CHECK_IS(repeat.error.status, LP_OK);
    CHECK(repeat.repeated && !repeat.has_events);
    group_free(&first);
    world_end(&world);
}

static void keys_past_the_bound_are_forgotten_oldest_first(void)
{
    enum { MAX = 10, COUNT = 25 };
    test_world world;
    test_group group = {0};
    char key[16];
    world_init(&world);
    world.options.idempotency_max = MAX;
    world_start(&world);
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "%d", i);
        group_run(&group, &world, key, "a=1");
        check_is_first(&group);
        group_free(&group);
        int64_t at = lp_event_timestamp_ms(world_keep(&world, "b", "1"));
        while (lp_event_timestamp_ms(world_keep(&world, "b", "1")) == at)
            ; /* keys of one millisecond have no order */
    }
    CHECK_IS(world_stats(&world).idempotency_keys, MAX);
    for (int i = COUNT - MAX; i < COUNT; i++) {
        snprintf(key, sizeof(key), "%d", i);
        group_run(&group, &world, key, "a=1");
        CHECK(group.repeated);
        group_free(&group);
    }
    group_run(&group, &world, "0", "a=1");
    check_is_first(&group);
    group_free(&group);
    world_end(&world);
}

static void key_is_forgotten_when_its_window_is_over(void)
{
    test_world world;
    test_group group = {0};
    world_init(&world);
    world.options.idempotency_window_s = 1;
    world_start(&world);
    group_run(&group, &world, "key", "a=1");
    int64_t begun_ms = lp_event_timestamp_ms(group.events[0]);
    group_free(&group);
    for (;;) { /* as long as it is repeated, its time must not be over, and the other way round */
        int64_t before_ms = lp_event_timestamp_ms(world_keep(&world, "b", "1"));
        group_run(&group, &world, "key", "a=1");
        int64_t after_ms = lp_event_timestamp_ms(world_keep(&world, "b", "1"));
        bool repeated = group.repeated;
        group_free(&group);
        CHECK(repeated ? before_ms - begun_ms < 1000 : after_ms - begun_ms >= 1000);
        if (!repeated)
            break;
    }
    world_end(&world);
}

/* ---- while the first is pending ----------------------------------------- */

static void repeat_joins_what_is_pending(void)
{
    test_world world;
    test_shelf shelf;
    test_group first = {0}, joined[3] = {0}, other = {0};
    stored_start(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(group_publish(&first, &world, "key", "a=1", "a=2", NULL), LP_OK);
    CHECK_IS(group_publish(&joined[0], &world, "key", "a=1", "a=2", NULL), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(group_publish(&joined[1], &world, "key", "a=1", "a=2", NULL), LP_OK);
    CHECK_IS(group_publish(&other, &world, "key", "a=1", "a=3", NULL), LP_OK);
    CHECK_IS(group_publish(&joined[2], &world, "key", "a=1", "a=2", NULL), LP_OK);
    group_await(&other);
    CHECK_IS(other.error.status, LP_ECONFLICT);
    CHECK_IS(first.calls + joined[0].calls + joined[1].calls + joined[2].calls, 0);
    CHECK_IS(world_stats(&world).pending, 8);
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    group_await(&joined[2]);
    check_is_first(&first);
    for (int i = 0; i < 3; i++) {
        check_repeats(&joined[i], &first);
        CHECK_IS(joined[i].place, first.place + 1 + i);
        group_free(&joined[i]);
    }
    CHECK_IS(shelf.event_count, 2);
    CHECK_IS(shelf.key_count, 1);
    CHECK_IS(shelf_batch_at(&shelf, 0).keys, 1);
    CHECK_IS(world_stats(&world).pending, 0);
    CHECK_IS(world_stats(&world).pending_bytes, 0);
    group_free(&first);
    stored_end(&world, &shelf);
}

/* The digest is no secret: these two were found in a minute. What they differ in size must not stay
 * behind in the bytes that count as pending, or repeats could close the way in for everybody. */
static void repeat_of_another_size_leaves_nothing_pending(void)
{
    static const char small[] = "c=\"epeoadhnceioiamf\"";
    static const char large[] = "c=\"fgkakgpfnjpigljgzzzzzzzzzzzzzzzz\"";
    test_world world;
    test_shelf shelf;
    test_group first = {0}, joined = {0}, later = {0};
    stored_start(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(group_publish(&first, &world, "key", large, NULL), LP_OK);
    CHECK_IS(group_publish(&joined, &world, "key", small, NULL), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    group_await(&joined);
    CHECK_IS(world_stats(&world).pending_bytes, 0);
    CHECK_IS(group_publish(&later, &world, "key", small, NULL), LP_OK);
    group_await(&later);
    CHECK_IS(world_stats(&world).pending_bytes, 0);
    check_is_first(&first);
    check_repeats(&joined, &first);
    check_repeats(&later, &first);
    group_free(&first);
    group_free(&joined);
    group_free(&later);
    stored_end(&world, &shelf);
}

static void failure_is_everyones_and_leaves_the_key_free(void)
{
    test_world world;
    test_shelf shelf;
    test_group first = {0}, joined = {0}, again = {0};
    stored_start(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    shelf_fail(&shelf, 1, LP_EIO, "the shelf burns");
    CHECK_IS(group_publish(&first, &world, "key", "a=1", NULL), LP_OK);
    CHECK_IS(group_publish(&joined, &world, "key", "a=1", NULL), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    group_await(&joined);
    CHECK_IS(first.error.status, LP_EIO);
    CHECK_IS(joined.error.status, LP_EIO);
    CHECK_SAYS(joined.error.message, "the shelf burns");
    CHECK(!joined.repeated);
    CHECK_IS(world_stats(&world).idempotency_keys, 0);
    CHECK_IS(world_stats(&world).repeated, 0);
    group_run(&again, &world, "key", "a=9"); /* other items: nothing is remembered */
    check_is_first(&again);
    CHECK_IS(shelf.key_count, 1);
    group_free(&again);
    stored_end(&world, &shelf);
}

static void publish_again(test_group *group)
{
    test_group *again = group->user;
    CHECK_IS(group_publish(again, group->world, "key", "a=1", NULL), LP_OK);
}

static void callback_of_a_failure_may_publish_again(void)
{
    test_world world;
    test_shelf shelf;
    test_group again = {0}, first = {.then = publish_again, .user = &again};
    stored_start(&world, &shelf);
    shelf_fail(&shelf, 1, LP_EIO, NULL);
    CHECK_IS(group_publish(&first, &world, "key", "a=1", NULL), LP_OK);
    group_await(&first);
    CHECK_IS(first.error.status, LP_EIO);
    group_await(&again);
    check_is_first(&again);
    group_free(&again);
    stored_end(&world, &shelf);
}

/* ---- behind a restart --------------------------------------------------- */

static void start_again(test_world *world, test_shelf *shelf)
{
    world_end(world);
    shelf_wait(shelf, &shelf->destroyed, shelf->starts);
    stored_init_again(world, shelf);
    world_start(world);
}

static void keys_survive_a_restart(void)
{
    test_world world;
    test_shelf shelf;
    test_group first = {0}, repeat = {0}, other = {0};
    stored_start(&world, &shelf);
    CHECK_IS(group_publish(&first, &world, "key", "a=1", "b=2", NULL), LP_OK);
    group_await(&first);
    uint64_t seq = lp_event_seq(first.events[0]);
    group_free(&first);
    start_again(&world, &shelf);
    CHECK_IS(world_stats(&world).idempotency_keys, 1);
    CHECK_IS(group_publish(&repeat, &world, "key", "a=1", "b=2", NULL), LP_OK);
    CHECK_IS(group_publish(&other, &world, "key", "a=1", NULL), LP_OK);
    group_await(&other);
    CHECK(repeat.repeated && repeat.has_events);
    CHECK_IS(lp_event_seq(repeat.events[0]), seq);
    CHECK_IS(other.error.status, LP_ECONFLICT);
    CHECK_IS(shelf.event_count, 2);
    group_free(&repeat);
    stored_end(&world, &shelf);
}

/* What a later life published counts, in whatever order a store tells it. */
static void latest_record_of_a_key_counts(void)
{
    for (int turned = 0; turned < 2; turned++) {
        test_world world;
        test_shelf shelf;
        test_group first = {0}, second = {0}, group = {0};
        stored_init(&world, &shelf);
        world.options.idempotency_max = 1;
        world_start(&world);
        group_run(&first, &world, "key", "a=1");
        group_run(&group, &world, "other", "a=2");
        group_free(&group);
        group_run(&second, &world, "key", "a=3");
        check_is_first(&second);
        CHECK_IS(shelf.key_count, 3);
        if (turned) {
            shelf_key key = shelf.keys[0];
            shelf.keys[0] = shelf.keys[2];
            shelf.keys[2] = key;
        }
        start_again(&world, &shelf);
        group_run(&group, &world, "key", "a=3");
        CHECK(group.repeated);
        CHECK_IS(lp_event_seq(group.events[0]), lp_event_seq(shelf.events[2]));
        group_free(&group);
        group_run(&group, &world, "key", "a=1");
        CHECK_IS(group.error.status, LP_ECONFLICT);
        group_free(&first);
        group_free(&second);
        stored_end(&world, &shelf);
    }
}

static void store_is_told_which_keys_are_forgotten(void)
{
    enum { MAX = 3 };
    test_world world;
    test_shelf shelf;
    test_group group = {0};
    stored_init(&world, &shelf);
    world.options.idempotency_max = MAX;
    world_start(&world);
    for (int i = 0; i < 10; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i);
        if (i == 6)
            shelf_fail(&shelf, 1, LP_EIO, NULL); /* what a failed batch told is told again */
        group_run(&group, &world, key, "a=1");
        group_free(&group);
        int64_t at = lp_event_timestamp_ms(world_keep(&world, "b", "1"));
        while (lp_event_timestamp_ms(world_keep(&world, "b", "1")) == at)
            ;
    }
    int64_t forgotten_ms = INT64_MIN;
    for (int i = 0; i < shelf.batch_count; i++) {
        shelf_batch batch = shelf_batch_at(&shelf, i);
        if (batch.status == LP_OK && batch.forgotten_keys_ms > forgotten_ms)
            forgotten_ms = batch.forgotten_keys_ms;
    }
    CHECK_IS(shelf.key_count, 9);
    for (size_t i = 0; i < 9; i++)
        CHECK((shelf.keys[i].record.expires_ms <= forgotten_ms) == (i < 9 - MAX));
    stored_end(&world, &shelf);
}

/* Records that the store did not let go of come back, and are held to the bound again. */
static void replay_is_held_to_the_bounds(void)
{
    test_world world;
    test_shelf shelf;
    test_group group = {0};
    stored_start(&world, &shelf);
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i);
        group_run(&group, &world, key, "a=1");
        group_free(&group);
    }
    for (size_t i = 0; i < 20; i++)
        shelf.keys[i].record.expires_ms -= 1000 * (20 - (int64_t)i);
    shelf.keys[19].record.expires_ms = 1; /* over */
    world_end(&world);
    stored_init_again(&world, &shelf);
    world.options.idempotency_max = 5;
    world_start(&world);
    CHECK_IS(world_stats(&world).idempotency_keys, 5);
    group_run(&group, &world, "18", "a=1");
    CHECK(group.repeated);
    group_free(&group);
    group_run(&group, &world, "14", "a=1");
    CHECK(group.repeated);
    group_free(&group);
    group_run(&group, &world, "19", "a=1");
    CHECK(!group.repeated);
    group_free(&group);
    stored_end(&world, &shelf);
}

/* With a shorter window than before, what was kept under the longer one does not push out what
 * comes now. */
static void shorter_window_holds_for_old_keys_too(void)
{
    enum { MAX = 4 };
    test_world world;
    test_shelf shelf;
    test_group group = {0};
    char key[16];
    stored_start(&world, &shelf);
    for (int i = 0; i < MAX; i++) {
        snprintf(key, sizeof(key), "old %d", i);
        group_run(&group, &world, key, "a=1");
        group_free(&group);
    }
    world_end(&world);
    stored_init_again(&world, &shelf);
    world.options.idempotency_max = MAX;
    world.options.idempotency_window_s = 100;
    world_start(&world);
    int64_t begun = lp_event_timestamp_ms(world_keep(&world, "b", "1"));
    while (lp_event_timestamp_ms(world_keep(&world, "b", "1")) == begun)
        ;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < MAX; i++) {
            snprintf(key, sizeof(key), "new %d", i);
            group_run(&group, &world, key, "a=1");
            CHECK_IS(group.repeated, round);
            group_free(&group);
        }
    stored_end(&world, &shelf);
}

/* ---- the end ------------------------------------------------------------ */

static void shutdown_keeps_what_is_pending_and_answers_who_joined(void)
{
    test_world world;
    test_shelf shelf;
    test_group first = {0}, joined = {0}, late = {0};
    stored_start(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(group_publish(&first, &world, "key", "a=1", NULL), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(group_publish(&joined, &world, "key", "a=1", NULL), LP_OK);
    world_shutdown(&world, 30000);
    CHECK_IS(group_publish(&late, &world, "key", "a=1", NULL), LP_ECLOSED);
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    group_await(&joined);
    check_is_first(&first);
    check_repeats(&joined, &first);
    world_run(&world, &world.ended, 1);
    CHECK_IS(world.end_error.status, LP_OK);
    CHECK_IS(world.unkept, 0);
    group_free(&first);
    group_free(&joined);
    stored_end(&world, &shelf);
}

/* A hook that does not come back in time: all are told that it was not kept. When it does come back
 * and has kept it, that is taken back with its key, so that a publisher who tries again is right.
 */
static void key_of_what_was_left_behind_is_free_in_the_next_life(void)
{
    test_world world;
    test_shelf shelf;
    test_group before = {0}, first = {0}, joined = {0}, again = {0};
    stored_start(&world, &shelf);
    group_run(&before, &world, "before", "a=0");
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(group_publish(&first, &world, "key", "a=1", "a=2", NULL), LP_OK);
    CHECK_IS(group_publish(&joined, &world, "key", "a=1", "a=2", NULL), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    world_shutdown(&world, 1);
    world_run(&world, &world.ended, 1);
    CHECK_IS(first.error.status, LP_EDEADLINE);
    CHECK_IS(joined.error.status, LP_EDEADLINE);
    CHECK_IS(world.unkept, 2);
    world_end(&world);
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    shelf_wait(&shelf, &shelf.destroyed, shelf.starts);
    CHECK_IS(shelf.event_count, 1);
    CHECK_IS(shelf.key_count, 3);

    stored_init_again(&world, &shelf);
    world_start(&world);
    CHECK_IS(group_publish(&again, &world, "key", "a=1", "a=2", NULL), LP_OK);
    group_await(&again);
    check_is_first(&again);
    CHECK_IS(shelf.event_count, 3);
    group_free(&again);
    group_free(&before);
    group_run(&before, &world, "before", "a=0");
    CHECK(before.repeated);
    group_free(&before);
    start_again(&world, &shelf);
    again = (test_group){0};
    CHECK_IS(group_publish(&again, &world, "key", "a=1", "a=2", NULL), LP_OK);
    group_await(&again);
    CHECK(again.repeated && again.has_events);
    group_free(&again);
    stored_end(&world, &shelf);
}

static void key_of_a_batch_in_doubt_is_not_remembered(void)
{
    test_world world;
    test_shelf shelf;
    test_group first = {0}, joined = {0}, again = {0};
    stored_start(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    shelf_fail(&shelf, 1, LP_EINDOUBT, "the shelf is not sure");
    CHECK_IS(group_publish(&first, &world, "key", "a=1", NULL), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(group_publish(&joined, &world, "key", "a=1", NULL), LP_OK);
    world_turn(&world);
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    group_await(&joined);
    CHECK_IS(first.error.status, LP_EINDOUBT);
    CHECK_IS(joined.error.status, LP_EINDOUBT);
    CHECK_IS(world_stats(&world).idempotency_keys, 0);
    CHECK_IS(group_publish(&again, &world, "key", "a=1", NULL), LP_EINDOUBT);
    lp_error why;
    CHECK_IS(lp_manager_health(world.manager, &why), LP_EINDOUBT);
    CHECK_SAYS(why.message, "the shelf is not sure");
    stored_end(&world, &shelf);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(repeat_is_answered_as_the_first_and_publishes_nothing),
        PLAIN_TEST(key_with_other_items_is_a_conflict),
        PLAIN_TEST(repeat_of_evicted_events_has_none),
        PLAIN_TEST(keys_past_the_bound_are_forgotten_oldest_first),
        PLAIN_TEST(key_is_forgotten_when_its_window_is_over),
        PLAIN_TEST(repeat_joins_what_is_pending),
        PLAIN_TEST(repeat_of_another_size_leaves_nothing_pending),
        PLAIN_TEST(failure_is_everyones_and_leaves_the_key_free),
        PLAIN_TEST(callback_of_a_failure_may_publish_again),
        PLAIN_TEST(keys_survive_a_restart),
        PLAIN_TEST(latest_record_of_a_key_counts),
        PLAIN_TEST(store_is_told_which_keys_are_forgotten),
        PLAIN_TEST(replay_is_held_to_the_bounds),
        PLAIN_TEST(shorter_window_holds_for_old_keys_too),
        PLAIN_TEST(shutdown_keeps_what_is_pending_and_answers_who_joined),
        PLAIN_TEST(key_of_what_was_left_behind_is_free_in_the_next_life),
        PLAIN_TEST(key_of_a_batch_in_doubt_is_not_remembered),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
