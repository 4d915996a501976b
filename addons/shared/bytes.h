/* Numbers as they lie in files: in a few instructions, which compilers do not make of a loop over
 * bytes. Any thread. */
#ifndef LP_ADDONS_BYTES_H
#define LP_ADDONS_BYTES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LP__LE(bits, value) __builtin_bswap##bits(value)
#define LP__BE(bits, value) (value)
#else
#define LP__LE(bits, value) (value)
#define LP__BE(bits, value) __builtin_bswap##bits(value)
#endif

/* lp__put_le32(at, value), lp__get_le32(at), … */
#define LP__BYTES(order, ORDER, bits)                                                              \
    static inline void lp__put_##order##bits(void *at, uint##bits##_t value)                       \
    {                                                                                              \
        value = LP__##ORDER(bits, value);                                                          \
        memcpy(at, &value, sizeof(value));                                                         \
    }                                                                                              \
    static inline uint##bits##_t lp__get_##order##bits(const void *at)                             \
    {                                                                                              \
        uint##bits##_t value;                                                                      \
        memcpy(&value, at, sizeof(value));                                                         \
        return LP__##ORDER(bits, value);                                                           \
    }

LP__BYTES(le, LE, 16)
LP__BYTES(le, LE, 32)
LP__BYTES(le, LE, 64)
LP__BYTES(be, BE, 64)

#undef LP__BYTES
#undef LP__LE
#undef LP__BE

#endif
