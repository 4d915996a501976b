/* A dump into a new store: every line must be good. */
#include "load.h"

#include <stdio.h>
#include <string.h>

#include "dump_format.h"
#include "say.h"

/* What the lines have said so far. */
typedef struct load_progress {
    bool is_all;   /* it began with the first line of dump --all */
    bool has_end;  /* and this was its last one */
    bool has_loss; /* what it was made from had lost something */
    uint64_t events;
} load_progress;

/* Without the lines of --all it is not known what was gone between the events: all that may be
 * missing of a category is what lies before the first of its events that is there. */
static int note_first(load_job *load, const lp_event *event)
{
    uint64_t before = lp_event_seq(event) - 1;
    if (load->floor == 0)
        load->floor = before;
    if (map_find(&load->firsts, lp_event_category(event)) != NULL)
        return LP_OK;
    uint64_t *horizon = map_at(&load->firsts, lp_event_category(event));
    if (horizon == NULL)
        return lp_error_set(&load->error, LP_ENOMEM, "out of memory");
    *horizon = before;
    return LP_OK;
}

static int take_event(load_job *load, load_progress *progress, lp_event *event)
{
    lp_error why = {0};
    int status = writer_event(&load->writer, event, &why);
    if (status == LP_EORDER)
        status = load_wrong(load, LP_EORDER, why.message);
    else if (status != LP_OK)
        load->error = why;
    if (status == LP_OK && !progress->is_all)
        status = note_first(load, event);
    progress->events++;
    if (progress->events % 1024 == 0) {
        progress_show("loading", progress->events, load->lines.done, load->lines.total);
        if (status == LP_OK)
            status = interrupt_check(&load->error);
    }
    lp_event_unref(event);
    return status;
}

static int take_special(load_job *load, load_progress *progress, const dump_line *line)
{
    lp_error *error = &load->error;
    if (line->kind != DUMP_HEAD && !progress->is_all)
        return load_wrong(load, LP_EINVAL, "it belongs to dump --all, whose first line is missing");
    switch (line->kind) {
    case DUMP_HEAD:
        if (line->number != DUMP_VERSION || load->lines.number != 1)
            return load_wrong(load, LP_EVERSION,
                              line->number != DUMP_VERSION
                                  ? "the dump is of a version that this program does not know"
                                  : "the first line of a dump in the middle of another");
        progress->is_all = true;
        return LP_OK;
    case DUMP_LOSS:
        progress->has_loss = true;
        return LP_OK;
    case DUMP_FLOOR:
        load->floor = line->seq > load->floor ? line->seq : load->floor;
        return LP_OK;
    case DUMP_HORIZON:
        return writer_horizon(&load->writer, line->category, line->seq, error);
    case DUMP_IDEMPOTENCY:
        return writer_key(&load->writer, &line->key, error);
    case DUMP_HIGHEST:
        load->highest = line->seq > load->highest ? line->seq : load->highest;
        return LP_OK;
    default:
        progress->has_end = true;
        if (line->number != progress->events)
            return load_wrong(load, LP_EINVAL, "there were more or fewer events before it");
        return LP_OK;
    }
}

static int take_line(load_job *load, load_progress *progress, lp_str text)
{
    dump_line line;
    lp_error why = {0};
    if (line_is_blank(text))
        return LP_OK;
    if (progress->has_end)
        return load_wrong(load, LP_EINVAL, "it comes after the last line of the dump");
    int status = dump_parse(text, &line, &why);
    if (status != LP_OK)
        return load_wrong(load, status, why.message);
    return line.kind == DUMP_EVENT ? take_event(load, progress, line.event)
                                   : take_special(load, progress, &line);
}

int load_dump(load_job *load)
{
    load_progress progress = {false, false, false, 0};
    lp_str line;
    int status;
    while ((status = lines_next(&load->lines, &line, &load->error)) == LP_OK) {
        status = take_line(load, &progress, line);
        if (status != LP_OK)
            break;
    }
    progress_end();
    if (status < 0)
        return status;
    if (progress.is_all && !progress.has_end)
        return load_wrong(load, LP_EINVAL, "the dump ends before its last line: it was cut");
    if (progress.has_loss) {
        store_survey lost = {.highest = load->highest};
        load->floor = load->highest = survey_floor_of_loss(&lost);
    }
    return LP_OK;
}
