/* See shelf.h. */
#include "shelf.h"

#include <time.h>

#include "check.h"

enum { DEADLINE_S = 60 };

void shelf_init(test_shelf *shelf)
{
    memset(shelf, 0, sizeof(*shelf));
    shelf->idle_again_ms = -1;
    uv_mutex_init(&shelf->mutex);
    uv_cond_init(&shelf->changed);
}

void shelf_free(test_shelf *shelf)
{
    CHECK_IS(shelf->destroyed, shelf->starts);
    for (size_t i = 0; i < shelf->event_count; i++)
        lp_event_unref(shelf->events[i]);
    free(shelf->events);
    free(shelf->horizons);
    free(shelf->keys);
    uv_cond_destroy(&shelf->changed);
    uv_mutex_destroy(&shelf->mutex);
}

/* ---- the test's side ---------------------------------------------------- */

void shelf_hold(test_shelf *shelf, int hooks)
{
    uv_mutex_lock(&shelf->mutex);
    shelf->hold |= hooks;
    uv_mutex_unlock(&shelf->mutex);
}

void shelf_release(test_shelf *shelf, int hooks)
{
    uv_mutex_lock(&shelf->mutex);
    shelf->hold &= ~hooks;
    uv_cond_broadcast(&shelf->changed);
    uv_mutex_unlock(&shelf->mutex);
}

/* With the mutex. */
static void wait_for_change(test_shelf *shelf, uint64_t begun)
{
    CHECK(uv_hrtime() - begun < DEADLINE_S * UINT64_C(1000000000));
    uv_cond_timedwait(&shelf->changed, &shelf->mutex, UINT64_C(1000000000));
}

void shelf_wait_held(test_shelf *shelf, int hook)
{
    uint64_t begun = uv_hrtime();
    uv_mutex_lock(&shelf->mutex);
    while ((shelf->held & hook) == 0)
        wait_for_change(shelf, begun);
    uv_mutex_unlock(&shelf->mutex);
}

void shelf_wait(test_shelf *shelf, const int *counter, int at_least)
{
    uint64_t begun = uv_hrtime();
    uv_mutex_lock(&shelf->mutex);
    while (*counter < at_least)
        wait_for_change(shelf, begun);
    uv_mutex_unlock(&shelf->mutex);
}

int shelf_read(test_shelf *shelf, const int *counter)
{
    uv_mutex_lock(&shelf->mutex);
    int value = *counter;
    uv_mutex_unlock(&shelf->mutex);
    return value;
}

void shelf_fail(test_shelf *shelf, int count, int status, const char *sentence)
{
    uv_mutex_lock(&shelf->mutex);
    shelf->fail_count = count;
    shelf->fail_status = status;
    shelf->fail_sentence = sentence;
    uv_mutex_unlock(&shelf->mutex);
}

shelf_batch shelf_batch_at(test_shelf *shelf, int number)
{
    uv_mutex_lock(&shelf->mutex);
    CHECK(number < shelf->batch_count && number < SHELF_BATCHES);
    shelf_batch batch = shelf->batches[number];
    uv_mutex_unlock(&shelf->mutex);
    return batch;
}

size_t shelf_removals(test_shelf *shelf, lp_removal_reason reason)
{
    size_t count = 0;
    uv_mutex_lock(&shelf->mutex);
    CHECK(shelf->batch_count < SHELF_BATCHES);
    for (int i = 0; i < shelf->batch_count; i++)
        if (shelf->batches[i].status == LP_OK)
            count += shelf->batches[i].removals[reason];
    uv_mutex_unlock(&shelf->mutex);
    return count;
}

/* With the mutex. */
static shelf_horizon *find_horizon(test_shelf *shelf, lp_str category)
{
    for (size_t i = 0; i < shelf->horizon_count; i++) {
        shelf_horizon *horizon = &shelf->horizons[i];
        if (horizon->category_len == category.len &&
            (category.len == 0 || memcmp(horizon->category, category.base, category.len) == 0))
            return horizon;
    }
    return NULL;
}

uint64_t shelf_horizon_of(test_shelf *shelf, const char *category)
{
    uv_mutex_lock(&shelf->mutex);
    const shelf_horizon *horizon = find_horizon(shelf, lp_str_of(category));
    uint64_t seq = horizon == NULL ? 0 : horizon->seq;
    uv_mutex_unlock(&shelf->mutex);
    return seq;
}

static size_t index_of(const test_shelf *shelf, uint64_t seq)
{
    size_t low = 0, high = shelf->event_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lp_event_seq(shelf->events[middle]) < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < shelf->event_count && lp_event_seq(shelf->events[low]) == seq ? low : SIZE_MAX;
}

bool shelf_has(test_shelf *shelf, uint64_t seq)
{
    uv_mutex_lock(&shelf->mutex);
    bool has = index_of(shelf, seq) != SIZE_MAX;
    uv_mutex_unlock(&shelf->mutex);
    return has;
}

/* ---- hooks -------------------------------------------------------------- */

static void hold_here(test_shelf *shelf, int hook)
{
    uv_mutex_lock(&shelf->mutex);
    if (shelf->hold & hook) {
        shelf->held |= hook;
        uv_cond_broadcast(&shelf->changed);
        while (shelf->hold & hook)
            uv_cond_wait(&shelf->changed, &shelf->mutex);
        shelf->held &= ~hook;
    }
    uv_mutex_unlock(&shelf->mutex);
}

static void count_up(test_shelf *shelf, int *counter)
{
    uv_mutex_lock(&shelf->mutex);
    ++*counter;
    uv_cond_broadcast(&shelf->changed);
    uv_mutex_unlock(&shelf->mutex);
}

static void tell_progress_while_held(test_shelf *shelf, lp_replay *replay)
{
    uv_mutex_lock(&shelf->mutex);
    while (shelf->hold & SHELF_HOLD_START) {
        lp_replay_progress(replay, 50, 100);
        uv_cond_timedwait(&shelf->changed, &shelf->mutex, 1000000);
    }
    uv_mutex_unlock(&shelf->mutex);
}

static int push_events(test_shelf *shelf, lp_replay *replay)
{
    for (size_t i = 0; i < shelf->event_count; i++) {
        if (i == shelf->hold_after)
            hold_here(shelf, SHELF_HOLD_START);
        const lp_event *event = shelf->events[i];
        int status = lp_replay_event(replay, lp_event_id(event), lp_event_category(event),
                                     lp_event_data(event));
        if (status == LP_ECANCELED)
            count_up(shelf, &shelf->cancellations);
        if (status < 0 && !shelf->heeds_no_cancellation)
            return status;
    }
    return LP_OK;
}

static int on_start(lp_addon *self, lp_replay *replay)
{
    test_shelf *shelf = self->state;
    count_up(shelf, &shelf->starts);
    if (shelf->tells_progress)
        tell_progress_while_held(shelf, replay);
    if (shelf->event_count <= shelf->hold_after)
        hold_here(shelf, SHELF_HOLD_START);
    if (shelf->start_status != LP_OK)
        return lp_replay_error(replay, shelf->start_status, "%s", shelf->start_sentence);
    shelf->expired_ms = lp_replay_expired_ms(replay);
    shelf->ring_size = lp_replay_ring_size(replay);

    int status = push_events(shelf, replay);
    for (size_t i = 0; i < shelf->horizon_count && status == LP_OK; i++) {
        const shelf_horizon *horizon = &shelf->horizons[i];
        status = lp_replay_horizon(replay, (lp_str){horizon->category, horizon->category_len},
                                   horizon->seq);
    }
    for (size_t i = 0; i < shelf->key_count && status >= LP_OK; i++) {
        lp_idempotency record = shelf->keys[i].record;
        record.key.base = shelf->keys[i].text;
        status = lp_replay_idempotency(replay, &record);
    }
    if (status >= LP_OK)
        status = lp_replay_highest(replay, shelf->highest);
    hold_here(shelf, SHELF_HOLD_LOSS);
    if (status == LP_OK && shelf->loss != NULL)
        status = lp_replay_loss(replay, 1, shelf->loss);
    return shelf->heeds_no_cancellation ? LP_OK : status;
}

/* With the mutex. */
static void keep_event(test_shelf *shelf, const lp_event *event)
{
    if (shelf->event_count == shelf->event_capacity) {
        shelf->event_capacity = shelf->event_capacity == 0 ? 64 : shelf->event_capacity * 2;
        shelf->events = realloc(shelf->events, shelf->event_capacity * sizeof(*shelf->events));
        CHECK(shelf->events != NULL);
    }
    CHECK(shelf->event_count == 0 ||
          lp_event_seq(event) > lp_event_seq(shelf->events[shelf->event_count - 1]));
    CHECK(lp_event_seq(event) > shelf->highest);
    shelf->events[shelf->event_count++] = lp_event_ref((lp_event *)event);
}

static void drop_event(test_shelf *shelf, uint64_t seq)
{
    size_t i = index_of(shelf, seq);
    if (i == SIZE_MAX)
        return;
    lp_event_unref(shelf->events[i]);
    shelf->event_count--;
    memmove(shelf->events + i, shelf->events + i + 1,
            (shelf->event_count - i) * sizeof(*shelf->events));
}

static void keep_horizon(test_shelf *shelf, lp_horizon given)
{
    shelf_horizon *horizon = find_horizon(shelf, given.category);
    if (horizon == NULL) {
        if (shelf->horizon_count == shelf->horizon_capacity) {
            shelf->horizon_capacity =
                shelf->horizon_capacity == 0 ? 16 : shelf->horizon_capacity * 2;
            shelf->horizons =
                realloc(shelf->horizons, shelf->horizon_capacity * sizeof(*shelf->horizons));
            CHECK(shelf->horizons != NULL);
        }
        horizon = &shelf->horizons[shelf->horizon_count++];
        horizon->category_len = given.category.len;
        if (given.category.len > 0)
            memcpy(horizon->category, given.category.base, given.category.len);
        horizon->seq = 0;
    }
    if (given.seq > horizon->seq)
        horizon->seq = given.seq;
}

static void keep_key(test_shelf *shelf, lp_idempotency record)
{
    if (shelf->key_count == shelf->key_capacity) {
        shelf->key_capacity = shelf->key_capacity == 0 ? 16 : shelf->key_capacity * 2;
        shelf->keys = realloc(shelf->keys, shelf->key_capacity * sizeof(*shelf->keys));
        CHECK(shelf->keys != NULL);
    }
    shelf_key *key = &shelf->keys[shelf->key_count++];
    key->record = record;
    memcpy(key->text, record.key.base, record.key.len);
}

static void refuse_events(const test_shelf *shelf, lp_batch *batch)
{
    for (size_t i = 0; shelf->refused != NULL && i < lp_batch_event_count(batch); i++) {
        lp_str data = lp_event_data(lp_batch_event(batch, i));
        if (data.len == strlen(shelf->refused) && memcmp(data.base, shelf->refused, data.len) == 0)
            lp_batch_fail(batch, i, LP_ETOOBIG, shelf->refused_reason);
    }
}

static void keep_batch(test_shelf *shelf, const lp_batch *batch)
{
    for (size_t i = 0; i < lp_batch_event_count(batch); i++)
        if (!lp_batch_failed(batch, i))
            keep_event(shelf, lp_batch_event(batch, i));
    for (size_t i = 0; i < lp_batch_removal_count(batch); i++)
        drop_event(shelf, lp_batch_removal(batch, i).seq);
    for (size_t i = 0; i < lp_batch_horizon_count(batch); i++)
        keep_horizon(shelf, lp_batch_horizon(batch, i));
    for (size_t i = 0; i < lp_batch_idempotency_count(batch); i++)
        keep_key(shelf, lp_batch_idempotency(batch, i));
    CHECK(lp_batch_highest(batch) >= shelf->highest);
    shelf->highest = lp_batch_highest(batch);
}

static int on_publish(lp_addon *self, lp_batch *batch)
{
    test_shelf *shelf = self->state;
    if (shelf_read(shelf, &shelf->batch_count) >= shelf->hold_from_batch)
        hold_here(shelf, SHELF_HOLD_PUBLISH);
    shelf_batch note = {.events = lp_batch_event_count(batch),
                        .horizons = lp_batch_horizon_count(batch),
                        .keys = lp_batch_idempotency_count(batch),
                        .forgotten_keys_ms = lp_batch_forgotten_keys_ms(batch),
                        .highest = lp_batch_highest(batch)};
    for (size_t i = 0; i < lp_batch_removal_count(batch); i++)
        note.removals[lp_batch_removal(batch, i).reason]++;

    uv_mutex_lock(&shelf->mutex);
    const char *sentence = shelf->fail_sentence;
    if (shelf->fail_count > 0 && (note.events > 0 || !shelf->fails_events_only)) {
        shelf->fail_count--;
        note.status = shelf->fail_status;
    } else {
        refuse_events(shelf, batch);
        keep_batch(shelf, batch);
    }
    if (shelf->batch_count < SHELF_BATCHES)
        shelf->batches[shelf->batch_count] = note;
    shelf->batch_count++;
    uv_cond_broadcast(&shelf->changed);
    uv_mutex_unlock(&shelf->mutex);
    return note.status != LP_OK && sentence != NULL
               ? lp_batch_error(batch, note.status, "%s", sentence)
               : note.status;
}

static int on_idle(lp_addon *self, lp_idle *idle)
{
    test_shelf *shelf = self->state;
    CHECK(lp_idle_budget_ms(idle) > 0);
    hold_here(shelf, SHELF_HOLD_IDLE);
    uv_mutex_lock(&shelf->mutex);
    shelf->idles++;
    if (shelf->batch_count == 0)
        shelf->idles_before_batch++;
    shelf->batches_at_idle = shelf->batch_count;
    uv_cond_broadcast(&shelf->changed);
    uv_mutex_unlock(&shelf->mutex);
    if (shelf->idle_again_ms >= 0)
        lp_idle_again(idle, shelf->idle_again_ms);
    return LP_OK;
}

static int on_shutdown(lp_addon *self, lp_ending *ending)
{
    test_shelf *shelf = self->state;
    shelf->remaining_ms = lp_ending_remaining_ms(ending);
    hold_here(shelf, SHELF_HOLD_SHUTDOWN);
    count_up(shelf, &shelf->shutdowns);
    return shelf->shutdown_status == LP_OK
               ? LP_OK
               : lp_ending_error(ending, shelf->shutdown_status, "the shelf fell down");
}

static void destroy(lp_addon *self)
{
    test_shelf *shelf = self->state;
    memset(self, 0xa5, sizeof(*self));
    free(self);
    count_up(shelf, &shelf->destroyed);
}

lp_addon *shelf_addon(test_shelf *shelf)
{
    static const lp_addon table = LP_ADDON_INIT("shelf");
    lp_addon *addon = malloc(sizeof(*addon));
    CHECK(addon != NULL);
    *addon = table;
    addon->state = shelf;
    addon->on_start = on_start;
    addon->on_publish = on_publish;
    addon->on_idle = on_idle;
    addon->on_shutdown = on_shutdown;
    addon->destroy = destroy;
    return addon;
}
