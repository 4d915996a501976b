/* Promise 10 over HTTP, and the life of servers and managers in every order. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "store_double.h"

#define FROM_THE_START "&since_time=1&last_id=00000000-0000-7000-8000-000000000000"

static void is_a_last_timeout(raw_conn *conn)
{
    raw_answer answer;
    char connection[16] = "";
    cr_assert(raw_read(conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(answer.status, 200);
    cr_expect(strncmp(answer.body, "{\"timeout\":\"no events before timeout\",", 38) == 0, "%s",
              answer.body);
    raw_header(&answer, "Connection", connection, sizeof(connection));
    cr_expect_str_eq(connection, "close");
    raw_free(&answer);
    cr_expect(raw_ended(conn, RAW_DEADLINE_MS));
    raw_close(conn);
}

Test(http_shutdown, every_waiter_is_answered_and_its_connection_closed)
{
    enum { COUNT = 100 };
    static raw_conn conns[COUNT];
    harness_start(NULL);
    for (int i = 0; i < COUNT; i++)
        conns[i] = harness_poll("c", "");
    raw_conn idle = harness_connect();
    cr_assert(harness_waiters_are(COUNT));
    cr_assert(harness_connections_are(COUNT + 1));
    harness_shutdown(5000);
    for (int i = 0; i < COUNT; i++)
        is_a_last_timeout(&conns[i]);
    cr_expect(raw_ended(&idle, RAW_DEADLINE_MS));
    raw_close(&idle);
    harness_stop();
}

Test(http_shutdown, works_with_nothing_ever_served)
{
    harness_start(NULL);
    harness_stop();
}

Test(http_shutdown, of_a_manager_whose_http_side_was_never_used)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    harness_start_manager(&options);
    harness_stop();
}

static void status_is(const char *request, int status, const char *part)
{
    raw_answer answer = harness_ask(request);
    cr_expect_eq(answer.status, status, "%s: %d", request, answer.status);
    cr_expect(strstr(answer.body, part), "%s: %s", request, answer.body);
    raw_free(&answer);
}

static void refuses_all(void)
{
    status_is("GET /events?timeout=9&category=c HTTP/1.1\r\n\r\n", 503, "shut down");
    status_is("POST /publish HTTP/1.1\r\nContent-Length: 25\r\n\r\n{\"category\":\"c\",\"data\":1}",
              503, "shut down");
    status_is("GET /health HTTP/1.1\r\n\r\n", 503, "{\"status\":\"closed\",\"reason\":\"");
}

static bool manager_down, frees = true;

static void on_down(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)error, (void)unkept;
    manager_down = true;
    if (ctx)
        lp_manager_free(manager);
}

static bool is_down(void)
{
    return manager_down;
}

static void on_stopped(void *ctx)
{
    *(bool *)ctx = true;
}

static bool stopped;

static bool is_stopped(void)
{
    return stopped;
}

static void end_without_manager(void)
{
    cr_assert_eq(lp_server_stop(h.server, 1000, on_stopped, &stopped), LP_OK);
    cr_expect(harness_until(is_stopped));
    uv_run(&h.loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(&h.loop), 0);
}

Test(http_shutdown, requests_behind_it_are_503)
{
    harness_start(NULL);
    raw_conn parked = harness_poll("c", ""); /* so that there is a watch to be closed */
    cr_assert(harness_waiters_are(1));
    lp_manager_shutdown(h.manager, 1000, on_down, NULL);
    is_a_last_timeout(&parked);
    cr_assert(harness_until(is_down));
    refuses_all();
    lp_manager_free(h.manager);
    end_without_manager();
}

Test(http_shutdown, requests_behind_the_managers_end_are_503)
{
    harness_start(NULL);
    lp_manager_shutdown(h.manager, 1000, on_down, &frees);
    cr_assert(harness_until(is_down));
    refuses_all();
    end_without_manager();
}

static char large[16 << 20];

static harness_options large_answers(void)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_bytes_max = sizeof(large);
    options.manager.answer_bytes_max = 64 << 20;
    memset(large, 'x', sizeof(large) - 1);
    large[0] = large[sizeof(large) - 2] = '"';
    return options;
}

static raw_conn slow_reader(void)
{
    raw_conn conn = harness_poll("c", FROM_THE_START);
    while (harness_stats().answered == 0)
        harness_turn(1);
    harness_turn(20);
    cr_assert_eq(lp_server_connections(h.server), 1);
    return conn;
}

static bool server_is_down(void)
{
    return h.server_down;
}

Test(http_shutdown, a_slow_reader_is_cut_at_the_deadline)
{
    harness_options options = large_answers();
    harness_start(&options);
    harness_publish("c", large);
    raw_conn slow = slow_reader();
    harness_shutdown(300);
    cr_expect(harness_until(server_is_down));
    raw_close(&slow);
    harness_stop();
}

Test(http_shutdown, an_answer_on_its_way_is_finished)
{
    harness_options options = large_answers();
    harness_start(&options);
    harness_publish("c", large);
    raw_conn slow = slow_reader();
    harness_shutdown(10000);
    raw_answer answer;
    cr_assert(raw_read(&slow, false, RAW_DEADLINE_MS, &answer));
    cr_expect(strstr(answer.body, "\"gap\":true}"));
    raw_free(&answer);
    cr_expect(raw_ended(&slow, RAW_DEADLINE_MS));
    raw_close(&slow);
    harness_stop();
}

Test(http_shutdown, the_manager_does_not_wait_for_a_slow_reader)
{
    harness_options options = large_answers();
    options.http.answer_timeout_ms = 500;
    harness_start(&options);
    harness_publish("c", large);
    raw_conn slow = slow_reader();
    lp_manager_shutdown(h.manager, 1000, on_down, &frees);
    cr_assert(harness_until(is_down));
    cr_expect_eq(lp_server_connections(h.server), 1);
    cr_expect(harness_connections_are(0)); /* its deadline still holds */
    raw_close(&slow);
    end_without_manager();
}

Test(http_shutdown, a_publish_that_waits_for_the_store_is_answered)
{
    static store_double store;
    harness_options options = HARNESS_OPTIONS_INIT;
    store_double_init(&store);
    store_double_hold(&store, false, true);
    options.manager.addon = &store.addon;
    harness_start(&options);
    while (lp_manager_state(h.manager) == LP_STATE_STARTING)
        harness_turn(1);
    raw_conn conn = harness_connect();
    raw_answer answer;
    raw_printf(&conn, "POST /publish HTTP/1.1\r\nContent-Length: 25\r\n\r\n"
                      "{\"category\":\"c\",\"data\":1}");
    while (!harness_stats().pending)
        harness_turn(1);
    harness_shutdown(5000);
    harness_turn(20);
    store_double_hold(&store, false, false);
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_str_eq(answer.body, "{\"success\": true}"); /* it was accepted, so it is kept */
    raw_free(&answer);
    cr_expect(raw_ended(&conn, RAW_DEADLINE_MS));
    raw_close(&conn);
    harness_stop();
}

Test(http_shutdown, a_server_that_stops_does_not_wait_for_the_store)
{
    static store_double store;
    raw_answer answer;
    char retry[16] = "";
    harness_options options = HARNESS_OPTIONS_INIT;
    store_double_init(&store);
    store_double_hold(&store, false, true);
    options.manager.addon = &store.addon;
    harness_start(&options);
    while (lp_manager_state(h.manager) == LP_STATE_STARTING)
        harness_turn(1);
    raw_conn conn = harness_connect();
    raw_printf(&conn, "POST /publish HTTP/1.1\r\nContent-Length: 25\r\n\r\n"
                      "{\"category\":\"c\",\"data\":1}");
    while (!harness_stats().pending)
        harness_turn(1);
    cr_assert_eq(lp_server_stop(h.server, 50, on_stopped, &stopped), LP_OK);
    cr_expect(harness_until(is_stopped));
    h.server = NULL;
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(answer.status, 503);
    cr_expect(strstr(answer.body, "{\"error\": \"the server stops, "), "%s", answer.body);
    cr_expect(raw_header(&answer, "Retry-After", retry, sizeof(retry)));
    raw_free(&answer);
    store_double_hold(&store, false, false); /* its callback finds the request gone */
    while (harness_stats().pending)
        harness_turn(1);
    cr_expect_eq(harness_stats().published, 1);
    raw_close(&conn);
    harness_stop();
}

Test(http_shutdown, a_server_may_stop_before_its_manager)
{
    harness_start(NULL);
    raw_conn parked = harness_poll("c", ""), idle = harness_connect();
    cr_assert(harness_waiters_are(1));
    cr_assert(harness_connections_are(2));
    cr_assert_eq(lp_server_stop(h.server, 200, on_stopped, &stopped), LP_OK);
    cr_assert_eq(lp_server_stop(h.server, 0, NULL, NULL), LP_OK);
    cr_expect(raw_ended(&idle, RAW_DEADLINE_MS));
    cr_expect_eq(harness_stats().waiters, 1); /* until the deadline */
    cr_expect(harness_until(is_stopped));
    cr_expect_eq(harness_stats().waiters, 0);
    h.server = NULL;
    raw_close(&parked);
    raw_close(&idle);
    harness_stop();
}

Test(http_shutdown, two_servers_share_a_manager)
{
    harness_start(NULL);
    lp_server_options options = LP_SERVER_OPTIONS_INIT;
    lp_server *second;
    lp_error error;
    options.listen = "[::1]:0";
    options.events_path = "";
    options.publish_path = "/p";
    int status = lp_server_start(h.manager, &options, &second, &error);
    if (status != LP_OK) { /* a machine without IPv6 */
        options.listen = "127.0.0.2:0";
        cr_assert_eq(lp_server_start(h.manager, &options, &second, &error), LP_OK);
    }
    cr_expect_gt(lp_server_port(second), 0);
    raw_conn parked = harness_poll("c", "");
    cr_assert(harness_waiters_are(1));
    cr_assert_eq(lp_server_stop(second, 100, on_stopped, &stopped), LP_OK);
    cr_expect(harness_until(is_stopped));
    cr_expect_eq(harness_stats().waiters, 1);
    raw_close(&parked);
    harness_stop();
}

Test(http_start, is_refused_where_sigpipe_is_not_ignored)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_server_options listening = LP_SERVER_OPTIONS_INIT;
    lp_server *server = NULL;
    lp_error error;
    harness_start_manager(&options);
    listening.listen = "127.0.0.1:0";
    signal(SIGPIPE, SIG_DFL);
    cr_expect_eq(lp_server_start(h.manager, &listening, &server, &error), LP_EINVAL);
    cr_expect(strstr(error.message, "SIGPIPE"), "%s", error.message);
    cr_expect_null(server);
    signal(SIGPIPE, SIG_IGN);
    harness_stop();
}
