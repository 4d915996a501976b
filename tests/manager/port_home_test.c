/* The home port: its calls go straight into the engine, another loop may run the manager's turn,
 * and the manager waits at its end for who has the port. */
#include <criterion/criterion.h>

#include "core/manager/port.h"
#include "world.h"

typedef struct home_port {
    test_world world;
    lp__port *port;
    int soons, drains, reports, published;
    bool is_asked, drains_later;
} home_port;

static void on_soon(void *ctx)
{
    home_port *home = ctx;
    home->soons++;
    home->is_asked = true;
}

static void on_drain(void *ctx)
{
    home_port *home = ctx;
    home->drains++;
    if (!home->drains_later)
        lp__port_drained(home->port);
}

static void home_open(home_port *home, bool has_soon)
{
    memset(home, 0, sizeof(*home));
    world_init(&home->world);
    home->world.options.waiters_max = 2;
    world_start(&home->world);
    lp__port_calls calls = {.soon = has_soon ? on_soon : NULL, .drain = on_drain, .ctx = home};
    cr_assert_eq(lp__port_home(home->world.manager, &calls, &home->port), LP_OK);
}

/* What a driver of the loop does. */
static void home_turn(home_port *home)
{
    for (int i = 0; i < 4; i++) {
        uv_run(&home->world.loop, UV_RUN_NOWAIT);
        if (!home->is_asked)
            continue;
        home->is_asked = false;
        lp__port_turn(home->port);
    }
}

typedef struct home_poll {
    lp__poll *poll;
    int opened, answers;
    size_t count;
    bool closing;
} home_poll;

static void on_opened(void *ctx, lp_id position)
{
    (void)position;
    ((home_poll *)ctx)->opened++;
}

static void on_answered(void *ctx, const lp_answer *answer)
{
    home_poll *self = ctx;
    self->answers++;
    self->count = answer->event_count;
    self->closing = answer->closing;
}

static int start(home_port *home, bool is_stream, home_poll *out)
{
    static const lp__poll_calls calls = {.opened = on_opened, .answered = on_answered};
    lp__poll_options options = {
        .calls = &calls, .ctx = out, .timeout_ms = 100000, .is_stream = is_stream};
    lp_query query = query_now("a");
    query.by_id = true;
    memset(out, 0, sizeof(*out));
    return lp__poll_start(home->port, &query, &options, &out->poll);
}

static void on_published(void *ctx, const lp_publish_result *result)
{
    cr_assert_eq(result->error.status, LP_OK);
    ((home_port *)ctx)->published++;
}

static void publish(home_port *home)
{
    lp_publish_item item = {lp_str_of("a"), lp_str_of("1")};
    lp_publish_request request = LP_PUBLISH_REQUEST_INIT;
    request.items = &item;
    request.item_count = 1;
    cr_assert_eq(lp__port_publish(home->port, &request, on_published, home), LP_OK);
}

/* ---- polls --------------------------------------------------------------- */

Test(port_home, refuses_at_once)
{
    home_port home;
    home_poll polled[3];
    home_open(&home, false);
    cr_assert_eq(start(&home, false, &polled[0]), LP_OK);
    cr_assert_eq(start(&home, true, &polled[1]), LP_OK);
    cr_assert_eq(start(&home, false, &polled[2]), LP_EFULL);
    lp__poll_cancel(polled[0].poll);
    lp__poll_cancel(polled[1].poll);
    cr_assert_eq(world_stats(&home.world).waiters, 0);
    world_end(&home.world);
}

Test(port_home, opens_a_stream_at_once_and_answers_it_again)
{
    home_port home;
    home_poll stream;
    home_open(&home, false);
    cr_assert_eq(start(&home, true, &stream), LP_OK);
    cr_assert_eq(stream.opened, 1);
    for (int i = 1; i <= 3; i++) {
        publish(&home);
        world_run(&home.world, &home.published, i);
        cr_assert_eq(stream.answers, i);
        cr_assert_eq(stream.count, 1);
        lp__poll_continue(stream.poll, 100000);
    }
    lp__poll_cancel(stream.poll);
    world_end(&home.world);
}

Test(port_home, dismisses_a_poll)
{
    home_port home;
    home_poll polled;
    home_open(&home, false);
    cr_assert_eq(start(&home, false, &polled), LP_OK);
    lp__poll_dismiss(polled.poll);
    cr_assert_eq(polled.answers, 1);
    cr_assert(polled.closing);
    world_end(&home.world);
}

/* ---- a turn that another loop runs ---------------------------------------- */

Test(port_home, has_its_publish_and_answer_in_the_turn_that_it_asked_for)
{
    home_port home;
    home_poll polled;
    home_open(&home, true);
    cr_assert_eq(start(&home, false, &polled), LP_OK);
    home_turn(&home);
    publish(&home);
    cr_assert(home.is_asked);
    cr_assert_eq(home.published, 0);
    home.is_asked = false;
    lp__port_turn(home.port); /* and nothing else */
    cr_assert_eq(home.published, 1);
    cr_assert_eq(polled.answers, 1);
    home_turn(&home);
    int soons = home.soons;
    home_turn(&home);
    cr_assert_eq(home.soons, soons, "it asks for turns that nobody needs");
    lp_manager_shutdown(home.world.manager, 10000, NULL, NULL);
    while (lp_manager_state(home.world.manager) != LP_STATE_CLOSED)
        home_turn(&home);
    cr_assert_eq(lp_manager_free(home.world.manager), LP_OK);
    world_close(&home.world);
}

static void publish_elsewhere(void *ctx)
{
    home_port *home = ctx;
    cr_assert_eq(lp_publish(home->world.manager, lp_str_of("a"), lp_str_of("1"), NULL, NULL),
                 LP_OK);
}

Test(port_home, asks_for_a_turn_when_another_thread_publishes_and_when_a_poll_times_out)
{
    home_port home;
    home_poll first, second;
    uv_thread_t thread;
    home_open(&home, true);
    cr_assert_eq(start(&home, false, &first), LP_OK);
    cr_assert_eq(start(&home, false, &second), LP_OK);
    home_turn(&home);
    uv_thread_create(&thread, publish_elsewhere, &home);
    while (first.answers == 0)
        home_turn(&home);
    uv_thread_join(&thread);
    cr_assert_eq(second.answers, 1);
    static const lp__poll_calls calls = {.answered = on_answered};
    lp__poll_options options = {.calls = &calls, .ctx = &first, .timeout_ms = 20};
    lp_query query = query_now("b");
    cr_assert_eq(lp__poll_start(home.port, &query, &options, &first.poll), LP_OK);
    while (first.answers == 1) {
        uv_run(&home.world.loop, UV_RUN_ONCE);
        home_turn(&home);
    }
    cr_assert_eq(first.count, 0);
    lp_manager_shutdown(home.world.manager, 10000, NULL, NULL);
    while (lp_manager_state(home.world.manager) != LP_STATE_CLOSED)
        home_turn(&home);
    cr_assert_eq(lp_manager_free(home.world.manager), LP_OK);
    world_close(&home.world);
}

/* ---- figures, and the end -------------------------------------------------- */

static void on_report(void *ctx, const lp__report *report)
{
    home_port *home = ctx;
    cr_assert_eq(report->stats.waiters, 1);
    cr_assert_eq(report->health.status, LP_OK);
    home->reports++;
}

Test(port_home, reports_at_once)
{
    home_port home;
    home_poll polled;
    home_open(&home, false);
    cr_assert_eq(start(&home, false, &polled), LP_OK);
    cr_assert_eq(lp__port_report(home.port, on_report, &home), LP_OK);
    cr_assert_eq(home.reports, 1);
    world_end(&home.world);
}

Test(port_home, keeps_the_manager_until_it_has_drained)
{
    home_port home;
    home_poll polled;
    home_open(&home, false);
    home.drains_later = true;
    cr_assert_eq(start(&home, false, &polled), LP_OK);
    world_shutdown(&home.world, 10000);
    world_run(&home.world, &home.drains, 1);
    cr_assert_eq(polled.answers, 1);
    cr_assert(polled.closing);
    world_turn(&home.world);
    cr_assert_eq(home.world.ended, 0);
    lp__port_drained(home.port);
    cr_assert_eq(lp__port_state(home.port), LP_STATE_CLOSED);
    cr_assert_eq(start(&home, false, &polled), LP_ECLOSED);
    world_run(&home.world, &home.world.ended, 1);
    cr_assert_eq(home.drains, 1);
    cr_assert_eq(lp__port_home(home.world.manager, NULL, &home.port), LP_ECLOSED);
    world_end(&home.world);
}

Test(port_home, may_be_left_at_any_time)
{
    home_port home;
    home_open(&home, false);
    lp__port_detach(home.port);
    world_end(&home.world);
    cr_assert_eq(home.drains, 0);

    home_open(&home, false);
    home.drains_later = true;
    world_shutdown(&home.world, 10000);
    world_run(&home.world, &home.drains, 1);
    lp__port_detach(home.port);
    world_end(&home.world);
}

Test(port_home, belongs_to_who_took_it_first)
{
    home_port home;
    lp__port *again;
    home_open(&home, false);
    lp__port_calls calls = {.drain = NULL};
    cr_assert_eq(lp__port_home(home.world.manager, &calls, &again), LP_OK);
    cr_assert_eq(again, home.port);
    world_end(&home.world);
    cr_assert_eq(home.drains, 1);
}
