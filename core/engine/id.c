/* Ids: UUIDv7 (RFC 9562, section 5.7) whose first 63 bits that are not version or variant are the
 * sequence number: 48 of milliseconds, 15 of counter. Any thread.
 *
 *   bytes 0-5   milliseconds
 *   bytes 6-7   version 7, then counter bits 14..3
 *   byte 8      variant 10, then counter bits 2..0, then 3 random bits
 *   bytes 9-15  random */
#include <stdbool.h>
#include <string.h>

#include <longpoll/event.h>

enum { RANDOM_BITS = 59 };

lp_str lp_str_of(const char *text)
{
    return (lp_str){text, strlen(text)};
}

int64_t lp_seq_ms(uint64_t seq)
{
    return (int64_t)(seq >> LP_SEQ_COUNTER_BITS);
}

uint64_t lp_seq_first(int64_t ms)
{
    return (uint64_t)ms << LP_SEQ_COUNTER_BITS;
}

uint64_t lp_seq_last(int64_t ms)
{
    return lp_seq_first(ms) | ((UINT64_C(1) << LP_SEQ_COUNTER_BITS) - 1);
}

lp_id lp_id_make(uint64_t seq, uint64_t random)
{
    uint64_t ms = seq >> LP_SEQ_COUNTER_BITS;
    uint64_t counter = seq & ((UINT64_C(1) << LP_SEQ_COUNTER_BITS) - 1);
    uint64_t high = ms << 16 | UINT64_C(7) << 12 | counter >> 3;
    uint64_t low = UINT64_C(2) << 62 | (counter & 7) << RANDOM_BITS |
                   (random & ((UINT64_C(1) << RANDOM_BITS) - 1));
    lp_id id;
    for (int i = 0; i < 8; i++) {
        id.bytes[i] = (uint8_t)(high >> (56 - 8 * i));
        id.bytes[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
    return id;
}

uint64_t lp_id_seq(lp_id id)
{
    uint64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.bytes[i];
    uint64_t counter = (uint64_t)(id.bytes[6] & 0x0f) << 11 | (uint64_t)id.bytes[7] << 3 |
                       (uint64_t)(id.bytes[8] >> 3 & 7);
    return ms << LP_SEQ_COUNTER_BITS | counter;
}

int lp_id_version(lp_id id)
{
    return id.bytes[6] >> 4;
}

void lp_id_format(lp_id id, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = digits[id.bytes[i] >> 4];
        *out++ = digits[id.bytes[i] & 15];
    }
    *out = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static lp_str strip(lp_str text, const char *before, const char *behind)
{
    size_t head = strlen(before), tail = strlen(behind);
    if (text.len <= head + tail || memcmp(text.base, before, head) != 0 ||
        memcmp(text.base + text.len - tail, behind, tail) != 0)
        return text;
    return (lp_str){text.base + head, text.len - head - tail};
}

int lp_id_parse(lp_str text, lp_id *out)
{
    lp_str digits = strip(text, "urn:uuid:", "");
    if (digits.len == text.len)
        digits = strip(text, "{", "}");
    bool dashes = digits.len == LP_ID_TEXT_LEN;
    if (!dashes && (digits.len != 32))
        return LP_EINVAL;

    lp_id id;
    const char *at = digits.base;
    for (int i = 0; i < 16; i++) {
        if (dashes && (i == 4 || i == 6 || i == 8 || i == 10) && *at++ != '-')
            return LP_EINVAL;
        int high = hex_digit(at[0]), low = hex_digit(at[1]);
        if (high < 0 || low < 0)
            return LP_EINVAL;
        id.bytes[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    *out = id;
    return LP_OK;
}
