/* The script of fuzz_journal: a segment of the journal that is written from bytes, one record each,
 * and the harm that is done to it. One thread, one segment at a time. */
#ifndef TESTS_JOURNAL_SCRIPT_H
#define TESTS_JOURNAL_SCRIPT_H

#include "addons/journal/format.h"
#include "fuzz.h"

enum {
    RECORDS_MAX = 512,
    CATEGORIES = 4,
    FILE_MAX = 1 << 17,
    EPOCH = 4711,
    OLD_EPOCH = 815,
    BOOT = 3
};
#define WALL_MS 1700000000000
#define SEQ(n)  (lp_seq_first(WALL_MS) + (n))
#define NEW_SEQ (lp_seq_first(WALL_MS + 1000))

typedef struct written {
    uint8_t type;
    uint32_t batch;
    uint64_t offset, end; /* end of the checked bytes: padding may be harmed without a loss */
    uint64_t seq;         /* event: its own; removal, horizon: what it names; commit: the highest */
    unsigned category, data_len;
} written;

typedef struct segment {
    uint8_t bytes[FILE_MAX];
    size_t size;
    written records[RECORDS_MAX];
    size_t count;
    uint32_t batch; /* that is being written, from 1 on */
    uint64_t events;
    uint32_t in_batch; /* records of it */
    uint64_t begun;    /* where it began */
} segment;

extern segment file;

/* Makes the segment anew. With `recycled`, a committed batch of another epoch lies behind it. */
void script_write(const uint8_t *script, size_t size, bool recycled);

typedef struct harm {
    uint64_t from, to; /* these bytes are changed; with `is_cut`: the file ends at `from` */
    bool is_cut;
} harm;

/* `head`: whether it is a cut (bit 0 clear), where (2 bytes), how many bytes are changed, by what.
 */
harm script_harm(const uint8_t head[5]);

static inline bool is_touched(const written *one, harm done)
{
    return done.from < done.to && one->end > done.from && one->offset < done.to;
}

/* The name of a category, and data of any length that say which event they are of. */
void category_name(unsigned category, char out[8]);
size_t data_text(uint64_t seq, unsigned len, char *out);

/* An event that was written; NULL: none has this number. */
const written *event_of(uint64_t seq);

#endif
