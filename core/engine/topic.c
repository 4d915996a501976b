/* Topics: what a poll can wait for, a category or a prefix, asked alike. See engine_private.h. */
#include <stdlib.h>
#include <string.h>

#include "engine_private.h"

void lp__topic_init(lp__topic *topic, bool is_prefix)
{
    for (int i = 0; i < LP__READINGS; i++)
        lp__list_init(&topic->waiters[i]);
    lp__list_init(&topic->dirty_link);
    lp__list_init(&topic->unsettled_link);
    topic->is_prefix = is_prefix;
}

lp__category *lp__topic_category(const lp__topic *topic)
{
    return LP__CONTAINER(topic, lp__category, topic);
}

lp__prefix *lp__topic_prefix(const lp__topic *topic)
{
    return LP__CONTAINER(topic, lp__prefix, topic);
}

static lp_str text_of(const lp__topic *topic)
{
    const lp__prefix *prefix = lp__topic_prefix(topic);
    return (lp_str){prefix->text, prefix->len};
}

void lp__topic_pin(lp__topic *topic)
{
    if (topic->is_prefix)
        lp__topic_prefix(topic)->pins++;
    else
        lp__topic_category(topic)->reserved++;
}

static void release(lp__engine *engine, lp__topic *topic)
{
    if (topic->is_prefix)
        lp__prefix_release(engine, lp__topic_prefix(topic));
    else
        lp__category_release(engine, lp__topic_category(topic));
}

void lp__topic_unpin(lp__engine *engine, lp__topic *topic)
{
    if (topic->is_prefix)
        lp__topic_prefix(topic)->pins--;
    else
        lp__topic_category(topic)->reserved--;
    release(engine, topic);
}

void lp__topic_leave(lp__engine *engine, lp__topic *topic)
{
    topic->waiting--;
    if (topic->waiting == 0) {
        lp__list_unlink(&topic->dirty_link);
        lp__list_unlink(&topic->unsettled_link);
    }
    release(engine, topic);
}

bool lp__topic_covers(const lp__topic *topic, const lp__category *category)
{
    if (!topic->is_prefix)
        return topic == &category->topic;
    lp_str text = text_of(topic);
    return category->name_len >= text.len && memcmp(category->name, text.base, text.len) == 0;
}

/* ---- what is there ------------------------------------------------------ */

uint64_t lp__topic_newest(const lp__engine *engine, const lp__topic *topic)
{
    return topic->is_prefix ? lp__index_extent(engine, text_of(topic)).newest
                            : lp__topic_category(topic)->newest;
}

uint64_t lp__topic_horizon(const lp__engine *engine, const lp__topic *topic)
{
    return topic->is_prefix ? lp__index_extent(engine, text_of(topic)).horizon
                            : lp__topic_category(topic)->horizon;
}

uint64_t lp__topic_first_after(const lp__engine *engine, const lp__topic *topic, uint64_t seq)
{
    if (lp__topic_newest(engine, topic) <= seq)
        return 0;
    if (topic->is_prefix)
        return seq + 1;
    const lp__category *category = lp__topic_category(topic);
    return lp_event_seq(lp__category_event(category, lp__category_find_after(category, seq)));
}

typedef struct span {
    uint64_t after, limit;
} span;

static bool has_none(void *ctx, lp__category *category)
{
    const span *these = ctx;
    size_t i = lp__category_find_after(category, these->after);
    return i == category->count || lp_event_seq(lp__category_event(category, i)) > these->limit;
}

bool lp__topic_has(const lp__engine *engine, const lp__topic *topic, uint64_t after, uint64_t limit)
{
    span these = {after, limit};
    if (topic->is_prefix)
        return !lp__index_visit(engine, text_of(topic), &after, has_none, &these);
    return !has_none(&these, lp__topic_category(topic));
}

/* ---- the newest events -------------------------------------------------- */

/* The highest numbers seen so far, a heap with the least of them on top. */
typedef struct newest {
    uint64_t *seqs;
    size_t count, max;
    uint64_t least; /* only what is above this counts; 0 until there are `max` */
    uint64_t limit, mark;
} newest;

static void sift_down(newest *these, size_t at, uint64_t seq)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < these->count && these->seqs[child + 1] < these->seqs[child])
            child++;
        if (child >= these->count || these->seqs[child] >= seq)
            break;
        these->seqs[at] = these->seqs[child];
        at = child;
    }
    these->seqs[at] = seq;
}

static void take(newest *these, uint64_t seq)
{
    if (these->count < these->max) {
        these->seqs[these->count++] = seq;
        if (these->count < these->max)
            return;
        for (size_t i = these->count / 2; i-- > 0;)
            sift_down(these, i, these->seqs[i]);
    } else {
        sift_down(these, 0, seq);
    }
    these->least = these->seqs[0];
}

static bool take_newest(void *ctx, lp__category *category)
{
    newest *these = ctx;
    if (category->topic.mark == these->mark)
        return true;
    category->topic.mark = these->mark;
    for (size_t i = category->count; i-- > 0;) {
        uint64_t seq = lp_event_seq(lp__category_event(category, i));
        if (seq <= these->least)
            break;
        if (seq <= these->limit)
            take(these, seq);
    }
    return true;
}

int lp__topics_position_of_last(lp__engine *engine, const lp__interest *interests,
                                size_t interest_count, size_t count, uint64_t limit, uint64_t *out)
{
    if (count > engine->event_count)
        count = engine->event_count;
    *out = limit;
    if (count == 0)
        return LP_OK;
    newest these = {malloc(count * sizeof(uint64_t)), 0, count, 0, limit, ++engine->marks};
    if (these.seqs == NULL)
        return LP_ENOMEM;
    for (size_t i = 0; i < interest_count; i++) {
        const lp__topic *topic = interests[i].topic;
        if (topic->is_prefix)
            lp__index_visit(engine, text_of(topic), &these.least, take_newest, &these);
        else
            take_newest(&these, lp__topic_category(topic));
    }
    for (size_t i = 0; i < these.count; i++) {
        if (these.seqs[i] - 1 < *out)
            *out = these.seqs[i] - 1;
    }
    free(these.seqs);
    return LP_OK;
}

/* ---- new events --------------------------------------------------------- */

static void mark_dirty(lp__engine *engine, lp__topic *topic)
{
    if (topic->waiting == 0 || !lp__list_is_empty(&topic->dirty_link))
        return;
    lp__list_push_back(&engine->dirty, &topic->dirty_link);
    topic->dirty_seq = engine->visible_seq;
}

void lp__topics_mark_dirty(lp__engine *engine, lp__category *category)
{
    mark_dirty(engine, &category->topic);
    if (engine->prefixes.count == 0 || category->unmatched == engine->prefix_changes)
        return;
    lp_str name = {category->name, category->name_len};
    lp__prefix_walk walk = lp__prefix_walk_begin(engine, name);
    lp__prefix *prefix;
    bool matched = false;
    while ((prefix = lp__prefix_walk_next(engine, &walk)) != NULL) {
        mark_dirty(engine, &prefix->topic);
        matched = true;
    }
    if (!matched)
        category->unmatched = engine->prefix_changes;
}
