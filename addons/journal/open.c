/* The first half of a start: the directory, its lock, and which segments make up the journal. */
#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shared/directory.h"
#include "../shared/lock.h"

/* ---- the directory and its lock -------------------------------------------------------------- */

static int directory_error(const lp__journal *journal, lp_replay *replay)
{
    int code = errno;
    char reason[96];
    const char *text = strerror_r(code, reason, sizeof(reason));
    switch (code) {
    case EACCES:
    case EPERM:
    case EROFS:
        return lp_replay_error(replay, LP_EACCES,
                               "journal \"%s\": %s (give this user the right to write there, or "
                               "use another directory)",
                               journal->path, text);
    case ENOTDIR:
    case EEXIST:
        return lp_replay_error(replay, LP_ENOTFOUND,
                               "journal \"%s\": not a directory (name a directory of its own)",
                               journal->path);
    case ENOENT:
        return lp_replay_error(replay, LP_ENOTFOUND, "journal \"%s\": %s (%s)", journal->path, text,
                               journal->read_only ? "there is nothing to read"
                                                  : "make its parent directory first");
    default:
        return lp_replay_error(replay, LP_EIO, "journal \"%s\": cannot open the directory: %s",
                               journal->path, text);
    }
}

static int open_directory(lp__journal *journal, lp_replay *replay)
{
    if (!journal->read_only) {
        if (mkdir(journal->path, 0700) == 0)
            lp__directory_sync_parent(journal->path);
        else if (errno != EEXIST)
            return directory_error(journal, replay);
    }
    journal->dir = open(journal->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return journal->dir >= 0 ? LP_OK : directory_error(journal, replay);
}

/* Two stores in one directory would both look right, and each would miss what the other has. */
static int refuse_foreign(const lp__journal *journal, lp_replay *replay)
{
    if (faccessat(journal->dir, LP__LOCK_NAME, F_OK, 0) == 0 ||
        faccessat(journal->dir, "data.mdb", F_OK, 0) != 0)
        return LP_OK;
    return lp_replay_error(replay, LP_EVERSION,
                           "journal \"%s\": it holds an LMDB environment and no journal (name a "
                           "directory of its own)",
                           journal->path);
}

static int take_lock(lp__journal *journal, lp_replay *replay)
{
    long holder;
    int status =
        lp__lock_take(journal->dir, LP__LOCK_NAME, journal->read_only, &journal->lock, &holder);
    if (status != LP_EINUSE)
        return status == LP_OK ? LP_OK : directory_error(journal, replay);
    char who[40] = "another process";
    if (holder > 0)
        snprintf(who, sizeof(who), "process %ld", holder);
    return lp_replay_error(replay, LP_EINUSE,
                           "journal \"%s\": in use by %s (stop it, or use another directory)",
                           journal->path, who);
}

void lp__journal_close(lp__journal *journal)
{
    if (journal->fd >= 0)
        journal->io.close(journal->io.ctx, journal->fd);
    if (journal->lock >= 0)
        close(journal->lock);
    if (journal->dir >= 0)
        close(journal->dir);
    journal->fd = journal->lock = journal->dir = -1;
    journal->active = NULL;
}

/* ---- the files ------------------------------------------------------------------------------- */

typedef struct found_file {
    uint64_t number, size;
    lp__header header;
    lp__header_state state;
} found_file;

typedef struct found_files {
    found_file *at;
    size_t count, capacity;
} found_files;

#define NUMBER_MAX UINT64_C(9000000000000000)

static bool parse_name(const char *name, uint64_t *number)
{
    if (strspn(name, "0123456789") != 16 || strcmp(name + 16, ".seg") != 0)
        return false;
    *number = strtoull(name, NULL, 10);
    return *number > 0 && *number <= NUMBER_MAX; /* so that there always is a next one */
}

static int read_header(lp__journal *journal, lp_replay *replay, found_file *file)
{
    const lp__journal_io *io = &journal->io;
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(file->number, name);
    int fd = io->open(io->ctx, journal->dir, name, O_RDONLY | O_NONBLOCK, 0); /* it may be a pipe */
    if (fd < 0) {
        int status = lp__journal_failed(journal, "cannot open", name);
        return lp_replay_error(replay, status, "journal \"%s\": %s", journal->path,
                               journal->problem);
    }
    struct stat stat;
    uint8_t bytes[LP__SEGMENT_HEADER];
    unsigned version = 0;
    file->size = fstat(fd, &stat) == 0 ? (uint64_t)stat.st_size : 0;
    ssize_t len;
    do
        len = io->pread(io->ctx, fd, bytes, sizeof(bytes), 0);
    while (len < 0 && errno == EINTR);
    io->close(io->ctx, fd);
    file->state = len < 0 ? LP__HEADER_DAMAGED
                          : lp__header_decode(bytes, (size_t)len, &file->header, &version);
    if (file->state == LP__HEADER_VERSION)
        return lp_replay_error(replay, LP_EVERSION,
                               "journal \"%s\": %s has format version %u and this library knows "
                               "version %d (use the library that wrote it, or a newer one)",
                               journal->path, name, version, LP__FORMAT_VERSION);
    if (file->state <= LP__HEADER_HALF && file->header.number != file->number)
        file->state = LP__HEADER_DAMAGED;
    return LP_OK;
}

static int compare_files(const void *a, const void *b)
{
    uint64_t left = ((const found_file *)a)->number, right = ((const found_file *)b)->number;
    return left < right ? -1 : left > right;
}

static int add_file(lp__journal *journal, lp_replay *replay, found_files *files, uint64_t number)
{
    if (files->count == files->capacity) {
        size_t capacity = files->capacity == 0 ? 64 : files->capacity * 2;
        found_file *at = realloc(files->at, capacity * sizeof(*at));
        if (at == NULL)
            return LP_ENOMEM;
        files->at = at;
        files->capacity = capacity;
    }
    files->at[files->count] = (found_file){.number = number};
    if (number >= journal->next_number)
        journal->next_number = number + 1;
    return read_header(journal, replay, &files->at[files->count++]);
}

static int list_files(lp__journal *journal, lp_replay *replay, found_files *files)
{
    int fd = openat(journal->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int status = directory_error(journal, replay);
        if (fd >= 0)
            close(fd);
        return status;
    }
    int status = LP_OK;
    const struct dirent *entry;
    uint64_t number;
    while (status == LP_OK && (entry = readdir(dir)) != NULL)
        if (parse_name(entry->d_name, &number))
            status = add_file(journal, replay, files, number);
    closedir(dir);
    if (files->count > 0)
        qsort(files->at, files->count, sizeof(*files->at), compare_files);
    return status;
}

static void remove_file(lp__journal *journal, uint64_t number)
{
    char name[LP__SEGMENT_NAME_MAX];
    lp__segment_name(number, name);
    journal->io.unlink(journal->io.ctx, journal->dir, name);
}

/* One of two copies of a header is damaged: writes both anew. When that fails, one still does. */
static void mend_header(lp__journal *journal, const lp__header *header)
{
    const lp__journal_io *io = &journal->io;
    char name[LP__SEGMENT_NAME_MAX];
    uint8_t bytes[LP__SEGMENT_HEADER];
    lp__segment_name(header->number, name);
    lp__header_encode(header, bytes);
    int fd = journal->read_only ? -1 : io->open(io->ctx, journal->dir, name, O_RDWR, 0);
    if (fd < 0)
        return;
    if (io->pwrite(io->ctx, fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes))
        io->fdatasync(io->ctx, fd);
    io->close(io->ctx, fd);
}

/* ---- the row of segments --------------------------------------------------------------------- */

static int add_hole(lp__journal *journal, lp_replay *replay, uint64_t first, uint64_t last,
                    bool has_file)
{
    lp__damage hole = {.number = first, .last = last, .has_file = has_file};
    journal->last_number = last;
    journal->ends_in_hole = true;
    return lp__damage_note(journal, replay, &hole, 0);
}

static int add_segment(lp__journal *journal, lp_replay *replay, const found_file *file)
{
    lp__segment *segment = lp__segment_new(&file->header);
    if (segment == NULL || lp__segments_push(&journal->segments, segment) != LP_OK) {
        lp__segment_free(segment);
        return LP_ENOMEM;
    }
    segment->size = file->size;
    segment->base = UINT64_MAX; /* until it is read */
    segment->named = true;
    segment->batches = file->header.merged ? file->header.batches : LP__BATCHES_UNKNOWN;
    journal->last_number = file->number;
    journal->ends_in_hole = false;
    if (file->state == LP__HEADER_HALF) {
        lp_replay_log(replay,
                      "journal \"%s\": one copy of the header of segment %llu is damaged, "
                      "the other serves",
                      journal->path, (unsigned long long)file->number);
        mend_header(journal, &file->header);
    }
    return LP_OK;
}

/* A file that a later one stands for, or that was being made when the machine stopped, is removed.
 * Returns how many are left. */
static size_t drop_leftovers(lp__journal *journal, found_files *files)
{
    uint64_t covered_from = UINT64_MAX;
    bool is_last = true, is_synced = false, may_remove = !journal->read_only;
    size_t kept = files->count;
    for (size_t i = files->count; i-- > 0;) {
        const found_file file = files->at[i];
        bool is_torn = file.state == LP__HEADER_EMPTY && is_last;
        if (file.number >= covered_from || is_torn) {
            journal->torn_tails += is_torn && file.size > 0;
            /* The file that stands for it may have got its name just before a crash. */
            if (may_remove && !is_torn && !is_synced)
                may_remove = is_synced = journal->io.fsync_dir(journal->io.ctx, journal->dir) == 0;
            if (may_remove)
                remove_file(journal, file.number);
            continue;
        }
        is_last = false;
        if (file.state <= LP__HEADER_HALF)
            covered_from = file.header.first;
        files->at[--kept] = file;
    }
    memmove(files->at, files->at + kept, (files->count - kept) * sizeof(*files->at));
    return files->count - kept;
}

static int build_row(lp__journal *journal, lp_replay *replay, found_files *files)
{
    size_t count = files->count > 0 ? drop_leftovers(journal, files) : 0;
    int status = LP_OK;
    for (size_t i = 0; status == LP_OK && i < count; i++) {
        const found_file *file = &files->at[i];
        bool is_good = file->state <= LP__HEADER_HALF;
        uint64_t first = is_good ? file->header.first : file->number;
        if (first > journal->last_number + 1)
            status = add_hole(journal, replay, journal->last_number + 1, first - 1, false);
        if (status != LP_OK)
            break;
        status = is_good ? add_segment(journal, replay, file)
                         : add_hole(journal, replay, file->number, file->number, true);
    }
    return status;
}

/* Each segment's header says how many batches of the one before it count. */
static void tell_batches(lp__journal *journal)
{
    for (size_t i = 0; i + 1 < journal->segments.count; i++) {
        lp__segment *segment = journal->segments.at[i];
        const lp__header *next = &journal->segments.at[i + 1]->header;
        if (!segment->header.merged && next->first == segment->header.number + 1)
            segment->batches = next->prev_batches;
    }
}

/* ---- the marker of a clean stop -------------------------------------------------------------- */

static bool read_marker(lp__journal *journal, lp__clean *clean)
{
    const lp__journal_io *io = &journal->io;
    uint8_t bytes[LP__CLEAN_SIZE];
    int fd = io->open(io->ctx, journal->dir, LP__CLEAN_NAME, O_RDONLY, 0);
    if (fd < 0)
        return false;
    ssize_t len = io->pread(io->ctx, fd, bytes, sizeof(bytes), 0);
    io->close(io->ctx, fd);
    return len > 0 && lp__clean_decode(bytes, (size_t)len, clean);
}

/* Whether the last stop was clean: then the marker's word on the last segment counts. */
static int apply_marker(lp__journal *journal, lp_replay *replay, bool *is_clean)
{
    lp__clean clean;
    size_t count = journal->segments.count;
    lp__segment *last = count > 0 ? journal->segments.at[count - 1] : NULL;
    bool has_marker = read_marker(journal, &clean);
    *is_clean = !has_marker && journal->last_number == 0;
    if (!has_marker || clean.number < journal->last_number)
        return LP_OK;
    *is_clean = true;
    if (clean.number > journal->last_number) {
        if (clean.number >= journal->next_number)
            journal->next_number = clean.number + 1;
        return add_hole(journal, replay, journal->last_number + 1, clean.number, false);
    }
    if (last == NULL || last->header.number != clean.number)
        return LP_OK; /* it is missing, and that has been told */
    *is_clean = last->header.epoch == clean.epoch;
    if (*is_clean && !last->header.merged)
        last->batches = clean.batches;
    return LP_OK;
}

/* What a crash left that never was a part of the journal. */
static void remove_temporaries(lp__journal *journal)
{
    journal->io.unlink(journal->io.ctx, journal->dir, LP__COMPACT_NAME);
    journal->io.unlink(journal->io.ctx, journal->dir, LP__SPARE_NAME);
}

int lp__journal_open(lp__journal *journal, lp_replay *replay)
{
    found_files files = {NULL, 0, 0};
    bool is_clean = false;
    int status = open_directory(journal, replay);
    if (status == LP_OK)
        status = refuse_foreign(journal, replay);
    if (status == LP_OK)
        status = take_lock(journal, replay);
    if (status == LP_OK && !journal->read_only)
        remove_temporaries(journal);
    if (status == LP_OK)
        status = list_files(journal, replay, &files);
    if (status == LP_OK)
        status = build_row(journal, replay, &files);
    if (status == LP_OK) {
        tell_batches(journal);
        status = apply_marker(journal, replay, &is_clean);
    }
    if (status == LP_OK)
        status = lp__journal_recover(journal, replay, is_clean);
    free(files.at);
    return status;
}
