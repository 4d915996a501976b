/* A manager and a server that run in the test's own thread: every wait of raw_http turns their
 * loop, so a test sees both sides at rest between its steps. */
#ifndef TESTS_HTTP_HARNESS_H
#define TESTS_HTTP_HARNESS_H

#include <uv.h>

#include <longpoll/http.h>

#include "raw_http.h"

typedef struct harness {
    uv_loop_t loop;
    lp_manager *manager;
    lp_server *server;
    int port;
    bool manager_down, server_down;
} harness;

extern harness h;

typedef struct harness_options {
    lp_manager_options manager;
    lp_http_options http;
    lp_server_options server;
} harness_options;

#define HARNESS_OPTIONS_INIT                                                                       \
    {                                                                                              \
        LP_MANAGER_OPTIONS_INIT, LP_HTTP_OPTIONS_INIT, LP_SERVER_OPTIONS_INIT                      \
    }

/* NULL: all defaults. */
void harness_start(const harness_options *options);
void harness_start_manager(const lp_manager_options *options);
/* Begins to end both; harness_stop waits for that as well. */
void harness_shutdown(int64_t timeout_ms);
/* Ends what still runs and checks that nothing is left: handles, descriptors. */
void harness_stop(void);

/* Turns the loop until `condition` holds; false when it does not by the deadline. */
bool harness_until(bool (*condition)(void));
bool harness_waiters_are(uint64_t count);
bool harness_connections_are(size_t count);
/* Turns the loop for this long. */
void harness_turn(int ms);

lp_stats harness_stats(void);
size_t harness_descriptors(void);
/* Publishes without HTTP. */
void harness_publish(const char *category, const char *data);

raw_conn harness_connect(void);
/* Connects and sends a poll of 60 seconds with `extra` behind its query. */
raw_conn harness_poll(const char *category, const char *extra);
/* Connects, sends a request and reads the answer, with its connection closed again. */
raw_answer harness_ask(const char *request);

#endif
