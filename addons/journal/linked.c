/* The store of a program that leaves the choice to its link command: see longpoll/linked.h. */
#include <longpoll/journal.h>
#include <longpoll/linked.h>

int lp_linked_addon_new(const char *path, lp_addon **out, lp_error *error)
{
    return lp_journal_new(path, NULL, out, error);
}
