/* The log that is written anew, without what is gone. See log_inside.h. */
#include "log_inside.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is found out about a log before it is copied. */
typedef struct census {
    uint64_t *removed; /* sorted */
    size_t removed_count;
    const char **marks; /* the last record of each horizon and key */
    size_t mark_count;
    const char *highest; /* its last record */
    uint64_t lost;       /* the event to lose; 0: none */
    uint64_t floor;      /* up to here horizons are to be lost; 0: none */
    int64_t forgotten_keys_ms;
} census;

/* Calls `visit` for each record of a whole log; `from` to `to` are its bytes. */
typedef void (*visit_fn)(void *ctx, const char *from, const char *to, const log_record *head,
                         lp_str name);

static void each_record(const char *bytes, size_t len, visit_fn visit, void *ctx)
{
    frame head;
    for (size_t at = 0; at + sizeof(head) <= len; at += sizeof(head) + head.len) {
        memcpy(&head, bytes + at, sizeof(head));
        const char *from = bytes + at + sizeof(head), *end = from + head.len;
        const char *record_at = from;
        log_record record;
        lp_str name, data;
        while (log_next_record(&from, end, &record, &name, &data)) {
            visit(ctx, record_at, from, &record, name);
            record_at = from;
        }
    }
}

/* The name of a horizon or a key, and which of both it is. */
static bool same_mark(const char *mark, const log_record *head, lp_str name)
{
    log_record other;
    memcpy(&other, mark, sizeof(other));
    return other.kind == head->kind && other.name_len == name.len &&
           memcmp(mark + sizeof(other), name.base, name.len) == 0;
}

static void note(void *ctx, const char *from, const char *to, const log_record *head, lp_str name)
{
    census *all = ctx;
    size_t i = 0;
    (void)to;
    switch ((kind)head->kind) {
    case EVENT:
        all->lost = lp_id_seq(head->id);
        break;
    case REMOVAL:
        all->removed[all->removed_count++] = head->seq;
        break;
    case HORIZON:
        if (name.len == 0 && head->seq > all->floor)
            all->floor = head->seq;
        /* fall through */
    case KEY:
        if (head->kind == KEY && head->expires_ms <= all->forgotten_keys_ms)
            break;
        while (i < all->mark_count && !same_mark(all->marks[i], head, name))
            i++;
        all->marks[i] = from;
        all->mark_count += i == all->mark_count;
        break;
    case HIGHEST:
        all->highest = from;
        break;
    }
}

static void count(void *ctx, const char *from, const char *to, const log_record *head, lp_str name)
{
    (void)from, (void)to, (void)head, (void)name;
    ++*(size_t *)ctx;
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

typedef struct copy {
    const census *all;
    char *out; /* as large as the log and a frame */
    size_t len;
} copy;

static void take(void *ctx, const char *from, const char *to, const log_record *head, lp_str name)
{
    copy *copied = ctx;
    const census *all = copied->all;
    bool stays = from == all->highest;
    uint64_t seq = lp_id_seq(head->id);
    if (head->kind == HORIZON && name.len && head->seq <= all->floor)
        return;
    if (head->kind == EVENT)
        stays = seq != all->lost &&
                !bsearch(&seq, all->removed, all->removed_count, sizeof(seq), by_number);
    for (size_t i = 0; i < all->mark_count && !stays; i++)
        stays = all->marks[i] == from;
    if (!stays)
        return;
    memcpy(copied->out + copied->len, from, (size_t)(to - from));
    copied->len += (size_t)(to - from);
}

/* One frame with all that stays takes the place of the log. */
static int replace_log(state *log, char *bytes, size_t len)
{
    frame head = {.len = len - sizeof(head)};
    head.checksum = log_checksum(bytes + sizeof(head), head.len);
    memcpy(bytes, &head, sizeof(head));
    int file = open(log->new_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool ok = file >= 0 && write(file, bytes, len) == (ssize_t)len;
    log_touch(log);
    if (!ok || rename(log->new_path, log->path) != 0) {
        if (file >= 0)
            close(file);
        return LP_EIO;
    }
    close(log->file);
    log->file = file;
    log->size = log->compacted = (off_t)len;
    return LP_OK;
}

int log_compact(state *log, bool lose_one)
{
    size_t len, records = 1;
    char *bytes = log_read(log, &len);
    if (bytes)
        each_record(bytes, len, count, &records);
    census all = {.removed = calloc(records, sizeof(uint64_t)),
                  .marks = calloc(records, sizeof(char *))};
    copy copied = {.all = &all, .out = malloc(len + sizeof(frame)), .len = sizeof(frame)};
    int status = LP_ENOMEM;
    all.forgotten_keys_ms = log->forgotten_keys_ms;
    if (log->defect == LOG_FORGETS_TOO_MANY_KEYS && all.forgotten_keys_ms != INT64_MIN)
        all.forgotten_keys_ms++;
    if (bytes && all.removed && all.marks && copied.out) {
        each_record(bytes, len, note, &all);
        qsort(all.removed, all.removed_count, sizeof(uint64_t), by_number);
        if (!lose_one)
            all.lost = 0;
        if (log->defect != LOG_SWEEPS_HORIZONS)
            all.floor = 0;
        each_record(bytes, len, take, &copied);
        status = copied.len > sizeof(frame) ? replace_log(log, copied.out, copied.len) : LP_OK;
    }
    free(all.removed);
    free(all.marks);
    free(copied.out);
    free(bytes);
    return status;
}

enum { REWRITES = 30 };

void log_rewrite_in_place(state *log)
{
    size_t len;
    char *bytes = log_read(log, &len);
    for (int i = 0; bytes && i < REWRITES; i++) {
        if (ftruncate(log->file, 0) != 0)
            break;
        for (size_t at = 0; at < len; at += 4096)
            if (pwrite(log->file, bytes + at, len - at < 4096 ? len - at : 4096, (off_t)at) < 0)
                break;
    }
    free(bytes);
}
