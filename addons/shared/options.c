/* See options.h. */
#include "options.h"

#include <string.h>

int lp__options_read(void *out, size_t size, const void *given, const char *init, lp_error *error)
{
    size_t given_size = size;
    if (given == NULL)
        return LP_OK;
    memcpy(&given_size, given, sizeof(given_size));
    if (given_size < sizeof(given_size))
        return lp_error_set(error, LP_EINVAL, "options: struct_size is %zu (start from %s)",
                            given_size, init);
    memcpy(out, given, given_size < size ? given_size : size);
    return LP_OK;
}

int lp__options_check_sync(const char *name, lp_sync sync, int64_t interval_ms, lp_error *error)
{
    if (sync != LP_SYNC_INTERVAL && sync != LP_SYNC_ALWAYS && sync != LP_SYNC_NEVER)
        return lp_error_set(error, LP_EINVAL, "%s: sync is %d, which is no lp_sync", name,
                            (int)sync);
    if (interval_ms < 0 || interval_ms > INT64_MAX / 1000000)
        return lp_error_set(error, LP_EINVAL,
                            "%s: sync_interval_ms is %lld (0 means %d, or give a number above 0)",
                            name, (long long)interval_ms, LP__SYNC_INTERVAL_MS);
    return LP_OK;
}
