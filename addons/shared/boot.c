/* See boot.h. The kernel gives each boot a random UUID; its hash is the number. */
#include "boot.h"

#include <stdio.h>

#include "crc32c.h"

uint64_t lp__boot_number(void)
{
    char text[64];
    size_t len = 0;
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file != NULL) {
        len = fread(text, 1, sizeof(text), file);
        fclose(file);
    }
    if (len == 0)
        return 0;
    uint32_t low = lp__crc32c(0, text, len);
    return ((uint64_t)lp__crc32c(low, text, len) << 32 | low) | 1;
}
