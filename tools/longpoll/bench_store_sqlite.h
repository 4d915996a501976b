/* The least that a store on SQLite must do, as a measure for ours: one table, one prepared INSERT
 * in rowid order, one transaction a batch, with the PRAGMAs of ours; and one scan in rowid order.
 * One thread. */
#ifndef TOOL_BENCH_STORE_SQLITE_H
#define TOOL_BENCH_STORE_SQLITE_H

#include "bench_store_runs.h"

/* Appends to a new database in the plan's directory, with synchronous=FULL for "always" and
 * NORMAL else. */
append_run raw_sqlite_append(const append_plan *plan, const event_pool *pool);

/* Opens what was appended there and looks at every event: how many there are. */
uint64_t raw_sqlite_scan(const char *directory);

#endif
