/* The index: the categories that count, in the order of their names, so that all that begin with a
 * prefix lie side by side. A treap (Seidel and Aragon, "Randomized search trees", 1996) in the
 * categories themselves, the keyed hash of the name being the priority; so it is balanced whatever
 * names strangers choose, and a new category needs no memory for it.
 *
 * Each node knows the newest event and the highest horizon of its subtree, or that it is stale. A
 * publish marks what is above it as stale and stops where that has been done: while nobody asks,
 * that is at once. Who asks brings up to date what he looks at. */
#include <string.h>

#include "engine_private.h"

void lp__index_touch(lp__category *category)
{
    for (; category != NULL && !category->node.stale; category = category->node.parent)
        category->node.stale = true;
}

/* ---- the tree ----------------------------------------------------------- */

static int compare(const lp__category *a, const lp__category *b)
{
    size_t len = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order = memcmp(a->name, b->name, len);
    return order != 0 ? order : a->name_len < b->name_len ? -1 : 1;
}

static lp__category **link_to(lp__engine *engine, lp__category *category)
{
    lp__category *parent = category->node.parent;
    if (parent == NULL)
        return &engine->index;
    return parent->node.left == category ? &parent->node.left : &parent->node.right;
}

/* Exchanges it with its parent. Both are stale. */
static void rotate_up(lp__engine *engine, lp__category *category)
{
    lp__category *parent = category->node.parent, **link = link_to(engine, parent), *between;
    if (parent->node.left == category) {
        between = parent->node.left = category->node.right;
        category->node.right = parent;
    } else {
        between = parent->node.right = category->node.left;
        category->node.left = parent;
    }
    if (between != NULL)
        between->node.parent = parent;
    category->node.parent = parent->node.parent;
    parent->node.parent = category;
    *link = category;
}

void lp__index_add(lp__engine *engine, lp__category *category)
{
    lp__category *parent = NULL, **link = &engine->index;
    while (*link != NULL) {
        parent = *link;
        link = compare(category, parent) < 0 ? &parent->node.left : &parent->node.right;
    }
    *link = category;
    category->node = (lp__index_node){.parent = parent, .stale = true};
    lp__index_touch(parent);
    while (category->node.parent != NULL && category->node.parent->hash < category->hash)
        rotate_up(engine, category);
}

void lp__index_remove(lp__engine *engine, lp__category *category)
{
    lp__index_touch(category);
    for (;;) {
        lp__category *left = category->node.left, *right = category->node.right;
        if (left == NULL && right == NULL)
            break;
        lp__category *next =
            left == NULL || (right != NULL && right->hash > left->hash) ? right : left;
        next->node.stale = true;
        rotate_up(engine, next);
    }
    *link_to(engine, category) = NULL;
    category->node = (lp__index_node){.stale = true};
}

/* ---- by prefix ---------------------------------------------------------- */

static void refresh(lp__category *category)
{
    if (category == NULL || !category->node.stale)
        return;
    lp__index_node *node = &category->node;
    const lp__category *below[] = {node->left, node->right};
    refresh(node->left);
    refresh(node->right);
    node->newest = category->newest;
    node->horizon = category->horizon;
    for (int i = 0; i < 2; i++) {
        if (below[i] != NULL && below[i]->node.newest > node->newest)
            node->newest = below[i]->node.newest;
        if (below[i] != NULL && below[i]->node.horizon > node->horizon)
            node->horizon = below[i]->node.horizon;
    }
    node->stale = false;
}

/* Where the category lies: before those that begin so (< 0), among them (0), behind (> 0). */
static int place(const lp__category *category, lp_str prefix)
{
    size_t len = category->name_len < prefix.len ? category->name_len : prefix.len;
    int order = memcmp(category->name, prefix.base, len);
    return order == 0 && category->name_len < prefix.len ? -1 : order;
}

/* The topmost of those that begin so: all of them are in its subtree. */
static lp__category *topmost(const lp__engine *engine, lp_str prefix)
{
    lp__category *category = engine->index;
    while (category != NULL) {
        int at = place(category, prefix);
        if (at == 0)
            break;
        category = at < 0 ? category->node.right : category->node.left;
    }
    return category;
}

static void widen(lp__extent *extent, uint64_t newest, uint64_t horizon)
{
    if (newest > extent->newest)
        extent->newest = newest;
    if (horizon > extent->horizon)
        extent->horizon = horizon;
}

static void widen_by_subtree(lp__extent *extent, lp__category *category)
{
    refresh(category);
    if (category != NULL)
        widen(extent, category->node.newest, category->node.horizon);
}

lp__extent lp__index_extent(const lp__engine *engine, lp_str prefix)
{
    lp__extent extent = {0};
    lp__category *top = topmost(engine, prefix), *at;
    if (top == NULL)
        return extent;
    widen(&extent, top->newest, top->horizon);
    for (at = top->node.left; at != NULL;) {
        bool inside = place(at, prefix) == 0;
        if (inside) {
            widen(&extent, at->newest, at->horizon);
            widen_by_subtree(&extent, at->node.right);
        }
        at = inside ? at->node.left : at->node.right;
    }
    for (at = top->node.right; at != NULL;) {
        bool inside = place(at, prefix) == 0;
        if (inside) {
            widen(&extent, at->newest, at->horizon);
            widen_by_subtree(&extent, at->node.left);
        }
        at = inside ? at->node.right : at->node.left;
    }
    return extent;
}

typedef struct visit {
    const uint64_t *after;
    lp__index_visitor visitor;
    void *ctx;
} visit;

static bool visit_one(const visit *these, lp__category *category)
{
    return category->newest <= *these->after || these->visitor(these->ctx, category);
}

/* A large subtree is not in the processor's cache, and waiting for one node after the other is most
 * of the work: so both children are fetched while the node itself is visited. */
static bool visit_subtree(const visit *these, lp__category *category)
{
    refresh(category);
    if (category == NULL || category->node.newest <= *these->after)
        return true;
    lp__category *left = category->node.left, *right = category->node.right;
    __builtin_prefetch(left);
    __builtin_prefetch(right);
    return visit_one(these, category) && visit_subtree(these, left) && visit_subtree(these, right);
}

bool lp__index_visit(const lp__engine *engine, lp_str prefix, const uint64_t *after,
                     lp__index_visitor visitor, void *ctx)
{
    visit these = {after, visitor, ctx};
    lp__category *top = topmost(engine, prefix), *at;
    if (top == NULL)
        return true;
    bool goes_on = visit_one(&these, top);
    for (at = top->node.left; at != NULL && goes_on;) {
        bool inside = place(at, prefix) == 0;
        if (inside)
            goes_on = visit_one(&these, at) && visit_subtree(&these, at->node.right);
        at = inside ? at->node.left : at->node.right;
    }
    for (at = top->node.right; at != NULL && goes_on;) {
        bool inside = place(at, prefix) == 0;
        if (inside)
            goes_on = visit_one(&these, at) && visit_subtree(&these, at->node.left);
        at = inside ? at->node.right : at->node.left;
    }
    return goes_on;
}
