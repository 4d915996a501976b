/* The files of a case: its directory, what lies beneath it, and how much room that takes. One
 * thread. */
#include "kit.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DIRECTORY_FDS 16
#define BLOCK_BYTES   512 /* of st_blocks, whatever the file system's own are */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

void lp__files_remove(const char *directory)
{
    if (directory[0])
        nftw(directory, remove_one, DIRECTORY_FDS, FTW_DEPTH | FTW_PHYS);
}

void lp__kit_make_directory(lp__kit *kit)
{
    int len = snprintf(kit->directory, sizeof(kit->directory), "%s/%s-%s-XXXXXX",
                       kit->options->directory, kit->options->name, kit->case_name);
    if (len < 0 || (size_t)len >= sizeof(kit->directory) || !mkdtemp(kit->directory)) {
        kit->directory[0] = '\0';
        lp__kit_fail(kit, "no directory could be made in \"%s\": %s", kit->options->directory,
                     strerror(errno));
    }
    memcpy(kit->told->directory, kit->directory, sizeof(kit->directory));
}

static void add_file(lp__kit *kit, lp__files *files, const char *path, const struct stat *info)
{
    struct lp__file *items =
        lp__grown(files->items, &files->capacity, files->count, sizeof(*items));
    if (!items) {
        lp__kit_fail(kit, "no memory");
        return;
    }
    files->items = items;
    struct lp__file *file = &items[files->count];
    if (snprintf(file->path, sizeof(file->path), "%s", path) >= (int)sizeof(file->path)) {
        lp__kit_fail(kit, "a path is too long: %s", path);
        return;
    }
    file->bytes = (uint64_t)info->st_size;
    file->disk_bytes = (uint64_t)info->st_blocks * BLOCK_BYTES;
    files->count++;
}

static void list(lp__kit *kit, lp__files *files, const char *directory)
{
    DIR *entries = opendir(directory);
    struct dirent *entry;
    while (entries && (entry = readdir(entries))) {
        char path[2048];
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int len = snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (len >= (int)sizeof(path) || lstat(path, &info) != 0)
            continue; /* gone already */
        if (S_ISREG(info.st_mode))
            add_file(kit, files, path, &info);
        else if (S_ISDIR(info.st_mode))
            list(kit, files, path);
    }
    if (entries)
        closedir(entries);
}

static int by_path(const void *a, const void *b)
{
    const struct lp__file *left = a, *right = b;
    return strcmp(left->path, right->path);
}

void lp__files_list(lp__kit *kit, lp__files *files)
{
    *files = (lp__files){NULL, 0, 0};
    list(kit, files, kit->directory);
    if (files->count)
        qsort(files->items, files->count, sizeof(*files->items), by_path);
}

void lp__files_free(lp__files *files)
{
    free(files->items);
    *files = (lp__files){NULL, 0, 0};
}

uint64_t lp__files_largest(lp__kit *kit)
{
    lp__files files;
    uint64_t largest = 0;
    lp__files_list(kit, &files);
    for (size_t i = 0; i < files.count; i++)
        if (files.items[i].bytes > largest)
            largest = files.items[i].bytes;
    lp__files_free(&files);
    return largest;
}

uint64_t lp__files_disk_bytes(lp__kit *kit)
{
    lp__files files;
    uint64_t bytes = 0;
    lp__files_list(kit, &files);
    for (size_t i = 0; i < files.count; i++)
        bytes += files.items[i].disk_bytes;
    lp__files_free(&files);
    return bytes;
}
