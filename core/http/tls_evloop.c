/* The flavour "libh2o-evloop" of loop.h: what libh2o's TLS needs of us. On the thread of the loop.
 *
 * When a request and a fatal alert (or a broken record, right behind the handshake) come in one
 * read, libh2o serves the request, OpenSSL refuses to encrypt the answer, and libh2o takes nothing
 * at all for an answer that has been written. So a request is not served on a connection that
 * OpenSSL has given up. */
#include "connection_evloop.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <longpoll/http.h>

/* What OpenSSL and libh2o hold of a record that is not whole. */
#define HELD_BY_PART (16384 + 2048 + 2 * H2O_SOCKET_INITIAL_INPUT_BUFFER_SIZE)

/* libh2o has closed the socket. Also marks the sockets that are ours. */
static void on_closed(void *data)
{
    lp__tls *tls = data;
    tls->closed(tls);
}

static lp__tls *tls_of(const h2o_socket_t *socket)
{
    return socket && socket->on_close.cb == on_closed ? socket->on_close.data : NULL;
}

/* ---- requests ---------------------------------------------------------- */

static bool is_given_up(const lp__tls *tls)
{
    return tls->is_secure && SSL_in_init(tls->ssl);
}

bool lp__connection_serves(h2o_req_t *req)
{
    lp__tls *tls = tls_of(req->conn->callbacks->get_socket(req->conn));
    return !tls || !is_given_up(tls);
}

/* ---- what OpenSSL tells ------------------------------------------------ */

/* Somebody wrote http:// in place of https://. */
static bool is_plain_request(void)
{
    unsigned long code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST;
}

/* libh2o drops what OpenSSL has to say of a handshake that fails. Until ours has begun it is plain
 * text, and tells clients why: no common version, no common protocol. A goodbye without an end of
 * file behind it is told to libh2o as one. */
void lp__tls_on_info(const SSL *ssl, int where, int value)
{
    lp__tls *tls = tls_of(lp__tls_socket_of(ssl));
    if (!tls)
        return;
    int fd = h2o_socket_get_fd(tls->socket);
    tls->ssl = (SSL *)(uintptr_t)ssl;
    if (where & SSL_CB_HANDSHAKE_DONE)
        tls->is_secure = true;
    else if (where == SSL_CB_READ_ALERT)
        shutdown(fd, SHUT_RD);
    else if (where == SSL_CB_WRITE_ALERT && !tls->has_spoken && value >> 8 == SSL3_AL_FATAL)
        lp__tls_send_alert(fd, value);
    else if (where == SSL_CB_ACCEPT_LOOP && SSL_get_state(ssl) == TLS_ST_SW_SRVR_HELLO)
        tls->has_spoken = true;
    else if (where == SSL_CB_ACCEPT_EXIT && !tls->has_spoken && is_plain_request())
        lp__tls_answer_plain(fd);
}

/* ---- connections ------------------------------------------------------- */

int lp__tls_group_open(h2o_loop_t *loop, lp__tls_group **out)
{
    (void)loop;
    *out = NULL;
    return LP_OK;
}

void lp__tls_group_close(lp__tls_group *group, void (*closed)(void *ctx), void *ctx)
{
    (void)group, (void)closed, (void)ctx;
}

void lp__tls_begin(lp__tls *tls, h2o_socket_t *socket, SSL_CTX *ctx, void (*closed)(lp__tls *tls))
{
    SSL_CTX_up_ref(ctx);
    tls->ctx = ctx;
    tls->socket = socket;
    tls->closed = closed;
    socket->on_close.cb = on_closed;
    socket->on_close.data = tls;
}

bool lp__tls_end(lp__tls *tls)
{
    SSL_CTX_free(tls->ctx);
    return tls->ssl && !tls->is_secure;
}

size_t lp__tls_held(const lp__tls *tls)
{
    return tls->ssl && SSL_has_pending(tls->ssl) ? HELD_BY_PART : 0;
}

/* ---- connections of somebody else's listener --------------------------- */

typedef struct lone {
    lp__tls tls;
    void (*closed)(void *data); /* the host's */
    void *data;
} lone;

static void on_lone_closed(lp__tls *tls)
{
    lone *own = LP__CONTAINER(tls, lone, tls);
    void (*closed)(void *data) = own->closed;
    void *data = own->data;
    lp__tls_end(tls);
    free(own);
    if (closed)
        closed(data);
}

int lp_tls_accept_socket(h2o_accept_ctx_t *accept, h2o_socket_t *socket)
{
    lone *own = accept->ssl_ctx ? calloc(1, sizeof(*own)) : NULL;
    if (accept->ssl_ctx && !own)
        return LP_ENOMEM;
    h2o_accept(accept, socket);
    if (own) {
        own->closed = socket->on_close.cb;
        own->data = socket->on_close.data;
        lp__tls_begin(&own->tls, socket, accept->ssl_ctx, on_lone_closed);
    }
    return LP_OK;
}
