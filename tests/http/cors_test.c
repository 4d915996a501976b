/* Pages of other origins: what browsers are told, and who may publish. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/http/inside.h"
#include "harness.h"

#define ONE "{\"category\":\"c\",\"data\":1}"

static const char *const origins[] = {"https://A.example", "http://b.example:8080",
                                      "https://c.example:443"};

static harness_options allowing(const char *const *list, size_t count)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.cors_origins = list;
    options.http.cors_origin_count = count;
    return options;
}

static raw_answer ask(const char *line, const char *headers, const char *body)
{
    char text[4096];
    snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %zu\r\n\r\n%s", line,
             headers, strlen(body), body);
    return harness_ask(text);
}

/* `value` NULL: there is no such header. */
static void header_is(const raw_answer *answer, const char *name, const char *value)
{
    char found[256] = "";
    bool is_there = raw_header(answer, name, found, sizeof(found));
    cr_expect_eq(is_there, value != NULL, "%s: %s in %s", name, found, answer->head);
    if (value)
        cr_expect_str_eq(found, value, "%s: %s in %s", name, found, answer->head);
}

static void allows(raw_answer answer, const char *origin)
{
    const char *first = strcasestr(answer.head, "\r\nVary:");
    cr_expect_not(first && strcasestr(first + 1, "\r\nVary:"), "twice: %s", answer.head);
    header_is(&answer, "Access-Control-Allow-Origin", origin);
    header_is(&answer, "Access-Control-Expose-Headers",
              origin ? "Retry-After, Preference-Applied" : NULL);
    header_is(&answer, "Access-Control-Allow-Credentials", NULL);
    header_is(&answer, "Vary", "Origin");
    raw_free(&answer);
}

Test(cors, without_a_list_there_is_no_such_header)
{
    harness_start(NULL);
    static const char *const lines[] = {"GET /events?timeout=0", "POST /publish", "GET /publish",
                                        "OPTIONS /events", "GET /health"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        raw_answer answer = ask(lines[i],
                                "Origin: https://a.example\r\n"
                                "Access-Control-Request-Method: POST\r\n",
                                "");
        cr_expect_not(strstr(answer.head, "ccess-"), "%s", answer.head);
        header_is(&answer, "Vary", NULL);
        raw_free(&answer);
    }
    harness_stop();
}

Test(cors, answers_and_errors_may_be_read_by_pages_of_the_list)
{
    harness_options options = allowing(origins, 3);
    options.http.header_bytes_max = 1000;
    options.http.body_bytes_max = 1000;
    harness_start(&options);
    static const char a[] = "Origin: https://a.example\r\n";
    allows(ask("GET /events?timeout=0", a, ""), "https://a.example");
    allows(ask("POST /publish", a, ONE), "https://a.example");
    allows(ask("POST /publish", a, "nonsense"), "https://a.example");
    allows(ask("DELETE /publish", a, ""), "https://a.example");
    allows(ask("GET /events?timeout=5&since_time=1&category=c", a, ""), "https://a.example");
    allows(ask("GET /events?timeout=1&category=d", "Origin: http://b.example:8080\r\n", ""),
           "http://b.example:8080");
    allows(ask("GET /events", "Origin: https://c.example\r\n", ""), "https://c.example");
    char large[1100];
    snprintf(large, sizeof(large), "%sX: %01000d\r\n", a, 0);
    allows(ask("GET /events?timeout=1&category=c", large, ""), "https://a.example");

    char body[1100];
    snprintf(body, sizeof(body), "%01050d", 0);
    allows(ask("POST /publish", a, body), "https://a.example"); /* libh2o's own refusal */

    static const char *const others[] = {
        "",
        "Origin: http://a.example\r\n",
        "Origin: https://a.example:444\r\n",
        "Origin: https://a.example.evil\r\n",
        "Origin: https://a.exampl\r\n",
        "Origin: http://b.example\r\n",
        "Origin: null\r\n",
        "Origin: \r\n",
        "Origin: *\r\n",
        "Origin: https://a.example\r\nOrigin: https://a.example\r\n",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        allows(ask("GET /events?timeout=0", others[i], ""), NULL);
    raw_answer answer = ask("GET /health", a, "");
    header_is(&answer, "Access-Control-Allow-Origin", NULL); /* the operator's, not a page's */
    raw_free(&answer);
    harness_stop();
}

Test(cors, streams_may_be_read_by_pages_of_the_list)
{
    harness_options options = allowing(origins, 3);
    harness_start(&options);
    raw_conn conn = harness_connect();
    raw_answer answer;
    raw_printf(&conn, "GET /events?timeout=60&category=c HTTP/1.1\r\nHost: h\r\n"
                      "Accept: text/event-stream\r\nOrigin: https://a.example\r\n\r\n");
    cr_assert(raw_read(&conn, true, RAW_DEADLINE_MS, &answer));
    header_is(&answer, "Content-Type", "text/event-stream");
    allows(answer, "https://a.example");
    raw_close(&conn);
    harness_stop();
}

Test(cors, a_star_lets_every_page_read)
{
    static const char *const any[] = {"*"};
    harness_options options = allowing(any, 1);
    harness_start(&options);
    allows(ask("GET /events?timeout=0", "Origin: https://a.example\r\n", ""), "*");
    allows(ask("GET /events?timeout=0", "Origin: null\r\n", ""), "*");
    allows(ask("GET /events?timeout=0", "", ""), NULL);
    harness_stop();
}

Test(cors, a_preflight_says_what_may_be_sent)
{
    harness_options options = allowing(origins, 3);
    harness_start(&options);
    static const char *const paths[][2] = {{"OPTIONS /publish", "POST, OPTIONS"},
                                           {"OPTIONS /events", "GET, POST, HEAD, OPTIONS"}};
    for (int i = 0; i < 2; i++) {
        raw_answer answer = ask(paths[i][0],
                                "Origin: https://a.example\r\n"
                                "Access-Control-Request-Method: POST\r\n"
                                "Access-Control-Request-Headers: idempotency-key\r\n",
                                "");
        cr_expect_eq(answer.status, 204);
        header_is(&answer, "Access-Control-Allow-Origin", "https://a.example");
        header_is(&answer, "Access-Control-Allow-Methods", paths[i][1]);
        header_is(&answer, "Access-Control-Allow-Headers",
                  "Content-Type, Idempotency-Key, Prefer, Last-Event-ID, Cache-Control");
        header_is(&answer, "Access-Control-Max-Age", "600");
        header_is(&answer, "Allow", paths[i][1]);
        header_is(&answer, "Vary", "Origin");
        raw_free(&answer);
        answer = ask(paths[i][0],
                     "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n", "");
        cr_expect_eq(answer.status, 204);
        header_is(&answer, "Access-Control-Allow-Origin", NULL);
        header_is(&answer, "Access-Control-Allow-Methods", NULL);
        raw_free(&answer);
    }
    harness_stop();
}

Test(cors, pages_of_the_list_publish_where_strangers_do_not)
{
    static const struct {
        const char *headers;
        int status;
    } rows[] = {
        {"", 200},
        {"Origin: https://a.example\r\n", 200},
        {"Origin: https://c.example\r\n", 200},
        {"Origin: http://h\r\n", 200}, /* its own */
        {"Origin: http://h:80\r\n", 200},
        {"Origin: https://h\r\n", 200}, /* behind a proxy that speaks TLS */
        {"Origin: https://evil.example\r\n", 403},
        {"Origin: null\r\n", 403},
        {"Origin: https://a.example\r\nOrigin: https://evil.example\r\n", 403},
    };
    harness_options options = allowing(origins, 3);
    options.http.refuse_foreign_origin = true;
    harness_start(&options);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        raw_answer answer = ask("POST /publish", rows[i].headers, ONE);
        cr_expect_eq(answer.status, rows[i].status, "%s: %d", rows[i].headers, answer.status);
        raw_free(&answer);
    }
    cr_expect_eq(harness_stats().events, 6);
    lp_http_figures figures;
    lp_http_stats(h.manager, &figures, sizeof(figures));
    cr_expect_eq(figures.refused_origin, 3);
    harness_stop();
}

/* Whether a page at `origin` that asks "h" or "h:8443" is a stranger. */
static bool is_foreign(const h2o_url_scheme_t *scheme, const char *host, const char *origin)
{
    lp__origins none = {0};
    h2o_req_t req;
    memset(&req, 0, sizeof(req));
    h2o_mem_init_pool(&req.pool);
    req.input.scheme = scheme;
    req.input.authority = h2o_iovec_init(host, strlen(host));
    h2o_add_header_by_str(&req.pool, &req.headers, H2O_STRLIT("origin"), 0, NULL, origin,
                          strlen(origin));
    bool foreign = lp__origin_is_foreign(&none, &req);
    h2o_mem_clear_pool(&req.pool);
    return foreign;
}

Test(cors, under_tls_its_own_pages_are_of_https)
{
    const h2o_url_scheme_t *clear = &H2O_URL_SCHEME_HTTP, *tls = &H2O_URL_SCHEME_HTTPS;
    cr_expect_not(is_foreign(tls, "h", "https://h"));
    cr_expect_not(is_foreign(tls, "h:443", "https://h"));
    cr_expect_not(is_foreign(tls, "h:8443", "https://h:8443"));
    cr_expect_not(is_foreign(tls, "[::1]:8443", "https://[::1]:8443"));
    cr_expect(is_foreign(tls, "h", "http://h"));
    cr_expect(is_foreign(tls, "h:80", "https://h"));
    cr_expect(is_foreign(tls, "h:8443", "https://h"));
    cr_expect(is_foreign(tls, "", "https://"));
    cr_expect_not(is_foreign(clear, "h", "http://h"));
    cr_expect_not(is_foreign(clear, "h", "https://h")); /* a proxy in front speaks TLS */
    cr_expect(is_foreign(clear, "h:443", "http://h"));
}

/* ---- the list ---------------------------------------------------------- */

Test(cors, origins_are_checked_and_named)
{
    static const char *const wrong[] = {
        "",
        "a.example",
        "//a.example",
        "https:",
        "https://",
        "https://a.example/",
        "https://a.example/app",
        "https://a.example?x",
        "https://a.example#x",
        "https://me@a.example",
        "https://*.example",
        "https://a.example:",
        "https://a.example:0",
        "https://a.example:65536",
        "https://a.example:80a",
        "https://a b",
        "https://\xc3\xa4.example",
        "https://[::1",
        "https://[]",
        "1https://a.example",
        "null",
        " https://a.example",
        "https://a.example, https://b.example",
    };
    static const char *const right[] = {"http://localhost",       "https://[::1]:8443",
                                        "http://127.0.0.1:65535", "capacitor://localhost",
                                        "HTTPS://a-b.Example:1",  "*"};
    lp_manager_options manager = LP_MANAGER_OPTIONS_INIT;
    lp_http_options http = LP_HTTP_OPTIONS_INIT;
    lp_error error;
    harness_start_manager(&manager);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *const list[] = {"https://fine.example", wrong[i]};
        char quoted[64];
        http.cors_origins = list;
        http.cors_origin_count = 2;
        error.message[0] = '\0';
        cr_expect_eq(lp_http_configure(h.manager, &http, &error), LP_EINVAL, "%s", wrong[i]);
        snprintf(quoted, sizeof(quoted), "cors_origins: \"%s\": ", wrong[i]);
        cr_expect(strstr(error.message, quoted), "%s", error.message);
    }
    http.cors_origins = right;
    http.cors_origin_count = sizeof(right) / sizeof(right[0]);
    cr_expect_eq(lp_http_configure(h.manager, &http, &error), LP_OK, "%s", error.message);
    cr_expect_eq(lp_http_configure(h.manager, &http, &error), LP_OK); /* a second time */
    http.cors_origins = NULL;
    cr_expect_eq(lp_http_configure(h.manager, &http, &error), LP_EINVAL);
    static const char *const null_entry[] = {NULL};
    http.cors_origins = null_entry;
    http.cors_origin_count = 1;
    cr_expect_eq(lp_http_configure(h.manager, &http, &error), LP_EINVAL);
    harness_stop();
}

Test(cors, options_of_an_older_header_are_taken)
{
    static const char *const junk[] = {"not an origin"};
    lp_manager_options manager = LP_MANAGER_OPTIONS_INIT;
    lp_http_options http = {.struct_size = offsetof(lp_http_options, cors_origins),
                            .cors_origins = junk,
                            .cors_origin_count = 1,
                            .publish_rate = -1};
    lp_error error;
    harness_start_manager(&manager);
    cr_expect_eq(lp_http_configure(h.manager, &http, &error), LP_OK, "%s", error.message);
    http.struct_size = sizeof(http);
    cr_expect_eq(lp_http_configure(h.manager, &http, &error), LP_EINVAL);
    harness_stop();
}
