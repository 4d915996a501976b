/* The real file calls and clocks of the journal. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "../shared/boot.h"
#include "journal_private.h"

static int real_open(void *ctx, int dir, const char *name, int flags, mode_t mode)
{
    (void)ctx;
    int fd;
    do
        fd = openat(dir, name, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static int real_close(void *ctx, int fd)
{
    (void)ctx;
    return close(fd);
}

static ssize_t real_pread(void *ctx, int fd, void *data, size_t len, off_t offset)
{
    (void)ctx;
    return pread(fd, data, len, offset);
}

static ssize_t real_pwrite(void *ctx, int fd, const void *data, size_t len, off_t offset)
{
    (void)ctx;
    return pwrite(fd, data, len, offset);
}

static void real_begin_writeback(void *ctx, int fd, off_t offset, off_t len)
{
    (void)ctx;
#if defined(SYNC_FILE_RANGE_WRITE)
    sync_file_range(fd, offset, len, SYNC_FILE_RANGE_WRITE);
#else
    (void)fd, (void)offset, (void)len;
#endif
}

static int real_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    return fdatasync(fd);
}

static int real_fsync_dir(void *ctx, int dir)
{
    (void)ctx;
    return fsync(dir);
}

static int real_ftruncate(void *ctx, int fd, off_t size)
{
    (void)ctx;
    return ftruncate(fd, size);
}

static int real_rename(void *ctx, int dir, const char *from, const char *to)
{
    (void)ctx;
    return renameat(dir, from, dir, to);
}

static int real_link(void *ctx, int dir, const char *from, const char *to)
{
    (void)ctx;
    return linkat(dir, from, dir, to, 0);
}

static int real_unlink(void *ctx, int dir, const char *name)
{
    (void)ctx;
    return unlinkat(dir, name, 0);
}

static int64_t real_monotonic_us(void *ctx)
{
    (void)ctx;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t real_wall_ms(void *ctx)
{
    (void)ctx;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t real_boot(void *ctx)
{
    (void)ctx;
    return lp__boot_number();
}

lp__journal_io lp__journal_io_real(void)
{
    return (lp__journal_io){
        .open = real_open,
        .close = real_close,
        .pread = real_pread,
        .pwrite = real_pwrite,
        .begin_writeback = real_begin_writeback,
        .fdatasync = real_fdatasync,
        .fsync_dir = real_fsync_dir,
        .ftruncate = real_ftruncate,
        .rename = real_rename,
        .link = real_link,
        .unlink = real_unlink,
        .monotonic_us = real_monotonic_us,
        .wall_ms = real_wall_ms,
        .boot = real_boot,
    };
}
