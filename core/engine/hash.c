/* SipHash with one round a word and three at the end, after Aumasson and Bernstein, "SipHash: a
 * fast short-input PRF" (2012), section 2. Any thread. */
#include "hash.h"

#define COMPRESSION_ROUNDS  1
#define FINALIZATION_ROUNDS 3

static uint64_t rotate_left(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

/* `len` bytes, at most eight, the first the least; compilers make one load of the full word. */
static uint64_t little_endian(const unsigned char *at, size_t len)
{
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)at[i] << (8 * i);
    return word;
}

static void sip_rounds(uint64_t v[4], int rounds)
{
    while (rounds-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate_left(v[1], 13) ^ v[0];
        v[3] = rotate_left(v[3], 16) ^ v[2];
        v[0] = rotate_left(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate_left(v[1], 17) ^ v[2];
        v[3] = rotate_left(v[3], 21) ^ v[0];
        v[2] = rotate_left(v[2], 32);
    }
}

static void compress(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_rounds(v, COMPRESSION_ROUNDS);
    v[0] ^= word;
}

uint64_t lp__hash(const uint64_t key[2], const void *data, size_t len)
{
    /* "somepseudorandomlygeneratedbytes" */
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                     key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    const unsigned char *at = data;
    size_t words = len / 8;

    for (; words > 0; words--, at += 8)
        compress(v, little_endian(at, 8));
    uint64_t rest = len % 8 ? little_endian(at, len % 8) : 0;
    compress(v, rest | (uint64_t)(len & 0xff) << 56);
    v[2] ^= 0xff;
    sip_rounds(v, FINALIZATION_ROUNDS);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
