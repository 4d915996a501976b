/* Space that is held back in FILE.reserve, so that on a full disk removals can still be kept and
 * what is dead be deleted. A checkpoint needs it: what is in the log may make the database longer.
 * While space is scarce the log is therefore kept shorter than the reserve. */
#include "inside.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { RESERVE_BYTES = 1 << 20, RESERVE_MIN = 64 << 10, SCARCE_BYTES = 16 << 20, PAGE = 4096 };

static uint64_t free_bytes(const lp__sqlite *self)
{
    struct statvfs space;
    if (statvfs(self->file, &space) != 0)
        return UINT64_MAX;
    return (uint64_t)space.f_bavail * space.f_frsize;
}

void lp__space_look(lp__sqlite *self)
{
    bool is_scarce = free_bytes(self) < SCARCE_BYTES;
    self->wal_limit = is_scarce ? (self->reserve > 0 ? self->reserve : RESERVE_MIN) / PAGE / 2
                                : LP__SQLITE_WAL_PAGES;
    if (self->wal_next > self->wal_limit && self->wal_told == 0)
        self->wal_next = self->wal_limit;
}

/* What an earlier run held back: on a full disk there would be no second chance to take it. */
static uint64_t held_back(const char *name)
{
    struct stat file;
    uint64_t has = 0;
    if (stat(name, &file) == 0 && file.st_size <= RESERVE_BYTES &&
        (uint64_t)file.st_blocks * 512 >= (uint64_t)file.st_size)
        has = (uint64_t)file.st_size;
    return has >= RESERVE_MIN ? has : 0;
}

static uint64_t hold_back(const char *name, uint64_t size)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return 0;
    bool is_held = posix_fallocate(fd, 0, (off_t)size) == 0;
    close(fd);
    if (!is_held)
        unlink(name);
    return is_held ? size : 0;
}

void lp__space_make(lp__sqlite *self)
{
    char name[LP__SQLITE_NAME_MAX];
    if (self->read_only || self->reserve > 0)
        return;
    lp__file_name(self, ".reserve", name);
    uint64_t share = free_bytes(self) / 8, size = share < RESERVE_BYTES ? share : RESERVE_BYTES;
    size &= ~(uint64_t)(PAGE - 1);
    uint64_t held = held_back(name);
    self->reserve = held >= size || size < RESERVE_MIN ? held : hold_back(name, size);
    lp__space_look(self);
}

bool lp__space_spend(lp__sqlite *self)
{
    char name[LP__SQLITE_NAME_MAX];
    lp__file_name(self, ".reserve", name);
    self->reserve = 0;
    return unlink(name) == 0;
}
