/* Polls by id, what they are told to resume from, and streams. */
#include <criterion/criterion.h>

#include "subject.h"

static subject started(void)
{
    subject s = subject_with_defaults();
    subject_start(&s);
    return s;
}

static uint64_t position(const asked *a)
{
    return lp_id_seq(lp__engine_position(a->subject->engine, &a->waiter));
}

static void end_stream(asked *a)
{
    lp__engine_cancel(a->subject->engine, &a->waiter);
    subject_end(a->subject);
}

Test(engine_stream, a_poll_by_id_alone_goes_on_behind_it_within_the_millisecond)
{
    subject s = started();
    uint64_t first = publish(&s, "c"), second = publish(&s, "c");
    asked a = poll_by_id(&s, "c", first);
    ask(&a);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], second);
    cr_assert_eq(lp_id_seq(a.last_id), second);
    cr_assert_not(a.gap);
    subject_end(&s);
}

Test(engine_stream, a_poll_by_id_without_one_begins_now_and_its_timeout_tells_the_position)
{
    subject s = started();
    uint64_t before = publish(&s, "other");
    publish(&s, "c");
    uint64_t newest = publish(&s, "other");
    asked a = poll_by_id(&s, "c", 0);
    ask(&a);
    pass_ms(&s, 10000);
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 0);
    cr_assert_gt(newest, before);
    cr_assert_eq(lp_id_seq(a.last_id), newest, "everything that is visible was told or not asked");

    asked b = poll_by_id(&s, "c", lp_id_seq(a.last_id));
    ask(&b);
    uint64_t seq = publish(&s, "c");
    flush(&s);
    cr_assert_eq(b.count, 1);
    cr_assert_eq(b.seqs[0], seq);
    cr_assert_not(b.gap);
    subject_end(&s);
}

Test(engine_stream, an_id_of_another_kind_gets_everything_and_a_gap)
{
    subject s = started();
    publish(&s, "c");
    publish(&s, "c");
    asked a = poll_by_id(&s, "c", 1);
    a.query.last_id = (lp_id){{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89}};
    ask(&a);
    cr_assert_eq(a.count, 2);
    cr_assert(a.gap);
    subject_end(&s);
}

Test(engine_stream, the_first_position_of_an_engine_without_a_store_is_no_gap_later)
{
    subject s = subject_with_defaults();
    s.options.has_store = false;
    subject_start(&s);
    lp__engine_raise_floor(s.engine, s.now);
    asked a = poll_by_id(&s, "c", 0);
    ask(&a);
    pass_ms(&s, 10000);
    flush(&s);
    uint64_t seq = publish(&s, "c");
    asked b = poll_by_id(&s, "c", lp_id_seq(a.last_id));
    ask(&b);
    cr_assert_eq(b.count, 1);
    cr_assert_eq(b.seqs[0], seq);
    cr_assert_not(b.gap);
    asked older = poll_by_id(&s, "c", lp_id_seq(a.last_id) - 1);
    ask(&older);
    cr_assert(older.gap, "what was there before is not known");
    subject_end(&s);
}

Test(engine_stream, the_first_position_after_a_replay_that_lost_events_is_no_gap_later)
{
    subject s = started();
    lp__engine_replay_begin(s.engine);
    uint64_t kept = replay_event(&s, T0 - 5000, "c");
    lp__engine_replay_end(s.engine, s.now);
    lp__engine_raise_floor(s.engine, s.now);
    asked a = poll_by_id(&s, "c", 0);
    ask(&a);
    pass_ms(&s, 10000);
    flush(&s);
    publish(&s, "c");
    asked b = poll_by_id(&s, "c", lp_id_seq(a.last_id));
    asked lost = poll_by_id(&s, "c", lp_seq_last(T0 - 4000));
    asked replayed = poll_by_id(&s, "c", kept);
    ask(&b);
    ask(&lost);
    ask(&replayed);
    cr_assert_eq(b.count, 1);
    cr_assert_not(b.gap);
    cr_assert(lost.gap, "an id of the events that were lost");
    cr_assert(replayed.gap);
    subject_end(&s);
}

Test(engine_stream, a_stored_floor_above_the_replayed_events_does_not_make_positions_a_gap)
{
    subject s = started();
    lp__engine_replay_begin(s.engine);
    replay_event(&s, T0 - 5000, "c");
    cr_assert_eq(lp__engine_replay_horizon(s.engine, (lp_str){"", 0}, lp_seq_first(T0 - 1000)),
                 LP_OK);
    lp__engine_replay_end(s.engine, s.now);
    asked a = poll_by_id(&s, "c", 0);
    ask(&a);
    pass_ms(&s, 10000);
    flush(&s);
    asked b = poll_by_id(&s, "c", lp_id_seq(a.last_id));
    ask(&b);
    pass_ms(&s, 10000);
    flush(&s);
    cr_assert_eq(b.answers, 1);
    cr_assert_not(b.gap);
    subject_end(&s);
}

Test(engine_stream, a_settled_readers_timeout_tells_no_position_behind_what_it_was_not_shown)
{
    subject s = started();
    asked a = poll_since(&s, "c", T0 - 1);
    ask(&a);
    pass_ms(&s, 9999);
    uint64_t seq = publish(&s, "c");
    pass_ms(&s, 1);
    stamp(&s, "slow"); /* from here on nothing more settles */
    uint64_t unsettled = 0;
    for (int i = 0; i < 2; i++)
        unsettled = stamp(&s, "c");
    flush(&s);
    cr_assert_eq(a.count, 1);
    asked b = poll_since(&s, "c", lp_seq_ms(seq));
    ask(&b);
    pass_ms(&s, 10000);
    flush(&s);
    cr_assert_eq(b.count, 0);
    cr_assert_lt(lp_id_seq(b.last_id), unsettled);
    cr_assert_geq(lp_id_seq(b.last_id), seq);
    subject_end(&s);
}

Test(engine_stream, is_answered_again_and_again_and_rests_between)
{
    subject s = started();
    publish(&s, "c");
    asked a = stream_by_id(&s, "c", 0);
    ask(&a);
    cr_assert_eq(a.answers, 0);
    uint64_t first = publish(&s, "c");
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.seqs[0], first);
    cr_assert_eq(position(&a), first);
    cr_assert_eq(stats_of(&s).waiters, 1, "it counts while it rests");
    cr_assert_eq(stats_of(&s).interests, 1);

    uint64_t second = publish(&s, "c"), third = publish(&s, "c");
    flush(&s);
    pass_ms(&s, 20000);
    flush(&s);
    cr_assert_eq(a.answers, 1, "nothing is told while it rests");
    cr_assert_eq(position(&a), first);
    go_on(&a);
    cr_assert_eq(a.answers, 2);
    cr_assert_eq(a.count, 2);
    cr_assert_eq(a.seqs[0], second);
    cr_assert_eq(position(&a), third);
    end_stream(&a);
}

Test(engine_stream, its_timeouts_are_answers_and_move_its_position)
{
    subject s = started();
    asked a = stream_by_id(&s, "c", 0);
    ask(&a);
    uint64_t elsewhere = publish(&s, "other");
    pass_ms(&s, 10000);
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 0);
    cr_assert_eq(lp_id_seq(a.last_id), elsewhere);
    cr_assert_eq(position(&a), elsewhere);
    go_on(&a);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(lp__engine_deadline(s.engine), s.now.mono_ms + 10000);
    uint64_t seq = publish(&s, "c");
    flush(&s);
    cr_assert_eq(a.answers, 2);
    cr_assert_eq(a.seqs[0], seq);
    end_stream(&a);
}

Test(engine_stream, gets_long_history_in_pieces_of_its_own_bound)
{
    subject s = started();
    uint64_t seqs[5];
    for (int i = 0; i < 5; i++)
        seqs[i] = publish(&s, "c");
    asked a = stream_by_id(&s, "c", seqs[0] - 1);
    a.waiter.answer_bytes_max = 250; /* two events */
    ask(&a);
    cr_assert_eq(a.count, 2);
    cr_assert_eq(position(&a), seqs[1]);
    go_on(&a);
    cr_assert_eq(a.count, 2);
    cr_assert_eq(a.seqs[0], seqs[2]);
    go_on(&a);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], seqs[4]);
    go_on(&a);
    cr_assert_eq(a.answers, 3);
    end_stream(&a);
}

Test(engine_stream, tells_a_gap_once)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 2;
    subject_start(&s);
    uint64_t first = publish(&s, "c");
    for (int i = 0; i < 3; i++)
        publish(&s, "c");
    asked a = stream_by_id(&s, "c", first);
    ask(&a);
    cr_assert_eq(a.count, 2);
    cr_assert(a.gap);
    go_on(&a);
    publish(&s, "c");
    flush(&s);
    cr_assert_eq(a.answers, 2);
    cr_assert_not(a.gap);
    for (int i = 0; i < 3; i++) /* while it rests, the ring overtakes it */
        publish(&s, "c");
    go_on(&a);
    cr_assert_eq(a.count, 2);
    cr_assert(a.gap);
    go_on(&a);
    pass_ms(&s, 10000);
    flush(&s);
    cr_assert_eq(a.count, 0);
    cr_assert_not(a.gap);
    end_stream(&a);
}

Test(engine_stream, a_floor_that_rises_is_no_gap_for_a_quiet_stream)
{
    subject s = subject_with_defaults();
    s.options.categories_max = 2;
    subject_start(&s);
    uint64_t first = publish(&s, "c");
    asked a = stream_by_id(&s, "c", first);
    ask(&a);
    publish(&s, "c");
    flush(&s);
    go_on(&a);
    const char *others[] = {"d", "e", "f", "g", "h"};
    for (int i = 0; i < 5; i++)
        publish(&s, others[i]);
    pass_ms(&s, 10000);
    flush(&s);
    cr_assert_eq(a.answers, 2);
    cr_assert_not(a.gap);
    end_stream(&a);
}

Test(engine_stream, keeps_its_category_while_it_rests)
{
    subject s = started();
    asked a = stream_by_id(&s, "c", 0);
    ask(&a);
    pass_ms(&s, 10000);
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(stats_of(&s).categories, 1);
    lp__engine_cancel(s.engine, &a.waiter);
    lp__engine_cancel(s.engine, &a.waiter);
    cr_assert_eq(stats_of(&s).categories, 0);
    cr_assert_eq(stats_of(&s).waiters, 0);
    cr_assert_eq(stats_of(&s).interests, 0);
    subject_end(&s);
}

Test(engine_stream, a_drain_answers_it_and_lets_it_rest)
{
    subject s = started();
    asked waiting = stream_by_id(&s, "c", 0), resting = stream_by_id(&s, "d", 0);
    ask(&waiting);
    ask(&resting);
    publish(&s, "d");
    flush(&s);
    uint64_t seq = publish(&s, "c");
    lp__engine_drain(s.engine, s.now);
    cr_assert(waiting.answers == 1 && waiting.closing && waiting.seqs[0] == seq);
    cr_assert(resting.answers == 1 && !resting.closing);
    lp__engine_dismiss(s.engine, s.now, &resting.waiter);
    cr_assert_eq(resting.answers, 1, "one that rests is not answered");
    lp__engine_cancel(s.engine, &waiting.waiter);
    lp__engine_cancel(s.engine, &resting.waiter);
    cr_assert_eq(stats_of(&s).waiters, 0);
    subject_end(&s);
}

Test(engine_stream, a_burst_past_the_ring_reaches_one_that_waits)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 3;
    subject_start(&s);
    asked a = stream_by_id(&s, "c", 0);
    ask(&a);
    uint64_t first = publish(&s, "c");
    for (int i = 0; i < 3; i++)
        publish(&s, "c");
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 3);
    cr_assert_eq(a.seqs[0], first);
    go_on(&a);
    cr_assert_eq(a.count, 1);
    cr_assert_not(a.gap);
    end_stream(&a);
}

Test(engine_stream, tells_when_what_was_waited_for_became_visible)
{
    subject s = started();
    s.now.mono_us = 700;
    publish(&s, "c");
    asked a = stream_by_id(&s, "c", lp_seq_first(T0) - 1);
    ask(&a);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.visible_us, 0, "it was there already");
    go_on(&a);
    s.now.mono_us = 800;
    publish(&s, "c");
    s.now.mono_us = 900;
    flush(&s);
    cr_assert_eq(a.answers, 2);
    cr_assert_eq(a.visible_us, 800);
    publish(&s, "c");
    go_on(&a);
    cr_assert_eq(a.answers, 3);
    cr_assert_eq(a.visible_us, 0, "it rested");
    end_stream(&a);
}

Test(engine_stream, a_dismissed_poll_is_told_nothing_behind_what_it_was_not_shown)
{
    subject s = started();
    asked a = poll_since(&s, "c", T0 - 1), b = poll_by_id(&s, "c", 0);
    ask(&a);
    ask(&b);
    uint64_t seq = publish(&s, "c");
    pass_ms(&s, 5);
    lp__engine_dismiss(s.engine, s.now, &a.waiter);
    lp__engine_dismiss(s.engine, s.now, &b.waiter);
    cr_assert(a.answers == 1 && a.count == 0 && a.closing);
    cr_assert_lt(a.timestamp_ms, lp_seq_ms(seq));
    cr_assert_lt(lp_id_seq(b.last_id), seq);
    subject_end(&s);
}
