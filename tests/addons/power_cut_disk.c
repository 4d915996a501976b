/* See power_cut_disk.h: the book, and the directories of images. What it is not made for ends the
 * program with a sentence. */
#include "power_cut_book.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FDS = 1024 };

typedef struct pc_fd {
    pc_inode *inode;
    bool is_sync; /* writes are on disk when they return */
} pc_fd;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pc_book book;
static pc_fd fds[FDS];
static unsigned lies;
static bool is_after_sync;
static void (*on_change)(void *ctx, bool is_by_sync);
static void *on_change_ctx;

void pc__lock(void)
{
    pthread_mutex_lock(&mutex);
}

void pc__unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

uint64_t pc_mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t pc_next(uint64_t *state)
{
    return pc_mix(*state += 0x9e3779b97f4a7c15u);
}

void pc__die(const char *what, const char *name)
{
    fprintf(stderr, "power_cut: %s %s: %s\n", what, name, strerror(errno));
    abort();
}

void pc__not_modelled(const char *call)
{
    if (book.root[0] == '\0')
        return;
    fprintf(stderr, "power_cut: the store calls %s, which the recorder has no model of\n", call);
    abort();
}

/* ---- names ----------------------------------------------------------------------------------- */

/* The name beneath the root, "" for the root itself, NULL for what lies elsewhere. */
static const char *beneath(const char *path)
{
    size_t len = strlen(book.root);
    if (len == 0 || strncmp(path, book.root, len) != 0)
        return NULL;
    if (path[len] == '\0')
        return path + len;
    return path[len] == '/' ? path + len + 1 : NULL;
}

static void parent_of(const char *name, char *parent)
{
    const char *slash = strrchr(name, '/');
    snprintf(parent, PC_NAME, "%.*s", slash != NULL ? (int)(slash - name) : 0, name);
}

pc_inode *pc__find(const pc_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->at[i].name, name) == 0)
            return names->at[i].inode;
    return NULL;
}

static void unlink_name(pc_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->at[i].name, name) == 0) {
            names->at[i] = names->at[--names->count];
            return;
        }
}

static void link_name(pc_names *names, const char *name, pc_inode *inode)
{
    unlink_name(names, name);
    if (names->count == PC_NAMES)
        pc__die("too many files for", name);
    if (strlen(name) >= PC_NAME)
        pc__die("too long a name for the recorder", name);
    snprintf(names->at[names->count].name, PC_NAME, "%s", name);
    names->at[names->count++].inode = inode;
}

void pc__apply(pc_names *names, const pc_change *change)
{
    if (change->kind != PC_LINK)
        unlink_name(names, change->name);
    if (change->kind == PC_LINK)
        link_name(names, change->name, change->inode);
    else if (change->kind == PC_RENAME)
        link_name(names, change->to, change->inode);
}

static pc_inode *new_inode(bool is_directory)
{
    pc_inode *inode = calloc(1, sizeof(*inode));
    if (inode == NULL)
        pc__die("calloc", "");
    inode->is_directory = is_directory;
    inode->number = ++book.inode_count;
    inode->all = book.inodes;
    book.inodes = inode;
    return inode;
}

static void meet(bool is_by_sync)
{
    bool is_by = is_by_sync || is_after_sync;
    is_after_sync = is_by_sync;
    if (on_change != NULL)
        on_change(on_change_ctx, is_by);
}

static void change_names(pc_change_kind kind, const char *name, const char *to, pc_inode *inode)
{
    if (book.change_count == PC_CHANGES)
        pc__die("too many unsynced changes of names, the last of", name);
    pc_change *change = &book.changes[book.change_count++];
    char other[PC_NAME];
    change->kind = kind;
    change->order = ++book.order;
    change->inode = inode;
    snprintf(change->name, PC_NAME, "%s", name);
    snprintf(change->to, PC_NAME, "%s", to);
    parent_of(name, change->parent);
    parent_of(to, other);
    if (kind == PC_RENAME && strcmp(change->parent, other) != 0)
        pc__not_modelled("rename to another directory");
    pc__apply(&book.now, change);
    meet(false);
}

void pc__made_directory(const char *path)
{
    const char *name = beneath(path);
    if (name != NULL && name[0] != '\0')
        change_names(PC_LINK, name, "", new_inode(true));
}

void pc__linked(const char *from, const char *to)
{
    const char *name = beneath(from), *new_name = beneath(to);
    if (name == NULL && new_name == NULL)
        return;
    pc_inode *inode = name != NULL ? pc__find(&book.now, name) : NULL;
    if (inode == NULL || new_name == NULL)
        pc__not_modelled("link from or to elsewhere");
    else
        change_names(PC_LINK, new_name, "", inode);
}

void pc__renamed(const char *from, const char *to)
{
    const char *name = beneath(from), *new_name = beneath(to);
    if (name == NULL && new_name == NULL)
        return;
    pc_inode *inode = name != NULL ? pc__find(&book.now, name) : NULL;
    if (inode == NULL || new_name == NULL || inode->is_directory)
        pc__not_modelled("rename from or to elsewhere, or of a directory");
    else
        change_names(PC_RENAME, name, new_name, inode);
}

void pc__unlinked(const char *path)
{
    const char *name = beneath(path);
    pc_inode *inode = name != NULL ? pc__find(&book.now, name) : NULL;
    if (inode != NULL)
        change_names(PC_UNLINK, name, "", inode);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static pc_write *add_write(pc_inode *inode, size_t offset, const void *data, size_t len)
{
    pc_write *write = calloc(1, sizeof(*write) + (data != NULL ? len : 0));
    if (write == NULL)
        pc__die("calloc", "");
    write->offset = offset;
    write->len = len;
    write->is_size = data == NULL;
    write->order = ++book.order;
    if (data != NULL)
        memcpy(write->data, data, len);
    if (inode->last != NULL)
        inode->last->next = write;
    else
        inode->first = write;
    inode->last = write;
    inode->size = pc__size_after(write, inode->size);
    return write;
}

static void free_writes(pc_inode *inode)
{
    while (inode->first != NULL) {
        pc_write *next = inode->first->next;
        free(inode->first);
        inode->first = next;
    }
    inode->last = NULL;
}

static void sync_bytes(pc_inode *inode)
{
    for (const pc_write *write = inode->first; write != NULL; write = write->next)
        pc__put(&inode->bytes, write, 0, SIZE_MAX);
    pc__grow(&inode->bytes, inode->size);
    inode->bytes.len = inode->size;
    free_writes(inode);
}

static pc_fd *watched(int fd)
{
    return fd >= 0 && fd < FDS && fds[fd].inode != NULL ? &fds[fd] : NULL;
}

bool pc__is_watched(int fd)
{
    return watched(fd) != NULL;
}

void pc__opened(int fd, const char *path, int flags)
{
    const char *name = beneath(path);
    if (fd < FDS)
        fds[fd] = (pc_fd){NULL, false};
    if (name == NULL)
        return;
    if (fd >= FDS)
        pc__die("too many open files for the recorder at", name);
    pc_inode *inode = name[0] == '\0' ? &book.root_inode : pc__find(&book.now, name);
    bool is_new = inode == NULL;
    if (is_new)
        inode = new_inode(false);
    fds[fd] = (pc_fd){inode, (flags & O_DSYNC) != 0};
    if (is_new) {
        change_names(PC_LINK, name, "", inode);
    } else if ((flags & O_TRUNC) && inode->size > 0) {
        add_write(inode, 0, NULL, 0);
        meet(false);
    }
}

void pc__closed(int fd)
{
    if (fd >= 0 && fd < FDS)
        fds[fd] = (pc_fd){NULL, false};
}

void pc__wrote(int fd, size_t offset, const void *data, size_t len)
{
    const pc_fd *file = watched(fd);
    if (file == NULL)
        return;
    pc_write *write = add_write(file->inode, offset, data, len);
    meet(file->is_sync);
    write->is_durable = file->is_sync && !(lies & PC_LIE_FILES);
}

void pc__sized(int fd, size_t size, bool may_shrink)
{
    const pc_fd *file = watched(fd);
    if (file == NULL || size == file->inode->size || (size < file->inode->size && !may_shrink))
        return;
    add_write(file->inode, size, NULL, 0);
    meet(false);
}

/* The name of a directory, to compare with the parents of changes. */
static const char *name_of(const pc_inode *inode)
{
    for (size_t i = 0; i < book.now.count; i++)
        if (book.now.at[i].inode == inode)
            return book.now.at[i].name;
    return "";
}

static void sync_names(const pc_inode *directory)
{
    const char *parent = name_of(directory);
    size_t left = 0;
    for (size_t i = 0; i < book.change_count; i++) {
        if (strcmp(book.changes[i].parent, parent) == 0)
            pc__apply(&book.durable, &book.changes[i]);
        else
            book.changes[left++] = book.changes[i];
    }
    book.change_count = left;
}

void pc__sync(int fd)
{
    const pc_fd *file = watched(fd);
    if (file == NULL)
        return;
    meet(true);
    if (file->inode->is_directory) {
        if (!(lies & PC_LIE_DIRECTORIES))
            sync_names(file->inode);
    } else if (!(lies & PC_LIE_FILES)) {
        sync_bytes(file->inode);
    }
}

void pc__mapped(int fd)
{
    const pc_fd *file = watched(fd);
    if (file != NULL)
        file->inode->is_mapped = true;
}

/* ---- beginning and end ----------------------------------------------------------------------- */

void pc__read_now(const char *name, pc_bytes *bytes)
{
    char path[PATH_MAX];
    pc__path_in(path, book.root, name);
    pc__read_file(path, bytes);
}

/* Takes what is in a directory as it is, `name` beneath the root. */
static void load(const char *name)
{
    char path[PATH_MAX], child[PC_NAME];
    pc__path_in(path, book.root, name);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int len = snprintf(child, PC_NAME, "%s%s%s", name, name[0] ? "/" : "", entry->d_name);
        if (len >= PC_NAME)
            pc__die("too long a name for the recorder", child);
        pc_inode *inode = new_inode(entry->d_type == DT_DIR);
        link_name(&book.now, child, inode);
        link_name(&book.durable, child, inode);
        if (inode->is_directory) {
            load(child);
            continue;
        }
        pc__read_now(child, &inode->bytes);
        inode->size = inode->bytes.len;
    }
    if (dir != NULL)
        closedir(dir);
}

void pc_disk_begin(const char *root)
{
    pc_disk_end();
    book.changes = calloc(PC_CHANGES, sizeof(*book.changes));
    book.root_inode.is_directory = true;
    book.order = 1; /* the moment before all changes is 1, and nothing comes right behind 0 */
    snprintf(book.root, sizeof(book.root), "%s", root);
    load("");
}

void pc_disk_end(void)
{
    while (book.inodes != NULL) {
        pc_inode *next = book.inodes->all;
        free_writes(book.inodes);
        free(book.inodes->bytes.at);
        free(book.inodes);
        book.inodes = next;
    }
    free(book.changes);
    memset(&book, 0, sizeof(book));
    memset(fds, 0, sizeof(fds));
    is_after_sync = false;
}

void pc_disk_move(const char *root)
{
    char path[PATH_MAX];
    pc_remove(root);
    pc__make_directory(root);
    for (int kind = 0; kind < 2; kind++)
        for (size_t i = 0; i < book.now.count; i++) {
            const pc_name *name = &book.now.at[i];
            pc_bytes bytes = {NULL, 0, 0};
            if (name->inode->is_directory != (kind == 0))
                continue;
            pc__path_in(path, root, name->name);
            if (kind == 0) {
                pc__make_directory(path);
                continue;
            }
            pc__read_now(name->name, &bytes);
            pc__write_file(path, &bytes);
            free(bytes.at);
        }
    snprintf(book.root, sizeof(book.root), "%s", root);
    memset(fds, 0, sizeof(fds));
}

static bool is_as_recorded(const pc_inode *inode, const char *name)
{
    pc_bytes now, all = {NULL, 0, 0};
    pc__read_now(name, &now);
    pc__grow(&all, inode->bytes.len);
    if (all.len > 0)
        memcpy(all.at, inode->bytes.at, all.len);
    for (const pc_write *write = inode->first; write != NULL; write = write->next) {
        pc__put(&all, write, 0, SIZE_MAX);
        if (write->is_size) {
            pc__grow(&all, write->offset);
            all.len = write->offset;
        }
    }
    bool is_same = now.len == inode->size && now.len == all.len &&
                   (inode->is_mapped || now.len == 0 || memcmp(now.at, all.at, now.len) == 0);
    free(now.at);
    free(all.at);
    return is_same;
}

bool pc_disk_is_complete(char *name, size_t size)
{
    snprintf(name, size, "a name");
    if (pc__count_files(book.root) != book.now.count)
        return false;
    for (size_t i = 0; i < book.now.count; i++) {
        const pc_name *file = &book.now.at[i];
        snprintf(name, size, "%s", file->name);
        if (!file->inode->is_directory && !is_as_recorded(file->inode, file->name))
            return false;
    }
    return true;
}

void pc_disk_on_change(void (*at)(void *ctx, bool is_by_sync), void *ctx)
{
    on_change = at;
    on_change_ctx = ctx;
}

void pc_disk_lie(unsigned what)
{
    lies = what;
}

pc_image *pc_disk_image(uint64_t seed)
{
    return pc__image(&book, seed);
}
