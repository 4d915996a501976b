/* A thorough look: reads every segment again from its file, whatever start has read before, and
 * compares it with what is remembered. Changes nothing. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>

struct verify {
    lp__journal *journal;
    uint64_t records, bytes, problems;
    char first[400]; /* the first problem */
};

static void problem(struct verify *verify, const lp__segment *segment, const char *what,
                    uint64_t offset)
{
    if (verify->problems++ > 0)
        return;
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(segment->header.number, name);
    snprintf(verify->first, sizeof(verify->first), "%s: %s at offset %llu", name, what,
             (unsigned long long)offset);
}

/* Both copies of the header, and that they are the one that was written or read at start. */
static void verify_header(struct verify *verify, const lp__segment *segment, lp__reader *reader)
{
    lp__header header;
    unsigned version;
    const uint8_t *bytes =
        reader->size < LP__SEGMENT_HEADER ? NULL : lp__reader_at(reader, 0, LP__SEGMENT_HEADER);
    if (bytes == NULL) {
        problem(verify, segment, "the header is missing", 0);
        return;
    }
    lp__header_state state = lp__header_decode(bytes, LP__SEGMENT_HEADER, &header, &version);
    if (state != LP__HEADER_GOOD)
        problem(verify, segment, "the header is damaged", 0);
    else if (header.number != segment->header.number || header.first != segment->header.first ||
             header.epoch != segment->header.epoch)
        problem(verify, segment, "the header is that of another segment", 0);
}

/* What a batch's commit record says of it, and what was there. */
struct seen {
    uint32_t batch, records;
    uint64_t begun;
    size_t events;
    bool has_pad;
};

static void verify_record(struct verify *verify, const lp__segment *segment, struct seen *seen,
                          const lp__record *record)
{
    if (record->batch != seen->batch) {
        seen->batch = record->batch;
        seen->records = 0;
        seen->begun = record->offset;
        seen->has_pad = false;
    }
    seen->has_pad = seen->has_pad || record->type == LP__RECORD_PAD;
    if (record->type == LP__RECORD_COMMIT && !seen->has_pad &&
        (lp__get_u32(record->payload) != seen->records ||
         (uint64_t)lp__get_u32(record->payload + 4) * 8 != record->offset - seen->begun))
        problem(verify, segment, "a commit record does not agree with its batch", record->offset);
    if (record->type == LP__RECORD_EVENT && seen->events < segment->count &&
        (segment->seqs[seen->events] & ~LP__DEAD) == lp__record_seq(record))
        seen->events++;
    seen->records++;
    verify->records++;
}

static void verify_records(struct verify *verify, const lp__segment *segment, lp__reader *reader)
{
    lp__scan scan;
    lp__record record;
    struct seen seen = {0};
    lp__scan_begin(&scan, reader, segment->header.epoch, segment->batches);
    while (scan.at < segment->end) {
        lp__scan_result result = lp__scan_next(&scan, &record);
        if (result == LP__SCAN_RECORD) {
            verify_record(verify, segment, &seen, &record);
            continue;
        }
        if (result == LP__SCAN_NOMEM)
            problem(verify, segment, "out of memory, it was not read further", scan.at);
        else
            problem(verify, segment, "the record is damaged",
                    result == LP__SCAN_DAMAGE ? record.offset : scan.at);
        if (result != LP__SCAN_DAMAGE)
            return;
    }
    if (reader->read_errors > 0)
        problem(verify, segment, "bytes cannot be read", 0);
    else if (seen.events != segment->count)
        problem(verify, segment, "events are missing", scan.at);
    verify->bytes += scan.at;
}

static void verify_segment(struct verify *verify, const lp__segment *segment)
{
    lp__journal *journal = verify->journal;
    const lp__journal_io *io = &journal->io;
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(segment->header.number, name);
    int fd = io->open(io->ctx, journal->dir, name, O_RDONLY, 0);
    if (fd < 0) {
        problem(verify, segment, "the file cannot be opened", 0);
        return;
    }
    lp__reader reader = {0};
    lp__reader_open(&reader, io, fd, segment->end);
    verify_header(verify, segment, &reader);
    verify_records(verify, segment, &reader);
    lp__reader_free(&reader);
    io->close(io->ctx, fd);
}

/* Damage that start has found and that nothing covers up yet is in no segment's memory. */
static void add_known_damage(struct verify *verify)
{
    const lp__damages *damages = &verify->journal->damages;
    if (damages->count == 0)
        return;
    const lp__damage *first = &damages->at[0];
    snprintf(verify->first, sizeof(verify->first), "%016llu.seg: %s at offset %llu",
             (unsigned long long)first->number,
             first->last == 0  ? "damaged"
             : first->has_file ? "the header is damaged"
                               : "missing",
             (unsigned long long)first->offset);
    verify->problems += damages->count;
}

int lp__journal_verify(lp__journal *journal, lp_report *report)
{
    struct verify verify = {.journal = journal};
    add_known_damage(&verify);
    for (size_t i = 0; i < journal->segments.count; i++)
        verify_segment(&verify, journal->segments.at[i]);
    lp_report_number(report, "verified_records", verify.records);
    lp_report_number(report, "verified_bytes", verify.bytes);
    lp_report_number(report, "problems", verify.problems);
    if (verify.problems == 0)
        return LP_OK;
    char count[48] = "";
    if (verify.problems > 1)
        snprintf(count, sizeof(count), "; %llu problems in all",
                 (unsigned long long)verify.problems);
    return lp_report_error(report, LP_EDAMAGED,
                           "journal \"%s\": %s%s (start longpolld on it, which sets aside what is "
                           "damaged and goes on)",
                           journal->path, verify.first, count);
}
