/* What connection_evloop.c and tls_evloop.c share. On the thread of the loop. */
#ifndef LP_HTTP_CONNECTION_EVLOOP_H
#define LP_HTTP_CONNECTION_EVLOOP_H

#include "connection.h"

struct lp__tls {
    h2o_socket_t *socket;
    SSL_CTX *ctx; /* a reference: libh2o keeps a bare pointer to it */
    SSL *ssl;     /* libh2o's; NULL before anything has come */
    void (*closed)(struct lp__tls *tls);
    bool is_secure;  /* the handshake is done */
    bool has_spoken; /* ours has begun: alerts are no plain text any more */
};

/* Of zeroed memory, when h2o_accept has been called for `socket` with `ctx`: takes its `on_close`.
 * `closed` runs when libh2o has closed it, and calls lp__tls_end. */
void lp__tls_begin(lp__tls *tls, h2o_socket_t *socket, SSL_CTX *ctx, void (*closed)(lp__tls *tls));
/* Lets go of what it held, and returns whether its handshake failed. */
bool lp__tls_end(lp__tls *tls);

#endif
