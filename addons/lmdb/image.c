/* The file, its two meta pages, and which trees are in it. See image.h. */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of LMDB's data format 1, in the byte order and with the word size of the machine. */
enum {
    PAGE_HEADER = 16,
    PAGE_FLAGS_AT = 10,
    PAGE_META = 0x08,
    META_VERSION_AT = 4,
    META_FREE_AT = 24,
    META_MAIN_AT = 72,
    META_LAST_AT = 120,
    META_TXNID_AT = 128,
    META_SIZE = 136,
    DATA_VERSION = 1,
    INTEGER_KEY = 0x08,
    NO_SUBDIR = 0x4000,
};
#define META_MAGIC UINT32_C(0xBEEFC0DE)
#define TXNID_MAX  (UINT64_C(1) << 62)

static uint16_t get16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

int lp__lmdb_image_wrong(lp__image *image, uint64_t page, const char *what)
{
    snprintf(image->problem, sizeof(image->problem), "page %llu: %s", (unsigned long long)page,
             what);
    return LP_EDAMAGED;
}

lp__tree lp__lmdb_tree_decode(const uint8_t *bytes)
{
    return (lp__tree){
        .flags = get16(bytes + 4),
        .depth = get16(bytes + 6),
        .pages = get64(bytes + 8) + get64(bytes + 16) + get64(bytes + 24),
        .entries = get64(bytes + 32),
        .root = get64(bytes + 40),
    };
}

/* ---- the meta pages -------------------------------------------------------------------------- */

static lp__image_state damaged(lp__image *image, uint64_t page, const char *what)
{
    lp__lmdb_image_wrong(image, page, what);
    return LP__IMAGE_DAMAGED;
}

static lp__image_state check_meta(lp__image *image, unsigned number)
{
    const uint8_t *page = image->base + number * image->page_size, *meta = page + PAGE_HEADER;
    if (number * image->page_size + PAGE_HEADER + META_SIZE > image->size)
        return damaged(image, number, "the file ends before it");
    if ((get16(page + PAGE_FLAGS_AT) & PAGE_META) == 0 || get32(meta) != META_MAGIC)
        return damaged(image, number, "not a meta page of LMDB");
    if (get32(meta + META_VERSION_AT) != DATA_VERSION) {
        snprintf(image->problem, sizeof(image->problem), "LMDB's data format %lu",
                 (unsigned long)get32(meta + META_VERSION_AT));
        return LP__IMAGE_VERSION;
    }
    size_t page_size = get32(meta + META_FREE_AT);
    if (page_size < 512 || page_size > LP__PAGE_SIZE_MAX || (page_size & (page_size - 1)) != 0 ||
        (number == 1 && page_size != image->page_size))
        return damaged(image, number, "no size of a page");
    image->page_size = page_size;
    return LP__IMAGE_GOOD;
}

/* Of the newer meta page. LMDB takes the number of its next transaction from it, and finds the page
 * again by that number. */
static lp__image_state read_meta(lp__image *image)
{
    const uint8_t *metas[2] = {image->base + PAGE_HEADER,
                               image->base + image->page_size + PAGE_HEADER};
    uint64_t txnids[2] = {get64(metas[0] + META_TXNID_AT), get64(metas[1] + META_TXNID_AT)};
    unsigned newer = txnids[0] < txnids[1];
    const uint8_t *meta = metas[newer];
    image->txnid = txnids[newer];
    image->last_page = get64(meta + META_LAST_AT);
    image->free = lp__lmdb_tree_decode(meta + META_FREE_AT);
    image->main = lp__lmdb_tree_decode(meta + META_MAIN_AT);
    if (image->txnid > TXNID_MAX || (image->txnid & 1) != newer)
        return damaged(image, newer, "no number of a transaction");
    if (image->last_page < 1 || image->last_page > (UINT64_C(1) << 47) / image->page_size)
        return damaged(image, newer, "no number of a last page");
    if ((image->free.flags & ~NO_SUBDIR) != INTEGER_KEY)
        return damaged(image, newer, "flags that LMDB's list of free pages never has");
    image->has_stale_meta = txnids[newer] != txnids[!newer] && txnids[newer] != txnids[!newer] + 1;
    return LP__IMAGE_GOOD;
}

/* ---- what the main tree holds ---------------------------------------------------------------- */

struct contents {
    lp__image *image;
    unsigned ours, others;
    bool has_meta, has_events, has_horizons, has_keys;
};

static bool is_named(const lp__row *row, const char *name)
{
    return row->key_len == strlen(name) && memcmp(row->key, name, row->key_len) == 0;
}

static int see_content(void *ctx, const lp__row *row, bool is_tree)
{
    struct contents *contents = ctx;
    lp__image *image = contents->image;
    size_t prefix = strlen(LP__NAME_PREFIX);
    if (row->key_len >= prefix && memcmp(row->key, LP__NAME_PREFIX, prefix) == 0)
        contents->ours++;
    else
        contents->others++;
    if (!is_tree) {
        if (is_named(row, LP__META_NAME)) {
            contents->has_meta = true;
            image->meta = *row;
        }
        return LP_OK;
    }
    lp__tree tree = lp__lmdb_tree_decode(row->value);
    if (is_named(row, LP__EVENTS_NAME)) {
        contents->has_events = true;
        image->events = tree;
    } else if (is_named(row, LP__HORIZONS_NAME)) {
        contents->has_horizons = true;
        image->horizons = tree;
    } else if (is_named(row, LP__KEYS_NAME)) {
        contents->has_keys = true;
        image->keys = tree;
    }
    return LP_OK;
}

static lp__image_state read_main(lp__image *image)
{
    struct contents contents = {.image = image};
    image->has_rows = image->main.root != LP__PAGE_NONE;
    if (image->main.flags != 0)
        return LP__IMAGE_FOREIGN;
    if (!image->has_rows)
        return LP__IMAGE_GOOD;
    int status = lp__lmdb_image_begin_seeing(image);
    if (status == LP_OK)
        status = lp__lmdb_image_walk(image, &image->main, see_content, &contents);
    lp__lmdb_image_end_seeing(image);
    if (status == LP_ENOMEM) {
        errno = ENOMEM;
        return LP__IMAGE_FAILED;
    }
    if (status != LP_OK)
        return LP__IMAGE_DAMAGED;
    if (contents.ours == 0)
        return LP__IMAGE_FOREIGN;
    if (contents.others != 0 || contents.ours != 4 || !contents.has_meta || !contents.has_events ||
        !contents.has_horizons || !contents.has_keys)
        return damaged(image, image->main.root, "not the names of this store");
    if (image->events.flags != 0 || image->horizons.flags != 0 || image->keys.flags != 0)
        return damaged(image, image->main.root, "flags that trees of this store never have");
    return LP__IMAGE_GOOD;
}

/* ---- opening --------------------------------------------------------------------------------- */

static lp__image_state map_file(lp__image *image, int dir, const char *name)
{
    struct stat stat;
    int fd;
    do
        fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* it may be a pipe */
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return errno == ENOENT ? LP__IMAGE_NONE : LP__IMAGE_FAILED;
    lp__image_state state = LP__IMAGE_GOOD;
    if (fstat(fd, &stat) != 0) {
        state = LP__IMAGE_FAILED;
    } else if (!S_ISREG(stat.st_mode)) {
        snprintf(image->problem, sizeof(image->problem), "not a regular file");
        state = LP__IMAGE_DAMAGED;
    } else if (stat.st_size == 0) {
        state = LP__IMAGE_NONE;
    } else {
        void *base = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (base == MAP_FAILED) {
            state = LP__IMAGE_FAILED;
        } else {
            image->base = base;
            image->size = (size_t)stat.st_size;
        }
    }
    int code = errno;
    close(fd);
    errno = code;
    return state;
}

/* Has the kernel read the pages, which tells by a status what would raise a signal later. */
static bool is_readable(const uint8_t *at, size_t len)
{
#ifdef MADV_POPULATE_READ
    while (madvise((void *)(uintptr_t)at, len, MADV_POPULATE_READ) != 0)
        if (errno != EINTR && errno != EAGAIN)
            return errno != EFAULT && errno != EHWPOISON;
#else
    (void)at, (void)len;
#endif
    return true;
}

lp__image_state lp__lmdb_image_open(lp__image *image, int dir, const char *name)
{
    *image = (lp__image){0};
    lp__image_state state = map_file(image, dir, name);
    if (state != LP__IMAGE_GOOD)
        return state;
    enum { AHEAD = 4 << 20 };
    for (size_t at = 0; at < image->size; at += AHEAD)
        if (!is_readable(image->base + at, image->size - at < AHEAD ? image->size - at : AHEAD)) {
            snprintf(image->problem, sizeof(image->problem), "the disk cannot read it");
            return LP__IMAGE_DAMAGED;
        }
    state = check_meta(image, 0);
    lp__image_state second = state == LP__IMAGE_DAMAGED ? state : check_meta(image, 1);
    if (state == LP__IMAGE_VERSION && second != LP__IMAGE_VERSION)
        state = LP__IMAGE_DAMAGED; /* one page says so, and the other does not */
    else if (state == LP__IMAGE_GOOD && second != LP__IMAGE_GOOD)
        state = LP__IMAGE_DAMAGED;
    if (state == LP__IMAGE_GOOD)
        state = read_meta(image);
    return state == LP__IMAGE_GOOD ? read_main(image) : state;
}

void lp__lmdb_image_close(lp__image *image)
{
    if (image->base != NULL)
        munmap((void *)(uintptr_t)image->base, image->size);
    free(image->seen);
    image->base = NULL;
    image->seen = NULL;
}
