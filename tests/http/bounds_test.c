/* Promise 11 over HTTP: what is bounded, and what a client is told past the bound. */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "store_double.h"

#define FROM_THE_START "&since_time=1&last_id=00000000-0000-7000-8000-000000000000"

static raw_answer publish_bytes(size_t data_len)
{
    raw_conn conn = harness_connect();
    raw_answer answer = {0};
    char *body = malloc(data_len + 64);
    size_t len = (size_t)sprintf(body, "{\"category\":\"c\",\"data\":\"");
    memset(body + len, 'x', data_len - 2);
    len += data_len - 2;
    len += (size_t)sprintf(body + len, "\"}");
    raw_printf(&conn, "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", len);
    raw_send(&conn, body, len);
    free(body);
    raw_read(&conn, false, RAW_DEADLINE_MS, &answer);
    raw_close(&conn);
    return answer;
}

static void is_refused(raw_answer answer, int status, const char *retry_after)
{
    char value[16] = "";
    cr_expect_eq(answer.status, status, "%d", answer.status);
    cr_expect(answer.body && strncmp(answer.body, "{\"error\": \"", 11) == 0, "%s", answer.body);
    cr_expect_eq(answer.head && raw_header(&answer, "Retry-After", value, sizeof(value)),
                 retry_after != NULL);
    if (retry_after)
        cr_expect_str_eq(value, retry_after);
    raw_free(&answer);
}

Test(http_bounds, an_event_past_its_bound_is_413)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_bytes_max = 1000;
    harness_start(&options);
    raw_answer answer = publish_bytes(1000);
    cr_expect_eq(answer.status, 200);
    raw_free(&answer);
    is_refused(publish_bytes(1001), 413, NULL);
    cr_expect_eq(harness_stats().events, 1);
    harness_stop();
}

Test(http_bounds, a_body_past_its_bound_is_413_and_not_read)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.body_bytes_max = 1024;
    harness_start(&options);
    raw_conn conn = harness_connect();
    raw_answer answer;
    raw_printf(&conn, "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 1025\r\n\r\n");
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    is_refused(answer, 413, NULL);
    cr_expect(raw_ended(&conn, RAW_DEADLINE_MS));
    raw_close(&conn);
    conn = harness_connect();
    raw_printf(&conn,
               "POST /publish HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
               "401\r\n%01025d",
               0);
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    is_refused(answer, 413, NULL);
    raw_close(&conn);
    harness_stop();
}

Test(http_bounds, headers_past_their_bound_are_431)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.header_bytes_max = 1000;
    harness_start(&options);
    static const char *const paths[] = {"/events?timeout=60&category=c", "/publish", "/health"};
    for (int i = 0; i < 3; i++) {
        raw_conn conn = harness_connect();
        raw_answer answer;
        raw_printf(&conn, "GET %s HTTP/1.1\r\nHost: h\r\nX: %01000d\r\n\r\n", paths[i], 0);
        cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
        is_refused(answer, 431, NULL);
        cr_expect(raw_ended(&conn, RAW_DEADLINE_MS));
        raw_close(&conn);
    }
    raw_conn conn = harness_poll("c", "&x=0000000000000000000000000");
    cr_expect(harness_waiters_are(1));
    raw_close(&conn);
    harness_stop();
}

Test(http_bounds, a_request_line_of_sixty_thousand_bytes_is_read)
{
    static char request[60100]; /* a poll over a thousand categories is as long */
    harness_start(NULL);
    snprintf(request, sizeof(request),
             "GET /events?timeout=0&x=%060000d HTTP/1.1\r\nHost: h\r\n\r\n", 0);
    raw_answer answer = harness_ask(request);
    cr_expect_eq(answer.status, 200);
    cr_expect(strstr(answer.body, "'timeout'"), "%s", answer.body);
    raw_free(&answer);
    harness_stop();
}

Test(http_bounds, waiters_past_their_bound_are_503)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.waiters_max = 2;
    harness_start(&options);
    raw_conn first = harness_poll("c", ""), second = harness_poll("c", "");
    cr_assert(harness_waiters_are(2));
    raw_conn third = harness_poll("c", "");
    raw_answer answer;
    cr_assert(raw_read(&third, false, RAW_DEADLINE_MS, &answer));
    is_refused(answer, 503, "1");
    raw_close(&first);
    cr_assert(harness_waiters_are(1));
    raw_printf(&third, "GET /events?timeout=60&category=c HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_expect(harness_waiters_are(2)); /* on the same connection */
    raw_close(&second);
    raw_close(&third);
    harness_stop();
}

Test(http_bounds, a_store_behind_its_bound_is_503)
{
    static store_double store;
    harness_options options = HARNESS_OPTIONS_INIT;
    store_double_init(&store);
    store_double_hold(&store, false, true);
    options.manager.addon = &store.addon;
    options.manager.pending_max = 1;
    harness_start(&options);
    while (lp_manager_state(h.manager) == LP_STATE_STARTING)
        harness_turn(1);
    raw_conn first = harness_connect();
    raw_answer answer;
    raw_printf(&first, "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\n\r\n"
                       "{\"category\":\"c\",\"data\":1}");
    while (!harness_stats().pending)
        harness_turn(1);
    is_refused(publish_bytes(10), 503, "1");
    store_double_hold(&store, false, false);
    cr_assert(raw_read(&first, false, RAW_DEADLINE_MS, &answer));
    cr_expect_str_eq(answer.body, "{\"success\": true}");
    raw_free(&answer);
    raw_close(&first);
    harness_stop();
}

Test(http_bounds, connections_past_their_bound_are_503)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.connections_max = 2;
    harness_start(&options);
    raw_conn first = harness_poll("c", ""), second = harness_poll("c", "");
    cr_assert(harness_waiters_are(2));
    for (int i = 0; i < 300; i++) {
        raw_conn third = harness_poll("c", "");
        raw_answer answer;
        char connection[16];
        cr_assert(raw_read(&third, false, RAW_DEADLINE_MS, &answer), "%d", i);
        cr_expect(raw_header(&answer, "Connection", connection, sizeof(connection)));
        cr_expect_str_eq(connection, "close");
        is_refused(answer, 503, "1");
        cr_expect(raw_ended(&third, RAW_DEADLINE_MS));
        raw_close(&third);
    }
    cr_expect_eq(lp_server_connections(h.server), 2);
    raw_close(&first);
    cr_assert(harness_connections_are(1));
    raw_conn fourth = harness_poll("c", "");
    cr_expect(harness_waiters_are(2));
    raw_close(&second);
    raw_close(&fourth);
    harness_stop();
}

Test(http_bounds, refused_connections_that_stay_are_closed)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.connections_max = 1;
    harness_start(&options);
    raw_conn first = harness_poll("c", "");
    cr_assert(harness_waiters_are(1));
    size_t before = harness_descriptors();
    enum { COUNT = 20 };
    raw_conn stay[COUNT];
    for (int i = 0; i < COUNT; i++)
        stay[i] = harness_poll("c", ""); /* never closed by the client */
    int64_t deadline = raw_now_ms() + RAW_DEADLINE_MS;
    while (harness_descriptors() > before + COUNT && raw_now_ms() < deadline)
        harness_turn(10);
    cr_expect_eq(harness_descriptors(), before + COUNT);
    for (int i = 0; i < COUNT; i++)
        raw_close(&stay[i]);
    raw_close(&first);
    harness_stop();
}

/* ---- descriptors ------------------------------------------------------- */

static int fillers[4096], filler_count;

/* Leaves `free_count` descriptors. */
static void fill_descriptors(int free_count)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 256;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (filler_count = 0; (fillers[filler_count] = dup(0)) >= 0; filler_count++)
        ;
    for (int i = 0; i < free_count; i++)
        close(fillers[--filler_count]);
}

static void release_descriptors(void)
{
    while (filler_count > 0)
        close(fillers[--filler_count]);
}

Test(http_bounds, the_server_survives_without_descriptors)
{
    harness_start(NULL);
    raw_conn before = harness_connect();
    cr_assert(harness_connections_are(1));
    fill_descriptors(1);
    raw_conn refused = harness_connect(); /* takes the last one itself */
    cr_expect(raw_ended(&refused, RAW_DEADLINE_MS));
    raw_close(&refused);
    release_descriptors();

    raw_conn after = harness_poll("c", "");
    cr_expect(harness_waiters_are(1));
    raw_close(&after);
    raw_close(&before);
    harness_stop();
}

Test(http_bounds, a_poll_that_cannot_be_watched_is_503)
{
    harness_start(NULL);
    raw_conn conn = harness_connect();
    raw_answer answer;
    cr_assert(harness_connections_are(1));
    fill_descriptors(0);
    raw_printf(&conn, "GET /events?timeout=60&category=c HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    release_descriptors();
    is_refused(answer, 503, "1");
    cr_expect_eq(harness_stats().waiters, 0);
    raw_printf(&conn, "GET /events?timeout=60&category=c HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_expect(harness_waiters_are(1));
    raw_close(&conn);
    harness_stop();
}

/* ---- time -------------------------------------------------------------- */

Test(http_bounds, requests_that_do_not_come_to_an_end_are_closed)
{
    static const char *const slow[] = {
        "",
        "GET /events?timeout=60&category=c HTTP/1.1\r\nHos",
        "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{",
        "POST /publish HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "GET /health HTTP/1.1\r\nHost: h\r\n\r\n", /* and then idle */
    };
    enum { COUNT = sizeof(slow) / sizeof(slow[0]) };
    raw_conn some[COUNT];
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.request_timeout_ms = 200;
    harness_start(&options);
    raw_conn parked = harness_poll("c", "");
    cr_assert(harness_waiters_are(1));
    for (int i = 0; i < COUNT; i++) {
        some[i] = harness_connect();
        raw_printf(&some[i], "%s", slow[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        cr_expect(raw_ended(&some[i], RAW_DEADLINE_MS), "%s", slow[i]);
        raw_close(&some[i]);
    }
    cr_expect_eq(harness_stats().waiters, 1); /* a request that is whole may wait */
    raw_close(&parked);
    harness_stop();
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

static bool reads_all(raw_conn *conn)
{
    raw_answer answer;
    bool whole = raw_read(conn, false, RAW_DEADLINE_MS, &answer);
    if (whole) {
        whole = strstr(answer.body, "\"}]}") || strstr(answer.body, "\"gap\":true}");
        raw_free(&answer);
    }
    return whole;
}

Test(http_bounds, an_answer_is_cut_at_its_deadline, .timeout = 60)
{
    harness_options options = large_answers();
    options.http.answer_timeout_ms = 1000;
    harness_start(&options);
    harness_publish("c", large);
    raw_conn slow = harness_poll("c", FROM_THE_START), quick = harness_poll("c", FROM_THE_START);
    raw_conn drip = harness_poll("c", FROM_THE_START);
    cr_expect(reads_all(&quick));
    int64_t begun = raw_now_ms();
    static char some[8192]; /* each time: the kernel sees progress, and has no reason to end it */
    while (lp_server_connections(h.server) > 1 && raw_now_ms() < begun + RAW_DEADLINE_MS) {
        harness_turn(10);
        recv(drip.fd, some, sizeof(some), MSG_DONTWAIT);
    }
    cr_expect_eq(lp_server_connections(h.server), 1); /* the quick one's */
    cr_expect(raw_silent(&quick, 1));
    cr_expect(raw_ended(&slow, RAW_DEADLINE_MS));
    cr_expect(raw_ended(&drip, RAW_DEADLINE_MS));
    lp_http_figures figures;
    lp_http_stats(h.manager, &figures, sizeof(figures));
    cr_expect_eq(figures.answers_cut, 2);
    raw_close(&slow);
    raw_close(&drip);
    raw_close(&quick);
    harness_stop();
}

Test(http_bounds, the_oldest_answer_is_cut_past_the_bound_of_bytes, .timeout = 60)
{
    harness_options options = large_answers();
    options.http.inflight_bytes_max = sizeof(large) + (1 << 20);
    harness_start(&options);
    harness_publish("c", large);
    raw_conn slow = harness_poll("c", FROM_THE_START);
    harness_turn(300);
    cr_expect_eq(lp_server_connections(h.server), 1);
    raw_conn quick = harness_poll("c", FROM_THE_START);
    cr_expect(reads_all(&quick));
    cr_expect(harness_connections_are(1));
    cr_expect(raw_ended(&slow, RAW_DEADLINE_MS));
    raw_close(&slow);
    raw_close(&quick);
    harness_stop();
}

Test(http_bounds, answers_that_would_be_copied_are_503_far_past_the_bound)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.inflight_bytes_max = 1000;
    harness_start(&options);
    for (int i = 0; i < 100; i++)
        harness_publish("c", "\"some data\"");
    raw_conn conn = harness_poll("c", FROM_THE_START);
    raw_answer answer;
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    is_refused(answer, 503, "1");
    raw_close(&conn);
    harness_stop();
}

Test(http_bounds, accepted_connections_have_their_options)
{
    harness_start(NULL);
    raw_conn conn = harness_connect();
    cr_assert(harness_connections_are(1));
    struct sockaddr_in ours, other;
    socklen_t len = sizeof(ours);
    getsockname(conn.fd, (struct sockaddr *)&ours, &len);
    int found = 0;
    for (int fd = 3; fd < 256; fd++) {
        len = sizeof(other);
        if (getpeername(fd, (struct sockaddr *)&other, &len) != 0 ||
            other.sin_port != ours.sin_port)
            continue;
        int nodelay = 0, keepalive = 0, timeout_ms = 0;
        len = sizeof(int);
        getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len);
        getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &len);
        getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, &len);
        cr_expect(nodelay && keepalive);
        cr_expect_eq(timeout_ms, 35000);
        found++;
    }
    cr_expect_eq(found, 1);
    raw_close(&conn);
    harness_stop();
}

/* ---- options ----------------------------------------------------------- */

Test(http_bounds, wrong_options_are_refused_with_a_sentence)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_http_options http = LP_HTTP_OPTIONS_INIT;
    lp_error error = {0};
    harness_start_manager(&options);
    http.answer_timeout_ms = -1;
    cr_expect_eq(lp_http_configure(h.manager, &http, &error), LP_EINVAL);
    cr_expect(strstr(error.message, "answer_timeout_ms"), "%s", error.message);

    static const char *const addresses[] = {"",
                                            "8101",
                                            ":8101",
                                            "127.0.0.1",
                                            "127.0.0.1:",
                                            "127.0.0.1:x",
                                            "127.0.0.1:65536",
                                            "127.0.0.1:-1",
                                            "example.org:80",
                                            "[::1:80",
                                            "127.0.0.1:80 ",
                                            "203.0.113.77:0"};
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        lp_server_options server = LP_SERVER_OPTIONS_INIT;
        server.listen = addresses[i];
        lp_server *out = NULL;
        error.message[0] = '\0';
        cr_expect_eq(lp_server_start(h.manager, &server, &out, &error), LP_EINVAL, "%s",
                     addresses[i]);
        cr_expect(strstr(error.message, addresses[i]), "%s", error.message);
    }
    lp_server_options server = LP_SERVER_OPTIONS_INIT;
    server.listen = "127.0.0.1:0";
    server.events_path = "events";
    lp_server *out = NULL;
    cr_expect_eq(lp_server_start(h.manager, &server, &out, &error), LP_EINVAL);
    cr_expect(strstr(error.message, "\"events\""), "%s", error.message);
    server.events_path = NULL;
    server.connections_max = -1;
    cr_expect_eq(lp_server_start(h.manager, &server, &out, &error), LP_EINVAL);
    harness_stop();
}

Test(http_bounds, an_address_in_use_is_said)
{
    harness_start(NULL);
    char address[32];
    lp_server_options server = LP_SERVER_OPTIONS_INIT;
    lp_server *out = NULL;
    lp_error error;
    snprintf(address, sizeof(address), "127.0.0.1:%d", h.port);
    server.listen = address;
    cr_expect_eq(lp_server_start(h.manager, &server, &out, &error), LP_EINUSE);
    cr_expect(strstr(error.message, address), "%s", error.message);
    harness_stop();
}
