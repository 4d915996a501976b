/* The first half of a start: the lock, the file, and what table meta says of the last run. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shared/lock.h"

static int file_error(const lp__sqlite *self, lp_replay *replay, int code)
{
    char reason[96];
    const char *text = strerror_r(code, reason, sizeof(reason));
    switch (code) {
    case EACCES:
    case EPERM:
    case EROFS:
        return lp_replay_error(replay, LP_EACCES,
                               "sqlite \"%s\": %s (give this user the right to write to the file "
                               "and its directory, or name another file)",
                               self->path, text);
    case ENOENT:
    case ENOTDIR:
        return lp_replay_error(replay, LP_ENOTFOUND, "sqlite \"%s\": %s (%s)", self->path, text,
                               self->read_only ? "there is nothing to read"
                                               : "make its directory first");
    case EISDIR:
        return lp_replay_error(replay, LP_ENOTFOUND,
                               "sqlite \"%s\": not a regular file (name a file of its own)",
                               self->path);
    default:
        return lp_replay_error(replay, LP_EIO, "sqlite \"%s\": %s (check the disk)", self->path,
                               text);
    }
}

/* ---- its name -------------------------------------------------------------------------------- */

/* Where a symbolic link that leads to no file points. False: it is none, or cannot be read. */
static bool follow(char *name)
{
    char to[LP__SQLITE_NAME_MAX];
    ssize_t len = readlink(name, to, sizeof(to) - 1);
    if (len <= 0)
        return false;
    to[len] = '\0';
    size_t head = to[0] == '/' ? 0 : (size_t)(strrchr(name, '/') + 1 - name);
    if (head + (size_t)len >= LP__SQLITE_NAME_MAX)
        return false;
    memcpy(name + head, to, (size_t)len + 1);
    return true;
}

/* Its directory without links, and its last part. */
static char *resolve_new(char *name)
{
    char *slash = strrchr(name, '/'), last[LP__SQLITE_NAME_MAX], *directory, *path = NULL;
    snprintf(last, sizeof(last), "%s", slash + 1);
    slash[1] = '\0';
    directory = realpath(name, NULL);
    size_t size = directory != NULL ? strlen(directory) + strlen(last) + 2 : 0;
    if (directory != NULL && (path = malloc(size)) != NULL)
        snprintf(path, size, "%s/%s", directory[1] != '\0' ? directory : "", last);
    free(directory);
    return path;
}

/* One file has one name here, and one lock: whatever links lead to it, and wherever the program
 * goes with chdir later. */
static int resolve(lp__sqlite *self, lp_replay *replay)
{
    enum { LINKS_MAX = 40 };
    char name[LP__SQLITE_NAME_MAX];
    struct stat stat_buffer;
    lp__file_name(self, "", name);
    char *path = realpath(name, NULL);
    if (path == NULL && errno == ENOENT) {
        for (int i = 0; i < LINKS_MAX && follow(name);)
            i++;
        path = resolve_new(name);
    }
    if (path != NULL && strlen(path) > LP__SQLITE_PATH_MAX - 64) {
        free(path);
        path = NULL;
        errno = ENAMETOOLONG;
    }
    if (path == NULL)
        return file_error(self, replay, errno);
    free(self->file);
    self->file = path;
    if (stat(path, &stat_buffer) == 0 && S_ISREG(stat_buffer.st_mode) && stat_buffer.st_nlink > 1)
        return lp_replay_error(replay, LP_ENOTFOUND,
                               "sqlite \"%s\": the file has another name too, a hard link, under "
                               "which its log and its lock would not be found (remove one of them)",
                               self->path);
    return LP_OK;
}

/* ---- whose it is ----------------------------------------------------------------------------- */

/* Damage is told from a wrong path by the lock file, which every store has had beside it: a file
 * that is no database and has none is somebody else's, and is left alone. SQLite says which it is:
 * opening and closing the file here would drop the locks that this process has on it. */
static int refuse_foreign(const lp__sqlite *self, lp_replay *replay)
{
    return lp_replay_error(replay, LP_EVERSION,
                           "sqlite \"%s\": it is no SQLite database, and was none of this "
                           "library's (name another file)",
                           self->path);
}

/* Whose FILE.new this is cannot be known: no store has been here. */
static int refuse_new(const lp__sqlite *self, lp_replay *replay)
{
    return lp_replay_error(replay, LP_EVERSION,
                           "sqlite \"%s\": there is a file of this name with .new or .tmp behind "
                           "it, and it is none of this library's (move it away, or name another "
                           "file)",
                           self->path);
}

static bool has_new(const lp__sqlite *self)
{
    uint64_t size;
    return lp__file_size(self, ".new", &size) || lp__file_size(self, ".tmp", &size);
}

static int take_lock(lp__sqlite *self, lp_replay *replay)
{
    char name[LP__SQLITE_NAME_MAX], who[40] = "another process";
    long holder;
    lp__file_name(self, ".lock", name);
    self->had_lock = access(name, F_OK) == 0;
    int status = lp__lock_take(AT_FDCWD, name, self->read_only, &self->lock, &holder);
    if (status != LP_EINUSE)
        return status == LP_OK ? LP_OK : file_error(self, replay, errno);
    if (holder > 0)
        snprintf(who, sizeof(who), "process %ld", holder);
    return lp_replay_error(replay, LP_EINUSE,
                           "sqlite \"%s\": in use by %s (stop it, or name another file)",
                           self->path, who);
}

static int said(const lp__sqlite *self, lp_replay *replay, int status)
{
    return lp_replay_error(replay, status, "sqlite \"%s\": %s%s", self->path, self->problem,
                           lp__sqlite_remedy(self, status));
}

/* ---- the file -------------------------------------------------------------------------------- */

/* A rebuild that a crash has cut short: FILE.new without FILE is complete. */
static int finish_swap(lp__sqlite *self, lp_replay *replay)
{
    uint64_t size;
    bool has_file = lp__file_size(self, "", &size), is_whole = lp__file_size(self, ".new", &size);
    if (!self->had_lock)
        return LP_OK;
    if (is_whole && !has_file && lp__file_swap(self) != LP_OK)
        return said(self, replay, self->failed_status);
    lp__file_remove_new(self);
    return LP_OK;
}

/* Begins a new file. `loss`: why the old one is not gone on with, NULL: there was none. */
static int begin_new(lp__sqlite *self, lp_replay *replay, const char *loss)
{
    if (!self->had_lock && has_new(self))
        return refuse_new(self, replay);
    /* The lock is there before FILE.tmp is, also after a power cut: it says whose that is. */
    int status = self->had_lock ? LP_OK : lp__file_sync_dir(self);
    if (status == LP_OK)
        status = lp__rebuild(self, loss);
    if (status == LP_OK)
        status = lp__db_open(self);
    if (status != LP_OK)
        return said(self, replay, status);
    return LP_OK;
}

static int look_at_file(lp__sqlite *self, lp_replay *replay, bool *is_there, bool *is_empty)
{
    struct stat stat_buffer;
    uint64_t log;
    *is_there = stat(self->file, &stat_buffer) == 0;
    if (!*is_there && (errno != ENOENT || self->read_only))
        return file_error(self, replay, errno);
    if (*is_there && !S_ISREG(stat_buffer.st_mode))
        return file_error(self, replay, EISDIR);
    bool has_log = lp__file_size(self, "-wal", &log) && log > 0;
    *is_empty = (*is_there && stat_buffer.st_size == 0) || (!*is_there && has_log);
    return LP_OK;
}

/* SQLite needs some space before it can read, for its index of the log. On a full disk it is what
 * was held back. */
static int open_db(lp__sqlite *self)
{
    int status = lp__db_open(self);
    if (status != LP_ENOSPC || self->read_only || !self->had_lock || !lp__space_spend(self))
        return status;
    lp__db_close(self, true);
    return lp__db_open(self);
}

/* Opens what is there, or begins anew. `*loss` is filled when what was there is no database. */
static int open_file(lp__sqlite *self, lp_replay *replay, char *loss, size_t size)
{
    bool is_there = false, is_empty = false;
    int status = look_at_file(self, replay, &is_there, &is_empty);
    if (status != LP_OK)
        return status;
    if (is_empty && !self->had_lock && !self->read_only)
        return begin_new(self, replay, NULL); /* made by hand, for this store to be in */
    if (is_empty) {
        snprintf(loss, size,
                 "sqlite \"%.200s\": the file is empty or missing, and a store never leaves it "
                 "so: what it held is lost (%s)",
                 self->path, self->read_only ? "left as it is" : "a new one is begun");
        return self->read_only ? LP_OK : begin_new(self, replay, loss);
    }
    if (!is_there)
        return begin_new(self, replay, NULL);
    status = open_db(self);
    if (status != LP_EDAMAGED)
        return status == LP_OK ? LP_OK : said(self, replay, status);
    if (!self->had_lock && (self->failed_code & 0xff) == SQLITE_NOTADB)
        return refuse_foreign(self, replay);
    snprintf(loss, size, "sqlite \"%.200s\": SQLite cannot read it: %.60s (%s)", self->path,
             self->problem,
             self->read_only ? "left in place"
                             : "set aside whole as FILE.damaged-NUMBER, and begun anew with what "
                               "could be read");
    if (!self->read_only)
        return begin_new(self, replay, loss);
    sqlite3_exec(self->db, "PRAGMA writable_schema=ON", NULL, NULL, NULL);
    return LP_OK;
}

/* ---- what the last run left ------------------------------------------------------------------ */

/* What it had written and not synced becomes durable before anybody sees it. */
static int sync_log(lp__sqlite *self, lp_replay *replay, const lp__meta *meta)
{
    if (meta->clean || self->read_only || self->sync == LP_SYNC_NEVER)
        return LP_OK;
    if (lp__wal_sync(self) == LP_OK)
        return LP_OK;
    self->news[0] = '\0';
    char detail[400];
    snprintf(detail, sizeof(detail), "sqlite \"%.200s\": %.150s", self->path, self->problem);
    return lp__sqlite_loss(self, replay, 0, detail);
}

static int tell_last_run(lp__sqlite *self, lp_replay *replay, const lp__meta *meta)
{
    char detail[400];
    bool is_same_boot = meta->boot != 0 && meta->boot == self->boot;
    self->meta_is_bad = !meta->is_good;
    if (meta->loss[0] != '\0') {
        self->loss_kept = true;
        return lp__sqlite_loss(self, replay, 0, meta->loss);
    }
    if (!meta->is_good) {
        snprintf(detail, sizeof(detail),
                 "sqlite \"%.200s\": its table meta is damaged (it will be written anew)",
                 self->path);
        return lp__sqlite_loss(self, replay, 1, detail);
    }
    if (meta->clean || is_same_boot || meta->sync == LP_SYNC_ALWAYS)
        return LP_OK;
    snprintf(detail, sizeof(detail),
             "sqlite \"%.200s\": it was not closed before this machine went down, and its sync "
             "level was below always: the events of the last moments may be missing",
             self->path);
    return lp__sqlite_loss(self, replay, 0, detail);
}

/* After a start that failed: a lock that it made beside what may be somebody else's file would say
 * to the next one that it is ours. A FILE.new of ours needs it for that. */
static void drop_lock(const lp__sqlite *self, int status)
{
    char name[LP__SQLITE_NAME_MAX];
    lp__file_name(self, ".lock", name);
    if (self->lock >= 0 && !self->had_lock && (status == LP_EVERSION || !has_new(self)))
        unlink(name);
}

int lp__sqlite_open(lp__sqlite *self, lp_replay *replay)
{
    char loss[400] = "";
    lp__meta meta;
    bool damaged = false;
    int status = resolve(self, replay);
    if (status == LP_OK)
        status = take_lock(self, replay);
    if (status == LP_OK && !self->read_only)
        status = finish_swap(self, replay);
    if (status == LP_OK)
        status = open_file(self, replay, loss, sizeof(loss));
    if (status != LP_OK) {
        drop_lock(self, status);
        return status;
    }
    self->set_aside = lp__file_count_aside(self);
    if (self->db == NULL) /* an empty file, to be read only */
        return lp__sqlite_loss(self, replay, 0, loss);
    status = lp__meta_read(self, self->db, &meta, &damaged);
    if (status != LP_OK)
        return said(self, replay, status);
    self->highest = self->meta_highest = meta.highest;
    self->voids = meta.voids;
    if (loss[0] != '\0' && meta.loss[0] == '\0')
        return lp__sqlite_loss(self, replay, 0, loss);
    status = sync_log(self, replay, &meta);
    return status == LP_OK ? tell_last_run(self, replay, &meta) : status;
}

void lp__sqlite_close(lp__sqlite *self, bool keep_log)
{
    lp__db_close(self, keep_log || self->read_only);
    if (self->lock >= 0)
        close(self->lock);
    self->lock = -1;
}
