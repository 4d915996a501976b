/* See store.h. */
#include "store.h"

#include <stdio.h>
#include <string.h>

#include <longpoll/journal.h>

#include "values.h"

static int set_sync(lp_journal_options *options, const char *value, lp_error *error)
{
    static const char interval[] = "interval:";
    if (strcmp(value, "always") == 0) {
        options->sync = LP_SYNC_ALWAYS;
    } else if (strcmp(value, "never") == 0) {
        options->sync = LP_SYNC_NEVER;
    } else if (strcmp(value, "interval") == 0) {
        options->sync = LP_SYNC_INTERVAL;
    } else if (strncmp(value, interval, sizeof(interval) - 1) == 0 &&
               value_duration_ms(value + sizeof(interval) - 1, &options->sync_interval_ms) &&
               options->sync_interval_ms > 0) {
        options->sync = LP_SYNC_INTERVAL;
    } else {
        return lp_error_set(error, LP_EINVAL,
                            "sync \"%s\" is none of always, interval:1s (any time) and never",
                            value);
    }
    return LP_OK;
}

static int set_option(lp_journal_options *options, char *text, lp_error *error)
{
    char *value = strchr(text, '=');
    if (value == NULL)
        return lp_error_set(error, LP_EINVAL, "option \"%s\" has no value (write option=value)",
                            text);
    *value++ = '\0';
    if (strcmp(text, "sync") == 0)
        return set_sync(options, value, error);
    if (strcmp(text, "segment") == 0) {
        if (!value_bytes(value, &options->segment_bytes) || options->segment_bytes == 0)
            return lp_error_set(error, LP_EINVAL, "segment \"%s\" is no size (such as 16MiB)",
                                value);
        return LP_OK;
    }
    return lp_error_set(error, LP_EINVAL, "unknown option \"%s\" (there are sync and segment)",
                        text);
}

static int journal_new(const char *text, lp_addon **out, lp_error *error)
{
    lp_journal_options options = LP_JOURNAL_OPTIONS_INIT;
    char directory[4096];
    if (strlen(text) >= sizeof(directory))
        return lp_error_set(error, LP_EINVAL, "the path is longer than %zu bytes",
                            sizeof(directory) - 1);
    strcpy(directory, text);

    char *rest = strchr(directory, '?');
    if (rest != NULL) {
        char *next, *at = rest + 1;
        *rest = '\0';
        for (; at != NULL; at = next) {
            next = strchr(at, '&');
            if (next != NULL)
                *next++ = '\0';
            int status = set_option(&options, at, error);
            if (status != LP_OK)
                return status;
        }
    }
    if (directory[0] == '\0')
        return lp_error_set(error, LP_EINVAL, "no directory is named (write journal:DIR)");
    return lp_journal_new(directory, &options, out, error);
}

int store_new(const char *spec, lp_addon **out, lp_error *error)
{
    static const char journal[] = "journal:";
    *out = NULL;
    if (strcmp(spec, "memory") == 0)
        return LP_OK;
    if (strncmp(spec, journal, sizeof(journal) - 1) == 0)
        return journal_new(spec + sizeof(journal) - 1, out, error);
    return lp_error_set(error, LP_EINVAL, "unknown store (write memory or journal:DIR)");
}
