/* CRC32C (Castagnoli, reflected polynomial 0x82F63B78), as in RFC 3720. Any thread. */
#ifndef LP_CRC32C_H
#define LP_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Continues `crc` over more bytes; start with 0. lp__crc32c(lp__crc32c(0, a), b) is that of a
 * followed by b. Uses the processor's instruction where there is one. */
uint32_t lp__crc32c(uint32_t crc, const void *data, size_t len);

/* The same by tables alone. */
uint32_t lp__crc32c_software(uint32_t crc, const void *data, size_t len);

/* Whether this machine has the instruction. */
bool lp__crc32c_has_hardware(void);

#endif
