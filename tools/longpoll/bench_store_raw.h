/* The least that a journal must do, as a measure for ours: each event in a frame with its length
 * and CRC32C, a batch in one buffer and one pwrite, and one fdatasync where asked for. One thread.
 */
#ifndef TOOL_BENCH_STORE_RAW_H
#define TOOL_BENCH_STORE_RAW_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench_store_runs.h"

/* Writes the pool's events in batches, over and over, from offset 0 on, as the plan
 * says or until offset `*end` (0: no end). `*end` gets the offset that it came to. */
append_run raw_write(int fd, const append_plan *plan, const event_pool *pool, off_t *end);

/* The id, the category and the data of an event: what a record cannot do without. At most
 * raw_payload_max() bytes. */
size_t raw_payload(char *out, const lp_event *event);
size_t raw_payload_max(const event_pool *pool);

/* Looks at every cache line of a value that was read: a sum, so that it is not left out. */
uint64_t raw_look(const void *value, size_t len);

#endif
