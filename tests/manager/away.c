/* See away.h. */
#include "away.h"

#include "check.h"

/* ---- the port ----------------------------------------------------------- */

static void on_soon(void *ctx)
{
    test_port *away = ctx;
    away->soons++;
    away->is_asked = true;
}

static void on_wake(void *ctx)
{
    test_port *away = ctx;
    away->wakes++;
    away->is_asked = true;
}

static void on_drain(void *ctx)
{
    test_port *away = ctx;
    CHECK_IS(away->drains, 0);
    away->drains++;
    if (away->drains_later)
        return;
    lp__port_drained(away->port);
    if (away->leaves_at_drain)
        away_detach(away);
}

static bool on_is_writing(const void *ctx)
{
    return ((const test_port *)ctx)->is_writing;
}

int away_attach(test_world *world, test_port *away)
{
    lp__port_calls calls = {on_soon, on_wake, on_drain, on_is_writing, away};
    away->world = world;
    return lp__port_attach(world->manager, &calls, &away->port);
}

void away_detach(test_port *away)
{
    lp__port_detach(away->port);
    away->port = NULL;
    away->is_asked = false;
}

void away_turn(test_port *away)
{
    if (!away->is_asked)
        return;
    away->is_asked = false;
    lp__port_turn(away->port);
}

void away_settle(test_port *away)
{
    for (int i = 0; i < 4; i++) {
        away_turn(away);
        world_turn(away->world);
    }
}

void away_run(test_port *away, const int *counter, int at_least)
{
    enum { DEADLINE_MS = 60000 };
    uint64_t deadline_ns = uv_hrtime() + (uint64_t)DEADLINE_MS * 1000000;
    while (*counter < at_least) {
        CHECK(uv_hrtime() < deadline_ns);
        away_turn(away);
        if (*counter < at_least)
            uv_run(&away->world->loop, UV_RUN_NOWAIT);
    }
}

/* ---- polls -------------------------------------------------------------- */

static void on_opened(void *ctx, lp_id position)
{
    away_poll *self = ctx;
    CHECK_IS(self->opened + self->answers + self->refused, 0);
    self->opened++;
    self->position = position;
    if (self->then != NULL)
        self->then(self);
}

static void on_answered(void *ctx, const lp_answer *answer)
{
    away_poll *self = ctx;
    CHECK_IS(self->refused, 0);
    self->answers++;
    self->count = answer->event_count;
    self->closing = answer->closing;
    if (answer->event_count > 0) {
        self->first_seq = lp_event_seq(answer->events[0]);
        self->last_seq = lp_event_seq(answer->events[answer->event_count - 1]);
        self->first = world_hold(self->away->world, answer->events[0]);
    }
    if (self->then != NULL)
        self->then(self);
}

static void on_refused(void *ctx, int status)
{
    away_poll *self = ctx;
    CHECK_IS(self->opened + self->answers + self->refused, 0);
    self->refused++;
    self->status = status;
    if (self->then != NULL)
        self->then(self);
}

int away_start(test_port *away, lp_query query, bool is_stream, away_poll *out)
{
    static const lp__poll_calls calls = {on_opened, on_answered, on_refused};
    lp__poll_options options = {
        .calls = &calls, .ctx = out, .timeout_ms = query.timeout_s * 1000, .is_stream = is_stream};
    out->away = away;
    return lp__poll_start(away->port, &query, &options, &out->poll);
}

/* ---- publishing --------------------------------------------------------- */

static void on_published(void *ctx, const lp_publish_result *result)
{
    away_publish *self = ctx;
    CHECK_IS(self->calls, 0);
    self->calls++;
    self->status = result->error.status;
    if (self->place != NULL)
        self->placed = ++*self->place;
    if (result->events != NULL)
        self->seq = lp_event_seq(result->events[0]);
    if (self->then != NULL)
        self->then(self);
}

int away_publish_all(test_port *away, const char *category, const char *data, int count,
                     const char *key, away_publish *out)
{
    enum { COUNT_MAX = 16 };
    lp_publish_item items[COUNT_MAX];
    CHECK(count <= COUNT_MAX);
    for (int i = 0; i < count; i++)
        items[i] = (lp_publish_item){lp_str_of(category), lp_str_of(data)};
    lp_publish_request request = LP_PUBLISH_REQUEST_INIT;
    request.items = items;
    request.item_count = (size_t)count;
    if (key != NULL)
        request.idempotency_key = lp_str_of(key);
    out->away = away;
    return lp__port_publish(away->port, &request, on_published, out);
}
