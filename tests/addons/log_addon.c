/* See log_addon.h. A batch is a frame of its length, a checksum, and its records. */
#include "log_addon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum kind { EVENT = 1, REMOVAL, HORIZON, KEY, HIGHEST } kind;

typedef struct log_record {
    uint32_t kind, name_len, data_len, count;
    lp_id id;
    uint64_t seq, digest;
    int64_t expires_ms;
} log_record;

typedef struct frame {
    uint64_t len, checksum;
} frame;

typedef struct state {
    lp_addon addon;
    char path[1100];
    log_defect defect;
    int file;
    off_t size;
    char *bytes; /* the frame that is being filled, LOG_WRITES_LATER: and those before it */
    size_t len, capacity, frame_at;
} state;

/* FNV-1a. */
static uint64_t checksum_of(const char *bytes, size_t len)
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
    head.checksum = checksum_of(body, head.len);
    memcpy(log->bytes + log->frame_at, &head, sizeof(head));
}

static int flush(state *log)
{
    size_t done = 0;
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

static int put_record(state *log, log_record head, lp_str name, lp_str data)
{
    bool alone = log->defect == LOG_KEEPS_HALF_A_BATCH;
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

static int put_event(state *log, lp_batch *batch, size_t i)
{
    if (log->defect == LOG_REVERSES_THE_ORDER)
        i = lp_batch_event_count(batch) - 1 - i;
    const lp_event *event = lp_batch_event(batch, i);
    lp_str category = lp_event_category(event), data = lp_event_data(event);
    if (data.len > LOG_EVENT_BYTES_MAX && log->defect != LOG_TAKES_LARGE_EVENTS) {
        lp_batch_fail(batch, i, LP_ETOOBIG, "the data is larger than the log's bound");
        return LP_OK;
    }
    if (log->defect == LOG_ENDS_TEXT_AT_NUL)
        category.len = strnlen(category.base, category.len);
    return put_record(log, (log_record){.kind = EVENT, .id = lp_event_id(event)}, category, data);
}

static int put_batch(state *log, lp_batch *batch)
{
    const lp_str none = {NULL, 0};
    int status = LP_OK;
    for (size_t i = 0; status == LP_OK && i < lp_batch_event_count(batch); i++)
        status = put_event(log, batch, i);
    for (size_t i = 0; status == LP_OK && i < lp_batch_removal_count(batch); i++)
        status = put_record(
            log, (log_record){.kind = REMOVAL, .seq = lp_batch_removal(batch, i).seq}, none, none);
    for (size_t i = 0; status == LP_OK && i < lp_batch_horizon_count(batch); i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        status = put_record(log, (log_record){.kind = HORIZON, .seq = horizon.seq},
                            horizon.category, none);
    }
    for (size_t i = 0; status == LP_OK && i < lp_batch_idempotency_count(batch); i++) {
        lp_idempotency key = lp_batch_idempotency(batch, i);
        status = put_record(log,
                            (log_record){.kind = KEY,
                                         .seq = key.seq,
                                         .count = key.count,
                                         .digest = key.digest,
                                         .expires_ms = key.expires_ms},
                            key.key, none);
    }
    if (status == LP_OK)
        status = put_record(log, (log_record){.kind = HIGHEST, .seq = lp_batch_highest(batch)},
                            none, none);
    return status;
}

static int log_publish(lp_addon *self, lp_batch *batch)
{
    state *log = self->state;
    bool alone = log->defect == LOG_KEEPS_HALF_A_BATCH;
    int status = alone ? LP_OK : open_frame(log);
    if (status == LP_OK)
        status = put_batch(log, batch);
    if (!alone && status == LP_OK) {
        close_frame(log);
        if (log->defect != LOG_WRITES_LATER)
            status = flush(log);
    }
    if (status == LP_OK)
        return LP_OK;
    log->len = 0;
    if (!alone && ftruncate(log->file, log->size) != 0)
        return lp_batch_error(batch, LP_EINDOUBT, "%s: %s", log->path, strerror(errno));
    return lp_batch_error(batch, status, "%s: the batch could not be written", log->path);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

typedef struct log_reader {
    state *log;
    lp_replay *replay;
    const char *bytes;
    size_t len;
} log_reader;

static bool next_record(const char **at, const char *end, log_record *head, lp_str *name,
                        lp_str *data)
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
        while (next_record(&at, stop, &record, &name, &data))
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
    default:
        break;
    }
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
        if (head.len > len - *whole - sizeof(head) ||
            head.checksum != checksum_of(reader->bytes + *whole + sizeof(head), head.len))
            break;
        *whole += sizeof(head) + head.len;
    }
    reader->len = *whole;
    for (size_t at = 0; at < *whole && status >= 0; at += sizeof(head) + head.len) {
        memcpy(&head, reader->bytes + at, sizeof(head));
        const char *from = reader->bytes + at + sizeof(head), *end = from + head.len;
        log_record record;
        lp_str name, data;
        while (status >= 0 && next_record(&from, end, &record, &name, &data))
            status = push(reader, end, &record, name, data);
    }
    return status < 0 ? status : LP_OK;
}

static int log_start(lp_addon *self, lp_replay *replay)
{
    state *log = self->state;
    log->file = open(log->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct stat info;
    if (log->file < 0 || fstat(log->file, &info) != 0)
        return lp_replay_error(replay, LP_EIO, "%s: %s", log->path, strerror(errno));
    char *bytes = malloc((size_t)info.st_size + 1);
    if (!bytes)
        return LP_ENOMEM;
    ssize_t len = pread(log->file, bytes, (size_t)info.st_size, 0);
    log_reader reader = {log, replay, bytes, len < 0 ? 0 : (size_t)len};
    size_t whole;
    int status = push_all(&reader, &whole);
    free(bytes);
    log->size = (off_t)whole;
    if (status == LP_OK && ftruncate(log->file, log->size) != 0)
        status = lp_replay_error(replay, LP_EIO, "%s: %s", log->path, strerror(errno));
    return status;
}

/* ---- life -------------------------------------------------------------------------------------
 */

static int log_shutdown(lp_addon *self, lp_ending *ending)
{
    state *log = self->state;
    return flush(log) == LP_OK ? LP_OK : lp_ending_error(ending, LP_EIO, "%s: lost", log->path);
}

static void log_destroy(lp_addon *self)
{
    state *log = self->state;
    if (log->file >= 0)
        close(log->file);
    free(log->bytes);
    free(log);
}

int log_addon_new(const char *directory, log_defect defect, lp_addon **out)
{
    state *log = calloc(1, sizeof(*log));
    if (!log)
        return LP_ENOMEM;
    snprintf(log->path, sizeof(log->path), "%s/log", directory);
    log->defect = defect;
    log->file = -1;
    log->addon = (lp_addon)LP_ADDON_INIT("log");
    log->addon.state = log;
    log->addon.on_start = log_start;
    log->addon.on_publish = log_publish;
    log->addon.on_shutdown = log_shutdown;
    log->addon.destroy = log_destroy;
    *out = &log->addon;
    return LP_OK;
}
