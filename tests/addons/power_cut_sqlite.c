/* See power_cut_store.h. */
#include "power_cut_store.h"

#include <stdio.h>

#include <longpoll/sqlite.h>

const char *const ps_name = "sqlite";
const bool ps_has_holes = false;

int ps_make(const char *root, lp_sync sync, lp_addon **out, lp_error *error)
{
    char path[4200];
    lp_sqlite_options options = LP_SQLITE_OPTIONS_INIT;
    options.sync = sync;
    options.sync_interval_ms = PS_INTERVAL_MS;

    snprintf(path, sizeof(path), "%s/store.db", root);
    return lp_sqlite_new(path, &options, out, error);
}
