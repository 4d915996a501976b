/* What is forgotten, and how that is told. */
#include <criterion/criterion.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <longpoll/store.h>

#include "core/engine/event_prepare.h"
#include "subject.h"

static bool gap_of(subject *s, const char *category, uint64_t seq)
{
    asked a = poll_after(s, category, seq);
    ask(&a);
    if (a.answers == 0) {
        lp__engine_drain(s->engine, s->now);
        cr_assert(a.closing);
    }
    return a.gap;
}

Test(engine_bounds, a_full_ring_loses_its_oldest_and_tells_those_who_had_not_seen_it)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 2;
    subject_start(&s);
    uint64_t first = publish(&s, "c"), second = publish(&s, "c");
    cr_assert_not(gap_of(&s, "c", first - 1));
    publish(&s, "c");
    cr_assert(gap_of(&s, "c", first - 1));
    cr_assert_not(gap_of(&s, "c", first));
    cr_assert_not(gap_of(&s, "c", second));
    cr_assert_not(gap_of(&s, "quiet", first - 1), "no false alarm elsewhere");
    cr_assert_eq(stats_of(&s).events, 2);
    cr_assert_eq(stats_of(&s).evicted, 1);
    subject_end(&s);
}

Test(engine_bounds, polls_without_a_cursor_are_told_of_no_gap)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 1;
    subject_start(&s);
    publish(&s, "c");
    publish(&s, "c");
    asked a = poll_from_now(&s, "c");
    ask(&a);
    pass_ms(&s, 10000);
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_not(a.gap);
    subject_end(&s);
}

Test(engine_bounds, a_burst_past_the_ring_reaches_those_who_wait_with_an_id)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 3;
    subject_start(&s);
    uint64_t before = publish(&s, "c");
    asked a = poll_after(&s, "c", before);
    ask(&a);
    for (int i = 0; i < 4; i++)
        publish(&s, "c");
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 3);
    cr_assert_eq(a.seqs[0], before + 1);
    cr_assert_not(a.gap);
    subject_end(&s);
}

Test(engine_bounds, a_burst_past_the_ring_within_a_millisecond_is_a_gap_for_those_without_an_id)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 3;
    subject_start(&s);
    asked a = poll_since(&s, "c", T0 - 1);
    ask(&a);
    for (int i = 0; i < 4; i++)
        publish(&s, "c");
    cr_assert_eq(a.answers, 0, "a part of a millisecond is never told");
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(a.count, 3);
    cr_assert(a.gap);
    subject_end(&s);
}

Test(engine_bounds, the_oldest_events_of_all_go_past_the_total)
{
    subject s = subject_with_defaults();
    s.options.events_max = 3;
    subject_start(&s);
    uint64_t oldest = publish(&s, "a");
    publish(&s, "b");
    publish(&s, "c");
    publish(&s, "c");
    cr_assert_eq(stats_of(&s).events, 3);
    cr_assert(gap_of(&s, "a", oldest - 1));
    cr_assert_not(gap_of(&s, "b", oldest - 1));
    subject_end(&s);
}

Test(engine_bounds, bytes_are_bounded_and_one_event_is_always_kept)
{
    subject s = subject_with_defaults();
    s.options.events_bytes_max = 1;
    subject_start(&s);
    publish(&s, "c");
    publish(&s, "c");
    cr_assert_eq(stats_of(&s).events, 1);
    subject_end(&s);
}

Test(engine_bounds, events_expire_with_the_clock)
{
    subject s = subject_with_defaults();
    s.options.event_ttl_ms = 1000;
    subject_start(&s);
    uint64_t seq = publish(&s, "c");
    pass_ms(&s, 999);
    flush(&s);
    cr_assert_eq(stats_of(&s).events, 1);
    cr_assert_leq(lp__engine_deadline(s.engine), s.now.mono_ms + 500, "nobody has to ask");
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(stats_of(&s).events, 0);
    cr_assert_eq(stats_of(&s).expired, 1);
    cr_assert_eq(lp__engine_expired_ms(s.engine, s.now), T0);
    cr_assert(gap_of(&s, "c", seq - 1));
    subject_end(&s);
}

Test(engine_bounds, waiters_are_bounded)
{
    subject s = subject_with_defaults();
    s.options.waiters_max = 1;
    subject_start(&s);
    asked a = poll_from_now(&s, "a"), b = poll_from_now(&s, "b");
    ask(&a);
    cr_assert_eq(
        lp__engine_subscribe(s.engine, s.now, &b.query, b.query.timeout_s * 1000, &b.waiter),
        LP_EFULL);
    lp__engine_cancel(s.engine, &a.waiter);
    cr_assert_eq(
        lp__engine_subscribe(s.engine, s.now, &b.query, b.query.timeout_s * 1000, &b.waiter),
        LP_OK);
    cr_assert_eq(stats_of(&s).waiters, 1);
    subject_end(&s);
}

Test(engine_bounds, categories_are_bounded_and_the_forgotten_tell_a_gap)
{
    subject s = subject_with_defaults();
    s.options.categories_max = 10;
    subject_start(&s);
    char name[16];
    uint64_t first = 0, last = 0;
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        last = publish(&s, name);
        if (i == 0)
            first = last;
        cr_assert_leq(stats_of(&s).categories, 10);
    }
    cr_assert_eq(stats_of(&s).events, 10);
    cr_assert(gap_of(&s, "c0", first - 1));
    cr_assert_not(gap_of(&s, "c0", last), "a cursor of later has missed nothing");
    subject_end(&s);
}

Test(engine_bounds, a_poll_leaves_no_category_behind)
{
    subject s = subject_with_defaults();
    subject_start(&s);
    asked a = poll_from_now(&s, "c");
    ask(&a);
    cr_assert_eq(stats_of(&s).categories, 1);
    pass_ms(&s, 10000);
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(stats_of(&s).categories, 0);
    subject_end(&s);
}

Test(engine_bounds, the_first_retrieval_deletes_without_a_gap)
{
    subject s = subject_with_defaults();
    s.options.delete_after_first_retrieval = true;
    subject_start(&s);
    uint64_t first = publish(&s, "c");
    publish(&s, "c");
    asked reader = poll_after(&s, "c", first - 1), other = poll_after(&s, "c", first - 1);
    reader.retrieves = false;
    ask(&reader);
    cr_assert_eq(reader.count, 2, "a reader that vanished does not take them along");
    other.retrieves = true;
    ask(&other);
    cr_assert_eq(other.count, 2);
    cr_assert_eq(stats_of(&s).events, 0);
    cr_assert_eq(stats_of(&s).retrieved, 2);
    cr_assert_not(gap_of(&s, "c", first - 1));
    subject_end(&s);
}

Test(engine_bounds, retrieval_within_the_answer_makes_room_so_that_nothing_is_evicted)
{
    subject s = subject_with_defaults();
    s.options.delete_after_first_retrieval = true;
    s.options.events_max = 3;
    subject_start(&s);
    uint64_t before = publish(&s, "c");
    asked a = poll_after(&s, "c", before);
    a.retrieves = true;
    ask(&a);
    for (int i = 0; i < 3; i++)
        publish(&s, "c");
    cr_assert_eq(a.answers, 0);
    cr_assert_eq(stats_of(&s).evicted, 1, "which it had");
    publish(&s, "c");
    cr_assert_eq(a.answers, 1, "now it would lose one");
    cr_assert_eq(a.count, 3);
    cr_assert_eq(stats_of(&s).evicted, 1);
    cr_assert_eq(stats_of(&s).events, 1);
    subject_end(&s);
}

Test(engine_bounds, a_cursor_above_every_number_is_a_gap)
{
    subject s = subject_with_defaults();
    subject_start(&s);
    uint64_t seq = publish(&s, "c");
    cr_assert(gap_of(&s, "c", seq + 1));
    cr_assert_not(gap_of(&s, "c", seq));
    subject_end(&s);
}

Test(engine_bounds, a_raised_floor_is_a_gap_for_every_cursor_of_before)
{
    subject s = subject_with_defaults();
    subject_start(&s);
    uint64_t seq = publish(&s, "c");
    pass_ms(&s, 5);
    lp__engine_raise_floor(s.engine, s.now);
    asked before = poll_since(&s, "new", T0 + 3), after = poll_since(&s, "new", T0 + 5);
    ask(&before);
    ask(&after);
    cr_assert(gap_of(&s, "c", seq - 1));
    lp__engine_drain(s.engine, s.now);
    cr_assert(before.gap);
    cr_assert_not(after.gap);
    subject_end(&s);
}

Test(engine_bounds, without_a_store_no_changes_are_collected)
{
    subject s = subject_with_defaults();
    s.options.has_store = false;
    s.options.event_buffer_max = 1;
    subject_start(&s);
    publish(&s, "c");
    publish(&s, "c");
    cr_assert_not(lp__engine_changed(s.engine));
    subject_end(&s);
}

Test(engine_bounds, a_store_is_told_what_went_and_how_far)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 1;
    subject_start(&s);
    uint64_t first = publish(&s, "c"), second = publish(&s, "c"), last = publish(&s, "c");
    lp_batch *batch;
    cr_assert_eq(lp_batch_new(&batch), LP_OK);
    cr_assert(lp__engine_changed(s.engine));
    cr_assert_eq(lp__engine_take_changes(s.engine, 100, batch), LP_OK);
    cr_assert_not(lp__engine_changed(s.engine));
    cr_assert_eq(lp_batch_removal_count(batch), 2);
    cr_assert_eq(lp_batch_removal(batch, 0).seq, first);
    cr_assert_eq(lp_batch_removal(batch, 0).reason, LP_REMOVED_RING);
    cr_assert_eq(lp_batch_horizon_count(batch), 1);
    cr_assert_eq(lp_batch_horizon(batch, 0).seq, second);
    cr_assert_eq(lp_batch_highest(batch), last);

    cr_assert_eq(lp__engine_put_back_changes(s.engine, batch), LP_OK);
    lp_batch_clear(batch);
    cr_assert_eq(lp__engine_take_changes(s.engine, 100, batch), LP_OK);
    cr_assert_eq(lp_batch_removal_count(batch), 2, "told again after a commit that failed");
    cr_assert_eq(lp_batch_horizon(batch, 0).seq, second);
    lp_batch_free(batch);
    subject_end(&s);
}

/* ---- memory ------------------------------------------------------------- */

Test(engine_bounds, an_event_takes_at_most_64_bytes_more_than_its_wire_text)
{
    enum { MALLOC_HEADER = 8, RING_SLOT = 8 };
    char data[64];
    memset(data, '1', sizeof(data));
    for (size_t len = 1; len <= sizeof(data); len++) {
        lp_event *event;
        lp_id id = lp_id_make(lp_seq_first(T0), len);
        cr_assert_eq(lp_event_new(id, lp_str_of("c"), (lp_str){data, len}, &event), LP_OK);
        size_t takes = malloc_usable_size(event) + MALLOC_HEADER + RING_SLOT;
        cr_assert_leq(takes, lp_event_wire(event).len + 64, "%zu bytes of data", len);
        lp_event_unref(event);
    }
}

Test(engine_bounds, slack_is_told_once_when_most_of_a_peak_has_been_gone_for_a_second)
{
    enum { EVENTS = 20, BYTES = 1 << 20 };
    subject s = subject_with_defaults();
    s.options.event_ttl_ms = 60000;
    subject_start(&s);
    char *data = malloc(BYTES);
    cr_assert_not_null(data);
    memset(data, '1', BYTES);
    for (int i = 0; i < EVENTS; i++) {
        lp_event *event;
        cr_assert_eq(lp__event_prepare(lp_str_of("c"), (lp_str){data, BYTES}, &event), LP_OK);
        cr_assert_eq(lp__engine_stamp(s.engine, s.now, &event, 1), LP_OK);
        lp__engine_resolve(s.engine, s.now, true);
        lp_event_unref(event);
    }
    free(data);
    flush(&s);
    pass_ms(&s, 60000);
    flush(&s);
    cr_assert_eq(stats_of(&s).events, 0);
    cr_assert_eq(lp__engine_deadline(s.engine), s.now.mono_ms + 1000, "it is looked at again");
    cr_assert_not(lp__engine_take_slack(s.engine));
    pass_ms(&s, 1000);
    flush(&s);
    cr_assert(lp__engine_take_slack(s.engine));
    cr_assert_not(lp__engine_take_slack(s.engine), "it is told once");
    cr_assert_eq(lp__engine_deadline(s.engine), INT64_MAX);
    subject_end(&s);
}

Test(engine_bounds, a_category_that_is_empty_while_its_next_event_is_pending_expires_nothing)
{
    subject s = subject_with_defaults();
    s.options.event_ttl_ms = 1000;
    s.options.delete_after_first_retrieval = true;
    subject_start(&s);
    for (int kept = 0; kept < 2; kept++) {
        uint64_t seq = publish(&s, "c");
        stamp(&s, "c");
        asked a = poll_after(&s, "c", seq - 1);
        a.retrieves = true;
        ask(&a);
        cr_assert_eq(a.count, 1);
        cr_assert_eq(stats_of(&s).events, 0);
        pass_ms(&s, 999);
        flush(&s);
        lp__engine_resolve(s.engine, s.now, kept);
        cr_assert_eq(stats_of(&s).events, kept);
        pass_ms(&s, 1);
        flush(&s);
        cr_assert_eq(stats_of(&s).events, 0);
        cr_assert_eq(stats_of(&s).expired, kept);
    }
    subject_end(&s);
}
