/* See log_addon.h. A batch is a frame of its length, a checksum, and its records. */
#include "log_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* FNV-1a. */
uint64_t log_checksum(const char *bytes, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)bytes[i]) * 0x100000001b3u;
    return hash;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static int put(state *log, const void *bytes, size_t len)
{
    if (log->len + len > log->capacity) {
        size_t wanted = (log->len + len) * 2;
        char *grown = realloc(log->bytes, wanted);
        if (!grown)
            return LP_ENOMEM;
        log->bytes = grown;
        log->capacity = wanted;
    }
    if (len)
        memcpy(log->bytes + log->len, bytes, len);
    log->len += len;
    return LP_OK;
}

static int open_frame(state *log)
{
    log->frame_at = log->len;
    return put(log, &(frame){0, 0}, sizeof(frame));
}

static void close_frame(state *log)
{
    char *body = log->bytes + log->frame_at + sizeof(frame);
    frame head = {.len = log->len - log->frame_at - sizeof(frame)};
    head.checksum = log_checksum(body, head.len);
    memcpy(log->bytes + log->frame_at, &head, sizeof(head));
}

void log_touch(state *log)
{
    if (!log->touched)
        unlink(log->clean_path);
    log->touched = true;
}

static int flush(state *log)
{
    size_t done = 0;
    log_touch(log);
    while (done < log->len) {
        ssize_t n = pwrite(log->file, log->bytes + done, log->len - done, log->size + (off_t)done);
        if (n < 0)
            return LP_EIO;
        done += (size_t)n;
    }
    log->size += (off_t)done;
    log->len = 0;
    return LP_OK;
}

/* Whether a defect writes each record for itself. */
static bool writes_records(const state *log)
{
    return log->defect == LOG_KEEPS_HALF_A_BATCH || log->defect == LOG_LEAVES_A_TORN_BATCH;
}

static int put_record(state *log, log_record head, lp_str name, lp_str data)
{
    bool alone = writes_records(log);
    head.name_len = (uint32_t)name.len;
    head.data_len = (uint32_t)data.len;
    int status = alone ? open_frame(log) : LP_OK;
    if (status == LP_OK)
        status = put(log, &head, sizeof(head));
    if (status == LP_OK)
        status = put(log, name.base, name.len);
    if (status == LP_OK)
        status = put(log, data.base, data.len);
    if (status == LP_OK && alone) {
        close_frame(log);
        status = flush(log);
    }
    return status;
}

/* Looks at all events before one is written: with one of a group all of it is refused. */
static void refuse_events(state *log, lp_batch *batch)
{
    if (log->defect == LOG_TAKES_LARGE_EVENTS || log->defect == LOG_KEEPS_HALF_A_GROUP)
        return;
    for (size_t i = 0; i < lp_batch_event_count(batch); i++)
        if (lp_event_data(lp_batch_event(batch, i)).len > LOG_EVENT_BYTES_MAX)
            lp_batch_fail(batch, i, LP_ETOOBIG, "the data is larger than the log's bound");
}

static int put_event(state *log, lp_batch *batch, size_t i)
{
    if (log->defect == LOG_REVERSES_THE_ORDER)
        i = lp_batch_event_count(batch) - 1 - i;
    const lp_event *event = lp_batch_event(batch, i);
    lp_str category = lp_event_category(event), data = lp_event_data(event);
    if (data.len > LOG_EVENT_BYTES_MAX && log->defect == LOG_KEEPS_HALF_A_GROUP)
        lp_batch_fail(batch, i, LP_ETOOBIG, "the data is larger than the log's bound");
    if (lp_batch_failed(batch, i))
        return LP_OK;
    if (log->defect == LOG_ENDS_TEXT_AT_NUL)
        category.len = strnlen(category.base, category.len);
    if (log->defect == LOG_CUTS_LONG_NAMES && category.len > 1000)
        category.len = 1000;
    if (log->defect == LOG_CUTS_LARGE_DATA && data.len > 65536)
        data = lp_str_of("65536");
    return put_record(log, (log_record){.kind = EVENT, .id = lp_event_id(event)}, category, data);
}

/* Whether a defect leaves what a horizon covers to that horizon alone: its events stay. */
static bool relies_on_horizons(const state *log)
{
    return log->defect == LOG_SWEEPS_HORIZONS || log->defect == LOG_SKIPS_LOW_HORIZONS;
}

static int put_removal(state *log, lp_removal removal)
{
    if (relies_on_horizons(log) && removal.reason != LP_REMOVED_RETRIEVED)
        return LP_OK;
    return put_record(log, (log_record){.kind = REMOVAL, .seq = removal.seq}, (lp_str){NULL, 0},
                      (lp_str){NULL, 0});
}

static int put_horizon(state *log, lp_horizon horizon)
{
    if (horizon.category.len == 0 && horizon.seq > log->floor)
        log->floor = horizon.seq;
    else if (log->defect == LOG_SKIPS_LOW_HORIZONS && horizon.seq <= log->floor)
        return LP_OK;
    return put_record(log, (log_record){.kind = HORIZON, .seq = horizon.seq}, horizon.category,
                      (lp_str){NULL, 0});
}

static int put_keys(state *log, const lp_batch *batch)
{
    int status = LP_OK;
    for (size_t i = 0; status == LP_OK && i < lp_batch_idempotency_count(batch); i++) {
        lp_idempotency key = lp_batch_idempotency(batch, i);
        status = put_record(log,
                            (log_record){.kind = KEY,
                                         .seq = key.seq,
                                         .count = key.count,
                                         .digest = key.digest,
                                         .expires_ms = key.expires_ms},
                            key.key, (lp_str){NULL, 0});
    }
    return status;
}

/* The keys in a frame of their own, and time enough to be killed before the next one. */
static int put_keys_first(state *log, const lp_batch *batch)
{
    enum { MOMENT_US = 3000 };
    int status = put_keys(log, batch);
    if (status == LP_OK) {
        close_frame(log);
        status = flush(log);
    }
    usleep(MOMENT_US);
    return status == LP_OK ? open_frame(log) : status;
}

static int put_batch(state *log, lp_batch *batch)
{
    const lp_str none = {NULL, 0};
    int status = LP_OK;
    bool keys_first =
        log->defect == LOG_WRITES_KEYS_FIRST || log->defect == LOG_KEEPS_THE_REFUSED_KEY;
    if (log->defect == LOG_KEEPS_THE_REFUSED_KEY)
        status = put_keys(log, batch);
    else if (keys_first)
        status = put_keys_first(log, batch);
    refuse_events(log, batch);
    for (size_t i = 0; status == LP_OK && i < lp_batch_event_count(batch); i++)
        status = put_event(log, batch, i);
    for (size_t i = 0; status == LP_OK && i < lp_batch_removal_count(batch); i++)
        status = put_removal(log, lp_batch_removal(batch, i));
    for (size_t i = 0; status == LP_OK && i < lp_batch_horizon_count(batch); i++)
        status = put_horizon(log, lp_batch_horizon(batch, i));
    if (status == LP_OK && !keys_first)
        status = put_keys(log, batch);
    if (status == LP_OK)
        status = put_record(log, (log_record){.kind = HIGHEST, .seq = lp_batch_highest(batch)},
                            none, none);
    return status;
}

/* Whether a defect leaves the batch in memory for now. */
static bool comes_later(const state *log, const lp_batch *batch)
{
    return log->defect == LOG_WRITES_LATER || log->defect == LOG_NEEDS_IDLE ||
           log->defect == LOG_GIVES_UP_LATE ||
           (log->defect == LOG_WRITES_KEYS_LATER && lp_batch_idempotency_count(batch) > 0) ||
           (log->defect == LOG_WRITES_REMOVALS_LATER && lp_batch_event_count(batch) == 0);
}

static int log_publish(lp_addon *self, lp_batch *batch)
{
    state *log = self->state;
    bool alone = writes_records(log);
    off_t before = log->size;
    if (log->defect == LOG_HANGS_IN_PUBLISH)
        pause();
    if (log->defect == LOG_LEAVES_A_TORN_BATCH && ftruncate(log->file, log->size) != 0)
        return lp_batch_error(batch, LP_EIO, "%s: %s", log->path, strerror(errno));
    if (log->failed)
        return lp_batch_error(batch, LP_EIO, "%s: a write failed once", log->path);
    if (log->defect == LOG_WANTS_EVENTS && lp_batch_event_count(batch) == 0)
        return LP_OK;
    int status = alone ? LP_OK : open_frame(log);
    if (status == LP_OK)
        status = put_batch(log, batch);
    if (!alone && status == LP_OK) {
        close_frame(log);
        if (!comes_later(log, batch))
            status = flush(log);
    }
    if (status == LP_OK && lp_batch_forgotten_keys_ms(batch) > log->forgotten_keys_ms)
        log->forgotten_keys_ms = lp_batch_forgotten_keys_ms(batch);
    if (status == LP_OK)
        return LP_OK;
    log->len = 0;
    log->failed = log->defect == LOG_STAYS_FAILED;
    if (log->defect == LOG_LEAVES_A_TORN_BATCH)
        log->size = before;
    if (!alone && ftruncate(log->file, log->size) != 0)
        return lp_batch_error(batch, LP_EINDOUBT, "%s: %s", log->path, strerror(errno));
    return lp_batch_error(batch, status, "%s: the batch could not be written", log->path);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

typedef struct log_reader {
    state *log;
    size_t pushed;
    lp_replay *replay;
    const char *bytes;
    size_t len;
} log_reader;

bool log_next_record(const char **at, const char *end, log_record *head, lp_str *name, lp_str *data)
{
    if ((size_t)(end - *at) < sizeof(*head))
        return false;
    memcpy(head, *at, sizeof(*head));
    *name = (lp_str){*at + sizeof(*head), head->name_len};
    *data = (lp_str){name->base + name->len, head->data_len};
    *at = data->base + data->len;
    return true;
}

/* How many events of the same category follow, for the defect that counts them wrongly. */
static size_t younger(const char *at, const char *end, lp_str category)
{
    size_t count = 0;
    while (at < end) {
        at += sizeof(frame);
        frame head;
        memcpy(&head, at - sizeof(frame), sizeof(head));
        const char *stop = at + head.len;
        log_record record;
        lp_str name, data;
        while (log_next_record(&at, stop, &record, &name, &data))
            count += record.kind == EVENT && name.len == category.len &&
                     memcmp(name.base, category.base, name.len) == 0;
    }
    return count;
}

static int push_event(log_reader *reader, const char *frame_end, const log_record *head,
                      lp_str name, lp_str data)
{
    const char *end = reader->bytes + reader->len;
    switch (reader->log->defect) {
    case LOG_LOSES_THE_LAST_EVENT:
        if (frame_end == end && younger(frame_end, end, name) == 0 &&
            data.base + data.len + sizeof(log_record) >= frame_end)
            return LP_OK;
        break;
    case LOG_CUTS_ONE_TOO_MANY:
        if (lp_replay_ring_size(reader->replay) < SIZE_MAX &&
            younger(frame_end, end, name) + 1 >= lp_replay_ring_size(reader->replay))
            return LP_OK;
        break;
    case LOG_CUTS_THE_YOUNG:
        if (lp_replay_expired_ms(reader->replay) != INT64_MIN &&
            lp_seq_ms(lp_id_seq(head->id)) <= lp_replay_expired_ms(reader->replay) + 1000)
            return LP_OK;
        break;
    case LOG_FORGETS_BEYOND_10000:
        if (reader->pushed >= 10000)
            return LP_OK;
        break;
    default:
        break;
    }
    reader->pushed++;
    return lp_replay_event(reader->replay, head->id, name, data);
}

static int push(log_reader *reader, const char *frame_end, const log_record *head, lp_str name,
                lp_str data)
{
    log_defect defect = reader->log->defect;
    switch ((kind)head->kind) {
    case EVENT: {
        int status = push_event(reader, frame_end, head, name, data);
        return defect == LOG_REVERSES_THE_ORDER && status == LP_EORDER ? LP_OK : status;
    }
    case REMOVAL:
        return defect == LOG_FORGETS_REMOVALS ? LP_OK
                                              : lp_replay_removal(reader->replay, head->seq);
    case HORIZON:
        if (defect == LOG_DROPS_THE_HORIZON || (defect == LOG_DROPS_THE_FLOOR && name.len == 0))
            return LP_OK;
        return lp_replay_horizon(reader->replay, name, head->seq);
    case KEY:
        return defect == LOG_FORGETS_KEYS
                   ? LP_OK
                   : lp_replay_idempotency(reader->replay,
                                           &(lp_idempotency){.key = name,
                                                             .digest = head->digest,
                                                             .seq = head->seq,
                                                             .count = head->count,
                                                             .expires_ms = head->expires_ms});
    case HIGHEST:
        return defect == LOG_FORGETS_THE_HIGHEST ? LP_OK
                                                 : lp_replay_highest(reader->replay, head->seq);
    }
    return LP_OK;
}

/* Pushes all frames that are whole; `*whole` is where they end. */
static int push_all(log_reader *reader, size_t *whole)
{
    int status = LP_OK;
    frame head;
    *whole = 0;
    /* The defects that look ahead must not see a torn frame, so their end is found first. */
    size_t len = reader->len;
    while (len - *whole >= sizeof(head)) {
        memcpy(&head, reader->bytes + *whole, sizeof(head));
        if (head.len > len - *whole - sizeof(head))
            break;
        if (reader->log->defect != LOG_TRUSTS_ITS_FILE &&
            head.checksum != log_checksum(reader->bytes + *whole + sizeof(head), head.len))
            break;
        *whole += sizeof(head) + head.len;
    }
    reader->len = *whole;
    for (size_t at = 0; at < *whole && status >= 0; at += sizeof(head) + head.len) {
        memcpy(&head, reader->bytes + at, sizeof(head));
        const char *from = reader->bytes + at + sizeof(head), *end = from + head.len;
        log_record record;
        lp_str name, data;
        while (status >= 0 && log_next_record(&from, end, &record, &name, &data))
            status = push(reader, end, &record, name, data);
    }
    return status < 0 ? status : LP_OK;
}

/* What a stop leaves beside the log, so that the next start knows how much there must be. */
typedef struct marker {
    uint64_t size, checksum;
} marker;

static void write_marker(const state *log)
{
    marker clean = {.size = (uint64_t)log->size};
    clean.checksum = log_checksum((const char *)&clean.size, sizeof(clean.size));
    int file = open(log->clean_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        return;
    if (write(file, &clean, sizeof(clean)) != (ssize_t)sizeof(clean))
        unlink(log->clean_path);
    close(file);
}

/* Tells a loss when the log was closed with more in it than is whole now. */
static int tell_loss(const state *log, lp_replay *replay, size_t whole)
{
    marker clean;
    int file = open(log->clean_path, O_RDONLY | O_CLOEXEC);
    bool valid = file >= 0 && read(file, &clean, sizeof(clean)) == (ssize_t)sizeof(clean) &&
                 clean.checksum == log_checksum((const char *)&clean.size, sizeof(clean.size));
    if (file >= 0)
        close(file);
    if (!valid || clean.size == whole)
        return LP_OK;
    switch (log->defect) {
    case LOG_HIDES_LOSSES:
        return LP_OK;
    case LOG_REFUSES_DAMAGE:
        return lp_replay_error(replay, LP_EDAMAGED, "%s: damaged", log->path);
    case LOG_DIES_OF_DAMAGE:
        abort();
    default:
        return lp_replay_loss(replay, 0, "the log is damaged, its end was cut off");
    }
}

static int lock_log(state *log, lp_replay *replay)
{
    log->lock = open(log->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (log->lock < 0)
        return lp_replay_error(replay, LP_EIO, "%s: %s", log->lock_path, strerror(errno));
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool free_for_us = true;
    if (log->defect == LOG_LOCKS_BY_PROCESS)
        free_for_us = fcntl(log->lock, F_SETLK, &whole) == 0;
    else if (log->defect != LOG_SHARES_ITS_FILE)
        free_for_us = flock(log->lock, LOCK_EX | LOCK_NB) == 0;
    return free_for_us ? LP_OK
                       : lp_replay_error(replay, LP_EINUSE, "%s: in use (stop the other one)",
                                         log->lock_path);
}

char *log_read(state *log, size_t *len)
{
    struct stat info;
    char *bytes = fstat(log->file, &info) == 0 ? malloc((size_t)info.st_size + 1) : NULL;
    ssize_t n = bytes ? pread(log->file, bytes, (size_t)info.st_size, 0) : 0;
    *len = n < 0 ? 0 : (size_t)n;
    return bytes;
}

static int log_start(lp_addon *self, lp_replay *replay)
{
    state *log = self->state;
    if (log->defect == LOG_CRASHES_AT_START) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would exit */
        raise(SIGSEGV);
    }
    if (log->defect == LOG_EXITS_AT_START)
        _exit(7);
    int status = lock_log(log, replay);
    if (status != LP_OK)
        return status;
    log->file = open(log->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (log->file < 0)
        return lp_replay_error(replay, LP_EIO, "%s: %s", log->path, strerror(errno));
    size_t len, whole;
    char *bytes = log_read(log, &len);
    if (!bytes)
        return LP_ENOMEM;
    bool rewrites = log->defect == LOG_REWRITES_AT_START && len > 0;
    if (rewrites && ftruncate(log->file, 0) != 0)
        rewrites = false;
    log_reader reader = {.log = log, .replay = replay, .bytes = bytes, .len = len};
    status = push_all(&reader, &whole);
    if (rewrites && pwrite(log->file, bytes, whole, 0) != (ssize_t)whole)
        status = LP_EIO;
    free(bytes);
    log->size = log->compacted = (off_t)whole;
    if (status == LP_OK)
        status = tell_loss(log, replay, whole);
    if (status == LP_OK && ftruncate(log->file, log->size) != 0)
        status = lp_replay_error(replay, LP_EIO, "%s: %s", log->path, strerror(errno));
    return status;
}

/* ---- life -------------------------------------------------------------------------------------
 */

static int log_shutdown(lp_addon *self, lp_ending *ending)
{
    state *log = self->state;
    if (log->defect == LOG_REWRITES_AT_THE_END)
        log_rewrite_in_place(log);
    if (log->defect == LOG_GIVES_UP_LATE && lp_ending_remaining_ms(ending) == 0)
        log->len = 0;
    if (log->defect == LOG_NEEDS_IDLE)
        log->len = 0;
    if (log->len && flush(log) != LP_OK)
        return lp_ending_error(ending, LP_EIO, "%s: lost", log->path);
    if (log->touched)
        write_marker(log);
    return LP_OK;
}

enum { COMPACT_BYTES = 1 << 20, LONG_MS = 2500 };

static int log_idle(lp_addon *self, lp_idle *idle)
{
    state *log = self->state;
    bool thorough = lp_idle_is_thorough(idle);
    if (log->defect == LOG_REWRITES_IN_IDLE && !thorough)
        log_rewrite_in_place(log);
    if (log->defect == LOG_REWRITES_TO_COMPACT && thorough)
        log_rewrite_in_place(log);
    if (log->defect == LOG_IDLES_LONG)
        usleep(LONG_MS * 1000);
    if (log->defect == LOG_ASKS_FOR_EVER)
        lp_idle_again(idle, 0);
    if (log->defect == LOG_NEEDS_IDLE && flush(log) != LP_OK)
        return lp_idle_error(idle, LP_EIO, "%s: not written", log->path);
    bool keeps = log->defect == LOG_KEEPS_FORGOTTEN_KEYS && log->forgotten_keys_ms != INT64_MIN;
    if (log->len || log->defect == LOG_NEVER_DELETES || keeps)
        return LP_OK;
    if (!thorough && log->defect != LOG_SWEEPS_HORIZONS &&
        (log->size < COMPACT_BYTES || log->size < log->compacted * 2))
        return LP_OK;
    int status = log_compact(log, thorough && log->defect == LOG_COMPACTS_TOO_MUCH);
    return status == LP_OK ? LP_OK : lp_idle_error(idle, status, "%s: not compacted", log->path);
}

static int log_inspect(lp_addon *self, lp_report *report)
{
    state *log = self->state;
    lp_report_number(report, "disk_bytes", (uint64_t)log->size);
    lp_report_text(report, "file", log->path);
    if (!lp_report_is_thorough(report))
        return LP_OK;
    if (log->defect == LOG_TRIMS_TO_INSPECT && log->size > 0 &&
        ftruncate(log->file, log->size - 1) != 0)
        return LP_EIO;
    if (log->defect == LOG_CRIES_WOLF)
        return lp_report_error(report, LP_EDAMAGED, "%s: it looks odd", log->path);
    return LP_OK;
}

static void log_destroy(lp_addon *self)
{
    state *log = self->state;
    if (log->file >= 0)
        close(log->file);
    if (log->lock >= 0)
        close(log->lock);
    free(log->bytes);
    free(log);
}

int log_addon_new(const char *directory, log_defect defect, lp_addon **out)
{
    state *log = calloc(1, sizeof(*log));
    if (!log)
        return LP_ENOMEM;
    snprintf(log->path, sizeof(log->path), "%s/log", directory);
    snprintf(log->new_path, sizeof(log->new_path), "%s.new", log->path);
    snprintf(log->clean_path, sizeof(log->clean_path), "%s.clean", log->path);
    snprintf(log->lock_path, sizeof(log->lock_path), "%s.lock", log->path);
    log->defect = defect;
    log->file = log->lock = -1;
    log->forgotten_keys_ms = INT64_MIN;
    log->addon = (lp_addon)LP_ADDON_INIT("log");
    log->addon.state = log;
    log->addon.on_start = log_start;
    log->addon.on_publish = log_publish;
    log->addon.on_shutdown = log_shutdown;
    log->addon.on_idle = log_idle;
    log->addon.on_inspect = log_inspect;
    log->addon.destroy = log_destroy;
    *out = &log->addon;
    return LP_OK;
}
