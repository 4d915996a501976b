/* See bench_store_options.h. */
#include "bench_store_options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../shared/values.h"
#include "say.h"

int numbers_read(const number_flag *numbers)
{
    for (; numbers->name != NULL; numbers++) {
        int64_t value;
        if (numbers->text == NULL)
            continue;
        if (!value_count(numbers->text, &value) || value < numbers->least || value > numbers->most)
            return say_usage("--%s \"%s\": no number of %" PRId64 " to %" PRId64, numbers->name,
                             numbers->text, numbers->least, numbers->most);
        *numbers->out = value;
    }
    return -1;
}

bool is_listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; (at = strstr(at, name)) != NULL; at += len)
        if ((at == list || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
            return true;
    return false;
}

int list_check(const char *name, const char *given, const char *known)
{
    for (const char *at = given;; at++) {
        char word[32];
        size_t len = strcspn(at, ",");
        snprintf(word, sizeof(word), "%.*s", (int)len, at);
        if (len == 0 || len >= sizeof(word) || !is_listed(known, word))
            return say_usage("--%s \"%s\": \"%.*s\" is none of %s", name, given, (int)len, at,
                             known);
        at += len;
        if (*at == '\0')
            return -1;
    }
}
