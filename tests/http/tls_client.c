/* A TLS client for tests. See tls_client.h. */
#include "tls_client.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

tls_files tls_server;

/* ---- certificates ------------------------------------------------------ */

void tls_files_make(tls_files *files)
{
    strcpy(files->directory, "/tmp/longpoll-tls-XXXXXX");
    cr_assert(mkdtemp(files->directory));
    snprintf(files->chain, sizeof(files->chain), "%s/chain.pem", files->directory);
    snprintf(files->key, sizeof(files->key), "%s/key.pem", files->directory);
}

void tls_files_write(const tls_files *files, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_get_subject_name(certificate);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1,
                               0);
    X509_set_issuer_name(certificate, subject);
    cr_assert(X509_sign(certificate, key, EVP_sha256()));

    FILE *file = fopen(files->chain, "w");
    cr_assert(file && PEM_write_X509(file, certificate) && fclose(file) == 0);
    file = fopen(files->key, "w");
    cr_assert(file && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) &&
              fclose(file) == 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

void tls_files_remove(const tls_files *files)
{
    unlink(files->chain);
    unlink(files->key);
    rmdir(files->directory);
}

void tls_start(harness_options *options)
{
    harness_options own = HARNESS_OPTIONS_INIT;
    if (!options)
        options = &own;
    tls_files_make(&tls_server);
    tls_files_write(&tls_server, "first");
    options->server.tls_chain = tls_server.chain;
    options->server.tls_key = tls_server.key;
    harness_start(options);
}

void tls_stop(void)
{
    harness_stop();
    tls_files_remove(&tls_server);
}

/* ---- connections ------------------------------------------------------- */

static void on_info(const SSL *ssl, int where, int value)
{
    if (where == SSL_CB_READ_ALERT)
        ((tls_conn *)SSL_get_app_data(ssl))->alert = value;
}

tls_conn *tls_connect_only(const tls_wish *wish)
{
    static const tls_wish none;
    tls_conn *conn = calloc(1, sizeof(*conn));
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!wish)
        wish = &none;
    SSL_CTX_set_security_level(ctx, 0); /* so that it may ask for what is too old */
    SSL_CTX_set_min_proto_version(ctx, wish->version);
    SSL_CTX_set_max_proto_version(ctx, wish->version);
    SSL_CTX_set_info_callback(ctx, on_info);
    if (wish->alpn)
        SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)wish->alpn,
                                (unsigned)strlen(wish->alpn));
    conn->fd = harness_connect().fd;
    conn->ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    SSL_set_app_data(conn->ssl, conn);
    SSL_set_bio(conn->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(conn->ssl), -1);
    SSL_set_connect_state(conn->ssl);
    return conn;
}

/* Waits until there are bytes of the server's, and hands them to OpenSSL. */
static bool receive_some(tls_conn *conn, int64_t deadline)
{
    char bytes[65536];
    while (!conn->ended) {
        ssize_t len = recv(conn->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (len > 0)
            return BIO_write(SSL_get_rbio(conn->ssl), bytes, (int)len) == len;
        if (len == 0 || (errno != EAGAIN && errno != EINTR))
            conn->ended = true;
        else if (raw_now_ms() >= deadline)
            return false;
        else
            raw_pump(conn->fd, POLLIN, 5);
    }
    return false;
}

bool tls_handshake(tls_conn *conn)
{
    int64_t deadline = raw_now_ms() + RAW_DEADLINE_MS;
    for (;;) {
        ERR_clear_error();
        int done = SSL_do_handshake(conn->ssl);
        bool is_open = tls_flush(conn);
        if (done == 1)
            return is_open;
        if (SSL_get_error(conn->ssl, done) != SSL_ERROR_WANT_READ || !receive_some(conn, deadline))
            return false;
    }
}

tls_conn *tls_connect(const tls_wish *wish)
{
    tls_conn *conn = tls_connect_only(wish);
    if (!tls_handshake(conn)) {
        SSL_free(conn->ssl);
        conn->ssl = NULL;
    }
    return conn;
}

void tls_write(tls_conn *conn, const char *bytes, size_t len)
{
    if (len)
        cr_assert_eq(SSL_write(conn->ssl, bytes, (int)len), (int)len);
}

size_t tls_flush_some(tls_conn *conn, size_t len)
{
    BIO *out = SSL_get_wbio(conn->ssl);
    int64_t deadline = raw_now_ms() + RAW_DEADLINE_MS;
    char *bytes;
    size_t there = (size_t)BIO_get_mem_data(out, &bytes), sent = 0;
    if (len > there)
        len = there;
    while (sent < len && !conn->ended && raw_now_ms() < deadline) {
        ssize_t some = send(conn->fd, bytes + sent, len - sent, MSG_NOSIGNAL);
        if (some > 0)
            sent += (size_t)some;
        else if (errno == EAGAIN)
            raw_pump(conn->fd, POLLOUT, 5);
        else
            conn->ended = true;
    }
    char dropped[4096];
    for (size_t left = sent; left;) {
        int some = BIO_read(out, dropped, (int)(left < sizeof(dropped) ? left : sizeof(dropped)));
        left -= (size_t)some;
    }
    return there - sent;
}

bool tls_flush(tls_conn *conn)
{
    return tls_flush_some(conn, SIZE_MAX) == 0;
}

void tls_send(tls_conn *conn, const char *text)
{
    tls_write(conn, text, strlen(text));
    tls_flush(conn);
}

void tls_send_poll(tls_conn *conn, const char *category, const char *extra)
{
    char request[512];
    snprintf(request, sizeof(request),
             "GET /events?timeout=60&category=%s%s HTTP/1.1\r\nHost: h\r\n\r\n", category, extra);
    tls_send(conn, request);
}

/* ---- reading ----------------------------------------------------------- */

static bool decrypt_some(tls_conn *conn, int64_t deadline)
{
    char bytes[16384];
    for (;;) {
        ERR_clear_error();
        int len = SSL_read(conn->ssl, bytes, sizeof(bytes));
        if (len > 0) {
            raw_answer *in = &conn->in;
            if (in->body_len + (size_t)len >= conn->capacity) {
                conn->capacity = 2 * conn->capacity + sizeof(bytes) + 1;
                in->body = realloc(in->body, conn->capacity);
            }
            memcpy(in->body + in->body_len, bytes, (size_t)len);
            in->body_len += (size_t)len;
            in->body[in->body_len] = '\0';
            return true;
        }
        if (SSL_get_error(conn->ssl, len) != SSL_ERROR_WANT_READ) {
            conn->ended = true;
            return false;
        }
        if (!receive_some(conn, deadline))
            return false;
    }
}

bool tls_receive(tls_conn *conn, size_t len)
{
    int64_t deadline = raw_now_ms() + RAW_DEADLINE_MS;
    while (conn->in.body_len < len)
        if (!decrypt_some(conn, deadline))
            return false;
    return true;
}

static char *take(tls_conn *conn, size_t len)
{
    raw_answer *in = &conn->in;
    char *out = malloc(len + 1);
    memcpy(out, in->body, len);
    out[len] = '\0';
    memmove(in->body, in->body + len, in->body_len - len + 1);
    in->body_len -= len;
    return out;
}

bool tls_read(tls_conn *conn, raw_answer *out)
{
    int64_t deadline = raw_now_ms() + RAW_DEADLINE_MS;
    char *end, length[24] = "0";
    *out = (raw_answer){0};
    while (!conn->in.body_len || !(end = strstr(conn->in.body, "\r\n\r\n")))
        if (!decrypt_some(conn, deadline))
            return false;
    out->head = take(conn, (size_t)(end - conn->in.body) + 4);
    sscanf(out->head, "HTTP/1.%*d %d", &out->status);
    raw_header(out, "Content-Length", length, sizeof(length));
    out->body_len = strtoul(length, NULL, 10);
    if (tls_receive(conn, out->body_len)) {
        out->body = take(conn, out->body_len);
        return true;
    }
    raw_free(out);
    return false;
}

bool tls_ended(tls_conn *conn)
{
    int64_t deadline = raw_now_ms() + RAW_DEADLINE_MS;
    while (!conn->ended && raw_now_ms() < deadline)
        decrypt_some(conn, deadline);
    return conn->ended;
}

/* ---- the end ----------------------------------------------------------- */

void tls_break(tls_conn *conn)
{
    static const char record[5 + 32] = {23, 3, 3, 0, 32};
    char byte;
    BIO_write(SSL_get_rbio(conn->ssl), record, sizeof(record));
    cr_assert_leq(SSL_read(conn->ssl, &byte, 1), 0);
    cr_assert_gt(BIO_pending(SSL_get_wbio(conn->ssl)), 0);
}

void tls_free(tls_conn *conn)
{
    SSL_free(conn->ssl);
    if (conn->fd >= 0)
        close(conn->fd);
    raw_free(&conn->in);
    free(conn);
    ERR_clear_error();
}

void tls_close(tls_conn *conn)
{
    if (conn->ssl && SSL_is_init_finished(conn->ssl)) {
        SSL_shutdown(conn->ssl);
        tls_flush(conn);
    }
    tls_free(conn);
}

void tls_reset(tls_conn *conn)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    tls_free(conn);
}

void tls_peer_name(const tls_conn *conn, char *out, size_t size)
{
    X509 *certificate = SSL_get0_peer_certificate(conn->ssl);
    cr_assert(certificate);
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, out, (int)size);
}

void tls_expect(tls_conn *conn, int status, const char *word)
{
    raw_answer answer;
    cr_assert(tls_read(conn, &answer), "no answer with %s", word);
    cr_expect_eq(answer.status, status, "%s%s", answer.head, answer.body);
    cr_expect(strstr(answer.body, word), "%s", answer.body);
    raw_free(&answer);
}
