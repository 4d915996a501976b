/* Bytes to a file or to standard output, through one large buffer. A file gets its name when it is
 * complete. Main thread. */
#ifndef TOOL_OUTPUT_H
#define TOOL_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/event.h>

typedef struct output_file {
    int fd;
    char *buffer;
    size_t len;
    const char *path; /* NULL: standard output */
    char *temporary;  /* NULL: written in place */
    bool is_closed;   /* the reader went away */
} output_file;

/* `path` is borrowed; NULL or "-": standard output. Something there that is no regular file (a
 * pipe, a device) is written to as it is. LP_EACCES, LP_ENOSPC, LP_EIO, LP_ENOMEM, with a sentence.
 */
int output_open(output_file *out, const char *path, lp_error *error);

int output_put(output_file *out, lp_str bytes, lp_error *error);

/* Writes the rest and gives the file its name. In any case nothing of `out` is left. */
int output_commit(output_file *out, lp_error *error);
void output_abandon(output_file *out);

/* A growing text, for one line. */
typedef struct growing_text {
    char *base;
    size_t len, capacity;
    bool failed; /* no memory; what follows is dropped */
} growing_text;

void text_put(growing_text *text, lp_str bytes);
void text_print(growing_text *text, const char *format, ...) LP_PRINTF(2, 3);
/* A JSON string with its quotes. */
void text_string(growing_text *text, lp_str bytes);

#endif
