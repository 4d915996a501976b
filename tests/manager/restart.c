/* The start on a store: states, replay, what a restart brings back and what it tells of. A plain
 * program, for ThreadSanitizer. */
#include "check.h"
#include "stored.h"

static void start(test_world *world, test_shelf *shelf)
{
    stored_init_again(world, shelf);
    world_start(world);
}

/* ---- the start itself --------------------------------------------------- */

static void calls_are_refused_while_the_store_is_replayed(void)
{
    test_world world;
    test_shelf shelf;
    test_publish published = {0};
    test_poll polled = {0};
    lp_error error;
    shelf_init(&shelf);
    stored_init_again(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_START);
    CHECK_IS(world_begin(&world, &error), LP_OK);
    CHECK_IS(lp_manager_state(world.manager), LP_STATE_STARTING);
    shelf_wait_held(&shelf, SHELF_HOLD_START);
    world_turn(&world);
    CHECK_IS(world_publish(&world, "a", "1", &published), LP_ESTARTING);
    CHECK_IS(world_poll(&world, query_all("a"), &polled), LP_ESTARTING);
    CHECK_IS(world_stats(&world).state, LP_STATE_STARTING);
    CHECK_IS(world_stats(&world).events, 0);
    CHECK_IS(world.state_count, 0);
    shelf_release(&shelf, SHELF_HOLD_START);
    world_run_to_state(&world, LP_STATE_SERVING);
    CHECK_IS(world.state_count, 1);
    world_keep(&world, "a", "1");
    CHECK_IS(published.calls + polled.calls, 0);
    stored_end(&world, &shelf);
}

static void publish_when_serving(test_world *world, lp_state state)
{
    if (state == LP_STATE_SERVING)
        CHECK_IS(world_publish(world, "a", "1", world->user), LP_OK);
}

static void callback_of_the_start_may_publish(void)
{
    test_world world;
    test_shelf shelf;
    test_publish published = {0};
    shelf_init(&shelf);
    stored_init_again(&world, &shelf);
    world.on_state = publish_when_serving;
    world.user = &published;
    world_start(&world);
    world_run(&world, &published.calls, 1);
    CHECK_IS(published.error.status, LP_OK);
    stored_end(&world, &shelf);
}

static void store_that_does_not_open_says_why(void)
{
    test_world world;
    test_shelf shelf;
    test_publish published = {0};
    test_poll polled = {0};
    lp_error error;
    shelf_init(&shelf);
    stored_init_again(&world, &shelf);
    shelf.start_status = LP_EINUSE;
    shelf.start_sentence = "shelf: in use by the neighbour (ask her)";
    CHECK_IS(world_begin(&world, &error), LP_OK);
    world_run_to_state(&world, LP_STATE_FAILED);
    CHECK_IS(world.state_error.status, LP_EINUSE);
    CHECK(strcmp(world.state_error.message, shelf.start_sentence) == 0);
    CHECK(world_logged(&world, shelf.start_sentence));
    CHECK_IS(world_publish(&world, "a", "1", &published), LP_ECLOSED);
    CHECK_IS(world_poll(&world, query_all("a"), &polled), LP_ECLOSED);
    CHECK_IS(shelf_read(&shelf, &shelf.destroyed), 1);
    CHECK_IS(world_stats(&world).state, LP_STATE_FAILED);
    stored_end(&world, &shelf);
    CHECK_IS(shelf.shutdowns + shelf.idles, 0);
}

static int never(lp_addon *self, lp_batch *batch)
{
    (void)self, (void)batch;
    abort();
}

static void table_that_is_not_whole_is_refused_and_stays_the_callers(void)
{
    test_world world;
    lp_error error = {LP_OK, ""};
    lp_addon addon = LP_ADDON_INIT("half");
    addon.on_publish = never;
    world_init(&world);
    world.options.addon = &addon;
    CHECK_IS(world_begin(&world, &error), LP_EINVAL);
    CHECK_IS(error.status, LP_EINVAL);
    CHECK_SAYS(error.message, "half");
    CHECK_SAYS(error.message, "on_start");
    CHECK(world.manager == NULL);
    CHECK_IS(world_begin(&world, NULL), LP_EINVAL);
    world_close(&world);
}

static bool has_logged_progress(void *ctx)
{
    return world_logged(ctx, "replay: 0 events, 50 %");
}

static void replay_tells_its_progress(void)
{
    test_world world;
    test_shelf shelf;
    lp_error error;
    shelf_init(&shelf);
    stored_init_again(&world, &shelf);
    shelf.tells_progress = true;
    shelf_hold(&shelf, SHELF_HOLD_START);
    CHECK_IS(world_begin(&world, &error), LP_OK);
    while (!has_logged_progress(&world))
        uv_sleep(1); /* ctest has the deadline */
    shelf_release(&shelf, SHELF_HOLD_START);
    world_run_to_state(&world, LP_STATE_SERVING);
    CHECK(world_logged(&world, "shelf: replay: 0 events read"));
    stored_end(&world, &shelf);
}

/* ---- what comes back ---------------------------------------------------- */

static void restart_brings_back_the_events_and_ids_keep_rising(void)
{
    enum { RUNS = 4, COUNT = 20 };
    test_shelf shelf;
    uint64_t seqs[RUNS * COUNT], last = 0;
    size_t kept = 0;
    shelf_init(&shelf);
    for (int run = 0; run < RUNS; run++) {
        test_world world;
        test_poll polled = {0};
        start(&world, &shelf);
        CHECK_IS(world_stats(&world).replayed, kept);
        CHECK_IS(world_stats(&world).events, kept);
        if (kept > 0) {
            world_answer(&world, query_behind("a", seqs[0] - 1), &polled);
            CHECK_IS(polled.count, kept);
            CHECK(!polled.gap);
            for (size_t i = 0; i < kept; i++)
                CHECK_IS(lp_event_seq(polled.events[i]), seqs[i]);
        }
        for (int i = 0; i < COUNT; i++) {
            seqs[kept] = lp_event_seq(world_keep(&world, "a", "1"));
            CHECK(seqs[kept] > last);
            last = seqs[kept++];
        }
        world_end(&world);
    }
    shelf_free(&shelf);
}

static void ids_rise_above_what_was_given_for_nothing(void)
{
    test_world world;
    test_shelf shelf;
    test_publish published = {0};
    shelf_init(&shelf);
    shelf.highest = lp_seq_last(INT64_C(4102444800000)); /* the year 2100 */
    start(&world, &shelf);
    lp_event *event = world_keep(&world, "a", "1");
    CHECK(lp_event_seq(event) > lp_seq_last(INT64_C(4102444800000)));
    shelf_fail(&shelf, 1, LP_EIO, "once");
    CHECK_IS(world_publish(&world, "a", "2", &published), LP_OK);
    world_run(&world, &published.calls, 1);
    lp_event *after = world_keep(&world, "a", "3");
    CHECK(lp_event_seq(after) > lp_event_seq(event) + 1);
    stored_end(&world, &shelf);
}

static void restart_tells_of_a_gap_where_the_ring_had_moved_on(void)
{
    test_world world;
    test_shelf shelf;
    test_poll polled = {0};
    shelf_init(&shelf);
    stored_init_again(&world, &shelf);
    world.options.event_buffer_max = 2;
    world_start(&world);
    lp_id first = lp_event_id(world_keep(&world, "a", "1"));
    world_keep(&world, "a", "2");
    lp_id third = lp_event_id(world_keep(&world, "a", "3"));
    world_keep(&world, "a", "4");
    world_end(&world);

    stored_init_again(&world, &shelf);
    world.options.event_buffer_max = 2;
    world_start(&world);
    CHECK_IS(shelf.ring_size, 2);
    CHECK(shelf.expired_ms == INT64_MIN);
    lp_query query = query_behind("a", lp_id_seq(first));
    world_answer(&world, query, &polled);
    CHECK(polled.gap); /* the second is missing */
    CHECK_IS(polled.count, 2);
    world_answer(&world, query_behind("a", lp_id_seq(third)), &polled);
    CHECK(!polled.gap);
    CHECK_IS(polled.count, 1);
    stored_end(&world, &shelf);
}

static void smaller_ring_cuts_at_the_start_and_tells_the_store(void)
{
    test_world world;
    test_shelf shelf;
    test_poll polled = {0};
    shelf_init(&shelf);
    start(&world, &shelf);
    lp_id first = lp_event_id(world_keep(&world, "a", "1"));
    for (int i = 0; i < 4; i++)
        world_keep(&world, "a", "2");
    world_end(&world);

    stored_init_again(&world, &shelf);
    world.options.event_buffer_max = 3;
    world_start(&world);
    CHECK_IS(world_stats(&world).events, 3);
    lp_query query = query_behind("a", lp_id_seq(first));
    world_answer(&world, query, &polled);
    CHECK(polled.gap);
    CHECK_IS(polled.count, 3);
    world_keep(&world, "b", "1");
    CHECK_IS(shelf_removals(&shelf, LP_REMOVED_REPLAY), 2);
    stored_end(&world, &shelf);
    CHECK_IS(shelf.event_count, 4);
}

static void restart_expires_what_is_too_old(void)
{
    test_world world;
    test_shelf shelf;
    test_poll polled = {0};
    lp_event *old, *young;
    shelf_init(&shelf);
    uv_timeval64_t now;
    uv_gettimeofday(&now);
    int64_t now_ms = now.tv_sec * 1000;
    lp_str a = lp_str_of("a");
    CHECK_IS(lp_event_new(lp_id_make(lp_seq_first(now_ms - 3600000), 1), a, lp_str_of("1"), &old),
             LP_OK);
    CHECK_IS(lp_event_new(lp_id_make(lp_seq_first(now_ms - 1000), 1), a, lp_str_of("2"), &young),
             LP_OK);
    lp_event *events[] = {old, young};
    shelf.events = malloc(sizeof(events));
    memcpy(shelf.events, events, sizeof(events));
    shelf.event_count = shelf.event_capacity = 2;

    stored_init_again(&world, &shelf);
    world.options.event_ttl_s = 1800;
    world_start(&world);
    CHECK(shelf.expired_ms > now_ms - 3600000 && shelf.expired_ms < now_ms);
    CHECK_IS(world_stats(&world).expired, 1);
    world_answer(&world, query_since("a", now_ms - 3600001), &polled);
    CHECK(polled.gap);
    CHECK_IS(polled.count, 1);
    world_keep(&world, "b", "1");
    CHECK_IS(shelf_removals(&shelf, LP_REMOVED_REPLAY), 1);
    stored_end(&world, &shelf);
}

static void retrieved_events_do_not_come_back(void)
{
    test_world world;
    test_shelf shelf;
    test_poll polled = {0};
    shelf_init(&shelf);
    stored_init_again(&world, &shelf);
    world.options.delete_after_first_retrieval = true;
    world_start(&world);
    for (int i = 0; i < 3; i++)
        world_keep(&world, "a", "1");
    world_answer(&world, query_all("a"), &polled);
    CHECK_IS(polled.count, 3);
    world_end(&world); /* at once: the removals are kept all the same */
    CHECK_IS(shelf.event_count, 0);

    stored_init_again(&world, &shelf);
    world.options.delete_after_first_retrieval = true;
    world_start(&world);
    CHECK_IS(world_stats(&world).events, 0);
    stored_end(&world, &shelf);
}

static void loss_is_told_as_a_gap(void)
{
    test_world world;
    test_shelf shelf;
    test_poll polled = {0};
    shelf_init(&shelf);
    start(&world, &shelf);
    lp_id first = lp_event_id(world_keep(&world, "a", "1"));
    lp_id second = lp_event_id(world_keep(&world, "a", "2"));
    world_end(&world);

    shelf.loss = "mice, set aside in a box";
    start(&world, &shelf);
    CHECK(world_logged(&world, "mice, set aside in a box"));
    CHECK_IS(world_stats(&world).damaged_records, 1);
    lp_query query = query_behind("a", lp_id_seq(first));
    world_answer(&world, query, &polled);
    CHECK(polled.gap);
    CHECK_IS(polled.count, 1);
    CHECK_IS(lp_event_seq(polled.events[0]), lp_id_seq(second));

    lp_event *after = world_keep(&world, "a", "3"); /* and from there on all is well */
    world_keep(&world, "a", "4");
    world_answer(&world, query_after("a", after), &polled);
    CHECK(!polled.gap);
    CHECK(shelf_horizon_of(&shelf, "") >= lp_id_seq(second)); /* it survives the next restart */
    world_end(&world);

    shelf.loss = NULL;
    start(&world, &shelf);
    world_answer(&world, query, &polled);
    CHECK(polled.gap);
    stored_end(&world, &shelf);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(calls_are_refused_while_the_store_is_replayed),
        PLAIN_TEST(callback_of_the_start_may_publish),
        PLAIN_TEST(store_that_does_not_open_says_why),
        PLAIN_TEST(table_that_is_not_whole_is_refused_and_stays_the_callers),
        PLAIN_TEST(replay_tells_its_progress),
        PLAIN_TEST(restart_brings_back_the_events_and_ids_keep_rising),
        PLAIN_TEST(ids_rise_above_what_was_given_for_nothing),
        PLAIN_TEST(restart_tells_of_a_gap_where_the_ring_had_moved_on),
        PLAIN_TEST(smaller_ring_cuts_at_the_start_and_tells_the_store),
        PLAIN_TEST(restart_expires_what_is_too_old),
        PLAIN_TEST(retrieved_events_do_not_come_back),
        PLAIN_TEST(loss_is_told_as_a_gap),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
