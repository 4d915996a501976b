/* The cases of wire_suite about what one poll can ask for: many categories, prefixes, resume=id,
 * last=N, and the gap that is told. */
#include "wire_suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAD_CATEGORY                                                                               \
    "{\"error\": \"Invalid subscription category, must be 1-1024 characters long.\"}"
#define BAD_PREFIX  "{\"error\": \"Invalid subscription prefix, must be 1-1024 characters long.\"}"
#define BAD_SINCE   "{\"error\": \"Invalid 'since_time' arg.\"}"
#define NEEDS_SINCE "{\"error\": \"Must provide 'since_time' arg when providing 'last_id'.\"}"
#define BAD_ID      "{\"error\": \"Param 'last_id' was not a valid UUID.\"}"
#define NOT_OURS    "{\"error\": \"Param 'last_id' was not an id of this server.\"}"
#define BAD_RESUME  "{\"error\": \"Invalid 'resume' arg, must be 'id'.\"}"
#define BAD_LAST    "{\"error\": \"Invalid 'last' arg.  Must be 1-10000.\"}"
#define TOO_MANY    "{\"error\": \"Too many categories and prefixes, must be at most 1024.\"}"
#define UUID_4      "6ba7b810-9dad-41d1-80b4-00c04fd430c8"

static void query(const char *name, const char *text, const char *body)
{
    suite_compare(name, suite_get(text), (suite_expected){200, SUITE_POLL, .body = body});
}

static void error_cases(void)
{
    char *text = malloc(1 << 16);
    query("a prefix that is empty", "?timeout=1&prefix=", BAD_PREFIX);
    query("a prefix stands in place of a category", "?timeout=1&prefix=p&since_time=x", BAD_SINCE);
    query("a prefix beside a category", "?timeout=1&category=c&prefix=p&since_time=x", BAD_SINCE);
    query("each category must be valid", "?timeout=1&category=c&category=", BAD_CATEGORY);
    query("a category must be valid beside a prefix", "?timeout=1&category=&prefix=p",
          BAD_CATEGORY);
    size_t at = (size_t)sprintf(text, "?timeout=1&since_time=x&prefix=");
    memset(text + at, 'p', 1024);
    text[at + 1024] = '\0';
    query("a prefix of 1024 bytes", text, BAD_SINCE);
    strcpy(text + at + 1024, "p");
    query("a prefix of 1025 bytes", text, BAD_PREFIX);
    at = (size_t)sprintf(text, "?timeout=1&since_time=x");
    for (int i = 0; i < 1024; i++)
        at += (size_t)sprintf(text + at, "&category=%d", i);
    query("1024 categories", text, BAD_SINCE);
    strcpy(text + at, "&prefix=p");
    query("1024 categories and a prefix", text, TOO_MANY);
    free(text);
    query("resume by something else", "?timeout=1&category=c&resume=time", BAD_RESUME);
    query("resume that is empty counts as absent", "?timeout=1&category=c&resume=&last_id=x",
          NEEDS_SINCE);
    query("resume=id needs no since_time", "?timeout=1&category=c&resume=id&last_id=x", BAD_ID);
    query("resume=id wants an id of ours", "?timeout=1&category=c&resume=id&last_id=" UUID_4,
          NOT_OURS);
    query("last 0", "?timeout=1&category=c&last=0", BAD_LAST);
    query("last 10001", "?timeout=1&category=c&last=10001", BAD_LAST);
    query("last no number", "?timeout=1&category=c&last=ten", BAD_LAST);
    query("resume is checked before last", "?timeout=1&category=c&resume=x&last=x", BAD_RESUME);
}

/* Publishes numbers first..last into a category, in one request. */
static void publish_numbers(const char *category, int first, int last)
{
    char *body = malloc((size_t)(last - first + 1) * (strlen(category) + 40) + 8);
    size_t at = (size_t)sprintf(body, "[");
    for (int n = first; n <= last; n++)
        at += (size_t)sprintf(body + at, "%s{\"category\":\"%s\",\"data\":%d}",
                              n > first ? "," : "", category, n);
    strcpy(body + at, "]");
    raw_answer answer = suite_publish(body);
    raw_free(&answer);
    free(body);
}

/* The data of all events in an answer, in order: "1 2 3 ". */
static const char *data_in(const char *body)
{
    static char list[8192];
    size_t len = 0;
    list[0] = '\0';
    for (const char *at = body; at && (at = strstr(at, "\"data\":")) && len < sizeof(list) - 32;) {
        at += 7;
        len += (size_t)snprintf(list + len, 32, "%.*s ", (int)strcspn(at, ","), at);
    }
    return list;
}

static void is(const char *name, raw_answer answer, const char *data)
{
    suite_tell(name, answer.body && strcmp(data_in(answer.body), data) == 0, NULL, "%d %s",
               answer.status, answer.body);
    raw_free(&answer);
}

static void names_cases(void)
{
    char family[64], text[1024], a[80], b[80], c[80];
    snprintf(family, sizeof(family), "%s", suite_category());
    snprintf(a, sizeof(a), "%s/a", family);
    snprintf(b, sizeof(b), "%s/b", family);
    snprintf(c, sizeof(c), "%s", suite_category());
    publish_numbers(a, 1, 1);
    publish_numbers(b, 2, 2);
    publish_numbers(c, 3, 3);
    publish_numbers(a, 4, 4);
    char last[37];
    suite_event(c, "5", last); /* and waits until all of it is settled */
    snprintf(text, sizeof(text), "?timeout=1&since_time=1&category=%s&category=%s", c, b);
    is("two categories in one answer, oldest first", suite_get(text), "2 3 5 ");
    snprintf(text, sizeof(text), "?timeout=1&since_time=1&category=%s&category=%s&category=%s", a,
             c, a);
    is("a category that is given twice counts once", suite_get(text), "1 3 4 5 ");
    snprintf(text, sizeof(text), "?timeout=1&since_time=1&prefix=%s/", family);
    is("a prefix takes its whole family", suite_get(text), "1 2 4 ");
    snprintf(text, sizeof(text), "?timeout=1&since_time=1&prefix=%s%%2F&category=%s&category=%s",
             family, c, a);
    is("a prefix beside categories, each event once", suite_get(text), "1 2 3 4 5 ");
    snprintf(text, sizeof(text), "?timeout=1&since_time=1&prefix=%s/a&prefix=%s/", family, family);
    is("prefixes may overlap", suite_get(text), "1 2 4 ");

    snprintf(text, sizeof(text), "?timeout=10&prefix=%s/new&category=%s", family, b);
    raw_conn conn = suite_begin("", text);
    bool waited = raw_silent(&conn, 200);
    snprintf(text, sizeof(text), "%s/new-one", family);
    publish_numbers(text, 6, 6);
    raw_answer answer = {0};
    raw_read(&conn, false, RAW_DEADLINE_MS, &answer);
    raw_close(&conn);
    is("a poll waits for a category that is not there yet", waited ? answer : (raw_answer){0},
       "6 ");
}

static void resume_cases(void)
{
    char category[64], other[64], text[512], id[64] = "", next[64] = "", pattern[256];
    snprintf(category, sizeof(category), "%s", suite_category());
    snprintf(other, sizeof(other), "%s", suite_category());
    snprintf(text, sizeof(text), "?timeout=1&category=%s&resume=id", category);
    raw_answer answer = suite_get(text);
    suite_tell("a timeout says where to go on by id",
               answer.body &&
                   suite_matches(answer.body, "{\"timeout\":\"no events before timeout\","
                                              "\"timestamp\":N,\"last_id\":\"U\"}") &&
                   suite_find(answer.body, "\"last_id\":\"", id, sizeof(id)),
               NULL, "%s", answer.body);
    suite_compare("such a timeout, its headers", answer, (suite_expected){200, SUITE_POLL});

    publish_numbers(category, 1, 2);
    snprintf(text, sizeof(text), "?timeout=5&category=%s&resume=id&last_id=%s", category, id);
    answer = suite_get(text);
    snprintf(pattern, sizeof(pattern),
             "{\"events\":[{\"timestamp\":N,\"category\":\"%s\",\"data\":1,\"id\":\"U\"},"
             "{\"timestamp\":N,\"category\":\"%s\",\"data\":2,\"id\":\"U\"}]}",
             category, category);
    suite_tell("what came since a timeout's last_id, and no gap",
               answer.body && suite_matches(answer.body, pattern), NULL, "%s", answer.body);
    suite_find(answer.body, "\"id\":\"", next, sizeof(next));
    raw_free(&answer);
    snprintf(text, sizeof(text), "?timeout=5&category=%s&resume=id&last_id=%s", category, next);
    is("what came since an event's id", suite_get(text), "2 ");
    snprintf(text, sizeof(text), "?timeout=5&category=%s&category=%s&resume=id&last_id=%s", other,
             category, next);
    is("one id serves all categories", suite_get(text), "2 ");
    publish_numbers(category, 3, 3);
    snprintf(text, sizeof(text), "?timeout=1&category=%s&resume=id&last_id=%s", other, next);
    answer = suite_get(text);
    suite_tell("a quiet category's position moves on",
               suite_find(answer.body, "\"last_id\":\"", id, sizeof(id)) && strcmp(id, next) > 0,
               NULL, "%s, was %s", answer.body, next);
    raw_free(&answer);
    snprintf(text, sizeof(text), "?timeout=1&category=%s&resume=id&last_id=%s", category, id);
    answer = suite_get(text);
    suite_tell("and is behind what was told elsewhere",
               answer.body && strstr(answer.body, "\"timeout\""), NULL, "%s", answer.body);
    raw_free(&answer);
    suite_compare("last_id alone is no extension",
                  suite_get("?timeout=1&category=c&last_id=" UUID_4),
                  (suite_expected){200, SUITE_POLL, .body = NEEDS_SINCE});
}

static void last_cases(void)
{
    char category[64], family[80], text[512], id[37];
    snprintf(category, sizeof(category), "%s", suite_category());
    publish_numbers(category, 1, 4);
    int64_t ms = suite_event(category, "5", id);
    snprintf(text, sizeof(text), "?timeout=5&category=%s&last=2", category);
    is("last=2 on joining", suite_get(text), "4 5 ");
    snprintf(text, sizeof(text), "?timeout=5&category=%s&last=100", category);
    raw_answer answer = suite_get(text);
    suite_tell("last=100 of 5, and no gap",
               answer.body && strcmp(data_in(answer.body), "1 2 3 4 5 ") == 0 &&
                   !strstr(answer.body, "gap"),
               NULL, "%s", answer.body);
    raw_free(&answer);
    snprintf(text, sizeof(text), "?timeout=5&category=%s&last=1&resume=id", category);
    is("last=1 with resume=id", suite_get(text), "5 ");
    snprintf(text, sizeof(text), "?timeout=1&category=%s&last=5&since_time=%lld&last_id=%s",
             category, (long long)ms, id);
    answer = suite_get(text);
    suite_tell("a cursor wins over last", answer.body && suite_is_timeout(answer.body), NULL, "%s",
               answer.body);
    raw_free(&answer);
    snprintf(family, sizeof(family), "%s/x", category);
    publish_numbers(family, 6, 6);
    suite_event(family, "7", id);
    snprintf(text, sizeof(text), "?timeout=5&prefix=%s&last=3", category);
    is("last=3 over a prefix", suite_get(text), "5 6 7 ");
    snprintf(text, sizeof(text), "?timeout=1&category=%s&last=3", suite_category());
    answer = suite_get(text);
    suite_tell("last of an empty category waits", answer.body && suite_is_timeout(answer.body),
               NULL, "%s", answer.body);
    raw_free(&answer);
}

/* 300 events behind a cursor, in a ring of 250. */
static void gap_cases(void)
{
    char category[64], quiet[64], text[512], id[37], after[37] = "";
    snprintf(category, sizeof(category), "%s", suite_category());
    snprintf(quiet, sizeof(quiet), "%s", suite_category());
    int64_t ms = suite_event(category, "0", id);
    suite_event(quiet, "\"q\"", after);
    publish_numbers(category, 1, 150);
    publish_numbers(category, 151, 300);

    snprintf(text, sizeof(text), "?timeout=5&category=%s&resume=id&last_id=%s", category, id);
    raw_answer answer = suite_get(text);
    size_t len = answer.body ? answer.body_len : 0;
    suite_tell("a gap is told behind the events",
               len > 15 && strcmp(answer.body + len - 14, "}],\"gap\":true}") == 0 &&
                   suite_count(answer.body, "\"data\":") == 250,
               NULL, "%zu events, %s", suite_count(answer.body, "\"data\":"),
               len > 100 ? answer.body + len - 100 : answer.body);
    suite_compare("such an answer, its headers", answer, (suite_expected){200, SUITE_POLL});
    snprintf(text, sizeof(text), "?timeout=5&category=%s&since_time=%lld&last_id=%s", category,
             (long long)ms, id);
    answer = suite_get(text);
    suite_tell("a gap is told to a cursor of time and id",
               answer.body && strstr(answer.body, "],\"gap\":true}"), NULL, "%s", answer.body);
    raw_free(&answer);
    snprintf(text, sizeof(text), "?timeout=5&category=%s&since_time=%lld", category,
             (long long)ms - 1);
    answer = suite_get(text);
    suite_tell("a gap is told to a cursor of time alone",
               answer.body && strstr(answer.body, "],\"gap\":true}"), NULL, "%s", answer.body);
    raw_free(&answer);
    snprintf(text, sizeof(text), "?timeout=5&category=%s&category=%s&resume=id&last_id=%s", quiet,
             category, id);
    answer = suite_get(text);
    suite_tell("a gap is told when one of many categories has it",
               answer.body && strstr(answer.body, "],\"gap\":true}"), NULL, "%s", answer.body);
    raw_free(&answer);
    snprintf(text, sizeof(text), "?timeout=1&category=%s&resume=id&last_id=%s", quiet, after);
    answer = suite_get(text);
    suite_tell("a quiet category has no gap", answer.body && !strstr(answer.body, "gap"), NULL,
               "%s", answer.body);
    raw_free(&answer);
    snprintf(text, sizeof(text), "?timeout=5&category=%s&last=250", category);
    answer = suite_get(text);
    suite_tell("joining with last=N tells no gap",
               answer.body && suite_count(answer.body, "\"data\":") == 250 &&
                   !strstr(answer.body, "gap"),
               NULL, "%zu events", suite_count(answer.body, "\"data\":"));
    raw_free(&answer);
}

void suite_many_cases(void)
{
    error_cases();
    names_cases();
    resume_cases();
    last_cases();
    gap_cases();
}
