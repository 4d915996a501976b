/* longpoll store verify: everything that the start reads, and all that the store can check beyond
 * it. */
#include "store.h"

#include "result.h"
#include "say.h"
#include "source.h"

/* The exit status, with what is wrong on standard error. */
static int verify(lp_store *store, const store_survey *found, result_object *result)
{
    lp_error error = {0};
    result_open(result, "figures");
    int status = lp_store_verify(store, result_figure, result, &error);
    result_close(result);
    int exit_status = status == LP_OK || status == LP_ENOTFOUND ? EXIT_DONE : say_failed(&error);
    lp_store_close(store, 0, NULL);
    if (exit_status == EXIT_DONE && found->losses_told > 0)
        exit_status = EXIT_DAMAGE;
    /* For people an empty line would say nothing; in JSON the member is always there. */
    if (status == LP_EDAMAGED || result->is_json)
        result_text(result, "error", status == LP_EDAMAGED ? error.message : "");
    return exit_status;
}

static int run(const char *spec, bool is_json)
{
    store_survey found = {0};
    result_object result;
    lp_store *store = NULL;
    lp_error error = {0};
    int status = source_open(spec, true, &found, &store, &error);
    int exit_status = status == LP_OK ? EXIT_DONE : say_wrong_store(&error);
    if (status != LP_OK && exit_status != EXIT_DAMAGE) {
        survey_free(&found);
        return exit_status;
    }
    result_begin(&result, is_json);
    result_text(&result, "store", spec);
    result_number(&result, "events", found.events);
    result_losses(&result, &found);
    if (store != NULL)
        exit_status = verify(store, &found, &result);
    else
        result_text(&result, "error", error.message);
    result_bool(&result, "good", exit_status == EXIT_DONE);
    survey_free(&found);
    return result_end(&result, exit_status);
}

int store_verify(const command *self, int count, char **words)
{
    const char *spec[1];
    bool is_json = false;
    const flag flags[] = {{"json", NULL, "print one JSON object", &is_json, NULL}, {0}};
    int status = command_read(self, flags, count, words, spec, 1);
    return status >= 0 ? status : run(spec[0], is_json);
}
