/* Categories and data that are valid and hard to keep: separators of every kind, numbers that no
 * double holds, the largest and the smallest. Pure functions, any thread. */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LITERAL(text)                                                                              \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static const lp_str odd_categories[] = {
    LITERAL("c"),
    LITERAL("/"),
    LITERAL("../../up"),
    LITERAL(" leading and trailing blanks "),
    LITERAL("two\nlines\r\nand a tab\t."),
    LITERAL("quotes \" ' ` and \\ and %s %n"),
    LITERAL("a NUL \0 within"),
    LITERAL("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbf"),
    LITERAL("{\"timestamp\":1,\"id\":\"0\"}"),
    LITERAL("\x01\x02\x7f"),
};

static const lp_str odd_data[] = {
    LITERAL("0"),
    LITERAL("\"\""),
    LITERAL("false"),
    LITERAL("[]"),
    LITERAL("{}"),
    LITERAL("-0.0e-0"),
    LITERAL("123456789012345678901234567890"),
    LITERAL("0.123456789012345678901234567890e+308"),
    LITERAL("{\"z\":1,\"a\":2,\"z\":3,\"\":[null,true]}"),
    LITERAL("{\n  \"pretty\" :\t[ 1 ,\r\n 2 ]\n}"),
    LITERAL("\"escapes \\\" \\\\ \\/ \\b\\f\\n\\r\\t \\u0000 \\u00e4 \\ud83d\\ude00 \\ud800\""),
    LITERAL("\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 </script> <!-- ' ` % \x7f\""),
    LITERAL("[[[[[[[[[[[[[[[[{\"deep\":{\"deep\":{\"deep\":null}}}]]]]]]]]]]]]]]]]"),
};

#define ODD_CATEGORIES (sizeof(odd_categories) / sizeof(odd_categories[0]))
#define ODD_DATA       (sizeof(odd_data) / sizeof(odd_data[0]))
/* And past the tables: the longest category, and data of these sizes, whose ends fall before, on
 * and behind the boundaries of pages and buffers. */
static const size_t odd_sizes[] = {4095, 4096, 4097, 65535, 65536, 65537, 1048576};
#define ODD_SIZES (sizeof(odd_sizes) / sizeof(odd_sizes[0]))

size_t lp__odd_count(void)
{
    return ODD_DATA + ODD_SIZES + ODD_CATEGORIES + 1;
}

static char *copy(const char *base, size_t len)
{
    char *to = malloc(len ? len : 1);
    if (to && len)
        memcpy(to, base, len);
    return to;
}

/* `len` bytes within a pair of `quote`s, or bare. */
static char *filled(size_t len, const char *quote)
{
    char *to = malloc(len);
    if (!to)
        return NULL;
    for (size_t i = 0; i < len; i++)
        to[i] = (char)('a' + i % 26);
    if (quote)
        to[0] = to[len - 1] = quote[0];
    return to;
}

bool lp__odd_pair(size_t i, char **category, size_t *category_len, char **data, size_t *data_len)
{
    const lp_str *from = &odd_categories[i % ODD_CATEGORIES];
    bool longest = i + 1 == lp__odd_count();
    *category_len = longest ? LP_CATEGORY_MAX : from->len;
    *category = longest ? filled(LP_CATEGORY_MAX, NULL) : copy(from->base, from->len);
    if (i >= ODD_DATA && i < ODD_DATA + ODD_SIZES) {
        *data_len = odd_sizes[i - ODD_DATA];
        *data = filled(*data_len, "\"");
    } else {
        *data_len = odd_data[i % ODD_DATA].len;
        *data = copy(odd_data[i % ODD_DATA].base, *data_len);
    }
    if (*category && *data)
        return true;
    free(*category);
    free(*data);
    *category = *data = NULL;
    return false;
}

/* The finaliser of SplitMix64 (Steele, Lea, Flood, 2014): numbers that look random. */
static uint64_t mixed(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

lp_event *lp__odd_event(uint64_t seq)
{
    uint64_t random = mixed(seq);
    char category[32];
    int category_len = snprintf(category, sizeof(category), "room/%u", (unsigned)(random % 7));
    /* Most are small, some span pages. */
    size_t padding = (random >> 8) % 8 ? (random >> 16) % 300 : (random >> 16) % 9000;
    size_t room = padding + 64;
    char *data = malloc(room);
    if (!data)
        return NULL;
    int at = snprintf(data, room, "{\"seq\":%llu,\"text\":\"", (unsigned long long)seq);
    for (size_t i = 0; i < padding; i++)
        data[(size_t)at + i] = (char)('0' + (random + i * 7) % 43); /* no quote, no backslash */
    size_t len = (size_t)at + padding;
    memcpy(data + len, "\"}", 2);
    lp_event *event = NULL;
    lp_event_new(lp_id_make(seq, random), (lp_str){category, (size_t)category_len},
                 (lp_str){data, len + 2}, &event);
    free(data);
    return event;
}
