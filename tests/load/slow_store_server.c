/* slow_store_server: a server for the load programs, with a store that takes its time and figures
 * that longpolld does not tell.
 *
 *   slow_store_server [--listen 127.0.0.1:0] [--commit-ms 5] [--event-buffer 10000] [--stats FILE]
 *
 * Its add-on keeps nothing, and sleeps `commit-ms` in each on_publish: an event is stamped that
 * long before it can be seen. 0: no add-on at all. It prints "listening on ADDRESS:PORT" when it
 * serves. On SIGUSR1 it writes "waiters N connections N allocated N" (bytes in use of malloc,
 * mmapped blocks too) into FILE. SIGTERM ends it.
 *
 * Public headers only: it is also a check that they are enough for a server of one's own. */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <uv.h>

#include <longpoll/addon.h>
#include <longpoll/http.h>

#include "load_figures.h"

#define STOP_MS 10000

typedef struct host {
    uv_loop_t loop;
    uv_signal_t term, usr1;
    lp_manager *manager;
    lp_server *server;
    const char *listen, *stats_path;
    bool failed;
} host;

static int on_start(lp_addon *self, lp_replay *replay)
{
    (void)self;
    (void)replay;
    return LP_OK;
}

static int on_publish(lp_addon *self, lp_batch *batch)
{
    long ms = *(long *)self->state;
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)batch;
    nanosleep(&pause, NULL);
    return LP_OK;
}

static int on_shutdown(lp_addon *self, lp_ending *ending)
{
    (void)self;
    (void)ending;
    return LP_OK;
}

static void on_log(void *ctx, lp_log_level level, const char *line)
{
    (void)ctx;
    if (level <= LP_LOG_WARN)
        fprintf(stderr, "%s\n", line);
}

static void on_usr1(uv_signal_t *signal, int number)
{
    host *h = signal->data;
    struct mallinfo2 memory = mallinfo2();
    lp_stats stats = {0};
    char path[4096];
    FILE *file;

    (void)number;
    if (!h->stats_path)
        return;
    lp_manager_stats(h->manager, &stats, sizeof stats);
    snprintf(path, sizeof path, "%s.part", h->stats_path);
    file = fopen(path, "w");
    if (!file)
        return;
    fprintf(file, "waiters %llu connections %zu allocated %zu\n", (unsigned long long)stats.waiters,
            h->server ? lp_server_connections(h->server) : 0, memory.uordblks + memory.hblkhd);
    fclose(file);
    rename(path, h->stats_path);
}

static void on_closed(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    host *h = ctx;

    (void)unkept;
    h->failed = h->failed || error->status != LP_OK;
    lp_manager_free(manager);
}

static void end(host *h)
{
    uv_close((uv_handle_t *)&h->term, NULL);
    uv_close((uv_handle_t *)&h->usr1, NULL);
    if (h->server)
        lp_server_stop(h->server, STOP_MS, NULL, NULL);
    h->server = NULL;
    lp_manager_shutdown(h->manager, STOP_MS, on_closed, h);
}

static void on_term(uv_signal_t *signal, int number)
{
    (void)number;
    end(signal->data);
}

static void serve(host *h)
{
    lp_server_options options = LP_SERVER_OPTIONS_INIT;
    lp_error error;

    options.listen = h->listen;
    if (lp_server_start(h->manager, &options, &h->server, &error) != LP_OK) {
        fprintf(stderr, "error: %s\n", error.message);
        h->failed = true;
        end(h);
        return;
    }
    printf("listening on %.*s:%d\n", (int)(strrchr(h->listen, ':') - h->listen), h->listen,
           lp_server_port(h->server));
    fflush(stdout);
}

static void on_state(lp_manager *manager, lp_state state, const lp_error *error, void *ctx)
{
    host *h = ctx;

    h->manager = manager;
    if (state == LP_STATE_SERVING && !h->server)
        serve(h);
    if (error)
        fprintf(stderr, "error: %s\n", error->message);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--listen", "--commit-ms", "--event-buffer", "--stats",
                                        NULL};
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_addon addon = LP_ADDON_INIT("slow");
    host h = {0};
    lp_error error;
    long commit_ms;

    options_check(argc, argv, 1, known);
    commit_ms = option_number(argc, argv, "--commit-ms", 5);
    h.listen = option_text(argc, argv, "--listen", "127.0.0.1:0");
    h.stats_path = option_text(argc, argv, "--stats", NULL);
    if (!strchr(h.listen, ':'))
        fail("option --listen \"%s\": not ADDRESS:PORT", h.listen);
    addon.state = &commit_ms;
    addon.on_start = on_start;
    addon.on_publish = on_publish;
    addon.on_shutdown = on_shutdown;
    options.addon = commit_ms ? &addon : NULL;
    options.event_buffer_max = option_number(argc, argv, "--event-buffer", 10000);
    options.on_log = on_log;
    options.on_state = on_state;
    options.state_ctx = &h;

    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&h.loop);
    uv_signal_init(&h.loop, &h.term);
    uv_signal_init(&h.loop, &h.usr1);
    h.term.data = h.usr1.data = &h;
    uv_signal_start(&h.term, on_term, SIGTERM);
    uv_signal_start(&h.usr1, on_usr1, SIGUSR1);
    if (lp_manager_start(&h.loop, &options, &h.manager, &error) != LP_OK)
        fail("%s", error.message);
    if (lp_manager_state(h.manager) == LP_STATE_SERVING && !h.server)
        serve(&h);
    uv_run(&h.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&h.loop) != 0 || h.failed;
}
