/* The body of a publish. See publish_body.h.
 *
 * Go decodes it into struct { Category string; Data interface{} }, which settles all odd cases: the
 * first JSON value of the body counts; `null` for the whole decodes to nothing; names match without
 * regard to ASCII case (none of their letters has another fold); of several the last one counts; a
 * null leaves the category as it was and sets the data to nil; a category that is no string spoils
 * the whole, even when a good one follows. Each item of an array, which Go would refuse, is read in
 * the same way. */
#include "publish_body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../engine/json.h"

static const char invalid_json[] = "{\"error\": \"Invalid POST body json.\"}";
static const char invalid_category[] =
    "{\"error\": \"Invalid or missing 'category' arg, must be 1-1024 characters long.\"}";
static const char invalid_data[] =
    "{\"error\": \"Invalid or missing 'data' arg, must be non-nil.\"}";
static const char empty_array[] =
    "{\"error\": \"Invalid POST body json, an array must have at least one item.\"}";
static const char too_many_items[] = "{\"error\": \"the request has too many items\"}";
_Static_assert(LP_CATEGORY_MAX == 1024, "the sentence above names it");

static int refuse(lp__publish_body *out, const char *error)
{
    out->error = lp_str_of(error);
    return LP_EINVAL;
}

static bool is_null(lp_str value)
{
    return value.len == 4 && value.base[0] == 'n';
}

/* Whether a name, in its quotes and maybe with escapes in it, is `expected` in any case. */
static bool is_name(lp_str quoted, const char *expected)
{
    char name[16];
    size_t len = lp__json_unescape(quoted, name, sizeof(name));
    if (len != strlen(expected))
        return false;
    for (size_t i = 0; i < len; i++)
        if ((name[i] & ~0x20) != (expected[i] & ~0x20))
            return false;
    return true;
}

/* The category is a string with its quotes: that it decodes to what it may be is not checked yet.
 * NULL when the object is fit, else the answer. */
static const char *read_object(lp_str object, lp_str *category, lp_str *data)
{
    lp_str name, value;
    const char *at = object.base;
    *category = *data = (lp_str){NULL, 0};
    if (is_null(object))
        return invalid_category;
    if (object.base[0] != '{')
        return invalid_json;
    while (lp__json_member(&at, &name, &value)) {
        if (is_name(name, "data")) {
            *data = is_null(value) ? (lp_str){NULL, 0} : value;
        } else if (is_name(name, "category") && !is_null(value)) {
            if (value.base[0] != '"')
                return invalid_json;
            *category = value;
        }
    }
    return NULL;
}

/* Decodes what read_object gave into `storage`, which has room for `max` bytes. */
static const char *decode(lp_str quoted, lp_str data, char *storage, size_t max, lp_str *category)
{
    size_t len = quoted.base ? lp__json_unescape(quoted, storage, max) : 0;
    if (len < 1 || len > LP_CATEGORY_MAX)
        return invalid_category;
    *category = (lp_str){storage, len};
    return data.base ? NULL : invalid_data;
}

int lp__publish_body_read(lp_str body, lp__publish_body *out)
{
    out->category = out->data = out->error = (lp_str){NULL, 0};
    const char *at = body.base;
    lp_str whole, quoted;
    if (!body.len || lp__json_value(&at, body.base + body.len, &whole) != LP_OK)
        return refuse(out, invalid_json);
    const char *error = read_object(whole, &quoted, &out->data);
    if (!error)
        error = decode(quoted, out->data, out->storage, sizeof(out->storage), &out->category);
    return error ? refuse(out, error) : LP_OK;
}

/* ---- arrays ------------------------------------------------------------ */

static int refuse_items(lp__publish_items *out, int status, const char *error)
{
    out->error = lp_str_of(error);
    return status;
}

/* The sentence of a single event, with the item's number in front. */
static int refuse_item(lp__publish_items *out, size_t index, const char *error)
{
    static const char head[] = "{\"error\": \"";
    int len = snprintf(out->error_text, sizeof(out->error_text), "%sitem %zu: %s", head, index + 1,
                       error + sizeof(head) - 1);
    out->error = (lp_str){out->error_text, (size_t)len};
    return LP_EINVAL;
}

static char skip_space(const char **at, const char *end)
{
    while (*at < end && (**at == ' ' || **at == '\t' || **at == '\n' || **at == '\r'))
        ++*at;
    return *at < end ? **at : '\0';
}

static bool make_room(lp__publish_items *out, size_t *capacity)
{
    if (out->count < *capacity)
        return true;
    size_t more = *capacity ? 2 * *capacity : 16;
    lp_publish_item *items = realloc(out->items, more * sizeof(*items));
    if (!items)
        return false;
    out->items = items;
    *capacity = more;
    return true;
}

/* Collects and checks the items of an array; their categories are still in their quotes. `at` is
 * behind its bracket. An item is checked as a whole body is, so its data may nest as deep. */
static int collect(const char *at, const char *end, size_t items_max, lp__publish_items *out)
{
    size_t capacity = 0;
    char next = skip_space(&at, end);
    if (next == ']')
        return refuse_items(out, LP_EINVAL, empty_array);
    for (;;) {
        lp_str value;
        if (lp__json_value(&at, end, &value) != LP_OK)
            return refuse_items(out, LP_EINVAL, invalid_json);
        if (out->count == items_max)
            return refuse_items(out, LP_ETOOBIG, too_many_items);
        if (!make_room(out, &capacity))
            return LP_ENOMEM;
        lp_publish_item *item = &out->items[out->count];
        const char *error = read_object(value, &item->category, &item->data);
        lp_str decoded;
        if (!error)
            error = decode(item->category, item->data, out->one.storage, sizeof(out->one.storage),
                           &decoded);
        if (error)
            return refuse_item(out, out->count, error);
        out->count++;
        next = skip_space(&at, end);
        if (next == ']')
            return LP_OK;
        if (next != ',')
            return refuse_items(out, LP_EINVAL, invalid_json);
        at++;
    }
}

/* A string is never longer decoded than it was in its quotes, but for a lone surrogate, which is
 * six bytes before and three behind: so one piece of storage is enough for all. */
static int decode_items(lp__publish_items *out)
{
    size_t max = 0;
    for (size_t i = 0; i < out->count; i++)
        max += out->items[i].category.len;
    char *at = out->storage = malloc(max);
    if (!at)
        return LP_ENOMEM;
    for (size_t i = 0; i < out->count; i++) {
        lp_str *category = &out->items[i].category;
        *category = (lp_str){at, lp__json_unescape(*category, at, category->len)};
        at += category->len;
    }
    return LP_OK;
}

int lp__publish_items_read(lp_str body, size_t items_max, lp__publish_items *out)
{
    const char *at = body.base, *end = body.base + body.len;
    out->items = NULL;
    out->count = 0;
    out->storage = NULL;
    out->error = (lp_str){NULL, 0};
    out->is_array = body.len && skip_space(&at, end) == '[';
    int status;
    if (out->is_array) {
        status = collect(at + 1, end, items_max, out);
        if (status == LP_OK)
            status = decode_items(out);
        if (status != LP_OK)
            lp__publish_items_free(out);
        return status;
    }
    status = lp__publish_body_read(body, &out->one);
    out->error = out->one.error;
    out->one_item = (lp_publish_item){out->one.category, out->one.data};
    out->items = &out->one_item;
    out->count = 1;
    return status;
}

void lp__publish_items_free(lp__publish_items *items)
{
    if (items->is_array)
        free(items->items);
    free(items->storage);
    items->items = NULL;
    items->storage = NULL;
    items->count = 0;
}
