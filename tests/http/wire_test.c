/* core/wire alone: queries, publish bodies and answers, with no server. wire_suite holds the same
 * rules over sockets; here is what cannot be seen from outside, and every edge of the integers. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/wire/answer.h"
#include "core/wire/publish_body.h"
#include "core/wire/query.h"

#define MS_MAX INT64_C(0xffffffffffff)

static int read_query_up_to(const char *text, int64_t timeout_s_max, lp__wire_query *out)
{
    lp__wire_query_split(lp_str_of(text), &(lp__wire_limits){timeout_s_max, 1024}, out);
    cr_expect_eq(out->room_bytes, 0, "%s", text); /* one category needs no memory */
    return lp__wire_query_read(out, NULL);
}

static int read_query(const char *text, lp__wire_query *out)
{
    return read_query_up_to(text, 110, out);
}

static void refuses(const char *text, const char *error)
{
    lp__wire_query query;
    cr_expect_eq(read_query(text, &query), LP_EINVAL, "%s", text);
    cr_expect(query.error_len == strlen(error) && !memcmp(query.error, error, query.error_len),
              "%s: %.*s", text, (int)query.error_len, query.error);
}

#define BAD_TIMEOUT "{\"error\": \"Invalid or missing 'timeout' arg.  Must be 1-110.\"}"
#define BAD_CATEGORY                                                                               \
    "{\"error\": \"Invalid subscription category, must be 1-1024 characters long.\"}"
#define BAD_SINCE   "{\"error\": \"Invalid 'since_time' arg.\"}"
#define NEEDS_SINCE "{\"error\": \"Must provide 'since_time' arg when providing 'last_id'.\"}"
#define BAD_ID      "{\"error\": \"Param 'last_id' was not a valid UUID.\"}"

Test(wire_query, a_whole_query_is_read)
{
    lp__wire_query out;
    cr_assert_eq(read_query("category=a%20b+c%00d&timeout=%2B007&since_time=1616040198889&"
                            "last_id=6BA7B810-9dad-11d1-80b4-00c04fd430c8",
                            &out),
                 LP_OK);
    cr_assert_eq(out.query.struct_size, sizeof(lp_query));
    cr_assert_eq(out.query.timeout_s, 7);
    cr_assert_eq(out.query.category.len, 7);
    cr_assert_arr_eq(out.query.category.base, "a b c\0d", 7);
    cr_assert(out.query.has_since && out.query.has_last_id);
    cr_assert_eq(out.query.since_ms, INT64_C(1616040198889));
    cr_assert_eq(out.query.last_id.bytes[0], 0x6b);
}

Test(wire_query, without_a_cursor_there_is_none)
{
    lp__wire_query out;
    cr_assert_eq(read_query("timeout=1&category=c&since_time=&last_id=", &out), LP_OK);
    cr_assert(!out.query.has_since && !out.query.has_last_id);
}

Test(wire_query, errors_come_in_the_order_of_the_parameters)
{
    refuses("", BAD_TIMEOUT);
    refuses("timeout=x&category=&since_time=x&last_id=x", BAD_TIMEOUT);
    refuses("timeout=1&category=&since_time=x&last_id=x", BAD_CATEGORY);
    refuses("timeout=1&category=c&since_time=x&last_id=x", BAD_SINCE);
    refuses("timeout=1&category=c&last_id=x", NEEDS_SINCE);
    refuses("timeout=1&category=c&since_time=1&last_id=x", BAD_ID);
}

Test(wire_query, the_maximum_is_the_servers)
{
    lp__wire_query out;
    cr_assert_eq(read_query_up_to("timeout=7&category=c", 7, &out), LP_OK);
    cr_assert_eq(read_query_up_to("timeout=8&category=c", 7, &out), LP_EINVAL);
    cr_assert(strstr(out.error, "Must be 1-7."));
    cr_assert_eq(read_query_up_to("timeout=0&category=c", INT64_MAX, &out), LP_EINVAL);
    cr_assert(strstr(out.error, "Must be 1-9223372036854775807.\"}"));
}

Test(wire_query, since_time_is_clamped_and_never_wrapped)
{
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"0", 0},
        {"-1", 0},
        {"-9223372036854775808", 0},
        {"281474976710655", MS_MAX},
        {"281474976710656", MS_MAX},
        {"9223372036854775807", MS_MAX},
        {"%2B5", 5},
        {"-0", 0},
        {"000000000000000000000000000000000000000000012", 12},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[128];
        lp__wire_query out;
        snprintf(text, sizeof(text), "timeout=1&category=c&since_time=%s", rows[i].text);
        cr_expect_eq(read_query(text, &out), LP_OK, "%s", text);
        cr_expect_eq(out.query.since_ms, rows[i].ms, "%s", text);
    }
    refuses("timeout=1&category=c&since_time=9223372036854775808", BAD_SINCE);
    refuses("timeout=1&category=c&since_time=-9223372036854775809", BAD_SINCE);
    refuses("timeout=1&category=c&since_time=99999999999999999999999", BAD_SINCE);
}

Test(wire_query, integers_are_read_as_go_reads_them)
{
    static const char *const bad[] = {"",      "+",   "-",   "+-1", "1 ", " 1",
                                      "1_000", "0x1", "1e3", "1.0", "١",  "--1"};
    int64_t value;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_not(lp__wire_integer(lp_str_of(bad[i]), &value), "%s", bad[i]);
    cr_expect(lp__wire_integer(lp_str_of("-9223372036854775808"), &value) && value == INT64_MIN);
    cr_expect(lp__wire_integer(lp_str_of("+9223372036854775807"), &value) && value == INT64_MAX);
    cr_expect_not(lp__wire_integer((lp_str){"1\0", 2}, &value));
}

Test(wire_query, escapes_are_decoded_or_broken)
{
    char out[8];
    cr_expect_eq(lp__wire_unescape(lp_str_of("a%2Bb+%c3%A4"), out, sizeof(out)), 6);
    cr_expect_arr_eq(out, "a+b \xc3\xa4", 6);
    static const char *const bad[] = {"%", "%4", "a%", "%g0", "%0g", "%%41", "% 1", "%+1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_eq(lp__wire_unescape(lp_str_of(bad[i]), out, sizeof(out)), -1, "%s", bad[i]);
    cr_expect_eq(lp__wire_unescape(lp_str_of("0123456789"), out, 3), 10);
}

static char *repeat(const char *head, const char *unit, size_t count, const char *tail)
{
    size_t len = strlen(unit);
    char *text = malloc(strlen(head) + len * count + strlen(tail) + 1), *at = stpcpy(text, head);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, unit);
    strcpy(at, tail);
    return text;
}

Test(wire_query, category_length_counts_after_decoding)
{
    static const char *const units[] = {"c", "%63", "+"};
    for (size_t i = 0; i < 3; i++) {
        lp__wire_query out;
        char *text = repeat("timeout=1&category=", units[i], 1024, "");
        cr_expect_eq(read_query(text, &out), LP_OK);
        cr_expect_eq(out.query.category.len, 1024);
        free(text);
        text = repeat("timeout=1&category=", units[i], 1025, "");
        refuses(text, BAD_CATEGORY);
        free(text);
    }
}

/* ---- publish bodies ---------------------------------------------------- */

#define BAD_JSON "{\"error\": \"Invalid POST body json.\"}"
#define NO_CATEGORY                                                                                \
    "{\"error\": \"Invalid or missing 'category' arg, must be 1-1024 characters long.\"}"
#define NO_DATA "{\"error\": \"Invalid or missing 'data' arg, must be non-nil.\"}"

static void body_is(const char *text, const char *category, const char *data)
{
    lp__publish_body body;
    cr_expect_eq(lp__publish_body_read(lp_str_of(text), &body), LP_OK, "%s", text);
    cr_expect(body.category.len == strlen(category) &&
                  !memcmp(body.category.base, category, body.category.len),
              "%s", text);
    cr_expect(body.data.len == strlen(data) && !memcmp(body.data.base, data, body.data.len), "%s",
              text);
}

static void body_fails(const char *text, const char *error)
{
    lp__publish_body body;
    cr_expect_eq(lp__publish_body_read(lp_str_of(text), &body), LP_EINVAL, "%s", text);
    cr_expect(body.error.len == strlen(error) && !memcmp(body.error.base, error, body.error.len),
              "%s: %.*s", text, (int)body.error.len, body.error.base);
}

Test(wire_publish_body, data_is_a_slice_of_the_body)
{
    static const char text[] = " {\"data\" : [1, 2.50 ,\"\\u00e4\"] ,\"category\":\"c\"} ";
    lp__publish_body body;
    cr_assert_eq(lp__publish_body_read(lp_str_of(text), &body), LP_OK);
    cr_assert(body.data.base > text && body.data.base < text + sizeof(text));
    cr_assert_arr_eq(body.data.base, "[1, 2.50 ,\"\\u00e4\"]", body.data.len);
}

Test(wire_publish_body, names_are_matched_as_go_does)
{
    body_is("{\"CaTeGoRy\":\"c\",\"DATA\":1}", "c", "1");
    body_is("{\"\\u0063ategory\":\"c\",\"d\\u0041ta\":1}", "c", "1");
    body_is("{\"category\":\"a\",\"data\":1,\"Category\":\"b\",\"Data\":2}", "b", "2");
    body_is("{\"Category\":\"b\",\"Data\":2,\"category\":\"a\",\"data\":1}", "a", "1");
    body_fails("{\"category \":\"c\",\"data\":1}", NO_CATEGORY);
    body_fails("{\"categor\\u00ff\":\"c\",\"data\":1}", NO_CATEGORY);
    body_fails("{\"category\":\"c\",\"\\u0004ata\":1}", NO_DATA);
    body_fails("{\"#ategory\":\"c\",\"data\":1}", NO_CATEGORY);
}

Test(wire_publish_body, null_leaves_a_category_and_clears_data)
{
    body_fails("null", NO_CATEGORY);
    body_fails(" null rubbish", NO_CATEGORY);
    body_is("{\"category\":\"c\",\"category\":null,\"data\":1}", "c", "1");
    body_fails("{\"category\":\"c\",\"data\":1,\"data\":null}", NO_DATA);
    body_is("{\"category\":\"c\",\"data\":null,\"data\":\"null\"}", "c", "\"null\"");
    body_fails("{\"category\":null,\"data\":1}", NO_CATEGORY);
}

Test(wire_publish_body, a_category_that_is_no_string_spoils_all)
{
    body_fails("{\"category\":1,\"category\":\"c\",\"data\":1}", BAD_JSON);
    body_fails("{\"category\":\"c\",\"data\":1,\"CATEGORY\":[]}", BAD_JSON);
    body_fails("{\"category\":true}", BAD_JSON);
}

Test(wire_publish_body, the_first_value_counts)
{
    body_is("{\"category\":\"c\",\"data\":1}{\"category\":\"d\",\"data\":2}", "c", "1");
    body_is("{\"category\":\"c\",\"data\":1}\xff", "c", "1");
    body_fails("", BAD_JSON);
    body_fails("  ", BAD_JSON);
    body_fails("}", BAD_JSON);
    body_fails("\"null\"", BAD_JSON);
    body_fails("{\"category\":\"c\",\"data\":1", BAD_JSON);
    lp__publish_body body;
    cr_expect_eq(lp__publish_body_read((lp_str){NULL, 0}, &body), LP_EINVAL);
}

Test(wire_publish_body, category_length_counts_after_decoding)
{
    static const char *const units[] = {"c", "\\u0063", "\\n"};
    for (size_t i = 0; i < 3; i++) {
        char *text = repeat("{\"data\":1,\"category\":\"", units[i], 1024, "\"}");
        lp__publish_body body;
        cr_expect_eq(lp__publish_body_read(lp_str_of(text), &body), LP_OK);
        cr_expect_eq(body.category.len, 1024);
        free(text);
        text = repeat("{\"data\":1,\"category\":\"", units[i], 1025, "\"}");
        body_fails(text, NO_CATEGORY);
        free(text);
    }
}

/* ---- answers ----------------------------------------------------------- */

static void answer_is(const lp_answer *answer, const char *expected)
{
    char scratch[LP__ANSWER_SCRATCH], *text;
    size_t count, max = lp__answer_pieces_max(answer);
    lp_str *pieces = calloc(max, sizeof(*pieces));
    size_t len = lp__answer_build(answer, scratch, pieces, &count);
    cr_expect_leq(count, max);
    text = calloc(1, len + 1);
    lp__answer_flatten(pieces, count, text);
    cr_expect_str_eq(text, expected);
    cr_expect_eq(len, strlen(expected));
    free(text);
    free(pieces);
}

Test(wire_answer, timeouts)
{
    answer_is(&(lp_answer){.timestamp_ms = 1616210844178},
              "{\"timeout\":\"no events before timeout\",\"timestamp\":1616210844178}");
    answer_is(&(lp_answer){.timestamp_ms = 5, .gap = true},
              "{\"timeout\":\"no events before timeout\",\"timestamp\":5,\"gap\":true}");
    answer_is(&(lp_answer){.timestamp_ms = INT64_MIN, .gap = true},
              "{\"timeout\":\"no events before timeout\",\"timestamp\":-9223372036854775808,"
              "\"gap\":true}");
}

Test(wire_answer, timeouts_carry_the_id_to_resume_from)
{
    lp_id id;
    char scratch[LP__ANSWER_SCRATCH];
    cr_assert_eq(lp_id_parse(lp_str_of("01780000-0000-7fff-bfff-ffffffffffff"), &id), LP_OK);
    lp_answer answer = {.timestamp_ms = 1616210844178, .last_id = id};
    lp_str body = lp__answer_timeout_by_id(&answer, scratch);
    static const char expected[] =
        "{\"timeout\":\"no events before timeout\",\"timestamp\":1616210844178,"
        "\"last_id\":\"01780000-0000-7fff-bfff-ffffffffffff\"";
    cr_expect_eq(body.len, sizeof(expected));
    cr_expect_arr_eq(body.base, expected, sizeof(expected) - 1);
    cr_expect_eq(body.base[body.len - 1], '}');
    answer.gap = true;
    answer.timestamp_ms = INT64_MIN;
    body = lp__answer_timeout_by_id(&answer, scratch);
    cr_expect_leq(body.len, sizeof(scratch));
    static const char tail[] = "-bfff-ffffffffffff\",\"gap\":true}";
    cr_expect_arr_eq(body.base + body.len - sizeof(tail) + 1, tail, sizeof(tail) - 1);
}

Test(wire_answer, events)
{
    lp_event *events[2];
    for (uint64_t i = 0; i < 2; i++)
        cr_assert_eq(lp_event_new(lp_id_make(lp_seq_first(1616040198889) + i, 0), lp_str_of("a\"b"),
                                  lp_str_of(i ? "[2]" : "1"), &events[i]),
                     LP_OK);
    char id[LP_ID_TEXT_LEN + 1], expected[512];
    lp_id_format(lp_event_id(events[0]), id);
    snprintf(expected, sizeof(expected),
             "{\"events\":[{\"timestamp\":1616040198889,\"category\":\"a\\\"b\",\"data\":1,"
             "\"id\":\"%s\"}]}",
             id);
    answer_is(&(lp_answer){.events = events, .event_count = 1}, expected);
    size_t len = strlen(expected) - 2;
    lp_id_format(lp_event_id(events[1]), id);
    snprintf(expected + len, sizeof(expected) - len,
             ",{\"timestamp\":1616040198889,\"category\":\"a\\\"b\",\"data\":[2],\"id\":\"%s\"}],"
             "\"gap\":true}",
             id);
    answer_is(&(lp_answer){.events = events, .event_count = 2, .gap = true}, expected);
    lp_event_unref(events[0]);
    lp_event_unref(events[1]);
}

Test(wire_answer, errors_are_escaped_and_cut)
{
    char out[64];
    size_t len = lp__answer_error("a \"b\" \\ \n\xff", out, sizeof(out));
    cr_expect_eq(len, strlen("{\"error\": \"a \\\"b\\\" \\\\ \\u000a?\"}"));
    cr_expect_arr_eq(out, "{\"error\": \"a \\\"b\\\" \\\\ \\u000a?\"}", len);
    len =
        lp__answer_error("0123456789012345678901234567890123456789012345678901234567890", out, 32);
    cr_expect_eq(len, 32);
    cr_expect_arr_eq(out, "{\"error\": \"0123456789012345678\"}", 32);
}
