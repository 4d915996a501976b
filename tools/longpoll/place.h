/* Which files belong to a store. Main thread. */
#ifndef TOOL_PLACE_H
#define TOOL_PLACE_H

#include "../shared/stores.h"

/* Whether a file made at `path` would be, or would take the place of, the store's file, one of its
 * companions (also one that is not there yet) or anything in its directory, by whatever name or
 * link. Pipes and devices never are. */
bool place_holds(const store_place *place, const char *path);

#endif
