/* libc's file calls and clock, defined here in the place of libc's: liblmdb and libsqlite3 reach
 * them because a program's own definitions come first. Each does the real thing by a bare system
 * call, so that nothing depends on the order in which libraries start, and then tells the recorder.
 * Syncs are not passed on: the recorder's disk is the one that counts. Any thread. */
#undef _FORTIFY_SOURCE
#include "power_cut_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "addons/shared/boot.h"

#pragma GCC visibility push(default)

/* ---- paths ----------------------------------------------------------------------------------- */

/* The name of an open file, "" when it has none. */
static void path_of_fd(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    long len = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[len > 0 ? len : 0] = '\0';
}

static void path_of(int dir, const char *name, char *path)
{
    size_t len = 0;
    if (name[0] != '/') {
        if (dir == AT_FDCWD) {
            if (syscall(SYS_getcwd, path, PATH_MAX) < 0)
                path[0] = '\0';
        } else {
            path_of_fd(dir, path);
        }
        len = strlen(path);
        path[len++] = '/';
    }
    snprintf(path + len, PATH_MAX - len, "%s", name);
    for (len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
        path[len - 1] = '\0';
}

/* ---- open and close -------------------------------------------------------------------------- */

static int do_open(int dir, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    pc__lock();
    int fd = (int)syscall(SYS_openat, dir, name, flags, mode);
    if (fd >= 0) {
        path_of_fd(fd, path);
        pc__opened(fd, path, flags);
    }
    pc__unlock();
    return fd;
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#define DEFINE_OPEN(name)                                                                          \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = mode_of(flags, args);                                                        \
        va_end(args);                                                                              \
        return do_open(AT_FDCWD, path, flags, mode);                                               \
    }
#define DEFINE_OPENAT(name)                                                                        \
    int name(int dir, const char *path, int flags, ...)                                            \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = mode_of(flags, args);                                                        \
        va_end(args);                                                                              \
        return do_open(dir, path, flags, mode);                                                    \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

int creat(const char *path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int close(int fd)
{
    pc__lock();
    pc__closed(fd);
    int result = (int)syscall(SYS_close, fd);
    pc__unlock();
    return result;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static ssize_t do_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    pc__lock();
    ssize_t wrote = syscall(SYS_pwrite64, fd, data, len, offset);
    if (wrote > 0)
        pc__wrote(fd, (size_t)offset, data, (size_t)wrote);
    pc__unlock();
    return wrote;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return do_pwrite(fd, data, len, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return do_pwrite(fd, data, len, offset);
}

ssize_t write(int fd, const void *data, size_t len)
{
    pc__lock();
    ssize_t wrote = syscall(SYS_write, fd, data, len);
    if (wrote > 0 && pc__is_watched(fd)) {
        long end = syscall(SYS_lseek, fd, 0, SEEK_CUR);
        pc__wrote(fd, (size_t)(end - wrote), data, (size_t)wrote);
    }
    pc__unlock();
    return wrote;
}

/* The pieces of one call, which a disk may tear apart anyway. */
static void wrote_pieces(int fd, size_t offset, const struct iovec *pieces, int count, size_t left)
{
    for (int i = 0; i < count && left > 0; i++) {
        size_t len = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        pc__wrote(fd, offset, pieces[i].iov_base, len);
        offset += len;
        left -= len;
    }
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    pc__lock();
    ssize_t wrote = syscall(SYS_writev, fd, pieces, count);
    if (wrote > 0 && pc__is_watched(fd)) {
        long end = syscall(SYS_lseek, fd, 0, SEEK_CUR);
        wrote_pieces(fd, (size_t)(end - wrote), pieces, count, (size_t)wrote);
    }
    pc__unlock();
    return wrote;
}

static ssize_t do_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    pc__lock();
    ssize_t wrote = syscall(SYS_pwritev, fd, pieces, count, offset, 0);
    if (wrote > 0 && pc__is_watched(fd))
        wrote_pieces(fd, (size_t)offset, pieces, count, (size_t)wrote);
    pc__unlock();
    return wrote;
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    return do_pwritev(fd, pieces, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off64_t offset)
{
    return do_pwritev(fd, pieces, count, offset);
}

static int do_ftruncate(int fd, off_t size)
{
    pc__lock();
    int result = (int)syscall(SYS_ftruncate, fd, size);
    if (result == 0)
        pc__sized(fd, (size_t)size, true);
    pc__unlock();
    return result;
}

int ftruncate(int fd, off_t size)
{
    return do_ftruncate(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return do_ftruncate(fd, size);
}

static int do_fallocate(int fd, int mode, off_t offset, off_t len)
{
    pc__lock();
    if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0 && pc__is_watched(fd))
        pc__not_modelled("fallocate");
    int result = (int)syscall(SYS_fallocate, fd, mode, offset, len);
    if (result == 0 && mode == 0)
        pc__sized(fd, (size_t)(offset + len), false);
    pc__unlock();
    return result;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return do_fallocate(fd, mode, offset, len);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    return do_fallocate(fd, mode, offset, len);
}

int posix_fallocate(int fd, off_t offset, off_t len)
{
    return do_fallocate(fd, 0, offset, len) == 0 ? 0 : errno;
}

int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    return do_fallocate(fd, 0, offset, len) == 0 ? 0 : errno;
}

/* ---- syncs ----------------------------------------------------------------------------------- */

int fsync(int fd)
{
    pc__lock();
    pc__sync(fd);
    pc__unlock();
    return 0;
}

int fdatasync(int fd)
{
    return fsync(fd);
}

/* It does not wait for the disk's cache: promises nothing. */
int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags)
{
    (void)fd, (void)offset, (void)len, (void)flags;
    return 0;
}

/* ---- maps ------------------------------------------------------------------------------------ */

static void *do_mmap(void *at, size_t len, int access, int flags, int fd, off_t offset)
{
    if (fd >= 0 && (access & PROT_WRITE) && (flags & MAP_SHARED)) {
        pc__lock();
        pc__mapped(fd);
        pc__unlock();
    }
    long result = syscall(SYS_mmap, at, len, access, flags, fd, offset);
    return (void *)result;
}

void *mmap(void *at, size_t len, int access, int flags, int fd, off_t offset)
{
    return do_mmap(at, len, access, flags, fd, offset);
}

void *mmap64(void *at, size_t len, int access, int flags, int fd, off64_t offset)
{
    return do_mmap(at, len, access, flags, fd, offset);
}

/* ---- names ----------------------------------------------------------------------------------- */

static int do_mkdir(int dir, const char *name, mode_t mode)
{
    char path[PATH_MAX];
    pc__lock();
    int result = (int)syscall(SYS_mkdirat, dir, name, mode);
    if (result == 0) {
        path_of(dir, name, path);
        pc__made_directory(path);
    }
    pc__unlock();
    return result;
}

int mkdir(const char *name, mode_t mode)
{
    return do_mkdir(AT_FDCWD, name, mode);
}

int mkdirat(int dir, const char *name, mode_t mode)
{
    return do_mkdir(dir, name, mode);
}

int unlinkat(int dir, const char *name, int flags)
{
    char path[PATH_MAX];
    pc__lock();
    path_of(dir, name, path);
    int result = (int)syscall(SYS_unlinkat, dir, name, flags);
    if (result == 0)
        pc__unlinked(path);
    pc__unlock();
    return result;
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

int remove(const char *name)
{
    int result = unlink(name);
    return result != 0 && errno == EISDIR ? rmdir(name) : result;
}

static int do_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    char from_path[PATH_MAX], to_path[PATH_MAX];
    pc__lock();
    path_of(from_dir, from, from_path);
    path_of(to_dir, to, to_path);
    int result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (result == 0)
        pc__renamed(from_path, to_path);
    pc__unlock();
    return result;
}

int rename(const char *from, const char *to)
{
    return do_rename(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return do_rename(from_dir, from, to_dir, to, 0);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return do_rename(from_dir, from, to_dir, to, flags);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    char from_path[PATH_MAX], to_path[PATH_MAX];
    pc__lock();
    path_of(from_dir, from, from_path);
    path_of(to_dir, to, to_path);
    int result = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    if (result == 0)
        pc__linked(from_path, to_path);
    pc__unlock();
    return result;
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- calls that no store makes so far -------------------------------------------------------- */

static int refuse(const char *call)
{
    pc__not_modelled(call);
    errno = ENOSYS;
    return -1;
}

int msync(void *at, size_t len, int flags)
{
    (void)at, (void)len, (void)flags;
    return refuse("msync");
}

int truncate(const char *path, off_t size)
{
    (void)path, (void)size;
    return refuse("truncate");
}

int truncate64(const char *path, off64_t size)
{
    (void)path, (void)size;
    return refuse("truncate64");
}

int symlink(const char *from, const char *to)
{
    (void)from, (void)to;
    return refuse("symlink");
}

int syncfs(int fd)
{
    (void)fd;
    return refuse("syncfs");
}

void sync(void)
{
    refuse("sync");
}

ssize_t sendfile(int to, int from, off_t *offset, size_t count)
{
    (void)to, (void)from, (void)offset, (void)count;
    return refuse("sendfile");
}

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t len,
                        unsigned flags)
{
    (void)from, (void)from_offset, (void)to, (void)to_offset, (void)len, (void)flags;
    return refuse("copy_file_range");
}

/* ---- clock and boot -------------------------------------------------------------------------- */

static int64_t now_us = 1000000;
static uint64_t boot_number = 1;

int64_t pc_clock_ms(void)
{
    return now_us / 1000;
}

void pc_clock_pass(int64_t ms)
{
    now_us += ms * 1000;
}

void pc_set_boot(uint64_t boot)
{
    boot_number = boot;
}

/* Every look at the clock takes 10 us, so that nobody waits for it in vain and a seed says all. */
int clock_gettime(clockid_t clock, struct timespec *out)
{
    bool is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (!is_wall && clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE &&
        clock != CLOCK_MONOTONIC_RAW && clock != CLOCK_BOOTTIME)
        return (int)syscall(SYS_clock_gettime, clock, out);
    int64_t us = __atomic_add_fetch(&now_us, 10, __ATOMIC_RELAXED);
    out->tv_sec = us / 1000000 + (is_wall ? 1750000000 : 0);
    out->tv_nsec = us % 1000000 * 1000;
    return 0;
}

#pragma GCC visibility pop

/* In the place of addons/shared/boot.c, which the linker then leaves in its archive. */
uint64_t lp__boot_number(void)
{
    return boot_number;
}
