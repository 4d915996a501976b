/* What clients may do to a TLS port, by mistake or on purpose: each costs its own connection at
 * most, and none the process. */
#include <criterion/criterion.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tls_client.h"

#define HEALTH  "GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
#define POLL    "GET /events?timeout=60&category=c HTTP/1.1\r\nHost: h\r\n\r\n"
#define PUBLISH "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\n"
#define BODY    "{\"category\":\"c\",\"data\":1}"

static const char garbage[5 + 32] = {23, 3, 3, 0, 32};

static void still_serves(void)
{
    tls_conn *conn = tls_connect(NULL);
    tls_send(conn, HEALTH);
    tls_expect(conn, 200, "serving");
    tls_close(conn);
    cr_expect(harness_connections_are(0), "%zu left", lp_server_connections(h.server));
    tls_stop();
}

static void write_text(tls_conn *conn, const char *text)
{
    tls_write(conn, text, strlen(text));
}

static void write_garbage(tls_conn *conn)
{
    BIO_write(SSL_get_wbio(conn->ssl), garbage, sizeof(garbage));
}

/* With each version, and what `act` does with a connection of its own. */
static void each_version_with(harness_options *options, void (*act)(tls_conn *conn))
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    tls_start(options);
    for (int i = 0; i < 2; i++) {
        tls_conn *conn = tls_connect(&(tls_wish){.version = versions[i]});
        cr_assert(conn->ssl);
        act(conn);
        cr_expect(tls_ended(conn));
        tls_free(conn);
        cr_expect(harness_connections_are(0), "%zu left", lp_server_connections(h.server));
    }
    still_serves();
}

static void each_version(void (*act)(tls_conn *conn))
{
    each_version_with(NULL, act);
}

/* libh2o alone serves the request, cannot encrypt the answer, and aborts the process. */
static void request_and_alert(tls_conn *conn)
{
    write_text(conn, HEALTH);
    tls_break(conn);
    tls_flush(conn);
}

Test(tls_hostile, a_fatal_alert_in_one_segment_with_a_request)
{
    each_version(request_and_alert);
}

static void poll_and_alert(tls_conn *conn)
{
    write_text(conn, POLL);
    tls_break(conn);
    tls_flush(conn);
    harness_turn(5);
    harness_publish("c", "1");
}

Test(tls_hostile, a_fatal_alert_in_one_segment_with_a_poll)
{
    each_version(poll_and_alert);
}

static void body_and_alert(tls_conn *conn)
{
    tls_send(conn, PUBLISH "Expect: 100-continue\r\n\r\n");
    cr_expect(tls_receive(conn, 25));
    write_text(conn, BODY);
    tls_break(conn);
    tls_flush(conn);
}

Test(tls_hostile, a_fatal_alert_in_one_segment_with_a_body_that_was_asked_for)
{
    each_version(body_and_alert);
}

static void second_and_alert(tls_conn *conn)
{
    tls_send(conn, HEALTH);
    tls_expect(conn, 200, "serving");
    request_and_alert(conn);
}

Test(tls_hostile, a_fatal_alert_in_one_segment_with_the_second_request)
{
    each_version(second_and_alert);
}

static void requests_and_garbage(tls_conn *conn)
{
    for (int i = 0; i < 5; i++)
        write_text(conn, PUBLISH "\r\n" BODY);
    write_garbage(conn);
    tls_flush(conn);
}

Test(tls_hostile, a_broken_record_in_one_segment_with_requests)
{
    each_version(requests_and_garbage);
}

static void garbage_while_parked(tls_conn *conn)
{
    tls_send(conn, POLL);
    cr_assert(harness_waiters_are(1));
    write_garbage(conn);
    tls_flush(conn);
    harness_turn(5);
    harness_publish("c", "1");
    tls_expect(conn, 200, "\"data\":1");
}

Test(tls_hostile, a_broken_record_behind_a_poll_that_waits)
{
    tls_start(NULL);
    tls_conn *conn = tls_connect(&(tls_wish){.version = TLS1_3_VERSION});
    garbage_while_parked(conn);
    cr_expect(tls_ended(conn));
    tls_free(conn);
    still_serves();
}

/* libh2o alone forgets that it could not read the record behind the handshake. */
Test(tls_hostile, a_broken_record_in_one_segment_with_the_handshakes_end)
{
    tls_start(NULL);
    for (int with_request = 0; with_request < 2; with_request++) {
        tls_conn *conn = tls_connect_only(&(tls_wish){.version = TLS1_3_VERSION});
        char bytes[65536];
        while (SSL_do_handshake(conn->ssl) != 1) {
            tls_flush(conn);
            ssize_t len = read(conn->fd, bytes, sizeof(bytes));
            if (len > 0)
                BIO_write(SSL_get_rbio(conn->ssl), bytes, (int)len);
            else
                harness_turn(1);
        }
        if (with_request)
            write_text(conn, HEALTH);
        write_garbage(conn);
        tls_flush(conn);
        cr_expect(tls_ended(conn));
        tls_free(conn);
    }
    still_serves();
}

static void renegotiate(tls_conn *conn)
{
    if (SSL_version(conn->ssl) == TLS1_2_VERSION)
        SSL_renegotiate(conn->ssl);
    else
        SSL_key_update(conn->ssl, SSL_KEY_UPDATE_REQUESTED);
    SSL_do_handshake(conn->ssl);
    tls_flush(conn);
}

Test(tls_hostile, a_new_handshake_on_a_connection)
{
    /* where it comes with the end of the first one, the connection may only end as an idle one */
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.request_timeout_ms = 1000;
    each_version_with(&options, renegotiate);
}

/* ---- below TLS --------------------------------------------------------- */

static void send_and_wait(const char *bytes, size_t len)
{
    raw_conn conn = harness_connect();
    raw_send(&conn, bytes, len);
    raw_ended(&conn, 200);
    raw_close(&conn);
}

Test(tls_hostile, what_is_no_tls, .timeout = 120)
{
    static const char *const texts[] = {"\r\n\r\n", "\n", "SSH-2.0-x\r\n", "PRI * HTTP/2.0\r\n\r\n",
                                        "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"};
    static const unsigned char records[][8] = {
        {22, 3, 1, 0, 0},    {22, 3, 1, 255, 255, 1}, {23, 3, 3, 0, 1, 0}, {21, 3, 3, 0, 2, 2, 40},
        {20, 3, 3, 0, 1, 1}, {24, 3, 3, 0, 3, 1, 64}, {0, 3, 3, 0, 1, 1},  {22, 2, 0, 0, 1, 1}};
    unsigned char bytes[512];
    unsigned seed = (unsigned)raw_now_ms();
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.request_timeout_ms = 100;
    fprintf(stderr, "seed %u\n", seed);
    srand(seed);
    tls_start(&options);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        send_and_wait(texts[i], i == 4 ? 11 : strlen(texts[i]));
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
        send_and_wait((const char *)records[i], sizeof(records[i]));
    for (int i = 0; i < 50; i++) {
        for (size_t j = 0; j < sizeof(bytes); j++)
            bytes[j] = (unsigned char)rand();
        send_and_wait((const char *)bytes, (size_t)rand() % sizeof(bytes));
    }
    still_serves();
}

Test(tls_hostile, a_hello_with_any_byte_changed, .timeout = 120)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    unsigned seed = (unsigned)raw_now_ms();
    fprintf(stderr, "seed %u\n", seed);
    srand(seed);
    options.server.request_timeout_ms = 100;
    tls_start(&options);
    for (int i = 0; i < 150; i++) {
        tls_conn *conn = tls_connect_only(NULL);
        char *bytes;
        SSL_do_handshake(conn->ssl);
        long len = BIO_get_mem_data(SSL_get_wbio(conn->ssl), &bytes);
        bytes[i < len / 2 ? i : rand() % len] ^= (char)(1 + rand() % 255);
        if (tls_handshake(conn)) { /* it was of no account */
            tls_send(conn, HEALTH);
            tls_expect(conn, 200, "serving");
        }
        tls_free(conn);
    }
    cr_expect(harness_connections_are(0), "%zu left", lp_server_connections(h.server));
    still_serves();
}

/* ---- bounds ------------------------------------------------------------ */

Test(tls_bounds, a_handshake_without_an_end_is_closed)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.request_timeout_ms = 200;
    tls_start(&options);
    tls_conn *silent = tls_connect_only(NULL), *part = tls_connect_only(NULL),
             *half = tls_connect_only(NULL), *idle = tls_connect(NULL);
    SSL_do_handshake(part->ssl);
    tls_flush_some(part, 50);
    SSL_do_handshake(half->ssl);
    tls_flush(half);
    cr_assert(idle->ssl);
    cr_expect(harness_connections_are(0), "%zu left", lp_server_connections(h.server));
    tls_free(silent);
    tls_free(part);
    tls_free(half);
    tls_free(idle);
    tls_stop();
}

Test(tls_bounds, connections_past_their_bound_are_closed)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    lp_http_figures figures;
    options.server.connections_max = 2;
    tls_start(&options);
    tls_conn *first = tls_connect(NULL), *second = tls_connect(NULL), *third = tls_connect(NULL);
    cr_expect(first->ssl && second->ssl);
    cr_expect_null(third->ssl);
    lp_http_stats(h.manager, &figures, sizeof(figures));
    cr_expect_eq(figures.connections_refused, 1);
    tls_free(third);
    tls_close(first);
    cr_expect(harness_connections_are(1));
    third = tls_connect(NULL);
    cr_expect(third->ssl);
    tls_close(second);
    tls_close(third);
    tls_stop();
}

Test(tls_bounds, headers_without_an_end_are_cut)
{
    static char filling[20000];
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.request_timeout_ms = 60000;
    options.http.header_bytes_max = 16384;
    memset(filling, 'x', sizeof(filling) - 1);
    tls_start(&options);
    tls_conn *conn = tls_connect(NULL);
    tls_send(conn, "GET /health HTTP/1.1\r\nHost: h\r\nX: ");
    tls_send(conn, filling);
    cr_expect(harness_connections_are(0));
    tls_free(conn);
    tls_stop();
}

Test(tls_bounds, what_requests_hold_is_bounded)
{
    enum { COUNT = 20 };
    static char filling[600001];
    tls_conn *conns[COUNT];
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.request_timeout_ms = 60000;
    options.server.request_bytes_max = 4 << 20;
    memset(filling, 'x', sizeof(filling) - 1);
    tls_start(&options);
    for (int i = 0; i < COUNT; i++) {
        conns[i] = tls_connect(NULL);
        tls_send(conns[i], "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 600001\r\n\r\n");
        tls_send(conns[i], filling); /* in a buffer of 1 MiB, for these double */
    }
    cr_expect(harness_connections_are(4), "%zu", lp_server_connections(h.server));
    for (int i = 0; i < COUNT; i++)
        tls_free(conns[i]);
    tls_stop();
}

Test(tls_bounds, records_that_are_not_whole_are_counted)
{
    enum { COUNT = 100 };
    static char filling[16001];
    tls_conn *conns[COUNT];
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.request_timeout_ms = 60000;
    options.server.request_bytes_max = 1 << 20;
    memset(filling, 'x', sizeof(filling) - 1);
    tls_start(&options);
    for (int i = 0; i < COUNT; i++) {
        conns[i] = tls_connect(NULL);
        tls_write(conns[i], filling, 16000);
        tls_flush_some(conns[i], 15000);
    }
    int64_t deadline = raw_now_ms() + RAW_DEADLINE_MS;
    while (lp_server_connections(h.server) > 50 && raw_now_ms() < deadline)
        harness_turn(10);
    cr_expect_leq(lp_server_connections(h.server), 50);
    cr_expect_geq(lp_server_connections(h.server), 20);
    for (int i = 0; i < COUNT; i++)
        tls_free(conns[i]);
    tls_stop();
}

/* In clear all of them share the event's bytes; here each answer is encrypted into bytes of its
 * own, and all in one turn of the loop. */
Test(tls_bounds, one_event_for_many_polls_is_not_copied_for_all_at_once)
{
    enum { COUNT = 20, EVENT_BYTES = 100000, FIT = 4 };
    static char data[EVENT_BYTES + 1];
    tls_conn *conns[COUNT];
    lp_http_figures figures;
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.inflight_bytes_max = FIT / 2 * (EVENT_BYTES + 1000);
    memset(data, 'x', EVENT_BYTES);
    data[0] = data[EVENT_BYTES - 1] = '"';
    tls_start(&options);
    for (int i = 0; i < COUNT; i++) {
        conns[i] = tls_connect(NULL);
        tls_send_poll(conns[i], "c", "");
    }
    cr_assert(harness_waiters_are(COUNT));
    harness_publish("c", data);
    cr_expect(harness_waiters_are(0));
    lp_http_stats(h.manager, &figures, sizeof(figures));
    cr_expect_eq(figures.refused_busy, COUNT - FIT);
    for (int i = 0; i < COUNT; i++)
        tls_free(conns[i]);
    tls_stop();
}
