#include <criterion/criterion.h>

#include "core/engine/list.h"

typedef struct item {
    int number;
    lp__list link;
} item;

static int number_of(lp__list *node)
{
    return LP__CONTAINER(node, item, link)->number;
}

Test(list, keeps_the_order_of_pushes)
{
    lp__list list;
    item items[3] = {{1}, {2}, {3}};
    lp__list_init(&list);
    cr_assert(lp__list_is_empty(&list));
    for (int i = 0; i < 3; i++)
        lp__list_push_back(&list, &items[i].link);
    int expected = 1;
    for (lp__list *node = list.next; node != &list; node = node->next)
        cr_assert_eq(number_of(node), expected++);
    cr_assert_eq(expected, 4);
    cr_assert_eq(number_of(list.prev), 3);
}

Test(list, lets_go_of_a_node_anywhere_and_twice)
{
    lp__list list;
    item items[3] = {{1}, {2}, {3}};
    lp__list_init(&list);
    for (int i = 0; i < 3; i++)
        lp__list_push_back(&list, &items[i].link);
    lp__list_unlink(&items[1].link);
    lp__list_unlink(&items[1].link);
    cr_assert(lp__list_is_empty(&items[1].link));
    cr_assert_eq(items[0].link.next, &items[2].link);
    lp__list_unlink(&items[0].link);
    lp__list_unlink(&items[2].link);
    cr_assert(lp__list_is_empty(&list));
}

Test(list, moves_all_its_nodes_to_another)
{
    lp__list from, to;
    item items[2] = {{1}, {2}};
    lp__list_init(&from);
    lp__list_take(&from, &to);
    cr_assert(lp__list_is_empty(&to), "nothing of an empty list");

    lp__list_push_back(&from, &items[0].link);
    lp__list_push_back(&from, &items[1].link);
    lp__list_take(&from, &to);
    cr_assert(lp__list_is_empty(&from));
    cr_assert_eq(number_of(to.next), 1);
    cr_assert_eq(number_of(to.prev), 2);
    cr_assert_eq(items[1].link.next, &to);
    cr_assert_eq(items[0].link.prev, &to);
}
