/* What a command has to show for itself, on standard output: lines for people, or one JSON object
 * (--json). Names are stable. Numbers that a double cannot hold are strings in JSON. Main thread.
 */
#ifndef TOOL_RESULT_H
#define TOOL_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "output.h"
#include "source.h"

typedef struct result_object {
    bool is_json;
    growing_text text;
    const char *separator; /* before the next member */
} result_object;

void result_begin(result_object *result, bool is_json);
void result_text(result_object *result, const char *name, const char *value);
void result_number(result_object *result, const char *name, uint64_t value);
/* A sequence number: in JSON a string, whatever it is. */
void result_seq(result_object *result, const char *name, uint64_t seq);
void result_bool(result_object *result, const char *name, bool value);
/* What follows up to the end is in an object of this name. */
void result_open(result_object *result, const char *name);
void result_close(result_object *result);
/* "losses": a list of sentences; for people only how many. "lost_records":
 * those that were counted, which may be fewer than were lost. */
void result_losses(result_object *result, const store_survey *found);
/* Prints it. Returns `status`, or EXIT_FAILED when it cannot. */
int result_end(result_object *result, int status);

/* A lp_store_figure_cb with a result as its context. */
void result_figure(void *ctx, const char *name, uint64_t number, const char *text);

#endif
