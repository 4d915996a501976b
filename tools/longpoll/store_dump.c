/* longpoll store dump. */
#include "store.h"

#include <stdlib.h>
#include <string.h>

#include "dump_format.h"
#include "output.h"
#include "place.h"
#include "say.h"
#include "source.h"

typedef struct dump_job {
    output_file out;
    growing_text line; /* scratch */
    uint64_t events;
    lp_error error;
} dump_job;

static int visit(void *ctx, lp_event *event)
{
    dump_job *dump = ctx;
    dump->events++;
    return dump_event(&dump->out, &dump->line, event, &dump->error);
}

static int write_lines(dump_job *dump, const char *spec, store_survey *found, bool all)
{
    lp_error *error = &dump->error;
    int status = all ? dump_head(&dump->out, &dump->line, found, error) : LP_OK;
    if (status == LP_OK)
        status = source_read(spec, found, visit, dump, error);
    if (status == LP_OK && all)
        status = dump_tail(&dump->out, &dump->line, found, dump->events, error);
    return status;
}

/* A spec that is no good is left to the reading. */
static int check_output(const char *spec, const char *path, lp_error *error)
{
    store_place place;
    if (store_place_of(spec, &place, NULL) != LP_OK || !place_holds(&place, path))
        return LP_OK;
    return lp_error_set(error, LP_EINVAL,
                        "--output \"%.200s\": belongs to the store \"%.200s\", or lies in its "
                        "directory (name a file elsewhere)",
                        path, spec);
}

static int run(const char *spec, const char *path, bool all)
{
    store_survey found = {0};
    dump_job dump = {.events = 0};
    int status = LP_OK;
    if (path != NULL && strcmp(path, "-") != 0)
        status = check_output(spec, path, &dump.error);
    if (status == LP_OK)
        status = source_survey(spec, &found, &dump.error);
    if (status != LP_OK) {
        survey_free(&found);
        return say_wrong_store(&dump.error);
    }
    status = output_open(&dump.out, path, &dump.error);
    if (status == LP_OK) {
        status = write_lines(&dump, spec, &found, all);
        if (status == LP_OK)
            status = output_commit(&dump.out, &dump.error);
        else
            output_abandon(&dump.out);
    }
    free(dump.line.base);
    int exit_status = found.losses_told > 0 ? EXIT_DAMAGE : EXIT_DONE;
    survey_free(&found);
    if (status == LP_OK)
        return exit_status;
    /* Whoever reads has seen enough (`| head`): there is nothing to say. */
    return dump.out.is_closed ? EXIT_CLOSED_PIPE : say_failed(&dump.error);
}

int store_dump(const command *self, int count, char **words)
{
    const char *spec[1], *path = NULL;
    bool all = false;
    const flag flags[] = {
        {"output", "FILE", "write there; it gets its name when it is complete", NULL, &path},
        {"all", NULL, "also what is no event", &all, NULL},
        {0}};
    int status = command_read(self, flags, count, words, spec, 1);
    return status >= 0 ? status : run(spec[0], path, all);
}
