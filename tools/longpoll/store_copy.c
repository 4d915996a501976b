/* longpoll store copy: from any store into a new one. The events go over in batches while the first
 * store is being read; what is beside them comes last. */
#include "store.h"

#include <inttypes.h>
#include <stdlib.h>

#include "result.h"
#include "say.h"
#include "source.h"
#include "writer.h"

typedef struct copy_job {
    store_writer writer;
    lp_error error;
} copy_job;

static int visit(void *ctx, lp_event *event)
{
    copy_job *copy = ctx;
    return writer_event(&copy->writer, event, &copy->error);
}

static int write_horizons(store_writer *writer, const store_survey *found, uint64_t floor,
                          lp_error *error)
{
    const map_slot **horizons = map_sorted(&found->horizons);
    if (horizons == NULL && found->horizons.count > 0)
        return lp_error_set(error, LP_ENOMEM, "out of memory");
    int status = LP_OK;
    if (floor > 0)
        status = writer_horizon(writer, (lp_str){"", 0}, floor, error);
    for (size_t i = 0; status == LP_OK && i < found->horizons.count; i++) {
        if (horizons[i]->value > floor)
            status = writer_horizon(writer, (lp_str){horizons[i]->key, horizons[i]->len},
                                    horizons[i]->value, error);
    }
    free(horizons);
    return status;
}

static int write_rest(store_writer *writer, const store_survey *found, lp_error *error)
{
    uint64_t floor = found->floor, highest = found->highest;
    if (found->losses_told > 0) { /* as the manager does at a start */
        floor = survey_floor_of_loss(found);
        highest = floor;
    }
    int status = write_horizons(writer, found, floor, error);
    for (size_t i = 0; status == LP_OK && i < found->key_count; i++)
        if (found->keys[i].count > 0)
            status = writer_key(writer, &found->keys[i], error);
    if (status == LP_OK)
        status = writer_highest(writer, highest, error);
    return status;
}

static int run(const char *from, const char *to, bool is_json)
{
    store_survey found = {0};
    copy_job copy = {.error = {0}};
    result_object result;
    int status = writer_check(to, &copy.error);
    if (status == LP_OK)
        status = source_survey(from, &found, &copy.error);
    if (status == LP_OK)
        status = writer_begin(&copy.writer, to, &copy.error);
    if (status != LP_OK) {
        survey_free(&found);
        return say_wrong_store(&copy.error);
    }
    status = source_read(from, &found, visit, &copy, &copy.error);
    if (status == LP_OK)
        status = write_rest(&copy.writer, &found, &copy.error);
    if (status == LP_OK)
        status = interrupt_check(&copy.error);
    if (status == LP_OK)
        status = writer_commit(&copy.writer, &copy.error);
    else
        writer_abandon(&copy.writer);
    if (status != LP_OK) {
        survey_free(&found);
        return say_failed(&copy.error);
    }
    result_begin(&result, is_json);
    result_text(&result, "from", from);
    result_text(&result, "to", to);
    result_number(&result, "events", copy.writer.events);
    result_number(&result, "horizons", found.horizons.count);
    result_number(&result, "idempotency_keys", found.key_count - found.free_keys);
    result_losses(&result, &found);
    int exit_status = found.losses_told > 0 ? EXIT_DAMAGE : EXIT_DONE;
    survey_free(&found);
    return result_end(&result, exit_status);
}

int store_copy(const command *self, int count, char **words)
{
    const char *specs[2];
    bool is_json = false;
    const flag flags[] = {{"json", NULL, "print one JSON object", &is_json, NULL}, {0}};
    int status = command_read(self, flags, count, words, specs, 2);
    return status >= 0 ? status : run(specs[0], specs[1], is_json);
}
