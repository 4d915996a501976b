/* longpolld: a long-poll publish/subscribe server.
 *
 * Its life: read the flags, start the manager on a store, listen at once (503 until the store is
 * replayed), serve, and on SIGTERM or SIGINT drain: every waiter is answered and every accepted
 * event kept. SIGHUP reads the certificate of https again. Everything here runs on one loop,
 * on the main thread; with --threads, servers have threads of their own besides. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <uv.h>

#include <longpoll/http.h>
#include <longpoll/manager.h>

#include "log.h"
#include "../shared/stores.h"
#include "options.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, SIGNALS = 3 };

typedef struct service {
    daemon_options options;
    uv_loop_t loop;
    uv_signal_t signals[SIGNALS];
    lp_manager *manager;
    lp_server *events;  /* what --listen names */
    lp_server *publish; /* what --publish-listen names, or NULL */
    bool announced, stopping;
    int exit_code;
} service;

/* ---- what is said ------------------------------------------------------------------------------
 */

/* What was wrong, with which flag or store, as the last word on standard error. `what` and `value`
 * are NULL where the message names the thing itself. Returns the exit status. */
static int complain(const char *what, const char *value, const lp_error *error)
{
    if (what == NULL)
        fprintf(stderr, "longpolld: %s\n", error->message);
    else if (value == NULL)
        fprintf(stderr, "longpolld: %s: %s\n", what, error->message);
    else
        fprintf(stderr, "longpolld: %s \"%s\": %s\n", what, value, error->message);
    return error->status == LP_EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

/* Where curl finds a listener from this machine. */
static void base_url(const service *self, const char *listen, const lp_server *server, char *out,
                     size_t size)
{
    const char *scheme = self->options.server.tls_chain != NULL ? "https" : "http";
    const char *colon = strrchr(listen, ':');
    int length = colon != NULL ? (int)(colon - listen) : (int)strlen(listen);
    const char *host = listen;
    if (length == 0 || strncmp(listen, "0.0.0.0:", 8) == 0) {
        host = "127.0.0.1";
        length = 9;
    } else if (strncmp(listen, "[::]:", 5) == 0) {
        host = "[::1]";
        length = 5;
    }
    snprintf(out, size, "%s://%.*s:%d", scheme, length, host, lp_server_port(server));
}

/* Once, when it serves. */
static void announce(service *self)
{
    if (self->announced || self->events == NULL)
        return;
    self->announced = true;

    char events[256], publish[256];
    base_url(self, self->options.listen, self->events, events, sizeof(events));
    if (self->publish != NULL)
        base_url(self, self->options.publish_listen, self->publish, publish, sizeof(publish));
    else
        snprintf(publish, sizeof(publish), "%s", events);

    bool memory = strcmp(self->options.store, "memory") == 0;
    log_write(LP_LOG_INFO, "serving %s, store %s, process %d", events, self->options.store,
              (int)getpid());
    printf("longpolld %s serves %s%s\n"
           "Try it, in two terminals:\n"
           "  curl '%s/events?category=hello&timeout=60'\n"
           "  curl -d '{\"category\":\"hello\",\"data\":\"world\"}' %s/publish\n",
           LONGPOLLD_VERSION, events,
           memory ? "; events are kept in memory alone (--store journal:DIR keeps them)" : "",
           events, publish);
    fflush(stdout);
}

/* ---- the end ------------------------------------------------------------------------------------
 */

static void on_shutdown(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    service *self = ctx;
    (void)manager;
    if (error->status == LP_OK)
        return;
    if (self->exit_code == 0)
        self->exit_code = EXIT_FAILED;
    if (unkept > 0)
        log_write(LP_LOG_ERROR, "shutdown: %s; %llu publishes were not kept and were told so",
                  error->message, (unsigned long long)unkept);
    else if (self->announced)
        log_write(LP_LOG_ERROR, "shutdown: %s", error->message);
}

/* Lets everything end; the loop returns when it has. */
static void stop(service *self)
{
    if (self->stopping)
        return;
    self->stopping = true;
    lp_manager_shutdown(self->manager, self->options.shutdown_timeout_ms, on_shutdown, self);
    if (self->events != NULL)
        lp_server_stop(self->events, self->options.shutdown_timeout_ms, NULL, NULL);
    if (self->publish != NULL)
        lp_server_stop(self->publish, self->options.shutdown_timeout_ms, NULL, NULL);
    self->events = self->publish = NULL;
}

/* The old certificate stays in use where the new one cannot be read. */
static void reload(service *self, const char *flag, lp_server *server)
{
    lp_error error = {0};
    if (server == NULL)
        return;
    if (lp_server_reload_tls(server, &error) == LP_OK)
        log_write(LP_LOG_INFO, "%s: new connections get the certificate of \"%s\" as it is now",
                  flag, self->options.server.tls_chain);
    else
        log_write(LP_LOG_ERROR, "%s: the certificate read before stays in use: %s", flag,
                  error.message);
}

static void on_hangup(uv_signal_t *handle, int number)
{
    service *self = handle->data;
    (void)number;
    if (self->options.server.tls_chain == NULL) {
        log_write(LP_LOG_INFO, "SIGHUP: nothing to be read again (there is no --tls-chain)");
        return;
    }
    reload(self, "--listen", self->events);
    reload(self, "--publish-listen", self->publish);
}

static void on_signal(uv_signal_t *handle, int number)
{
    service *self = handle->data;
    if (self->stopping)
        _exit(128 + number); /* the second one means at once; a kill loses nothing either */
    log_write(LP_LOG_INFO, "%s: shutting down (once more: at once)", strsignal(number));
    stop(self);
}

static void on_state(lp_manager *manager, lp_state state, const lp_error *error, void *ctx)
{
    service *self = ctx;
    (void)manager;
    if (state == LP_STATE_SERVING) {
        announce(self);
    } else if (state == LP_STATE_FAILED) {
        complain("store", self->options.store, error);
        self->exit_code = EXIT_FAILED;
        stop(self);
    }
}

/* ---- the beginning ------------------------------------------------------------------------------
 */

/* Where standard input, output or error were closed, libuv's own descriptors would take their
 * places, and a line of the log would be written into one of them. */
static void open_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* One descriptor a connection: take all that may be had. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_write(LP_LOG_WARN, "descriptor limit not raised: %s", strerror(errno));
}

/* The thread of the store allocates only while it replays, and the loop frees what it did. In an
 * arena of its own that would cost a system call for every few events (glibc grows such an arena
 * page by page). Threads that serve have an arena each. */
static void share_arenas(const service *self)
{
    int64_t threads = self->options.server.threads;
    mallopt(M_ARENA_MAX, threads > 1 ? (int)threads : 1);
}

/* A large answer takes memory for itself that is free again a moment later. glibc would give that
 * back to the kernel each time, and get it again page by page, which takes longer than to fill it.
 */
static void keep_room_for_answers(void)
{
    enum { LARGEST_ANSWER = 4 << 20 };
    mallopt(M_MMAP_THRESHOLD, 2 * LARGEST_ANSWER);
    mallopt(M_TRIM_THRESHOLD, LARGEST_ANSWER);
}

static int start_signals(service *self)
{
    static const int numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    for (int i = 0; i < SIGNALS; i++) {
        int status = uv_signal_init(&self->loop, &self->signals[i]);
        if (status == 0)
            status = uv_signal_start(&self->signals[i],
                                     numbers[i] == SIGHUP ? on_hangup : on_signal, numbers[i]);
        if (status != 0)
            return status;
        self->signals[i].data = self;
        /* Not a reason to go on: the loop ends when the manager and the servers have. */
        uv_unref((uv_handle_t *)&self->signals[i]);
    }
    return 0;
}

static int start_manager(service *self)
{
    lp_error error = {0};
    lp_addon *addon = NULL;
    if (store_new(self->options.store, false, &addon, &error) != LP_OK)
        return complain("--store", self->options.store, &error);

    lp_manager_options *options = &self->options.manager;
    options->addon = addon;
    options->on_log = log_from_library;
    options->on_state = on_state;
    options->state_ctx = self;
    if (lp_manager_start(&self->loop, options, &self->manager, &error) == LP_OK)
        return 0;
    if (addon != NULL && addon->destroy != NULL)
        addon->destroy(addon);
    return complain(NULL, NULL, &error);
}

static int start_servers(service *self)
{
    lp_error error = {0};
    lp_server_options server = self->options.server;
    bool apart = self->options.publish_listen != NULL;

    self->options.http.refuse_foreign_origin = true;
    if (lp_http_configure(self->manager, &self->options.http, &error) != LP_OK)
        return complain(NULL, NULL, &error);

    server.listen = self->options.listen;
    server.publish_path = apart ? "" : NULL;
    if (lp_server_start(self->manager, &server, &self->events, &error) != LP_OK)
        return complain(NULL, NULL, &error);
    if (!apart)
        return 0;

    server.listen = self->options.publish_listen;
    server.publish_path = NULL;
    server.events_path = server.metrics_path = "";
    if (lp_server_start(self->manager, &server, &self->publish, &error) != LP_OK)
        return complain(NULL, NULL, &error);
    return 0;
}

int main(int argc, char **argv)
{
    service self = {0};
    open_standard_descriptors();
    int status = options_parse(argc, argv, &self.options);
    if (status >= 0)
        return status;

    log_set_level(self.options.log_level);
    signal(SIGPIPE, SIG_IGN); /* libuv writes to sockets without MSG_NOSIGNAL */
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a failed write, not an end */
    raise_descriptor_limit();
    share_arenas(&self);
    keep_room_for_answers();
    if ((status = uv_loop_init(&self.loop)) != 0 || (status = start_signals(&self)) != 0) {
        fprintf(stderr, "longpolld: cannot start: %s\n", uv_strerror(status));
        return EXIT_FAILED;
    }

    self.exit_code = start_manager(&self);
    if (self.exit_code == 0) {
        self.exit_code = start_servers(&self);
        if (self.exit_code != 0)
            stop(&self);
        else if (lp_manager_state(self.manager) == LP_STATE_SERVING)
            announce(&self);
        lp_http_run(&self.loop);
        lp_manager_free(self.manager);
    }
    for (int i = 0; i < SIGNALS; i++)
        uv_close((uv_handle_t *)&self.signals[i], NULL);
    lp_http_run(&self.loop);
    uv_loop_close(&self.loop);
    return self.exit_code;
}
