/* The check that decides what is JSON (RFC 8259) and what is UTF-8 (RFC 3629).
 *
 * A state of two pointers and a bit stack moves over the text once; nothing is copied, allocated or
 * called back. Used by the engine, the manager, core/wire and the add-ons, on any thread. */
#include "json.h"

#include <stdint.h>
#include <string.h>

#define WORD           8
#define EVERY_BYTE(b)  (0x0101010101010101u * (uint64_t)(b))
#define EACH_HIGH_BIT  EVERY_BYTE(0x80)
#define REPLACEMENT    0xFFFDu
#define SURROGATE_LOW  0xDC00u
#define SURROGATE_HIGH 0xD800u

/* On failure `at` stays where the text went wrong. */
typedef struct scan {
    const char *at, *end;
    size_t depth;
    uint64_t is_object[LP__JSON_DEPTH_MAX / 64]; /* one bit for each open bracket */
} scan;

/* ---- UTF-8 -------------------------------------------------------------- */

static bool between(char c, unsigned char low, unsigned char high)
{
    return (unsigned char)c >= low && (unsigned char)c <= high;
}

/* The length of the well-formed sequence of two to four bytes at `at`, 0 when there is none. The
 * ranges are those of the table in RFC 3629 section 4. */
static size_t utf8_sequence(const char *at, const char *end)
{
    unsigned char lead = (unsigned char)at[0];
    size_t left = (size_t)(end - at);

    if (lead < 0xC2 || lead > 0xF4 || left < 2)
        return 0;
    if (lead < 0xE0)
        return between(at[1], 0x80, 0xBF) ? 2 : 0;
    if (lead < 0xF0)
        return left >= 3 &&
                       between(at[1], lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) &&
                       between(at[2], 0x80, 0xBF)
                   ? 3
                   : 0;
    return left >= 4 && between(at[1], lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF) &&
                   between(at[2], 0x80, 0xBF) && between(at[3], 0x80, 0xBF)
               ? 4
               : 0;
}

static uint64_t load_word(const char *at)
{
    uint64_t word;
    memcpy(&word, at, WORD);
    return word;
}

bool lp__utf8_check(lp_str text)
{
    const char *at = text.base;
    const char *end = at + text.len;

    while (at < end) {
        if (end - at >= WORD && !(load_word(at) & EACH_HIGH_BIT)) {
            at += WORD;
        } else if (!((unsigned char)*at & 0x80)) {
            at++;
        } else {
            size_t len = utf8_sequence(at, end);
            if (len == 0)
                return false;
            at += len;
        }
    }
    return true;
}

/* ---- scalars ------------------------------------------------------------ */

/* Whether all eight bytes may stand in a string as they are: ASCII, no control character, no quote,
 * no backslash. Each subtraction borrows into the high bit of a byte that is too small (or equal,
 * for the two that are compared by xor); a borrow that runs on into the next byte can only follow
 * one that was found, so "none" is exact. */
static bool is_plain_word(uint64_t word)
{
    uint64_t control = word - EVERY_BYTE(0x20);
    uint64_t quote = (word ^ EVERY_BYTE('"')) - EVERY_BYTE(1);
    uint64_t backslash = (word ^ EVERY_BYTE('\\')) - EVERY_BYTE(1);
    return !((word | control | quote | backslash) & EACH_HIGH_BIT);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The value of a hexadecimal digit, -1 when it is none. */
static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void skip_space(scan *s)
{
    while (s->at < s->end && is_space(*s->at))
        s->at++;
}

static bool take(scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* Behind the backslash. */
static bool escape(scan *s)
{
    if (take(s, 'u')) {
        for (int i = 0; i < 4; i++, s->at++) {
            if (s->at == s->end || hex_digit(*s->at) < 0)
                return false;
        }
        return true;
    }
    if (s->at == s->end || *s->at == '\0' || !strchr("\"\\/bfnrt", *s->at))
        return false;
    s->at++;
    return true;
}

static bool string(scan *s)
{
    if (!take(s, '"'))
        return false;
    for (;;) {
        while (s->end - s->at >= WORD && is_plain_word(load_word(s->at)))
            s->at += WORD;
        if (s->at == s->end || (unsigned char)*s->at < 0x20)
            return false;
        if (take(s, '"'))
            return true;
        if (take(s, '\\')) {
            if (!escape(s))
                return false;
        } else if (!((unsigned char)*s->at & 0x80)) {
            s->at++;
        } else {
            size_t len = utf8_sequence(s->at, s->end);
            if (len == 0)
                return false;
            s->at += len;
        }
    }
}

static bool digits(scan *s)
{
    if (s->at == s->end || !is_digit(*s->at))
        return false;
    while (s->at < s->end && is_digit(*s->at))
        s->at++;
    return true;
}

static bool number(scan *s)
{
    take(s, '-');
    if (!take(s, '0') && !digits(s))
        return false;
    if (take(s, '.') && !digits(s))
        return false;
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+'))
            take(s, '-');
        return digits(s);
    }
    return true;
}

static bool literal(scan *s, const char *word)
{
    while (*word && take(s, *word))
        word++;
    return *word == '\0';
}

/* ---- arrays and objects ------------------------------------------------- */

static bool in_object(const scan *s)
{
    size_t top = s->depth - 1;
    return s->is_object[top / 64] >> (top % 64) & 1;
}

static bool open_bracket(scan *s, bool is_object)
{
    if (s->depth == LP__JSON_DEPTH_MAX)
        return false;
    uint64_t bit = (uint64_t)1 << (s->depth % 64);
    uint64_t *bits = &s->is_object[s->depth / 64];
    *bits = is_object ? *bits | bit : *bits & ~bit;
    s->depth++;
    s->at++;
    return true;
}

/* The name of a member and its colon. */
static bool name(scan *s)
{
    skip_space(s);
    if (!string(s))
        return false;
    skip_space(s);
    return take(s, ':');
}

/* A whole scalar or an opening bracket: what a value begins with. */
static bool begin_value(scan *s)
{
    if (s->at == s->end)
        return false;
    switch (*s->at) {
    case '{':
        return open_bracket(s, true);
    case '[':
        return open_bracket(s, false);
    case '"':
        return string(s);
    case 't':
        return literal(s, "true");
    case 'f':
        return literal(s, "false");
    case 'n':
        return literal(s, "null");
    default:
        return number(s);
    }
}

/* All brackets that close here. */
static void end_values(scan *s)
{
    while (s->depth > 0) {
        skip_space(s);
        if (!take(s, in_object(s) ? '}' : ']'))
            return;
        s->depth--;
    }
}

int lp__json_value(const char **at, const char *end, lp_str *value)
{
    scan s = {*at, end, 0, {0}};
    skip_space(&s);

    const char *start = s.at;
    bool valid;
    do {
        size_t depth = s.depth;
        skip_space(&s);
        valid = begin_value(&s);
        if (valid)
            end_values(&s);
        /* Behind a bracket that opened and did not close comes its first value; behind anything
         * else a comma and the next one. */
        if (valid && s.depth > 0 && s.depth <= depth)
            valid = take(&s, ',');
        if (valid && s.depth > 0 && in_object(&s))
            valid = name(&s);
    } while (valid && s.depth > 0);

    *at = s.at;
    if (!valid)
        return LP_EINVAL;
    *value = (lp_str){start, (size_t)(s.at - start)};
    return LP_OK;
}

bool lp__json_check(lp_str text, lp_str *value)
{
    lp_str whole;
    scan rest = {text.base, text.base + text.len, 0, {0}};
    if (lp__json_value(&rest.at, rest.end, &whole))
        return false;
    skip_space(&rest);
    if (rest.at != rest.end)
        return false;
    if (value)
        *value = whole;
    return true;
}

/* ---- reading what was accepted ------------------------------------------ */

/* From an opening quote to behind the closing one: the first that an even number of backslashes
 * precedes. There is one, so the bound of memchr is never reached. */
static const char *behind_string(const char *quote)
{
    size_t backslashes;
    do {
        quote = memchr(quote + 1, '"', PTRDIFF_MAX / 2);
        for (backslashes = 0; quote[-1 - (ptrdiff_t)backslashes] == '\\';)
            backslashes++;
    } while (backslashes % 2);
    return quote + 1;
}

static const char *behind_space(const char *at)
{
    while (is_space(*at))
        at++;
    return at;
}

static const char *behind_scalar(const char *at)
{
    while (*at != ',' && *at != ']' && *at != '}' && !is_space(*at))
        at++;
    return at;
}

/* A value within an object, so that something always ends it. */
static const char *behind_value(const char *at)
{
    size_t depth = 0;
    do {
        if (*at == '"') {
            at = behind_string(at);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            depth--;
            at++;
        } else if (*at == ',' || *at == ':' || is_space(*at)) {
            at++;
        } else {
            at = behind_scalar(at);
        }
    } while (depth > 0);
    return at;
}

bool lp__json_member(const char **at, lp_str *member, lp_str *value)
{
    const char *p = behind_space(*at);
    if (*p == '{' || *p == ',')
        p = behind_space(p + 1);
    if (*p == '}') {
        *at = p;
        return false;
    }
    member->base = p;
    p = behind_string(p);
    member->len = (size_t)(p - member->base);

    p = behind_space(behind_space(p) + 1); /* the colon */
    value->base = p;
    p = behind_value(p);
    value->len = (size_t)(p - value->base);
    *at = p;
    return true;
}

/* Text that is written as far as it fits and counted in any case. */
typedef struct sink {
    char *out;
    size_t max, len;
} sink;

static void put(sink *to, unsigned byte)
{
    if (to->len < to->max)
        to->out[to->len] = (char)byte;
    to->len++;
}

static void put_code_point(sink *to, uint32_t point)
{
    if (point < 0x80) {
        put(to, point);
    } else if (point < 0x800) {
        put(to, 0xC0 | point >> 6);
        put(to, 0x80 | (point & 0x3F));
    } else if (point < 0x10000) {
        put(to, 0xE0 | point >> 12);
        put(to, 0x80 | (point >> 6 & 0x3F));
        put(to, 0x80 | (point & 0x3F));
    } else {
        put(to, 0xF0 | point >> 18);
        put(to, 0x80 | (point >> 12 & 0x3F));
        put(to, 0x80 | (point >> 6 & 0x3F));
        put(to, 0x80 | (point & 0x3F));
    }
}

static uint32_t hex4(const char *at)
{
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++)
        unit = unit << 4 | (uint32_t)hex_digit(at[i]);
    return unit;
}

static bool is_surrogate(uint32_t unit, uint32_t first)
{
    return (unit & 0xFC00u) == first;
}

/* Decodes \uXXXX, or two of them where they make a pair; `at` is behind the 'u'. */
static const char *unescape_unicode(sink *to, const char *at)
{
    uint32_t point = hex4(at);
    at += 4;
    if (is_surrogate(point, SURROGATE_HIGH) && at[0] == '\\' && at[1] == 'u' &&
        is_surrogate(hex4(at + 2), SURROGATE_LOW)) {
        point = 0x10000 + ((point & 0x3FF) << 10 | (hex4(at + 2) & 0x3FF));
        at += 6;
    } else if (is_surrogate(point, SURROGATE_HIGH) || is_surrogate(point, SURROGATE_LOW)) {
        point = REPLACEMENT;
    }
    put_code_point(to, point);
    return at;
}

size_t lp__json_unescape(lp_str text, char *out, size_t max)
{
    static const char from[] = "bfnrt";
    static const char into[] = "\b\f\n\r\t";
    sink to = {out, max, 0};
    const char *at = text.base + 1;

    while (*at != '"') {
        if (*at != '\\') {
            put(&to, (unsigned char)*at++);
        } else if (at[1] == 'u') {
            at = unescape_unicode(&to, at + 2);
        } else {
            const char *letter = strchr(from, at[1]);
            put(&to, (unsigned char)(letter ? into[letter - from] : at[1]));
            at += 2;
        }
    }
    return to.len;
}
