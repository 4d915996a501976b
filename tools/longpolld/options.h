/* The command line of longpolld. Used once, by main, before anything else runs. */
#ifndef LONGPOLLD_OPTIONS_H
#define LONGPOLLD_OPTIONS_H

#include <longpoll/http.h>
#include <longpoll/manager.h>

enum { CORS_ORIGINS_MAX = 64, THREADS_MAX = 64 };

typedef struct daemon_options {
    const char *listen;         /* "127.0.0.1:8101" */
    const char *publish_listen; /* NULL: publishing is served by `listen` */
    const char *store;          /* "memory", "journal:DIR?…" */
    int64_t shutdown_timeout_ms;
    lp_log_level log_level;

    lp_manager_options manager; /* zero where no flag was given: the library's default */
    lp_http_options http;
    lp_server_options server;
    const char *cors_origins[CORS_ORIGINS_MAX]; /* what `http` points to */
} daemon_options;

/* Fills `out`, whose strings point into `argv` from then on. Returns -1 when the program is to go
 * on, else the status to exit with: 0 after --help and --version, 2 after a wrong flag or value,
 * which has been said in a sentence on standard error. A flag given twice counts as it came last,
 * but for --cors-origin. `out` must stay where it is. */
int options_parse(int argc, char **argv, daemon_options *out);

#endif
