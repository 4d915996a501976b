/* A small HTTP server for programs that have none: a libh2o config of its own, and a unit
 * (server_unit.c) on the manager's home loop and on each of the server's own threads. Home thread
 * only. */
#include "server.h"
#include "paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LISTEN_DEFAULT       "127.0.0.1:8101"
#define CONNECTIONS_MAX      20000
#define RESERVED_DESCRIPTORS 64 /* for the store, the loop, the log */
#define REQUEST_TIMEOUT_MS   10000
#define THREADS_MAX          64

/* ---- start ------------------------------------------------------------- */

static int64_t default_connections_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
        limit.rlim_cur >= CONNECTIONS_MAX + RESERVED_DESCRIPTORS)
        return CONNECTIONS_MAX;
    return limit.rlim_cur > 2 * RESERVED_DESCRIPTORS
               ? (int64_t)limit.rlim_cur - RESERVED_DESCRIPTORS
               : (int64_t)limit.rlim_cur / 2;
}

static int read_options(const lp_server_options *given, lp_server_options *out, lp_error *error)
{
    *out = (lp_server_options)LP_SERVER_OPTIONS_INIT;
    if (given) {
        size_t size = given->struct_size < sizeof(*out) ? given->struct_size : sizeof(*out);
        memcpy(out, given, size);
    }
    if (out->connections_max < 0 || out->request_timeout_ms < 0 || out->request_bytes_max < 0)
        return lp_error_set(
            error, LP_EINVAL,
            "connections_max %lld, request_timeout_ms %lld, request_bytes_max %lld: none may be "
            "negative (0 is the default)",
            (long long)out->connections_max, (long long)out->request_timeout_ms,
            (long long)out->request_bytes_max);
    if (out->threads < 0 || out->threads > THREADS_MAX)
        return lp_error_set(error, LP_EINVAL, "threads: %lld is not a number of 0 to %d",
                            (long long)out->threads, THREADS_MAX);
    if (!out->threads)
        out->threads = 1;
    if (!out->listen)
        out->listen = LISTEN_DEFAULT;
    if (!out->events_path)
        out->events_path = "/events";
    if (!out->publish_path)
        out->publish_path = "/publish";
    if (!out->health_path)
        out->health_path = "/health";
    if (!out->metrics_path)
        out->metrics_path = "/metrics";
    if (!out->request_timeout_ms)
        out->request_timeout_ms = REQUEST_TIMEOUT_MS;
    if (!out->connections_max)
        out->connections_max = default_connections_max();
    return LP_OK;
}

static int configure(lp_server *server, lp_manager *manager, lp_error *error)
{
    const lp_server_options *options = &server->options;
    h2o_globalconf_t *config = &server->config;
    h2o_config_init(config);
    config->http1.upgrade_to_http2 = 0;
    config->http1.req_timeout = (uint64_t)options->request_timeout_ms;
    config->handshake_timeout = (uint64_t)options->request_timeout_ms;
    config->max_request_entity_size = (size_t)server->site->options.body_bytes_max;
    config->server_name = h2o_iovec_init(NULL, 0);
    h2o_hostconf_t *host =
        h2o_config_register_host(config, h2o_iovec_init(H2O_STRLIT("default")), 65535);

    int status = LP_OK;
    if (options->events_path[0])
        status = lp_http_mount_events(manager, host, options->events_path, error);
    if (status == LP_OK && options->publish_path[0])
        status = lp_http_mount_publish(manager, host, options->publish_path, error);
    if (status == LP_OK && options->health_path[0])
        status = lp_http_mount_health(manager, host, options->health_path, error);
    if (status == LP_OK && options->metrics_path[0])
        status = lp_http_mount_metrics(manager, host, options->metrics_path, error);
    lp__http_mount_refusals(server->site, &host->fallback_path);
    lp__path_complete(&host->fallback_path);
    for (size_t i = 0; i < host->paths.size; i++)
        lp__path_complete(&host->paths.entries[i]);
    if (status != LP_OK)
        h2o_config_dispose(config);
    return status;
}

static int read_tls(lp_server *server, lp_error *error)
{
    const lp_server_options *options = &server->options;
    if (!options->tls_chain && !options->tls_key)
        return LP_OK;
    int status = lp_tls_new(options->tls_chain, options->tls_key, &server->tls, error);
    if (status != LP_OK)
        return status;
    server->tls_chain = strdup(options->tls_chain);
    server->tls_key = strdup(options->tls_key);
    if (server->tls_chain && server->tls_key)
        return LP_OK;
    return lp_error_set(error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
}

static void on_unit_ended(void *ctx);

static lp_server *new_server(lp__site *site, lp_manager *manager, const lp_server_options *options)
{
    size_t count = (size_t)options->threads;
    lp_server *server = calloc(1, sizeof(*server) + count * sizeof(server->units[0]));
    if (!server)
        return NULL;
    server->options = *options;
    server->unit_count = count;
    for (size_t i = 0; i < count; i++)
        server->units[i] = (lp__unit){.server = server, .index = i};
    server->units[0].loop = lp__loop_of_home(lp__manager_loop(manager));
    if (!server->units[0].loop || (count > 1 && lp__alarm_open(server->units[0].loop, on_unit_ended,
                                                               server, &server->alarm) != LP_OK)) {
        if (server->units[0].loop)
            lp__loop_let_go(server->units[0].loop);
        free(server);
        return NULL;
    }
    server->site = lp__site_ref(site);
    atomic_init(&server->running, 0);
    pthread_mutex_init(&server->mutex, NULL);
    pthread_cond_init(&server->started, NULL);
    return server;
}

/* Behind its config, if it has one. */
static void free_server(void *ctx)
{
    lp_server *server = ctx;
    lp__loop_let_go(server->units[0].loop);
    lp__site_unref(server->site);
    for (size_t i = 0; i < server->unit_count; i++)
        SSL_CTX_free(server->units[i].next_tls);
    SSL_CTX_free(server->tls);
    free(server->tls_chain);
    free(server->tls_key);
    pthread_cond_destroy(&server->started);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

/* Behind the first unit: what the others need to know, and the others. */
static int open_others(lp_server *server, lp_error *error)
{
    const char *listen = server->options.listen, *colon = strrchr(listen, ':');
    int status = LP_OK;
    server->port = lp__listener_port(server->units[0].listener);
    snprintf(server->address, sizeof(server->address), "%.*s:%d", (int)(colon - listen), listen,
             server->port);
    for (size_t i = 1; i < server->unit_count && status == LP_OK; i++)
        status = lp__unit_run(&server->units[i], error);
    SSL_CTX_free(server->tls); /* the listeners have it */
    server->tls = NULL;
    return status;
}

int lp_server_start(lp_manager *manager, const lp_server_options *given, lp_server **out,
                    lp_error *error)
{
    lp_server_options options;
    lp__site *site;
    int status = read_options(given, &options, error);
    if (status == LP_OK)
        status = lp__http_check_sigpipe(error);
    if (status != LP_OK)
        return status;
    lp_server *server = NULL;
    if (lp__site_of(manager, &site) == LP_OK)
        server = new_server(site, manager, &options);
    if (!server)
        return lp_error_set(error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
    status = configure(server, manager, error);
    if (status != LP_OK)
        goto failed;
    status = read_tls(server, error);
    if (status == LP_OK)
        status = lp__unit_open(&server->units[0], server->units[0].loop, error);
    if (status != LP_OK) {
        h2o_config_dispose(&server->config);
        goto failed;
    }
    status = open_others(server, error);
    if (status != LP_OK) { /* the first may have a connection by now: it ends in time, and alone */
        lp_server_stop(server, 0, NULL, NULL);
        return status;
    }
    *out = server;
    return LP_OK;

failed:
    if (server->alarm)
        lp__alarm_close(server->alarm, free_server, server);
    else
        free_server(server);
    return status;
}

int lp_server_port(const lp_server *server)
{
    return server->port;
}

size_t lp_server_connections(const lp_server *server)
{
    size_t count = 0;
    for (size_t i = 0; i < server->unit_count; i++)
        count += __atomic_load_n(&server->units[i].connections, __ATOMIC_RELAXED);
    return count;
}

int lp_server_reload_tls(lp_server *server, lp_error *error)
{
    SSL_CTX *tls;
    if (!server->tls_chain)
        return lp_error_set(error, LP_EINVAL,
                            "the server does not speak TLS (start it with a chain and a key)");
    int status = lp_tls_new(server->tls_chain, server->tls_key, &tls, error);
    if (status != LP_OK)
        return status;
    if (!server->stopping) {
        lp__listener_set_tls(server->units[0].listener, tls);
        for (size_t i = 1; i < server->unit_count; i++)
            lp__unit_tell(&server->units[i], tls, false);
    }
    SSL_CTX_free(tls);
    return LP_OK;
}

/* ---- stop -------------------------------------------------------------- */

int lp_server_stop(lp_server *server, int64_t timeout_ms, void (*done)(void *ctx), void *ctx)
{
    if (server->stopping)
        return LP_OK;
    server->stopping = true;
    server->done = done;
    server->ctx = ctx;
    server->stop_timeout_ms = timeout_ms;
    for (size_t i = 1; i < server->unit_count; i++)
        if (server->units[i].has_thread)
            lp__unit_tell(&server->units[i], NULL, true);
    lp__unit_stop(&server->units[0], timeout_ms);
    return LP_OK;
}

/* A thread has nothing more to do but to end. */
static void on_unit_ended(void *ctx)
{
    lp_server *server = ctx;
    if (!server->stopping || atomic_load(&server->running) > 0)
        return;
    for (size_t i = 1; i < server->unit_count; i++) {
        if (server->units[i].has_thread)
            pthread_join(server->units[i].thread, NULL);
        server->units[i].has_thread = false;
    }
    lp__unit_look_again(&server->units[0]);
}

static void on_all_closed(void *ctx)
{
    lp_server *server = ctx;
    void (*done)(void *ctx) = server->done;
    void *done_ctx = server->ctx;
    free_server(server);
    if (done)
        done(done_ctx);
}

void lp__server_end(lp_server *server)
{
    h2o_config_dispose(&server->config);
    if (server->alarm)
        lp__alarm_close(server->alarm, on_all_closed, server);
    else
        on_all_closed(server);
}
