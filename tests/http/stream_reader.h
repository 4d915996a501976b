/* A reader of server-sent events over a bare socket: takes the chunks of an answer apart as they
 * come. See raw_http.h for how it waits. */
#ifndef TESTS_STREAM_READER_H
#define TESTS_STREAM_READER_H

#include "raw_http.h"

typedef struct stream_reader {
    raw_conn conn;
    char *head; /* the status line and headers, terminated */
    char *text; /* of the stream so far, terminated */
    size_t len, capacity;
    size_t largest_chunk;
    bool is_chunked, has_ended, was_cut;
} stream_reader;

/* Connects to the harness and asks for `target` as a stream; `headers` are more lines, each with
 * its end. */
stream_reader stream_open(const char *target, const char *headers);
/* The same on a connection that has one already; it is the reader's from now on. */
stream_reader stream_open_on(raw_conn conn, const char *target, const char *headers);
void stream_close(stream_reader *stream);

/* Waits until the stream holds `text`; false at the deadline, or when it has ended without. */
bool stream_holds(stream_reader *stream, const char *text);
/* Waits for its end: true when it was a clean one. */
bool stream_ends(stream_reader *stream);
/* Reads what has come; false when nothing has come within `timeout_ms`. */
bool stream_read_some(stream_reader *stream, int timeout_ms);

/* How often `text` is in the stream. */
size_t stream_count(const stream_reader *stream, const char *text);
/* The id of the last frame that is whole, which is what a browser resumes from; false when there is
 * none. */
bool stream_last_id(const stream_reader *stream, char id[37]);

#endif
