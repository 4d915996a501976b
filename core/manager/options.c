/* The manager's options: what they default to and what is refused. */
#include <string.h>

#include "manager_private.h"

typedef struct rule {
    const char *name;
    size_t offset;
    int64_t fallback, max;
} rule;

#define RULE(name, fallback, max)                                                                  \
    {                                                                                              \
#name, offsetof(lp_manager_options, name), (fallback), (max)                               \
    }

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define ANY (INT64_MAX / 4096)

static const rule rules[] = {
    RULE(max_timeout_s, 110, INT32_MAX),
    RULE(event_buffer_max, 250, INT32_MAX),
    RULE(event_ttl_s, 0, ANY),
    RULE(waiters_max, 20000, ANY),
    RULE(categories_max, 100000, ANY),
    RULE(events_max, 1000000, ANY),
    RULE(events_bytes_max, 256 * MIB, ANY),
    RULE(event_bytes_max, MIB, 1024 * MIB),
    RULE(answer_bytes_max, 4 * MIB, ANY),
    RULE(pending_max, 65536, ANY),
    RULE(pending_bytes_max, 64 * MIB, ANY),
    RULE(poll_categories_max, 1024, INT32_MAX),
    RULE(interests_max, 1000000, ANY),
    RULE(idempotency_window_s, 86400, ANY),
    RULE(idempotency_max, 100000, ANY),
};

int lp__manager_options_fill(const lp_manager_options *given, lp_manager_options *out,
                             lp_error *error)
{
    memset(out, 0, sizeof(*out));
    if (given != NULL) {
        if (given->struct_size == 0)
            return lp_error_set(
                error, LP_EINVAL,
                "manager options: struct_size is 0 (start from LP_MANAGER_OPTIONS_INIT)");
        memcpy(out, given, given->struct_size < sizeof(*out) ? given->struct_size : sizeof(*out));
    }
    out->struct_size = sizeof(*out);
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        int64_t *value = (int64_t *)((char *)out + rules[i].offset);
        if (*value < 0)
            return lp_error_set(error, LP_EINVAL,
                                "%s is %lld: must not be negative (0 is the default)",
                                rules[i].name, (long long)*value);
        if (*value > rules[i].max)
            return lp_error_set(error, LP_EINVAL, "%s is %lld: must be at most %lld", rules[i].name,
                                (long long)*value, (long long)rules[i].max);
        if (*value == 0)
            *value = rules[i].fallback;
    }
    return LP_OK;
}
