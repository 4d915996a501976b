/* Promise 10, where the store is not in time: a shutdown returns by its deadline and leaves the
 * hook behind that does not. A plain program, for ThreadSanitizer. */
#include "check.h"
#include "stored.h"

static void run_to_the_end(test_world *world)
{
    world_run(world, &world->ended, 1);
    CHECK_IS(lp_manager_state(world->manager), LP_STATE_CLOSED);
}

/* ---- past the deadline -------------------------------------------------- */

/* The hook comes back after the manager, the loop and all have gone. */
static void end_then_release(test_world *world, test_shelf *shelf, int hook)
{
    run_to_the_end(world);
    CHECK_IS(world->end_error.status, LP_EDEADLINE);
    CHECK_SAYS(world->end_error.message, "shelf");
    CHECK_IS(shelf_read(shelf, &shelf->destroyed), shelf->starts - 1);
    world_end(world);
    memset(world, 0xa5, sizeof(*world));
    shelf_release(shelf, hook);
    shelf_wait(shelf, &shelf->destroyed, shelf->starts);
}

static void leaves_a_hook_behind_that_is_committing(void)
{
    test_world world;
    test_shelf shelf;
    test_publish published[4] = {{0}};
    test_poll polled = {0};
    stored_start(&world, &shelf);
    world_keep(&world, "a", "0");
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(world_publish(&world, "a", "1", &published[0]), LP_OK);
    CHECK_IS(world_publish(&world, "a", "2", &published[1]), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(world_publish(&world, "a", "3", &published[2]), LP_OK);
    world_turn(&world);
    CHECK_IS(world_publish(&world, "a", "4", &published[3]), LP_OK);
    CHECK_IS(world_poll(&world, query_now("a"), &polled), LP_OK);
    world_shutdown(&world, 50);
    world_run(&world, &world.ended, 1);
    CHECK_IS(world.unkept, 4);
    CHECK_IS(polled.calls, 1);
    CHECK(polled.closing);
    for (int i = 0; i < 4; i++) {
        CHECK_IS(published[i].error.status, LP_EDEADLINE);
        CHECK_IS(published[i].place, i + 2);
    }
    end_then_release(&world, &shelf, SHELF_HOLD_PUBLISH);
    /* what was told as not kept does not come back */
    CHECK_IS(shelf.event_count, 1);
    CHECK_IS(shelf.shutdowns, 1);
    shelf_free(&shelf);
}

static void leaves_a_hook_behind_with_many_batches_waiting(void)
{
    enum { COUNT = 10000 };
    static test_publish published[COUNT];
    test_world world;
    test_shelf shelf;
    stored_start(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    for (int i = 0; i < COUNT; i++)
        CHECK_IS(world_publish(&world, "a", "1", &published[i]), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    world_shutdown(&world, 20);
    world_run(&world, &world.ended, 1);
    CHECK_IS(world.unkept, COUNT);
    for (int i = 0; i < COUNT; i++)
        CHECK_IS(published[i].error.status, LP_EDEADLINE);
    end_then_release(&world, &shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(shelf.event_count, 0);
    CHECK_IS(shelf.batch_count, 2); /* the one in work, and that which takes it back */
    shelf_free(&shelf);
}

static void leaves_a_hook_behind_that_is_starting(void)
{
    test_world world;
    test_shelf shelf;
    lp_error error;
    stored_start(&world, &shelf);
    for (int i = 0; i < 10; i++)
        world_keep(&world, "a", "1");
    world_end(&world);

    stored_init_again(&world, &shelf);
    shelf.hold_after = 3;
    shelf_hold(&shelf, SHELF_HOLD_START);
    CHECK_IS(world_begin(&world, &error), LP_OK);
    shelf_wait_held(&shelf, SHELF_HOLD_START);
    world_shutdown(&world, 50);
    end_then_release(&world, &shelf, SHELF_HOLD_START);
    CHECK_IS(shelf.cancellations, 1);
    shelf_free(&shelf);
}

static void leaves_a_hook_behind_that_started_after_all(void)
{
    test_world world;
    test_shelf shelf;
    lp_error error;
    stored_init(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_START);
    CHECK_IS(world_begin(&world, &error), LP_OK);
    shelf_wait_held(&shelf, SHELF_HOLD_START);
    world_shutdown(&world, 0);
    end_then_release(&world, &shelf, SHELF_HOLD_START);
    shelf_free(&shelf);
}

static void leaves_a_hook_behind_that_is_closing(void)
{
    test_world world;
    test_shelf shelf;
    stored_start(&world, &shelf);
    lp_event *event = world_keep(&world, "a", "1");
    uint64_t seq = lp_event_seq(event);
    shelf_hold(&shelf, SHELF_HOLD_SHUTDOWN);
    world_shutdown(&world, 50);
    world_run(&world, &world.ended, 1);
    CHECK_IS(world.unkept, 0);
    end_then_release(&world, &shelf, SHELF_HOLD_SHUTDOWN);
    CHECK_IS(shelf.shutdowns, 1);
    CHECK(shelf_has(&shelf, seq));
    shelf_free(&shelf);
}

static void leaves_a_hook_behind_that_is_idle(void)
{
    test_world world;
    test_shelf shelf;
    test_publish published = {0};
    stored_init(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_IDLE);
    world_start(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_IDLE);
    CHECK_IS(world_publish(&world, "a", "1", &published), LP_OK);
    world_shutdown(&world, 50);
    world_run(&world, &world.ended, 1);
    CHECK_IS(world.unkept, 1);
    CHECK_IS(published.error.status, LP_EDEADLINE);
    end_then_release(&world, &shelf, SHELF_HOLD_IDLE);
    CHECK_IS(shelf.event_count, 0);
    CHECK_IS(shelf.shutdowns, 1);
    shelf_free(&shelf);
}

static void answers_polls_though_the_deadline_is_now(void)
{
    test_world world;
    test_shelf shelf;
    test_poll polled = {0};
    test_publish published = {0};
    stored_start(&world, &shelf);
    CHECK_IS(world_poll(&world, query_now("a"), &polled), LP_OK);
    world_turn(&world);
    CHECK_IS(world_publish(&world, "a", "1", &published), LP_OK);
    world_shutdown(&world, 0);
    world_run(&world, &world.ended, 1);
    CHECK_IS(polled.calls, 1);
    CHECK(polled.closing);
    CHECK_IS(published.calls, 1);
    CHECK_IS(published.error.status == LP_OK ? 0 : 1, world.unkept);
    bool kept = published.error.status == LP_OK;
    CHECK(world.end_error.status == LP_OK || world.end_error.status == LP_EDEADLINE);
    world_end(&world);
    shelf_wait(&shelf, &shelf.destroyed, 1);
    CHECK_IS(shelf.event_count, kept ? 1 : 0);
    CHECK_IS(shelf.shutdowns, 1);
    shelf_free(&shelf);
}

/* The home loop was busy elsewhere and looks after the deadline at what was done before it. */
static void does_not_call_late_what_is_done(void)
{
    test_world world;
    test_shelf shelf;
    stored_start(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_SHUTDOWN);
    world_shutdown(&world, 200);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_SHUTDOWN);
    shelf_release(&shelf, SHELF_HOLD_SHUTDOWN);
    shelf_wait(&shelf, &shelf.destroyed, 1); /* and the add-on's memory is gone */
    uv_sleep(250);
    run_to_the_end(&world);
    CHECK_IS(world.end_error.status, LP_OK);
    stored_end(&world, &shelf);
}

static void commits_that_are_done_are_not_called_late(void)
{
    test_world world;
    test_shelf shelf;
    test_publish published = {0};
    stored_start(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(world_publish(&world, "a", "1", &published), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    world_shutdown(&world, 200);
    world_turn(&world);
    int idles = shelf_read(&shelf, &shelf.idles);
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    shelf_wait(&shelf, &shelf.idles, idles + 1); /* comes behind the batch */
    uv_sleep(250);
    world_run(&world, &world.ended, 1);
    CHECK_IS(published.error.status, LP_OK);
    CHECK_IS(world.unkept, 0);
    world_end(&world);
    shelf_wait(&shelf, &shelf.destroyed, 1);
    CHECK_IS(shelf.event_count, 1);
    shelf_free(&shelf);
}

static void takes_any_timeout(void)
{
    static const int64_t timeouts[] = {INT64_MAX, INT64_MAX - 1, INT64_MIN, -1};
    for (int i = 0; i < 4; i++) {
        test_world world;
        world_init(&world);
        world_start(&world);
        world_shutdown(&world, timeouts[i]);
        run_to_the_end(&world);
        CHECK_IS(world.end_error.status, LP_OK);
        world_end(&world);
    }
    test_world world;
    test_shelf shelf;
    stored_start(&world, &shelf);
    world_shutdown(&world, INT64_MAX);
    run_to_the_end(&world);
    CHECK_IS(world.end_error.status, LP_OK);
    stored_end(&world, &shelf);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(leaves_a_hook_behind_that_is_committing),
        PLAIN_TEST(leaves_a_hook_behind_with_many_batches_waiting),
        PLAIN_TEST(leaves_a_hook_behind_that_is_starting),
        PLAIN_TEST(leaves_a_hook_behind_that_started_after_all),
        PLAIN_TEST(leaves_a_hook_behind_that_is_closing),
        PLAIN_TEST(leaves_a_hook_behind_that_is_idle),
        PLAIN_TEST(answers_polls_though_the_deadline_is_now),
        PLAIN_TEST(does_not_call_late_what_is_done),
        PLAIN_TEST(commits_that_are_done_are_not_called_late),
        PLAIN_TEST(takes_any_timeout),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
