/* CRC32C by the instruction of SSE4.2 or ARMv8, and by slicing-by-8 where there is neither. */
#include "crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "crc32c_table.h"

static uint64_t load_le64(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

uint32_t lp__crc32c_software(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *at = data;
    crc = ~crc;
    for (; len >= 8; at += 8, len -= 8) {
        uint64_t word = load_le64(at) ^ crc;
        crc = lp__crc32c_table[7][word & 0xff] ^ lp__crc32c_table[6][word >> 8 & 0xff] ^
              lp__crc32c_table[5][word >> 16 & 0xff] ^ lp__crc32c_table[4][word >> 24 & 0xff] ^
              lp__crc32c_table[3][word >> 32 & 0xff] ^ lp__crc32c_table[2][word >> 40 & 0xff] ^
              lp__crc32c_table[1][word >> 48 & 0xff] ^ lp__crc32c_table[0][word >> 56];
    }
    for (; len > 0; at++, len--)
        crc = crc >> 8 ^ lp__crc32c_table[0][(crc ^ *at) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)

enum { RUN_WORDS_MAX = 32, RUN_WORDS_MIN = 4 }; /* less is as fast in one go */

bool lp__crc32c_has_hardware(void)
{
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

/* The remainder of 64 bits that stand for the CRC moved over `words` words of zeros. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t moved(uint64_t crc, size_t words)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc),
                                           _mm_cvtsi32_si128((int)lp__crc32c_shift[words - 1]), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* Three runs of `words` words at once: the instruction can begin each cycle and takes three. What
 * the first two gave is moved to the end of the third, where its last word takes it in. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t three_runs(uint64_t first,
                                                                    const uint8_t *at, size_t words)
{
    uint64_t second = 0, third = 0;
    size_t run = 8 * words, last = run - 8;
    for (size_t i = 0; i < last; i += 8) {
        first = _mm_crc32_u64(first, load_le64(at + i));
        second = _mm_crc32_u64(second, load_le64(at + run + i));
        third = _mm_crc32_u64(third, load_le64(at + 2 * run + i));
    }
    first = _mm_crc32_u64(first, load_le64(at + last));
    second = _mm_crc32_u64(second, load_le64(at + run + last));
    uint64_t word = load_le64(at + 2 * run + last);
    return _mm_crc32_u64(third, word ^ moved(first, 2 * words) ^ moved(second, words));
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t hardware(uint32_t crc, const void *data,
                                                                  size_t len)
{
    const uint8_t *at = data;
    uint64_t state = (uint32_t)~crc;
    while (len >= 3 * 8 * RUN_WORDS_MIN) {
        size_t words = len / (3 * 8) < RUN_WORDS_MAX ? len / (3 * 8) : RUN_WORDS_MAX;
        state = three_runs(state, at, words);
        at += 3 * 8 * words;
        len -= 3 * 8 * words;
    }
    for (; len >= 8; at += 8, len -= 8)
        state = _mm_crc32_u64(state, load_le64(at));
    uint32_t rest = (uint32_t)state;
    for (; len > 0; at++, len--)
        rest = _mm_crc32_u8(rest, *at);
    return ~rest;
}

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)

#include <arm_acle.h>

bool lp__crc32c_has_hardware(void)
{
    return true;
}

static uint32_t hardware(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *at = data;
    crc = ~crc;
    for (; len >= 8; at += 8, len -= 8)
        crc = __crc32cd(crc, load_le64(at));
    for (; len > 0; at++, len--)
        crc = __crc32cb(crc, *at);
    return ~crc;
}

#else

bool lp__crc32c_has_hardware(void)
{
    return false;
}

static uint32_t hardware(uint32_t crc, const void *data, size_t len)
{
    return lp__crc32c_software(crc, data, len);
}

#endif

uint32_t lp__crc32c(uint32_t crc, const void *data, size_t len)
{
    return lp__crc32c_has_hardware() ? hardware(crc, data, len)
                                     : lp__crc32c_software(crc, data, len);
}
