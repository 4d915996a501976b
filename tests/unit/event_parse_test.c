/* lp_event_parse, the inverse of lp_event_wire, and the slices of longpoll/json.h. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <longpoll/event.h>
#include <longpoll/json.h>

#define ID "01784380-82e9-7000-a923-456789abcdef"
#define MS "1616040198889"

static int parse(const char *text, lp_event **out, lp_error *error)
{
    /* without a NUL behind it, so that a sanitizer sees what reads on */
    size_t len = strlen(text);
    char *copy = malloc(len + 1);
    memcpy(copy, text, len);
    copy = realloc(copy, len > 0 ? len : 1);
    int status = lp_event_parse((lp_str){copy, len}, out, error);
    free(copy);
    return status;
}

static bool is_text(lp_str got, const char *expected)
{
    return got.len == strlen(expected) && memcmp(got.base, expected, got.len) == 0;
}

Test(event_parse, gives_back_the_event_that_was_written)
{
    const char *categories[] = {"c", "q\" b\\ / t\t n\n \x01 \xc3\xa9 \xf0\x9f\x98\x80", "\x7f"};
    const char *datas[] = {"null", "{\"b\":12345678901234567890,\"a\": 1.50}", "[1,\n  2]",
                           "\"\\u003c \\ud800\""};
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 4; j++) {
            lp_event *written, *read;
            lp_id id = lp_id_make(lp_seq_first(1616040198889) + i, 0x123456789abcdef);
            cr_assert_eq(lp_event_new(id, lp_str_of(categories[i]), lp_str_of(datas[j]), &written),
                         LP_OK);
            lp_str wire = lp_event_wire(written);
            cr_assert_eq(lp_event_parse(wire, &read, NULL), LP_OK);
            cr_assert(is_text(lp_event_category(read), categories[i]));
            cr_assert(is_text(lp_event_data(read), datas[j]));
            lp_str again = lp_event_wire(read);
            cr_assert(again.len == wire.len && memcmp(again.base, wire.base, wire.len) == 0);
            lp_event_unref(written);
            lp_event_unref(read);
        }
    }
}

Test(event_parse, takes_members_in_any_order_and_passes_over_others)
{
    lp_event *event;
    cr_assert_eq(parse(" { \"gap\":true, \"id\" : \"" ID
                       "\", \"data\": [ 1 ] ,\"c\\u0061tegory\":\"x\","
                       "\"data2\":{\"id\":5},\"timestamp\":" MS "} \r\n",
                       &event, NULL),
                 LP_OK);
    cr_assert(is_text(lp_event_category(event), "x"));
    cr_assert(is_text(lp_event_data(event), "[ 1 ]"));
    lp_event_unref(event);
}

Test(event_parse, says_what_is_wrong)
{
    const struct {
        const char *text, *mentions;
    } cases[] = {
        {"", "no JSON object"},
        {"[]", "no JSON object"},
        {"{\"timestamp\":" MS, "no JSON object"},
        {"{}", "no \"timestamp\""},
        {"{\"timestamp\":" MS ",\"category\":\"c\",\"id\":\"" ID "\"}", "no \"data\""},
        {"{\"timestamp\":" MS ",\"category\":\"c\",\"data\":1}", "no \"id\""},
        {"{\"timestamp\":" MS ",\"category\":\"c\",\"data\":1,\"data\":2,\"id\":\"" ID "\"}",
         "\"data\" twice"},
        {"{\"timestamp\":" MS ",\"category\":\"c\",\"data\":1,\"id\":\"x\"}", "no UUID"},
        {"{\"timestamp\":" MS ",\"category\":\"c\",\"data\":1,\"id\":7}", "no UUID"},
        {"{\"timestamp\":" MS ",\"category\":\"c\",\"data\":1,"
         "\"id\":\"a6670793-2e06-4653-bcae-7eed98d9f7d1\"}",
         "version 4"},
        {"{\"timestamp\":5,\"category\":\"c\",\"data\":1,\"id\":\"" ID "\"}", MS},
        {"{\"timestamp\":\"" MS "\",\"category\":\"c\",\"data\":1,\"id\":\"" ID "\"}", "timestamp"},
        {"{\"timestamp\":" MS ",\"category\":\"\",\"data\":1,\"id\":\"" ID "\"}", "category"},
        {"{\"timestamp\":" MS ",\"category\":5,\"data\":1,\"id\":\"" ID "\"}", "category"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        lp_event *event;
        lp_error error = {0};
        cr_assert_eq(parse(cases[i].text, &event, &error), LP_EINVAL, "%s", cases[i].text);
        cr_assert_null(event);
        cr_assert(strstr(error.message, cases[i].mentions) != NULL, "%s: %s", cases[i].text,
                  error.message);
    }
}

Test(event_parse, refuses_a_category_that_is_too_long)
{
    static char text[2048];
    for (size_t len = LP_CATEGORY_MAX; len <= LP_CATEGORY_MAX + 1; len++) {
        lp_event *event;
        char category[LP_CATEGORY_MAX + 2] = "";
        memset(category, 'c', len);
        snprintf(text, sizeof(text),
                 "{\"timestamp\":" MS ",\"category\":\"%s\",\"data\":1,\"id\":\"" ID "\"}",
                 category);
        cr_assert_eq(parse(text, &event, NULL), len <= LP_CATEGORY_MAX ? LP_OK : LP_EINVAL);
        lp_event_unref(event);
    }
}

Test(json_slices, check_returns_the_value_without_the_space_around_it)
{
    lp_str value;
    cr_assert(lp_json_check(lp_str_of(" \t{\"a\": 1e400 }\r\n"), &value));
    cr_assert(is_text(value, "{\"a\": 1e400 }"));
    cr_assert(lp_json_check(lp_str_of("1"), NULL));
    cr_assert(!lp_json_check((lp_str){NULL, 0}, NULL));
    cr_assert(!lp_json_check(lp_str_of("{\"a\":1}x"), &value));
    cr_assert(!lp_json_check(lp_str_of("\"\xff\""), &value));
}

Test(json_slices, members_come_as_slices_of_the_text)
{
    lp_str object, name, value;
    cr_assert(lp_json_check(lp_str_of("{\"a\":[1,{\"b\":2}], \"\\u0062\" : \"x\\\"}\"}"), &object));
    const char *at = object.base;
    cr_assert(lp_json_member(&at, &name, &value));
    cr_assert(lp_json_is(name, "a") && is_text(value, "[1,{\"b\":2}]"));
    cr_assert(lp_json_member(&at, &name, &value));
    cr_assert(is_text(name, "\"\\u0062\"") && lp_json_is(name, "b") && !lp_json_is(name, "a"));
    char decoded[8];
    cr_assert_eq(lp_json_unescape(value, decoded, sizeof(decoded)), 3);
    cr_assert_eq(memcmp(decoded, "x\"}", 3), 0);
    cr_assert_eq(lp_json_unescape(value, decoded, 0), 3, "and says how long it would be");
    cr_assert(!lp_json_member(&at, &name, &value));
    cr_assert(is_text(name, "\"\\u0062\""), "nothing is set after the last one");
}

Test(json_slices, an_empty_object_has_no_members)
{
    lp_str object, name, value;
    cr_assert(lp_json_check(lp_str_of("{ }"), &object));
    const char *at = object.base;
    cr_assert(!lp_json_member(&at, &name, &value));
}
