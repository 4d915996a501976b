/* Waiters coming, resting and going: what a query asks for, and from where on. */
#include <stdlib.h>
#include <string.h>

#include "engine_private.h"

/* ---- cursors ------------------------------------------------------------ */

/* What a cursor with a time has: everything up to this number. */
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
 * this life gave out first. It is of a life that was lost, or of another store. (The position that
 * this life began with was told to those who came before its first event.) */
static bool was_never_given(const lp__engine *engine, uint64_t seq)
{
    bool between_lives = engine->replayed_seq != 0 && seq > engine->replayed_seq &&
                         seq < engine->first_seq && seq != engine->begun_seq;
    return between_lives || seq > engine->clock.last_seq;
}

static void read_cursor(lp__engine *engine, const lp_query *query, lp__waiter *waiter)
{
    bool is_ours = query->has_last_id && lp_id_version(query->last_id) == 7;
    bool has_seq = is_ours && (query->has_since || query->by_id);
    uint64_t seq = has_seq ? lp_id_seq(query->last_id) : 0;
    uint64_t visible = engine->visible_seq;

    waiter->cursor = visible;
    if (query->has_since)
        waiter->cursor = cursor_of(engine, query);
    else if (query->by_id && query->has_last_id)
        waiter->cursor = seq; /* an id that is none of ours has nothing */
    waiter->position = waiter->cursor < visible ? waiter->cursor : visible;
    waiter->came_seq = visible;
    waiter->target = 0;

    waiter->flags = 0;
    if (!has_seq && !query->by_id && !waiter->is_stream)
        waiter->flags |= LP__WAITER_SETTLED;
    if (query->has_since || (query->by_id && query->has_last_id))
        waiter->flags |= LP__WAITER_HAS_CURSOR;
    if (query->by_id && query->has_last_id && !query->has_since && !is_ours)
        waiter->flags |= LP__WAITER_FROM_ELSEWHERE;
    if (has_seq && was_never_given(engine, seq))
        waiter->flags |= LP__WAITER_FROM_ELSEWHERE;
}

/* A poll that joins with some of what was there before. What is gone of that is no gap. */
static int step_back(lp__engine *engine, const lp_query *query, lp__waiter *waiter)
{
    uint64_t limit = engine->visible_seq, position;
    if (query->last <= 0 || waiter->flags & LP__WAITER_HAS_CURSOR)
        return LP_OK;
    if (waiter->flags & LP__WAITER_SETTLED) {
        uint64_t settled_seq = lp_seq_last(lp__engine_settled_ms(engine));
        limit = settled_seq < limit ? settled_seq : limit;
    }
    int status = lp__topics_position_of_last(engine, waiter->interests, waiter->interest_count,
                                             (size_t)query->last, limit, &position);
    if (status == LP_OK)
        waiter->position = position;
    return status;
}

/* ---- interests ---------------------------------------------------------- */

/* One more interest, unless the waiter has it already. */
static void add(lp__engine *engine, lp__waiter *waiter, lp__topic *topic)
{
    if (topic->mark == engine->marks)
        return;
    topic->mark = engine->marks;
    lp__interest *interest = &waiter->interests[waiter->interest_count++];
    interest->waiter = waiter;
    interest->topic = topic;
    topic->waiting++;
    if (!topic->is_prefix)
        lp__list_unlink(&lp__topic_category(topic)->idle_link);
    else
        waiter->flags |= LP__WAITER_HAS_PREFIX;
}

static int add_category(lp__engine *engine, lp__waiter *waiter, lp_str name)
{
    lp__category *category = lp__category_get(engine, name);
    if (category == NULL)
        return LP_ENOMEM;
    add(engine, waiter, &category->topic);
    return LP_OK;
}

static int add_prefix(lp__engine *engine, lp__waiter *waiter, lp_str text)
{
    lp__prefix *prefix = lp__prefix_get(engine, text);
    if (prefix == NULL)
        return LP_ENOMEM;
    add(engine, waiter, &prefix->topic);
    return LP_OK;
}

static int compare_texts(const void *a, const void *b)
{
    const lp_str *left = a, *right = b;
    size_t len = left->len < right->len ? left->len : right->len;
    int order = memcmp(left->base, right->base, len);
    return order != 0 ? order : left->len < right->len ? -1 : left->len > right->len;
}

/* Of prefixes that begin with each other the shortest says it all, and is in front of the others
 * when they are sorted. Nested ones would have each category looked at as often. */
static int add_prefixes(lp__engine *engine, lp__waiter *waiter, const lp_query *query)
{
    if (query->prefix_count == 1)
        return add_prefix(engine, waiter, query->prefixes[0]);
    if (query->prefix_count == 0)
        return LP_OK;
    lp_str *sorted = malloc(query->prefix_count * sizeof(lp_str));
    if (sorted == NULL)
        return LP_ENOMEM;
    memcpy(sorted, query->prefixes, query->prefix_count * sizeof(lp_str));
    qsort(sorted, query->prefix_count, sizeof(lp_str), compare_texts);
    lp_str last = {"", 0};
    int status = LP_OK;
    for (size_t i = 0; i < query->prefix_count && status == LP_OK; i++) {
        bool is_covered = last.len > 0 && sorted[i].len >= last.len &&
                          memcmp(sorted[i].base, last.base, last.len) == 0;
        if (is_covered)
            continue;
        last = sorted[i];
        status = add_prefix(engine, waiter, last);
    }
    free(sorted);
    return status;
}

/* `waiter->interest_count` says how many have been added, also after a failure. */
static int add_interests(lp__engine *engine, const lp_query *query, lp__waiter *waiter)
{
    int status = LP_OK;
    engine->marks++;
    if (query->category.len > 0)
        status = add_category(engine, waiter, query->category);
    for (size_t i = 0; i < query->category_count && status == LP_OK; i++)
        status = add_category(engine, waiter, query->categories[i]);
    return status == LP_OK ? add_prefixes(engine, waiter, query) : status;
}

/* Gives back the room of names that were given twice: only what counts against interests_max is
 * kept. From here on the interests stay where they are. */
static void fit_interests(lp__waiter *waiter, size_t capacity)
{
    size_t count = waiter->interest_count;
    lp__interest *interests = waiter->interests, *fitted = interests;
    if (count == 1 && interests != &waiter->one) {
        waiter->one = interests[0];
        free(interests);
        fitted = &waiter->one;
    } else if (count > 1 && count < capacity) {
        fitted = realloc(interests, count * sizeof(*interests));
    }
    if (fitted != NULL)
        waiter->interests = fitted;
    for (size_t i = 0; i < count; i++)
        lp__list_init(&waiter->interests[i].link);
}

static void drop_interests(lp__engine *engine, lp__waiter *waiter)
{
    lp__interest *interests = waiter->interests;
    size_t count = waiter->interest_count;
    engine->interest_count -= count;
    waiter->interest_count = 0;
    for (size_t i = 0; i < count; i++) {
        lp__list_unlink(&interests[i].link);
        lp__topic_leave(engine, interests[i].topic);
    }
    if (interests != &waiter->one)
        free(interests);
    waiter->interests = NULL;
}

/* ---- coming ------------------------------------------------------------- */

static int room_for(lp__engine *engine, size_t interests, lp__waiter *waiter)
{
    size_t max = engine->options.interests_max;
    waiter->interest_count = 0;
    waiter->interests = NULL;
    if (engine->waiting >= engine->options.waiters_max)
        return LP_EFULL;
    if (max != 0 && (interests > max || engine->interest_count > max - interests))
        return LP_EFULL;
    if (lp__heap_reserve(&engine->deadlines, engine->waiting + 1) != LP_OK)
        return LP_ENOMEM;
    waiter->interests =
        interests <= 1 ? &waiter->one : malloc(interests * sizeof(*waiter->interests));
    return waiter->interests != NULL ? LP_OK : LP_ENOMEM;
}

/* To be tried by the next flush. */
static void begin_to_wait(lp__engine *engine, lp__waiter *waiter, int64_t deadline_ms)
{
    lp__heap_push(&engine->deadlines, &waiter->deadline, (uint64_t)deadline_ms);
    lp__list_push_back(&engine->fresh, &waiter->interests[0].link);
}

int lp__engine_subscribe(lp__engine *engine, lp__now now, const lp_query *query, int64_t timeout_ms,
                         lp__waiter *waiter)
{
    size_t named = (query->category.len > 0) + query->category_count + query->prefix_count;
    int status = named == 0 ? LP_EINVAL : room_for(engine, named, waiter);
    if (status != LP_OK)
        return status;
    lp__clock_read(&engine->clock, now);
    read_cursor(engine, query, waiter);
    status = add_interests(engine, query, waiter);
    engine->interest_count += waiter->interest_count;
    fit_interests(waiter, named);
    if (status == LP_OK)
        status = step_back(engine, query, waiter);
    if (status != LP_OK) {
        drop_interests(engine, waiter);
        return status;
    }
    engine->waiting++;
    waiter->deadline.index = LP__HEAP_NONE;
    begin_to_wait(engine, waiter, now.mono_ms + timeout_ms);
    return LP_OK;
}

bool lp__waiter_waits(const lp__waiter *waiter)
{
    return waiter->interest_count > 0 && waiter->deadline.index != LP__HEAP_NONE;
}

void lp__engine_continue(lp__engine *engine, lp__now now, int64_t timeout_ms, lp__waiter *waiter)
{
    lp__clock_read(&engine->clock, now);
    if (waiter->interest_count == 0 || lp__waiter_waits(waiter))
        return;
    waiter->came_seq = engine->visible_seq;
    begin_to_wait(engine, waiter, now.mono_ms + timeout_ms);
}

lp_id lp__engine_position(const lp__engine *engine, const lp__waiter *waiter)
{
    (void)engine;
    /* who resumes before it was told that its id was never given here must be told then */
    bool untold = waiter->flags & LP__WAITER_FROM_ELSEWHERE && waiter->cursor > waiter->position;
    return lp_id_make(untold ? waiter->cursor : waiter->position, 0);
}

/* ---- going -------------------------------------------------------------- */

void lp__waiter_rest(lp__engine *engine, lp__waiter *waiter)
{
    for (size_t i = 0; i < waiter->interest_count; i++)
        lp__list_unlink(&waiter->interests[i].link);
    lp__heap_remove(&engine->deadlines, &waiter->deadline);
}

void lp__waiter_leave(lp__engine *engine, lp__waiter *waiter)
{
    if (lp__waiter_waits(waiter))
        lp__heap_remove(&engine->deadlines, &waiter->deadline);
    engine->waiting--;
    drop_interests(engine, waiter);
}

void lp__engine_cancel(lp__engine *engine, lp__waiter *waiter)
{
    if (waiter->interest_count > 0)
        lp__waiter_leave(engine, waiter);
}
