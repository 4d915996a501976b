/* See load_subscriber.h. One thread. */
#include "load_subscriber.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load_figures.h"

#define ID_LEN 36

static const char *const names[HABIT_COUNT] = {"go", "js", "curl"};

cursor_habit habit_parse(const char *name)
{
    for (int i = 0; i < HABIT_COUNT; i++)
        if (!strcmp(names[i], name))
            return (cursor_habit)i;
    fail("option --cursor \"%s\": not one of go, js, curl", name);
}

const char *habit_name(cursor_habit habit)
{
    return names[habit];
}

void subscriber_poll(subscriber *s)
{
    char path[2048];
    int n = snprintf(path, sizeof path, "/events?timeout=%d&category=%s&since_time=%" PRId64,
                     s->timeout_s, s->category, s->since_ms);

    /* the JavaScript client sends an empty last_id too */
    if (s->habit == HABIT_JS || (s->habit == HABIT_GO && s->last_id[0]))
        snprintf(path + n, sizeof path - (size_t)n, "&last_id=%s", s->last_id);
    s->polls++;
    connection_get(&s->connection, path);
    if (s->on_polled)
        s->on_polled(s);
}

/* Moves `*at` behind `text`, which must be there. */
static void expect(char **at, const char *text, const char *body)
{
    size_t len = strlen(text);

    if (strncmp(*at, text, len) != 0)
        fail("answer: expected %s at byte %zu of: %.300s", text, (size_t)(*at - body), body);
    *at += len;
}

static void expect_event(subscriber *s, char **at, const char *body)
{
    seen event;
    char *end;

    expect(at, "{\"timestamp\":", body);
    event.timestamp_ms = strtoll(*at, at, 10);
    expect(at, ",\"category\":\"", body);
    expect(at, s->category, body);
    expect(at, "\",\"data\":\"", body);
    event.data = *at;
    end = strchr(*at, '"');
    if (!end)
        fail("answer: data does not end: %.300s", body);
    event.data_len = (size_t)(end - *at);
    *at = end;
    expect(at, "\",\"id\":\"", body);
    if (strlen(*at) < ID_LEN + 2)
        fail("answer: an id is cut: %.300s", body);
    memcpy(s->last_id, *at, ID_LEN);
    *at += ID_LEN;
    expect(at, "\"}", body);
    s->since_ms = event.timestamp_ms;
    *end = '\0';
    s->on_event(s, &event);
    *end = '"';
}

static void expect_end(subscriber *s, char **at, const char *body)
{
    if (**at == ',') {
        expect(at, ",\"gap\":true", body);
        s->gaps++;
    }
    expect(at, "}", body);
    if (**at != '\0')
        fail("answer: bytes behind its end: %.300s", body);
}

/* Whether it was a timeout. */
static bool take(subscriber *s, char *body)
{
    static const char events[] = "{\"events\":[";
    int64_t timestamp;
    char *at = body;

    if (!strncmp(body, events, sizeof events - 1)) {
        at += sizeof events - 1;
        expect_event(s, &at, body);
        while (*at == ',') {
            at++;
            expect_event(s, &at, body);
        }
        expect(&at, "]", body);
        expect_end(s, &at, body);
        return false;
    }
    expect(&at, "{\"timeout\":\"no events before timeout\",\"timestamp\":", body);
    timestamp = strtoll(at, &at, 10);
    expect_end(s, &at, body);
    s->timeouts++;
    if (s->habit != HABIT_JS && timestamp > s->since_ms)
        s->since_ms = timestamp;
    return true;
}

static void on_answer(connection *c, int status, char *body, size_t len)
{
    subscriber *s = c->owner;
    bool timed_out;

    (void)len;
    if (status != 200)
        fail("a poll was answered %d: %.300s", status, body);
    timed_out = take(s, body);
    if (s->on_answered)
        s->on_answered(s, timed_out);
    if (!s->stopped)
        subscriber_poll(s);
}

static void on_lost(connection *c, int error)
{
    subscriber *s = c->owner;

    if (error == ECONNREFUSED)
        fail("connection refused: is the server running?");
    s->lost++;
    if (!s->stopped)
        subscriber_poll(s);
}

void subscriber_start(subscriber *s, http_client *client)
{
    connection_init(&s->connection, client);
    s->connection.on_answer = on_answer;
    s->connection.on_lost = on_lost;
    s->connection.owner = s;
    subscriber_poll(s);
}

void subscriber_free(subscriber *s)
{
    connection_free(&s->connection);
}
