/* What a replay pushed, and marks: horizons and idempotency keys by their names. One thread. */
#include "kit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *lp__grown(void *array, size_t *capacity, size_t count, size_t element)
{
    if (count < *capacity)
        return array;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    array = realloc(array, wanted * element);
    if (array)
        *capacity = wanted;
    return array;
}

bool lp__same(lp_str a, lp_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

/* ---- marks: horizons and keys -----------------------------------------------------------------
 */

static lp__mark *find(const lp__marks *marks, lp_str name)
{
    for (size_t i = 0; i < marks->count; i++)
        if (lp__same((lp_str){marks->items[i].name, marks->items[i].len}, name))
            return &marks->items[i];
    return NULL;
}

const lp__mark *lp__marks_find(const lp__marks *marks, lp_str name)
{
    return find(marks, name);
}

bool lp__marks_set(lp__marks *marks, lp_str name, const lp_idempotency *record)
{
    lp__mark *mark = find(marks, name);
    if (!mark) {
        lp__mark *items = lp__grown(marks->items, &marks->capacity, marks->count, sizeof(*items));
        if (!items)
            return false;
        marks->items = items;
        char *copy = malloc(name.len + 1);
        if (!copy)
            return false;
        if (name.len)
            memcpy(copy, name.base, name.len);
        mark = &items[marks->count++];
        mark->name = copy;
        mark->len = name.len;
    }
    mark->record = *record;
    return true;
}

void lp__marks_clear(lp__marks *marks)
{
    for (size_t i = 0; i < marks->count; i++)
        free(marks->items[i].name);
    free(marks->items);
    memset(marks, 0, sizeof(*marks));
}

bool lp__marks_cover(const lp__marks *horizons, const lp_event *event)
{
    const lp__mark *floor = find(horizons, (lp_str){"", 0});
    const lp__mark *own = find(horizons, lp_event_category(event));
    uint64_t seq = lp_event_seq(event);
    return (floor && seq <= floor->record.seq) || (own && seq <= own->record.seq);
}

/* ---- what a replay pushed ---------------------------------------------------------------------
 */

static int no_memory(lp__seen *seen)
{
    seen->out_of_memory = true;
    return LP_ENOMEM;
}

static int see_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    lp__seen *seen = ctx;
    if (seen->cancel_after && seen->count >= seen->cancel_after)
        return LP_ECANCELED;
    lp_event *event;
    int status = lp_event_new(id, category, data, &event);
    if (status != LP_OK)
        return status == LP_ENOMEM ? no_memory(seen) : status;
    if (seen->kill_after && seen->count >= seen->kill_after)
        raise(SIGKILL);
    lp_event **events = lp__grown(seen->events, &seen->capacity, seen->count, sizeof(lp_event *));
    if (!events) {
        lp_event_unref(event);
        return no_memory(seen);
    }
    seen->events = events;
    events[seen->count++] = event;
    const lp__mark *horizon = find(&seen->horizons, category);
    bool is_gone = horizon && lp_event_seq(event) <= horizon->record.seq;
    return is_gone || lp_event_timestamp_ms(event) <= seen->expired_ms ? LP_SKIPPED : LP_OK;
}

static int see_removal(void *ctx, uint64_t seq)
{
    lp__seen *seen = ctx;
    lp__withdrawal *withdrawn = lp__grown(seen->withdrawn, &seen->withdrawn_capacity,
                                          seen->withdrawn_count, sizeof(*withdrawn));
    if (!withdrawn)
        return no_memory(seen);
    seen->withdrawn = withdrawn;
    withdrawn[seen->withdrawn_count++] = (lp__withdrawal){seq, seen->count};
    return LP_OK;
}

static int see_horizon(void *ctx, lp_str category, uint64_t seq)
{
    lp__seen *seen = ctx;
    const lp__mark *before = find(&seen->horizons, category);
    if (before && before->record.seq >= seq)
        return LP_OK;
    return lp__marks_set(&seen->horizons, category, &(lp_idempotency){.seq = seq})
               ? LP_OK
               : no_memory(seen);
}

static int see_key(void *ctx, const lp_idempotency *record)
{
    lp__seen *seen = ctx;
    const lp__mark *before = find(&seen->keys, record->key);
    bool is_older = before && before->record.seq > record->seq;
    bool is_freed = before && before->record.seq == record->seq && before->record.count == 0;
    if (is_older || is_freed)
        return LP_OK; /* the newest counts, and one that frees the key */
    return lp__marks_set(&seen->keys, record->key, record) ? LP_OK : no_memory(seen);
}

static int see_highest(void *ctx, uint64_t seq)
{
    lp__seen *seen = ctx;
    if (seq > seen->highest)
        seen->highest = seq;
    return LP_OK;
}

static int see_loss(void *ctx, uint64_t records, const char *detail)
{
    lp__seen *seen = ctx;
    seen->losses += records ? records : 1;
    snprintf(seen->loss, sizeof(seen->loss), "%s", detail ? detail : "");
    return LP_OK;
}

lp_store_sink lp__seen_sink(lp__seen *seen)
{
    return (lp_store_sink){.ctx = seen,
                           .event = see_event,
                           .removal = see_removal,
                           .horizon = see_horizon,
                           .idempotency = see_key,
                           .highest = see_highest,
                           .loss = see_loss,
                           .expired_ms = seen->expired_ms,
                           .ring_size = seen->ring_size};
}

static int by_seq_then_last(const void *a, const void *b)
{
    const lp__withdrawal *left = a, *right = b;
    if (left->seq != right->seq)
        return left->seq < right->seq ? -1 : 1;
    return left->before < right->before ? 1 : left->before > right->before ? -1 : 0;
}

void lp__seen_finish(lp__seen *seen)
{
    size_t kept = 0, at = 0;
    if (seen->withdrawn_count)
        qsort(seen->withdrawn, seen->withdrawn_count, sizeof(*seen->withdrawn), by_seq_then_last);
    for (size_t i = 0; i < seen->count; i++) {
        uint64_t seq = lp_event_seq(seen->events[i]);
        while (at < seen->withdrawn_count && seen->withdrawn[at].seq < seq)
            at++;
        if (at < seen->withdrawn_count && seen->withdrawn[at].seq == seq &&
            seen->withdrawn[at].before > i)
            lp_event_unref(seen->events[i]);
        else
            seen->events[kept++] = seen->events[i];
    }
    seen->count = kept;
    seen->withdrawn_count = 0;
}

void lp__seen_clear(lp__seen *seen)
{
    for (size_t i = 0; i < seen->count; i++)
        lp_event_unref(seen->events[i]);
    free(seen->events);
    free(seen->withdrawn);
    lp__marks_clear(&seen->horizons);
    lp__marks_clear(&seen->keys);
    memset(seen, 0, sizeof(*seen));
    seen->expired_ms = INT64_MIN;
}

bool lp__seen_has(const lp__seen *seen, uint64_t seq)
{
    size_t low = 0, high = seen->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lp_event_seq(seen->events[middle]) < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < seen->count && lp_event_seq(seen->events[low]) == seq;
}
