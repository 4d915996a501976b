/* A store that is made whole or not at all: it is written beside its place as
 * PATH.longpoll-loading and gets its name when it is complete. A crash before leaves that behind,
 * and the next run removes it. Main thread. */
#ifndef TOOL_STAGE_H
#define TOOL_STAGE_H

#include <sys/stat.h>

#include "../shared/stores.h"

typedef struct store_stage {
    store_place place;
    char path[STORE_PATH_MAX + 32];     /* where it is made */
    char spec[STORE_PATH_MAX * 2 + 64]; /* of the store there */
    bool replaces;                      /* an empty directory or file */
    struct stat replaced;
} store_stage;

/* Looks whether there is room for a store at `spec`: nothing, an empty directory or an empty file.
 * LP_EINVAL: no good spec. LP_EACCES: there is something. LP_EINUSE: it is being made right now. */
int stage_begin(const char *spec, store_stage *out, lp_error *error);

/* Gives it its name. The store is closed. */
int stage_commit(store_stage *stage, lp_error *error);

/* Removes what has been made. The store is closed, or could not be opened. */
void stage_abandon(store_stage *stage);

#endif
