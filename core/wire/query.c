/* The query of a poll. See query.h; the rules are those of Go's url.ParseQuery and strconv, and of
 * golongpoll's getLongPollSubscriptionHandler; what this project adds keeps their style. */
#include "query.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* The first and last millisecond that an id can carry. */
#define MS_MIN 0
#define MS_MAX INT64_C(0xffffffffffff)

/* Room for the longest spelling of a UUID and one byte more; a longer text is none. */
#define ID_SPELLING_MAX 64

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int64_t lp__wire_unescape(lp_str text, char *out, size_t max)
{
    size_t needed = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.base[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.base[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text.base[i + 2]) : -1;
            if (low < 0)
                return -1;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (needed < max)
            out[needed] = c;
        needed++;
    }
    return (int64_t)needed;
}

bool lp__wire_integer(lp_str text, int64_t *out)
{
    size_t i = 0;
    bool negative = text.len > 0 && text.base[0] == '-';
    if (text.len > 0 && (text.base[0] == '-' || text.base[0] == '+'))
        i++;
    if (i == text.len)
        return false;
    const uint64_t limit = (uint64_t)INT64_MAX + negative;
    uint64_t value = 0;
    for (; i < text.len; i++) {
        if (text.base[i] < '0' || text.base[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text.base[i] - '0');
        if (value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

/* ---- pairs ------------------------------------------------------------- */

static lp_str cut(lp_str *rest, char at)
{
    const char *found = rest->len ? memchr(rest->base, at, rest->len) : NULL;
    lp_str head = *rest;
    if (!found) {
        *rest = (lp_str){rest->base + rest->len, 0};
        return head;
    }
    head.len = (size_t)(found - rest->base);
    *rest = (lp_str){found + 1, rest->len - head.len - 1};
    return head;
}

typedef enum parameter {
    TIMEOUT,
    CATEGORY,
    PREFIX,
    SINCE_TIME,
    LAST_ID,
    RESUME,
    LAST,
    UNKNOWN
} parameter;

static parameter parameter_of(lp_str encoded_name)
{
    static const lp_str known[UNKNOWN] = {
        [TIMEOUT] = {"timeout", 7}, [CATEGORY] = {"category", 8},      [PREFIX] = {"prefix", 6},
        [LAST_ID] = {"last_id", 7}, [SINCE_TIME] = {"since_time", 10}, [RESUME] = {"resume", 6},
        [LAST] = {"last", 4},
    };
    char name[16];
    int64_t len = lp__wire_unescape(encoded_name, name, sizeof(name));
    for (int i = 0; i < UNKNOWN; i++)
        if (len == (int64_t)known[i].len && !memcmp(name, known[i].base, known[i].len))
            return (parameter)i;
    return UNKNOWN;
}

/* Takes the next valid pair off `rest`: false when there is none left. */
static bool next_pair(lp_str *rest, parameter *name, lp_str *value)
{
    while (rest->len) {
        *value = cut(rest, '&');
        if (value->len && memchr(value->base, ';', value->len))
            continue; /* Go drops such a pair, so that no proxy sees other pairs than the server */
        *name = parameter_of(cut(value, '='));
        if (*name != UNKNOWN && lp__wire_unescape(*value, NULL, 0) >= 0)
            return true;
    }
    return false;
}

static size_t name_count(const lp__wire_query *query)
{
    return query->category_count + query->prefix_count;
}

void lp__wire_query_split(lp_str raw, const lp__wire_limits *limits, lp__wire_query *out)
{
    lp_str *slots[UNKNOWN] = {
        [TIMEOUT] = &out->timeout, [CATEGORY] = &out->category, [SINCE_TIME] = &out->since_time,
        [LAST_ID] = &out->last_id, [RESUME] = &out->resume,     [LAST] = &out->last,
    };
    lp_str value, rest = raw;
    parameter name;
    size_t name_bytes = 0;
    memset(out, 0, offsetof(lp__wire_query, storage));
    out->query = (lp_query)LP_QUERY_INIT;
    out->raw = raw;
    out->limits = *limits;
    while (next_pair(&rest, &name, &value)) {
        if (slots[name] && !slots[name]->base)
            *slots[name] = value; /* its base is set even when it is empty: the first value wins */
        if (name != CATEGORY && name != PREFIX)
            continue;
        out->category_count += name == CATEGORY;
        out->prefix_count += name == PREFIX;
        name_bytes += value.len; /* decoding makes nothing longer */
    }
    size_t names = name_count(out);
    if ((names > 1 || out->prefix_count) && names <= limits->names_max)
        out->room_bytes = names * sizeof(lp_str) + name_bytes;
}

/* ---- checks ------------------------------------------------------------ */

LP_PRINTF(2, 3) static int refuse(lp__wire_query *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(out->error, sizeof(out->error), format, args);
    va_end(args);
    out->error_len = len < 0 ? 0 : (size_t)len;
    return LP_EINVAL;
}

/* Decodes and reads an integer. Zeros and the sign may make it long, but not longer than this is
 * worth. */
static bool read_integer(lp_str encoded, int64_t *out)
{
    char text[1024];
    int64_t len = lp__wire_unescape(encoded, text, sizeof(text));
    return len >= 0 && (size_t)len <= sizeof(text) &&
           lp__wire_integer((lp_str){text, (size_t)len}, out);
}

static bool read_id(lp_str encoded, lp_id *out)
{
    char text[ID_SPELLING_MAX];
    int64_t len = lp__wire_unescape(encoded, text, sizeof(text));
    return len >= 0 && (size_t)len <= sizeof(text) &&
           lp_id_parse((lp_str){text, (size_t)len}, out) == LP_OK;
}

static int read_timeout(lp__wire_query *out)
{
    int64_t *timeout_s = &out->query.timeout_s;
    if (read_integer(out->timeout, timeout_s) && *timeout_s >= 1 &&
        *timeout_s <= out->limits.timeout_s_max)
        return LP_OK;
    return refuse(out, "{\"error\": \"Invalid or missing 'timeout' arg.  Must be 1-%lld.\"}",
                  (long long)out->limits.timeout_s_max);
}

static int refuse_name(lp__wire_query *out, parameter name)
{
    return refuse(out,
                  "{\"error\": \"Invalid subscription %s, must be 1-%d characters "
                  "long.\"}",
                  name == PREFIX ? "prefix" : "category", LP_CATEGORY_MAX);
}

/* One category, which is what almost every poll asks for: it lies in `storage`. */
static int read_category(lp__wire_query *out)
{
    int64_t len = lp__wire_unescape(out->category, out->storage, sizeof(out->storage));
    if (len < 1 || len > LP_CATEGORY_MAX)
        return refuse_name(out, CATEGORY);
    out->query.category = (lp_str){out->storage, (size_t)len};
    return LP_OK;
}

/* All of them, in `room`: first the list, categories before prefixes, then their bytes. */
static int read_names(lp__wire_query *out, void *room)
{
    lp_str *categories = room, *prefixes = categories + out->category_count;
    char *text = (char *)(prefixes + out->prefix_count);
    size_t room_left = out->room_bytes - (size_t)(text - (char *)room);
    size_t category_count = 0, prefix_count = 0;
    lp_str value, rest = out->raw;
    parameter name;
    while (next_pair(&rest, &name, &value)) {
        if (name != CATEGORY && name != PREFIX)
            continue;
        int64_t len = lp__wire_unescape(value, text, room_left);
        if (len < 1 || len > LP_CATEGORY_MAX)
            return refuse_name(out, name);
        lp_str *slot = name == PREFIX ? &prefixes[prefix_count++] : &categories[category_count++];
        *slot = (lp_str){text, (size_t)len};
        text += len;
        room_left -= (size_t)len;
    }
    lp_query *query = &out->query;
    if (category_count > 0) {
        query->category = categories[0];
        query->categories = categories + 1;
        query->category_count = category_count - 1;
    }
    query->prefixes = prefixes;
    query->prefix_count = prefix_count;
    return LP_OK;
}

static int read_since_time(lp__wire_query *out)
{
    lp_query *query = &out->query;
    if (!out->since_time.len)
        return LP_OK;
    if (!read_integer(out->since_time, &query->since_ms))
        return refuse(out, "{\"error\": \"Invalid 'since_time' arg.\"}");
    query->has_since = true;
    if (query->since_ms < MS_MIN)
        query->since_ms = MS_MIN;
    if (query->since_ms > MS_MAX)
        query->since_ms = MS_MAX;
    return LP_OK;
}

static bool is_id(lp_str encoded)
{
    char text[2];
    return lp__wire_unescape(encoded, text, sizeof(text)) == 2 && text[0] == 'i' && text[1] == 'd';
}

static int read_last_id(lp__wire_query *out)
{
    lp_query *query = &out->query;
    if (!out->last_id.len)
        return LP_OK;
    if (!query->has_since && !is_id(out->resume))
        return refuse(out, "{\"error\": \"Must provide 'since_time' arg when providing "
                           "'last_id'.\"}");
    if (!read_id(out->last_id, &query->last_id))
        return refuse(out, "{\"error\": \"Param 'last_id' was not a valid UUID.\"}");
    query->has_last_id = true;
    return LP_OK;
}

static int read_resume(lp__wire_query *out)
{
    lp_query *query = &out->query;
    if (!out->resume.len)
        return LP_OK;
    if (!is_id(out->resume))
        return refuse(out, "{\"error\": \"Invalid 'resume' arg, must be 'id'.\"}");
    if (query->has_last_id && lp_id_version(query->last_id) != 7)
        return refuse(out, "{\"error\": \"Param 'last_id' was not an id of this server.\"}");
    query->by_id = true;
    return LP_OK;
}

static int read_last(lp__wire_query *out)
{
    if (!out->last.len)
        return LP_OK;
    if (read_integer(out->last, &out->query.last) && out->query.last >= 1 &&
        out->query.last <= LP__WIRE_LAST_MAX)
        return LP_OK;
    return refuse(out, "{\"error\": \"Invalid 'last' arg.  Must be 1-%d.\"}", LP__WIRE_LAST_MAX);
}

int lp__wire_query_read(lp__wire_query *out, void *room)
{
    int status = read_timeout(out);
    if (status == LP_OK && name_count(out) > out->limits.names_max)
        status = refuse(out,
                        "{\"error\": \"Too many categories and prefixes, must be at most "
                        "%zu.\"}",
                        out->limits.names_max);
    if (status == LP_OK)
        status = out->room_bytes ? read_names(out, room) : read_category(out);
    if (status == LP_OK)
        status = read_since_time(out);
    if (status == LP_OK)
        status = read_last_id(out);
    if (status == LP_OK)
        status = read_resume(out);
    return status == LP_OK ? read_last(out) : status;
}

void lp__wire_query_resume(lp__wire_query *query, lp_str last_event_id)
{
    lp_query *to = &query->query;
    to->has_since = false;
    to->since_ms = 0;
    to->by_id = to->has_last_id = true;
    if (lp_id_parse(last_event_id, &to->last_id) != LP_OK)
        to->last_id = (lp_id){{0}};
}
