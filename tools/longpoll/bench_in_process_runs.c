/* See bench_in_process_runs.h. The threads that publish hold credits: the loop's thread hands them
 * out as events come to their end, so that as many are on their way as the queue is wide. */
#include "bench_in_process_runs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

#include <longpoll/manager.h>

#include "../shared/load_figures.h"
#include "bench_store_runs.h"

enum {
    CLOSE_MS = 60000,
    CREDIT = 128,           /* events that a thread may publish for one */
    ON_THE_WAY = 2048,      /* events, without a store */
    ON_THE_WAY_STORE = 8192 /* with one: while a batch is written the next one gathers */
};

/* The category of the n-th event: cheap to write, and no two of a round are alike. */
typedef struct category_name {
    char text[9];
} category_name;

static category_name name_of(uint64_t n, uint64_t categories)
{
    static const char digits[] = "0123456789abcdef";
    /* an odd factor: neighbours in time are far apart in memory */
    uint32_t number = (uint32_t)(n % categories) * 2654435761u;
    category_name name;
    name.text[0] = 'c';
    for (int i = 1; i <= 8; i++, number >>= 4)
        name.text[i] = digits[number & 15];
    return name;
}

typedef struct feeder feeder;

/* One that publishes. */
typedef struct source {
    feeder *feeder;
    uint64_t first, end; /* its events */
    uint64_t completed;  /* the loop's thread's own */
    uv_sem_t credits;
    uv_thread_t thread;
} source;

struct feeder {
    const in_process_plan *plan;
    uv_loop_t loop;
    lp_manager *manager;
    char data[EVENT_POOL_DATA_MAX];
    uint64_t completed, wire_bytes, last_seq;
    source sources[IN_PROCESS_THREADS_MAX];
};

/* ---- a manager, from its start to its end ------------------------------------------------------
 */

static void on_closed(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)ctx;
    if (error->status != LP_OK || unkept > 0)
        fail("shutdown: %s", error->message);
    lp_manager_free(manager);
}

static void on_state(lp_manager *manager, lp_state state, const lp_error *error, void *ctx)
{
    (void)manager;
    if (error != NULL)
        fail("%s", error->message);
    if (state == LP_STATE_SERVING)
        uv_stop(ctx);
}

static void begin(feeder *f, const in_process_plan *plan)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_error error;

    f->plan = plan;
    memset(f->data, 'x', (size_t)plan->bytes);
    f->data[0] = f->data[plan->bytes - 1] = '"';
    if (strcmp(plan->store, "memory") != 0)
        options.addon = store_addon(plan->store, plan->directory, plan->sync);
    options.event_buffer_max = plan->ring;
    options.categories_max = (int64_t)plan->categories + 1;
    options.waiters_max = (int64_t)plan->categories + 1;
    options.interests_max = (int64_t)plan->categories + 1;
    options.events_max = plan->ring * (int64_t)plan->categories + 1;
    options.events_bytes_max = options.events_max * (plan->bytes + 1024);
    options.on_state = on_state;
    options.state_ctx = &f->loop;
    uv_loop_init(&f->loop);
    if (lp_manager_start(&f->loop, &options, &f->manager, &error) != LP_OK)
        fail("%s", error.message);
    if (lp_manager_state(f->manager) == LP_STATE_STARTING)
        uv_run(&f->loop, UV_RUN_DEFAULT);
}

static void end(feeder *f)
{
    lp_manager_shutdown(f->manager, CLOSE_MS, on_closed, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    uv_loop_close(&f->loop);
}

static uint64_t loop_cpu_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

typedef struct timing {
    stopwatch process;
    uint64_t loop_us;
} timing;

static timing timing_start(void)
{
    return (timing){stopwatch_start(), loop_cpu_us()};
}

static in_process_run timing_run(timing since, uint64_t operations)
{
    stopwatch took = stopwatch_spent(since.process);

    return (in_process_run){.operations = operations,
                            .wall_us = took.wall_us,
                            .cpu_us = took.cpu_us,
                            .loop_cpu_us = loop_cpu_us() - since.loop_us};
}

/* ---- publishing --------------------------------------------------------------------------------
 */

/* On the loop's thread. */
static void on_kept(void *ctx, const lp_error *error, const lp_event *event)
{
    source *s = ctx;
    feeder *f = s->feeder;
    uint64_t seq;

    if (event == NULL)
        fail("a publish was not kept: %s", error->message);
    seq = lp_event_seq(event);
    if (seq <= f->last_seq)
        fail("ids do not rise: %" PRIu64 " after %" PRIu64, seq, f->last_seq);
    f->last_seq = seq;
    f->wire_bytes += lp_event_wire(event).len;
    f->completed++;
    if (++s->completed % CREDIT == 0 && f->plan->threads > 0)
        uv_sem_post(&s->credits);
}

static void publish_one(source *s, uint64_t n)
{
    const feeder *f = s->feeder;
    category_name name = name_of(n, f->plan->categories);
    lp_str category = {name.text, sizeof name.text};
    int status =
        lp_publish(f->manager, category, (lp_str){f->data, (size_t)f->plan->bytes}, on_kept, s);

    if (status != LP_OK)
        fail("lp_publish: %s", lp_strerror(status));
}

static void thread_main(void *arg)
{
    source *s = arg;

    for (uint64_t n = s->first; n < s->end; n++) {
        if ((n - s->first) % CREDIT == 0)
            uv_sem_wait(&s->credits);
        publish_one(s, n);
    }
}

static uint64_t on_the_way_max(const in_process_plan *plan)
{
    return strcmp(plan->store, "memory") == 0 ? ON_THE_WAY : ON_THE_WAY_STORE;
}

/* The loop's own thread: as much as may be on the way, then a turn of the loop. */
static void publish_at_home(feeder *f, uint64_t first, uint64_t events)
{
    source *s = &f->sources[0];
    uint64_t sent = first, end = first + events, most = on_the_way_max(f->plan);

    s->feeder = f;
    while (f->completed < end) {
        while (sent < end && sent - f->completed < most)
            publish_one(s, sent++);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void publish_from_threads(feeder *f, uint64_t first, uint64_t events)
{
    uint64_t threads = (uint64_t)f->plan->threads;
    uint64_t credits = on_the_way_max(f->plan) / CREDIT / threads;

    for (uint64_t i = 0; i < threads; i++) {
        source *s = &f->sources[i];
        *s = (source){.feeder = f,
                      .first = first + events * i / threads,
                      .end = first + events * (i + 1) / threads};
        if (uv_sem_init(&s->credits, (unsigned)(credits > 0 ? credits : 1)) != 0 ||
            uv_thread_create(&s->thread, thread_main, s) != 0)
            fail("no thread could be started");
    }
    while (f->completed < first + events)
        uv_run(&f->loop, UV_RUN_ONCE);
    for (uint64_t i = 0; i < threads; i++) {
        uv_thread_join(&f->sources[i].thread);
        uv_sem_destroy(&f->sources[i].credits);
    }
}

static void publish(feeder *f, uint64_t first, uint64_t events)
{
    if (f->plan->threads == 0)
        publish_at_home(f, first, events);
    else
        publish_from_threads(f, first, events);
}

static uint64_t at_least(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static in_process_run run_publish(const in_process_plan *plan)
{
    static feeder f;
    uint64_t full = (uint64_t)plan->ring * plan->categories;
    uint64_t before = at_least(full, plan->events / 10);
    in_process_run run;
    timing since;

    begin(&f, plan);
    publish(&f, 0, before);
    f.wire_bytes = 0;
    since = timing_start();
    publish(&f, before, plan->events);
    run = timing_run(since, plan->events);
    run.wire_bytes = (double)f.wire_bytes / (double)plan->events;
    end(&f);
    return run;
}

/* ---- memory ------------------------------------------------------------------------------------
 */

static in_process_run run_memory(const in_process_plan *plan)
{
    static feeder f;
    uint64_t before_kb, after_kb;
    in_process_run run;
    timing since;

    begin(&f, plan);
    before_kb = process_memory_get(getpid()).anonymous_kb;
    since = timing_start();
    publish(&f, 0, plan->events);
    run = timing_run(since, plan->events);
    after_kb = process_memory_get(getpid()).anonymous_kb;
    run.memory_bytes = (double)(after_kb - before_kb) * 1024 / (double)plan->events;
    run.wire_bytes = (double)f.wire_bytes / (double)plan->events;
    end(&f);
    return run;
}

/* ---- waking ------------------------------------------------------------------------------------
 */

typedef struct waiter {
    feeder *feeder;
    uint64_t number;
    lp_subscription *subscription;
} waiter;

static void on_answer(void *ctx, const lp_answer *answer);

static void wait_behind(waiter *w, const lp_id *last_id)
{
    category_name name = name_of(w->number, w->feeder->plan->categories);
    lp_query query = LP_QUERY_INIT;
    int status;

    query.category = (lp_str){name.text, sizeof name.text};
    query.timeout_s = 60;
    query.by_id = query.has_last_id = last_id != NULL;
    if (last_id != NULL)
        query.last_id = *last_id;
    status = lp_subscribe(w->feeder->manager, &query, on_answer, w, &w->subscription);
    if (status != LP_OK)
        fail("lp_subscribe: %s", lp_strerror(status));
}

static void on_answer(void *ctx, const lp_answer *answer)
{
    waiter *w = ctx;

    if (answer->event_count != 1 || answer->gap)
        fail("a waiter got %zu events%s", answer->event_count, answer->gap ? " and a gap" : "");
    w->feeder->completed++;
    wait_behind(w, &answer->last_id);
}

/* As many events as there are waiters, up to what may be on the way, until all of these have woken
 * theirs. */
static void wake(feeder *f, uint64_t first, uint64_t events)
{
    uint64_t waiters = f->plan->categories, sent = first, end = first + events;
    uint64_t most = waiters < ON_THE_WAY ? waiters : ON_THE_WAY;

    while (f->completed < end) {
        for (uint64_t i = 0; i < most && sent < end; i++, sent++) {
            category_name name = name_of(sent, waiters);
            if (lp_publish(f->manager, (lp_str){name.text, sizeof name.text},
                           (lp_str){f->data, (size_t)f->plan->bytes}, NULL, NULL) != LP_OK)
                fail("lp_publish failed");
        }
        while (f->completed < sent)
            uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static in_process_run run_wake(const in_process_plan *plan)
{
    static feeder f;
    waiter *waiters = calloc(plan->categories, sizeof *waiters);
    uint64_t before = at_least(plan->categories, plan->events / 10);
    in_process_run run;
    timing since;

    if (waiters == NULL)
        fail("out of memory");
    begin(&f, plan);
    for (uint64_t i = 0; i < plan->categories; i++) {
        waiters[i] = (waiter){.feeder = &f, .number = i};
        wait_behind(&waiters[i], NULL);
    }
    wake(&f, 0, before);
    since = timing_start();
    wake(&f, before, plan->events);
    run = timing_run(since, plan->events);
    for (uint64_t i = 0; i < plan->categories; i++)
        lp_cancel(waiters[i].subscription);
    end(&f);
    free(waiters);
    return run;
}

/* ---- a process for each ------------------------------------------------------------------------
 */

static in_process_run in_child(in_process_run (*measure)(const in_process_plan *plan),
                               const in_process_plan *plan)
{
    in_process_run run = {0};
    int ends[2];
    pid_t child;

    fflush(NULL);
    if (pipe(ends) != 0 || (child = fork()) < 0)
        fail("no process for a manager: %s", strerror(errno));
    if (child == 0) {
        run = measure(plan);
        _exit(write(ends[1], &run, sizeof run) == (ssize_t)sizeof run ? 0 : 2);
    }
    close(ends[1]);
    if (!child_result(child, ends[0], &run, sizeof run))
        fail("%s: the manager's process failed", plan->store);
    close(ends[0]);
    return run;
}

in_process_run in_process_publish(const in_process_plan *plan)
{
    return in_child(run_publish, plan);
}

in_process_run in_process_wake(const in_process_plan *plan)
{
    return in_child(run_wake, plan);
}

in_process_run in_process_memory(const in_process_plan *plan)
{
    return in_child(run_memory, plan);
}
