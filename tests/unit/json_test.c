/* JSONTestSuite (https://github.com/nst/JSONTestSuite) decides when its folder is there: by the
 * environment variable LONGPOLL_JSON_SUITE, else beside the repository. The cases of our own below
 * run in any case. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine/json.h"

/* The check reads exactly these bytes: a copy on the heap lets a sanitizer see one too many. */
static bool check(const char *bytes, size_t len, lp_str *value)
{
    char *copy = malloc(len ? len : 1);
    memcpy(copy, bytes, len);
    lp_str whole;
    bool valid = lp__json_check((lp_str){copy, len}, &whole);
    if (valid && value)
        *value = (lp_str){bytes + (whole.base - copy), whole.len};
    free(copy);
    return valid;
}

static bool accepts(const char *text)
{
    return check(text, strlen(text), NULL);
}

/* ---- JSONTestSuite ------------------------------------------------------------------------------
 */

static char *read_file(const char *folder, const char *name, size_t *len)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    size_t max = 1 << 20;
    char *bytes = malloc(max);
    *len = fread(bytes, 1, max, file);
    fclose(file);
    cr_assert_lt(*len, max);
    return bytes;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Kept to the byte: the value is the file without the space around it. */
static void check_kept(const char *name, const char *bytes, size_t len, lp_str value)
{
    size_t before = 0;
    while (before < len && is_space(bytes[before]))
        before++;
    while (len > before && is_space(bytes[len - 1]))
        len--;
    cr_expect_eq(value.base, bytes + before, "%s", name);
    cr_expect_eq(value.len, len - before, "%s", name);
}

Test(json, json_test_suite_decides)
{
    const char *folder = getenv("LONGPOLL_JSON_SUITE");
    DIR *dir = opendir(folder ? folder : LONGPOLL_JSON_SUITE);
    if (!dir)
        cr_skip("no JSONTestSuite here, only our own cases");
    unsigned must = 0, must_not = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *name = entry->d_name;
        size_t len = strlen(name);
        if (len < 6 || strcmp(name + len - 5, ".json") != 0)
            continue;
        char *bytes = read_file(folder ? folder : LONGPOLL_JSON_SUITE, name, &len);
        lp_str value;
        bool valid = check(bytes, len, &value);
        if (name[0] == 'y') {
            cr_expect(valid, "%s", name);
            must++;
        } else if (name[0] == 'n') {
            cr_expect_not(valid, "%s", name);
            must_not++;
        }
        if (valid)
            check_kept(name, bytes, len, value);
        free(bytes);
    }
    closedir(dir);
    cr_assert(must > 90 && must_not > 180, "%u and %u files are not the whole suite", must,
              must_not);
}

/* What the suite leaves open (its i_ files), and what we do. */
Test(json, what_the_suite_leaves_open)
{
    /* numbers of any size: they are kept, not computed */
    cr_assert(accepts("[123.456e-789]"));
    cr_assert(accepts("[-1e+9999]"));
    cr_assert(
        accepts("[0.4e00669999999999999999999999999999999999999999999999999999999999999969]"));
    cr_assert(accepts("[-123123123123123123123123123123]"));
    /* escaped surrogates without their other half are grammatical */
    cr_assert(accepts("[\"\\uD800\"]"));
    cr_assert(accepts("[\"\\uDC00\\uD800\"]"));
    cr_assert(accepts("[\"\\uD800\\u0041\"]"));
    cr_assert(accepts("{\"\\uDFAA\":0}"));
    /* bytes that are not UTF-8 are not */
    cr_assert_not(accepts("[\"\xed\xa0\x80\"]"), "a surrogate");
    cr_assert_not(accepts("[\"\xe9\"]"), "latin 1");
    cr_assert_not(accepts("[\"\x81\"]"), "a lone continuation");
    cr_assert_not(accepts("[\"\xf4\x90\x80\x80\"]"), "beyond U+10FFFF");
    cr_assert_not(accepts("[\"\xc0\xaf\"]"), "overlong");
    cr_assert_not(accepts("[\"\xfc\x83\xbf\xbf\xbf\xbf\"]"), "six bytes");
    /* no byte order mark, no UTF-16 */
    cr_assert_not(accepts("\xef\xbb\xbf{}"));
    cr_assert_not(check("[\0\"\0\xe9\0\"\0]\0", 10, NULL));
    cr_assert_not(check("\0[\0\"\0\xe9\0\"\0]", 10, NULL));
}

/* ---- our own cases ------------------------------------------------------------------------------
 */

Test(json, accepts_every_kind_of_value)
{
    static const char *const valid[] = {"null",
                                        "true",
                                        "false",
                                        "0",
                                        "-0",
                                        "7",
                                        "-12",
                                        "10.25",
                                        "1e5",
                                        "1E+5",
                                        "2e-07",
                                        "-0.0e0",
                                        "12345678901234567890123456789012345678901234567890",
                                        "\"\"",
                                        "\"text\"",
                                        "[]",
                                        "{}",
                                        "[[]]",
                                        "[1,2]",
                                        "{\"a\":1}",
                                        "{\"a\":{\"b\":[null,{}]}}",
                                        "{\"a\":1,\"a\":2}",
                                        "{\"\":0}",
                                        "[[],[[]],{}]",
                                        "[{},{\"a\":[]},1]",
                                        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uABCD\\uabcd\"",
                                        "\"\x7f\"",
                                        "\"\xc2\x80 \xdf\xbf\"",
                                        "\"\xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf\"",
                                        "\"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\"",
                                        "\"\xe2\x80\xa8\"",
                                        " \t\r\n[ \t\r\n1 \t\r\n, \t\r\n2 \t\r\n] \t\r\n",
                                        "{ \"a\" : 1 , \"b\" : [ ] }"};
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++)
        cr_expect(accepts(valid[i]), "%s", valid[i]);
}

Test(json, refuses_what_is_not_json)
{
    static const char *const wrong[] = {"",
                                        " ",
                                        "\n",
                                        "nul",
                                        "nulL",
                                        "nullx",
                                        "True",
                                        "TRUE",
                                        "t",
                                        "NaN",
                                        "Infinity",
                                        "-Infinity",
                                        "-",
                                        "+1",
                                        "01",
                                        "-01",
                                        "00",
                                        "1.",
                                        ".5",
                                        "-.5",
                                        "1.e5",
                                        "1e",
                                        "1e+",
                                        "1e-",
                                        "1e1.5",
                                        "0x10",
                                        "1 2",
                                        "1,",
                                        "1a",
                                        "--1",
                                        "1_000",
                                        "\"",
                                        "\"a",
                                        "a\"",
                                        "\"\\\"",
                                        "\"\\",
                                        "\"\\x41\"",
                                        "\"\\'\"",
                                        "\"\\u\"",
                                        "\"\\u12\"",
                                        "\"\\u123\"",
                                        "\"\\u123g\"",
                                        "\"\\u 123\"",
                                        "\"\\U1234\"",
                                        "\"\\N\"",
                                        "\"a\nb\"",
                                        "\"a\tb\"",
                                        "\"\x1f\"",
                                        "'a'",
                                        "[",
                                        "]",
                                        "[1",
                                        "[1,",
                                        "[1,]",
                                        "[,1]",
                                        "[,]",
                                        "[1 2]",
                                        "[1,,2]",
                                        "[1]]",
                                        "[[1]",
                                        "[1}",
                                        "{",
                                        "}",
                                        "{\"a\"",
                                        "{\"a\":",
                                        "{\"a\":1",
                                        "{\"a\":1,",
                                        "{\"a\":1,}",
                                        "{,}",
                                        "{\"a\" 1}",
                                        "{\"a\":}",
                                        "{\"a\",1}",
                                        "{a:1}",
                                        "{1:1}",
                                        "{null:1}",
                                        "{\"a\":1]",
                                        "[\"a\":1]",
                                        "{\"a\":1 \"b\":2}",
                                        "{\"a\":1}}",
                                        "{\"a\":1}{}",
                                        "{}[]",
                                        "[1]//",
                                        "/**/1",
                                        "[1]#",
                                        "\"\xff\"",
                                        "\"\x80\"",
                                        "\"\xc1\x81\"",
                                        "\"\xc3\"",
                                        "\"\xc3\x28\"",
                                        "\"\xe0\x9f\xbf\"",
                                        "\"\xe2\x82\"",
                                        "\"\xe2\x28\xa1\"",
                                        "\"\xed\xbf\xbf\"",
                                        "\"\xf0\x8f\xbf\xbf\"",
                                        "\"\xf0\x9f\x98\"",
                                        "\"\xf5\x80\x80\x80\"",
                                        "\"\xf0\x9f\x98\x28\"",
                                        "\xc2\xa0 1",
                                        "\v1",
                                        "\f1",
                                        "[\xe9]",
                                        "\xe2\x80\x8b[]"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_not(accepts(wrong[i]), "%s", wrong[i]);
    cr_expect_not(check("\0", 1, NULL));
    cr_expect_not(check("1\0", 2, NULL), "a NUL behind the value");
    cr_expect_not(check("\"\0\"", 3, NULL), "a NUL in a string");
    cr_expect_not(check("[\"\\\0a\"]", 7, NULL), "an escaped NUL");
}

/* A string has every length around the words that it is read in, with one bad byte at every place.
 */
Test(json, reads_strings_of_every_length)
{
    char text[80];
    for (size_t len = 0; len < 40; len++) {
        memset(text, 'x', sizeof(text));
        text[0] = text[len + 1] = '"';
        cr_assert(check(text, len + 2, NULL), "%zu", len);
        cr_assert_not(check(text, len + 1, NULL), "without its end, %zu", len);
        for (size_t at = 1; at <= len; at++) {
            static const unsigned char bad[] = {0x00, 0x1f, 0x80, 0xff, '"'};
            for (size_t b = 0; b < sizeof(bad); b++) {
                text[at] = (char)bad[b];
                cr_assert_not(check(text, len + 2, NULL), "%zu of %zu: %02x", at, len, bad[b]);
            }
            static const char good[] = {' ', '!', '#', '[', ']', 0x7f};
            for (size_t g = 0; g < sizeof(good); g++) {
                text[at] = good[g];
                cr_assert(check(text, len + 2, NULL), "%zu of %zu: %02x", at, len, good[g]);
            }
            text[at] = 'x';
        }
    }
}

static bool accepts_nested(size_t depth, const char *open, const char *inner, const char *close)
{
    size_t one = strlen(open), other = strlen(close), middle = strlen(inner);
    char *text = malloc(depth * (one + other) + middle);
    char *at = text;
    for (size_t i = 0; i < depth; i++, at += one)
        memcpy(at, open, one);
    memcpy(at, inner, middle);
    at += middle;
    for (size_t i = 0; i < depth; i++, at += other)
        memcpy(at, close, other);
    bool valid = check(text, (size_t)(at - text), NULL);
    free(text);
    return valid;
}

Test(json, nests_512_deep_and_no_deeper)
{
    cr_assert(accepts_nested(512, "[", "", "]"));
    cr_assert(accepts_nested(512, "[", "1", "]"));
    cr_assert_not(accepts_nested(513, "[", "", "]"));
    cr_assert(accepts_nested(512, "{\"a\":", "1", "}"));
    cr_assert_not(accepts_nested(513, "{\"a\":", "1", "}"));
    cr_assert(accepts_nested(256, "[{\"a\":", "[]", "}]") == false, "513");
    cr_assert(accepts_nested(255, "[{\"a\":", "[[]]", "}]"));
    cr_assert_not(accepts_nested(100000, "[", "", ""));
    cr_assert_not(accepts_nested(100000, "[{\"\":", "", ""));
}

Test(json, brackets_must_match_at_every_depth)
{
    char text[2 * 130 + 1];
    for (size_t depth = 1; depth <= 130; depth++) {
        for (size_t i = 0; i < depth; i++) {
            text[i] = '[';
            text[2 * depth - 1 - i] = ']';
        }
        cr_assert(check(text, 2 * depth, NULL));
        for (size_t i = depth; i < 2 * depth; i++) {
            text[i] = '}';
            cr_assert_not(check(text, 2 * depth, NULL), "%zu of %zu", i, depth);
            text[i] = ']';
        }
    }
}

Test(json, every_beginning_of_a_text_is_refused)
{
    const char *text =
        " {\"a\":[1,-2.5e+3,\"x\\u00e9\xf0\x9f\x98\x80\",true,false,null],\"b\":{\"\":{}}}";
    cr_assert(accepts(text));
    for (size_t len = 0; len < strlen(text); len++)
        cr_assert_not(check(text, len, NULL), "%zu bytes", len);
}

Test(json, a_value_ends_where_it_ends_and_the_rest_is_left)
{
    const char *text = "\n [1, 2] trailing \xff";
    const char *at = text;
    lp_str value;
    cr_assert_eq(lp__json_value(&at, text + strlen(text), &value), LP_OK);
    cr_assert_eq(value.base, text + 2);
    cr_assert_eq(value.len, 6);
    cr_assert_eq(at, text + 8);
}

Test(json, says_where_it_went_wrong)
{
    const struct {
        const char *text;
        ptrdiff_t wrong_at;
    } cases[] = {{"[1,]", 3}, {"{\"a\":x}", 5}, {"[1 2]", 3},      {"  ", 2},
                 {"[1", 2},   {"tru", 3},       {"\"ab\x01\"", 3}, {"{\"a\" 1}", 5}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *at = cases[i].text;
        lp_str value;
        cr_assert_eq(lp__json_value(&at, at + strlen(at), &value), LP_EINVAL);
        cr_assert_eq(at - cases[i].text, cases[i].wrong_at, "%s: %td", cases[i].text,
                     at - cases[i].text);
    }
}

/* ---- members ------------------------------------------------------------------------------------
 */

static bool is_text(lp_str got, const char *expected)
{
    return got.len == strlen(expected) && memcmp(got.base, expected, got.len) == 0;
}

Test(json, walks_the_members_of_an_object)
{
    const char *text =
        "{ \"a\" : 1 ,\"b,}\\\"\\\\\":[1,{\"c\":\"]}\\\\\"},[]] , \"\":\"x\\\"\\\\\\\"y\" ,"
        "\"d\":{},\"e\":null,\"f\":{\"g\":{\"h\":[[\"}\"]]}}\n,\"i\":-1.5e3}";
    const char *expected[][2] = {{"\"a\"", "1"},
                                 {"\"b,}\\\"\\\\\"", "[1,{\"c\":\"]}\\\\\"},[]]"},
                                 {"\"\"", "\"x\\\"\\\\\\\"y\""},
                                 {"\"d\"", "{}"},
                                 {"\"e\"", "null"},
                                 {"\"f\"", "{\"g\":{\"h\":[[\"}\"]]}}"},
                                 {"\"i\"", "-1.5e3"}};
    cr_assert(accepts(text));
    const char *at = text;
    lp_str name, value;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        cr_assert(lp__json_member(&at, &name, &value));
        cr_assert(is_text(name, expected[i][0]), "%.*s", (int)name.len, name.base);
        cr_assert(is_text(value, expected[i][1]), "%.*s", (int)value.len, value.base);
    }
    cr_assert_not(lp__json_member(&at, &name, &value));
    cr_assert_not(lp__json_member(&at, &name, &value), "and stays at the end");
}

Test(json, an_empty_object_has_no_members)
{
    const char *at = "{ \n }";
    lp_str name, value;
    cr_assert_not(lp__json_member(&at, &name, &value));
}

/* ---- strings ------------------------------------------------------------------------------------
 */

static void check_unescape(const char *string, const char *expected, size_t len)
{
    char out[64];
    cr_assert(accepts(string), "%s", string);
    cr_assert_eq(lp__json_unescape(lp_str_of(string), out, sizeof(out)), len, "%s", string);
    cr_assert_eq(memcmp(out, expected, len), 0, "%s", string);
}

Test(json, decodes_strings)
{
    check_unescape("\"\"", "", 0);
    check_unescape("\"plain \xc3\xa9\"", "plain \xc3\xa9", 8);
    check_unescape("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
    check_unescape("\"\\u0000\\u0041\\u00e9\\u20AC\"", "\0A\xc3\xa9\xe2\x82\xac", 7);
    check_unescape("\"\\uD83D\\uDE00\"", "\xf0\x9f\x98\x80", 4);
    check_unescape("\"\\uDBFF\\uDFFF\\uD800\\uDC00\"", "\xf4\x8f\xbf\xbf\xf0\x90\x80\x80", 8);
}

Test(json, escaped_lone_surrogates_become_replacement_characters)
{
    check_unescape("\"\\uD800\"", "\xef\xbf\xbd", 3);
    check_unescape("\"\\uDC00x\"", "\xef\xbf\xbdx", 4);
    check_unescape("\"\\uD800\\u0041\"",
                   "\xef\xbf\xbd"
                   "A",
                   4);
    check_unescape("\"\\uD800\\n\"", "\xef\xbf\xbd\n", 4);
    check_unescape("\"\\uDC00\\uD800\"", "\xef\xbf\xbd\xef\xbf\xbd", 6);
    check_unescape("\"\\uD800\\uD83D\\uDE00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80", 7);
}

Test(json, tells_the_length_that_it_needs_and_writes_no_more_than_fits)
{
    char out[4] = "....";
    cr_assert_eq(lp__json_unescape(lp_str_of("\"a\\u20ACb\""), out, 2), 5);
    cr_assert_eq(memcmp(out, "a\xe2..", 4), 0);
    cr_assert_eq(lp__json_unescape(lp_str_of("\"abc\""), NULL, 0), 3);
}

Test(json, utf8_is_checked_alone_too)
{
    cr_assert(lp__utf8_check((lp_str){"", 0}));
    cr_assert(lp__utf8_check((lp_str){"a\0b", 3}));
    cr_assert(lp__utf8_check(lp_str_of("0123456789abcdef\xf0\x9f\x98\x80 0123456789 \xc3\xa9")));
    cr_assert_not(lp__utf8_check(lp_str_of("0123456789abcdef\xf0\x9f\x98")));
    cr_assert_not(lp__utf8_check(lp_str_of("0123456\xff")));
    cr_assert_not(lp__utf8_check(lp_str_of("\xed\xa0\x80")));
}
