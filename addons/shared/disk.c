#include "disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { HOLD_MAX = 1 << 20, HOLD_MIN = 64 << 10, BLOCK = 4096 };

uint64_t lp__disk_free_bytes(int fd)
{
    struct statvfs disk;
    if (fstatvfs(fd, &disk) != 0)
        return UINT64_MAX;
    return (uint64_t)disk.f_bavail * disk.f_frsize;
}

static uint64_t size_for(int dir)
{
    struct statvfs disk;
    if (fstatvfs(dir, &disk) != 0 || disk.f_blocks == 0)
        return HOLD_MAX;
    uint64_t share = (uint64_t)disk.f_blocks * disk.f_frsize / 16 & ~(uint64_t)(BLOCK - 1);
    return share > HOLD_MAX ? HOLD_MAX : share < HOLD_MIN ? HOLD_MIN : share;
}

uint64_t lp__disk_hold(int dir, const char *name)
{
    uint64_t size = size_for(dir);
    struct stat stat;
    if (fstatat(dir, name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && (uint64_t)stat.st_size == size)
        return size;
    if (lp__disk_free_bytes(dir) < 4 * size)
        return 0;
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return 0;
    bool is_held = posix_fallocate(fd, 0, (off_t)size) == 0;
    close(fd);
    if (!is_held)
        unlinkat(dir, name, 0);
    return is_held ? size : 0;
}

bool lp__disk_let_go(int dir, const char *name)
{
    return unlinkat(dir, name, 0) == 0;
}
