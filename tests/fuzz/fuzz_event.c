/* The text of an event and back: what is read comes out as the same text, and what one is made of
 * comes back to the byte. */
#include <cjson/cJSON.h>

#include "fuzz.h"
#include "json_reference.h"

/* Whatever this library writes it reads again. */
static void round_trip(const lp_event *event)
{
    lp_event *again = NULL;
    lp_error error = {LP_OK, ""};
    lp_str wire = lp_event_wire(event);
    char *text = fuzz_copy(wire.base, wire.len);
    FUZZ_HOLDS(lp_event_parse((lp_str){text, wire.len}, &again, &error) == LP_OK,
               "an event's text is read again");
    FUZZ_HOLDS(fuzz_equal(lp_event_wire(again), wire), "an event's text is the same again");
    FUZZ_HOLDS(fuzz_equal(lp_event_category(again), lp_event_category(event)),
               "a category comes back");
    FUZZ_HOLDS(fuzz_equal(lp_event_data(again), lp_event_data(event)),
               "data come back to the byte");
    lp_id id = lp_event_id(event), back = lp_event_id(again);
    FUZZ_HOLDS(memcmp(id.bytes, back.bytes, sizeof(id.bytes)) == 0, "an id comes back");
    FUZZ_HOLDS(lp_event_seq(event) == lp_id_seq(id) &&
                   lp_event_timestamp_ms(event) == lp_seq_ms(lp_id_seq(id)),
               "number and time are those of the id");
    lp_event_unref(again);
    free(text);
}

static void read_text(lp_str text)
{
    lp_event *event = NULL;
    lp_error error = {LP_OK, ""};
    int status = lp_event_parse(text, &event, &error);
    if (status != LP_OK) {
        FUZZ_HOLDS(event == NULL && error.status == status && error.message[0] != '\0',
                   "what is refused has a sentence and no event");
        return;
    }
    FUZZ_HOLDS(lp_event_category(event).len >= 1 && lp_event_category(event).len <= LP_CATEGORY_MAX,
               "a category has its bounds");
    FUZZ_HOLDS(json_reference_utf8(lp_event_wire(event)), "an event is UTF-8");
    cJSON_Delete(lp_event_cjson(event));
    round_trip(event);
    lp_event_unref(event);
}

/* 16 bytes of an id, the length of a category, the category, and the rest is data. */
static void make(const uint8_t *data, size_t size)
{
    lp_id id;
    if (size < 18)
        return;
    memcpy(id.bytes, data, sizeof(id.bytes));
    size_t len = (size_t)(data[16] << 8 | data[17]) % 1100, left = size - 18;
    len = len < left ? len : left;
    char *text = fuzz_copy(data + 18, left);
    lp_str category = {text, len}, json = {text + len, left - len};
    json_facts facts = {false, false};
    const char *start, *end = json.base + json.len;
    const char *behind = json_reference_value(json.base, end, &start, &facts);
    bool is_json = behind != NULL && json_reference_space(behind, end) == end;
    bool is_good = lp_id_version(id) == 7 && len >= 1 && len <= LP_CATEGORY_MAX &&
                   json_reference_utf8(category) && is_json;
    lp_event *event = NULL;
    int status = lp_event_new(id, category, json, &event);
    if (lp_id_seq(id) != 0)
        FUZZ_HOLDS((status == LP_OK) == is_good, "an event is made of what may be one");
    if (status == LP_OK) {
        FUZZ_HOLDS(fuzz_equal(lp_event_category(event), category), "the category is kept");
        FUZZ_HOLDS(fuzz_inside((lp_str){start, 1}, json) && lp_event_data(event).len <= json.len,
                   "the data are kept");
        if (lp_id_seq(id) != 0)
            round_trip(event);
        lp_event_unref(event);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_copy(data, size);
    read_text((lp_str){text, size});
    make(data, size);
    free(text);
    return 0;
}
