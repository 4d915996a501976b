/* A small HTTP/1.1 client for load programs: raw non-blocking sockets on one epoll instance,
 * keep-alive, one request at a time per connection, in clear or over TLS. It shares no code with
 * the server under test and knows no HTTP library. It is to be much cheaper than any server: a
 * request that is sent again and again is formatted once, and headers like those of the answer
 * before are not read again.
 *
 * One thread. The connections live in the caller's memory and stay put while they are open. */
#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/socket.h>

#include "load_answer.h"
#include "load_client_tls.h"

typedef struct http_client {
    int epoll;
    struct sockaddr_storage address;
    socklen_t address_len;
    client_tls_context *tls; /* NULL in clear */
    char host[128];          /* for the Host header */
    size_t opened;           /* connections ever made: spreads them over source addresses */
    uint64_t answers;        /* in all */
    uint64_t answer_bytes;   /* of bodies, in all */
    char last_block[512];    /* the headers that were read last, and what they said */
    size_t last_block_len;
    answer_head last_head;
} http_client;

typedef struct connection connection;

struct connection {
    /* Set by the caller. An answer has come: `body` is terminated, may be written to, and is gone
     * when the callback returns. */
    void (*on_answer)(connection *c, int status, char *body, size_t len);
    /* The connection failed or was closed while a request was out. It may be used again: the next
     * request opens a new one. */
    void (*on_lost)(connection *c, int error);
    /* Not NULL: the body is a stream. It is handed on as it comes, borrowed and not terminated; at
     * its end on_answer follows, with an empty body. */
    void (*on_data)(connection *c, const char *data, size_t len);
    void *owner;

    /* Read by the caller. */
    bool busy;        /* a request is out */
    bool connected;   /* the socket is */
    uint64_t sent_us; /* when the last request was handed to the kernel first */

    /* The client's own. */
    http_client *client;
    int fd;          /* -1: closed */
    client_tls *tls; /* NULL in clear */
    bool wants_write;
    answer_head head; /* of the answer that is coming in, once head_len is not 0 */
    size_t head_len;
    const char *out; /* the request: the caller's, or in `own` */
    char *own, *in;
    size_t out_at, out_len, own_capacity, in_len, in_capacity;
};

/* "http://HOST:PORT" or "https://HOST:PORT"; HOST is a numeric address. Ends the program with a
 * sentence on a bad URL. */
void client_init(http_client *client, const char *url);
/* Its connections have been freed. */
void client_free(http_client *client);

/* Microseconds of the monotonic clock; milliseconds since the epoch. */
uint64_t now_us(void);
int64_t now_wall_ms(void);

/* Handles what comes until `until_us`, at most once round: returns as soon as something came. */
void client_turn(http_client *client, uint64_t until_us);

/* The connection is made when the first request is sent, or now by connection_open. */
void connection_init(connection *c, http_client *client);
void connection_open(connection *c);
void connection_get(connection *c, const char *path_and_query);
void connection_post(connection *c, const char *path, const char *body, size_t len);

/* Any request. `headers` are whole lines with their ends; `body` is NULL where there is none. */
typedef struct request {
    const char *method, *path, *headers, *body;
    size_t body_len;
} request;
void connection_send(connection *c, const request *what);

/* For those that are sent many times: the bytes, of which the body is the end. They are sent from
 * where they lie and must stay there until the answer has come. */
size_t request_format(const http_client *client, const request *what, char *buffer,
                      size_t capacity);
void connection_send_bytes(connection *c, const char *bytes, size_t len);

/* Within on_answer and on_data: the value of a header, up to a line's end; NULL without it. */
const char *connection_header(const connection *c, const char *name);

/* Closes at once: by FIN, or by RST when `reset`. Fine when it is closed. */
void connection_close(connection *c, bool reset);
/* The same, and frees what it holds. */
void connection_free(connection *c);

#endif
