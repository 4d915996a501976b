/* An intrusive doubly linked list: nodes live in what they link, an unlinked node points to itself.
 */
#ifndef LP_LIST_H
#define LP_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct lp__list {
    struct lp__list *next, *prev;
} lp__list;

/* The struct of which `node` is the member. */
#define LP__CONTAINER(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

static inline void lp__list_init(lp__list *list)
{
    list->next = list->prev = list;
}

static inline bool lp__list_is_empty(const lp__list *list)
{
    return list->next == list;
}

static inline void lp__list_push_back(lp__list *list, lp__list *node)
{
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

static inline void lp__list_unlink(lp__list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    lp__list_init(node);
}

/* Moves all nodes of `from` to the empty list `to`. */
static inline void lp__list_take(lp__list *from, lp__list *to)
{
    lp__list_init(to);
    if (lp__list_is_empty(from))
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    lp__list_init(from);
}

#endif
