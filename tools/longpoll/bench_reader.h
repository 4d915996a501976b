/* A subscriber of any kind of server: polls or reads a stream, hands on what comes, and goes on
 * from there. An answer that is not as its wire says ends the program (fail of load_figures.h).
 * Readers live in the caller's memory and stay put. One thread. */
#ifndef TOOL_BENCH_READER_H
#define TOOL_BENCH_READER_H

#include "../shared/load_subscriber.h"
#include "bench_kind.h"

typedef struct bench_reader bench_reader;

struct bench_reader {
    subscriber subscriber; /* first: its connection, habit, category and counts are used by all */

    /* Set by the caller: all zero, then these and the subscriber's habit and category. */
    const bench_kind *kind;
    bool streams;
    /* The data are borrowed. No further poll when the reader has been stopped meanwhile. */
    void (*on_event)(bench_reader *r, const char *data, size_t len);

    /* The reader's own: where it is, and what has come of a frame. */
    char last_modified[48], etag[64];
    char *frame;
    size_t frame_len, frame_capacity;
};

/* From now on. */
void reader_start(bench_reader *r, http_client *client);
/* The next poll of a reader that was stopped; on the same connection, if it is there still. */
void reader_poll(bench_reader *r);
void reader_stop(bench_reader *r);
void reader_free(bench_reader *r);

#endif
