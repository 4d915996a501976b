/* The frames of server-sent events. See sse.h. */
#include "sse.h"

#include <string.h>

#define LITERAL(text)                                                                              \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

const lp__wire_header lp__sse_headers[LP__SSE_HEADERS] = {
    {LITERAL("Content-Type"), LITERAL("content-type"), LITERAL("text/event-stream")},
    {LITERAL("X-Content-Type-Options"), LITERAL("x-content-type-options"), LITERAL("nosniff")},
    {LITERAL("Cache-Control"), LITERAL("cache-control"),
     LITERAL("no-cache, no-store, must-revalidate")},
    {LITERAL("Pragma"), LITERAL("pragma"), LITERAL("no-cache")},
    {LITERAL("Expires"), LITERAL("expires"), LITERAL("0")},
    {LITERAL("X-Accel-Buffering"), LITERAL("x-accel-buffering"), LITERAL("no")},
};

/* ---- Accept (RFC 9110, 12.5.1) ------------------------------------------ */

static lp_str trim(lp_str text)
{
    while (text.len && (text.base[0] == ' ' || text.base[0] == '\t'))
        text = (lp_str){text.base + 1, text.len - 1};
    while (text.len && (text.base[text.len - 1] == ' ' || text.base[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Takes what is in front of the first `at` off `rest`, trimmed. */
static lp_str cut(lp_str *rest, char at)
{
    const char *found = rest->len ? memchr(rest->base, at, rest->len) : NULL;
    lp_str head = {rest->base, found ? (size_t)(found - rest->base) : rest->len};
    size_t taken = head.len + (found != NULL);
    *rest = (lp_str){rest->base + taken, rest->len - taken};
    return trim(head);
}

/* Whether text is `lower` in any case. */
static bool is(lp_str text, const char *lower)
{
    size_t i = 0;
    for (; i < text.len && lower[i]; i++) {
        char c = text.base[i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != lower[i])
            return false;
    }
    return i == text.len && !lower[i];
}

/* "0", "0.", "0.000" */
static bool is_zero(lp_str weight)
{
    for (size_t i = 0; i < weight.len; i++)
        if (weight.base[i] != '0' && weight.base[i] != '.')
            return false;
    return weight.len > 0;
}

bool lp__sse_is_accepted(lp_str accept)
{
    while (accept.len) {
        lp_str range = cut(&accept, ',');
        if (!is(cut(&range, ';'), "text/event-stream"))
            continue;
        bool refused = false;
        while (range.len) {
            lp_str value = cut(&range, ';'), name = cut(&value, '=');
            refused |= is(name, "q") && is_zero(trim(value));
        }
        if (!refused)
            return true;
    }
    return false;
}

/* ---- frames ------------------------------------------------------------- */

static const lp_str gap_frame = LITERAL("event: gap\ndata: {\"gap\":true}\n\n");
static const lp_str next_line = LITERAL("\ndata: ");
static const lp_str end = LITERAL("\n\n");

static const char id_head[] = "id: ", data_head[] = "\ndata: ";
enum {
    ID_HEAD_LEN = sizeof(id_head) - 1,
    DATA_HEAD_LEN = sizeof(data_head) - 1,
    EVENT_HEAD_LEN = ID_HEAD_LEN + LP_ID_TEXT_LEN + DATA_HEAD_LEN
};

static void write_id(lp_id id, char *out)
{
    char text[LP_ID_TEXT_LEN + 1];
    lp_id_format(id, text);
    memcpy(out, id_head, ID_HEAD_LEN);
    memcpy(out + ID_HEAD_LEN, text, LP_ID_TEXT_LEN);
}

void lp__sse_position(lp_id position, char *out)
{
    write_id(position, out);
    memcpy(out + ID_HEAD_LEN + LP_ID_TEXT_LEN, end.base, end.len);
}

/* The lines of a wire text, which may hold white space of its publisher's. LF, CR and both together
 * end a line, as a stream's reader sees it too. Each byte is looked at twice however many lines
 * there are: the next LF and CR are remembered, `end` when there is none. */
typedef struct lines {
    const char *at, *end, *lf, *cr;
} lines;

static const char *find(const char *at, const char *end_of_text, char c)
{
    const char *found = at < end_of_text ? memchr(at, c, (size_t)(end_of_text - at)) : NULL;
    return found ? found : end_of_text;
}

static lines lines_of(const lp_event *event)
{
    lp_str text = lp_event_wire(event);
    const char *behind = text.base + text.len;
    return (lines){text.base, behind, find(text.base, behind, '\n'), find(text.base, behind, '\r')};
}

/* Takes the next line. False when no other follows it. */
static bool take_line(lines *rest, lp_str *line)
{
    if (rest->lf < rest->at)
        rest->lf = find(rest->at, rest->end, '\n');
    if (rest->cr < rest->at)
        rest->cr = find(rest->at, rest->end, '\r');
    const char *stop = rest->lf < rest->cr ? rest->lf : rest->cr;
    *line = (lp_str){rest->at, (size_t)(stop - rest->at)};
    if (stop == rest->end)
        return false;
    bool is_both = stop == rest->cr && rest->cr + 1 == rest->lf;
    rest->at = stop + 1 + is_both;
    return true;
}

lp__sse_size lp__sse_measure(const lp_answer *answer)
{
    lp__sse_size size = {0};
    if (answer->gap)
        size = (lp__sse_size){1, 0, gap_frame.len};
    for (size_t i = 0; i < answer->event_count; i++) {
        lp_str line;
        lines rest = lines_of(answer->events[i]);
        size.pieces += 3;
        size.scratch += EVENT_HEAD_LEN;
        size.length += EVENT_HEAD_LEN + end.len;
        while (take_line(&rest, &line)) {
            size.pieces += 2;
            size.length += line.len + next_line.len;
        }
        size.length += line.len;
    }
    if (!answer->event_count) {
        size.pieces++;
        size.scratch += LP__SSE_POSITION_LEN;
        size.length += LP__SSE_POSITION_LEN;
    }
    return size;
}

void lp__sse_build(const lp_answer *answer, char *scratch, lp_str *pieces)
{
    if (answer->gap)
        *pieces++ = gap_frame;
    for (size_t i = 0; i < answer->event_count; i++) {
        lp_str line;
        lines rest = lines_of(answer->events[i]);
        write_id(lp_event_id(answer->events[i]), scratch);
        memcpy(scratch + ID_HEAD_LEN + LP_ID_TEXT_LEN, data_head, DATA_HEAD_LEN);
        *pieces++ = (lp_str){scratch, EVENT_HEAD_LEN};
        scratch += EVENT_HEAD_LEN;
        while (take_line(&rest, &line)) {
            *pieces++ = line;
            *pieces++ = next_line;
        }
        *pieces++ = line;
        *pieces++ = end;
    }
    if (!answer->event_count) {
        lp__sse_position(answer->last_id, scratch);
        *pieces = (lp_str){scratch, LP__SSE_POSITION_LEN};
    }
}
