/* Damage: told once, set aside, and covered up after the manager's floor is kept. */
#include "inside.h"

#include <fcntl.h>
#include <stdlib.h>

void lp__damage_file_name(uint64_t number, uint64_t offset, char *out)
{
    snprintf(out, LP__DAMAGED_NAME_MAX, "damaged-%016llu-%llu", (unsigned long long)number,
             (unsigned long long)offset);
}

/* ---- when start finds it --------------------------------------------------------------------- */

/* Copies the damaged bytes into a file of their own. The segment is open in `journal->reader`. */
static bool set_aside(lp__journal *journal, const lp__damage *damage, const char *name)
{
    const lp__journal_io *io = &journal->io;
    int fd = io->open(io->ctx, journal->dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) {
        lp__journal_failed(journal, "cannot make", name);
        return false;
    }
    bool is_good = true;
    for (uint64_t at = 0; is_good && at < damage->size;) {
        uint64_t len = damage->size - at < 65536 ? damage->size - at : 65536;
        const uint8_t *bytes = lp__reader_at(&journal->reader, damage->offset + at, len);
        is_good =
            bytes != NULL && io->pwrite(io->ctx, fd, bytes, (size_t)len, (off_t)at) == (ssize_t)len;
        at += len;
    }
    if (!is_good)
        lp__journal_failed(journal, "cannot write to", name);
    else
        io->fdatasync(io->ctx, fd);
    io->close(io->ctx, fd);
    if (!is_good)
        io->unlink(io->ctx, journal->dir, name);
    return is_good;
}

static void describe_hole(const lp__journal *journal, const lp__damage *damage, char *out,
                          size_t size)
{
    char name[LP__SEGMENT_NAME_MAX], aside[LP__DAMAGED_NAME_MAX];
    lp__segment_name(damage->number, name);
    lp__damage_file_name(damage->number, 0, aside);
    if (damage->has_file)
        snprintf(out, size,
                 "journal \"%s\": the header of %s is damaged, nothing in it can be read (the file "
                 "will be set aside as %s)",
                 journal->path, name, aside);
    else if (damage->last == damage->number)
        snprintf(out, size, "journal \"%s\": %s is missing", journal->path, name);
    else
        snprintf(out, size, "journal \"%s\": %s and the %llu segments behind it are missing",
                 journal->path, name, (unsigned long long)(damage->last - damage->number));
}

static void describe_range(lp__journal *journal, const lp__damage *damage, char *out, size_t size)
{
    char name[LP__SEGMENT_NAME_MAX], aside[LP__DAMAGED_NAME_MAX], where[400];
    lp__segment_name(damage->number, name);
    lp__damage_file_name(damage->number, damage->offset, aside);
    if (damage->size == 0) {
        snprintf(where, sizeof(where), "the end of the file is missing");
    } else if (journal->read_only) {
        snprintf(where, sizeof(where), "%llu bytes, left in place",
                 (unsigned long long)damage->size);
    } else if (set_aside(journal, damage, aside)) {
        journal->set_aside++;
        snprintf(where, sizeof(where), "%llu bytes, set aside in %s",
                 (unsigned long long)damage->size, aside);
    } else {
        snprintf(where, sizeof(where), "%llu bytes, not set aside: %s",
                 (unsigned long long)damage->size, journal->problem);
    }
    snprintf(out, size, "journal \"%s\": %s is damaged at offset %llu (%s)", journal->path, name,
             (unsigned long long)damage->offset, where);
}

int lp__damage_note(lp__journal *journal, lp_replay *replay, const lp__damage *damage,
                    uint64_t records)
{
    lp__damages *damages = &journal->damages;
    if (damages->count == damages->capacity) {
        size_t capacity = damages->capacity == 0 ? 8 : damages->capacity * 2;
        lp__damage *at = realloc(damages->at, capacity * sizeof(*at));
        if (at == NULL)
            return LP_ENOMEM;
        damages->at = at;
        damages->capacity = capacity;
    }
    damages->at[damages->count++] = *damage;
    journal->damaged_ranges++;
    journal->damaged_records += records;
    char detail[1024];
    if (damage->last != 0)
        describe_hole(journal, damage, detail, sizeof(detail));
    else
        describe_range(journal, damage, detail, sizeof(detail));
    return lp_replay_loss(replay, records, detail);
}

/* ---- when a floor is kept -------------------------------------------------------------------- */

static lp__segment *segment_of(const lp__journal *journal, uint64_t number)
{
    for (size_t i = 0; i < journal->segments.count; i++)
        if (journal->segments.at[i]->header.number == number)
            return journal->segments.at[i];
    return NULL;
}

/* Lays a record over the damage that says: accounted for. */
static bool pad(lp__journal *journal, const lp__damage *damage)
{
    const lp__journal_io *io = &journal->io;
    lp__segment *segment = segment_of(journal, damage->number);
    char name[LP__SEGMENT_NAME_MAX];
    uint8_t record[LP__RECORD_HEADER];
    uint64_t length =
        damage->size > LP__RECORD_HEADER ? (damage->size & ~(uint64_t)7) - LP__RECORD_HEADER : 0;
    if (segment == NULL || length > UINT32_MAX ||
        (damage->size < LP__RECORD_HEADER && damage->offset + damage->size < segment->size))
        return true; /* no room for the record: it will be told again */
    lp__segment_name(damage->number, name);
    lp__record_seal(record, LP__RECORD_PAD, (uint32_t)length, damage->batch,
                    lp__epoch_seed(segment->header.epoch));
    int fd = io->open(io->ctx, journal->dir, name, O_RDWR, 0);
    bool is_good = fd >= 0 &&
                   io->pwrite(io->ctx, fd, record, sizeof(record), (off_t)damage->offset) ==
                       (ssize_t)sizeof(record) &&
                   io->fdatasync(io->ctx, fd) == 0;
    segment->failed = segment->failed || !is_good;
    if (!is_good)
        lp__journal_failed(journal, "cannot cover up damage in", name);
    if (fd >= 0)
        io->close(io->ctx, fd);
    if (segment->size < damage->offset + sizeof(record))
        segment->size = damage->offset + sizeof(record);
    return is_good;
}

static int insert_segment(lp__journal *journal, lp__segment *segment)
{
    lp__segments *segments = &journal->segments;
    size_t at = segments->count;
    int status = lp__segments_push(segments, segment);
    if (status != LP_OK)
        return status;
    for (; at > 0 && segments->at[at - 1]->header.number > segment->header.number; at--)
        segments->at[at] = segments->at[at - 1];
    segments->at[at] = segment;
    segment->base = at + 1 < segments->count ? segments->at[at + 1]->base : journal->last_seq;
    return LP_OK;
}

/* Writes a segment without content that stands for those that are missing. */
static bool fill(lp__journal *journal, const lp__damage *damage)
{
    const lp__journal_io *io = &journal->io;
    char name[LP__SEGMENT_NAME_MAX], aside[LP__DAMAGED_NAME_MAX];
    uint8_t bytes[LP__SEGMENT_HEADER];
    lp__header header = {
        .number = damage->last,
        .first = damage->number,
        .epoch = lp__epoch_random(journal),
        .boot = journal->boot,
        .prev_batches = LP__BATCHES_UNKNOWN,
        .sync = LP_SYNC_ALWAYS,
        .merged = true,
    };
    lp__segment *segment = lp__segment_new(&header);
    if (segment == NULL)
        return false;
    segment->size = segment->end = sizeof(bytes);
    segment->named = segment->synced = true;
    lp__segment_name(damage->last, name);
    lp__damage_file_name(damage->number, 0, aside);
    lp__header_encode(&header, bytes);
    int fd = lp__open_temporary(journal);
    bool is_good = fd >= 0 &&
                   io->pwrite(io->ctx, fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes) &&
                   io->fdatasync(io->ctx, fd) == 0 &&
                   (!damage->has_file || io->rename(io->ctx, journal->dir, name, aside) == 0) &&
                   io->rename(io->ctx, journal->dir, LP__COMPACT_NAME, name) == 0 &&
                   io->fsync_dir(io->ctx, journal->dir) == 0;
    if (!is_good)
        lp__journal_failed(journal, "cannot fill the place of", name);
    if (fd >= 0)
        io->close(io->ctx, fd);
    if (!is_good || insert_segment(journal, segment) != LP_OK) {
        lp__segment_free(segment);
        return false;
    }
    journal->set_aside += damage->has_file;
    return true;
}

static bool has_floor(const lp_batch *batch)
{
    for (size_t i = 0, n = lp_batch_horizon_count(batch); i < n; i++)
        if (lp_batch_horizon(batch, i).category.len == 0)
            return true;
    return false;
}

void lp__damage_repair(lp__journal *journal, lp_batch *batch)
{
    lp__damages *damages = &journal->damages;
    if (!has_floor(batch))
        return;
    if (journal->sync != LP_SYNC_NEVER && lp__active_sync(journal) != LP_OK)
        return;
    size_t left = 0;
    for (size_t i = 0; i < damages->count; i++) {
        const lp__damage damage = damages->at[i];
        if (!(damage.last != 0 ? fill(journal, &damage) : pad(journal, &damage)))
            damages->at[left++] = damage;
    }
    damages->count = left;
    if (left > 0)
        lp__journal_tell(journal, "journal \"%s\": %s; the damage will be told again",
                         journal->path, journal->problem);
}
