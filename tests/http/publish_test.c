/* Publishing what golongpoll does not know: arrays, keys, and the answer that shows the event. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/wire/publish_body.h"
#include "harness.h"
#include "store_double.h"

#define KEPT "{\"success\": true}"
#define ONE  "{\"category\":\"c\",\"data\":1}"

static void send_publish(raw_conn *conn, const char *headers, const char *body)
{
    cr_assert(raw_printf(conn,
                         "POST /publish HTTP/1.1\r\nHost: here\r\n%sContent-Length: %zu\r\n\r\n%s",
                         headers, strlen(body), body));
}

static raw_answer read_answer(raw_conn *conn)
{
    raw_answer answer;
    cr_assert(raw_read(conn, false, RAW_DEADLINE_MS, &answer));
    return answer;
}

static raw_answer publish(const char *headers, const char *body)
{
    raw_conn conn = harness_connect();
    send_publish(&conn, headers, body);
    raw_answer answer = read_answer(&conn);
    raw_close(&conn);
    return answer;
}

/* `body` is the whole of it, or its beginning when it ends in "...". */
static void answers(raw_answer answer, int status, const char *body)
{
    size_t len = strlen(body);
    bool whole = len < 3 || strcmp(body + len - 3, "...") != 0;
    cr_expect_eq(answer.status, status, "%d %s", answer.status, answer.body);
    cr_expect(whole ? strcmp(answer.body, body) == 0 : strncmp(answer.body, body, len - 3) == 0,
              "%s", answer.body);
    raw_free(&answer);
}

static uint64_t events(void)
{
    return harness_stats().events;
}

/* ---- arrays ------------------------------------------------------------ */

Test(publish_array, all_its_events_are_kept_in_their_order)
{
    harness_start(NULL);
    answers(publish("", "[" ONE ",\n {\"DATA\": [2], \"category\":\"d\"} , "
                        "{\"category\":\"\\u0063\",\"data\":{\"n\":3}}]"),
            200, KEPT);
    cr_expect_eq(events(), 3);
    raw_conn conn = harness_poll("c", "&since_time=1");
    raw_answer answer = read_answer(&conn);
    const char *first = strstr(answer.body, "\"category\":\"c\",\"data\":1,");
    cr_expect(first && strstr(first, "\"category\":\"c\",\"data\":{\"n\":3},"), "%s", answer.body);
    raw_free(&answer);
    raw_close(&conn);
    harness_stop();
}

Test(publish_array, nothing_of_it_is_kept_when_one_item_is_wrong)
{
    static const char *const rows[][2] = {
        {"[]", "{\"error\": \"Invalid POST body json, an array must have at least one item.\"}"},
        {"[ ]x", "{\"error\": \"Invalid POST body json, an array must have at least one item.\"}"},
        {"[" ONE, "{\"error\": \"Invalid POST body json.\"}"},
        {"[" ONE ",]", "{\"error\": \"Invalid POST body json.\"}"},
        {"[," ONE "]", "{\"error\": \"Invalid POST body json.\"}"},
        {"[" ONE " " ONE "]", "{\"error\": \"Invalid POST body json.\"}"},
        {"[" ONE ",2]", "{\"error\": \"item 2: Invalid POST body json.\"}"},
        {"[[" ONE "]]", "{\"error\": \"item 1: Invalid POST body json.\"}"},
        {"[" ONE ",{\"category\":7,\"data\":1}]",
         "{\"error\": \"item 2: Invalid POST body json.\"}"},
        {"[" ONE "," ONE ",{\"category\":\"c\"}]",
         "{\"error\": \"item 3: Invalid or missing 'data' arg, must be non-nil.\"}"},
        {"[{\"category\":\"c\",\"data\":null},5]",
         "{\"error\": \"item 1: Invalid or missing 'data' arg, must be non-nil.\"}"},
        {"[" ONE ",null]", "{\"error\": \"item 2: Invalid or missing 'category' arg, must be "
                           "1-1024 characters long.\"}"},
        {"[{\"category\":\"\",\"data\":1}]",
         "{\"error\": \"item 1: Invalid or missing 'category' arg, must be 1-1024 characters "
         "long.\"}"},
    };
    harness_start(NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        answers(publish("", rows[i][0]), 400, rows[i][1]);
    cr_expect_eq(events(), 0);
    answers(publish("", "[" ONE "] and more"), 200, KEPT); /* as behind a single object */
    harness_stop();
}

Test(publish_array, an_item_that_is_too_large_is_named)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_bytes_max = 8;
    options.manager.pending_max = 3;
    harness_start(&options);
    answers(publish("", "[" ONE ",{\"category\":\"c\",\"data\":123456789}]"), 413,
            "{\"error\": \"item 2: the event is too large, its data may have 8 bytes\"}");
    answers(publish("", "{\"category\":\"c\",\"data\":123456789}"), 413,
            "{\"error\": \"the event is too large, its data may have 8 bytes\"}");
    answers(publish("", "[" ONE "," ONE "," ONE "," ONE "]"), 413,
            "{\"error\": \"the request has too many items\"}");
    cr_expect_eq(events(), 0);
    harness_stop();
}

static char *array_of(size_t count, const char *item)
{
    char *text = malloc(count * (strlen(item) + 1) + 3), *at = text;
    *at++ = '[';
    for (size_t i = 0; i < count; i++)
        at += sprintf(at, "%s%s", i ? "," : "", item);
    strcpy(at, "]");
    return text;
}

Test(publish_array, it_may_have_thousands_of_items)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_buffer_max = 10000;
    harness_start(&options);
    char *text = array_of(5000, ONE);
    answers(publish("", text), 200, KEPT);
    cr_expect_eq(events(), 5000);
    free(text);
    harness_stop();
}

/* ---- its reader, by itself --------------------------------------------- */

/* What is wrong with an item is wrong with it alone, and the other way round. */
Test(publish_items, an_array_of_one_is_judged_as_the_one_is)
{
    static const char *const bodies[] = {
        ONE,
        "null",
        "true",
        "[]",
        "\"category\"",
        "{}",
        "{\"category\":\"c\"}",
        "{\"data\":1}",
        "{\"category\":\"\",\"data\":1}",
        "{\"category\":1,\"data\":1}",
        "{\"category\":null,\"data\":1}",
        "{\"category\":\"c\",\"category\":null,\"data\":1}",
        "{\"category\":1,\"category\":\"c\",\"data\":1}",
        "{\"category\":\"c\",\"data\":1,\"DATA\":null}",
        "{\"CATEGORY\":\"c\",\"data\":null,\"d\\u0061ta\":[{}]}",
        "{\"category\":\"c\",\"data\":01}",
        "{\"category\":\"c\",\"data\":1,}",
        "{\"category\":\"\xff\",\"data\":1}",
    };
    static const char head[] = "{\"error\": \"item 1: ";
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        lp__publish_body one;
        lp__publish_items all;
        char array[256];
        snprintf(array, sizeof(array), " [ %s ] ", bodies[i]);
        int status = lp__publish_body_read(lp_str_of(bodies[i]), &one);
        cr_expect_eq(lp__publish_items_read(lp_str_of(array), 9, &all), status, "%s", array);
        if (status == LP_OK) {
            cr_expect_eq(all.items[0].category.len, one.category.len);
            cr_expect_eq(all.items[0].data.len, one.data.len);
            lp__publish_items_free(&all);
        } else if (strncmp(all.error.base, head, sizeof(head) - 1) == 0) {
            size_t len = all.error.len - (sizeof(head) - 1);
            cr_expect_eq(len, one.error.len - strlen("{\"error\": \""));
            cr_expect_arr_eq(all.error.base + sizeof(head) - 1,
                             one.error.base + strlen("{\"error\": \""), len);
        } else { /* it is not JSON at all */
            cr_expect_eq(all.error.len, one.error.len, "%s", array);
        }
    }
}

Test(publish_items, categories_of_an_array_are_decoded)
{
    lp__publish_items items;
    static const char text[] = "\t[{\"category\":\"\\u00e4\\/\\u0000\",\"data\":\"x\"},"
                               "{\"category\":\"\\ud800\",\"category\":\"b\",\"data\":[ 1 ]}]";
    cr_assert_eq(lp__publish_items_read(lp_str_of(text), 2, &items), LP_OK);
    cr_expect(items.is_array);
    cr_assert_eq(items.count, 2);
    cr_expect_eq(items.items[0].category.len, 4);
    cr_expect_arr_eq(items.items[0].category.base, "\xc3\xa4/", 4);
    cr_expect_eq(items.items[1].category.len, 1);
    cr_expect_arr_eq(items.items[1].data.base, "[ 1 ]", 5);
    cr_expect_eq(items.items[1].data.len, 5);
    lp__publish_items_free(&items);
    cr_expect_eq(lp__publish_items_read(lp_str_of(text), 1, &items), LP_ETOOBIG);
}

Test(publish_items, a_single_object_is_one_item)
{
    lp__publish_items items;
    cr_assert_eq(lp__publish_items_read(lp_str_of(" " ONE), 1, &items), LP_OK);
    cr_expect_not(items.is_array);
    cr_assert_eq(items.count, 1);
    cr_expect_eq(items.items[0].category.len, 1);
    lp__publish_items_free(&items);
    cr_expect_eq(lp__publish_items_read((lp_str){NULL, 0}, 1, &items), LP_EINVAL);
    cr_expect_eq(lp__publish_items_read(lp_str_of("["), 1, &items), LP_EINVAL);
}

/* ---- publish once ------------------------------------------------------ */

#define KEY(text) "Idempotency-Key: " text "\r\n"

Test(publish_key, a_repeat_is_answered_like_the_first_and_publishes_nothing)
{
    harness_start(NULL);
    answers(publish(KEY("k"), ONE), 200, KEPT);
    answers(publish(KEY("k"), ONE), 200, KEPT);
    answers(publish(KEY("  k\t"), ONE), 200, KEPT);
    cr_expect_eq(events(), 1);
    answers(publish(KEY("k"), "{\"category\":\"c\",\"data\":2}"), 422,
            "{\"error\": \"the idempotency key was used for another body\"}");
    answers(publish(KEY("k"), "[" ONE "," ONE "]"), 422, "{\"error\": ...");
    answers(publish(KEY("K"), ONE), 200, KEPT); /* bytes count, and their case */
    cr_expect_eq(events(), 2);
    cr_expect_eq(harness_stats().repeated, 2);
    cr_expect_eq(harness_stats().conflicting, 2);
    harness_stop();
}

Test(publish_key, a_key_that_is_none_is_400)
{
    static const char once[] =
        "{\"error\": \"Invalid 'Idempotency-Key' header, must be given once.\"}";
    static const char length[] =
        "{\"error\": \"Invalid 'Idempotency-Key' header, must be 1-255 bytes long.\"}";
    char header[300];
    harness_start(NULL);
    answers(publish(KEY("a") KEY("a"), ONE), 400, once);
    answers(publish(KEY(""), ONE), 400, length);
    answers(publish(KEY(" \t "), ONE), 400, length);
    snprintf(header, sizeof(header), KEY("%0256d"), 1);
    answers(publish(header, ONE), 400, length);
    cr_expect_eq(events(), 0);
    snprintf(header, sizeof(header), KEY("%0255d"), 1);
    answers(publish(header, ONE), 200, KEPT);
    harness_stop();
}

Test(publish_key, one_that_comes_while_the_first_is_pending_ends_with_it)
{
    static store_double store;
    harness_options options = HARNESS_OPTIONS_INIT;
    store_double_init(&store);
    store_double_hold(&store, false, true);
    options.manager.addon = &store.addon;
    harness_start(&options);
    while (lp_manager_state(h.manager) == LP_STATE_STARTING)
        harness_turn(1);
    raw_conn first = harness_connect(), second = harness_connect(), other = harness_connect();
    send_publish(&first, KEY("k"), ONE);
    send_publish(&second, KEY("k") "Prefer: return=representation\r\n", ONE);
    while (harness_stats().pending == 0)
        harness_turn(1);
    cr_expect(raw_silent(&second, 50));
    send_publish(&other, KEY("k"), "{\"category\":\"c\",\"data\":2}");
    answers(read_answer(&other), 422, "{\"error\": ...");
    store_double_hold(&store, false, false);
    answers(read_answer(&first), 200, KEPT);
    answers(read_answer(&second), 200, "{\"timestamp\":...");
    cr_expect_eq(events(), 1);

    store_double_fail(&store, LP_ENOSPC, "the disk is full");
    answers(publish(KEY("new"), ONE), 503, "{\"error\": ...");
    store_double_fail(&store, LP_OK, NULL);
    answers(publish(KEY("new"), ONE), 200, KEPT); /* a 503 is not remembered */
    cr_expect_eq(events(), 2);
    raw_close(&first);
    raw_close(&second);
    raw_close(&other);
    harness_stop();
}

/* ---- the answer that shows the event ----------------------------------- */

#define PREFER(text) "Prefer: " text "\r\n"

static bool is_applied(const raw_answer *answer)
{
    char value[64];
    return raw_header(answer, "Preference-Applied", value, sizeof(value)) &&
           strcmp(value, "return=representation") == 0;
}

Test(publish_prefer, the_event_is_the_answer_when_it_is_asked_for)
{
    static const struct {
        const char *headers;
        bool shown;
    } rows[] = {
        {"", false},
        {PREFER("return=minimal"), false},
        {PREFER("return=representation"), true},
        {PREFER("RETURN = \"Representation\" ; x=\",\""), true},
        {PREFER("wait=10, return=representation"), true},
        {PREFER("foo=\"a,return=representation\""), false},
        {PREFER("foo=\"a\\\",\", return=representation"), true},
        {PREFER("wait=10") PREFER("return=representation"), true},
        {PREFER("return=minimal, return=representation"), false},
        {PREFER("return=representation, return=minimal"), true},
        {PREFER("return"), false},
        {PREFER(",;=\""), false},
    };
    harness_start(NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        raw_answer answer = publish(rows[i].headers, ONE);
        cr_expect_eq(is_applied(&answer), rows[i].shown, "%s", rows[i].headers);
        answers(answer, 200, rows[i].shown ? "{\"timestamp\":..." : KEPT);
    }
    harness_stop();
}

Test(publish_prefer, it_is_the_same_text_that_polls_get)
{
    harness_start(NULL);
    raw_answer one = publish(PREFER("return=representation"), ONE);
    raw_answer all =
        publish(PREFER("return=representation"),
                "[{\"category\":\"d\",\"data\":[1, 2]},{\"category\":\"e\",\"data\":3}]");
    raw_conn conn = harness_poll("c", "&since_time=1");
    raw_answer polled = read_answer(&conn);
    char text[512];
    snprintf(text, sizeof(text), "{\"events\":[%s]", one.body); /* and a gap: nothing is kept */
    cr_expect(strncmp(polled.body, text, strlen(text)) == 0, "%s", polled.body);
    cr_expect(strncmp(all.body, "{\"events\":[{\"timestamp\":", 24) == 0 &&
                  strstr(all.body, "\"category\":\"d\",\"data\":[1, 2],\"id\":\"") &&
                  strstr(all.body, "\"},{\"timestamp\":") &&
                  strstr(all.body, "\"category\":\"e\",\"data\":3,\"id\":\""),
              "%s", all.body);
    cr_expect(is_applied(&all));
    raw_free(&one);
    raw_free(&all);
    raw_free(&polled);
    raw_close(&conn);
    harness_stop();
}

Test(publish_prefer, a_repeat_shows_the_first_event_as_long_as_it_is_there)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_buffer_max = 1;
    harness_start(&options);
    raw_answer first = publish(KEY("k") PREFER("return=representation"), ONE);
    raw_answer again = publish(KEY("k") PREFER("return=representation"), ONE);
    cr_expect_str_eq(first.body, again.body);
    cr_expect(is_applied(&again));
    raw_free(&first);
    raw_free(&again);
    answers(publish("", ONE), 200, KEPT); /* the ring of one loses the first */
    again = publish(KEY("k") PREFER("return=representation"), ONE);
    cr_expect_not(is_applied(&again));
    answers(again, 200, KEPT);
    harness_stop();
}
