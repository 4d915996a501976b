/* lp_publish and lp_publish_cjson without a store: what is refused, what is kept, when and in which
 * order the callbacks come. */
#include <criterion/criterion.h>

#include <cjson/cJSON.h>

#include "world.h"

static void set_up_category(char *out, size_t len)
{
    memset(out, 'c', len);
    out[len] = '\0';
}

Test(publish, is_completed_once_and_after_the_call_has_returned)
{
    test_world world;
    test_publish published = {0};
    world_init(&world);
    world_start(&world);
    cr_assert_eq(world_publish(&world, "a", "{\"n\":1}", &published), LP_OK);
    cr_assert_eq(published.calls, 0);
    world_run(&world, &published.calls, 1);
    world_turn(&world); /* a second call fails in the callback */
    cr_assert_eq(published.error.status, LP_OK);
    cr_assert(event_is(published.event, "{\"n\":1}"));
    cr_assert_eq(world_stats(&world).published, 1);
    cr_assert_eq(world_stats(&world).pending, 0);
    cr_assert_eq(world_stats(&world).pending_bytes, 0);
    world_end(&world);
}

Test(publish, keeps_the_order_of_the_calls)
{
    enum { COUNT = 1000 };
    static test_publish published[COUNT];
    test_world world;
    world_init(&world);
    world_start(&world);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(world_publish(&world, i % 2 ? "odd" : "even", "1", &published[i]), LP_OK);
    world_run(&world, &world.completions, COUNT);
    for (int i = 0; i < COUNT; i++) {
        cr_assert_eq(published[i].place, i + 1);
        if (i > 0)
            cr_assert_gt(lp_event_seq(published[i].event), lp_event_seq(published[i - 1].event));
    }
    world_end(&world);
}

Test(publish, keeps_the_bytes_of_the_data)
{
    static const char *const data[] = {"12345678901234567890",
                                       "123456789012345678901234567890.000",
                                       "{\"b\":1,\"a\":2,\"b\":3}",
                                       "{ \"a\" : [ 1 , 2 ] }",
                                       "\"\\u0000\\ud800 \xf0\x9f\x90\xb1 \\/ < >\"",
                                       "false",
                                       "0",
                                       "\"\"",
                                       "[]",
                                       "{}",
                                       "-0.0e-0"};
    test_world world;
    world_init(&world);
    world_start(&world);
    for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
        lp_event *event = world_keep(&world, "a", data[i]);
        cr_assert(event_is(event, data[i]), "%s", data[i]);
        lp_str wire = lp_event_wire(event);
        cr_assert_not_null(memmem(wire.base, wire.len, data[i], strlen(data[i])));
    }
    cr_assert(event_is(world_keep(&world, "a", " \r\n\t[1, 2]\n "), "[1, 2]"));
    world_end(&world);
}

Test(publish, copies_its_arguments)
{
    test_world world;
    test_publish published = {0};
    char category[] = "name", data[] = "\"data\"";
    world_init(&world);
    world_start(&world);
    cr_assert_eq(world_publish(&world, category, data, &published), LP_OK);
    memset(category, 'x', sizeof(category) - 1);
    memset(data, 'x', sizeof(data) - 1);
    world_run(&world, &published.calls, 1);
    cr_assert(event_is(published.event, "\"data\""));
    cr_assert_eq(memcmp(lp_event_category(published.event).base, "name", 4), 0);
    world_end(&world);
}

Test(publish, needs_no_callback)
{
    test_world world;
    test_poll polled = {0};
    world_init(&world);
    world_start(&world);
    cr_assert_eq(lp_publish(world.manager, lp_str_of("a"), lp_str_of("7"), NULL, NULL), LP_OK);
    world_answer(&world, query_all("a"), &polled);
    cr_assert_eq(polled.count, 1);
    cr_assert(event_is(polled.events[0], "7"));
    world_end(&world);
}

/* ---- cJSON -------------------------------------------------------------- */

static void on_published(void *ctx, const lp_error *error, const lp_event *event)
{
    cr_assert_eq(error->status, LP_OK);
    cr_assert(event_is(event, "{\"a\":[1,true,\"x\"]}"));
    ++*(int *)ctx;
}

Test(publish, takes_a_cjson_value)
{
    test_world world;
    int calls = 0;
    world_init(&world);
    world_start(&world);
    cJSON *value = cJSON_Parse("{ \"a\": [1, true, \"x\"] }");
    cr_assert_eq(lp_publish_cjson(world.manager, lp_str_of("a"), value, on_published, &calls),
                 LP_OK);
    cJSON_Delete(value);
    cr_assert_eq(calls, 0);
    world_run(&world, &calls, 1);
    world_end(&world);
}

Test(publish, refuses_a_cjson_value_that_is_none)
{
    test_world world;
    world_init(&world);
    world_start(&world);
    lp_str a = lp_str_of("a");
    cJSON *null = cJSON_CreateNull();
    cJSON *one = cJSON_CreateNumber(1);
    cJSON invalid = {.type = cJSON_Invalid};
    cr_assert_eq(lp_publish_cjson(world.manager, a, NULL, NULL, NULL), LP_EINVAL);
    cr_assert_eq(lp_publish_cjson(world.manager, a, null, NULL, NULL), LP_EINVAL);
    cr_assert_eq(lp_publish_cjson(world.manager, a, &invalid, NULL, NULL), LP_EINVAL);
    cr_assert_eq(lp_publish_cjson(world.manager, (lp_str){NULL, 0}, one, NULL, NULL), LP_EINVAL);
    cJSON_Delete(null);
    cJSON_Delete(one);
    world_turn(&world);
    cr_assert_eq(world_stats(&world).published, 0);
    world_end(&world);
}

/* ---- refusals ----------------------------------------------------------- */

Test(publish, refuses_what_is_not_one_json_value)
{
    static const char *const data[] = {"",
                                       " ",
                                       "nul",
                                       "null",
                                       " null ",
                                       "1 2",
                                       "{",
                                       "[1,]",
                                       "{\"a\"}",
                                       "\"\x80\"",
                                       "01",
                                       "'a'",
                                       "NaN",
                                       "+1",
                                       "\"\t\"",
                                       "\"\\ud8\"",
                                       "1.",
                                       "//1\n1",
                                       "1\f",
                                       "{1:2}",
                                       "tru",
                                       "\xef\xbb\xbf"
                                       "1"};
    test_world world;
    test_publish published = {0};
    world_init(&world);
    world_start(&world);
    for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++)
        cr_assert_eq(world_publish(&world, "a", data[i], &published), LP_EINVAL, "%s", data[i]);
    lp_str a = lp_str_of("a");
    cr_assert_eq(lp_publish(world.manager, a, (lp_str){NULL, 0}, NULL, NULL), LP_EINVAL);
    cr_assert_eq(lp_publish(world.manager, a, (lp_str){"1\0", 2}, NULL, NULL), LP_EINVAL);
    world_turn(&world);
    cr_assert_eq(published.calls, 0);
    cr_assert_eq(world_stats(&world).events, 0);
    cr_assert_eq(world_stats(&world).pending, 0);
    world_end(&world);
}

Test(publish, takes_nesting_of_512_and_refuses_513)
{
    enum { DEPTH = 512 };
    char data[2 * (DEPTH + 1) + 1];
    test_world world;
    test_publish published = {0};
    world_init(&world);
    world_start(&world);
    memset(data, '[', DEPTH + 1);
    memset(data + DEPTH + 1, ']', DEPTH + 1);
    data[sizeof(data) - 1] = '\0';
    cr_assert_eq(world_publish(&world, "a", data, &published), LP_EINVAL);
    data[sizeof(data) - 2] = '\0';
    world_keep(&world, "a", data + 1);
    world_end(&world);
}

Test(publish, takes_categories_of_1_to_1024_bytes)
{
    char category[LP_CATEGORY_MAX + 2];
    test_world world;
    test_publish published = {0};
    world_init(&world);
    world_start(&world);
    cr_assert_eq(world_publish(&world, "", "1", &published), LP_EINVAL);
    set_up_category(category, LP_CATEGORY_MAX + 1);
    cr_assert_eq(world_publish(&world, category, "1", &published), LP_EINVAL);
    set_up_category(category, LP_CATEGORY_MAX);
    lp_event *event = world_keep(&world, category, "1");
    cr_assert_eq(lp_event_category(event).len, LP_CATEGORY_MAX);
    cr_assert_eq(lp_event_category(world_keep(&world, "c", "1")).len, 1);
    world_end(&world);
}

Test(publish, refuses_a_category_that_is_not_utf8)
{
    static const char *const categories[] = {"\x80",         "a\xff",    "\xc3",
                                             "\xed\xa0\x80", "\xc0\xaf", "\xf5\x80\x80\x80"};
    test_world world;
    test_publish published = {0};
    world_init(&world);
    world_start(&world);
    for (size_t i = 0; i < sizeof(categories) / sizeof(categories[0]); i++)
        cr_assert_eq(world_publish(&world, categories[i], "1", &published), LP_EINVAL);
    world_keep(&world, "\xc3\xa9\"\\\n\x01", "1");
    test_poll polled = {0};
    world_answer(&world, query_all("\xc3\xa9\"\\\n\x01"), &polled);
    cr_assert_eq(polled.count, 1);
    world_end(&world);
}

Test(publish, takes_data_of_event_bytes_max_and_refuses_one_byte_more)
{
    char data[102];
    test_world world;
    test_publish published = {0};
    world_init(&world);
    world.options.event_bytes_max = 100;
    world_start(&world);
    memset(data, '1', 101);
    data[101] = '\0';
    cr_assert_eq(world_publish(&world, "a", data, &published), LP_ETOOBIG);
    data[100] = '\0';
    world_keep(&world, "a", data);
    world_end(&world);
}

/* ---- from within callbacks ---------------------------------------------- */

static void publish_another(test_publish *published)
{
    test_publish *another = published->user;
    cr_assert_eq(world_publish(published->world, "a", "2", another), LP_OK);
    cr_assert_eq(another->calls, 0);
}

Test(publish, can_be_called_from_a_completion)
{
    test_world world;
    test_publish another = {0}, first = {.then = publish_another, .user = &another};
    world_init(&world);
    world_start(&world);
    cr_assert_eq(world_publish(&world, "a", "1", &first), LP_OK);
    world_run(&world, &another.calls, 1);
    cr_assert_gt(lp_event_seq(another.event), lp_event_seq(first.event));
    world_end(&world);
}

static void publish_from_answer(test_poll *polled)
{
    test_publish *published = polled->user;
    cr_assert_eq(world_publish(polled->world, "a", "2", published), LP_OK);
    cr_assert_eq(published->calls, 0);
}

Test(publish, can_be_called_from_an_answer)
{
    test_world world;
    test_publish published = {0};
    test_poll polled = {.then = publish_from_answer, .user = &published};
    world_init(&world);
    world_start(&world);
    cr_assert_eq(world_poll(&world, query_all("a"), &polled), LP_OK);
    world_keep(&world, "a", "1");
    world_run(&world, &published.calls, 1);
    cr_assert_eq(polled.count, 1);
    world_end(&world);
}

/* Both in one turn of the loop: the answer comes first. */
Test(publish, keeps_the_order_of_calls_from_answers_and_from_completions)
{
    test_world world;
    test_publish from_answer = {0}, from_completion = {0};
    test_publish first = {.then = publish_another, .user = &from_completion};
    test_poll polled = {.then = publish_from_answer, .user = &from_answer};
    world_init(&world);
    world_start(&world);
    lp_event *before = world_keep(&world, "a", "0");
    world_keep(&world, "a", "1");
    cr_assert_eq(world_poll(&world, query_after("a", before), &polled), LP_OK);
    cr_assert_eq(world_publish(&world, "b", "1", &first), LP_OK);
    world_run(&world, &first.calls, 1);
    cr_assert_eq(polled.calls, 1);
    world_run(&world, &from_completion.calls, 1);
    world_run(&world, &from_answer.calls, 1);
    cr_assert_lt(lp_event_seq(from_answer.event), lp_event_seq(from_completion.event));
    world_end(&world);
}

/* A ring that is full lets its readers go before it drops what they have not seen. */
Test(publish, answers_no_poll_before_it_has_returned_even_where_the_ring_is_full)
{
    test_world world;
    test_poll polled = {0};
    test_publish published[5] = {{0}};
    world_init(&world);
    world.options.event_buffer_max = 2;
    world_start(&world);
    lp_event *before = world_keep(&world, "a", "0");
    cr_assert_eq(world_poll(&world, query_after("a", before), &polled), LP_OK);
    world_turn(&world);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(world_publish(&world, "a", "1", &published[i]), LP_OK);
    cr_assert_eq(polled.calls, 0);
    world_run(&world, &polled.calls, 1);
    cr_assert_geq(polled.count, 1);
    cr_assert_not(polled.gap);
    world_run(&world, &published[4].calls, 1);
    cr_assert_eq(polled.events[0], published[0].event);
    world_end(&world);
}

static void publish_from_state(test_world *world, lp_state state)
{
    test_publish *published = world->user;
    int status = world_publish(world, "a", "1", published);
    cr_assert_eq(status, state == LP_STATE_SERVING ? LP_OK : LP_ECLOSED);
}

Test(publish, called_from_a_state_callback_gets_what_the_state_says)
{
    test_world world;
    test_publish published = {0};
    world_init(&world);
    world.on_state = publish_from_state;
    world.user = &published;
    world_start(&world);
    world_shutdown(&world, 1000);
    world_run(&world, &world.ended, 1);
    cr_assert_eq(world.state_count, 2);
    cr_assert_eq(world.states[0], LP_STATE_DRAINING);
    cr_assert_eq(world.states[1], LP_STATE_CLOSED);
    world_end(&world);
}

/* ---- bounds ------------------------------------------------------------- */

typedef struct publish_flood {
    lp_manager *manager;
    int ok, full;
} publish_flood;

static void publish_many(void *ctx)
{
    publish_flood *flood = ctx;
    for (int i = 0; i < 15; i++) {
        int status = lp_publish(flood->manager, lp_str_of("a"), lp_str_of("1"), NULL, NULL);
        flood->ok += status == LP_OK;
        flood->full += status == LP_EFULL;
    }
}

Test(publish, from_another_thread_is_bounded_by_pending_max_while_the_loop_is_busy)
{
    test_world world;
    world_init(&world);
    world.options.pending_max = 10;
    world_start(&world);
    publish_flood flood = {.manager = world.manager};
    uv_thread_t thread;
    cr_assert_eq(uv_thread_create(&thread, publish_many, &flood), 0);
    uv_thread_join(&thread);
    cr_assert_eq(flood.ok, 10);
    cr_assert_eq(flood.full, 5);
    world_turn(&world);
    cr_assert_eq(world_stats(&world).published, 10);
    publish_many(&flood); /* there is room again */
    cr_assert_eq(flood.ok, 20);
    world_end(&world);
}
