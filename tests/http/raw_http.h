/* A client of bare sockets for tests: sends any bytes, reads one answer at a time. Every wait has a
 * deadline. With `raw_pump` set, the server runs in this very thread, and each wait turns its loop.
 */
#ifndef TESTS_RAW_HTTP_H
#define TESTS_RAW_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does what there is to do, waiting for at most `timeout_ms` or until `fd` (-1: none) has one of
 * the poll(2) events. NULL: plain poll(2). */
extern void (*raw_pump)(int fd, short events, int timeout_ms);

#define RAW_DEADLINE_MS 10000

typedef struct raw_conn {
    int fd;
    char *in; /* what has been received and not been read */
    size_t len, capacity;
} raw_conn;

typedef struct raw_answer {
    int status;
    char *head; /* the status line and headers with their line ends, terminated */
    char *body; /* terminated */
    size_t body_len;
} raw_answer;

int64_t raw_now_ms(void);

/* Connects to host (numeric, IPv4) and port; fd is -1 when that fails. */
raw_conn raw_connect(const char *host, int port);
void raw_close(raw_conn *conn);
/* Closes with a RST. */
void raw_reset(raw_conn *conn);

/* Sends all of it; false when the server does not take it until the deadline. */
bool raw_send(raw_conn *conn, const char *bytes, size_t len);
bool raw_printf(raw_conn *conn, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Reads one answer. `to_head`: it has no body whatever its headers say. False when the connection
 * ends or the deadline passes before it is whole; nothing needs to be freed then. */
bool raw_read(raw_conn *conn, bool to_head, int timeout_ms, raw_answer *out);
void raw_free(raw_answer *answer);
/* The value of a header, copied to `out`; false when there is none. */
bool raw_header(const raw_answer *answer, const char *name, char *out, size_t max);

/* Waits for the end of the connection: true when it has ended (FIN or RST). What comes before it is
 * read and dropped. */
bool raw_ended(raw_conn *conn, int timeout_ms);
/* Whether nothing has arrived and the connection is open, after `timeout_ms`. */
bool raw_silent(raw_conn *conn, int timeout_ms);

#endif
