/* CRC32C by the instruction of SSE4.2 or ARMv8, and by slicing-by-8 where there is neither. */
#include "crc32c.h"

#include <string.h>

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

bool lp__crc32c_has_hardware(void)
{
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t hardware(uint32_t crc, const void *data,
                                                           size_t len)
{
    const uint8_t *at = data;
    uint64_t state = (uint32_t)~crc;
    for (; len >= 8; at += 8, len -= 8)
        state = __builtin_ia32_crc32di(state, load_le64(at));
    uint32_t rest = (uint32_t)state;
    for (; len > 0; at++, len--)
        rest = __builtin_ia32_crc32qi(rest, *at);
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
