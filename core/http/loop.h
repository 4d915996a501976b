/* What core/http needs of the event loop, and all that depends on libh2o's flavour: loops, timers,
 * wake-ups, the watch for clients that leave, and the listener with its connections. Files that end
 * in _uv.c are the flavour "libh2o on libuv", those in _evloop.c "libh2o-evloop"; each build of
 * core/http has the ones or the others.
 *
 * Everything belongs to the thread of its loop, unless said otherwise. Nothing here calls back
 * before it has returned. */
#ifndef LP_HTTP_LOOP_H
#define LP_HTTP_LOOP_H

#include <h2o.h>

#include <longpoll/event.h>

#include "../engine/list.h"

struct uv_loop_s;

/* A loop is ours (the home loop's, or a thread's own), or it is one that the host has made and
 * runs. What is closed on one of ours is gone in a later turn; on a host's evloop, when the call
 * returns, and `closed` has run by then: the host may never turn it again. */

/* ---- loops ------------------------------------------------------------- */

/* Milliseconds that only rise. */
uint64_t lp__loop_now(h2o_loop_t *loop);

/* The loop of libh2o's contexts on a manager's home loop: on libuv that loop itself, else the
 * evloop that lp_http_run runs it in, made when there is none yet (NULL: no memory, or no
 * descriptor). Counted: to be let go of. Home thread. */
h2o_loop_t *lp__loop_of_home(struct uv_loop_s *home);
void lp__loop_let_go(h2o_loop_t *loop);

/* libh2o aborts where there is no descriptor for a context: this keeps what one takes, to be
 * released right before it is made. LP_EFULL. */
typedef struct lp__reserve {
    int fds[2];
} lp__reserve;
int lp__reserve_take(lp__reserve *reserve);
void lp__reserve_release(const lp__reserve *reserve);
/* h2o_context_dispose, and what it forgets. */
void lp__context_dispose(h2o_context_t *context);

/* A loop for a thread of its own, which makes it, runs it until `*is_over`, and frees it when
 * nothing of ours is left on it. NULL as above. */
h2o_loop_t *lp__loop_new(void);
void lp__loop_run(h2o_loop_t *loop, const bool *is_over);
void lp__loop_free(h2o_loop_t *loop);

/* Runs once before the loop waits again, behind everything that the turn has brought, and costs no
 * system call. Starting it again before it has run changes nothing; from within, it runs
 * once more before the loop waits, and not before others have had their turn. On a loop that the
 * host runs, not to be closed from within. */
typedef struct lp__soon lp__soon;
int lp__soon_open(h2o_loop_t *loop, void (*run)(void *ctx), void *ctx, lp__soon **out);
void lp__soon_start(lp__soon *soon);
/* `closed` (may be NULL) runs when the handle is closed and freed, here and below. */
void lp__soon_close(lp__soon *soon, void (*closed)(void *ctx), void *ctx);

/* Wakes its loop: lp__alarm_ring may be called from any thread. Rings that come before `run` are
 * one. Keeps no loop alive. LP_EFULL: no descriptor. */
typedef struct lp__alarm lp__alarm;
int lp__alarm_open(h2o_loop_t *loop, void (*run)(void *ctx), void *ctx, lp__alarm **out);
void lp__alarm_ring(lp__alarm *alarm);
void lp__alarm_close(lp__alarm *alarm, void (*closed)(void *ctx), void *ctx);

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
int lp__watch_add(lp__watch *watch, h2o_req_t *req, void *tag);
/* By the descriptor of the request's connection (lp__socket_of). */
void lp__watch_remove(lp__watch *watch, int fd);

/* ---- sockets and timers ------------------------------------------------ */

/* The descriptor of the connection that a request came in on, -1 when it has none. */
int lp__socket_of(h2o_req_t *req);
/* Makes a pending write fail and discards what the kernel holds: libh2o then closes the connection.
 */
void lp__socket_abort(int fd);

/* Ends a request and its connection without an answer. */
void lp__request_drop(h2o_req_t *req);

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
    /* Several listeners share one address, and the kernel deals connections out to them. The first
     * is LP__SHARES_FIRST: to it an address that another program uses is an error; the port it got
     * is the others'. */
    enum { LP__SHARES_NOT, LP__SHARES_FIRST, LP__SHARES_TOO } shares;
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
/* To be called for each request on one of a listener's connections, before it is handled; once more
 * does no harm. False: its client has broken the connection, no answer can be sent, and it is to be
 * dropped. */
bool lp__connection_serves(h2o_req_t *req);
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
