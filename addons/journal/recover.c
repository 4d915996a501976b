/* The second half of a start: reads every segment once, finds out what is committed, and fills the
 * memory of segments. Nothing is pushed here but damage. */
#include "inside.h"

#include <fcntl.h>

static int open_segment(lp__journal *journal, lp_replay *replay, const lp__segment *segment)
{
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(segment->header.number, name);
    int fd = journal->io.open(journal->io.ctx, journal->dir, name, O_RDONLY, 0);
    if (fd < 0) {
        int status = lp__journal_failed(journal, "cannot open", name);
        return lp_replay_error(replay, status, "journal \"%s\": %s", journal->path,
                               journal->problem);
    }
    lp__reader_open(&journal->reader, &journal->io, fd, segment->size);
    return LP_OK;
}

static void close_segment(lp__journal *journal)
{
    journal->io.close(journal->io.ctx, journal->reader.fd);
}

static bool is_same_boot(const lp__journal *journal, const lp__segment *segment)
{
    return segment->header.boot != 0 && segment->header.boot == journal->boot;
}

/* Damage does not verify: this is what a later library wrote, and passing over it could lie. */
static int refuse_unknown(const lp__journal *journal, lp_replay *replay, const lp__segment *segment,
                          const lp__record *record)
{
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(segment->header.number, name);
    return lp_replay_error(replay, LP_EVERSION,
                           "journal \"%s\": %s has a record of type %u at offset %llu, which this "
                           "library does not know (use the library that wrote it, or a newer one)",
                           journal->path, name, record->type, (unsigned long long)record->offset);
}

/* ---- how many batches are committed ---------------------------------------------------------- */

/* What is known of the tail while it is read. */
struct tail {
    uint32_t batch, records; /* of the batch that is being read, seen */
    uint64_t begun;          /* where it began */
    uint32_t committed;
    uint64_t end;    /* of the committed batches */
    uint64_t before; /* of those before the last one */
    bool is_whole;   /* nothing is missing in the last one */
};

static void see_tail(struct tail *tail, const lp__record *record, uint64_t behind)
{
    if (record->batch > tail->batch) {
        if (record->batch - 1 > tail->committed) {
            tail->committed = record->batch - 1;
            tail->is_whole = true; /* it was written before this one */
        }
        tail->end = tail->begun = record->offset;
        tail->batch = record->batch;
        tail->records = 0;
    }
    if (record->type == LP__RECORD_COMMIT || record->type == LP__RECORD_PAD) {
        tail->is_whole =
            record->type == LP__RECORD_PAD ||
            (lp__get_u32(record->payload) == tail->records &&
             (uint64_t)lp__get_u32(record->payload + 4) * 8 == record->offset - tail->begun);
        tail->committed = record->batch;
        tail->before = tail->begun;
        tail->end = behind;
    }
    tail->records++;
}

/* For a segment of which nobody says it: those with a commit record, and those before a batch of
 * which anything is there. What is behind them is a torn tail.
 *
 * A commit record is written last, and a kill leaves what was written in that order. A power cut
 * does not: there the last batch counts only if all of it is there. */
static int count_batches(lp__journal *journal, lp_replay *replay, lp__segment *segment)
{
    lp__scan scan;
    lp__record record;
    lp__scan_result result;
    struct tail tail = {.begun = LP__SEGMENT_HEADER, .end = LP__SEGMENT_HEADER};
    lp__scan_begin(&scan, &journal->reader, segment->header.epoch, LP__BATCHES_UNKNOWN);
    while ((result = lp__scan_next(&scan, &record)) <= LP__SCAN_DAMAGE)
        if (result == LP__SCAN_RECORD)
            see_tail(&tail, &record, scan.at);
    if (result == LP__SCAN_NOMEM)
        return LP_ENOMEM;
    if (result == LP__SCAN_UNKNOWN)
        return refuse_unknown(journal, replay, segment, &record);
    bool is_doubtful = tail.batch == tail.committed && !tail.is_whole;
    if (tail.committed > 0 && is_doubtful && !is_same_boot(journal, segment)) {
        tail.committed--;
        tail.end = tail.before;
    }
    segment->batches = tail.committed;
    scan.at = tail.end;
    /* Behind the batches of a recycled segment lie those of the file that it was made from. */
    if (segment->header.recycled ? tail.batch > tail.committed : !lp__scan_rest_is_empty(&scan)) {
        journal->torn_tails++;
        lp_replay_log(replay,
                      "journal \"%s\": segment %llu ends in a batch that was not committed; it is "
                      "cut at offset %llu",
                      journal->path, (unsigned long long)segment->header.number,
                      (unsigned long long)tail.end);
    }
    return LP_OK;
}

/* ---- what the committed batches hold --------------------------------------------------------- */

/* Damage is told once its batch has ended: its commit record says how many records are missing. */
struct progress {
    lp__journal *journal;
    lp_replay *replay;
    lp__segment *segment;
    lp__damage damage; /* not told yet; batch 0: none */
    uint32_t batch;    /* that is being read */
    uint32_t records;  /* of it, seen */
    uint32_t told;     /* of it, told as damaged */
};

static int tell_damage(struct progress *progress, uint32_t missing)
{
    if (progress->damage.batch == 0)
        return LP_OK;
    uint32_t records = missing > progress->told ? missing - progress->told : 1;
    progress->told += records;
    int status = lp__damage_note(progress->journal, progress->replay, &progress->damage, records);
    progress->damage.batch = 0;
    return status;
}

static int see_damage(struct progress *progress, uint64_t offset, uint64_t size, uint32_t batch)
{
    int status = tell_damage(progress, 0);
    progress->damage = (lp__damage){
        .number = progress->segment->header.number, .offset = offset, .size = size, .batch = batch};
    return status;
}

/* Telling of damage moves the window that the record lies in. */
static int tell_before(struct progress *progress, lp__record *record, uint32_t missing)
{
    int status = tell_damage(progress, missing);
    const uint8_t *data =
        lp__reader_at(&progress->journal->reader, record->offset, lp__record_verified_size(record));
    if (data == NULL)
        return LP_ENOMEM;
    record->payload = data + LP__RECORD_HEADER;
    return status;
}

static int see_record(struct progress *progress, lp__record *record)
{
    int status = LP_OK;
    bool has_damage = progress->damage.batch != 0;
    if (record->batch != progress->batch) {
        if (has_damage && progress->damage.batch != record->batch)
            status = tell_before(progress, record, 0);
        progress->batch = record->batch;
        progress->records = progress->told = 0;
    }
    if (record->type == LP__RECORD_COMMIT && has_damage) {
        uint32_t all = lp__get_u32(record->payload), seen = progress->records;
        status = tell_before(progress, record, all > seen ? all - seen : 0);
    }
    progress->records++;
    if (status != LP_OK)
        return status;
    return lp__journal_account(progress->journal, progress->segment, record);
}

static int read_segment(lp__journal *journal, lp_replay *replay, lp__segment *segment)
{
    lp__scan scan;
    lp__record record;
    struct progress progress = {.journal = journal, .replay = replay, .segment = segment};
    int status = LP_OK;
    bool is_whole = segment->batches == 0, is_padded = false;
    lp__scan_begin(&scan, &journal->reader, segment->header.epoch, segment->batches);
    while (status == LP_OK && !is_whole) {
        lp__scan_result result = lp__scan_next(&scan, &record);
        if (result == LP__SCAN_NOMEM)
            return LP_ENOMEM;
        if (result == LP__SCAN_UNKNOWN)
            return refuse_unknown(journal, replay, segment, &record);
        if (result == LP__SCAN_END)
            break;
        if (result == LP__SCAN_DAMAGE) {
            uint32_t batch = record.batch > segment->batches ? segment->batches : record.batch;
            status = see_damage(&progress, record.offset, record.size, batch);
            is_whole = record.batch > segment->batches;
            continue;
        }
        bool is_last_batch = record.batch == segment->batches;
        is_whole = is_last_batch && record.type == LP__RECORD_COMMIT;
        is_padded = is_last_batch && record.type == LP__RECORD_PAD;
        status = see_record(&progress, &record);
    }
    if (status == LP_OK && !is_whole && !is_padded)
        status = see_damage(&progress, scan.at, segment->size - scan.at, segment->batches);
    if (status == LP_OK)
        status = tell_damage(&progress, 0);
    segment->end = scan.at;
    /* The commit record that says so may be damaged. */
    if (segment->count > 0)
        lp__journal_raise_highest(journal, segment, journal->last_seq);
    return status;
}

/* ---- after a stop that was not clean --------------------------------------------------------- */

/* What the last run had written and not synced becomes durable before anybody sees it. At never
 * only what another level wrote: later starts rely on that. */
static int sync_segment(lp__journal *journal, lp_replay *replay, lp__segment *segment)
{
    const lp__journal_io *io = &journal->io;
    bool is_never = journal->sync == LP_SYNC_NEVER && segment->header.sync == LP_SYNC_NEVER;
    if (segment->synced || journal->read_only || is_never)
        return LP_OK;
    if (io->fdatasync(io->ctx, journal->reader.fd) == 0 &&
        io->fsync_dir(io->ctx, journal->dir) == 0) {
        segment->synced = true;
        return LP_OK;
    }
    char name[LP__SEGMENT_NAME_MAX], detail[512];
    journal->told_loss = true;
    lp__segment_name(segment->header.number, name);
    lp__journal_failed(journal, "cannot sync", name);
    snprintf(detail, sizeof(detail), "journal \"%s\": %s", journal->path, journal->problem);
    return lp_replay_loss(replay, 0, detail);
}

/* On another boot, at less than `always`, nobody knows what the kernel had not written yet. */
static int tell_unclean(lp__journal *journal, lp_replay *replay, bool is_clean)
{
    size_t count = journal->segments.count;
    if (is_clean || count == 0)
        return LP_OK;
    const lp__segment *last = journal->segments.at[count - 1];
    /* The run before told of a loss, and kept nothing that would say so. */
    bool is_told_again = last->header.after_loss && last->batches == 0;
    if (!is_told_again && (is_same_boot(journal, last) || last->header.sync == LP_SYNC_ALWAYS))
        return LP_OK;
    journal->told_loss = true;
    char detail[512];
    snprintf(detail, sizeof(detail),
             "journal \"%s\": it was not closed before this machine went down, and its sync level "
             "was below always: the events of the last moments may be missing",
             journal->path);
    return lp_replay_loss(replay, 0, detail);
}

int lp__journal_recover(lp__journal *journal, lp_replay *replay, bool is_clean)
{
    journal->is_unclean = !is_clean;
    int status = LP_OK;
    for (size_t i = 0; status == LP_OK && i < journal->segments.count; i++) {
        lp__segment *segment = journal->segments.at[i];
        bool is_last = i + 1 == journal->segments.count;
        segment->synced = is_clean || segment->header.merged ||
                          (segment->header.sync != LP_SYNC_NEVER && !is_last);
        segment->base = journal->last_seq;
        status = open_segment(journal, replay, segment);
        if (status != LP_OK)
            break;
        status = sync_segment(journal, replay, segment);
        if (status == LP_OK && segment->batches == LP__BATCHES_UNKNOWN)
            status = count_batches(journal, replay, segment);
        if (status == LP_OK)
            status = read_segment(journal, replay, segment);
        close_segment(journal);
    }
    return status == LP_OK ? tell_unclean(journal, replay, is_clean) : status;
}
