/* See stream_reader.h. */
#include "stream_reader.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "harness.h"

static void append(char **text, size_t *len, size_t *capacity, const char *bytes, size_t count)
{
    if (*len + count + 1 > *capacity) {
        *capacity = 2 * (*len + count + 1);
        *text = realloc(*text, *capacity);
    }
    memcpy(*text + *len, bytes, count);
    *len += count;
    (*text)[*len] = '\0';
}

/* One receive. False: nothing within the time, or the connection has ended. */
static bool receive(stream_reader *stream, int timeout_ms)
{
    static char bytes[1 << 16];
    raw_conn *conn = &stream->conn;
    int64_t deadline = raw_now_ms() + timeout_ms;
    for (;;) {
        ssize_t len = recv(conn->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (len > 0) {
            append(&conn->in, &conn->len, &conn->capacity, bytes, (size_t)len);
            return true;
        }
        if (len == 0 || raw_now_ms() >= deadline) {
            stream->was_cut |= len == 0;
            return false;
        }
        if (raw_pump)
            raw_pump(conn->fd, POLLIN, 5);
        else
            poll(&(struct pollfd){.fd = conn->fd, .events = POLLIN}, 1, 5);
        if (recv(conn->fd, bytes, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno != EAGAIN) {
            stream->was_cut = true; /* a RST */
            return false;
        }
    }
}

static void drop(raw_conn *conn, size_t count)
{
    memmove(conn->in, conn->in + count, conn->len - count);
    conn->len -= count;
    conn->in[conn->len] = '\0';
}

/* Takes whole chunks off what was received. */
static void take_chunks(stream_reader *stream)
{
    raw_conn *conn = &stream->conn;
    if (!stream->is_chunked) {
        append(&stream->text, &stream->len, &stream->capacity, conn->len ? conn->in : "",
               conn->len);
        if (conn->len)
            drop(conn, conn->len);
        return;
    }
    while (conn->len && !stream->has_ended) {
        char *line = strstr(conn->in, "\r\n");
        if (!line)
            return;
        size_t size = strtoul(conn->in, NULL, 16), head = (size_t)(line + 2 - conn->in);
        if (conn->len < head + size + 2)
            return;
        append(&stream->text, &stream->len, &stream->capacity, conn->in + head, size);
        drop(conn, head + size + 2);
        stream->has_ended = size == 0;
        if (size > stream->largest_chunk)
            stream->largest_chunk = size;
    }
}

stream_reader stream_open_on(raw_conn conn, const char *target, const char *headers)
{
    stream_reader stream = {.conn = conn};
    raw_printf(&stream.conn, "GET %s HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n%s\r\n",
               target, headers);
    append(&stream.text, &stream.len, &stream.capacity, "", 0);
    append(&stream.head, &(size_t){0}, &(size_t){0}, "", 0);
    while (!stream.conn.len || !strstr(stream.conn.in, "\r\n\r\n")) {
        if (!receive(&stream, RAW_DEADLINE_MS))
            return stream;
    }
    size_t len = (size_t)(strstr(stream.conn.in, "\r\n\r\n") + 4 - stream.conn.in);
    free(stream.head);
    stream.head = strndup(stream.conn.in, len);
    drop(&stream.conn, len);
    stream.is_chunked = strstr(stream.head, "chunked") != NULL;
    return stream;
}

stream_reader stream_open(const char *target, const char *headers)
{
    return stream_open_on(harness_connect(), target, headers);
}

void stream_close(stream_reader *stream)
{
    raw_close(&stream->conn);
    free(stream->head);
    free(stream->text);
    *stream = (stream_reader){.conn.fd = -1};
}

bool stream_read_some(stream_reader *stream, int timeout_ms)
{
    bool got = receive(stream, timeout_ms);
    take_chunks(stream);
    return got;
}

bool stream_holds(stream_reader *stream, const char *text)
{
    take_chunks(stream);
    while (!strstr(stream->text, text)) {
        if (stream->has_ended || !stream_read_some(stream, RAW_DEADLINE_MS))
            return false;
    }
    return true;
}

bool stream_ends(stream_reader *stream)
{
    take_chunks(stream);
    while (!stream->has_ended && stream_read_some(stream, RAW_DEADLINE_MS))
        ;
    return stream->is_chunked ? stream->has_ended : stream->was_cut;
}

size_t stream_count(const stream_reader *stream, const char *text)
{
    size_t count = 0;
    for (const char *at = stream->text; (at = strstr(at, text)); at += strlen(text))
        count++;
    return count;
}

bool stream_last_id(const stream_reader *stream, char id[37])
{
    const char *last = NULL;
    for (const char *at = stream->text, *end; (end = strstr(at, "\n\n")); at = end + 2)
        if (strncmp(at, "id: ", 4) == 0)
            last = at + 4;
    if (!last)
        return false;
    memcpy(id, last, 36);
    id[36] = '\0';
    return true;
}
