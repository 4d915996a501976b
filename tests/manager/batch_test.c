/* Batches whose events belong together: what an add-on sees when it refuses one of them. */
#include <criterion/criterion.h>
#include <stdio.h>

#include <longpoll/store.h>

#include "core/manager/addon_nouns.h"

static void add(lp_batch *batch, uint64_t seq)
{
    lp_event *event;
    cr_assert_eq(lp_event_new(lp_id_make(seq, seq), lp_str_of("a"), lp_str_of("1"), &event), LP_OK);
    cr_assert_eq(lp_batch_add_event(batch, event), LP_OK);
    lp_event_unref(event);
}

static void add_key(lp_batch *batch, const char *key, uint64_t seq, uint32_t count)
{
    lp_idempotency record = {lp_str_of(key), 1, seq, count, 1};
    cr_assert_eq(lp_batch_add_idempotency(batch, &record), LP_OK);
}

/* Groups of 1, 3, 2 and 1 events; all but the second one have a key. */
static lp_batch *make(void)
{
    lp_batch *batch;
    cr_assert_eq(lp_batch_new(&batch), LP_OK);
    add(batch, 101);
    lp_batch_group(batch, 1);
    add_key(batch, "one", 101, 1);
    for (uint64_t seq = 102; seq <= 104; seq++)
        add(batch, seq);
    lp_batch_group(batch, 3);
    add(batch, 105);
    add(batch, 106);
    lp_batch_group(batch, 2);
    add_key(batch, "two", 105, 2);
    add(batch, 107);
    add_key(batch, "last", 107, 1);
    return batch;
}

static void check_failed(const lp_batch *batch, const char *expected)
{
    char failed[16] = "";
    for (size_t i = 0; i < lp_batch_event_count(batch); i++)
        failed[i] = lp_batch_failed(batch, i) ? 'x' : '.';
    cr_assert_str_eq(failed, expected);
}

static bool has_key(const lp_batch *batch, const char *key)
{
    bool found = false;
    for (size_t i = 0; i < lp_batch_idempotency_count(batch); i++) {
        lp_str text = lp_batch_idempotency(batch, i).key;
        found |= text.len == strlen(key) && memcmp(text.base, key, text.len) == 0;
    }
    return found;
}

Test(batch, whole_group_is_refused_with_any_of_its_events)
{
    for (size_t i = 1; i <= 3; i++) {
        lp_batch *batch = make();
        lp_batch_fail(batch, i, LP_ETOOBIG, "too large");
        check_failed(batch, ".xxx...");
        for (size_t n = 1; n <= 3; n++) {
            const char *reason;
            cr_assert_eq(lp_batch_status(batch, n, &reason), LP_ETOOBIG);
            cr_assert_str_eq(reason, "too large");
        }
        cr_assert_eq(lp_batch_idempotency_count(batch), 3);
        lp_batch_free(batch);
    }
}

Test(batch, record_leaves_with_its_group_and_others_stay)
{
    lp_batch *batch = make();
    lp_batch_fail(batch, 5, LP_EINVAL, NULL);
    check_failed(batch, "....xx.");
    cr_assert_eq(lp_batch_idempotency_count(batch), 2);
    cr_assert(has_key(batch, "one") && has_key(batch, "last"));
    lp_batch_fail(batch, 4, LP_EINVAL, NULL);
    cr_assert_eq(lp_batch_idempotency_count(batch), 2, "twice is once");
    lp_batch_fail(batch, 0, LP_EINVAL, NULL);
    lp_batch_fail(batch, 6, LP_EINVAL, NULL);
    check_failed(batch, "x...xxx");
    cr_assert_eq(lp_batch_idempotency_count(batch), 0);
    lp_batch_free(batch);
}

/* A group of more events than there are is all of them. */
Test(batch, group_is_at_most_the_whole_batch)
{
    lp_batch *batch;
    cr_assert_eq(lp_batch_new(&batch), LP_OK);
    lp_batch_group(batch, 1);
    add(batch, 101);
    add(batch, 102);
    lp_batch_group(batch, 5);
    cr_assert_eq(batch->items[0].group, 0);
    cr_assert_eq(batch->items[1].group, 1);
    lp_batch_fail(batch, 1, LP_EINVAL, NULL);
    check_failed(batch, "xx");
    lp_batch_free(batch);
}

/* A batch may be handed to a store again, or to another one. */
Test(batch, refusals_are_forgotten_before_the_next_hook)
{
    lp_batch *batch = make();
    lp_batch_fail(batch, 0, LP_EINVAL, "no");
    lp_batch_fail(batch, 4, LP_EINVAL, "no");
    lp__batch_begin(batch, NULL);
    check_failed(batch, ".......");
    cr_assert_eq(lp_batch_idempotency_count(batch), 3);
    cr_assert(has_key(batch, "one") && has_key(batch, "two") && has_key(batch, "last"));
    lp_batch_fail(batch, 4, LP_EINVAL, "no");
    cr_assert(has_key(batch, "one") && !has_key(batch, "two"));
    lp_batch_clear(batch);
    cr_assert_eq(lp_batch_idempotency_count(batch), 0);
    add_key(batch, "new", 108, 1);
    cr_assert_eq(lp_batch_idempotency_count(batch), 1);
    lp_batch_free(batch);
}

Test(batch, reserved_room_lets_what_follows_not_fail)
{
    lp_batch *batch;
    char key[255];
    memset(key, 'k', sizeof(key));
    cr_assert_eq(lp_batch_new(&batch), LP_OK);
    for (uint64_t i = 1; i <= 1000; i++) {
        cr_assert_eq(lp__batch_reserve_key(batch, sizeof(key)), LP_OK);
        char *text = batch->text.base;
        lp_idempotency record = {{key, sizeof(key)}, i, i, 1, 1};
        cr_assert_eq(lp_batch_add_idempotency(batch, &record), LP_OK);
        cr_assert_eq(batch->text.base, text);
    }
    lp_idempotency last = lp_batch_idempotency(batch, 999);
    cr_assert_eq(last.seq, 1000);
    cr_assert_eq(last.key.len, sizeof(key));
    cr_assert_eq(memcmp(last.key.base, key, sizeof(key)), 0);
    lp_batch_free(batch);
}
