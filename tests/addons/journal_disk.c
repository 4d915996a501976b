/* See journal_disk.h. */
#include "journal_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_kit.h"

enum { SECTOR = 512, NAME_MAX_LEN = 64, FDS = 1024, DIR_OPS_MAX = 4096 };

typedef struct jd_write {
    size_t offset, len; /* len SIZE_MAX: the file is cut at offset */
    uint8_t *data;
    bool is_lost; /* its sync failed */
    struct jd_write *next;
} jd_write;

typedef struct jd_inode {
    uint8_t *bytes; /* on disk */
    size_t len;
    jd_write *first, *last; /* not on disk for sure */
    struct jd_inode *all;
} jd_inode;

typedef struct jd_entry {
    char name[NAME_MAX_LEN];
    jd_inode *inode; /* NULL: free */
} jd_entry;

typedef struct jd_names {
    jd_entry entries[256];
} jd_names;

typedef enum jd_dir_kind { DIR_LINK, DIR_UNLINK, DIR_RENAME } jd_dir_kind;

typedef struct jd_dir_op {
    jd_dir_kind kind;
    char name[NAME_MAX_LEN], to[NAME_MAX_LEN];
    jd_inode *inode;
} jd_dir_op;

struct jd_disk {
    char directory[4096];
    lp__journal_io real;
    jd_names now, durable;
    jd_dir_op *ops;
    size_t op_count;
    jd_inode *inodes;
    jd_inode *files[FDS];
    jd_fault fault;
    unsigned calls_hit;
    uint64_t first, count, calls, faults;
    void (*before)(void *ctx);
    void *before_ctx;
    int64_t now_us;
    uint64_t boot;
    bool half_told; /* JD_ENOSPC: the half has been told, the rest fails */
};

/* ---- names ----------------------------------------------------------------------------------- */

static jd_entry *find(jd_names *names, const char *name)
{
    for (size_t i = 0; i < 256; i++)
        if (names->entries[i].inode != NULL && strcmp(names->entries[i].name, name) == 0)
            return &names->entries[i];
    return NULL;
}

static void link_name(jd_names *names, const char *name, jd_inode *inode)
{
    jd_entry *entry = find(names, name);
    for (size_t i = 0; entry == NULL && i < 256; i++)
        if (names->entries[i].inode == NULL)
            entry = &names->entries[i];
    if (entry == NULL)
        abort();
    snprintf(entry->name, sizeof(entry->name), "%s", name);
    entry->inode = inode;
}

static void apply(jd_names *names, const jd_dir_op *op)
{
    jd_entry *entry = find(names, op->name);
    if (op->kind == DIR_LINK) {
        link_name(names, op->name, op->inode);
    } else if (entry != NULL) {
        jd_inode *inode = entry->inode;
        entry->inode = NULL;
        if (op->kind == DIR_RENAME)
            link_name(names, op->to, inode);
    }
}

static void change_names(jd_disk *disk, jd_dir_kind kind, const char *name, const char *to,
                         jd_inode *inode)
{
    if (disk->op_count == DIR_OPS_MAX)
        abort();
    jd_dir_op *op = &disk->ops[disk->op_count++];
    op->kind = kind;
    snprintf(op->name, sizeof(op->name), "%s", name);
    snprintf(op->to, sizeof(op->to), "%s", to);
    op->inode = inode;
    apply(&disk->now, op);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void add_write(jd_inode *inode, size_t offset, const void *data, size_t len)
{
    jd_write *write = calloc(1, sizeof(*write));
    write->offset = offset;
    write->len = len;
    if (len != SIZE_MAX) {
        write->data = malloc(len + 1);
        memcpy(write->data, data, len);
    }
    if (inode->last != NULL)
        inode->last->next = write;
    else
        inode->first = write;
    inode->last = write;
}

static void free_writes(jd_inode *inode)
{
    while (inode->first != NULL) {
        jd_write *next = inode->first->next;
        free(inode->first->data);
        free(inode->first);
        inode->first = next;
    }
    inode->last = NULL;
}

/* Puts bytes into a growing buffer. */
static void put(uint8_t **bytes, size_t *len, size_t offset, const uint8_t *data, size_t count)
{
    if (offset + count > *len) {
        *bytes = realloc(*bytes, offset + count);
        memset(*bytes + *len, 0, offset + count - *len);
        *len = offset + count;
    }
    memcpy(*bytes + offset, data, count);
}

static void cut(uint8_t **bytes, size_t *len, size_t size)
{
    if (size < *len)
        *len = size;
    else if (size > *len)
        put(bytes, len, size - 1, (const uint8_t *)"", 1);
}

static void sync_inode(jd_inode *inode)
{
    jd_write *write = inode->first;
    inode->first = inode->last = NULL;
    while (write != NULL) {
        jd_write *next = write->next;
        write->next = NULL;
        if (write->is_lost) {
            if (inode->last != NULL)
                inode->last->next = write;
            else
                inode->first = write;
            inode->last = write;
        } else {
            if (write->len == SIZE_MAX)
                cut(&inode->bytes, &inode->len, write->offset);
            else
                put(&inode->bytes, &inode->len, write->offset, write->data, write->len);
            free(write->data);
            free(write);
        }
        write = next;
    }
}

/* ---- the calls ------------------------------------------------------------------------------- */

/* Whether this call fails, and how. */
static jd_fault meet(jd_disk *disk, jd_call call)
{
    if (disk->before != NULL)
        disk->before(disk->before_ctx);
    disk->now_us += 20;
    if (!(disk->calls_hit & call))
        return JD_NONE;
    disk->calls++;
    if (disk->fault == JD_NONE || disk->calls < disk->first ||
        disk->calls - disk->first >= disk->count)
        return JD_NONE;
    disk->faults++;
    return disk->fault;
}

static int fail_with(int code)
{
    errno = code;
    return -1;
}

static int code_of(jd_fault fault)
{
    return fault == JD_ENOSPC ? ENOSPC : EIO;
}

static bool is_failure(jd_fault fault)
{
    return fault != JD_NONE && fault != JD_SHORT;
}

static int disk_open(void *ctx, int dir, const char *name, int flags, mode_t mode)
{
    jd_disk *disk = ctx;
    jd_entry *entry = find(&disk->now, name);
    bool creates = (flags & O_CREAT) && entry == NULL;
    jd_fault fault = flags & (O_CREAT | O_TRUNC) ? meet(disk, JD_CREATE) : JD_NONE;
    if (is_failure(fault) && fault != JD_EIO_DONE)
        return fail_with(code_of(fault));
    int fd = disk->real.open(disk->real.ctx, dir, name, flags, mode);
    if (fd < 0)
        return fd;
    if (fd >= FDS)
        abort();
    if (creates) {
        jd_inode *inode = calloc(1, sizeof(*inode));
        inode->all = disk->inodes;
        disk->inodes = inode;
        change_names(disk, DIR_LINK, name, "", inode);
        disk->files[fd] = inode;
    } else {
        disk->files[fd] = entry != NULL ? entry->inode : NULL;
        if ((flags & O_TRUNC) && entry != NULL)
            add_write(entry->inode, 0, NULL, SIZE_MAX);
    }
    if (fault == JD_EIO_DONE) {
        disk->real.close(disk->real.ctx, fd);
        return fail_with(EIO);
    }
    return fd;
}

static int disk_close(void *ctx, int fd)
{
    jd_disk *disk = ctx;
    disk->files[fd] = NULL;
    return disk->real.close(disk->real.ctx, fd);
}

static ssize_t disk_pread(void *ctx, int fd, void *data, size_t len, off_t offset)
{
    jd_disk *disk = ctx;
    disk->now_us += 20;
    return disk->real.pread(disk->real.ctx, fd, data, len, offset);
}

static ssize_t do_write(jd_disk *disk, int fd, const void *data, size_t len, off_t offset)
{
    ssize_t wrote = disk->real.pwrite(disk->real.ctx, fd, data, len, offset);
    if (wrote > 0)
        add_write(disk->files[fd], (size_t)offset, data, (size_t)wrote);
    return wrote;
}

static ssize_t disk_pwrite(void *ctx, int fd, const void *data, size_t len, off_t offset)
{
    jd_disk *disk = ctx;
    if (disk->half_told) {
        disk->half_told = false;
        if (disk->before != NULL)
            disk->before(disk->before_ctx);
        return fail_with(ENOSPC);
    }
    jd_fault fault = meet(disk, JD_WRITE);
    if (fault == JD_NONE || fault == JD_EIO_DONE || (fault == JD_SHORT && len < 2)) {
        ssize_t wrote = do_write(disk, fd, data, len, offset);
        return fault != JD_EIO_DONE ? wrote : fail_with(EIO);
    }
    if (fault == JD_EIO || fault == JD_KILLED)
        return fail_with(EIO);
    ssize_t half = len > 1 ? do_write(disk, fd, data, len / 2, offset) : 0;
    if (fault == JD_EIO_HALF)
        return fail_with(EIO);
    disk->half_told = fault == JD_ENOSPC && half > 0;
    return half > 0 ? half : fail_with(ENOSPC);
}

static void disk_begin_writeback(void *ctx, int fd, off_t offset, off_t len)
{
    (void)ctx, (void)fd, (void)offset, (void)len;
}

static int disk_fdatasync(void *ctx, int fd)
{
    jd_disk *disk = ctx;
    jd_fault fault = meet(disk, JD_SYNC);
    jd_inode *inode = disk->files[fd];
    if (!is_failure(fault) || fault == JD_EIO_DONE) {
        sync_inode(inode);
        return fault == JD_EIO_DONE ? fail_with(EIO) : 0;
    }
    for (jd_write *write = inode->first; fault != JD_KILLED && write != NULL; write = write->next)
        write->is_lost = true;
    return fail_with(code_of(fault));
}

static int disk_fsync_dir(void *ctx, int dir)
{
    jd_disk *disk = ctx;
    (void)dir;
    jd_fault fault = meet(disk, JD_SYNC_DIR);
    if (is_failure(fault) && fault != JD_EIO_DONE)
        return fail_with(code_of(fault));
    for (size_t i = 0; i < disk->op_count; i++)
        apply(&disk->durable, &disk->ops[i]);
    disk->op_count = 0;
    return fault == JD_EIO_DONE ? fail_with(EIO) : 0;
}

static int disk_ftruncate(void *ctx, int fd, off_t size)
{
    jd_disk *disk = ctx;
    jd_fault fault = meet(disk, JD_OTHER);
    if (is_failure(fault) && fault != JD_EIO_DONE)
        return fail_with(code_of(fault));
    int result = disk->real.ftruncate(disk->real.ctx, fd, size);
    add_write(disk->files[fd], (size_t)size, NULL, SIZE_MAX);
    return fault == JD_EIO_DONE ? fail_with(EIO) : result;
}

static int disk_rename(void *ctx, int dir, const char *from, const char *to)
{
    jd_disk *disk = ctx;
    jd_fault fault = meet(disk, JD_OTHER);
    if (is_failure(fault) && fault != JD_EIO_DONE)
        return fail_with(code_of(fault));
    int result = disk->real.rename(disk->real.ctx, dir, from, to);
    if (result == 0)
        change_names(disk, DIR_RENAME, from, to, NULL);
    return fault == JD_EIO_DONE ? fail_with(EIO) : result;
}

static int disk_link(void *ctx, int dir, const char *from, const char *to)
{
    jd_disk *disk = ctx;
    jd_fault fault = meet(disk, JD_OTHER);
    if (is_failure(fault) && fault != JD_EIO_DONE)
        return fail_with(code_of(fault));
    int result = disk->real.link(disk->real.ctx, dir, from, to);
    if (result == 0)
        change_names(disk, DIR_LINK, to, "", find(&disk->now, from)->inode);
    return fault == JD_EIO_DONE ? fail_with(EIO) : result;
}

static int disk_unlink(void *ctx, int dir, const char *name)
{
    jd_disk *disk = ctx;
    if (find(&disk->now, name) == NULL)
        return disk->real.unlink(disk->real.ctx, dir, name);
    jd_fault fault = meet(disk, JD_OTHER);
    if (is_failure(fault) && fault != JD_EIO_DONE)
        return fail_with(code_of(fault));
    int result = disk->real.unlink(disk->real.ctx, dir, name);
    if (result == 0)
        change_names(disk, DIR_UNLINK, name, "", NULL);
    return fault == JD_EIO_DONE ? fail_with(EIO) : result;
}

static int64_t disk_monotonic_us(void *ctx)
{
    jd_disk *disk = ctx;
    return disk->now_us += 10;
}

static int64_t disk_wall_ms(void *ctx)
{
    (void)ctx;
    return 1700000000000;
}

static uint64_t disk_boot(void *ctx)
{
    return ((const jd_disk *)ctx)->boot;
}

/* ---- the outside ----------------------------------------------------------------------------- */

/* What is in the directory already counts as on disk. */
static void load(jd_disk *disk)
{
    DIR *dir = opendir(disk->directory);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[8192];
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", disk->directory, entry->d_name);
        jd_inode *inode = calloc(1, sizeof(*inode));
        inode->bytes = jk_read(path, &inode->len);
        inode->all = disk->inodes;
        disk->inodes = inode;
        link_name(&disk->now, entry->d_name, inode);
        link_name(&disk->durable, entry->d_name, inode);
    }
    if (dir != NULL)
        closedir(dir);
}

jd_disk *jd_new(const char *directory)
{
    jd_disk *disk = calloc(1, sizeof(*disk));
    snprintf(disk->directory, sizeof(disk->directory), "%s", directory);
    disk->real = lp__journal_io_real();
    disk->ops = calloc(DIR_OPS_MAX, sizeof(*disk->ops));
    disk->now_us = 1000;
    disk->boot = 1;
    load(disk);
    return disk;
}

void jd_free(jd_disk *disk)
{
    while (disk->inodes != NULL) {
        jd_inode *next = disk->inodes->all;
        free_writes(disk->inodes);
        free(disk->inodes->bytes);
        free(disk->inodes);
        disk->inodes = next;
    }
    free(disk->ops);
    free(disk);
}

lp__journal_io jd_io(jd_disk *disk)
{
    return (lp__journal_io){
        .ctx = disk,
        .open = disk_open,
        .close = disk_close,
        .pread = disk_pread,
        .pwrite = disk_pwrite,
        .begin_writeback = disk_begin_writeback,
        .fdatasync = disk_fdatasync,
        .fsync_dir = disk_fsync_dir,
        .ftruncate = disk_ftruncate,
        .rename = disk_rename,
        .link = disk_link,
        .unlink = disk_unlink,
        .monotonic_us = disk_monotonic_us,
        .wall_ms = disk_wall_ms,
        .boot = disk_boot,
    };
}

void jd_plan(jd_disk *disk, jd_fault fault, unsigned calls, uint64_t first, uint64_t count)
{
    disk->fault = fault;
    disk->calls_hit = calls;
    disk->first = first;
    disk->count = count;
    disk->calls = disk->faults = 0;
    disk->half_told = false;
}

uint64_t jd_calls(const jd_disk *disk)
{
    return disk->calls;
}

uint64_t jd_faults(const jd_disk *disk)
{
    return disk->faults;
}

void jd_on_call(jd_disk *disk, void (*before)(void *ctx), void *ctx)
{
    disk->before = before;
    disk->before_ctx = ctx;
}

void jd_pass_time(jd_disk *disk, int64_t us)
{
    disk->now_us += us;
}

void jd_set_boot(jd_disk *disk, uint64_t boot)
{
    disk->boot = boot;
}

/* ---- images ---------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Puts those sectors of a write that made it. Of a file's writes none, all, or any. */
static void put_sectors(uint8_t **bytes, size_t *len, const jd_write *write, uint64_t *random,
                        unsigned keep_of_16)
{
    for (size_t at = 0; at < write->len;) {
        size_t count = SECTOR - (write->offset + at) % SECTOR;
        if (count > write->len - at)
            count = write->len - at;
        if (next_random(random) % 16 < keep_of_16)
            put(bytes, len, write->offset + at, write->data + at, count);
        at += count;
    }
}

static void write_file(const jd_inode *inode, const char *path, uint64_t *random, uint64_t seed)
{
    static const unsigned chances[] = {0, 16, 8, 15, 2, 16};
    unsigned keep_of_16 = seed == 0 ? 0 : seed == 1 ? 16 : chances[next_random(random) % 6];
    size_t len = inode->len;
    uint8_t *bytes = malloc(len + 1);
    if (len > 0)
        memcpy(bytes, inode->bytes, len);
    for (const jd_write *write = inode->first; write != NULL; write = write->next) {
        if (write->len != SIZE_MAX)
            put_sectors(&bytes, &len, write, random, keep_of_16);
        else if (next_random(random) % 16 < keep_of_16)
            cut(&bytes, &len, write->offset);
    }
    jk_write(path, bytes, len);
    free(bytes);
}

void jd_image(const jd_disk *disk, uint64_t seed, const char *directory)
{
    static jd_names names;
    uint64_t random = seed * 0x2545f4914f6cdd1du;
    size_t ops = seed == 0   ? 0
                 : seed == 1 ? disk->op_count
                             : next_random(&random) % (disk->op_count + 1);
    bool any = seed > 1 && next_random(&random) % 4 == 0;
    names = disk->durable;
    for (size_t i = 0; i < ops; i++)
        if (!any || next_random(&random) % 2 == 0)
            apply(&names, &disk->ops[i]);
    jk_remove(directory);
    mkdir(directory, 0700);
    for (size_t i = 0; i < 256; i++) {
        char path[8192];
        if (names.entries[i].inode == NULL)
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, names.entries[i].name);
        write_file(names.entries[i].inode, path, &random, seed);
    }
}
