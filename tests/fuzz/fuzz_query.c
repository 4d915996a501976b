/* The query of a poll: read once more from the rules of the wire, with the same outcome, to the
 * byte of the error. The input is limits (1 byte), a query, a line end, and a Last-Event-ID. */
#include "core/wire/query.h"
#include "fuzz.h"
#include "uuid_reference.h"

enum { PAIRS_MAX = 4096 };

typedef struct pair {
    char *name, *value;
    size_t name_len, value_len;
} pair;

typedef struct pairs {
    pair *at;
    size_t count;
} pairs;

/* Decodes into new memory; false when an escape is broken. */
static bool decode(const char *text, size_t len, char **out, size_t *out_len)
{
    char *to = malloc(len + 1);
    size_t n = 0;
    FUZZ_HOLDS(to != NULL, "there is memory");
    for (size_t i = 0; i < len; i++) {
        char digits[3] = "";
        if (text[i] == '%' && len - i >= 3)
            memcpy(digits, text + i + 1, 2);
        if (text[i] == '%') {
            if (strspn(digits, "0123456789abcdefABCDEF") != 2) {
                free(to);
                return false;
            }
            to[n++] = (char)strtol(digits, NULL, 16);
            i += 2;
        } else {
            to[n++] = text[i] == '+' ? ' ' : text[i];
        }
    }
    to[n] = '\0';
    *out = to;
    *out_len = n;
    return true;
}

static void add_pair(pairs *all, const char *text, size_t len)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals != NULL ? (size_t)(equals - text) : len;
    size_t value_at = equals != NULL ? name_len + 1 : len;
    pair *next = &all->at[all->count];
    if (memchr(text, ';', len) != NULL || !decode(text, name_len, &next->name, &next->name_len))
        return;
    if (decode(text + value_at, len - value_at, &next->value, &next->value_len))
        all->count++;
    else
        free(next->name);
}

static pairs split(lp_str raw)
{
    pairs all = {calloc(PAIRS_MAX, sizeof(pair)), 0};
    FUZZ_HOLDS(all.at != NULL, "there is memory");
    for (size_t at = 0; at < raw.len && all.count < PAIRS_MAX;) {
        const char *end = memchr(raw.base + at, '&', raw.len - at);
        size_t len = end != NULL ? (size_t)(end - raw.base) - at : raw.len - at;
        if (len > 0)
            add_pair(&all, raw.base + at, len);
        at += len + 1;
    }
    return all;
}

static void free_pairs(pairs *all)
{
    for (size_t i = 0; i < all->count; i++) {
        free(all->at[i].name);
        free(all->at[i].value);
    }
    free(all->at);
}

static bool is_named(const pair *one, const char *name)
{
    return one->name_len == strlen(name) && memcmp(one->name, name, one->name_len) == 0;
}

/* The first value of a name, empty when there is none. */
static lp_str first(const pairs *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++)
        if (is_named(&all->at[i], name))
            return (lp_str){all->at[i].value, all->at[i].value_len};
    return (lp_str){"", 0};
}

/* A signed whole number of 64 bits in at most 1024 characters. */
static bool integer(lp_str text, int64_t *out)
{
    bool is_negative = text.len > 0 && text.base[0] == '-';
    size_t i = is_negative || (text.len > 0 && text.base[0] == '+') ? 1 : 0;
    __extension__ __int128 value = 0;
    if (i == text.len || text.len > 1024)
        return false;
    for (; i < text.len; i++) {
        if (text.base[i] < '0' || text.base[i] > '9')
            return false;
        if (value <= INT64_MAX)
            value = value * 10 + (text.base[i] - '0');
    }
    value = is_negative ? -value : value;
    *out = (int64_t)value;
    return value >= INT64_MIN && value <= INT64_MAX;
}

/* What the query should be, or `error`. */
typedef struct expected {
    char error[160];
    int64_t timeout_s, since_ms, last;
    bool has_since, has_last_id, by_id;
    lp_id last_id;
    lp_str names[2][PAIRS_MAX]; /* categories, prefixes */
    size_t counts[2];
} expected;

static bool expect_names(const pairs *all, const lp__wire_limits *limits, expected *out)
{
    static const char *const kinds[] = {"category", "prefix"};
    const char *bad = NULL;
    for (size_t i = 0; i < all->count; i++) {
        for (int kind = 0; kind < 2; kind++) {
            const pair *one = &all->at[i];
            if (!is_named(one, kinds[kind]))
                continue;
            out->names[kind][out->counts[kind]++] = (lp_str){one->value, one->value_len};
            if (bad == NULL && (one->value_len < 1 || one->value_len > LP_CATEGORY_MAX))
                bad = kinds[kind];
        }
    }
    size_t count = out->counts[0] + out->counts[1];
    if (count > limits->names_max)
        snprintf(out->error, sizeof(out->error),
                 "{\"error\": \"Too many categories and prefixes, must be at most %zu.\"}",
                 limits->names_max);
    else if (count == 0 || bad != NULL)
        snprintf(out->error, sizeof(out->error),
                 "{\"error\": \"Invalid subscription %s, must be 1-1024 characters long.\"}",
                 bad != NULL ? bad : "category");
    return out->error[0] == '\0';
}

static const char *expect_cursor(const pairs *all, expected *out)
{
    lp_str since = first(all, "since_time"), id = first(all, "last_id");
    lp_str resume = first(all, "resume"), last = first(all, "last");
    bool is_id = resume.len == 2 && memcmp(resume.base, "id", 2) == 0;
    out->has_since = since.len > 0;
    if (out->has_since && !integer(since, &out->since_ms))
        return "{\"error\": \"Invalid 'since_time' arg.\"}";
    if (out->since_ms < 0)
        out->since_ms = 0;
    if (out->since_ms > 0xffffffffffff)
        out->since_ms = 0xffffffffffff;
    out->has_last_id = id.len > 0;
    if (out->has_last_id && !out->has_since && !is_id)
        return "{\"error\": \"Must provide 'since_time' arg when providing 'last_id'.\"}";
    if (out->has_last_id && !uuid_reference(id, &out->last_id))
        return "{\"error\": \"Param 'last_id' was not a valid UUID.\"}";
    if (resume.len > 0 && !is_id)
        return "{\"error\": \"Invalid 'resume' arg, must be 'id'.\"}";
    if (is_id && out->has_last_id && out->last_id.bytes[6] >> 4 != 7)
        return "{\"error\": \"Param 'last_id' was not an id of this server.\"}";
    out->by_id = is_id;
    if (last.len > 0 && (!integer(last, &out->last) || out->last < 1 || out->last > 10000))
        return "{\"error\": \"Invalid 'last' arg.  Must be 1-10000.\"}";
    return "";
}

static void expect(const pairs *all, const lp__wire_limits *limits, expected *out)
{
    memset(out, 0, offsetof(expected, names));
    out->counts[0] = out->counts[1] = 0;
    if (!integer(first(all, "timeout"), &out->timeout_s) || out->timeout_s < 1 ||
        out->timeout_s > limits->timeout_s_max)
        snprintf(out->error, sizeof(out->error),
                 "{\"error\": \"Invalid or missing 'timeout' arg.  Must be 1-%lld.\"}",
                 (long long)limits->timeout_s_max);
    else if (expect_names(all, limits, out))
        snprintf(out->error, sizeof(out->error), "%s", expect_cursor(all, out));
}

static void compare(const lp_query *query, const expected *want)
{
    FUZZ_HOLDS(query->timeout_s == want->timeout_s && query->last == want->last &&
                   query->by_id == want->by_id,
               "timeout, last and resume are as the rules say");
    FUZZ_HOLDS(query->has_since == want->has_since && query->since_ms == want->since_ms,
               "since_time is as the rules say");
    FUZZ_HOLDS(
        query->has_last_id == want->has_last_id &&
            (!want->has_last_id || memcmp(&query->last_id, &want->last_id, sizeof(lp_id)) == 0),
        "last_id is as the rules say");
    size_t categories = query->category_count + (query->category.len > 0);
    FUZZ_HOLDS(categories == want->counts[0] && query->prefix_count == want->counts[1],
               "there are as many names as were given");
    for (size_t i = 0; i < categories; i++)
        FUZZ_HOLDS(
            fuzz_equal(i == 0 ? query->category : query->categories[i - 1], want->names[0][i]),
            "categories are as they were given");
    for (size_t i = 0; i < query->prefix_count; i++)
        FUZZ_HOLDS(fuzz_equal(query->prefixes[i], want->names[1][i]),
                   "prefixes are as they were given");
}

static void resume(lp__wire_query *query, lp_str header)
{
    lp_id id = {{0}};
    bool is_id = uuid_reference(header, &id);
    lp__wire_query_resume(query, header);
    const lp_query *to = &query->query;
    FUZZ_HOLDS(to->by_id && to->has_last_id && !to->has_since, "the header is the cursor");
    lp_id none = {{0}};
    FUZZ_HOLDS(memcmp(&to->last_id, is_id ? &id : &none, sizeof(id)) == 0,
               "an id is read, and what is none is the beginning");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static expected want;
    if (size < 1)
        return 0;
    lp__wire_limits limits = {data[0] & 1 ? 110 : 1 + data[0], data[0] & 2 ? 1024 : 3};
    const uint8_t *end = memchr(data + 1, '\n', size - 1);
    size_t len = end != NULL ? (size_t)(end - data) - 1 : size - 1;
    size_t header_len = end != NULL ? size - len - 2 : 0;
    char *raw = fuzz_copy(data + 1, len), *header = fuzz_copy(data + size - header_len, header_len);
    pairs all = split((lp_str){raw, len});
    if (all.count < PAIRS_MAX) {
        lp__wire_query *query = malloc(sizeof(*query));
        FUZZ_HOLDS(query != NULL, "there is memory");
        memset(query, 0xa5, sizeof(*query));
        lp__wire_query_split((lp_str){raw, len}, &limits, query);
        void *room = query->room_bytes > 0 ? malloc(query->room_bytes) : NULL;
        FUZZ_HOLDS(query->room_bytes <= len + limits.names_max * sizeof(lp_str),
                   "names take no more room than the query and a list");
        int status = lp__wire_query_read(query, room);
        expect(&all, &limits, &want);
        if (status == LP_OK) {
            FUZZ_HOLDS(want.error[0] == '\0', "what the rules refuse is refused");
            compare(&query->query, &want);
        } else {
            FUZZ_HOLDS(status == LP_EINVAL && fuzz_equal((lp_str){query->error, query->error_len},
                                                         lp_str_of(want.error)),
                       "an error has its body");
        }
        if (status == LP_OK)
            resume(query, (lp_str){header, header_len});
        free(room);
        free(query);
    }
    free_pairs(&all);
    free(header);
    free(raw);
    return 0;
}
