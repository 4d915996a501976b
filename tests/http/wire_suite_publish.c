/* The cases of wire_suite about publishes. */
#include "wire_suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT       "{\"success\": true}"
#define BAD_METHOD "{\"error\": \"Invalid HTTP Method. Only POST allowed.\"}"
#define BAD_JSON   "{\"error\": \"Invalid POST body json.\"}"
#define BAD_CATEGORY                                                                               \
    "{\"error\": \"Invalid or missing 'category' arg, must be 1-1024 characters long.\"}"
#define BAD_DATA "{\"error\": \"Invalid or missing 'data' arg, must be non-nil.\"}"

#define RE_ENCODES "golongpoll re-encodes data; we keep the publisher's bytes"
#define STRICT     "JSON where golongpoll's Go decoder is lax"

static void bytes(const char *name, const char *body, size_t len, int status, const char *text,
                  const char *difference)
{
    suite_compare(name, suite_ask("POST", "/publish", body, len),
                  (suite_expected){status, SUITE_PUBLISH, .body = text, .difference = difference});
}

static void body(const char *name, const char *text, int status, const char *answer)
{
    bytes(name, text, strlen(text), status, answer, NULL);
}

static void method_cases(void)
{
    suite_expected refused = {405, SUITE_PUBLISH, .extra = "Allow: POST", .body = BAD_METHOD,
                              .difference = "we add `Allow: POST`"};
    suite_compare("GET does not publish", suite_ask("GET", "/publish", NULL, 0), refused);
    suite_compare("PUT does not publish", suite_ask("PUT", "/publish", "{}", 2), refused);
    suite_compare("DELETE does not publish", suite_ask("DELETE", "/publish", NULL, 0), refused);
    refused.body = "";
    suite_compare("HEAD does not publish", suite_ask("HEAD", "/publish", NULL, 0), refused);
    raw_answer answer = suite_ask("OPTIONS", "/publish", NULL, 0);
    char allow[64] = "";
    suite_tell("OPTIONS says how",
               answer.status == 204 && raw_header(&answer, "Allow", allow, sizeof(allow)),
               "HEAD and OPTIONS are answered", "%d %s", answer.status, answer.body);
    raw_free(&answer);
}

static void json_cases(void)
{
    body("an empty body", "", 400, BAD_JSON);
    body("white space alone", " \n", 400, BAD_JSON);
    body("no JSON", "category=c&data=1", 400, BAD_JSON);
    body("a string", "\"category\"", 400, BAD_JSON);
    body("a number", "1", 400, BAD_JSON);
    body("true", "true", 400, BAD_JSON);
    bytes("an array", "[{\"category\":\"c\",\"data\":1}]", 27, 200, KEPT,
          "several events in one publish");
    bytes("an array of something else", "[1]", 3, 400,
          "{\"error\": \"item 1: Invalid POST body json.\"}", "several events in one publish");
    body("an object that is cut", "{\"category\":\"c\",\"data\":1", 400, BAD_JSON);
    body("an object with a comma too many", "{\"category\":\"c\",\"data\":1,}", 400, BAD_JSON);
    body("data that is no JSON", "{\"category\":\"c\",\"data\":01}", 400, BAD_JSON);
    body("single quotes", "{'category':'c','data':1}", 400, BAD_JSON);
    body("a raw control character", "{\"category\":\"c\",\"data\":\"\x01\"}", 400, BAD_JSON);
    body("a byte order mark", "\xef\xbb\xbf{\"category\":\"c\",\"data\":1}", 400, BAD_JSON);
    bytes("a NUL in the body", "{\"category\":\"c\",\0\"data\":1}", 26, 400, BAD_JSON, NULL);
    body("category a number", "{\"category\":1,\"data\":1}", 400, BAD_JSON);
    body("category a boolean", "{\"category\":false,\"data\":1}", 400, BAD_JSON);
    body("category an object", "{\"category\":{},\"data\":1}", 400, BAD_JSON);
    body("category an array", "{\"category\":[\"c\"],\"data\":1}", 400, BAD_JSON);
    body("category no string, a good one behind", "{\"category\":1,\"category\":\"c\",\"data\":1}",
         400, BAD_JSON);
    bytes("bytes that are not UTF-8 in the data", "{\"category\":\"c\",\"data\":\"\xff\"}", 27, 400,
          BAD_JSON, STRICT);
}

static void missing_cases(void)
{
    body("null", "null", 400, BAD_CATEGORY);
    body("an empty object", "{}", 400, BAD_CATEGORY);
    body("category missing", "{\"data\":1}", 400, BAD_CATEGORY);
    body("category null", "{\"category\":null,\"data\":1}", 400, BAD_CATEGORY);
    body("category empty", "{\"category\":\"\",\"data\":1}", 400, BAD_CATEGORY);
    body("category is checked before data", "{\"category\":\"\"}", 400, BAD_CATEGORY);
    body("data missing", "{\"category\":\"c\"}", 400, BAD_DATA);
    body("data null", "{\"category\":\"c\",\"data\":null}", 400, BAD_DATA);
    body("data null behind data", "{\"category\":\"c\",\"data\":1,\"data\":null}", 400, BAD_DATA);
    body("category null behind a category", "{\"category\":\"c\",\"category\":null,\"data\":1}",
         200, KEPT);
    body("data behind null", "{\"category\":\"c\",\"data\":null,\"data\":1}", 200, KEPT);
}

static void category_of(const char *name, const char *unit, size_t count, int status,
                        const char *answer)
{
    size_t len = strlen(unit), at;
    char *text = malloc(64 + len * count);
    at = (size_t)sprintf(text, "{\"data\":1,\"category\":\"");
    for (size_t i = 0; i < count; i++, at += len)
        strcpy(text + at, unit);
    strcpy(text + at, "\"}");
    body(name, text, status, answer);
    free(text);
}

static void category_cases(void)
{
    category_of("category of 1 byte", "c", 1, 200, KEPT);
    category_of("category of 1024 bytes", "c", 1024, 200, KEPT);
    category_of("category of 1025 bytes", "c", 1025, 400, BAD_CATEGORY);
    category_of("category of 1024 bytes, escaped", "\\u0063", 1024, 200, KEPT);
    category_of("category of 1025 bytes, escaped", "\\u0063", 1025, 400, BAD_CATEGORY);
    category_of("category of 512 characters of two bytes", "\xc3\xa4", 512, 200, KEPT);
    category_of("category of 513 characters of two bytes", "\xc3\xa4", 513, 400, BAD_CATEGORY);
    category_of("category of 256 surrogate pairs", "\\ud83d\\ude00", 256, 200, KEPT);
    category_of("category of 257 surrogate pairs", "\\ud83d\\ude00", 257, 400, BAD_CATEGORY);
}

/* What is published comes back; `sent` and `expected` are data. */
static void round_trip(const char *name, const char *format, const char *sent, const char *expected,
                       const char *difference)
{
    char category[64], text[1024], pattern[1024];
    snprintf(category, sizeof(category), "%s", suite_category());
    snprintf(text, sizeof(text), format, category, sent);
    raw_answer kept = suite_publish(text);
    bool accepted = kept.status == 200;
    raw_free(&kept);
    snprintf(text, sizeof(text), "?timeout=2&since_time=1&category=%s", category);
    raw_answer answer = suite_get(text);
    snprintf(pattern, sizeof(pattern), ",\"data\":%s,\"id\":", expected);
    suite_tell(name, accepted && answer.body && strstr(answer.body, pattern), difference, "%s",
               accepted ? answer.body : "refused");
    raw_free(&answer);
}

static void data_cases(void)
{
    static const char plain[] = "{\"category\":\"%s\",\"data\":%s}";
    static const char *const same[] = {"false",        "\"\"",        "0",
                                       "[]",           "{}",          "\"x\"",
                                       "-1.5",         "[1,[2,[3]]]", "{\"a\":{\"b\":null}}",
                                       "\"\xc3\xa4\"", "true"};
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        char name[128];
        snprintf(name, sizeof(name), "data %s", same[i]);
        round_trip(name, plain, same[i], same[i], NULL);
    }
    static const char *const ours[] = {"12345678901234567890",
                                       "1e3",
                                       "1.0",
                                       "1E400",
                                       "0.1234567890123456789012345678901",
                                       "{\"b\":1,\"a\":2}",
                                       "\"<&>\"",
                                       "\"\\u00e4\"",
                                       "[ 1 , 2 ]",
                                       "{\"a\":1,\"a\":2}",
                                       "\"\\/\"",
                                       "-0"};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        char name[128];
        snprintf(name, sizeof(name), "data %s is kept to the byte", ours[i]);
        round_trip(name, plain, ours[i], ours[i], RE_ENCODES);
    }
    round_trip("a lone surrogate is kept", plain, "\"\\ud800\"", "\"\\ud800\"", RE_ENCODES);
    round_trip("white space around", " \n{ \"category\" : \"%s\" , \"data\" :\t%s }\r\n", "1", "1",
               NULL);
    round_trip("bytes behind the value are ignored", "{\"category\":\"%s\",\"data\":%s}} rubbish",
               "1", "1", NULL);
    round_trip("names match in any case", "{\"CATEGORY\":\"%s\",\"dAtA\":%s}", "1", "1", NULL);
    round_trip("names may be escaped", "{\"\\u0063ategory\":\"%s\",\"d\\u0061ta\":%s}", "1", "1",
               NULL);
    round_trip("the last of duplicate names counts",
               "{\"category\":\"other\",\"data\":0,\"category\":\"%s\",\"data\":%s}", "1", "1",
               NULL);
    round_trip("the last of duplicate names counts, in any case",
               "{\"category\":\"other\",\"data\":0,\"CATEGORY\":\"%s\",\"Data\":%s}", "1", "1",
               NULL);
    round_trip("other members are ignored",
               "{\"x\":{\"category\":1},\"category\":\"%s\",\"data\":%s,\"datas\":null,\"dat\":3}",
               "1", "1", NULL);
}

static void category_round_trips(void)
{
    const struct {
        const char *name, *in_json, *in_query;
    } all[] = {
        {"a NUL in a category", "\\u0000", "%00"},
        {"a blank in a category", " ", "+"},
        {"a plus in a category", "+", "%2B"},
        {"a slash in a category", "\\/", "/"},
        {"a quote in a category", "\\\"", "%22"},
        {"two bytes in a category", "\\u00e4", "%C3%a4"},
        {"a lone surrogate in a category becomes U+FFFD", "\\ud800", "%EF%BF%BD"},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        char text[256];
        const char *category = suite_category();
        snprintf(text, sizeof(text), "{\"category\":\"%s%s\",\"data\":7}", category,
                 all[i].in_json);
        raw_answer kept = suite_publish(text);
        raw_free(&kept);
        snprintf(text, sizeof(text), "?timeout=1&since_time=1&category=%s%s", category,
                 all[i].in_query);
        raw_answer answer = suite_get(text);
        suite_tell(all[i].name, answer.body && strstr(answer.body, "\"data\":7,"), NULL, "%s",
                   answer.body);
        raw_free(&answer);
    }
}

static char *nested(size_t depth)
{
    char *text = malloc(2 * depth + 64);
    size_t at = (size_t)sprintf(text, "{\"category\":\"c\",\"data\":");
    memset(text + at, '[', depth);
    memset(text + at + depth, ']', depth);
    strcpy(text + at + 2 * depth, "}");
    return text;
}

/* The bounds that golongpoll does not have. */
static void bound_cases(void)
{
    char *deep = nested(511); /* and the body's own object */
    body("nesting 512 deep", deep, 200, KEPT);
    free(deep);
    deep = nested(512);
    bytes("nesting 513 deep", deep, strlen(deep), 400, BAD_JSON, STRICT);
    free(deep);

    static const char bounded[] = "413, 429, 431 and 503 past a bound";
    size_t len = 3 << 20;
    char *large = malloc(len + 64);
    size_t at = (size_t)sprintf(large, "{\"category\":\"c\",\"data\":\"");
    memset(large + at, 'x', len);
    strcpy(large + at + len, "\"}");
    raw_answer answer = suite_ask("POST", "/publish", large, at + len + 2);
    /* the answer may be lost to a reset: the server does not read what it has refused */
    suite_tell("a body beyond the bound", answer.status == 413 || answer.status == 0, bounded,
               "%d %s", answer.status, answer.body);
    raw_free(&answer);
    free(large);

    raw_conn conn = suite_connect();
    raw_printf(&conn, "GET /events?timeout=1&category=c HTTP/1.1\r\nHost: h\r\nX-Long: %s\r\n\r\n",
               large = memset(calloc(1, 80001), 'h', 80000));
    bool got = raw_read(&conn, false, RAW_DEADLINE_MS, &answer);
    suite_tell("headers beyond the bound", got && answer.status == 431, bounded, "%d %s",
               answer.status, answer.body);
    raw_free(&answer);
    raw_close(&conn);
    free(large);
}

void suite_publish_cases(void)
{
    method_cases();
    json_cases();
    missing_cases();
    category_cases();
    data_cases();
    category_round_trips();
    bound_cases();
}
