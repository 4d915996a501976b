/* Space that is held back in FILE.reserve, so that on a full disk removals can still be kept and
 * what is dead be deleted. A checkpoint needs it: what is in the log may make the database longer.
 * While space is scarce the log is therefore kept shorter than the reserve. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
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

void lp__space_make(lp__sqlite *self)
{
    char name[LP__SQLITE_NAME_MAX];
    uint64_t share = free_bytes(self) / 8, size = share < RESERVE_BYTES ? share : RESERVE_BYTES;
    size &= ~(uint64_t)(PAGE - 1);
    if (self->read_only || self->reserve > 0 || size < RESERVE_MIN)
        return;
    lp__file_name(self, ".reserve", name);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (posix_fallocate(fd, 0, (off_t)size) == 0)
        self->reserve = size;
    else
        unlink(name);
    close(fd);
    lp__space_look(self);
}

bool lp__space_spend(lp__sqlite *self)
{
    char name[LP__SQLITE_NAME_MAX];
    if (self->reserve == 0)
        return false;
    lp__file_name(self, ".reserve", name);
    self->reserve = 0;
    return unlink(name) == 0;
}
