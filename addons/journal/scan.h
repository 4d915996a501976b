/* Reads the records of one segment in order, and finds the next good one behind damage. Used by
 * start and compaction, on the add-on's thread. */
#ifndef LP_JOURNAL_SCAN_H
#define LP_JOURNAL_SCAN_H

#include "format.h"
#include "journal_private.h"

/* A window that moves forward over a file. What cannot be read counts as zeros. */
typedef struct lp__reader {
    const lp__journal_io *io;
    int fd;
    uint64_t size; /* of the file */
    uint8_t *data; /* owned, kept from file to file */
    size_t capacity, have;
    uint64_t base;        /* where the window lies */
    unsigned read_errors; /* pieces that could not be read */
} lp__reader;

void lp__reader_open(lp__reader *reader, const lp__journal_io *io, int fd, uint64_t size);
void lp__reader_free(lp__reader *reader);

/* `len` bytes at `offset`, which must lie inside the file; NULL: no memory. Good until the next
 * call. */
const uint8_t *lp__reader_at(lp__reader *reader, uint64_t offset, uint64_t len);

typedef struct lp__scan {
    lp__reader *reader;
    uint32_t seed;
    uint32_t batch;   /* of the last record */
    uint32_t batches; /* records of later batches are void; LP__BATCHES_UNKNOWN: none is */
    uint64_t at;
    uint64_t work_left; /* bytes that the search behind damage may still checksum */
} lp__scan;

typedef enum lp__scan_result {
    LP__SCAN_RECORD,
    LP__SCAN_DAMAGE,  /* `*out` tells offset and size of what was passed over, and the batch behind
                       */
    LP__SCAN_UNKNOWN, /* a record that verifies, of a type that only a later library knows */
    LP__SCAN_END,     /* no record verifies any more; `at` is where that begins */
    LP__SCAN_NOMEM
} lp__scan_result;

void lp__scan_begin(lp__scan *scan, lp__reader *reader, uint64_t epoch, uint32_t batches);
lp__scan_result lp__scan_next(lp__scan *scan, lp__record *out);

/* After LP__SCAN_END: whether only zeros or nothing is left. */
bool lp__scan_rest_is_empty(lp__scan *scan);

#endif
