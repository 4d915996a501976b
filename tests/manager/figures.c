/* What a manager tells of itself: durations and health. A plain program, for ThreadSanitizer. */
#include "check.h"
#include "group.h"
#include "stored.h"

static uint64_t count_in(const lp_histogram *histogram)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= LP_HISTOGRAM_BOUNDS; i++)
        count += histogram->counts[i];
    return count;
}

static void bounds_rise(void)
{
    CHECK_IS(lp_histogram_bounds_us[0], 100);
    for (size_t i = 1; i < LP_HISTOGRAM_BOUNDS; i++)
        CHECK(lp_histogram_bounds_us[i] > lp_histogram_bounds_us[i - 1]);
    CHECK_IS(lp_histogram_bounds_us[LP_HISTOGRAM_BOUNDS - 1], 10000000);
}

/* A publish that was kept counts once, whatever it brought; a refused one and a repeat do not. */
static void every_kept_publish_and_every_batch_has_a_duration(void)
{
    test_world world;
    test_shelf shelf;
    test_group group = {0};
    stored_start(&world, &shelf);
    world_keep(&world, "a", "1");
    CHECK_IS(group_publish(&group, &world, "key", "a=1", "a=2", NULL), LP_OK);
    group_await(&group);
    group_free(&group);
    group = (test_group){0};
    CHECK_IS(group_publish(&group, &world, "key", "a=1", "a=2", NULL), LP_OK);
    group_await(&group);
    group_free(&group);
    shelf_fail(&shelf, 1, LP_EIO, NULL);
    group_run(&group, &world, NULL, "a=3");
    CHECK_IS(group.error.status, LP_EIO);
    lp_stats stats = world_stats(&world);
    CHECK_IS(count_in(&stats.publish_duration), 2);
    CHECK_IS(count_in(&stats.commit_duration), 3);
    CHECK_IS(stats.published, 3);
    CHECK_IS(stats.repeated, 1);
    CHECK_IS(stats.refused, 1);
    stored_end(&world, &shelf);
}

/* It took at least as long as the hook was held. */
static void durations_are_as_long_as_it_took(void)
{
    enum { HELD_US = 20000 };
    test_world world;
    test_shelf shelf;
    test_publish published = {0};
    stored_start(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(world_publish(&world, "a", "1", &published), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    for (uint64_t begun = uv_hrtime(); uv_hrtime() - begun < HELD_US * UINT64_C(1000);)
        world_turn(&world);
    CHECK(world_stats(&world).commit_since_ms > 0);
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    world_run(&world, &published.calls, 1);
    lp_stats stats = world_stats(&world);
    CHECK(stats.publish_duration.sum_us >= HELD_US);
    CHECK(stats.commit_duration.sum_us >= HELD_US);
    for (size_t i = 0; lp_histogram_bounds_us[i] < HELD_US; i++)
        CHECK_IS(stats.publish_duration.counts[i] + stats.commit_duration.counts[i], 0);
    CHECK_IS(stats.commit_since_ms, 0);
    stored_end(&world, &shelf);
}

/* A program built with an older header gets what it knows. */
static void old_callers_get_the_figures_they_know(void)
{
    test_world world;
    lp_stats stats;
    memset(&stats, 0x5a, sizeof(stats));
    world_init(&world);
    world_start(&world);
    world_keep(&world, "a", "1");
    lp_manager_stats(world.manager, &stats, offsetof(lp_stats, interests));
    CHECK_IS(stats.published, 1);
    CHECK_IS(stats.interests, UINT64_C(0x5a5a5a5a5a5a5a5a));
    world_end(&world);
}

static void health_says_where_a_manager_is(void)
{
    test_world world;
    test_shelf shelf;
    lp_error why;
    shelf_init(&shelf);
    stored_init_again(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_START | SHELF_HOLD_SHUTDOWN);
    CHECK_IS(world_begin(&world, &why), LP_OK);
    CHECK_IS(lp_manager_health(world.manager, &why), LP_ESTARTING);
    CHECK_SAYS(why.message, "shelf");
    CHECK_SAYS(why.message, "replay");
    shelf_release(&shelf, SHELF_HOLD_START);
    world_run_to_state(&world, LP_STATE_SERVING);
    CHECK_IS(lp_manager_health(world.manager, &why), LP_OK);
    CHECK_IS(lp_manager_health(world.manager, NULL), LP_OK);
    world_shutdown(&world, 30000);
    CHECK_IS(lp_manager_health(world.manager, &why), LP_ECLOSED);
    CHECK_SAYS(why.message, "shutting down");
    shelf_release(&shelf, SHELF_HOLD_SHUTDOWN);
    world_run(&world, &world.ended, 1);
    CHECK_IS(lp_manager_health(world.manager, &why), LP_ECLOSED);
    stored_end(&world, &shelf);
}

static void health_says_why_a_start_failed(void)
{
    test_world world;
    test_shelf shelf;
    lp_error why;
    shelf_init(&shelf);
    shelf.start_status = LP_EACCES;
    shelf.start_sentence = "the shelf is locked";
    stored_init_again(&world, &shelf);
    CHECK_IS(world_begin(&world, &why), LP_OK);
    world_run_to_state(&world, LP_STATE_FAILED);
    CHECK_IS(lp_manager_health(world.manager, &why), LP_ECLOSED);
    CHECK_SAYS(why.message, "the shelf is locked");
    stored_end(&world, &shelf);
}

static void health_recovers_with_the_next_batch_that_is_kept(void)
{
    test_world world;
    test_shelf shelf;
    test_group group = {0};
    lp_error why;
    stored_start(&world, &shelf);
    shelf_fail(&shelf, 2, LP_ENOSPC, "the shelf is full");
    for (int i = 0; i < 2; i++) {
        group_run(&group, &world, NULL, "a=1");
        CHECK_IS(lp_manager_health(world.manager, &why), LP_ENOSPC);
        CHECK_SAYS(why.message, "the shelf is full");
    }
    world_keep(&world, "a", "1");
    CHECK_IS(lp_manager_health(world.manager, &why), LP_OK);
    stored_end(&world, &shelf);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(bounds_rise),
        PLAIN_TEST(every_kept_publish_and_every_batch_has_a_duration),
        PLAIN_TEST(durations_are_as_long_as_it_took),
        PLAIN_TEST(old_callers_get_the_figures_they_know),
        PLAIN_TEST(health_says_where_a_manager_is),
        PLAIN_TEST(health_says_why_a_start_failed),
        PLAIN_TEST(health_recovers_with_the_next_batch_that_is_kept),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
