/* The references that a run starts beside the servers under test: the responder, and the floors,
 * which are found beside this program. They end with it, whatever way it ends. Main thread. */
#ifndef TOOL_BENCH_REFERENCE_H
#define TOOL_BENCH_REFERENCE_H

#include "bench_run.h"

/* Adds those that run->references names, or all by default, as far as they are able. Returns -1, or
 * EXIT_USAGE. */
int references_start(bench_run *run, unsigned able);
void references_end(void);

#endif
