/* Lists of horizons: all those of a batch in a few rows, for stores in which a row for each one
 * would have most pages of a tree written with every batch. When there is much in the lists, the
 * newest horizon of each category gets a row of its own, and they begin anew. No I/O. Used on the
 * add-on's thread. */
#ifndef LP_ADDONS_LISTS_H
#define LP_ADDONS_LISTS_H

#include <longpoll/addon.h>

#include "categories.h"

/* A batch with fewer horizons writes no more pages for them than a list takes. */
#define LP__LIST_MIN 8
/* Of an entry: the sequence number, 8 bytes, and the length of the category, 2 bytes, both
 * little-endian. The category follows. */
#define LP__LIST_ENTRY 10

/* What is in the lists of a store. Zeroed: nothing. */
typedef struct lp__lists {
    lp__categories newest;
    size_t entries, bytes;
    bool is_unknown; /* memory ran out: `newest` lacks some */
} lp__lists;

void lp__lists_note(lp__lists *lists, lp_str category, uint64_t seq);
/* All of a batch, but the floor, which is never in a list. */
void lp__lists_note_batch(lp__lists *lists, const lp_batch *batch);
/* Whether they should be emptied, by a batch that brings more. */
bool lp__lists_are_due(const lp__lists *lists);
void lp__lists_forget(lp__lists *lists);

/* Writes an entry, and returns what follows it. */
char *lp__list_put(char *at, lp_str category, uint64_t seq);
/* Hands out the entries, until `visit` returns anything but LP_OK. LP_EDAMAGED: it is no list. */
typedef int (*lp__list_visit)(void *ctx, lp_str category, uint64_t seq);
int lp__list_read(lp_str list, lp__list_visit visit, void *ctx);

#endif
