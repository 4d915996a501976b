/* The window over a file, and the records in it. */
#include "scan.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { WINDOW = 1 << 20, PIECE = 4096 };
#define SEARCH_WORK ((uint64_t)256 << 20)

void lp__reader_open(lp__reader *reader, const lp__journal_io *io, int fd, uint64_t size)
{
    reader->io = io;
    reader->fd = fd;
    reader->size = size;
    reader->base = 0;
    reader->have = 0;
}

void lp__reader_free(lp__reader *reader)
{
    free(reader->data);
    reader->data = NULL;
    reader->capacity = reader->have = 0;
}

/* Reads all of a range. Where the disk refuses, goes piece by piece and puts zeros for what is not
 * to be had: no record verifies there, so it counts as damage. */
static void read_range(lp__reader *reader, uint8_t *to, size_t len, uint64_t offset)
{
    bool in_pieces = false;
    while (len > 0) {
        size_t ask = in_pieces && len > PIECE ? PIECE : len;
        ssize_t got = reader->io->pread(reader->io->ctx, reader->fd, to, ask, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && !in_pieces) {
            in_pieces = true;
            continue;
        }
        if (got <= 0) {
            memset(to, 0, ask);
            reader->read_errors++;
            got = (ssize_t)ask;
        }
        to += got;
        offset += (uint64_t)got;
        len -= (size_t)got;
    }
}

const uint8_t *lp__reader_at(lp__reader *reader, uint64_t offset, uint64_t len)
{
    if (offset >= reader->base && offset + len <= reader->base + reader->have)
        return reader->data + (offset - reader->base);
    uint64_t want = len > WINDOW ? len : WINDOW;
    if (want > reader->size - offset)
        want = reader->size - offset;
    if (reader->capacity < want) {
        uint8_t *data = realloc(reader->data, (size_t)want);
        if (data == NULL)
            return NULL;
        reader->data = data;
        reader->capacity = (size_t)want;
    }
    size_t keep = 0;
    if (offset >= reader->base && offset < reader->base + reader->have) {
        keep = (size_t)(reader->base + reader->have - offset);
        memmove(reader->data, reader->data + (offset - reader->base), keep);
    }
    reader->base = offset;
    read_range(reader, reader->data + keep, (size_t)want - keep, offset + keep);
    reader->have = (size_t)want;
    return reader->data;
}

void lp__scan_begin(lp__scan *scan, lp__reader *reader, uint64_t epoch, uint32_t batches)
{
    *scan = (lp__scan){
        .reader = reader,
        .seed = lp__epoch_seed(epoch),
        .batches = batches,
        .at = LP__SEGMENT_HEADER,
        .work_left = SEARCH_WORK,
    };
}

typedef enum verdict_kind { GOOD, BAD, NO_MEMORY } verdict_kind;

/* Whether a record of this segment stands at `offset`. */
static verdict_kind try_at(lp__scan *scan, uint64_t offset, lp__record *out)
{
    lp__reader *reader = scan->reader;
    if (offset > reader->size || reader->size - offset < LP__RECORD_HEADER)
        return BAD;
    const uint8_t *data = lp__reader_at(reader, offset, LP__RECORD_HEADER);
    if (data == NULL)
        return NO_MEMORY;
    if (!lp__record_peek(data, out) || out->size > reader->size - offset)
        return BAD;
    uint64_t need = lp__record_verified_size(out);
    data = lp__reader_at(reader, offset, need);
    if (data == NULL)
        return NO_MEMORY;
    out->payload = data + LP__RECORD_HEADER;
    out->offset = offset;
    return lp__record_verify(data, out, scan->seed) ? GOOD : BAD;
}

/* Looks behind damage at `scan->at` for the next good record, at every multiple of 8. */
static verdict_kind search(lp__scan *scan, lp__record *found)
{
    for (uint64_t offset = scan->at + 8; offset + LP__RECORD_HEADER <= scan->reader->size;
         offset += 8) {
        const uint8_t *data = lp__reader_at(scan->reader, offset, LP__RECORD_HEADER);
        if (data == NULL)
            return NO_MEMORY;
        lp__record maybe;
        if (!lp__record_peek(data, &maybe) || maybe.size > scan->reader->size - offset)
            continue;
        uint64_t work = lp__record_verified_size(&maybe);
        if (work > scan->work_left)
            continue;
        scan->work_left -= work;
        verdict_kind verdict = try_at(scan, offset, found);
        if (verdict != BAD)
            return verdict;
    }
    return BAD;
}

lp__scan_result lp__scan_next(lp__scan *scan, lp__record *out)
{
    verdict_kind verdict = try_at(scan, scan->at, out);
    if (verdict == BAD) {
        lp__record found;
        verdict = search(scan, &found);
        if (verdict == GOOD && found.batch >= scan->batch) {
            *out = (lp__record){
                .offset = scan->at, .size = found.offset - scan->at, .batch = found.batch};
            scan->at = found.offset;
            return LP__SCAN_DAMAGE;
        }
        if (verdict == GOOD)
            return LP__SCAN_END;
    }
    if (verdict == NO_MEMORY)
        return LP__SCAN_NOMEM;
    /* A batch number that goes back: what was in the file before it was written anew. */
    if (verdict == BAD || out->batch < scan->batch || out->batch > scan->batches)
        return LP__SCAN_END;
    if (lp__record_is_unknown(out))
        return LP__SCAN_UNKNOWN;
    scan->at += out->size;
    scan->batch = out->batch;
    return LP__SCAN_RECORD;
}

bool lp__scan_rest_is_empty(lp__scan *scan)
{
    for (uint64_t at = scan->at; at < scan->reader->size;) {
        uint64_t len = scan->reader->size - at < PIECE ? scan->reader->size - at : PIECE;
        const uint8_t *data = lp__reader_at(scan->reader, at, len);
        if (data == NULL)
            return false;
        for (uint64_t i = 0; i < len; i++)
            if (data[i] != 0)
                return false;
        at += len;
    }
    return true;
}
