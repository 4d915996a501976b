/* A compaction under way. Only merge.c and carry.c look in here. */
#ifndef LP_JOURNAL_MERGE_H
#define LP_JOURNAL_MERGE_H

#include "inside.h"

enum lp__stage { STAGE_COPY, STAGE_SEAL, STAGE_SWAP, STAGE_REMOVE };

struct lp__compaction {
    enum lp__stage stage;
    size_t from, to, at; /* places in the row; `at`: being read */
    bool may_drop_stale, is_reading;
    int64_t keys_over_ms; /* keys that expire then or before are left behind */

    lp__reader reader;
    lp__scan scan;
    size_t event; /* the next one in the memory of the segment that is read */

    lp__segment *out;
    int fd;
    uint32_t seed;
    uint8_t *buffer;
    size_t used, capacity;
    uint64_t written, synced; /* bytes of the file */
    uint64_t batch_bytes;
    uint32_t batch, records;

    uint64_t spare_bytes; /* of a file of the run that becomes the spare; 0: none does */
    uint32_t spare_seed;
    uint64_t *leftovers; /* numbers of the files that are to be removed */
    size_t leftover_count;
};

/* Writes what is still needed of a record of the run into the buffer. LP_ENOMEM. */
int lp__carry(lp__journal *journal, const lp__record *record);
/* Ends a batch. LP_ENOMEM. */
int lp__carry_commit(lp__compaction *merge);
/* Whether a segment is one of those that are merged. */
bool lp__is_in_run(const lp__journal *journal, const lp__segment *segment);

#endif
