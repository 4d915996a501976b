/* The HTTP side of one manager over all its loops: options, the rate, the sums of the figures, and
 * its life. Each function says on which thread. See inside.h. */
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

/* ---- life --------------------------------------------------------------- */

lp__site *lp__site_ref(lp__site *site)
{
    atomic_fetch_add_explicit(&site->refs, 1, memory_order_relaxed);
    return site;
}

void lp__site_unref(lp__site *site)
{
    if (atomic_fetch_sub_explicit(&site->refs, 1, memory_order_acq_rel) > 1)
        return;
    lp__origins_free(&site->origins);
    lp__rate_free(site->rate);
    pthread_mutex_destroy(&site->mutex);
    free(site);
}

/* Of the manager's slot, in lp_manager_free: every loop has drained. */
static void on_manager_free(void *ctx)
{
    lp__site *site = ctx;
    pthread_mutex_lock(&site->mutex);
    h2o_loop_t *home_loop = site->home_loop;
    lp__http *home = site->home;
    site->manager = NULL;
    site->home_loop = NULL;
    site->home = NULL;
    pthread_mutex_unlock(&site->mutex);
    if (home)
        lp__http_leave_home(home);
    lp__loop_let_go(home_loop);
    lp__site_unref(site);
}

static int64_t burst_of(const lp_http_options *options)
{
    if (options->publish_burst)
        return options->publish_burst;
    return options->publish_rate < INT64_MAX / 2 ? 2 * options->publish_rate : INT64_MAX;
}

static void fill_defaults(lp__site *site)
{
    lp_http_options *options = &site->options;
    options->struct_size = sizeof(*options);
    if (!options->header_bytes_max)
        options->header_bytes_max = HEADER_BYTES_MAX;
    if (!options->body_bytes_max)
        options->body_bytes_max = site->bounds.event_bytes_max + BODY_BYTES_EXTRA;
    if (!options->answer_timeout_ms)
        options->answer_timeout_ms = ANSWER_TIMEOUT_MS;
    if (!options->inflight_bytes_max)
        options->inflight_bytes_max = INFLIGHT_BYTES_MAX;
    if (!options->stream_heartbeat_ms)
        options->stream_heartbeat_ms = HEARTBEAT_MS;
    options->publish_burst = burst_of(options);
}

int lp__site_of(lp_manager *manager, lp__site **out)
{
    lp__manager_http *slot = lp__manager_http_slot(manager);
    *out = slot->http;
    if (*out)
        return LP_OK;
    lp__site *site = calloc(1, sizeof(*site));
    h2o_loop_t *home_loop = lp__loop_of_home(lp__manager_loop(manager));
    if (!site || !home_loop) {
        free(site);
        if (home_loop)
            lp__loop_let_go(home_loop);
        return LP_ENOMEM;
    }
    atomic_init(&site->refs, 1);
    atomic_init(&site->loop_count, 0);
    pthread_mutex_init(&site->mutex, NULL);
    lp__list_init(&site->loops);
    site->manager = manager;
    site->home_loop = home_loop;
    site->bounds = *lp__manager_options(manager);
    fill_defaults(site);
    slot->free_http = on_manager_free;
    __atomic_store_n(&slot->http, site, __ATOMIC_RELEASE); /* for handlers on other loops */
    *out = site;
    return LP_OK;
}

void *lp_http_loop(lp_manager *manager)
{
    lp__site *site;
    return lp__site_of(manager, &site) == LP_OK ? site->home_loop : NULL;
}

/* ---- options ------------------------------------------------------------ */

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

static void take_options(lp__site *site, const lp_http_options *given, const lp__origins *origins,
                         lp__rate *rate)
{
    lp__origins_free(&site->origins);
    lp__rate_free(site->rate);
    site->origins = *origins;
    site->rate = rate;
    site->options = *given;
    site->options.cors_origins = NULL;
    fill_defaults(site);
}

int lp_http_configure(lp_manager *manager, const lp_http_options *options, lp_error *error)
{
    lp_http_options given = LP_HTTP_OPTIONS_INIT;
    size_t size = options->struct_size < sizeof(given) ? options->struct_size : sizeof(given);
    lp__origins origins;
    lp__site *site;
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
        status = lp__site_of(manager, &site);
    if (status == LP_OK) {
        take_options(site, &given, &origins, rate);
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

/* ---- what all loops share ----------------------------------------------- */

/* The loops' clocks are one, but each stands still for a turn. */
uint64_t lp__site_rate_take(lp__site *site, const struct sockaddr *address, int64_t events,
                            uint64_t now_ms)
{
    if (!site->rate)
        return 0;
    pthread_mutex_lock(&site->mutex);
    if (site->rate_ms < now_ms)
        site->rate_ms = now_ms;
    uint64_t wait_ms = lp__rate_take(site->rate, address, events, site->rate_ms);
    pthread_mutex_unlock(&site->mutex);
    return wait_ms;
}

_Static_assert(sizeof(lp_http_figures) % sizeof(uint64_t) == 0, "figures are nothing else");

void lp__site_figures(lp__site *site, lp_http_figures *out)
{
    enum { COUNT = sizeof(*out) / sizeof(uint64_t) };
    uint64_t *sums = (uint64_t *)(void *)out;
    pthread_mutex_lock(&site->mutex);
    *out = site->past;
    for (lp__list *at = site->loops.next; at != &site->loops; at = at->next) {
        uint64_t *own = (uint64_t *)(void *)&LP__CONTAINER(at, lp__http, link)->figures;
        for (size_t i = 0; i < COUNT; i++)
            sums[i] += __atomic_load_n(&own[i], __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&site->mutex);
}

void lp_http_stats(const lp_manager *manager, lp_http_figures *out, size_t size)
{
    const lp__manager_http *slot =
        lp__manager_http_slot((lp_manager *)(uintptr_t)manager); /* which is only read */
    lp_http_figures figures = {0};
    if (slot->http)
        lp__site_figures(slot->http, &figures);
    memcpy(out, &figures, size < sizeof(figures) ? size : sizeof(figures));
}
