/* How fast one address may publish: the buckets by themselves, and over HTTP. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "core/http/rate.h"
#include "harness.h"

#define ONE "{\"category\":\"c\",\"data\":1}"

typedef struct sockaddr_storage address;

static address v4(uint32_t number)
{
    address out = {0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(number)};
    memcpy(&out, &in, sizeof(in));
    return out;
}

static address v6(const char *text)
{
    address out = {0};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    cr_assert_eq(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    memcpy(&out, &in6, sizeof(in6));
    return out;
}

static uint64_t take(lp__rate *rate, address from, int64_t count, uint64_t now_ms)
{
    return lp__rate_take(rate, (const struct sockaddr *)&from, count, now_ms);
}

static lp__rate *new_rate(int64_t per_second, int64_t burst)
{
    lp__rate *rate;
    cr_assert_eq(lp__rate_new(per_second, burst, &rate), 0);
    return rate;
}

Test(rate, a_burst_and_then_so_many_a_second)
{
    lp__rate *rate = new_rate(10, 5);
    uint64_t now = 1000000;
    for (int i = 0; i < 5; i++)
        cr_expect_eq(take(rate, v4(1), 1, now), 0);
    uint64_t wait = take(rate, v4(1), 1, now);
    cr_expect(wait >= 100 && wait <= 101, "%d", (int)wait);
    cr_expect_neq(take(rate, v4(1), 1, now + 99), 0);
    cr_expect_eq(take(rate, v4(1), 1, now + wait), 0);
    cr_expect_neq(take(rate, v4(1), 1, now + wait), 0);
    cr_expect_eq(take(rate, v4(2), 5, now), 0); /* another address */
    cr_expect_eq(take(rate, v4(1), 5, now + 100000), 0);
    cr_expect_neq(take(rate, v4(1), 1, now + 100000), 0); /* rest fills no bucket twice */
    lp__rate_free(rate);
}

Test(rate, what_was_said_to_be_the_wait_is_long_enough)
{
    srand(7);
    for (int round = 0; round < 2000; round++) {
        int64_t per_second = 1 + rand() % 3000, burst = 1 + rand() % 50;
        lp__rate *rate = round % 100 == 0 ? new_rate(per_second, burst) : NULL;
        if (!rate)
            continue;
        uint64_t now = (uint64_t)rand() * 1000;
        for (int i = 0; i < 2000; i++) {
            int64_t count = 1 + rand() % burst;
            uint64_t wait = take(rate, v4(9), count, now);
            if (wait)
                cr_expect_eq(take(rate, v4(9), count, now += wait), 0);
            now += (uint64_t)(rand() % 3);
        }
        lp__rate_free(rate);
    }
}

Test(rate, no_more_than_the_rate_passes_in_the_long_run)
{
    lp__rate *rate = new_rate(300, 7); /* a token takes no whole number of milliseconds */
    int64_t passed = 0;
    for (uint64_t now = 5; now < 5 + 100000; now++)
        for (int i = 0; i < 3; i++)
            passed += take(rate, v4(9), 1, now) == 0;
    cr_expect(passed >= 29990 && passed <= 30007, "%d", (int)passed);
    lp__rate_free(rate);
}

Test(rate, a_request_never_costs_more_than_a_burst)
{
    lp__rate *rate = new_rate(1, 3);
    cr_expect_eq(take(rate, v4(1), 1000000, 1), 0);
    uint64_t wait = take(rate, v4(1), INT64_MAX, 1);
    cr_expect(wait >= 3000 && wait <= 3001, "%d", (int)wait);
    lp__rate_free(rate);
}

Test(rate, an_address_of_ipv6_is_its_network)
{
    lp__rate *rate = new_rate(1, 1);
    cr_expect_eq(take(rate, v6("2001:db8:1:2::1"), 1, 1), 0);
    cr_expect_neq(take(rate, v6("2001:db8:1:2:ffff::9"), 1, 1), 0);
    cr_expect_eq(take(rate, v6("2001:db8:1:3::1"), 1, 1), 0);
    cr_expect_eq(take(rate, v4(0x7f000001), 1, 1), 0);
    cr_expect_neq(take(rate, v6("::ffff:127.0.0.1"), 1, 1), 0);
    cr_expect_eq(take(rate, v6("::1"), 1, 1), 0);
    address unix_socket = {.ss_family = AF_UNIX};
    cr_expect_eq(take(rate, unix_socket, 1, 1), 0);
    cr_expect_neq(take(rate, unix_socket, 1, 1), 0);
    lp__rate_free(rate);
}

Test(rate, addresses_that_come_back_are_known_among_thousands_that_left)
{
    lp__rate *rate = new_rate(1, 10);
    uint64_t now = 1;
    int forgotten = 0;
    for (uint32_t i = 0; i < 300000; i++, now++) {
        take(rate, v4(i), 1, now); /* full again after a second: a thousand at a time are not */
        if (i % 1000 == 0)
            cr_expect_eq(take(rate, v4(0xffffff00 + i / 1000 % 5), 10, now += 10000), 0);
        if (i % 1000 == 500)
            forgotten += take(rate, v4(0xffffff00 + i / 1000 % 5), 10, now) == 0;
    }
    cr_expect_eq(forgotten, 0);
    lp__rate_free(rate);
}

Test(rate, a_table_full_of_busy_addresses_takes_new_ones)
{
    lp__rate *rate = new_rate(1, 10);
    for (uint32_t i = 0; i < 200000; i++)
        cr_expect_eq(take(rate, v4(i), 10, 1), 0);
    lp__rate_free(rate);
}

/* ---- over HTTP --------------------------------------------------------- */

static raw_answer publish(const char *body)
{
    static char text[8192];
    snprintf(text, sizeof(text),
             "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    return harness_ask(text);
}

static void status_is(raw_answer answer, int status)
{
    char retry[16] = "";
    cr_expect_eq(answer.status, status, "%d %s", answer.status, answer.body);
    cr_expect_eq(raw_header(&answer, "Retry-After", retry, sizeof(retry)), status == 429);
    if (status == 429)
        cr_expect(atoi(retry) >= 1 && atoi(retry) <= 100000, "%s", retry);
    raw_free(&answer);
}

static harness_options limited(int64_t rate, int64_t burst)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.publish_rate = rate;
    options.http.publish_burst = burst;
    return options;
}

Test(rate_http, publishes_past_it_are_429)
{
    harness_options options = limited(1, 100);
    harness_start(&options);
    raw_conn parked = harness_poll("other", "");
    char array[100 * sizeof(ONE) + 8] = "[" ONE;
    for (int i = 1; i < 98; i++)
        strcat(array, "," ONE);
    strcat(array, "]");
    status_is(publish(array), 200); /* 98 of 100 tokens */
    status_is(publish(array), 429);
    cr_expect_eq(harness_stats().events, 98);
    cr_assert(harness_waiters_are(1));
    status_is(harness_ask("GET /events?timeout=5&since_time=1&category=c HTTP/1.1\r\n"
                          "Host: h\r\n\r\n"),
              200); /* reading is not bounded by it */
    raw_close(&parked);
    harness_stop();
}

/* The first token is taken before the rest is asked for, and again when the request comes again. */
Test(rate_http, who_waits_as_it_was_told_to_is_served)
{
    static const char array[] = "[" ONE "," ONE "," ONE "]";
    harness_options options = limited(2, 3);
    char retry[16] = "";
    harness_start(&options);
    status_is(publish(array), 200);
    harness_turn(550); /* one token is back */
    raw_answer answer = publish(array);
    cr_assert_eq(answer.status, 429);
    cr_assert(raw_header(&answer, "Retry-After", retry, sizeof(retry)));
    raw_free(&answer);
    harness_turn(1000 * atoi(retry));
    status_is(publish(array), 200);
    harness_stop();
}

Test(rate_http, a_body_that_is_refused_costs_a_token)
{
    harness_options options = limited(1, 3);
    harness_start(&options);
    int refused = 0;
    for (int i = 0; i < 20; i++) {
        raw_answer answer = publish("nonsense");
        cr_expect(answer.status == 400 || answer.status == 429, "%d", answer.status);
        refused += answer.status == 429;
        raw_free(&answer);
    }
    cr_expect(refused > 0);
    lp_http_figures figures;
    lp_http_stats(h.manager, &figures, sizeof(figures));
    cr_expect_eq(figures.refused_rate, refused);
    harness_stop();
}

Test(rate_http, an_array_larger_than_a_burst_is_taken_when_the_bucket_is_full)
{
    harness_options options = limited(1000000, 2);
    harness_start(&options);
    for (int i = 0; i < 5; i++) {
        harness_turn(2);
        status_is(publish("[" ONE "," ONE "," ONE "," ONE "," ONE "]"), 200);
    }
    harness_stop();
}

Test(rate_http, without_a_rate_there_is_no_bound)
{
    harness_options options = limited(0, 1);
    harness_start(&options);
    for (int i = 0; i < 50; i++)
        status_is(publish(ONE), 200);
    harness_stop();
}
