/* Streams of server-sent events over real sockets: what is on them, how they are resumed, how they
 * end. Slow and departed readers are stream_bounds_test's. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "stream_reader.h"

#define CATEGORY_C "/events?timeout=60&category=c"

static lp_http_figures figures(void)
{
    lp_http_figures now;
    lp_http_stats(h.manager, &now, sizeof(now));
    return now;
}

static bool has_line(const stream_reader *stream, const char *line)
{
    return strstr(stream->head, line) != NULL;
}

/* Publishes and waits until it is visible, then for the next millisecond. */
static void publish(const char *category, const char *data)
{
    uint64_t before = harness_stats().published;
    harness_publish(category, data);
    while (harness_stats().published == before)
        harness_turn(1);
    harness_turn(2);
}

Test(stream, begins_at_once_with_its_position)
{
    harness_start(NULL);
    stream_reader stream = stream_open(CATEGORY_C, "");
    cr_expect_eq(strncmp(stream.head, "HTTP/1.1 200 OK\r\n", 17), 0, "%s", stream.head);
    static const char *const lines[] = {
        "\r\nContent-Type: text/event-stream\r\n",
        "\r\nX-Content-Type-Options: nosniff\r\n",
        "\r\nCache-Control: no-cache, no-store, must-revalidate\r\n",
        "\r\nPragma: no-cache\r\n",
        "\r\nExpires: 0\r\n",
        "\r\nX-Accel-Buffering: no\r\n",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        cr_expect(has_line(&stream, lines[i]), "%s in %s", lines[i], stream.head);
    cr_expect(stream.is_chunked);
    cr_expect(stream_holds(&stream, "\n\n"));
    char id[37], expected[64];
    cr_assert(stream_last_id(&stream, id));
    cr_expect_eq(id[14], '7');
    snprintf(expected, sizeof(expected), "id: %s\n\n", id);
    cr_expect_str_eq(stream.text, expected);
    cr_expect_eq(figures().streams, 1);
    cr_expect_eq(harness_stats().waiters, 1);
    stream_close(&stream);
    harness_stop();
}

Test(stream, events_come_as_they_are_published)
{
    harness_start(NULL);
    stream_reader stream = stream_open(CATEGORY_C, "");
    for (int i = 0; i < 20; i++) {
        char data[32], expected[64];
        snprintf(data, sizeof(data), "{\"n\":%d}", i);
        snprintf(expected, sizeof(expected), "\"data\":{\"n\":%d},\"id\":\"", i);
        harness_publish("other", "0");
        harness_publish("c", data);
        cr_expect(stream_holds(&stream, expected), "%s", stream.text);
    }
    cr_expect_eq(stream_count(&stream, "\ndata: {\"timestamp\":"), 20);
    cr_expect_eq(stream_count(&stream, "\"other\""), 0);
    cr_expect_eq(stream_count(&stream, "gap"), 0);
    /* an event's id stands in front of it and in it */
    char id[37], expected[64];
    cr_assert(stream_last_id(&stream, id));
    snprintf(expected, sizeof(expected), "\"id\":\"%s\"}\n\n", id);
    cr_expect_str_eq(stream.text + stream.len - strlen(expected), expected);
    stream_close(&stream);
    harness_stop();
}

Test(stream, what_is_there_comes_behind_the_position)
{
    harness_start(NULL);
    publish("c", "1");
    publish("c", "2");
    stream_reader stream = stream_open(CATEGORY_C "&since_time=0", "");
    cr_expect(stream_holds(&stream, "\"data\":2"));
    cr_expect_eq(stream_count(&stream, "\ndata: {\"timestamp\""), 2, "%s", stream.text);
    cr_expect(strncmp(stream.text, "id: ", 4) == 0 && stream.text[41] == '\n', "%s", stream.text);
    stream_close(&stream);
    stream = stream_open(CATEGORY_C "&last=1", "");
    cr_expect(stream_holds(&stream, "\"data\":2"));
    cr_expect_eq(stream_count(&stream, "\ndata: {"), 1);
    publish("c", "3");
    cr_expect(stream_holds(&stream, "\"data\":3"));
    stream_close(&stream);
    harness_stop();
}

Test(stream, several_categories_and_prefixes_share_one)
{
    harness_start(NULL);
    stream_reader stream = stream_open("/events?timeout=60&category=a&category=b&prefix=room/", "");
    const char *const names[] = {"b", "room/1", "x", "a", "room/2", "room"};
    for (size_t i = 0; i < 6; i++) {
        char data[8];
        snprintf(data, sizeof(data), "%zu", i);
        publish(names[i], data);
    }
    publish("b", "\"end\"");
    cr_expect(stream_holds(&stream, "\"end\""));
    cr_expect_eq(stream_count(&stream, "\ndata: {"), 5, "%s", stream.text);
    stream_close(&stream);
    harness_stop();
}

Test(stream, line_ends_in_data_do_not_break_an_event)
{
    harness_start(NULL);
    stream_reader stream = stream_open(CATEGORY_C, "");
    harness_publish("c", "[1,\n 2,\r\n 3]");
    cr_expect(stream_holds(&stream, "\"data\":[1,\ndata:  2,\ndata:  3],\"id\":\""));
    stream_close(&stream);
    harness_stop();
}

Test(stream, large_events_and_many_small_ones_come_whole)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_buffer_max = 3000;
    harness_start(&options);
    stream_reader stream = stream_open(CATEGORY_C, "");
    size_t len = 300000;
    char *data = malloc(len + 3);
    memset(data, 'x', len + 2);
    data[0] = data[len + 1] = '"';
    data[len + 2] = '\0';
    harness_publish("c", data);
    for (int i = 0; i < 2000; i++)
        harness_publish("c", "\"small\"");
    harness_publish("c", data);
    data[len] = 'y';
    harness_publish("c", data);
    cr_expect(stream_holds(&stream, "xy\""));
    cr_expect_eq(stream_count(&stream, "\"small\""), 2000);
    cr_expect_eq(stream_count(&stream, "\ndata: {"), 2003);
    cr_expect_gt(stream.len, 3 * len + 2000 * 100);
    free(data);
    stream_close(&stream);
    harness_stop();
}

/* ---- which requests are streams ----------------------------------------- */

Test(stream, without_its_name_in_accept_there_is_none)
{
    harness_start(NULL);
    raw_conn conn = harness_connect();
    raw_printf(&conn, "GET /events?timeout=1&category=c HTTP/1.1\r\nHost: h\r\n"
                      "Accept: */*\r\nAccept: text/event-stream;q=0\r\nLast-Event-ID: 1\r\n\r\n");
    raw_answer answer;
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect(strstr(answer.head, "application/json"));
    cr_expect_eq(strncmp(answer.body, "{\"timeout\"", 10), 0);
    raw_free(&answer);
    raw_close(&conn);
    harness_stop();
}

Test(stream, head_and_options_open_none)
{
    harness_start(NULL);
    raw_answer answer = harness_ask("HEAD " CATEGORY_C " HTTP/1.1\r\nHost: h\r\n"
                                    "Accept: text/event-stream\r\n\r\n");
    cr_expect_eq(answer.status, 200);
    cr_expect(strstr(answer.head, "Content-Type: text/event-stream"));
    raw_free(&answer);
    answer = harness_ask("OPTIONS " CATEGORY_C " HTTP/1.1\r\nHost: h\r\n"
                         "Accept: text/event-stream\r\n\r\n");
    cr_expect_eq(answer.status, 204);
    raw_free(&answer);
    cr_expect_eq(figures().streams_begun, 0);
    harness_stop();
}

static void error_is(int status, const char *target, const char *body)
{
    raw_conn conn = harness_connect();
    raw_answer answer;
    raw_printf(&conn, "GET %s HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n", target);
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(answer.status, status);
    cr_expect_str_eq(answer.body, body);
    cr_expect(strstr(answer.head, "Content-Type: application/json"));
    raw_free(&answer);
    raw_close(&conn);
}

Test(stream, errors_are_those_of_polls)
{
    static const char bad_category[] =
        "{\"error\": \"Invalid subscription category, must be 1-1024 characters long.\"}";
    harness_options options = HARNESS_OPTIONS_INIT;
    harness_start(&options);
    error_is(200, "/events?timeout=1", bad_category);
    harness_stop();
    options.http.strict_status = true;
    h = (harness){0};
    harness_start(&options);
    error_is(400, "/events?timeout=1", bad_category);
    harness_stop();
}

/* ---- the end ------------------------------------------------------------ */

Test(stream, ends_cleanly_at_its_timeout_and_leaves_the_connection)
{
    harness_start(NULL);
    stream_reader stream = stream_open("/events?timeout=1&category=c", "");
    cr_expect(stream_ends(&stream));
    cr_expect_eq(figures().streams, 0);
    cr_expect_eq(harness_stats().waiters, 0);
    publish("c", "1");
    stream_reader next = stream_open_on(stream.conn, CATEGORY_C "&last=1", "");
    stream.conn = (raw_conn){.fd = -1};
    cr_expect(stream_holds(&next, "\"data\":1"));
    stream_close(&next);
    stream_close(&stream);
    harness_stop();
}

Test(stream, what_is_pipelined_behind_it_is_answered_after_it)
{
    harness_start(NULL);
    raw_conn conn = harness_connect();
    raw_printf(&conn, "GET /events?timeout=1&category=c HTTP/1.1\r\nHost: h\r\n"
                      "Accept: text/event-stream\r\n\r\n"
                      "GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_answer answer;
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(strncmp(answer.body, "id: ", 4), 0);
    raw_free(&answer);
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect(strstr(answer.body, "serving"));
    raw_free(&answer);
    raw_close(&conn);
    harness_stop();
}

Test(stream, an_old_client_gets_it_without_chunks)
{
    harness_start(NULL);
    raw_conn conn = harness_connect();
    raw_printf(&conn, "GET /events?timeout=1&category=c HTTP/1.0\r\nConnection: keep-alive\r\n"
                      "Accept: text/event-stream\r\n\r\n");
    cr_assert(harness_waiters_are(1));
    publish("c", "1");
    raw_answer answer;
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_not(strstr(answer.head, "chunked"));
    cr_expect_not(strstr(answer.head, "keep-alive"), "%s", answer.head);
    cr_expect_eq(strncmp(answer.body, "id: ", 4), 0, "%s", answer.body);
    cr_expect(strstr(answer.body, "\"data\":1"));
    raw_free(&answer);
    raw_close(&conn);
    cr_expect(harness_connections_are(0));
    harness_stop();
}

Test(stream, a_shutdown_ends_all_cleanly)
{
    harness_start(NULL);
    stream_reader streams[50];
    for (size_t i = 0; i < 50; i++)
        streams[i] = stream_open(CATEGORY_C, "");
    harness_publish("c", "\"last words\"");
    harness_shutdown(5000);
    for (size_t i = 0; i < 50; i++) {
        cr_expect(stream_ends(&streams[i]));
        cr_expect_eq(stream_count(&streams[i], "last words"), 1);
        cr_expect(raw_ended(&streams[i].conn, RAW_DEADLINE_MS));
        stream_close(&streams[i]);
    }
    harness_stop();
}

Test(stream, two_thousand_on_one_loop)
{
    enum { STREAMS = 2000 };
    harness_start(NULL);
    stream_reader *streams = calloc(STREAMS, sizeof(*streams));
    for (size_t i = 0; i < STREAMS; i++)
        streams[i] = stream_open(CATEGORY_C, "");
    cr_expect_eq(figures().streams, STREAMS);
    for (int round = 0; round < 3; round++) {
        char data[16];
        snprintf(data, sizeof(data), "\"round %d\"", round);
        harness_publish("c", data);
        for (size_t i = 0; i < STREAMS; i++)
            cr_assert(stream_holds(&streams[i], data), "%zu", i);
    }
    cr_expect_eq(figures().streams_begun, STREAMS);
    for (size_t i = 0; i < STREAMS; i++) {
        cr_expect_eq(stream_count(&streams[i], "\ndata: {"), 3);
        stream_close(&streams[i]);
    }
    cr_expect(harness_connections_are(0));
    cr_expect_eq(figures().streams, 0);
    free(streams);
    harness_stop();
}

Test(stream, delete_after_first_takes_what_a_stream_has_been_sent)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.delete_after_first_retrieval = true;
    harness_start(&options);
    stream_reader stream = stream_open(CATEGORY_C, "");
    for (uint64_t i = 1; i <= 3; i++) {
        char expected[32], data[8];
        snprintf(data, sizeof(data), "%d", (int)i);
        snprintf(expected, sizeof(expected), "\"data\":%d", (int)i);
        harness_publish("c", data);
        cr_expect(stream_holds(&stream, expected));
        while (harness_stats().retrieved < i)
            harness_turn(1);
    }
    cr_expect_eq(harness_stats().events, 0);
    cr_expect_eq(stream_count(&stream, "gap"), 0);
    stream_close(&stream);
    harness_stop();
}
