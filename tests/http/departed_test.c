/* Promise 12: a client that leaves frees its waiter, its connection and its descriptor at once,
 * however it leaves. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "harness.h"

enum { COUNT = 100 };
static raw_conn conns[COUNT];

static void park_all(const char *behind)
{
    for (int i = 0; i < COUNT; i++) {
        conns[i] = harness_poll("c", "");
        raw_printf(&conns[i], "%s", behind);
    }
    cr_assert(harness_waiters_are(COUNT));
    harness_turn(10); /* what is pipelined has arrived */
    cr_assert_eq(harness_stats().waiters, COUNT);
}

static void all_is_free(void)
{
    cr_expect(harness_waiters_are(0), "%d waiters", (int)harness_stats().waiters);
    cr_expect(harness_connections_are(0), "%d connections", (int)lp_server_connections(h.server));
    harness_publish("c", "1"); /* nobody is there to be answered */
    harness_turn(5);
    cr_expect_eq(harness_stats().delivered, 0);
    harness_stop(); /* compares the descriptors with those before */
}

Test(http_departed, by_fin)
{
    harness_start(NULL);
    park_all("");
    for (int i = 0; i < COUNT; i++)
        raw_close(&conns[i]);
    all_is_free();
}

Test(http_departed, by_reset)
{
    harness_start(NULL);
    park_all("");
    for (int i = 0; i < COUNT; i++)
        raw_reset(&conns[i]);
    all_is_free();
}

#define PIPELINED "GET /events?timeout=60&category=d HTTP/1.1\r\nHost: h\r\n\r\n"

Test(http_departed, by_fin_with_a_pipelined_request_waiting)
{
    harness_start(NULL);
    park_all(PIPELINED);
    for (int i = 0; i < COUNT; i++)
        raw_close(&conns[i]);
    all_is_free();
}

Test(http_departed, by_reset_with_a_pipelined_request_waiting)
{
    harness_start(NULL);
    park_all(PIPELINED);
    for (int i = 0; i < COUNT; i++)
        raw_reset(&conns[i]);
    all_is_free();
}

static void is_told_of_the_timeout(raw_conn *conn)
{
    raw_answer answer;
    char connection[16] = "";
    long long timestamp = 0;
    int end = 0;
    cr_assert(raw_read(conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(answer.status, 200);
    raw_header(&answer, "Connection", connection, sizeof(connection));
    cr_expect_str_eq(connection, "close");
    sscanf(answer.body, "{\"timeout\":\"no events before timeout\",\"timestamp\":%lld}%n",
           &timestamp, &end);
    cr_expect(timestamp > 0 && (size_t)end == answer.body_len, "%s", answer.body);
    raw_free(&answer);
}

Test(http_departed, by_half_a_close)
{
    harness_start(NULL);
    park_all("");
    for (int i = 0; i < COUNT; i++)
        shutdown(conns[i].fd, SHUT_WR);
    for (int i = 0; i < COUNT; i++) {
        is_told_of_the_timeout(&conns[i]);
        cr_expect(raw_ended(&conns[i], RAW_DEADLINE_MS));
        raw_close(&conns[i]);
    }
    all_is_free();
}

Test(http_departed, by_half_a_close_with_a_pipelined_request_waiting)
{
    harness_start(NULL);
    park_all(PIPELINED);
    for (int i = 0; i < COUNT; i++)
        shutdown(conns[i].fd, SHUT_WR);
    cr_expect(harness_waiters_are(0)); /* the second request is not parked for nobody */
    for (int i = 0; i < COUNT; i++) {
        is_told_of_the_timeout(&conns[i]);
        cr_expect(raw_ended(&conns[i], RAW_DEADLINE_MS));
        raw_close(&conns[i]);
    }
    all_is_free();
}

Test(http_departed, by_half_a_close_and_then_a_reset)
{
    harness_start(NULL);
    park_all("");
    for (int i = 0; i < COUNT; i++) {
        shutdown(conns[i].fd, SHUT_WR);
        raw_reset(&conns[i]);
    }
    all_is_free();
}

Test(http_departed, right_after_the_request)
{
    harness_start(NULL);
    for (int i = 0; i < COUNT; i++) {
        conns[i] = harness_poll("c", "");
        if (i % 2)
            raw_close(&conns[i]);
        else
            raw_reset(&conns[i]);
    }
    all_is_free();
}

Test(http_departed, in_the_moment_of_an_answer)
{
    harness_start(NULL);
    park_all("");
    for (int i = 0; i < COUNT; i++)
        if (i % 2)
            raw_close(&conns[i]);
        else
            raw_reset(&conns[i]);
    harness_publish("c", "1"); /* no turn in between: the answers are written to closed sockets */
    cr_expect(harness_waiters_are(0));
    cr_expect(harness_connections_are(0));
    harness_stop();
}

Test(http_departed, again_and_again_on_one_descriptor)
{
    harness_start(NULL);
    for (int i = 0; i < 300; i++) {
        raw_conn conn = harness_poll("c", i % 3 == 2 ? "&since_time=1" : "");
        cr_assert(harness_waiters_are(1));
        if (i % 3 == 0)
            raw_reset(&conn);
        else
            raw_close(&conn);
        cr_assert(harness_waiters_are(0));
    }
    all_is_free();
}
