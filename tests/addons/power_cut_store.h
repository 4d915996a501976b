/* The store that power cuts are tried on: each program has one, by its link line. One thread. */
#ifndef POWER_CUT_STORE_H
#define POWER_CUT_STORE_H

#include <stdbool.h>

#include <longpoll/store.h>

enum { PS_INTERVAL_MS = 1000 };

extern const char *const ps_name;

/* Below `always` a power cut may take any of what was not synced; else its end alone. */
extern const bool ps_has_holes;

/* A store in the directory `root`, which is there. */
int ps_make(const char *root, lp_sync sync, lp_addon **out, lp_error *error);

#endif
