/* Failed allocations: the n-th one of a whole life fails, for every n; then the n-th and some that
 * follow; then all from the n-th on. Never a crash, never an LP_OK without its callback, never an
 * event that is told as kept and is not, or the other way round. A plain program, linked with
 * --wrap (see failing.h), which catches this file too; so nothing here allocates. */
#include <uv.h>

#include <longpoll/addon.h>
#include <longpoll/manager.h>

#include "check.h"
#include "failing.h"

/* ---- a store that does not allocate ------------------------------------- */

enum { KEPT_MAX = 256, OLD = 6, OLD_KEYS = 3 };

static uv_mutex_t kept_mutex;
static uint64_t kept[KEPT_MAX];
static int kept_count, closed, destroyed;

static int on_start(lp_addon *self, lp_replay *replay)
{
    (void)self;
    int status = LP_OK;
    lp_str category = lp_str_of("old");
    for (uint64_t i = 1; i <= OLD && status >= LP_OK; i++)
        status = lp_replay_event(replay, lp_id_make(lp_seq_first(INT64_C(1700000000000)) + i, i),
                                 category, lp_str_of("[1]"));
    if (status >= LP_OK)
        status = lp_replay_removal(replay, lp_seq_first(INT64_C(1700000000000)) + OLD);
    if (status >= LP_OK)
        status =
            lp_replay_horizon(replay, lp_str_of("older"), lp_seq_first(INT64_C(1600000000000)));
    for (uint64_t i = 1; i <= OLD_KEYS && status >= LP_OK; i++) {
        lp_idempotency record = {.key = {"old keys", 8 - i},
                                 .seq = lp_seq_first(INT64_C(1700000000000)) + i,
                                 .count = 1,
                                 .expires_ms = INT64_MAX / 2};
        status = lp_replay_idempotency(replay, &record);
    }
    return status < LP_OK ? status : LP_OK;
}

static int on_publish(lp_addon *self, lp_batch *batch)
{
    (void)self;
    uv_mutex_lock(&kept_mutex);
    for (size_t i = 0; i < lp_batch_event_count(batch); i++)
        if (lp_event_data(lp_batch_event(batch, i)).len == 3)
            lp_batch_fail(batch, i, LP_EINVAL, "three is too few");
    for (size_t i = 0; i < lp_batch_event_count(batch); i++) {
        if (lp_batch_failed(batch, i))
            continue;
        CHECK(kept_count < KEPT_MAX);
        kept[kept_count++] = lp_event_seq(lp_batch_event(batch, i));
    }
    uv_mutex_unlock(&kept_mutex);
    return LP_OK;
}

static int on_shutdown(lp_addon *self, lp_ending *ending)
{
    (void)self, (void)ending;
    closed++;
    return LP_OK;
}

static void destroy(lp_addon *self)
{
    (void)self;
    destroyed++;
}

static bool is_kept(uint64_t seq)
{
    bool found = false;
    uv_mutex_lock(&kept_mutex);
    for (int i = 0; i < kept_count; i++)
        found |= kept[i] == seq;
    uv_mutex_unlock(&kept_mutex);
    return found;
}

/* ---- one life ----------------------------------------------------------- */

enum { PUBLISHES = 24, POLLS = 6 };

typedef struct one_life {
    uv_loop_t loop;
    uv_timer_t watchdog;
    uv_prepare_t look;
    bool (*met)(const struct one_life *life);
    lp_manager *manager;
    bool stored;
    int accepted, completed, told_kept;
    int polls, answers, ended, refused_for_memory;
    lp_subscription *subscription;
} one_life;

static void on_published(void *ctx, const lp_error *error, const lp_event *event)
{
    one_life *life = ctx;
    life->completed++;
    CHECK_IS(error->status == LP_OK, event != NULL);
    CHECK(error->status == LP_OK || error->status == LP_ENOMEM || error->status == LP_EINVAL ||
          error->status == LP_ECLOSED);
    if (event == NULL)
        return;
    life->told_kept++;
    if (life->stored)
        CHECK(is_kept(lp_event_seq(event)));
}

static void on_all_published(void *ctx, const lp_publish_result *result)
{
    one_life *life = ctx;
    int status = result->error.status;
    life->completed++;
    CHECK(status == LP_OK || status == LP_ENOMEM || status == LP_EINVAL || status == LP_ECLOSED ||
          status == LP_ECONFLICT);
    CHECK(status == LP_OK || !result->repeated);
    if (status != LP_OK || result->events == NULL)
        return;
    for (size_t i = 0; i < result->event_count; i++)
        if (life->stored)
            CHECK(is_kept(lp_event_seq(result->events[i])));
    if (!result->repeated)
        life->told_kept += (int)result->event_count;
}

static void on_answer(void *ctx, const lp_answer *answer)
{
    one_life *life = ctx;
    life->answers++;
    for (size_t i = 0; i < answer->event_count; i++)
        CHECK(lp_event_data(answer->events[i]).len > 0);
}

static void on_shut(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    one_life *life = ctx;
    (void)manager;
    CHECK_IS(error->status, LP_OK);
    CHECK_IS(unkept, 0);
    life->ended++;
}

static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    fprintf(stderr, "stuck, with allocations from %ld on failing\n", failing_from());
    abort();
}

static void publish(one_life *life, const char *category, lp_str data)
{
    int status = lp_publish(life->manager, lp_str_of(category), data, on_published, life);
    if (status == LP_OK)
        life->accepted++;
    else
        life->refused_for_memory += status == LP_ENOMEM;
    CHECK(status == LP_OK || status == LP_ENOMEM || status == LP_ECLOSED);
}

/* Three events, of which the store takes none where one is "333"; under one of two keys, or none.
 */
static void publish_all(one_life *life, int number)
{
    static const char *const keys[] = {"", "key", "another key"};
    lp_publish_item items[3];
    for (int i = 0; i < 3; i++)
        items[i] = (lp_publish_item){lp_str_of(i == 1 ? "b" : "group"),
                                     lp_str_of(number == 3 && i == 2 ? "333" : "\"item\"")};
    lp_publish_request request = LP_PUBLISH_REQUEST_INIT;
    request.items = items;
    request.item_count = 3;
    request.idempotency_key = lp_str_of(keys[number % 3]);
    int status = lp_publish_all(life->manager, &request, on_all_published, life);
    if (status == LP_OK)
        life->accepted++;
    CHECK(status == LP_OK || status == LP_ENOMEM || status == LP_ECLOSED);
}

static void poll_one(one_life *life, const char *category)
{
    lp_query query = LP_QUERY_INIT;
    query.category = lp_str_of(category);
    query.timeout_s = 100;
    query.has_since = true;
    int status = lp_subscribe(life->manager, &query, on_answer, life, &life->subscription);
    life->polls += status == LP_OK;
    CHECK(status == LP_OK || status == LP_ENOMEM || status == LP_ECLOSED);
    if (status != LP_OK)
        life->subscription = NULL;
}

static void publish_and_poll(one_life *life)
{
    static char large[1024 * 1024 - 8];
    static const char *const categories[] = {"a", "b\n", "old"};
    memset(large, '7', sizeof(large));
    for (int i = 0; i < PUBLISHES; i++) {
        lp_str data = i % 8 == 5 ? lp_str_of("333") : lp_str_of("\"some data\"");
        if (i == PUBLISHES / 2)
            data = (lp_str){large, sizeof(large)};
        publish(life, categories[i % 3], data);
        if (i % 3 == 0)
            publish_all(life, i / 3);
        if (i % 4 == 0)
            poll_one(life, categories[i % 3]);
        if (i == 9 && life->subscription != NULL) {
            lp_cancel(life->subscription); /* the loop has not run since it was made */
            life->polls--;
        }
        if (i % 6 == 5 || i == 7)
            uv_run(&life->loop, UV_RUN_NOWAIT);
        if (i % 6 == 5)
            life->subscription = NULL;
    }
}

/* Started before the manager's own, so libuv runs it behind that, and before the loop waits. */
static void on_look(uv_prepare_t *look)
{
    one_life *life = look->data;
    if (life->met != NULL && life->met(life))
        uv_stop(&life->loop);
}

static void run_until(one_life *life, bool (*met)(const one_life *life))
{
    life->met = met;
    if (!met(life))
        uv_run(&life->loop, UV_RUN_DEFAULT);
    CHECK(met(life));
    life->met = NULL;
}

static bool has_started(const one_life *life)
{
    return lp_manager_state(life->manager) != LP_STATE_STARTING;
}

static bool is_complete(const one_life *life)
{
    return life->completed == life->accepted;
}

static bool is_closed(const one_life *life)
{
    return lp_manager_state(life->manager) == LP_STATE_CLOSED;
}

static void shut_down(one_life *life)
{
    int status = lp_manager_shutdown(life->manager, 60000, on_shut, life);
    CHECK(status == LP_OK || status == LP_ENOMEM);
    if (status == LP_ENOMEM)
        status = lp_manager_shutdown(life->manager, 60000, NULL, NULL); /* needs no memory */
    CHECK_IS(status, LP_OK);
    run_until(life, is_closed);
}

static void live(bool stored, bool retrieval, long from, long count)
{
    lp_addon addon = LP_ADDON_INIT("static");
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    one_life life = {.stored = stored};
    lp_error error = {LP_OK, ""};
    addon.on_start = on_start;
    addon.on_publish = on_publish;
    addon.on_shutdown = on_shutdown;
    addon.destroy = destroy;
    options.addon = stored ? &addon : NULL;
    options.event_buffer_max = 3;
    options.categories_max = 3;
    options.delete_after_first_retrieval = retrieval;
    kept_count = closed = destroyed = 0;

    CHECK_IS(uv_loop_init(&life.loop), 0);
    uv_timer_init(&life.loop, &life.watchdog);
    uv_timer_start(&life.watchdog, on_watchdog, 60000, 0);
    uv_prepare_init(&life.loop, &life.look);
    life.look.data = &life;
    uv_prepare_start(&life.look, on_look);
    failing_begin(from, count);

    int status = lp_manager_start(&life.loop, &options, &life.manager, &error);
    if (status == LP_OK) {
        run_until(&life, has_started);
        publish_and_poll(&life);
        run_until(&life, is_complete);
        shut_down(&life);
        CHECK_IS(life.completed, life.accepted);
        CHECK_IS(life.answers, life.polls);
        CHECK_IS(life.ended <= 1, 1);
        if (stored)
            CHECK_IS(life.told_kept, kept_count);
        CHECK_IS(lp_manager_free(life.manager), LP_OK);
        CHECK_IS(destroyed, stored);
    } else {
        CHECK_IS(status, LP_ENOMEM);
        CHECK_IS(error.status, LP_ENOMEM);
        CHECK_IS(destroyed, 0); /* it is still ours */
    }
    uv_close((uv_handle_t *)&life.watchdog, NULL);
    uv_close((uv_handle_t *)&life.look, NULL);
    uv_run(&life.loop, UV_RUN_DEFAULT); /* what a failed start left behind goes by itself */
    CHECK_IS(uv_loop_close(&life.loop), 0);
    failing_end();
}

/* For every n up to where a life needs no more than n allocations. */
static void fail_each(bool stored, bool retrieval, long count)
{
    long from = 0;
    do
        live(stored, retrieval, from++, count);
    while (failing_counted() >= from);
    CHECK(from > 20);
}

static void without_a_store(void)
{
    fail_each(false, false, 1);
    fail_each(false, false, 3);
    fail_each(false, false, 0);
}

static void with_a_store(void)
{
    fail_each(true, false, 1);
    fail_each(true, false, 3);
    fail_each(true, false, 0);
}

static void with_delete_after_first_retrieval(void)
{
    fail_each(false, true, 1);
    fail_each(true, true, 1);
    fail_each(true, true, 3);
    fail_each(true, true, 0);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(without_a_store),
        PLAIN_TEST(with_a_store),
        PLAIN_TEST(with_delete_after_first_retrieval),
    };
    uv_mutex_init(&kept_mutex);
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
