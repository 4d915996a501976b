/* The flavour "libh2o on libuv" of loop.h: what stands between libuv and libh2o's TLS. Home loop
 * only.
 *
 * libh2o 2.2 must not be given what comes from a TLS connection as it comes:
 *   - when a read fills libh2o's buffer to the brim, libuv reads once more and reports that nothing
 *     is there, which libh2o takes for an error: the connection is closed;
 *   - when the client resets an idle connection, libh2o writes its goodbye, libuv refuses it, and
 *     libh2o waits for ever that it is written: descriptor and memory are lost;
 *   - when a request and a fatal alert (or a broken record, right behind the handshake) come in one
 *     read, libh2o serves the request, OpenSSL refuses to encrypt the answer, libh2o writes no
 *     buffers at all, and libuv asserts: one client ends the process.
 * So libuv's two callbacks are ours. They read one record at a time, which is what keeps an alert
 * from being seen before the request in front of it is answered, and see to the other two.
 *
 * libh2o sets its own callbacks when it begins to read again. Behind a request ours are set first,
 * and uv_read_start then lets them stay (UV_EALREADY); elsewhere (between the flights of a
 * handshake, behind "100 Continue") the connection is on a list until they are replaced, before the
 * loop waits again. */
#include "connection_uv.h"

#include <ctype.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <longpoll/http.h>

#if UV_VERSION_HEX < 0x012600
#error "libuv 1.38 or later is needed: before, uv_read_start replaced the callbacks of a stream"
#endif

#define BODY_MAX (16384 + 2048) /* RFC 5246, 6.2.3; less in TLS 1.3 */

/* What OpenSSL and libh2o hold of a record that is not whole. */
#define HELD_BY_PART (BODY_MAX + 2 * H2O_SOCKET_INITIAL_INPUT_BUFFER_SIZE)

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf);
static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf);

static bool is_closing(const lp__tls *tls)
{
    return uv_is_closing((uv_handle_t *)tls->stream);
}

static int descriptor_of(const lp__tls *tls)
{
    return h2o_socket_get_fd(tls->socket);
}

/* libh2o has let go of the socket, and its stream is closing. Who called may still be here. Also
 * marks the sockets that are guarded. */
static void on_disposed(void *data)
{
    lp__tls *tls = data;
    if (tls->disposed)
        tls->disposed(tls);
}

static lp__tls *tls_of(const h2o_socket_t *socket)
{
    return socket->on_close.cb == on_disposed ? socket->on_close.data : NULL;
}

/* ---- whose callbacks --------------------------------------------------- */

/* Puts our callbacks in the place of libh2o's, if it reads. */
static bool guard(lp__tls *tls)
{
    uv_stream_t *stream = tls->stream;
    if (!stream->read_cb)
        return false;
    if (stream->read_cb != on_read) {
        tls->alloc = stream->alloc_cb;
        tls->read = stream->read_cb;
        uv_read_stop(stream);
        uv_read_start(stream, on_alloc, on_read);
    }
    return true;
}

static void on_prepare(uv_prepare_t *prepare)
{
    lp__tls_group *group = LP__CONTAINER(prepare, lp__tls_group, prepare);
    lp__list *next, *at = group->restarted.next;
    for (; at != &group->restarted; at = next) {
        lp__tls *tls = LP__CONTAINER(at, lp__tls, restarted);
        next = at->next;
        if (is_closing(tls) || tls->serves_request || guard(tls))
            lp__list_unlink(at);
    }
    if (lp__list_is_empty(&group->restarted))
        uv_prepare_stop(prepare);
}

static void expect_restart(lp__tls *tls)
{
    if (lp__list_is_empty(&tls->restarted))
        lp__list_push_back(&tls->group->restarted, &tls->restarted);
    if (!uv_is_active((uv_handle_t *)&tls->group->prepare))
        uv_prepare_start(&tls->group->prepare, on_prepare);
}

/* The request has ended, and libh2o is about to read the next one, or to close. */
static void on_request_ended(void *memory)
{
    lp__tls *tls = *(lp__tls **)memory;
    tls->serves_request = false;
    if (!is_closing(tls))
        uv_read_start(tls->stream, on_alloc, on_read);
}

bool lp__connection_serves(h2o_req_t *req)
{
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    lp__tls *tls = socket ? tls_of(socket) : NULL;
    if (!tls || tls->serves_request)
        return true;
    tls->serves_request = true;
    lp__tls **memory = h2o_mem_alloc_shared(&req->pool, sizeof(tls), on_request_ended);
    *memory = tls;
    return true;
}

/* ---- giving libh2o what is read ---------------------------------------- */

static void give(lp__tls *tls, ssize_t len)
{
    uv_buf_t unused = {0}; /* libh2o knows where its buffer is */
    bool said_goodbye = tls->said_goodbye;
    tls->read(tls->stream, len, &unused);
    if (is_closing(tls))
        return;
    if (tls->said_goodbye && !said_goodbye)
        shutdown(descriptor_of(tls), SHUT_RD); /* as if it had closed: libh2o sees the end */
    if (!guard(tls) && !tls->serves_request)
        expect_restart(tls);
}

static void give_header(lp__tls *tls)
{
    uv_buf_t buf;
    tls->alloc((uv_handle_t *)tls->stream, LP__TLS_HEADER, &buf);
    memcpy(buf.base, tls->header, LP__TLS_HEADER);
    tls->header_len = 0;
    give(tls, LP__TLS_HEADER);
}

/* The header of a record is in. OpenSSL is told at once of one that cannot be. */
static void begin_record(lp__tls *tls)
{
    size_t len = (size_t)tls->header[3] << 8 | tls->header[4];
    bool is_record = tls->header[0] >= 20 && tls->header[0] <= 24 && tls->header[1] == 3 &&
                     len > 0 && len <= BODY_MAX;
    if (!is_record) {
        if (!tls->has_spoken && isupper(tls->header[0]) && isupper(tls->header[1]))
            lp__tls_answer_plain(descriptor_of(tls)); /* somebody wrote http:// */
        give_header(tls);
        return;
    }
    tls->header_given = false;
    tls->body_left = (uint16_t)len;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    lp__tls *tls = tls_of(handle->data);
    if (tls->header_len < LP__TLS_HEADER) {
        *buf = uv_buf_init((char *)tls->header + tls->header_len,
                           (unsigned)(LP__TLS_HEADER - tls->header_len));
        return;
    }
    tls->alloc(handle, suggested, buf);
    if (!tls->header_given) {
        memcpy(buf->base, tls->header, LP__TLS_HEADER);
        buf->base += LP__TLS_HEADER;
        buf->len -= LP__TLS_HEADER;
    }
    if (buf->len > tls->body_left)
        buf->len = tls->body_left;
}

/* libh2o closes. Where its goodbye cannot be written it would wait for that for ever; told to close
 * once more, it closes at once. */
static void on_failed(lp__tls *tls, ssize_t failure)
{
    give(tls, failure);
    if (!is_closing(tls) && failure != UV_EOF)
        h2o_socket_close(tls->socket);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    lp__tls *tls = tls_of(stream->data);
    (void)buf;
    if (len < 0) {
        on_failed(tls, len);
    } else if (len > 0 && tls->header_len < LP__TLS_HEADER) {
        tls->has_heard = true;
        tls->header_len += (uint8_t)len;
        if (tls->header_len == LP__TLS_HEADER)
            begin_record(tls);
    } else if (len > 0) {
        ssize_t given = tls->header_given ? len : len + LP__TLS_HEADER;
        tls->header_given = true;
        tls->body_left -= (uint16_t)len;
        if (!tls->body_left)
            tls->header_len = 0;
        give(tls, given);
    } /* else nothing is there after all */
}

/* ---- what OpenSSL tells ------------------------------------------------ */

/* libh2o drops what OpenSSL has to say of a handshake that fails. Until ours has begun it is plain
 * text, and tells clients why: no common version, no common protocol. */
void lp__tls_on_info(const SSL *ssl, int where, int value)
{
    const h2o_socket_t *socket = lp__tls_socket_of(ssl);
    lp__tls *tls = socket ? tls_of(socket) : NULL;
    if (!tls)
        return;
    if (where & SSL_CB_HANDSHAKE_DONE)
        tls->is_secure = true;
    else if (where == SSL_CB_READ_ALERT)
        tls->said_goodbye = true;
    else if (where == SSL_CB_WRITE_ALERT && !tls->has_spoken && value >> 8 == SSL3_AL_FATAL)
        lp__tls_send_alert(descriptor_of(tls), value);
    else if (where == SSL_CB_ACCEPT_LOOP && SSL_get_state(ssl) == TLS_ST_SW_SRVR_HELLO)
        tls->has_spoken = true;
}

/* ---- connections ------------------------------------------------------- */

static void init_group(h2o_loop_t *loop, lp__tls_group *group)
{
    lp__list_init(&group->restarted);
    uv_prepare_init(loop, &group->prepare);
    uv_unref((uv_handle_t *)&group->prepare);
}

int lp__tls_group_open(h2o_loop_t *loop, lp__tls_group **out)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return LP_ENOMEM;
    init_group(loop, *out);
    return LP_OK;
}

static void on_group_closed(uv_handle_t *handle)
{
    lp__tls_group *group = LP__CONTAINER(handle, lp__tls_group, prepare);
    void (*closed)(void *ctx) = group->closed;
    void *ctx = group->ctx;
    free(group);
    closed(ctx);
}

void lp__tls_group_close(lp__tls_group *group, void (*closed)(void *ctx), void *ctx)
{
    group->closed = closed;
    group->ctx = ctx;
    uv_close((uv_handle_t *)&group->prepare, on_group_closed);
}

void lp__tls_begin(lp__tls *tls, lp__tls_group *group, uv_stream_t *stream, h2o_socket_t *socket,
                   SSL_CTX *ctx)
{
    SSL_CTX_up_ref(ctx);
    tls->ctx = ctx;
    tls->group = group;
    tls->stream = stream;
    tls->socket = socket;
    lp__list_init(&tls->restarted);
    socket->on_close.cb = on_disposed;
    socket->on_close.data = tls;
    guard(tls);
}

bool lp__tls_end(lp__tls *tls)
{
    lp__list_unlink(&tls->restarted);
    SSL_CTX_free(tls->ctx);
    return tls->has_heard && !tls->is_secure;
}

size_t lp__tls_held(const lp__tls *tls)
{
    return tls->header_len ? HELD_BY_PART : 0;
}

/* ---- connections of somebody else's listener --------------------------- */

typedef struct lone {
    lp__tls tls;
    lp__tls_group group; /* of its own */
} lone;

static void on_lone_closed(uv_handle_t *handle)
{
    free(LP__CONTAINER(handle, lone, group.prepare));
}

static void on_lone_disposed(lp__tls *tls)
{
    lp__tls_end(tls);
    uv_close((uv_handle_t *)&tls->group->prepare, on_lone_closed);
}

int lp_tls_accept(h2o_accept_ctx_t *accept, uv_stream_t *stream, uv_close_cb closed)
{
    lone *own = accept->ssl_ctx ? calloc(1, sizeof(*own)) : NULL;
    if (accept->ssl_ctx && !own)
        return LP_ENOMEM;
    h2o_socket_t *socket = h2o_uv_socket_create(stream, closed);
    h2o_accept(accept, socket);
    if (own) {
        init_group(stream->loop, &own->group);
        own->tls.disposed = on_lone_disposed;
        lp__tls_begin(&own->tls, &own->group, stream, socket, accept->ssl_ctx);
    }
    return LP_OK;
}
