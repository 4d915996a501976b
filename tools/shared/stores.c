/* See stores.h. */
#include "stores.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <longpoll/journal.h>
#ifdef LONGPOLL_SQLITE
#include <longpoll/sqlite.h>
#endif
#ifdef LONGPOLL_LMDB
#include <longpoll/lmdb.h>
#endif

#include "values.h"

/* What may stand behind the "?", for all kinds together. */
typedef struct store_options {
    lp_sync sync;
    int64_t sync_interval_ms;
    int64_t segment_bytes; /* of the journal alone */
    bool read_only;
    bool has_sync, has_segment; /* it was said */
} store_options;

typedef struct store_kind {
    const char *name;
    bool has_segments;
    bool is_directory;
    const char *const *companions; /* of a file: what lies beside it */
    int (*make)(const char *path, const store_options *options, lp_addon **out, lp_error *error);
} store_kind;

static int journal_make(const char *path, const store_options *options, lp_addon **out,
                        lp_error *error)
{
    lp_journal_options own = LP_JOURNAL_OPTIONS_INIT;
    own.sync = options->sync;
    own.sync_interval_ms = options->sync_interval_ms;
    own.segment_bytes = options->segment_bytes;
    own.read_only = options->read_only;
    return lp_journal_new(path, &own, out, error);
}

static const char *const no_companions[] = {NULL};

#ifdef LONGPOLL_SQLITE
static const char *const sqlite_companions[] = {"-wal",  "-shm",     "-journal",
                                                ".lock", ".reserve", NULL};

static int sqlite_make(const char *path, const store_options *options, lp_addon **out,
                       lp_error *error)
{
    lp_sqlite_options own = LP_SQLITE_OPTIONS_INIT;
    own.sync = options->sync;
    own.sync_interval_ms = options->sync_interval_ms;
    own.read_only = options->read_only;
    return lp_sqlite_new(path, &own, out, error);
}
#define SQLITE_NAME " sqlite"
#define SQLITE_KIND ", sqlite:FILE"
#else
#define SQLITE_NAME ""
#define SQLITE_KIND ""
#endif

#ifdef LONGPOLL_LMDB
static int lmdb_make(const char *path, const store_options *options, lp_addon **out,
                     lp_error *error)
{
    lp_lmdb_options own = LP_LMDB_OPTIONS_INIT;
    own.sync = options->sync;
    own.sync_interval_ms = options->sync_interval_ms;
    own.read_only = options->read_only;
    return lp_lmdb_new(path, &own, out, error);
}
#define LMDB_NAME " lmdb"
#define LMDB_KIND ", lmdb:DIR"
#else
#define LMDB_NAME ""
#define LMDB_KIND ""
#endif

static const store_kind kinds[] = {
    {"journal", true, true, no_companions, journal_make},
#ifdef LONGPOLL_SQLITE
    {"sqlite", false, false, sqlite_companions, sqlite_make},
#endif
#ifdef LONGPOLL_LMDB
    {"lmdb", false, true, no_companions, lmdb_make},
#endif
};

const char *store_kinds(void)
{
    return "memory, journal:DIR" SQLITE_KIND LMDB_KIND;
}

const char *store_names(void)
{
    return "memory journal" SQLITE_NAME LMDB_NAME;
}

static int set_sync(store_options *options, const char *value, lp_error *error)
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

/* Which of the two was meant is not known. */
static int set_once(bool *is_set, const char *name, lp_error *error)
{
    if (*is_set)
        return lp_error_set(error, LP_EINVAL, "option \"%s\" is given twice (leave one away)",
                            name);
    *is_set = true;
    return LP_OK;
}

static int set_segment(store_options *options, const char *value, lp_error *error)
{
    if (!value_bytes(value, &options->segment_bytes) || options->segment_bytes == 0)
        return lp_error_set(error, LP_EINVAL, "segment \"%s\" is no size (such as 16MiB)", value);
    return LP_OK;
}

static int set_option(const store_kind *kind, store_options *options, char *text, lp_error *error)
{
    char *value = strchr(text, '=');
    if (value == NULL)
        return lp_error_set(error, LP_EINVAL, "option \"%s\" has no value (write option=value)",
                            text);
    *value++ = '\0';
    if (strcmp(text, "sync") == 0) {
        int status = set_once(&options->has_sync, text, error);
        return status == LP_OK ? set_sync(options, value, error) : status;
    }
    if (strcmp(text, "segment") == 0 && kind->has_segments) {
        int status = set_once(&options->has_segment, text, error);
        return status == LP_OK ? set_segment(options, value, error) : status;
    }
    return lp_error_set(error, LP_EINVAL, "unknown option \"%s\" (%s)", text,
                        kind->has_segments ? "there are sync and segment" : "there is sync");
}

/* `path` is what follows "KIND:", and is cut into pieces. */
static int set_options(const store_kind *kind, store_options *options, char *path, lp_error *error)
{
    char *rest = strchr(path, '?'), *next;
    if (rest == NULL)
        return LP_OK;
    *rest = '\0';
    int status = LP_OK;
    for (char *at = rest + 1; at != NULL && status == LP_OK; at = next) {
        next = strchr(at, '&');
        if (next != NULL)
            *next++ = '\0';
        status = set_option(kind, options, at, error);
    }
    return status;
}

/* The kind that `spec` begins with, and the path and options behind it. */
static const store_kind *kind_find(const char *spec, const char **rest)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t len = strlen(kinds[i].name);
        if (strncmp(spec, kinds[i].name, len) == 0 && spec[len] == ':') {
            *rest = spec + len + 1;
            return &kinds[i];
        }
    }
    return NULL;
}

int store_new(const char *spec, bool read_only, lp_addon **out, lp_error *error)
{
    *out = NULL;
    if (strcmp(spec, "memory") == 0)
        return LP_OK;
    const char *rest;
    const store_kind *kind = kind_find(spec, &rest);
    if (kind == NULL)
        return lp_error_set(error, LP_EINVAL, "unknown store (there are %s)", store_kinds());
    store_options options = {.read_only = read_only};
    char path[STORE_PATH_MAX];
    if (strlen(rest) >= sizeof(path))
        return lp_error_set(error, LP_EINVAL, "the path is longer than %zu bytes",
                            sizeof(path) - 1);
    strcpy(path, rest);
    int status = set_options(kind, &options, path, error);
    if (status == LP_OK && path[0] == '\0')
        status = lp_error_set(error, LP_EINVAL, "no path is named (write %s:PATH)", kind->name);
    return status == LP_OK ? kind->make(path, &options, out, error) : status;
}

int store_place_of(const char *spec, store_place *out, lp_error *error)
{
    lp_addon *addon;
    int status = store_new(spec, true, &addon, error); /* so that all of it is known to be good */
    if (status != LP_OK)
        return status;
    const char *rest;
    const store_kind *kind = kind_find(spec, &rest);
    if (kind == NULL)
        return lp_error_set(error, LP_EINVAL, "it keeps nothing (name another store)");
    addon->destroy(addon);
    size_t len = strcspn(rest, "?");
    memcpy(out->path, rest, len);
    out->path[len] = '\0';
    out->kind = kind->name;
    out->options = rest + len;
    out->is_directory = kind->is_directory;
    out->companions = kind->companions;
    return LP_OK;
}
