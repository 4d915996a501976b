/* Writing a new store: events in batches, then what is beside them, then its name (stage.h). Main
 * thread. */
#ifndef TOOL_WRITER_H
#define TOOL_WRITER_H

#include <longpoll/store.h>

#include "stage.h"

typedef struct store_writer {
    store_stage stage;
    lp_store *store;
    lp_batch *batch;
    size_t count, bytes; /* in the batch */
    uint64_t events;     /* in all */
    uint64_t last_seq;   /* of the event before */
    int64_t idle_at_ms;  /* when the store wants to be called, -1: after a batch */
} store_writer;

/* Whether there could be a new store, before anything is done. As writer_begin. */
int writer_check(const char *spec, lp_error *error);

/* LP_EINVAL: no good spec. Else see stage_begin and lp_store_open. After success the caller ends it
 * with writer_commit or writer_abandon. */
int writer_begin(store_writer *writer, const char *spec, lp_error *error);

/* Takes a reference of its own. Events come in rising order. */
int writer_event(store_writer *writer, lp_event *event, lp_error *error);
int writer_horizon(store_writer *writer, lp_str category, uint64_t seq, lp_error *error);
int writer_key(store_writer *writer, const lp_idempotency *record, lp_error *error);
int writer_highest(store_writer *writer, uint64_t seq, lp_error *error);

/* Writes the rest, closes the store and gives it its name; when that fails nothing is left. */
int writer_commit(store_writer *writer, lp_error *error);
void writer_abandon(store_writer *writer);

#endif
