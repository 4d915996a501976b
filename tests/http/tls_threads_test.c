/* TLS on a server with threads of its own: what it serves, its certificate on all loops, its end.
 * What holds in clear is in threads_test. */
#include <criterion/criterion.h>
#include <string.h>

#include "tls_client.h"

enum { THREADS = 3, CONNS = 24 }; /* one loop is left out once in 10^4 runs; then it shows less */

#define PUBLISH "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\n\r\n"

static tls_conn *conns[CONNS];

static void start(void)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.threads = THREADS;
    tls_start(&options);
}

static void connect_all(void)
{
    for (int i = 0; i < CONNS; i++) {
        conns[i] = tls_connect(NULL);
        cr_assert(conns[i]->ssl);
    }
}

static void poll_on_all(void)
{
    for (int i = 0; i < CONNS; i++)
        tls_send_poll(conns[i], "c", "");
    cr_assert(harness_waiters_are(CONNS));
}

Test(tls_threads, polls_of_all_loops_are_answered_and_those_that_leave_are_noticed)
{
    start();
    connect_all();
    tls_conn *publisher = tls_connect(NULL);
    for (int round = 0; round < 2; round++) {
        poll_on_all();
        tls_send(publisher, PUBLISH "{\"category\":\"c\",\"data\":1}");
        tls_expect(publisher, 200, "{\"success\": true}");
        for (int i = 0; i < CONNS; i++)
            tls_expect(conns[i], 200, "\"data\":1");
    }
    poll_on_all();
    for (int i = 0; i < CONNS; i++) {
        if (i % 3 == 0)
            tls_close(conns[i]);
        else if (i % 3 == 1)
            tls_reset(conns[i]);
        else
            tls_free(conns[i]);
    }
    cr_expect(harness_waiters_are(0));
    tls_close(publisher);
    cr_expect(harness_connections_are(0));
    tls_stop();
}

/* How many new connections get the certificate of `name`. */
static int get(const char *name)
{
    int count = 0;
    char got[64];
    connect_all();
    for (int i = 0; i < CONNS; i++) {
        tls_peer_name(conns[i], got, sizeof(got));
        count += strcmp(got, name) == 0;
        tls_close(conns[i]);
    }
    return count;
}

Test(tls_threads, a_reload_is_for_all_loops)
{
    lp_error error;
    start();
    cr_expect_eq(get("first"), CONNS);
    for (int round = 0; round < 3; round++) {
        const char *name = round % 2 ? "third" : "second";
        tls_files_write(&tls_server, name);
        cr_assert_eq(lp_server_reload_tls(h.server, &error), LP_OK, "%s", error.message);
        cr_assert_eq(lp_server_reload_tls(h.server, &error), LP_OK, "%s", error.message);
        int64_t deadline = raw_now_ms() + RAW_DEADLINE_MS; /* each loop hears of it by itself */
        while (get(name) < CONNS)
            cr_assert_lt(raw_now_ms(), deadline);
    }
    tls_stop();
}

Test(tls_threads, shutdown_answers_the_polls_of_all_loops)
{
    start();
    connect_all();
    poll_on_all();
    harness_shutdown(5000);
    for (int i = 0; i < CONNS; i++) {
        tls_expect(conns[i], 200, "{\"timeout\":\"no events before timeout\",");
        cr_expect(tls_ended(conns[i]));
        tls_free(conns[i]);
    }
    tls_stop();
}
