/* The body of a publish. See publish_body.h.
 *
 * Go decodes it into struct { Category string; Data interface{} }, which settles all odd cases: the
 * first JSON value of the body counts; `null` for the whole decodes to nothing; names match without
 * regard to ASCII case (none of their letters has another fold); of several the last one counts; a
 * null leaves the category as it was and sets the data to nil; a category that is no string spoils
 * the whole, even when a good one follows. */
#include "publish_body.h"

#include <string.h>

#include "../engine/json.h"

static const char invalid_json[] = "{\"error\": \"Invalid POST body json.\"}";
static const char invalid_category[] =
    "{\"error\": \"Invalid or missing 'category' arg, must be 1-1024 characters long.\"}";
static const char invalid_data[] =
    "{\"error\": \"Invalid or missing 'data' arg, must be non-nil.\"}";
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

int lp__publish_body_read(lp_str body, lp__publish_body *out)
{
    out->category = out->data = out->error = (lp_str){NULL, 0};
    const char *at = body.base;
    lp_str whole;
    if (!body.len || lp__json_value(&at, body.base + body.len, &whole) != LP_OK)
        return refuse(out, invalid_json);
    if (is_null(whole))
        return refuse(out, invalid_category);
    if (whole.base[0] != '{')
        return refuse(out, invalid_json);

    lp_str name, value;
    size_t category_len = 0;
    at = whole.base;
    while (lp__json_member(&at, &name, &value)) {
        if (is_name(name, "data")) {
            out->data = is_null(value) ? (lp_str){NULL, 0} : value;
        } else if (is_name(name, "category") && !is_null(value)) {
            if (value.base[0] != '"')
                return refuse(out, invalid_json);
            category_len = lp__json_unescape(value, out->storage, sizeof(out->storage));
        }
    }
    if (category_len < 1 || category_len > LP_CATEGORY_MAX)
        return refuse(out, invalid_category);
    if (!out->data.base)
        return refuse(out, invalid_data);
    out->category = (lp_str){out->storage, category_len};
    return LP_OK;
}
