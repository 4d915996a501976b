/* What stands on each path of a server beside our handlers. Home loop only. */
#ifndef LP_HTTP_PATHS_H
#define LP_HTTP_PATHS_H

#include <h2o.h>

/* To be called when a path, or the fallback path, has all its other handlers. */
void lp__path_complete(h2o_pathconf_t *path);

#endif
