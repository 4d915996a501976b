/* Polls: who is answered what, and when.
 *
 * A poll with an id of ours is answered as soon as there is a visible event behind its position. A
 * poll without one can name nothing finer than a millisecond in its next cursor, so it is told of a
 * millisecond only once that is settled: over, and with no event of it still pending. Then no later
 * event can hide behind the cursor. */
#include <string.h>

#include "engine_private.h"

enum { HOLD_MAX_MS = 100 };

enum {
    READS_SETTLED = 1 << 0,
    HAS_CURSOR = 1 << 1,    /* is told of gaps */
    FROM_ELSEWHERE = 1 << 2 /* its cursor is above every number known: a gap in any case */
};

int64_t lp__engine_settled_ms(const lp__engine *engine)
{
    int64_t before = engine->clock.ms;
    if (engine->pending_count > 0) {
        int64_t pending_ms = lp_event_timestamp_ms(engine->pending[engine->pending_head].event);
        if (pending_ms < before)
            before = pending_ms;
    }
    return before - 1;
}

/* Whether polls without an id still wait for the millisecond of what they found. A store that takes
 * longer than this for a commit does not hold up the rest. */
static bool holds(const lp__engine *engine)
{
    return engine->clock.ms - lp__engine_settled_ms(engine) <= HOLD_MAX_MS;
}

/* ---- coming and going --------------------------------------------------- */

/* What a cursor has: everything up to this number. */
static uint64_t cursor_of(const lp__engine *engine, const lp_query *query)
{
    int64_t ms_max = (INT64_C(1) << 48) - 1;
    int64_t ms = query->since_ms < 0 ? 0 : query->since_ms > ms_max ? ms_max : query->since_ms;
    uint64_t none_of_it = ms == 0 ? 0 : lp_seq_first(ms) - 1;
    if (!query->has_last_id)
        return lp_seq_last(ms);
    if (lp_id_version(query->last_id) != 7)
        return none_of_it;
    uint64_t seq = lp_id_seq(query->last_id);
    if (lp_seq_ms(seq) == ms)
        return seq;
    if (lp_seq_ms(seq) < ms)
        return none_of_it;
    /* A timeout's timestamp stays 1 ms behind what is pending, and so may lie 1 ms behind the last
     * id of a client that keeps it. Then the id tells more exactly what it has. */
    bool from_timeout = lp_seq_ms(seq) == ms + 1 && seq <= engine->clock.last_seq;
    return from_timeout ? seq : lp_seq_last(ms);
}

/* An id that this store does not know: above every number, or between what was replayed and what
 * this life gave out first. It is of a life that was lost, or of another store. */
static bool was_never_given(const lp__engine *engine, uint64_t seq)
{
    bool between_lives =
        engine->replayed_seq != 0 && seq > engine->replayed_seq && seq < engine->first_seq;
    return between_lives || seq > engine->clock.last_seq;
}

int lp__engine_subscribe(lp__engine *engine, lp__now now, const lp_query *query, int64_t timeout_ms,
                         lp__waiter *waiter)
{
    if (engine->waiting >= engine->options.waiters_max)
        return LP_EFULL;
    if (lp__heap_reserve(&engine->deadlines, engine->waiting + 1) != LP_OK)
        return LP_ENOMEM;
    lp__category *category = lp__category_get(engine, query->category);
    if (category == NULL)
        return LP_ENOMEM;
    lp__list_unlink(&category->idle_link);
    category->waiting++;
    engine->waiting++;
    lp__clock_read(&engine->clock, now);

    bool has_seq = query->has_since && query->has_last_id && lp_id_version(query->last_id) == 7;
    waiter->category = category;
    waiter->flags = (uint8_t)((has_seq ? 0 : READS_SETTLED) | (query->has_since ? HAS_CURSOR : 0));
    if (has_seq && was_never_given(engine, lp_id_seq(query->last_id)))
        waiter->flags |= FROM_ELSEWHERE;
    waiter->cursor = query->has_since ? cursor_of(engine, query) : 0;
    waiter->position = query->has_since && waiter->cursor < engine->visible_seq
                           ? waiter->cursor
                           : engine->visible_seq;
    waiter->target = 0;
    waiter->deadline.index = LP__HEAP_NONE;
    lp__heap_push(&engine->deadlines, &waiter->deadline, (uint64_t)(now.mono_ms + timeout_ms));
    lp__list_push_back(&engine->fresh, &waiter->link);
    return LP_OK;
}

lp_id lp__engine_position(const lp__engine *engine, const lp__waiter *waiter)
{
    (void)waiter;
    return lp_id_make(engine->visible_seq, 0);
}

/* Takes the waiter out of everything; its category may be gone afterwards. */
static void leave(lp__engine *engine, lp__waiter *waiter)
{
    lp__category *category = waiter->category;
    waiter->category = NULL;
    lp__list_unlink(&waiter->link);
    lp__heap_remove(&engine->deadlines, &waiter->deadline);
    engine->waiting--;
    category->waiting--;
    if (category->waiting == 0) {
        lp__list_unlink(&category->dirty_link);
        lp__list_unlink(&category->unsettled_link);
    }
    lp__category_release(engine, category);
}

void lp__engine_cancel(lp__engine *engine, lp__waiter *waiter)
{
    if (waiter->category != NULL)
        leave(engine, waiter);
}

/* ---- answers ------------------------------------------------------------ */

/* How many of the events [first, limit) fit an answer. A settled reader gets whole milliseconds,
 * even where a single one is beyond the bound. */
static size_t cut(const lp__engine *engine, const lp__waiter *waiter, size_t first, size_t limit)
{
    const lp__category *category = waiter->category;
    size_t bytes = 0, whole = first;
    for (size_t i = first; i < limit; i++) {
        const lp_event *event = lp__category_event(category, i);
        if (!(waiter->flags & READS_SETTLED) ||
            (i > first && lp_event_timestamp_ms(event) !=
                              lp_event_timestamp_ms(lp__category_event(category, i - 1))))
            whole = i;
        bytes += lp_event_wire(event).len + 1;
        if (bytes > engine->options.answer_bytes_max && whole > first)
            return whole;
    }
    return limit;
}

/* Whether events that the poll asks for are gone. One without a cursor asks for what comes while it
 * waits. */
static bool misses_history(const lp__engine *engine, const lp__waiter *waiter)
{
    uint64_t horizon = waiter->category->horizon;
    if (!(waiter->flags & HAS_CURSOR))
        return waiter->position < horizon;
    return waiter->flags & FROM_ELSEWHERE || waiter->cursor < horizon ||
           waiter->cursor < engine->floor;
}

static void answer_with(lp__engine *engine, lp__waiter *waiter, size_t first, size_t end,
                        bool closing)
{
    lp__category *category = waiter->category;
    size_t count = end - first;
    lp_answer answer = {
        .events = category->ring,
        .event_count = count,
        .timestamp_ms = lp__engine_settled_ms(engine),
        .gap = misses_history(engine, waiter),
        .closing = closing,
    };
    if (count > 0) {
        size_t start = category->head + first;
        if (start >= category->capacity)
            start -= category->capacity;
        answer.events = category->ring + start;
        if (start + count > category->capacity) {
            size_t before_wrap = category->capacity - start;
            memcpy(engine->scratch, answer.events, before_wrap * sizeof(lp_event *));
            memcpy(engine->scratch + before_wrap, category->ring,
                   (count - before_wrap) * sizeof(lp_event *));
            answer.events = engine->scratch;
        }
        engine->stats.delivered += count;
    } else if (!closing) {
        engine->stats.timed_out++;
    }
    engine->stats.answered++;
    category->reserved++; /* the ring stays while the answer is read */
    leave(engine, waiter);
    waiter->answer(waiter, &answer);
    category->reserved--;
    lp__category_release(engine, category);
}

/* Answers the waiter if there is something behind its position, up to `limit_seq`. One that came
 * while newer events were not settled waits for these: whoever publishes and then polls finds all
 * of it in one answer. */
static bool try_answer(lp__engine *engine, lp__waiter *waiter, uint64_t limit_seq, bool closing)
{
    const lp__category *category = waiter->category;
    size_t first = lp__category_find_after(category, waiter->position);
    if (first == category->count || (waiter->target > limit_seq && !closing))
        return false;
    size_t limit = category->count;
    if (waiter->flags & READS_SETTLED)
        limit = lp__category_find_after(category, limit_seq);
    if (first >= limit)
        return false;
    answer_with(engine, waiter, first, cut(engine, waiter, first, limit), closing);
    return true;
}

/* Tries all waiters of one list. Those that stay, stay in their order. */
static void try_list(lp__engine *engine, lp__category *category, lp__list *list, uint64_t limit_seq)
{
    lp__list these;
    lp__list_take(list, &these);
    category->reserved++;
    while (!lp__list_is_empty(&these)) {
        lp__waiter *waiter = LP__CONTAINER(these.next, lp__waiter, link);
        lp__list_unlink(&waiter->link);
        if (!try_answer(engine, waiter, limit_seq, false))
            lp__list_push_back(list, &waiter->link);
    }
    category->reserved--;
}

/* Its settled readers have something to wait for from event `seq` on. */
static void await_settling(lp__engine *engine, lp__category *category, uint64_t seq)
{
    if (lp__list_is_empty(&category->unsettled_link)) {
        lp__list_push_back(&engine->unsettled, &category->unsettled_link);
        category->unsettled_seq = seq;
    } else if (seq < category->unsettled_seq) {
        category->unsettled_seq = seq;
    }
}

static uint64_t first_seq_after(const lp__category *category, uint64_t seq)
{
    size_t i = lp__category_find_after(category, seq);
    return i == category->count ? 0 : lp_event_seq(lp__category_event(category, i));
}

/* What is there has to do: they do not wait for what they found when they came. */
static void drop_targets(const lp__list *list)
{
    for (lp__list *at = list->next; at != list; at = at->next)
        LP__CONTAINER(at, lp__waiter, link)->target = 0;
}

/* Tries those of the category that came since the last flush. */
static void try_fresh(lp__engine *engine, lp__category *category, uint64_t settled_seq)
{
    lp__list these;
    lp__list_take(&engine->fresh, &these);
    while (!lp__list_is_empty(&these)) {
        lp__waiter *waiter = LP__CONTAINER(these.next, lp__waiter, link);
        lp__list_unlink(&waiter->link);
        if (waiter->category != category || !try_answer(engine, waiter, settled_seq, false))
            lp__list_push_back(&engine->fresh, &waiter->link);
    }
}

void lp__poll_press(lp__engine *engine, lp__category *category)
{
    /* Settled readers are told of whole milliseconds even now: the rest of one would hide behind
     * their next cursor, and be lost without a gap. So what they lose here is told as a gap. */
    uint64_t settled_seq = lp_seq_last(lp__engine_settled_ms(engine));
    uint64_t oldest = lp_event_seq(lp__category_event(category, 0));
    bool dirty = !lp__list_is_empty(&category->dirty_link) && category->dirty_seq <= oldest;
    bool unsettled =
        !lp__list_is_empty(&category->unsettled_link) && category->unsettled_seq <= oldest;
    bool held = category->held_seq != 0 && category->held_seq <= oldest;
    bool settled = (dirty || unsettled || held) && oldest <= settled_seq;
    if (!dirty && !settled)
        return;
    category->reserved++;
    if (dirty)
        try_list(engine, category, &category->waiters[LP__READS_VISIBLE], settled_seq);
    if (settled) {
        drop_targets(&category->waiters[LP__READS_SETTLED]);
        category->held_seq = 0;
        try_list(engine, category, &category->waiters[LP__READS_SETTLED], settled_seq);
    }
    try_fresh(engine, category, settled_seq);
    category->reserved--;
    lp__category_release(engine, category);
}

/* ---- flush -------------------------------------------------------------- */

/* Lets a poll wait that could not be answered. */
static void park(lp__engine *engine, lp__waiter *waiter, uint64_t settled_seq)
{
    lp__category *category = waiter->category;
    bool settled = waiter->flags & READS_SETTLED;
    lp__list_push_back(&category->waiters[settled ? LP__READS_SETTLED : LP__READS_VISIBLE],
                       &waiter->link);
    if (!settled)
        return;
    uint64_t known = waiter->position > settled_seq ? waiter->position : settled_seq;
    uint64_t unseen = first_seq_after(category, known);
    if (unseen == 0)
        return;
    await_settling(engine, category, unseen);
    uint64_t held = first_seq_after(category, waiter->position);
    if (category->held_seq == 0 || held < category->held_seq)
        category->held_seq = held;
}

static void flush_fresh(lp__engine *engine, uint64_t settled_seq)
{
    lp__list these;
    lp__list_take(&engine->fresh, &these);
    while (!lp__list_is_empty(&these)) {
        lp__waiter *waiter = LP__CONTAINER(these.next, lp__waiter, link);
        lp__category *category = waiter->category;
        lp__list_unlink(&waiter->link);
        if (waiter->flags & READS_SETTLED && category->count > 0 && holds(engine))
            waiter->target = lp_event_seq(lp__category_event(category, category->count - 1));
        if (!try_answer(engine, waiter, settled_seq, false))
            park(engine, waiter, settled_seq);
    }
}

static void flush_dirty(lp__engine *engine)
{
    lp__list these;
    lp__list_take(&engine->dirty, &these);
    while (!lp__list_is_empty(&these)) {
        lp__category *category = LP__CONTAINER(these.next, lp__category, dirty_link);
        lp__list_unlink(&category->dirty_link);
        category->reserved++;
        try_list(engine, category, &category->waiters[LP__READS_VISIBLE], UINT64_MAX);
        lp__list *settled = &category->waiters[LP__READS_SETTLED];
        if (!lp__list_is_empty(settled)) {
            /* every settled reader that waits has position in common with the others or is behind
             */
            lp__waiter *waiter = LP__CONTAINER(settled->next, lp__waiter, link);
            uint64_t unseen = first_seq_after(category, waiter->position);
            if (unseen != 0)
                await_settling(engine, category, unseen);
        }
        category->reserved--;
        lp__category_release(engine, category);
    }
}

static void flush_settled(lp__engine *engine, uint64_t settled_seq)
{
    lp__list these;
    lp__list_take(&engine->unsettled, &these);
    while (!lp__list_is_empty(&these)) {
        lp__category *category = LP__CONTAINER(these.next, lp__category, unsettled_link);
        lp__list_unlink(&category->unsettled_link);
        bool held_too_long = category->held_seq != 0 && !holds(engine);
        if (category->unsettled_seq > settled_seq && !held_too_long) {
            lp__list_push_back(&engine->unsettled, &category->unsettled_link);
            continue;
        }
        category->reserved++;
        lp__list *settled = &category->waiters[LP__READS_SETTLED];
        try_list(engine, category, settled, settled_seq);
        uint64_t unseen = first_seq_after(category, settled_seq);
        if (category->held_seq != 0 && (held_too_long || unseen == 0)) {
            drop_targets(settled); /* what they waited for takes too long, or was removed */
            category->held_seq = 0;
            try_list(engine, category, settled, settled_seq);
        }
        if (lp__list_is_empty(settled))
            category->held_seq = unseen = 0;
        if (unseen != 0)
            await_settling(engine, category, unseen);
        category->reserved--;
        lp__category_release(engine, category);
    }
}

void lp__engine_dismiss(lp__engine *engine, lp__now now, lp__waiter *waiter)
{
    lp__clock_read(&engine->clock, now);
    if (waiter->category != NULL)
        answer_with(engine, waiter, 0, 0, true);
}

static void flush_timeouts(lp__engine *engine, int64_t mono_ms, uint64_t settled_seq)
{
    while (engine->deadlines.count > 0 && engine->deadlines.slots[0].key <= (uint64_t)mono_ms) {
        lp__waiter *waiter = LP__CONTAINER(engine->deadlines.slots[0].node, lp__waiter, deadline);
        waiter->target = 0;
        if (!try_answer(engine, waiter, settled_seq, false))
            answer_with(engine, waiter, 0, 0, false);
    }
}

void lp__engine_flush(lp__engine *engine, lp__now now)
{
    lp__clock_read(&engine->clock, now);
    lp__engine_expire(engine);
    uint64_t settled_seq = lp_seq_last(lp__engine_settled_ms(engine));
    flush_fresh(engine, settled_seq);
    flush_dirty(engine);
    flush_settled(engine, settled_seq);
    flush_timeouts(engine, now.mono_ms, settled_seq);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t lp__engine_deadline(const lp__engine *engine)
{
    enum { EXPIRY_GRAIN_MS = 100 };
    int64_t now = engine->clock.mono_ms, deadline = INT64_MAX;
    if (!lp__list_is_empty(&engine->fresh) || !lp__list_is_empty(&engine->dirty))
        return now;
    if (engine->deadlines.count > 0)
        deadline = (int64_t)engine->deadlines.slots[0].key;
    /* the next millisecond settles what can settle; what waits for a commit is flushed after it */
    if (!lp__list_is_empty(&engine->unsettled)) {
        int64_t unsettled_ms = engine->clock.ms - lp__engine_settled_ms(engine);
        if (engine->pending_count == 0)
            deadline = sooner(deadline, now + 1);
        else if (unsettled_ms <= HOLD_MAX_MS)
            deadline = sooner(deadline, now + HOLD_MAX_MS + 1 - unsettled_ms);
    }
    if (engine->options.event_ttl_ms > 0 && engine->by_age.count > 0) {
        int64_t expires_ms = lp_seq_ms(engine->by_age.slots[0].key) + engine->options.event_ttl_ms;
        int64_t left = expires_ms > engine->clock.ms ? expires_ms - engine->clock.ms : 0;
        deadline = sooner(deadline, now + left + EXPIRY_GRAIN_MS);
    }
    return deadline;
}

void lp__engine_drain(lp__engine *engine, lp__now now)
{
    lp__clock_read(&engine->clock, now);
    uint64_t settled_seq = lp_seq_last(lp__engine_settled_ms(engine));
    while (engine->deadlines.count > 0) {
        lp__waiter *waiter = LP__CONTAINER(engine->deadlines.slots[0].node, lp__waiter, deadline);
        if (!try_answer(engine, waiter, settled_seq, true))
            answer_with(engine, waiter, 0, 0, true);
    }
}
