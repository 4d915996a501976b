/* The least that a store on LMDB must do, as a measure for ours: one database, 8-byte big-endian
 * keys with MDB_APPEND, one transaction a batch; and one scan with a cursor. One thread. */
#ifndef TOOL_BENCH_STORE_LMDB_H
#define TOOL_BENCH_STORE_LMDB_H

#include "bench_store_runs.h"

/* Appends to a new environment in the plan's directory, with LMDB's default of two syncs a
 * commit for "always" and MDB_NOMETASYNC else. */
append_run raw_lmdb_append(const append_plan *plan, const event_pool *pool);

/* Opens what was appended there and looks at every event: how many there are. */
uint64_t raw_lmdb_scan(const char *directory);

#endif
