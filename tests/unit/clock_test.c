#include <criterion/criterion.h>

#include "core/engine/clock.h"

static const int64_t NOON = 1700000000000;

static lp__now at(int64_t wall_ms, int64_t mono_ms)
{
    return (lp__now){wall_ms, mono_ms};
}

static lp__clock started(void)
{
    lp__clock clock;
    lp__clock_init(&clock, at(NOON, 1000));
    return clock;
}

Test(clock, is_the_wall_clock)
{
    lp__clock clock = started();
    cr_assert_eq(lp__clock_read(&clock, at(NOON, 1000)), NOON);
    cr_assert_eq(lp__clock_read(&clock, at(NOON + 5, 1005)), NOON + 5);
    cr_assert_eq(lp__clock_read(&clock, at(NOON + 3600000, 1006)), NOON + 3600000, "also forward");
}

Test(clock, advances_by_half_of_the_time_passed_while_the_wall_is_behind)
{
    lp__clock clock = started();
    cr_assert_eq(lp__clock_read(&clock, at(NOON - 10000, 1000)), NOON);
    cr_assert_eq(lp__clock_read(&clock, at(NOON - 9900, 1100)), NOON + 50);
    int64_t last = NOON + 50;
    for (int64_t ms = 1; ms <= 1000; ms++) {
        int64_t shown = lp__clock_read(&clock, at(NOON - 9900 + ms, 1100 + ms));
        cr_assert_geq(shown, last);
        cr_assert_leq(shown - last, 1);
        last = shown;
    }
    cr_assert_eq(last, NOON + 550, "also when it is read often");
}

Test(clock, is_the_wall_clock_again_once_that_has_caught_up)
{
    lp__clock clock = started();
    lp__clock_read(&clock, at(NOON - 10, 1000));
    cr_assert_eq(lp__clock_read(&clock, at(NOON + 10, 1020)), NOON + 10);
    cr_assert_eq(lp__clock_read(&clock, at(NOON + 11, 1021)), NOON + 11);
}

Test(clock, stands_when_no_time_passes_and_never_goes_back)
{
    lp__clock clock = started();
    cr_assert_eq(lp__clock_read(&clock, at(NOON - 1, 1000)), NOON);
    cr_assert_eq(lp__clock_read(&clock, at(NOON - 100000, 900)), NOON, "whatever the other says");
    cr_assert_eq(lp__clock_read(&clock, at(0, 1000)), NOON);
}

Test(clock, numbers_strictly_rise_within_a_millisecond_and_across_steps)
{
    lp__clock clock = started();
    uint64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        int64_t step = i % 7 == 0 ? -5000 : i;
        uint64_t seq = lp__clock_stamp(&clock, at(NOON + step, 1000 + i / 10));
        cr_assert_gt(seq, last);
        cr_assert_leq(lp_seq_ms(seq), lp__clock_read(&clock, at(0, 1000 + i / 10)));
        last = seq;
    }
}

Test(clock, first_number_is_the_first_of_its_millisecond)
{
    lp__clock clock = started();
    cr_assert_eq(lp__clock_stamp(&clock, at(NOON, 1000)), lp_seq_first(NOON));
    cr_assert_eq(lp__clock_stamp(&clock, at(NOON, 1000)), lp_seq_first(NOON) + 1);
    cr_assert_eq(lp__clock_stamp(&clock, at(NOON + 1, 1001)), lp_seq_first(NOON + 1));
}

Test(clock, takes_the_next_millisecond_when_the_counter_is_full)
{
    lp__clock clock = started();
    lp__clock_pass(&clock, lp_seq_last(NOON) - 1);
    cr_assert_eq(lp__clock_stamp(&clock, at(NOON, 1000)), lp_seq_last(NOON));
    cr_assert_eq(lp__clock_stamp(&clock, at(NOON, 1000)), lp_seq_first(NOON + 1));
    cr_assert_eq(lp__clock_read(&clock, at(NOON, 1000)), NOON + 1, "and shows it from then on");
}

Test(clock, passes_numbers_that_were_given_before)
{
    lp__clock clock = started();
    uint64_t before = lp_seq_first(NOON + 60000) + 77;
    lp__clock_pass(&clock, before);
    lp__clock_pass(&clock, 5);
    cr_assert_eq(lp__clock_stamp(&clock, at(NOON, 1000)), before + 1);
    cr_assert_eq(lp__clock_read(&clock, at(NOON, 1100)), NOON + 60050);
}

Test(clock, stays_within_48_bits_whatever_the_wall_says)
{
    lp__clock clock;
    lp__clock_init(&clock, at(INT64_MIN, 0));
    cr_assert_eq(lp__clock_read(&clock, at(-1, 0)), 1);
    cr_assert_lt(lp__clock_read(&clock, at(INT64_MAX, 1)), INT64_C(1) << 48);
    uint64_t seq = lp__clock_stamp(&clock, at(INT64_MAX, 2));
    cr_assert_gt((int64_t)seq, 0);
}
