/* Server-sent events: frames that are written, read by a parser of their own (WHATWG HTML, 9.2.6),
 * give back the events, the gap and the position, whatever the data; and what the request's headers
 * say about them. */
#include "core/wire/query.h"
#include "core/wire/sse.h"
#include "fuzz.h"
#include "json_reference.h"

enum { EVENTS_MAX = 6 };

/* What a reader has when a blank line comes. */
typedef struct reader {
    char *data;
    size_t data_len;
    char type[16], id[64];
    size_t dispatched;
    const lp_answer *answer;
} reader;

/* A wire text as its lines are seen: each line end is one LF. */
static char *lines_of(lp_str wire, size_t *len)
{
    char *out = fuzz_copy(wire.base, wire.len);
    *len = 0;
    for (size_t i = 0; i < wire.len; i++) {
        if (wire.base[i] == '\n' && i > 0 && wire.base[i - 1] == '\r')
            continue;
        out[(*len)++] = wire.base[i] == '\r' ? '\n' : wire.base[i];
    }
    return out;
}

static void dispatch_event(reader *to, const lp_event *event)
{
    char id[LP_ID_TEXT_LEN + 1];
    size_t len;
    lp_id_format(lp_event_id(event), id);
    FUZZ_HOLDS(to->type[0] == '\0' && strcmp(to->id, id) == 0, "an event has its id");
    char *lines = lines_of(lp_event_wire(event), &len);
    FUZZ_HOLDS(fuzz_equal((lp_str){to->data, to->data_len}, (lp_str){lines, len}),
               "the data of a frame are the lines of the wire text");
    free(lines);
    lp_event *again = NULL;
    FUZZ_HOLDS(lp_event_parse((lp_str){to->data, to->data_len}, &again, NULL) == LP_OK &&
                   lp_event_seq(again) == lp_event_seq(event) &&
                   fuzz_equal(lp_event_category(again), lp_event_category(event)),
               "a frame is read as its event");
    lp_event_unref(again);
}

static void dispatch(reader *to)
{
    if (to->data_len > 0) {
        to->data_len--; /* the last LF */
        size_t n = to->dispatched++;
        if (to->answer->gap && n == 0) {
            FUZZ_HOLDS(strcmp(to->type, "gap") == 0 && fuzz_equal((lp_str){to->data, to->data_len},
                                                                  lp_str_of("{\"gap\":true}")),
                       "a gap comes first");
        } else {
            n -= to->answer->gap;
            FUZZ_HOLDS(n < to->answer->event_count, "there are no other frames");
            dispatch_event(to, to->answer->events[n]);
        }
    }
    to->data_len = 0;
    to->type[0] = '\0';
}

static void take_line(reader *to, lp_str line)
{
    if (line.len == 0) {
        dispatch(to);
        return;
    }
    const char *colon = memchr(line.base, ':', line.len);
    FUZZ_HOLDS(colon != line.base, "there are no comments");
    size_t name_len = colon != NULL ? (size_t)(colon - line.base) : line.len;
    size_t at = colon != NULL ? name_len + 1 : line.len;
    at += at < line.len && line.base[at] == ' ';
    lp_str name = {line.base, name_len}, value = {line.base + at, line.len - at};
    if (fuzz_equal(name, lp_str_of("data"))) {
        memcpy(to->data + to->data_len, value.base, value.len);
        to->data_len += value.len;
        to->data[to->data_len++] = '\n';
    } else if (fuzz_equal(name, lp_str_of("event"))) {
        snprintf(to->type, sizeof(to->type), "%.*s", (int)value.len, value.base);
    } else {
        FUZZ_HOLDS(fuzz_equal(name, lp_str_of("id")) && value.len < sizeof(to->id),
                   "no other fields are written");
        snprintf(to->id, sizeof(to->id), "%.*s", (int)value.len, value.base);
    }
}

static void read_stream(lp_str stream, const lp_answer *answer)
{
    reader to = {.data = malloc(stream.len + 1), .answer = answer};
    FUZZ_HOLDS(to.data != NULL, "there is memory");
    for (size_t at = 0; at < stream.len;) {
        size_t len = 0;
        while (at + len < stream.len && stream.base[at + len] != '\n' &&
               stream.base[at + len] != '\r')
            len++;
        FUZZ_HOLDS(at + len < stream.len, "the last line has an end");
        take_line(&to, (lp_str){stream.base + at, len});
        at += len + 1;
        if (at < stream.len && stream.base[at - 1] == '\r' && stream.base[at] == '\n')
            at++;
    }
    FUZZ_HOLDS(to.data_len == 0 && to.type[0] == '\0', "the last frame is ended");
    FUZZ_HOLDS(to.dispatched == answer->event_count + answer->gap, "no frame is missing");
    char last[LP_ID_TEXT_LEN + 1];
    lp_id_format(answer->last_id, last);
    FUZZ_HOLDS(strcmp(to.id, last) == 0, "the last id is where the stream is");

    lp__wire_query query = {.query = LP_QUERY_INIT};
    lp__wire_query_resume(&query, lp_str_of(to.id));
    FUZZ_HOLDS(query.query.by_id && query.query.has_last_id &&
                   memcmp(&query.query.last_id, &answer->last_id, sizeof(lp_id)) == 0,
               "a reader resumes from what it was told");
    free(to.data);
}

static void frame_and_read(const lp_answer *answer)
{
    lp__sse_size size = lp__sse_measure(answer);
    lp_str *pieces = malloc(size.pieces * sizeof(*pieces));
    char *scratch = malloc(size.scratch + 1), *stream = malloc(size.length + 1);
    size_t len = 0;
    FUZZ_HOLDS(pieces != NULL && scratch != NULL && stream != NULL, "there is memory");
    for (size_t i = 0; i < size.pieces; i++)
        pieces[i] = (lp_str){NULL, SIZE_MAX};
    lp__sse_build(answer, scratch, pieces);
    for (size_t i = 0; i < size.pieces; i++) {
        FUZZ_HOLDS(pieces[i].len <= size.length - len, "pieces have the length that was said");
        memcpy(stream + len, pieces[i].base, pieces[i].len);
        len += pieces[i].len;
    }
    FUZZ_HOLDS(len == size.length, "pieces have the length that was said");
    read_stream((lp_str){stream, len}, answer);
    free(pieces);
    free(scratch);
    free(stream);
}

/* Bytes as data: as they are where they are JSON; else each stands for something that lies in JSON
 * and could break a frame. */
static char *data_of(lp_str bytes, size_t *len)
{
    static const char *const tokens[] = {
        "\n", "\r", " ", ",1", ",\"data: x\"", ",\"\\n\\n\"", "\r\n", ",\"\xe2\x80\xa8:id: \""};
    json_facts facts = {false, false};
    const char *start, *end = bytes.base + bytes.len;
    const char *behind = json_reference_value(bytes.base, end, &start, &facts);
    char *out = malloc(16 * bytes.len + 16);
    FUZZ_HOLDS(out != NULL, "there is memory");
    if (behind != NULL && json_reference_space(behind, end) == end) {
        memcpy(out, bytes.base, *len = bytes.len);
        return out;
    }
    *len = (size_t)sprintf(out, "[0");
    for (size_t i = 0; i < bytes.len; i++)
        *len += (size_t)sprintf(out + *len, "%s", tokens[(unsigned char)bytes.base[i] % 8]);
    out[(*len)++] = ']';
    return out;
}

/* Accept: what is in front of it or in what case it is changes nothing. */
static void read_accept(lp_str text)
{
    static const char front[] = "text/html;q=0.9, ";
    bool accepted = lp__sse_is_accepted(text);
    char *other = malloc(sizeof(front) + text.len);
    FUZZ_HOLDS(other != NULL, "there is memory");
    memcpy(other, front, sizeof(front) - 1);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.base[i];
        other[sizeof(front) - 1 + i] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
    }
    lp_str upper = {other + sizeof(front) - 1, text.len};
    FUZZ_HOLDS(lp__sse_is_accepted(upper) == accepted, "Accept has no case");
    FUZZ_HOLDS(lp__sse_is_accepted((lp_str){other, sizeof(front) - 1 + text.len}) == accepted,
               "Accept is a list");
    if (accepted) {
        bool is_there = false;
        for (size_t i = 0; i + 17 <= text.len; i++)
            is_there |= memcmp(upper.base + i, "TEXT/EVENT-STREAM", 17) == 0;
        FUZZ_HOLDS(is_there, "a stream is asked for by name");
    }
    free(other);
}

/* A byte of flags, then lines: the first is Accept, each other one the data of an event. Lines end
 * with a byte of 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lp_event *events[EVENTS_MAX];
    lp_answer answer = {.events = events, .last_id = lp_id_make(77, 77)};
    if (size == 0)
        return 0;
    answer.gap = data[0] & 1;
    for (size_t at = 1, n = 0; at < size && n <= EVENTS_MAX; n++) {
        const uint8_t *end = memchr(data + at, 0, size - at);
        size_t len = end != NULL ? (size_t)(end - data) - at : size - at, json_len = 0;
        char *line = fuzz_copy(data + at, len);
        if (n == 0) {
            read_accept((lp_str){line, len});
        } else {
            char *json = data_of((lp_str){line, len}, &json_len);
            lp_id id = lp_id_make(lp_seq_first(1700000000000) + n, data[0]);
            FUZZ_HOLDS(lp_event_new(id, lp_str_of(data[0] & 2 ? "a\r\nb: \"" : "c"),
                                    (lp_str){json, json_len}, &events[answer.event_count]) == LP_OK,
                       "an event is made");
            answer.event_count++;
            answer.last_id = id;
            free(json);
        }
        free(line);
        at += len + 1;
    }
    frame_and_read(&answer);
    for (size_t i = 0; i < answer.event_count; i++)
        lp_event_unref(events[i]);
    return 0;
}
