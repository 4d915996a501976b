/* What the program says to people, on standard error, and the signals that end it early. Every line
 * begins with "longpoll: " and the command. Main thread. */
#ifndef TOOL_SAY_H
#define TOOL_SAY_H

#include <stdbool.h>
#include <stdint.h>

#include <longpoll/status.h>

/* The command that lines are about: "store copy". Borrowed. */
void say_name(const char *name);

/* One line, without an effect on the exit status. */
void say_note(const char *format, ...) LP_PRINTF(1, 2);

/* What was wrong with the words of the command line. Returns EXIT_USAGE. */
int say_usage(const char *format, ...) LP_PRINTF(1, 2);

/* Why it failed. Returns the exit status: EXIT_DAMAGE for LP_EDAMAGED, that of the signal when
 * there was one, else EXIT_FAILED. */
int say_failed(const lp_error *error);

/* The same for what comes before the work, where LP_EINVAL means a STORE that makes no sense:
 * EXIT_USAGE. */
int say_wrong_store(const lp_error *error);

/* From here on SIGINT, SIGTERM and SIGHUP are noted; a second one ends the program at once. Writes
 * to a closed pipe fail instead of ending it. */
void interrupt_catch(void);
bool interrupt_seen(void);
/* What was to be done is done: only its result is left to be told. */
void interrupt_forget(void);
/* LP_ECANCELED with a sentence when there was a signal, else LP_OK. */
int interrupt_check(lp_error *error);

/* How far it has come. A bar when standard error is a terminal; else nothing is written. `total` is
 * 0 when it is not known. */
void progress_show(const char *what, uint64_t events, uint64_t done, uint64_t total);
/* Takes the bar away. */
void progress_end(void);

#endif
