/* An add-on for tests of the conformance kit: a log in one file that claims everything and holds
 * it, unless it is asked to break the contract in one way. One thread. */
#ifndef TESTS_ADDONS_LOG_ADDON_H
#define TESTS_ADDONS_LOG_ADDON_H

#include <longpoll/addon.h>

typedef enum log_defect {
    LOG_SOUND,
    LOG_LOSES_THE_LAST_EVENT,
    LOG_REVERSES_THE_ORDER,
    LOG_KEEPS_HALF_A_BATCH, /* of one whose writes failed */
    LOG_TAKES_LARGE_EVENTS, /* past LOG_EVENT_BYTES_MAX */
    LOG_CUTS_ONE_TOO_MANY,  /* at the ring's size */
    LOG_CUTS_THE_YOUNG,     /* what expires with the millisecond that it is told is not all */
    LOG_FORGETS_REMOVALS,
    LOG_FORGETS_THE_HIGHEST,
    LOG_FORGETS_KEYS,
    LOG_FORGETS_TOO_MANY_KEYS,
    LOG_KEEPS_FORGOTTEN_KEYS,
    LOG_WRITES_KEYS_FIRST,     /* and the events of the batch a moment later */
    LOG_WRITES_KEYS_LATER,     /* with the next batch */
    LOG_KEEPS_HALF_A_GROUP,    /* writes events before it has looked at all of them */
    LOG_KEEPS_THE_REFUSED_KEY, /* of a group */
    LOG_DROPS_THE_HORIZON,
    LOG_DROPS_THE_FLOOR,
    LOG_SWEEPS_HORIZONS,    /* in idle, once the floor has reached them; their events stay */
    LOG_SKIPS_LOW_HORIZONS, /* that come below the floor; their events stay */
    LOG_ENDS_TEXT_AT_NUL,
    LOG_WRITES_LATER, /* acknowledges first */
    LOG_WANTS_EVENTS, /* passes over batches without one */
    LOG_CUTS_LONG_NAMES,
    LOG_CUTS_LARGE_DATA,
    LOG_FORGETS_BEYOND_10000,
    LOG_STAYS_FAILED, /* after one write that failed */
    LOG_WRITES_REMOVALS_LATER,
    LOG_REWRITES_AT_START, /* where the log lies: a kill -9 in the middle loses what was there */
    LOG_REWRITES_IN_IDLE,
    LOG_REWRITES_TO_COMPACT,
    LOG_REWRITES_AT_THE_END,
    LOG_TRUSTS_ITS_FILE, /* looks at no checksum */
    LOG_HIDES_LOSSES,
    LOG_REFUSES_DAMAGE,
    LOG_DIES_OF_DAMAGE,
    LOG_NEVER_DELETES,
    LOG_NEEDS_IDLE,    /* writes there alone */
    LOG_ASKS_FOR_EVER, /* to be called again */
    LOG_IDLES_LONG,
    LOG_GIVES_UP_LATE, /* when the deadline has passed */
    LOG_COMPACTS_TOO_MUCH,
    LOG_TRIMS_TO_INSPECT,
    LOG_CRIES_WOLF, /* finds damage in a sound store */
    LOG_SHARES_ITS_FILE,
    LOG_LOCKS_BY_PROCESS,
    LOG_LEAVES_A_TORN_BATCH, /* until the next one: the events of a failed batch that were written
                              */
    LOG_CRASHES_AT_START,
    LOG_EXITS_AT_START,
    LOG_HANGS_IN_PUBLISH
} log_defect;

#define LOG_EVENT_BYTES_MAX (2 << 20)

/* LP_ENOMEM. */
int log_addon_new(const char *directory, log_defect defect, lp_addon **out);

#endif
