/* Polls: who is answered, and when.
 *
 * A poll with an id of ours is answered as soon as there is a visible event behind its position. A
 * poll without one can name nothing finer than a millisecond in its next cursor, so it is told of a
 * millisecond only once that is settled: over, and with no event of it still pending. Then no later
 * event can hide behind the cursor. */
#include "engine_private.h"

enum { HOLD_MAX_MS = 100 };

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

/* ---- the waiters of one topic ------------------------------------------- */

static lp__waiter *waiter_of(lp__list *link)
{
    return LP__CONTAINER(link, lp__interest, link)->waiter;
}

/* Tries all waiters of one list. Those that stay, stay in their order. */
static void try_list(lp__engine *engine, lp__topic *topic, lp__list *list, uint64_t limit_seq)
{
    lp__list these;
    lp__list_take(list, &these);
    lp__topic_pin(topic);
    while (!lp__list_is_empty(&these)) {
        lp__list *link = these.next;
        lp__list_unlink(link);
        if (!lp__waiter_try(engine, waiter_of(link), limit_seq, false))
            lp__list_push_back(list, link);
    }
    lp__topic_unpin(engine, topic);
}

/* Its settled readers have something to wait for from event `seq` on. */
static void await_settling(lp__engine *engine, lp__topic *topic, uint64_t seq)
{
    if (lp__list_is_empty(&topic->unsettled_link)) {
        lp__list_push_back(&engine->unsettled, &topic->unsettled_link);
        topic->unsettled_seq = seq;
    } else if (seq < topic->unsettled_seq) {
        topic->unsettled_seq = seq;
    }
}

/* The newest event of all that it asks for; 0: there is none. */
static uint64_t newest_for(const lp__engine *engine, const lp__waiter *waiter)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < waiter->interest_count; i++) {
        uint64_t seq = lp__topic_newest(engine, waiter->interests[i].topic);
        if (seq > newest)
            newest = seq;
    }
    return newest;
}

/* What is there has to do: they do not wait for what they found when they came. `all` of them, or
 * those for whom that is gone; whether some still wait for it. */
static bool drop_targets(const lp__engine *engine, const lp__list *list, uint64_t settled_seq,
                         bool all)
{
    bool some_left = false;
    for (lp__list *at = list->next; at != list; at = at->next) {
        lp__waiter *waiter = waiter_of(at);
        if (waiter->target > settled_seq && !all && newest_for(engine, waiter) >= waiter->target)
            some_left = true;
        else
            waiter->target = 0;
    }
    return some_left;
}

/* ---- a ring that is about to lose what they were not shown --------------- */

static bool press_topic(lp__engine *engine, lp__topic *topic, uint64_t oldest, uint64_t settled_seq)
{
    bool dirty = !lp__list_is_empty(&topic->dirty_link) && topic->dirty_seq <= oldest;
    bool unsettled = !lp__list_is_empty(&topic->unsettled_link) && topic->unsettled_seq <= oldest;
    bool held = topic->held_seq != 0 && topic->held_seq <= oldest;
    bool settled = (dirty || unsettled || held) && oldest <= settled_seq;
    if (!dirty && !settled)
        return false;
    lp__topic_pin(topic);
    if (dirty)
        try_list(engine, topic, &topic->waiters[LP__READS_VISIBLE], settled_seq);
    if (settled) {
        drop_targets(engine, &topic->waiters[LP__READS_SETTLED], settled_seq, true);
        topic->held_seq = 0;
        try_list(engine, topic, &topic->waiters[LP__READS_SETTLED], settled_seq);
    }
    lp__topic_unpin(engine, topic);
    return true;
}

static bool asks_for(const lp__waiter *waiter, const lp__category *category)
{
    for (size_t i = 0; i < waiter->interest_count; i++) {
        if (lp__topic_covers(waiter->interests[i].topic, category))
            return true;
    }
    return false;
}

/* What looking for those that lose an event may cost between two flushes, in interests looked at:
 * some milliseconds. Past it a poll that has just come may find an event gone, and is told. */
enum { PRESS_BUDGET = 1000000 };

static bool is_affordable(lp__engine *engine, const lp__waiter *waiter)
{
    if (engine->press_cost >= PRESS_BUDGET)
        return false;
    engine->press_cost += waiter->interest_count;
    return true;
}

/* Tries those that came since the last flush and would lose the event `oldest` of the category. */
static void try_fresh(lp__engine *engine, const lp__category *category, uint64_t oldest,
                      uint64_t settled_seq)
{
    lp__list these;
    if (engine->press_cost >= PRESS_BUDGET)
        return;
    lp__list_take(&engine->fresh, &these);
    while (!lp__list_is_empty(&these)) {
        lp__list *link = these.next;
        lp__waiter *waiter = waiter_of(link);
        lp__list_unlink(link);
        bool loses_it = waiter->position < oldest && is_affordable(engine, waiter) &&
                        asks_for(waiter, category);
        if (!loses_it || !lp__waiter_try(engine, waiter, settled_seq, false))
            lp__list_push_back(&engine->fresh, link);
    }
}

void lp__poll_press(lp__engine *engine, lp__category *category)
{
    if (category->topic.waiting == 0 && engine->prefixes.count == 0)
        return;
    uint64_t oldest = lp_event_seq(lp__category_event(category, 0));
    bool is_shown = lp__list_is_empty(&engine->dirty) || oldest <= engine->flushed_seq;
    if (is_shown && lp__list_is_empty(&engine->unsettled))
        return; /* the last flush has shown it to everybody */
    /* Settled readers are told of whole milliseconds even now: the rest of one would hide behind
     * their next cursor, and be lost without a gap. So what they lose here is told as a gap. */
    uint64_t settled_seq = lp_seq_last(lp__engine_settled_ms(engine));
    category->reserved++;
    bool pressed = press_topic(engine, &category->topic, oldest, settled_seq);
    lp_str name = {category->name, category->name_len};
    lp__prefix_walk walk = lp__prefix_walk_begin(engine, name);
    lp__prefix *prefix;
    while ((prefix = lp__prefix_walk_next(engine, &walk)) != NULL)
        pressed |= press_topic(engine, &prefix->topic, oldest, settled_seq);
    if (pressed)
        try_fresh(engine, category, oldest, settled_seq);
    category->reserved--;
    lp__category_release(engine, category);
}

/* ---- flush -------------------------------------------------------------- */

/* Lets a settled reader that could not be answered be tried again when there is something more. */
static void park_settled(lp__engine *engine, const lp__waiter *waiter, lp__topic *topic,
                         uint64_t settled_seq)
{
    uint64_t known = waiter->position > settled_seq ? waiter->position : settled_seq;
    uint64_t unseen = lp__topic_first_after(engine, topic, known);
    if (unseen != 0)
        await_settling(engine, topic, unseen);
    else if (waiter->target == 0)
        return;
    uint64_t held = lp__topic_first_after(engine, topic, waiter->position);
    if (held != 0 && (topic->held_seq == 0 || held < topic->held_seq))
        topic->held_seq = held;
}

/* Lets a poll wait that could not be answered. */
static void park(lp__engine *engine, lp__waiter *waiter, uint64_t settled_seq)
{
    bool settled = waiter->flags & LP__WAITER_SETTLED;
    for (size_t i = 0; i < waiter->interest_count; i++) {
        lp__interest *interest = &waiter->interests[i];
        lp__topic *topic = interest->topic;
        lp__list_push_back(&topic->waiters[settled ? LP__READS_SETTLED : LP__READS_VISIBLE],
                           &interest->link);
        if (settled)
            park_settled(engine, waiter, topic, settled_seq);
    }
}

static void flush_fresh(lp__engine *engine, uint64_t settled_seq)
{
    lp__list these;
    lp__list_take(&engine->fresh, &these);
    while (!lp__list_is_empty(&these)) {
        lp__list *link = these.next;
        lp__waiter *waiter = waiter_of(link);
        lp__list_unlink(link);
        if (waiter->flags & LP__WAITER_SETTLED && holds(engine))
            waiter->target = newest_for(engine, waiter);
        if (!lp__waiter_try(engine, waiter, settled_seq, false))
            park(engine, waiter, settled_seq);
    }
}

static void flush_dirty(lp__engine *engine)
{
    lp__list these;
    lp__list_take(&engine->dirty, &these);
    while (!lp__list_is_empty(&these)) {
        lp__topic *topic = LP__CONTAINER(these.next, lp__topic, dirty_link);
        lp__list_unlink(&topic->dirty_link);
        lp__topic_pin(topic);
        try_list(engine, topic, &topic->waiters[LP__READS_VISIBLE], UINT64_MAX);
        /* Those that came after the event have been told what to wait for, and are behind the
         * others in the list: if the first is one of them, all are. */
        lp__list *settled = &topic->waiters[LP__READS_SETTLED];
        if (!lp__list_is_empty(settled) && waiter_of(settled->next)->position < topic->dirty_seq)
            await_settling(engine, topic, topic->dirty_seq);
        lp__topic_unpin(engine, topic);
    }
}

static void settle(lp__engine *engine, lp__topic *topic, bool held_too_long, uint64_t settled_seq)
{
    lp__list *settled = &topic->waiters[LP__READS_SETTLED];
    try_list(engine, topic, settled, settled_seq);
    uint64_t unseen = lp__topic_first_after(engine, topic, settled_seq);
    if (topic->held_seq != 0 && (held_too_long || unseen == 0)) {
        /* what they waited for takes too long, or was removed */
        if (!drop_targets(engine, settled, settled_seq, held_too_long))
            topic->held_seq = 0;
        try_list(engine, topic, settled, settled_seq);
    }
    if (lp__list_is_empty(settled))
        topic->held_seq = unseen = 0;
    if (unseen != 0)
        await_settling(engine, topic, unseen);
}

static void flush_settled(lp__engine *engine, uint64_t settled_seq)
{
    lp__list these;
    lp__list_take(&engine->unsettled, &these);
    while (!lp__list_is_empty(&these)) {
        lp__topic *topic = LP__CONTAINER(these.next, lp__topic, unsettled_link);
        lp__list_unlink(&topic->unsettled_link);
        bool held_too_long = topic->held_seq != 0 && !holds(engine);
        if (topic->unsettled_seq > settled_seq && !held_too_long) {
            lp__list_push_back(&engine->unsettled, &topic->unsettled_link);
            continue;
        }
        lp__topic_pin(topic);
        settle(engine, topic, held_too_long, settled_seq);
        lp__topic_unpin(engine, topic);
    }
}

static lp__waiter *next_deadline(const lp__engine *engine)
{
    return LP__CONTAINER(engine->deadlines.slots[0].node, lp__waiter, deadline);
}

static void flush_timeouts(lp__engine *engine, int64_t mono_ms, uint64_t settled_seq)
{
    while (engine->deadlines.count > 0 && engine->deadlines.slots[0].key <= (uint64_t)mono_ms) {
        lp__waiter *waiter = next_deadline(engine);
        waiter->target = 0;
        if (!lp__waiter_try(engine, waiter, settled_seq, false))
            lp__waiter_time_out(engine, waiter, false);
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
    engine->flushed_seq = engine->visible_seq;
    engine->press_cost = 0;
    lp__engine_note_slack(engine, now.mono_ms);
}

void lp__engine_dismiss(lp__engine *engine, lp__now now, lp__waiter *waiter)
{
    lp__clock_read(&engine->clock, now);
    if (lp__waiter_waits(waiter))
        lp__waiter_time_out(engine, waiter, true);
}

void lp__engine_drain(lp__engine *engine, lp__now now)
{
    lp__clock_read(&engine->clock, now);
    uint64_t settled_seq = lp_seq_last(lp__engine_settled_ms(engine));
    while (engine->deadlines.count > 0) {
        lp__waiter *waiter = next_deadline(engine);
        if (!lp__waiter_try(engine, waiter, settled_seq, true))
            lp__waiter_time_out(engine, waiter, true);
    }
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
    if (engine->slack_since_ms != INT64_MAX && now - engine->slack_since_ms < LP__SLACK_MS)
        deadline = sooner(deadline, engine->slack_since_ms + LP__SLACK_MS);
    return deadline;
}
