/* What connection_uv.c and tls_uv.c share. On the thread of the loop. */
#ifndef LP_HTTP_CONNECTION_UV_H
#define LP_HTTP_CONNECTION_UV_H

#include <uv.h>

#include "connection.h"

enum { LP__TLS_HEADER = 5 }; /* of a record: its type, a version, the length of its body */

/* Connections of TLS that libh2o may begin to read from on its own. */
struct lp__tls_group {
    uv_prepare_t prepare; /* active while the list has members */
    lp__list restarted;
    void (*closed)(void *ctx);
    void *ctx;
};

struct lp__tls {
    uv_stream_t *stream;
    h2o_socket_t *socket; /* libh2o's */
    SSL_CTX *ctx;         /* a reference: libh2o keeps a bare pointer to it */
    uv_alloc_cb alloc;    /* libh2o's */
    uv_read_cb read;      /* libh2o's */
    lp__tls_group *group;
    void (*disposed)(struct lp__tls *tls); /* libh2o has let go of the socket; NULL: nobody cares */
    lp__list restarted;                    /* in its group's list */
    unsigned char header[LP__TLS_HEADER];
    uint8_t header_len;  /* bytes of it that are in */
    bool header_given;   /* to libh2o */
    uint16_t body_left;  /* of the record, to be read */
    bool is_secure;      /* the handshake is done */
    bool has_spoken;     /* ours has begun: alerts are no plain text any more */
    bool has_heard;      /* anything at all */
    bool said_goodbye;   /* the client's alert has been read, close_notify or worse */
    bool serves_request; /* see lp__connection_serves */
};

/* Of zeroed memory, when h2o_accept has been called for `socket` with `ctx`. */
void lp__tls_begin(lp__tls *tls, lp__tls_group *group, uv_stream_t *stream, h2o_socket_t *socket,
                   SSL_CTX *ctx);
/* The stream has closed: lets go of what it held, and returns whether its handshake failed. */
bool lp__tls_end(lp__tls *tls);

#endif
