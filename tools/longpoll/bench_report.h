/* What a benchmark has measured, as rows: the median of a server's rounds with its range, and the
 * same as a ratio to each reference of the run. Prints a table, or JSON Lines.
 *
 *   {"mode":"publish","case":"64 connections","server":"longpoll","figure":"rate",
 *    "unit":"events/s","median":101000,"low":99000,"high":103000,"rounds":3}
 *
 * A ratio is the median of the ratios within a round, never one of medians: what the machine did
 * to one, it did to the other. It is a row with the figure "rate / responder" and the unit "ratio".
 *
 * Running out of memory ends the program (fail of load_figures.h). One thread. */
#ifndef TOOL_BENCH_REPORT_H
#define TOOL_BENCH_REPORT_H

#include <stdbool.h>

typedef struct bench_report bench_report;

/* `mode` is borrowed. */
bench_report *bench_report_new(const char *mode, bool is_json);

/* The figures of every other server are divided by those of this one, where it has the same figure
 * of the same case. Before the first bench_report_add; the name is copied. */
void bench_report_reference(bench_report *report, const char *server);

/* What one round (0 and up) gave. Rows are told in the order in which their first value came. The
 * texts are copied; a unit says of what: "events/s", "us/event". */
void bench_report_add(bench_report *report, int round, const char *case_name, const char *server,
                      const char *figure, const char *unit, double value);

/* Prints the rows that were added since the last time, and forgets them: at the end of a case, when
 * all of its rounds are there. */
void bench_report_print(bench_report *report);

/* Prints what is left. NULL is fine. */
void bench_report_free(bench_report *report);

#endif
