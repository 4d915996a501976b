/* What a waiter is answered: the events behind its position, of one ring as they lie there, of
 * several merged by their numbers.
 *
 * The arrays of an answer over several rings are the engine's and are used by one answer at a time:
 * no answer is given from within another. */
#include <stdlib.h>
#include <string.h>

#include "engine_private.h"

enum { SCRATCH_KEPT = 4096 }; /* runs, and events, for which the room is kept after an answer */

/* ---- where an answer ends ----------------------------------------------- */

/* Counts events until they are too many for an answer, which then ends at `whole`. A settled reader
 * gets whole milliseconds, even where a single one is beyond the bound. */
typedef struct cutter {
    size_t bytes_max, bytes, count, whole;
    int64_t last_ms;
    bool is_settled;
} cutter;

static cutter cutter_for(const lp__engine *engine, const lp__waiter *waiter)
{
    return (cutter){.bytes_max = waiter->answer_bytes_max != 0 ? waiter->answer_bytes_max
                                                               : engine->options.answer_bytes_max,
                    .is_settled = waiter->flags & LP__WAITER_SETTLED};
}

/* Where very many rings have something, looking at them is most of the work, and a small answer has
 * the next one look at them all again: so it is made worth that, within the engine's bound. */
static void widen_for(cutter *cut, const lp__engine *engine, size_t rings)
{
    enum { RINGS_CHEAP = 4096, BYTES_A_RING = 8 };
    if (rings <= RINGS_CHEAP)
        return;
    size_t worth = rings * BYTES_A_RING, max = engine->options.answer_bytes_max;
    if (worth > max)
        worth = max;
    if (cut->bytes_max < worth)
        cut->bytes_max = worth;
}

static bool takes(cutter *cut, const lp_event *event)
{
    int64_t ms = lp_event_timestamp_ms(event);
    if (!cut->is_settled || (cut->count > 0 && ms != cut->last_ms))
        cut->whole = cut->count;
    cut->last_ms = ms;
    cut->bytes += lp_event_wire(event).len + 1;
    if (cut->bytes > cut->bytes_max && cut->whole > 0)
        return false;
    cut->count++;
    return true;
}

/* ---- answering ---------------------------------------------------------- */

/* Whether events that the poll asks for are gone. One without a cursor asks for what comes while it
 * waits: its categories are not forgotten meanwhile, but those of its prefixes may be, and then the
 * floor alone tells of them. */
static bool misses_history(const lp__engine *engine, const lp__waiter *waiter)
{
    if (waiter->flags & LP__WAITER_FROM_ELSEWHERE)
        return true;
    if (waiter->flags & (LP__WAITER_HAS_CURSOR | LP__WAITER_HAS_PREFIX) &&
        waiter->cursor < engine->floor)
        return true;
    for (size_t i = 0; i < waiter->interest_count; i++) {
        if (waiter->cursor < lp__topic_horizon(engine, waiter->interests[i].topic))
            return true;
    }
    return false;
}

/* From here on it has everything up to `seq`, and has been told what is missing of that. */
static void move_to(lp__waiter *waiter, uint64_t seq)
{
    waiter->position = waiter->cursor = seq;
    waiter->flags &= (uint8_t) ~(LP__WAITER_FROM_ELSEWHERE | LP__WAITER_HAS_CURSOR);
}

/* `position`: what the poll has after this. */
static void answer_with(lp__engine *engine, lp__waiter *waiter, lp_answer *answer,
                        uint64_t position)
{
    size_t count = answer->event_count;
    answer->gap = misses_history(engine, waiter);
    waiter->visible_us = 0;
    if (count > 0 && lp_event_seq(answer->events[0]) > waiter->came_seq)
        waiter->visible_us = lp__event_visible_us(answer->events[0]);
    engine->stats.answered++;
    engine->stats.delivered += count;
    engine->stats.timed_out += count == 0 && !answer->closing && !waiter->is_stream;
    engine->stats.gaps += answer->gap;
    if (waiter->is_stream) {
        move_to(waiter, position);
        lp__waiter_rest(engine, waiter);
    } else {
        lp__waiter_leave(engine, waiter);
    }
    waiter->answer(waiter, answer);
}

static void answer_events(lp__engine *engine, lp__waiter *waiter, lp_event *const *events,
                          size_t count, bool is_all, bool closing)
{
    lp_event *last = events[count - 1];
    lp_answer answer = {
        .events = events,
        .event_count = count,
        .timestamp_ms = lp__engine_settled_ms(engine),
        .closing = closing,
        .last_id = lp_event_id(last),
    };
    bool has_all = is_all && !(waiter->flags & LP__WAITER_SETTLED);
    answer_with(engine, waiter, &answer, has_all ? engine->visible_seq : lp_event_seq(last));
}

/* Whether there is something that it could be told and will not be: it is dismissed, or there is no
 * memory to tell it. */
static bool has_untold(const lp__engine *engine, const lp__waiter *waiter, uint64_t limit_seq)
{
    if (waiter->position >= engine->visible_seq)
        return false;
    for (size_t i = 0; i < waiter->interest_count; i++) {
        if (lp__topic_has(engine, waiter->interests[i].topic, waiter->position, limit_seq))
            return true;
    }
    return false;
}

void lp__waiter_time_out(lp__engine *engine, lp__waiter *waiter, bool closing)
{
    lp_answer answer = {
        .timestamp_ms = lp__engine_settled_ms(engine),
        .closing = closing,
    };
    bool settled = waiter->flags & LP__WAITER_SETTLED;
    uint64_t settled_seq = lp_seq_last(answer.timestamp_ms);
    uint64_t position =
        settled && settled_seq < engine->visible_seq ? settled_seq : engine->visible_seq;
    if (position < waiter->position)
        position = waiter->position;
    if (has_untold(engine, waiter, settled ? settled_seq : UINT64_MAX)) {
        /* neither the timestamp nor the id may pass it */
        position = waiter->position;
        int64_t told_ms = lp_seq_ms(position + 1) - 1;
        /* nor may it fall behind a cursor that was ahead of all that was visible: that would tell
         * the rest of its millisecond again */
        if (waiter->cursor > position && !has_untold(engine, waiter, waiter->cursor))
            told_ms = lp_seq_ms(waiter->cursor + 1) - 1;
        if (told_ms < answer.timestamp_ms)
            answer.timestamp_ms = told_ms;
    }
    answer.last_id = lp_id_make(position, 0);
    answer_with(engine, waiter, &answer, position);
}

/* ---- of one ring -------------------------------------------------------- */

/* `count` events of the ring from `at` on: as they lie there, or where they wrap around its end a
 * copy in engine->merged. NULL: out of memory for that. */
static lp_event *const *slice(lp__engine *engine, const lp__category *category, size_t at,
                              size_t count)
{
    size_t start = category->head + at;
    if (start >= category->capacity)
        start -= category->capacity;
    if (start + count <= category->capacity)
        return category->ring + start;
    if (!lp__reserve(&engine->merged, &engine->merged_capacity, count, sizeof(lp_event *)))
        return NULL;
    size_t before_wrap = category->capacity - start;
    memcpy(engine->merged, category->ring + start, before_wrap * sizeof(lp_event *));
    memcpy(engine->merged + before_wrap, category->ring,
           (count - before_wrap) * sizeof(lp_event *));
    return engine->merged;
}

static bool answer_slice(lp__engine *engine, lp__waiter *waiter, const lp__run *run, bool closing)
{
    lp__category *category = run->category;
    cutter cut = cutter_for(engine, waiter);
    size_t at = run->at;
    while (at < run->end && takes(&cut, lp__category_event(category, at)))
        at++;
    bool is_all = at == run->end;
    size_t count = is_all ? cut.count : cut.whole;
    lp_event *const *events = slice(engine, category, run->at, count);
    if (events == NULL)
        return false;
    category->reserved++; /* the ring stays while the answer is read */
    answer_events(engine, waiter, events, count, is_all, closing);
    category->reserved--;
    lp__category_release(engine, category);
    return true;
}

/* ---- of several --------------------------------------------------------- */

static bool find_run(const lp__category *category, uint64_t position, uint64_t limit_seq,
                     lp__run *out)
{
    if (category->newest <= position)
        return false;
    size_t at = lp__category_find_after(category, position);
    size_t end = limit_seq >= category->newest ? category->count
                                               : lp__category_find_after(category, limit_seq);
    if (at >= end)
        return false;
    *out = (lp__run){lp_event_seq(lp__category_event(category, at)), (lp__category *)category, at,
                     end};
    return true;
}

typedef struct collection {
    lp__engine *engine;
    uint64_t position;
    bool overlaps; /* a category may come up twice */
} collection;

/* False: out of memory. */
static bool collect_category(void *ctx, lp__category *category)
{
    const collection *these = ctx;
    lp__engine *engine = these->engine;
    if (category->newest <= these->position)
        return true;
    if (these->overlaps && category->topic.mark == engine->marks)
        return true;
    if (these->overlaps)
        category->topic.mark = engine->marks;
    if (!lp__reserve(&engine->runs, &engine->run_capacity, engine->run_count + 1, sizeof(lp__run)))
        return false;
    uint64_t first = engine->by_age.slots[category->by_age.index].key;
    if (first <= these->position)
        first = these->position + 1;
    engine->runs[engine->run_count++] = (lp__run){first, category, 0, 0};
    return true;
}

/* Finds the rings that may have events for an answer, each once. None of them is looked at yet:
 * where they are many, most of them are for a later answer, and what is in them is not in the
 * processor's cache. False: out of memory. */
static bool collect(lp__engine *engine, const lp__waiter *waiter)
{
    collection these = {engine, waiter->position, waiter->interest_count > 1};
    engine->run_count = 0;
    engine->marks++;
    for (size_t i = 0; i < waiter->interest_count; i++) {
        const lp__topic *topic = waiter->interests[i].topic;
        if (!topic->is_prefix) {
            if (!collect_category(&these, lp__topic_category(topic)))
                return false;
            continue;
        }
        const lp__prefix *prefix = lp__topic_prefix(topic);
        if (!lp__index_visit(engine, (lp_str){prefix->text, prefix->len}, &these.position,
                             collect_category, &these))
            return false;
    }
    return true;
}

/* The runs are a heap with the oldest event on top. */
static void sift_down(lp__run *runs, size_t count, size_t at)
{
    lp__run run = runs[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < count && runs[child + 1].seq < runs[child].seq)
            child++;
        if (child >= count || runs[child].seq >= run.seq)
            break;
        runs[at] = runs[child];
        at = child;
    }
    runs[at] = run;
}

/* Moves on to the next event of the topmost run, or takes out the run. How many runs there are. */
static size_t advance(lp__run *runs, size_t count, const lp__waiter *waiter, uint64_t limit_seq)
{
    lp__run *top = &runs[0];
    bool is_new = top->end == 0;
    if (!is_new)
        top->at++;
    if (is_new ? !find_run(top->category, waiter->position, limit_seq, top) : top->at == top->end)
        *top = runs[--count];
    else
        top->seq = lp_event_seq(lp__category_event(top->category, top->at));
    if (count > 0)
        sift_down(runs, count, 0);
    return count;
}

/* Merges what fits an answer into engine->merged; how many events that are: 0 when there are none,
 * or no memory for them. */
static size_t merge(lp__engine *engine, const lp__waiter *waiter, uint64_t limit_seq, bool *is_all)
{
    lp__run *runs = engine->runs;
    size_t count = engine->run_count;
    cutter cut = cutter_for(engine, waiter);
    widen_for(&cut, engine, count);
    for (size_t i = count / 2; i-- > 0;)
        sift_down(runs, count, i);
    for (; count > 0; count = advance(runs, count, waiter, limit_seq)) {
        if (runs[0].end == 0)
            continue;
        lp_event *event = lp__category_event(runs[0].category, runs[0].at);
        bool fits = takes(&cut, event);
        if (fits &&
            !lp__reserve(&engine->merged, &engine->merged_capacity, cut.count, sizeof(lp_event *)))
            fits = false;
        if (!fits) {
            *is_all = false;
            return cut.whole;
        }
        engine->merged[cut.count - 1] = event;
    }
    *is_all = true;
    return cut.count;
}

static void give_back(lp__engine *engine)
{
    if (engine->run_capacity > SCRATCH_KEPT) {
        free(engine->runs);
        engine->runs = NULL;
        engine->run_capacity = 0;
    }
    if (engine->merged_capacity > SCRATCH_KEPT) {
        free(engine->merged);
        engine->merged = NULL;
        engine->merged_capacity = 0;
    }
}

/* With one ring its events are answered as they lie there, without a copy. */
static bool answer_runs(lp__engine *engine, lp__waiter *waiter, uint64_t limit_seq, bool closing)
{
    if (engine->run_count == 1) {
        lp__run only;
        if (!find_run(engine->runs[0].category, waiter->position, limit_seq, &only))
            return false;
        return answer_slice(engine, waiter, &only, closing);
    }
    bool is_all;
    size_t count = merge(engine, waiter, limit_seq, &is_all);
    if (count > 0)
        answer_events(engine, waiter, engine->merged, count, is_all, closing);
    return count > 0;
}

static bool try_wide(lp__engine *engine, lp__waiter *waiter, uint64_t limit_seq, bool closing)
{
    bool answered = collect(engine, waiter) && engine->run_count > 0 &&
                    answer_runs(engine, waiter, limit_seq, closing);
    give_back(engine);
    return answered;
}

bool lp__waiter_try(lp__engine *engine, lp__waiter *waiter, uint64_t limit_seq, bool closing)
{
    if (waiter->position >= engine->visible_seq || (waiter->target > limit_seq && !closing))
        return false;
    uint64_t limit = waiter->flags & LP__WAITER_SETTLED ? limit_seq : UINT64_MAX;
    const lp__topic *topic = waiter->interests[0].topic;
    if (waiter->interest_count > 1 || topic->is_prefix)
        return try_wide(engine, waiter, limit, closing);
    lp__run run;
    if (!find_run(lp__topic_category(topic), waiter->position, limit, &run))
        return false;
    bool answered = answer_slice(engine, waiter, &run, closing);
    give_back(engine);
    return answered;
}
