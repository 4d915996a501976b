/* Out of memory: each allocation of a short life fails in turn. Whatever fails says LP_ENOMEM, and
 * everything else goes on. (Linked with --wrap, so that the engine's allocations come here.) */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <longpoll/store.h>

#include "core/engine/event_prepare.h"
#include "subject.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *memory);

static long until_failure = -1; /* allocations that still succeed; negative: all */
static long living;             /* allocations that were not freed */

static bool fails(void)
{
    return until_failure >= 0 && until_failure-- == 0;
}

static void *counted(void *memory)
{
    living += memory != NULL;
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    if (fails())
        return NULL;
    void *memory = __real_realloc(old, size);
    return old ? memory : counted(memory);
}

void __wrap_free(void *memory)
{
    living -= memory != NULL;
    __real_free(memory);
}

/* ---- a short life ------------------------------------------------------------------------------
 */

enum { POLLS = 20, EVENTS = 40 };

static size_t pending_of(const subject *s)
{
    lp__engine_stats stats;
    lp__engine_stats_get(s->engine, &stats);
    return stats.pending;
}

static void check(int status)
{
    cr_assert(status == LP_OK || status == LP_ENOMEM || status == LP_SKIPPED, "%d", status);
}

static void replay(subject *s)
{
    lp__engine_replay_begin(s->engine);
    for (int i = 0; i < EVENTS; i++) {
        char name[8];
        snprintf(name, sizeof(name), "r%d", i % 7);
        uint64_t seq = lp_seq_first(T0 - 1000 + i);
        check(lp__engine_replay_event(s->engine, s->now, lp_id_make(seq, 1), lp_str_of(name),
                                      lp_str_of("1")));
        if (i % 5 == 0)
            check(lp__engine_replay_removal(s->engine, seq));
        if (i % 9 == 0)
            check(lp__engine_replay_horizon(s->engine, lp_str_of(name), seq - 1));
    }
    lp__engine_replay_end(s->engine, s->now);
}

static void publish_one(subject *s, int i)
{
    char name[8];
    snprintf(name, sizeof(name), "c%d", i % 4);
    lp_event *event;
    int status = lp__event_prepare(lp_str_of(name), lp_str_of("2"), &event);
    check(status);
    if (status != LP_OK)
        return;
    status = lp__engine_stamp(s->engine, s->now, &event, 1);
    check(status);
    lp_event_unref(event);
    if (status == LP_OK && i % 3 == 0) {
        while (pending_of(s) > 0)
            lp__engine_resolve(s->engine, s->now, i % 2 == 0);
    }
}

static void take_changes(subject *s)
{
    lp_batch *batch;
    if (lp_batch_new(&batch) != LP_OK)
        return;
    check(lp__engine_take_changes(s->engine, 5, batch));
    check(lp__engine_put_back_changes(s->engine, batch));
    lp_batch_clear(batch);
    check(lp__engine_take_changes(s->engine, 1000, batch));
    lp_batch_free(batch);
}

/* Polls over several categories and prefixes, some that join, and streams. */
static void widen(asked *a, int i)
{
    static const lp_str names[] = {{"c0", 2}, {"c1", 2}, {"r3", 2}, {"x", 1}};
    static const lp_str prefixes[] = {{"c", 1}, {"r1", 2}, {"r", 1}, {"other", 5}};
    a->waiter.is_stream = i % 5 == 0;
    a->query.categories = names;
    a->query.category_count = i % 4 == 1 ? 4 : 0;
    a->query.prefixes = prefixes;
    a->query.prefix_count = i % 4 == 2 ? 1 + (size_t)i % 3 : 0;
    if (i % 7 == 3) {
        a->query.has_since = a->query.has_last_id = false;
        a->query.last = 5;
    }
}

/* Two streams that rest go on. */
static void go_on_with(subject *s, asked *polls, int i)
{
    if (i > 0 && i <= POLLS) {
        lp__engine_continue(s->engine, s->now, 10000, &polls[0].waiter);
        lp__engine_continue(s->engine, s->now, 10000, &polls[(i - 1) / 5 * 5].waiter);
    }
}

static void live(subject *s)
{
    static asked polls[POLLS];
    memset(polls, 0, sizeof(polls));
    replay(s);
    for (int i = 0; i < EVENTS; i++) {
        publish_one(s, i);
        if (i < POLLS) {
            polls[i] = poll_after(s, i % 2 ? "c1" : "r1", lp_seq_first(T0 - 990));
            polls[i].retrieves = i % 3 == 0;
            widen(&polls[i], i);
            check(lp__engine_subscribe(s->engine, s->now, &polls[i].query,
                                       polls[i].query.timeout_s * 1000, &polls[i].waiter));
        }
        pass_ms(s, i % 2);
        go_on_with(s, polls, i);
        if (i % 4 == 0)
            flush(s);
        if (i % 10 == 0)
            take_changes(s);
    }
    lp__engine_drain(s->engine, s->now);
    for (int i = 0; i < POLLS; i++)
        lp__engine_cancel(s->engine, &polls[i].waiter);
}

static bool live_with_failure(long at)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 6;
    s.options.events_max = 20;
    s.options.categories_max = 8;
    s.options.delete_after_first_retrieval = true;
    until_failure = at;
    if (lp__engine_new(&s.options, s.now, &s.engine) == LP_OK) {
        live(&s);
        lp__engine_free(s.engine);
    }
    bool failed = until_failure < 0;
    until_failure = -1;
    cr_assert_eq(living, 0, "%ld allocations were not freed", living);
    return failed;
}

Test(engine_memory, each_allocation_fails_in_turn_and_nothing_leaks)
{
    long at = 0;
    while (live_with_failure(at))
        at++;
    cr_assert_gt(at, 50, "the life allocates %ld times", at);
}
