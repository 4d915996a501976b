/* A line of a dump, as `longpoll store load` reads it: what is taken has what its kind promises,
 * and what is not has a sentence. */
#include "fuzz.h"
#include "tools/longpoll/dump_format.h"

static void check_special(const dump_line *line, lp_str text)
{
    FUZZ_HOLDS(line->event == NULL, "what is no event has none");
    switch (line->kind) {
    case DUMP_HORIZON:
        FUZZ_HOLDS(line->category.len >= 1 && line->category.len <= LP_CATEGORY_MAX &&
                       line->category.base == line->storage,
                   "a horizon has a category");
        /* fall through */
    case DUMP_FLOOR:
    case DUMP_HIGHEST:
        FUZZ_HOLDS(line->seq >= 1 && line->seq <= INT64_MAX, "a number is one of an event");
        break;
    case DUMP_IDEMPOTENCY:
        FUZZ_HOLDS(line->key.key.len >= 1 && line->key.key.len <= 255 &&
                       line->key.key.base == line->storage,
                   "a key has its bounds");
        FUZZ_HOLDS(line->key.seq <= INT64_MAX && line->key.expires_ms >= 0,
                   "its numbers have theirs");
        FUZZ_HOLDS(text.len > 2 * line->key.key.len, "a key was all in the line");
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_copy(data, size), *again = fuzz_copy(data, size);
    dump_line *line = malloc(sizeof(*line));
    lp_error error = {LP_OK, ""};
    FUZZ_HOLDS(line != NULL, "there is memory");
    memset(line, 0xa5, sizeof(*line));
    int status = dump_parse((lp_str){text, size}, line, &error);
    if (status != LP_OK) {
        FUZZ_HOLDS(error.status == status && error.message[0] != '\0', "an error has a sentence");
        FUZZ_HOLDS(line->event == NULL, "a line that is refused has no event");
    } else if (line->kind != DUMP_EVENT) {
        check_special(line, (lp_str){text, size});
    } else {
        FUZZ_HOLDS(line->event != NULL && lp_event_seq(line->event) >= 1, "an event is one");
        /* line ends that the list put back are the only bytes that may differ */
        for (size_t i = 0; i < size; i++)
            FUZZ_HOLDS(text[i] == again[i] || (text[i] == '\n' && again[i] == ' '),
                       "only blanks become line ends");
        lp_event_unref(line->event);
    }
    free(line);
    free(again);
    free(text);
    return 0;
}
