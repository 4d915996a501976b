/* See power_cut_store.h. */
#include "power_cut_store.h"

#include <stdio.h>

#include <longpoll/journal.h>

const char *const ps_name = "journal";
const bool ps_has_holes = true;

int ps_make(const char *root, lp_sync sync, lp_addon **out, lp_error *error)
{
    char path[4200];
    lp_journal_options options = LP_JOURNAL_OPTIONS_INIT;
    options.sync = sync;
    options.sync_interval_ms = PS_INTERVAL_MS;
    options.segment_bytes = 16384; /* small, so that segments are let go of and compacted */
    snprintf(path, sizeof(path), "%s/journal", root);
    return lp_journal_new(path, &options, out, error);
}
