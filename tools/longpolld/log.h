/* The log of longpolld: one line an entry on standard error, with its time (UTC) and level.
 * Any thread. */
#ifndef LONGPOLLD_LOG_H
#define LONGPOLLD_LOG_H

#include <longpoll/manager.h>

/* What is less urgent than `level` is left out. Before any other thread runs. */
void log_set_level(lp_log_level level);

void log_write(lp_log_level level, const char *format, ...) LP_PRINTF(2, 3);

/* An lp_log_cb. */
void log_from_library(void *ctx, lp_log_level level, const char *line);

#endif
