/* An add-on by a stranger: one file for each category. It keeps events through a crash of the
 * process, takes failed batches back, and locks its directory; it forgets nothing, so its files
 * only grow, and a start reads them into memory. file_per_category_kit.c runs the conformance kit.
 *
 * A file is called by a hash of its category, because a category may be 1024 bytes of anything.
 * Each record has the category in full: two of one hash share a file, and nothing goes wrong. */
#include "file_per_category.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

struct store {
    lp_addon addon;
    DIR *directory;
    char path[];
};

/* What a file has before the bytes of a category and its data. */
struct head {
    lp_id id;
    uint32_t category_len, data_len;
};

struct record {
    struct head head;
    char *text;
};

static int open_file(struct store *store, lp_str category)
{
    char name[32];
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < category.len; i++)
        hash = (hash ^ (uint8_t)category.base[i]) * 0x100000001b3u;
    snprintf(name, sizeof(name), "%016llx.events", (unsigned long long)hash);
    return openat(dirfd(store->directory), name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
}

/* Writes an event to the end of its file, which `*end` tells. */
static bool append(struct store *store, const lp_event *event, off_t *end)
{
    lp_str name = lp_event_category(event), data = lp_event_data(event);
    struct head head = {lp_event_id(event), (uint32_t)name.len, (uint32_t)data.len};
    struct iovec parts[] = {
        {&head, sizeof(head)}, {(void *)name.base, name.len}, {(void *)data.base, data.len}};
    size_t len = sizeof(head) + name.len + data.len;
    int file = open_file(store, name);
    *end = lseek(file, 0, SEEK_END);
    bool kept = *end >= 0 && writev(file, parts, 3) == (ssize_t)len;
    close(file);
    return kept;
}

static int on_publish(lp_addon *self, lp_batch *batch)
{
    struct store *store = self->state;
    size_t count = lp_batch_event_count(batch), i = 0;
    off_t *ends = calloc(count + 1, sizeof(*ends));
    if (!ends)
        return LP_ENOMEM;
    while (i < count && append(store, lp_batch_event(batch, i), &ends[i]))
        i++;
    int status = i == count ? LP_OK : LP_EIO;
    if (status != LP_OK)
        lp_batch_error(batch, status, "%s: not written (is the disk full?)", store->path);
    for (size_t k = i + 1; status != LP_OK && k-- > 0;) { /* all or nothing, the last first */
        int file = open_file(store, lp_event_category(lp_batch_event(batch, k)));
        if (ends[k] >= 0 && ftruncate(file, ends[k]) != 0)
            status = lp_batch_error(batch, LP_EINDOUBT, "%s: written in part", store->path);
        close(file);
    }
    free(ends);
    return status;
}

/* Reads all records of a file to the end of `*all`, and cuts off the half of one that a crash may
 * have left. False when that is not possible. */
static bool load(struct store *store, const char *name, struct record **all, size_t *count)
{
    FILE *file = fdopen(openat(dirfd(store->directory), name, O_RDWR | O_CLOEXEC), "r+");
    long end = 0;
    bool ok = file != NULL, whole = ok;
    struct head head;
    while (whole && fread(&head, sizeof(head), 1, file) == 1) {
        size_t len = (size_t)head.category_len + head.data_len;
        char *text = malloc(len + 1);
        struct record *grown = realloc(*all, (*count + 1) * sizeof(*grown));
        *all = grown ? grown : *all;
        ok = text && grown;
        whole = ok && fread(text, 1, len, file) == len;
        if (whole)
            grown[(*count)++] = (struct record){head, text};
        else
            free(text);
        end = whole ? ftell(file) : end;
    }
    ok = ok && !ferror(file) && ftruncate(fileno(file), end) == 0;
    if (file)
        fclose(file);
    return ok;
}

static int by_id(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(lp_id)); /* what a record begins with */
}

static int on_start(lp_addon *self, lp_replay *replay)
{
    struct store *store = self->state;
    struct record *all = NULL;
    struct dirent *entry;
    size_t count = 0;
    int status = LP_OK;
    store->directory = opendir(store->path);
    if (!store->directory)
        return lp_replay_error(replay, LP_EIO, "%s: %s", store->path, strerror(errno));
    if (flock(dirfd(store->directory), LOCK_EX | LOCK_NB) != 0)
        return lp_replay_error(replay, LP_EINUSE, "%s: in use (stop the other one)", store->path);
    while (status == LP_OK && (entry = readdir(store->directory)))
        if (strstr(entry->d_name, ".events") && !load(store, entry->d_name, &all, &count))
            status = lp_replay_error(replay, LP_EIO, "%s/%s: cannot be read", store->path,
                                     entry->d_name);
    if (count)
        qsort(all, count, sizeof(*all), by_id); /* one order over all categories */
    for (size_t i = 0; i < count; i++) {
        lp_str category = {all[i].text, all[i].head.category_len};
        lp_str data = {all[i].text + category.len, all[i].head.data_len};
        if (status >= 0)
            status = lp_replay_event(replay, all[i].head.id, category, data);
        free(all[i].text);
    }
    free(all);
    return status < 0 ? status : LP_OK;
}

static int on_shutdown(lp_addon *self, lp_ending *ending)
{
    (void)self, (void)ending; /* everything is written already */
    return LP_OK;
}

static void destroy(lp_addon *self)
{
    struct store *store = self->state;
    if (store->directory)
        closedir(store->directory);
    free(store);
}

int file_per_category_new(const char *directory, lp_addon **out, lp_error *error)
{
    struct store *store = calloc(1, sizeof(*store) + strlen(directory) + 1);
    if (!store)
        return lp_error_set(error, LP_ENOMEM, "%s: no memory", directory);
    strcpy(store->path, directory);
    store->addon = (lp_addon){.abi = LP_ADDON_ABI,
                              .struct_size = sizeof(lp_addon),
                              .name = "file-per-category",
                              .state = store,
                              .on_start = on_start,
                              .on_publish = on_publish,
                              .on_shutdown = on_shutdown,
                              .destroy = destroy};
    *out = &store->addon;
    return LP_OK;
}
