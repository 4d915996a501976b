/* The files beside the database: their names, and how a new one takes the place of a damaged one.
 *
 * The database itself is never opened here: closing any descriptor of it would drop the locks that
 * SQLite holds on it for this process. */
#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shared/errno_status.h"

void lp__file_name(const lp__sqlite *self, const char *suffix, char *out)
{
    snprintf(out, LP__SQLITE_NAME_MAX, "%s%s", self->file, suffix);
}

bool lp__file_size(const lp__sqlite *self, const char *suffix, uint64_t *size)
{
    char name[LP__SQLITE_NAME_MAX];
    struct stat stat_buffer;
    lp__file_name(self, suffix, name);
    *size = 0;
    if (stat(name, &stat_buffer) != 0)
        return false;
    *size = (uint64_t)stat_buffer.st_size;
    return true;
}

static int failed(lp__sqlite *self, const char *what, const char *suffix)
{
    int code = errno;
    char reason[96];
    int status = lp__sqlite_problem(self, lp__status_of_errno(code), "%s %s%s: %s", what,
                                    self->path, suffix, strerror_r(code, reason, sizeof(reason)));
    self->failed_code = SQLITE_IOERR;
    self->failed_errno = code;
    return status;
}

void lp__file_remove_new(const lp__sqlite *self)
{
    static const char *const suffixes[] = {".new", ".tmp", ".tmp-journal", ".tmp-wal", ".tmp-shm"};
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char name[LP__SQLITE_NAME_MAX];
        lp__file_name(self, suffixes[i], name);
        unlink(name);
    }
}

static int open_dir(const lp__sqlite *self)
{
    char name[LP__SQLITE_NAME_MAX];
    lp__file_name(self, "", name);
    char *slash = strrchr(name, '/'); /* there always is one */
    slash[slash == name] = '\0';
    return open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int lp__file_sync_dir(lp__sqlite *self)
{
    int fd = open_dir(self);
    int status = LP_OK;
    if (fd < 0 || fsync(fd) != 0)
        status = failed(self, "cannot sync the directory of", "");
    if (fd >= 0)
        close(fd);
    return status;
}

/* ---- setting aside --------------------------------------------------------------------------- */

static bool is_there(const lp__sqlite *self, const char *suffix)
{
    uint64_t size;
    return lp__file_size(self, suffix, &size);
}

static void aside_suffix(unsigned number, const char *part, char *out, size_t size)
{
    snprintf(out, size, ".damaged-%u%s", number, part);
}

/* The first number that names no file yet, beginning with 1. */
static unsigned next_aside(const lp__sqlite *self)
{
    unsigned number = 1;
    for (;; number++) {
        char file[32], log[32];
        aside_suffix(number, "", file, sizeof(file));
        aside_suffix(number, "-wal", log, sizeof(log));
        if (!is_there(self, file) && !is_there(self, log))
            return number;
    }
}

uint64_t lp__file_count_aside(const lp__sqlite *self)
{
    const char *base = strrchr(self->file, '/') + 1;
    size_t len = strlen(base);
    int fd = open_dir(self);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    uint64_t count = 0;
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;
        if (strncmp(name, base, len) != 0 || strncmp(name + len, ".damaged-", 9) != 0)
            continue;
        const char *digits = name + len + 9;
        size_t n = strspn(digits, "0123456789");
        count += n > 0 && digits[n] == '\0';
    }
    closedir(dir);
    return count;
}

static int rename_part(lp__sqlite *self, const char *from, const char *to)
{
    char old[LP__SQLITE_NAME_MAX], new[LP__SQLITE_NAME_MAX];
    lp__file_name(self, from, old);
    lp__file_name(self, to, new);
    if (rename(old, new) == 0 || errno == ENOENT)
        return LP_OK;
    return failed(self, "cannot rename", from);
}

int lp__file_complete(lp__sqlite *self)
{
    int status = rename_part(self, ".tmp", ".new");
    return status == LP_OK ? lp__file_sync_dir(self) : status;
}

/* FILE goes first: a start that finds FILE.new without FILE knows that it has to go on with this.
 * The log must be away before FILE.new gets its name, or SQLite would take it for the new one's. */
int lp__file_swap(lp__sqlite *self)
{
    uint64_t size, log;
    bool has_file = lp__file_size(self, "", &size) && size > 0;
    bool has_log = lp__file_size(self, "-wal", &log) && log > 0;
    char file[32], aside[40], index[LP__SQLITE_NAME_MAX];
    unsigned n = has_file || has_log ? next_aside(self) : 0;
    if (!has_file && n > 1) { /* the log of what an interrupted swap has set aside already */
        aside_suffix(n - 1, "-wal", aside, sizeof(aside));
        n -= !is_there(self, aside);
    }
    aside_suffix(n, "", file, sizeof(file));
    aside_suffix(n, "-wal", aside, sizeof(aside));
    int status = has_file ? rename_part(self, "", file) : LP_OK;
    if (status == LP_OK && has_log)
        status = rename_part(self, "-wal", aside);
    if (status != LP_OK)
        return status;
    lp__file_name(self, "-shm", index);
    unlink(index);
    if (!has_log) {
        lp__file_name(self, "-wal", index);
        unlink(index);
    }
    status = has_file || has_log ? lp__file_sync_dir(self) : LP_OK;
    if (status == LP_OK)
        status = rename_part(self, ".new", "");
    return status == LP_OK ? lp__file_sync_dir(self) : status;
}
