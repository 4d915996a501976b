/* See world.h. */
#include "world.h"

#include "check.h"

enum { DEADLINE_MS = 60000, TIMEOUT_S = 100 };

/* ---- the loop ----------------------------------------------------------- */

static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    fprintf(stderr, "what the test waits for did not happen within %d ms\n", DEADLINE_MS);
    abort();
}

/* Started before the manager's own, so libuv runs it behind that, and before the loop waits. */
static void on_look(uv_prepare_t *look)
{
    test_world *world = look->data;
    if (world->met != NULL && world->met(world->met_ctx))
        uv_stop(&world->loop);
}

void world_init(test_world *world)
{
    *world = (test_world){.options = LP_MANAGER_OPTIONS_INIT};
    CHECK_IS(uv_loop_init(&world->loop), 0);
    world->thread = uv_thread_self();
    uv_mutex_init(&world->log_mutex);
    uv_timer_init(&world->loop, &world->watchdog);
    uv_prepare_init(&world->loop, &world->look);
    world->look.data = world;
    uv_prepare_start(&world->look, on_look);
}

void world_run_until(test_world *world, bool (*met)(void *ctx), void *ctx)
{
    world->met = met;
    world->met_ctx = ctx;
    uv_update_time(&world->loop);
    uv_timer_start(&world->watchdog, on_watchdog, DEADLINE_MS, 0);
    if (!met(ctx))
        uv_run(&world->loop, UV_RUN_DEFAULT);
    CHECK(met(ctx));
    uv_timer_stop(&world->watchdog);
    world->met = NULL;
}

typedef struct awaited_count {
    const int *counter;
    int at_least;
} awaited_count;

static bool has_counted(void *ctx)
{
    const awaited_count *count = ctx;
    return *count->counter >= count->at_least;
}

void world_run(test_world *world, const int *counter, int at_least)
{
    awaited_count count = {counter, at_least};
    world_run_until(world, has_counted, &count);
}

typedef struct awaited_state {
    const test_world *world;
    lp_state state;
} awaited_state;

static bool is_in_state(void *ctx)
{
    const awaited_state *awaited = ctx;
    return lp_manager_state(awaited->world->manager) == awaited->state;
}

void world_run_to_state(test_world *world, lp_state state)
{
    awaited_state awaited = {world, state};
    world_run_until(world, is_in_state, &awaited);
}

void world_turn(test_world *world)
{
    for (int i = 0; i < 4; i++)
        uv_run(&world->loop, UV_RUN_NOWAIT);
}

void world_check_callback(const test_world *world)
{
    uv_thread_t self = uv_thread_self();
    CHECK(uv_thread_equal(&self, &world->thread));
    CHECK_IS(world->calling, 0);
}

/* Events outlive their callbacks in what a test has recorded. */
lp_event *world_hold(test_world *world, const lp_event *event)
{
    if (world->held_count == world->held_capacity) {
        world->held_capacity = world->held_capacity == 0 ? 64 : world->held_capacity * 2;
        world->held = realloc(world->held, world->held_capacity * sizeof(*world->held));
        CHECK(world->held != NULL);
    }
    return world->held[world->held_count++] = lp_event_ref((lp_event *)event);
}

/* ---- life --------------------------------------------------------------- */

static void on_log(void *ctx, lp_log_level level, const char *line)
{
    test_world *world = ctx;
    CHECK(level >= LP_LOG_ERROR && level <= LP_LOG_DEBUG);
    CHECK(strchr(line, '\n') == NULL);
    uv_mutex_lock(&world->log_mutex);
    if (world->line_count < sizeof(world->lines) / sizeof(world->lines[0]))
        snprintf(world->lines[world->line_count++], sizeof(world->lines[0]), "%s", line);
    uv_mutex_unlock(&world->log_mutex);
}

bool world_logged(test_world *world, const char *part)
{
    bool found = false;
    uv_mutex_lock(&world->log_mutex);
    for (size_t i = 0; i < world->line_count; i++)
        found |= strstr(world->lines[i], part) != NULL;
    uv_mutex_unlock(&world->log_mutex);
    return found;
}

static void on_state(lp_manager *manager, lp_state state, const lp_error *error, void *ctx)
{
    test_world *world = ctx;
    world_check_callback(world);
    CHECK(manager == world->manager);
    CHECK_IS(lp_manager_state(manager), state);
    CHECK((error != NULL) == (state == LP_STATE_FAILED || state == LP_STATE_IN_DOUBT));
    CHECK(world->state_count < sizeof(world->states) / sizeof(world->states[0]));
    world->states[world->state_count++] = state;
    if (error != NULL)
        world->state_error = *error;
    if (world->on_state != NULL)
        world->on_state(world, state);
}

int world_begin(test_world *world, lp_error *error)
{
    world->options.on_log = on_log;
    world->options.log_ctx = world;
    world->options.on_state = on_state;
    world->options.state_ctx = world;
    world->calling++;
    int status = lp_manager_start(&world->loop, &world->options, &world->manager, error);
    world->calling--;
    return status;
}

void world_start(test_world *world)
{
    lp_error error = {LP_OK, ""};
    if (world_begin(world, &error) != LP_OK) {
        fprintf(stderr, "lp_manager_start: %s\n", error.message);
        abort();
    }
    world_run_to_state(world, LP_STATE_SERVING);
}

static void on_shutdown(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    test_world *world = ctx;
    world_check_callback(world);
    CHECK(manager == world->manager);
    CHECK_IS(lp_manager_state(manager), LP_STATE_CLOSED);
    world->ended++;
    world->end_error = *error;
    world->unkept = unkept;
    if (world->free_at_end) {
        CHECK_IS(lp_manager_free(manager), LP_OK);
        world->manager = NULL;
    }
}

void world_shutdown(test_world *world, int64_t timeout_ms)
{
    world->calling++;
    CHECK_IS(lp_manager_shutdown(world->manager, timeout_ms, on_shutdown, world), LP_OK);
    world->calling--;
}

static void on_walk(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    fprintf(stderr, "a handle is left on the loop: %s\n", uv_handle_type_name(handle->type));
}

void world_close(test_world *world)
{
    uv_close((uv_handle_t *)&world->watchdog, NULL);
    uv_close((uv_handle_t *)&world->look, NULL);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    uv_walk(&world->loop, on_walk, NULL);
    CHECK_IS(uv_loop_close(&world->loop), 0);
    uv_mutex_destroy(&world->log_mutex);
    for (size_t i = 0; i < world->held_count; i++)
        lp_event_unref(world->held[i]);
    free(world->held);
}

void world_end(test_world *world)
{
    if (world->manager != NULL) {
        if (world->ended == 0)
            world_shutdown(world, 10000);
        world_run(world, &world->ended, 1);
        CHECK_IS(lp_manager_free(world->manager), LP_OK);
    }
    world_close(world);
}

lp_stats world_stats(const test_world *world)
{
    lp_stats stats;
    lp_manager_stats(world->manager, &stats, sizeof(stats));
    return stats;
}

/* ---- publish ------------------------------------------------------------ */

bool event_is(const lp_event *event, const char *data)
{
    lp_str text = lp_event_data(event);
    return text.len == strlen(data) && memcmp(text.base, data, text.len) == 0;
}

static void on_published(void *ctx, const lp_error *error, const lp_event *event)
{
    test_publish *published = ctx;
    test_world *world = published->world;
    world_check_callback(world);
    CHECK_IS(published->calls, 0);
    CHECK((event != NULL) == (error->status == LP_OK));
    CHECK((error->status == LP_OK) == (error->message[0] == '\0'));
    published->calls++;
    published->place = ++world->completions;
    published->error = *error;
    if (event != NULL)
        published->event = world_hold(world, event);
    if (published->then != NULL)
        published->then(published);
}

int world_publish(test_world *world, const char *category, const char *data, test_publish *out)
{
    out->world = world;
    world->calling++;
    int status =
        lp_publish(world->manager, lp_str_of(category), lp_str_of(data), on_published, out);
    world->calling--;
    return status;
}

lp_event *world_keep(test_world *world, const char *category, const char *data)
{
    test_publish published = {0};
    CHECK_IS(world_publish(world, category, data, &published), LP_OK);
    world_run(world, &published.calls, 1);
    if (published.error.status != LP_OK) {
        fprintf(stderr, "not kept: %s\n", published.error.message);
        abort();
    }
    return published.event;
}

/* ---- subscribe ---------------------------------------------------------- */

lp_query query_now(const char *category)
{
    lp_query query = LP_QUERY_INIT;
    query.category = lp_str_of(category);
    query.timeout_s = TIMEOUT_S;
    return query;
}

lp_query query_since(const char *category, int64_t since_ms)
{
    lp_query query = query_now(category);
    query.has_since = true;
    query.since_ms = since_ms;
    return query;
}

lp_query query_behind(const char *category, uint64_t seq)
{
    lp_query query = query_since(category, lp_seq_ms(seq));
    query.has_last_id = true;
    query.last_id = lp_id_make(seq, 0);
    return query;
}

lp_query query_after(const char *category, const lp_event *event)
{
    return query_behind(category, lp_event_seq(event));
}

lp_query query_from(const char *category, const lp_event *event)
{
    return query_behind(category, lp_event_seq(event) - 1);
}

lp_query query_all(const char *category)
{
    return query_behind(category, 0);
}

static void on_answer(void *ctx, const lp_answer *answer)
{
    test_poll *polled = ctx;
    test_world *world = polled->world;
    world_check_callback(world);
    CHECK_IS(polled->calls, 0);
    CHECK(answer->event_count <= POLLED_MAX);
    polled->calls++;
    polled->place = ++world->answers;
    polled->subscription = NULL;
    polled->count = answer->event_count;
    for (size_t i = 0; i < answer->event_count; i++) {
        polled->events[i] = world_hold(world, answer->events[i]);
        CHECK(i == 0 || lp_event_seq(polled->events[i]) > lp_event_seq(polled->events[i - 1]));
    }
    polled->timestamp_ms = answer->timestamp_ms;
    polled->gap = answer->gap;
    polled->closing = answer->closing;
    if (polled->then != NULL)
        polled->then(polled);
}

int world_poll(test_world *world, lp_query query, test_poll *out)
{
    out->world = world;
    out->calls = 0;
    world->calling++;
    int status = lp_subscribe(world->manager, &query, on_answer, out, &out->subscription);
    world->calling--;
    return status;
}

void world_answer(test_world *world, lp_query query, test_poll *out)
{
    CHECK_IS(world_poll(world, query, out), LP_OK);
    world_run(world, &out->calls, 1);
}

void world_cancel(test_world *world, test_poll *polled)
{
    CHECK(polled->subscription != NULL);
    world->calling++;
    lp_cancel(polled->subscription);
    world->calling--;
    polled->subscription = NULL;
}
