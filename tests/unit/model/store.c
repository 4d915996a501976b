/* The store beside the engine: commits that come late or fail.
 *
 * It keeps the log that an append-only store would have, and for each event and category what a
 * database would have; a restart replays the one or the other (restart.c). */
#include <stdlib.h>

#include <longpoll/store.h>

#include "world.h"

/* ---- what is to be kept -------------------------------------------------------------------------
 */

void store_take_unit(world *w, const lp_batch *batch)
{
    size_t removals = lp_batch_removal_count(batch), horizons = lp_batch_horizon_count(batch);
    unit u = {calloc(removals + horizons + 1, sizeof(change)), 0, lp_batch_highest(batch),
              lp_batch_forgotten_keys_ms(batch)};
    once_forget_until(w, u.keys_forgotten_ms);

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

/* How many of the pending events go along when the first `count` do: groups stay whole. */
static size_t whole_groups(const world *w, size_t count)
{
    size_t at = w->pending_at;
    while (count > 0 && at + count < w->event_count &&
           w->events[at + count].group == w->events[at + count - 1].group)
        count++;
    return count;
}

void store_begin_commit(world *w)
{
    size_t pending = w->event_count - first_pending(w);
    if (w->committing)
        return;
    ref_learn(w);
    w->batch_events = pending > 3 && chance(w, 3) ? 1 + rnd(w, pending) : pending;
    w->batch_events = whole_groups(w, w->batch_events);
    w->batch_units = w->unit_count > 1 && chance(w, 2) ? rnd(w, w->unit_count) : w->unit_count;
    if (w->batch_events == 0 && w->batch_units == 0)
        return;
    lp_batch *batch;
    if (lp_batch_new(&batch) != LP_OK || lp__engine_take_changes(w->engine, 1, batch) != LP_OK)
        abort();
    w->batch_highest = lp_batch_highest(batch);
    w->batch_keys_forgotten_ms = lp_batch_forgotten_keys_ms(batch);
    once_forget_until(w, w->batch_keys_forgotten_ms);
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

static lp_batch *batch_of(world *w, size_t at)
{
    lp_batch *batch;
    if (lp_batch_new(&batch) != LP_OK)
        abort();
    for (size_t i = 0; i < w->batch_events; i++) {
        const ref_event *event = &w->events[at + i];
        bool ends = i + 1 == w->batch_events || event[1].group != event->group;
        if (lp_batch_add_event(batch, event->event) != LP_OK)
            abort();
        if (ends && event->key)
            once_add_to_batch(w, batch, &w->keys[event->key - 1]);
        if (ends)
            lp_batch_group(batch, (size_t)(event->number - event->group) + 1);
    }
    return batch;
}

/* Decides which events the store keeps: it refuses one now and then, and all that were published
 * with it must be refused too, and no other. */
static void refuse_some(world *w, size_t at)
{
    lp_batch *batch = batch_of(w, at);
    for (size_t i = 0; i < w->batch_events; i++)
        w->events[at + i].stored = true;
    for (size_t i = 0; w->config.has_store && i < w->batch_events; i++) {
        if (!chance(w, 40))
            continue;
        lp_batch_fail(batch, i, LP_ETOOBIG, "too large");
        for (size_t n = 0; n < w->batch_events; n++) {
            ref_event *event = &w->events[at + n];
            if (event->group == w->events[at + i].group)
                event->stored = false;
            if (lp_batch_failed(batch, n) == event->stored)
                fail(w, "event %llu was refused, and %llu of group %llu was %s",
                     (unsigned long long)w->events[at + i].number,
                     (unsigned long long)event->number, (unsigned long long)event->group,
                     event->stored ? "too" : "not");
        }
    }
    once_check_batch(w, batch, at, w->batch_events);
    lp_batch_free(batch);
}

/* The store has the batch, except for groups that it refuses. */
void store_keep_batch(world *w)
{
    size_t at = first_pending(w);
    refuse_some(w, at);
    for (size_t i = 0; i < w->batch_events; i++) {
        ref_event *event = &w->events[at + i];
        if (event->stored && w->config.has_store)
            log_record(w, (record){LOG_EVENT, event->seq, 0});
    }
    for (size_t i = 0; i < w->batch_units; i++) {
        for (size_t n = 0; n < w->units[i].count; n++)
            keep_change(w, &w->units[i].changes[n]);
    }
    drop_units(w);
    w->stored_highest = w->batch_highest;
}

/* The changes of a batch that failed go back to the engine, which tells them again, and with them
 * those that were taken ahead for the next one: a removal must not overtake its horizon. */
static void put_back(world *w)
{
    w->batch_units = w->unit_count;
    lp_batch *batch;
    if (lp_batch_new(&batch) != LP_OK)
        abort();
    lp_batch_set_forgotten_keys(batch, w->batch_keys_forgotten_ms);
    for (size_t i = 0; i < w->batch_units; i++) {
        lp_batch_set_forgotten_keys(batch, w->units[i].keys_forgotten_ms);
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
        store_keep_batch(w);
    w->committing = false;
    while (w->batch_events > 0) {
        size_t at = first_pending(w), group = whole_groups(w, 1);
        for (size_t i = 0; i < group; i++)
            resolve(w, w->events[at + i].stored);
        w->batch_events -= group;
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

void store_forget_units(world *w)
{
    for (size_t i = 0; i < w->unit_count; i++)
        free(w->units[i].changes);
    w->unit_count = 0;
    w->late_count = 0;
    w->committing = false;
    w->batch_events = w->batch_units = 0;
}

void store_free(world *w)
{
    store_forget_units(w);
    free(w->units);
    free(w->log);
}
