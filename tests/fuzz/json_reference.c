/* See json_reference.h. */
#include "json_reference.h"

enum { DEPTH_MAX = 512 };

/* Decodes one code point; NULL when its bytes are none in their shortest form. */
static const char *utf8_point(const char *at, const char *end, uint32_t *point)
{
    unsigned char lead = (unsigned char)*at++;
    int more = lead < 0x80 ? 0 : lead < 0xc0 ? -1 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (more < 0 || lead >= 0xf8 || end - at < more)
        return NULL;
    *point = more == 0 ? lead : lead & (0x3fu >> more);
    for (int i = 0; i < more; i++, at++) {
        if (((unsigned char)*at & 0xc0) != 0x80)
            return NULL;
        *point = *point * 64 + ((unsigned char)*at & 0x3f);
    }
    bool is_surrogate = *point >= 0xd800 && *point <= 0xdfff;
    return *point >= least[more] && *point <= 0x10ffff && !is_surrogate ? at : NULL;
}

bool json_reference_utf8(lp_str text)
{
    const char *at = text.base, *end = text.base + text.len;
    uint32_t point;
    while (at != NULL && at < end)
        at = utf8_point(at, end, &point);
    return at != NULL;
}

static size_t put_utf8(uint32_t point, char *out)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    size_t len = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = len; i-- > 1; point /= 64)
        out[i] = (char)(0x80 + point % 64);
    out[0] = (char)((0xf00u >> len & 0xf0) | point);
    return len;
}

const char *json_reference_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

/* Four hexadecimal digits, -1 when they are not there. */
static int32_t unit(const char *at, const char *end)
{
    char digits[5] = "";
    if (end - at < 4)
        return -1;
    memcpy(digits, at, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? (int32_t)strtol(digits, NULL, 16) : -1;
}

/* Behind "\u". */
static const char *escaped_point(const char *at, const char *end, uint32_t *point,
                                 json_facts *facts)
{
    int32_t high = unit(at, end);
    if (high < 0)
        return NULL;
    at += 4;
    *point = (uint32_t)high;
    if (high < 0xd800 || high > 0xdfff)
        return at;
    int32_t low = end - at >= 2 && at[0] == '\\' && at[1] == 'u' ? unit(at + 2, end) : -1;
    if (high <= 0xdbff && low >= 0xdc00 && low <= 0xdfff) {
        *point = 0x10000 + (uint32_t)(high - 0xd800) * 0x400 + (uint32_t)(low - 0xdc00);
        return at + 6;
    }
    facts->lone_surrogate = true;
    *point = 0xfffd;
    return at;
}

const char *json_reference_string(const char *at, const char *end, char *out, size_t *len,
                                  json_facts *facts)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    *len = 0;
    if (at == end || *at++ != '"')
        return NULL;
    while (at != NULL && at < end && *at != '"') {
        uint32_t point;
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at != '\\') {
            at = utf8_point(at, end, &point);
        } else if (end - at >= 2 && at[1] == 'u') {
            at = escaped_point(at + 2, end, &point, facts);
        } else {
            const char *letter = end - at >= 2 && at[1] != '\0' ? strchr(letters, at[1]) : NULL;
            if (letter == NULL)
                return NULL;
            point = (unsigned char)meant[letter - letters];
            at += 2;
        }
        if (at != NULL)
            *len += put_utf8(point, out + *len);
    }
    return at != NULL && at < end ? at + 1 : NULL;
}

static const char *digits(const char *at, const char *end)
{
    const char *start = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at > start ? at : NULL;
}

static const char *number(const char *at, const char *end, json_facts *facts)
{
    const char *start = at;
    if (at < end && *at == '-')
        at++;
    at = at < end && *at == '0' ? at + 1 : digits(at, end);
    if (at != NULL && at < end && *at == '.')
        at = digits(at + 1, end);
    if (at != NULL && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        at = digits(at, end);
    }
    facts->long_number |= at != NULL && at - start > 63;
    return at;
}

static const char *value_at(const char *at, const char *end, int depth, json_facts *facts);

/* Behind the bracket that opens; `close` is the one that ends it. */
static const char *values(const char *at, const char *end, char close, int depth, char *scratch,
                          json_facts *facts)
{
    size_t len;
    at = json_reference_space(at, end);
    if (at < end && *at == close)
        return at + 1;
    for (;;) {
        if (close == '}') {
            at = json_reference_string(json_reference_space(at, end), end, scratch, &len, facts);
            at = at != NULL ? json_reference_space(at, end) : NULL;
            if (at == NULL || at == end || *at++ != ':')
                return NULL;
        }
        at = value_at(json_reference_space(at, end), end, depth, facts);
        at = at != NULL ? json_reference_space(at, end) : NULL;
        if (at == NULL || at == end || (*at != ',' && *at != close))
            return NULL;
        if (*at++ == close)
            return at;
    }
}

static const char *value_at(const char *at, const char *end, int depth, json_facts *facts)
{
    static const char *const words[] = {"true", "false", "null"};
    if (at == end)
        return NULL;
    if (*at == '{' || *at == '[' || *at == '"') {
        size_t len;
        char *scratch = *at == '[' ? NULL : fuzz_copy(at, (size_t)(end - at));
        const char *behind = NULL;
        if (*at == '"')
            behind = json_reference_string(at, end, scratch, &len, facts);
        else if (depth < DEPTH_MAX)
            behind = values(at + 1, end, *at == '{' ? '}' : ']', depth + 1, scratch, facts);
        free(scratch);
        return behind;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(end - at) >= len && memcmp(at, words[i], len) == 0)
            return at + len;
    }
    return number(at, end, facts);
}

const char *json_reference_value(const char *at, const char *end, const char **start,
                                 json_facts *facts)
{
    *start = json_reference_space(at, end);
    return value_at(*start, end, 0, facts);
}
