/* Directories and files of the recorder itself, by calls that nobody hears, see power_cut_book.h.
 */
#include "power_cut_book.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void pc__path_in(char *path, const char *directory, const char *name)
{
    int len = snprintf(path, PATH_MAX, "%s/%s", directory, name);
    if (len >= PATH_MAX)
        pc__die("too long a name for the recorder", directory);
}

/* The whole of a file, by calls that nobody hears; empty when it is not there. */
void pc__read_file(const char *path, pc_bytes *bytes)
{
    struct stat about;
    *bytes = (pc_bytes){NULL, 0, 0};
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &about) != 0)
        pc__die("fstat", path);
    pc__grow(bytes, (size_t)about.st_size);
    if (syscall(SYS_pread64, fd, bytes->at, bytes->len, 0) != (long)bytes->len)
        pc__die("read", path);
    syscall(SYS_close, fd);
}

void pc__write_file(const char *path, const pc_bytes *bytes)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || syscall(SYS_pwrite64, fd, bytes->at, bytes->len, 0) != (long)bytes->len)
        pc__die("write", path);
    syscall(SYS_close, fd);
}

void pc_remove(const char *directory)
{
    DIR *dir = opendir(directory);
    const struct dirent *entry;
    char path[PATH_MAX];
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        pc__path_in(path, directory, entry->d_name);
        if (syscall(SYS_unlinkat, AT_FDCWD, path, 0) != 0)
            pc_remove(path);
    }
    if (dir != NULL)
        closedir(dir);
    syscall(SYS_unlinkat, AT_FDCWD, directory, AT_REMOVEDIR);
}

void pc__make_directory(const char *path)
{
    if (syscall(SYS_mkdirat, AT_FDCWD, path, 0700) != 0)
        pc__die("mkdir", path);
}

void pc_image_write(const pc_image *image, const char *directory)
{
    char path[PATH_MAX];
    pc_remove(directory);
    pc__make_directory(directory);
    for (size_t i = 0; i < image->count; i++) {
        pc__path_in(path, directory, image->files[i].name);
        if (image->files[i].is_directory)
            pc__make_directory(path);
    }
    for (size_t i = 0; i < image->count; i++) {
        pc__path_in(path, directory, image->files[i].name);
        if (!image->files[i].is_directory)
            pc__write_file(path, &image->files[i].bytes);
    }
}

/* How many files and directories there are beneath a directory. */
size_t pc__count_files(const char *directory)
{
    DIR *dir = opendir(directory);
    const struct dirent *entry;
    size_t count = 0;
    char path[PATH_MAX];
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        pc__path_in(path, directory, entry->d_name);
        count += 1 + (entry->d_type == DT_DIR ? pc__count_files(path) : 0);
    }
    if (dir != NULL)
        closedir(dir);
    return count;
}
