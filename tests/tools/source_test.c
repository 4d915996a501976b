/* Reading a store that does what contracts allow and the stores at hand do not do: it tells of
 * removals and horizons behind the events that they void, and pushes what is no event. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tools/longpoll/source.h"
#include "tools/shared/stores.h"

enum { MS = 1000000 };

static uint64_t seq_of(int n)
{
    return lp_seq_first(MS + n);
}

static int starts; /* how often the store has been opened */

static int on_start(lp_addon *self, lp_replay *replay)
{
    const char *mode = self->state;
    starts++;
    for (int n = 1; n <= 10; n++) {
        lp_str data = lp_str_of(strcmp(mode, "invalid") == 0 && n == 4 ? "{" : "1");
        int status = lp_replay_event(replay, lp_id_make(seq_of(n), 7),
                                     lp_str_of(n % 2 ? "odd" : "even"), data);
        if (status < 0 && status != LP_EINVAL)
            return status;
    }
    if (strcmp(mode, "changing") == 0 && starts == 2)
        lp_replay_event(replay, lp_id_make(seq_of(11), 7), lp_str_of("odd"), lp_str_of("1"));
    if (strcmp(mode, "late") == 0) {
        lp_replay_removal(replay, seq_of(9));
        lp_replay_removal(replay, seq_of(2));
        lp_replay_removal(replay, seq_of(99));
        lp_replay_horizon(replay, lp_str_of("odd"), seq_of(3));
        lp_replay_horizon(replay, lp_str_of(""), seq_of(8)); /* a floor removes nothing */
    }
    return LP_OK;
}

static int on_publish(lp_addon *self, lp_batch *batch)
{
    (void)self;
    return lp_batch_error(batch, LP_EACCES, "to read only");
}

static int on_shutdown(lp_addon *self, lp_ending *ending)
{
    (void)self, (void)ending;
    return LP_OK;
}

/* In place of the one that knows the stores at hand. */
int store_new(const char *spec, bool read_only, lp_addon **out, lp_error *error)
{
    static lp_addon addon = LP_ADDON_INIT("fake");
    (void)error;
    cr_assert(read_only);
    addon.state = (void *)spec;
    addon.on_start = on_start;
    addon.on_publish = on_publish;
    addon.on_shutdown = on_shutdown;
    *out = &addon;
    return LP_OK;
}

static char seen[256];

static int visit(void *ctx, lp_event *event)
{
    (void)ctx;
    size_t len = strlen(seen);
    snprintf(seen + len, sizeof(seen) - len, "%d ", (int)(lp_event_timestamp_ms(event) - MS));
    return LP_OK;
}

static int refuse(void *ctx, lp_event *event)
{
    (void)event;
    return lp_error_set(ctx, LP_ENOSPC, "no room");
}

Test(source, what_is_void_by_what_comes_later_is_not_handed_over)
{
    store_survey found = {0};
    lp_error error = {0};
    cr_assert_eq(source_survey("late", &found, &error), LP_OK);
    cr_assert_eq(found.events, 10);
    cr_assert_eq(found.floor, seq_of(8));
    cr_assert_eq(source_read("late", &found, visit, NULL, &error), LP_OK, "%s", error.message);
    cr_assert_str_eq(seen, "4 5 6 7 8 10 ");
    survey_free(&found);
}

Test(source, what_is_no_event_is_a_loss)
{
    store_survey found = {0};
    lp_error error = {0};
    cr_assert_eq(source_survey("invalid", &found, &error), LP_OK);
    cr_assert_eq(found.losses_told, 0, "its JSON is looked at when it is handed over");
    cr_assert_eq(source_read("invalid", &found, visit, NULL, &error), LP_OK, "%s", error.message);
    cr_assert_str_eq(seen, "1 2 3 5 6 7 8 9 10 ");
    cr_assert_eq(found.losses_told, 1);
    cr_assert_eq(found.lost_records, 1);
    survey_free(&found);
}

Test(source, a_store_that_was_changed_between_two_readings_is_an_error)
{
    store_survey found = {0};
    lp_error error = {0};
    cr_assert_eq(source_survey("changing", &found, &error), LP_OK);
    cr_assert_eq(source_read("changing", &found, visit, NULL, &error), LP_EIO);
    cr_assert(strstr(error.message, "changed while it was read") != NULL, "%s", error.message);
    survey_free(&found);
}

Test(source, the_visitor_ends_it_with_its_own_words)
{
    store_survey found = {0};
    lp_error error = {0};
    cr_assert_eq(source_survey("plain", &found, &error), LP_OK);
    cr_assert_eq(source_read("plain", &found, refuse, &error, &error), LP_ENOSPC);
    cr_assert_str_eq(error.message, "no room");
    survey_free(&found);
}
