/* Reading a store, which is opened to read only and not changed: first what it holds beside its
 * events, then the events. Twice, because a store may push what makes an event void after the event
 * itself. Main thread. */
#ifndef TOOL_SOURCE_H
#define TOOL_SOURCE_H

#include <longpoll/store.h>

#include "map.h"

/* What the first reading finds. */
typedef struct store_survey {
    uint64_t events;              /* pushed, those that turn out to be void among them */
    uint64_t bytes;               /* of their data */
    uint64_t first_seq, last_seq; /* of the events */
    uint64_t highest, floor;
    number_map horizons;   /* by category */
    number_map categories; /* of events, and how many each has; only if `count_categories` */
    bool count_categories;
    uint64_t *removals; /* rising */
    size_t removal_count, removal_capacity;
    lp_idempotency *keys; /* with keys of their own; a key that came twice has its newest record */
    size_t key_count, key_capacity;
    size_t free_keys; /* of them: those whose record says that they are free again */
    number_map key_index;
    char **losses; /* what the store told, SURVEY_LOSSES_MAX of it at most */
    size_t loss_count;
    uint64_t lost_records;
    size_t losses_told;
} store_survey;

enum { SURVEY_LOSSES_MAX = 100 };

void survey_free(store_survey *survey);

/* Opens a store, with a sink that fills `*out`, which is zeroed but for `count_categories`. The
 * caller closes it; see lp_store_open for the statuses. Losses are told on standard error. */
int source_open(const char *spec, bool read_only, store_survey *out, lp_store **store,
                lp_error *error);

/* The same, and closes it. */
int source_survey(const char *spec, store_survey *out, lp_error *error);

/* Hands over each event that is not void, in rising order, borrowed; a negative status ends it.
 * Losses that only this reading has met are added to `found`. LP_EIO when the store is not what it
 * was. */
typedef int (*source_visitor)(void *ctx, lp_event *event);
int source_read(const char *spec, store_survey *found, source_visitor visit, void *ctx,
                lp_error *error);

/* A floor that covers what a store has lost, whatever it was: now, or the highest number. */
uint64_t survey_floor_of_loss(const store_survey *survey);

#endif
