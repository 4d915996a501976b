/* The least of a host's own libh2o server: a listener that hands its connections to libh2o, in
 * whichever flavour the test is built for. */
#ifndef TESTS_HTTP_OWN_LISTENER_H
#define TESTS_HTTP_OWN_LISTENER_H

#include <h2o.h>

/* Listens on a port that becomes the harness's; `accept` names the context, whose loop it is on,
 * and where there is one, the context of TLS. One at a time. */
void own_listen(h2o_accept_ctx_t *accept);
/* Takes no more connections. */
void own_unlisten(void);
size_t own_connections(void);

/* Disposes of a context without a leak. */
void own_dispose(h2o_context_t *context);

/* A loop of a test's own, to be freed when nothing is on it. */
h2o_loop_t *own_loop_new(void);
void own_loop_free(h2o_loop_t *loop);
/* Turns it once, without waiting. */
void own_turn(h2o_loop_t *loop);

#endif
