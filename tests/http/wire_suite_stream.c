/* The cases of wire_suite about server-sent events. */
#include "wire_suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM "Accept: text/event-stream\r\n"

/* A stream that ends after a second or two, whole. */
static raw_answer stream(const char *headers, const char *query)
{
    return suite_get_with(headers, query);
}

static const char *text_of(const raw_answer *answer)
{
    return answer->body ? answer->body : "";
}

/* Takes off the positions at the end: that of the end itself, and heartbeats. */
static void cut_positions(raw_answer *answer)
{
    const size_t frame = 4 + 36 + 2;
    while (answer->body && answer->body_len > frame &&
           suite_matches(answer->body + answer->body_len - frame, "id: U\n\n"))
        answer->body[answer->body_len -= frame] = '\0';
}

/* The id of the last line "id: …". */
static bool last_id(const char *text, char id[64])
{
    bool found = false;
    for (const char *at = text; (at = strstr(at, "id: ")); at += 4)
        if (at == text || at[-1] == '\n')
            found = suite_find(at, "id: ", id, 37);
    return found;
}

static void opening_cases(void)
{
    static const char *const headers[] = {"Content-Type: text/event-stream",
                                          "Cache-Control: no-cache", "X-Accel-Buffering: no",
                                          "X-Content-Type-Options: nosniff"};
    char text[256], name[128];
    snprintf(text, sizeof(text), "?timeout=1&category=%s", suite_category());
    raw_conn conn = suite_begin(STREAM, text);
    bool at_once = !raw_silent(&conn, 800);
    raw_answer answer = {0};
    raw_read(&conn, false, RAW_DEADLINE_MS, &answer);
    cut_positions(&answer);
    suite_tell("a stream says where it is at once",
               at_once && suite_matches(text_of(&answer), "id: U\n\n"), NULL, "%d %s",
               answer.status, answer.body);
    suite_tell("a stream is 200 and ends cleanly",
               answer.status == 200 && raw_printf(&conn, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n"),
               NULL, "%d", answer.status);
    for (size_t i = 0; answer.status && i < sizeof(headers) / sizeof(headers[0]); i++) {
        snprintf(name, sizeof(name), "a stream has %s", headers[i]);
        suite_tell(name, strstr(answer.head, headers[i]) != NULL, NULL, "%s", answer.head);
    }
    raw_free(&answer);
    bool again = raw_read(&conn, false, RAW_DEADLINE_MS, &answer);
    suite_tell("its connection can be used again", again, NULL, "no answer behind a stream");
    raw_free(&answer);
    raw_close(&conn);
}

static void accept_cases(void)
{
    static const struct {
        const char *accept;
        bool is_stream;
    } rows[] = {
        {"text/event-stream", true},
        {"TEXT/Event-Stream", true},
        {"text/html, text/event-stream;q=0.5", true},
        {"text/event-stream;q=0", false},
        {"text/event-stream; q=0.000", false},
        {"*/*", false},
        {"application/json", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char headers[128], text[256], name[128];
        snprintf(headers, sizeof(headers), "Accept: %s\r\n", rows[i].accept);
        snprintf(text, sizeof(text), "?timeout=1&category=%s", suite_category());
        raw_answer answer = stream(headers, text);
        bool is_stream = answer.status && strstr(answer.head, "text/event-stream");
        snprintf(name, sizeof(name), "Accept: %s is %s", rows[i].accept,
                 rows[i].is_stream ? "a stream" : "a poll");
        suite_tell(name,
                   is_stream == rows[i].is_stream &&
                       (is_stream || suite_is_timeout(text_of(&answer))),
                   NULL, "%d %s", answer.status, answer.body);
        raw_free(&answer);
    }
}

static void event_cases(void)
{
    char category[64], text[512], id[64] = "", start[64] = "", pattern[1024];
    snprintf(category, sizeof(category), "%s", suite_category());
    snprintf(text, sizeof(text), "?timeout=2&category=%s", category);
    raw_conn conn = suite_begin(STREAM, text);
    raw_silent(&conn, 2000); /* until it has begun */
    snprintf(text, sizeof(text), "{\"category\":\"%s\",\"data\":[1,\n2,\r\n3,\r4]}", category);
    raw_answer kept = suite_publish(text), answer = {0};
    raw_free(&kept);
    raw_read(&conn, false, RAW_DEADLINE_MS, &answer);
    raw_close(&conn);
    cut_positions(&answer);
    snprintf(pattern, sizeof(pattern),
             "id: U\n\nid: U\ndata: {\"timestamp\":N,\"category\":\"%s\",\"data\":[1,\n"
             "data: 2,\ndata: 3,\ndata: 4],\"id\":\"U\"}\n\n",
             category);
    suite_tell("an event is a frame, each of its lines a field",
               suite_matches(text_of(&answer), pattern), NULL, "%s", answer.body);
    suite_find(answer.body, "id: ", start, 37);
    last_id(text_of(&answer), id);
    char inner[64] = "";
    suite_find(answer.body, "],\"id\":\"", inner, sizeof(inner));
    suite_tell("its id is the event's", id[0] && strncmp(id, inner, 36) == 0, NULL, "%s and %s", id,
               inner);
    raw_free(&answer);

    snprintf(text, sizeof(text), "?timeout=1&category=%s&resume=id&last_id=%.36s", category, start);
    answer = stream(STREAM, text);
    suite_tell("a stream begins behind the URL's cursor",
               suite_count(text_of(&answer), "data: {\"timestamp\"") == 1, NULL, "%s", answer.body);
    raw_free(&answer);
    snprintf(text, sizeof(text), "?timeout=1&category=%s&since_time=1", category);
    answer = stream(STREAM, text);
    suite_tell("a stream takes a cursor of time",
               suite_count(text_of(&answer), "data: {\"timestamp\"") == 1, NULL, "%s", answer.body);
    raw_free(&answer);
    snprintf(text, sizeof(text), "?timeout=1&category=%s&last=5", category);
    answer = stream(STREAM, text);
    suite_tell("a stream takes last=N", suite_count(text_of(&answer), "data: {\"timestamp\"") == 1,
               NULL, "%s", answer.body);
    raw_free(&answer);
}

static void resume_cases(void)
{
    char category[64], text[512], headers[256], id[64] = "", first[37];
    snprintf(category, sizeof(category), "%s", suite_category());
    snprintf(text, sizeof(text), "?timeout=1&category=%s", category);
    raw_answer answer = stream(STREAM, text);
    last_id(text_of(&answer), id);
    raw_free(&answer);
    suite_event(category, "1", first);
    snprintf(headers, sizeof(headers), STREAM "Last-Event-ID: %.36s\r\n", id);
    answer = stream(headers, text);
    suite_tell("a reader that got nothing resumes from the position",
               suite_count(text_of(&answer), "\"data\":1,") == 1 &&
                   !strstr(text_of(&answer), "gap"),
               NULL, "%s", answer.body);
    raw_free(&answer);
    snprintf(headers, sizeof(headers), STREAM "Last-Event-ID: %s\r\n", first);
    snprintf(text, sizeof(text), "?timeout=1&category=%s&since_time=1&last=9", category);
    answer = stream(headers, text);
    suite_tell("Last-Event-ID wins over the URL's cursor and last",
               answer.status == 200 && !strstr(text_of(&answer), "\"data\":1,"), NULL, "%s",
               answer.body);
    raw_free(&answer);
    snprintf(headers, sizeof(headers), STREAM "Last-Event-ID: elsewhere\r\n");
    snprintf(text, sizeof(text), "?timeout=1&category=%s", category);
    answer = stream(headers, text);
    const char *gap = strstr(text_of(&answer), "event: gap\ndata: {\"gap\":true}\n\n");
    suite_tell("an id of elsewhere gets a gap and all there is", gap && strstr(gap, "\"data\":1,"),
               NULL, "%s", answer.body);
    raw_free(&answer);
    answer = suite_get_with("Last-Event-ID: elsewhere\r\n", text);
    suite_tell("Last-Event-ID is nothing to a poll", suite_is_timeout(text_of(&answer)), NULL, "%s",
               answer.body);
    raw_free(&answer);
}

static void long_cases(void)
{
    char category[64], text[512], id[37], *body = malloc(1 << 16);
    snprintf(category, sizeof(category), "%s", suite_category());
    suite_event(category, "\"first\"", id);
    for (int part = 0; part < 2; part++) {
        size_t at = (size_t)sprintf(body, "[");
        for (int n = 0; n < 150; n++)
            at += (size_t)sprintf(body + at, "%s{\"category\":\"%s\",\"data\":%d}", n ? "," : "",
                                  category, 150 * part + n);
        strcpy(body + at, "]");
        raw_answer kept = suite_publish(body);
        raw_free(&kept);
    }
    free(body);
    snprintf(text, sizeof(text), "?timeout=1&category=%s&resume=id&last_id=%s", category, id);
    raw_answer answer = stream(STREAM, text);
    suite_tell("a stream that missed some is told once, in front",
               suite_count(text_of(&answer), "event: gap\n") == 1 &&
                   suite_count(text_of(&answer), "\ndata: {\"timestamp\"") == 250 &&
                   strstr(text_of(&answer), "event: gap\n") <
                       strstr(text_of(&answer), "data: {\"timestamp\""),
               NULL, "%zu events, %zu gaps", suite_count(text_of(&answer), "data: {\"timestamp\""),
               suite_count(text_of(&answer), "event: gap"));
    raw_free(&answer);
}

static void head_case(void)
{
    raw_conn conn = suite_connect();
    raw_answer answer = {0};
    raw_printf(&conn, "HEAD /events?timeout=20&category=c HTTP/1.1\r\nHost: h\r\n" STREAM "\r\n");
    raw_read(&conn, true, RAW_DEADLINE_MS, &answer);
    raw_close(&conn);
    suite_tell("HEAD of a stream is not parked",
               answer.status == 200 && strstr(answer.head, "text/event-stream"), NULL, "%d %s",
               answer.status, answer.head);
    raw_free(&answer);
}

static void error_cases(void)
{
    raw_answer answer = suite_get_with(STREAM, "?timeout=0&category=c");
    suite_compare("an error in place of a stream", answer,
                  (suite_expected){200, SUITE_POLL,
                                   .body = "{\"error\": \"Invalid or missing 'timeout' arg.  Must "
                                           "be 1-110.\"}"});
}

void suite_stream_cases(void)
{
    opening_cases();
    accept_cases();
    event_cases();
    resume_cases();
    long_cases();
    head_case();
    error_cases();
}
