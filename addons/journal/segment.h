/* What the journal remembers of its segments: which events lie where, which of them are dead, how
 * many bytes are still needed. No I/O. Used on the add-on's thread. */
#ifndef LP_JOURNAL_SEGMENT_H
#define LP_JOURNAL_SEGMENT_H

#include "format.h"

typedef struct lp__target {
    uint64_t number; /* of the segment that the removed events lie in */
    uint64_t count;
} lp__target;

typedef struct lp__segment {
    lp__header header;
    uint32_t batches; /* committed */
    uint64_t size;    /* of the file */
    uint64_t end;     /* of what is committed */
    uint64_t base;    /* all its events have a higher sequence number */

    /* its events, in rising order; the top bit of a sequence number: dead */
    uint64_t *seqs;
    uint32_t *sizes; /* of their records */
    size_t count, capacity, dead;
    size_t hint; /* where the next event to die is likely */

    /* removals in this segment that are still needed */
    lp__target *targets;
    size_t target_count, target_capacity;

    uint64_t event_bytes;       /* of living events */
    uint64_t horizon_bytes;     /* of horizons that are the newest of their category */
    uint64_t stale_bytes;       /* of horizons that compaction had to keep once */
    uint64_t idempotency_bytes; /* of all keys */
    int64_t idempotency_until;  /* when the last of them expires, wall milliseconds */
    uint64_t highest;           /* of its commits */

    uint64_t overhead; /* of a merged one: bytes that are no record of an event or the like */

    bool named;  /* its name and header are known to be on disk */
    bool synced; /* all of it is */
    bool pinned; /* cannot be compacted: it could not be read */
    bool failed; /* a write or sync of its file has failed: nothing is written over it */
} lp__segment;

#define LP__DEAD ((uint64_t)1 << 63)

lp__segment *lp__segment_new(const lp__header *header); /* NULL: no memory */
void lp__segment_free(lp__segment *segment);            /* NULL is fine */

/* LP_ENOMEM. */
int lp__segment_add_event(lp__segment *segment, uint64_t seq, uint64_t size);
int lp__segment_add_target(lp__segment *segment, uint64_t number, uint64_t count);

/* The index of an event, SIZE_MAX when it is not there. */
size_t lp__segment_find(const lp__segment *segment, uint64_t seq);
/* False when it was dead already. */
bool lp__segment_kill(lp__segment *segment, size_t i);
static inline bool lp__segment_is_dead(const lp__segment *segment, size_t i)
{
    return segment->seqs[i] & LP__DEAD;
}

/* Bytes that compaction would carry over. Keys that expire at `keys_over_ms` or before have no use
 * any more. */
uint64_t lp__segment_live_bytes(const lp__segment *segment, int64_t keys_over_ms);

/* All segments, oldest first. */
typedef struct lp__segments {
    lp__segment **at;
    size_t count, capacity;
} lp__segments;

int lp__segments_push(lp__segments *segments, lp__segment *segment); /* takes it; LP_ENOMEM */
void lp__segments_free(lp__segments *segments);
/* Finds an event: its segment's place and its own; false when it is not there. */
bool lp__segments_find(const lp__segments *segments, uint64_t seq, size_t *segment, size_t *event);

#endif
