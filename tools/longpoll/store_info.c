/* longpoll store info: what a store holds, as seen by whoever opens it, and its own figures. */
#include "store.h"

#include <string.h>

#include "result.h"
#include "say.h"
#include "source.h"

static void print(result_object *result, const char *spec, const store_survey *found)
{
    result_text(result, "store", spec);
    result_number(result, "events", found->events);
    result_number(result, "data_bytes", found->bytes);
    result_number(result, "categories", found->categories.count);
    if (found->events > 0) {
        result_number(result, "oldest_ms", (uint64_t)lp_seq_ms(found->first_seq));
        result_number(result, "newest_ms", (uint64_t)lp_seq_ms(found->last_seq));
    }
    result_number(result, "horizons", found->horizons.count);
    result_number(result, "idempotency_keys", found->key_count - found->free_keys);
    result_seq(result, "floor", found->floor);
    result_seq(result, "highest", found->highest);
    result_losses(result, found);
}

/* The figures, and whether one of them shows damage that no loss was told of. */
typedef struct info_figures {
    result_object *result;
    bool has_damage;
} info_figures;

static void see_figure(void *ctx, const char *name, uint64_t number, const char *text)
{
    info_figures *figures = ctx;
    if (number > 0 && strcmp(name, "damaged_records") == 0)
        figures->has_damage = true;
    result_figure(figures->result, name, number, text);
}

static int look(const char *spec, bool is_json)
{
    store_survey found = {.count_categories = true};
    result_object result;
    info_figures figures = {.result = &result};
    lp_store *store;
    lp_error error = {0};
    int status = source_open(spec, true, &found, &store, &error);
    if (status != LP_OK) {
        survey_free(&found);
        return say_wrong_store(&error);
    }
    result_begin(&result, is_json);
    print(&result, spec, &found);
    result_open(&result, "figures");
    status = lp_store_inspect(store, see_figure, &figures, &error);
    result_close(&result);
    bool has_damage = figures.has_damage || found.losses_told > 0;
    survey_free(&found);
    int closed = lp_store_close(store, 0, status == LP_OK ? &error : NULL);
    if (status == LP_OK || status == LP_ENOTFOUND) /* no figures of its own are no failure */
        status = closed;
    int exit_status = has_damage ? EXIT_DAMAGE : EXIT_DONE;
    return result_end(&result, status == LP_OK ? exit_status : say_failed(&error));
}

int store_info(const command *self, int count, char **words)
{
    const char *spec[1];
    bool is_json = false;
    const flag flags[] = {{"json", NULL, "print one JSON object", &is_json, NULL}, {0}};
    int status = command_read(self, flags, count, words, spec, 1);
    return status >= 0 ? status : look(spec[0], is_json);
}
