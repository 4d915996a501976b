/* What active.c and rescue.c do for each other; nobody else includes this. */
#ifndef LP_JOURNAL_ACTIVE_H
#define LP_JOURNAL_ACTIVE_H

#include "inside.h"

/* Closes the active segment's file: there is no active segment any more. */
void lp__active_close(lp__journal *journal);
/* One try to get its file, and a new file's name, to disk. */
int lp__active_sync_files(lp__journal *journal);
/* All that was written is on disk: nothing need be kept in memory. */
void lp__active_mark_synced(lp__journal *journal);

/* After a failed sync. Keeps the batches that may not be on disk in a new segment, whose header
 * voids them in the old one, or stands for the old one where not even that one's header is on disk.
 * On failure the old segment is the last one again, but nobody writes to it any more. */
int lp__active_rescue(lp__journal *journal);

#endif
