/* A TLS client for tests, beside raw_http: sends any bytes in any grouping, also below TLS. The
 * server runs in the test's own thread (harness.h), and every wait turns its loop and has a
 * deadline. Certificates are made when they are needed. */
#ifndef TESTS_HTTP_TLS_CLIENT_H
#define TESTS_HTTP_TLS_CLIENT_H

#include <openssl/ssl.h>

#include "harness.h"

/* The files of a certificate for `name`, in a directory of their own. */
typedef struct tls_files {
    char directory[64], chain[96], key[96];
} tls_files;

void tls_files_make(tls_files *files);
/* Writes a new key and a certificate of it. */
void tls_files_write(const tls_files *files, const char *name);
void tls_files_remove(const tls_files *files);

/* harness_start with a certificate for "first" (NULL: all defaults otherwise), and its end. */
void tls_start(harness_options *options);
void tls_stop(void);
extern tls_files tls_server;

/* What a client may insist on. */
typedef struct tls_wish {
    int version;      /* TLS1_2_VERSION or another one alone; 0: any */
    const char *alpn; /* as on the wire: "\x08http/1.1"; NULL: none */
} tls_wish;

typedef struct tls_conn {
    int fd;
    SSL *ssl;      /* on two memory BIOs */
    raw_answer in; /* `body` is what has been received and not been read */
    size_t capacity;
    bool ended; /* FIN, RST, or TLS's end */
    int alert;  /* that came last: level << 8 | description */
} tls_conn;

/* Connects, and goes through the handshake; `ssl` is NULL when that fails (with `alert` set). */
tls_conn *tls_connect(const tls_wish *wish);
/* The same without the handshake. */
tls_conn *tls_connect_only(const tls_wish *wish);
bool tls_handshake(tls_conn *conn);

/* Encrypts without sending. */
void tls_write(tls_conn *conn, const char *bytes, size_t len);
/* Sends what was encrypted; false when the server has closed. */
bool tls_flush(tls_conn *conn);
/* At most `len` bytes of it; returns how many there are still. */
size_t tls_flush_some(tls_conn *conn, size_t len);
/* Both, of a text. */
void tls_send(tls_conn *conn, const char *text);
void tls_send_poll(tls_conn *conn, const char *category, const char *extra);

/* One answer with its length told. False at the end of the connection or at the deadline. */
bool tls_read(tls_conn *conn, raw_answer *out);
/* Whether so many bytes of application data come. */
bool tls_receive(tls_conn *conn, size_t len);
/* Whether the connection ends; what comes before is dropped. */
bool tls_ended(tls_conn *conn);

/* Makes the connection's own OpenSSL give up, so that a fatal alert is to be sent. */
void tls_break(tls_conn *conn);

void tls_close(tls_conn *conn); /* close_notify and FIN */
void tls_reset(tls_conn *conn); /* RST */
void tls_free(tls_conn *conn);  /* FIN alone */

/* The common name in the server's certificate. */
void tls_peer_name(const tls_conn *conn, char *out, size_t size);

/* Expects one answer with a status and a word in its body. */
void tls_expect(tls_conn *conn, int status, const char *word);

#endif
