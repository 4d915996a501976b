/* Writing a dump. See dump_format.h. */
#include "dump_format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int put_line(output_file *out, const growing_text *line, lp_error *error)
{
    if (line->failed)
        return lp_error_set(error, LP_ENOMEM, "out of memory");
    return output_put(out, (lp_str){line->base, line->len}, error);
}

/* The wire text with blanks for the line ends in its data, which are listed. */
static int put_broken(output_file *out, growing_text *line, const lp_event *event, lp_error *error)
{
    lp_str wire = lp_event_wire(event), data = lp_event_data(event);
    size_t data_at = (size_t)(data.base - wire.base);
    text_put(line, (lp_str){wire.base, wire.len - 1});
    text_print(line, ",\"newlines\":[");
    const char *separator = "";
    for (size_t i = 0; i < data.len; i++) {
        if (data.base[i] != '\n')
            continue;
        if (!line->failed)
            line->base[data_at + i] = ' ';
        text_print(line, "%s%zu", separator, i);
        separator = ",";
    }
    text_print(line, "]}\n");
    return put_line(out, line, error);
}

int dump_event(output_file *out, growing_text *line, const lp_event *event, lp_error *error)
{
    lp_str wire = lp_event_wire(event);
    line->len = 0;
    if (memchr(wire.base, '\n', wire.len) != NULL)
        return put_broken(out, line, event, error);
    int status = output_put(out, wire, error);
    return status == LP_OK ? output_put(out, (lp_str){"\n", 1}, error) : status;
}

int dump_head(output_file *out, growing_text *line, const store_survey *found, lp_error *error)
{
    line->len = 0;
    text_print(line, "{\"longpoll\":\"dump\",\"version\":%d}\n", DUMP_VERSION);
    if (found->floor > 0)
        text_print(line, "{\"longpoll\":\"floor\",\"seq\":\"%" PRIu64 "\"}\n", found->floor);
    const map_slot **horizons = map_sorted(&found->horizons);
    if (horizons == NULL && found->horizons.count > 0)
        line->failed = true;
    int status = put_line(out, line, error);
    for (size_t i = 0; status == LP_OK && i < found->horizons.count; i++) {
        if (horizons[i]->value <= found->floor)
            continue;
        line->len = 0;
        text_print(line, "{\"longpoll\":\"horizon\",\"category\":");
        text_string(line, (lp_str){horizons[i]->key, horizons[i]->len});
        text_print(line, ",\"seq\":\"%" PRIu64 "\"}\n", horizons[i]->value);
        status = put_line(out, line, error);
    }
    free(horizons);
    return status;
}

static void put_key(growing_text *line, const lp_idempotency *key)
{
    text_print(line, "{\"longpoll\":\"idempotency\",\"key_hex\":\"");
    for (size_t i = 0; i < key->key.len; i++)
        text_print(line, "%02x", (unsigned char)key->key.base[i]);
    text_print(line,
               "\",\"digest\":\"%" PRIu64 "\",\"seq\":\"%" PRIu64 "\",\"count\":%" PRIu32
               ",\"expires_ms\":%" PRIi64 "}\n",
               key->digest, key->seq, key->count, key->expires_ms);
}

int dump_tail(output_file *out, growing_text *line, const store_survey *found, uint64_t events,
              lp_error *error)
{
    line->len = 0;
    for (size_t i = 0; i < found->loss_count; i++) {
        text_print(line, "{\"longpoll\":\"loss\",\"records\":%" PRIu64 ",\"detail\":",
                   i == 0 ? found->lost_records : 0);
        text_string(line, lp_str_of(found->losses[i]));
        text_print(line, "}\n");
    }
    const map_slot **keys = map_sorted(&found->key_index);
    if (keys == NULL && found->key_count > 0)
        line->failed = true;
    int status = put_line(out, line, error);
    for (size_t i = 0; status == LP_OK && i < found->key_count; i++) {
        const lp_idempotency *key = &found->keys[keys[i]->value - 1];
        if (key->count == 0)
            continue;
        line->len = 0;
        put_key(line, key);
        status = put_line(out, line, error);
    }
    free(keys);
    line->len = 0;
    if (found->highest > 0)
        text_print(line, "{\"longpoll\":\"highest\",\"seq\":\"%" PRIu64 "\"}\n", found->highest);
    text_print(line, "{\"longpoll\":\"end\",\"events\":%" PRIu64 "}\n", events);
    return status == LP_OK ? put_line(out, line, error) : status;
}
