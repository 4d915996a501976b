/* What the listener and the files of a flavour share: one connection of a listener's. On the thread
 * of its loop. */
#ifndef LP_HTTP_CONNECTION_H
#define LP_HTTP_CONNECTION_H

#include "flavour.h"

/* What stands between the network and libh2o on connections that speak TLS. */
typedef struct lp__tls lp__tls;
/* What those of one listener share; NULL where that is nothing. */
typedef struct lp__tls_group lp__tls_group;

typedef struct lp__connection {
    lp__listener *listener;
    lp__list link;
    h2o_socket_t *socket;
    lp__tls *tls; /* NULL in clear */
    bool cut;     /* for what it held */
} lp__connection;

/* libh2o's socket for an accepted descriptor, which is the connection's from now on. NULL: no
 * memory, and the descriptor is closed. */
lp__connection *lp__connection_new(lp__listener *listener, h2o_loop_t *loop, int fd, bool has_tls);
/* When h2o_accept has been called with a context of TLS. */
void lp__connection_begin_tls(lp__connection *conn, lp__tls_group *group, SSL_CTX *ctx);
/* libh2o reads from it and has nothing to write: no request is being served. */
bool lp__connection_is_reading(const lp__connection *conn);
/* libh2o has let go of it. */
bool lp__connection_is_closing(const lp__connection *conn);

/* It has closed (listener.c); its memory is the caller's to free. */
void lp__listener_closed(lp__connection *conn, bool tls_failed);

/* LP_ENOMEM. `*out` may be NULL, and is not to be closed then. */
int lp__tls_group_open(h2o_loop_t *loop, lp__tls_group **out);
void lp__tls_group_close(lp__tls_group *group, void (*closed)(void *ctx), void *ctx);

/* Answers a request in clear (tls_plain.c). What else has arrived is thrown away, since closing a
 * socket with unread bytes would reset the connection, and the answer might be lost. */
void lp__tls_answer_plain(int fd);
/* An alert of OpenSSL's, in clear. */
void lp__tls_send_alert(int fd, int alert);
/* libh2o's socket that OpenSSL speaks of, or NULL. The data of libh2o's BIO is its socket. */
h2o_socket_t *lp__tls_socket_of(const SSL *ssl);

/* Memory that a record takes of which only a part is in. */
size_t lp__tls_held(const lp__tls *tls);

#endif
