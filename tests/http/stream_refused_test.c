/* Streams that are refused for a while, and those of a server that stops while its manager serves
 * on. A browser's EventSource gives up for good on any status but 200, and comes again after a
 * stream that ended. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "store_double.h"
#include "stream_reader.h"

#define CATEGORY_C "/events?timeout=60&category=c"
#define ASKS       "GET " CATEGORY_C " HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n"

static lp_http_figures figures(void)
{
    lp_http_figures now;
    lp_http_stats(h.manager, &now, sizeof(now));
    return now;
}

/* It ends at once and tells no position, so that the browser keeps the one that it has. */
static void is_refused_on(raw_conn *conn, const char *why, const char *connection)
{
    char expected[128], value[64] = "";
    raw_answer answer;
    raw_printf(conn, ASKS "Last-Event-ID: 1\r\n\r\n");
    cr_assert(raw_read(conn, false, RAW_DEADLINE_MS, &answer));
    snprintf(expected, sizeof(expected), ": %s\nretry: 1000\n\n", why);
    cr_expect_str_eq(answer.body, expected);
    cr_expect_eq(answer.status, 200);
    raw_header(&answer, "Content-Type", value, sizeof(value));
    cr_expect_str_eq(value, "text/event-stream");
    raw_header(&answer, "Retry-After", value, sizeof(value));
    cr_expect_str_eq(value, "1");
    raw_header(&answer, "Connection", value, sizeof(value));
    cr_expect_str_eq(value, connection);
    raw_free(&answer);
}

static void is_refused(const char *why)
{
    raw_conn conn = harness_connect();
    is_refused_on(&conn, why, "keep-alive");
    raw_close(&conn);
}

static void start_with(store_double *store, bool holds_start, bool holds_publish)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    store_double_init(store);
    store_double_hold(store, holds_start, holds_publish);
    options.manager.addon = &store->addon;
    harness_start(&options);
}

static void wait_until_serving(void)
{
    while (lp_manager_state(h.manager) == LP_STATE_STARTING)
        harness_turn(1);
}

static void publish_one_that_waits(void)
{
    harness_publish("c", "\"last words\"");
    while (!harness_stats().pending)
        harness_turn(1);
}

Test(stream_refused, while_the_store_is_being_replayed)
{
    static store_double store;
    start_with(&store, true, false);
    for (int i = 0; i < 3; i++)
        is_refused("the store is still being replayed");
    raw_conn conn = harness_connect();
    is_refused_on(&conn, "the store is still being replayed", "keep-alive");
    cr_expect_eq(figures().refused_busy, 4);
    cr_expect_eq(figures().streams_begun, 0);
    store_double_hold(&store, false, false);
    wait_until_serving();
    stream_reader stream = stream_open_on(conn, CATEGORY_C, ""); /* that was refused before */
    harness_publish("c", "1");
    cr_expect(stream_holds(&stream, "\"data\":1"));
    stream_close(&stream);
    harness_stop();
}

/* The store holds an event, so it drains for as long as the test looks at it. */
Test(stream_refused, while_the_manager_drains)
{
    static store_double store;
    start_with(&store, false, true);
    wait_until_serving();
    raw_conn conn = harness_connect();
    publish_one_that_waits();
    lp_server *server = h.server; /* serves on */
    h.server = NULL;
    harness_shutdown(5000);
    cr_assert_eq(lp_manager_state(h.manager), LP_STATE_DRAINING);
    is_refused_on(&conn, lp_strerror(LP_ECLOSED), "close");
    cr_expect(raw_ended(&conn, RAW_DEADLINE_MS));
    cr_expect_eq(lp_manager_state(h.manager), LP_STATE_DRAINING);
    cr_expect_eq(figures().refused_busy, 1);
    raw_close(&conn);
    store_double_hold(&store, false, false);
    lp_server_stop(server, 1000, NULL, NULL);
    harness_stop();
}

Test(stream_refused, where_too_many_wait)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.waiters_max = 1;
    harness_start(&options);
    raw_conn conn = harness_poll("c", "");
    cr_assert(harness_waiters_are(1));
    is_refused("too many polls are waiting, try again later");
    raw_close(&conn);
    cr_assert(harness_waiters_are(0));
    stream_reader stream = stream_open(CATEGORY_C, "");
    cr_expect(stream_holds(&stream, "\n\n"));
    stream_close(&stream);
    harness_stop();
}

Test(stream_refused, is_a_503_for_what_is_no_stream)
{
    static store_double store;
    start_with(&store, true, false);
    raw_answer answer = harness_ask("GET " CATEGORY_C " HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_expect_eq(answer.status, 503);
    cr_expect(strstr(answer.head, "application/json"));
    raw_free(&answer);
    store_double_hold(&store, false, false);
    wait_until_serving();
    harness_stop();
}

/* ---- a server that stops alone ------------------------------------------ */

static bool stopped;

static void on_stopped(void *ctx)
{
    (void)ctx;
    stopped = true;
}

static bool is_stopped(void)
{
    return stopped;
}

static void stop_server(void)
{
    stopped = false;
    cr_assert_eq(lp_server_stop(h.server, 60000, on_stopped, NULL), LP_OK);
    h.server = NULL;
}

/* Long before the next heartbeat or the deadline: the test would run into its own. */
Test(stream_server_stop, ends_all_streams_at_once_and_the_manager_serves_on)
{
    enum { STREAMS = 50 };
    harness_start(NULL);
    stream_reader streams[STREAMS];
    for (int i = 0; i < STREAMS; i++)
        streams[i] = stream_open(CATEGORY_C, "");
    cr_assert(harness_waiters_are(STREAMS));
    stop_server();
    for (int i = 0; i < STREAMS; i++) {
        cr_expect(stream_ends(&streams[i]));
        cr_expect(raw_ended(&streams[i].conn, RAW_DEADLINE_MS));
        cr_expect_eq(stream_count(&streams[i], "\n\n"), 1, "the position: %s", streams[i].text);
        stream_close(&streams[i]);
    }
    cr_expect(harness_until(is_stopped));
    cr_expect_eq(harness_stats().waiters, 0);
    cr_expect_eq(figures().streams, 0);
    cr_assert_eq(lp_manager_state(h.manager), LP_STATE_SERVING);

    lp_server_options options = LP_SERVER_OPTIONS_INIT;
    options.listen = "127.0.0.1:0";
    cr_assert_eq(lp_server_start(h.manager, &options, &h.server, NULL), LP_OK);
    h.port = lp_server_port(h.server);
    stream_reader stream = stream_open(CATEGORY_C, "");
    harness_publish("c", "1");
    cr_expect(stream_holds(&stream, "\"data\":1"));
    stream_close(&stream);
    harness_stop();
}

Test(stream_server_stop, sends_a_chunk_that_is_on_its_way_whole)
{
    enum { LEN = 1 << 20 };
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_bytes_max = 4 * LEN;
    harness_start(&options);
    stream_reader stream = stream_open(CATEGORY_C, "");
    char *data = malloc(3 * LEN + 1);
    memset(data, 'x', 3 * LEN);
    data[0] = data[3 * LEN - 1] = '"';
    data[3 * LEN] = '\0';
    for (int i = 0; i < 8; i++)
        harness_publish("c", data);
    while (!figures().inflight) /* more than the sockets between hold */
        harness_turn(1);
    stop_server();
    harness_turn(50);
    cr_expect_not(stopped);
    cr_expect(stream_ends(&stream));
    cr_expect_geq(stream_count(&stream, "\ndata: {"), 1);
    cr_expect_str_eq(stream.text + stream.len - 4, "\"}\n\n");
    cr_expect(harness_until(is_stopped));
    stream_close(&stream);
    free(data);
    harness_stop();
}

/* Streams of two servers on one manager. */
Test(stream_server_stop, leaves_those_of_another_server_alone)
{
    harness_start(NULL);
    lp_server_options options = LP_SERVER_OPTIONS_INIT;
    lp_server *first = h.server;
    options.listen = "127.0.0.1:0";
    stream_reader ends = stream_open(CATEGORY_C, "");
    cr_assert_eq(lp_server_start(h.manager, &options, &h.server, NULL), LP_OK);
    h.port = lp_server_port(h.server);
    stream_reader stays = stream_open(CATEGORY_C, "");
    cr_assert_eq(lp_server_stop(first, 60000, on_stopped, NULL), LP_OK);
    cr_expect(stream_ends(&ends));
    cr_expect(harness_until(is_stopped));
    harness_publish("c", "1");
    cr_expect(stream_holds(&stays, "\"data\":1"));
    stream_close(&ends);
    stream_close(&stays);
    harness_stop();
}

/* In doubt is serving too, for readers. */
Test(stream_server_stop, ends_them_at_once_when_the_store_is_in_doubt)
{
    static store_double store;
    start_with(&store, false, false);
    wait_until_serving();
    stream_reader stream = stream_open(CATEGORY_C, "");
    store_double_fail(&store, LP_EINDOUBT, "cannot undo");
    harness_publish("c", "1");
    while (lp_manager_state(h.manager) == LP_STATE_SERVING)
        harness_turn(1);
    cr_assert_eq(lp_manager_state(h.manager), LP_STATE_IN_DOUBT);
    cr_expect_eq(figures().streams, 1);
    stop_server();
    cr_expect(stream_ends(&stream));
    cr_expect(harness_until(is_stopped));
    stream_close(&stream);
    harness_stop();
}
