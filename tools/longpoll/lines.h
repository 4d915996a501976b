/* Reads a file line by line, of any length. Main thread. */
#ifndef TOOL_LINES_H
#define TOOL_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <longpoll/event.h>

typedef struct line_file {
    int fd;
    const char *name; /* for messages; borrowed */
    char *buffer;
    size_t begin, end, capacity; /* what has been read and not been taken */
    size_t looked;               /* from `begin` on, there is no end of line in it */
    bool at_end;                 /* of the file */
    uint64_t number;             /* of the line that was taken last, from 1 on */
    bool is_torn;                /* that line has no end */
    uint64_t done, total;        /* bytes; `total` is 0 when it is not known */
} line_file;

/* `path` is borrowed; "-": standard input. LP_ENOTFOUND, LP_EACCES, LP_EIO with a sentence. */
int lines_open(line_file *lines, const char *path, lp_error *error);

/* The next line without its end, in memory that may be changed and lasts until the next call.
 * LP_OK; LP_SKIPPED: there is none. */
int lines_next(line_file *lines, lp_str *line, lp_error *error);

/* Whether there is nothing but white space in it. */
bool line_is_blank(lp_str line);

void lines_close(line_file *lines);

#endif
