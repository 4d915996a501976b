/* See port_runner.h. */
#include "port_runner.h"

#include "check.h"

enum { PUBLISHED_AT_ONCE = 3, OUTSTANDING_MAX = 1000 };

static unsigned random_below(port_runner *runner, unsigned bound)
{
    uint64_t z = runner->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)((z ^ z >> 31) % bound);
}

static void check_thread(const port_runner *runner)
{
    uv_thread_t self = uv_thread_self();
    CHECK(uv_thread_equal(&self, &runner->thread));
}

/* ---- its loop ----------------------------------------------------------- */

static void on_soon(void *ctx)
{
    port_runner *runner = ctx;
    check_thread(runner);
    runner->is_soon = true;
}

static void on_wake(void *ctx)
{
    port_runner *runner = ctx;
    if (runner->on_uv) {
        uv_async_send(&runner->alarm);
        return;
    }
    uv_mutex_lock(&runner->mutex);
    runner->is_rung = true;
    uv_cond_signal(&runner->changed);
    uv_mutex_unlock(&runner->mutex);
}

static void on_alarm(uv_async_t *alarm)
{
    port_runner *runner = alarm->data;
    runner->is_soon = true;
}

static void turn(port_runner *runner)
{
    runner->is_soon = false;
    lp__port_turn(runner->port);
}

/* Runs what there is to be run; waits for it, if it may. */
static void run_loop(port_runner *runner, bool waits)
{
    enum { PATIENCE_NS = 1000000 }; /* what others do is looked at again then */
    waits = waits && !runner->is_soon;
    if (runner->on_uv) {
        uv_run(&runner->loop, waits ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    } else {
        uv_mutex_lock(&runner->mutex);
        if (waits && !runner->is_rung)
            uv_cond_timedwait(&runner->changed, &runner->mutex, PATIENCE_NS);
        runner->is_soon |= runner->is_rung;
        runner->is_rung = false;
        uv_mutex_unlock(&runner->mutex);
    }
    if (runner->is_soon)
        turn(runner);
}

static void on_tick(uv_timer_t *tick)
{
    (void)tick;
}

static uv_timer_t *open_loop(port_runner *runner)
{
    uv_mutex_init(&runner->mutex);
    uv_cond_init(&runner->changed);
    if (!runner->on_uv)
        return NULL;
    uv_timer_t *tick = malloc(sizeof(*tick));
    CHECK_IS(uv_loop_init(&runner->loop), 0);
    CHECK_IS(uv_async_init(&runner->loop, &runner->alarm, on_alarm), 0);
    uv_timer_init(&runner->loop, tick);
    uv_timer_start(tick, on_tick, 1, 1);
    runner->alarm.data = runner;
    return tick;
}

static void close_loop(port_runner *runner, uv_timer_t *tick)
{
    if (runner->on_uv) {
        uv_close((uv_handle_t *)&runner->alarm, NULL);
        uv_close((uv_handle_t *)tick, NULL);
        uv_run(&runner->loop, UV_RUN_DEFAULT);
        CHECK_IS(uv_loop_close(&runner->loop), 0);
        free(tick);
    }
    uv_mutex_destroy(&runner->mutex);
    uv_cond_destroy(&runner->changed);
}

/* ---- readers ------------------------------------------------------------ */

static void read_event(port_reader *reader, const lp_event *event)
{
    int publisher, number;
    lp_str data = lp_event_data(event);
    char text[64];
    CHECK(data.len < sizeof(text));
    memcpy(text, data.base, data.len);
    text[data.len] = '\0';
    CHECK_IS(sscanf(text, "[%d,%d]", &publisher, &number), 2);
    CHECK(publisher >= 0 && publisher < PUBLISHERS_MAX);
    CHECK(lp_event_seq(event) > reader->last_seq);
    reader->last_seq = lp_event_seq(event);
    if (!reader->runner->arena->retrieves) /* else others may have had those between */
        CHECK_IS(number, reader->seen[publisher]);
    reader->seen[publisher] = number + 1;
}

static void on_opened(void *ctx, lp_id position)
{
    port_reader *reader = ctx;
    (void)position;
    check_thread(reader->runner);
    CHECK(reader->is_stream && reader->poll != NULL && !reader->has_been_opened);
    reader->has_been_opened = true;
}

static void on_answered(void *ctx, const lp_answer *answer)
{
    port_reader *reader = ctx;
    port_runner *runner = reader->runner;
    check_thread(runner);
    CHECK(reader->poll != NULL && !reader->rests);
    CHECK(reader->is_stream == reader->has_been_opened);
    CHECK(!answer->gap || lp_id_seq(reader->cursor) == 0); /* nobody knows what was before */
    CHECK(!answer->closing || reader->is_dismissed || atomic_load(&runner->arena->is_closed));
    for (size_t i = 0; i < answer->event_count; i++)
        read_event(reader, answer->events[i]);
    if (runner->arena->retrieves)
        lp__port_retrieved(runner->port, answer->events, answer->event_count);
    reader->cursor = answer->last_id;
    reader->is_dismissed = false;
    if (!reader->is_stream)
        reader->poll = NULL;
    else if (random_below(runner, 2) && !answer->closing)
        lp__poll_continue(reader->poll, 1 + random_below(runner, 20));
    else
        reader->rests = true;
}

static void on_refused(void *ctx, int status)
{
    port_reader *reader = ctx;
    check_thread(reader->runner);
    CHECK(reader->poll != NULL && !reader->has_been_opened);
    CHECK_IS(status, LP_ECLOSED);
    reader->poll = NULL;
    reader->is_dismissed = false;
}

static void start_reader(port_runner *runner, port_reader *reader)
{
    static const char *const names[CATEGORIES] = {"a", "b", "c"};
    static const lp__poll_calls calls = {on_opened, on_answered, on_refused};
    lp_query query = query_now(names[reader->category]);
    query.by_id = query.has_last_id = true;
    query.last_id = reader->cursor;
    lp__poll_options options = {.calls = &calls,
                                .ctx = reader,
                                .timeout_ms = 1 + random_below(runner, 20),
                                .is_stream = reader->is_stream,
                                .answer_bytes_max = random_below(runner, 2) * 1000};
    reader->rests = reader->is_dismissed = reader->has_been_opened = false;
    int status = lp__poll_start(runner->port, &query, &options, &reader->poll);
    if (status != LP_OK) {
        CHECK_IS(status, LP_ECLOSED);
        reader->poll = NULL;
        runner->was_refused = true;
    }
}

static void cancel_reader(port_reader *reader)
{
    if (reader->poll != NULL)
        lp__poll_cancel(reader->poll);
    reader->poll = NULL;
}

static void cancel_readers(port_runner *runner)
{
    for (int i = 0; i < READERS; i++)
        cancel_reader(&runner->readers[i]);
}

static void move_reader(port_runner *runner, port_reader *reader)
{
    if (reader->poll == NULL) {
        start_reader(runner, reader);
    } else if (reader->is_stream && reader->rests) {
        reader->rests = false;
        lp__poll_continue(reader->poll, 1 + random_below(runner, 20));
    }
}

/* ---- publishing --------------------------------------------------------- */

/* One request, told of on the thread of its runner, or where that has detached its port since, on
 * the home thread. */
typedef struct publish_note {
    port_arena *arena;
    int publisher, category, count;
    uv_thread_t thread;
} publish_note;

static void on_published(void *ctx, const lp_publish_result *result)
{
    publish_note *note = ctx;
    port_arena *arena = note->arena;
    uv_thread_t self = uv_thread_self();
    CHECK(uv_thread_equal(&self, &note->thread) || uv_thread_equal(&self, &arena->world->thread));
    if (result->error.status == LP_OK) {
        CHECK_IS(result->event_count, note->count);
        atomic_fetch_add(&arena->kept[note->publisher][note->category], note->count);
    } else {
        CHECK_IS(result->error.status, LP_ECLOSED);
    }
    atomic_fetch_sub(&arena->outstanding, 1);
    free(note);
}

static void publish(port_runner *runner)
{
    static const char *const names[CATEGORIES] = {"a", "b", "c"};
    port_arena *arena = runner->arena;
    lp_publish_item items[PUBLISHED_AT_ONCE];
    char data[PUBLISHED_AT_ONCE][32];
    int category = (int)random_below(runner, CATEGORIES);
    int count = 1 + (int)random_below(runner, PUBLISHED_AT_ONCE);
    for (int i = 0; i < count; i++) {
        snprintf(data[i], sizeof(data[i]), "[%d,%d]", runner->publisher,
                 runner->published[category] + i);
        items[i] = (lp_publish_item){lp_str_of(names[category]), lp_str_of(data[i])};
    }
    lp_publish_request request = LP_PUBLISH_REQUEST_INIT;
    request.items = items;
    request.item_count = (size_t)count;
    publish_note *note = malloc(sizeof(*note));
    CHECK(note != NULL);
    *note = (publish_note){arena, runner->publisher, category, count, runner->thread};
    atomic_fetch_add(&arena->outstanding, 1);
    int status = lp__port_publish(runner->port, &request, on_published, note);
    if (status == LP_OK) {
        runner->published[category] += count;
        return;
    }
    CHECK(status == LP_ECLOSED || status == LP_EFULL);
    runner->was_refused |= status == LP_ECLOSED;
    atomic_fetch_sub(&arena->outstanding, 1);
    free(note);
}

/* ---- coming and going --------------------------------------------------- */

static void on_drain(void *ctx)
{
    port_runner *runner = ctx;
    check_thread(runner);
    CHECK_IS(runner->drains, 0);
    runner->drains++;
    for (int i = 0; i < READERS; i++)
        CHECK(runner->readers[i].poll == NULL || runner->readers[i].is_stream);
    cancel_readers(runner);
    if (random_below(runner, 2))
        lp__port_drained(runner->port);
}

static void on_report(void *ctx, const lp__report *report)
{
    (void)report;
    atomic_fetch_sub(&((port_arena *)ctx)->outstanding, 1);
}

static void ask_for_report(port_runner *runner)
{
    atomic_fetch_add(&runner->arena->outstanding, 1);
    if (lp__port_report(runner->port, on_report, runner->arena) != LP_OK)
        atomic_fetch_sub(&runner->arena->outstanding, 1);
}

/* False: the manager is closed. */
static bool attach(port_runner *runner)
{
    lp__port_calls calls = {on_soon, on_wake, on_drain, NULL, runner};
    int status = lp__port_attach(runner->arena->world->manager, &calls, &runner->port);
    runner->publisher = atomic_fetch_add(&runner->arena->publishers, 1);
    memset(runner->published, 0, sizeof(runner->published));
    CHECK(status == LP_OK || status == LP_ECLOSED);
    CHECK(runner->publisher < PUBLISHERS_MAX);
    return status == LP_OK;
}

/* With all that is under way. */
static void detach(port_runner *runner)
{
    cancel_readers(runner);
    lp__port_detach(runner->port);
    runner->port = NULL;
    runner->is_soon = false;
}

static void step(port_runner *runner)
{
    port_reader *reader = &runner->readers[random_below(runner, READERS)];
    unsigned choice = random_below(runner, 32);
    if (choice < 16) {
        if (atomic_load(&runner->arena->outstanding) < OUTSTANDING_MAX)
            publish(runner);
    } else if (choice < 28) {
        move_reader(runner, reader);
    } else if (choice < 30) {
        cancel_reader(reader);
    } else if (choice < 31 && reader->poll != NULL && !reader->is_stream) {
        reader->is_dismissed = true;
        lp__poll_dismiss(reader->poll);
    } else {
        ask_for_report(runner);
    }
    if (random_below(runner, 4) == 0) /* else what comes meanwhile crosses more of what it does */
        run_loop(runner, random_below(runner, 16) == 0);
}

static bool is_caught_up(const port_runner *runner)
{
    port_arena *arena = runner->arena;
    if (atomic_load(&arena->publishing) > 0 || atomic_load(&arena->outstanding) > 0)
        return false;
    if (arena->retrieves)
        return atomic_load(&arena->is_retrieved);
    for (int i = 0; i < READERS; i++) {
        const port_reader *reader = &runner->readers[i];
        for (int p = 0; p < PUBLISHERS_MAX; p++) {
            CHECK(reader->seen[p] <= atomic_load(&arena->kept[p][reader->category]));
            if (reader->seen[p] < atomic_load(&arena->kept[p][reader->category]))
                return false;
        }
    }
    return true;
}

/* The manager is about to end, or has: the port ends before, or behind. */
static void see_it_end(port_runner *runner)
{
    while (runner->drains == 0)
        run_loop(runner, true);
    for (unsigned i = random_below(runner, 4); i > 0; i--)
        run_loop(runner, true);
    if (random_below(runner, 2)) {
        lp__port_drained(runner->port);
        while (runner->is_soon)
            run_loop(runner, false);
    }
    for (unsigned i = random_below(runner, 4); i > 0; i--)
        run_loop(runner, true);
    detach(runner);
}

static void run_steps(port_runner *runner)
{
    const port_arena *arena = runner->arena;
    for (int i = 0; i < arena->steps && !runner->was_refused; i++) {
        step(runner);
        if (arena->detach_one_in != 0 &&
            atomic_load(&arena->publishers) < PUBLISHERS_MAX - RUNNERS_MAX &&
            random_below(runner, (unsigned)arena->detach_one_in) == 0) {
            detach(runner);
            if (!attach(runner))
                break;
        }
    }
}

static void run(void *ctx)
{
    port_runner *runner = ctx;
    uv_timer_t *tick = open_loop(runner);
    runner->thread = uv_thread_self();
    if (attach(runner))
        run_steps(runner);
    atomic_fetch_sub(&runner->arena->publishing, 1);
    while (runner->port != NULL && !runner->was_refused && !is_caught_up(runner)) {
        for (int i = 0; i < READERS; i++)
            move_reader(runner, &runner->readers[i]);
        run_loop(runner, true);
    }
    if (runner->port != NULL && runner->was_refused)
        see_it_end(runner);
    else if (runner->port != NULL)
        detach(runner);
    close_loop(runner, tick);
    atomic_store(&runner->has_ended, true);
}

void arena_init(port_arena *arena, test_world *world, int steps)
{
    memset(arena, 0, sizeof(*arena));
    arena->world = world;
    arena->steps = steps;
}

void runner_start(port_runner *runner, port_arena *arena, uint64_t seed, bool on_uv)
{
    memset(runner, 0, sizeof(*runner));
    runner->arena = arena;
    runner->random = seed;
    runner->on_uv = on_uv;
    for (int i = 0; i < READERS; i++) {
        runner->readers[i].runner = runner;
        runner->readers[i].category = i % CATEGORIES;
        runner->readers[i].is_stream = i % 3 == 2;
        runner->readers[i].cursor = lp_id_make(0, 0);
    }
    CHECK_IS(uv_thread_create(&runner->thread, run, runner), 0);
}

void runner_join(port_runner *runner)
{
    uv_thread_join(&runner->thread);
}
