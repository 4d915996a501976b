/* The cases about events themselves: their order, their bytes, and what a replay leaves out. */
#include "kit.h"

#include <stdlib.h>
#include <string.h>

void lp__case_order(lp__kit *kit)
{
    static const size_t sizes[] = {1, 2, 7, 64, 500, 1, 33};
    lp__kit_open(kit);
    lp__expect_check(kit, "in a new store");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        lp__kit_any_events(kit, sizes[i]);
        lp__kit_append(kit);
        lp__kit_idle(kit);
    }
    lp__kit_reopen(kit, "after a restart");
    lp__kit_any_events(kit, 3);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after a second restart");
}

/* ---- refused event ----------------------------------------------------------------------------
 */

/* An event whose data is a string of exactly this many bytes with its quotes. */
static void event_of(lp__kit *kit, size_t bytes)
{
    char *data = malloc(bytes);
    if (!data) {
        lp__kit_fail(kit, "no memory");
        return;
    }
    memset(data, 'x', bytes);
    data[0] = data[bytes - 1] = '"';
    lp__kit_event(kit, lp_str_of("large"), (lp_str){data, bytes});
    free(data);
}

static void append_with_refusal(lp__kit *kit)
{
    if (!lp__kit_going(kit))
        return;
    size_t max = kit->options->event_bytes_max;
    lp_error error = {LP_OK, ""};
    int status = lp_store_append(kit->store, kit->batch, &error);
    lp__expect_batch(kit, status);
    if (status != LP_OK)
        lp__kit_fail(kit, "a batch with one event past the bound failed as a whole with %s: %s",
                     lp_status_name(status), error.message);
    for (size_t i = 0; i < lp_batch_event_count(kit->batch); i++) {
        size_t bytes = lp_event_data(lp_batch_event(kit->batch, i)).len;
        const char *reason;
        status = lp_batch_status(kit->batch, i, &reason);
        if (bytes > max && status == LP_OK)
            lp__kit_fail(kit, "an event with %zu bytes of data was taken, its bound is %zu", bytes,
                         max);
        else if (bytes <= max && status != LP_OK)
            lp__kit_fail(kit, "an event with %zu bytes of data was refused, its bound is %zu: %s",
                         bytes, max, reason);
        else if (status != LP_OK && strcmp(reason, lp_strerror(status)) == 0)
            lp__kit_fail(kit, "an event with %zu bytes of data was refused with %s and no reason",
                         bytes, lp_status_name(status));
    }
    lp_batch_clear(kit->batch);
}

void lp__case_refused_event(lp__kit *kit)
{
    size_t max = kit->options->event_bytes_max;
    if (max < 2) {
        lp__kit_not_applicable(kit, "the add-on names no bound of its own on an event");
        return;
    }
    lp__kit_open(kit);
    event_of(kit, 2);
    event_of(kit, max + 1);
    event_of(kit, max);
    append_with_refusal(kit);
    event_of(kit, max + 1);
    append_with_refusal(kit);
    lp__kit_any_event(kit);
    append_with_refusal(kit);
    lp__kit_reopen(kit, "after a restart");
}

/* ---- replay cuts ------------------------------------------------------------------------------
 */

/* Whether the manager would not take the event: expired, or `ring_size` younger ones are there. */
static bool is_cut(lp__kit *kit, size_t i)
{
    const lp_event *event = kit->expected[i].event;
    if (lp_event_timestamp_ms(event) <= kit->seen.expired_ms)
        return true;
    lp_str category = lp_event_category(event);
    size_t younger = 0;
    for (size_t j = i + 1; j < kit->expected_count && kit->seen.ring_size; j++) {
        lp_str other = lp_event_category(kit->expected[j].event);
        younger += other.len == category.len && !memcmp(other.base, category.base, other.len);
    }
    return kit->seen.ring_size && younger >= kit->seen.ring_size;
}

/* Starts with these bounds, and tells the store what was left out, as a manager does. */
static void cut(lp__kit *kit, int64_t expired_ms, size_t ring_size, const char *when)
{
    if (!lp__kit_going(kit))
        return;
    kit->seen.expired_ms = expired_ms;
    kit->seen.ring_size = ring_size;
    for (size_t i = 0; i < kit->expected_count; i++)
        if (is_cut(kit, i))
            kit->expected[i].fate = LP__LOOSE;
    lp__kit_reopen(kit, when);
    for (size_t i = 0; i < kit->seen.count; i++) {
        uint64_t seq = lp_event_seq(kit->seen.events[i]);
        const lp__expected *expected = lp__expect_find(kit, seq);
        if (expected && expected->fate == LP__LOOSE)
            lp__kit_removal(kit, seq, LP_REMOVED_REPLAY);
    }
    lp__kit_append(kit);
    lp__kit_idle(kit);
}

void lp__case_replay_cuts(lp__kit *kit)
{
    lp__kit_open(kit);
    for (size_t i = 0; i < 30; i++) {
        lp__kit_any_events(kit, 10);
        lp__kit_append(kit);
    }
    lp__kit_close(kit);
    lp__kit_open_canceled(kit, 100);
    lp__kit_open_canceled(kit, 1);
    lp__kit_open(kit);
    lp__expect_check(kit, "after a start that was canceled");
    if (!lp__kit_going(kit))
        return;

    int64_t middle = lp_event_timestamp_ms(kit->expected[150].event);
    cut(kit, INT64_MIN, 20, "after a start with a ring of 20");
    cut(kit, middle, 20, "after a start with a ring of 20 and half of the events expired");
    cut(kit, middle, 5, "after a start with a ring of 5 and half of the events expired");
    lp__kit_any_events(kit, 50);
    lp__kit_append(kit);
    cut(kit, middle, 5, "after 50 more events and the same start again");
    cut(kit, INT64_MIN, 0, "after a start with no bounds any more");
}

/* ---- restart ----------------------------------------------------------------------------------
 */

static void odd_event(lp__kit *kit, size_t i)
{
    char *category, *data;
    size_t category_len, data_len;
    if (!lp__odd_pair(i, &category, &category_len, &data, &data_len)) {
        lp__kit_fail(kit, "no memory");
        return;
    }
    if (!kit->options->event_bytes_max || data_len <= kit->options->event_bytes_max)
        lp__kit_event(kit, (lp_str){category, category_len}, (lp_str){data, data_len});
    free(category);
    free(data);
}

void lp__case_restart(lp__kit *kit)
{
    size_t odd = lp__odd_count();
    lp__kit_open(kit);
    for (size_t i = 0; i < odd; i++) {
        odd_event(kit, i);
        if (i % 4 == 1)
            lp__kit_append(kit);
        if (i % 4 == 2)
            lp__kit_idle(kit);
        if (i % 4 == 3) {
            lp__kit_append(kit);
            lp__kit_reopen(kit, "after a restart");
        }
    }
    lp__kit_append(kit);
    for (int i = 0; i < 3; i++)
        lp__kit_reopen(kit, "after restarts without an event between them");
    /* All of them once more, in one batch. */
    for (size_t i = 0; i < odd; i++)
        odd_event(kit, i);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after one batch with every odd event");
}
