/* What a site has on one loop: its port to the manager, its place among the site's loops, its life.
 * On the loop's thread, but for what the port's calls say. See inside.h. */
#include "inside.h"

#include <stdlib.h>

lp_state lp__http_state(const lp__http *http)
{
    return http->port ? lp__port_state(http->port) : LP_STATE_CLOSED;
}

bool lp__http_is_serving(const lp__http *http)
{
    lp_state state = lp__http_state(http);
    return state == LP_STATE_SERVING || state == LP_STATE_IN_DOUBT;
}

size_t lp__http_inflight_max(const lp__http *http)
{
    size_t loops = atomic_load_explicit(&http->site->loop_count, memory_order_relaxed);
    size_t max = (size_t)http->site->options.inflight_bytes_max;
    return loops > 1 ? max / loops : max;
}

/* ---- the port's calls ---------------------------------------------------- */

static void on_turn(void *ctx)
{
    lp__port_turn(((lp__http *)ctx)->port);
}

static void call_soon(void *ctx)
{
    lp__soon_start(((lp__http *)ctx)->soon);
}

static void call_wake(void *ctx)
{
    lp__alarm_ring(((lp__http *)ctx)->alarm);
}

/* Home thread; where that is not this one's, the figure is what says it. */
static bool is_writing(const void *ctx)
{
    const lp__http *http = ctx;
    return __atomic_load_n(&http->figures.inflight, __ATOMIC_RELAXED) > 0;
}

void lp__http_close_timer(lp__http *http)
{
    lp_state state = lp__http_state(http);
    if (http->timer && lp__list_is_empty(&http->inflight) &&
        (state == LP_STATE_DRAINING || state == LP_STATE_CLOSED)) {
        lp__timer_close(http->timer, NULL, NULL);
        http->timer = NULL;
    }
}

static void on_watch_drained(void *ctx)
{
    lp__http *http = ctx;
    if (http->port)
        lp__port_drained(http->port);
    lp__http_unref(http);
}

/* Every waiter has been answered. Answers may still be being written; they need the timer only. */
static void drain(void *ctx)
{
    lp__http *http = ctx;
    lp__streams_end(http, NULL);
    lp__http_close_timer(http);
    lp__watch *watch = http->watch;
    http->watch = NULL;
    if (watch)
        lp__watch_close(watch, on_watch_drained, lp__http_ref(http));
    else
        lp__port_drained(http->port);
}

/* ---- the end ------------------------------------------------------------- */

static void on_part_closed(void *ctx)
{
    lp__http *http = ctx;
    if (--http->closing > 0)
        return;
    if (http->is_home)
        lp__loop_let_go(http->loop);
    lp__site_unref(http->site);
    free(http);
}

static void close_turns(lp__http *http)
{
    if (http->soon) {
        http->closing++;
        lp__soon_close(http->soon, on_part_closed, http);
    }
    if (http->alarm) {
        http->closing++;
        lp__alarm_close(http->alarm, on_part_closed, http);
    }
    http->soon = NULL;
    http->alarm = NULL;
}

/* No request of this loop is left, and no context. */
static void close_all(lp__http *http)
{
    http->closing = 1;
    if (http->port)
        lp__port_detach(http->port); /* no call comes from here on */
    http->port = NULL;
    close_turns(http);
    if (http->watch) {
        http->closing++;
        lp__watch_close(http->watch, on_part_closed, http);
    }
    if (http->timer) {
        http->closing++;
        lp__timer_close(http->timer, on_part_closed, http);
    }
    on_part_closed(http);
}

static void leave_site(lp__http *http)
{
    enum { COUNT = sizeof(http->figures) / sizeof(uint64_t) };
    lp__site *site = http->site;
    uint64_t *past = (uint64_t *)(void *)&site->past, *own = (uint64_t *)(void *)&http->figures;
    pthread_mutex_lock(&site->mutex);
    lp__list_unlink(&http->link);
    atomic_fetch_sub(&site->loop_count, 1);
    for (size_t i = 0; i < COUNT; i++)
        past[i] += own[i];
    pthread_mutex_unlock(&site->mutex);
}

lp__http *lp__http_ref(lp__http *http)
{
    http->refs++;
    return http;
}

void lp__http_unref(lp__http *http)
{
    if (--http->refs > 0)
        return;
    leave_site(http);
    close_all(http);
}

void lp__http_leave_home(lp__http *http)
{
    lp__port_detach(http->port);
    http->port = NULL;
    lp__http_close_timer(http);
    lp__http_unref(http);
}

/* ---- the beginning ------------------------------------------------------- */

/* On the home loop the manager's own turn is the port's, unless libh2o has another loop there. */
static int open_turns(lp__http *http, bool has_manager_turns)
{
    if (has_manager_turns)
        return LP_OK;
    int status = lp__soon_open(http->loop, on_turn, http, &http->soon);
    if (status == LP_OK && !http->is_home)
        status = lp__alarm_open(http->loop, on_turn, http, &http->alarm);
    return status;
}

/* The site's mutex is held, so the manager is there. */
static int open_port(lp__http *http)
{
    lp_manager *manager = http->site->manager;
    if (!manager)
        return LP_OK;
    int status = open_turns(http, (void *)http->loop == (void *)lp__manager_loop(manager));
    if (status != LP_OK)
        return status;
    lp__port_calls calls = {.soon = http->soon ? call_soon : NULL,
                            .wake = http->alarm ? call_wake : NULL,
                            .drain = drain,
                            .is_writing = is_writing,
                            .ctx = http};
    if (http->is_home)
        status = lp__port_home(manager, &calls, &http->port);
    else
        status = lp__port_attach(manager, &calls, &http->port);
    return status == LP_ECLOSED ? LP_OK : status; /* it answers 503 */
}

static lp__http *new_http(lp__site *site, h2o_loop_t *loop)
{
    lp__http *http = calloc(1, sizeof(*http));
    if (!http)
        return NULL;
    http->refs = 1;
    http->site = lp__site_ref(site);
    http->loop = loop;
    http->is_home = loop == site->home_loop;
    if (http->is_home)
        lp__loop_of_home(lp__manager_loop(site->manager)); /* one more */
    lp__list_init(&http->link);
    lp__list_init(&http->inflight);
    lp__list_init(&http->large);
    lp__list_init(&http->pending);
    lp__list_init(&http->streams);
    if (open_port(http) != LP_OK) {
        close_all(http);
        return NULL;
    }
    lp__list_push_back(&site->loops, &http->link);
    atomic_fetch_add(&site->loop_count, 1);
    if (http->is_home)
        site->home = lp__http_ref(http); /* the manager's */
    return http;
}

static lp__http *find(const lp__site *site, const h2o_loop_t *loop)
{
    for (lp__list *at = site->loops.next; at != &site->loops; at = at->next) {
        lp__http *http = LP__CONTAINER(at, lp__http, link);
        if (http->loop == loop)
            return http;
    }
    return NULL;
}

lp__http *lp__http_attach(lp__site *site, h2o_loop_t *loop)
{
    pthread_mutex_lock(&site->mutex);
    lp__http *http = find(site, loop);
    if (http)
        lp__http_ref(http);
    else
        http = new_http(site, loop);
    pthread_mutex_unlock(&site->mutex);
    return http;
}

lp__http *lp__http_of_loop(lp__site *site, h2o_loop_t *loop)
{
    if (loop == site->home_loop && site->home)
        return site->home;
    bool is_home = loop == site->home_loop;
    pthread_mutex_lock(&site->mutex);
    lp__http *http = find(site, loop);
    pthread_mutex_unlock(&site->mutex);
    if (!http && is_home && (http = lp__http_attach(site, loop)))
        lp__http_unref(http); /* the manager's reference stays */
    return http;
}
