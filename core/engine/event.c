/* Events: one allocation each, encoded once. Any thread; the count is atomic.
 *
 * The wire text is {"timestamp":T,"category":"C","data":D,"id":"I"}. All of it but T and I is
 * written when the event is prepared. T has 1 to 15 digits (48 bits), so the text is laid out for
 * 15 and begins at `wire_start` once the number is known. A category that must be escaped in the
 * text is also kept raw behind it. */
#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "block.h"
#include "event_prepare.h"
#include "json.h"

#define HEAD            "{\"timestamp\":"
#define BEFORE_CATEGORY ",\"category\":\""
#define BEFORE_DATA     "\",\"data\":"
#define BEFORE_ID       ",\"id\":\""
#define TAIL            "\"}"

enum {
    DIGITS_MAX = 15,
    HEAD_LEN = sizeof(HEAD) - 1,
    CATEGORY_AT = HEAD_LEN + DIGITS_MAX + sizeof(BEFORE_CATEGORY) - 1,
    ID_PART_LEN = sizeof(BEFORE_ID) - 1 + LP_ID_TEXT_LEN + sizeof(TAIL) - 1
};

/* With what malloc adds, and with its slot in a ring, an event takes at most 64 bytes more than its
 * wire text: so there is no field for what the text tells. */
struct lp_event {
    uint64_t seq;
    atomic_uint refs;
    uint32_t end;        /* of the wire text in `text` */
    uint32_t visible_us; /* the home loop's own */
    uint16_t block_at;   /* where it is in a block, in LP__BLOCK_ALIGN; 0: it is malloc's */
    uint16_t data_at;
    uint16_t category_len;
    uint8_t wire_start;
    uint8_t raw_category; /* kept behind `end` */
    char text[];
};

static_assert(CATEGORY_AT + 6 * LP_CATEGORY_MAX + sizeof(BEFORE_DATA) <= UINT16_MAX,
              "where the data begins must fit its field");

static size_t size_of(uint32_t end, size_t raw_len)
{
    return offsetof(struct lp_event, text) + end + raw_len;
}

static size_t escaped_size(char c)
{
    if (c == '"' || c == '\\')
        return 2;
    return (unsigned char)c < 0x20 ? 6 : 1;
}

static char *escape(char *out, lp_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.base[i];
        switch (escaped_size(c)) {
        case 2:
            *out++ = '\\';
            *out++ = c;
            break;
        case 6:
            out += sprintf(out, "\\u%04x", (unsigned char)c);
            break;
        default:
            *out++ = c;
        }
    }
    return out;
}

static char *put(char *out, const char *bytes, size_t len)
{
    memcpy(out, bytes, len);
    return out + len;
}

/* The length of a category in the wire text, 0 when it is not UTF-8. */
static size_t escaped_len(lp_str category)
{
    size_t escaped = 0;
    unsigned char all = 0;
    for (size_t i = 0; i < category.len; i++) {
        escaped += escaped_size(category.base[i]);
        all |= (unsigned char)category.base[i];
    }
    return all < 0x80 || lp__utf8_check(category) ? escaped : 0;
}

static lp_event *allocate(lp__block **block, size_t size)
{
    uint32_t at = 0;
    lp_event *event = block != NULL ? lp__block_take(block, size, &at) : NULL;
    if (event == NULL)
        event = malloc(size);
    if (event == NULL)
        return NULL;
    atomic_init(&event->refs, 1);
    event->block_at = (uint16_t)(at / LP__BLOCK_ALIGN);
    return event;
}

int lp__event_prepare_in(lp__block **block, lp_str category, lp_str data, lp_event **out)
{
    if (category.len == 0 || category.len > LP_CATEGORY_MAX || data.len == 0)
        return LP_EINVAL;
    size_t escaped = escaped_len(category);
    if (escaped == 0)
        return LP_EINVAL;
    if (data.len > INT32_MAX)
        return LP_ETOOBIG;

    bool raw = escaped != category.len;
    uint32_t end =
        (uint32_t)(CATEGORY_AT + escaped + sizeof(BEFORE_DATA) - 1 + data.len + ID_PART_LEN);
    lp_event *event = allocate(block, size_of(end, raw ? category.len : 0));
    if (event == NULL)
        return LP_ENOMEM;
    event->end = end;
    event->seq = 0;
    event->visible_us = 0;
    event->category_len = (uint16_t)category.len;
    event->wire_start = 0;
    event->raw_category = raw;

    char *at = event->text + CATEGORY_AT - (sizeof(BEFORE_CATEGORY) - 1);
    at = put(at, BEFORE_CATEGORY, sizeof(BEFORE_CATEGORY) - 1);
    at = raw ? escape(at, category) : put(at, category.base, category.len);
    at = put(at, BEFORE_DATA, sizeof(BEFORE_DATA) - 1);
    event->data_at = (uint16_t)(at - event->text);
    put(at, data.base, data.len);
    if (raw)
        put(event->text + end, category.base, category.len);
    *out = event;
    return LP_OK;
}

int lp__event_prepare(lp_str category, lp_str data, lp_event **out)
{
    return lp__event_prepare_in(NULL, category, data, out);
}

/* Writes a number that ends before `end`; where it begins. */
static char *put_number(char *end, uint64_t number)
{
    for (; number >= 100; number /= 100) {
        unsigned two = (unsigned)(number % 100);
        *--end = (char)('0' + two % 10);
        *--end = (char)('0' + two / 10);
    }
    *--end = (char)('0' + number % 10);
    if (number >= 10)
        *--end = (char)('0' + number / 10);
    return end;
}

void lp__event_stamp(lp_event *event, uint64_t seq, uint64_t random)
{
    event->seq = seq;

    char *digit = put_number(event->text + HEAD_LEN + DIGITS_MAX, (uint64_t)lp_seq_ms(seq));
    event->wire_start = (uint8_t)(digit - event->text - HEAD_LEN);
    memcpy(event->text + event->wire_start, HEAD, HEAD_LEN);

    char *at = event->text + event->end - ID_PART_LEN;
    at = put(at, BEFORE_ID, sizeof(BEFORE_ID) - 1);
    char id[LP_ID_TEXT_LEN + 1];
    lp_id_format(lp_id_make(seq, random), id);
    at = put(at, id, LP_ID_TEXT_LEN);
    put(at, TAIL, sizeof(TAIL) - 1);
}

void lp__event_set_visible(lp_event *event, uint32_t mono_us)
{
    event->visible_us = mono_us != 0 ? mono_us : 1;
}

uint32_t lp__event_visible_us(const lp_event *event)
{
    return event->visible_us;
}

size_t lp__event_bytes(const lp_event *event)
{
    return size_of(event->end, event->raw_category ? event->category_len : 0);
}

int lp_event_new(lp_id id, lp_str category, lp_str data, lp_event **out)
{
    if (lp_id_version(id) != 7 || lp_id_seq(id) == 0 || !lp__json_check(data, &data))
        return LP_EINVAL;
    int status = lp__event_prepare(category, data, out);
    if (status == LP_OK) {
        uint64_t random = 0;
        for (int i = 8; i < 16; i++)
            random = random << 8 | id.bytes[i];
        lp__event_stamp(*out, lp_id_seq(id), random);
    }
    return status;
}

lp_event *lp_event_ref(lp_event *event)
{
    atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
    return event;
}

void lp_event_unref(lp_event *event)
{
    if (event == NULL || atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (event->block_at != 0)
        lp__block_give(event, event->block_at * (uint32_t)LP__BLOCK_ALIGN);
    else
        free(event);
}

lp_id lp_event_id(const lp_event *event)
{
    const char *text = event->text + event->end - (sizeof(TAIL) - 1) - LP_ID_TEXT_LEN;
    return lp_id_make(event->seq, lp__id_read_random(text));
}

uint64_t lp_event_seq(const lp_event *event)
{
    return event->seq;
}

int64_t lp_event_timestamp_ms(const lp_event *event)
{
    return lp_seq_ms(event->seq);
}

lp_str lp_event_category(const lp_event *event)
{
    const char *at = event->text + (event->raw_category ? event->end : CATEGORY_AT);
    return (lp_str){at, event->category_len};
}

lp_str lp_event_data(const lp_event *event)
{
    return (lp_str){event->text + event->data_at, event->end - ID_PART_LEN - event->data_at};
}

lp_str lp_event_wire(const lp_event *event)
{
    return (lp_str){event->text + event->wire_start, event->end - event->wire_start};
}

struct cJSON *lp_event_cjson(const lp_event *event)
{
    lp_str data = lp_event_data(event);
    return cJSON_ParseWithLength(data.base, data.len);
}
