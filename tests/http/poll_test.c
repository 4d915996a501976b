/* Polls over real sockets with what this project adds: many categories, prefixes, resume=id,
 * last=N, real status codes. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

static raw_answer get(const char *target)
{
    raw_conn conn = harness_connect();
    raw_answer answer;
    raw_printf(&conn, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", target);
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer), "%s", target);
    raw_close(&conn);
    return answer;
}

static void answers(const char *target, int status, const char *body)
{
    raw_answer answer = get(target);
    cr_expect_eq(answer.status, status, "%s: %d", target, answer.status);
    cr_expect_str_eq(answer.body, body);
    raw_free(&answer);
}

/* Publishes, and waits until the millisecond of it is over. */
static void publish(const char *category, const char *data)
{
    uint64_t before = harness_stats().published;
    harness_publish(category, data);
    while (harness_stats().published == before)
        harness_turn(1);
    harness_turn(3);
}

/* The data of all events of an answer, as "1,2,3". */
static const char *data_of(const raw_answer *answer)
{
    static char text[256];
    text[0] = '\0';
    for (const char *at = answer->body; (at = strstr(at, "\"data\":")); at++) {
        at += 7;
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s", text[0] ? "," : "",
                 (int)strcspn(at, ","), at);
    }
    return text;
}

static void finds(const char *query, const char *data)
{
    char target[256];
    snprintf(target, sizeof(target), "/events?timeout=60&%s", query);
    raw_answer answer = get(target);
    cr_expect_str_eq(data_of(&answer), data, "%s: %s", query, answer.body);
    raw_free(&answer);
}

Test(http_poll, several_categories_and_prefixes_share_one_cursor)
{
    harness_start(NULL);
    const char *const names[] = {"b", "room/1", "x", "a", "room/2", "room"};
    for (size_t i = 0; i < 6; i++) {
        char data[8];
        snprintf(data, sizeof(data), "%zu", i);
        publish(names[i], data);
    }
    finds("since_time=1&category=a&category=b", "0,3");
    finds("since_time=1&prefix=room", "1,4,5");
    finds("since_time=1&prefix=room%2F&category=a&category=x", "1,2,3,4");
    finds("since_time=1&category=a&category=a&category=a", "3");
    finds("last=2&category=a&prefix=room", "4,5");
    finds("last=10000&category=a&resume=id", "3");
    harness_stop();
}

Test(http_poll, one_that_waits_is_woken_by_any_of_them)
{
    static const char *const names[] = {"a", "b", "room/7"};
    harness_start(NULL);
    for (size_t i = 0; i < 3; i++) {
        raw_conn conn = harness_poll("a", "&category=b&prefix=room%2F");
        cr_assert(harness_waiters_are(1));
        cr_expect_eq(harness_stats().interests, 3);
        harness_publish("other", "0");
        harness_publish(names[i], "1");
        raw_answer answer;
        cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
        cr_expect_str_eq(data_of(&answer), "1");
        cr_expect_not(strstr(answer.body, "gap"));
        raw_free(&answer);
        raw_close(&conn);
    }
    cr_expect_eq(harness_stats().interests, 0);
    harness_stop();
}

Test(http_poll, a_thousand_categories_fit_a_request)
{
    harness_start(NULL);
    char *target = malloc(64 + 1000 * 32), *at = target;
    at += sprintf(at, "/events?timeout=60");
    for (int i = 0; i < 1000; i++)
        at += sprintf(at, "&category=a-category-%04d", i);
    raw_conn conn = harness_connect();
    raw_printf(&conn, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", target);
    cr_assert(harness_waiters_are(1));
    cr_expect_eq(harness_stats().interests, 1000);
    harness_publish("a-category-0999", "1");
    raw_answer answer;
    cr_assert(raw_read(&conn, false, RAW_DEADLINE_MS, &answer));
    cr_expect_str_eq(data_of(&answer), "1");
    raw_free(&answer);
    raw_close(&conn);
    strcat(target, "&category=1&category=2&category=3&category=4&category=5&category=6&category=7"
                   "&category=8&category=9&category=10&category=11&category=12&category=13"
                   "&category=14&category=15&category=16&category=17&category=18&category=19"
                   "&category=20&category=21&category=22&category=23&category=24&category=25");
    answers(target, 200,
            "{\"error\": \"Too many categories and prefixes, must be at most 1024.\"}");
    free(target);
    harness_stop();
}

Test(http_poll, resuming_by_id_goes_on_from_what_the_timeout_says)
{
    harness_start(NULL);
    publish("c", "1");
    raw_answer answer = get("/events?timeout=1&category=c&resume=id");
    const char *head = "{\"timeout\":\"no events before timeout\",\"timestamp\":";
    cr_assert_eq(strncmp(answer.body, head, strlen(head)), 0, "%s", answer.body);
    char *id = strstr(answer.body, ",\"last_id\":\"");
    cr_assert(id);
    id += strlen(",\"last_id\":\"");
    cr_expect_str_eq(id + 36, "\"}");
    publish("c", "2");
    char query[128];
    snprintf(query, sizeof(query), "category=c&resume=id&last_id=%.36s", id);
    finds(query, "2");
    raw_free(&answer);
    /* the number of the newest event is the position too, and told without its random bits */
    answer = get("/events?timeout=1&category=other&resume=id&last=3");
    cr_expect(strstr(answer.body, "\"last_id\":\"") && !strstr(answer.body, "gap"));
    raw_free(&answer);
    harness_stop();
}

Test(http_poll, without_asking_for_it_a_timeout_tells_no_id)
{
    harness_start(NULL);
    raw_answer answer = get("/events?timeout=1&category=c");
    cr_expect_not(strstr(answer.body, "last_id"));
    raw_free(&answer);
    harness_stop();
}

Test(http_poll, a_gap_stays_last)
{
    harness_start(NULL);
    raw_answer answer =
        get("/events?timeout=1&category=c&resume=id&last_id=7fffffff-ffff-7fff-bfff-ffffffffffff");
    const char *tail = "\",\"gap\":true}";
    cr_assert_gt(answer.body_len, strlen(tail));
    cr_expect_str_eq(answer.body + answer.body_len - strlen(tail), tail);
    raw_free(&answer);
    harness_stop();
}

#define BAD_TIMEOUT "{\"error\": \"Invalid or missing 'timeout' arg.  Must be 1-110.\"}"
#define BAD_PREFIX  "{\"error\": \"Invalid subscription prefix, must be 1-1024 characters long.\"}"

Test(http_poll, errors_have_a_real_status_where_that_is_asked_for)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    harness_start(&options);
    answers("/events", 200, BAD_TIMEOUT);
    answers("/events?timeout=1&prefix=", 200, BAD_PREFIX);
    lp_http_figures figures;
    lp_http_stats(h.manager, &figures, sizeof(figures));
    cr_expect_eq(figures.refused_bad, 2);
    harness_stop();
    options.http.strict_status = true;
    options.manager.poll_categories_max = 1;
    h = (harness){0};
    harness_start(&options);
    answers("/events", 400, BAD_TIMEOUT);
    answers("/events?timeout=1&prefix=", 400, BAD_PREFIX);
    answers("/events?timeout=1&prefix=a&prefix=b", 400,
            "{\"error\": \"Too many categories and prefixes, must be at most 1.\"}");
    lp_http_stats(h.manager, &figures, sizeof(figures));
    cr_expect_eq(figures.refused_bad, 3);
    harness_stop();
}

Test(http_poll, interests_are_bounded_over_all_polls)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.interests_max = 3;
    harness_start(&options);
    raw_conn conn = harness_poll("a", "&category=b");
    cr_assert(harness_waiters_are(1));
    raw_answer answer = get("/events?timeout=1&category=a&category=b");
    cr_expect_eq(answer.status, 503);
    char seconds[8];
    cr_expect(raw_header(&answer, "Retry-After", seconds, sizeof(seconds)));
    raw_free(&answer);
    raw_close(&conn);
    cr_expect(harness_waiters_are(0));
    harness_stop();
}
