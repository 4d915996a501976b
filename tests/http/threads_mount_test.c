/* A host program with three threads that serve nothing but HTTP, each with a loop and a libh2o
 * context of its own, around one config in which our handlers are mounted. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/http/loop.h"
#include "harness.h"

enum { HOSTS = 3, EACH = 4, CONNS = HOSTS * EACH };

static struct {
    h2o_globalconf_t config;
    h2o_hostconf_t *host;
} own;

/* One of the threads: the least of a libh2o server. */
typedef struct host {
    pthread_t thread;
    sem_t ready;
    h2o_loop_t *loop;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    lp__listener *listener;
    lp__alarm *alarm; /* rung: it ends */
    lp__timer *timer;
    int port;
    bool is_empty, is_over;
} host;

static host hosts[HOSTS];
static raw_conn conns[CONNS];

static void on_accepted(void *ctx, h2o_socket_t *socket, SSL_CTX *tls)
{
    host *self = ctx;
    (void)tls;
    h2o_accept(&self->accept, socket);
}

static void on_closed(void *ctx, bool tls_failed)
{
    (void)ctx, (void)tls_failed;
}

static void on_refused(void *ctx)
{
    (void)ctx;
}

static void on_failed(void *ctx, const char *what)
{
    (void)ctx, (void)what;
}

static void on_empty(void *ctx)
{
    host *self = ctx;
    self->is_empty = true;
    lp__timer_start(self->timer, 0);
}

static void on_timer_closed(void *ctx)
{
    ((host *)ctx)->is_over = true;
}

static void on_timer(void *ctx)
{
    host *self = ctx;
    if (!self->is_empty) {
        lp__listener_end_all(self->listener);
        lp__timer_start(self->timer, 5);
        return;
    }
    lp__listener_free(self->listener);
    lp__context_dispose(&self->context);
    lp__alarm_close(self->alarm, NULL, NULL);
    lp__timer_close(self->timer, on_timer_closed, self);
}

static void on_alarm(void *ctx)
{
    host *self = ctx;
    lp__listener_stop(self->listener);
    lp__timer_start(self->timer, 0);
}

static void *run(void *arg)
{
    host *self = arg;
    lp_error error;
    lp__listener_options listening = {.address = "127.0.0.1:0",
                                      .connections_max = 1000,
                                      .request_bytes_max = 1 << 20,
                                      .header_bytes_max = 65536,
                                      .write_timeout_ms = 30000,
                                      .accepted = on_accepted,
                                      .closed = on_closed,
                                      .refused = on_refused,
                                      .failed = on_failed,
                                      .empty = on_empty,
                                      .ctx = self};
    self->loop = lp__loop_new();
    h2o_context_init(&self->context, self->loop, &own.config);
    self->accept.ctx = &self->context;
    self->accept.hosts = own.config.hosts;
    lp__timer_open(self->loop, on_timer, self, &self->timer);
    lp__alarm_open(self->loop, on_alarm, self, &self->alarm);
    if (lp__listener_open(self->loop, &listening, &self->listener, &error) == LP_OK)
        self->port = lp__listener_port(self->listener);
    sem_post(&self->ready);
    lp__loop_run(self->loop, &self->is_over);
    lp__loop_free(self->loop);
    return NULL;
}

static void start_hosts(void)
{
    for (int i = 0; i < HOSTS; i++) {
        hosts[i] = (host){0};
        sem_init(&hosts[i].ready, 0, 0);
        cr_assert_eq(pthread_create(&hosts[i].thread, NULL, run, &hosts[i]), 0);
        sem_wait(&hosts[i].ready);
        cr_assert_gt(hosts[i].port, 0);
    }
}

static void stop_hosts(void)
{
    for (int i = 0; i < HOSTS; i++)
        lp__alarm_ring(hosts[i].alarm);
    for (int i = 0; i < HOSTS; i++)
        while (pthread_tryjoin_np(hosts[i].thread, NULL) != 0)
            harness_turn(1); /* what they wait for may be the home loop */
}

static void start(void)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_error error;
    harness_start_manager(&options);
    h2o_config_init(&own.config);
    own.config.http1.upgrade_to_http2 = 0;
    own.host = h2o_config_register_host(&own.config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    cr_assert_eq(lp_http_mount_events(h.manager, own.host, "/events", &error), LP_OK);
    cr_assert_eq(lp_http_mount_publish(h.manager, own.host, "/publish", &error), LP_OK);
    cr_assert_eq(lp_http_mount_health(h.manager, own.host, "/health", &error), LP_OK);
}

static void connect_all(void)
{
    for (int i = 0; i < CONNS; i++) {
        conns[i] = raw_connect("127.0.0.1", hosts[i % HOSTS].port);
        cr_assert_geq(conns[i].fd, 0);
    }
}

static void close_all(void)
{
    for (int i = 0; i < CONNS; i++)
        raw_close(&conns[i]);
}

static void expect(raw_conn *conn, int status, const char *part)
{
    raw_answer answer;
    cr_assert(raw_read(conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_eq(answer.status, status);
    cr_expect(strstr(answer.body, part), "%s", answer.body);
    raw_free(&answer);
}

static void poll_all(const char *path)
{
    for (int i = 0; i < CONNS; i++)
        raw_printf(&conns[i], "GET %s?timeout=60&category=c HTTP/1.1\r\nHost: h\r\n\r\n", path);
    cr_assert(harness_waiters_are(CONNS));
}

static void post(raw_conn *conn)
{
    raw_printf(conn, "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\n\r\n"
                     "{\"category\":\"c\",\"data\":1}");
}

Test(threads_mount, contexts_on_any_loop_share_one_manager)
{
    start();
    start_hosts();
    connect_all();
    for (int i = 0; i < HOSTS; i++) {
        raw_conn publisher = raw_connect("127.0.0.1", hosts[i].port);
        poll_all("/events");
        post(&publisher);
        expect(&publisher, 200, "success");
        raw_close(&publisher);
        for (int c = 0; c < CONNS; c++)
            expect(&conns[c], 200, "\"data\":1");
    }
    poll_all("/events");
    harness_publish("c", "2"); /* and from the home loop */
    for (int c = 0; c < CONNS; c++)
        expect(&conns[c], 200, "\"data\":2");
    close_all();
    stop_hosts();
    h2o_config_dispose(&own.config);
    harness_stop();
}

Test(threads_mount, contexts_may_come_and_go_while_polls_wait)
{
    lp_http_figures figures;
    start();
    for (int round = 0; round < 3; round++) {
        start_hosts();
        connect_all();
        poll_all("/events");
        stop_hosts(); /* cuts them */
        cr_expect(harness_waiters_are(0));
        close_all();
    }
    lp_http_stats(h.manager, &figures, sizeof(figures));
    cr_expect_eq(figures.requests_events, 3 * CONNS);
    cr_expect_eq(figures.polls, 0);
    h2o_config_dispose(&own.config);
    harness_stop();
}

static void on_down(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)error, (void)unkept, (void)ctx;
    h.manager_down = true;
    lp_manager_free(manager);
}

static bool is_down(void)
{
    return h.manager_down;
}

Test(threads_mount, a_manager_may_end_long_before_the_contexts)
{
    start();
    start_hosts();
    connect_all();
    poll_all("/events");
    lp_manager_shutdown(h.manager, 2000, on_down, NULL);
    for (int c = 0; c < CONNS; c++)
        expect(&conns[c], 200, "{\"timeout\":\"no events before timeout\",");
    close_all();
    cr_assert(harness_until(is_down));
    connect_all();
    for (int c = 0; c < CONNS; c++) {
        raw_printf(&conns[c], "GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
        expect(&conns[c], 503, "closed");
        post(&conns[c]);
        expect(&conns[c], 503, "shut down");
    }
    close_all();
    stop_hosts();
    start_hosts(); /* a context that comes behind the manager's end */
    connect_all();
    for (int c = 0; c < CONNS; c++) {
        raw_printf(&conns[c], "GET /events?timeout=9&category=c HTTP/1.1\r\nHost: h\r\n\r\n");
        expect(&conns[c], 503, "shut down");
    }
    close_all();
    stop_hosts();
    h2o_config_dispose(&own.config);
    uv_run(&h.loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(&h.loop), 0);
}

static int on_own(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    lp_http_subscribe(h.manager, req);
    return 0;
}

Test(threads_mount, a_handler_of_the_hosts_own_serves_where_one_of_ours_is_mounted)
{
    start();
    h2o_pathconf_t *conf = h2o_config_register_path(own.host, "/own", 0);
    h2o_create_handler(conf, sizeof(h2o_handler_t))->on_req = on_own;
    start_hosts();
    connect_all();
    poll_all("/own");
    harness_publish("c", "3");
    for (int c = 0; c < CONNS; c++)
        expect(&conns[c], 200, "\"data\":3");
    close_all();
    stop_hosts();
    h2o_config_dispose(&own.config);
    harness_stop();
}
