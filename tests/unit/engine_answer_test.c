/* Who is answered what, and when. (That nothing is missed over whole histories is the model
 * test's.)
 */
#include <criterion/criterion.h>

#include "subject.h"

static subject started(void)
{
    subject s = subject_with_defaults();
    subject_start(&s);
    return s;
}

Test(engine_answer, buffered_events_are_answered_at_once_oldest_first)
{
    subject s = started();
    uint64_t first = publish(&s, "c"), second = publish(&s, "c");
    publish(&s, "other");
    pass_ms(&s, 1);
    asked a = poll_since(&s, "c", T0 - 1);
    ask(&a);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 2);
    cr_assert_eq(a.seqs[0], first);
    cr_assert_eq(a.seqs[1], second);
    cr_assert_not(a.gap);
    subject_end(&s);
}

Test(engine_answer, a_poll_with_our_id_sees_the_running_millisecond)
{
    subject s = started();
    uint64_t first = publish(&s, "c"), second = publish(&s, "c");
    asked a = poll_after(&s, "c", first);
    ask(&a);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], second);
    subject_end(&s);
}

Test(engine_answer, a_poll_without_an_id_waits_until_the_millisecond_is_over)
{
    subject s = started();
    publish(&s, "c");
    asked a = poll_since(&s, "c", T0 - 1);
    ask(&a);
    cr_assert_eq(a.answers, 0);
    cr_assert_eq(lp__engine_deadline(s.engine), s.now.mono_ms + 1);
    uint64_t second = publish(&s, "c");
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(a.count, 2);
    cr_assert_eq(a.seqs[1], second);
    subject_end(&s);
}

Test(engine_answer, a_poll_without_an_id_waits_for_commits_of_its_millisecond)
{
    subject s = started();
    publish(&s, "c");
    stamp(&s, "elsewhere");
    asked a = poll_since(&s, "c", T0 - 1);
    pass_ms(&s, 50);
    ask(&a);
    cr_assert_eq(a.answers, 0);
    lp__engine_resolve(s.engine, s.now, false);
    flush(&s);
    cr_assert_eq(a.count, 1);
    subject_end(&s);
}

Test(engine_answer, pending_events_are_seen_by_nobody_until_they_are_kept)
{
    subject s = started();
    asked a = poll_after(&s, "c", lp_seq_first(T0 - 5));
    ask(&a);
    uint64_t dropped = stamp(&s, "c"), kept = stamp(&s, "c");
    flush(&s);
    cr_assert_eq(a.answers, 0);
    lp__engine_resolve(s.engine, s.now, false);
    flush(&s);
    cr_assert_eq(a.answers, 0);
    lp__engine_resolve(s.engine, s.now, true);
    flush(&s);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], kept);
    cr_assert_gt(kept, dropped);
    subject_end(&s);
}

Test(engine_answer, times_out_at_its_deadline_with_the_millisecond_before)
{
    subject s = started();
    asked a = poll_from_now(&s, "c");
    ask(&a);
    cr_assert_eq(lp__engine_deadline(s.engine), s.now.mono_ms + 10000);
    pass_ms(&s, 9999);
    flush(&s);
    cr_assert_eq(a.answers, 0);
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 0);
    cr_assert_eq(a.timestamp_ms, T0 + 10000 - 1);
    cr_assert_not(a.gap);
    cr_assert_eq(lp__engine_deadline(s.engine), INT64_MAX);
    subject_end(&s);
}

Test(engine_answer, a_timeout_stays_behind_what_is_pending)
{
    subject s = started();
    asked a = poll_from_now(&s, "c");
    ask(&a);
    pass_ms(&s, 9000);
    stamp(&s, "c");
    pass_ms(&s, 1000);
    flush(&s);
    cr_assert_eq(a.timestamp_ms, T0 + 9000 - 1);
    subject_end(&s);
}

Test(engine_answer, reads_cursors_as_the_wire_says)
{
    subject s = started();
    uint64_t seqs[6];
    for (int i = 0; i < 6; i++) {
        seqs[i] = publish(&s, "c"); /* two each in T0, T0 + 1, T0 + 2 */
        pass_ms(&s, i % 2);
    }
    lp_id foreign = {{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89}};
    const struct {
        asked poll;
        size_t first; /* of what is answered */
        const char *what;
    } cases[] = {
        {poll_since(&s, "c", T0), 2, "later than since"},
        {poll_since(&s, "c", T0 - 1), 0, "from the beginning"},
        {poll_since(&s, "c", INT64_MIN), 0, "clamped"},
        {poll_after(&s, "c", seqs[2]), 3, "of that millisecond what comes after the id"},
        {poll_after(&s, "c", seqs[2] + 100), 4, "also when the id is not there"},
        {poll_with(&s, "c", T0 + 1, foreign), 2, "all of that millisecond"},
        {poll_with(&s, "c", T0 + 1, lp_id_make(seqs[0], 0)), 2, "the id is of before"},
        {poll_with(&s, "c", T0, lp_id_make(seqs[2], 0)), 3, "since is of a timeout: nothing twice"},
        {poll_with(&s, "c", T0 - 1, lp_id_make(seqs[2], 0)), 0, "the id is of later"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        asked a = cases[i].poll;
        ask(&a);
        cr_assert_eq(a.count, 6 - cases[i].first, "%s", cases[i].what);
        cr_assert_eq(a.seqs[0], seqs[cases[i].first], "%s", cases[i].what);
        cr_assert_not(a.gap, "%s", cases[i].what);
    }
    subject_end(&s);
}

Test(engine_answer, a_since_ahead_of_the_clock_means_from_now)
{
    subject s = started();
    publish(&s, "c");
    asked a = poll_since(&s, "c", T0 + 3600000), b = poll_since(&s, "c", INT64_MAX);
    ask(&a);
    ask(&b);
    pass_ms(&s, 5);
    uint64_t seq = publish(&s, "c");
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], seq);
    cr_assert_eq(b.count, 1);
    cr_assert_not(a.gap || b.gap);
    subject_end(&s);
}

Test(engine_answer, without_since_only_new_events_count)
{
    subject s = started();
    publish(&s, "c");
    pass_ms(&s, 1);
    asked a = poll_from_now(&s, "c");
    ask(&a);
    cr_assert_eq(a.answers, 0);
    uint64_t seq = publish(&s, "c");
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], seq);
    subject_end(&s);
}

Test(engine_answer, is_cut_at_its_bound_and_the_rest_comes_next)
{
    subject s = subject_with_defaults();
    s.options.answer_bytes_max = 250; /* two events */
    subject_start(&s);
    uint64_t seqs[5];
    for (int i = 0; i < 5; i++)
        seqs[i] = publish(&s, "c");
    asked a = poll_after(&s, "c", seqs[0] - 1), b = poll_after(&s, "c", seqs[1]);
    ask(&a);
    ask(&b);
    cr_assert_eq(a.count, 2);
    cr_assert_eq(a.seqs[1], seqs[1]);
    cr_assert_eq(b.count, 2);
    cr_assert_eq(b.seqs[0], seqs[2]);
    subject_end(&s);
}

Test(engine_answer, without_an_id_it_is_cut_between_milliseconds_only)
{
    subject s = subject_with_defaults();
    s.options.answer_bytes_max = 350; /* three events */
    subject_start(&s);
    for (int i = 0; i < 6; i++) {
        publish(&s, "c"); /* two a millisecond */
        pass_ms(&s, i % 2);
    }
    for (int i = 0; i < 6; i++)
        publish(&s, "c"); /* six in one */
    pass_ms(&s, 1);
    asked a = poll_since(&s, "c", T0 - 1), b = poll_since(&s, "c", T0 + 2);
    ask(&a);
    ask(&b);
    cr_assert_eq(a.count, 2);
    cr_assert_eq(b.count, 6, "a whole millisecond even past the bound");
    subject_end(&s);
}

Test(engine_answer, canceled_polls_are_not_answered)
{
    subject s = started();
    asked a = poll_from_now(&s, "c"), b = poll_from_now(&s, "c");
    ask(&a);
    cr_assert_eq(
        lp__engine_subscribe(s.engine, s.now, &b.query, b.query.timeout_s * 1000, &b.waiter),
        LP_OK);
    lp__engine_cancel(s.engine, &a.waiter);
    lp__engine_cancel(s.engine, &b.waiter);
    lp__engine_cancel(s.engine, &b.waiter);
    publish(&s, "c");
    pass_ms(&s, 20000);
    flush(&s);
    cr_assert_eq(a.answers + b.answers, 0);
    subject_end(&s);
}

Test(engine_answer, a_drain_answers_everyone)
{
    subject s = started();
    asked waiting = poll_from_now(&s, "c"), fresh = poll_from_now(&s, "c");
    asked behind = poll_after(&s, "d", lp_seq_first(T0));
    ask(&waiting);
    publish(&s, "d");
    uint64_t seq = publish(&s, "d");
    cr_assert_eq(lp__engine_subscribe(s.engine, s.now, &fresh.query, fresh.query.timeout_s * 1000,
                                      &fresh.waiter),
                 LP_OK);
    cr_assert_eq(lp__engine_subscribe(s.engine, s.now, &behind.query, behind.query.timeout_s * 1000,
                                      &behind.waiter),
                 LP_OK);
    lp__engine_drain(s.engine, s.now);
    cr_assert(waiting.answers == 1 && waiting.count == 0 && waiting.closing);
    cr_assert(fresh.answers == 1 && fresh.count == 0 && fresh.closing);
    cr_assert(behind.answers == 1 && behind.count == 1 && behind.seqs[0] == seq && behind.closing);
    cr_assert_eq(waiting.timestamp_ms, T0 - 1);
    subject_end(&s);
}
