/* What is asserted about every answer, and about every poll that waits. */
#include <stdlib.h>
#include <string.h>

#include "world.h"

/* The last millisecond that is settled: at least, and at most. */
static int64_t settled_min_ms(const world *w)
{
    int64_t pending_ms = ref_oldest_pending_ms(w);
    return (pending_ms < w->now.wall_ms ? pending_ms : w->now.wall_ms) - 1;
}

static int64_t settled_max_ms(const world *w)
{
    int64_t pending_ms = ref_oldest_pending_ms(w), clock_ms = clock_max_ms(w);
    return (pending_ms < clock_ms ? pending_ms : clock_ms) - 1;
}

/* The bytes of what comes next after an answer: an event, or for a poll without an id all that is
 * visible of its millisecond; 0 when there is nothing that can be told. */
static size_t next_bytes(world *w, const poll *p, uint64_t after)
{
    uint32_t mask = p->asks.mask;
    ref_event *next = ref_next_visible(w, mask, after);
    if (!next)
        return 0;
    if (p->exact)
        return lp_event_wire(next->event).len + 1;
    size_t bytes = 0;
    int64_t ms = lp_seq_ms(next->seq);
    if (ms > settled_min_ms(w))
        return 0;
    for (; next && lp_seq_ms(next->seq) == ms; next = ref_next_visible(w, mask, next->seq))
        bytes += lp_event_wire(next->event).len + 1;
    return bytes;
}

enum { HOLD_MAX_MS = 100 };

/* It waits for the millisecond of what it found when it came, to be told of all of it at once: it
 * may, and it must. */
static bool may_hold(world *w, const poll *p)
{
    return p->target != 0 && lp_seq_ms(p->target) > settled_min_ms(w) &&
           w->now.wall_ms - settled_max_ms(w) <= HOLD_MAX_MS;
}

static bool must_hold(world *w, const poll *p)
{
    const ref_event *target = ref_find(w, p->target);
    return target && target->fate == VISIBLE && lp_seq_ms(p->target) > settled_max_ms(w) &&
           clock_max_ms(w) - settled_min_ms(w) <= HOLD_MAX_MS;
}

/* ---- events -------------------------------------------------------------------------------------
 */

/* They are all that it asks for behind its position, in the order of their numbers. Their bytes. */
static size_t check_each_event(world *w, const poll *p, const lp_answer *answer)
{
    uint64_t at = p->position;
    size_t bytes = 0;
    for (size_t i = 0; i < answer->event_count; i++) {
        const lp_event *event = answer->events[i];
        ref_event *expected = ref_next_visible(w, p->asks.mask, at);
        if (!expected || expected->seq != lp_event_seq(event))
            fail(w, "client %d was told event %llx where %llx comes next", p->client->number,
                 (unsigned long long)lp_event_seq(event),
                 (unsigned long long)(expected ? expected->seq : 0));
        if (strtoull(lp_event_data(event).base + 1, NULL, 10) != expected->number ||
            lp_event_timestamp_ms(event) != lp_seq_ms(expected->seq))
            fail(w, "event %llu has changed", (unsigned long long)expected->number);
        at = expected->seq;
        bytes += lp_event_wire(event).len + 1;
    }
    return bytes;
}

/* A poll without an id is told of whole milliseconds that are settled, and of all that it found
 * when it came at once. */
static void check_settled(world *w, const poll *p, const lp_answer *answer, uint64_t last)
{
    const ref_event *next = ref_next_visible(w, p->asks.mask, last);
    if (w->flushing && !answer->closing && w->now.mono_ms < p->deadline_ms && must_hold(w, p))
        fail(w, "a poll was told of a part of what it found");
    if (lp_seq_ms(last) > settled_max_ms(w))
        fail(w, "a poll without an id was told of %lld, which is not settled",
             (long long)lp_seq_ms(last));
    if (next && lp_seq_ms(next->seq) == lp_seq_ms(last))
        fail(w, "an answer was cut within a millisecond");
}

static void check_events(world *w, const poll *p, const lp_answer *answer)
{
    size_t bytes = check_each_event(w, p, answer);
    const lp_event *first = answer->events[0], *last = answer->events[answer->event_count - 1];
    uint64_t last_seq = lp_event_seq(last);
    bool least = p->exact ? answer->event_count == 1
                          : lp_event_timestamp_ms(first) == lp_event_timestamp_ms(last);
    lp_id last_id = lp_event_id(last);
    if (memcmp(&last_id, &answer->last_id, sizeof(lp_id)) != 0)
        fail(w, "an answer's last id is not that of its last event");
    if (bytes > p->bytes_max && !least)
        fail(w, "an answer of %zu bytes", bytes);
    if (!p->exact)
        check_settled(w, p, answer, last_seq);
    size_t more = w->flushing ? next_bytes(w, p, last_seq) : 0;
    if (more > 0 && bytes + more <= p->bytes_max)
        fail(w, "an answer of %zu bytes left out what would have fit", bytes);
}

/* When the first event became visible, if the poll waited for it. */
static void check_visible_us(world *w, const poll *p, const lp_answer *answer)
{
    const ref_event *first = ref_find(w, lp_event_seq(answer->events[0]));
    uint32_t us = p->waiter.visible_us;
    bool waited = p->flushed && first->shown > p->shown_then;
    if (waited ? us != first->visible_us : us != 0 && us != first->visible_us)
        fail(w, "event %llu became visible at %u us, and an answer says %u",
             (unsigned long long)first->number, first->visible_us, us);
}

/* ---- none ---------------------------------------------------------------------------------------
 */

void check_position(world *w, const poll *p, lp_id position)
{
    uint64_t seq = lp_id_seq(position);
    if (lp_id_version(position) != 7)
        fail(w, "client %d was given a position that is no id of ours", p->client->number);
    if (p->from_elsewhere && seq == p->cursor)
        return; /* what it came with, until it is told of its gap */
    for (size_t i = w->event_count; i-- > 0 && w->events[i].seq > p->position;) {
        const ref_event *event = &w->events[i];
        if ((event->fate == VISIBLE || event->fate == PENDING) && event->seq <= seq &&
            p->asks.mask & ONE_CATEGORY(event->category))
            fail(w, "client %d was given a position %llx past event %llx, which it has not",
                 p->client->number, (unsigned long long)seq, (unsigned long long)event->seq);
    }
    if (seq > w->given && seq > w->floor_high && seq > w->base.highest && seq > w->highest)
        fail(w, "client %d was given the position %llx, which is above all numbers",
             p->client->number, (unsigned long long)seq);
}

/* One that is dismissed may leave events untold, and says so by a timestamp and a position before
 * them: what the client makes of these is checked there. */
static void check_timeout(world *w, const poll *p, const lp_answer *answer)
{
    uint64_t position = lp_id_seq(answer->last_id);
    bool untold = w->dismissing && ref_next_visible(w, p->asks.mask, p->position) != NULL;
    if (!answer->closing && w->now.mono_ms < p->deadline_ms)
        fail(w, "a poll timed out %lld ms early", (long long)(p->deadline_ms - w->now.mono_ms));
    if (next_bytes(w, p, p->position) > 0 && !untold)
        fail(w, "a poll timed out and there is something to tell");
    if ((answer->timestamp_ms < settled_min_ms(w) && !untold) ||
        answer->timestamp_ms > settled_max_ms(w))
        fail(w, "a timeout's timestamp %lld is not within %lld and %lld",
             (long long)answer->timestamp_ms, (long long)settled_min_ms(w),
             (long long)settled_max_ms(w));
    if (answer->timestamp_ms > w->told_ms)
        w->told_ms = answer->timestamp_ms;
    check_position(w, p, answer->last_id);
    if (p->exact && !untold && position < w->highest)
        fail(w, "a timeout's position %llx is behind %llx", (unsigned long long)position,
             (unsigned long long)w->highest);
    if (p->exact && !untold && position < w->floor_low)
        fail(w, "a timeout's position %llx is below the floor %llx", (unsigned long long)position,
             (unsigned long long)w->floor_low);
}

/* ---- gaps ---------------------------------------------------------------------------------------
 */

/* Whether events behind the position of a stream went since its last answer, which would have told.
 */
static bool has_lost_more(const world *w, const poll *p)
{
    for (size_t i = w->event_count; i-- > 0 && w->events[i].seq > p->position;) {
        const ref_event *event = &w->events[i];
        if (event->fate == REMOVED && event->reason != LP_REMOVED_RETRIEVED &&
            event->removal > p->removals_told && p->asks.mask & ONE_CATEGORY(event->category))
            return true;
    }
    return false;
}

/* A floor that rises while a stream lasts says nothing about what it asks for. */
bool must_tell_gap(const world *w, const poll *p)
{
    uint64_t horizon = ref_horizon(w, p->asks.mask, false);
    uint64_t floor = p->is_stream ? p->floor_then : w->floor_low;
    if (p->was_answered)
        return has_lost_more(w, p);
    if (!p->has_cursor) /* it asks for what comes while it waits */
        return horizon > p->visible_then;
    return p->from_elsewhere || p->cursor < horizon || p->cursor < floor;
}

static bool may_tell_gap(const world *w, const poll *p)
{
    uint64_t horizon = ref_horizon(w, p->asks.mask, true);
    if (!p->has_cursor && !p->was_answered)
        return (horizon > p->position && horizon > p->gone_then) ||
               (p->asks.prefix_count > 0 && w->floor_high > p->visible_then);
    return p->maybe_elsewhere || p->cursor < horizon || p->cursor < w->floor_high;
}

static void check_gap(world *w, const poll *p, const lp_answer *answer)
{
    bool must = must_tell_gap(w, p), may = may_tell_gap(w, p);
    if (answer->gap ? !may : must)
        fail(w,
             "client %d was %s: cursor %llx, position %llx, horizon %llx, floor between %llx and "
             "%llx",
             p->client->number, must ? "not told of a gap" : "told of a gap where none is",
             (unsigned long long)p->cursor, (unsigned long long)p->position,
             (unsigned long long)ref_horizon(w, p->asks.mask, false),
             (unsigned long long)w->floor_low, (unsigned long long)w->floor_high);
}

void check_answer(world *w, const poll *p, const lp_answer *answer)
{
    check_gap(w, p, answer);
    if (answer->event_count > 0) {
        check_events(w, p, answer);
        check_visible_us(w, p, answer);
    } else {
        check_timeout(w, p, answer);
    }
}

/* ---- where a poll with last=N begins ------------------------------------------------------------
 */

/* Whether as many events as it should of those up to `limit_ms` come after `position`. */
static bool begins_right(const world *w, uint32_t mask, uint64_t position, int64_t limit_ms,
                         uint64_t last)
{
    uint64_t all = 0, told = 0;
    for (size_t i = 0; i < w->event_count; i++) {
        const ref_event *event = &w->events[i];
        bool counts = event->fate == VISIBLE && mask & ONE_CATEGORY(event->category) &&
                      lp_seq_ms(event->seq) <= limit_ms;
        all += counts;
        told += counts && event->seq > position;
    }
    return told == (all < last ? all : last);
}

void check_begin(world *w, poll *p, int64_t last)
{
    uint64_t position = p->waiter.position;
    uint32_t mask = p->asks.mask;
    int64_t least_ms = p->exact ? INT64_MAX : settled_min_ms(w);
    int64_t most_ms = p->exact ? INT64_MAX : settled_max_ms(w);
    bool right = begins_right(w, mask, position, least_ms, (uint64_t)last) ||
                 begins_right(w, mask, position, most_ms, (uint64_t)last);
    for (size_t i = 0; i < w->event_count && !right; i++) {
        int64_t ms = lp_seq_ms(w->events[i].seq); /* where exactly the engine's clock may be */
        right =
            ms > least_ms && ms < most_ms && begins_right(w, mask, position, ms, (uint64_t)last);
    }
    if (!right)
        fail(w, "client %d asks for the last %lld and begins behind %llx", p->client->number,
             (long long)last, (unsigned long long)position);
    p->position = position;
    p->gone_then = ref_horizon(w, mask, true);
}

/* ---- after a flush ------------------------------------------------------------------------------
 */

static void check_waiting(world *w, const poll *p, int64_t deadline_ms)
{
    int number = p->client->number;
    if (p->deadline_ms < deadline_ms)
        fail(w, "client %d times out at %lld, and the engine wants to be called at %lld", number,
             (long long)p->deadline_ms, (long long)deadline_ms);
    if (!p->flushed)
        return;
    if (p->deadline_ms <= w->now.mono_ms)
        fail(w, "client %d has timed out and still waits", number);
    if (next_bytes(w, p, p->position) > 0 && !may_hold(w, p))
        fail(w, "client %d waits, and there is something to tell", number);
    const ref_event *unseen = ref_next_visible(w, p->asks.mask, p->position);
    if (unseen && lp_seq_ms(unseen->seq) < ref_oldest_pending_ms(w) && !may_hold(w, p) &&
        deadline_ms > w->now.mono_ms + 1)
        fail(w, "client %d waits for a millisecond to pass, and the engine does not", number);
}

void check_waiting_clients(world *w)
{
    int64_t deadline_ms = lp__engine_deadline(w->engine);
    for (int i = 0; i < CLIENTS; i++) {
        const poll *p = w->clients[i].poll;
        if (p && !p->rests)
            check_waiting(w, p, deadline_ms);
    }
}
