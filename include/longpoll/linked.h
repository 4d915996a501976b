/* The add-on that a program was linked with: for programs that name their store in the link command
 * and nowhere else.
 *
 * Every library of an add-on has this one function under this one name: longpoll::journal,
 * longpoll::sqlite, longpoll::lmdb, and those of strangers that wish to be chosen so. A program
 * that calls it links exactly one of them; of two, the first in the link command is taken. */
#ifndef LONGPOLL_LINKED_H
#define LONGPOLL_LINKED_H

#include <longpoll/addon.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An add-on with its defaults that keeps its store at `path`: the directory of a journal or of an
 * LMDB environment, the file of an SQLite database. Its name is `(*out)->name`. What it returns,
 * and whose the add-on is then, is said at lp_journal_new, lp_sqlite_new and lp_lmdb_new. */
LP_API int lp_linked_addon_new(const char *path, lp_addon **out, lp_error *error);

#ifdef __cplusplus
}
#endif
#endif
