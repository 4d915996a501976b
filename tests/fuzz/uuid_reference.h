/* The spellings of a UUID once more, for fuzz targets to compare with. */
#ifndef TESTS_UUID_REFERENCE_H
#define TESTS_UUID_REFERENCE_H

#include "fuzz.h"

/* Canonical, 32 hexadecimal digits, either of them in braces or behind "urn:uuid:"; any case. */
static inline bool uuid_reference(lp_str text, lp_id *out)
{
    char digits[33] = "", pair[3] = "";
    size_t count = 0;
    if (text.len > 9 && memcmp(text.base, "urn:uuid:", 9) == 0)
        text = (lp_str){text.base + 9, text.len - 9};
    else if (text.len > 2 && text.base[0] == '{' && text.base[text.len - 1] == '}')
        text = (lp_str){text.base + 1, text.len - 2};
    if (text.len != 36 && text.len != 32)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.len == 36 && (i == 8 || i == 13 || i == 18 || i == 23)) {
            if (text.base[i] != '-')
                return false;
        } else {
            digits[count++] = text.base[i];
        }
    }
    if (strspn(digits, "0123456789abcdefABCDEF") != 32)
        return false;
    for (size_t i = 0; i < 16; i++) {
        memcpy(pair, digits + 2 * i, 2);
        out->bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

#endif
