/* The engine: stamping, resolving, bounds, expiry, slack. */
#include <stdlib.h>
#include <string.h>

#include "engine_private.h"

bool lp__reserve(void *array, size_t *capacity, size_t count, size_t size)
{
    if (count <= *capacity)
        return true;
    size_t grown = *capacity < 8 ? 8 : *capacity * 2;
    if (grown < count)
        grown = count;
    void *items;
    memcpy(&items, array, sizeof(items));
    items = realloc(items, grown * size);
    if (items == NULL)
        return false;
    memcpy(array, &items, sizeof(items));
    *capacity = grown;
    return true;
}

/* splitmix64: ids need bits that differ, not secrets. */
uint64_t lp__engine_random(lp__engine *engine)
{
    uint64_t z = engine->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

int lp__engine_new(const lp__engine_options *options, lp__now now, lp__engine **out)
{
    lp__engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL)
        return LP_ENOMEM;
    engine->options = *options;
    engine->random = options->seed[0] ^ options->seed[1];
    lp__clock_init(&engine->clock, now);
    lp__keys_init(&engine->keys, options->seed, options->keys_max, options->keys_window_ms);
    lp__list_init(&engine->fresh);
    lp__list_init(&engine->dirty);
    lp__list_init(&engine->unsettled);
    lp__list_init(&engine->changed);
    lp__list_init(&engine->idle);
    engine->slack_since_ms = INT64_MAX;
    *out = engine;
    return LP_OK;
}

static lp__pending *pending_slot(lp__engine *engine, size_t i)
{
    return &engine->pending[(engine->pending_head + i) % engine->pending_capacity];
}

void lp__engine_free(lp__engine *engine)
{
    if (engine == NULL)
        return;
    for (size_t i = 0; i < engine->pending_count; i++)
        lp_event_unref(pending_slot(engine, i)->event);
    lp__category_free_all(engine);
    lp__prefix_free_all(engine);
    lp__heap_free(&engine->by_age);
    lp__heap_free(&engine->deadlines);
    free(engine->pending);
    free(engine->runs);
    free(engine->merged);
    free(engine->removals);
    lp__keys_free(&engine->keys);
    free(engine->replayed_removals);
    lp__block_close(engine->replay_block);
    free(engine);
}

/* ---- pending ------------------------------------------------------------ */

static bool reserve_pending(lp__engine *engine, size_t more)
{
    size_t capacity = engine->pending_capacity == 0 ? 64 : engine->pending_capacity;
    if (engine->pending_count + more <= engine->pending_capacity)
        return true;
    while (capacity < engine->pending_count + more)
        capacity *= 2;
    lp__pending *pending = malloc(capacity * sizeof(*pending));
    if (pending == NULL)
        return false;
    for (size_t i = 0; i < engine->pending_count; i++)
        pending[i] = engine->pending[(engine->pending_head + i) % engine->pending_capacity];
    free(engine->pending);
    engine->pending = pending;
    engine->pending_capacity = capacity;
    engine->pending_head = 0;
    return true;
}

/* All the memory that the event's insertion needs; its category stays from here on. */
static int reserve_for(lp__engine *engine, lp_event *event, lp__pending *out)
{
    lp__category *category = lp__category_get(engine, lp_event_category(event));
    if (category == NULL)
        return LP_ENOMEM;
    if (lp__category_reserve(engine, category) != LP_OK) {
        lp__category_release(engine, category);
        return LP_ENOMEM;
    }
    *out = (lp__pending){event, category};
    return LP_OK;
}

static void unreserve(lp__engine *engine, lp__category *category)
{
    category->reserved--;
    lp__category_release(engine, category);
}

int lp__engine_stamp(lp__engine *engine, lp__now now, lp_event *const *events, size_t count)
{
    size_t first = engine->pending_count, reserved = 0;
    int status = reserve_pending(engine, count) ? LP_OK : LP_ENOMEM;
    while (status == LP_OK && reserved < count) {
        status = reserve_for(engine, events[reserved], pending_slot(engine, first + reserved));
        reserved += status == LP_OK;
    }
    if (status != LP_OK) {
        while (reserved-- > 0)
            unreserve(engine, pending_slot(engine, first + reserved)->category);
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t seq =
            i == 0 ? lp__clock_stamp(&engine->clock, now) : lp__clock_stamp_next(&engine->clock);
        if (engine->first_seq == 0)
            engine->first_seq = seq;
        lp__category_keep(engine, pending_slot(engine, first + i)->category);
        lp__event_stamp(events[i], seq, lp__engine_random(engine));
        lp_event_ref(events[i]);
        engine->pending_count++;
    }
    return LP_OK;
}

static void pop_pending(lp__engine *engine)
{
    engine->pending_head = (engine->pending_head + 1) % engine->pending_capacity;
    engine->pending_count--;
}

void lp__engine_resolve(lp__engine *engine, lp__now now, bool kept)
{
    lp__pending oldest = engine->pending[engine->pending_head];
    lp__clock_read(&engine->clock, now);

    if (!kept) {
        pop_pending(engine);
        lp_event_unref(oldest.event);
        unreserve(engine, oldest.category);
        return;
    }
    /* it is pending until it is in its ring: answers that are given now must not pass it */
    lp__engine_make_room(engine, oldest.category, lp__event_bytes(oldest.event));
    pop_pending(engine);
    lp__category_push(engine, oldest.category, oldest.event);
    engine->visible_seq = lp_event_seq(oldest.event);
    lp__event_set_visible(oldest.event, now.mono_us);
    lp__topics_mark_dirty(engine, oldest.category);
}

/* ---- bounds ------------------------------------------------------------- */

void lp__engine_make_room(lp__engine *engine, lp__category *category, size_t bytes)
{
    const lp__engine_options *options = &engine->options;
    if (category->count >= options->event_buffer_max)
        lp__poll_press(engine, category);
    while (category->count >= options->event_buffer_max)
        lp__category_evict(engine, category, LP_REMOVED_RING);

    while (engine->event_count > 0 && (engine->event_count >= options->events_max ||
                                       engine->event_bytes + bytes > options->events_bytes_max)) {
        lp__category *oldest = lp__category_oldest(engine);
        size_t before = engine->event_count;
        lp__poll_press(engine, oldest);
        if (engine->event_count == before) /* no answer has retrieved events and so made room */
            lp__category_evict(engine, oldest, LP_REMOVED_BOUND);
    }
}

int64_t lp__engine_expired_ms(lp__engine *engine, lp__now now)
{
    int64_t now_ms = lp__clock_read(&engine->clock, now);
    return engine->options.event_ttl_ms == 0 ? INT64_MIN : now_ms - engine->options.event_ttl_ms;
}

void lp__engine_expire(lp__engine *engine)
{
    if (engine->options.event_ttl_ms == 0)
        return;
    int64_t expired_ms = engine->clock.ms - engine->options.event_ttl_ms;
    lp__category *oldest;
    while ((oldest = lp__category_oldest(engine)) != NULL &&
           lp_event_timestamp_ms(lp__category_event(oldest, 0)) <= expired_ms)
        lp__category_evict(engine, oldest, LP_REMOVED_TTL);
}

void lp__engine_raise_floor(lp__engine *engine, lp__now now)
{
    uint64_t floor = lp_seq_first(lp__clock_read(&engine->clock, now)) - 1;
    if (floor < engine->clock.last_seq)
        floor = engine->clock.last_seq;
    if (floor > engine->floor) {
        engine->floor = floor;
        engine->floor_changed = engine->changes_are_urgent = true;
    }
    /* positions that are told from here on must not lie below the floor: they are no gap */
    lp__clock_pass(&engine->clock, engine->floor);
    if (engine->visible_seq < engine->floor)
        engine->visible_seq = engine->begun_seq = engine->floor;
}

/* ---- slack -------------------------------------------------------------- */

/* About what the engine holds, and others for its sake: a waiter stands for its connection. */
static size_t held_bytes(const lp__engine *engine)
{
    enum { WAITER_BYTES = 10 * 1024, CATEGORY_BYTES = 512 };
    return engine->event_bytes + engine->waiting * WAITER_BYTES +
           engine->category_count * CATEGORY_BYTES;
}

/* It has to last: who was woken is back at once. */
void lp__engine_note_slack(lp__engine *engine, int64_t mono_ms)
{
    const size_t worth = (size_t)8 << 20;
    size_t held = held_bytes(engine);
    if (held > engine->held_peak)
        engine->held_peak = held;
    if (held > engine->held_peak / 2 || engine->held_peak - held < worth)
        engine->slack_since_ms = INT64_MAX;
    else if (engine->slack_since_ms == INT64_MAX)
        engine->slack_since_ms = mono_ms;
}

bool lp__engine_take_slack(lp__engine *engine)
{
    if (engine->slack_since_ms == INT64_MAX ||
        engine->clock.mono_ms - engine->slack_since_ms < LP__SLACK_MS)
        return false;
    engine->held_peak = held_bytes(engine);
    engine->slack_since_ms = INT64_MAX;
    return true;
}

/* ---- delete after first retrieval --------------------------------------- */

typedef struct retrieved {
    lp_event *const *events; /* in rising order */
    size_t count, *at;       /* where the comparison has come to */
} retrieved;

/* Asked in rising order, so that no event is looked at again: those before may be freed already,
 * and `events` may be the ring itself, of which the beginning has been filled up from behind. */
static bool was_retrieved(const void *ctx, uint64_t seq)
{
    const retrieved *these = ctx;
    while (*these->at < these->count && lp_event_seq(these->events[*these->at]) < seq)
        ++*these->at;
    bool is_one = *these->at < these->count && lp_event_seq(these->events[*these->at]) == seq;
    *these->at += is_one;
    return is_one;
}

static bool are_of_one_category(lp_event *const *events, size_t count)
{
    lp_str first = lp_event_category(events[0]);
    for (size_t i = 1; i < count; i++) {
        lp_str name = lp_event_category(events[i]);
        if (name.len != first.len || memcmp(name.base, first.base, name.len) != 0)
            return false;
    }
    return true;
}

void lp__engine_retrieved(lp__engine *engine, lp__now now, lp_event *const *events, size_t count)
{
    lp__clock_read(&engine->clock, now);
    if (!engine->options.delete_after_first_retrieval || count == 0)
        return;
    if (are_of_one_category(events, count)) {
        size_t at = 0;
        retrieved these = {events, count, &at};
        lp__category *category = lp__category_find(engine, lp_event_category(events[0]));
        if (category != NULL)
            lp__category_filter(engine, category, was_retrieved, &these, LP_REMOVED_RETRIEVED);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        lp__category *category = lp__category_find(engine, lp_event_category(events[i]));
        if (category != NULL)
            lp__category_remove(engine, category, lp_event_seq(events[i]), LP_REMOVED_RETRIEVED);
    }
}

/* ---- figures ------------------------------------------------------------ */

void lp__engine_stats_get(const lp__engine *engine, lp__engine_stats *out)
{
    *out = engine->stats;
    out->waiters = engine->waiting;
    out->interests = engine->interest_count;
    out->categories = engine->category_count;
    out->events = engine->event_count;
    out->events_bytes = engine->event_bytes;
    out->pending = engine->pending_count;
    out->highest = engine->clock.last_seq;
}
