/* See bench_store_files.h. One thread. */
#include "bench_store_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shared/load_figures.h"

#define READ_BYTES (1 << 20)

static uint64_t read_one(const char *path, const struct stat *st)
{
    static char buffer[READ_BYTES];
    uint64_t total = 0;
    int fd = open(path, O_RDONLY);
    ssize_t n;

    (void)st;
    if (fd < 0)
        fail("%s: %s", path, strerror(errno));
    while ((n = read(fd, buffer, sizeof buffer)) > 0)
        total += (uint64_t)n;
    close(fd);
    return total;
}

static uint64_t disk_bytes_of_one(const char *path, const struct stat *st)
{
    (void)path;
    return (uint64_t)st->st_blocks * 512;
}

static uint64_t remove_one(const char *path, const struct stat *st)
{
    (void)st;
    if (unlink(path) != 0)
        fail("%s: %s", path, strerror(errno));
    return 0;
}

static uint64_t sum(const char *directory, uint64_t (*of_one)(const char *, const struct stat *))
{
    DIR *d = opendir(directory);
    uint64_t total = 0;
    char path[4096];

    if (!d)
        fail("%s: %s", directory, strerror(errno));
    for (struct dirent *entry; (entry = readdir(d));) {
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            total += of_one(path, &st);
    }
    closedir(d);
    return total;
}

uint64_t directory_read(const char *path)
{
    return sum(path, read_one);
}

uint64_t directory_disk_bytes(const char *path)
{
    return sum(path, disk_bytes_of_one);
}

void directory_remove(const char *path)
{
    sum(path, remove_one);
    if (rmdir(path) != 0)
        fail("%s: %s", path, strerror(errno));
}
