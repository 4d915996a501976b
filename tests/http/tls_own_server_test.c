/* A host program with a TLS server of its own on libh2o: lp_tls_new and lp_tls_accept. */
#include <criterion/criterion.h>
#include <h2o.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "own_listener.h"
#include "tls_client.h"

static struct {
    h2o_globalconf_t config;
    h2o_hostconf_t *host;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
} own;

/* A handler of the host's, which answers at once. */
static int on_hello(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    req->res.status = 200;
    req->res.reason = "OK";
    req->res.content_length = 5;
    h2o_send_inline(req, H2O_STRLIT("hello"));
    return 0;
}

static void start(void)
{
    lp_error error;
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    tls_files_make(&tls_server);
    tls_files_write(&tls_server, "own");
    harness_start_manager(&options);
    h2o_config_init(&own.config);
    own.config.http1.upgrade_to_http2 = 0;
    own.host = h2o_config_register_host(&own.config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    cr_assert_eq(lp_http_mount_events(h.manager, own.host, "/events", &error), LP_OK);
    cr_assert_eq(lp_http_mount_publish(h.manager, own.host, "/publish", &error), LP_OK);
    h2o_pathconf_t *path = h2o_config_register_path(own.host, "/hello", 0);
    h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = on_hello;
    h2o_context_init(&own.context, lp_http_loop(h.manager), &own.config);
    own.accept.ctx = &own.context;
    own.accept.hosts = own.config.hosts;
    cr_assert_eq(lp_tls_new(tls_server.chain, tls_server.key, &own.accept.ssl_ctx, &error), LP_OK,
                 "%s", error.message);
    own_listen(&own.accept);
}

static bool is_empty(void)
{
    return own_connections() == 0;
}

static void finish(void)
{
    cr_assert(harness_until(is_empty), "%zu left", own_connections());
    own_unlisten();
    own_dispose(&own.context);
    h2o_config_dispose(&own.config);
    SSL_CTX_free(own.accept.ssl_ctx);
    tls_stop();
}

#define HELLO "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"

Test(tls_own_server, serves_what_is_mounted_and_what_is_its_own)
{
    start();
    tls_conn *reader = tls_connect(NULL), *writer = tls_connect(NULL);
    for (int i = 0; i < 3; i++) {
        tls_send_poll(reader, "c", "");
        cr_assert(harness_waiters_are(1));
        tls_send(writer, HELLO);
        tls_expect(writer, 200, "hello");
        tls_send(writer, "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\n\r\n"
                         "{\"category\":\"c\",\"data\":1}");
        tls_expect(writer, 200, "success");
        tls_expect(reader, 200, "\"data\":1");
    }
    tls_send_poll(reader, "c", "");
    cr_assert(harness_waiters_are(1));
    tls_reset(reader);
    cr_expect(harness_waiters_are(0));
    tls_close(writer);
    finish();
}

Test(tls_own_server, outlives_a_request_and_a_fatal_alert_in_one_segment)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    static const char *const requests[] = {HELLO, HELLO HELLO,
                                           "GET /events?timeout=60 HTTP/1.1\r\nHost: h\r\n\r\n"};
    start();
    for (int i = 0; i < 6; i++) {
        tls_conn *conn = tls_connect(&(tls_wish){.version = versions[i % 2]});
        tls_send(conn, HELLO);
        tls_expect(conn, 200, "hello");
        tls_write(conn, requests[i / 2], strlen(requests[i / 2]));
        tls_break(conn);
        tls_flush(conn);
        cr_expect(tls_ended(conn));
        tls_free(conn);
    }
    finish();
}

Test(tls_own_server, loses_no_connection_that_is_reset_while_idle)
{
    start();
    for (int i = 0; i < 50; i++) {
        tls_conn *conn = tls_connect(NULL);
        if (i % 2) {
            tls_send(conn, HELLO);
            tls_expect(conn, 200, "hello");
        }
        tls_reset(conn);
    }
    cr_expect(harness_until(is_empty), "%zu left", own_connections());
    finish();
}
