/* Walks the pages of a tree, and believes none. See image.h.
 *
 * What LMDB takes for granted about a page of its own, and a damaged one may break: its number and
 * kind, that its nodes fill the room they take, without gaps and not over each other, that the
 * pages it names are in the file, that no page is used twice, and that all leaves are equally deep.
 */
#include "image.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAGE_HEADER = 16,
    PAGE_FLAGS_AT = 10,
    PAGE_LOWER_AT = 12, /* of an overflow page: how many there are */
    PAGE_UPPER_AT = 14,
    PAGE_BRANCH = 0x01,
    PAGE_LEAF = 0x02,
    PAGE_OVERFLOW = 0x04,
    NODE_HEADER = 8,
    NODE_BIG = 1,  /* its value lies in overflow pages */
    NODE_TREE = 2, /* its value is a tree */
    TREE_SIZE = 48,
    DEPTH_MAX = 32, /* of LMDB's cursors */
    KEY_MAX = 511,
};

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

struct walk {
    lp__image *image;
    const lp__tree *tree;
    lp__image_visit visit; /* may be NULL */
    void *ctx;
    uint64_t entries;
};

/* ---- pages ----------------------------------------------------------------------------------- */

/* Marks `count` pages as used. */
static int see_pages(lp__image *image, uint64_t page, uint64_t count)
{
    if (image->seen == NULL)
        return LP_OK;
    for (uint64_t i = page; i < page + count; i++) {
        uint8_t bit = (uint8_t)(1u << (i & 7));
        if ((image->seen[i >> 3] & bit) != 0)
            return lp__lmdb_image_wrong(image, i, "used twice");
        image->seen[i >> 3] |= bit;
    }
    return LP_OK;
}

/* The pages are there. */
static const uint8_t *find_pages(lp__image *image, uint64_t page, uint64_t count)
{
    if (page < 2 || page > image->last_page || count > image->last_page - page + 1 ||
        (page + count) * image->page_size > image->size) {
        lp__lmdb_image_wrong(image, page, "named, and not in the file");
        return NULL;
    }
    const uint8_t *at = image->base + page * image->page_size;
    if (get64(at) != page) {
        lp__lmdb_image_wrong(image, page, "has another number");
        return NULL;
    }
    return at;
}

/* The value of a node that lies in overflow pages. */
static int find_overflow(lp__image *image, const uint8_t *number, lp__row *row)
{
    uint64_t page = get64(number);
    uint64_t need = (PAGE_HEADER - 1 + (uint64_t)row->value_len) / image->page_size + 1;
    const uint8_t *at = find_pages(image, page, need);
    if (at == NULL)
        return LP_EDAMAGED;
    uint64_t count = get32(at + PAGE_LOWER_AT);
    if (get16(at + PAGE_FLAGS_AT) != PAGE_OVERFLOW || count < need ||
        find_pages(image, page, count) == NULL)
        return lp__lmdb_image_wrong(image, page, "not the overflow pages of a value");
    row->value = at + PAGE_HEADER;
    return see_pages(image, page, count);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* What a node is: its row (for a branch, the key alone), the page that it names, and its size. */
struct node {
    lp__row row;
    uint64_t child;
    uint32_t size;
    uint16_t flags;
};

static inline bool read_node(const lp__image *image, const uint8_t *page, uint16_t at, bool is_leaf,
                             struct node *out)
{
    if ((at & 1) != 0 || at + (size_t)NODE_HEADER > image->page_size)
        return false;
    size_t room = image->page_size - at;
    const uint8_t *node = page + at;
    uint64_t header = get64(node); /* two halves of a size, flags, the size of the key: 16 bits */
    out->flags = (uint16_t)(header >> 32);
    out->row.key_len = (size_t)(header >> 48);
    out->row.key = node + NODE_HEADER;
    out->row.value = node + NODE_HEADER + out->row.key_len;
    out->child = header & UINT64_C(0xffffffffffff);
    out->row.value_len = (size_t)(header & UINT32_MAX);
    uint64_t size = NODE_HEADER + out->row.key_len;
    if (is_leaf)
        size += (out->flags & NODE_BIG) != 0 ? 8 : out->row.value_len;
    size = (size + 1) & ~(uint64_t)1;
    out->size = (uint32_t)size;
    return size <= room && out->row.key_len <= KEY_MAX;
}

/* Nodes that were added at the end only lie one before the other; for all others, every two bytes
 * of the page belong to one of them at most. */
struct layout {
    uint32_t end; /* of the next node, while they lie so */
    bool is_row;
    uint64_t taken[LP__PAGE_SIZE_MAX / 2 / 64];
};

static bool take(struct layout *layout, uint32_t at, uint32_t size)
{
    for (uint32_t i = at / 2; i < (at + size) / 2; i++) {
        uint64_t bit = UINT64_C(1) << (i & 63);
        if ((layout->taken[i >> 6] & bit) != 0)
            return false;
        layout->taken[i >> 6] |= bit;
    }
    return true;
}

static bool overlaps(lp__image *image, const uint8_t *page, unsigned count, bool is_leaf)
{
    struct layout layout;
    memset(layout.taken, 0, sizeof(layout.taken));
    for (unsigned i = 0; i < count; i++) {
        struct node node;
        uint16_t at = get16(page + PAGE_HEADER + 2 * i);
        if (!read_node(image, page, at, is_leaf, &node) || !take(&layout, at, node.size))
            return true;
    }
    return false;
}

/* The nodes of a page are within it. */
static int check_nodes(lp__image *image, const uint8_t *page, unsigned count, bool is_leaf)
{
    uint64_t number = get64(page);
    uint32_t upper = get16(page + PAGE_UPPER_AT), end = (uint32_t)image->page_size, sum = 0;
    bool is_row = true;
    for (unsigned i = 0; i < count; i++) {
        struct node node;
        uint16_t at = get16(page + PAGE_HEADER + 2 * i);
        if (at < upper || !read_node(image, page, at, is_leaf, &node))
            return lp__lmdb_image_wrong(image, number, "a node lies outside");
        is_row = is_row && at + node.size == end;
        end = at;
        sum += node.size;
    }
    if (sum != image->page_size - upper || (!is_row && overlaps(image, page, count, is_leaf)))
        return lp__lmdb_image_wrong(image, number, "its nodes do not fill the room they take");
    return LP_OK;
}

static int visit_leaf(struct walk *walk, const uint8_t *page, unsigned count)
{
    lp__image *image = walk->image;
    bool is_main = walk->tree == &image->main;
    for (unsigned i = 0; i < count; i++) {
        struct node node;
        read_node(image, page, get16(page + PAGE_HEADER + 2 * i), true, &node);
        int status = LP_OK;
        if ((node.flags & ~(is_main ? NODE_BIG | NODE_TREE : NODE_BIG)) != 0 ||
            (node.flags == NODE_TREE && node.row.value_len != TREE_SIZE) ||
            node.flags == (NODE_BIG | NODE_TREE) || node.row.key_len == 0)
            return lp__lmdb_image_wrong(image, get64(page), "a node of no known kind");
        if (node.flags == NODE_BIG)
            status = find_overflow(image, node.row.value, &node.row);
        walk->entries++;
        if (status == LP_OK && walk->visit != NULL)
            status = walk->visit(walk->ctx, &node.row, node.flags == NODE_TREE);
        if (status < 0)
            return status;
    }
    return LP_OK;
}

static int walk_page(struct walk *walk, uint64_t number, unsigned depth);

/* The page that child `i` is; NULL: it is not in the file. */
static const uint8_t *peek_child(const lp__image *image, const uint8_t *page, unsigned i)
{
    struct node node = {.child = UINT64_MAX};
    read_node(image, page, get16(page + PAGE_HEADER + 2 * i), false, &node);
    return node.child < image->size / image->page_size ? image->base + node.child * image->page_size
                                                       : NULL;
}

/* The walk waits for nothing but memory, and nodes lie in falling order, which processors do not
 * foresee: so a page is asked for while the one before it is read, and for the check, which looks
 * at little of each, the bounds of a page while the one two before it is. (GCC drops a loop of
 * prefetches that is a function of its own.) */
static int walk_children(struct walk *walk, const uint8_t *page, unsigned count, unsigned depth)
{
    enum { CACHE_LINE = 64, NODES_MAX = 64 };
    const lp__image *image = walk->image;
    const uint8_t *next = NULL, *after = count > 1 ? peek_child(image, page, 1) : NULL;
    int status = LP_OK;
    for (unsigned i = 0; status == LP_OK && i < count; i++) {
        struct node node = {.child = UINT64_MAX};
        read_node(image, page, get16(page + PAGE_HEADER + 2 * i), false, &node);
        next = after;
        after = i + 2 < count ? peek_child(image, page, i + 2) : NULL;
        if (!image->is_checked && after != NULL)
            __builtin_prefetch(after);
        unsigned nodes = next != NULL && !image->is_checked ? get16(next + PAGE_LOWER_AT) / 2 : 0;
        for (unsigned n = PAGE_HEADER / 2; n < nodes && n < NODES_MAX; n++)
            __builtin_prefetch(next + (get16(next + 2 * n) & (image->page_size - 1)));
        for (size_t line = 0; next != NULL && image->is_checked && line < image->page_size;
             line += CACHE_LINE)
            __builtin_prefetch(next + line);
        status = walk_page(walk, node.child, depth + 1);
    }
    return status;
}

static int walk_page(struct walk *walk, uint64_t number, unsigned depth)
{
    lp__image *image = walk->image;
    const uint8_t *page = find_pages(image, number, 1);
    if (page == NULL)
        return LP_EDAMAGED;
    int status = see_pages(image, number, 1);
    if (status != LP_OK)
        return status;
    bool is_leaf = depth == walk->tree->depth;
    if (get16(page + PAGE_FLAGS_AT) != (is_leaf ? PAGE_LEAF : PAGE_BRANCH))
        return lp__lmdb_image_wrong(image, number, "not of the kind that belongs there");
    uint32_t lower = get16(page + PAGE_LOWER_AT), upper = get16(page + PAGE_UPPER_AT);
    unsigned count = lower >= PAGE_HEADER ? (lower - PAGE_HEADER) / 2 : 0;
    unsigned least = is_leaf || walk->tree == &image->free ? 1 : 2;
    if (lower > upper || upper > image->page_size || (lower & 1) != 0 || count < least)
        return lp__lmdb_image_wrong(image, number, "its bounds are none");
    if (!image->is_checked)
        status = check_nodes(image, page, count, is_leaf);
    if (status != LP_OK || is_leaf)
        return status != LP_OK ? status : visit_leaf(walk, page, count);
    return walk_children(walk, page, count, depth);
}

int lp__lmdb_image_walk(lp__image *image, const lp__tree *tree, lp__image_visit visit, void *ctx)
{
    struct walk walk = {image, tree, visit, ctx, 0};
    if (tree->root == LP__PAGE_NONE)
        return LP_OK;
    if (tree->depth < 1 || tree->depth > DEPTH_MAX)
        return lp__lmdb_image_wrong(image, tree->root, "its tree has no depth");
    return walk_page(&walk, tree->root, 1);
}

/* ---- the list of free pages ------------------------------------------------------------------ */

/* One row: the transaction that freed them, and how many, and which, in falling order. */
static int see_free(void *ctx, const lp__row *row, bool is_tree)
{
    lp__image *image = ctx;
    uint64_t room = row->value_len / 8, before = UINT64_MAX;
    if (is_tree || row->key_len != 8 || room < 1 || get64(row->key) > image->txnid)
        return lp__lmdb_image_wrong(image, image->free.root, "no list of free pages");
    uint64_t count = get64(row->value);
    if (count > room - 1)
        return lp__lmdb_image_wrong(image, image->free.root, "a list of free pages is cut");
    image->free_pages += count;
    if (image->seen == NULL)
        return LP_OK;
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t page = get64(row->value + 8 * i);
        if (page < 2 || page > image->last_page || page >= before)
            return lp__lmdb_image_wrong(image, page,
                                        "on the list of free pages, and none of the file");
        before = page;
        int status = see_pages(image, page, 1);
        if (status != LP_OK)
            return status;
    }
    return LP_OK;
}

int lp__lmdb_image_count_free(lp__image *image)
{
    image->free_pages = 0;
    return lp__lmdb_image_walk(image, &image->free, see_free, image);
}

int lp__lmdb_image_begin_seeing(lp__image *image)
{
    if (image->last_page / 64 > image->size) /* pages behind the end are free, or never written */
        return lp__lmdb_image_wrong(image, image->last_page, "the last page is far outside");
    image->seen = calloc(1, (size_t)(image->last_page / 8 + 1));
    return image->seen != NULL ? LP_OK : LP_ENOMEM;
}

void lp__lmdb_image_end_seeing(lp__image *image)
{
    free(image->seen);
    image->seen = NULL;
}

int lp__lmdb_image_check(lp__image *image)
{
    int status = lp__lmdb_image_begin_seeing(image);
    if (status != LP_OK)
        return status;
    const lp__tree *trees[] = {&image->main, &image->events, &image->horizons, &image->keys};
    status = lp__lmdb_image_count_free(image);
    for (size_t i = 0; status == LP_OK && i < (image->has_rows ? 4 : 1); i++)
        status = lp__lmdb_image_walk(image, trees[i], NULL, NULL);
    lp__lmdb_image_end_seeing(image);
    image->is_checked = status == LP_OK;
    return status;
}
