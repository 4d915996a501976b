/* The check that decides what is JSON: it agrees with another reading of the grammar on every text,
 * gives slices of it, and what it takes cJSON takes too. */
#include <cjson/cJSON.h>

#include <longpoll/json.h>

#include "core/engine/json.h"
#include "fuzz.h"
#include "json_reference.h"

/* cJSON copies numbers to 63 characters, and refuses surrogates without their other half. */
static void compare_with_cjson(lp_str value, json_facts facts)
{
    cJSON *tree = cJSON_ParseWithLength(value.base, value.len);
    if (!facts.long_number && !facts.lone_surrogate)
        FUZZ_HOLDS(tree != NULL, "cJSON takes what the check has taken");
    cJSON_Delete(tree);
}

static void check_string(lp_str string)
{
    json_facts facts = {false, false};
    char *expected = malloc(string.len), *got = malloc(string.len), *cut = malloc(string.len);
    size_t len;
    FUZZ_HOLDS(expected != NULL && got != NULL && cut != NULL, "there is memory");
    const char *end = string.base + string.len;
    FUZZ_HOLDS(json_reference_string(string.base, end, expected, &len, &facts) == end,
               "a string that was given is one");
    FUZZ_HOLDS(lp__json_unescape(string, got, string.len) == len,
               "a decoded string has its length");
    FUZZ_HOLDS(memcmp(got, expected, len) == 0, "a decoded string has its bytes");
    FUZZ_HOLDS(lp__utf8_check((lp_str){got, len}), "a decoded string is UTF-8");
    size_t half = len / 2;
    memset(cut, '#', string.len);
    FUZZ_HOLDS(lp__json_unescape(string, cut, half) == len, "a length counts what does not fit");
    FUZZ_HOLDS(memcmp(cut, expected, half) == 0 && cut[half] == '#',
               "no more is written than fits");
    free(expected);
    free(got);
    free(cut);
}

static void check_members(lp_str object)
{
    const char *at = object.base, *mine = object.base + 1, *end = object.base + object.len, *start;
    lp_str name, value;
    json_facts facts = {false, false};
    while (lp__json_member(&at, &name, &value)) {
        char *scratch = malloc(object.len);
        size_t len;
        mine = json_reference_space(mine, end);
        FUZZ_HOLDS(name.base == mine, "a name begins where it does");
        mine = json_reference_string(mine, end, scratch, &len, &facts);
        FUZZ_HOLDS(mine == name.base + name.len, "a name ends where it does");
        mine = json_reference_space(mine, end) + 1;
        mine = json_reference_value(mine, end, &start, &facts);
        FUZZ_HOLDS(value.base == start && mine == start + value.len, "a value is where it is");
        mine = json_reference_space(mine, end) + 1;
        check_string(name);
        if (value.base[0] == '"')
            check_string(value);
        free(scratch);
    }
    FUZZ_HOLDS(mine == end || json_reference_space(mine, end) + 1 == end, "no member is left out");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_copy(data, size);
    lp_str all = {text, size}, value = {NULL, 0}, whole = {NULL, 0};
    json_facts facts = {false, false};
    const char *at = text, *end = text + size, *start;
    const char *behind = json_reference_value(text, end, &start, &facts);

    bool taken = lp__json_value(&at, end, &value) == LP_OK;
    FUZZ_HOLDS(taken == (behind != NULL), "two readings of the grammar agree");
    FUZZ_HOLDS(at >= text && at <= end, "where it went wrong is inside the text");
    FUZZ_HOLDS(lp__utf8_check(all) == json_reference_utf8(all), "two readings of UTF-8 agree");

    bool is_whole = lp__json_check(all, &whole);
    FUZZ_HOLDS(is_whole == (taken && json_reference_space(behind, end) == end),
               "a whole text is one value");
    FUZZ_HOLDS(lp_json_check(all, NULL) == is_whole, "the public check is the same");
    if (taken) {
        FUZZ_HOLDS(at == behind && value.base == start && value.base + value.len == behind,
                   "a value is a slice of the text");
        FUZZ_HOLDS(!is_whole || fuzz_equal(whole, value), "the whole is the value");
        compare_with_cjson(value, facts);
        if (value.base[0] == '"')
            check_string(value);
        if (value.base[0] == '{')
            check_members(value);
    }
    free(text);
    return 0;
}
