/* Ids: UUIDv7 (RFC 9562, section 5.7) whose first 63 bits that are not version or variant are the
 * sequence number: 48 of milliseconds, 15 of counter. Any thread.
 *
 *   bytes 0-5   milliseconds
 *   bytes 6-7   version 7, then counter bits 14..3
 *   byte 8      variant 10, then counter bits 2..0, then 3 random bits
 *   bytes 9-15  random */
#include <stdbool.h>
#include <string.h>

#include "event_prepare.h"

enum { RANDOM_BITS = 59 };

#define EVERY_BYTE(b) (0x0101010101010101u * (uint64_t)(b))

/* ---- numbers and bytes; compilers make one move and one swap of each ----- */

static void put_word(uint8_t *out, uint64_t word)
{
    out[0] = (uint8_t)(word >> 56);
    out[1] = (uint8_t)(word >> 48);
    out[2] = (uint8_t)(word >> 40);
    out[3] = (uint8_t)(word >> 32);
    out[4] = (uint8_t)(word >> 24);
    out[5] = (uint8_t)(word >> 16);
    out[6] = (uint8_t)(word >> 8);
    out[7] = (uint8_t)word;
}

static uint64_t get_word(const uint8_t *at)
{
    return (uint64_t)at[0] << 56 | (uint64_t)at[1] << 48 | (uint64_t)at[2] << 40 |
           (uint64_t)at[3] << 32 | (uint64_t)at[4] << 24 | (uint64_t)at[5] << 16 |
           (uint64_t)at[6] << 8 | (uint64_t)at[7];
}

/* The eight hexadecimal digits of 32 bits, all at once: each nibble moves to a byte of its own and
 * gets the distance to '0', or past 9 that to 'a'. */
static void put_hex(uint8_t *out, uint64_t bits)
{
    bits = (bits << 16 | bits) & UINT64_C(0x0000ffff0000ffff);
    bits = (bits << 8 | bits) & UINT64_C(0x00ff00ff00ff00ff);
    bits = (bits << 4 | bits) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    uint64_t letters = (bits + EVERY_BYTE(6)) >> 4 & EVERY_BYTE(1);
    put_word(out, bits + EVERY_BYTE('0') + letters * ('a' - '0' - 10));
}

/* And back. */
static uint64_t get_hex(const uint8_t *digits)
{
    uint64_t bits = get_word(digits), letters = bits >> 6 & EVERY_BYTE(1);
    bits = (bits & EVERY_BYTE(0x0f)) + letters * 9;
    bits = (bits >> 4 | bits) & UINT64_C(0x00ff00ff00ff00ff);
    bits = (bits >> 8 | bits) & UINT64_C(0x0000ffff0000ffff);
    return (bits >> 16 | bits) & UINT32_MAX;
}

/* ---- public -------------------------------------------------------------- */

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
    put_word(id.bytes, high);
    put_word(id.bytes + 8, low);
    return id;
}

uint64_t lp_id_seq(lp_id id)
{
    uint64_t high = get_word(id.bytes), low = get_word(id.bytes + 8);
    uint64_t counter = (high & 0xfff) << 3 | (low >> RANDOM_BITS & 7);
    return high >> 16 << LP_SEQ_COUNTER_BITS | counter;
}

int lp_id_version(lp_id id)
{
    return id.bytes[6] >> 4;
}

void lp_id_format(lp_id id, char *out)
{
    uint64_t high = get_word(id.bytes), low = get_word(id.bytes + 8);
    uint8_t digits[32];
    put_hex(digits, high >> 32);
    put_hex(digits + 8, high & UINT32_MAX);
    put_hex(digits + 16, low >> 32);
    put_hex(digits + 24, low & UINT32_MAX);

    memcpy(out, digits, 8);
    out[8] = '-';
    memcpy(out + 9, digits + 8, 4);
    out[13] = '-';
    memcpy(out + 14, digits + 12, 4);
    out[18] = '-';
    memcpy(out + 19, digits + 16, 4);
    out[23] = '-';
    memcpy(out + 24, digits + 20, 12);
    out[LP_ID_TEXT_LEN] = '\0';
}

uint64_t lp__id_read_random(const char *text)
{
    uint8_t digits[16];
    memcpy(digits, text + 19, 4);
    memcpy(digits + 4, text + 24, 12);
    return get_hex(digits) << 32 | get_hex(digits + 8);
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
