/* Status codes and their texts. Any thread. */
#include <stdarg.h>
#include <stdio.h>

#include <longpoll/status.h>

const char *lp_strerror(int status)
{
    switch (status) {
#define LP_STATUS_TEXT(name, value, text)                                                          \
    case value:                                                                                    \
        return text;
        LP_STATUS_MAP(LP_STATUS_TEXT)
#undef LP_STATUS_TEXT
    default:
        return "unknown status";
    }
}

const char *lp_status_name(int status)
{
    switch (status) {
#define LP_STATUS_NAME(name, value, text)                                                          \
    case value:                                                                                    \
        return #name;
        LP_STATUS_MAP(LP_STATUS_NAME)
#undef LP_STATUS_NAME
    default:
        return "UNKNOWN";
    }
}

int lp_error_set(lp_error *error, int status, const char *format, ...)
{
    if (error == NULL)
        return status;
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof(error->message), format, args);
    va_end(args);
    error->status = status;
    return status;
}
