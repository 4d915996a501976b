/* See power_cut_world.h. */
#include "power_cut_event.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "power_cut_disk.h"

uint64_t pw_below(pw_world *world, uint64_t limit)
{
    return pc_next(&world->random) % limit;
}

void pw_init(pw_world *world, uint64_t seed)
{
    memset(world, 0, sizeof(*world));
    world->random = seed;
    world->next = 1;
    for (size_t n = 0; n < PW_EVENTS; n++)
        world->events[n].published = world->events[n].removed = PW_NO_BATCH;
}

bool pw_is_full(const pw_world *world)
{
    return world->next + 100 > PW_EVENTS || world->acked + 10 > PW_BATCHES ||
           world->marks[world->acked].keys + 10 > PW_KEYS;
}

/* ---- publishing ------------------------------------------------------------------------------ */

/* Told with the next batch. */
static void remove_event(pw_world *world, uint64_t n, lp_removal_reason reason)
{
    if (world->removal_count == PW_PENDING)
        abort();
    world->removals[world->removal_count++] = (lp_removal){pw_seq(n), reason};
}

static void drop_from_ring(pw_world *world, size_t category, size_t i)
{
    uint64_t *ring = world->ring[category];
    memmove(ring + i, ring + i + 1, (--world->ring_count[category] - i) * sizeof(*ring));
}

/* The oldest event of a category goes; its horizon, told with it, tells of it. */
static void evict_oldest(pw_world *world, size_t category, lp_removal_reason reason)
{
    uint64_t n = world->ring[category][0];
    remove_event(world, n, reason);
    drop_from_ring(world, category, 0);
    if (pw_seq(n) > world->wanted[category])
        world->wanted[category] = pw_seq(n);
}

static void enter_ring(pw_world *world, uint64_t n)
{
    size_t category = pw_category_of(n);
    if (world->ring_count[category] == PW_RING)
        evict_oldest(world, category, LP_REMOVED_RING);
    world->ring[category][world->ring_count[category]++] = n;
}

static void remove_some(pw_world *world)
{
    size_t category = (size_t)pw_below(world, PW_CATEGORIES), count = world->ring_count[category];
    if (count == 0)
        return;
    switch (pw_below(world, 4)) {
    case 0: { /* delete after first retrieval, of any event */
        size_t i = (size_t)pw_below(world, count);
        remove_event(world, world->ring[category][i], LP_REMOVED_RETRIEVED);
        drop_from_ring(world, category, i);
        break;
    }
    case 1:
        while (world->ring_count[category] > count / 2)
            evict_oldest(world, category, LP_REMOVED_TTL);
        break;
    case 2:
        evict_oldest(world, category, LP_REMOVED_BOUND);
        break;
    default:
        break;
    }
}

static void add_horizons(const pw_marks *before, const pw_marks *marks, lp_batch *batch)
{
    for (size_t i = 0; i <= PW_CATEGORIES; i++)
        if (marks->horizons[i] != before->horizons[i])
            lp_batch_add_horizon(batch, pw_category(i), marks->horizons[i]);
}

static void add_removals(pw_world *world, uint32_t index, lp_batch *batch)
{
    for (size_t i = 0; i < world->removal_count; i++) {
        lp_removal removal = world->removals[i];
        pw_event *event = &world->events[pw_number(removal.seq)];
        lp_batch_add_removal(batch, removal.seq, removal.reason);
        if (event->state == PW_EITHER)
            continue; /* it had been removed before, and the start pushed it */
        event->removed = index;
        event->reason = (uint8_t)removal.reason;
    }
    world->removal_count = 0;
}

static void add_events(pw_world *world, pw_marks *marks, uint32_t index, lp_batch *batch)
{
    static const uint64_t most[] = {1, 2, 4, 8, 40};
    uint64_t count = pw_below(world, most[pw_below(world, 5)] + 1);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n = world->next++;
        lp_event *event = pw_event_of(n);
        if (lp_batch_add_event(batch, event) != LP_OK)
            abort();
        lp_event_unref(event);
        world->events[n].published = index;
        enter_ring(world, n);
        marks->highest = pw_seq(n);
    }
}

void pw_publish(pw_world *world, lp_batch *batch)
{
    const pw_marks *before = &world->marks[world->acked];
    pw_marks *marks = &world->marks[world->acked + 1];
    uint32_t index = world->acked;
    char text[PW_KEY_TEXT];
    *marks = *before;
    remove_some(world);
    memcpy(marks->horizons, world->wanted, sizeof(marks->horizons));
    add_removals(world, index, batch);
    add_horizons(before, marks, batch);
    add_events(world, marks, index, batch); /* what these push out goes with the next batch */
    if (pw_below(world, 6) == 0) {
        lp_idempotency record = pw_key(marks->keys++, text);
        if (lp_batch_add_idempotency(batch, &record) != LP_OK)
            abort();
    }
    if (pw_below(world, 16) == 0) {
        world->next += 3; /* numbers that were given and never kept */
        marks->highest = pw_seq(world->next - 1);
    }
    lp_batch_set_highest(batch, marks->highest);
    world->is_flying = true;
}

void pw_acked(pw_world *world, int64_t now_ms)
{
    world->is_flying = false;
    world->marks[++world->acked].acked_ms = now_ms;
}

void pw_synced_up_to(pw_world *world, int64_t acked_ms)
{
    while (world->synced < world->acked && world->marks[world->synced + 1].acked_ms <= acked_ms)
        world->synced++;
}

/* ---- what must be there ---------------------------------------------------------------------- */

pw_expectation pw_expect(const pw_world *world)
{
    return (pw_expectation){.least = world->synced,
                            .acked = world->acked,
                            .most = world->acked + world->is_flying,
                            .owed_floor = world->owed_floor};
}

static bool no(char *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, PW_WHY, format, args);
    va_end(args);
    return false;
}

/* What an event is after k batches. */
static pw_state state_after(const pw_event *event, uint32_t k)
{
    pw_state state = (pw_state)event->state;
    if (event->published != PW_NO_BATCH)
        state = event->published < k ? PW_LIVE : PW_NEVER;
    if (state == PW_LIVE && event->removed != PW_NO_BATCH && event->removed < k)
        state = event->reason == LP_REMOVED_RETRIEVED ? PW_NEVER : PW_EITHER;
    return state;
}

static uint64_t horizon_of(const uint64_t *horizons, size_t i)
{
    return horizons[i] > horizons[PW_CATEGORIES] ? horizons[i] : horizons[PW_CATEGORIES];
}

/* Whether the content is that after the first k batches. */
static bool is_prefix(const pw_world *world, const pw_content *content, uint32_t k, uint32_t most,
                      char *why)
{
    const pw_marks *marks = &world->marks[k];
    for (uint64_t n = 1; n < world->next; n++) {
        pw_state state = state_after(&world->events[n], k);
        if (state == PW_LIVE && !content->has[n])
            return no(why, "after %u batches event %d is missing", k, (int)n);
        if (state == PW_NEVER && content->has[n])
            return no(why, "after %u batches event %d should not be there", k, (int)n);
    }
    for (size_t i = 0; i <= PW_CATEGORIES; i++)
        if (horizon_of(content->horizons, i) != horizon_of(marks->horizons, i))
            return no(why, "after %u batches horizon %d is %d and not %d", k, (int)i,
                      (int)pw_number(horizon_of(content->horizons, i)),
                      (int)pw_number(horizon_of(marks->horizons, i)));
    for (uint64_t i = 0; i < PW_KEYS; i++)
        if (content->has_key[i] != (i < marks->keys && !world->is_key_lost[i]))
            return no(why, "after %u batches key %d is %s", k, (int)i,
                      content->has_key[i] ? "too much" : "missing");
    if (content->highest < marks->highest || content->highest > world->marks[most].highest)
        return no(why, "after %u batches the highest number is %d and not %d", k,
                  (int)pw_number(content->highest), (int)pw_number(marks->highest));
    return true;
}

/* Whether it lies between the least and the most, with anything missing in between. A horizon may
 * have been dropped for one that was lost then: the loss is told, and its floor covers both. */
static bool is_between(const pw_world *world, const pw_expectation *expectation,
                       const pw_content *content, char *why)
{
    uint32_t least = expectation->least, most = expectation->most;
    const pw_marks *low = &world->marks[least], *high = &world->marks[most];
    for (uint64_t n = 1; n < world->next; n++) {
        const pw_event *event = &world->events[n];
        bool was_published = state_after(event, least) != PW_NEVER ||
                             (event->published != PW_NO_BATCH && event->published >= least &&
                              event->published < most);
        if (state_after(event, least) == PW_LIVE && state_after(event, most) == PW_LIVE &&
            !content->has[n])
            return no(why, "event %d was on disk and is missing", (int)n);
        if (!was_published && content->has[n])
            return no(why, "event %d should not be there", (int)n);
    }
    for (size_t i = 0; i <= PW_CATEGORIES; i++)
        if ((horizon_of(content->horizons, i) < horizon_of(low->horizons, i) &&
             low->horizons[i] == high->horizons[i]) ||
            horizon_of(content->horizons, i) > horizon_of(high->horizons, i))
            return no(why, "horizon %d is %d, and was %d to %d", (int)i,
                      (int)pw_number(horizon_of(content->horizons, i)),
                      (int)pw_number(horizon_of(low->horizons, i)),
                      (int)pw_number(horizon_of(high->horizons, i)));
    for (uint64_t i = 0; i < PW_KEYS; i++)
        if (content->has_key[i] ? i >= high->keys || world->is_key_lost[i]
                                : i < low->keys && !world->is_key_lost[i])
            return no(why, "key %d is %s", (int)i, content->has_key[i] ? "too much" : "missing");
    if (content->highest < low->highest || content->highest > high->highest)
        return no(why, "the highest number is %d", (int)pw_number(content->highest));
    return true;
}

/* How many batches the content is; PW_NO_BATCH: no such number. */
static uint32_t find_prefix(const pw_world *world, const pw_expectation *expectation,
                            const pw_content *content, char *why)
{
    for (uint32_t k = expectation->most + 1; k-- > expectation->least;)
        if (is_prefix(world, content, k, expectation->most, why))
            return k;
    is_prefix(world, content, expectation->acked, expectation->most, why);
    return PW_NO_BATCH;
}

bool pw_verify(const pw_world *world, const pw_expectation *expectation, const pw_content *content,
               char *why)
{
    if (content->wrong[0] != '\0')
        return no(why, "%s", content->wrong);
    if (content->losses > 0 && !expectation->may_tell)
        return no(why, "a loss was told: %.200s", content->loss);
    uint32_t k = find_prefix(world, expectation, content, why);
    if (k == PW_NO_BATCH && !(expectation->has_holes && content->losses > 0 &&
                              is_between(world, expectation, content, why)))
        return false;
    if (k < expectation->acked && content->losses == 0)
        return no(why, "%u of %u batches are there and no loss was told", k, expectation->acked);
    if (content->horizons[PW_CATEGORIES] < expectation->owed_floor && content->losses == 0)
        return no(why, "a loss before was told once, and not again before its floor was kept");
    return true;
}

/* ---- going on -------------------------------------------------------------------------------- */

static pw_state adopted_state(const pw_event *event, uint32_t k, uint32_t most,
                              const pw_content *content, uint64_t n)
{
    if (k != PW_NO_BATCH)
        return state_after(event, k);
    if (event->published != PW_NO_BATCH && event->published >= most)
        return PW_NEVER;
    bool was_removed = event->state == PW_EITHER || event->removed != PW_NO_BATCH;
    if (!content->has[n])
        return was_removed ? PW_EITHER : PW_NEVER;
    return pw_seq(n) > content->horizons[pw_category_of(n)] ? PW_LIVE : PW_EITHER;
}

static void adopt_events(pw_world *world, uint32_t k, uint32_t most, const pw_content *content)
{
    world->removal_count = 0;
    memset(world->ring_count, 0, sizeof(world->ring_count));
    for (uint64_t n = 1; n < world->next; n++) {
        pw_event *event = &world->events[n];
        event->state = (uint8_t)adopted_state(event, k, most, content, n);
        event->published = event->removed = PW_NO_BATCH;
        if (event->state == PW_LIVE)
            enter_ring(world, n);
        else if (content->has[n])
            remove_event(world, n, LP_REMOVED_REPLAY);
    }
}

void pw_adopt(pw_world *world, const pw_expectation *expectation, const pw_content *content)
{
    char why[PW_WHY];
    uint32_t k = find_prefix(world, expectation, content, why);
    uint64_t keys = world->marks[expectation->most].keys;
    bool is_missing = k == PW_NO_BATCH || k < expectation->acked;
    for (uint64_t i = 0; i < PW_KEYS; i++)
        world->is_key_lost[i] = i < keys && !content->has_key[i];
    memcpy(world->wanted, content->horizons, sizeof(world->wanted));
    adopt_events(world, k, expectation->most, content);
    pw_marks marks = {.highest = content->highest, .keys = keys};
    memcpy(marks.horizons, content->horizons, sizeof(marks.horizons));
    world->marks[0] = marks;
    world->acked = world->synced = 0;
    world->is_flying = false;
    world->owed_floor = expectation->owed_floor;
    if (content->losses > 0) {
        world->wanted[PW_CATEGORIES] = pw_seq(world->next++);
        if (is_missing)
            world->owed_floor = world->wanted[PW_CATEGORIES];
    }
}

void pw_owe_floor(pw_world *world)
{
    if (!pw_has_floor_to_tell(world))
        world->wanted[PW_CATEGORIES] = pw_seq(world->next++);
}

bool pw_has_floor_to_tell(const pw_world *world)
{
    return world->wanted[PW_CATEGORIES] > world->marks[world->acked].horizons[PW_CATEGORIES];
}
