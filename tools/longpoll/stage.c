/* See stage.h. */
#include "stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <longpoll/store.h>

#define SUFFIX ".longpoll-loading"

static int failed(const char *what, const char *path, lp_error *error)
{
    int status = errno == ENOSPC ? LP_ENOSPC : errno == EACCES ? LP_EACCES : LP_EIO;
    return lp_error_set(error, status, "%s \"%.200s\": %s", what, path, strerror(errno));
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool is_empty_directory(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return false;
    const struct dirent *entry;
    bool is_empty = true;
    while (is_empty && (entry = readdir(dir)) != NULL)
        is_empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(dir);
    return is_empty;
}

/* A store's directory has no directories in it. */
static void remove_directory(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL)
        unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    rmdir(path);
}

/* PATH and a companion's suffix. */
static void beside(const char *path, const char *suffix, char *out, size_t size)
{
    snprintf(out, size, "%s%s", path, suffix);
}

/* The directory that a path lies in. */
static int open_parent(const char *path)
{
    char parent[STORE_PATH_MAX + 32];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    memcpy(parent, path, len);
    strcpy(parent + len, len == 0 ? "." : "");
    return open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* What is made: that file, and all files beside it whose names go on with '-' or '.'. */
static void remove_files(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    size_t len = strlen(name);
    int fd = open_parent(path);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL)
        return;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, name, len) == 0 && strchr("-.", entry->d_name[len]) != NULL)
            unlinkat(fd, entry->d_name, 0);
    }
    closedir(dir);
}

static void remove_staged(const store_stage *stage)
{
    if (stage->place.is_directory)
        remove_directory(stage->path);
    else
        remove_files(stage->path);
}

static void sync_parent(const char *path)
{
    int fd = open_parent(path);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

/* ---- before ---------------------------------------------------------------------------------- */

/* Whether nothing is lost when a store takes this place. */
static int check_place(store_stage *stage, lp_error *error)
{
    const store_place *place = &stage->place;
    char path[STORE_PATH_MAX + 32];
    struct stat stat_of;
    for (const char *const *at = place->companions; *at != NULL; at++) {
        beside(place->path, *at, path, sizeof(path));
        if ((*at)[0] == '-' && stat(path, &stat_of) == 0)
            return lp_error_set(error, LP_EACCES,
                                "%s \"%s\": the file \"%s\" of an older store is there (remove it, "
                                "or name another store)",
                                place->kind, place->path, path);
    }
    if (stat(place->path, &stage->replaced) != 0)
        return errno == ENOENT ? LP_OK : failed("cannot look at", place->path, error);
    stage->replaces = true;
    if (place->is_directory ? is_empty_directory(place->path)
                            : S_ISREG(stage->replaced.st_mode) && stage->replaced.st_size == 0)
        return LP_OK;
    return lp_error_set(error, LP_EACCES,
                        "%s \"%s\": exists and is not empty (a store is made anew: remove this "
                        "one, or name another)",
                        place->kind, place->path);
}

/* What a run before left behind is removed, unless it is no leftover. */
static int remove_leftover(const store_stage *stage, lp_error *error)
{
    lp_addon *addon;
    lp_store *store;
    lp_error why;
    int status = store_new(stage->spec, true, &addon, error);
    if (status != LP_OK)
        return status;
    status = lp_store_open(addon, NULL, &store, &why);
    if (status == LP_OK)
        lp_store_close(store, 0, NULL);
    if (status == LP_EINUSE)
        return lp_error_set(error, LP_EINUSE, "%s (it is being made: wait, or stop that)",
                            why.message);
    remove_staged(stage);
    return access(stage->path, F_OK) != 0 ? LP_OK : failed("cannot remove", stage->path, error);
}

int stage_begin(const char *spec, store_stage *out, lp_error *error)
{
    memset(out, 0, sizeof(*out));
    lp_error why = {0};
    int status = store_place_of(spec, &out->place, &why);
    if (status != LP_OK)
        return lp_error_set(error, status, "\"%.200s\": %s", spec, why.message);
    store_place *place = &out->place;
    for (size_t len = strlen(place->path); len > 1 && place->path[len - 1] == '/';)
        place->path[--len] = '\0';
    beside(place->path, SUFFIX, out->path, sizeof(out->path));
    snprintf(out->spec, sizeof(out->spec), "%s:%s%.4000s", place->kind, out->path, place->options);
    status = check_place(out, error);
    return status == LP_OK ? remove_leftover(out, error) : status;
}

/* ---- after ----------------------------------------------------------------------------------- */

/* One file with the owner and the rights of what the store replaces, as far as we may. */
static void own(const store_stage *stage, int dir, const char *name, mode_t rights)
{
    if (fchownat(dir, name, stage->replaced.st_uid, stage->replaced.st_gid, 0) == 0)
        fchmodat(dir, name, rights, 0);
}

/* The store as a whole. Those who could use an empty directory or file can use what it has become.
 */
static void own_all(const store_stage *stage)
{
    char path[sizeof(stage->path) + 32];
    mode_t rights = stage->replaced.st_mode & 07777, of_files = rights & 0666;
    own(stage, AT_FDCWD, stage->path, rights);
    for (const char *const *at = stage->place.companions; *at != NULL; at++) {
        beside(stage->path, *at, path, sizeof(path));
        own(stage, AT_FDCWD, path, of_files);
    }
    DIR *dir = stage->place.is_directory ? opendir(stage->path) : NULL;
    if (dir == NULL)
        return;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            own(stage, dirfd(dir), entry->d_name, of_files);
    closedir(dir);
}

static int rename_companions(const store_stage *stage, lp_error *error)
{
    char from[sizeof(stage->path) + 32], to[STORE_PATH_MAX + 32];
    for (const char *const *at = stage->place.companions; *at != NULL; at++) {
        beside(stage->path, *at, from, sizeof(from));
        beside(stage->place.path, *at, to, sizeof(to));
        if (rename(from, to) != 0 && errno != ENOENT)
            return failed("cannot rename to", to, error);
    }
    return LP_OK;
}

int stage_commit(store_stage *stage, lp_error *error)
{
    const char *path = stage->place.path;
    if (stage->replaces)
        own_all(stage);
    /* Its companions first: without them it would not be whole. */
    int status = rename_companions(stage, error);
    if (status != LP_OK)
        return status;
    unsigned flags = stage->place.is_directory || stage->replaces ? 0 : RENAME_NOREPLACE;
    if (renameat2(AT_FDCWD, stage->path, AT_FDCWD, path, flags) != 0 &&
        (errno != EINVAL || rename(stage->path, path) != 0))
        return failed("cannot rename to", path, error);
    sync_parent(path);
    return LP_OK;
}

void stage_abandon(store_stage *stage)
{
    remove_staged(stage);
}
