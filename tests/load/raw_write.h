/* The least that a journal must do, as a measure for ours: each event in a frame with its length
 * and CRC32C, a batch in one buffer and one pwrite, and one fdatasync where asked for. One thread.
 */
#ifndef LOAD_RAW_WRITE_H
#define LOAD_RAW_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <longpoll/event.h>

/* Events/s of writing `events` in batches, over and over, from offset 0 on, for `for_ms` or until
 * offset `*end` (0: no end). `*end` gets the offset that it came to. */
double raw_write_rate(int fd, bool sync, lp_event *const *events, size_t count, size_t batch_size,
                      long for_ms, off_t *end);

#endif
