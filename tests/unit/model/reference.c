/* The reference: every event ever published and what became of it. */
#include <stdlib.h>
#include <string.h>

#include <longpoll/store.h>

#include "core/engine/event_prepare.h"
#include "world.h"

/* ---- the list -----------------------------------------------------------------------------------
 */

void ref_publish(world *w, lp_event *event, int category, uint64_t number, uint64_t group)
{
    if (w->event_count == w->event_capacity) {
        w->event_capacity = w->event_capacity ? w->event_capacity * 2 : 256;
        w->events = realloc(w->events, w->event_capacity * sizeof(ref_event));
    }
    w->events[w->event_count++] = (ref_event){.event = event,
                                              .seq = lp_event_seq(event),
                                              .number = number,
                                              .group = group,
                                              .category = category,
                                              .fate = PENDING};
}

void ref_show(world *w, ref_event *event)
{
    event->fate = VISIBLE;
    event->shown = w->replaying ? 0 : ++w->shown;
    event->visible_us = w->now.mono_us;
    w->visible_count++;
    w->visible_bytes += lp__event_bytes(event->event);
    if (event->seq > w->highest)
        w->highest = event->seq;
}

void ref_remove(world *w, ref_event *event, lp_removal_reason reason)
{
    if (event->fate == VISIBLE) {
        w->visible_count--;
        w->visible_bytes -= lp__event_bytes(event->event);
    }
    event->fate = REMOVED;
    event->reason = reason;
    event->removal = ++w->removals;
    if (reason != LP_REMOVED_RETRIEVED && event->seq > w->horizon[event->category])
        w->horizon[event->category] = event->seq;
}

ref_event *ref_find(world *w, uint64_t seq)
{
    for (size_t i = w->event_count; i-- > 0 && w->events[i].seq >= seq;) {
        if (w->events[i].seq == seq)
            return &w->events[i];
    }
    return NULL;
}

static bool is_one_of(const ref_event *event, uint32_t mask)
{
    return (mask & ONE_CATEGORY(event->category)) != 0;
}

uint64_t ref_newest_visible(world *w, uint32_t mask)
{
    for (size_t i = w->event_count; i-- > 0;) {
        if (is_one_of(&w->events[i], mask) && w->events[i].fate == VISIBLE)
            return w->events[i].seq;
    }
    return 0;
}

ref_event *ref_next_visible(world *w, uint32_t mask, uint64_t after)
{
    ref_event *next = NULL;
    for (size_t i = w->event_count; i-- > 0 && w->events[i].seq > after;) {
        ref_event *event = &w->events[i];
        if (event->fate == VISIBLE && is_one_of(event, mask))
            next = event;
    }
    return next;
}

ref_event *ref_oldest_visible(world *w, uint32_t mask)
{
    for (size_t i = 0; i < w->event_count; i++) {
        ref_event *event = &w->events[i];
        if (event->fate == VISIBLE && is_one_of(event, mask))
            return event;
    }
    return NULL;
}

size_t ref_count(const world *w, int category, fate which)
{
    size_t count = 0;
    for (size_t i = 0; i < w->event_count; i++)
        count += w->events[i].fate == which && w->events[i].category == category;
    return count;
}

int64_t ref_oldest_pending_ms(const world *w)
{
    for (size_t i = w->pending_at; i < w->event_count; i++) {
        if (w->events[i].fate == PENDING)
            return lp_seq_ms(w->events[i].seq);
    }
    return INT64_MAX;
}

int ref_category_named(const world *w, lp_str name)
{
    for (int i = 0; i < w->config.categories; i++) {
        if (strlen(w->names[i]) == name.len && memcmp(w->names[i], name.base, name.len) == 0)
            return i;
    }
    return -1;
}

uint64_t ref_horizon(const world *w, uint32_t mask, bool overstated)
{
    uint64_t highest = 0;
    for (int i = 0; i < w->config.categories; i++) {
        if (!(mask & ONE_CATEGORY(i)))
            continue;
        if (w->horizon[i] > highest)
            highest = w->horizon[i];
        if (overstated && w->overstated[i] > highest)
            highest = w->overstated[i];
    }
    return highest;
}

uint32_t ref_matches(const world *w, const char *prefix)
{
    uint32_t mask = 0;
    for (int i = 0; i < w->config.categories; i++) {
        if (strncmp(w->names[i], prefix, strlen(prefix)) == 0)
            mask |= ONE_CATEGORY(i);
    }
    return mask;
}

/* ---- cursors ------------------------------------------------------------------------------------
 */

uint64_t ref_cursor(uint64_t highest, bool has_id, int64_t since_ms, lp_id id)
{
    const int64_t last_ms = 0xffffffffffff;
    int64_t ms = since_ms < 0 ? 0 : since_ms > last_ms ? last_ms : since_ms;
    uint64_t all_before = ms > 0 ? lp_seq_last(ms - 1) : 0;
    uint64_t seq = lp_id_seq(id);

    if (!has_id)
        return lp_seq_last(ms); /* later than since */
    if (lp_id_version(id) != 7 || lp_seq_ms(seq) < ms)
        return all_before; /* all of that millisecond */
    if (lp_seq_ms(seq) > ms + 1 || (lp_seq_ms(seq) == ms + 1 && seq > highest))
        return lp_seq_last(ms); /* later than since, or an id that was never given */
    return seq; /* of that millisecond, or of the next: since is of a timeout, and behind the id */
}

/* ---- what the engine removes --------------------------------------------------------------------
 */

static size_t bytes_to_come(const world *w)
{
    return w->resolving == SIZE_MAX ? 0 : lp__event_bytes(w->events[w->resolving].event);
}

/* Whether the bounds of the manager force its oldest event out. */
static bool past_bounds(const world *w)
{
    return w->visible_count >= w->config.events_max ||
           w->visible_bytes + bytes_to_come(w) > w->config.events_bytes_max;
}

/* Who waits to be told at once is told of an event before it has to go for another. */
static void check_shown(world *w, const ref_event *event)
{
    for (int i = 0; i < CLIENTS; i++) {
        const poll *p = w->clients[i].poll;
        if (p && !p->rests && p->flushed && p->exact && p->position < event->seq &&
            p->asks.mask & ONE_CATEGORY(event->category))
            fail(w, "event %llu went before client %d was told of it",
                 (unsigned long long)event->number, i);
    }
}

static void check_removal(world *w, ref_event *event, lp_removal_reason reason)
{
    bool oldest_of_category = ref_oldest_visible(w, ONE_CATEGORY(event->category)) == event;
    bool forgets = w->config.categories_max < (size_t)w->config.categories, right = false;
    if (event->fate != VISIBLE)
        fail(w, "event %llu was removed (%d) and is not visible", (unsigned long long)event->number,
             (int)reason);
    switch (reason) {
    case LP_REMOVED_RING:
        right = oldest_of_category && ref_count(w, event->category, VISIBLE) >= w->config.ring &&
                w->resolving != SIZE_MAX && w->events[w->resolving].category == event->category;
        break;
    case LP_REMOVED_TTL:
        right = lp_seq_ms(event->seq) <= lp__engine_expired_ms(w->engine, w->now) && w->flushing;
        break;
    case LP_REMOVED_BOUND:
        right = forgets ? oldest_of_category
                        : past_bounds(w) && ref_oldest_visible(w, EVERY_CATEGORY) == event;
        break;
    case LP_REMOVED_RETRIEVED:
        right = event->retrieved && w->config.delete_after_first;
        break;
    case LP_REMOVED_REPLAY:
        right = w->replaying;
    }
    if (reason == LP_REMOVED_RING || (reason == LP_REMOVED_BOUND && !forgets))
        check_shown(w, event);
    if (!right)
        fail(w, "event %llu was removed for reason %d, which does not hold",
             (unsigned long long)event->number, (int)reason);
}

static void learn_from_changes(world *w)
{
    lp_batch *batch;
    uint64_t told[CATEGORIES_MAX] = {0};
    if (lp_batch_new(&batch) != LP_OK)
        abort();
    while (lp__engine_changed(w->engine)) {
        if (lp__engine_take_changes(w->engine, w->config.changes_at_once, batch) != LP_OK)
            fail(w, "take_changes failed");
        for (size_t i = 0; i < lp_batch_removal_count(batch); i++) {
            lp_removal removal = lp_batch_removal(batch, i);
            ref_event *event = ref_find(w, removal.seq);
            if (!event)
                fail(w, "a removal of nothing");
            /* told again: after a failed commit, or what replay has skipped or had removed */
            bool again = w->replaying || event->put_back;
            event->put_back = false;
            if (again && event->fate == REMOVED)
                continue;
            check_removal(w, event, removal.reason);
            say(w, "  removed %llu of %d, reason %d", (unsigned long long)event->number,
                event->category, (int)removal.reason);
            ref_remove(w, event, removal.reason);
        }
        for (size_t i = 0; i < lp_batch_horizon_count(batch); i++) {
            lp_horizon horizon = lp_batch_horizon(batch, i);
            int category = ref_category_named(w, horizon.category);
            if (category >= 0)
                told[category] = horizon.seq;
            else if (horizon.category.len > 0)
                fail(w, "the horizon of an unknown category");
            else if (horizon.seq > w->floor_low)
                w->floor_low = w->floor_high = horizon.seq;
        }
        store_take_unit(w, batch);
        lp_batch_clear(batch);
    }
    lp_batch_free(batch);
    for (int i = 0; i < w->config.categories; i++) {
        w->has_horizon[i] = w->has_horizon[i] || told[i] > 0;
        if (told[i] <= w->horizon[i] || told[i] <= w->overstated[i] || w->replaying)
            continue;
        if (!w->may_overstate)
            fail(w, "the horizon %llx of %d is beyond what is gone (%llx)",
                 (unsigned long long)told[i], i, (unsigned long long)w->horizon[i]);
        w->overstated[i] = told[i];
    }
}

/* Without a store the engine only counts; which ones they are follows from the rules. */
static void learn_from_counters(world *w)
{
    lp__engine_stats stats;
    lp__engine_stats_get(w->engine, &stats);
    while (w->counted.expired < stats.expired - w->base.expired) {
        ref_event *event = ref_oldest_visible(w, EVERY_CATEGORY);
        if (!event)
            fail(w, "expired more than there is");
        check_removal(w, event, LP_REMOVED_TTL);
        ref_remove(w, event, LP_REMOVED_TTL);
        w->counted.expired++;
    }
    while (w->counted.evicted < stats.evicted - w->base.evicted) {
        int category = w->resolving == SIZE_MAX ? -1 : w->events[w->resolving].category;
        bool ring_is_full = category >= 0 && ref_count(w, category, VISIBLE) >= w->config.ring;
        ref_event *event =
            ref_oldest_visible(w, ring_is_full ? ONE_CATEGORY(category) : EVERY_CATEGORY);
        if (!event)
            fail(w, "evicted more than there is");
        lp_removal_reason reason = ring_is_full ? LP_REMOVED_RING : LP_REMOVED_BOUND;
        check_removal(w, event, reason);
        ref_remove(w, event, reason);
        w->counted.evicted++;
    }
    for (size_t i = 0; i < w->event_count && w->config.delete_after_first; i++) {
        ref_event *event = &w->events[i];
        if (event->fate == VISIBLE && event->retrieved)
            ref_remove(w, event, LP_REMOVED_RETRIEVED);
    }
}

void ref_learn(world *w)
{
    if (w->config.has_store)
        learn_from_changes(w);
    else
        learn_from_counters(w);
}
