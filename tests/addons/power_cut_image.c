/* The states of the disk that a power cut may leave, see power_cut_disk.h. A sector or page was
 * written back at some moment, if at all, and then has all that the process had put there by that
 * moment; so each gets a moment of its own, and the size of a file another. */
#include "power_cut_book.h"

#include <stdlib.h>
#include <string.h>

/* How much of what is not on disk for sure is taken. */
typedef enum pc_taking {
    TAKE_NOTHING,
    TAKE_ALL,
    TAKE_IN_ORDER, /* all up to one moment, the last write in part */
    TAKE_PAGES,    /* each page up to a moment of its own */
    TAKE_SECTORS,
    TAKE_COUNT
} pc_taking;

typedef struct pc_maker {
    const pc_book *book;
    uint64_t random, moment; /* of TAKE_IN_ORDER */
    pc_taking taking;
} pc_maker;

/* ---- bytes ----------------------------------------------------------------------------------- */

void pc__grow(pc_bytes *bytes, size_t len)
{
    if (len > bytes->capacity) {
        size_t capacity = bytes->capacity * 2 > len ? bytes->capacity * 2 : len;
        uint8_t *at = realloc(bytes->at, capacity);
        if (at == NULL)
            pc__die("realloc", "");
        bytes->at = at;
        bytes->capacity = capacity;
    }
    if (len > bytes->len) {
        memset(bytes->at + bytes->len, 0, len - bytes->len);
        bytes->len = len;
    }
}

size_t pc__size_after(const pc_write *write, size_t size)
{
    if (write->is_size)
        return write->offset;
    return write->offset + write->len > size ? write->offset + write->len : size;
}

void pc__put(pc_bytes *bytes, const pc_write *write, size_t from, size_t to)
{
    size_t end = write->is_size ? bytes->len : write->offset + write->len;
    if (from < write->offset)
        from = write->offset;
    if (to > end)
        to = end;
    if (from >= to)
        return;
    if (write->is_size) {
        memset(bytes->at + from, 0, to - from);
        return;
    }
    pc__grow(bytes, to);
    memcpy(bytes->at + from, write->data + (from - write->offset), to - from);
}

/* ---- one file -------------------------------------------------------------------------------- */

/* A moment between the file's last sync and now, often one of the two. */
static uint64_t any_moment(const pc_inode *inode, uint64_t hash, unsigned late_of_8)
{
    uint64_t first = inode->first->order, last = inode->last->order;
    if (hash % 8 < late_of_8)
        return last;
    if (hash % 8 == 7 || last == first)
        return first - 1;
    return first - 1 + (hash >> 8) % (last - first + 1);
}

/* A write through O_DSYNC takes along what was there before it in the same unit. */
static uint64_t after_durable(const pc_inode *inode, size_t from, size_t to, uint64_t moment)
{
    for (const pc_write *write = inode->first; write != NULL; write = write->next)
        if (write->is_durable && write->order > moment && write->offset < to &&
            write->offset + write->len > from)
            moment = write->order;
    return moment;
}

/* Takes each unit of a write if its moment was late enough. */
static void take_units(const pc_inode *inode, const pc_write *write, size_t unit, uint64_t seed,
                       unsigned late_of_8, pc_bytes *bytes)
{
    for (size_t at = write->offset / unit * unit; at < write->offset + write->len; at += unit) {
        uint64_t moment = any_moment(inode, pc_mix(seed ^ pc_mix(at + 1)), late_of_8);
        if (write->order <= after_durable(inode, at, at + unit, moment))
            pc__put(bytes, write, at, at + unit);
    }
}

/* The moment of a file's size. File systems keep it in order with what it implies: a file that was
 * cut keeps all that was cut off or nothing of it, and what was written afterwards is not there
 * without the cut. A write through O_DSYNC takes the size along. */
static uint64_t size_moment(pc_maker *maker, const pc_inode *inode)
{
    uint64_t moment = any_moment(inode, pc_next(&maker->random), 4);
    return after_durable(inode, 0, SIZE_MAX, moment);
}

static void take_scattered(pc_maker *maker, const pc_inode *inode, pc_bytes *bytes)
{
    static const unsigned late[] = {0, 3, 7};
    uint64_t seed = pc_next(&maker->random), moment = size_moment(maker, inode);
    size_t unit = maker->taking == TAKE_PAGES ? PC_PAGE : PC_SECTOR;
    unsigned late_of_8 = late[pc_next(&maker->random) % 3];
    size_t size = inode->bytes.len, taken_size = size;
    for (const pc_write *write = inode->first; write != NULL; write = write->next) {
        bool is_cut = write->is_size && write->offset < size;
        if (is_cut && write->order > moment)
            break;
        if (write->is_size)
            pc__put(bytes, write, 0, SIZE_MAX);
        else
            take_units(inode, write, unit, seed, late_of_8, bytes);
        size = pc__size_after(write, size);
        if (write->order <= moment)
            taken_size = pc__size_after(write, taken_size);
    }
    pc__grow(bytes, taken_size);
    bytes->len = taken_size;
}

static void take_in_order(pc_maker *maker, const pc_inode *inode, uint64_t moment, pc_bytes *bytes)
{
    size_t size = inode->bytes.len;
    for (const pc_write *write = inode->first; write != NULL; write = write->next) {
        size_t to = SIZE_MAX;
        if (write->order == moment + 1 && !write->is_size && !write->is_durable) {
            size_t sectors = write->len / PC_SECTOR + 1;
            to = (write->offset / PC_SECTOR + pc_next(&maker->random) % sectors) * PC_SECTOR;
            if (to <= write->offset)
                continue;
        } else if (write->order > moment && !write->is_durable) {
            continue;
        }
        pc__put(bytes, write, 0, to);
        size_t end = pc__size_after(write, size);
        if (to >= end)
            size = end;
        else if (to > size)
            size = to;
    }
    pc__grow(bytes, size);
    bytes->len = size;
}

/* What is in a mapped file now may be on disk or not, page by page. */
static void mix_mapped(pc_maker *maker, const char *name, pc_bytes *bytes)
{
    pc_bytes now;
    pc__read_now(name, &now);
    uint64_t chance = pc_next(&maker->random) % 5;
    for (size_t at = 0; at < now.len && at < bytes->len; at += PC_PAGE) {
        size_t len = now.len < bytes->len ? now.len : bytes->len;
        len = len - at < PC_PAGE ? len - at : PC_PAGE;
        if (pc_next(&maker->random) % 4 < chance)
            memcpy(bytes->at + at, now.at + at, len);
    }
    free(now.at);
}

static void make_file(pc_maker *maker, const pc_inode *inode, const char *name, pc_bytes *bytes)
{
    pc__grow(bytes, inode->bytes.len);
    if (inode->bytes.len > 0)
        memcpy(bytes->at, inode->bytes.at, inode->bytes.len);
    if (inode->first != NULL) {
        bool is_even = maker->taking < TAKE_PAGES || pc_next(&maker->random) % 4 == 0;
        if (!is_even)
            take_scattered(maker, inode, bytes);
        else if (maker->taking == TAKE_IN_ORDER)
            take_in_order(maker, inode, maker->moment, bytes);
        else if (maker->taking == TAKE_NOTHING ||
                 (maker->taking >= TAKE_PAGES && pc_next(&maker->random) % 2))
            take_in_order(maker, inode, 0, bytes);
        else
            take_in_order(maker, inode, UINT64_MAX - 1, bytes);
    }
    if (inode->is_mapped && maker->taking != TAKE_NOTHING)
        mix_mapped(maker, name, bytes);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void make_names(pc_maker *maker, pc_names *names)
{
    const pc_book *book = maker->book;
    pc_taking taking = maker->taking;
    uint64_t moment = maker->moment;
    *names = book->durable;
    if (taking >= TAKE_PAGES && book->change_count > 0) {
        taking = (pc_taking)(pc_next(&maker->random) % TAKE_COUNT);
        moment = book->changes[pc_next(&maker->random) % book->change_count].order;
    }
    for (size_t i = 0; i < book->change_count; i++) {
        const pc_change *change = &book->changes[i];
        bool takes = taking == TAKE_ALL || (taking == TAKE_IN_ORDER && change->order <= moment) ||
                     (taking >= TAKE_PAGES && pc_next(&maker->random) % 2);
        if (takes)
            pc__apply(names, change);
    }
}

static bool has_parent(const pc_names *names, const char *name)
{
    char parent[PC_NAME];
    const char *slash = strrchr(name, '/');
    if (slash == NULL)
        return true;
    memcpy(parent, name, (size_t)(slash - name));
    parent[slash - name] = '\0';
    return pc__find(names, parent) != NULL && has_parent(names, parent);
}

/* The first change that is not on disk for sure; 0: there is none. */
static uint64_t first_change(const pc_book *book)
{
    uint64_t first = book->change_count > 0 ? book->changes[0].order : 0;
    for (const pc_inode *inode = book->inodes; inode != NULL; inode = inode->all)
        if (inode->first != NULL && (first == 0 || inode->first->order < first))
            first = inode->first->order;
    return first;
}

pc_image *pc__image(const pc_book *book, uint64_t seed)
{
    pc_names *names = malloc(sizeof(*names));
    pc_image *image = calloc(1, sizeof(*image));
    pc_maker maker = {book, seed, 0, TAKE_NOTHING};
    uint64_t first = first_change(book);
    if (names == NULL || image == NULL)
        pc__die("malloc", "");
    if (seed > 1)
        maker.taking = (pc_taking)(TAKE_IN_ORDER + pc_next(&maker.random) % 3);
    else
        maker.taking = seed == 1 ? TAKE_ALL : TAKE_NOTHING;
    if (first > 0)
        maker.moment = first - 1 + pc_next(&maker.random) % (book->order - first + 2);
    make_names(&maker, names);
    for (size_t i = 0; i < names->count; i++) {
        const pc_name *name = &names->at[i];
        if (!has_parent(names, name->name))
            continue;
        memcpy(image->files[image->count].name, name->name, PC_NAME);
        image->files[image->count].is_directory = name->inode->is_directory;
        if (!name->inode->is_directory)
            make_file(&maker, name->inode, name->name, &image->files[image->count].bytes);
        image->count++;
    }
    free(names);
    return image;
}

void pc_image_free(pc_image *image)
{
    for (size_t i = 0; image != NULL && i < image->count; i++)
        free(image->files[i].bytes.at);
    free(image);
}
