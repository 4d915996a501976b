/* Streams whose readers are slow or gone, and streams at the end of their server: what they hold is
 * bounded, and all of it comes back. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "harness.h"
#include "stream_reader.h"

#define CATEGORY_C  "/events?timeout=60&category=c"
#define EVENT_BYTES 100000
#define CHUNK_BYTES 65536
#define RING        20

static lp_http_figures figures(void)
{
    lp_http_figures now;
    lp_http_stats(h.manager, &now, sizeof(now));
    return now;
}

static void start(int64_t inflight_bytes_max, int64_t answer_timeout_ms)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_buffer_max = RING;
    options.http.inflight_bytes_max = inflight_bytes_max;
    options.http.answer_timeout_ms = answer_timeout_ms;
    harness_start(&options);
}

/* A large event, each with a number of its own. */
static void publish_large(int number)
{
    char *data = malloc(EVENT_BYTES + 1);
    int len = snprintf(data, EVENT_BYTES, "\"event %d ", number);
    memset(data + len, 'x', (size_t)(EVENT_BYTES - len));
    data[EVENT_BYTES - 1] = '"';
    data[EVENT_BYTES] = '\0';
    harness_publish("c", data);
    free(data);
}

/* Publishes until a stream's chunk stays where it is: the sockets between are full. */
static int fill(int number)
{
    uint64_t delivered = 0, unchanged = 0;
    while (unchanged < 10) {
        publish_large(number++);
        harness_turn(3);
        uint64_t now = harness_stats().delivered;
        unchanged = now == delivered ? unchanged + 1 : 0;
        delivered = now;
    }
    return number;
}

Test(stream_bounds, a_slow_reader_holds_one_chunk_and_is_told_what_it_lost)
{
    start(0, 0);
    stream_reader stream = stream_open(CATEGORY_C, "");
    int number = fill(0);
    for (int i = 0; i < 2 * RING; i++)
        publish_large(number++);
    harness_turn(20);
    lp_http_figures now = figures();
    cr_expect_eq(now.inflight, 1);
    cr_expect_leq(now.inflight_bytes, EVENT_BYTES + CHUNK_BYTES);
    cr_expect_leq(harness_stats().events_bytes, (RING + 1) * (EVENT_BYTES + 4096));
    char last[32];
    snprintf(last, sizeof(last), "\"event %d ", number - 1);
    cr_expect(stream_holds(&stream, last));
    cr_expect_eq(stream_count(&stream, "event: gap"), 1);
    const char *gap = strstr(stream.text, "event: gap");
    cr_assert(gap && strstr(gap, "\"event "));
    /* nothing but what the gap stands for is missing, and nothing is there twice */
    cr_expect_eq(atoi(strstr(gap, "\"event ") + 7), number - RING);
    int expected = 0;
    for (const char *at = stream.text; (at = strstr(at, "\"event ")) && at < gap; at++)
        cr_expect_eq(atoi(at + 7), expected++);
    stream_close(&stream);
    harness_stop();
}

Test(stream_bounds, a_reader_that_takes_nothing_is_cut_and_resumes)
{
    start(0, 300);
    stream_reader stream = stream_open(CATEGORY_C, "");
    fill(0);
    cr_expect(harness_waiters_are(0));
    cr_expect(harness_connections_are(0));
    cr_expect_eq(figures().answers_cut, 1);
    cr_expect_eq(figures().inflight_bytes, 0);
    cr_expect_eq(figures().streams, 0);
    while (stream_read_some(&stream, 1000))
        ;
    char id[37] = "", headers[64];
    stream_last_id(&stream, id);
    stream_close(&stream);
    snprintf(headers, sizeof(headers), "Last-Event-ID: %s\r\n", id);
    stream = stream_open(CATEGORY_C, headers);
    publish_large(9999);
    cr_expect(stream_holds(&stream, "event 9999"));
    stream_close(&stream);
    harness_stop();
}

/* Framing makes a chunk larger than the wire texts in it. */
Test(stream_bounds, a_long_history_goes_out_in_small_chunks)
{
    enum { EVENTS = 1000 };
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_buffer_max = EVENTS;
    harness_start(&options);
    char data[1100];
    memset(data, 'x', sizeof(data));
    data[0] = data[1023] = '"';
    data[1024] = '\0';
    for (int i = 0; i < EVENTS; i++)
        harness_publish("c", data);
    while (harness_stats().published < EVENTS)
        harness_turn(1);
    stream_reader stream = stream_open(CATEGORY_C "&last=10000", "");
    while (stream_count(&stream, "\ndata: {") < EVENTS)
        cr_assert(stream_read_some(&stream, RAW_DEADLINE_MS));
    cr_expect_leq(stream.largest_chunk, CHUNK_BYTES + CHUNK_BYTES / 4);
    stream_close(&stream);
    harness_stop();
}

Test(stream_bounds, one_that_waits_has_no_answer_in_flight)
{
    start(0, 50);
    stream_reader stream = stream_open(CATEGORY_C, "");
    publish_large(0);
    cr_expect(stream_holds(&stream, "\n\nid: "));
    harness_turn(200); /* four times what an answer may take */
    cr_expect_eq(figures().inflight, 0);
    cr_expect_eq(figures().streams, 1);
    publish_large(1);
    cr_expect(stream_holds(&stream, "\"event 1 "));
    cr_expect_eq(figures().answers_cut, 0);
    stream_close(&stream);
    harness_stop();
}

static bool is_within_bound(void)
{
    return figures().inflight_bytes <= 400000;
}

/* What begins in one moment may be more, for they share its bytes; what is slow is cut soon, also
 * when nothing else is published. */
Test(stream_bounds, all_slow_readers_together_are_bounded)
{
    enum { READERS = 12, BOUND = 400000 };
    start(BOUND, 0);
    stream_reader streams[READERS];
    for (int i = 0; i < READERS; i++)
        streams[i] = stream_open(CATEGORY_C, "");
    for (int i = 0; i < 300 && is_within_bound(); i++) {
        publish_large(i);
        harness_turn(2);
    }
    cr_expect_eq(figures().streams, READERS);
    cr_expect_leq(figures().inflight_bytes, READERS * (EVENT_BYTES + CHUNK_BYTES));
    cr_expect(harness_until(is_within_bound));
    cr_expect_gt(figures().answers_cut, 0);
    cr_expect_gt(figures().streams, 0, "no more than it takes");
    for (int i = 0; i < READERS; i++)
        stream_close(&streams[i]);
    cr_expect(harness_connections_are(0));
    cr_expect_eq(figures().inflight_bytes, 0);
    harness_stop();
}

/* They share its bytes, and the kernel takes them at once: nobody is slow. */
Test(stream_bounds, one_event_for_many_readers_ends_none_of_them)
{
    enum { READERS = 20 };
    start(EVENT_BYTES, 0);
    stream_reader streams[READERS];
    for (int i = 0; i < READERS; i++)
        streams[i] = stream_open(CATEGORY_C, "");
    publish_large(1);
    for (int i = 0; i < READERS; i++)
        cr_expect(stream_holds(&streams[i], "\"event 1 "), "%d", i);
    publish_large(2);
    for (int i = 0; i < READERS; i++)
        cr_expect(stream_holds(&streams[i], "\"event 2 "), "%d", i);
    cr_expect_eq(figures().streams, READERS);
    cr_expect_eq(figures().streams_begun, READERS);
    for (int i = 0; i < READERS; i++)
        stream_close(&streams[i]);
    harness_stop();
}

Test(stream_bounds, a_departed_reader_frees_all_at_once)
{
    harness_start(NULL);
    stream_reader closed = stream_open(CATEGORY_C, ""), reset = stream_open(CATEGORY_C, "");
    raw_printf(&closed.conn, "GET /pipelined HTTP/1.1\r\n");
    cr_assert(harness_waiters_are(2));
    stream_close(&closed);
    cr_expect(harness_waiters_are(1));
    cr_expect(harness_connections_are(1));
    raw_reset(&reset.conn);
    cr_expect(harness_waiters_are(0));
    cr_expect(harness_connections_are(0));
    cr_expect_eq(figures().streams, 0);
    stream_close(&reset);
    harness_stop();
}

Test(stream_bounds, a_reader_that_departs_in_the_middle_of_a_chunk_frees_all)
{
    start(0, 0);
    stream_reader closed = stream_open(CATEGORY_C, ""), reset = stream_open(CATEGORY_C, "");
    fill(0);
    cr_expect_eq(figures().inflight, 2);
    stream_close(&closed);
    cr_expect(harness_connections_are(1));
    raw_reset(&reset.conn);
    cr_expect(harness_connections_are(0));
    cr_expect_eq(harness_stats().waiters, 0);
    cr_expect_eq(figures().inflight_bytes, 0);
    stream_close(&reset);
    harness_stop();
}

Test(stream_bounds, one_that_sends_no_more_is_ended_cleanly)
{
    harness_start(NULL);
    stream_reader stream = stream_open(CATEGORY_C, "");
    shutdown(stream.conn.fd, SHUT_WR);
    cr_expect(stream_ends(&stream));
    cr_expect(raw_ended(&stream.conn, RAW_DEADLINE_MS));
    stream_close(&stream);
    harness_stop();
}

static bool is_manager_down(void)
{
    return h.manager_down;
}

static bool is_all_down(void)
{
    return h.manager_down && h.server_down;
}

Test(stream_bounds, a_shutdown_waits_for_slow_readers_until_its_deadline)
{
    start(0, 0);
    stream_reader slow = stream_open(CATEGORY_C, ""), stuck = stream_open(CATEGORY_C, "");
    int number = fill(0);
    harness_shutdown(1500);
    harness_turn(50);
    cr_expect(stream_ends(&slow));
    cr_expect_lt(stream_count(&slow, "\"event "), (size_t)number + 1);
    cr_expect(harness_until(is_all_down)); /* the one that reads nothing is cut */
    stream_close(&slow);
    stream_close(&stuck);
    harness_stop();
}

Test(stream_bounds, a_chunk_may_outlive_its_manager)
{
    start(0, 0);
    stream_reader slow = stream_open(CATEGORY_C "&category=d", "");
    fill(0);
    lp_server *server = h.server;
    h.server = NULL;
    harness_shutdown(1000);
    cr_assert(harness_until(is_manager_down));
    cr_assert_eq(lp_manager_free(h.manager), LP_OK);
    cr_expect(stream_ends(&slow));
    stream_close(&slow);
    lp_server_stop(server, 1000, NULL, NULL);
    uv_run(&h.loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(&h.loop), 0);
    raw_pump = NULL;
}
