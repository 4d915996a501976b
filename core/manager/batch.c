/* Batches: everything that a store keeps in one commit. Filled by one thread, handed to the
 * add-on's thread and back; never used by two at once. */
#include "addon_nouns.h"

#include <stdlib.h>
#include <string.h>

/* Makes room for `count` elements in all: the array, which may have moved, or NULL when there is no
 * memory; then the old one is still good. */
static void *grown(void *array, size_t *capacity, size_t count, size_t element)
{
    if (count <= *capacity)
        return array;
    size_t wanted = *capacity ? *capacity * 2 : 16;
    if (wanted < count)
        wanted = count;
    if (wanted > SIZE_MAX / 2 / element)
        return NULL;
    array = realloc(array, wanted * element);
    if (array)
        *capacity = wanted;
    return array;
}

static int make_room(lp__batch_bytes *bytes, size_t len)
{
    if (len <= bytes->capacity - bytes->len)
        return LP_OK;
    size_t wanted = bytes->capacity ? bytes->capacity * 2 : 1024;
    while (wanted - bytes->len < len) {
        if (wanted > SIZE_MAX / 4)
            return LP_ENOMEM;
        wanted *= 2;
    }
    char *base = realloc(bytes->base, wanted);
    if (!base)
        return LP_ENOMEM;
    bytes->base = base;
    bytes->capacity = wanted;
    return LP_OK;
}

/* Appends bytes; `*at` is where they begin. */
static int append(lp__batch_bytes *bytes, const char *base, size_t len, size_t *at)
{
    if (make_room(bytes, len))
        return LP_ENOMEM;
    if (len)
        memcpy(bytes->base + bytes->len, base, len);
    *at = bytes->len;
    bytes->len += len;
    return LP_OK;
}

int lp_batch_new(lp_batch **out)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return LP_ENOMEM;
    (*out)->forgotten_keys_ms = INT64_MIN;
    return LP_OK;
}

void lp_batch_free(lp_batch *batch)
{
    if (!batch)
        return;
    lp_batch_clear(batch);
    free(batch->items);
    free(batch->removals);
    free(batch->horizons);
    free(batch->keys);
    free(batch->text.base);
    free(batch->reasons.base);
    free(batch);
}

void lp_batch_clear(lp_batch *batch)
{
    for (size_t i = 0; i < batch->item_count; i++)
        lp_event_unref(batch->items[i].event);
    batch->item_count = batch->removal_count = batch->horizon_count = batch->key_count = 0;
    batch->refused_keys = 0;
    batch->text.len = batch->reasons.len = 0;
    batch->refused = 0;
    batch->highest = 0;
    batch->forgotten_keys_ms = INT64_MIN;
    batch->error.status = LP_OK;
}

int lp__batch_reserve(lp_batch *batch, size_t count)
{
    lp__batch_item *items =
        grown(batch->items, &batch->item_capacity, batch->item_count + count, sizeof(*items));
    if (!items)
        return LP_ENOMEM;
    batch->items = items;
    return LP_OK;
}

int lp__batch_reserve_key(lp_batch *batch, size_t key_len)
{
    lp__batch_key *keys =
        grown(batch->keys, &batch->key_capacity, batch->key_count + 1, sizeof(*keys));
    if (!keys)
        return LP_ENOMEM;
    batch->keys = keys;
    return make_room(&batch->text, key_len);
}

int lp_batch_add_event(lp_batch *batch, lp_event *event)
{
    uint64_t seq = lp_event_seq(event);
    if (batch->item_count && seq <= lp_event_seq(batch->items[batch->item_count - 1].event))
        return LP_EORDER;
    if (lp__batch_reserve(batch, 1) != LP_OK)
        return LP_ENOMEM;
    batch->items[batch->item_count++] =
        (lp__batch_item){.event = lp_event_ref(event), .status = LP_OK};
    lp_batch_set_highest(batch, seq);
    return LP_OK;
}

int lp_batch_add_removal(lp_batch *batch, uint64_t seq, lp_removal_reason reason)
{
    lp_removal *removals = grown(batch->removals, &batch->removal_capacity,
                                 batch->removal_count + 1, sizeof(*removals));
    if (!removals)
        return LP_ENOMEM;
    batch->removals = removals;
    removals[batch->removal_count++] = (lp_removal){.seq = seq, .reason = reason};
    return LP_OK;
}

int lp_batch_add_horizon(lp_batch *batch, lp_str category, uint64_t seq)
{
    lp__batch_horizon *horizons = grown(batch->horizons, &batch->horizon_capacity,
                                        batch->horizon_count + 1, sizeof(*horizons));
    if (!horizons)
        return LP_ENOMEM;
    batch->horizons = horizons;
    size_t at;
    if (append(&batch->text, category.base, category.len, &at))
        return LP_ENOMEM;
    horizons[batch->horizon_count++] =
        (lp__batch_horizon){.category_at = at, .category_len = category.len, .seq = seq};
    return LP_OK;
}

int lp_batch_add_idempotency(lp_batch *batch, const lp_idempotency *record)
{
    if (lp__batch_reserve_key(batch, record->key.len) != LP_OK)
        return LP_ENOMEM;
    size_t at = 0;
    append(&batch->text, record->key.base, record->key.len, &at); /* there is room */
    batch->keys[batch->key_count++] = (lp__batch_key){.key_at = at, .record = *record};
    return LP_OK;
}

void lp_batch_set_highest(lp_batch *batch, uint64_t seq)
{
    if (seq > batch->highest)
        batch->highest = seq;
}

void lp_batch_set_forgotten_keys(lp_batch *batch, int64_t expires_ms)
{
    if (expires_ms > batch->forgotten_keys_ms)
        batch->forgotten_keys_ms = expires_ms;
}

void lp_batch_group(lp_batch *batch, size_t count)
{
    if (count > batch->item_count)
        count = batch->item_count;
    for (size_t i = 0; i < count; i++)
        batch->items[batch->item_count - count + i].group = (uint32_t)i;
}

int lp_batch_status(const lp_batch *batch, size_t i, const char **reason)
{
    int status = i < batch->item_count ? batch->items[i].status : LP_EINVAL;
    if (reason)
        *reason = i < batch->item_count && batch->items[i].reason
                      ? batch->reasons.base + batch->items[i].reason
                      : lp_strerror(status);
    return status;
}

/* ---- what a hook reads -------------------------------------------------- */

size_t lp_batch_event_count(const lp_batch *batch)
{
    return batch->item_count;
}

const lp_event *lp_batch_event(const lp_batch *batch, size_t i)
{
    return i < batch->item_count ? batch->items[i].event : NULL;
}

size_t lp_batch_removal_count(const lp_batch *batch)
{
    return batch->removal_count;
}

lp_removal lp_batch_removal(const lp_batch *batch, size_t i)
{
    return i < batch->removal_count ? batch->removals[i] : (lp_removal){0, LP_REMOVED_RING};
}

size_t lp_batch_horizon_count(const lp_batch *batch)
{
    return batch->horizon_count;
}

lp_horizon lp_batch_horizon(const lp_batch *batch, size_t i)
{
    lp_horizon horizon = {{NULL, 0}, 0};
    if (i < batch->horizon_count) {
        const lp__batch_horizon *kept = &batch->horizons[i];
        horizon.category.len = kept->category_len;
        if (kept->category_len)
            horizon.category.base = batch->text.base + kept->category_at;
        horizon.seq = kept->seq;
    }
    return horizon;
}

size_t lp_batch_idempotency_count(const lp_batch *batch)
{
    return batch->key_count;
}

lp_idempotency lp_batch_idempotency(const lp_batch *batch, size_t i)
{
    if (i >= batch->key_count)
        return (lp_idempotency){{NULL, 0}, 0, 0, 0, 0};
    lp_idempotency record = batch->keys[i].record;
    record.key.base = record.key.len ? batch->text.base + batch->keys[i].key_at : NULL;
    return record;
}

int64_t lp_batch_forgotten_keys_ms(const lp_batch *batch)
{
    return batch->forgotten_keys_ms;
}

uint64_t lp_batch_highest(const lp_batch *batch)
{
    return batch->highest;
}

/* ---- what a hook answers ------------------------------------------------ */

void lp__batch_begin(lp_batch *batch, const lp_store_sink *sink)
{
    for (size_t i = 0; batch->refused && i < batch->item_count; i++) {
        if (batch->items[i].status != LP_OK)
            batch->refused--;
        batch->items[i].status = LP_OK;
        batch->items[i].reason = 0;
    }
    batch->key_count += batch->refused_keys;
    batch->refused_keys = 0;
    batch->reasons.len = 0;
    batch->error.status = LP_OK;
    batch->sink = sink;
}

/* Where the sentence is, 0: none. One that finds no memory is replaced by the text of the status.
 */
static uint32_t add_reason(lp_batch *batch, const char *reason)
{
    size_t at;
    if (!reason || !reason[0])
        return 0;
    if (batch->reasons.len == 0 && append(&batch->reasons, "", 1, &at))
        return 0;
    if (batch->reasons.len > UINT32_MAX ||
        append(&batch->reasons, reason, strlen(reason) + 1, &at) != LP_OK)
        return 0;
    return (uint32_t)at;
}

/* The record of what begins with this number goes behind those that are kept. */
static void refuse_key(lp_batch *batch, uint64_t first_seq)
{
    for (size_t i = 0; i < batch->key_count; i++) {
        if (batch->keys[i].record.seq != first_seq)
            continue;
        lp__batch_key refused = batch->keys[i];
        batch->key_count--;
        batch->refused_keys++;
        memmove(&batch->keys[i], &batch->keys[i + 1],
                (batch->key_count - i) * sizeof(batch->keys[0]));
        batch->keys[batch->key_count] = refused;
        return;
    }
}

void lp_batch_fail(lp_batch *batch, size_t i, int status, const char *reason)
{
    if (i >= batch->item_count)
        return;
    size_t first = i - batch->items[i].group;
    uint32_t reason_at = add_reason(batch, reason);
    for (i = first; i < batch->item_count && batch->items[i].group == i - first; i++) {
        lp__batch_item *item = &batch->items[i];
        batch->refused += item->status == LP_OK;
        item->status = status < 0 ? status : LP_EINVAL;
        item->reason = reason_at;
    }
    refuse_key(batch, lp_event_seq(batch->items[first].event));
}

bool lp_batch_failed(const lp_batch *batch, size_t i)
{
    return i < batch->item_count && batch->items[i].status != LP_OK;
}

void lp_batch_log(lp_batch *batch, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lp__noun_log(batch->sink, format, args);
    va_end(args);
}

int lp_batch_error(lp_batch *batch, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lp__noun_error(&batch->error, status, format, args);
    va_end(args);
    return status;
}
