/* The manager and its store: what a store is told beside events, when it gets its idle time, and
 * its lines in the host's log. A plain program, for ThreadSanitizer. */
#include "check.h"
#include "stored.h"

/* ---- what a store is told ----------------------------------------------- */

static void removal_and_horizon_come_with_the_next_batch(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    world.options.event_buffer_max = 2;
    world_start(&world);
    lp_event *first = world_keep(&world, "a", "1");
    world_keep(&world, "a", "2");
    world_keep(&world, "a", "3"); /* drops the first */
    world_keep(&world, "b", "1");
    CHECK_IS(shelf_batch_at(&shelf, 2).removals[LP_REMOVED_RING], 0);
    CHECK_IS(shelf_batch_at(&shelf, 3).removals[LP_REMOVED_RING], 1);
    CHECK_IS(shelf_batch_at(&shelf, 3).horizons, 1);
    CHECK_IS(shelf_horizon_of(&shelf, "a"), lp_event_seq(first));
    CHECK(!shelf_has(&shelf, lp_event_seq(first)));
    stored_end(&world, &shelf);
}

static bool has_told_eviction(void *ctx)
{
    return shelf_removals(ctx, LP_REMOVED_RING) >= 1;
}

static void changes_of_a_failed_batch_are_told_again(void)
{
    test_world world;
    test_shelf shelf;
    test_publish published = {0};
    stored_init(&world, &shelf);
    world.options.event_buffer_max = 1;
    world_start(&world);
    lp_event *first = world_keep(&world, "a", "1");
    world_keep(&world, "a", "2");
    shelf_fail(&shelf, 1, LP_EIO, "once");
    publish_some(&world, "b", 1, &published);
    world_run(&world, &published.calls, 1);
    CHECK_IS(published.error.status, LP_EIO);
    CHECK_IS(shelf_batch_at(&shelf, 2).removals[LP_REMOVED_RING], 1);
    CHECK_IS(shelf_batch_at(&shelf, 2).horizons, 1);
    CHECK(shelf_has(&shelf, lp_event_seq(first)));
    world_keep(&world, "b", "2");
    world_run_until(&world, has_told_eviction, &shelf);
    CHECK_IS(shelf_horizon_of(&shelf, "a"), lp_event_seq(first));
    CHECK(!shelf_has(&shelf, lp_event_seq(first)));
    stored_end(&world, &shelf);
}

/* A store that is full may need what it is told to make room. */
static void changes_do_not_wait_for_events_that_fail(void)
{
    test_world world;
    test_shelf shelf;
    test_publish first = {0}, second = {0};
    stored_init(&world, &shelf);
    shelf.fails_events_only = true;
    world.options.event_buffer_max = 1;
    world_start(&world);
    world_keep(&world, "a", "1");
    world_keep(&world, "a", "2");
    shelf_fail(&shelf, 1000000, LP_ENOSPC, "full");
    publish_some(&world, "a", 1, &first);
    world_run(&world, &first.calls, 1);
    CHECK_IS(first.error.status, LP_ENOSPC);
    publish_some(&world, "a", 1, &second);
    world_run_until(&world, has_told_eviction, &shelf);
    world_run(&world, &second.calls, 1);
    CHECK_IS(second.error.status, LP_ENOSPC);
    shelf_fail(&shelf, 0, LP_OK, NULL);
    world_keep(&world, "a", "3");
    stored_end(&world, &shelf);
}

static bool has_told_expiry(void *ctx)
{
    return shelf_removals(ctx, LP_REMOVED_TTL) == 2;
}

static void expiry_is_told_though_nothing_is_published(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    world.options.event_ttl_s = 1;
    world_start(&world);
    world_keep(&world, "a", "1");
    lp_event *last = world_keep(&world, "a", "2");
    world_run_until(&world, has_told_expiry, &shelf);
    CHECK_IS(shelf_horizon_of(&shelf, "a"), lp_event_seq(last));
    CHECK_IS(shelf.event_count, 0);
    stored_end(&world, &shelf);
}

static bool has_told_retrieval(void *ctx)
{
    return shelf_removals(ctx, LP_REMOVED_RETRIEVED) == 3;
}

static void retrieval_is_told_though_nothing_is_published(void)
{
    test_world world;
    test_shelf shelf;
    test_poll polled = {0};
    test_publish published[3] = {{0}};
    stored_init(&world, &shelf);
    world.options.delete_after_first_retrieval = true;
    world_start(&world);
    publish_some(&world, "a", 3, published);
    world_run(&world, &world.completions, 3);
    world_answer(&world, query_all("a"), &polled);
    CHECK_IS(polled.count, 3);
    world_run_until(&world, has_told_retrieval, &shelf);
    CHECK_IS(shelf_horizon_of(&shelf, "a"), 0);
    stored_end(&world, &shelf);
}

static void retrieval_is_told_again_after_a_failed_batch(void)
{
    test_world world;
    test_shelf shelf;
    test_poll polled = {0};
    test_publish published[3] = {{0}};
    stored_init(&world, &shelf);
    world.options.delete_after_first_retrieval = true;
    world_start(&world);
    publish_some(&world, "a", 3, published);
    world_run(&world, &world.completions, 3);
    shelf_fail(&shelf, 2, LP_EIO, "twice");
    world_answer(&world, query_all("a"), &polled);
    world_run_until(&world, has_told_retrieval, &shelf);
    CHECK_IS(world_stats(&world).failed_batches, 2);
    stored_end(&world, &shelf);
}

static void bounds_of_all_are_told(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    world.options.events_max = 2;
    world.options.categories_max = 2;
    world_start(&world);
    lp_event *first = world_keep(&world, "a", "1");
    world_keep(&world, "b", "1");
    world_keep(&world, "b", "2"); /* the oldest goes: "a" has nothing but a horizon */
    world_keep(&world, "c", "1"); /* "a" is forgotten, the floor keeps its horizon */
    world_keep(&world, "c", "2");
    world_keep(&world, "c", "3");
    CHECK(shelf_removals(&shelf, LP_REMOVED_BOUND) >= 2);
    CHECK(shelf_horizon_of(&shelf, "") >= lp_event_seq(first));
    stored_end(&world, &shelf);
}

/* ---- idle time ---------------------------------------------------------- */

static void idle_comes_right_after_start_and_after_each_batch(void)
{
    test_world world;
    test_shelf shelf;
    stored_start(&world, &shelf);
    shelf_wait(&shelf, &shelf.idles, 1);
    CHECK_IS(shelf_read(&shelf, &shelf.batch_count), 0);
    world_keep(&world, "a", "1");
    shelf_wait(&shelf, &shelf.idles, 2);
    world_keep(&world, "a", "1");
    shelf_wait(&shelf, &shelf.idles, 3);
    CHECK_IS(shelf_read(&shelf, &shelf.batch_count), 2);
    stored_end(&world, &shelf);
    CHECK_IS(shelf.idles, 3);
    CHECK_IS(shelf.idles_before_batch, 1);
}

static void idle_comes_again_when_it_asks_for_it(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    shelf.idle_again_ms = 3;
    world_start(&world);
    shelf_wait(&shelf, &shelf.idles, 10);
    CHECK_IS(shelf_read(&shelf, &shelf.batch_count), 0);
    stored_end(&world, &shelf);
}

static void idle_comes_in_the_middle_of_publishing(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    shelf.idle_again_ms = 5;
    world_start(&world);
    int kept = 0;
    while (shelf_read(&shelf, &shelf.idles) < 10 || kept < 100) {
        world_keep(&world, "a", "1");
        CHECK(kept++ < 100000);
    }
    stored_end(&world, &shelf);
}

static void idle_that_always_has_work_starves_no_publish(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    shelf.idle_again_ms = 0;
    world_start(&world);
    for (int i = 0; i < 20; i++)
        world_keep(&world, "a", "1");
    int idles = shelf_read(&shelf, &shelf.idles);
    shelf_wait(&shelf, &shelf.idles, idles + 10);
    stored_end(&world, &shelf);
}

static void idle_that_asks_for_the_end_of_time_is_left_alone(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    shelf.idle_again_ms = INT64_MAX;
    world_start(&world);
    shelf_wait(&shelf, &shelf.idles, 1);
    world_keep(&world, "a", "1");
    stored_end(&world, &shelf);
    CHECK_IS(shelf.idles, 1);
}

/* ---- the host's log ----------------------------------------------------- */

typedef struct slow_log {
    uv_mutex_t mutex;
    uv_cond_t changed;
    bool logging, looked;
} slow_log;

/* Waits for the home loop, on the add-on's thread. */
static void on_slow_log(void *ctx, lp_log_level level, const char *line)
{
    slow_log *log = ctx;
    (void)level, (void)line;
    uv_mutex_lock(&log->mutex);
    log->logging = true;
    uv_cond_broadcast(&log->changed);
    for (int i = 0; i < 60 && !log->looked; i++)
        uv_cond_timedwait(&log->changed, &log->mutex, UINT64_C(1000000000));
    CHECK(log->looked);
    uv_mutex_unlock(&log->mutex);
}

static void stop_when_serving(lp_manager *manager, lp_state state, const lp_error *error, void *ctx)
{
    (void)manager, (void)error;
    if (state == LP_STATE_SERVING)
        uv_stop(ctx);
}

/* A log callback may wait for a lock that the home loop's thread holds while it calls the library.
 */
static void log_callback_does_not_block_the_home_loop(void)
{
    test_shelf shelf;
    slow_log log = {.logging = false};
    uv_loop_t loop;
    lp_manager *manager;
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    shelf_init(&shelf);
    uv_mutex_init(&log.mutex);
    uv_cond_init(&log.changed);
    CHECK_IS(uv_loop_init(&loop), 0);
    options.addon = shelf_addon(&shelf);
    options.on_log = on_slow_log;
    options.log_ctx = &log;
    options.on_state = stop_when_serving;
    options.state_ctx = &loop;
    CHECK_IS(lp_manager_start(&loop, &options, &manager, NULL), LP_OK);

    uv_mutex_lock(&log.mutex);
    while (!log.logging)
        uv_cond_wait(&log.changed, &log.mutex);
    lp_stats stats;
    lp_manager_stats(manager, &stats, sizeof(stats));
    uv_run(&loop, UV_RUN_NOWAIT);
    log.looked = true;
    uv_cond_broadcast(&log.changed);
    uv_mutex_unlock(&log.mutex);

    while (lp_manager_state(manager) != LP_STATE_SERVING)
        uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_IS(lp_manager_shutdown(manager, 10000, NULL, NULL), LP_OK);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_IS(lp_manager_free(manager), LP_OK);
    CHECK_IS(uv_loop_close(&loop), 0);
    uv_cond_destroy(&log.changed);
    uv_mutex_destroy(&log.mutex);
    shelf_free(&shelf);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(removal_and_horizon_come_with_the_next_batch),
        PLAIN_TEST(changes_of_a_failed_batch_are_told_again),
        PLAIN_TEST(changes_do_not_wait_for_events_that_fail),
        PLAIN_TEST(expiry_is_told_though_nothing_is_published),
        PLAIN_TEST(retrieval_is_told_though_nothing_is_published),
        PLAIN_TEST(retrieval_is_told_again_after_a_failed_batch),
        PLAIN_TEST(bounds_of_all_are_told),
        PLAIN_TEST(idle_comes_right_after_start_and_after_each_batch),
        PLAIN_TEST(idle_comes_again_when_it_asks_for_it),
        PLAIN_TEST(idle_comes_in_the_middle_of_publishing),
        PLAIN_TEST(idle_that_always_has_work_starves_no_publish),
        PLAIN_TEST(idle_that_asks_for_the_end_of_time_is_left_alone),
        PLAIN_TEST(log_callback_does_not_block_the_home_loop),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
