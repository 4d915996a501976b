/* A client of bare sockets for tests. See raw_http.h. */
#include "raw_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void (*raw_pump)(int fd, short events, int timeout_ms);

int64_t raw_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool wait_for(int fd, short events, int64_t deadline)
{
    for (;;) {
        struct pollfd one = {.fd = fd, .events = events};
        int64_t left = deadline - raw_now_ms();
        if (left < 0)
            left = 0;
        if (raw_pump)
            raw_pump(fd, events, (int)left);
        if (poll(&one, 1, raw_pump ? 0 : (int)left) > 0)
            return true;
        if (raw_now_ms() >= deadline)
            return false;
    }
}

raw_conn raw_connect(const char *host, int port)
{
    raw_conn conn = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &to.sin_addr);
    int one = 1, failure = 0;
    socklen_t len = sizeof(failure);
    setsockopt(conn.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(conn.fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
        failure = errno;
    else if (!wait_for(conn.fd, POLLOUT, raw_now_ms() + RAW_DEADLINE_MS))
        failure = ETIMEDOUT;
    else
        getsockopt(conn.fd, SOL_SOCKET, SO_ERROR, &failure, &len);
    if (failure != 0)
        raw_close(&conn);
    return conn;
}

void raw_close(raw_conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    free(conn->in);
    *conn = (raw_conn){.fd = -1};
}

void raw_reset(raw_conn *conn)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    raw_close(conn);
}

bool raw_send(raw_conn *conn, const char *bytes, size_t len)
{
    int64_t deadline = raw_now_ms() + RAW_DEADLINE_MS;
    while (len) {
        ssize_t sent = send(conn->fd, bytes, len, MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            len -= (size_t)sent;
        } else if (errno != EAGAIN && errno != EINTR) {
            return false;
        } else if (!wait_for(conn->fd, POLLOUT, deadline)) {
            return false;
        }
    }
    return true;
}

bool raw_printf(raw_conn *conn, const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    bool sent = len >= 0 && raw_send(conn, text, (size_t)len);
    free(text);
    return sent;
}

/* Receives some more; false at the end of the connection. */
static bool receive(raw_conn *conn, int64_t deadline)
{
    if (conn->capacity - conn->len < 65536) {
        conn->capacity = conn->capacity * 2 + 65536;
        conn->in = realloc(conn->in, conn->capacity);
    }
    for (;;) {
        ssize_t got = recv(conn->fd, conn->in + conn->len, conn->capacity - conn->len - 1, 0);
        if (got > 0) {
            conn->len += (size_t)got;
            conn->in[conn->len] = '\0';
            return true;
        }
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            return false;
        if (!wait_for(conn->fd, POLLIN, deadline))
            return false;
    }
}

static void consume(raw_conn *conn, size_t len)
{
    memmove(conn->in, conn->in + len, conn->len - len);
    conn->len -= len;
    conn->in[conn->len] = '\0';
}

static char *copy(const char *bytes, size_t len)
{
    char *out = malloc(len + 1);
    memcpy(out, bytes, len);
    out[len] = '\0';
    return out;
}

bool raw_header(const raw_answer *answer, const char *name, char *out, size_t max)
{
    size_t len = strlen(name);
    for (const char *line = strstr(answer->head, "\r\n"); line && line[2];
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':') {
            const char *value = line + 3 + len;
            value += strspn(value, " ");
            snprintf(out, max, "%.*s", (int)strcspn(value, "\r"), value);
            return true;
        }
    }
    return false;
}

static bool read_exactly(raw_conn *conn, size_t len, int64_t deadline, raw_answer *out)
{
    while (conn->len < len)
        if (!receive(conn, deadline))
            return false;
    out->body = realloc(out->body, out->body_len + len + 1);
    memcpy(out->body + out->body_len, conn->in, len);
    out->body_len += len;
    out->body[out->body_len] = '\0';
    consume(conn, len);
    return true;
}

static bool read_chunked(raw_conn *conn, int64_t deadline, raw_answer *out)
{
    for (;;) {
        char *end;
        while (!conn->len || !(end = strstr(conn->in, "\r\n")))
            if (!receive(conn, deadline))
                return false;
        size_t len = strtoul(conn->in, NULL, 16);
        consume(conn, (size_t)(end - conn->in) + 2);
        if (!read_exactly(conn, len + 2, deadline, out))
            return false;
        out->body_len -= 2;
        out->body[out->body_len] = '\0';
        if (len == 0)
            return true;
    }
}

static bool read_body(raw_conn *conn, int64_t deadline, raw_answer *out)
{
    char value[64];
    if (out->status == 204 || out->status == 304)
        return true;
    if (raw_header(out, "Content-Length", value, sizeof(value)))
        return read_exactly(conn, strtoul(value, NULL, 10), deadline, out);
    if (raw_header(out, "Transfer-Encoding", value, sizeof(value)))
        return read_chunked(conn, deadline, out);
    while (receive(conn, deadline))
        ;
    return read_exactly(conn, conn->len, deadline, out);
}

bool raw_read(raw_conn *conn, bool to_head, int timeout_ms, raw_answer *out)
{
    int64_t deadline = raw_now_ms() + timeout_ms;
    char *end;
    *out = (raw_answer){0};
    while (!conn->len || !(end = strstr(conn->in, "\r\n\r\n")))
        if (!receive(conn, deadline))
            return false;
    size_t len = (size_t)(end - conn->in) + 4;
    out->head = copy(conn->in, len - 2);
    out->body = copy("", 0);
    consume(conn, len);
    if (sscanf(out->head, "HTTP/1.%*d %d", &out->status) == 1 &&
        (to_head || read_body(conn, deadline, out)))
        return true;
    raw_free(out);
    return false;
}

void raw_free(raw_answer *answer)
{
    free(answer->head);
    free(answer->body);
    *answer = (raw_answer){0};
}

bool raw_ended(raw_conn *conn, int timeout_ms)
{
    int64_t deadline = raw_now_ms() + timeout_ms;
    while (receive(conn, deadline))
        conn->len = 0;
    char byte;
    return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 || errno != EAGAIN;
}

bool raw_silent(raw_conn *conn, int timeout_ms)
{
    return !conn->len && !wait_for(conn->fd, POLLIN, raw_now_ms() + timeout_ms);
}
