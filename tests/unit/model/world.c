/* Time, publishing, and the engine's figures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine/event_prepare.h"
#include "world.h"

/* ---- time ---------------------------------------------------------------------------------------
 */

/* The clock never goes back; while the wall is behind it advances by half of the time passed. */
void clock_was_read(world *w)
{
    int64_t passed = w->now.mono_ms - w->read_ms;
    w->read_ms = w->now.mono_ms;
    w->clock_halves += passed;
    if (w->clock_halves < 2 * w->now.wall_ms)
        w->clock_halves = 2 * w->now.wall_ms;
}

int64_t clock_max_ms(const world *w)
{
    return (w->clock_halves + 1) / 2;
}

void world_open(world *w, bool first)
{
    const config *c = &w->config;
    lp__engine_options options = {
        .event_buffer_max = c->ring,
        .event_ttl_ms = c->ttl_ms,
        .delete_after_first_retrieval = c->delete_after_first,
        .waiters_max = c->waiters_max,
        .interests_max = c->interests_max,
        .categories_max = c->categories_max,
        .events_max = c->events_max,
        .events_bytes_max = c->events_bytes_max,
        .answer_bytes_max = c->answer_bytes_max,
        .keys_max = c->keys_max,
        .keys_window_ms = c->key_window_ms,
        .has_store = c->has_store,
        .seed = {rnd(w, UINT64_MAX), rnd(w, UINT64_MAX)},
    };
    if (lp__engine_new(&options, w->now, &w->engine) != LP_OK)
        abort();
    w->read_ms = w->now.mono_ms;
    w->clock_halves = 2 * w->now.wall_ms;
    if (first) {
        lp__engine_replay_begin(w->engine);
        lp__engine_replay_end(w->engine, w->now);
    }
    if (first && !c->has_store && !chance(w, 4)) { /* as a manager does */
        lp__engine_raise_floor(w->engine, w->now);
        w->floor_low = lp_seq_last(w->now.wall_ms - 1);
        w->floor_high = lp_seq_last(w->now.wall_ms);
    }
}

/* ---- publishing ---------------------------------------------------------------------------------
 */

static lp_event *prepare(world *w, int category)
{
    static const char padding[] =
        "----------------------------------------------------------------";
    char data[128];
    int len = snprintf(data, sizeof(data), "[%llu,\"%.*s\"]", (unsigned long long)++w->published,
                       (int)rnd(w, chance(w, 5) ? 64 : 4), padding);
    lp_event *event;
    if (lp__event_prepare(lp_str_of(w->names[category]), (lp_str){data, (size_t)len}, &event))
        abort();
    return event;
}

static void check_stamp(world *w, uint64_t seq)
{
    int64_t ms = lp_seq_ms(seq);
    if (seq <= w->given || seq <= w->highest)
        fail(w, "number %llx is not above %llx", (unsigned long long)seq,
             (unsigned long long)w->highest);
    if (ms <= w->told_ms)
        fail(w, "an event of %lld after a timeout's timestamp %lld", (long long)ms,
             (long long)w->told_ms);
    if (ms < w->now.wall_ms || ms > clock_max_ms(w) + 1)
        fail(w, "an event of %lld, not within %lld and %lld", (long long)ms,
             (long long)w->now.wall_ms, (long long)clock_max_ms(w) + 1);
    for (int i = 0; i < CLIENTS; i++) {
        const client *c = &w->clients[i];
        if (c->answered && seq <= c->claim)
            fail(w, "client %d says that it has up to %llx, and then event %llx is published", i,
                 (unsigned long long)c->claim, (unsigned long long)seq);
    }
}

/* Of one event of a group, whose numbers follow each other by one. */
static void check_event_stamp(world *w, const lp_event *event, const lp_event *before)
{
    uint64_t seq = lp_event_seq(event);
    lp_id id = lp_event_id(event);
    if (lp_id_version(id) != 7 || lp_id_seq(id) != seq ||
        lp_event_timestamp_ms(event) != lp_seq_ms(seq))
        fail(w, "an id that is not the number's");
    if (before && seq != lp_event_seq(before) + 1)
        fail(w, "number %llx of a group follows %llx", (unsigned long long)seq,
             (unsigned long long)lp_event_seq(before));
    check_stamp(w, seq);
    w->given = seq;
    if (w->clock_halves < 2 * lp_seq_ms(seq))
        w->clock_halves = 2 * lp_seq_ms(seq);
}

void publish(world *w, int category, size_t count, int key)
{
    lp_event *events[GROUP_MAX] = {NULL};
    int categories[GROUP_MAX];
    uint64_t first = w->published + 1;
    for (size_t i = 0; i < count; i++) {
        categories[i] = chance(w, 4) ? (int)rnd(w, (uint64_t)w->config.published) : category;
        events[i] = prepare(w, categories[i]);
    }
    clock_was_read(w);
    if (lp__engine_stamp(w->engine, w->now, events, count) != LP_OK)
        fail(w, "stamp failed");
    for (size_t i = 0; i < count; i++) {
        check_event_stamp(w, events[i], i > 0 ? events[i - 1] : NULL);
        ref_publish(w, events[i], categories[i], first + i, first);
        say(w, "publish %llu (%llx) in %d%s", (unsigned long long)(first + i),
            (unsigned long long)lp_event_seq(events[i]), categories[i], i > 0 ? ", with it" : "");
    }
    if (key != NO_KEY) {
        once_stamped(w, key, events, count);
        for (size_t i = 0; i < count; i++)
            w->events[w->event_count - 1 - i].key = w->key_count;
    }
    ref_learn(w);
    if (w->config.slow_commits)
        return;
    if (w->config.has_store) {
        store_begin_commit(w);
        store_end_commit(w);
        return;
    }
    for (size_t i = 0; i < count; i++)
        resolve(w, true);
}

void resolve(world *w, bool kept)
{
    while (w->events[w->pending_at].fate != PENDING)
        w->pending_at++;
    size_t at = w->pending_at;
    say(w, "resolve %llu: %s", (unsigned long long)w->events[at].number, kept ? "kept" : "dropped");
    w->resolving = kept ? at : SIZE_MAX;
    clock_was_read(w);
    lp__engine_resolve(w->engine, w->now, kept);
    ref_learn(w);
    w->resolving = SIZE_MAX;
    if (kept)
        ref_show(w, &w->events[at]);
    else
        w->events[at].fate = DROPPED;
    const ref_event *event = &w->events[at];
    bool is_last = at + 1 == w->event_count || event[1].group != event->group;
    if (event->key && is_last)
        once_ended(w, &w->keys[event->key - 1], kept);
}

/* ---- flushing -----------------------------------------------------------------------------------
 */

void flush(world *w)
{
    for (int i = 0; i < CLIENTS; i++) {
        poll *p = w->clients[i].poll;
        if (!p || p->flushed || p->rests)
            continue;
        p->flushed = true;
        p->shown_then = w->shown;
        p->target = p->exact ? 0 : ref_newest_visible(w, p->asks.mask);
    }
    say(w, "flush at mono %lld, wall %lld", (long long)w->now.mono_ms, (long long)w->now.wall_ms);
    w->flushing = true;
    clock_was_read(w);
    lp__engine_flush(w->engine, w->now);
    ref_learn(w);
    w->flushing = false;
    check_waiting_clients(w);
    const ref_event *oldest = w->config.ttl_ms ? ref_oldest_visible(w, EVERY_CATEGORY) : NULL;
    if (oldest && lp_seq_ms(oldest->seq) <= w->now.wall_ms - w->config.ttl_ms)
        fail(w, "event %llu has expired and is still there", (unsigned long long)oldest->number);
}

void drain(world *w)
{
    say(w, "drain");
    w->flushing = true;
    clock_was_read(w);
    lp__engine_drain(w->engine, w->now);
    ref_learn(w);
    w->flushing = false;
    for (int i = 0; i < CLIENTS; i++) {
        if (w->clients[i].poll && !w->clients[i].poll->rests)
            fail(w, "client %d still waits after the drain", i);
    }
}

/* ---- figures ------------------------------------------------------------------------------------
 */

static void expect(world *w, const char *what, uint64_t got, uint64_t wanted)
{
    if (got != wanted)
        fail(w, "stats: %s is %llu, should be %llu", what, (unsigned long long)got,
             (unsigned long long)wanted);
}

static bool names(const poll *p, int category)
{
    for (size_t i = 0; i < p->asks.category_count; i++) {
        if (p->asks.categories[i] == category)
            return true;
    }
    return false;
}

/* Categories that something is left of. */
static size_t categories_in_use(const world *w)
{
    size_t count = 0;
    for (int i = 0; i < w->config.categories; i++) {
        bool used = w->horizon[i] > 0 || w->has_horizon[i] || ref_count(w, i, VISIBLE) ||
                    ref_count(w, i, PENDING);
        for (int n = 0; n < CLIENTS; n++)
            used = used || (w->clients[n].poll && names(w->clients[n].poll, i));
        count += used;
    }
    return count;
}

void check_figures(world *w)
{
    lp__engine_stats stats;
    size_t waiters = 0, named = 0, pending = 0;
    lp__engine_stats_get(w->engine, &stats);
    for (int i = 0; i < CLIENTS; i++) {
        waiters += w->clients[i].poll != NULL;
        named += w->clients[i].poll ? w->clients[i].poll->asks.distinct : 0;
    }
    for (int i = 0; i < w->config.categories; i++) {
        pending += ref_count(w, i, PENDING);
        if (ref_count(w, i, VISIBLE) > w->config.ring)
            fail(w, "the ring of %d holds too many", i);
    }
    if (w->visible_count > w->config.events_max ||
        (w->visible_bytes > w->config.events_bytes_max && w->visible_count > 1))
        fail(w, "%zu events of %zu bytes in all", w->visible_count, w->visible_bytes);
    expect(w, "waiters", stats.waiters, waiters);
    expect(w, "interests", stats.interests, named);
    expect(w, "gaps", stats.gaps - w->base.gaps, w->counted.gaps);
    expect(w, "events", stats.events, w->visible_count);
    expect(w, "events_bytes", stats.events_bytes, w->visible_bytes);
    expect(w, "pending", stats.pending, pending);
    expect(w, "answered", stats.answered - w->base.answered, w->counted.answered);
    expect(w, "timed_out", stats.timed_out - w->base.timed_out, w->counted.timed_out);
    expect(w, "delivered", stats.delivered - w->base.delivered, w->counted.delivered);
    if (stats.highest < w->given && pending > 0)
        fail(w, "stats: highest is below what was given");
    if (stats.categories > categories_in_use(w))
        fail(w, "%zu categories are remembered, %zu are in use", stats.categories,
             categories_in_use(w));
}
