/* Promise 12 under TLS: a client that leaves frees its waiter, its connection and its descriptor at
 * once, however it leaves; and promise 10: the server's end, with connections in every state. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tls_client.h"

enum { COUNT = 50 };
static tls_conn *conns[COUNT];

#define AHEAD "GET /events?timeout=60&category=d HTTP/1.1\r\nHost: h\r\n\r\n"

/* Half of them over TLS 1.2. */
static void connect_all(void)
{
    for (int i = 0; i < COUNT; i++) {
        conns[i] = tls_connect(&(tls_wish){.version = i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION});
        cr_assert(conns[i]->ssl);
    }
}

static void park_all(const char *ahead)
{
    connect_all();
    for (int i = 0; i < COUNT; i++) {
        tls_send_poll(conns[i], "c", "");
        tls_send(conns[i], ahead);
    }
    cr_assert(harness_waiters_are(COUNT));
    harness_turn(10);
    cr_assert_eq(harness_stats().waiters, COUNT);
}

static void all_is_free(void)
{
    cr_expect(harness_waiters_are(0), "%d waiters", (int)harness_stats().waiters);
    cr_expect(harness_connections_are(0), "%d connections", (int)lp_server_connections(h.server));
    harness_publish("c", "1");
    harness_turn(5);
    cr_expect_eq(harness_stats().delivered, 0);
    tls_stop(); /* compares the descriptors with those before */
}

static void leave_all(void (*leave)(tls_conn *conn))
{
    for (int i = 0; i < COUNT; i++)
        leave(conns[i]);
}

/* close_notify, and the socket stays open. */
static void say_goodbye(tls_conn *conn)
{
    SSL_shutdown(conn->ssl);
    tls_flush(conn);
}

Test(tls_departed, by_fin)
{
    tls_start(NULL);
    park_all("");
    leave_all(tls_free);
    all_is_free();
}

Test(tls_departed, by_close_notify_and_fin)
{
    tls_start(NULL);
    park_all("");
    leave_all(tls_close);
    all_is_free();
}

Test(tls_departed, by_reset)
{
    tls_start(NULL);
    park_all("");
    leave_all(tls_reset);
    all_is_free();
}

Test(tls_departed, by_fin_with_a_request_sent_ahead)
{
    tls_start(NULL);
    park_all(AHEAD);
    leave_all(tls_close);
    all_is_free();
}

Test(tls_departed, by_reset_with_a_request_sent_ahead)
{
    tls_start(NULL);
    park_all(AHEAD);
    leave_all(tls_reset);
    all_is_free();
}

static void goodbye_is_noticed(const char *ahead)
{
    tls_start(NULL);
    park_all(ahead);
    leave_all(say_goodbye);
    cr_expect(harness_waiters_are(0), "%d waiters", (int)harness_stats().waiters);
    cr_expect(harness_connections_are(0), "%d connections", (int)lp_server_connections(h.server));
    leave_all(tls_free);
    all_is_free();
}

Test(tls_departed, by_close_notify_alone)
{
    goodbye_is_noticed("");
}

Test(tls_departed, by_close_notify_alone_with_a_request_sent_ahead)
{
    goodbye_is_noticed(AHEAD);
}

Test(tls_departed, by_close_notify_in_one_segment_with_the_request)
{
    tls_start(NULL);
    connect_all();
    for (int i = 0; i < COUNT; i++) {
        tls_write(conns[i], AHEAD, strlen(AHEAD));
        say_goodbye(conns[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        tls_expect(conns[i], 200, "timeout");
        tls_free(conns[i]);
    }
    all_is_free();
}

/* libh2o alone waits for ever then, for a goodbye that libuv does not write. */
Test(tls_departed, from_an_idle_connection)
{
    void (*const ways[])(tls_conn *) = {tls_reset, tls_free, tls_close};
    tls_start(NULL);
    for (int way = 0; way < 3; way++) {
        connect_all();
        for (int i = 0; i < COUNT; i++) {
            tls_send(conns[i], "GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
            tls_expect(conns[i], 200, "serving");
        }
        leave_all(ways[way]);
        cr_expect(harness_connections_are(0), "%zu left", lp_server_connections(h.server));
    }
    all_is_free();
}

Test(tls_departed, in_the_middle_of_a_request)
{
    void (*const ways[])(tls_conn *) = {tls_reset, tls_free, tls_close};
    tls_start(NULL);
    for (int way = 0; way < 3; way++) {
        connect_all();
        for (int i = 0; i < COUNT; i++)
            tls_send(conns[i], "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\n\r\n{");
        harness_turn(5);
        leave_all(ways[way]);
        cr_expect(harness_connections_are(0), "%zu left", lp_server_connections(h.server));
    }
    all_is_free();
}

Test(tls_departed, in_the_middle_of_the_handshake)
{
    tls_start(NULL);
    for (int i = 0; i < COUNT; i++) {
        conns[i] = tls_connect_only(NULL);
        if (i % 3) {
            SSL_do_handshake(conns[i]->ssl);
            tls_flush_some(conns[i], i % 3 == 1 ? 100 : SIZE_MAX);
        }
    }
    cr_assert(harness_connections_are(COUNT));
    harness_turn(10);
    for (int i = 0; i < COUNT; i++)
        if (i % 2)
            tls_reset(conns[i]);
        else
            tls_free(conns[i]);
    all_is_free();
}

Test(tls_departed, in_the_moment_of_an_answer)
{
    tls_start(NULL);
    park_all("");
    for (int i = 0; i < COUNT; i++)
        if (i % 2)
            tls_close(conns[i]);
        else
            tls_reset(conns[i]);
    harness_publish("c", "1");
    cr_expect(harness_waiters_are(0));
    cr_expect(harness_connections_are(0));
    tls_stop();
}

/* ---- the server's end -------------------------------------------------- */

Test(tls_shutdown, answers_waiters_and_ends_idle_and_beginning_connections)
{
    tls_start(NULL);
    connect_all();
    for (int i = 0; i < COUNT; i += 2)
        tls_send_poll(conns[i], "c", "");
    tls_conn *silent = tls_connect_only(NULL), *half = tls_connect_only(NULL);
    SSL_do_handshake(half->ssl);
    tls_flush(half);
    cr_assert(harness_waiters_are(COUNT / 2));
    cr_assert(harness_connections_are(COUNT + 2));
    harness_shutdown(5000);
    for (int i = 0; i < COUNT; i++) {
        if (i % 2 == 0)
            tls_expect(conns[i], 200, "timeout");
        cr_expect(tls_ended(conns[i]));
        cr_expect_eq(conns[i]->alert, SSL3_AL_WARNING << 8 | SSL_AD_CLOSE_NOTIFY,
                     "no close_notify: its end could be anybody's");
        tls_free(conns[i]);
    }
    cr_expect_not(tls_handshake(silent));
    tls_free(silent);
    tls_free(half);
    tls_stop();
}

static size_t big_answer(void)
{
    enum { EVENTS = 20, BYTES = 500000 };
    static char data[BYTES + 3];
    memset(data, 'x', BYTES + 2);
    data[0] = data[BYTES + 1] = '"';
    for (int i = 0; i < EVENTS; i++)
        harness_publish("big", data);
    harness_turn(5);
    return (size_t)EVENTS * BYTES;
}

Test(tls_shutdown, cuts_a_slow_reader_at_the_deadline)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.answer_bytes_max = 16 << 20;
    tls_start(&options);
    big_answer();
    tls_conn *conn = tls_connect(NULL);
    tls_send_poll(conn, "big", "&since_time=1");
    harness_turn(50); /* it does not read */
    harness_shutdown(100);
    cr_expect(harness_connections_are(0));
    tls_free(conn);
    tls_stop();
}

Test(tls_bounds, a_slow_reader_is_cut_and_a_fast_one_gets_all)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.answer_bytes_max = 16 << 20;
    options.http.answer_timeout_ms = 3000;
    tls_start(&options);
    size_t len = big_answer();
    tls_conn *slow = tls_connect(NULL), *fast = tls_connect(NULL);
    tls_send_poll(slow, "big", "&since_time=1");
    tls_send_poll(fast, "big", "&since_time=1");
    cr_expect(tls_receive(fast, len));
    tls_close(fast);
    cr_expect(harness_connections_are(0));
    cr_expect(tls_ended(slow));
    cr_expect_lt(slow->in.body_len, len);
    tls_free(slow);
    tls_stop();
}
