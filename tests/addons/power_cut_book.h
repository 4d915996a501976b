/* The recorder's book, shared by power_cut_disk.c, which keeps it, and power_cut_image.c, which
 * makes states of a disk from it. One thread at a time. */
#ifndef POWER_CUT_BOOK_H
#define POWER_CUT_BOOK_H

#include "power_cut_disk.h"

enum { PC_NAME = 192, PC_NAMES = 512, PC_CHANGES = 4096, PC_SECTOR = 512, PC_PAGE = 4096 };

typedef struct pc_bytes {
    uint8_t *at;
    size_t len, capacity;
} pc_bytes;

/* A write since the last sync of its file, or a change of its size. */
typedef struct pc_write {
    struct pc_write *next;
    uint64_t order; /* among all changes of the disk, from 2 */
    size_t offset, len;
    bool is_size;    /* the file ends at offset now */
    bool is_durable; /* it went through O_DSYNC */
    uint8_t data[];
} pc_write;

typedef struct pc_inode {
    uint64_t number;
    bool is_directory, is_mapped;
    pc_bytes bytes;         /* on disk */
    size_t size;            /* now */
    pc_write *first, *last; /* not on disk for sure */
    struct pc_inode *all;
} pc_inode;

typedef struct pc_name {
    char name[PC_NAME]; /* beneath the root */
    pc_inode *inode;
} pc_name;

typedef struct pc_names {
    pc_name at[PC_NAMES];
    size_t count;
} pc_names;

typedef enum pc_change_kind { PC_LINK, PC_UNLINK, PC_RENAME } pc_change_kind;

/* A change of names since the last sync of their directory. */
typedef struct pc_change {
    pc_change_kind kind;
    uint64_t order;
    char parent[PC_NAME], name[PC_NAME], to[PC_NAME];
    pc_inode *inode;
} pc_change;

typedef struct pc_book {
    char root[4096]; /* empty: nothing is recorded */
    pc_inode root_inode;
    pc_names now, durable;
    pc_change *changes;
    size_t change_count;
    pc_inode *inodes;
    uint64_t inode_count, order;
} pc_book;

struct pc_image {
    struct {
        char name[PC_NAME];
        bool is_directory;
        pc_bytes bytes;
    } files[PC_NAMES];
    size_t count;
};

void pc__die(const char *what, const char *name);
pc_inode *pc__find(const pc_names *names, const char *name);
void pc__apply(pc_names *names, const pc_change *change);
/* What a file has now, as processes see it. */
void pc__read_now(const char *name, pc_bytes *bytes);

/* Makes room for `len` bytes, zeros where there was nothing. */
void pc__grow(pc_bytes *bytes, size_t len);
/* Does the part of a write that lies in from..to. A change of the size clears what is behind it. */
void pc__put(pc_bytes *bytes, const pc_write *write, size_t from, size_t to);
size_t pc__size_after(const pc_write *write, size_t size);

/* power_cut_files.c */
void pc__path_in(char *path, const char *directory, const char *name); /* of PATH_MAX bytes */
void pc__read_file(const char *path, pc_bytes *bytes); /* empty when it is not there */
void pc__write_file(const char *path, const pc_bytes *bytes);
void pc__make_directory(const char *path);
size_t pc__count_files(const char *directory); /* and directories, all that are beneath it */

pc_image *pc__image(const pc_book *book, uint64_t seed);

#endif
