/* See place.h. */
#include "place.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The directory that a path lies in, and its name there. False: too long. */
static bool split(const char *path, char *directory, const char **name)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (len >= PATH_MAX)
        return false;
    memcpy(directory, path, len);
    strcpy(directory + len, len == 0 ? "." : "");
    *name = slash != NULL ? slash + 1 : path;
    return true;
}

/* Whether both paths are the same name in the same directory; there need be nothing. */
static bool is_same_name(const char *a, const char *b)
{
    char of_a[PATH_MAX], of_b[PATH_MAX];
    const char *name_a, *name_b;
    struct stat stat_a, stat_b;
    return split(a, of_a, &name_a) && split(b, of_b, &name_b) && strcmp(name_a, name_b) == 0 &&
           stat(of_a, &stat_a) == 0 && stat(of_b, &stat_b) == 0 && is_same(&stat_a, &stat_b);
}

/* Whether both are one file, or would be. */
static bool is_same_file(const char *a, const char *b)
{
    struct stat stat_a, stat_b;
    if (stat(a, &stat_a) == 0 && stat(b, &stat_b) == 0 && is_same(&stat_a, &stat_b))
        return true;
    return is_same_name(a, b);
}

/* ---- a store that is a file ------------------------------------------------------------------ */

static bool is_of_file(const store_place *place, const char *store, const char *path)
{
    char companion[PATH_MAX + 32];
    bool is_found = is_same_file(store, path);
    for (const char *const *at = place->companions; !is_found && *at != NULL; at++) {
        snprintf(companion, sizeof(companion), "%s%s", store, *at);
        is_found = is_same_file(companion, path);
    }
    return is_found;
}

/* ---- one that is a directory ----------------------------------------------------------------- */

/* Whether a directory is the store's, or lies below it. */
static bool is_below(const struct stat *store, const char *directory)
{
    char at[PATH_MAX];
    struct stat there;
    if (realpath(directory, at) == NULL)
        return false;
    for (;;) {
        if (stat(at, &there) == 0 && is_same(store, &there))
            return true;
        char *slash = strrchr(at, '/');
        if (at[1] == '\0' || slash == NULL)
            return false;
        slash[slash == at] = '\0'; /* at last "/" itself */
    }
}

/* Whether one of its files is this one, which has another name elsewhere. */
static bool has_entry(const char *store, const struct stat *file)
{
    DIR *dir = opendir(store);
    const struct dirent *entry;
    struct stat there;
    bool is_found = false;
    while (dir != NULL && !is_found && (entry = readdir(dir)) != NULL)
        is_found = fstatat(dirfd(dir), entry->d_name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
                   S_ISREG(there.st_mode) && is_same(&there, file);
    if (dir != NULL)
        closedir(dir);
    return is_found;
}

static bool is_in_directory(const char *store, const char *path)
{
    char directory[PATH_MAX];
    const char *name;
    struct stat of_store, file;
    if (stat(store, &of_store) != 0 || !split(path, directory, &name))
        return false;
    if (is_below(&of_store, directory))
        return true;
    return stat(path, &file) == 0 && (is_same(&of_store, &file) || has_entry(store, &file));
}

/* ---- both ------------------------------------------------------------------------------------ */

static bool holds(const store_place *place, const char *path)
{
    char store[PATH_MAX];
    if (place->is_directory)
        return is_in_directory(place->path, path);
    if (is_of_file(place, place->path, path))
        return true;
    /* What lies beside a file may lie beside what a link names. */
    return realpath(place->path, store) != NULL && is_of_file(place, store, path);
}

bool place_holds(const store_place *place, const char *path)
{
    char target[PATH_MAX];
    struct stat there;
    bool exists = stat(path, &there) == 0;
    if (exists && !S_ISREG(there.st_mode) && !S_ISDIR(there.st_mode))
        return false;
    /* A link is looked at as such, and for what it leads to. */
    return holds(place, path) || (exists && realpath(path, target) != NULL && holds(place, target));
}
