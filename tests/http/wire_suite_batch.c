/* The cases of wire_suite about publishes that golongpoll does not know (arrays, keys, the answer
 * that shows the event), and about what is served beside events. */
#include "wire_suite.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT "{\"success\": true}"

static void answers(const char *name, const char *headers, const char *body, int status,
                    const char *expected)
{
    suite_compare(name, suite_publish_with(headers, body),
                  (suite_expected){status, SUITE_PUBLISH, .body = expected});
}

/* How many events a category has. */
static size_t events_of(const char *category)
{
    char text[256], id[37];
    /* one more, which is told when all before it are */
    suite_event(category, "\"end\"", id);
    snprintf(text, sizeof(text), "?timeout=1&since_time=1&category=%s", category);
    raw_answer answer = suite_get(text);
    size_t count = suite_count(answer.body, "\"data\":");
    raw_free(&answer);
    return count - 1;
}

static void array_cases(void)
{
    char category[64], text[512];
    snprintf(category, sizeof(category), "%s", suite_category());
    snprintf(text, sizeof(text),
             "[{\"category\":\"%s\",\"data\":1},\n{\"DATA\":[2],\"category\":\"%s\"}] x", category,
             category);
    answers("an array of two", "", text, 200, KEPT);
    suite_tell("both are there", events_of(category) == 2, NULL, "they are not");
    snprintf(category, sizeof(category), "%s", suite_category());
    snprintf(text, sizeof(text), "[{\"category\":\"%s\",\"data\":1},{\"category\":\"%s\"}]",
             category, category);
    answers("an item without data", "", text, 400,
            "{\"error\": \"item 2: Invalid or missing 'data' arg, must be non-nil.\"}");
    answers("an item without a category", "", "[{\"data\":1}]", 400,
            "{\"error\": \"item 1: Invalid or missing 'category' arg, must be 1-1024 characters "
            "long.\"}");
    answers("an item that is no object", "", "[7]", 400,
            "{\"error\": \"item 1: Invalid POST body json.\"}");
    answers("an array that is cut", "", "[{\"category\":\"c\",\"data\":1},", 400,
            "{\"error\": \"Invalid POST body json.\"}");
    suite_tell("none is kept when one is refused", events_of(category) == 0, NULL, "one was kept");
    raw_answer answer = suite_publish("[]");
    suite_tell("an empty array", answer.status == 400 && strstr(answer.body, "{\"error\": "), NULL,
               "%d %s", answer.status, answer.body);
    raw_free(&answer);
}

static void key_cases(void)
{
    char category[64], text[512], other[512], headers[400], key[64];
    snprintf(category, sizeof(category), "%s", suite_category());
    snprintf(key, sizeof(key), "%s", suite_category());
    snprintf(headers, sizeof(headers), "Idempotency-Key: %s\r\n", key);
    snprintf(text, sizeof(text), "{\"category\":\"%s\",\"data\":1}", category);
    snprintf(other, sizeof(other), "{\"category\":\"%s\",\"data\":2}", category);
    answers("a publish with a key", headers, text, 200, KEPT);
    answers("a repeat is answered like the first", headers, text, 200, KEPT);
    snprintf(headers, sizeof(headers), "idempotency-key: \t %s \r\n", key);
    answers("blanks around a key are none of it", headers, text, 200, KEPT);
    raw_answer answer = suite_publish_with(headers, other);
    suite_tell("the same key with another body",
               answer.status == 422 && strncmp(answer.body, "{\"error\": \"", 11) == 0, NULL,
               "%d %s", answer.status, answer.body);
    raw_free(&answer);
    snprintf(headers, sizeof(headers), "Idempotency-Key: %s-2\r\n", key);
    answers("another key publishes again", headers, text, 200, KEPT);
    snprintf(headers, sizeof(headers), "Idempotency-Key: %s-3\r\n", key);
    answers("a publish that is refused", headers, "{\"category\":\"c\"}", 400,
            "{\"error\": \"Invalid or missing 'data' arg, must be non-nil.\"}");
    answers("leaves its key free", headers, text, 200, KEPT);
    size_t events = events_of(category);
    suite_tell("a repeat publishes nothing", events == 3, NULL, "%zu events", events);

    char *long_key = malloc(400);
    size_t at = (size_t)sprintf(long_key, "Idempotency-Key: ");
    memset(long_key + at, 'k', 256);
    strcpy(long_key + at + 256, "\r\n");
    answer = suite_publish_with(long_key, text);
    suite_tell("a key of 256 bytes", answer.status == 400, NULL, "%d", answer.status);
    raw_free(&answer);
    strcpy(long_key + at + 255, "\r\n");
    memcpy(long_key + at, key, strlen(key));
    answers("a key of 255 bytes", long_key, text, 200, KEPT);
    free(long_key);
    answer = suite_publish_with("Idempotency-Key:\r\n", text);
    suite_tell("a key that is empty", answer.status == 400, NULL, "%d", answer.status);
    raw_free(&answer);
    answer = suite_publish_with("Idempotency-Key: a\r\nIdempotency-Key: b\r\n", text);
    suite_tell("two keys", answer.status == 400, NULL, "%d", answer.status);
    raw_free(&answer);
}

static void shown(const char *name, const char *headers, const char *body, const char *pattern,
                  bool is_shown, char id[64])
{
    char applied[64] = "";
    raw_answer answer = suite_publish_with(headers, body);
    bool has_header =
        answer.status && raw_header(&answer, "Preference-Applied", applied, sizeof(applied));
    suite_tell(name,
               answer.status == 200 && suite_matches(answer.body, pattern) &&
                   has_header == is_shown &&
                   (!is_shown || strcmp(applied, "return=representation") == 0),
               NULL, "%d %s", answer.status, answer.body);
    if (id)
        suite_find(answer.body, "\"id\":\"", id, 64);
    raw_free(&answer);
}

static void prefer_cases(void)
{
    char category[64], text[256], array[1024], one[256], both[1024], headers[256];
    char id[64] = "", again[64] = "";
    snprintf(category, sizeof(category), "%s", suite_category());
    snprintf(text, sizeof(text), "{\"category\":\"%s\",\"data\":7}", category);
    snprintf(array, sizeof(array), "[%s,%s]", text, text);
    snprintf(one, sizeof(one), "{\"timestamp\":N,\"category\":\"%s\",\"data\":7,\"id\":\"U\"}",
             category);
    snprintf(both, sizeof(both), "{\"events\":[%s,%s]}", one, one);
    shown("return=representation shows the event", "Prefer: return=representation\r\n", text, one,
          true, NULL);
    shown("return=representation shows the events of an array",
          "Prefer: respond-async, return=representation\r\n", array, both, true, NULL);
    shown("return=minimal does not", "Prefer: return=minimal\r\n", text, KEPT, false, NULL);
    snprintf(headers, sizeof(headers), "Prefer: return=representation\r\nIdempotency-Key: %s\r\n",
             category);
    shown("with a key", headers, text, one, true, id);
    shown("a repeat shows the first one's event", headers, text, one, true, again);
    suite_tell("by its id", id[0] && strcmp(id, again) == 0, NULL, "%s and %s", id, again);
}

static void large_cases(void)
{
    const size_t len = 1 << 20;
    char *body = malloc(len + 64);
    size_t at = (size_t)sprintf(body, "[{\"category\":\"c\",\"data\":\"");
    memset(body + at, 'x', len);
    strcpy(body + at + len, "\"}]");
    raw_answer answer = suite_publish(body);
    suite_tell("an item of more than 1 MiB",
               answer.status == 413 && strncmp(answer.body, "{\"error\": \"item 1: ", 19) == 0,
               NULL, "%d %.200s", answer.status, answer.body);
    suite_tell("waiting does not help it",
               answer.status && !strstr(answer.head, "\nRetry-After:") &&
                   !strstr(answer.head, "\nretry-after:"),
               NULL, "%s", answer.head);
    raw_free(&answer);
    strcpy(body + at + len - 2, "\"}]");
    answer = suite_publish(body);
    suite_tell("an item of 1 MiB", answer.status == 200, NULL, "%d %.200s", answer.status,
               answer.body);
    raw_free(&answer);
    free(body);
}

static void beside_cases(void)
{
    raw_answer answer = suite_ask("GET", "/health", NULL, 0);
    suite_tell("/health",
               answer.status == 200 && strcmp(answer.body, "{\"status\":\"serving\"}") == 0, NULL,
               "%d %s", answer.status, answer.body);
    raw_free(&answer);
    answer = suite_ask("GET", "/metrics", NULL, 0);
    char type[128] = "";
    if (answer.status)
        raw_header(&answer, "Content-Type", type, sizeof(type));
    suite_tell("/metrics",
               answer.status == 200 && strncmp(type, "text/plain; version=0.0.4", 25) == 0, NULL,
               "%d %s", answer.status, type);
    const char *wrong = NULL;
    bool has_names = true;
    for (char *line = answer.body ? strtok(answer.body, "\n") : NULL; line && !wrong;
         line = strtok(NULL, "\n")) {
        const char *value = strrchr(line, ' ');
        if (line[0] == '#')
            has_names = strncmp(line, "# HELP longpoll_", 16) == 0 ||
                        strncmp(line, "# TYPE longpoll_", 16) == 0;
        if (!has_names ||
            (line[0] != '#' && (strncmp(line, "longpoll_", 9) != 0 || !value ||
                                !(isdigit((unsigned char)value[1]) || value[1] == '-'))))
            wrong = line;
    }
    suite_tell("each line of /metrics is a figure of longpoll_ or about one",
               answer.status && !wrong, NULL, "%s", wrong ? wrong : "no answer");
    raw_free(&answer);
    answer = suite_ask("POST", "/metrics", "", 0);
    suite_tell("/metrics is read only", answer.status == 405, NULL, "%d", answer.status);
    raw_free(&answer);
    answer = suite_ask("GET", "/nothing", NULL, 0);
    suite_tell("another path", answer.status == 404, NULL, "%d", answer.status);
    raw_free(&answer);
    answer = suite_get_with("Origin: https://pages.example\r\n", "?timeout=0");
    suite_tell("no CORS header unless it is asked of the server",
               answer.status && !strstr(answer.head, "Access-Control"), NULL, "%s", answer.head);
    raw_free(&answer);
}

void suite_batch_cases(void)
{
    array_cases();
    key_cases();
    prefer_cases();
    large_cases();
    beside_cases();
}
