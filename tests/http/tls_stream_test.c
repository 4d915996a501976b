/* Streams of server-sent events over TLS: a chunk spans records, and what is with the kernel is
 * what was encrypted. What is on a stream otherwise is stream_test's. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_double.h"
#include "tls_client.h"

enum { COUNT = 50, RING = 20, EVENT_BYTES = 100000, CHUNK_BYTES = 65536 };
static tls_conn *conns[COUNT];

#define LAST_CHUNK "\r\n0\r\n\r\n"

static lp_http_figures figures(void)
{
    lp_http_figures out;
    lp_http_stats(h.manager, &out, sizeof(out));
    return out;
}

/* ---- a reader ----------------------------------------------------------- */

static void send_request(tls_conn *conn, const char *extra, const char *headers)
{
    char request[512];
    snprintf(request, sizeof(request),
             "GET /events?category=c%s HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n%s\r\n",
             extra, headers);
    tls_send(conn, request);
}

/* What has been read, from the head on; chunks as they are: none of the tests' texts spans two. */
static const char *text_of(const tls_conn *conn)
{
    return conn->in.body_len ? conn->in.body : "";
}

static size_t count(const tls_conn *conn, const char *text)
{
    size_t found = 0;
    for (const char *at = text_of(conn); (at = strstr(at, text)); at += strlen(text))
        found++;
    return found;
}

static bool holds_times(tls_conn *conn, const char *text, size_t times)
{
    while (count(conn, text) < times)
        if (!tls_receive(conn, conn->in.body_len + 1))
            return false;
    return true;
}

static bool holds(tls_conn *conn, const char *text)
{
    return holds_times(conn, text, 1);
}

static bool ends_with(const tls_conn *conn, const char *end)
{
    size_t len = strlen(end);
    return conn->in.body_len >= len &&
           memcmp(conn->in.body + conn->in.body_len - len, end, len) == 0;
}

/* A clean end: of the chunks, and of TLS. */
static void ends_with_connection(tls_conn *conn)
{
    cr_expect(tls_ended(conn));
    cr_expect(ends_with(conn, LAST_CHUNK), "%s", text_of(conn));
    cr_expect_eq(conn->alert, SSL3_AL_WARNING << 8 | SSL_AD_CLOSE_NOTIFY);
    tls_free(conn);
}

static void last_id(const tls_conn *conn, char id[37])
{
    const char *last = NULL;
    for (const char *at = text_of(conn); (at = strstr(at, "id: ")) && strstr(at, "\n\n"); at++)
        last = at + 4;
    cr_assert(last);
    memcpy(id, last, 36);
    id[36] = '\0';
}

/* With its first bytes read, over TLS 1.2 or 1.3 by turns. */
static tls_conn *open_stream(int number, const char *extra, const char *headers)
{
    tls_conn *conn =
        tls_connect(&(tls_wish){.version = number % 2 ? TLS1_2_VERSION : TLS1_3_VERSION});
    cr_assert(conn->ssl);
    send_request(conn, extra, headers);
    cr_assert(holds(conn, "\nid: ") && holds(conn, "\n\n\r\n"));
    return conn;
}

static void open_all(void)
{
    for (int i = 0; i < COUNT; i++)
        conns[i] = open_stream(i, "&timeout=60", "");
    cr_assert_eq(figures().streams, COUNT);
}

static void publish_and_wait(const char *data)
{
    uint64_t before = harness_stats().published;
    harness_publish("c", data);
    while (harness_stats().published == before)
        harness_turn(1);
}

/* ---- what comes --------------------------------------------------------- */

Test(tls_stream, begins_with_its_position_and_events_follow_in_order)
{
    tls_start(NULL);
    for (int v = 0; v < 2; v++) {
        tls_conn *conn = open_stream(v, "&timeout=60", "");
        cr_expect_eq(strncmp(text_of(conn), "HTTP/1.1 200 OK\r\n", 17), 0);
        cr_expect(strstr(text_of(conn), "\r\nContent-Type: text/event-stream\r\n"));
        cr_expect_eq(count(conn, "\nid: "), 1);
        for (int i = 0; i < 20; i++) {
            char data[32], expected[48];
            snprintf(data, sizeof(data), "{\"n\":%d}", i);
            snprintf(expected, sizeof(expected), "\"data\":%s,", data);
            harness_publish("c", data);
            cr_expect(holds(conn, expected), "%s", text_of(conn));
        }
        cr_expect_eq(count(conn, "\ndata: {\"timestamp\":"), 20);
        const char *at = text_of(conn);
        for (int i = 0; i < 20 && at; i++) {
            char expected[32];
            snprintf(expected, sizeof(expected), "{\"n\":%d}", i);
            at = strstr(at, expected);
        }
        cr_expect(at, "not in order: %s", text_of(conn));
        tls_close(conn);
        cr_expect(harness_connections_are(0));
    }
    cr_expect_eq(figures().tls_failures, 0);
    tls_stop();
}

Test(tls_stream, large_events_span_records)
{
    enum { LEN = 300000 };
    static char data[LEN + 1];
    tls_start(NULL);
    memset(data, 'x', LEN);
    data[0] = data[LEN - 1] = '"';
    for (int v = 0; v < 2; v++) {
        tls_conn *conn = open_stream(v, "&timeout=60", "");
        for (int i = 0; i < 5; i++)
            harness_publish("c", data);
        harness_publish("c", "\"the end\"");
        cr_expect(holds(conn, "the end"));
        cr_expect_eq(count(conn, data), 5);
        tls_close(conn);
    }
    tls_stop();
}

Test(tls_stream, heartbeats_come_while_it_is_silent)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.stream_heartbeat_ms = 30;
    tls_start(&options);
    tls_conn *conn = open_stream(0, "&timeout=60", "");
    cr_expect(holds_times(conn, "\nid: ", 5), "%s", text_of(conn));
    cr_expect_eq(count(conn, "data:"), 0);
    harness_publish("c", "1");
    cr_expect(holds(conn, "\"data\":1"));
    tls_close(conn);
    tls_stop();
}

Test(tls_stream, resumes_behind_what_it_got)
{
    char id[37], headers[64];
    tls_start(NULL);
    tls_conn *conn = open_stream(0, "&timeout=60", "");
    publish_and_wait("\"first\"");
    cr_assert(holds(conn, "\"first\"") && holds_times(conn, "\n\n\r\n", 2));
    last_id(conn, id);
    tls_reset(conn);
    publish_and_wait("\"second\"");
    snprintf(headers, sizeof(headers), "Last-Event-ID: %s\r\n", id);
    conn = open_stream(1, "&timeout=60", headers);
    cr_expect(holds(conn, "\"second\""));
    cr_expect_eq(count(conn, "\"first\""), 0);
    cr_expect_eq(count(conn, "gap"), 0);
    tls_close(conn);
    tls_stop();
}

Test(tls_stream, ends_cleanly_at_its_timeout_and_leaves_the_connection)
{
    tls_start(NULL);
    tls_conn *conn = open_stream(0, "&timeout=1", "");
    cr_expect(holds(conn, LAST_CHUNK), "%s", text_of(conn));
    cr_expect_eq(figures().streams, 0);
    cr_expect_eq(harness_stats().waiters, 0);
    conn->in.body_len = 0;
    tls_send(conn, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    tls_expect(conn, 200, "serving");
    send_request(conn, "&timeout=60", "");
    cr_expect(holds(conn, "\nid: "));
    harness_publish("c", "1");
    cr_expect(holds(conn, "\"data\":1"));
    tls_close(conn);
    tls_stop();
}

Test(tls_stream, while_the_store_is_being_replayed_it_is_told_to_come_again)
{
    static store_double store;
    harness_options options = HARNESS_OPTIONS_INIT;
    store_double_init(&store);
    store_double_hold(&store, true, false);
    options.manager.addon = &store.addon;
    tls_start(&options);
    tls_conn *conn = tls_connect(NULL);
    send_request(conn, "&timeout=60", "");
    tls_expect(conn, 200, "\nretry: 1000\n\n");
    store_double_hold(&store, false, false);
    while (lp_manager_state(h.manager) == LP_STATE_STARTING)
        harness_turn(1);
    send_request(conn, "&timeout=60", "");
    cr_expect(holds(conn, "\nid: "));
    tls_close(conn);
    tls_stop();
}

Test(tls_stream, lives_on_when_the_certificate_is_read_again)
{
    lp_error error;
    tls_start(NULL);
    tls_conn *conn = open_stream(0, "&timeout=60", "");
    tls_files_write(&tls_server, "second");
    cr_assert_eq(lp_server_reload_tls(h.server, &error), LP_OK, "%s", error.message);
    harness_publish("c", "1");
    cr_expect(holds(conn, "\"data\":1"));
    tls_close(conn);
    tls_stop();
}

/* ---- departed clients --------------------------------------------------- */

static void say_goodbye(tls_conn *conn)
{
    SSL_shutdown(conn->ssl);
    tls_flush(conn);
}

static void leave_all(void (*leave)(tls_conn *conn))
{
    for (int i = 0; i < COUNT; i++)
        leave(conns[i]);
    cr_expect(harness_waiters_are(0), "%d waiters", (int)harness_stats().waiters);
    cr_expect(harness_connections_are(0), "%d connections", (int)lp_server_connections(h.server));
    cr_expect_eq(figures().streams, 0);
    cr_expect_eq(figures().inflight_bytes, 0);
}

Test(tls_stream, a_departed_reader_frees_all_at_once)
{
    void (*const ways[])(tls_conn *) = {tls_free, tls_close, tls_reset};
    tls_start(NULL);
    for (int way = 0; way < 3; way++) {
        open_all();
        leave_all(ways[way]);
    }
    tls_stop(); /* compares the descriptors with those before */
}

Test(tls_stream, a_departed_reader_that_sent_more_frees_all_at_once)
{
    tls_start(NULL);
    open_all();
    for (int i = 0; i < COUNT; i++)
        send_request(conns[i], "&timeout=60", "");
    harness_turn(5);
    leave_all(tls_reset);
    tls_stop();
}

Test(tls_stream, a_reader_that_says_goodbye_is_ended_cleanly)
{
    tls_start(NULL);
    open_all();
    leave_all(say_goodbye);
    for (int i = 0; i < COUNT; i++)
        tls_free(conns[i]);
    tls_stop();
}

/* ---- slow readers ------------------------------------------------------- */

static void start_bounded(int64_t answer_timeout_ms)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_buffer_max = RING;
    options.http.answer_timeout_ms = answer_timeout_ms;
    tls_start(&options);
}

static void publish_large(int number)
{
    static char data[EVENT_BYTES + 1];
    int len = snprintf(data, EVENT_BYTES, "\"event %d ", number);
    memset(data + len, 'x', (size_t)(EVENT_BYTES - len));
    data[EVENT_BYTES - 1] = '"';
    harness_publish("c", data);
}

/* Publishes until no chunk moves any more, as nobody reads. */
static int fill(void)
{
    int number = 0;
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

Test(tls_stream, a_slow_reader_holds_one_chunk_and_is_told_what_it_lost)
{
    for (int v = 0; v < 2; v++) {
        start_bounded(0);
        tls_conn *conn = open_stream(v, "&timeout=60", "");
        int number = fill();
        for (int i = 0; i < 2 * RING; i++)
            publish_large(number++);
        harness_turn(20);
        cr_expect_eq(figures().inflight, 1);
        cr_expect_leq(figures().inflight_bytes, EVENT_BYTES + CHUNK_BYTES);
        cr_expect_leq(harness_stats().events_bytes, (RING + 1) * (EVENT_BYTES + 4096));
        char last[32];
        snprintf(last, sizeof(last), "\"event %d ", number - 1);
        cr_expect(holds(conn, last));
        const char *gap = strstr(text_of(conn), "event: gap");
        cr_expect_eq(count(conn, "event: gap"), 1);
        cr_assert(gap);
        cr_expect_eq(atoi(strstr(gap, "\"event ") + 7), number - RING);
        int expected = 0;
        for (const char *at = text_of(conn); (at = strstr(at, "\"event ")) && at < gap; at++)
            cr_expect_eq(atoi(at + 7), expected++);
        tls_close(conn);
        tls_stop();
        h = (harness){0};
    }
}

Test(tls_stream, a_reader_that_takes_nothing_is_cut_and_resumes)
{
    char id[37], headers[64];
    start_bounded(300);
    tls_conn *conn = open_stream(0, "&timeout=60", "");
    int number = fill();
    cr_expect(harness_waiters_are(0));
    cr_expect(harness_connections_are(0));
    cr_expect_eq(figures().answers_cut, 1);
    cr_expect_eq(figures().inflight_bytes, 0);
    cr_expect_eq(figures().streams, 0);
    cr_expect(tls_ended(conn));
    cr_expect_not(ends_with(conn, LAST_CHUNK));
    last_id(conn, id);
    tls_free(conn);
    snprintf(headers, sizeof(headers), "Last-Event-ID: %s\r\n", id);
    conn = open_stream(1, "&timeout=60", headers);
    publish_large(number);
    char last[32];
    snprintf(last, sizeof(last), "\"event %d ", number);
    cr_expect(holds(conn, last));
    tls_close(conn);
    tls_stop();
}

Test(tls_stream, a_reader_that_departs_in_the_middle_of_a_chunk_frees_all)
{
    void (*const ways[])(tls_conn *) = {tls_free, tls_close, tls_reset};
    start_bounded(0);
    for (int way = 0; way < 3; way++) {
        tls_conn *conn = open_stream(way, "&timeout=60", "");
        fill();
        cr_expect_eq(figures().inflight, 1);
        ways[way](conn);
        cr_expect(harness_connections_are(0), "way %d", way);
        cr_expect_eq(harness_stats().waiters, 0);
        cr_expect_eq(figures().inflight_bytes, 0);
    }
    tls_stop();
}

/* ---- the server's end --------------------------------------------------- */

Test(tls_stream, a_shutdown_ends_all_cleanly_behind_the_last_event)
{
    tls_start(NULL);
    open_all();
    harness_publish("c", "\"last words\"");
    harness_shutdown(5000);
    for (int i = 0; i < COUNT; i++) {
        cr_expect(holds(conns[i], "last words"));
        ends_with_connection(conns[i]);
    }
    tls_stop();
}

Test(tls_stream, a_server_that_stops_alone_ends_all_at_once)
{
    tls_start(NULL);
    open_all();
    lp_server_stop(h.server, 60000, NULL, NULL);
    h.server = NULL;
    for (int i = 0; i < COUNT; i++)
        ends_with_connection(conns[i]);
    cr_expect_eq(harness_stats().waiters, 0);
    cr_expect_eq(lp_manager_state(h.manager), LP_STATE_SERVING);
    tls_stop();
}

Test(tls_stream, a_shutdown_cuts_at_its_deadline_who_does_not_read)
{
    start_bounded(0);
    tls_conn *conn = open_stream(0, "&timeout=60", "");
    fill();
    harness_shutdown(300);
    cr_expect(harness_connections_are(0));
    tls_free(conn);
    tls_stop();
}
