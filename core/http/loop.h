/* What core/http needs of the event loop, and all that depends on libh2o's flavour: the watch for
 * clients that leave, timers, and the listener with its connections. watch_uv.c and listener_uv.c
 * are the flavour "libh2o on libuv", and alone call libuv; another flavour is other files behind
 * this header.
 *
 * Home loop only. Nothing here calls back before it has returned. */
#ifndef LP_HTTP_LOOP_H
#define LP_HTTP_LOOP_H

#include <h2o.h>

#include <longpoll/event.h>

#include "../engine/list.h"

/* Milliseconds that only rise; the same for a whole turn of the loop. */
uint64_t lp__loop_now(h2o_loop_t *loop);

/* ---- clients that leave ------------------------------------------------ */

/* libh2o stops reading before it calls a handler, so a request that is parked does not see its
 * client leave (h2o issue 1525). One epoll instance of ours per loop does: FIN, RST, and both with
 * pipelined bytes waiting; and TLS's close_notify, with no FIN behind it. */
typedef struct lp__watch lp__watch;

/* The client of a parked request has gone; `tag` is not watched any more. */
typedef void (*lp__watch_cb)(void *tag);

/* LP_ENOMEM, or LP_EFULL when there is no descriptor left. */
int lp__watch_open(h2o_loop_t *loop, lp__watch_cb gone, lp__watch **out);
/* `closed` runs when the watch's handle is closed and freed. */
void lp__watch_close(lp__watch *watch, void (*closed)(void *ctx), void *ctx);
/* LP_EFULL when the kernel refuses. */
int lp__watch_add(lp__watch *watch, int fd, void *tag);
void lp__watch_remove(lp__watch *watch, int fd);

/* ---- sockets and timers ------------------------------------------------ */

/* The descriptor of the connection that a request came in on, -1 when it has none. */
int lp__socket_of(h2o_req_t *req);
/* Makes a pending write fail and discards what the kernel holds: libh2o then closes the connection.
 */
void lp__socket_abort(int fd);

/* A timer that does not keep the loop alive. */
typedef struct lp__timer lp__timer;
int lp__timer_open(h2o_loop_t *loop, void (*fire)(void *ctx), void *ctx, lp__timer **out);
void lp__timer_start(lp__timer *timer, uint64_t delay_ms);
bool lp__timer_is_started(const lp__timer *timer);
/* `closed` (may be NULL) runs when the handle is closed and freed. */
void lp__timer_close(lp__timer *timer, void (*closed)(void *ctx), void *ctx);

/* ---- listener ---------------------------------------------------------- */

typedef struct lp__listener lp__listener;

typedef struct lp__listener_options {
    const char *address;       /* "127.0.0.1:8101", "[::1]:8101" */
    size_t connections_max;    /* past it a connection gets `refusal` (in clear) and is closed */
    size_t request_bytes_max;  /* in all, that requests hold; past it the largest are cut */
    size_t header_bytes_max;   /* of one request; past it it is cut */
    lp_str refusal;            /* a whole HTTP answer; static */
    uint64_t write_timeout_ms; /* the kernel ends a connection whose client takes nothing so long */
    SSL_CTX *tls; /* connections speak TLS with it; NULL: in clear. A reference is taken */
    /* h2o_accept is to be called, with `tls` as its context (NULL: in clear). */
    void (*accepted)(void *ctx, h2o_socket_t *socket, SSL_CTX *tls);
    void (*closed)(void *ctx, bool tls_failed);  /* one that was accepted */
    void (*refused)(void *ctx);                  /* one past the bound */
    void (*failed)(void *ctx, const char *what); /* an accept failed; the listener goes on */
    void (*empty)(void *ctx); /* the last connection of a listener that is stopped has closed */
    void *ctx;
} lp__listener_options;

/* LP_EINVAL, LP_EINUSE, LP_EACCES, LP_ENOMEM with a sentence. */
int lp__listener_open(h2o_loop_t *loop, const lp__listener_options *options, lp__listener **out,
                      lp_error *error);
int lp__listener_port(const lp__listener *listener);
size_t lp__listener_connections(const lp__listener *listener);
/* Another context for connections from now on, of a listener that speaks TLS. */
void lp__listener_set_tls(lp__listener *listener, SSL_CTX *tls);
/* To be called for each request on one of a listener's connections, before it is handled. */
void lp__connection_serves(h2o_req_t *req);
/* Callback of OpenSSL for contexts that are used with these connections. */
void lp__tls_on_info(const SSL *ssl, int where, int value);
/* Accepts no more; `empty` runs when there is no connection (left), maybe at once in a later turn.
 */
void lp__listener_stop(lp__listener *listener);
/* Ends the connections on which no request is being served. */
void lp__listener_end_idle(lp__listener *listener);
/* Ends all connections, also in the middle of an answer. */
void lp__listener_end_all(lp__listener *listener);
/* Only when it is stopped and empty. */
void lp__listener_free(lp__listener *listener);

#endif
