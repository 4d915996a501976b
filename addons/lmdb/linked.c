/* The store of a program that leaves the choice to its link command: see longpoll/linked.h. */
#include <longpoll/lmdb.h>
#include <longpoll/linked.h>

int lp_linked_addon_new(const char *path, lp_addon **out, lp_error *error)
{
    return lp_lmdb_new(path, NULL, out, error);
}
