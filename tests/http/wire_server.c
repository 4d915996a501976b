/* A server for wire_suite: lp_server with its defaults, or with --options those that wire_suite.c
 * names, on any free port of 127.0.0.1. Prints the port, and ends when its standard input does. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include <longpoll/http.h>

static lp_manager *manager;
static lp_server *server;

static void on_down(lp_manager *ended, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)error, (void)unkept, (void)ctx;
    lp_manager_free(ended);
}

static void on_input(uv_poll_t *input, int status, int events)
{
    char byte;
    (void)events;
    if (status == 0 && fread(&byte, 1, 1, stdin) == 1)
        return;
    uv_close((uv_handle_t *)input, NULL);
    lp_manager_shutdown(manager, 1000, on_down, NULL);
    lp_server_stop(server, 1000, NULL, NULL);
}

static int set_options(lp_error *error)
{
    static const char *const origins[] = {"https://pages.example"};
    lp_http_options http = LP_HTTP_OPTIONS_INIT;
    http.strict_status = true;
    http.refuse_foreign_origin = true;
    http.cors_origins = origins;
    http.cors_origin_count = 1;
    http.publish_rate = 1;
    http.publish_burst = 60;
    http.stream_heartbeat_ms = 200;
    return lp_http_configure(manager, &http, error);
}

int main(int argc, char **argv)
{
    bool has_options = argc > 1 && strcmp(argv[1], "--options") == 0;
    lp_error error;
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_server_options listening = LP_SERVER_OPTIONS_INIT;
    uv_loop_t *loop = uv_default_loop();
    uv_poll_t input;

    signal(SIGPIPE, SIG_IGN);
    listening.listen = "127.0.0.1:0";
    if (lp_manager_start(loop, &options, &manager, &error) != LP_OK ||
        (has_options && set_options(&error) != LP_OK) ||
        lp_server_start(manager, &listening, &server, &error) != LP_OK) {
        fprintf(stderr, "wire_server: %s\n", error.message);
        return 1;
    }
    printf("%d\n", lp_server_port(server));
    fflush(stdout);
    uv_poll_init(loop, &input, 0);
    uv_poll_start(&input, UV_READABLE, on_input);
    lp_http_run(loop);
    return uv_loop_close(loop) == 0 ? 0 : 1;
}
