/* The bytes of the answers. See answer.h. */
#include "answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LITERAL(text)                                                                              \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

const lp__wire_header lp__subscribe_headers[LP__SUBSCRIBE_HEADERS] = {
    {LITERAL("Content-Type"), LITERAL("content-type"), LITERAL("application/json")},
    {LITERAL("X-Content-Type-Options"), LITERAL("x-content-type-options"), LITERAL("nosniff")},
    {LITERAL("Cache-Control"), LITERAL("cache-control"),
     LITERAL("no-cache, no-store, must-revalidate")},
    {LITERAL("Pragma"), LITERAL("pragma"), LITERAL("no-cache")},
    {LITERAL("Expires"), LITERAL("expires"), LITERAL("0")},
};

const lp__wire_header lp__publish_headers[LP__PUBLISH_HEADERS] = {
    {LITERAL("Content-Type"), LITERAL("content-type"), LITERAL("application/json")},
    {LITERAL("X-Content-Type-Options"), LITERAL("x-content-type-options"), LITERAL("nosniff")},
};

const lp_str lp__answer_published = LITERAL("{\"success\": true}");
const lp_str lp__answer_method_not_post =
    LITERAL("{\"error\": \"Invalid HTTP Method. Only POST allowed.\"}");

static const lp_str events_head = LITERAL("{\"events\":[");
static const lp_str events_between = LITERAL(",");
static const lp_str events_tail = LITERAL("]}");
static const lp_str events_tail_gap = LITERAL("],\"gap\":true}");

size_t lp__answer_pieces_max(const lp_answer *answer)
{
    return answer->event_count ? 2 * answer->event_count + 1 : 1;
}

/* "gap" stays last in every answer. `last_id` is what stands between it and the timestamp. */
static lp_str build_timeout(const lp_answer *answer, const char *last_id, char *scratch)
{
    int len = snprintf(scratch, LP__ANSWER_SCRATCH,
                       "{\"timeout\":\"no events before timeout\",\"timestamp\":%" PRId64 "%s%s}",
                       answer->timestamp_ms, last_id, answer->gap ? ",\"gap\":true" : "");
    return (lp_str){scratch, (size_t)len};
}

lp_str lp__answer_timeout_by_id(const lp_answer *answer, char *scratch)
{
    char id[LP_ID_TEXT_LEN + 1], last_id[sizeof(",\"last_id\":\"\"") + LP_ID_TEXT_LEN];
    lp_id_format(answer->last_id, id);
    snprintf(last_id, sizeof(last_id), ",\"last_id\":\"%s\"", id);
    return build_timeout(answer, last_id, scratch);
}

size_t lp__answer_build(const lp_answer *answer, char *scratch, lp_str *pieces, size_t *count)
{
    size_t total = 0, n = 0;
    if (!answer->event_count) {
        pieces[0] = build_timeout(answer, "", scratch);
        *count = 1;
        return pieces[0].len;
    }
    pieces[n++] = events_head;
    for (size_t i = 0; i < answer->event_count; i++) {
        if (i > 0)
            pieces[n++] = events_between;
        pieces[n++] = lp_event_wire(answer->events[i]);
    }
    pieces[n++] = answer->gap ? events_tail_gap : events_tail;
    for (size_t i = 0; i < n; i++)
        total += pieces[i].len;
    *count = n;
    return total;
}

void lp__answer_flatten(const lp_str *pieces, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) {
        memcpy(out, pieces[i].base, pieces[i].len);
        out += pieces[i].len;
    }
}

/* A byte as it stands in a JSON string. */
static size_t escape(unsigned char c, char out[8])
{
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c < 0x20)
        return (size_t)snprintf(out, 8, "\\u%04x", c);
    out[0] =
        c < 0x7f ? (char)c : '?'; /* sentences are ours; what paths bring along may be no UTF-8 */
    return 1;
}

size_t lp__answer_error(const char *sentence, char *out, size_t max)
{
    static const char head[] = "{\"error\": \"", tail[] = "\"}";
    size_t len = sizeof(head) - 1;
    memcpy(out, head, len);
    for (; *sentence; sentence++) {
        char text[8];
        size_t n = escape((unsigned char)*sentence, text);
        if (len + n + sizeof(tail) - 1 > max)
            break;
        memcpy(out + len, text, n);
        len += n;
    }
    memcpy(out + len, tail, sizeof(tail) - 1);
    return len + sizeof(tail) - 1;
}
