/* A file of golongpoll's FilePersistorAddOn into a new store.
 *
 * That file has one {"timestamp":…,"category":"…","data":…,"id":"…"} a line, a line end before
 * each, so that a line may be cut anywhere in the file (a kill, and a restart behind it). Ids are
 * UUIDs of version 4 and say nothing about order: the lines' order is that of publishing. */
#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <longpoll/json.h>

#include "say.h"

enum { TOLD_MAX = 10 };

typedef struct import_state {
    uint64_t last_seq;
    uint64_t random[32]; /* for ids */
    size_t random_left;
    uint64_t taken;
    uint64_t moved; /* events whose timestamp could not be kept */
} import_state;

static uint64_t random_bits(import_state *import)
{
    if (import->random_left == 0) {
        import->random_left = sizeof(import->random) / sizeof(import->random[0]);
        while (getrandom(import->random, sizeof(import->random), 0) !=
               (ssize_t)sizeof(import->random))
            ;
    }
    return import->random[--import->random_left];
}

/* The number of an event of this time: timestamps never go back. One that lies in the future would
 * drag all later ones there. */
static uint64_t next_seq(import_state *import, int64_t ms)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    uint64_t seq = lp_seq_first(ms > now_ms ? now_ms : ms);
    if (seq <= import->last_seq)
        seq = import->last_seq + 1;
    import->moved += lp_seq_ms(seq) != ms;
    import->last_seq = seq;
    return seq;
}

/* ---- one line -------------------------------------------------------------------------------- */

static bool read_timestamp(lp_str text, int64_t *ms)
{
    *ms = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.base[i] < '0' || text.base[i] > '9' || *ms > (INT64_C(1) << 48) / 10)
            return false;
        *ms = *ms * 10 + (text.base[i] - '0');
    }
    return *ms > 0 && *ms < INT64_C(1) << 48;
}

/* NULL, or what is wrong with the line. */
static const char *read_line(lp_str line, int64_t *ms, lp_str *category, char *storage,
                             lp_str *data)
{
    lp_str object, name, value, timestamp = {NULL, 0}, category_text = {NULL, 0};
    *data = (lp_str){NULL, 0};
    if (!lp_json_check(line, &object) || object.base[0] != '{')
        return "it is no JSON object";
    const char *at = object.base;
    while (lp_json_member(&at, &name, &value)) {
        if (lp_json_is(name, "timestamp"))
            timestamp = value;
        else if (lp_json_is(name, "category"))
            category_text = value;
        else if (lp_json_is(name, "data"))
            *data = value;
    }
    if (timestamp.base == NULL || !read_timestamp(timestamp, ms))
        return "its timestamp is no number of milliseconds";
    if (data->base == NULL)
        return "it has no data";
    if (category_text.base == NULL || category_text.base[0] != '"')
        return "its category is no string";
    category->base = storage;
    category->len = lp_json_unescape(category_text, storage, LP_CATEGORY_MAX);
    if (category->len == 0 || category->len > LP_CATEGORY_MAX)
        return "its category is not of 1 to 1024 bytes";
    return NULL;
}

/* What was there is lost, and takes a number that clients behind it are told of. */
static void skip(load_job *load, import_state *import, const char *why)
{
    if (load->skipped++ < TOLD_MAX)
        say_note("%s:%llu: %s: %s", load->lines.name, (unsigned long long)load->lines.number, why,
                 load->lines.is_torn ? "the last line, cut; skipped" : "skipped");
    if (import->last_seq > 0)
        load->floor = ++import->last_seq;
}

static int take_line(load_job *load, import_state *import, lp_str line)
{
    char storage[LP_CATEGORY_MAX];
    lp_str category, data;
    int64_t ms;
    const char *why = read_line(line, &ms, &category, storage, &data);
    if (why != NULL) {
        skip(load, import, why);
        return LP_OK;
    }
    uint64_t seq = next_seq(import, ms);
    import->taken++;
    if (load->floor == 0)
        load->floor = seq - 1;
    lp_event *event;
    int status = lp_event_new(lp_id_make(seq, random_bits(import)), category, data, &event);
    if (status != LP_OK)
        return load_wrong(load, status, lp_strerror(status));
    status = writer_event(&load->writer, event, &load->error);
    lp_event_unref(event);
    return status;
}

/* What the lines were as a whole. */
static int sum_up(load_job *load, const import_state *import)
{
    const char *name = load->lines.name;
    uint64_t more = load->skipped > TOLD_MAX ? load->skipped - TOLD_MAX : 0;
    if (more > 0)
        say_note("%s: %" PRIu64 " more %s skipped", name, more,
                 more == 1 ? "line was" : "lines were");
    if (import->moved > 0)
        say_note("%s: %" PRIu64 " %s: the time went back, was in the future, or one millisecond "
                 "was too full",
                 name, import->moved,
                 import->moved == 1 ? "event has another timestamp than it had"
                                    : "events have another timestamp than they had");
    if (load->skipped == 0 || import->taken > 0)
        return LP_OK;
    return lp_error_set(&load->error, LP_EINVAL,
                        "\"%.200s\": none of its lines is an event of golongpoll (name its file; "
                        "nothing was loaded)",
                        name);
}

int load_golongpoll(load_job *load)
{
    import_state import = {.last_seq = 0};
    lp_str line;
    int status;
    while ((status = lines_next(&load->lines, &line, &load->error)) == LP_OK) {
        if (line_is_blank(line))
            continue;
        status = take_line(load, &import, line);
        if (status == LP_OK && load->lines.number % 1024 == 0) {
            progress_show("loading", load->lines.number, load->lines.done, load->lines.total);
            status = interrupt_check(&load->error);
        }
        if (status != LP_OK)
            break;
    }
    progress_end();
    load->highest = import.last_seq;
    return status < 0 ? status : sum_up(load, &import);
}
