/* Promise 11 over HTTP: what requests hold while they are being read and served is bounded over all
 * connections, and a slow or silent sender cannot have more than its share. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#define MIB   ((int64_t)1 << 20)
#define COUNT 20

static raw_conn conns[COUNT];
static char filling[600000]; /* in a buffer of 1 MiB, for these double */

static void start(int64_t request_bytes_max)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.request_timeout_ms = 60000; /* nothing here is to end by that */
    options.server.request_bytes_max = request_bytes_max;
    options.http.header_bytes_max = 16384;
    harness_start(&options);
    memset(filling, 'x', sizeof(filling));
}

/* Some of these may be cut while others are still sent. */
static void connect_all(const char *head)
{
    for (int i = 0; i < COUNT; i++) {
        conns[i] = harness_connect();
        raw_printf(&conns[i], "%s", head);
        raw_send(&conns[i], filling, sizeof(filling));
    }
}

static void close_all(void)
{
    for (int i = 0; i < COUNT; i++)
        raw_close(&conns[i]);
}

static void is_answered(raw_conn *conn, int status)
{
    raw_answer answer;
    cr_assert(raw_read(conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(answer.status, status, "%d: %s", answer.status, answer.body);
    raw_free(&answer);
}

#define HEAD_OF_25 "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\n\r\n"

static void a_publish_is_kept(void)
{
    raw_conn conn = harness_connect();
    raw_printf(&conn, HEAD_OF_25 "{\"category\":\"d\",\"data\":1}");
    is_answered(&conn, 200);
    raw_close(&conn);
}

Test(http_request_bytes, stalled_bodies_are_cut_past_the_bound)
{
    start(4 * MIB);
    raw_conn poll = harness_poll("c", "");
    cr_assert(harness_waiters_are(1));
    connect_all("POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 600100\r\n\r\n"
                "{\"category\":\"c\",\"data\":\"");
    cr_assert(harness_connections_are(4 + 1), "%zu", lp_server_connections(h.server));
    a_publish_is_kept();
    cr_expect(raw_ended(&conns[0], RAW_DEADLINE_MS)); /* the oldest of equals */

    raw_conn *last = &conns[COUNT - 1];
    raw_printf(last, "\"}%074d", 0); /* 24 + 600,000 + 76 */
    is_answered(last, 200);
    is_answered(&poll, 200); /* a small request is never cut */
    raw_close(&poll);
    close_all();
    harness_stop();
}

Test(http_request_bytes, polls_that_hold_a_body_are_cut_past_the_bound)
{
    start(4 * MIB);
    connect_all("POST /events?timeout=60&category=c HTTP/1.1\r\nHost: h\r\n"
                "Content-Length: 600000\r\n\r\n");
    cr_expect(harness_waiters_are(4), "%d", (int)harness_stats().waiters);
    cr_expect(harness_connections_are(4), "%zu", lp_server_connections(h.server));
    harness_publish("c", "1");
    is_answered(&conns[COUNT - 1], 200);
    close_all();
    harness_stop();
}

Test(http_request_bytes, the_buffer_that_a_finished_body_leaves_behind_is_counted)
{
    start(4 * MIB);
    for (int i = 0; i < COUNT; i++) {
        conns[i] = harness_connect();
        raw_printf(&conns[i], "POST /events?timeout=1 HTTP/1.1\r\nHost: h\r\n"
                              "Content-Length: 600000\r\n\r\n");
        raw_send(&conns[i], filling, sizeof(filling) - 10);
        raw_printf(&conns[i],
                   "%010d"
                   "GET /events?timeout=60&category=c HTTP/1.1\r\nHost: h\r\n\r\n",
                   0); /* in the same buffer, which stays for it */
    }
    cr_expect(harness_waiters_are(4), "%d", (int)harness_stats().waiters);
    cr_expect(harness_connections_are(4), "%zu", lp_server_connections(h.server));
    close_all();
    harness_stop();
}

Test(http_request_bytes, the_default_has_room_for_four_bodies_of_any_size)
{
    enum { LENGTH = 17 << 20, BODIES = 4 }; /* in a buffer of 32 MiB each */
    static const char head[] = "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
                               "{\"category\":\"c\",\"data\":\"";
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_bytes_max = LENGTH;
    harness_start(&options);
    char *rest = malloc(LENGTH); /* of the body */
    cr_assert(rest);
    memset(rest, 'x', LENGTH);
    memcpy(rest + LENGTH - 2, "\"}", 2);
    for (int i = 0; i < BODIES; i++) {
        conns[i] = harness_connect();
        raw_printf(&conns[i], head, LENGTH + 24);
        raw_send(&conns[i], rest, LENGTH - 2);
    }
    harness_turn(250); /* they are looked at */
    for (int i = 0; i < BODIES; i++) {
        raw_send(&conns[i], rest + LENGTH - 2, 2);
        is_answered(&conns[i], 200);
        raw_close(&conns[i]);
    }
    free(rest);
    harness_stop();
}

Test(http_request_bytes, headers_without_an_end_are_cut_past_their_bound)
{
    start(0);
    raw_conn endless = harness_connect(), within = harness_connect(), body = harness_connect(),
             lines = harness_connect();
    raw_printf(&endless, "GET /health HTTP/1.1\r\nHost: h\r\nX: %020000d", 0);
    raw_printf(&within, "GET /health HTTP/1.1\r\nHost: h\r\nX: %012000d", 0);
    raw_printf(&body, "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 50025\r\n\r\n%025000d",
               0);
    raw_printf(&lines, "POST /publish HTTP/1.1\nHost: h\nContent-Length: 50025\n\n%025000d", 0);
    cr_assert(harness_connections_are(3), "%zu", lp_server_connections(h.server));
    cr_expect(raw_ended(&endless, RAW_DEADLINE_MS));
    harness_turn(250); /* the others are looked at, and stay */
    cr_expect_eq(lp_server_connections(h.server), 3);
    raw_printf(&within, "\r\n\r\n");
    is_answered(&within, 200);
    raw_printf(&body, "%025025d", 0);
    is_answered(&body, 400);
    raw_printf(&lines, "%025025d", 0);
    is_answered(&lines, 400);
    raw_close(&endless);
    raw_close(&within);
    raw_close(&body);
    raw_close(&lines);
    harness_stop();
}

Test(http_request_bytes, small_requests_are_never_cut)
{
    start(1);
    for (int i = 0; i < COUNT; i++) {
        conns[i] = harness_connect();
        raw_printf(&conns[i], "GET /events?timeout=60&category=c HTTP/1.1\r\nHost: h\r\nX: %03000d",
                   0);
    }
    cr_assert(harness_connections_are(COUNT));
    for (int i = 0; i < COUNT; i++)
        raw_printf(&conns[i], "\r\n\r\n");
    cr_assert(harness_waiters_are(COUNT));
    harness_turn(250);
    cr_expect_eq(harness_stats().waiters, COUNT);
    close_all();
    harness_stop();
}

Test(http_request_bytes, a_bound_below_zero_is_refused)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_server_options server = LP_SERVER_OPTIONS_INIT;
    lp_server *out = NULL;
    lp_error error = {0};
    harness_start_manager(&options);
    server.listen = "127.0.0.1:0";
    server.request_bytes_max = -1;
    cr_expect_eq(lp_server_start(h.manager, &server, &out, &error), LP_EINVAL);
    cr_expect(strstr(error.message, "request_bytes_max -1"), "%s", error.message);
    harness_stop();
}
