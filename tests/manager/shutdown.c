/* Promise 10: a shutdown refuses what is new, keeps what was accepted, answers who waits, and
 * returns by its deadline, whatever the store does. A plain program, for ThreadSanitizer. */
#include "check.h"
#include "stored.h"

static void run_to_the_end(test_world *world)
{
    world_run(world, &world->ended, 1);
    CHECK_IS(lp_manager_state(world->manager), LP_STATE_CLOSED);
}

/* ---- all is well -------------------------------------------------------- */

static void answers_polls_and_completes_publishes_without_a_store(void)
{
    test_world world;
    test_poll polled = {0}, settled = {0};
    test_publish published[3] = {{0}};
    world_init(&world);
    world_start(&world);
    lp_event *before = world_keep(&world, "a", "0");
    CHECK_IS(world_poll(&world, query_after("a", before), &polled), LP_OK);
    CHECK_IS(world_poll(&world, query_now("b"), &settled), LP_OK);
    for (int i = 0; i < 3; i++)
        CHECK_IS(world_publish(&world, "a", "1", &published[i]), LP_OK);
    world_shutdown(&world, 10000);
    CHECK_IS(polled.calls + settled.calls + world.completions, 1);
    run_to_the_end(&world);
    CHECK_IS(world.end_error.status, LP_OK);
    CHECK_IS(world.unkept, 0);
    for (int i = 0; i < 3; i++)
        CHECK_IS(published[i].error.status, LP_OK);
    CHECK_IS(polled.calls, 1);
    CHECK_IS(settled.calls, 1);
    CHECK(settled.closing);
    CHECK_IS(settled.count, 0);
    world_end(&world);
}

static void answers_polls_at_once_and_keeps_what_was_accepted(void)
{
    test_world world;
    test_shelf shelf;
    test_poll polled[2] = {{0}};
    test_publish published[3] = {{0}}, refused = {0};
    stored_start(&world, &shelf);
    lp_event *before = world_keep(&world, "a", "0");
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(world_publish(&world, "a", "1", &published[0]), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(world_publish(&world, "a", "2", &published[1]), LP_OK);
    world_turn(&world);
    CHECK_IS(world_publish(&world, "a", "3", &published[2]), LP_OK);
    CHECK_IS(world_poll(&world, query_after("a", before), &polled[0]), LP_OK);
    CHECK_IS(world_poll(&world, query_now("b"), &polled[1]), LP_OK);
    world_shutdown(&world, 60000);
    CHECK_IS(lp_manager_state(world.manager), LP_STATE_DRAINING);
    CHECK_IS(world_publish(&world, "a", "4", &refused), LP_ECLOSED);
    CHECK_IS(world_poll(&world, query_now("b"), &polled[1]), LP_ECLOSED);

    polled[1].calls = 0;
    world_run(&world, &world.answers, 2); /* while the store is still busy */
    CHECK(polled[0].closing && polled[1].closing);
    CHECK_IS(polled[0].count + polled[1].count, 0);
    CHECK(polled[0].timestamp_ms >= lp_event_timestamp_ms(before) - 1);
    CHECK_IS(world.completions, 1);
    CHECK_IS(lp_manager_free(world.manager), LP_EINVAL);

    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    run_to_the_end(&world);
    CHECK_IS(world.end_error.status, LP_OK);
    CHECK_IS(world.unkept, 0);
    for (int i = 0; i < 3; i++) {
        CHECK_IS(published[i].error.status, LP_OK);
        CHECK(lp_event_timestamp_ms(published[i].event) > polled[0].timestamp_ms);
        CHECK(shelf_has(&shelf, lp_event_seq(published[i].event)));
    }
    CHECK_IS(shelf.shutdowns, 1);
    CHECK_IS(shelf.destroyed, 1);
    CHECK(shelf.remaining_ms > 0);
    CHECK_IS(refused.calls, 0);
    stored_end(&world, &shelf);
}

static void tells_the_store_what_has_changed(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    world.options.event_buffer_max = 1;
    world_start(&world);
    lp_event *first = world_keep(&world, "a", "1");
    world_keep(&world, "a", "2"); /* drops the first, which a later batch is to tell */
    world_shutdown(&world, 10000);
    run_to_the_end(&world);
    CHECK_IS(shelf_removals(&shelf, LP_REMOVED_RING), 1);
    CHECK_IS(shelf_horizon_of(&shelf, "a"), lp_event_seq(first));
    stored_end(&world, &shelf);
}

static void does_not_try_for_ever_what_the_store_refuses(void)
{
    test_world world;
    test_shelf shelf;
    test_publish published = {0};
    stored_init(&world, &shelf);
    world.options.event_buffer_max = 1;
    world_start(&world);
    world_keep(&world, "a", "1");
    world_keep(&world, "a", "2");
    shelf_fail(&shelf, 1000000, LP_ENOSPC, "full for ever");
    CHECK_IS(world_publish(&world, "a", "3", &published), LP_OK);
    world_shutdown(&world, 60000);
    run_to_the_end(&world);
    CHECK_IS(published.error.status, LP_ENOSPC);
    CHECK(shelf.batch_count < 10);
    CHECK_IS(shelf.shutdowns, 1);
    stored_end(&world, &shelf);
}

static void says_what_on_shutdown_said(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    shelf.shutdown_status = LP_EIO;
    world_start(&world);
    world_keep(&world, "a", "1");
    world_shutdown(&world, 10000);
    run_to_the_end(&world);
    CHECK_IS(world.end_error.status, LP_EIO);
    CHECK_SAYS(world.end_error.message, "the shelf fell down");
    CHECK_IS(world.unkept, 0);
    stored_end(&world, &shelf);
}

static void tells_its_states_once_each(void)
{
    test_world world;
    test_shelf shelf;
    stored_start(&world, &shelf);
    world_shutdown(&world, 10000);
    world_shutdown(&world, 10000);
    world_run(&world, &world.ended, 2);
    CHECK_IS(world.state_count, 3);
    CHECK_IS(world.states[0], LP_STATE_SERVING);
    CHECK_IS(world.states[1], LP_STATE_DRAINING);
    CHECK_IS(world.states[2], LP_STATE_CLOSED);
    stored_end(&world, &shelf);
}

/* ---- twice, and after the end ------------------------------------------- */

static void count_end(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)manager, (void)unkept;
    CHECK_IS(error->status, LP_OK);
    ++*(int *)ctx;
}

static void second_call_is_told_with_the_first(void)
{
    test_world world;
    test_shelf shelf;
    int second = 0, third = 0, late = 0;
    stored_start(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_SHUTDOWN);
    world_shutdown(&world, 60000);
    CHECK_IS(lp_manager_shutdown(world.manager, 0, count_end, &second), LP_OK);
    world_turn(&world);
    shelf_wait_held(&shelf, SHELF_HOLD_SHUTDOWN);
    CHECK_IS(lp_manager_shutdown(world.manager, 0, count_end, &third), LP_OK);
    CHECK_IS(lp_manager_shutdown(world.manager, 0, NULL, NULL), LP_OK);
    world_turn(&world);
    CHECK_IS(second + third + world.ended, 0); /* its deadline changes nothing */
    shelf_release(&shelf, SHELF_HOLD_SHUTDOWN);
    run_to_the_end(&world);
    CHECK_IS(second, 1);
    CHECK_IS(third, 1);
    CHECK_IS(shelf.shutdowns, 1);
    CHECK_IS(lp_manager_shutdown(world.manager, 0, count_end, &late), LP_ECLOSED);
    world_turn(&world);
    CHECK_IS(late, 0);
    CHECK_IS(world.ended, 1);
    stored_end(&world, &shelf);
}

static void calls_after_the_end_get_a_status(void)
{
    test_world world;
    test_shelf shelf;
    test_publish published = {0};
    test_poll polled = {0};
    stored_start(&world, &shelf);
    world_keep(&world, "a", "1");
    world_shutdown(&world, 10000);
    run_to_the_end(&world);
    CHECK_IS(world_publish(&world, "a", "1", &published), LP_ECLOSED);
    CHECK_IS(world_poll(&world, query_all("a"), &polled), LP_ECLOSED);
    CHECK_IS(lp_manager_shutdown(world.manager, 1, NULL, NULL), LP_ECLOSED);
    CHECK_IS(world_stats(&world).state, LP_STATE_CLOSED);
    CHECK_IS(world_stats(&world).published, 1);
    world_turn(&world);
    CHECK_IS(published.calls + polled.calls, 0);
    stored_end(&world, &shelf);
}

static void only_a_closed_manager_is_freed(void)
{
    test_world world;
    test_shelf shelf;
    stored_init(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_START);
    lp_error error;
    CHECK_IS(world_begin(&world, &error), LP_OK);
    CHECK_IS(lp_manager_state(world.manager), LP_STATE_STARTING);
    CHECK_IS(lp_manager_free(world.manager), LP_EINVAL);
    shelf_release(&shelf, SHELF_HOLD_START);
    world_run_to_state(&world, LP_STATE_SERVING);
    CHECK_IS(lp_manager_free(world.manager), LP_EINVAL);
    world_keep(&world, "a", "1");
    world_shutdown(&world, 10000);
    CHECK_IS(lp_manager_free(world.manager), LP_EINVAL);
    run_to_the_end(&world);
    CHECK_IS(lp_manager_free(NULL), LP_OK);
    stored_end(&world, &shelf);
}

static void manager_can_be_freed_in_the_callback(void)
{
    test_world world;
    test_shelf shelf;
    stored_start(&world, &shelf);
    world.free_at_end = true;
    world_shutdown(&world, 10000);
    world_run(&world, &world.ended, 1);
    stored_end(&world, &shelf);
}

static void free_when_closed(test_world *world, lp_state state)
{
    if (state == LP_STATE_CLOSED)
        CHECK_IS(lp_manager_free(world->manager), LP_OK);
}

static void count_end_of_a_freed_one(lp_manager *manager, const lp_error *error, uint64_t unkept,
                                     void *ctx)
{
    (void)manager, (void)unkept;
    CHECK_IS(error->status, LP_OK);
    ++*(int *)ctx;
}

static void manager_can_be_freed_when_its_state_says_closed(void)
{
    test_world world;
    test_shelf shelf;
    int ends = 0;
    stored_start(&world, &shelf);
    world.on_state = free_when_closed;
    for (int i = 0; i < 2; i++)
        CHECK_IS(lp_manager_shutdown(world.manager, 10000, count_end_of_a_freed_one, &ends), LP_OK);
    world_run(&world, &ends, 2);
    world.manager = NULL;
    stored_end(&world, &shelf);
}

/* ---- from within callbacks ---------------------------------------------- */

static void shut_down_from_answer(test_poll *polled)
{
    world_shutdown(polled->world, 10000);
}

static void can_be_called_from_an_answer(void)
{
    test_world world;
    test_shelf shelf;
    stored_start(&world, &shelf);
    test_poll polled = {.then = shut_down_from_answer}, other = {0};
    lp_event *before = world_keep(&world, "a", "0");
    CHECK_IS(world_poll(&world, query_after("a", before), &polled), LP_OK);
    CHECK_IS(world_poll(&world, query_now("b"), &other), LP_OK);
    test_publish published = {0};
    CHECK_IS(world_publish(&world, "a", "1", &published), LP_OK);
    run_to_the_end(&world);
    CHECK_IS(published.error.status, LP_OK);
    CHECK(other.closing);
    CHECK(!polled.closing);
    stored_end(&world, &shelf);
}

static void poll_again(test_poll *polled)
{
    test_poll *next = polled->user;
    CHECK_IS(world_poll(polled->world, query_now("a"), next), LP_ECLOSED);
}

static void answers_of_a_shutdown_may_poll_and_cancel(void)
{
    test_world world;
    test_poll next = {0}, polled = {.then = poll_again, .user = &next};
    world_init(&world);
    world_start(&world);
    CHECK_IS(world_poll(&world, query_now("a"), &polled), LP_OK);
    world_turn(&world);
    world_shutdown(&world, 10000);
    run_to_the_end(&world);
    CHECK(polled.closing);
    CHECK_IS(next.calls, 0);
    world_end(&world);
}

static void shut_down_from_completion(test_publish *published)
{
    world_shutdown(published->world, 10000);
}

static void can_be_called_from_a_completion(void)
{
    test_world world;
    test_shelf shelf;
    stored_start(&world, &shelf);
    test_publish first = {.then = shut_down_from_completion}, second = {0};
    CHECK_IS(world_publish(&world, "a", "1", &first), LP_OK);
    CHECK_IS(world_publish(&world, "a", "2", &second), LP_OK);
    run_to_the_end(&world);
    CHECK_IS(second.error.status, LP_OK);
    stored_end(&world, &shelf);
}

static void shut_down_when_serving(test_world *world, lp_state state)
{
    if (state == LP_STATE_SERVING)
        world_shutdown(world, 10000);
}

static void can_be_called_from_a_state_callback(void)
{
    test_world world;
    test_shelf shelf;
    lp_error error;
    stored_init(&world, &shelf);
    world.on_state = shut_down_when_serving;
    CHECK_IS(world_begin(&world, &error), LP_OK);
    run_to_the_end(&world);
    CHECK_IS(shelf.shutdowns, 1);
    CHECK_IS(world.end_error.status, LP_OK);
    stored_end(&world, &shelf);
}

/* ---- in every state ----------------------------------------------------- */

static void cuts_a_replay_short(void)
{
    enum { COUNT = 10 };
    test_world world;
    test_shelf shelf;
    lp_error error;
    stored_start(&world, &shelf);
    for (int i = 0; i < COUNT; i++)
        world_keep(&world, "a", "1");
    world_end(&world);

    stored_init_again(&world, &shelf);
    shelf.hold_after = 3;
    shelf_hold(&shelf, SHELF_HOLD_START);
    CHECK_IS(world_begin(&world, &error), LP_OK);
    shelf_wait_held(&shelf, SHELF_HOLD_START);
    world_shutdown(&world, 60000);
    world_turn(&world);
    CHECK_IS(world.ended, 0);
    shelf_release(&shelf, SHELF_HOLD_START);
    run_to_the_end(&world);
    CHECK_IS(shelf.cancellations, 1);
    CHECK_IS(world.end_error.status, LP_OK);
    CHECK_IS(shelf.event_count, COUNT);
    CHECK_IS(world.state_count, 2);
    CHECK_IS(shelf.shutdowns, 1); /* of the first run */
    stored_end(&world, &shelf);
}

static void closes_a_store_that_does_not_heed_the_cancellation(void)
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
    shelf.heeds_no_cancellation = true;
    shelf_hold(&shelf, SHELF_HOLD_START);
    CHECK_IS(world_begin(&world, &error), LP_OK);
    shelf_wait_held(&shelf, SHELF_HOLD_START);
    world_shutdown(&world, 60000);
    shelf_release(&shelf, SHELF_HOLD_START);
    run_to_the_end(&world);
    CHECK_IS(shelf.shutdowns, 2);
    CHECK_IS(world.end_error.status, LP_OK);
    stored_end(&world, &shelf);
}

/* A gap that was told to nobody yet must not be forgotten because the store is closed in good
 * order. */
static void keeps_the_loss_that_a_start_told_of(void)
{
    test_world world;
    test_shelf shelf;
    test_poll polled = {0};
    lp_error error;
    stored_start(&world, &shelf);
    lp_event *first = world_keep(&world, "a", "1");
    uint64_t seq = lp_event_seq(first);
    world_keep(&world, "a", "2");
    world_end(&world);

    stored_init_again(&world, &shelf);
    shelf.loss = "mice";
    shelf_hold(&shelf, SHELF_HOLD_LOSS);
    CHECK_IS(world_begin(&world, &error), LP_OK);
    shelf_wait_held(&shelf, SHELF_HOLD_LOSS);
    world_shutdown(&world, 60000);
    world_turn(&world);
    shelf_release(&shelf, SHELF_HOLD_LOSS);
    run_to_the_end(&world);
    CHECK_IS(world.end_error.status, LP_OK);
    CHECK_IS(shelf.shutdowns, 2);
    CHECK_IS(world.state_count, 2);
    world_end(&world);

    stored_init_again(&world, &shelf);
    shelf.loss = NULL;
    world_start(&world);
    world_answer(&world, query_behind("a", seq), &polled);
    CHECK(polled.gap);
    stored_end(&world, &shelf);
}

static void ends_a_manager_whose_store_failed(void)
{
    test_world world;
    test_shelf shelf;
    lp_error error;
    stored_init(&world, &shelf);
    shelf.start_status = LP_EACCES;
    shelf.start_sentence = "the cupboard is locked";
    CHECK_IS(world_begin(&world, &error), LP_OK);
    world_run_to_state(&world, LP_STATE_FAILED);
    CHECK_IS(lp_manager_free(world.manager), LP_EINVAL);
    world_shutdown(&world, 10000);
    run_to_the_end(&world);
    CHECK_IS(world.end_error.status, LP_OK); /* nothing was accepted, all of it is kept */
    CHECK_IS(shelf.shutdowns, 0);
    stored_end(&world, &shelf);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(answers_polls_and_completes_publishes_without_a_store),
        PLAIN_TEST(answers_polls_at_once_and_keeps_what_was_accepted),
        PLAIN_TEST(tells_the_store_what_has_changed),
        PLAIN_TEST(does_not_try_for_ever_what_the_store_refuses),
        PLAIN_TEST(says_what_on_shutdown_said),
        PLAIN_TEST(tells_its_states_once_each),
        PLAIN_TEST(second_call_is_told_with_the_first),
        PLAIN_TEST(calls_after_the_end_get_a_status),
        PLAIN_TEST(only_a_closed_manager_is_freed),
        PLAIN_TEST(manager_can_be_freed_in_the_callback),
        PLAIN_TEST(manager_can_be_freed_when_its_state_says_closed),
        PLAIN_TEST(can_be_called_from_an_answer),
        PLAIN_TEST(answers_of_a_shutdown_may_poll_and_cancel),
        PLAIN_TEST(can_be_called_from_a_completion),
        PLAIN_TEST(can_be_called_from_a_state_callback),
        PLAIN_TEST(cuts_a_replay_short),
        PLAIN_TEST(closes_a_store_that_does_not_heed_the_cancellation),
        PLAIN_TEST(keeps_the_loss_that_a_start_told_of),
        PLAIN_TEST(ends_a_manager_whose_store_failed),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
