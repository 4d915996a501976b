/* The body of a publish, one event or an array: read once more from the rules of the wire, with the
 * same outcome; and what was read can be written and read again. */
#include "core/engine/json.h"
#include "core/wire/publish_body.h"
#include "fuzz.h"
#include "json_reference.h"

#define NO_JSON     "{\"error\": \"Invalid POST body json.\"}"
#define NO_CATEGORY "'category' arg, must be 1-1024 characters long.\"}"
#define NO_DATA     "'data' arg, must be non-nil.\"}"

enum { ITEMS_MAX = 8 };

typedef struct item {
    const char *error; /* how its sentence ends, NULL: none */
    char *category;
    size_t category_len;
    lp_str data;
} item;

/* Whether a decoded name is `expected` in any case. */
static bool is_name(const char *name, size_t len, const char *expected)
{
    if (len != strlen(expected))
        return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] != expected[i] && name[i] != expected[i] - 32)
            return false;
    return true;
}

/* One member at `at`, which is known to be one: where it ends. */
static const char *member(const char *at, const char *end, item *out, char *scratch)
{
    json_facts facts = {false, false};
    const char *start;
    size_t len;
    at = json_reference_string(json_reference_space(at, end), end, scratch, &len, &facts);
    at = json_reference_space(at, end) + 1;
    bool is_category = is_name(scratch, len, "category"), is_data = is_name(scratch, len, "data");
    at = json_reference_value(at, end, &start, &facts);
    if (is_data)
        out->data = *start == 'n' ? (lp_str){NULL, 0} : (lp_str){start, (size_t)(at - start)};
    if (is_category && *start == '"') {
        free(out->category);
        out->category = malloc((size_t)(at - start));
        FUZZ_HOLDS(out->category != NULL, "there is memory");
        json_reference_string(start, at, out->category, &out->category_len, &facts);
    } else if (is_category && *start != 'n') {
        out->error = "POST body json.\"}";
    }
    return json_reference_space(at, end);
}

static void read_item(lp_str value, item *out)
{
    *out = (item){NULL, NULL, 0, {NULL, 0}};
    if (value.base[0] == '{') {
        const char *end = value.base + value.len, *at = json_reference_space(value.base + 1, end);
        char *scratch = malloc(value.len);
        FUZZ_HOLDS(scratch != NULL, "there is memory");
        while (*at != '}' && out->error == NULL) {
            at = member(at, end, out, scratch);
            at += *at == ',';
        }
        free(scratch);
    } else if (value.base[0] != 'n') {
        out->error = "POST body json.\"}";
    }
    if (out->error == NULL && (out->category_len < 1 || out->category_len > LP_CATEGORY_MAX))
        out->error = NO_CATEGORY;
    if (out->error == NULL && out->data.base == NULL)
        out->error = NO_DATA;
}

/* What an array is, item by item; LP_OK, or what is wrong first. */
static int read_array(const char *at, const char *end, item *items, size_t *count,
                      const char **error)
{
    json_facts facts = {false, false};
    at = json_reference_space(at, end);
    *error = NO_JSON;
    if (at < end && *at == ']') {
        *error = "an array must have at least one item.\"}";
        return LP_EINVAL;
    }
    for (;;) {
        const char *start, *behind = json_reference_value(at, end, &start, &facts);
        if (behind == NULL)
            return LP_EINVAL;
        if (*count == ITEMS_MAX)
            return LP_ETOOBIG;
        read_item((lp_str){start, (size_t)(behind - start)}, &items[(*count)++]);
        if (items[*count - 1].error != NULL) {
            *error = items[*count - 1].error;
            return LP_EINVAL;
        }
        at = json_reference_space(behind, end);
        if (at == end || (*at != ',' && *at != ']'))
            return LP_EINVAL;
        if (*at++ == ']')
            return LP_OK;
    }
}

static int expect(lp_str body, item *items, size_t *count, const char **error)
{
    json_facts facts = {false, false};
    const char *start, *end = body.base + body.len, *at = json_reference_space(body.base, end);
    if (at < end && *at == '[')
        return read_array(at + 1, end, items, count, error);
    at = json_reference_value(body.base, end, &start, &facts);
    *error = NO_JSON;
    if (at == NULL)
        return LP_EINVAL;
    read_item((lp_str){start, (size_t)(at - start)}, &items[(*count)++]);
    *error = items[0].error;
    return *error == NULL ? LP_OK : LP_EINVAL;
}

/* Writes a category as JSON with every byte escaped that can be. */
static size_t quote(lp_str category, char *out)
{
    size_t len = 0;
    out[len++] = '"';
    for (size_t i = 0; i < category.len; i++) {
        if ((unsigned char)category.base[i] < 0x80)
            len += (size_t)sprintf(out + len, "\\u%04x", (unsigned)category.base[i]);
        else
            out[len++] = category.base[i];
    }
    out[len++] = '"';
    return len;
}

/* What was read, written as an array and read again, is the same. */
static void write_and_read(const lp__publish_items *items)
{
    size_t size = 64;
    for (size_t i = 0; i < items->count; i++)
        size += 64 + 6 * items->items[i].category.len + items->items[i].data.len;
    char *body = malloc(size);
    FUZZ_HOLDS(body != NULL, "there is memory");
    size_t len = (size_t)sprintf(body, " [");
    for (size_t i = 0; i < items->count; i++) {
        const lp_publish_item *one = &items->items[i];
        len += (size_t)sprintf(body + len, "%s{\"data\":", i > 0 ? "," : "");
        memcpy(body + len, one->data.base, one->data.len);
        len += one->data.len;
        len += (size_t)sprintf(body + len, ",\"category\":");
        len += quote(one->category, body + len);
        body[len++] = '}';
    }
    len += (size_t)sprintf(body + len, "] behind it");
    lp__publish_items *again = malloc(sizeof(*again));
    FUZZ_HOLDS(again != NULL, "there is memory");
    FUZZ_HOLDS(lp__publish_items_read((lp_str){body, len}, ITEMS_MAX, again) == LP_OK &&
                   again->is_array && again->count == items->count,
               "what was read can be written and read");
    for (size_t i = 0; i < items->count; i++)
        FUZZ_HOLDS(fuzz_equal(again->items[i].category, items->items[i].category) &&
                       fuzz_equal(again->items[i].data, items->items[i].data),
                   "an item comes back");
    lp__publish_items_free(again);
    free(again);
    free(body);
}

static void check_refusal(const lp__publish_items *items, int status, const char *error)
{
    size_t len = error != NULL ? strlen(error) : 0;
    FUZZ_HOLDS(lp__json_check(items->error, NULL), "an error's body is JSON");
    FUZZ_HOLDS(status != LP_EINVAL ||
                   (items->error.len >= len &&
                    memcmp(items->error.base + items->error.len - len, error, len) == 0),
               "an error says what is wrong");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_copy(data, size);
    lp_str body = {text, size};
    item want[ITEMS_MAX];
    size_t want_count = 0;
    const char *error = NULL;
    lp__publish_items *items = malloc(sizeof(*items));
    FUZZ_HOLDS(items != NULL, "there is memory");
    memset(items, 0xa5, sizeof(*items));
    int status = lp__publish_items_read(body, ITEMS_MAX, items);
    FUZZ_HOLDS(status == expect(body, want, &want_count, &error), "the rules say the same");
    if (status == LP_OK) {
        FUZZ_HOLDS(items->count == want_count && want_count > 0, "all items are there");
        for (size_t i = 0; i < want_count; i++) {
            lp_publish_item one = items->items[i];
            FUZZ_HOLDS(fuzz_equal(one.category, (lp_str){want[i].category, want[i].category_len}),
                       "a category is decoded");
            FUZZ_HOLDS(fuzz_inside(one.data, body) && one.data.base == want[i].data.base &&
                           one.data.len == want[i].data.len,
                       "data are a slice of the body");
            lp_event *event = NULL;
            FUZZ_HOLDS(lp_event_new(lp_id_make(1, 1), one.category, one.data, &event) == LP_OK,
                       "an event can be made of it");
            lp_event_unref(event);
        }
        write_and_read(items);
        lp__publish_items_free(items);
    } else {
        check_refusal(items, status, error);
    }
    for (size_t i = 0; i < want_count; i++)
        free(want[i].category);
    free(items);
    free(text);
    return 0;
}
