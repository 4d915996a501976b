/* The store beside the engine: commits that come late or fail, crashes, and what comes back.
 *
 * It keeps the log that an append-only store would have, and for each event and category what a
 * database would have; a restart replays the one or the other. */
#include <stdlib.h>

#include <longpoll/store.h>

#include "world.h"

/* ---- what is to be kept -------------------------------------------------------------------------
 */

void store_take_unit(world *w, const lp_batch *batch)
{
    size_t removals = lp_batch_removal_count(batch), horizons = lp_batch_horizon_count(batch);
    unit u = {calloc(removals + horizons + 1, sizeof(change)), 0, lp_batch_highest(batch)};

    for (size_t i = 0; i < horizons; i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        int category = ref_category_named(w, horizon.category);
        u.changes[u.count++] = (change){HORIZON, horizon.seq, category, 0};
    }
    for (size_t i = 0; i < removals; i++) {
        lp_removal removal = lp_batch_removal(batch, i);
        u.changes[u.count++] = (change){REMOVAL, removal.seq, 0, removal.reason};
    }
    if (w->unit_count == w->unit_capacity) {
        w->unit_capacity = w->unit_capacity ? w->unit_capacity * 2 : 64;
        w->units = realloc(w->units, w->unit_capacity * sizeof(unit));
    }
    w->units[w->unit_count++] = u;
}

static void log_record(world *w, record r)
{
    if (w->log_count == w->log_capacity) {
        w->log_capacity = w->log_capacity ? w->log_capacity * 2 : 256;
        w->log = realloc(w->log, w->log_capacity * sizeof(record));
    }
    w->log[w->log_count++] = r;
}

static void keep_change(world *w, const change *c)
{
    if (c->kind == REMOVAL) {
        ref_event *event = ref_find(w, c->seq);
        event->deleted = true;
        log_record(w, (record){LOG_REMOVAL, c->seq, 0});
        return;
    }
    uint64_t *horizon = c->category < 0 ? &w->stored_floor : &w->stored_horizon[c->category];
    if (c->seq > *horizon)
        *horizon = c->seq;
    log_record(w, (record){LOG_HORIZON, c->seq, c->category});
}

/* ---- commits ------------------------------------------------------------------------------------
 */

/* The index of the n-th event that is pending. */
static size_t first_pending(world *w)
{
    while (w->pending_at < w->event_count && w->events[w->pending_at].fate != PENDING)
        w->pending_at++;
    return w->pending_at;
}

void store_begin_commit(world *w)
{
    size_t pending = w->event_count - first_pending(w);
    if (w->committing)
        return;
    ref_learn(w);
    w->batch_events = pending > 3 && chance(w, 3) ? 1 + rnd(w, pending) : pending;
    w->batch_units = w->unit_count > 1 && chance(w, 2) ? rnd(w, w->unit_count) : w->unit_count;
    if (w->batch_events == 0 && w->batch_units == 0)
        return;
    lp_batch *batch;
    if (lp_batch_new(&batch) != LP_OK || lp__engine_take_changes(w->engine, 1, batch) != LP_OK)
        abort();
    w->batch_highest = lp_batch_highest(batch);
    lp_batch_free(batch);
    w->committing = true;
    say(w, "commit of %zu events and %zu changes begins", w->batch_events, w->batch_units);
}

/* Forgets the changes of the batch. */
static void drop_units(world *w)
{
    for (size_t i = 0; i < w->batch_units; i++)
        free(w->units[i].changes);
    for (size_t i = w->batch_units; i < w->unit_count; i++)
        w->units[i - w->batch_units] = w->units[i];
    w->unit_count -= w->batch_units;
    w->batch_units = 0;
}

/* The store has the batch, except for events that it refuses. */
static void keep_batch(world *w)
{
    size_t at = first_pending(w);
    for (size_t i = 0; i < w->batch_events; i++) {
        if (w->config.has_store && chance(w, 40))
            continue;
        w->events[at + i].stored = true;
        if (w->config.has_store)
            log_record(w, (record){LOG_EVENT, w->events[at + i].seq, 0});
    }
    for (size_t i = 0; i < w->batch_units; i++) {
        for (size_t n = 0; n < w->units[i].count; n++)
            keep_change(w, &w->units[i].changes[n]);
    }
    drop_units(w);
    w->stored_highest = w->batch_highest;
}

/* The changes of a batch that failed go back to the engine, which tells them again. */
static void put_back(world *w)
{
    lp_batch *batch;
    if (lp_batch_new(&batch) != LP_OK)
        abort();
    for (size_t i = 0; i < w->batch_units; i++) {
        for (size_t n = 0; n < w->units[i].count; n++) {
            const change *c = &w->units[i].changes[n];
            lp_str name = c->category < 0 ? (lp_str){"", 0} : lp_str_of(w->names[c->category]);
            int status = c->kind == REMOVAL ? lp_batch_add_removal(batch, c->seq, c->reason)
                                            : lp_batch_add_horizon(batch, name, c->seq);
            if (status != LP_OK)
                abort();
            if (c->kind == REMOVAL)
                ref_find(w, c->seq)->put_back = true;
        }
    }
    if (lp__engine_put_back_changes(w->engine, batch) != LP_OK)
        fail(w, "put_back_changes failed");
    lp_batch_free(batch);
    drop_units(w);
}

void store_end_commit(world *w)
{
    if (!w->committing)
        return;
    bool failed = w->config.slow_commits && chance(w, 6);
    say(w, "commit of %zu events %s", w->batch_events, failed ? "fails" : "ends");
    if (failed)
        put_back(w);
    else
        keep_batch(w);
    w->committing = false;
    for (; w->batch_events > 0; w->batch_events--) {
        resolve(w, w->events[first_pending(w)].stored);
        if (chance(w, 10))
            flush(w);
    }
}

static bool nothing_to_keep(world *w)
{
    ref_learn(w);
    return !w->committing && w->unit_count == 0 && first_pending(w) == w->event_count;
}

void store_commit_all(world *w)
{
    while (!nothing_to_keep(w)) {
        store_begin_commit(w);
        store_end_commit(w);
    }
}

/* ---- restarts -----------------------------------------------------------------------------------
 */

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

static void forget_units(world *w)
{
    for (size_t i = 0; i < w->unit_count; i++)
        free(w->units[i].changes);
    w->unit_count = 0;
    w->late_count = 0;
    w->committing = false;
    w->batch_events = w->batch_units = 0;
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
    const ref_event *oldest = ref_oldest_visible(w, event->category);
    if (ref_count(w, event->category, VISIBLE) == w->config.ring && oldest->seq > event->seq)
        return true;
    if (w->config.categories_max < (size_t)w->config.categories)
        return oldest == NULL || oldest->seq > event->seq;
    oldest = ref_oldest_visible(w, -1);
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
    bool from_log = chance(w, 3);
    if (from_log)
        replay_log(w);
    else
        replay_rows(w);
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
 * timeout's timestamp that was told after the last number was given must have passed, and without a
 * store everything must. */
static void new_clocks(world *w)
{
    int64_t least = w->told_ms + 1;
    w->now.mono_ms = (int64_t)rnd(w, 1000000);
    w->now.wall_ms += (int64_t)rnd(w, 3000);
    if (chance(w, 2))
        w->now.wall_ms -= (int64_t)rnd(w, chance(w, 2) ? 5 : 7200000);
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
    for (int i = 0; i < CLIENTS; i++)
        client_leave(&w->clients[i]);
    ref_learn(w);
    if (w->config.has_store && w->committing && chance(w, 2))
        keep_batch(w); /* kept, and died before anybody was told */
    forget_units(w);
    lp__engine_free(w->engine);
    forget_unkept(w);
    new_clocks(w);
    world_open(w, false);
    if (w->config.has_store)
        replay(w, clean);
    else
        lose_memory(w);
    w->pending_at = w->life_at = w->event_count;
    w->given = w->highest;
    if (w->config.has_store && w->given < w->stored_highest)
        w->given = w->stored_highest;
    lp__engine_stats_get(w->engine, &w->base);
    w->counted = (lp__engine_stats){0};
    say(w, "restarted: wall %lld, %zu visible", (long long)w->now.wall_ms, w->visible_count);
}

void store_free(world *w)
{
    forget_units(w);
    free(w->units);
    free(w->log);
}
