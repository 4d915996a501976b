/* Directories of stores. Any thread. */
#ifndef LP_SHARED_DIRECTORY_H
#define LP_SHARED_DIRECTORY_H

/* Sees to it that the name of the new directory `path` is on disk too, as far as its parent lets
 * us.
 */
void lp__directory_sync_parent(const char *path);

#endif
