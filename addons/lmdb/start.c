/* The start of a store: its directory, its lock, whether LMDB can have the file, and what was lost.
 */
#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shared/directory.h"
#include "../shared/lock.h"

/* ---- the directory and its lock -------------------------------------------------------------- */

static int directory_error(const lp__lmdb *lmdb, lp_replay *replay, const char *name)
{
    int code = errno;
    char reason[96];
    const char *text = strerror_r(code, reason, sizeof(reason));
    switch (code) {
    case EACCES:
    case EPERM:
    case EROFS:
        return lp_replay_error(replay, LP_EACCES,
                               "lmdb \"%s\": %s%s (give this user the right to write there, or "
                               "use another directory)",
                               lmdb->path, name, text);
    case ENOTDIR:
    case EEXIST:
        return lp_replay_error(replay, LP_ENOTFOUND,
                               "lmdb \"%s\": not a directory (name a directory of its own)",
                               lmdb->path);
    case ENOENT:
        return lp_replay_error(replay, LP_ENOTFOUND, "lmdb \"%s\": %s (%s)", lmdb->path, text,
                               lmdb->read_only ? "there is nothing to read"
                                               : "make its parent directory first");
    case ENOMEM:
        return lp_replay_error(replay, LP_ENOMEM, "lmdb \"%s\": %sout of memory", lmdb->path, name);
    default:
        return lp_replay_error(replay, code == ENOSPC ? LP_ENOSPC : LP_EIO,
                               "lmdb \"%s\": cannot open %s: %s", lmdb->path,
                               name[0] != '\0' ? name : "the directory", text);
    }
}

static int open_directory(lp__lmdb *lmdb, lp_replay *replay)
{
    if (!lmdb->read_only) {
        if (mkdir(lmdb->path, 0700) == 0)
            lp__directory_sync_parent(lmdb->path);
        else if (errno != EEXIST)
            return directory_error(lmdb, replay, "");
    }
    lmdb->dir = open(lmdb->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lmdb->dir >= 0)
        lmdb->real_path = realpath(lmdb->path, NULL);
    return lmdb->real_path != NULL ? LP_OK : directory_error(lmdb, replay, "");
}

static int take_lock(lp__lmdb *lmdb, lp_replay *replay)
{
    long holder;
    int status = lp__lock_take(lmdb->dir, LP__LOCK_NAME, lmdb->read_only, &lmdb->lock, &holder);
    if (status != LP_EINUSE)
        return status == LP_OK ? LP_OK : directory_error(lmdb, replay, LP__LOCK_NAME ": ");
    char who[40] = "another process";
    if (holder > 0)
        snprintf(who, sizeof(who), "process %ld", holder);
    return lp_replay_error(replay, LP_EINUSE,
                           "lmdb \"%s\": in use by %s (stop it, or use another directory)",
                           lmdb->path, who);
}

/* The lock file says that what lies beside it is a store: its name is on disk before that of the
 * data file, or a power cut could leave a store that is taken for somebody else's. */
static int sync_lock_name(lp__lmdb *lmdb, lp_replay *replay)
{
    if (lmdb->read_only || faccessat(lmdb->dir, LP__DATA_NAME, F_OK, 0) == 0 ||
        fsync(lmdb->dir) == 0)
        return LP_OK;
    return directory_error(lmdb, replay, "cannot be synced: ");
}

void lp__lmdb_close(lp__lmdb *lmdb)
{
    lp__lmdb_env_close(lmdb);
    if (lmdb->lock >= 0)
        close(lmdb->lock);
    if (lmdb->dir >= 0)
        close(lmdb->dir);
    lmdb->lock = lmdb->dir = -1;
    free(lmdb->real_path);
    lmdb->real_path = NULL;
}

/* ---- what was set aside ---------------------------------------------------------------------- */

void lp__lmdb_count_set_aside(lp__lmdb *lmdb, uint64_t *files, uint64_t *rows, uint64_t *next)
{
    *files = *rows = 0;
    *next = 1;
    int fd = openat(lmdb->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    const struct dirent *entry;
    size_t prefix = strlen(LP__SET_ASIDE_PREFIX);
    while ((entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, LP__ROWS_ASIDE_PREFIX, strlen(LP__ROWS_ASIDE_PREFIX)) == 0)
            ++*rows;
        if (strncmp(entry->d_name, LP__SET_ASIDE_PREFIX, prefix) != 0)
            continue;
        ++*files;
        uint64_t number = strtoull(entry->d_name + prefix, NULL, 10);
        if (number >= *next && number < UINT64_MAX)
            *next = number + 1;
    }
    closedir(dir);
}

/* The file goes out of the way whole, and LMDB's lock file, which belongs to it. */
static int set_aside(lp__lmdb *lmdb, lp_replay *replay, const char *problem)
{
    char name[64], detail[1024];
    uint64_t files, rows, next;
    lmdb->meta.has_loss = true;
    if (lmdb->read_only) {
        snprintf(detail, sizeof(detail),
                 "lmdb \"%s\": " LP__DATA_NAME " is damaged (%s), nothing in it can be read (left "
                 "in place)",
                 lmdb->path, problem);
        return lp_replay_loss(replay, 0, detail);
    }
    lp__lmdb_count_set_aside(lmdb, &files, &rows, &next);
    snprintf(name, sizeof(name), LP__SET_ASIDE_PREFIX "%llu", (unsigned long long)next);
    lp__lmdb_env_drop_lock_file(lmdb);
    if (renameat(lmdb->dir, LP__DATA_NAME, lmdb->dir, name) != 0 || fsync(lmdb->dir) != 0)
        return directory_error(lmdb, replay, LP__DATA_NAME ": ");
    snprintf(detail, sizeof(detail),
             "lmdb \"%s\": " LP__DATA_NAME " is damaged (%s), it was set aside as %s and a new "
             "one is begun",
             lmdb->path, problem, name);
    return lp_replay_loss(replay, 0, detail);
}

/* ---- what the file is ------------------------------------------------------------------------ */

/* Why a store that has no content is not a new one; NULL: it is. LMDB's lock file is made before
 * the data file, and both go when data is set aside. */
static const char *find_gone(lp__lmdb *lmdb)
{
    uint64_t files, rows, next;
    struct stat stat;
    bool has_file = fstatat(lmdb->dir, LP__DATA_NAME, &stat, 0) == 0;
    lp__lmdb_count_set_aside(lmdb, &files, &rows, &next);
    if (files > 0)
        return "an earlier start set " LP__SET_ASIDE_PREFIX "… aside, and kept nothing since";
    if (has_file && stat.st_size == 0)
        return LP__DATA_NAME " is empty";
    if (!has_file && faccessat(lmdb->dir, LP__MDB_LOCK_NAME, F_OK, 0) == 0)
        return LP__DATA_NAME " is missing";
    return NULL;
}

static int begin_new(lp__lmdb *lmdb, lp_replay *replay)
{
    char detail[512];
    const char *gone = lmdb->meta.has_loss ? NULL : find_gone(lmdb);
    lmdb->meta.is_clean = true;
    if (gone == NULL)
        return LP_OK;
    lmdb->meta.has_loss = true;
    snprintf(detail, sizeof(detail), "lmdb \"%s\": %s", lmdb->path, gone);
    return lp_replay_loss(replay, 0, detail);
}

static int refuse_version(lp__lmdb *lmdb, lp_replay *replay, lp__image_state state,
                          const lp__image *image, unsigned version)
{
    if (state == LP__IMAGE_FOREIGN)
        return lp_replay_error(replay, LP_EVERSION,
                               "lmdb \"%s\": " LP__DATA_NAME " is the environment of another "
                               "program (name a directory of its own)",
                               lmdb->path);
    if (state == LP__IMAGE_VERSION)
        return lp_replay_error(replay, LP_EVERSION,
                               "lmdb \"%s\": " LP__DATA_NAME " has %s and this library's LMDB "
                               "knows format 1 (use the LMDB that wrote it)",
                               lmdb->path, image->problem);
    return lp_replay_error(replay, LP_EVERSION,
                           "lmdb \"%s\": " LP__DATA_NAME " has format version %u and this library "
                           "knows version %d (use the library that wrote it, or a newer one)",
                           lmdb->path, version, LP__LMDB_FORMAT_VERSION);
}

/* On another boot, at less than `always`, nobody knows what the kernel had not written yet. */
static const char *find_loss(const lp__lmdb *lmdb, const lp__image *image)
{
    const lp__meta *meta = &lmdb->meta;
    bool is_same_boot = meta->boot != 0 && meta->boot == lmdb->boot;
    if (meta->has_loss)
        return "an earlier start lost history, and no floor was kept since";
    if (image->has_stale_meta)
        return "its meta pages are not of successive transactions: the last one may be missing";
    if (!meta->is_clean && !is_same_boot && meta->sync != LP_SYNC_ALWAYS)
        return "it was not closed before this machine went down, and its sync level was below "
               "always: the events of the last moments may be missing";
    return NULL;
}

static int read_meta(lp__lmdb *lmdb, lp_replay *replay, const lp__image *image)
{
    unsigned version;
    lp__meta_state state = lp__lmdb_meta_decode(&image->meta, &lmdb->meta, &version);
    if (state == LP__META_VERSION)
        return refuse_version(lmdb, replay, LP__IMAGE_GOOD, image, version);
    const char *loss = "its meta row is damaged";
    if (state == LP__META_GOOD)
        loss = find_loss(lmdb, image);
    if (loss == NULL)
        return LP_OK;
    lmdb->damaged_records += state == LP__META_DAMAGED;
    lmdb->meta.has_loss = true;
    char detail[1024];
    snprintf(detail, sizeof(detail), "lmdb \"%s\": %s", lmdb->path, loss);
    return lp_replay_loss(replay, state == LP__META_DAMAGED, detail);
}

/* What the last run had committed and not synced becomes durable before anybody sees it. */
static int sync_data(lp__lmdb *lmdb, lp_replay *replay)
{
    if (lmdb->read_only)
        return LP_OK;
    int fd = openat(lmdb->dir, LP__DATA_NAME, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return directory_error(lmdb, replay, LP__DATA_NAME ": ");
    int status = LP_OK;
    if (!lmdb->meta.is_clean && lmdb->sync != LP_SYNC_NEVER && fdatasync(fd) != 0) {
        char detail[512];
        lp__lmdb_failed(lmdb, "cannot sync " LP__DATA_NAME, errno);
        snprintf(detail, sizeof(detail), "lmdb \"%s\": %s", lmdb->path, lmdb->problem);
        lmdb->is_durable = lmdb->meta.has_loss = true;
        status = lp_replay_loss(replay, 0, detail);
    }
    close(fd);
    return status;
}

static int use_image(lp__lmdb *lmdb, lp_replay *replay, lp__image *image)
{
    if (!image->has_rows)
        return begin_new(lmdb, replay);
    int status = read_meta(lmdb, replay, image);
    if (status == LP_OK)
        status = sync_data(lmdb, replay);
    return status == LP_OK ? lp__lmdb_replay(lmdb, replay, image) : status;
}

static int read_data(lp__lmdb *lmdb, lp_replay *replay, lp__image *image)
{
    unsigned version;
    lp__image_state state = lp__lmdb_image_open(image, lmdb->dir, LP__DATA_NAME);
    if (state == LP__IMAGE_FAILED)
        return directory_error(lmdb, replay, LP__DATA_NAME ": ");
    if (state == LP__IMAGE_FOREIGN || state == LP__IMAGE_VERSION)
        return refuse_version(lmdb, replay, state, image, 0);
    if (state == LP__IMAGE_GOOD) {
        lp__meta unused;
        if (image->has_rows &&
            lp__lmdb_meta_decode(&image->meta, &unused, &version) == LP__META_VERSION)
            return refuse_version(lmdb, replay, state, image, version);
        int status = lp__lmdb_image_check(image);
        if (status == LP_OK)
            return use_image(lmdb, replay, image);
        if (status != LP_EDAMAGED)
            return lp_replay_error(replay, status, "lmdb \"%s\": out of memory", lmdb->path);
    }
    if (state == LP__IMAGE_NONE)
        return begin_new(lmdb, replay);
    int status = set_aside(lmdb, replay, image->problem);
    return status == LP_OK ? begin_new(lmdb, replay) : status;
}

/* A full disk is no reason not to start: the first batch tries again. */
static int open_env(lp__lmdb *lmdb, lp_replay *replay)
{
    if (lmdb->read_only)
        return LP_OK;
    int status = lp__lmdb_env_open(lmdb);
    if (status == LP_ENOSPC) {
        lp_replay_log(replay, "lmdb \"%s\": %s", lmdb->path, lmdb->problem);
        return LP_OK;
    }
    if (status != LP_OK)
        return lp_replay_error(replay, status, "lmdb \"%s\": %s", lmdb->path, lmdb->problem);
    return LP_OK;
}

/* A damaged store is told from a wrong path by the lock file, which every store has: what stands
 * beside none and cannot be read is somebody else's, and is left alone. */
static int refuse_foreign(lp__lmdb *lmdb, lp_replay *replay)
{
    lp__image image = {0};
    lp__image_state state = lp__lmdb_image_open(&image, lmdb->dir, LP__DATA_NAME);
    int status = LP_OK;
    if (faccessat(lmdb->dir, "lock", F_OK, 0) == 0) /* a journal's */
        status = lp_replay_error(replay, LP_EVERSION,
                                 "lmdb \"%s\": it holds a journal, or something else with a file "
                                 "\"lock\" (name a directory of its own)",
                                 lmdb->path);
    else if (state == LP__IMAGE_FAILED)
        status = directory_error(lmdb, replay, LP__DATA_NAME ": ");
    else if (state == LP__IMAGE_GOOD && !image.has_rows)
        status = refuse_version(lmdb, replay, LP__IMAGE_FOREIGN, &image, 0);
    else if (state == LP__IMAGE_FOREIGN || state == LP__IMAGE_VERSION)
        status = refuse_version(lmdb, replay, state, &image, 0);
    else if (state == LP__IMAGE_DAMAGED)
        status = lp_replay_error(replay, LP_EVERSION,
                                 "lmdb \"%s\": " LP__DATA_NAME
                                 " is no store's (%s), and no " LP__LOCK_NAME
                                 " says that it was one (name another directory; if "
                                 "it was one, make an empty file of that name)",
                                 lmdb->path, image.problem);
    lp__lmdb_image_close(&image);
    return status;
}

int lp__lmdb_start(lp__lmdb *lmdb, lp_replay *replay)
{
    lp__image image = {0};
    int status = open_directory(lmdb, replay);
    bool had_lock = status == LP_OK && faccessat(lmdb->dir, LP__LOCK_NAME, F_OK, 0) == 0;
    if (status == LP_OK && !had_lock)
        status = refuse_foreign(lmdb, replay);
    if (status == LP_OK)
        status = take_lock(lmdb, replay);
    if (status == LP_OK)
        status = sync_lock_name(lmdb, replay);
    if (status == LP_OK && !lmdb->read_only && had_lock)
        unlinkat(lmdb->dir, LP__COMPACT_NAME, 0);
    if (status == LP_OK)
        status = read_data(lmdb, replay, &image);
    lp__lmdb_image_close(&image);
    return status == LP_OK ? open_env(lmdb, replay) : status;
}
