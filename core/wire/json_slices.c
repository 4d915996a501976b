/* The public face of the JSON check (longpoll/json.h). Any thread. */
#include <longpoll/json.h>

#include <string.h>

#include "../engine/json.h"

bool lp_json_check(lp_str text, lp_str *value)
{
    return text.len > 0 && lp__json_check(text, value);
}

bool lp_json_member(const char **at, lp_str *name, lp_str *value)
{
    lp_str found_name, found;
    if (!lp__json_member(at, &found_name, &found))
        return false;
    *name = found_name;
    *value = found;
    return true;
}

size_t lp_json_unescape(lp_str string, char *out, size_t max)
{
    return lp__json_unescape(string, out, max);
}

bool lp_json_is(lp_str string, const char *text)
{
    char decoded[64];
    size_t len = strlen(text);
    if (string.len == len + 2)
        return memcmp(string.base + 1, text, len) == 0;
    return len <= sizeof(decoded) && string.len > len + 2 &&
           lp__json_unescape(string, decoded, sizeof(decoded)) == len &&
           memcmp(decoded, text, len) == 0;
}
