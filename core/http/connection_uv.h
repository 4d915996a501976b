/* What listener_uv.c and tls_uv.c share: a listener and one of its connections. Home loop only. */
#ifndef LP_HTTP_CONNECTION_UV_H
#define LP_HTTP_CONNECTION_UV_H

#include <uv.h>

#include "loop.h"

enum { LP__TLS_HEADER = 5 }; /* of a record: its type, a version, the length of its body */

/* Connections of TLS that libh2o may begin to read from on its own. */
typedef struct lp__tls_group {
    uv_prepare_t prepare; /* active while the list has members */
    lp__list restarted;
} lp__tls_group;

/* What stands between libuv and libh2o on a connection that speaks TLS (tls_uv.c). */
typedef struct lp__tls {
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
} lp__tls;

typedef struct lp__connection {
    uv_tcp_t tcp; /* its `data` is libh2o's while it serves the connection */
    struct lp__listener *listener;
    lp__list link;
    h2o_socket_t *socket; /* libh2o's; NULL in one that lingers */
    lp__tls *tls;         /* NULL in clear */
    uint64_t since_ms;    /* of one that lingers */
    bool refused;
    bool cut; /* for what it held */
} lp__connection;

struct lp__listener {
    uv_tcp_t tcp;
    uv_timer_t sweep; /* of what connections hold, and of those that linger */
    lp__tls_group tls_group;
    lp__listener_options options;
    SSL_CTX *tls;         /* for connections from now on; NULL: in clear */
    lp__list connections; /* served by libh2o */
    lp__list lingering;   /* refused, until their client has read why */
    size_t connection_count, lingering_count;
    int open_handles; /* of the listener itself */
    bool stopped;
    char discarded[512];
};

/* The group's handle is the loop's from now on, and to be closed by the caller. */
void lp__tls_group_open(h2o_loop_t *loop, lp__tls_group *group);

/* Of zeroed memory, when h2o_accept has been called for `socket` with `ctx`. */
void lp__tls_begin(lp__tls *tls, lp__tls_group *group, uv_stream_t *stream, h2o_socket_t *socket,
                   SSL_CTX *ctx);
/* The stream has closed: lets go of what it held, and returns whether its handshake failed. */
bool lp__tls_end(lp__tls *tls);
/* Memory that a record takes of which only a part is in. */
size_t lp__tls_held(const lp__tls *tls);

#endif
