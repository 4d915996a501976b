/* Reading a dump. See dump_format.h. */
#include "dump_format.h"

#include <string.h>

#include <longpoll/json.h>

/* The members that mean something here, beside those of an event. */
enum {
    FIELD_LONGPOLL,
    FIELD_NEWLINES,
    FIELD_DATA,
    FIELD_CATEGORY,
    FIELD_SEQ,
    FIELD_VERSION,
    FIELD_RECORDS,
    FIELD_EVENTS,
    FIELD_KEY,
    FIELD_DIGEST,
    FIELD_COUNT,
    FIELD_EXPIRES,
    FIELDS
};

static const char *const field_names[FIELDS] = {"longpoll", "newlines", "data",    "category",
                                                "seq",      "version",  "records", "events",
                                                "key_hex",  "digest",   "count",   "expires_ms"};

static void find_fields(lp_str object, lp_str fields[FIELDS])
{
    lp_str name, value;
    const char *at = object.base;
    memset(fields, 0, FIELDS * sizeof(*fields));
    while (lp_json_member(&at, &name, &value)) {
        for (int i = 0; i < FIELDS; i++) {
            if (lp_json_is(name, field_names[i]))
                fields[i] = value;
        }
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

static int wrong(int field, lp_str value, const char *expected, lp_error *error)
{
    if (value.base == NULL)
        return lp_error_set(error, LP_EINVAL, "it has no \"%s\"", field_names[field]);
    return lp_error_set(error, LP_EINVAL, "%s %.*s is no %s", field_names[field],
                        (int)(value.len < 60 ? value.len : 60), value.base, expected);
}

/* Digits, in quotes or not; up to `max`. */
static int read_number(const lp_str fields[FIELDS], int field, uint64_t max, uint64_t *out,
                       lp_error *error)
{
    lp_str text = fields[field];
    if (text.len > 2 && text.base[0] == '"')
        text = (lp_str){text.base + 1, text.len - 2};
    uint64_t number = 0;
    bool is_good = text.len > 0;
    for (size_t i = 0; is_good && i < text.len; i++) {
        unsigned digit = (unsigned char)text.base[i] - (unsigned)'0';
        is_good = digit <= 9 && number <= (max - digit) / 10;
        number = number * 10 + digit;
    }
    *out = number;
    return is_good ? LP_OK : wrong(field, fields[field], "whole number in its bounds", error);
}

static int read_category(const lp_str fields[FIELDS], dump_line *out, lp_error *error)
{
    lp_str text = fields[FIELD_CATEGORY];
    size_t len = text.base != NULL && text.base[0] == '"'
                     ? lp_json_unescape(text, out->storage, sizeof(out->storage))
                     : 0;
    if (len == 0 || len > sizeof(out->storage))
        return wrong(FIELD_CATEGORY, text, "string of 1 to 1024 bytes", error);
    out->category = (lp_str){out->storage, len};
    return LP_OK;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

static int read_key(const lp_str fields[FIELDS], dump_line *out, lp_error *error)
{
    uint64_t digest, count, expires;
    lp_str hex = fields[FIELD_KEY];
    size_t len = hex.len > 2 && hex.base[0] == '"' ? (hex.len - 2) / 2 : 0;
    bool is_good = len >= 1 && len <= 255 && hex.len == 2 * len + 2;
    for (size_t i = 0; is_good && i < len; i++) {
        int high = hex_digit(hex.base[1 + 2 * i]), low = hex_digit(hex.base[2 + 2 * i]);
        is_good = high >= 0 && low >= 0;
        if (is_good)
            out->storage[i] = (char)(high << 4 | low);
    }
    if (!is_good)
        return wrong(FIELD_KEY, hex, "key of 1 to 255 bytes in hexadecimal", error);
    int status = read_number(fields, FIELD_DIGEST, UINT64_MAX, &digest, error);
    if (status == LP_OK)
        status = read_number(fields, FIELD_SEQ, INT64_MAX, &out->seq, error);
    if (status == LP_OK)
        status = read_number(fields, FIELD_COUNT, UINT32_MAX, &count, error);
    if (status == LP_OK)
        status = read_number(fields, FIELD_EXPIRES, INT64_MAX, &expires, error);
    if (status == LP_OK)
        out->key = (lp_idempotency){.key = {out->storage, len},
                                    .digest = digest,
                                    .seq = out->seq,
                                    .count = (uint32_t)count,
                                    .expires_ms = (int64_t)expires};
    return status;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static int read_special(const lp_str fields[FIELDS], dump_line *out, lp_error *error)
{
    static const struct {
        const char *name;
        dump_kind kind;
        int number; /* the field of it that is one, -1: none */
    } kinds[] = {{"dump", DUMP_HEAD, FIELD_VERSION},
                 {"loss", DUMP_LOSS, FIELD_RECORDS},
                 {"floor", DUMP_FLOOR, -1},
                 {"horizon", DUMP_HORIZON, -1},
                 {"idempotency", DUMP_IDEMPOTENCY, -1},
                 {"highest", DUMP_HIGHEST, -1},
                 {"end", DUMP_END, FIELD_EVENTS}};
    lp_str name = fields[FIELD_LONGPOLL];
    size_t i = 0, count = sizeof(kinds) / sizeof(kinds[0]);
    while (i < count && (name.base[0] != '"' || !lp_json_is(name, kinds[i].name)))
        i++;
    if (i == count)
        return wrong(FIELD_LONGPOLL, name, "kind of line that this program knows", error);
    out->kind = kinds[i].kind;
    if (out->kind == DUMP_IDEMPOTENCY)
        return read_key(fields, out, error);
    int status = out->kind == DUMP_HORIZON ? read_category(fields, out, error) : LP_OK;
    if (status == LP_OK && kinds[i].number >= 0)
        return read_number(fields, kinds[i].number, UINT64_MAX, &out->number, error);
    if (status == LP_OK)
        status = read_number(fields, FIELD_SEQ, INT64_MAX, &out->seq, error);
    if (status == LP_OK && out->seq == 0)
        status = wrong(FIELD_SEQ, fields[FIELD_SEQ], "sequence number", error);
    return status;
}

/* Puts the line ends back, in the bytes of the line itself. */
static int mend_newlines(const lp_str fields[FIELDS], lp_error *error)
{
    lp_str list = fields[FIELD_NEWLINES], data = fields[FIELD_DATA];
    size_t number = 0;
    bool in_number = false;
    if (data.base == NULL || list.base[0] != '[')
        return wrong(FIELD_NEWLINES, list, "list of places in the data", error);
    for (size_t i = 1; i < list.len; i++) {
        unsigned digit = (unsigned char)list.base[i] - (unsigned)'0';
        if (digit <= 9 && number < data.len) {
            number = number * 10 + digit;
            in_number = true;
            continue;
        }
        if (in_number) {
            if (number >= data.len || data.base[number] != ' ')
                return wrong(FIELD_NEWLINES, list, "list of blanks in the data", error);
            ((char *)data.base)[number] = '\n';
        }
        if (strchr(",] ", list.base[i]) == NULL)
            return wrong(FIELD_NEWLINES, list, "list of places in the data", error);
        number = 0;
        in_number = false;
    }
    return LP_OK;
}

static bool contains(lp_str line, const char *text)
{
    return memmem(line.base, line.len, text, strlen(text)) != NULL;
}

int dump_parse(lp_str line, dump_line *out, lp_error *error)
{
    lp_str object, fields[FIELDS];
    out->event = NULL;
    out->kind = DUMP_EVENT;
    /* Almost every line is an event without anything to it: a quick look settles it. */
    if ((contains(line, "longpoll") || contains(line, "newlines") || contains(line, "\\u")) &&
        lp_json_check(line, &object) && object.base[0] == '{') {
        find_fields(object, fields);
        if (fields[FIELD_LONGPOLL].base != NULL)
            return read_special(fields, out, error);
        int status = fields[FIELD_NEWLINES].base != NULL ? mend_newlines(fields, error) : LP_OK;
        if (status != LP_OK)
            return status;
    }
    return lp_event_parse(line, &out->event, error);
}
