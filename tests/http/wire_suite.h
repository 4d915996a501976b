/* What the parts of wire_suite share: the server it asks, and how a case is told. */
#ifndef TESTS_WIRE_SUITE_H
#define TESTS_WIRE_SUITE_H

#include "raw_http.h"

#define SUITE_MAX_TIMEOUT 110

typedef enum suite_headers { SUITE_POLL, SUITE_PUBLISH } suite_headers;

/* What an answer must be, to the byte. */
typedef struct suite_expected {
    int status;
    suite_headers headers;
    const char *extra;      /* one more header line, "Allow: POST"; NULL: none */
    const char *body;       /* NULL: not looked at */
    const char *difference; /* how WIRE lets golongpoll differ; NULL: not at all */
} suite_expected;

/* A name of a category that nobody used before. */
const char *suite_category(void);

raw_conn suite_connect(void);
/* One request on a connection of its own; status is 0 when there is no whole answer. */
raw_answer suite_ask(const char *method, const char *target, const char *body, size_t body_len);
raw_answer suite_get(const char *target);
raw_answer suite_publish(const char *body);
/* The same with header lines of one's own, each with its line end; "" for none. */
raw_answer suite_get_with(const char *headers, const char *query);
raw_answer suite_publish_with(const char *headers, const char *body);
/* A request that is not waited for; its answer is for raw_read. */
raw_conn suite_begin(const char *headers, const char *query);
/* Publishes `data`, which no other event of the category has, and reads back its timestamp and id;
 * -1: it failed. */
int64_t suite_event(const char *category, const char *data, char id[37]);

/* Tells one case. `difference` as above. */
void suite_tell(const char *name, bool ok, const char *difference, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Compares an answer, which it frees, and tells. */
void suite_compare(const char *name, raw_answer answer, suite_expected expected);

/* Whether `body` is the timeout answer of a moment within the last minute. */
bool suite_is_timeout(const char *body);
/* Matches text against a pattern in which N stands for a number of 13 digits, U for a UUID in lower
 * case and all else for itself. */
bool suite_matches(const char *text, const char *pattern);

/* Copies what stands between `before` and the next quote, brace or comma; false: nothing does. */
bool suite_find(const char *text, const char *before, char *out, size_t max);
/* How often `part` occurs. */
size_t suite_count(const char *text, const char *part);

/* Part A of the wire. */
void suite_subscribe_cases(void);
void suite_publish_cases(void);
/* Part B: polls, streams, publishes and the rest, of a server with its defaults. */
void suite_many_cases(void);
void suite_stream_cases(void);
void suite_batch_cases(void);
/* Part B: of a server whose options are set as wire_suite.c says. */
void suite_option_cases(void);

#endif
