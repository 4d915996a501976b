/* What the ways of loading share: where lines come from, where events go, and what is said about a
 * line. Main thread. */
#ifndef TOOL_LOAD_H
#define TOOL_LOAD_H

#include "lines.h"
#include "map.h"
#include "writer.h"

typedef struct load_job {
    line_file lines;
    store_writer writer;
    uint64_t floor, highest; /* for the new store; 0: none */
    uint64_t skipped;        /* lines that were left out */
    number_map firsts;       /* of each category: the horizon below its first event */
    lp_error error;
} load_job;

/* Sets the error of the line that was taken last: FILE:LINE: what is wrong (what to do). */
int load_wrong(load_job *load, int status, const char *what);

/* Reads all lines and writes what they say. Negative statuses have `load->error`. */
int load_dump(load_job *load);
int load_golongpoll(load_job *load);

#endif
