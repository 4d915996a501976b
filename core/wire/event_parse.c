/* From the text of an event back to the event: the inverse of lp_event_wire. Any thread. */
#include <longpoll/event.h>
#include <longpoll/json.h>

#include <string.h>

enum { FIELD_TIMESTAMP, FIELD_CATEGORY, FIELD_DATA, FIELD_ID, FIELDS };

static const char *const field_names[FIELDS] = {"timestamp", "category", "data", "id"};

/* So much of what was wrong goes into a message. */
#define SHOWN(text) (int)((text).len < 60 ? (text).len : 60), (text).base

/* The values of the four members; others are passed over. */
static int find_fields(lp_str object, lp_str fields[FIELDS], lp_error *error)
{
    lp_str name, value;
    const char *at = object.base;
    for (int i = 0; i < FIELDS; i++)
        fields[i] = (lp_str){NULL, 0};
    while (lp_json_member(&at, &name, &value)) {
        for (int i = 0; i < FIELDS; i++) {
            if (!lp_json_is(name, field_names[i]))
                continue;
            if (fields[i].base)
                return lp_error_set(error, LP_EINVAL, "event: it has \"%s\" twice", field_names[i]);
            fields[i] = value;
            break;
        }
    }
    for (int i = 0; i < FIELDS; i++) {
        if (!fields[i].base)
            return lp_error_set(error, LP_EINVAL, "event: it has no \"%s\"", field_names[i]);
    }
    return LP_OK;
}

static int read_id(lp_str field, lp_id *id, lp_error *error)
{
    char text[64];
    size_t len = field.base[0] == '"' ? lp_json_unescape(field, text, sizeof(text)) : 0;
    if (len == 0 || len > sizeof(text) || lp_id_parse((lp_str){text, len}, id) != LP_OK)
        return lp_error_set(error, LP_EINVAL, "event: id %.*s is no UUID", SHOWN(field));
    if (lp_id_version(*id) != 7 || lp_id_seq(*id) == 0)
        return lp_error_set(error, LP_EINVAL,
                            "event: id %.*s is a UUID of version %d, ids here are of version 7",
                            SHOWN(field), lp_id_version(*id));
    return LP_OK;
}

/* Whether the timestamp says what the id says, in its plainest form. */
static int check_timestamp(lp_str field, lp_id id, lp_error *error)
{
    char digits[24], *at = digits + sizeof(digits);
    uint64_t ms = (uint64_t)lp_seq_ms(lp_id_seq(id));
    do
        *--at = (char)('0' + ms % 10);
    while ((ms /= 10) != 0);
    size_t len = (size_t)(digits + sizeof(digits) - at);
    if (field.len == len && memcmp(field.base, at, len) == 0)
        return LP_OK;
    return lp_error_set(error, LP_EINVAL,
                        "event: timestamp %.*s is not that of its id, which is %.*s", SHOWN(field),
                        (int)len, at);
}

int lp_event_parse(lp_str text, lp_event **out, lp_error *error)
{
    lp_str object, fields[FIELDS];
    *out = NULL;
    if (!lp_json_check(text, &object) || object.base[0] != '{')
        return lp_error_set(error, LP_EINVAL, "event: it is no JSON object");
    lp_id id;
    int status = find_fields(object, fields, error);
    if (status == LP_OK)
        status = read_id(fields[FIELD_ID], &id, error);
    if (status == LP_OK)
        status = check_timestamp(fields[FIELD_TIMESTAMP], id, error);
    if (status != LP_OK)
        return status;

    char category[LP_CATEGORY_MAX];
    size_t len = fields[FIELD_CATEGORY].base[0] == '"'
                     ? lp_json_unescape(fields[FIELD_CATEGORY], category, sizeof(category))
                     : 0;
    if (len == 0 || len > sizeof(category))
        return lp_error_set(error, LP_EINVAL, "event: category %.*s is no string of 1 to %d bytes",
                            SHOWN(fields[FIELD_CATEGORY]), LP_CATEGORY_MAX);
    status = lp_event_new(id, (lp_str){category, len}, fields[FIELD_DATA], out);
    return status == LP_OK ? LP_OK : lp_error_set(error, status, "event: %s", lp_strerror(status));
}
