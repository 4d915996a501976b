/* A host program with a libh2o server of its own: mounted handlers, handlers that check first, and
 * contexts that are on the wrong loop. */
#include <criterion/criterion.h>
#include <h2o.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "own_listener.h"

/* The least of a libh2o server: what a host program has. */
static struct {
    h2o_globalconf_t config;
    h2o_hostconf_t *host;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
} own;

static void configure(void)
{
    h2o_config_init(&own.config);
    own.config.http1.upgrade_to_http2 = 0;
    own.host = h2o_config_register_host(&own.config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
}

static void listen_on(h2o_loop_t *loop)
{
    h2o_context_init(&own.context, loop, &own.config);
    own.accept.ctx = &own.context;
    own.accept.hosts = own.config.hosts;
    own_listen(&own.accept);
}

static bool is_empty(void)
{
    return own_connections() == 0;
}

static void finish(void)
{
    own_unlisten();
    cr_assert(harness_until(is_empty));
    own_dispose(&own.context);
    h2o_config_dispose(&own.config);
    harness_stop();
}

static void status_is(const char *request, int status, const char *part)
{
    raw_answer answer = harness_ask(request);
    cr_expect_eq(answer.status, status, "%s: %d", request, answer.status);
    cr_expect(strstr(answer.body, part), "%s: %s", request, answer.body);
    raw_free(&answer);
}

Test(http_own_server, handlers_are_mounted_on_any_path)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_error error;
    harness_start_manager(&options);
    configure();
    cr_assert_eq(lp_http_mount_events(h.manager, own.host, "/a/b/poll", &error), LP_OK);
    cr_assert_eq(lp_http_mount_publish(h.manager, own.host, "/a/b", &error), LP_OK);
    cr_assert_eq(lp_http_mount_health(h.manager, own.host, "/", &error), LP_OK);
    cr_assert_eq(lp_http_mount_health(h.manager, own.host, "no-slash", &error), LP_EINVAL);
    signal(SIGPIPE, SIG_DFL);
    cr_assert_eq(lp_http_mount_health(h.manager, own.host, "/x", &error), LP_EINVAL);
    cr_expect(strstr(error.message, "SIGPIPE"));
    signal(SIGPIPE, SIG_IGN);
    listen_on(lp_http_loop(h.manager));
    status_is("GET / HTTP/1.1\r\n\r\n", 200, "serving");
    status_is("GET /a/b/poll?timeout=0 HTTP/1.1\r\n\r\n", 200, "'timeout'");
    status_is("POST /a/b HTTP/1.1\r\nContent-Length: 25\r\n\r\n{\"category\":\"c\",\"data\":1}",
              200, "success");
    status_is("GET /a/b/poll/c HTTP/1.1\r\n\r\n", 404, "");
    status_is("GET /a/b/c HTTP/1.1\r\n\r\n", 404, "");

    raw_conn parked = harness_connect();
    raw_printf(&parked, "GET /a/b/poll?timeout=60&category=c HTTP/1.1\r\n\r\n");
    cr_assert(harness_waiters_are(1));
    raw_close(&parked);
    cr_expect(harness_waiters_are(0));
    finish();
}

/* What golongpoll's users do to add their own checks. */
static int on_guarded(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_AUTHORIZATION, -1);
    if (at == -1 || !h2o_memis(req->headers.entries[at].value.base,
                               req->headers.entries[at].value.len, H2O_STRLIT("let me in"))) {
        h2o_send_error_403(req, "Forbidden", "who are you", 0);
        return 0;
    }
    if (h2o_memis(req->method.base, req->method.len, H2O_STRLIT("POST")))
        lp_http_publish(h.manager, req);
    else
        lp_http_subscribe(h.manager, req);
    return 0;
}

static void guard(const char *path)
{
    h2o_pathconf_t *conf = h2o_config_register_path(own.host, path, 0);
    h2o_create_handler(conf, sizeof(h2o_handler_t))->on_req = on_guarded;
}

#define GUARDED(request) request "Authorization: let me in\r\n"

Test(http_own_server, handlers_may_check_first)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    harness_start_manager(&options);
    configure();
    guard("/guarded");
    listen_on(lp_http_loop(h.manager));
    status_is("GET /guarded?timeout=60&category=c HTTP/1.1\r\n\r\n", 403, "who are you");
    cr_expect_eq(harness_stats().waiters, 0);
    raw_conn parked = harness_connect();
    raw_answer answer;
    raw_printf(&parked, GUARDED("GET /guarded/x?timeout=60&category=c HTTP/1.1\r\n") "\r\n");
    cr_assert(harness_waiters_are(1));
    status_is(
        GUARDED(
            "POST /guarded HTTP/1.1\r\nContent-Length: 25\r\n") "\r\n"
                                                                "{\"category\":\"c\",\"data\":1}",
        200, "success");
    cr_assert(raw_read(&parked, false, RAW_DEADLINE_MS, &answer));
    cr_expect(strstr(answer.body, "\"data\":1"), "%s", answer.body);
    raw_free(&answer);
    raw_close(&parked);
    finish();
}

Test(http_own_server, a_body_past_our_bound_is_413_where_the_host_takes_more)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_http_options http = LP_HTTP_OPTIONS_INIT;
    lp_error error;
    harness_start_manager(&options);
    http.body_bytes_max = 10;
    cr_assert_eq(lp_http_configure(h.manager, &http, &error), LP_OK);
    configure();
    cr_assert_eq(lp_http_mount_publish(h.manager, own.host, "/p", &error), LP_OK);
    listen_on(lp_http_loop(h.manager));
    status_is("POST /p HTTP/1.1\r\nContent-Length: 11\r\n\r\n{\"category\"", 413, "{\"error\": ");
    finish();
}

static void turn_other(h2o_loop_t *loop, raw_conn *conn, raw_answer *answer)
{
    void (*pump)(int, short, int) = raw_pump;
    raw_pump = NULL;
    for (int i = 0; i < 1000 && !raw_read(conn, false, 1, answer); i++)
        own_turn(loop);
    raw_pump = pump;
}

Test(http_own_server, a_context_on_another_loop_is_told_so)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    raw_answer answer = {0};
    harness_start_manager(&options);
    h2o_loop_t *other = own_loop_new();
    configure();
    guard("/guarded");
    listen_on(other);
    raw_conn conn = harness_connect();
    raw_printf(&conn, GUARDED("GET /guarded?timeout=60&category=c HTTP/1.1\r\n") "\r\n");
    turn_other(other, &conn, &answer);
    cr_assert_eq(answer.status, 500);
    cr_expect(strstr(answer.body, "home loop"), "%s", answer.body);
    raw_free(&answer);
    raw_close(&conn);
    own_unlisten();
    while (own_connections())
        own_turn(other);
    own_dispose(&own.context);
    h2o_config_dispose(&own.config);
    own_loop_free(other);
    harness_stop();
}

static void on_down(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)manager, (void)error, (void)unkept, (void)ctx;
    h.manager_down = true;
}

static bool is_down(void)
{
    return h.manager_down;
}

Test(http_own_server, a_manager_may_end_long_before_the_config)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_error error;
    harness_start_manager(&options);
    configure();
    cr_assert_eq(lp_http_mount_events(h.manager, own.host, "/events", &error), LP_OK);
    listen_on(lp_http_loop(h.manager));
    raw_conn parked = harness_poll("c", "");
    raw_answer answer;
    cr_assert(harness_waiters_are(1));
    lp_manager_shutdown(h.manager, 1000, on_down, NULL);
    cr_assert(raw_read(&parked, false, RAW_DEADLINE_MS, &answer));
    raw_free(&answer);
    raw_close(&parked);
    cr_assert(harness_until(is_down));
    status_is("GET /events?timeout=9&category=c HTTP/1.1\r\n\r\n", 503, "shut down");
    finish();
}
