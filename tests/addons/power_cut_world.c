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
           world->marks[world->acked].keys + 50 > PW_KEYS;
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

static void add_key(pw_world *world, pw_marks *marks, pw_publication published, lp_batch *keys)
{
    char text[PW_KEY_TEXT];
    lp_idempotency record = pw_key(marks->keys, published, text);
    if (lp_batch_add_idempotency(keys, &record) != LP_OK)
        abort();
    world->keys[marks->keys++] = published;
}

/* Keys are forgotten long before they expire. */
static void forget_keys(pw_world *world, pw_marks *marks, lp_batch *batch)
{
    enum { LIVING = 20 };
    if (marks->keys <= LIVING || pw_below(world, 8) > 0)
        return;
    marks->forgotten = marks->keys - LIVING;
    lp_batch_set_forgotten_keys(batch, pw_expiry_ms(marks->forgotten - 1));
}

static void add_publication(pw_world *world, pw_marks *marks, uint32_t index, uint64_t count,
                            lp_batch *batch)
{
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
    lp_batch_group(batch, (size_t)count);
}

static void add_events(pw_world *world, pw_marks *marks, uint32_t index, lp_batch *batch,
                       lp_batch *keys)
{
    static const uint64_t most[] = {1, 2, 4, 8, 40};
    uint64_t count = pw_below(world, most[pw_below(world, 5)] + 1);
    while (count > 0) {
        uint64_t together = pw_below(world, 3) > 0 ? 1 : 1 + pw_below(world, count);
        pw_publication published = {world->next, (uint32_t)together};
        add_publication(world, marks, index, together, batch);
        if (pw_below(world, 6) == 0)
            add_key(world, marks, published, keys);
        count -= together;
    }
}

void pw_publish(pw_world *world, lp_batch *batch, lp_batch *keys)
{
    const pw_marks *before = &world->marks[world->acked];
    pw_marks *marks = &world->marks[world->acked + 1];
    uint32_t index = world->acked;
    *marks = *before;
    remove_some(world);
    memcpy(marks->horizons, world->wanted, sizeof(marks->horizons));
    add_removals(world, index, batch);
    add_horizons(before, marks, batch);
    forget_keys(world, marks, batch);
    add_events(world, marks, index, batch, keys); /* what they push out goes with the next batch */
    if (pw_below(world, 16) == 0) {
        world->next += 3; /* numbers that were given and never kept */
        marks->highest = pw_seq(world->next - 1);
    }
    lp_batch_set_highest(batch, marks->highest);
    lp_batch_set_highest(keys, marks->highest);
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

/* What is wrong with the keys, of which the first `least` have been kept, and none from `most` on;
 * the first `forgotten` may be there or not. */
static bool has_keys(const pw_world *world, const pw_content *content, uint64_t least,
                     uint64_t most, uint64_t forgotten, char *why)
{
    for (uint64_t i = 0; i < PW_KEYS; i++) {
        const pw_publication *found = &content->keys[i], *right = &world->keys[i];
        bool may_be = i < most && !world->is_key_lost[i];
        bool must_be = may_be && i < least && i >= forgotten;
        if (content->has_key[i] ? !may_be : must_be)
            return no(why, "key %d is %s", (int)i, content->has_key[i] ? "too much" : "missing");
        if (content->has_key[i] && (found->first != right->first || found->count != right->count))
            return no(why, "key %d has another answer", (int)i);
    }
    return true;
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
    if (!has_keys(world, content, marks->keys, marks->keys, world->marks[most].forgotten, why))
        return false;
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
    if (!has_keys(world, content, low->keys, high->keys, high->forgotten, why))
        return false;
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
    pw_marks marks = {.highest = content->highest,
                      .keys = keys,
                      .forgotten = world->marks[expectation->most].forgotten};
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
