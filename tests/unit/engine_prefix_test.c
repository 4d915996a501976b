/* Polls over every category that begins with something. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine/engine_private.h"
#include "subject.h"

static subject started(void)
{
    subject s = subject_with_defaults();
    subject_start(&s);
    return s;
}

/* The poll asks for prefixes in place of its category. */
static asked with_prefixes(asked a, const lp_str *prefixes, size_t count)
{
    a.query.category = (lp_str){"", 0};
    a.query.prefixes = prefixes;
    a.query.prefix_count = count;
    return a;
}

static const lp_str room = {"room/", 5};

Test(engine_prefix, tells_of_every_category_that_begins_so_and_of_no_other)
{
    subject s = started();
    uint64_t before = publish(&s, "room/old");
    const char *inside[] = {"room/", "room/1", "room/\x01", "room/z/y", "room/1"};
    const char *outside[] = {"room", "room0", "rooma", "roo", "r", "s", "room.", "Room/1"};
    uint64_t seqs[5];
    for (int i = 0; i < 8; i++)
        publish(&s, outside[i]);
    for (int i = 0; i < 5; i++)
        seqs[i] = publish(&s, inside[i]);
    asked a = with_prefixes(poll_after(&s, "", before), &room, 1);
    ask(&a);
    cr_assert_eq(a.count, 5);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(a.seqs[i], seqs[i]);
    cr_assert_not(a.gap);
    subject_end(&s);
}

Test(engine_prefix, waits_for_categories_that_come_to_be_later)
{
    subject s = started();
    uint64_t before = publish(&s, "other");
    asked a = with_prefixes(poll_after(&s, "", before), &room, 1);
    ask(&a);
    cr_assert_eq(a.answers, 0);
    publish(&s, "roo");
    publish(&s, "room");
    flush(&s);
    cr_assert_eq(a.answers, 0);
    uint64_t seq = publish(&s, "room/new");
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(a.seqs[0], seq);
    cr_assert_eq(stats_of(&s).interests, 0);
    subject_end(&s);
}

Test(engine_prefix, without_an_id_a_millisecond_is_told_when_it_is_settled)
{
    subject s = started();
    asked a = with_prefixes(poll_since(&s, "", T0 - 1), &room, 1);
    ask(&a);
    publish(&s, "room/1");
    flush(&s);
    cr_assert_eq(a.answers, 0);
    cr_assert_eq(lp__engine_deadline(s.engine), s.now.mono_ms + 1);
    publish(&s, "room/2");
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(a.count, 2);
    asked b = with_prefixes(poll_since(&s, "", T0), &room, 1);
    ask(&b);
    publish(&s, "room/1");
    asked c = with_prefixes(poll_since(&s, "", T0 - 1), &room, 1);
    ask(&c);
    cr_assert_eq(b.answers + c.answers, 0);
    pass_ms(&s, 1);
    flush(&s);
    cr_assert_eq(b.count, 1);
    cr_assert_eq(c.count, 3, "whoever publishes and then polls finds all of it");
    subject_end(&s);
}

Test(engine_prefix, overlapping_prefixes_and_categories_tell_each_event_once)
{
    subject s = started();
    const lp_str prefixes[] = {{"room/1", 6}, {"room/", 5}, {"room/", 5}, {"room/12", 7}, {"z", 1}};
    uint64_t before = publish(&s, "other");
    asked waiting = with_prefixes(poll_after(&s, "", before), prefixes, 5);
    waiting.query.category = lp_str_of("room/123");
    asked late = waiting;
    ask(&waiting);
    cr_assert_eq(stats_of(&s).interests, 3, "what begins with another prefix adds nothing");
    uint64_t first = publish(&s, "room/123"), second = publish(&s, "z");
    flush(&s);
    ask(&late);
    cr_assert_eq(waiting.count, 2);
    cr_assert_eq(late.count, 2);
    cr_assert_eq(late.seqs[0], first);
    cr_assert_eq(late.seqs[1], second);
    subject_end(&s);
}

Test(engine_prefix, a_gap_in_any_category_that_begins_so_is_told)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 1;
    subject_start(&s);
    uint64_t first = publish(&s, "room/1"), second = publish(&s, "room/1");
    publish(&s, "room/2");
    const lp_str other = {"other/", 6};
    asked behind = with_prefixes(poll_after(&s, "", first - 1), &room, 1);
    asked just = with_prefixes(poll_after(&s, "", first), &room, 1);
    asked apart = with_prefixes(poll_after(&s, "", first - 1), &other, 1);
    ask(&behind);
    ask(&just);
    ask(&apart);
    cr_assert(behind.gap);
    cr_assert_eq(behind.count, 2);
    cr_assert_eq(behind.seqs[0], second);
    cr_assert_not(just.gap);
    lp__engine_drain(s.engine, s.now);
    cr_assert(apart.answers == 1 && !apart.gap);
    subject_end(&s);
}

Test(engine_prefix, a_category_forgotten_while_it_waits_is_a_gap)
{
    subject s = subject_with_defaults();
    s.options.categories_max = 1;
    subject_start(&s);
    asked a = with_prefixes(poll_by_id(&s, "", 0), &room, 1);
    ask(&a);
    publish(&s, "room/1");
    uint64_t last = publish(&s, "room/2");
    flush(&s);
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.seqs[a.count - 1], last);
    cr_assert(a.count == 2 || a.gap);
    subject_end(&s);
}

Test(engine_prefix, a_burst_past_a_ring_reaches_those_who_wait)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 2;
    subject_start(&s);
    uint64_t before = publish(&s, "other");
    asked a = with_prefixes(poll_after(&s, "", before), &room, 1);
    asked fresh = with_prefixes(poll_after(&s, "", before), &room, 1);
    ask(&a);
    cr_assert_eq(lp__engine_subscribe(s.engine, s.now, &fresh.query, 10000, &fresh.waiter), LP_OK);
    for (int i = 0; i < 3; i++)
        publish(&s, "room/1");
    cr_assert(a.answers == 1 && a.count == 2 && !a.gap);
    cr_assert(fresh.answers == 1 && fresh.count == 2 && !fresh.gap);
    subject_end(&s);
}

Test(engine_prefix, a_burst_past_the_total_reaches_those_who_wait)
{
    subject s = subject_with_defaults();
    s.options.events_max = 3;
    subject_start(&s);
    uint64_t before = publish(&s, "other");
    asked a = with_prefixes(poll_after(&s, "", before), &room, 1);
    ask(&a);
    char name[16];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "room/%d", i);
        publish(&s, name);
    }
    cr_assert_eq(a.answers, 1);
    cr_assert_eq(a.count, 3);
    cr_assert_eq(a.seqs[0], before + 1);
    cr_assert_not(a.gap);
    subject_end(&s);
}

Test(engine_prefix, the_first_retrieval_deletes_in_all_categories)
{
    subject s = subject_with_defaults();
    s.options.delete_after_first_retrieval = true;
    subject_start(&s);
    uint64_t before = publish(&s, "other");
    publish(&s, "room/1");
    publish(&s, "room/2");
    publish(&s, "room/1");
    asked a = with_prefixes(poll_after(&s, "", before), &room, 1);
    a.retrieves = true;
    ask(&a);
    cr_assert_eq(a.count, 3);
    cr_assert_eq(stats_of(&s).events, 1);
    cr_assert_eq(stats_of(&s).categories, 1);
    asked again = with_prefixes(poll_after(&s, "", before), &room, 1);
    ask(&again);
    cr_assert_eq(again.answers, 0);
    lp__engine_drain(s.engine, s.now);
    cr_assert_not(again.gap);
    subject_end(&s);
}

Test(engine_prefix, joins_with_the_last_events)
{
    subject s = started();
    uint64_t seqs[30];
    char name[16];
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof(name), i % 3 ? "room/%d" : "other/%d", i % 7);
        seqs[i] = publish(&s, name);
    }
    pass_ms(&s, 1);
    for (int64_t last = 1; last <= 21; last++) {
        asked a = with_prefixes(poll_from_now(&s, ""), &room, 1);
        a.query.last = last;
        ask(&a);
        cr_assert_eq(a.count, last < 20 ? last : 20);
        for (size_t i = a.count, at = 29; i-- > 0; at--) {
            at -= at % 3 == 0;
            cr_assert_eq(a.seqs[i], seqs[at]);
        }
    }
    subject_end(&s);
}

Test(engine_prefix, a_stream_goes_on_behind_what_it_was_told)
{
    subject s = started();
    asked a = with_prefixes(stream_by_id(&s, "", 0), &room, 1);
    ask(&a);
    char name[16];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "room/%d", i % 6);
        uint64_t seq = publish(&s, name);
        publish(&s, "other");
        if (i % 2 == 0)
            flush(&s);
        if (a.answers == i)
            go_on(&a);
        cr_assert_eq(a.answers, i + 1);
        cr_assert_eq(a.count, 1);
        cr_assert_eq(a.seqs[0], seq);
        go_on(&a);
    }
    lp__engine_cancel(s.engine, &a.waiter);
    cr_assert_eq(s.engine->prefixes.count, 0);
    cr_assert_null(s.engine->prefixes.buckets, "and its table's memory is given back");
    subject_end(&s);
}

Test(engine_prefix, others_may_come_and_go_from_within_an_answer)
{
    subject s = started();
    uint64_t before = publish(&s, "other");
    static asked polls[50];
    static lp_str texts[50];
    for (int i = 0; i < 50; i++) {
        texts[i] = (lp_str){"room/1234567890", (size_t)(1 + i % 13)};
        polls[i] = with_prefixes(poll_after(&s, "", before), &texts[i], 1);
        ask(&polls[i]);
    }
    publish(&s, "room/1234567890");
    flush(&s);
    for (int i = 0; i < 50; i++)
        cr_assert_eq(polls[i].count, 1);
    cr_assert_eq(s.engine->prefixes.count, 0);
    subject_end(&s);
}

/* ---- the index and the table against a plain search ------------------------------------------ */

enum { NAMES = 400, NAME_MAX_LEN = 7 };

static uint64_t state;

static size_t rnd(size_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(state >> 33) % below;
}

static size_t random_name(char *out, size_t least)
{
    size_t len = least + rnd(NAME_MAX_LEN - least + 1);
    for (size_t i = 0; i < len; i++)
        out[i] = "abz"[rnd(3)];
    out[len] = '\0';
    return len;
}

static int compare_names(const lp__category *a, const lp__category *b)
{
    size_t len = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order = memcmp(a->name, b->name, len);
    return order != 0 ? order : (int)a->name_len - (int)b->name_len;
}

/* The tree is one: ordered, a heap by hash, linked both ways, and stale only below the stale. */
static size_t check_tree(const lp__category *category, const lp__category *parent)
{
    if (category == NULL)
        return 0;
    const lp__category *left = category->node.left, *right = category->node.right;
    cr_assert_eq(category->node.parent, parent);
    cr_assert(category->kept);
    if (parent != NULL) {
        cr_assert_leq(category->hash, parent->hash);
        cr_assert(!category->node.stale || parent->node.stale);
    }
    if (left != NULL)
        cr_assert_lt(compare_names(left, category), 0);
    if (right != NULL)
        cr_assert_gt(compare_names(right, category), 0);
    return 1 + check_tree(left, category) + check_tree(right, category);
}

static void check_extent(const subject *s, lp_str prefix)
{
    lp__extent expected = {0}, got = lp__index_extent(s->engine, prefix);
    for (size_t i = 0; i < s->engine->bucket_count; i++) {
        for (lp__category *at = s->engine->buckets[i]; at != NULL; at = at->next_in_bucket) {
            if (at->name_len < prefix.len || memcmp(at->name, prefix.base, prefix.len) != 0)
                continue;
            uint64_t newest =
                at->count == 0 ? 0 : lp_event_seq(lp__category_event(at, at->count - 1));
            expected.newest = newest > expected.newest ? newest : expected.newest;
            expected.horizon = at->horizon > expected.horizon ? at->horizon : expected.horizon;
        }
    }
    cr_assert_eq(got.newest, expected.newest);
    cr_assert_eq(got.horizon, expected.horizon);
}

Test(engine_prefix, the_index_knows_what_a_plain_search_finds)
{
    subject s = subject_with_defaults();
    s.options.categories_max = NAMES / 2;
    s.options.event_buffer_max = 2;
    s.options.event_ttl_ms = 300;
    subject_start(&s);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        state = seed;
        char name[NAME_MAX_LEN + 1];
        for (int i = 0; i < 500; i++) {
            random_name(name, 1);
            publish(&s, name);
            if (rnd(4) == 0)
                pass_ms(&s, (int64_t)rnd(10));
            if (rnd(10) == 0)
                flush(&s);
            if (rnd(3) != 0)
                continue;
            size_t len = random_name(name, 1);
            check_extent(&s, (lp_str){name, len});
        }
        cr_assert_eq(check_tree(s.engine->index, NULL), s.engine->kept_count, "seed %llu",
                     (unsigned long long)seed);
    }
    subject_end(&s);
}

Test(engine_prefix, the_table_finds_the_prefixes_that_a_plain_search_finds)
{
    subject s = started();
    static lp__prefix *prefixes[NAMES];
    static char texts[NAMES][NAME_MAX_LEN + 1];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        state = seed;
        for (int i = 0; i < NAMES; i++) {
            size_t len = random_name(texts[i], 1);
            prefixes[i] = lp__prefix_get(s.engine, (lp_str){texts[i], len});
            lp__topic_pin(&prefixes[i]->topic);
            if (rnd(3) == 0) {
                lp__topic_unpin(s.engine, &prefixes[i]->topic);
                texts[i][0] = '\0';
            }
        }
        for (int i = 0; i < 200; i++) {
            char name[NAME_MAX_LEN + 1];
            size_t len = random_name(name, 1), at = 0;
            lp__prefix_walk walk = lp__prefix_walk_begin(s.engine, (lp_str){name, len});
            lp__prefix *found = lp__prefix_walk_next(s.engine, &walk);
            for (size_t length = 1; length <= len; length++) {
                bool expected = false;
                for (int n = 0; n < NAMES; n++)
                    expected |= strlen(texts[n]) == length && memcmp(texts[n], name, length) == 0;
                bool is_it = found != NULL && found->len == length;
                cr_assert_eq(is_it, expected);
                if (is_it) {
                    cr_assert_eq(memcmp(found->text, name, length), 0);
                    found = lp__prefix_walk_next(s.engine, &walk);
                    at++;
                }
            }
            cr_assert_null(found);
        }
        for (int i = 0; i < NAMES; i++) {
            if (texts[i][0] != '\0')
                lp__topic_unpin(s.engine, &prefixes[i]->topic);
        }
        cr_assert_eq(s.engine->prefixes.count, 0);
        cr_assert_eq(s.engine->prefixes.length_count, 0);
    }
    subject_end(&s);
}

/* ---- very many categories ---------------------------------------------------------------------
 */

typedef struct reader {
    lp__waiter waiter;
    size_t answers, events;
    uint64_t last;
} reader;

static void on_chunk(lp__waiter *waiter, const lp_answer *answer)
{
    reader *self = LP__CONTAINER(waiter, reader, waiter);
    self->answers++;
    for (size_t i = 0; i < answer->event_count; i++, self->events++) {
        cr_assert_gt(lp_event_seq(answer->events[i]), self->last);
        self->last = lp_event_seq(answer->events[i]);
    }
}

/* Each answer looks at every category that has something: with small ones, catching up would take
 * the square of the categories. */
Test(engine_prefix, a_stream_over_very_many_categories_gets_larger_answers)
{
    enum { CATEGORIES = 8192, CHUNK_BYTES = 1024 };
    subject s = subject_with_defaults();
    s.options.categories_max = CATEGORIES;
    subject_start(&s);
    char name[32];
    for (int i = 0; i < CATEGORIES; i++) {
        snprintf(name, sizeof(name), "room/%d", i);
        publish(&s, name);
    }
    reader self = {
        .waiter = {.answer = on_chunk, .is_stream = true, .answer_bytes_max = CHUNK_BYTES}};
    lp_query query = LP_QUERY_INIT;
    query.prefixes = &room;
    query.prefix_count = 1;
    query.has_last_id = query.by_id = true;
    query.last_id = lp_id_make(lp_seq_first(T0) - 1, 0);
    cr_assert_eq(lp__engine_subscribe(s.engine, s.now, &query, 10000, &self.waiter), LP_OK);
    for (int i = 0; i < CATEGORIES && self.events < CATEGORIES; i++) {
        flush(&s);
        cr_assert(i > 0 || self.events > CATEGORIES / 20);
        lp__engine_continue(s.engine, s.now, 10000, &self.waiter);
    }
    cr_assert_eq(self.events, CATEGORIES);
    cr_assert_gt(self.answers, 1);
    lp__engine_cancel(s.engine, &self.waiter);
    subject_end(&s);
}
