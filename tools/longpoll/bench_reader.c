/* See bench_reader.h. */
#include "bench_reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/load_figures.h"

enum { PATH_LEN_MAX = 1400, HEADERS_LEN_MAX = 256, POLL_TIMEOUT_S = 110 };

/* ---- polls of the wire ----------------------------------------------------------------------- */

static void on_seen(subscriber *s, const seen *event)
{
    bench_reader *r = (bench_reader *)s;
    r->on_event(r, event->data, event->data_len);
}

/* ---- nchan ----------------------------------------------------------------------------------- */

static void copy_header(const connection *c, const char *name, char *out, size_t size)
{
    const char *value = connection_header(c, name);
    if (value != NULL)
        snprintf(out, size, "%.*s", (int)strcspn(value, "\r"), value);
}

static void nchan_poll(bench_reader *r)
{
    char path[PATH_LEN_MAX], headers[HEADERS_LEN_MAX] = "";
    snprintf(path, sizeof(path), "/sub?id=%s", r->subscriber.category);
    if (r->last_modified[0] != '\0')
        snprintf(headers, sizeof(headers), "If-Modified-Since: %s\r\nIf-None-Match: %s\r\n",
                 r->last_modified, r->etag);
    r->subscriber.polls++;
    connection_send(&r->subscriber.connection,
                    &(request){.method = "GET", .path = path, .headers = headers});
}

static void on_nchan_answer(connection *c, int status, char *body, size_t len)
{
    bench_reader *r = c->owner;
    if (status == 200) {
        copy_header(c, "last-modified", r->last_modified, sizeof(r->last_modified));
        copy_header(c, "etag", r->etag, sizeof(r->etag));
        r->on_event(r, body, len);
    } else if (status == 304 || status == 408) {
        r->subscriber.timeouts++;
    } else {
        fail("a poll was answered %d: %.300s", status, body);
    }
    if (!r->subscriber.stopped)
        nchan_poll(r);
}

/* ---- streams --------------------------------------------------------------------------------- */

static void stream_open(bench_reader *r)
{
    char path[PATH_LEN_MAX], headers[HEADERS_LEN_MAX];
    subscriber *s = &r->subscriber;
    int n = snprintf(headers, sizeof(headers), "Accept: text/event-stream\r\n");
    if (s->last_id[0] != '\0')
        snprintf(headers + n, sizeof(headers) - (size_t)n, "Last-Event-ID: %s\r\n", s->last_id);
    if (kind_is(r->kind, "nchan"))
        snprintf(path, sizeof(path), "/sub?id=%s", s->category);
    else
        snprintf(path, sizeof(path), "/events?timeout=%d&category=%s&since_time=%" PRId64,
                 s->timeout_s, s->category, s->since_ms);
    r->frame_len = 0;
    s->polls++;
    connection_send(&s->connection, &(request){.method = "GET", .path = path, .headers = headers});
}

/* The data of an event as the wire has it; nchan's are what was published. */
static void take_data(bench_reader *r, char *text, size_t len)
{
    static const char before[] = ",\"data\":\"";
    if (kind_is(r->kind, "nchan")) {
        r->on_event(r, text, len);
        return;
    }
    char *data = strstr(text, before);
    char *end = data != NULL ? strchr(data + sizeof(before) - 1, '"') : NULL;
    if (end == NULL)
        fail("a stream: no event of the wire: %.300s", text);
    *end = '\0';
    data += sizeof(before) - 1;
    r->on_event(r, data, (size_t)(end - data));
}

/* One frame, terminated in place of its last line's end. */
static void take_frame(bench_reader *r, char *frame)
{
    for (char *line = frame, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        if (strncmp(line, "id: ", 4) == 0)
            snprintf(r->subscriber.last_id, sizeof(r->subscriber.last_id), "%s", line + 4);
        else if (strncmp(line, "event: gap", 10) == 0)
            r->subscriber.gaps++;
        else if (strncmp(line, "data: ", 6) == 0)
            take_data(r, line + 6, strlen(line + 6));
    }
}

static void on_data(connection *c, const char *data, size_t len)
{
    bench_reader *r = c->owner;
    size_t needed = r->frame_len + len + 1;
    char *at, *end;
    if (needed > r->frame_capacity) {
        r->frame = realloc(r->frame, 2 * needed);
        if (r->frame == NULL)
            fail("out of memory");
        r->frame_capacity = 2 * needed;
    }
    memcpy(r->frame + r->frame_len, data, len);
    r->frame_len += len;
    r->frame[r->frame_len] = '\0';
    for (at = r->frame; (end = strstr(at, "\n\n")) != NULL; at = end + 2) {
        *end = '\0';
        take_frame(r, at);
    }
    r->frame_len -= (size_t)(at - r->frame);
    memmove(r->frame, at, r->frame_len + 1);
}

static void on_stream_end(connection *c, int status, char *body, size_t len)
{
    bench_reader *r = c->owner;
    (void)len;
    if (status != 200)
        fail("a stream was answered %d: %.300s", status, body);
    r->subscriber.timeouts++;
    if (!r->subscriber.stopped)
        stream_open(r);
}

/* ---- all ------------------------------------------------------------------------------------- */

static void on_lost(connection *c, int error)
{
    bench_reader *r = c->owner;
    if (r->subscriber.stopped)
        return;
    fail("the connection of a subscriber was lost: %s", error != 0 ? strerror(error) : "closed");
}

void reader_start(bench_reader *r, http_client *client)
{
    subscriber *s = &r->subscriber;
    s->on_event = on_seen;
    s->timeout_s = POLL_TIMEOUT_S;
    s->since_ms = now_wall_ms() - 1; /* events of this millisecond are meant too */
    s->stopped = false;
    if (!r->streams && !kind_is(r->kind, "nchan")) {
        subscriber_start(s, client);
        return;
    }
    connection_init(&s->connection, client);
    s->connection.on_answer = r->streams ? on_stream_end : on_nchan_answer;
    s->connection.on_data = r->streams ? on_data : NULL;
    s->connection.on_lost = on_lost;
    s->connection.owner = r;
    reader_poll(r);
}

void reader_poll(bench_reader *r)
{
    r->subscriber.stopped = false;
    if (r->streams)
        stream_open(r);
    else if (kind_is(r->kind, "nchan"))
        nchan_poll(r);
    else
        subscriber_poll(&r->subscriber);
}

void reader_stop(bench_reader *r)
{
    r->subscriber.stopped = true;
}

void reader_free(bench_reader *r)
{
    connection_free(&r->subscriber.connection);
    free(r->frame);
    r->frame = NULL;
    r->frame_len = r->frame_capacity = 0;
}
