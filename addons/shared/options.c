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
