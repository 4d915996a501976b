/* A server's part on one loop: context, listener, and an orderly stop. On the thread of the loop,
 * but for what tells it something. See server.h.
 *
 * The stop: the listener closes, idle connections end at once, the others when their answer is out;
 * at the deadline all that is left is cut. libh2o's context is disposed when no connection is left,
 * since it aborts earlier. */
#include "server.h"

#include <signal.h>
#include <string.h>

#define REQUEST_BYTES_MAX ((int64_t)64 << 20)
#define SWEEP_MS          20 /* how often a stopping server looks for idle connections */
#define FAILURE_LOG_MS    1000

#define REFUSAL_BODY     "{\"error\": \"too many connections are open, try again soon\"}"
#define REFUSAL_BODY_LEN "58"

static const char refusal[] = "HTTP/1.1 503 Service Unavailable\r\n"
                              "Content-Type: application/json\r\n"
                              "Content-Length: " REFUSAL_BODY_LEN "\r\n"
                              "Retry-After: 1\r\n"
                              "Connection: close\r\n"
                              "\r\n" REFUSAL_BODY;
_Static_assert(sizeof(REFUSAL_BODY) - 1 == 58, "as REFUSAL_BODY_LEN says");

/* ---- connections --------------------------------------------------------- */

static void on_accepted(void *ctx, h2o_socket_t *socket, SSL_CTX *tls)
{
    lp__unit *unit = ctx;
    unit->accept.ssl_ctx = tls;
    lp__figure_add(&unit->connections, 1);
    lp__http_count(unit->http, LP__COUNTED_OPENED);
    h2o_accept(&unit->accept, socket);
}

static void on_closed(void *ctx, bool tls_failed)
{
    lp__unit *unit = ctx;
    lp__figure_add(&unit->connections, -1);
    lp__http_count(unit->http, LP__COUNTED_CLOSED);
    if (tls_failed)
        lp__http_count(unit->http, LP__COUNTED_TLS_FAILURE);
}

static void on_refused(void *ctx)
{
    lp__unit *unit = ctx;
    lp__http_count(unit->http, LP__COUNTED_REFUSED);
}

static void on_accept_failed(void *ctx, const char *what)
{
    lp__unit *unit = ctx;
    uint64_t now = lp__loop_now(unit->loop);
    if (!unit->http->port || now - unit->failure_logged_ms < FAILURE_LOG_MS)
        return;
    unit->failure_logged_ms = now;
    lp__port_log(unit->http->port, LP_LOG_WARN, "http: a connection was not accepted: %s", what);
}

static void on_empty(void *ctx)
{
    lp__unit *unit = ctx;
    unit->is_empty = true;
    lp__timer_start(unit->timer, 0);
}

/* ---- start --------------------------------------------------------------- */

/* Room for four bodies: buffers double as they grow, so one may take twice its size. */
static size_t request_bytes_max(const lp_server_options *options, const lp_http_options *http)
{
    int64_t body = http->body_bytes_max, least = body < INT64_MAX / 8 ? 8 * body : INT64_MAX;
    if (options->request_bytes_max)
        return (size_t)options->request_bytes_max;
    return (size_t)(least > REQUEST_BYTES_MAX ? least : REQUEST_BYTES_MAX);
}

/* The least that all get of the connections is one each, and of the memory room for bodies. */
static void share_out(const lp__unit *unit, lp__listener_options *listening)
{
    size_t count = unit->server->unit_count, index = unit->index;
    if (count == 1)
        return;
    size_t connections = listening->connections_max, bytes = listening->request_bytes_max;
    size_t body = (size_t)unit->server->site->options.body_bytes_max;
    size_t least = body < bytes / 8 ? 8 * body : bytes;
    listening->connections_max = connections / count + (index < connections % count);
    if (listening->connections_max == 0)
        listening->connections_max = 1;
    listening->request_bytes_max = bytes / count > least ? bytes / count : least;
}

static int listen_on(lp__unit *unit, lp_error *error)
{
    lp_server *server = unit->server;
    const lp_http_options *http = &server->site->options;
    lp__listener_options listening = {
        .address = server->address[0] ? server->address : server->options.listen,
        .connections_max = (size_t)server->options.connections_max,
        .refusal = {refusal, sizeof(refusal) - 1},
        .request_bytes_max = request_bytes_max(&server->options, http),
        .header_bytes_max = (size_t)http->header_bytes_max,
        .write_timeout_ms = (uint64_t)http->answer_timeout_ms,
        .tls = server->tls,
        .shares = server->unit_count == 1 ? LP__SHARES_NOT
                  : unit->index == 0      ? LP__SHARES_FIRST
                                          : LP__SHARES_TOO,
        .accepted = on_accepted,
        .closed = on_closed,
        .refused = on_refused,
        .failed = on_accept_failed,
        .empty = on_empty,
        .ctx = unit,
    };
    share_out(unit, &listening);
    return lp__listener_open(unit->loop, &listening, &unit->listener, error);
}

static void on_stop_timer(void *ctx);
static void on_told(void *ctx);

/* What it took before it failed; nothing of it calls back any more. */
static void take_back(lp__unit *unit)
{
    if (unit->http)
        lp__http_unref(unit->http);
    if (unit->alarm)
        lp__alarm_close(unit->alarm, NULL, NULL);
    if (unit->timer)
        lp__timer_close(unit->timer, NULL, NULL);
}

int lp__unit_open(lp__unit *unit, h2o_loop_t *loop, lp_error *error)
{
    lp_server *server = unit->server;
    unit->loop = loop;
    int status = lp__timer_open(loop, on_stop_timer, unit, &unit->timer);
    if (status == LP_OK && unit->index > 0)
        status = lp__alarm_open(loop, on_told, unit, &unit->alarm);
    if (status == LP_OK && !(unit->http = lp__http_attach(server->site, loop)))
        status = LP_ENOMEM;
    lp__reserve reserve;
    if (status != LP_OK || lp__reserve_take(&reserve) != LP_OK) {
        take_back(unit);
        return lp_error_set(error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
    }
    status = listen_on(unit, error);
    lp__reserve_release(&reserve);
    if (status != LP_OK) {
        take_back(unit);
        return status;
    }
    h2o_context_init(&unit->context, loop, &server->config);
    unit->accept.ctx = &unit->context;
    unit->accept.hosts = server->config.hosts;
    return LP_OK;
}

/* ---- a thread of its own ------------------------------------------------- */

static void tell_started(lp__unit *unit, int status, const lp_error *error)
{
    lp_server *server = unit->server;
    pthread_mutex_lock(&server->mutex);
    server->start_status = status;
    server->start_error = *error;
    pthread_cond_signal(&server->started);
    pthread_mutex_unlock(&server->mutex);
}

static void *run(void *arg)
{
    lp__unit *unit = arg;
    lp_server *server = unit->server;
    lp_error error = {0};
    pthread_setname_np(pthread_self(), "longpoll-http");
    h2o_loop_t *loop = lp__loop_new();
    int status = loop ? lp__unit_open(unit, loop, &error)
                      : lp_error_set(&error, LP_ENOMEM, "%s", lp_strerror(LP_ENOMEM));
    tell_started(unit, status, &error);
    if (status == LP_OK)
        lp__loop_run(loop, &unit->is_over);
    if (loop)
        lp__loop_free(loop);
    atomic_fetch_sub(&server->running, 1);
    lp__alarm_ring(server->alarm); /* which waits for this thread before it closes */
    return NULL;
}

/* Signals are the host's threads' affair. */
static int start_thread(lp__unit *unit)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(&unit->thread, NULL, run, unit);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

int lp__unit_run(lp__unit *unit, lp_error *error)
{
    lp_server *server = unit->server;
    server->start_status = -1;
    atomic_fetch_add(&server->running, 1);
    int failure = start_thread(unit);
    if (failure) {
        atomic_fetch_sub(&server->running, 1);
        return lp_error_set(error, LP_ENOMEM, "thread %zu of %zu: %s (give fewer threads)",
                            unit->index + 1, server->unit_count, strerror(failure));
    }
    unit->has_thread = true;
    pthread_mutex_lock(&server->mutex);
    while (server->start_status == -1)
        pthread_cond_wait(&server->started, &server->mutex);
    int status = server->start_status;
    *error = server->start_error;
    pthread_mutex_unlock(&server->mutex);
    if (status != LP_OK) {
        pthread_join(unit->thread, NULL);
        unit->has_thread = false;
    }
    return status;
}

/* ---- what it is told ----------------------------------------------------- */

/* Rings behind the mutex: a unit that has been told to stop may be gone in front of it. */
void lp__unit_tell(lp__unit *unit, SSL_CTX *next_tls, bool stop)
{
    lp_server *server = unit->server;
    pthread_mutex_lock(&server->mutex);
    if (next_tls) {
        SSL_CTX_up_ref(next_tls);
        SSL_CTX_free(unit->next_tls);
        unit->next_tls = next_tls;
    }
    unit->is_told_to_stop |= stop;
    lp__alarm_ring(unit->alarm);
    pthread_mutex_unlock(&server->mutex);
}

static void on_told(void *ctx)
{
    lp__unit *unit = ctx;
    lp_server *server = unit->server;
    pthread_mutex_lock(&server->mutex);
    SSL_CTX *next_tls = unit->next_tls;
    bool stop = unit->is_told_to_stop;
    int64_t timeout_ms = server->stop_timeout_ms;
    unit->next_tls = NULL;
    pthread_mutex_unlock(&server->mutex);
    if (next_tls)
        lp__listener_set_tls(unit->listener, next_tls);
    SSL_CTX_free(next_tls);
    if (stop)
        lp__unit_stop(unit, timeout_ms);
}

/* ---- stop ---------------------------------------------------------------- */

static void on_gone(void *ctx)
{
    lp__unit *unit = ctx;
    unit->is_over = true;
    if (unit->index == 0)
        lp__server_end(unit->server);
}

/* libh2o's handles lie in the server's memory and may be closed in the same turn as the timer: one
 * more turn, and they are gone for sure. */
static void on_timer_closed(void *ctx)
{
    lp__unit *unit = ctx;
    lp__timer *last;
    if (lp__timer_open(unit->loop, on_stop_timer, unit, &last) == LP_OK)
        lp__timer_close(last, on_gone, unit);
    else
        on_gone(unit);
}

/* h2o_context_dispose runs the loop once, without waiting, inside itself; a timer's callback is
 * where that does no harm. */
static void finish(lp__unit *unit)
{
    lp__listener_free(unit->listener);
    lp__context_dispose(&unit->context);
    lp__http_unref(unit->http);
    if (unit->alarm)
        lp__alarm_close(unit->alarm, NULL, NULL);
    lp__timer_close(unit->timer, on_timer_closed, unit);
}

/* The home unit goes last: its context keeps the loop alive that the others end on. */
static bool is_last(const lp__unit *unit)
{
    const lp_server *server = unit->server;
    for (size_t i = 1; unit->index == 0 && i < server->unit_count; i++)
        if (server->units[i].has_thread)
            return false;
    return true;
}

static void on_stop_timer(void *ctx)
{
    lp__unit *unit = ctx;
    if (unit->is_empty) {
        if (is_last(unit))
            finish(unit);
        return;
    }
    /* a manager that shuts down ends streams itself, behind the last events */
    if (lp__http_is_serving(unit->http))
        lp__streams_end(unit->http, &unit->context);
    lp__listener_end_idle(unit->listener);
    uint64_t now = lp__loop_now(unit->loop);
    if (now >= unit->deadline_ms) {
        if (!unit->was_cut)
            lp__http_end_pending(unit->http, &unit->context);
        unit->was_cut = true;
        lp__listener_end_all(unit->listener);
    }
    lp__timer_start(unit->timer, SWEEP_MS);
}

void lp__unit_look_again(lp__unit *home)
{
    if (home->is_empty)
        lp__timer_start(home->timer, 0);
}

void lp__unit_stop(lp__unit *unit, int64_t timeout_ms)
{
    if (unit->stopping)
        return;
    unit->stopping = true;
    unit->deadline_ms = lp__loop_now(unit->loop) + (timeout_ms > 0 ? (uint64_t)timeout_ms : 0);
    /* h2o_context_request_shutdown would start a timer for HTTP/2's sake as well */
    unit->context.shutdown_requested = 1;
    lp__timer_start(unit->timer, 0);
    lp__listener_stop(unit->listener);
}
