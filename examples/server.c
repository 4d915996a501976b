/* A long-poll server in twenty lines: a journal for the events, a tick every second.
 *
 *     server [DIRECTORY [ADDRESS:PORT]]
 *
 * curl 'http://127.0.0.1:8101/events?category=ticks&timeout=20' gets the next tick. */
/* README begin */
#include <signal.h>
#include <stdio.h>
#include <uv.h>

#include <longpoll/http.h>
#include <longpoll/journal.h>

static void on_tick(uv_timer_t *timer)
{
    lp_publish(timer->data, lp_str_of("ticks"), lp_str_of("{\"tick\":true}"), NULL, NULL);
}

int main(int argc, char **argv)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_server_options http = LP_SERVER_OPTIONS_INIT;
    lp_manager *manager;
    lp_server *server;
    lp_error error;
    uv_timer_t timer;

    signal(SIGPIPE, SIG_IGN);
    http.listen = argc > 2 ? argv[2] : "127.0.0.1:8101";
    if (lp_journal_new(argc > 1 ? argv[1] : "events.journal", NULL, &options.addon, &error) ||
        lp_manager_start(uv_default_loop(), &options, &manager, &error) ||
        lp_server_start(manager, &http, &server, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    uv_timer_init(uv_default_loop(), &timer);
    timer.data = manager;
    uv_timer_start(&timer, on_tick, 1000, 1000);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
/* README end */
