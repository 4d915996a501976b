#include "subject.h"

#include <criterion/criterion.h>

#include "core/engine/event_prepare.h"

const int64_t T0 = 1700000000000;

subject subject_with_defaults(void)
{
    return (subject){
        .options = {.event_buffer_max = 1000,
                    .waiters_max = 1000,
                    .categories_max = 1000,
                    .events_max = 1000000,
                    .events_bytes_max = 1 << 30,
                    .answer_bytes_max = 1 << 30,
                    .has_store = true,
                    .seed = {1, 2}},
        .now = {T0, 5000},
    };
}

void subject_start(subject *s)
{
    cr_assert_eq(lp__engine_new(&s->options, s->now, &s->engine), LP_OK);
}

void subject_end(subject *s)
{
    lp__engine_drain(s->engine, s->now);
    lp__engine_free(s->engine);
}

void pass_ms(subject *s, int64_t ms)
{
    s->now.wall_ms += ms;
    s->now.mono_ms += ms;
}

uint64_t stamp(subject *s, const char *category)
{
    lp_event *event;
    cr_assert_eq(lp__event_prepare(lp_str_of(category), lp_str_of("\"x\""), &event), LP_OK);
    cr_assert_eq(lp__engine_stamp(s->engine, s->now, &event, 1), LP_OK);
    uint64_t seq = lp_event_seq(event);
    lp_event_unref(event);
    return seq;
}

uint64_t publish(subject *s, const char *category)
{
    uint64_t seq = stamp(s, category);
    lp__engine_resolve(s->engine, s->now, true);
    return seq;
}

uint64_t replay_event(subject *s, int64_t ms, const char *category)
{
    uint64_t seq = lp_seq_first(ms);
    cr_assert_eq(lp__engine_replay_event(s->engine, s->now, lp_id_make(seq, 3), lp_str_of(category),
                                         lp_str_of("1")),
                 LP_OK);
    return seq;
}

static void on_answer(lp__waiter *waiter, const lp_answer *answer)
{
    asked *a = LP__CONTAINER(waiter, asked, waiter);
    a->answers++;
    a->count = answer->event_count;
    cr_assert_leq(a->count, ANSWER_MAX);
    for (size_t i = 0; i < a->count; i++)
        a->seqs[i] = lp_event_seq(answer->events[i]);
    a->timestamp_ms = answer->timestamp_ms;
    a->gap = answer->gap;
    a->closing = answer->closing;
    a->last_id = answer->last_id;
    a->visible_us = waiter->visible_us;
    if (a->retrieves)
        lp__engine_retrieved(a->subject->engine, a->subject->now, answer->events, a->count);
}

asked poll_from_now(subject *s, const char *category)
{
    asked a = {.subject = s, .waiter = {.answer = on_answer}, .query = LP_QUERY_INIT};
    a.query.category = lp_str_of(category);
    a.query.timeout_s = 10;
    return a;
}

asked poll_since(subject *s, const char *category, int64_t since_ms)
{
    asked a = poll_from_now(s, category);
    a.query.has_since = true;
    a.query.since_ms = since_ms;
    return a;
}

asked poll_with(subject *s, const char *category, int64_t since_ms, lp_id last_id)
{
    asked a = poll_since(s, category, since_ms);
    a.query.has_last_id = true;
    a.query.last_id = last_id;
    return a;
}

asked poll_after(subject *s, const char *category, uint64_t seq)
{
    return poll_with(s, category, lp_seq_ms(seq), lp_id_make(seq, 99));
}

asked poll_by_id(subject *s, const char *category, uint64_t seq)
{
    asked a = poll_from_now(s, category);
    a.query.by_id = true;
    a.query.has_last_id = seq != 0;
    a.query.last_id = lp_id_make(seq, 99);
    return a;
}

asked stream_by_id(subject *s, const char *category, uint64_t seq)
{
    asked a = poll_by_id(s, category, seq);
    a.waiter.is_stream = true;
    return a;
}

void go_on(asked *a)
{
    lp__engine_continue(a->subject->engine, a->subject->now, 10000, &a->waiter);
    flush(a->subject);
}

lp__engine_stats stats_of(const subject *s)
{
    lp__engine_stats stats;
    lp__engine_stats_get(s->engine, &stats);
    return stats;
}

void flush(subject *s)
{
    lp__engine_flush(s->engine, s->now);
}

void ask(asked *a)
{
    subject *s = a->subject;
    cr_assert_eq(
        lp__engine_subscribe(s->engine, s->now, &a->query, a->query.timeout_s * 1000, &a->waiter),
        LP_OK);
    flush(s);
}
