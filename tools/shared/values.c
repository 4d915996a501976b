/* See values.h. */
#include "values.h"

#include <string.h>

typedef struct unit {
    const char *name;
    int64_t factor;
} unit;

/* Reads digits and moves behind them. */
static bool digits(const char **at, int64_t *out)
{
    const char *start = *at;
    int64_t value = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        int digit = **at - '0';
        if (value > (INT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return *at != start;
}

static const unit *unit_find(const unit *units, const char *name)
{
    for (; units->name != NULL; units++) {
        if (strcmp(units->name, name) == 0)
            return units;
    }
    return NULL;
}

bool value_count(const char *text, int64_t *out)
{
    return digits(&text, out) && *text == '\0';
}

bool value_bytes(const char *text, int64_t *out)
{
    static const unit units[] = {{"", 1},
                                 {"KiB", INT64_C(1) << 10},
                                 {"MiB", INT64_C(1) << 20},
                                 {"GiB", INT64_C(1) << 30},
                                 {NULL, 0}};
    int64_t number;
    if (!digits(&text, &number))
        return false;
    const unit *found = unit_find(units, text);
    if (found == NULL || number > INT64_MAX / found->factor)
        return false;
    *out = number * found->factor;
    return true;
}

bool value_duration_ms(const char *text, int64_t *out)
{
    static const unit units[] = {{"", 1000},     {"ms", 1},       {"s", 1000}, {"m", 60000},
                                 {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
    int64_t whole, fraction = 0, scale = 1;
    if (!digits(&text, &whole))
        return false;
    if (*text == '.') {
        const char *start = ++text;
        if (!digits(&text, &fraction) || text - start > 6)
            return false;
        for (; start < text; start++)
            scale *= 10;
    }
    const unit *found = unit_find(units, text);
    if (found == NULL || fraction * found->factor % scale != 0 ||
        whole > INT64_MAX / found->factor - 1)
        return false;
    *out = whole * found->factor + fraction * found->factor / scale;
    return true;
}
