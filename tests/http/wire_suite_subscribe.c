/* The cases of wire_suite about polls. */
#include "wire_suite.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BAD_TIMEOUT "{\"error\": \"Invalid or missing 'timeout' arg.  Must be 1-110.\"}"
#define BAD_CATEGORY                                                                               \
    "{\"error\": \"Invalid subscription category, must be 1-1024 characters long.\"}"
#define BAD_SINCE   "{\"error\": \"Invalid 'since_time' arg.\"}"
#define NEEDS_SINCE "{\"error\": \"Must provide 'since_time' arg when providing 'last_id'.\"}"
#define BAD_ID      "{\"error\": \"Param 'last_id' was not a valid UUID.\"}"

/* Each check is made in its order, so an error about the next parameter says that this one is fine.
 */
static void query(const char *name, const char *text, const char *body)
{
    suite_compare(name, suite_get(text), (suite_expected){200, SUITE_POLL, .body = body});
}

static void timeout_cases(void)
{
    query("no query at all", "", BAD_TIMEOUT);
    query("an empty query", "?", BAD_TIMEOUT);
    query("timeout missing", "?category=c", BAD_TIMEOUT);
    query("timeout empty", "?timeout=&category=c", BAD_TIMEOUT);
    query("timeout without a value", "?timeout&category=c", BAD_TIMEOUT);
    query("timeout 0", "?timeout=0&category=c", BAD_TIMEOUT);
    query("timeout negative", "?timeout=-1&category=c", BAD_TIMEOUT);
    query("timeout past the maximum", "?timeout=111&category=c", BAD_TIMEOUT);
    query("timeout no whole number", "?timeout=1.5&category=c", BAD_TIMEOUT);
    query("timeout with a blank behind", "?timeout=1+&category=c", BAD_TIMEOUT);
    query("timeout with a blank before", "?timeout=%201&category=c", BAD_TIMEOUT);
    query("timeout with a NUL", "?timeout=1%00&category=c", BAD_TIMEOUT);
    query("timeout with an underscore", "?timeout=1_0&category=c", BAD_TIMEOUT);
    query("timeout in hexadecimal", "?timeout=0x1&category=c", BAD_TIMEOUT);
    query("timeout no number", "?timeout=abc&category=c", BAD_TIMEOUT);
    query("timeout a sign alone", "?timeout=%2B&category=c", BAD_TIMEOUT);
    query("timeout beyond 64 bits", "?timeout=18446744073709551617&category=c", BAD_TIMEOUT);
    query("timeout just beyond 63 bits", "?timeout=9223372036854775808&category=c", BAD_TIMEOUT);
    query("timeout 1", "?timeout=1", BAD_CATEGORY);
    query("timeout the maximum", "?timeout=110", BAD_CATEGORY);
    query("timeout with a plus sign", "?timeout=%2B1", BAD_CATEGORY);
    query("timeout with leading zeros", "?timeout=0000000000000000000000000000001", BAD_CATEGORY);
    query("timeout with escapes", "?timeout=%31", BAD_CATEGORY);
}

static void pair_cases(void)
{
    query("the first value wins", "?timeout=1&timeout=0", BAD_CATEGORY);
    query("the first value wins, also a bad one", "?timeout=0&timeout=1", BAD_TIMEOUT);
    query("the first value wins, also an empty one", "?timeout=&timeout=1", BAD_TIMEOUT);
    query("a pair with a broken escape is dropped", "?timeout=%zz&timeout=1", BAD_CATEGORY);
    query("a pair with a cut escape is dropped", "?timeout=1%&timeout=2", BAD_CATEGORY);
    query("a pair with a half escape is dropped", "?timeout=1%3&category=c", BAD_TIMEOUT);
    query("a broken name does no harm", "?%zz=1&timeout=1", BAD_CATEGORY);
    query("a semicolon separates nothing", "?timeout=1;category=c", BAD_TIMEOUT);
    query("a pair with a semicolon is dropped", "?timeout=1&category=a;b", BAD_CATEGORY);
    query("names may be escaped", "?%74imeout=1", BAD_CATEGORY);
    query("names are exact", "?Timeout=1&category=c", BAD_TIMEOUT);
    query("a name with a NUL is another", "?timeout%00=1&category=c", BAD_TIMEOUT);
    query("empty pairs do no harm", "?&&timeout=1&&", BAD_CATEGORY);
    query("a value may hold an equals sign", "?timeout=1=1&category=c", BAD_TIMEOUT);
    query("a question mark in the query is a byte", "?timeout=1?&category=c", BAD_TIMEOUT);
    query("a number sign in the query is a byte", "?timeout=1#&category=c", BAD_TIMEOUT);
}

/* Category lengths count after decoding; `since_time=x` behind shows which were taken. */
static void category_of(const char *name, const char *unit, size_t count, const char *body)
{
    size_t len = strlen(unit), at;
    char *text = malloc(64 + len * count);
    at = (size_t)sprintf(text, "?timeout=1&since_time=x&category=");
    for (size_t i = 0; i < count; i++, at += len)
        strcpy(text + at, unit);
    query(name, text, body);
    free(text);
}

static void category_cases(void)
{
    query("category missing", "?timeout=1&since_time=x", BAD_CATEGORY);
    query("category empty", "?timeout=1&category=&since_time=x", BAD_CATEGORY);
    category_of("category of 1 byte", "c", 1, BAD_SINCE);
    category_of("category of 1024 bytes", "c", 1024, BAD_SINCE);
    category_of("category of 1025 bytes", "c", 1025, BAD_CATEGORY);
    category_of("category of 1024 bytes, escaped", "%63", 1024, BAD_SINCE);
    category_of("category of 1025 bytes, escaped", "%63", 1025, BAD_CATEGORY);
    category_of("category of 512 characters of two bytes", "%C3%A4", 512, BAD_SINCE);
    category_of("category of 513 characters of two bytes", "%C3%A4", 513, BAD_CATEGORY);
    category_of("category of a blank", "+", 1, BAD_SINCE);
    category_of("category of a NUL", "%00", 1, BAD_SINCE);
}

static void cursor_cases(void)
{
    query("since_time no number", "?timeout=1&category=c&since_time=abc", BAD_SINCE);
    query("since_time no whole number", "?timeout=1&category=c&since_time=1.5", BAD_SINCE);
    query("since_time with a blank", "?timeout=1&category=c&since_time=+1", BAD_SINCE);
    query("since_time beyond 64 bits", "?timeout=1&category=c&since_time=9223372036854775808",
          BAD_SINCE);
    query("since_time below 64 bits", "?timeout=1&category=c&since_time=-9223372036854775809",
          BAD_SINCE);
    query("since_time is checked before last_id", "?timeout=1&category=c&since_time=x&last_id=x",
          BAD_SINCE);
    query("last_id without since_time", "?timeout=1&category=c&last_id=x", NEEDS_SINCE);
    query("an empty since_time counts as absent", "?timeout=1&category=c&since_time=&last_id=x",
          NEEDS_SINCE);
    query("the first since_time wins", "?timeout=1&category=c&since_time=&since_time=5&last_id=x",
          NEEDS_SINCE);
    query("since_time negative", "?timeout=1&category=c&since_time=-1&last_id=x", BAD_ID);
    query("since_time with a plus sign", "?timeout=1&category=c&since_time=%2B5&last_id=x", BAD_ID);
    query("since_time with leading zeros", "?timeout=1&category=c&since_time=0005&last_id=x",
          BAD_ID);
    query("since_time the lowest",
          "?timeout=1&category=c&since_time=-9223372036854775808&last_id=x", BAD_ID);
    query("since_time the highest",
          "?timeout=1&category=c&since_time=9223372036854775807&last_id=x", BAD_ID);
}

static void bad_id_cases(void)
{
    static const char *const bad[] = {
        "6ba7b8109dad11d180b400c04fd430c",
        "6ba7b8109dad11d180b400c04fd430c89",
        "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
        "6ba7b810-9dad-11d1-80b400c04fd430c8",
        "6ba7b8109-dad-11d1-80b4-00c04fd430c8",
        "{6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
        "(6ba7b810-9dad-11d1-80b4-00c04fd430c8)",
        "{{6ba7b810-9dad-11d1-80b4-00c04fd430c8}}",
        "urn:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "URN:UUID:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "urn:uuid:{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
        "+6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "0",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[256], name[128];
        snprintf(text, sizeof(text), "?timeout=1&category=c&since_time=1&last_id=%s", bad[i]);
        snprintf(name, sizeof(name), "last_id %s is none", bad[i]);
        query(name, text, BAD_ID);
    }
}

/* Each spelling of an event's id finds what follows it. */
static void good_id_cases(void)
{
    char category[64], first[37], second[37], upper[37], digits[33];
    snprintf(category, sizeof(category), "%s", suite_category());
    int64_t ms = suite_event(category, "1", first);
    suite_event(category, "2", second);
    size_t n = 0;
    for (int i = 0; i < 37; i++) {
        upper[i] = first[i] >= 'a' && first[i] <= 'f' ? (char)(first[i] - 32) : first[i];
        if (first[i] != '-')
            digits[n++] = first[i];
    }
    const struct {
        const char *name, *format, *id;
    } spellings[] = {
        {"last_id canonical", "%s", first},
        {"last_id in upper case", "%s", upper},
        {"last_id of 32 digits", "%s", digits},
        {"last_id in braces", "{%s}", first},
        {"last_id of 32 digits in braces", "%%7B%s%%7D", digits},
        {"last_id a URN", "urn:uuid:%s", first},
        {"last_id a URN of 32 digits", "urn%%3auuid%%3a%s", digits},
    };
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        char id[64], text[256];
        snprintf(id, sizeof(id), spellings[i].format, spellings[i].id); /* NOLINT: formats above */
        snprintf(text, sizeof(text), "?timeout=5&category=%s&since_time=%lld&last_id=%s", category,
                 (long long)ms, id);
        raw_answer answer = suite_get(text);
        suite_tell(spellings[i].name,
                   answer.status == 200 && strstr(answer.body, "\"data\":2,") &&
                       !strstr(answer.body, "\"data\":1,"),
                   NULL, "%s", answer.body);
        raw_free(&answer);
    }
}

/* ---- answers ----------------------------------------------------------- */

static void event_cases(void)
{
    char category[64], id[37], text[256], pattern[512];
    snprintf(category, sizeof(category), "%s", suite_category());
    int64_t first_ms = suite_event(category, "{\"a\":[1,\"x\",null,true]}", id);

    snprintf(text, sizeof(text), "?timeout=5&category=%s&since_time=%lld", category,
             (long long)first_ms - 1);
    snprintf(
        pattern, sizeof(pattern),
        "{\"events\":[{\"timestamp\":N,\"category\":\"%s\",\"data\":{\"a\":[1,\"x\",null,true]},"
        "\"id\":\"U\"}]}",
        category);
    raw_answer answer = suite_get(text);
    suite_tell("one event, to the byte", answer.body && suite_matches(answer.body, pattern), NULL,
               "%s", answer.body);
    suite_compare("one event, its headers", answer, (suite_expected){200, SUITE_POLL});

    int64_t later = raw_now_ms() + 3; /* apart by more than a millisecond */
    while (raw_now_ms() < later)
        poll(NULL, 0, 1);
    int64_t second_ms = suite_event(category, "2", id);
    snprintf(
        pattern, sizeof(pattern),
        "{\"events\":[{\"timestamp\":N,\"category\":\"%s\",\"data\":{\"a\":[1,\"x\",null,true]},"
        "\"id\":\"U\"},{\"timestamp\":N,\"category\":\"%s\",\"data\":2,\"id\":\"U\"}]}",
        category, category);
    answer = suite_get(text);
    suite_tell("two events, oldest first", answer.body && suite_matches(answer.body, pattern), NULL,
               "%s", answer.body);
    raw_free(&answer);

    snprintf(text, sizeof(text), "?timeout=5&category=%s&since_time=%lld&last_id=%s", category,
             (long long)second_ms - 1, "6ba7b810-9dad-41d1-80b4-00c04fd430c8");
    snprintf(pattern, sizeof(pattern),
             "{\"events\":[{\"timestamp\":N,\"category\":\"%s\",\"data\":2,\"id\":\"U\"}]}",
             category);
    answer = suite_get(text);
    suite_tell("an id of no event gives what is later",
               answer.body && suite_matches(answer.body, pattern), NULL, "%s", answer.body);
    raw_free(&answer);

    snprintf(text, sizeof(text), "?timeout=5&category=%s&since_time=%lld&last_id=%s", category,
             (long long)second_ms, "6ba7b810-9dad-41d1-80b4-00c04fd430c8");
    answer = suite_get(text);
    suite_tell("an id of no event gives all of its millisecond",
               answer.body && strstr(answer.body, "\"data\":2,"), NULL, "%s", answer.body);
    raw_free(&answer);

    snprintf(text, sizeof(text), "?timeout=1&category=%s&since_time=%lld", category,
             (long long)second_ms);
    answer = suite_get(text);
    suite_tell("events of since_time itself are not later",
               answer.body && suite_is_timeout(answer.body), NULL, "%s", answer.body);
    suite_compare("a timeout, its headers", answer, (suite_expected){200, SUITE_POLL});
}

static void methods_cases(void)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "PATCH"};
    char category[64], id[37], target[128], name[64];
    snprintf(category, sizeof(category), "%s", suite_category());
    suite_event(category, "\"m\"", id);
    snprintf(target, sizeof(target), "/events?timeout=5&category=%s&since_time=1", category);
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        raw_answer answer = suite_ask(methods[i], target, "timeout=0", 9);
        snprintf(name, sizeof(name), "%s is served like GET", methods[i]);
        suite_tell(name, answer.body && strstr(answer.body, "\"data\":\"m\""), NULL, "%d %s",
                   answer.status, answer.body);
        raw_free(&answer);
    }
    static const char never_parked[] =
        "HEAD and OPTIONS are answered and never parked; golongpoll parks them";
    snprintf(target, sizeof(target), "/events?timeout=1&category=%s", category);
    int64_t begun = raw_now_ms();
    raw_answer answer = suite_ask("HEAD", target, NULL, 0);
    suite_tell("HEAD is not parked", answer.status == 200 && raw_now_ms() - begun < 900,
               never_parked, "%d after %lld ms", answer.status, (long long)(raw_now_ms() - begun));
    suite_compare("HEAD, its headers", answer, (suite_expected){200, SUITE_POLL});
    answer = suite_ask("OPTIONS", target, NULL, 0);
    char allow[64] = "";
    if (answer.status)
        raw_header(&answer, "Allow", allow, sizeof(allow));
    suite_tell("OPTIONS is answered", answer.status == 204 && allow[0], never_parked, "%d %s",
               answer.status, answer.body);
    raw_free(&answer);
}

/* A poll that waits gets what is published meanwhile. */
static void waits(const char *name, const char *since, const char *difference)
{
    char category[64], body[128];
    raw_conn conn = suite_connect();
    raw_answer answer = {0};
    snprintf(category, sizeof(category), "%s", suite_category());
    raw_printf(&conn, "GET /events?timeout=20&category=%s%s HTTP/1.1\r\nHost: h\r\n\r\n", category,
               since);
    if (!raw_silent(&conn, 200)) {
        suite_tell(name, false, difference, "did not wait");
        raw_close(&conn);
        return;
    }
    snprintf(body, sizeof(body), "{\"category\":\"%s\",\"data\":\"new\"}", category);
    raw_answer kept = suite_publish(body);
    raw_free(&kept);
    bool got = raw_read(&conn, false, RAW_DEADLINE_MS, &answer);
    suite_tell(name, got && strstr(answer.body, "\"data\":\"new\""), difference, "%s",
               got ? answer.body : "no answer");
    raw_free(&answer);
    raw_close(&conn);
}

static void waiting_cases(void)
{
    char since[64];
    waits("a poll without a cursor waits for what comes", "", NULL);
    snprintf(since, sizeof(since), "&since_time=%lld", (long long)(time(NULL) + 3600) * 1000);
    waits("since_time ahead of the clock means from now", since, NULL);
    waits("since_time beyond milliseconds is clamped", "&since_time=9223372036854775807",
          "beyond the range of milliseconds is clamped, never wrapped");
    raw_answer answer = suite_get("?timeout=1&category=nobody-publishes-here");
    suite_tell("a poll times out", answer.body && suite_is_timeout(answer.body), NULL, "%s",
               answer.body);
    suite_compare("a timeout without a cursor, its headers", answer,
                  (suite_expected){200, SUITE_POLL});
}

void suite_subscribe_cases(void)
{
    timeout_cases();
    pair_cases();
    category_cases();
    cursor_cases();
    bad_id_cases();
    good_id_cases();
    event_cases();
    methods_cases();
    waiting_cases();
}
