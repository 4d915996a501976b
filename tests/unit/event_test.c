#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine/event_prepare.h"

static bool is_text(lp_str got, const char *expected)
{
    return got.len == strlen(expected) && memcmp(got.base, expected, got.len) == 0;
}

static lp_event *event(int64_t ms, const char *category, const char *data)
{
    lp_event *made;
    lp_id id = lp_id_make(lp_seq_first(ms) + 5, 0x123456789abcdef);
    cr_assert_eq(lp_event_new(id, lp_str_of(category), lp_str_of(data), &made), LP_OK);
    return made;
}

Test(event, has_its_wire_text_to_the_byte)
{
    lp_event *e = event(1616040198889, "c", "{\"a\": 1.50}");
    cr_assert(is_text(lp_event_wire(e),
                      "{\"timestamp\":1616040198889,\"category\":\"c\",\"data\":"
                      "{\"a\": 1.50},\"id\":\"01784380-82e9-7000-a923-456789abcdef\"}"),
              "%.*s", (int)lp_event_wire(e).len, lp_event_wire(e).base);
    cr_assert(is_text(lp_event_category(e), "c"));
    cr_assert(is_text(lp_event_data(e), "{\"a\": 1.50}"));
    cr_assert_eq(lp_event_timestamp_ms(e), 1616040198889);
    cr_assert_eq(lp_event_seq(e), lp_seq_first(1616040198889) + 5);
    lp_event_unref(e);
}

Test(event, has_timestamps_of_any_length)
{
    const struct {
        int64_t ms;
        const char *head;
    } cases[] = {{1, "{\"timestamp\":1,\"category\""},
                 {12345, "{\"timestamp\":12345,\"category\""},
                 {(INT64_C(1) << 48) - 1, "{\"timestamp\":281474976710655,\"category\""}};
    for (size_t i = 0; i < 3; i++) {
        lp_event *e = event(cases[i].ms, "c", "0");
        cr_assert_eq(memcmp(lp_event_wire(e).base, cases[i].head, strlen(cases[i].head)), 0);
        cr_assert(is_text(lp_event_data(e), "0"));
        lp_event_unref(e);
    }
}

Test(event, keeps_the_publishers_bytes_without_the_space_around_them)
{
    const char *data = "[ 12345678901234567890 , 1e400,\"\\u003c<\\ud800\" ]";
    char padded[128];
    snprintf(padded, sizeof(padded), " \r\n%s\t ", data);
    lp_event *e = event(99, "c", padded);
    cr_assert(is_text(lp_event_data(e), data));
    lp_event_unref(e);
}

Test(event, escapes_in_its_category_what_json_requires_and_nothing_else)
{
    const char *category = "q\" b\\ / t\t n\n x\x01 \x1f del\x7f <&> "
                           "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \xe2\x80\xa8";
    lp_event *e = event(7, category, "[]");
    const char *expected = "{\"timestamp\":7,\"category\":\"q\\\" b\\\\ / t\\u0009 n\\u000a "
                           "x\\u0001 \\u001f del\x7f <&> "
                           "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \xe2\x80\xa8\",\"data\":[]";
    cr_assert_eq(memcmp(lp_event_wire(e).base, expected, strlen(expected)), 0, "%.*s",
                 (int)lp_event_wire(e).len, lp_event_wire(e).base);
    cr_assert(is_text(lp_event_category(e), category), "and gives it back as it came");
    cJSON *tree = cJSON_ParseWithLength(lp_event_wire(e).base, lp_event_wire(e).len);
    cr_assert_str_eq(cJSON_GetObjectItem(tree, "category")->valuestring, category);
    cJSON_Delete(tree);
    lp_event_unref(e);
}

Test(event, takes_categories_with_nul_and_of_the_greatest_length)
{
    char longest[LP_CATEGORY_MAX];
    memset(longest, '\0', sizeof(longest));
    lp_id id = lp_id_make(9, 0);
    lp_event *e;
    cr_assert_eq(lp_event_new(id, (lp_str){longest, sizeof(longest)}, lp_str_of("1"), &e), LP_OK);
    cr_assert_eq(lp_event_category(e).len, LP_CATEGORY_MAX);
    cr_assert_eq(memcmp(lp_event_category(e).base, longest, sizeof(longest)), 0);
    cr_assert_gt(lp_event_wire(e).len, (size_t)6 * LP_CATEGORY_MAX);
    lp_event_unref(e);
}

Test(event, refuses_what_is_no_event)
{
    char longer[LP_CATEGORY_MAX + 1];
    memset(longer, 'c', sizeof(longer));
    lp_id id = lp_id_make(9, 0), other = {{0x12, 0, 0, 0, 0, 0, 0x40, 0, 0x80}};
    lp_event *e;
    lp_str c = lp_str_of("c"), one = lp_str_of("1");
    cr_assert_eq(lp_event_new(other, c, one, &e), LP_EINVAL);
    cr_assert_eq(lp_event_new(lp_id_make(0, 1), c, one, &e), LP_EINVAL, "no event has number 0");
    cr_assert_eq(lp_event_new(id, lp_str_of(""), one, &e), LP_EINVAL);
    cr_assert_eq(lp_event_new(id, (lp_str){longer, sizeof(longer)}, one, &e), LP_EINVAL);
    cr_assert_eq(lp_event_new(id, lp_str_of("\xc3"), one, &e), LP_EINVAL);
    cr_assert_eq(lp_event_new(id, c, lp_str_of(""), &e), LP_EINVAL);
    cr_assert_eq(lp_event_new(id, c, lp_str_of("1 2"), &e), LP_EINVAL);
    cr_assert_eq(lp_event_new(id, c, lp_str_of("{'a':1}"), &e), LP_EINVAL);
    cr_assert_eq(lp__event_prepare(c, (lp_str){"1", (size_t)1 << 31}, &e), LP_ETOOBIG);
}

Test(event, lives_as_long_as_someone_holds_it)
{
    lp_event *e = event(3, "c", "\"text\"");
    cr_assert_eq(lp_event_ref(e), e);
    lp_event_unref(e);
    cr_assert(is_text(lp_event_data(e), "\"text\""));
    lp_event_unref(e);
    lp_event_unref(NULL);
}

Test(event, is_prepared_without_an_id_and_stamped_later)
{
    lp_event *e;
    cr_assert_eq(lp__event_prepare(lp_str_of("room/1"), lp_str_of("{}"), &e), LP_OK);
    size_t bytes = lp__event_bytes(e);
    lp__event_stamp(e, lp_seq_first(1000), 42);
    cr_assert_eq(lp_event_timestamp_ms(e), 1000);
    lp_id expected = lp_id_make(lp_seq_first(1000), 42), got = lp_event_id(e);
    cr_assert_eq(memcmp(&got, &expected, sizeof(got)), 0);
    cr_assert_eq(lp__event_bytes(e), bytes);
    cr_assert_geq(bytes, lp_event_wire(e).len);
    lp_event_unref(e);
}

Test(event, data_comes_as_a_cjson_tree_too)
{
    lp_event *e = event(3, "c", "{\"n\":[1,2.5,\"x\"]}");
    cJSON *tree = lp_event_cjson(e);
    cr_assert_not_null(tree);
    cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(tree, "n")), 3);
    cJSON_Delete(tree);
    lp_event_unref(e);
}
