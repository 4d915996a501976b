/* core/manager/addon.c and batch.c: what add-ons are promised, whatever the size of their table,
 * and what those who drive them are. */
#include <criterion/criterion.h>

#include <longpoll/store.h>

#include <stdlib.h>
#include <string.h>

#define MS 1700000000000

/* ---- an add-on that notes how it is called ------------------------------------------------------
 */

typedef struct store_probe {
    lp_addon addon;
    char calls[64]; /* s p h i n d: start, publish, shutdown, idle, inspect, destroy */
    int (*start)(lp_replay *replay);
    int (*publish)(lp_batch *batch);
    int (*idle)(lp_idle *idle);
    int (*ending)(lp_ending *ending);
    bool is_damaged;
} store_probe;

static void note(store_probe *probe, char call)
{
    probe->calls[strlen(probe->calls)] = call;
}

static int probe_start(lp_addon *self, lp_replay *replay)
{
    store_probe *probe = self->state;
    note(probe, 's');
    return probe->start ? probe->start(replay) : LP_OK;
}

static int probe_publish(lp_addon *self, lp_batch *batch)
{
    store_probe *probe = self->state;
    note(probe, 'p');
    return probe->publish ? probe->publish(batch) : LP_OK;
}

static int probe_shutdown(lp_addon *self, lp_ending *ending)
{
    store_probe *probe = self->state;
    note(probe, 'h');
    return probe->ending ? probe->ending(ending) : LP_OK;
}

static int probe_idle(lp_addon *self, lp_idle *idle)
{
    store_probe *probe = self->state;
    note(probe, 'i');
    return probe->idle ? probe->idle(idle) : LP_OK;
}

static int probe_inspect(lp_addon *self, lp_report *report)
{
    note(self->state, 'n');
    lp_report_number(report, "events", 7);
    lp_report_text(report, "path", "somewhere");
    store_probe *probe = self->state;
    if (probe->is_damaged && lp_report_is_thorough(report))
        return lp_report_error(report, LP_EDAMAGED, "probe: page 3 is damaged");
    return LP_OK;
}

static void probe_destroy(lp_addon *self)
{
    note(self->state, 'd');
}

static void probe_init(store_probe *probe)
{
    memset(probe, 0, sizeof(*probe));
    probe->addon = (lp_addon)LP_ADDON_INIT("probe");
    probe->addon.state = probe;
    probe->addon.on_start = probe_start;
    probe->addon.on_publish = probe_publish;
    probe->addon.on_shutdown = probe_shutdown;
    probe->addon.on_idle = probe_idle;
    probe->addon.on_inspect = probe_inspect;
    probe->addon.destroy = probe_destroy;
}

static lp_event *event_at(uint64_t seq)
{
    lp_event *event;
    cr_assert_eq(lp_event_new(lp_id_make(seq, 1), lp_str_of("c"), lp_str_of("1"), &event), LP_OK);
    return event;
}

static lp_batch *batch_of(size_t events)
{
    lp_batch *batch;
    cr_assert_eq(lp_batch_new(&batch), LP_OK);
    for (size_t i = 0; i < events; i++) {
        lp_event *event = event_at(lp_seq_first(MS) + i);
        cr_assert_eq(lp_batch_add_event(batch, event), LP_OK);
        lp_event_unref(event);
    }
    return batch;
}

/* ---- tables -----------------------------------------------------------------------------------
 */

Test(table, an_old_one_without_the_later_hooks_works)
{
    store_probe probe;
    lp_store *store;
    lp_error error;
    int64_t next_ms = 5;
    probe_init(&probe);
    /* What lies behind the end of an old table is not ours to read. */
    probe.addon.struct_size = offsetof(lp_addon, on_idle);
    memset(&probe.addon.on_idle, 0x5a, sizeof(lp_addon) - offsetof(lp_addon, on_idle));

    cr_assert_eq(lp_store_open(&probe.addon, NULL, &store, &error), LP_OK);
    lp_batch *batch = batch_of(1);
    cr_assert_eq(lp_store_append(store, batch, &error), LP_OK);
    cr_assert_eq(lp_store_idle(store, 10, &next_ms, &error), LP_OK);
    cr_assert_eq(next_ms, -1);
    cr_assert_eq(lp_store_inspect(store, NULL, NULL, &error), LP_ENOTFOUND);
    cr_assert_eq(lp_store_close(store, 10, &error), LP_OK);
    cr_assert_str_eq(probe.calls, "sph");
    lp_batch_free(batch);
}

Test(table, a_newer_and_longer_one_works)
{
    struct newer {
        store_probe probe;
        void (*hook_of_the_future)(void);
    } *newer = calloc(1, sizeof(*newer));
    lp_store *store;
    lp_error error;
    int64_t next_ms;
    probe_init(&newer->probe);
    newer->probe.addon.struct_size = sizeof(lp_addon) + 64;
    cr_assert_eq(lp_store_open(&newer->probe.addon, NULL, &store, &error), LP_OK);
    cr_assert_eq(lp_store_idle(store, 10, &next_ms, &error), LP_OK);
    cr_assert_eq(lp_store_close(store, 10, &error), LP_OK);
    cr_assert_str_eq(newer->probe.calls, "sihd");
    free(newer);
}

static void expect_refused(store_probe *probe, const char *word)
{
    lp_store *store = NULL;
    lp_error error = {LP_OK, ""};
    cr_assert_eq(lp_store_open(&probe->addon, NULL, &store, &error), LP_EINVAL);
    cr_assert_eq(error.status, LP_EINVAL);
    cr_assert(strstr(error.message, word), "\"%s\" says nothing of \"%s\"", error.message, word);
    cr_assert_null(store);
    cr_assert_str_eq(probe->calls, "");
}

Test(table, a_missing_hook_is_refused_by_name_and_the_add_on_left_alone)
{
    store_probe probe;
    probe_init(&probe);
    probe.addon.on_start = NULL;
    expect_refused(&probe, "on_start");
    expect_refused(&probe, "\"probe\"");
    probe_init(&probe);
    probe.addon.on_publish = NULL;
    expect_refused(&probe, "on_publish");
    probe_init(&probe);
    probe.addon.on_shutdown = NULL;
    expect_refused(&probe, "on_shutdown");
    probe_init(&probe);
    probe.addon.struct_size = offsetof(lp_addon, on_shutdown);
    expect_refused(&probe, "on_shutdown");
}

Test(table, another_abi_no_size_and_no_name_are_refused)
{
    store_probe probe;
    lp_store *store;
    lp_error error;
    probe_init(&probe);
    probe.addon.abi = LP_ADDON_ABI + 1;
    expect_refused(&probe, "ABI");
    probe_init(&probe);
    probe.addon.struct_size = 0;
    expect_refused(&probe, "LP_ADDON_INIT");
    probe_init(&probe);
    probe.addon.name = NULL;
    expect_refused(&probe, "name");
    cr_assert_eq(lp_store_open(NULL, NULL, &store, &error), LP_EINVAL);
    cr_assert_eq(lp_store_open(NULL, NULL, &store, NULL), LP_EINVAL);
}

/* ---- start ------------------------------------------------------------------------------------
 */

static int start_with_sentence(lp_replay *replay)
{
    return lp_replay_error(replay, LP_EACCES, "probe: \"%s\": no permission", "/there");
}

static int start_without_sentence(lp_replay *replay)
{
    (void)replay;
    return LP_EIO;
}

static int start_with_invalid(lp_replay *replay)
{
    return lp_replay_event(replay, (lp_id){{0}}, lp_str_of("c"), lp_str_of("1"));
}

static int start_with_number(lp_replay *replay)
{
    (void)replay;
    return 3;
}

static void expect_failed_start(int (*start)(lp_replay *), int status, const char *sentence)
{
    store_probe probe;
    lp_store *store;
    lp_error error;
    probe_init(&probe);
    probe.start = start;
    cr_assert_eq(lp_store_open(&probe.addon, NULL, &store, &error), status);
    cr_assert_eq(error.status, status);
    cr_assert(strstr(error.message, sentence), "\"%s\"", error.message);
    cr_assert_str_eq(probe.calls, "sd");
}

Test(start, a_failed_one_is_destroyed_and_its_sentence_travels)
{
    expect_failed_start(start_with_sentence, LP_EACCES, "probe: \"/there\": no permission");
    expect_failed_start(start_without_sentence, LP_EIO, "probe: on_start failed: input/output");
}

Test(start, its_invalid_argument_is_not_mistaken_for_that_of_a_table)
{
    expect_failed_start(start_with_invalid, LP_EDAMAGED, "probe");
    expect_failed_start(start_with_number, LP_EDAMAGED, "returned 3");
}

/* ---- replay -----------------------------------------------------------------------------------
 */

typedef struct sink_calls {
    size_t events, removals, horizons, keys, losses;
    uint64_t highest, lost;
    int answer;
    char log[256];
} sink_calls;

static int sink_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    sink_calls *calls = ctx;
    (void)id, (void)category, (void)data;
    calls->events++;
    return calls->answer;
}

static int sink_removal(void *ctx, uint64_t seq)
{
    (void)seq;
    ((sink_calls *)ctx)->removals++;
    return LP_OK;
}

static int sink_horizon(void *ctx, lp_str category, uint64_t seq)
{
    (void)category, (void)seq;
    ((sink_calls *)ctx)->horizons++;
    return LP_OK;
}

static int sink_key(void *ctx, const lp_idempotency *record)
{
    (void)record;
    ((sink_calls *)ctx)->keys++;
    return LP_OK;
}

static int sink_highest(void *ctx, uint64_t seq)
{
    ((sink_calls *)ctx)->highest = seq;
    return LP_OK;
}

static int sink_loss(void *ctx, uint64_t records, const char *detail)
{
    sink_calls *calls = ctx;
    cr_assert_not_null(detail);
    calls->losses++;
    calls->lost += records;
    return LP_OK;
}

static void sink_log(void *ctx, const char *line)
{
    strncat(((sink_calls *)ctx)->log, line, 80);
}

static lp_store_sink sink_of(sink_calls *calls)
{
    return (lp_store_sink){.ctx = calls,
                           .event = sink_event,
                           .removal = sink_removal,
                           .horizon = sink_horizon,
                           .idempotency = sink_key,
                           .highest = sink_highest,
                           .loss = sink_loss,
                           .log = sink_log,
                           .expired_ms = 99};
}

/* Starts, and closes again if it went well. */
static int open_with(sink_calls *calls, int (*start)(lp_replay *), const char *expected_calls)
{
    store_probe probe;
    lp_store *store;
    lp_error error;
    lp_store_sink sink = sink_of(calls);
    probe_init(&probe);
    probe.start = start;
    int status = lp_store_open(&probe.addon, &sink, &store, &error);
    if (status == LP_OK)
        cr_assert_eq(lp_store_close(store, 0, &error), LP_OK);
    cr_assert_str_eq(probe.calls, expected_calls);
    return status;
}

static int push(lp_replay *replay, uint64_t seq)
{
    return lp_replay_event(replay, lp_id_make(seq, 0), lp_str_of("c"), lp_str_of("1"));
}

static int start_that_pushes(lp_replay *replay)
{
    lp_idempotency key = {lp_str_of("k"), 1, 1, 1, 1};
    cr_assert_eq(lp_replay_expired_ms(replay), 99);
    cr_assert_eq(lp_replay_ring_size(replay), SIZE_MAX);
    cr_assert_eq(push(replay, 5), LP_OK);
    cr_assert_eq(push(replay, 6), LP_OK);
    cr_assert_eq(lp_replay_removal(replay, 5), LP_OK);
    cr_assert_eq(lp_replay_horizon(replay, (lp_str){NULL, 0}, 4), LP_OK);
    cr_assert_eq(lp_replay_idempotency(replay, &key), LP_OK);
    cr_assert_eq(lp_replay_highest(replay, 0), LP_OK);
    cr_assert_eq(lp_replay_highest(replay, 77), LP_OK);
    cr_assert_eq(lp_replay_loss(replay, 2, "two"), LP_OK);
    lp_replay_progress(replay, 1, 2);
    lp_replay_log(replay, "replayed %d", 2);
    return LP_OK;
}

Test(replay, everything_that_is_pushed_arrives)
{
    sink_calls calls = {0};
    cr_assert_eq(open_with(&calls, start_that_pushes, "shd"), LP_OK);
    cr_assert_eq(calls.events, 2);
    cr_assert_eq(calls.removals, 1);
    cr_assert_eq(calls.horizons, 1);
    cr_assert_eq(calls.keys, 1);
    cr_assert_eq(calls.highest, 77);
    cr_assert_eq(calls.lost, 2);
    cr_assert_str_eq(calls.log, "replayed 2");
}

static int start_that_pushes_nonsense(lp_replay *replay)
{
    static char longest[LP_CATEGORY_MAX + 1];
    lp_id id = lp_id_make(10, 0), other = id;
    lp_idempotency key = {{"", 0}, 1, 1, 1, 1};
    memset(longest, 'x', sizeof(longest));
    other.bytes[6] = 0x40; /* version 4 */
    cr_assert_eq(lp_replay_event(replay, other, lp_str_of("c"), lp_str_of("1")), LP_EINVAL);
    cr_assert_eq(lp_replay_event(replay, id, lp_str_of(""), lp_str_of("1")), LP_EINVAL);
    cr_assert_eq(lp_replay_event(replay, id, (lp_str){longest, sizeof(longest)}, lp_str_of("1")),
                 LP_EINVAL);
    cr_assert_eq(lp_replay_event(replay, id, lp_str_of("c"), lp_str_of("")), LP_EINVAL);
    cr_assert_eq(push(replay, 0), LP_EINVAL);
    cr_assert_eq(push(replay, 10), LP_OK);
    cr_assert_eq(push(replay, 10), LP_EORDER);
    cr_assert_eq(push(replay, 9), LP_EORDER);
    cr_assert_eq(push(replay, 11), LP_OK);
    cr_assert_eq(lp_replay_removal(replay, 0), LP_EINVAL);
    cr_assert_eq(lp_replay_horizon(replay, lp_str_of("c"), UINT64_MAX), LP_EINVAL);
    cr_assert_eq(lp_replay_highest(replay, (uint64_t)INT64_MAX + 1), LP_EINVAL);
    cr_assert_eq(lp_replay_idempotency(replay, &key), LP_EINVAL);
    return LP_OK;
}

Test(replay, nonsense_is_refused_and_counts_as_a_loss_that_nobody_told)
{
    sink_calls calls = {0};
    cr_assert_eq(open_with(&calls, start_that_pushes_nonsense, "shd"), LP_OK);
    cr_assert_eq(calls.events, 2);
    cr_assert_eq(calls.highest, 0);
    cr_assert_eq(calls.losses, 1);
    cr_assert_eq(calls.lost, 11);
}

static int start_that_goes_on(lp_replay *replay)
{
    cr_assert_eq(push(replay, 5), LP_ECANCELED);
    cr_assert_eq(push(replay, 6), LP_ECANCELED);
    cr_assert_eq(lp_replay_highest(replay, 6), LP_ECANCELED);
    return LP_OK;
}

static int start_that_heeds(lp_replay *replay)
{
    return push(replay, 5);
}

Test(replay, a_canceled_one_stops_also_an_add_on_that_does_not_look)
{
    sink_calls calls = {.answer = LP_ECANCELED};
    cr_assert_eq(open_with(&calls, start_that_goes_on, "shd"), LP_ECANCELED);
    cr_assert_eq(calls.events, 1);
    cr_assert_eq(calls.highest, 0);
    cr_assert_eq(open_with(&calls, start_that_heeds, "sd"), LP_ECANCELED);
}

static int start_that_is_skipped(lp_replay *replay)
{
    cr_assert_eq(push(replay, 5), LP_SKIPPED);
    cr_assert_eq(push(replay, 6), LP_SKIPPED);
    return LP_OK;
}

Test(replay, a_skipped_event_ends_nothing)
{
    sink_calls calls = {.answer = LP_SKIPPED};
    cr_assert_eq(open_with(&calls, start_that_is_skipped, "shd"), LP_OK);
    cr_assert_eq(calls.events, 2);
    cr_assert_eq(calls.losses, 0);
}

/* ---- batches ----------------------------------------------------------------------------------
 */

typedef struct store_fixture {
    store_probe probe;
    sink_calls calls;
    lp_store *store;
    lp_error error;
} store_fixture;

static void set_up(store_fixture *fixture, int (*publish)(lp_batch *))
{
    memset(fixture, 0, sizeof(*fixture));
    probe_init(&fixture->probe);
    fixture->probe.publish = publish;
    lp_store_sink sink = sink_of(&fixture->calls);
    cr_assert_eq(lp_store_open(&fixture->probe.addon, &sink, &fixture->store, &fixture->error),
                 LP_OK);
    cr_assert_str_eq(lp_store_name(fixture->store), "probe");
}

static void tear_down(store_fixture *fixture)
{
    cr_assert_eq(lp_store_close(fixture->store, 0, &fixture->error), LP_OK);
}

static int publish_that_looks(lp_batch *batch)
{
    cr_assert_eq(lp_batch_event_count(batch), 2);
    cr_assert_eq(lp_event_seq(lp_batch_event(batch, 1)), lp_seq_first(MS) + 1);
    cr_assert_null(lp_batch_event(batch, 2));
    cr_assert_eq(lp_batch_removal_count(batch), 1);
    cr_assert_eq(lp_batch_removal(batch, 0).seq, 9);
    cr_assert_eq(lp_batch_removal(batch, 0).reason, LP_REMOVED_TTL);
    cr_assert_eq(lp_batch_horizon_count(batch), 100);
    for (size_t i = 0; i < 100; i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        cr_assert_eq(horizon.seq, i + 1);
        cr_assert_eq(horizon.category.len, i);
        for (size_t j = 0; j < i; j++)
            cr_assert_eq(horizon.category.base[j], (char)i);
    }
    cr_assert_eq(lp_batch_idempotency_count(batch), 1);
    lp_idempotency key = lp_batch_idempotency(batch, 0);
    cr_assert(key.key.len == 3 && memcmp(key.key.base, "key", 3) == 0);
    cr_assert(key.digest == 1 && key.seq == 2 && key.count == 3 && key.expires_ms == 4);
    cr_assert_eq(lp_batch_highest(batch), lp_seq_first(MS) + 5);
    return LP_OK;
}

Test(batch, holds_copies_of_all_that_was_added)
{
    store_fixture fixture;
    set_up(&fixture, publish_that_looks);
    lp_batch *batch = batch_of(2);
    char text[100] = "key";
    cr_assert_eq(lp_batch_add_removal(batch, 9, LP_REMOVED_TTL), LP_OK);
    lp_idempotency key = {{text, 3}, 1, 2, 3, 4};
    cr_assert_eq(lp_batch_add_idempotency(batch, &key), LP_OK);
    for (size_t i = 0; i < 100; i++) {
        memset(text, (int)i, sizeof(text));
        cr_assert_eq(lp_batch_add_horizon(batch, (lp_str){text, i}, i + 1), LP_OK);
    }
    lp_batch_set_highest(batch, lp_seq_first(MS) + 5);
    lp_batch_set_highest(batch, 1); /* not lower than its events */
    cr_assert_eq(lp_store_append(fixture.store, batch, &fixture.error), LP_OK);
    cr_assert_str_eq(fixture.probe.calls, "sp");
    lp_batch_free(batch);
    tear_down(&fixture);
}

Test(batch, takes_events_in_rising_order_only)
{
    lp_batch *batch = batch_of(3);
    lp_event *event = event_at(lp_seq_first(MS) + 2);
    cr_assert_eq(lp_batch_add_event(batch, event), LP_EORDER);
    cr_assert_eq(lp_batch_event_count(batch), 3);
    lp_event_unref(event);
    lp_batch_clear(batch);
    cr_assert_eq(lp_batch_event_count(batch), 0);
    cr_assert_eq(lp_batch_highest(batch), 0);
    lp_batch_free(batch);
    lp_batch_free(NULL);
}

Test(batch, without_content_does_not_reach_the_add_on)
{
    store_fixture fixture;
    set_up(&fixture, NULL);
    lp_batch *batch = batch_of(0);
    cr_assert_eq(lp_store_append(fixture.store, batch, &fixture.error), LP_OK);
    cr_assert_str_eq(fixture.probe.calls, "s");
    lp_batch_set_highest(batch, 50); /* news, once */
    cr_assert_eq(lp_store_append(fixture.store, batch, &fixture.error), LP_OK);
    cr_assert_eq(lp_store_append(fixture.store, batch, &fixture.error), LP_OK);
    cr_assert_str_eq(fixture.probe.calls, "sp");
    lp_batch_free(batch);
    tear_down(&fixture);
}

static int publish_that_refuses(lp_batch *batch)
{
    char reason[] = "too large for me";
    const lp_event *first = lp_batch_event(batch, 0);
    lp_batch_fail(batch, 1, LP_ETOOBIG, reason);
    memset(reason, 'x', sizeof(reason) - 1);
    lp_batch_fail(batch, 2, 1, NULL);
    lp_batch_fail(batch, 99, LP_EIO, "no such event");
    cr_assert(lp_batch_failed(batch, 1));
    cr_assert_not(lp_batch_failed(batch, 0));
    cr_assert_eq(lp_batch_event(batch, 0), first);
    lp_batch_log(batch, "refused %d", 2);
    return LP_OK;
}

static int publish_that_takes(lp_batch *batch)
{
    cr_assert_not(lp_batch_failed(batch, 1));
    return LP_OK;
}

Test(batch, tells_why_an_event_was_refused_until_it_is_handed_over_again)
{
    store_fixture fixture;
    const char *reason;
    set_up(&fixture, publish_that_refuses);
    lp_batch *batch = batch_of(4);
    cr_assert_eq(lp_store_append(fixture.store, batch, &fixture.error), LP_OK);
    cr_assert_eq(lp_batch_status(batch, 0, &reason), LP_OK);
    cr_assert_eq(lp_batch_status(batch, 1, &reason), LP_ETOOBIG);
    cr_assert_str_eq(reason, "too large for me");
    cr_assert_eq(lp_batch_status(batch, 2, &reason), LP_EINVAL);
    cr_assert_str_eq(reason, lp_strerror(LP_EINVAL));
    cr_assert_eq(lp_batch_status(batch, 3, NULL), LP_OK);
    cr_assert_str_eq(fixture.calls.log, "refused 2");

    fixture.probe.publish = publish_that_takes;
    cr_assert_eq(lp_store_append(fixture.store, batch, &fixture.error), LP_OK);
    cr_assert_eq(lp_batch_status(batch, 1, NULL), LP_OK);
    lp_batch_free(batch);
    tear_down(&fixture);
}

static int publish_that_fails(lp_batch *batch)
{
    return lp_batch_error(batch, LP_ENOSPC, "probe: disk full");
}

static int publish_in_doubt(lp_batch *batch)
{
    (void)batch;
    return LP_EINDOUBT;
}

static int publish_with_number(lp_batch *batch)
{
    (void)batch;
    return 12;
}

Test(batch, that_failed_says_why_and_the_next_one_is_tried)
{
    store_fixture fixture;
    set_up(&fixture, publish_that_fails);
    lp_batch *batch = batch_of(1);
    cr_assert_eq(lp_store_append(fixture.store, batch, &fixture.error), LP_ENOSPC);
    cr_assert_str_eq(fixture.error.message, "probe: disk full");
    fixture.probe.publish = NULL;
    cr_assert_eq(lp_store_append(fixture.store, batch, &fixture.error), LP_OK);
    cr_assert_str_eq(fixture.probe.calls, "spp");
    lp_batch_free(batch);
    tear_down(&fixture);
}

Test(batch, in_doubt_is_the_last_one)
{
    int (*publish[])(lp_batch *) = {publish_in_doubt, publish_with_number};
    for (size_t i = 0; i < 2; i++) {
        store_fixture fixture;
        set_up(&fixture, publish[i]);
        lp_batch *batch = batch_of(1);
        cr_assert_eq(lp_store_append(fixture.store, batch, &fixture.error), LP_EINDOUBT);
        cr_assert_eq(lp_store_append(fixture.store, batch, &fixture.error), LP_EINDOUBT);
        cr_assert(strstr(fixture.error.message, "probe"));
        cr_assert_str_eq(fixture.probe.calls, "sp");
        lp_batch_free(batch);
        tear_down(&fixture);
    }
}

/* ---- idle, inspect, shutdown ------------------------------------------------------------------
 */

static int idle_that_asks(lp_idle *idle)
{
    cr_assert_eq(lp_idle_budget_ms(idle), 25);
    lp_idle_log(idle, "compacted");
    lp_idle_again(idle, -4);
    return LP_OK;
}

static int idle_that_fails(lp_idle *idle)
{
    lp_idle_again(idle, 1000);
    return lp_idle_error(idle, LP_EIO, "probe: sync failed");
}

Test(idle, asks_for_its_next_call_and_may_fail)
{
    store_fixture fixture;
    int64_t next_ms;
    set_up(&fixture, NULL);
    cr_assert_eq(lp_store_idle(fixture.store, 25, &next_ms, &fixture.error), LP_OK);
    cr_assert_eq(next_ms, -1);
    fixture.probe.idle = idle_that_asks;
    cr_assert_eq(lp_store_idle(fixture.store, 25, &next_ms, &fixture.error), LP_OK);
    cr_assert_eq(next_ms, 0);
    cr_assert_str_eq(fixture.calls.log, "compacted");
    fixture.probe.idle = idle_that_fails;
    cr_assert_eq(lp_store_idle(fixture.store, 25, &next_ms, &fixture.error), LP_EIO);
    cr_assert_eq(next_ms, 1000);
    cr_assert_str_eq(fixture.error.message, "probe: sync failed");
    tear_down(&fixture);
}

static int idle_of_an_order(lp_idle *idle)
{
    cr_assert(lp_idle_is_thorough(idle));
    lp_idle_again(idle, 0);
    return LP_OK;
}

static int idle_of_a_moment(lp_idle *idle)
{
    cr_assert(!lp_idle_is_thorough(idle));
    return LP_OK;
}

Test(idle, tells_an_order_to_compact_from_a_moment_of_rest)
{
    store_fixture fixture;
    int64_t next_ms;
    set_up(&fixture, NULL);
    fixture.probe.idle = idle_of_an_order;
    cr_assert_eq(lp_store_compact(fixture.store, 25, &next_ms, &fixture.error), LP_OK);
    cr_assert_eq(next_ms, 0);
    fixture.probe.idle = idle_of_a_moment;
    cr_assert_eq(lp_store_idle(fixture.store, 25, &next_ms, &fixture.error), LP_OK);
    cr_assert_str_eq(fixture.probe.calls, "sii");
    tear_down(&fixture);
}

static void take_figure(void *ctx, const char *name, uint64_t number, const char *text)
{
    char *seen = ctx;
    strcat(seen, name);
    if (text)
        cr_assert(strcmp(text, "somewhere") == 0 && number == 0);
    else
        cr_assert_eq(number, 7);
}

Test(inspect, tells_numbers_and_texts)
{
    store_fixture fixture;
    char seen[64] = "";
    set_up(&fixture, NULL);
    cr_assert_eq(lp_store_inspect(fixture.store, take_figure, seen, &fixture.error), LP_OK);
    cr_assert_str_eq(seen, "eventspath");
    tear_down(&fixture);
}

Test(inspect, finds_damage_only_when_it_is_to_check_everything)
{
    store_fixture fixture;
    char seen[64] = "";
    set_up(&fixture, NULL);
    fixture.probe.is_damaged = true;
    cr_assert_eq(lp_store_inspect(fixture.store, take_figure, seen, &fixture.error), LP_OK);
    cr_assert_eq(lp_store_verify(fixture.store, take_figure, seen, &fixture.error), LP_EDAMAGED);
    cr_assert_str_eq(fixture.error.message, "probe: page 3 is damaged");
    tear_down(&fixture);
}

static int ending_that_looks(lp_ending *ending)
{
    int64_t left = lp_ending_remaining_ms(ending);
    cr_assert(left > 0 && left <= 60000, "%lld", (long long)left);
    return lp_ending_error(ending, LP_EIO, "probe: not flushed");
}

static int ending_that_is_late(lp_ending *ending)
{
    cr_assert_eq(lp_ending_remaining_ms(ending), 0);
    return LP_OK;
}

Test(shutdown, knows_its_deadline_and_its_failure_is_told)
{
    store_fixture fixture;
    set_up(&fixture, NULL);
    fixture.probe.ending = ending_that_looks;
    cr_assert_eq(lp_store_close(fixture.store, 60000, &fixture.error), LP_EIO);
    cr_assert_str_eq(fixture.error.message, "probe: not flushed");
    cr_assert_str_eq(fixture.probe.calls, "shd");
    set_up(&fixture, NULL);
    fixture.probe.ending = ending_that_is_late;
    cr_assert_eq(lp_store_close(fixture.store, -5, &fixture.error), LP_OK);
}

/* ---- out of memory ----------------------------------------------------------------------------
 */

/* The allocation after this many fails; negative: none does. The linker sends those of the library
 * here (see CMakeLists.txt). */
static long allocations_left = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool fails(void)
{
    return allocations_left >= 0 && allocations_left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

static int publish_that_refuses_all(lp_batch *batch)
{
    for (size_t i = 0; i < lp_batch_event_count(batch); i++)
        lp_batch_fail(batch, i, LP_ETOOBIG, "larger than anything that was ever seen before");
    return LP_OK;
}

/* Fills a batch and hands it over; the first status that is not LP_OK. */
static int fill(lp_batch *batch, lp_event **events, size_t count)
{
    char text[300];
    memset(text, 't', sizeof(text));
    int status = LP_OK;
    for (size_t i = 0; status == LP_OK && i < count; i++) {
        lp_idempotency key = {{text, 200}, i, i, 1, 1};
        size_t before = lp_batch_event_count(batch);
        status = lp_batch_add_event(batch, events[i]);
        cr_assert_eq(lp_batch_event_count(batch), before + (status == LP_OK));
        if (status == LP_OK)
            status = lp_batch_add_removal(batch, i + 1, LP_REMOVED_RING);
        if (status == LP_OK)
            status = lp_batch_add_horizon(batch, (lp_str){text, sizeof(text)}, i + 1);
        cr_assert_eq(lp_batch_horizon_count(batch), before + (status == LP_OK));
        if (status == LP_OK)
            status = lp_batch_add_idempotency(batch, &key);
        cr_assert_eq(lp_batch_idempotency_count(batch), before + (status == LP_OK));
    }
    return status;
}

static int whole_life(lp_event **events, size_t count)
{
    store_probe probe;
    lp_store *store = NULL;
    lp_batch *batch = NULL;
    const char *reason;
    probe_init(&probe);
    probe.publish = publish_that_refuses_all;
    int status = lp_batch_new(&batch);
    if (status == LP_OK)
        status = lp_store_open(&probe.addon, NULL, &store, NULL);
    cr_assert(status == LP_OK || store == NULL);
    if (status == LP_OK)
        status = fill(batch, events, count);
    if (store) {
        cr_assert_eq(lp_store_append(store, batch, NULL), LP_OK);
        for (size_t i = 0; i < lp_batch_event_count(batch); i++) {
            cr_assert_eq(lp_batch_status(batch, i, &reason), LP_ETOOBIG);
            cr_assert(strlen(reason) > 10);
        }
        cr_assert_eq(lp_store_close(store, 0, NULL), LP_OK);
    }
    lp_batch_free(batch);
    return status;
}

Test(memory, the_nth_allocation_fails_for_every_n)
{
    enum { EVENTS = 70 };
    lp_event *events[EVENTS];
    for (size_t i = 0; i < EVENTS; i++)
        events[i] = event_at(lp_seq_first(MS) + i);
    long n = 0;
    int failures = 0;
    for (bool all = false; !all; n++) {
        allocations_left = n;
        int status = whole_life(events, EVENTS);
        all = allocations_left >= 0; /* it got by without the n-th */
        allocations_left = -1;
        cr_assert(status == LP_OK || status == LP_ENOMEM, "%s", lp_status_name(status));
        failures += status == LP_ENOMEM;
    }
    cr_assert(failures > 10, "%d failures", failures);
    for (size_t i = 0; i < EVENTS; i++)
        lp_event_unref(events[i]);
}

Test(memory, a_batch_that_was_cleared_keeps_its_memory)
{
    enum { EVENTS = 70 };
    lp_event *events[EVENTS];
    lp_batch *batch;
    for (size_t i = 0; i < EVENTS; i++)
        events[i] = event_at(lp_seq_first(MS) + i);
    cr_assert_eq(lp_batch_new(&batch), LP_OK);
    cr_assert_eq(fill(batch, events, EVENTS), LP_OK);
    lp_batch_clear(batch);
    allocations_left = 0;
    cr_assert_eq(fill(batch, events, EVENTS), LP_OK);
    cr_assert_eq(allocations_left, 0);
    allocations_left = -1;
    lp_batch_free(batch);
    for (size_t i = 0; i < EVENTS; i++)
        lp_event_unref(events[i]);
}
