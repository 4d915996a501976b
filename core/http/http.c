/* The HTTP side of one manager: its options and its life. Home loop only. See inside.h. */
#include "inside.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define KIB(n)             ((int64_t)(n) << 10)
#define HEADER_BYTES_MAX   KIB(64) /* a poll over a thousand categories is a long line */
#define BODY_BYTES_EXTRA   KIB(8)
#define ANSWER_TIMEOUT_MS  30000
#define INFLIGHT_BYTES_MAX KIB(256 << 10)
#define HEARTBEAT_MS       15000

/* ---- life -------------------------------------------------------------- */

lp__http *lp__http_ref(lp__http *http)
{
    http->refs++;
    return http;
}

void lp__http_unref(lp__http *http)
{
    if (--http->refs > 0)
        return;
    lp__origins_free(&http->origins);
    lp__rate_free(http->rate);
    free(http);
}

static bool is_ending(const lp__http *http)
{
    return !http->manager || lp_manager_state(http->manager) == LP_STATE_DRAINING ||
           lp_manager_state(http->manager) == LP_STATE_CLOSED;
}

void lp__http_close_timer(lp__http *http)
{
    if (http->timer && lp__list_is_empty(&http->inflight) && is_ending(http)) {
        lp__timer_close(http->timer, NULL, NULL);
        http->timer = NULL;
    }
}

static void on_watch_closed(void *ctx)
{
    lp__manager_drained(ctx);
}

/* Every waiter has been answered. Answers may still be being written; they need the timer only. */
static void drain(void *ctx)
{
    lp__http *http = ctx;
    lp__streams_end(http, NULL);
    lp__http_close_timer(http);
    if (!http->watch) {
        lp__manager_drained(http->manager);
        return;
    }
    lp__watch_close(http->watch, on_watch_closed, http->manager);
    http->watch = NULL;
}

static void on_manager_free(void *ctx)
{
    lp__http *http = ctx;
    http->manager = NULL;
    lp__http_close_timer(http);
    lp__http_unref(http);
}

static int64_t burst_of(const lp_http_options *options)
{
    if (options->publish_burst)
        return options->publish_burst;
    return options->publish_rate < INT64_MAX / 2 ? 2 * options->publish_rate : INT64_MAX;
}

static void fill_defaults(lp__http *http)
{
    lp_http_options *options = &http->options;
    options->struct_size = sizeof(*options);
    if (!options->header_bytes_max)
        options->header_bytes_max = HEADER_BYTES_MAX;
    if (!options->body_bytes_max)
        options->body_bytes_max =
            lp__manager_options(http->manager)->event_bytes_max + BODY_BYTES_EXTRA;
    if (!options->answer_timeout_ms)
        options->answer_timeout_ms = ANSWER_TIMEOUT_MS;
    if (!options->inflight_bytes_max)
        options->inflight_bytes_max = INFLIGHT_BYTES_MAX;
    if (!options->stream_heartbeat_ms)
        options->stream_heartbeat_ms = HEARTBEAT_MS;
    options->publish_burst = burst_of(options);
}

static bool is_writing(const void *ctx)
{
    return !lp__list_is_empty(&((const lp__http *)ctx)->inflight);
}

int lp__http_of(lp_manager *manager, lp__http **out)
{
    lp__manager_http *slot = lp__manager_http_slot(manager);
    *out = slot->http;
    if (*out)
        return LP_OK;
    lp__http *http = calloc(1, sizeof(*http));
    if (!http)
        return LP_ENOMEM;
    http->refs = 1;
    http->manager = manager;
    http->loop = lp__manager_loop(manager);
    lp__list_init(&http->inflight);
    lp__list_init(&http->large);
    lp__list_init(&http->pending);
    lp__list_init(&http->streams);
    fill_defaults(http);
    *slot = (lp__manager_http){http, drain, on_manager_free, is_writing};
    *out = http;
    return LP_OK;
}

static int check_numbers(const lp_http_options *given, lp_error *error)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"header_bytes_max", given->header_bytes_max},
        {"body_bytes_max", given->body_bytes_max},
        {"answer_timeout_ms", given->answer_timeout_ms},
        {"inflight_bytes_max", given->inflight_bytes_max},
        {"publish_rate", given->publish_rate},
        {"publish_burst", given->publish_burst},
        {"stream_heartbeat_ms", given->stream_heartbeat_ms},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (numbers[i].value < 0)
            return lp_error_set(error, LP_EINVAL,
                                "%s: %lld is negative (give a positive number, or 0 for the "
                                "default)",
                                numbers[i].name, (long long)numbers[i].value);
    return LP_OK;
}

static void take_options(lp__http *http, const lp_http_options *given, const lp__origins *origins,
                         lp__rate *rate)
{
    lp__origins_free(&http->origins);
    lp__rate_free(http->rate);
    http->origins = *origins;
    http->rate = rate;
    http->options = *given;
    http->options.cors_origins = NULL;
    fill_defaults(http);
}

int lp_http_configure(lp_manager *manager, const lp_http_options *options, lp_error *error)
{
    lp_http_options given = LP_HTTP_OPTIONS_INIT;
    size_t size = options->struct_size < sizeof(given) ? options->struct_size : sizeof(given);
    lp__origins origins;
    lp__http *http;
    memcpy(&given, options, size);
    int status = check_numbers(&given, error);
    if (status == LP_OK)
        status = lp__origins_read(given.cors_origins, given.cors_origin_count, &origins, error);
    if (status != LP_OK)
        return status;
    lp__rate *rate = NULL;
    if (given.publish_rate > 0)
        status = lp__rate_new(given.publish_rate, burst_of(&given), &rate);
    if (status == LP_OK)
        status = lp__http_of(manager, &http);
    if (status == LP_OK) {
        take_options(http, &given, &origins, rate);
        return LP_OK;
    }
    lp__rate_free(rate);
    lp__origins_free(&origins);
    return lp_error_set(error, status, "%s", lp_strerror(status));
}

int lp__http_check_sigpipe(lp_error *error)
{
    struct sigaction action;
    if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
        return LP_OK;
    return lp_error_set(error, LP_EINVAL,
                        "SIGPIPE would end the program when a client resets its connection (call "
                        "signal(SIGPIPE, SIG_IGN) first)");
}
