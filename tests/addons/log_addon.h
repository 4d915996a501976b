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
    LOG_DROPS_THE_HORIZON,
    LOG_DROPS_THE_FLOOR,
    LOG_ENDS_TEXT_AT_NUL,
    LOG_WRITES_LATER, /* acknowledges first */
    LOG_DEFECTS
} log_defect;

#define LOG_EVENT_BYTES_MAX (2 << 20)

/* LP_ENOMEM. */
int log_addon_new(const char *directory, log_defect defect, lp_addon **out);

#endif
