/* Failed allocations on the way between a port and home: the n-th one fails, for every n, then all
 * from it on. What was accepted ends once, with its events or LP_ENOMEM, and what was written is
 * deleted all the same. A plain program, linked with --wrap (see failing.h), so nothing here
 * allocates. */
#include <stdatomic.h>

#include <uv.h>

#include "check.h"
#include "core/manager/port.h"
#include "failing.h"

enum { POLLS = 4, STREAMS = 2, PUBLISHES = 6 };

/* A poll, or a stream. */
typedef struct one_poll {
    struct one_life *life;
    lp__poll *poll; /* NULL: there is none (any more) */
    bool is_stream;
    int opened, answers, refused;
    lp_id position; /* the last that it was told */
} one_poll;

/* One manager and one port, on one thread. */
typedef struct one_life {
    uv_loop_t loop;
    lp_manager *manager;
    lp__port *port;
    bool is_asked; /* for a turn */
    int accepted, completed, kept, reports_due, reports, drains, ended;
    one_poll polls[POLLS + STREAMS];
} one_life;

static int lost_streams; /* that were told to end for want of memory */

static void on_ask(void *ctx)
{
    ((one_life *)ctx)->is_asked = true;
}

static void on_drain(void *ctx)
{
    one_life *life = ctx;
    life->drains++;
    for (int i = 0; i < POLLS + STREAMS; i++) {
        CHECK(life->polls[i].poll == NULL || life->polls[i].is_stream);
        if (life->polls[i].poll != NULL)
            lp__poll_cancel(life->polls[i].poll);
        life->polls[i].poll = NULL;
    }
    lp__port_drained(life->port);
}

static void on_published(void *ctx, const lp_publish_result *result)
{
    one_life *life = ctx;
    CHECK(result->error.status == LP_OK || result->error.status == LP_ENOMEM ||
          result->error.status == LP_ECLOSED);
    life->completed++;
    life->kept += result->error.status == LP_OK && !result->repeated;
}

static void on_report(void *ctx, const lp__report *report)
{
    (void)report;
    ((one_life *)ctx)->reports++;
}

static void on_opened(void *ctx, lp_id position)
{
    one_poll *self = ctx;
    self->position = position;
    self->opened++;
}

/* At the manager's end, or where there was no memory for its answer: then it is told where it is.
 */
static void end_stream(one_poll *self, const lp_answer *answer)
{
    if (lp_manager_state(self->life->manager) == LP_STATE_SERVING) {
        lost_streams++;
        CHECK_IS(answer->event_count, 0);
        CHECK(memcmp(&answer->last_id, &self->position, sizeof(lp_id)) == 0);
    }
    lp__poll_cancel(self->poll);
    self->poll = NULL;
}

static void on_answered(void *ctx, const lp_answer *answer)
{
    one_poll *self = ctx;
    CHECK(self->poll != NULL);
    CHECK(self->opened == self->is_stream);
    self->answers++;
    if (!answer->closing)
        self->position = answer->last_id;
    if (!self->is_stream)
        self->poll = NULL;
    else if (!answer->closing)
        lp__poll_continue(self->poll, 100000);
    else
        end_stream(self, answer);
}

static void on_refused(void *ctx, int status)
{
    one_poll *self = ctx;
    CHECK_IS(self->opened, 0);
    CHECK(self->poll != NULL);
    CHECK(status == LP_ENOMEM || status == LP_ECLOSED);
    self->refused++;
    self->poll = NULL;
}

static void turn(one_life *life)
{
    for (int i = 0; i < 4; i++) {
        if (life->is_asked) {
            life->is_asked = false;
            lp__port_turn(life->port);
        }
        uv_run(&life->loop, UV_RUN_NOWAIT);
    }
}

/* ---- one life ------------------------------------------------------------ */

static void start_poll(one_life *life, one_poll *self)
{
    static const lp__poll_calls calls = {on_opened, on_answered, on_refused};
    static const lp_str more[] = {{"b", 1}, {"c", 1}};
    lp_query query = LP_QUERY_INIT;
    query.category = lp_str_of("a");
    query.categories = more;
    query.category_count = 2;
    query.timeout_s = 100;
    query.by_id = true;
    lp__poll_options options = {
        .calls = &calls, .ctx = self, .timeout_ms = 100000, .is_stream = self->is_stream};
    int status = lp__poll_start(life->port, &query, &options, &self->poll);
    CHECK(status == LP_OK || status == LP_ENOMEM);
    if (status != LP_OK)
        self->poll = NULL;
}

static void publish(one_life *life, int number)
{
    lp_publish_item items[4];
    for (int i = 0; i < 4; i++)
        items[i] = (lp_publish_item){lp_str_of(number % 2 ? "a" : "b"), lp_str_of("1")};
    lp_publish_request request = LP_PUBLISH_REQUEST_INIT;
    request.items = items;
    request.item_count = 1 + (size_t)number % 4;
    if (number % 4 == 0)
        request.idempotency_key = lp_str_of("key");
    int status = lp__port_publish(life->port, &request, on_published, life);
    CHECK(status == LP_OK || status == LP_ENOMEM);
    life->accepted += status == LP_OK;
}

static void on_shut(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    CHECK_IS(error->status, LP_OK);
    CHECK_IS(unkept, 0);
    ((one_life *)ctx)->ended++;
    CHECK_IS(lp_manager_free(manager), LP_OK);
}

static void work(one_life *life)
{
    for (int i = 0; i < POLLS + STREAMS; i++) {
        life->polls[i] = (one_poll){.life = life, .is_stream = i >= POLLS};
        start_poll(life, &life->polls[i]);
    }
    turn(life);
    for (int i = 0; i < PUBLISHES; i++)
        publish(life, i);
    turn(life);
    life->reports_due = lp__port_report(life->port, on_report, life) == LP_OK;
    publish(life, 1);
    turn(life);
}

static void live(long from, long count)
{
    one_life life = {.completed = 0};
    CHECK_IS(uv_loop_init(&life.loop), 0);
    CHECK_IS(lp_manager_start(&life.loop, NULL, &life.manager, NULL), LP_OK);
    lp__port_calls calls = {on_ask, on_ask, on_drain, NULL, &life};
    failing_begin(from, count);
    int status = lp__port_attach(life.manager, &calls, &life.port);
    CHECK(status == LP_OK || status == LP_ENOMEM);
    if (status == LP_OK)
        work(&life);
    failing_spare_here(1); /* the shutdown's own is not looked at here */
    CHECK_IS(lp_manager_shutdown(life.manager, 10000, on_shut, &life), LP_OK);
    failing_spare_here(0);
    while (life.ended == 0)
        turn(&life);
    CHECK_IS(life.completed, life.accepted);
    CHECK_IS(life.reports, life.reports_due);
    CHECK_IS(life.drains, status == LP_OK);
    for (int i = 0; i < POLLS; i++) {
        CHECK(life.polls[i].poll == NULL);
        CHECK(life.polls[i].answers + life.polls[i].refused <= 1);
    }
    if (status == LP_OK)
        lp__port_detach(life.port);
    failing_end();
    uv_run(&life.loop, UV_RUN_DEFAULT);
    CHECK_IS(uv_loop_close(&life.loop), 0);
}

static void fail_each(long count)
{
    long from = 0;
    do
        live(from++, count);
    while (failing_counted() >= from);
    CHECK(from > 20);
}

static void failed_allocations_end_what_they_hit(void)
{
    fail_each(1);
    fail_each(3);
    fail_each(0);
    CHECK(lost_streams > 0);
}

/* ---- what was written ----------------------------------------------------- */

typedef struct writer {
    one_life life;
    uv_mutex_t mutex;
    uv_cond_t changed;
    bool is_rung, is_done;
    lp_event *event;
    atomic_int retrieved; /* calls that have returned */
} writer;

static void on_ring(void *ctx)
{
    writer *self = ctx;
    uv_mutex_lock(&self->mutex);
    self->is_rung = true;
    uv_cond_signal(&self->changed);
    uv_mutex_unlock(&self->mutex);
}

static void on_write(void *ctx, const lp_answer *answer)
{
    writer *self = ctx;
    self->event = lp_event_ref(answer->events[0]);
}

static void wait_for_ring(writer *self)
{
    uv_mutex_lock(&self->mutex);
    while (!self->is_rung)
        uv_cond_wait(&self->changed, &self->mutex);
    self->is_rung = false;
    uv_mutex_unlock(&self->mutex);
    lp__port_turn(self->life.port);
}

static void write_and_tell(void *ctx)
{
    static const lp__poll_calls calls = {.answered = on_write};
    writer *self = ctx;
    lp_query query = LP_QUERY_INIT;
    query.category = lp_str_of("a");
    query.timeout_s = 100;
    query.by_id = query.has_last_id = true;
    lp__poll_options options = {.calls = &calls, .ctx = self, .timeout_ms = 100000};
    lp__poll *poll;
    CHECK_IS(lp__poll_start(self->life.port, &query, &options, &poll), LP_OK);
    while (self->event == NULL)
        wait_for_ring(self);
    failing_next_here();
    lp__port_retrieved(self->life.port, &self->event, 1); /* home has heard of it behind this */
    atomic_fetch_add(&self->retrieved, 1);
    lp_event_unref(self->event);
    lp__port_detach(self->life.port);
}

static void on_tick(uv_timer_t *tick)
{
    (void)tick;
}

static void what_was_written_is_deleted_without_memory(void)
{
    writer self = {.life = {.completed = 0}};
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    options.delete_after_first_retrieval = true;
    uv_loop_t *loop = &self.life.loop;
    uv_thread_t thread;
    uv_timer_t tick;
    lp_stats stats;
    CHECK_IS(uv_loop_init(loop), 0);
    uv_mutex_init(&self.mutex);
    uv_cond_init(&self.changed);
    uv_timer_init(loop, &tick);
    uv_timer_start(&tick, on_tick, 1, 1);
    CHECK_IS(lp_manager_start(loop, &options, &self.life.manager, NULL), LP_OK);
    CHECK_IS(lp_publish(self.life.manager, lp_str_of("a"), lp_str_of("1"), NULL, NULL), LP_OK);
    lp__port_calls calls = {on_ring, on_ring, NULL, NULL, &self};
    CHECK_IS(lp__port_attach(self.life.manager, &calls, &self.life.port), LP_OK);
    CHECK_IS(uv_thread_create(&thread, write_and_tell, &self), 0);
    while (atomic_load(&self.retrieved) == 0)
        uv_run(loop, UV_RUN_ONCE);
    lp_manager_stats(self.life.manager, &stats, sizeof(stats));
    CHECK_IS(stats.retrieved, 1);
    CHECK_IS(stats.events, 0);
    uv_thread_join(&thread);
    CHECK_IS(lp_manager_shutdown(self.life.manager, 10000, on_shut, &self.life), LP_OK);
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    CHECK_IS(self.life.ended, 1);
    CHECK_IS(uv_loop_close(loop), 0);
    uv_mutex_destroy(&self.mutex);
    uv_cond_destroy(&self.changed);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(failed_allocations_end_what_they_hit),
        PLAIN_TEST(what_was_written_is_deleted_without_memory),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
