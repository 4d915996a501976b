/* GET /metrics and GET /health: what operators read. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "store_double.h"

#define ONE "{\"category\":\"secret-room\",\"data\":1}"

static raw_answer ask(const char *line, const char *body)
{
    char text[1024];
    snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s", line,
             strlen(body), body);
    return harness_ask(text);
}

static void drop(raw_answer answer)
{
    raw_free(&answer);
}

/* The value behind a name with its labels. */
static double value_of(const char *text, const char *name)
{
    char line[128];
    snprintf(line, sizeof(line), "\n%s ", name);
    const char *at = strstr(text, line);
    cr_expect(at, "%s", name);
    return at ? strtod(at + strlen(line), NULL) : -1;
}

static void value_is(const char *name, double expected)
{
    raw_answer answer = ask("GET /metrics", "");
    double value = value_of(answer.body, name);
    cr_expect(value == expected, "%s: %f, not %f", name, value, expected);
    raw_free(&answer);
}

Test(metrics, they_tell_what_happened)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.refuse_foreign_origin = true;
    harness_start(&options);
    raw_conn parked = harness_poll("c", "");
    cr_assert(harness_waiters_are(1));
    drop(ask("POST /publish", ONE));
    drop(ask("POST /publish", "[" ONE "," ONE "]"));
    drop(ask("POST /publish", "nonsense"));
    drop(ask("GET /publish", ""));
    drop(harness_ask("POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n"));
    drop(ask("GET /events", ""));
    drop(ask("GET /events?timeout=5&since_time=1&category=secret-room", ""));
    drop(ask("GET /health", ""));

    raw_answer answer = ask("GET /metrics", "");
    char type[64] = "";
    cr_expect_eq(answer.status, 200);
    cr_expect(raw_header(&answer, "Content-Type", type, sizeof(type)));
    cr_expect_str_eq(type, "text/plain; version=0.0.4; charset=utf-8");
    cr_expect_not(strstr(answer.body, "secret-room"));
    static const struct {
        const char *name;
        double value;
    } rows[] = {
        {"longpoll_state{state=\"serving\"}", 1},
        {"longpoll_state{state=\"starting\"}", 0},
        {"longpoll_state{state=\"in doubt\"}", 0},
        {"longpoll_waiters", 1},
        {"longpoll_events", 3},
        {"longpoll_published_total", 3},
        {"longpoll_delivered_events_total", 3},
        {"longpoll_removed_events_total{reason=\"evicted\"}", 0},
        {"longpoll_publish_duration_seconds_bucket{le=\"+Inf\"}", 2},
        {"longpoll_publish_duration_seconds_count", 2},
        {"longpoll_http_polls", 1},
        {"longpoll_http_streams", 0},
        {"longpoll_http_requests_total{handler=\"events\"}", 3},
        {"longpoll_http_requests_total{handler=\"publish\"}", 4},
        {"longpoll_http_refused_total{reason=\"bad\"}", 3},
        {"longpoll_http_refused_total{reason=\"large\"}", 1},
        {"longpoll_http_refused_total{reason=\"busy\"}", 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        double value = value_of(answer.body, rows[i].name);
        cr_expect(value == rows[i].value, "%s: %f", rows[i].name, value);
    }
    raw_free(&answer);
    raw_close(&parked);
    cr_assert(harness_waiters_are(0));
    value_is("longpoll_http_polls", 0);
    harness_stop();
}

Test(metrics, the_bounds_of_histograms_are_seconds)
{
    harness_start(NULL);
    raw_answer answer = ask("GET /metrics", "");
    const char *at = answer.body;
    static const char *const bounds[] = {"0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005",
                                         "0.01",   "0.025",   "0.05",   "0.1",   "0.25",   "0.5",
                                         "1",      "2.5",     "5",      "10",    "+Inf"};
    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        char line[96];
        snprintf(line, sizeof(line), "\nlongpoll_commit_duration_seconds_bucket{le=\"%s\"} 0\n",
                 bounds[i]);
        at = strstr(at, line);
        cr_assert(at, "%s", line);
    }
    cr_expect(strstr(at, "longpoll_commit_duration_seconds_sum 0\n"
                         "longpoll_commit_duration_seconds_count 0\n"));
    raw_free(&answer);
    harness_stop();
}

Test(metrics, get_and_head_alone_may_ask)
{
    harness_start(NULL);
    static const char *const paths[] = {"/metrics", "/health"};
    for (int i = 0; i < 2; i++) {
        char line[64], allow[64] = "";
        snprintf(line, sizeof(line), "POST %s", paths[i]);
        raw_answer answer = ask(line, "");
        cr_expect_eq(answer.status, 405);
        cr_expect(raw_header(&answer, "Allow", allow, sizeof(allow)));
        cr_expect_str_eq(allow, "GET, HEAD, OPTIONS");
        cr_expect(strncmp(answer.body, "{\"error\": \"", 11) == 0, "%s", answer.body);
        raw_free(&answer);
        snprintf(line, sizeof(line), "OPTIONS %s", paths[i]);
        answer = ask(line, "");
        cr_expect_eq(answer.status, 204);
        cr_expect(raw_header(&answer, "Allow", allow, sizeof(allow)));
        raw_free(&answer);
        snprintf(line, sizeof(line), "HEAD %s", paths[i]);
        answer = ask(line, "");
        cr_expect_eq(answer.status, 200);
        cr_expect(raw_header(&answer, "Content-Length", allow, sizeof(allow)));
        cr_expect(atoi(allow) > 10);
        raw_free(&answer);
    }
    lp_http_figures figures;
    lp_http_stats(h.manager, &figures, sizeof(figures));
    cr_expect_eq(figures.refused_bad, 0); /* what operators ask is not counted */
    harness_stop();
}

Test(metrics, a_path_of_no_length_serves_none)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.server.metrics_path = "";
    harness_start(&options);
    raw_answer answer = ask("GET /metrics", "");
    cr_expect_eq(answer.status, 404);
    raw_free(&answer);
    harness_stop();
}

/* The family that a line's sample is of: its name, without what a histogram puts behind it. */
static void family_of(const char *line, const char *type, char out[128])
{
    static const char *const parts[] = {"_bucket", "_sum", "_count"};
    snprintf(out, 128, "%.*s", (int)strcspn(line, "{ "), line);
    size_t len = strlen(out);
    for (size_t i = 0; i < 3 && strcmp(type, "histogram") == 0; i++) {
        size_t part = strlen(parts[i]);
        if (len > part && strcmp(out + len - part, parts[i]) == 0) {
            out[len - part] = '\0';
            return;
        }
    }
}

Test(metrics, each_family_is_told_once_and_has_a_type)
{
    harness_start(NULL);
    raw_answer answer = ask("GET /metrics", "");
    char help[128] = "", name[128] = "", type[32] = "", family[128], twice[160];
    size_t lines = 0;
    for (char *line = strtok(answer.body, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        if (sscanf(line, "# HELP %127s", help) == 1)
            continue;
        if (sscanf(line, "# TYPE %127s %31s", name, type) == 2) {
            cr_expect_str_eq(name, help);
            snprintf(twice, sizeof(twice), "# HELP %s ", name);
            cr_expect_not(strstr(line + strlen(line) + 1, twice), "%s", name);
            cr_expect_eq(strcmp(type, "counter") == 0, strstr(name, "_total") != NULL, "%s", name);
            continue;
        }
        family_of(line, type, family);
        cr_expect_str_eq(family, name, "%s", line);
        cr_expect(strncmp(line, "longpoll_", 9) == 0, "%s", line);
    }
    cr_expect(lines > 100);
    cr_expect(answer.body_len + 20 * lines < 32768); /* its room, when all numbers are long */
    raw_free(&answer);
    harness_stop();
}

/* Prometheus' own judge of names, units and form. */
Test(metrics, promtool_finds_no_fault)
{
    if (system("command -v promtool >/dev/null 2>&1") != 0)
        cr_skip_test("promtool is not installed (Debian package prometheus)");
    char path[] = "/tmp/longpoll-metrics-XXXXXX", command[128];
    harness_start(NULL);
    drop(ask("POST /publish", ONE));
    raw_answer answer = ask("GET /metrics", "");
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert_eq(write(fd, answer.body, answer.body_len), (ssize_t)answer.body_len);
    close(fd);
    snprintf(command, sizeof(command), "promtool check metrics < %s 1>&2", path);
    cr_expect_eq(system(command), 0);
    unlink(path);
    raw_free(&answer);
    harness_stop();
}

/* ---- figures ----------------------------------------------------------- */

Test(http_figures, a_caller_with_a_shorter_struct_gets_what_fits)
{
    lp_http_figures figures;
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    harness_start_manager(&options);
    memset(&figures, 0xff, sizeof(figures));
    lp_http_stats(h.manager, &figures, sizeof(figures)); /* no HTTP side has been made yet */
    cr_expect_eq(figures.polls, 0);
    cr_expect_eq(figures.tls_failures, 0);
    memset(&figures, 0xff, sizeof(figures));
    lp_http_stats(h.manager, &figures, sizeof(uint64_t));
    cr_expect_eq(figures.polls, 0);
    cr_expect_eq(figures.streams, UINT64_MAX);
    harness_stop();
}

Test(http_figures, nothing_is_in_flight_at_rest)
{
    lp_http_figures figures;
    harness_start(NULL);
    drop(ask("POST /publish", ONE));
    drop(ask("GET /events?timeout=5&since_time=1&category=secret-room", ""));
    cr_assert(harness_connections_are(0));
    lp_http_stats(h.manager, &figures, sizeof(figures));
    cr_expect_eq(figures.inflight, 0);
    cr_expect_eq(figures.inflight_bytes, 0);
    cr_expect_eq(figures.answers_cut, 0);
    harness_stop();
}

/* ---- health ------------------------------------------------------------ */

static void health_is(int status, const char *body)
{
    raw_answer answer = ask("GET /health", "");
    cr_expect_eq(answer.status, status);
    cr_expect_str_eq(answer.body, body);
    raw_free(&answer);
}

Test(health, it_says_why_nothing_is_kept)
{
    static store_double store;
    harness_options options = HARNESS_OPTIONS_INIT;
    store_double_init(&store);
    options.manager.addon = &store.addon;
    harness_start(&options);
    while (lp_manager_state(h.manager) == LP_STATE_STARTING)
        harness_turn(1);
    health_is(200, "{\"status\":\"serving\"}");
    store_double_fail(&store, LP_ENOSPC, "/disk/\"a\": full");
    drop(ask("POST /publish", ONE));
    health_is(503, "{\"status\":\"unable to keep\",\"reason\":\"/disk/\\\"a\\\": full\"}");
    store_double_fail(&store, LP_OK, NULL);
    drop(ask("POST /publish", ONE));
    health_is(200, "{\"status\":\"serving\"}");
    store_double_fail(&store, LP_EINDOUBT, "cannot undo");
    drop(ask("POST /publish", ONE));
    raw_answer answer = ask("GET /health", "");
    cr_expect_eq(answer.status, 503);
    cr_expect(strstr(answer.body, "{\"status\":\"in doubt\",\"reason\":\"") &&
                  strstr(answer.body, "cannot undo"),
              "%s", answer.body);
    raw_free(&answer);
    harness_stop();
}
