/* The engine's clock: it never goes back, and gives out sequence numbers that strictly rise.
 *
 * It is the wall clock; while the wall clock is behind (a step back, a store from a machine whose
 * clock was ahead) it advances by half of the monotonic time passed, until the wall has caught up.
 */
#ifndef LP_CLOCK_H
#define LP_CLOCK_H

#include <stdint.h>

#include "engine.h"

typedef struct lp__clock {
    int64_t ms;        /* what it shows, milliseconds since the epoch */
    int64_t mono_ms;   /* when it was read last */
    int64_t half_ms;   /* 0 or 1: half a millisecond that is carried over */
    uint64_t last_seq; /* the highest number ever given */
} lp__clock;

void lp__clock_init(lp__clock *clock, lp__now now);

/* What it shows at `now`. */
int64_t lp__clock_read(lp__clock *clock, lp__now now);

/* The next sequence number. When the counter of a millisecond is full, the next millisecond is
 * taken. */
uint64_t lp__clock_stamp(lp__clock *clock, lp__now now);

/* The number behind the last one, whatever the time. */
uint64_t lp__clock_stamp_next(lp__clock *clock);

/* A number that was given before this clock began: nothing at or below it is given again. */
void lp__clock_pass(lp__clock *clock, uint64_t seq);

#endif
