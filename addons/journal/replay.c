/* The end of a start: pushes what is kept. */
#include "inside.h"

#include <fcntl.h>

struct pusher {
    lp__journal *journal;
    lp_replay *replay;
    lp__segment *segment;
    size_t event; /* the next one in the segment's memory */
    int64_t keys_over_ms;
};

/* Events that are below a horizon are dead, whoever still has them in a file. */
static bool is_below_horizon(const lp__journal *journal, const lp__record *record, uint64_t seq)
{
    if (seq > journal->horizons.newest)
        return false;
    const lp__horizon_entry *entry =
        lp__horizons_find(&journal->horizons, lp__record_category(record));
    return entry != NULL && seq <= entry->seq;
}

static int refuse_event(struct pusher *pusher, const lp__record *record)
{
    lp__damage damage = {
        .number = pusher->segment->header.number,
        .offset = record->offset,
        .size = record->size,
        .batch = record->batch,
    };
    return lp__damage_note(pusher->journal, pusher->replay, &damage, 1);
}

static int push_event(struct pusher *pusher, const lp__record *record)
{
    lp__segment *segment = pusher->segment;
    lp_id id = lp__record_id(record);
    uint64_t seq = lp__record_seq(record);
    size_t i = pusher->event;
    if (i == segment->count || (segment->seqs[i] & ~LP__DEAD) != seq)
        return LP_OK; /* out of order */
    pusher->event++;
    if (lp__segment_is_dead(segment, i))
        return LP_OK;
    if (is_below_horizon(pusher->journal, record, seq)) {
        lp__segment_kill(segment, i);
        return LP_OK;
    }
    int status =
        lp_replay_event(pusher->replay, id, lp__record_category(record), lp__record_data(record));
    /* One that is skipped lives on until a batch tells that it is removed: only then its horizon is
     * kept too. */
    if (status != LP_EINVAL && status != LP_EORDER)
        return status < 0 ? status : LP_OK;
    lp__segment_kill(segment, i);
    return refuse_event(pusher, record);
}

static int push_record(struct pusher *pusher, const lp__record *record)
{
    if (record->type == LP__RECORD_EVENT)
        return push_event(pusher, record);
    if (record->type == LP__RECORD_IDEMPOTENCY) {
        lp_idempotency answer = lp__record_idempotency(record);
        if (answer.expires_ms > pusher->keys_over_ms)
            return lp_replay_idempotency(pusher->replay, &answer);
    }
    return LP_OK;
}

static int push_segment(struct pusher *pusher)
{
    lp__journal *journal = pusher->journal;
    const lp__journal_io *io = &journal->io;
    lp__segment *segment = pusher->segment;
    if (segment->count == segment->dead && segment->idempotency_until <= pusher->keys_over_ms)
        return LP_OK;
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(segment->header.number, name);
    int fd = io->open(io->ctx, journal->dir, name, O_RDONLY, 0);
    if (fd < 0) {
        int status = lp__journal_failed(journal, "cannot open", name);
        return lp_replay_error(pusher->replay, status, "journal \"%s\": %s", journal->path,
                               journal->problem);
    }
    lp__scan scan;
    lp__record record;
    lp__scan_result result = LP__SCAN_END;
    int status = LP_OK;
    pusher->event = 0;
    lp__reader_open(&journal->reader, io, fd, segment->size);
    lp__scan_begin(&scan, &journal->reader, segment->header.epoch, segment->batches);
    while (status == LP_OK && scan.at < segment->end &&
           (result = lp__scan_next(&scan, &record)) <= LP__SCAN_DAMAGE)
        if (result == LP__SCAN_RECORD)
            status = push_record(pusher, &record);
    if (status == LP_OK && scan.at < segment->end && result == LP__SCAN_NOMEM)
        status = LP_ENOMEM;
    io->close(io->ctx, fd);
    return status < 0 ? status : LP_OK;
}

static int push_horizons(lp__journal *journal, lp_replay *replay)
{
    const lp__horizons *horizons = &journal->horizons;
    int status = LP_OK;
    if (horizons->floor != 0)
        status = lp_replay_horizon(replay, (lp_str){"", 0}, horizons->floor);
    for (size_t i = 0; status >= 0 && i < horizons->capacity; i++) {
        const lp__horizon_entry *entry = horizons->slots[i];
        if (entry != NULL)
            status = lp_replay_horizon(replay, (lp_str){entry->category, entry->category_len},
                                       entry->seq);
    }
    return status < 0 ? status : LP_OK;
}

int lp__journal_replay(lp__journal *journal, lp_replay *replay)
{
    struct pusher pusher = {
        .journal = journal, .replay = replay, .keys_over_ms = lp__journal_keys_over_ms(journal)};
    uint64_t total, done = 0, live;
    lp__journal_bytes(journal, &total, &live);
    int status = push_horizons(journal, replay);
    for (size_t i = 0; status == LP_OK && i < journal->segments.count; i++) {
        pusher.segment = journal->segments.at[i];
        status = push_segment(&pusher);
        done += pusher.segment->size;
        lp_replay_progress(replay, done, total);
    }
    if (status == LP_OK)
        status = lp_replay_highest(replay, journal->highest);
    if (status == LP_OK)
        lp__horizons_sweep(&journal->horizons, false);
    return status < 0 ? status : LP_OK;
}
