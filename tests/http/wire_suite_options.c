/* The cases of wire_suite about a server's options: real status codes, CORS, pages of strangers,
 * heartbeats and the rate. */
#include "wire_suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED  "Origin: https://pages.example\r\n"
#define FOREIGN "Origin: https://strangers.example\r\n"
#define ONE     "{\"category\":\"c\",\"data\":1}"

static void has(const char *name, const raw_answer *answer, const char *header, const char *value)
{
    char got[256] = "";
    bool found = answer->status && raw_header(answer, header, got, sizeof(got));
    suite_tell(name, value ? found && strcmp(got, value) == 0 : !found, NULL, "%s: %s", header,
               found ? got : "not there");
}

static void strict_cases(void)
{
    static const char *const queries[][2] = {
        {"?timeout=0&category=c",
         "{\"error\": \"Invalid or missing 'timeout' arg.  Must be 1-110.\"}"},
        {"?timeout=1",
         "{\"error\": \"Invalid subscription category, must be 1-1024 characters long.\"}"},
        {"?timeout=1&category=c&since_time=x", "{\"error\": \"Invalid 'since_time' arg.\"}"},
    };
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        raw_answer answer = suite_get(queries[i][0]);
        suite_tell("strict_status: an error of a poll is 400, its body the same",
                   answer.status == 400 && strcmp(answer.body, queries[i][1]) == 0, NULL, "%d %s",
                   answer.status, answer.body);
        raw_free(&answer);
    }
    raw_answer answer = suite_get_with("Accept: text/event-stream\r\n", "?timeout=1");
    suite_tell("strict_status: and of a stream", answer.status == 400, NULL, "%d", answer.status);
    raw_free(&answer);
    answer = suite_get("?timeout=1&category=quiet");
    suite_tell("strict_status: a timeout stays 200", answer.status == 200, NULL, "%d",
               answer.status);
    raw_free(&answer);
}

static void cors_cases(void)
{
    raw_answer answer = suite_get_with(LISTED, "?timeout=1&category=quiet");
    has("a page on the list may read a poll", &answer, "Access-Control-Allow-Origin",
        "https://pages.example");
    has("and caches are told", &answer, "Vary", "Origin");
    has("and what else it may read", &answer, "Access-Control-Expose-Headers",
        "Retry-After, Preference-Applied");
    raw_free(&answer);
    answer = suite_get_with(LISTED, "?timeout=0");
    has("an error too", &answer, "Access-Control-Allow-Origin", "https://pages.example");
    raw_free(&answer);
    answer = suite_get_with(LISTED "Accept: text/event-stream\r\n", "?timeout=1&category=quiet");
    has("a stream too", &answer, "Access-Control-Allow-Origin", "https://pages.example");
    raw_free(&answer);
    answer = suite_get_with(FOREIGN, "?timeout=1&category=quiet");
    has("another page may not", &answer, "Access-Control-Allow-Origin", NULL);
    raw_free(&answer);
    answer = suite_publish_with(LISTED, ONE);
    suite_tell("a page on the list may publish", answer.status == 200, NULL, "%d", answer.status);
    has("and read the answer", &answer, "Access-Control-Allow-Origin", "https://pages.example");
    raw_free(&answer);
    answer = suite_publish_with(FOREIGN, ONE);
    suite_tell("another page may not publish",
               answer.status == 403 && strncmp(answer.body, "{\"error\": \"", 11) == 0, NULL,
               "%d %s", answer.status, answer.body);
    raw_free(&answer);
    answer = suite_publish_with("Origin: null\r\n", ONE);
    suite_tell("nor may one without an origin", answer.status == 403, NULL, "%d", answer.status);
    raw_free(&answer);
}

static void preflight(const char *path, const char *method)
{
    raw_conn conn = suite_connect();
    raw_answer answer = {0};
    char allowed[256] = "";
    raw_printf(&conn,
               "OPTIONS %s HTTP/1.1\r\nHost: h\r\n" LISTED "Access-Control-Request-Method: %s\r\n"
               "Access-Control-Request-Headers: idempotency-key\r\n\r\n",
               path, method);
    raw_read(&conn, false, RAW_DEADLINE_MS, &answer);
    suite_tell("a preflight is 204", answer.status == 204, NULL, "%s: %d", path, answer.status);
    has("a preflight allows the origin", &answer, "Access-Control-Allow-Origin",
        "https://pages.example");
    if (answer.status)
        raw_header(&answer, "Access-Control-Allow-Methods", allowed, sizeof(allowed));
    suite_tell("a preflight allows the method", strstr(allowed, method) != NULL, NULL, "%s: %s",
               path, allowed);
    allowed[0] = '\0';
    if (answer.status)
        raw_header(&answer, "Access-Control-Allow-Headers", allowed, sizeof(allowed));
    suite_tell("a preflight allows the headers",
               strstr(allowed, "Idempotency-Key") && strstr(allowed, "Last-Event-ID") &&
                   strstr(allowed, "Content-Type") && strstr(allowed, "Prefer"),
               NULL, "%s", allowed);
    has("a preflight may be kept", &answer, "Access-Control-Max-Age", "600");
    raw_free(&answer);
    raw_close(&conn);
}

static void heartbeat_case(void)
{
    raw_answer answer =
        suite_get_with("Accept: text/event-stream\r\n", "?timeout=2&category=nobody");
    size_t ids = suite_count(answer.body, "id: ");
    /* one at the start, and then each 200 ms; a busy machine may be late */
    suite_tell("a silent stream says where it is", ids >= 3, NULL, "%zu positions", ids);
    raw_free(&answer);
}

static void rate_case(void)
{
    char after[16] = "", *body = malloc(4096);
    size_t at = (size_t)sprintf(body, "[" ONE);
    for (int i = 0; i < 29; i++)
        at += (size_t)sprintf(body + at, "," ONE);
    strcpy(body + at, "]");
    raw_answer answer = {0};
    int kept = 0;
    for (int i = 0; i < 4 && answer.status != 429; i++) {
        raw_free(&answer);
        answer = suite_publish(body);
        kept += answer.status == 200;
    }
    bool has_after = answer.status && raw_header(&answer, "Retry-After", after, sizeof(after));
    suite_tell("an address that publishes too much is told when to come again",
               answer.status == 429 && kept <= 2 && has_after && atoi(after) >= 1 &&
                   strncmp(answer.body, "{\"error\": \"", 11) == 0,
               NULL, "%d after %d, %s", answer.status, kept, after);
    raw_free(&answer);
    free(body);
    answer = suite_get("?timeout=1&category=c&since_time=1");
    suite_tell("it may still read", answer.status == 200 && strstr(answer.body, "\"events\""), NULL,
               "%d", answer.status);
    raw_free(&answer);
}

void suite_option_cases(void)
{
    strict_cases();
    cors_cases();
    preflight("/events", "GET");
    preflight("/publish", "POST");
    heartbeat_case();
    rate_case();
}
