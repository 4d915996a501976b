/* See clock.h. */
#include "clock.h"

/* Ids have 48 bits of milliseconds (the year 10889): the clock stays within them. */
static const int64_t MS_MAX = (INT64_C(1) << 48) - 2;

static int64_t clamp(int64_t ms)
{
    if (ms < 1)
        return 1;
    return ms < MS_MAX ? ms : MS_MAX;
}

void lp__clock_init(lp__clock *clock, lp__now now)
{
    *clock = (lp__clock){.ms = clamp(now.wall_ms), .mono_ms = now.mono_ms};
}

int64_t lp__clock_read(lp__clock *clock, lp__now now)
{
    int64_t passed = now.mono_ms > clock->mono_ms ? now.mono_ms - clock->mono_ms : 0;
    int64_t wall = clamp(now.wall_ms);
    clock->mono_ms += passed;
    if (wall >= clock->ms) {
        clock->ms = wall;
        clock->half_ms = 0;
    } else {
        int64_t halves = passed + clock->half_ms;
        int64_t slow = clamp(clock->ms + halves / 2);
        clock->half_ms = halves % 2;
        clock->ms = slow;
    }
    return clock->ms;
}

uint64_t lp__clock_stamp(lp__clock *clock, lp__now now)
{
    uint64_t seq = lp_seq_first(lp__clock_read(clock, now));
    if (seq <= clock->last_seq)
        seq = clock->last_seq + 1;
    lp__clock_pass(clock, seq);
    return seq;
}

uint64_t lp__clock_stamp_next(lp__clock *clock)
{
    uint64_t seq = clock->last_seq + 1;
    lp__clock_pass(clock, seq);
    return seq;
}

void lp__clock_pass(lp__clock *clock, uint64_t seq)
{
    if (seq > clock->last_seq)
        clock->last_seq = seq;
    if (lp_seq_ms(seq) > clock->ms)
        clock->ms = lp_seq_ms(seq);
}
