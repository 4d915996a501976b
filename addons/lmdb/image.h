/* LMDB's file, read without LMDB: nothing in it is believed before it was checked, because LMDB
 * itself follows a damaged page number out of its map and takes the host process with it. Also what
 * replay and inspection read, so that no read transaction holds pages back.
 *
 * An image is of the last transaction that was committed when it was opened. Whoever opens one
 * holds the store's lock, and commits nothing until it is closed. */
#ifndef LP_LMDB_IMAGE_H
#define LP_LMDB_IMAGE_H

#include "format.h"

#define LP__PAGE_NONE UINT64_MAX
/* LMDB's own bound: offsets within a page are of 16 bits. */
#define LP__PAGE_SIZE_MAX 32768

/* One tree of the file. */
typedef struct lp__tree {
    uint64_t root; /* LP__PAGE_NONE: empty */
    uint64_t entries;
    uint64_t pages; /* of it, as LMDB counts them */
    uint16_t flags, depth;
} lp__tree;

typedef struct lp__image {
    const uint8_t *base;
    size_t size;
    size_t page_size;
    uint64_t last_page, txnid;
    lp__tree free, main, events, horizons, keys;
    bool has_rows;       /* the main tree is not empty */
    bool has_stale_meta; /* its two meta pages are not of successive transactions */
    lp__row meta;        /* our meta row */
    uint8_t *seen;       /* a bit for each page, while it is checked */
    bool is_checked;     /* all pages were, and need not be looked at that closely again */
    uint64_t free_pages; /* counted by lp__image_check and lp__image_count_free */
    char problem[160];   /* what is wrong, and with which page */
} lp__image;

typedef enum lp__image_state {
    LP__IMAGE_GOOD,
    LP__IMAGE_NONE,    /* no file, or one without content */
    LP__IMAGE_DAMAGED, /* see `problem` */
    LP__IMAGE_FOREIGN, /* another program's environment */
    LP__IMAGE_VERSION, /* of an LMDB that this one does not know: see `problem` */
    LP__IMAGE_FAILED   /* it could not be read: see errno */
} lp__image_state;

/* Maps a file, picks its newer meta page and finds the trees. Close it in every case. */
lp__image_state lp__lmdb_image_open(lp__image *image, int dir, const char *name);
void lp__lmdb_image_close(lp__image *image);

/* Reads every page that LMDB could ever read, and makes sure that LMDB can. LP_OK, LP_EDAMAGED (see
 * `problem`) or LP_ENOMEM. */
int lp__lmdb_image_check(lp__image *image);

/* Calls `visit` for each row of a tree in the order of keys, and ends with what it returned when
 * that is negative. LP_EDAMAGED: see `problem`. */
typedef int (*lp__image_visit)(void *ctx, const lp__row *row, bool is_tree);
int lp__lmdb_image_walk(lp__image *image, const lp__tree *tree, lp__image_visit visit, void *ctx);

/* Fills `free_pages`. */
int lp__lmdb_image_count_free(lp__image *image);

/* ---- between image.c and walk.c -------------------------------------------------------------- */

int lp__lmdb_image_wrong(lp__image *image, uint64_t page, const char *what); /* LP_EDAMAGED */
/* From here to the end a page that is met twice is LP_EDAMAGED: no walk is longer than the file. */
int lp__lmdb_image_begin_seeing(lp__image *image);
void lp__lmdb_image_end_seeing(lp__image *image);
/* A tree as LMDB writes it: 48 bytes. */
lp__tree lp__lmdb_tree_decode(const uint8_t *bytes);

#endif
