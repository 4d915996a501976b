/* Stores by name: what --store and the command line mean by "sqlite:FILE". Any thread. */
#ifndef TOOL_STORES_H
#define TOOL_STORES_H

#include <stdbool.h>

#include <longpoll/addon.h>

/* Makes the add-on that `spec` names, without touching anything: "memory" (`*out` is NULL) or
 * "KIND:PATH?option=value&…" with a kind of store_kinds(). The caller owns it and frees it with its
 * `destroy`, unless a manager or a store takes it over. LP_EINVAL with a sentence; LP_ENOMEM. */
int store_new(const char *spec, bool read_only, lp_addon **out, lp_error *error);

#define STORE_PATH_MAX 4096

/* Where a store lies, for who makes one under another name first and renames it. */
typedef struct store_place {
    const char *kind; /* "sqlite" */
    char path[STORE_PATH_MAX];
    const char *options; /* "?sync=always", or ""; borrowed from the spec */
    bool is_directory;
    const char *const *companions; /* suffixes of files beside the path, the last one NULL */
} store_place;

/* LP_EINVAL with a sentence: not a good spec, or "memory", which lies nowhere. LP_ENOMEM. */
int store_place_of(const char *spec, store_place *out, lp_error *error);

/* How stores that are compiled in are written: "memory, journal:DIR, sqlite:FILE or lmdb:DIR". */
const char *store_kinds(void);

/* Their names, for --version: "memory journal sqlite lmdb". */
const char *store_names(void);

#endif
