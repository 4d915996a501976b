/* Polls over several categories: one cursor, one order. */
#include <criterion/criterion.h>
#include <malloc.h>
#include <stdio.h>

#include "subject.h"

enum { NAMES_MAX = 64 };

static lp_str names[NAMES_MAX];
static char texts[NAMES_MAX][8];

/* The poll names n0, n1, … beside its own category. */
static asked widened(asked a, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        snprintf(texts[i], sizeof(texts[i]), "n%zu", i);
        names[i] = lp_str_of(texts[i]);
    }
    a.query.categories = names;
    a.query.category_count = count;
    return a;
}

static subject started(void)
{
    subject s = subject_with_defaults();
    subject_start(&s);
    return s;
}

Test(engine_wide, events_of_all_its_categories_are_answered_in_the_order_of_publishing)
{
    subject s = started();
    uint64_t before = publish(&s, "n0"), seqs[6];
    const char *order[] = {"n2", "c", "n1", "n2", "c", "n0"};
    for (int i = 0; i < 6; i++) {
        seqs[i] = publish(&s, order[i]);
        publish(&s, "elsewhere");
    }
    asked a = widened(poll_after(&s, "c", before), 3);
    ask(&a);
    cr_assert_eq(a.count, 6);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(a.seqs[i], seqs[i]);
    cr_assert_not(a.gap);
    cr_assert_eq(lp_id_seq(a.last_id), seqs[5]);
    subject_end(&s);
}

Test(engine_wide, waits_on_all_of_them_and_is_answered_once)
{
    subject s = started();
    uint64_t before = publish(&s, "elsewhere");
    asked a = widened(poll_after(&s, "c", before), 5);
    ask(&a);
    cr_assert_eq(a.answers, 0);
    cr_assert_eq(stats_of(&s).interests, 6);
    cr_assert_eq(stats_of(&s).waiters, 1);
    uint64_t first = publish(&s, "n3"), second = publish(&s, "n1");
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 2);
    cr_assert_eq(a.seqs[0], first);
    cr_assert_eq(a.seqs[1], second);
    cr_assert_eq(stats_of(&s).interests, 0);
    publish(&s, "n2");
    flush(&s);
    cr_assert_eq(a.answers, 1);
    subject_end(&s);
}

Test(engine_wide, a_name_given_twice_counts_once)
{
    subject s = started();
    asked a = widened(poll_after(&s, "n1", lp_seq_first(T0 - 1)), 3);
    names[2] = names[0];
    ask(&a);
    cr_assert_eq(stats_of(&s).interests, 2);
    publish(&s, "n0");
    flush(&s);
    cr_assert_eq(a.count, 1);
    subject_end(&s);
}

Test(engine_wide, without_an_id_whole_milliseconds_over_all_categories_are_told)
{
    subject s = started();
    publish(&s, "n0");
    asked a = widened(poll_since(&s, "c", T0 - 1), 2);
    ask(&a);
    cr_assert_eq(a.answers, 0);
    publish(&s, "n1");
    publish(&s, "c");
    flush(&s);
    cr_assert_eq(a.answers, 0, "its millisecond is not over");
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 3);
    subject_end(&s);
}

Test(engine_wide, what_it_found_in_one_category_is_waited_for_before_it_is_told_of_the_others)
{
    subject s = started();
    publish(&s, "n0");
    pass_ms(&s, 5);
    publish(&s, "n1"); /* not settled when it asks */
    asked a = widened(poll_since(&s, "c", T0 - 1), 2);
    ask(&a);
    cr_assert_eq(a.answers, 0);
    cr_assert_eq(lp__engine_deadline(s.engine), s.now.mono_ms + 1);
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(a.count, 2);
    subject_end(&s);
}

Test(engine_wide, what_it_waited_for_is_evicted_and_the_rest_is_told)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 1;
    subject_start(&s);
    uint64_t first = publish(&s, "n0");
    pass_ms(&s, 5);
    publish(&s, "n1");
    asked a = widened(poll_since(&s, "c", T0 - 1), 2);
    ask(&a);
    cr_assert_eq(a.answers, 0);
    uint64_t later = publish(&s, "n1");
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(a.count, 2);
    cr_assert_eq(a.seqs[0], first);
    cr_assert_eq(a.seqs[1], later);
    cr_assert(a.gap);
    subject_end(&s);
}

Test(engine_wide, a_slow_store_does_not_hold_up_what_is_there)
{
    subject s = started();
    publish(&s, "n0");
    pass_ms(&s, 1);
    publish(&s, "n1");
    stamp(&s, "slow"); /* n1's millisecond does not settle */
    asked a = widened(poll_since(&s, "c", T0 - 1), 2);
    ask(&a);
    cr_assert_eq(a.answers, 0);
    pass_ms(&s, 101);
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 1);
    subject_end(&s);
}

Test(engine_wide, is_cut_at_its_bound_and_the_rest_comes_next)
{
    subject s = subject_with_defaults();
    s.options.answer_bytes_max = 250; /* two events */
    subject_start(&s);
    uint64_t before = publish(&s, "elsewhere"), seqs[5];
    const char *order[] = {"n1", "c", "n0", "n1", "n1"};
    for (int i = 0; i < 5; i++)
        seqs[i] = publish(&s, order[i]);
    uint64_t cursor = before;
    for (int i = 0; i < 5; i += 2) {
        asked a = widened(poll_after(&s, "c", cursor), 2);
        ask(&a);
        cr_assert_eq(a.count, i < 4 ? 2 : 1);
        for (size_t n = 0; n < a.count; n++)
            cr_assert_eq(a.seqs[n], seqs[i + (int)n]);
        cursor = a.seqs[a.count - 1];
    }
    subject_end(&s);
}

Test(engine_wide, without_an_id_it_is_cut_between_milliseconds_only)
{
    subject s = subject_with_defaults();
    s.options.answer_bytes_max = 350; /* three events */
    subject_start(&s);
    for (int i = 0; i < 6; i++) {
        publish(&s, i % 2 ? "n0" : "n1"); /* two a millisecond */
        pass_ms(&s, i % 2);
    }
    for (int i = 0; i < 6; i++)
        publish(&s, i % 2 ? "n0" : "n1");
    pass_ms(&s, 1);
    asked a = widened(poll_since(&s, "c", T0 - 1), 2), b = widened(poll_since(&s, "c", T0 + 2), 2);
    ask(&a);
    ask(&b);
    cr_assert_eq(a.count, 2);
    cr_assert_eq(b.count, 6, "a whole millisecond even past the bound");
    subject_end(&s);
}

Test(engine_wide, a_gap_in_one_category_is_told_and_quiet_ones_raise_none)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 2;
    subject_start(&s);
    uint64_t first = publish(&s, "n1");
    for (int i = 0; i < 3; i++)
        publish(&s, "n1");
    uint64_t evicted = first + 1;
    asked behind = widened(poll_after(&s, "c", first), 3);
    asked just = widened(poll_after(&s, "c", evicted), 3);
    asked apart = widened(poll_after(&s, "c", first), 1); /* c and n0 alone */
    ask(&behind);
    ask(&just);
    ask(&apart);
    cr_assert(behind.answers == 1 && behind.gap);
    cr_assert(just.answers == 1 && !just.gap);
    lp__engine_drain(s.engine, s.now);
    cr_assert(apart.answers == 1 && !apart.gap);
    cr_assert_eq(stats_of(&s).gaps, 1);
    subject_end(&s);
}

Test(engine_wide, a_burst_past_one_ring_reaches_those_who_wait)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 3;
    subject_start(&s);
    uint64_t before = publish(&s, "elsewhere");
    asked a = widened(poll_after(&s, "c", before), 3);
    ask(&a);
    uint64_t other = publish(&s, "n0");
    for (int i = 0; i < 4; i++)
        publish(&s, "n2");
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 4, "all of its categories");
    cr_assert_eq(a.seqs[0], other);
    cr_assert_not(a.gap);
    subject_end(&s);
}

Test(engine_wide, a_burst_past_one_ring_reaches_those_who_came_in_the_same_moment)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 2;
    subject_start(&s);
    uint64_t before = publish(&s, "elsewhere");
    asked a = widened(poll_after(&s, "c", before), 3);
    cr_assert_eq(lp__engine_subscribe(s.engine, s.now, &a.query, 10000, &a.waiter), LP_OK);
    for (int i = 0; i < 3; i++)
        publish(&s, "n2");
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 2);
    cr_assert_not(a.gap);
    subject_end(&s);
}

Test(engine_wide, interests_are_bounded)
{
    subject s = subject_with_defaults();
    s.options.interests_max = 5;
    subject_start(&s);
    asked a = widened(poll_from_now(&s, "c"), 2), b = widened(poll_from_now(&s, "c"), 2);
    asked c = widened(poll_from_now(&s, "c"), 5);
    ask(&a);
    cr_assert_eq(lp__engine_subscribe(s.engine, s.now, &b.query, 10000, &b.waiter), LP_EFULL);
    lp__engine_cancel(s.engine, &b.waiter);
    cr_assert_eq(lp__engine_subscribe(s.engine, s.now, &c.query, 10000, &c.waiter), LP_EFULL);
    lp__engine_cancel(s.engine, &a.waiter);
    cr_assert_eq(stats_of(&s).interests, 0);
    cr_assert_eq(lp__engine_subscribe(s.engine, s.now, &b.query, 10000, &b.waiter), LP_OK);
    subject_end(&s);
}

Test(engine_wide, leaves_no_category_behind)
{
    subject s = started();
    asked a = widened(poll_from_now(&s, "c"), 20);
    ask(&a);
    cr_assert_eq(stats_of(&s).categories, 21);
    pass_ms(&s, 10000);
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 0);
    cr_assert_eq(stats_of(&s).categories, 0);
    subject_end(&s);
}

Test(engine_wide, a_query_that_names_nothing_is_refused)
{
    subject s = started();
    asked a = poll_from_now(&s, "");
    cr_assert_eq(lp__engine_subscribe(s.engine, s.now, &a.query, 10000, &a.waiter), LP_EINVAL);
    subject_end(&s);
}

Test(engine_wide, the_first_retrieval_deletes_in_all_categories)
{
    subject s = subject_with_defaults();
    s.options.delete_after_first_retrieval = true;
    subject_start(&s);
    uint64_t before = publish(&s, "elsewhere");
    const char *order[] = {"n1", "n0", "n1", "c", "n0"};
    for (int i = 0; i < 5; i++)
        publish(&s, order[i]);
    asked part = poll_after(&s, "n1", before + 1); /* takes the second one of n1 */
    part.retrieves = true;
    ask(&part);
    cr_assert_eq(part.count, 1);
    asked a = widened(poll_after(&s, "c", before), 2);
    a.retrieves = true;
    ask(&a);
    cr_assert_eq(a.count, 4);
    cr_assert_eq(stats_of(&s).events, 1);
    cr_assert_eq(stats_of(&s).retrieved, 5);
    cr_assert_not(a.gap);
    asked again = widened(poll_after(&s, "c", before), 2);
    ask(&again);
    cr_assert_eq(again.answers, 0);
    subject_end(&s);
}

Test(engine_wide, joins_with_the_last_events_of_all_its_categories)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 2;
    subject_start(&s);
    uint64_t seqs[6];
    const char *order[] = {"n0", "c", "n1", "n1", "n1", "c"};
    for (int i = 0; i < 6; i++)
        seqs[i] = publish(&s, order[i]);
    pass_ms(&s, 1);
    const struct {
        int64_t last;
        size_t count;
        uint64_t first;
    } cases[] = {{1, 1, seqs[5]}, {3, 3, seqs[3]}, {4, 4, seqs[1]}, {100, 5, seqs[0]}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int by_id = 0; by_id < 2; by_id++) {
            asked a = widened(by_id ? poll_by_id(&s, "c", 0) : poll_from_now(&s, "c"), 2);
            a.query.last = cases[i].last;
            ask(&a);
            cr_assert_eq(a.count, cases[i].count, "last %lld", (long long)cases[i].last);
            cr_assert_eq(a.seqs[0], cases[i].first);
            cr_assert_not(a.gap, "what was gone before it came is not missed");
        }
    }
    subject_end(&s);
}

Test(engine_wide, joining_with_the_last_events_waits_when_there_are_none)
{
    subject s = started();
    publish(&s, "elsewhere");
    asked a = poll_by_id(&s, "c", 0);
    a.query.last = 10;
    ask(&a);
    cr_assert_eq(a.answers, 0);
    uint64_t seq = publish(&s, "c");
    flush(&s);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], seq);
    subject_end(&s);
}

Test(engine_wide, a_cursor_wins_over_the_last_events)
{
    subject s = started();
    publish(&s, "c");
    uint64_t second = publish(&s, "c"), third = publish(&s, "c");
    asked a = poll_by_id(&s, "c", second);
    a.query.last = 3;
    ask(&a);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], third);
    subject_end(&s);
}

Test(engine_wide, a_stream_over_several_goes_on_behind_what_it_was_told)
{
    subject s = started();
    asked a = widened(stream_by_id(&s, "c", 0), 3);
    ask(&a);
    for (int i = 0; i < 10; i++) {
        uint64_t first = publish(&s, i % 2 ? "n2" : "c"), second = publish(&s, "n0");
        if (i % 3 == 0)
            flush(&s);
        if (a.answers == i)
            go_on(&a);
        cr_assert_eq(a.answers, i + 1);
        cr_assert_eq(a.count, 2);
        cr_assert_eq(a.seqs[0], first);
        cr_assert_eq(a.seqs[1], second);
        cr_assert_not(a.gap);
        go_on(&a);
    }
    lp__engine_cancel(s.engine, &a.waiter);
    cr_assert_eq(stats_of(&s).interests, 0);
    subject_end(&s);
}

/* They count once against interests_max: a stranger's poll takes no more memory than that says. */
Test(engine_wide, names_given_twice_take_no_room)
{
    subject s = started();
    asked one = widened(poll_from_now(&s, "n0"), 1);
    for (size_t i = 0; i < NAMES_MAX; i++)
        names[i] = names[0];
    one.query.category_count = NAMES_MAX;
    ask(&one);
    cr_assert_eq(stats_of(&s).interests, 1);
    cr_assert_eq(one.waiter.interests, &one.waiter.one);
    asked three = one;
    names[7] = lp_str_of("n1");
    names[9] = lp_str_of("n2");
    ask(&three);
    cr_assert_eq(stats_of(&s).interests, 1 + 3);
    cr_assert_lt(malloc_usable_size(three.waiter.interests), 8 * sizeof(lp__interest));
    uint64_t seq = publish(&s, "n2");
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(three.count, 1);
    cr_assert_eq(three.seqs[0], seq);
    cr_assert_eq(one.answers, 0);
    subject_end(&s);
}
