/* The query of a poll. See query.h; the rules are those of Go's url.ParseQuery and strconv, and of
 * golongpoll's getLongPollSubscriptionHandler. */
#include "query.h"

#include <stdarg.h>
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

/* The parameters of a poll, still encoded: the first valid pair of each name. */
typedef struct parameters {
    lp_str timeout, category, since_time, last_id;
} parameters;

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

static lp_str *parameter_of(parameters *all, lp_str encoded_name)
{
    static const struct {
        const char *name;
        size_t len, at;
    } known[] = {
        {"timeout", 7, offsetof(parameters, timeout)},
        {"category", 8, offsetof(parameters, category)},
        {"since_time", 10, offsetof(parameters, since_time)},
        {"last_id", 7, offsetof(parameters, last_id)},
    };
    char name[16];
    int64_t len = lp__wire_unescape(encoded_name, name, sizeof(name));
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (len == (int64_t)known[i].len && !memcmp(name, known[i].name, known[i].len))
            return (lp_str *)(void *)((char *)all + known[i].at);
    return NULL;
}

static parameters split(lp_str raw)
{
    parameters all = {0};
    while (raw.len) {
        lp_str value = cut(&raw, '&');
        if (value.len && memchr(value.base, ';', value.len))
            continue; /* Go drops such a pair, so that no proxy sees other pairs than the server */
        lp_str *slot = parameter_of(&all, cut(&value, '='));
        if (slot && !slot->base && lp__wire_unescape(value, NULL, 0) >= 0)
            *slot = value; /* its base is set even when it is empty: the first value wins */
    }
    return all;
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

int lp__wire_query_read(lp_str raw, int64_t max_timeout_s, lp__wire_query *out)
{
    lp_query *query = &out->query;
    *query = (lp_query)LP_QUERY_INIT;
    out->error_len = 0;
    parameters all = split(raw);

    if (!read_integer(all.timeout, &query->timeout_s) || query->timeout_s < 1 ||
        query->timeout_s > max_timeout_s)
        return refuse(out, "{\"error\": \"Invalid or missing 'timeout' arg.  Must be 1-%lld.\"}",
                      (long long)max_timeout_s);

    int64_t category_len = lp__wire_unescape(all.category, out->storage, sizeof(out->storage));
    if (category_len < 1 || category_len > LP_CATEGORY_MAX)
        return refuse(out,
                      "{\"error\": \"Invalid subscription category, must be 1-%d characters "
                      "long.\"}",
                      LP_CATEGORY_MAX);
    query->category = (lp_str){out->storage, (size_t)category_len};

    if (all.since_time.len) {
        if (!read_integer(all.since_time, &query->since_ms))
            return refuse(out, "{\"error\": \"Invalid 'since_time' arg.\"}");
        query->has_since = true;
        if (query->since_ms < MS_MIN)
            query->since_ms = MS_MIN;
        if (query->since_ms > MS_MAX)
            query->since_ms = MS_MAX;
    }

    if (all.last_id.len) {
        if (!query->has_since)
            return refuse(out, "{\"error\": \"Must provide 'since_time' arg when providing "
                               "'last_id'.\"}");
        if (!read_id(all.last_id, &query->last_id))
            return refuse(out, "{\"error\": \"Param 'last_id' was not a valid UUID.\"}");
        query->has_last_id = true;
    }
    return LP_OK;
}
