/* A manager and a server that run in the test's own thread. See harness.h. */
#include "harness.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

harness h;

static size_t descriptors_before;

static void pump(int fd, short events, int timeout_ms)
{
    uv_run(&h.loop, UV_RUN_NOWAIT);
    struct pollfd two[] = {{.fd = uv_backend_fd(&h.loop), .events = POLLIN},
                           {.fd = fd, .events = events}};
    int next = uv_backend_timeout(&h.loop);
    int wait =
        timeout_ms < 5 ? timeout_ms : 5; /* what a closing callback began is not in epoll yet */
    poll(two, 2, next >= 0 && next < wait ? next : wait);
    uv_run(&h.loop, UV_RUN_NOWAIT);
}

void harness_start_manager(const lp_manager_options *options)
{
    lp_error error;
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&h.loop); /* the first loop of a process opens a pipe that stays */
    uv_loop_close(&h.loop);
    descriptors_before = harness_descriptors();
    uv_loop_init(&h.loop);
    raw_pump = pump;
    cr_assert_eq(lp_manager_start(&h.loop, options, &h.manager, &error), LP_OK, "%s",
                 error.message);
}

void harness_start(const harness_options *options)
{
    lp_error error;
    harness_options own = HARNESS_OPTIONS_INIT;
    if (options)
        own = *options;
    harness_start_manager(&own.manager);
    cr_assert_eq(lp_http_configure(h.manager, &own.http, &error), LP_OK, "%s", error.message);
    own.server.listen = "127.0.0.1:0";
    cr_assert_eq(lp_server_start(h.manager, &own.server, &h.server, &error), LP_OK, "%s",
                 error.message);
    h.port = lp_server_port(h.server);
}

static void on_manager_down(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)manager, (void)unkept, (void)ctx;
    cr_expect_eq(error->status, LP_OK, "%s", error->message);
    h.manager_down = true;
}

static void on_server_down(void *ctx)
{
    (void)ctx;
    h.server_down = true;
}

void harness_shutdown(int64_t timeout_ms)
{
    lp_manager_shutdown(h.manager, timeout_ms, on_manager_down, NULL);
    if (h.server)
        lp_server_stop(h.server, timeout_ms, on_server_down, NULL);
}

static bool is_down(void)
{
    return h.manager_down && (!h.server || h.server_down);
}

void harness_stop(void)
{
    if (!h.manager_down && lp_manager_state(h.manager) < LP_STATE_DRAINING)
        harness_shutdown(2000);
    cr_expect(harness_until(is_down), "manager down %d, server down %d", h.manager_down,
              h.server_down);
    cr_expect_eq(lp_manager_free(h.manager), LP_OK);
    uv_run(&h.loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(&h.loop), 0);
    cr_expect_eq(harness_descriptors(), descriptors_before);
    raw_pump = NULL;
}

bool harness_until(bool (*condition)(void))
{
    int64_t deadline = raw_now_ms() + RAW_DEADLINE_MS;
    while (!condition() && raw_now_ms() < deadline)
        pump(-1, 0, 5);
    return condition();
}

lp_stats harness_stats(void)
{
    lp_stats stats;
    lp_manager_stats(h.manager, &stats, sizeof(stats));
    return stats;
}

static uint64_t wanted;

static bool waiters_are(void)
{
    return harness_stats().waiters == wanted;
}

bool harness_waiters_are(uint64_t count)
{
    wanted = count;
    return harness_until(waiters_are);
}

static bool connections_are(void)
{
    return (h.server_down ? 0 : lp_server_connections(h.server)) == wanted;
}

bool harness_connections_are(size_t count)
{
    wanted = count;
    return harness_until(connections_are);
}

void harness_turn(int ms)
{
    int64_t end = raw_now_ms() + ms;
    while (raw_now_ms() < end)
        pump(-1, 0, 1);
}

size_t harness_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

void harness_publish(const char *category, const char *data)
{
    cr_assert_eq(lp_publish(h.manager, lp_str_of(category), lp_str_of(data), NULL, NULL), LP_OK);
}

raw_conn harness_connect(void)
{
    raw_conn conn = raw_connect("127.0.0.1", h.port);
    cr_assert(conn.fd >= 0);
    return conn;
}

raw_conn harness_poll(const char *category, const char *extra)
{
    raw_conn conn = harness_connect();
    raw_printf(&conn, "GET /events?timeout=60&category=%s%s HTTP/1.1\r\nHost: h\r\n\r\n", category,
               extra);
    return conn;
}

raw_answer harness_ask(const char *request)
{
    raw_conn conn = harness_connect();
    raw_answer answer;
    raw_send(&conn, request, strlen(request));
    cr_assert(raw_read(&conn, strncmp(request, "HEAD", 4) == 0, RAW_DEADLINE_MS, &answer), "%s",
              request);
    raw_close(&conn);
    return answer;
}
