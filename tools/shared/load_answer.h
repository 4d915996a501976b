/* Reading answers of HTTP/1.1, as far as the load client needs it. No state; one thread. */
#ifndef LOAD_ANSWER_H
#define LOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

/* What the headers say about the body. */
typedef struct answer_head {
    int status;
    bool has_length, is_chunked, closes;
    size_t length;
} answer_head;

/* `block` is terminated, from the status line to the last header. */
answer_head answer_head_read(const char *block, size_t len);

/* The value of a header in such a block, up to the line's end; NULL when it is not there. */
const char *answer_header(const char *block, const char *name);

/* Decodes chunks in place. Whether all are there; `*len` gets the length of the body, `*used` that
 * of its encoded form. */
bool answer_unchunk(char *body, size_t available, size_t *len, size_t *used);

/* One chunk at the start of a stream: where its data are. False when it is not whole yet. The last
 * one has no data. */
bool answer_chunk(const char *at, size_t available, size_t *data, size_t *len, size_t *used);

#endif
