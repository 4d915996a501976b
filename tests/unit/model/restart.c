/* Restarts: what the store brings back, from its log or from its rows, and what must be there
 * afterwards. */
#include <stdlib.h>

#include "world.h"

/* Events that were not kept have never been: nobody saw them, and their numbers may be given
 * again. */
static void forget_unkept(world *w)
{
    size_t left = 0;
    for (size_t i = 0; i < w->event_count; i++) {
        ref_event *event = &w->events[i];
        if (event->fate == DROPPED || (event->fate == PENDING && !event->stored))
            lp_event_unref(w->events[i].event);
        else
            w->events[left++] = w->events[i];
    }
    w->event_count = left;
}

static void push_event(world *w, ref_event *event)
{
    int status =
        lp__engine_replay_event(w->engine, w->now, lp_event_id(event->event),
                                lp_event_category(event->event), lp_event_data(event->event));
    if (status != LP_OK && status != LP_SKIPPED)
        fail(w, "replay of event %llu: %d", (unsigned long long)event->number, status);
    if (!event->deleted && status == LP_OK)
        ref_show(w, event);
    else if (status == LP_SKIPPED)
        event->reason = LP_REMOVED_REPLAY; /* its category's horizon tells of it from now on */
}

static void push_horizon(world *w, int category, uint64_t seq)
{
    lp_str name = category < 0 ? (lp_str){"", 0} : lp_str_of(w->names[category]);
    if (seq > 0 && lp__engine_replay_horizon(w->engine, name, seq) != LP_OK)
        fail(w, "replay of a horizon failed");
}

static void push_highest(world *w)
{
    lp__engine_replay_highest(w->engine, w->now, w->stored_highest);
}

/* As a journal would that was never compacted. An event whose retrieval comes later in the log can
 * meanwhile expire, or be lost with its category when that is forgotten; a horizon is then higher
 * than need be. */
static void replay_log(world *w)
{
    if (w->config.delete_after_first && w->config.categories_max < (size_t)w->config.categories)
        w->may_overstate = true;
    for (size_t i = 0; i < w->log_count; i++) {
        record *r = &w->log[i];
        if (r->kind == LOG_EVENT)
            push_event(w, ref_find(w, r->seq));
        else if (r->kind == LOG_HORIZON)
            push_horizon(w, r->category, r->seq);
        else if (lp__engine_replay_removal(w->engine, r->seq) != LP_OK)
            fail(w, "replay of a removal failed");
    }
    push_highest(w);
}

/* As a database would, with the horizons and the highest number before or behind the events. */
static void replay_rows(world *w)
{
    bool horizons_first = chance(w, 2), highest_first = chance(w, 2);
    for (int pass = 0; pass < 3; pass++) {
        if (pass == (highest_first ? 0 : 2))
            push_highest(w);
        if (pass == (horizons_first ? 0 : 2)) {
            push_horizon(w, -1, w->stored_floor);
            for (int i = w->config.categories; i-- > 0;)
                push_horizon(w, i, w->stored_horizon[i]);
        }
        for (size_t i = 0; pass == 1 && i < w->event_count; i++) {
            if (w->events[i].stored && !w->events[i].deleted)
                push_event(w, &w->events[i]);
        }
    }
}

/* Whether the rules of rings, bounds and expiry explain that an event that was kept is not there
 * after the replay. */
static bool is_gone_rightly(world *w, const ref_event *event)
{
    int64_t expired_ms = lp__engine_expired_ms(w->engine, w->now);
    if (event->seq <= w->stored_horizon[event->category] || lp_seq_ms(event->seq) <= expired_ms)
        return true;
    const ref_event *oldest = ref_oldest_visible(w, ONE_CATEGORY(event->category));
    if (ref_count(w, event->category, VISIBLE) == w->config.ring && oldest->seq > event->seq)
        return true;
    if (w->config.categories_max < (size_t)w->config.categories)
        return oldest == NULL || oldest->seq > event->seq;
    oldest = ref_oldest_visible(w, EVERY_CATEGORY);
    size_t room = w->config.events_bytes_max - w->visible_bytes;
    return (oldest == NULL || oldest->seq > event->seq) &&
           (w->visible_count == w->config.events_max ||
            w->visible_bytes > w->config.events_bytes_max ||
            room < lp_event_wire(event->event).len + 256);
}

static void check_replay(world *w, const bool *was_visible, bool clean)
{
    int64_t expired_ms = lp__engine_expired_ms(w->engine, w->now);
    for (size_t i = 0; i < w->event_count; i++) {
        ref_event *event = &w->events[i];
        bool kept = event->stored && !event->deleted;
        if (kept && event->fate != VISIBLE && !is_gone_rightly(w, event))
            fail(w, "event %llu of %d was kept and is gone after the restart",
                 (unsigned long long)event->number, event->category);
        bool same = (event->fate == VISIBLE) == was_visible[i];
        if (clean && !same && lp_seq_ms(event->seq) > expired_ms)
            fail(w, "event %llu of %d was %s before a clean restart and is not now",
                 (unsigned long long)event->number, event->category,
                 was_visible[i] ? "visible" : "gone");
    }
}

/* What the horizons must tell is decided by what is gone now. */
static void recount_horizons(world *w)
{
    for (int i = 0; i < w->config.categories; i++)
        w->horizon[i] = 0;
    for (size_t i = 0; i < w->event_count; i++) {
        ref_event *event = &w->events[i];
        if (event->fate == REMOVED && event->reason != LP_REMOVED_RETRIEVED)
            w->horizon[event->category] = event->seq;
    }
}

static void replay(world *w, bool clean)
{
    bool *was_visible = calloc(w->event_count + 1, sizeof(bool));
    for (size_t i = 0; i < w->event_count; i++) {
        ref_event *event = &w->events[i];
        was_visible[i] = event->fate == VISIBLE;
        if (event->stored && !event->deleted) {
            event->fate = REMOVED;
            event->reason = LP_REMOVED_REPLAY;
        }
        event->retrieved = event->retrieved && event->deleted;
        if (event->retrieved) /* no horizon tells of it, unless this replay raises one */
            event->reason = LP_REMOVED_RETRIEVED;
        event->put_back = false;
    }
    w->visible_count = w->visible_bytes = 0;
    w->replaying = true;
    w->floor_low = w->floor_high = w->stored_floor;

    lp__engine_replay_begin(w->engine);
    bool from_log = chance(w, 3), keys_first = chance(w, 2);
    if (keys_first)
        once_replay(w);
    if (from_log)
        replay_log(w);
    else
        replay_rows(w);
    if (!keys_first)
        once_replay(w);
    lp__engine_replay_end(w->engine, w->now);
    clock_was_read(w);
    int64_t highest_ms = lp_seq_ms(w->stored_highest);
    if (w->clock_halves < 2 * highest_ms)
        w->clock_halves = 2 * highest_ms;
    if (chance(w, 6)) {
        say(w, "the floor is raised");
        lp__engine_raise_floor(w->engine, w->now);
    }
    ref_learn(w);
    recount_horizons(w);
    w->replaying = false;
    for (int i = 0; i < w->config.categories; i++)
        w->overstated[i] = w->may_overstate ? w->stored_highest : w->stored_horizon[i];
    /* Categories with waiters are not forgotten, and a restart ends all waiting. */
    bool may_forget = w->config.categories_max < (size_t)w->config.categories;
    check_replay(w, was_visible, clean && !from_log && !may_forget);
    free(was_visible);
}

/* All that was seen is lost, and told so: the floor is raised. */
static void lose_memory(world *w)
{
    for (size_t i = 0; i < w->event_count; i++) {
        ref_event *event = &w->events[i];
        if (event->fate == VISIBLE)
            ref_remove(w, event, LP_REMOVED_REPLAY);
    }
    lp__engine_raise_floor(w->engine, w->now);
    w->floor_low = lp_seq_last(w->now.wall_ms - 1);
    w->floor_high = lp_seq_last(w->now.wall_ms);
}

/* A new process. Its wall clock may be behind, but what no store can know must not be asked: a
 * timeout's timestamp, or a position, that was told after the last number was given must have
 * passed, and without a store everything must. */
static void new_clocks(world *w)
{
    int64_t least = w->told_ms + 1;
    w->now.mono_ms = (int64_t)rnd(w, 1000000);
    w->now.wall_ms += (int64_t)rnd(w, 3000);
    if (chance(w, 2))
        w->now.wall_ms -= (int64_t)rnd(w, chance(w, 2) ? 5 : 7200000);
    int64_t position_ms = lp_seq_ms(w->told_seq);
    if (position_ms >= least &&
        (!w->config.has_store || position_ms > lp_seq_ms(w->stored_highest)))
        least = position_ms + 1;
    if (!w->config.has_store && lp_seq_ms(w->highest) >= least)
        least = lp_seq_ms(w->highest) + 1;
    if (w->now.wall_ms < least && (!w->config.has_store || lp_seq_ms(w->stored_highest) < least))
        w->now.wall_ms = least;
}

void restart(world *w)
{
    bool clean = w->config.has_store && chance(w, 3);
    say(w, "RESTART, %s", clean ? "clean" : "crash");
    if (clean) {
        store_commit_all(w);
        drain(w);
        store_commit_all(w);
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (chance(w, 2))
            client_keep_position(&w->clients[i]);
        client_leave(&w->clients[i]);
    }
    ref_learn(w);
    if (w->config.has_store && w->committing && chance(w, 2))
        store_keep_batch(w); /* kept, and died before anybody was told */
    store_forget_units(w);
    once_restart(w);
    lp__engine_free(w->engine);
    forget_unkept(w);
    new_clocks(w);
    if (chance(w, 3)) {
        int64_t window_ms = w->config.key_window_ms;
        w->config.key_window_ms = some_key_window(w);
        w->shorter_window = w->shorter_window || w->config.key_window_ms < window_ms;
    }
    world_open(w, false);
    if (w->config.has_store)
        replay(w, clean);
    else
        lose_memory(w);
    once_replayed(w);
    w->had_highest = w->config.has_store && w->stored_highest > 0;
    for (int i = 0; i < w->config.categories; i++)
        w->has_horizon[i] = w->has_horizon[i] || w->stored_horizon[i] > 0;
    w->pending_at = w->life_at = w->event_count;
    w->shown = 0;
    w->given = w->highest;
    if (w->config.has_store && w->given < w->stored_highest)
        w->given = w->stored_highest;
    lp__engine_stats_get(w->engine, &w->base);
    w->counted = (lp__engine_stats){0};
    say(w, "restarted: wall %lld, %zu visible", (long long)w->now.wall_ms, w->visible_count);
}
