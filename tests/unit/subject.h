/* An engine under test, with a clock that the test sets and polls that remember their answer. */
#ifndef UNIT_SUBJECT_H
#define UNIT_SUBJECT_H

#include "core/engine/engine.h"

enum { ANSWER_MAX = 64 };

typedef struct subject {
    lp__engine *engine;
    lp__engine_options options;
    lp__now now; /* starts at T0 */
} subject;

extern const int64_t T0;

/* Everything unbounded; a test sets what it is about before subject_start. */
subject subject_with_defaults(void);
void subject_start(subject *s);
void subject_end(subject *s);
void pass_ms(subject *s, int64_t ms);

/* Stamps and resolves; the number of the event. Its data is `"x"`. */
uint64_t publish(subject *s, const char *category);
/* Stamps only. */
uint64_t stamp(subject *s, const char *category);
uint64_t replay_event(subject *s, int64_t ms, const char *category);

typedef struct asked {
    lp__waiter waiter;
    subject *subject;
    lp_query query;
    int answers;
    size_t count;
    uint64_t seqs[ANSWER_MAX];
    int64_t timestamp_ms;
    bool gap, closing;
    lp_id last_id;
    uint32_t visible_us;
    bool retrieves; /* tells at once that the answer was written */
} asked;

/* A poll of 10 s from now on. */
asked poll_from_now(subject *s, const char *category);
asked poll_since(subject *s, const char *category, int64_t since_ms);
asked poll_after(subject *s, const char *category, uint64_t seq);
/* With a last_id that is not of its since_time. */
asked poll_with(subject *s, const char *category, int64_t since_ms, lp_id last_id);
/* By id alone: behind that number, or from now on when it is 0. */
asked poll_by_id(subject *s, const char *category, uint64_t seq);
/* A stream by id. */
asked stream_by_id(subject *s, const char *category, uint64_t seq);
/* Hands the poll in, which must not move from here on, and flushes. */
void ask(asked *a);
void flush(subject *s);
/* Lets a stream that rests wait for 10 s more, and flushes. */
void go_on(asked *a);
lp__engine_stats stats_of(const subject *s);

#endif
