/* See log.h. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static lp_log_level threshold = LP_LOG_INFO;

static const char *level_name(lp_log_level level)
{
    switch (level) {
    case LP_LOG_ERROR:
        return "error";
    case LP_LOG_WARN:
        return "warn ";
    case LP_LOG_INFO:
        return "info ";
    default:
        return "debug";
    }
}

void log_set_level(lp_log_level level)
{
    threshold = level;
}

void log_from_library(void *ctx, lp_log_level level, const char *line)
{
    (void)ctx;
    if (level > threshold)
        return;

    struct timespec now;
    struct tm utc;
    char when[32], entry[1024];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &utc);
    int length = snprintf(entry, sizeof(entry) - 1, "%s.%03dZ %s %s", when,
                          (int)(now.tv_nsec / 1000000), level_name(level), line);
    size_t size = length < (int)sizeof(entry) - 1 ? (size_t)length : sizeof(entry) - 2;

    /* What strangers sent may be quoted in a line; it must not forge another one. */
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)entry[i] < ' ' || entry[i] == '\x7f')
            entry[i] = '?';
    }
    entry[size++] = '\n';
    /* One write, so that lines of two threads do not mix; a log that cannot be written is no reason
     * to stop. */
    ssize_t written = write(STDERR_FILENO, entry, size);
    (void)written;
}

void log_write(lp_log_level level, const char *format, ...)
{
    char line[900];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    log_from_library(NULL, level, line);
}
