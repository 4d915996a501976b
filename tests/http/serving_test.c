/* Polls and publishes through lp_server: what is answered, connections that go on, health, origins.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "harness.h"
#include "store_double.h"

#define GET(path)  "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST(body) "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n" body

static void status_is(const char *request, int status, const char *part)
{
    raw_answer answer = harness_ask(request);
    cr_expect_eq(answer.status, status, "%s: %d", request, answer.status);
    cr_expect(strstr(answer.body, part), "%s: %s", request, answer.body);
    raw_free(&answer);
}

static bool send_publish(raw_conn *conn, const char *body, const char *headers)
{
    return raw_printf(
        conn, "POST /publish HTTP/1.1\r\nHost: here:8101\r\n%sContent-Length: %zu\r\n\r\n%s",
        headers, strlen(body), body);
}

static raw_answer publish(const char *body, const char *headers)
{
    raw_conn conn = harness_connect();
    raw_answer answer;
    cr_assert(send_publish(&conn, body, headers));
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    raw_close(&conn);
    return answer;
}

Test(http_serving, paths_match_exactly)
{
    harness_start(NULL);
    status_is(GET("/events"), 200, "'timeout'");
    status_is(GET("/%65vents?timeout=0"), 200, "'timeout'");
    status_is(GET("/events/"), 404, "{\"error\": \"not found\"}");
    status_is(GET("/events/more?timeout=1"), 404, "{\"error\": \"not found\"}");
    status_is(GET("/eventsx"), 404, "{\"error\": \"not found\"}");
    status_is(GET("/"), 404, "{\"error\": \"not found\"}");
    harness_stop();
}

/* RFC 9112, 3.2.2. */
Test(http_serving, targets_in_absolute_form_are_served_alike)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.refuse_foreign_origin = true;
    harness_start(&options);
    status_is(GET("http://127.0.0.1:8101/health"), 200, "{\"status\":\"serving\"}");
    status_is(GET("HTTP://h/%65vents?timeout=0"), 200, "'timeout'");
    status_is(GET("http://h/events?timeout=2&category=c&since_time=x"), 200, "'since_time'");
    status_is(GET("http://h/events/"), 404, "{\"error\": \"not found\"}");
    status_is(GET("http://h/more"), 404, "{\"error\": \"not found\"}");
    status_is(GET("http://h"), 404, "{\"error\": \"not found\"}");
    status_is(GET("http://h?timeout=1"), 404, "{\"error\": \"not found\"}");
    status_is(GET("http://"), 404, "{\"error\": \"not found\"}");
    status_is(GET("ftp://h/events"), 404, "{\"error\": \"not found\"}");
    status_is("POST http://h:8101/publish HTTP/1.1\r\nHost: other\r\nOrigin: http://h:8101\r\n"
              "Content-Length: 25\r\n\r\n{\"category\":\"c\",\"data\":1}",
              200, "{\"success\": true}");
    status_is("POST http://h:8101/publish HTTP/1.1\r\nHost: other\r\nOrigin: http://other\r\n"
              "Content-Length: 25\r\n\r\n{\"category\":\"c\",\"data\":1}",
              403, "another origin");
    cr_expect_eq(harness_stats().events, 1);
    harness_stop();
}

Test(http_serving, targets_in_absolute_form_are_served_beside_a_path_that_is_the_root)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.events_path = "/";
    harness_start(&options);
    status_is(GET("http://h/health"), 200, "{\"status\":\"serving\"}");
    status_is(GET("http://h?timeout=0"), 200, "'timeout'");
    status_is(GET("http://h/more"), 404, "{\"error\": \"not found\"}");
    harness_stop();
}

Test(http_serving, a_waiting_poll_gets_what_is_published)
{
    harness_start(NULL);
    raw_conn conn = harness_poll("c", "");
    raw_answer answer;
    cr_assert(harness_waiters_are(1));
    answer = publish("{\"category\":\"c\",\"data\":{\"n\":1}}", "");
    cr_expect_str_eq(answer.body, "{\"success\": true}");
    raw_free(&answer);
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect(strstr(answer.body, "\"category\":\"c\",\"data\":{\"n\":1},"), "%s", answer.body);
    cr_expect_eq(harness_stats().waiters, 0);
    raw_free(&answer);
    raw_close(&conn);
    harness_stop();
}

Test(http_serving, one_event_wakes_all_its_waiters)
{
    enum { COUNT = 200 };
    static raw_conn conns[COUNT];
    harness_start(NULL);
    for (int i = 0; i < COUNT; i++)
        conns[i] = harness_poll("c", "");
    cr_assert(harness_waiters_are(COUNT));
    harness_publish("c", "\"all\"");
    for (int i = 0; i < COUNT; i++) {
        raw_answer answer;
        cr_assert(raw_read(&conns[i], false, RAW_DEADLINE_MS, &answer));
        cr_expect(strstr(answer.body, "\"data\":\"all\""));
        raw_free(&answer);
        raw_close(&conns[i]);
    }
    cr_assert(harness_connections_are(0));
    harness_stop();
}

Test(http_serving, answers_of_many_events_are_whole)
{
    enum { COUNT = 250 };
    harness_start(NULL);
    char data[600];
    for (int i = 0; i < COUNT; i++) {
        snprintf(data, sizeof(data), "\"%03d-%0*d\"", i, i % 2 ? 500 : 3, 0);
        harness_publish("c", data);
    }
    raw_conn conn = harness_poll("c", "&since_time=1&last_id=00000000-0000-7000-8000-000000000000");
    raw_answer answer;
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    const char *at = answer.body;
    for (int i = 0; i < COUNT; i++) {
        snprintf(data, sizeof(data), "\"data\":\"%03d-", i);
        at = strstr(at, data);
        cr_assert(at, "event %d", i);
    }
    cr_expect_eq(answer.body[answer.body_len - 1], '}');
    raw_free(&answer);
    raw_close(&conn);
    harness_stop();
}

Test(http_serving, connections_are_kept_and_requests_may_be_pipelined)
{
    harness_start(NULL);
    raw_conn conn = harness_connect();
    raw_answer answer;
    raw_printf(&conn, GET("/events?timeout=60&category=c") GET("/health") GET("/events?timeout=0"));
    cr_assert(harness_waiters_are(1));
    cr_expect(raw_silent(&conn, 50));
    harness_publish("c", "1");
    static const char *const parts[] = {"\"data\":1", "serving", "'timeout'"};
    for (int i = 0; i < 3; i++) {
        cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
        cr_expect(strstr(answer.body, parts[i]), "%s", answer.body);
        raw_free(&answer);
    }
    cr_expect_eq(lp_server_connections(h.server), 1);
    raw_close(&conn);
    harness_stop();
}

Test(http_serving, http_1_0_is_served_and_closed)
{
    harness_start(NULL);
    raw_conn conn = harness_connect();
    raw_answer answer;
    raw_printf(&conn, "GET /health HTTP/1.0\r\n\r\n");
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(answer.status, 200);
    cr_expect(raw_ended(&conn, RAW_DEADLINE_MS));
    raw_free(&answer);
    raw_close(&conn);
    harness_stop();
}

Test(http_serving, a_chunked_publish_is_read)
{
    harness_start(NULL);
    status_is("POST /publish HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
              "10\r\n{\"category\":\"c\",\r\na\r\n\"data\":12}\r\n0\r\n\r\n",
              200, "{\"success\": true}");
    cr_expect_eq(harness_stats().events, 1);
    harness_stop();
}

Test(http_serving, broken_requests_get_an_error)
{
    harness_start(NULL);
    status_is("NONSENSE\r\n\r\n", 400, "Bad Request"); /* libh2o's own text */
    status_is("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "Bad Request");
    status_is("POST /publish HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400,
              "{\"error\": \"broken request\"}");
    status_is("POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400,
              "{\"error\": \"broken request\"}");
    harness_stop();
}

Test(http_serving, head_and_options_are_never_parked)
{
    harness_start(NULL);
    raw_conn conn = harness_connect();
    raw_answer answer;
    char allow[64];
    raw_printf(&conn, "HEAD /events?timeout=60&category=c HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_assert(raw_read(&conn, true, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(answer.status, 200);
    raw_free(&answer);
    raw_printf(&conn, "OPTIONS /events?timeout=60&category=c HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(answer.status, 204);
    cr_assert(raw_header(&answer, "Allow", allow, sizeof(allow)));
    cr_expect_str_eq(allow, "GET, POST, HEAD, OPTIONS");
    raw_free(&answer);
    raw_printf(&conn, "HEAD /health HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_assert(raw_read(&conn, true, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(answer.status, 200);
    raw_free(&answer);
    raw_printf(&conn, GET("/health")); /* nothing of the others' bodies is in the way */
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_str_eq(answer.body, "{\"status\":\"serving\"}");
    raw_free(&answer);
    cr_expect_eq(harness_stats().waiters, 0);
    raw_close(&conn);
    harness_stop();
}

Test(http_serving, health_and_requests_say_what_the_store_does)
{
    static store_double store;
    harness_options options = HARNESS_OPTIONS_INIT;
    store_double_init(&store);
    store_double_hold(&store, true, false);
    options.manager.addon = &store.addon;
    harness_start(&options);
    status_is(GET("/health"), 503, "{\"status\":\"starting\",\"reason\":\"");
    status_is(GET("/events?timeout=1&category=c"), 503, "still being replayed");
    raw_answer answer = publish("{\"category\":\"c\",\"data\":1}", "");
    char retry[8];
    cr_expect_eq(answer.status, 503);
    cr_expect(raw_header(&answer, "Retry-After", retry, sizeof(retry)));
    raw_free(&answer);

    store_double_hold(&store, false, false);
    while (lp_manager_state(h.manager) == LP_STATE_STARTING)
        harness_turn(1);
    status_is(GET("/health"), 200, "{\"status\":\"serving\"}");

    store_double_fail(&store, LP_ENOSPC, "/disk/\"a\": full");
    answer = publish("{\"category\":\"c\",\"data\":1}", "");
    cr_expect_eq(answer.status, 503);
    cr_expect(strstr(answer.body, "{\"error\": \"") &&
                  strstr(answer.body, "/disk/\\\"a\\\": full\"}"),
              "%s", answer.body);
    cr_expect(raw_header(&answer, "Retry-After", retry, sizeof(retry)));
    raw_free(&answer);

    store_double_fail(&store, LP_EINDOUBT, "cannot undo");
    answer = publish("{\"category\":\"c\",\"data\":1}", "");
    cr_expect_eq(answer.status, 503);
    cr_expect(strstr(answer.body, "cannot undo"), "%s", answer.body);
    cr_expect_not(raw_header(&answer, "Retry-After", retry, sizeof(retry)));
    raw_free(&answer);
    status_is(GET("/health"), 503, "{\"status\":\"in doubt\",\"reason\":\"");
    cr_expect_eq(harness_stats().events, 0);
    harness_stop();
}

Test(http_serving, pages_of_strangers_do_not_publish)
{
    static const struct {
        const char *headers;
        int status;
    } rows[] = {
        {"", 200},
        {"Origin: http://here:8101\r\n", 200},
        {"Origin: https://HERE:8101\r\n", 200},
        {"Origin: http://here\r\n", 403},
        {"Origin: http://here:81\r\n", 403},
        {"Origin: http://elsewhere:8101\r\n", 403},
        {"Origin: http://here:8101.evil\r\n", 403},
        {"Origin: null\r\n", 403},
        {"Origin: \r\n", 403},
        {"Origin: ftp://here:8101\r\n", 403},
        {"Origin: http://here:8101\r\nOrigin: http://evil\r\n", 403},
    };
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.refuse_foreign_origin = true;
    harness_start(&options);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        raw_answer answer = publish("{\"category\":\"c\",\"data\":1}", rows[i].headers);
        cr_expect_eq(answer.status, rows[i].status, "%s: %d", rows[i].headers, answer.status);
        raw_free(&answer);
    }
    cr_expect_eq(harness_stats().events, 3);
    harness_stop();
}

Test(http_serving, any_origin_publishes_where_it_is_not_refused)
{
    harness_start(NULL);
    raw_answer answer = publish("{\"category\":\"c\",\"data\":1}", "Origin: http://evil\r\n");
    cr_expect_eq(answer.status, 200);
    raw_free(&answer);
    harness_stop();
}

/* ---- delete after first retrieval -------------------------------------- */

static harness_options deleting(void)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.delete_after_first_retrieval = true;
    return options;
}

#define FROM_THE_START "&since_time=1&last_id=00000000-0000-7000-8000-000000000000"

Test(http_deleting, an_event_is_gone_when_its_answer_is_written)
{
    harness_options options = deleting();
    harness_start(&options);
    harness_publish("c", "1");
    raw_conn conn = harness_poll("c", FROM_THE_START);
    raw_answer answer;
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect(strstr(answer.body, "\"data\":1"));
    raw_free(&answer);
    harness_turn(1);
    cr_expect_eq(harness_stats().events, 0);
    cr_expect_eq(harness_stats().retrieved, 1);
    raw_printf(&conn, GET("/health")); /* the connection goes on */
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    raw_free(&answer);
    raw_close(&conn);
    harness_stop();
}

Test(http_deleting, a_reader_that_vanished_takes_nothing_along)
{
    harness_options options = deleting();
    harness_start(&options);
    raw_conn gone = harness_poll("c", "");
    cr_assert(harness_waiters_are(1));
    raw_reset(&gone); /* the server does not know yet: no turn in between */
    harness_publish("c", "1");
    cr_assert(harness_connections_are(0));
    cr_expect_eq(harness_stats().events, 1);
    cr_expect_eq(harness_stats().retrieved, 0);

    raw_conn conn = harness_poll("c", FROM_THE_START);
    raw_answer answer;
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect(strstr(answer.body, "\"data\":1"));
    raw_free(&answer);
    raw_close(&conn);
    harness_stop();
}

Test(http_deleting, an_answer_that_is_not_written_whole_takes_nothing_along)
{
    harness_options options = deleting();
    options.manager.event_bytes_max = 32 << 20;
    options.manager.answer_bytes_max = 64 << 20;
    harness_start(&options);
    static char data[24 << 20];
    memset(data, 'x', sizeof(data) - 1);
    data[0] = data[sizeof(data) - 2] = '"';
    harness_publish("c", data);
    raw_conn conn = harness_poll("c", FROM_THE_START);
    char byte;
    while (recv(conn.fd, &byte, 1, MSG_DONTWAIT) != 1)
        harness_turn(1);
    harness_turn(20);
    raw_reset(&conn);
    cr_assert(harness_connections_are(0));
    cr_expect_eq(harness_stats().events, 1);
    cr_expect_eq(harness_stats().retrieved, 0);
    harness_stop();
}
