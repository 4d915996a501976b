/* longpoll-serve-uv: the least that a program with a libuv loop does to serve long polls, on the uv
 * flavour of libh2o, where longpolld takes evloop's. The benchmarks measure it against
 * longpoll-floor-uv. One process, one thread, events in memory alone.
 *
 *     longpoll-serve-uv [--listen 127.0.0.1:8102] [--event-buffer 250] */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <longpoll/http.h>

static int usage(void)
{
    fprintf(stderr, "usage: longpoll-serve-uv [--listen ADDR:PORT] [--event-buffer N]\n");
    return 2;
}

int main(int argc, char **argv)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_server_options http = LP_SERVER_OPTIONS_INIT;
    lp_manager *manager;
    lp_server *server;
    lp_error error;

    http.listen = "127.0.0.1:8102";
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--listen") == 0)
            http.listen = argv[i + 1];
        else if (i + 1 < argc && strcmp(argv[i], "--event-buffer") == 0)
            options.event_buffer_max = atoll(argv[i + 1]);
        else
            return usage();
    }
    signal(SIGPIPE, SIG_IGN);
    if (lp_manager_start(uv_default_loop(), &options, &manager, &error) ||
        lp_server_start(manager, &http, &server, &error)) {
        fprintf(stderr, "longpoll-serve-uv: %s\n", error.message);
        return 1;
    }
    printf("longpoll-serve-uv serves http://127.0.0.1:%d\n", lp_server_port(server));
    fflush(stdout);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
