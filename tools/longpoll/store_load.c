/* longpoll store load: a dump, or a file of golongpoll, into a new store. */
#include "store.h"

#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "result.h"
#include "say.h"

#define GOLONGPOLL "golongpoll:"

int load_wrong(load_job *load, int status, const char *what)
{
    return lp_error_set(&load->error, status,
                        "%.200s:%llu: %s (mend the line or take it out; nothing was loaded)",
                        load->lines.name, (unsigned long long)load->lines.number, what);
}

/* Horizons come behind the events that they do not touch. */
static int write_rest(load_job *load)
{
    lp_error *error = &load->error;
    const map_slot **firsts = map_sorted(&load->firsts);
    if (firsts == NULL && load->firsts.count > 0)
        return lp_error_set(error, LP_ENOMEM, "out of memory");
    int status = LP_OK;
    if (load->floor > 0)
        status = writer_horizon(&load->writer, (lp_str){"", 0}, load->floor, error);
    for (size_t i = 0; status == LP_OK && i < load->firsts.count; i++) {
        if (firsts[i]->value > load->floor)
            status = writer_horizon(&load->writer, (lp_str){firsts[i]->key, firsts[i]->len},
                                    firsts[i]->value, error);
    }
    free(firsts);
    return status == LP_OK ? writer_highest(&load->writer, load->highest, error) : status;
}

static int fill(load_job *load, bool is_golongpoll)
{
    int status = is_golongpoll ? load_golongpoll(load) : load_dump(load);
    if (status == LP_OK)
        status = write_rest(load);
    if (status == LP_OK)
        status = interrupt_check(&load->error);
    if (status == LP_OK)
        return writer_commit(&load->writer, &load->error);
    writer_abandon(&load->writer);
    return status;
}

static int run(const char *from, const char *to, bool is_json)
{
    load_job load = {.floor = 0};
    result_object result;
    bool is_golongpoll = strncmp(from, GOLONGPOLL, strlen(GOLONGPOLL)) == 0;
    const char *path = is_golongpoll ? from + strlen(GOLONGPOLL) : from;
    if (lines_open(&load.lines, path, &load.error) != LP_OK) {
        store_place place;
        if (!is_golongpoll && store_place_of(from, &place, NULL) == LP_OK)
            return say_usage("\"%s\": is a store (use longpoll store copy)", from);
        return say_failed(&load.error);
    }
    int status = writer_begin(&load.writer, to, &load.error);
    int exit_status = status == LP_OK ? EXIT_DONE : say_wrong_store(&load.error);
    if (status == LP_OK && fill(&load, is_golongpoll) != LP_OK)
        exit_status = say_failed(&load.error);
    lines_close(&load.lines);
    map_free(&load.firsts);
    if (exit_status != EXIT_DONE)
        return exit_status;
    if (load.skipped > 0)
        exit_status = EXIT_DAMAGE;
    result_begin(&result, is_json);
    result_text(&result, "from", from);
    result_text(&result, "to", to);
    result_number(&result, "events", load.writer.events);
    result_number(&result, "lines", load.lines.number);
    result_number(&result, "skipped", load.skipped);
    return result_end(&result, exit_status);
}

int store_load(const command *self, int count, char **words)
{
    const char *names[2];
    bool is_json = false;
    const flag flags[] = {{"json", NULL, "print one JSON object", &is_json, NULL}, {0}};
    int status = command_read(self, flags, count, words, names, 2);
    return status >= 0 ? status : run(names[0], names[1], is_json);
}
