/* What comes back after a restart. */
#include <criterion/criterion.h>

#include "subject.h"

static subject replaying(subject s)
{
    subject_start(&s);
    lp__engine_replay_begin(s.engine);
    return s;
}

static void end(subject *s)
{
    lp__engine_replay_end(s->engine, s->now);
}

static asked all_of(subject *s, const char *category)
{
    asked a = poll_after(s, category, lp_seq_first(1));
    ask(&a);
    if (a.answers == 0)
        lp__engine_cancel(s->engine, &a.waiter);
    return a;
}

Test(engine_replay, brings_events_back_as_they_were)
{
    subject s = replaying(subject_with_defaults());
    uint64_t first = replay_event(&s, T0 - 10, "c"), second = replay_event(&s, T0 - 9, "c");
    end(&s);
    asked a = all_of(&s, "c");
    cr_assert_eq(a.count, 2);
    cr_assert_eq(a.seqs[0], first);
    cr_assert_eq(a.seqs[1], second);
    cr_assert_not(a.gap);
    cr_assert_not(lp__engine_changed(s.engine));
    subject_end(&s);
}

Test(engine_replay, numbers_go_on_behind_the_highest_though_the_wall_is_behind)
{
    subject s = replaying(subject_with_defaults());
    uint64_t highest = lp_seq_first(T0 + 5000) + 3;
    lp__engine_replay_highest(s.engine, s.now, highest);
    end(&s);
    uint64_t seq = publish(&s, "c");
    cr_assert_gt(seq, highest);
    cr_assert_gt(lp_seq_ms(seq), lp_seq_ms(highest),
                 "that millisecond may have been told as settled");
    subject_end(&s);
}

Test(engine_replay, what_was_removed_stays_removed)
{
    subject s = replaying(subject_with_defaults());
    uint64_t first = replay_event(&s, T0 - 10, "c"), second = replay_event(&s, T0 - 9, "c");
    cr_assert_eq(lp__engine_replay_removal(s.engine, first), LP_OK);
    cr_assert_eq(lp__engine_replay_removal(s.engine, 12345), LP_OK, "no such event: fine");
    end(&s);
    asked a = all_of(&s, "c");
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], second);
    subject_end(&s);
}

Test(engine_replay, horizons_tell_gaps_and_remove_in_any_order)
{
    for (int before = 0; before < 2; before++) {
        subject s = replaying(subject_with_defaults());
        uint64_t horizon = lp_seq_first(T0 - 10);
        if (before)
            lp__engine_replay_horizon(s.engine, lp_str_of("c"), horizon);
        int status = lp__engine_replay_event(s.engine, s.now, lp_id_make(horizon, 0),
                                             lp_str_of("c"), lp_str_of("1"));
        cr_assert_eq(status, before ? LP_SKIPPED : LP_OK);
        uint64_t left = replay_event(&s, T0 - 9, "c");
        if (!before)
            lp__engine_replay_horizon(s.engine, lp_str_of("c"), horizon);
        end(&s);
        asked a = all_of(&s, "c");
        cr_assert_eq(a.count, 1);
        cr_assert_eq(a.seqs[0], left);
        cr_assert(a.gap);
        subject_end(&s);
    }
}

Test(engine_replay, the_floor_is_the_horizon_of_every_category)
{
    subject s = replaying(subject_with_defaults());
    uint64_t seq = replay_event(&s, T0 - 10, "c");
    lp__engine_replay_horizon(s.engine, (lp_str){"", 0}, lp_seq_first(T0 - 5));
    end(&s);
    asked a = all_of(&s, "c"), b = poll_since(&s, "other", T0 - 1);
    cr_assert(a.gap);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], seq, "it removes nothing");
    ask(&b);
    lp__engine_drain(s.engine, s.now);
    cr_assert_not(b.gap);
    subject_end(&s);
}

Test(engine_replay, rings_and_bounds_hold_again)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 2;
    s.options.events_max = 3;
    s = replaying(s);
    for (int i = 0; i < 5; i++)
        replay_event(&s, T0 - 100 + i, "a");
    replay_event(&s, T0 - 50, "b");
    replay_event(&s, T0 - 40, "b");
    end(&s);
    asked a = all_of(&s, "a"), b = all_of(&s, "b");
    cr_assert_eq(a.count, 1);
    cr_assert(a.gap);
    cr_assert_eq(b.count, 2);
    cr_assert_not(b.gap);
    cr_assert(lp__engine_changed(s.engine), "the store is told what was not taken");
    subject_end(&s);
}

Test(engine_replay, expired_events_are_skipped_and_told)
{
    subject s = subject_with_defaults();
    s.options.event_ttl_ms = 1000;
    s = replaying(s);
    int status = lp__engine_replay_event(s.engine, s.now, lp_id_make(lp_seq_first(T0 - 1000), 0),
                                         lp_str_of("c"), lp_str_of("1"));
    cr_assert_eq(status, LP_SKIPPED);
    end(&s);
    pass_ms(&s, 10000);
    asked a = poll_since(&s, "c", T0 - 2000);
    ask(&a);
    lp__engine_drain(s.engine, s.now);
    cr_assert(a.gap);
    subject_end(&s);
}

Test(engine_replay, a_category_of_which_only_a_horizon_is_left_displaces_none_with_events)
{
    subject s = subject_with_defaults();
    s.options.categories_max = 2;
    s = replaying(s);
    replay_event(&s, T0 - 10, "a");
    replay_event(&s, T0 - 9, "b");
    lp__engine_replay_horizon(s.engine, lp_str_of("c"), lp_seq_first(T0 - 20));
    end(&s);
    asked a = all_of(&s, "a"), b = all_of(&s, "b"), c = poll_since(&s, "c", T0 - 30);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(b.count, 1);
    ask(&c);
    lp__engine_drain(s.engine, s.now);
    cr_assert(c.gap, "the floor tells of it");
    subject_end(&s);
}

Test(engine_replay, retrieved_events_make_room_in_a_ring_before_it_is_cut)
{
    subject s = subject_with_defaults();
    s.options.delete_after_first_retrieval = true;
    s.options.event_buffer_max = 2;
    s = replaying(s);
    uint64_t first = replay_event(&s, T0 - 10, "c"), second = replay_event(&s, T0 - 9, "c");
    uint64_t third = replay_event(&s, T0 - 8, "c");
    lp__engine_replay_removal(s.engine, second);
    end(&s);
    asked a = all_of(&s, "c");
    cr_assert_eq(a.count, 2);
    cr_assert_eq(a.seqs[0], first);
    cr_assert_eq(a.seqs[1], third);
    cr_assert_not(a.gap);
    subject_end(&s);
}
