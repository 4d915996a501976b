/* The memory of one segment and of the row of them. */
#include "segment.h"

#include <stdlib.h>

lp__segment *lp__segment_new(const lp__header *header)
{
    lp__segment *segment = calloc(1, sizeof(*segment));
    if (segment != NULL)
        segment->header = *header;
    return segment;
}

void lp__segment_free(lp__segment *segment)
{
    if (segment == NULL)
        return;
    free(segment->seqs);
    free(segment->sizes);
    free(segment->targets);
    free(segment);
}

static bool grow_events(lp__segment *segment)
{
    size_t capacity = segment->capacity == 0 ? 64 : segment->capacity * 2;
    uint64_t *seqs = realloc(segment->seqs, capacity * sizeof(*seqs));
    if (seqs == NULL)
        return false;
    segment->seqs = seqs;
    uint32_t *sizes = realloc(segment->sizes, capacity * sizeof(*sizes));
    if (sizes == NULL)
        return false;
    segment->sizes = sizes;
    segment->capacity = capacity;
    return true;
}

int lp__segment_add_event(lp__segment *segment, uint64_t seq, uint64_t size)
{
    if (segment->count == segment->capacity && !grow_events(segment))
        return LP_ENOMEM;
    segment->seqs[segment->count] = seq;
    segment->sizes[segment->count] = (uint32_t)size;
    segment->count++;
    segment->event_bytes += size;
    return LP_OK;
}

int lp__segment_add_target(lp__segment *segment, uint64_t number, uint64_t count)
{
    for (size_t i = segment->target_count; i-- > 0;) {
        if (segment->targets[i].number == number) {
            segment->targets[i].count += count;
            return LP_OK;
        }
    }
    if (segment->target_count == segment->target_capacity) {
        size_t capacity = segment->target_capacity == 0 ? 4 : segment->target_capacity * 2;
        lp__target *targets = realloc(segment->targets, capacity * sizeof(*targets));
        if (targets == NULL)
            return LP_ENOMEM;
        segment->targets = targets;
        segment->target_capacity = capacity;
    }
    segment->targets[segment->target_count++] = (lp__target){number, count};
    return LP_OK;
}

size_t lp__segment_find(const lp__segment *segment, uint64_t seq)
{
    if (segment->hint < segment->count && (segment->seqs[segment->hint] & ~LP__DEAD) == seq)
        return segment->hint;
    size_t low = 0, high = segment->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((segment->seqs[middle] & ~LP__DEAD) < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < segment->count && (segment->seqs[low] & ~LP__DEAD) == seq ? low : SIZE_MAX;
}

bool lp__segment_kill(lp__segment *segment, size_t i)
{
    segment->hint = i + 1;
    if (lp__segment_is_dead(segment, i))
        return false;
    segment->seqs[i] |= LP__DEAD;
    segment->dead++;
    segment->event_bytes -= segment->sizes[i];
    return true;
}

uint64_t lp__segment_live_bytes(const lp__segment *segment, int64_t keys_over_ms)
{
    uint64_t bytes = segment->event_bytes + segment->horizon_bytes;
    for (size_t i = 0; i < segment->target_count; i++)
        bytes += segment->targets[i].count * sizeof(uint64_t);
    if (segment->idempotency_until > keys_over_ms)
        bytes += segment->idempotency_bytes;
    return bytes;
}

int lp__segments_push(lp__segments *segments, lp__segment *segment)
{
    if (segments->count == segments->capacity) {
        size_t capacity = segments->capacity == 0 ? 16 : segments->capacity * 2;
        lp__segment **at = realloc(segments->at, capacity * sizeof(*at));
        if (at == NULL)
            return LP_ENOMEM;
        segments->at = at;
        segments->capacity = capacity;
    }
    segments->at[segments->count++] = segment;
    return LP_OK;
}

void lp__segments_free(lp__segments *segments)
{
    for (size_t i = 0; i < segments->count; i++)
        lp__segment_free(segments->at[i]);
    free(segments->at);
    *segments = (lp__segments){NULL, 0, 0};
}

bool lp__segments_find(const lp__segments *segments, uint64_t seq, size_t *segment, size_t *event)
{
    size_t low = 0, high = segments->count; /* the last one whose base is below seq */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (segments->at[middle]->base < seq)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return false;
    *segment = low - 1;
    *event = lp__segment_find(segments->at[low - 1], seq);
    return *event != SIZE_MAX;
}
