/* GET /metrics: the figures in Prometheus' text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/). No label names a category: their
 * number is not bounded by anything that a reader of metrics could bear. On the thread of the
 * request's loop. */
#include "inside.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each line's numbers are at most 20 digits long, so the whole has a bound; a test looks at how
 * near it is with the largest numbers. */
#define TEXT_MAX ((size_t)32 << 10)

typedef struct text {
    char *base;
    size_t len;
} text;

LP_PRINTF(2, 3) static void put(text *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(out->base + out->len, TEXT_MAX - out->len, format, args);
    va_end(args);
    if (len > 0)
        out->len += (size_t)len < TEXT_MAX - out->len ? (size_t)len : TEXT_MAX - out->len - 1;
}

static void put_head(text *out, const char *name, const char *type, const char *help)
{
    put(out, "# HELP longpoll_%s %s\n# TYPE longpoll_%s %s\n", name, help, name, type);
}

/* Seconds from a smaller unit, without what a locale would make of a decimal point. */
static const char *seconds(uint64_t amount, uint64_t a_second, char out[32])
{
    int digits = 0;
    for (uint64_t unit = a_second; unit > 1; unit /= 10)
        digits++;
    int len =
        snprintf(out, 32, "%" PRIu64 ".%0*" PRIu64, amount / a_second, digits, amount % a_second);
    while (out[len - 1] == '0')
        out[--len] = '\0';
    if (out[len - 1] == '.')
        out[--len] = '\0';
    return out;
}

/* ---- what is told ------------------------------------------------------ */

typedef struct figure {
    const char *name, *help; /* NULL: of the family before, told apart by its label */
    const char *label;       /* "reason=\"rate\"", or NULL */
    size_t at;               /* of its uint64_t */
} figure;

#define OF_MANAGER(name, help, label, member)                                                      \
    {                                                                                              \
        name, help, label, offsetof(lp_stats, member)                                              \
    }
#define OF_HTTP(name, help, label, member)                                                         \
    {                                                                                              \
        name, help, label, offsetof(lp_http_figures, member)                                       \
    }

static const figure manager_now[] = {
    OF_MANAGER("waiters", "Polls and streams that wait for events.", NULL, waiters),
    OF_MANAGER("interests", "Categories and prefixes that are waited for, over all waiters.", NULL,
               interests),
    OF_MANAGER("categories", "Categories that are remembered.", NULL, categories),
    OF_MANAGER("events", "Events that can be read.", NULL, events),
    OF_MANAGER("events_bytes", "Memory of the events that can be read.", NULL, events_bytes),
    OF_MANAGER("pending_events", "Events that were accepted and are not yet kept.", NULL, pending),
    OF_MANAGER("pending_bytes", "Memory of the events that are not yet kept.", NULL, pending_bytes),
    OF_MANAGER("idempotency_keys", "Keys of publishes that are remembered.", NULL,
               idempotency_keys),
};

static const figure manager_total[] = {
    OF_MANAGER("published_total", "Events that were published.", NULL, published),
    OF_MANAGER("publishes_refused_total", "Publishes that were refused or not kept.", NULL,
               refused),
    OF_MANAGER("publishes_repeated_total", "Publishes whose idempotency key was known.", NULL,
               repeated),
    OF_MANAGER("publishes_conflicting_total",
               "Publishes whose idempotency key was used for something else.", NULL, conflicting),
    OF_MANAGER("answers_total", "Answers to polls, and parts of streams.", NULL, answered),
    OF_MANAGER("timeouts_total", "Those of them that had no event.", NULL, timed_out),
    OF_MANAGER("delivered_events_total", "Events in answers to polls and streams.", NULL,
               delivered),
    OF_MANAGER("gaps_total", "Answers that said that history is missing.", NULL, gaps),
    OF_MANAGER("removed_events_total", "Events that are gone, by the reason.", "reason=\"evicted\"",
               evicted),
    OF_MANAGER("removed_events_total", NULL, "reason=\"expired\"", expired),
    OF_MANAGER("removed_events_total", NULL, "reason=\"retrieved\"", retrieved),
    OF_MANAGER("batches_total", "Batches that the store was given.", NULL, batches),
    OF_MANAGER("failed_batches_total", "Batches that the store did not keep.", NULL,
               failed_batches),
    OF_MANAGER("replayed_events_total", "Events that the store had at the start.", NULL, replayed),
    OF_MANAGER("damaged_records_total", "Records that the store found damaged at the start.", NULL,
               damaged_records),
};

static const figure http_now[] = {
    OF_HTTP("http_polls", "Polls that wait on a connection.", NULL, polls),
    OF_HTTP("http_streams", "Streams of server-sent events that are open.", NULL, streams),
    OF_HTTP("http_answers_in_flight", "Answers that are being written.", NULL, inflight),
    OF_HTTP("http_in_flight_bytes", "Their bytes.", NULL, inflight_bytes),
    OF_HTTP("http_connections", "Connections that are open.", NULL, connections),
};

static const figure http_total[] = {
    OF_HTTP("http_requests_total", "Requests, by what they asked for.", "handler=\"events\"",
            requests_events),
    OF_HTTP("http_requests_total", NULL, "handler=\"publish\"", requests_publish),
    OF_HTTP("http_refused_total",
            "Requests that were refused: wrong, too large, too many from one address, from a page "
            "of another origin, or with no room at the time.",
            "reason=\"bad\"", refused_bad),
    OF_HTTP("http_refused_total", NULL, "reason=\"large\"", refused_large),
    OF_HTTP("http_refused_total", NULL, "reason=\"rate\"", refused_rate),
    OF_HTTP("http_refused_total", NULL, "reason=\"origin\"", refused_origin),
    OF_HTTP("http_refused_total", NULL, "reason=\"busy\"", refused_busy),
    OF_HTTP("http_streams_begun_total", "Streams of server-sent events that were begun.", NULL,
            streams_begun),
    OF_HTTP("http_answers_cut_total", "Answers that were cut because their reader was too slow.",
            NULL, answers_cut),
    OF_HTTP("http_connections_refused_total", "Connections past the bound.", NULL,
            connections_refused),
    OF_HTTP("http_tls_failures_total", "TLS handshakes that failed.", NULL, tls_failures),
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- telling it -------------------------------------------------------- */

static void put_figures(text *out, const char *type, const figure *figures, size_t count,
                        const void *values)
{
    for (size_t i = 0; i < count; i++) {
        const figure *one = &figures[i];
        uint64_t value;
        memcpy(&value, (const char *)values + one->at, sizeof(value));
        if (one->help)
            put_head(out, one->name, type, one->help);
        put(out, "longpoll_%s%s%s%s %" PRIu64 "\n", one->name, one->label ? "{" : "",
            one->label ? one->label : "", one->label ? "}" : "", value);
    }
}

static void put_state(text *out, lp_state state)
{
    put_head(out, "state", "gauge", "1 for the state that the manager is in.");
    for (int i = LP_STATE_STARTING; i <= LP_STATE_FAILED; i++)
        put(out, "longpoll_state{state=\"%s\"} %d\n", lp_state_name((lp_state)i), i == (int)state);
}

static void put_histogram(text *out, const char *name, const char *help,
                          const lp_histogram *histogram)
{
    uint64_t sum = 0;
    char number[32];
    put_head(out, name, "histogram", help);
    for (size_t i = 0; i < LP_HISTOGRAM_BOUNDS; i++) {
        sum += histogram->counts[i];
        put(out, "longpoll_%s_bucket{le=\"%s\"} %" PRIu64 "\n", name,
            seconds(lp_histogram_bounds_us[i], 1000000, number), sum);
    }
    sum += histogram->counts[LP_HISTOGRAM_BOUNDS];
    put(out, "longpoll_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, sum);
    put(out, "longpoll_%s_sum %s\n", name, seconds(histogram->sum_us, 1000000, number));
    put(out, "longpoll_%s_count %" PRIu64 "\n", name, sum);
}

static void put_all(text *out, const lp_stats *stats, const lp_http_figures *figures)
{
    char number[32];
    put_state(out, stats->state);
    put_figures(out, "gauge", manager_now, COUNT_OF(manager_now), stats);
    put_figures(out, "counter", manager_total, COUNT_OF(manager_total), stats);
    put_head(out, "commit_busy_seconds", "gauge",
             "How long the store has been busy with one batch; 0 when it is not.");
    put(out, "longpoll_commit_busy_seconds %s\n",
        seconds((uint64_t)stats->commit_since_ms, 1000, number));
    put_histogram(out, "publish_duration_seconds", "From a publish to the answer that it is kept.",
                  &stats->publish_duration);
    put_histogram(out, "delivery_duration_seconds",
                  "From an event being visible to the answer of a poll that waited for it.",
                  &stats->delivery_duration);
    put_histogram(out, "commit_duration_seconds", "Of the store's batches.",
                  &stats->commit_duration);
    put_figures(out, "gauge", http_now, COUNT_OF(http_now), figures);
    put_figures(out, "counter", http_total, COUNT_OF(http_total), figures);
}

/* ---- requests ---------------------------------------------------------- */

#define LITERAL(text)                                                                              \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

static const lp__wire_header metrics_headers[] = {
    {LITERAL("Content-Type"), LITERAL("content-type"),
     LITERAL("text/plain; version=0.0.4; charset=utf-8")},
    {LITERAL("X-Content-Type-Options"), LITERAL("x-content-type-options"), LITERAL("nosniff")},
    {LITERAL("Cache-Control"), LITERAL("cache-control"), LITERAL("no-store")},
};

static const lp__reply error_reply = {
    .status = 200, .headers = lp__publish_headers, .header_count = LP__PUBLISH_HEADERS};

static void on_report(void *ctx, const lp__report *report)
{
    lp__exchange *exchange = lp__pending_end(ctx);
    free(ctx);
    if (!exchange)
        return;
    lp_http_figures figures;
    lp__site_figures(exchange->http->site, &figures);
    text out = {h2o_mem_alloc_pool(&exchange->req->pool, TEXT_MAX), 0};
    put_all(&out, &report->stats, &figures);
    lp__exchange_reply(exchange, &(lp__reply){.status = 200,
                                              .headers = metrics_headers,
                                              .header_count = COUNT_OF(metrics_headers),
                                              .body = {out.base, out.len}});
}

void lp__serve_metrics(lp__http *http, h2o_req_t *req)
{
    lp__exchange *exchange = lp__exchange_start_internal(http, req);
    if (!exchange || !lp__exchange_is_get(exchange, &error_reply))
        return;
    int status = lp__report_for(exchange, on_report);
    if (status != LP_OK)
        lp__exchange_error(exchange, 503, &error_reply, lp_strerror(status));
}

/* ---- figures ----------------------------------------------------------- */

void lp__http_count(lp__http *http, lp__counted what)
{
    switch (what) {
    case LP__COUNTED_OPENED:
        lp__figure_add(&http->figures.connections, 1);
        break;
    case LP__COUNTED_CLOSED:
        lp__figure_add(&http->figures.connections, -1);
        break;
    case LP__COUNTED_REFUSED:
        lp__figure_add(&http->figures.connections_refused, 1);
        break;
    case LP__COUNTED_TLS_FAILURE:
        lp__figure_add(&http->figures.tls_failures, 1);
        break;
    }
}

void lp__http_count_refusal(lp__http *http, int http_status)
{
    lp_http_figures *figures = &http->figures;
    switch (http_status) {
    case 403:
        lp__figure_add(&figures->refused_origin, 1);
        break;
    case 413:
    case 431:
        lp__figure_add(&figures->refused_large, 1);
        break;
    case 429:
        lp__figure_add(&figures->refused_rate, 1);
        break;
    case 503:
        lp__figure_add(&figures->refused_busy, 1);
        break;
    default:
        lp__figure_add(&figures->refused_bad, http_status >= 400);
    }
}
