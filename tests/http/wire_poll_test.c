/* What this project adds to a poll, without a server: many categories, prefixes, resume=id, last=N,
 * and the frames of server-sent events. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/wire/query.h"
#include "core/wire/sse.h"

#define NAMES_MAX 5

/* The room is exactly as large as was asked for, so that a byte too many is found. */
static void *read_query(const char *text, lp__wire_query *out, int *status)
{
    lp__wire_query_split(lp_str_of(text), &(lp__wire_limits){110, NAMES_MAX}, out);
    void *room = out->room_bytes ? malloc(out->room_bytes) : NULL;
    *status = lp__wire_query_read(out, room);
    return room;
}

static void refuses(const char *text, const char *error)
{
    lp__wire_query out;
    int status;
    void *room = read_query(text, &out, &status);
    cr_expect_eq(status, LP_EINVAL, "%s", text);
    cr_expect(out.error_len == strlen(error) && !memcmp(out.error, error, out.error_len),
              "%s: %.*s", text, (int)out.error_len, out.error);
    free(room);
}

static bool is(lp_str text, const char *expected)
{
    return text.len == strlen(expected) && !memcmp(text.base, expected, text.len);
}

#define BAD_TIMEOUT "{\"error\": \"Invalid or missing 'timeout' arg.  Must be 1-110.\"}"
#define BAD_CATEGORY                                                                               \
    "{\"error\": \"Invalid subscription category, must be 1-1024 characters long.\"}"
#define BAD_PREFIX  "{\"error\": \"Invalid subscription prefix, must be 1-1024 characters long.\"}"
#define TOO_MANY    "{\"error\": \"Too many categories and prefixes, must be at most 5.\"}"
#define BAD_SINCE   "{\"error\": \"Invalid 'since_time' arg.\"}"
#define NEEDS_SINCE "{\"error\": \"Must provide 'since_time' arg when providing 'last_id'.\"}"
#define BAD_ID      "{\"error\": \"Param 'last_id' was not a valid UUID.\"}"
#define BAD_RESUME  "{\"error\": \"Invalid 'resume' arg, must be 'id'.\"}"
#define FOREIGN_ID  "{\"error\": \"Param 'last_id' was not an id of this server.\"}"
#define BAD_LAST    "{\"error\": \"Invalid 'last' arg.  Must be 1-10000.\"}"

#define OURS  "01780000-0000-7000-8000-000000000001"
#define OTHER "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

Test(wire_poll, categories_and_prefixes_are_read_in_their_order)
{
    lp__wire_query out;
    int status;
    void *room = read_query("category=a%20b&prefix=room%2F&timeout=1&category=c&c%61tegory=%64+"
                            "&prefix=x&other=y",
                            &out, &status);
    cr_assert_eq(status, LP_OK);
    cr_expect(is(out.query.category, "a b"));
    cr_assert_eq(out.query.category_count, 2);
    cr_expect(is(out.query.categories[0], "c") && is(out.query.categories[1], "d "));
    cr_assert_eq(out.query.prefix_count, 2);
    cr_expect(is(out.query.prefixes[0], "room/") && is(out.query.prefixes[1], "x"));
    free(room);
}

Test(wire_poll, a_prefix_may_stand_alone)
{
    lp__wire_query out;
    int status;
    void *room = read_query("timeout=1&prefix=a", &out, &status);
    cr_assert_eq(status, LP_OK);
    cr_expect_eq(out.query.category.len, 0);
    cr_expect_eq(out.query.category_count, 0);
    cr_assert_eq(out.query.prefix_count, 1);
    cr_expect(is(out.query.prefixes[0], "a"));
    free(room);
}

Test(wire_poll, each_name_must_be_valid)
{
    refuses("timeout=1&category=&prefix=a", BAD_CATEGORY);
    refuses("timeout=1&category=a&category=", BAD_CATEGORY);
    refuses("timeout=1&prefix=", BAD_PREFIX);
    refuses("timeout=1&prefix", BAD_PREFIX);
    refuses("timeout=1&category=a&prefix=", BAD_PREFIX);
    char text[64 + 1025] = "timeout=1&category=a&prefix=";
    size_t len = strlen(text);
    memset(text + len, 'p', 1025);
    refuses(text, BAD_PREFIX);
    text[len + 1024] = '\0';
    lp__wire_query out;
    int status;
    void *room = read_query(text, &out, &status);
    cr_expect_eq(status, LP_OK);
    cr_expect_eq(out.query.prefixes[0].len, 1024);
    free(room);
}

Test(wire_poll, pairs_that_go_drops_name_nothing)
{
    lp__wire_query out;
    int status;
    free(read_query("timeout=1&category=a&category=%zz&prefix=%&category=b;c", &out, &status));
    cr_expect_eq(status, LP_OK);
    cr_expect_eq(out.room_bytes, 0);
    cr_expect(is(out.query.category, "a"));
    cr_expect_eq(out.query.category_count + out.query.prefix_count, 0);
}

Test(wire_poll, the_number_of_names_is_bounded)
{
    lp__wire_query out;
    int status;
    free(read_query("timeout=1&category=a&category=a&prefix=a&prefix=b&category=c", &out, &status));
    cr_expect_eq(status, LP_OK);
    const char *many = "timeout=1&category=a&category=b&prefix=a&prefix=b&category=c&prefix=";
    refuses(many, TOO_MANY);
    lp__wire_query_split(lp_str_of(many), &(lp__wire_limits){110, NAMES_MAX}, &out);
    cr_expect_eq(out.room_bytes, 0, "no memory for what is refused");
}

Test(wire_poll, errors_come_in_the_order_of_the_parameters)
{
    refuses("prefix=&since_time=x&last_id=x&resume=x&last=x", BAD_TIMEOUT);
    refuses("timeout=1&prefix=&since_time=x&last_id=x&resume=x&last=x", BAD_PREFIX);
    refuses("timeout=1&since_time=x&last_id=x&resume=x&last=x", BAD_CATEGORY);
    refuses("timeout=1&prefix=a&since_time=x&last_id=x&resume=x&last=x", BAD_SINCE);
    refuses("timeout=1&prefix=a&last_id=" OURS "&resume=x&last=x", NEEDS_SINCE);
    refuses("timeout=1&prefix=a&since_time=1&last_id=x&resume=x&last=x", BAD_ID);
    refuses("timeout=1&prefix=a&since_time=1&last_id=" OTHER "&resume=x&last=x", BAD_RESUME);
    refuses("timeout=1&prefix=a&last_id=" OTHER "&resume=id&last=x", FOREIGN_ID);
    refuses("timeout=1&prefix=a&last_id=" OURS "&resume=id&last=x", BAD_LAST);
}

Test(wire_poll, resuming_by_id_needs_no_time)
{
    lp__wire_query out;
    int status;
    free(read_query("timeout=1&category=a&resume=id", &out, &status));
    cr_expect_eq(status, LP_OK);
    cr_expect(out.query.by_id && !out.query.has_last_id && !out.query.has_since);
    free(read_query("timeout=1&category=a&resume=%69d&last_id={" OURS "}", &out, &status));
    cr_expect_eq(status, LP_OK);
    cr_expect(out.query.by_id && out.query.has_last_id && !out.query.has_since);
    cr_expect_eq(lp_id_version(out.query.last_id), 7);
    free(read_query("timeout=1&category=a&resume=&last=&last_id=", &out, &status));
    cr_expect_eq(status, LP_OK);
    cr_expect(!out.query.by_id && !out.query.last, "empty counts as absent");
    refuses("timeout=1&category=a&resume=ID", BAD_RESUME);
    refuses("timeout=1&category=a&resume=id2&last_id=" OURS, NEEDS_SINCE);
    refuses("timeout=1&category=a&resume=id&last_id=x", BAD_ID);
}

Test(wire_poll, the_first_value_wins)
{
    lp__wire_query out;
    int status;
    free(read_query("timeout=1&timeout=x&category=a&resume=id&resume=x&last=7&last=x"
                    "&since_time=5&since_time=x",
                    &out, &status));
    cr_expect_eq(status, LP_OK);
    cr_expect(out.query.by_id && out.query.last == 7 && out.query.since_ms == 5);
}

Test(wire_poll, the_newest_events_are_asked_for_in_bounds)
{
    static const char *const good[] = {"1", "10000", "%2B3", "0009"},
                             *const bad[] = {"0",  "10001", "-1", "x",
                                             "1.", " 1",    "1+", "99999999999999999999"};
    char text[64];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        lp__wire_query out;
        int status;
        snprintf(text, sizeof(text), "timeout=1&category=a&last=%s", good[i]);
        free(read_query(text, &out, &status));
        cr_expect_eq(status, LP_OK, "%s", text);
        cr_expect_gt(out.query.last, 0);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "timeout=1&category=a&last=%s", bad[i]);
        refuses(text, BAD_LAST);
    }
}

Test(wire_poll, the_last_event_id_takes_the_place_of_the_cursor)
{
    lp__wire_query out;
    int status;
    free(read_query("timeout=1&category=a&since_time=5&last_id=" OTHER, &out, &status));
    cr_assert_eq(status, LP_OK);
    lp__wire_query_resume(&out, lp_str_of(OURS));
    cr_expect(out.query.by_id && out.query.has_last_id && !out.query.has_since);
    cr_expect_eq(out.query.last_id.bytes[15], 1);
    lp__wire_query_resume(&out, lp_str_of("42"));
    cr_expect(out.query.by_id && out.query.has_last_id);
    cr_expect_eq(lp_id_version(out.query.last_id), 0, "an id of nobody's");
}

/* ---- server-sent events ------------------------------------------------ */

Test(wire_sse, a_stream_is_asked_for_by_name)
{
    static const char *const yes[] = {
        "text/event-stream",
        "application/json;q=0.9, text/event-stream",
        "Text/Event-Stream ; charset=utf-8;q=0.001,*/*",
        "text/event-stream;q=1.000",
        "text/event-stream;q=0, text/event-stream;q=0.5",
        ",,\ttext/event-stream\t,",
    };
    static const char *const no[] = {
        "",
        "*/*",
        "text/*",
        "application/json",
        "text/event-stream;q=0",
        "text/event-stream; Q=0.000",
        "text/event-streams",
        "text/event-strea",
        "xtext/event-stream",
        "application/x;a=text/event-stream",
    };
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        cr_expect(lp__sse_is_accepted(lp_str_of(yes[i])), "%s", yes[i]);
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        cr_expect_not(lp__sse_is_accepted(lp_str_of(no[i])), "%s", no[i]);
    cr_expect_not(lp__sse_is_accepted((lp_str){NULL, 0}));
}

static void frames_are(const lp_answer *answer, const char *expected)
{
    lp__sse_size size = lp__sse_measure(answer);
    lp_str *pieces = calloc(size.pieces, sizeof(*pieces));
    char *scratch = malloc(size.scratch + 1), *text = calloc(1, size.length + 1);
    lp__sse_build(answer, scratch, pieces);
    size_t length = 0;
    for (size_t i = 0; i < size.pieces; i++)
        length += pieces[i].len;
    cr_assert_eq(length, size.length);
    lp__answer_flatten(pieces, size.pieces, text);
    cr_expect_str_eq(text, expected);
    free(text);
    free(scratch);
    free(pieces);
}

static lp_event *event_of(const char *data, int count)
{
    lp_event *event;
    cr_assert_eq(lp_event_new(lp_id_make(lp_seq_first(1616040198889) + (uint64_t)count, 0),
                              lp_str_of("c"), lp_str_of(data), &event),
                 LP_OK);
    return event;
}

#define POS "01780000-0000-7000-8000-000000000001"

Test(wire_sse, events_carry_their_id_and_their_wire_text)
{
    lp_event *events[] = {event_of("1", 1), event_of("[2]", 2)};
    char first[LP_ID_TEXT_LEN + 1], second[LP_ID_TEXT_LEN + 1], expected[1024];
    lp_id_format(lp_event_id(events[0]), first);
    lp_id_format(lp_event_id(events[1]), second);
    lp_str a = lp_event_wire(events[0]), b = lp_event_wire(events[1]);
    snprintf(expected, sizeof(expected), "id: %s\ndata: %.*s\n\nid: %s\ndata: %.*s\n\n", first,
             (int)a.len, a.base, second, (int)b.len, b.base);
    frames_are(&(lp_answer){.events = events, .event_count = 2}, expected);
    char with_gap[1200];
    snprintf(with_gap, sizeof(with_gap), "event: gap\ndata: {\"gap\":true}\n\n%s", expected);
    frames_are(&(lp_answer){.events = events, .event_count = 2, .gap = true}, with_gap);
    lp_event_unref(events[0]);
    lp_event_unref(events[1]);
}

Test(wire_sse, without_events_the_position_is_told)
{
    lp_answer answer = {0};
    cr_assert_eq(lp_id_parse(lp_str_of(POS), &answer.last_id), LP_OK);
    frames_are(&answer, "id: " POS "\n\n");
    answer.gap = true;
    frames_are(&answer, "event: gap\ndata: {\"gap\":true}\n\nid: " POS "\n\n");
    char text[LP__SSE_POSITION_LEN + 1] = "";
    lp__sse_position(answer.last_id, text);
    cr_expect_str_eq(text, "id: " POS "\n\n");
}

/* A publisher's bytes are kept, so his line ends are there too; each line is a field of its own. */
Test(wire_sse, line_ends_in_data_make_lines_of_their_own)
{
    static const struct {
        const char *data, *lines;
    } rows[] = {
        {"[1,\n2]", "[1,\ndata: 2]"},
        {"[1,\r2]", "[1,\ndata: 2]"},
        {"[1,\r\n2]", "[1,\ndata: 2]"},
        {"[1,\n\r2]", "[1,\ndata: \ndata: 2]"},
        {"[\n\n2]", "[\ndata: \ndata: 2]"},
        {"[\r\r\n2]", "[\ndata: \ndata: 2]"},
        {"[\n1\r,2\r\n]", "[\ndata: 1\ndata: ,2\ndata: ]"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        lp_event *event = event_of(rows[i].data, 1);
        char id[LP_ID_TEXT_LEN + 1], expected[512];
        lp_id_format(lp_event_id(event), id);
        snprintf(expected, sizeof(expected),
                 "id: %s\ndata: {\"timestamp\":1616040198889,\"category\":\"c\",\"data\":%s,"
                 "\"id\":\"%s\"}\n\n",
                 id, rows[i].lines, id);
        frames_are(&(lp_answer){.events = &event, .event_count = 1}, expected);
        lp_event_unref(event);
    }
}
