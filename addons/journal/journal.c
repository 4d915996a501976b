/* The journal as an add-on: its options, its hooks, and the lines it writes for people. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/random.h>

#include "../shared/errno_status.h"
#include "../shared/options.h"

enum { SEGMENT_BYTES = 16 << 20, SEGMENT_BYTES_MIN = 4096 };

/* ---- what goes wrong ------------------------------------------------------------------------- */

int lp__journal_failed(lp__journal *journal, const char *what, const char *name)
{
    int code = errno;
    char reason[96];
    snprintf(journal->problem, sizeof(journal->problem), "%s %s: %s", what, name,
             strerror_r(code, reason, sizeof(reason)));
    journal->failed_status = lp__status_of_errno(code);
    return journal->failed_status;
}

void lp__journal_tell(lp__journal *journal, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(journal->news, sizeof(journal->news), format, args);
    va_end(args);
}

void lp__segment_name(uint64_t number, char *out)
{
    snprintf(out, LP__SEGMENT_NAME_MAX, "%016llu.seg", (unsigned long long)number);
}

/* ---- hooks ----------------------------------------------------------------------------------- */

static int on_start(lp_addon *self, lp_replay *replay)
{
    lp__journal *journal = self->state;
    journal->boot = journal->io.boot(journal->io.ctx);
    int status = lp__journal_open(journal, replay);
    if (status == LP_OK)
        status = lp__journal_replay(journal, replay);
    lp__reader_free(&journal->reader);
    if (status != LP_OK)
        lp__journal_close(journal);
    else
        lp__reserve_make(journal);
    journal->compact_check = true; /* replay found out what is dead */
    return status;
}

static int on_publish(lp_addon *self, lp_batch *batch)
{
    lp__journal *journal = self->state;
    int status = lp__journal_publish(journal, batch);
    if (journal->news[0] != '\0')
        lp_batch_log(batch, "%s", journal->news);
    journal->news[0] = '\0';
    return status;
}

/* Syncs when it is due; `*delay_ms`: when it will be, -1: never. */
static int sync_if_due(lp__journal *journal, int64_t now_us, int64_t *delay_ms)
{
    *delay_ms = -1;
    if (journal->due_us == 0)
        return LP_OK;
    if (now_us >= journal->due_us) {
        int status = lp__active_sync(journal);
        lp__journal_give_back(journal);
        return status;
    }
    *delay_ms = (journal->due_us - now_us + 999) / 1000;
    return LP_OK;
}

static int on_idle(lp_addon *self, lp_idle *idle)
{
    lp__journal *journal = self->state;
    if (journal->read_only || journal->in_doubt)
        return LP_OK;
    int64_t now_us = journal->io.monotonic_us(journal->io.ctx);
    int64_t until_us = now_us + lp_idle_budget_ms(idle) * 1000;
    int64_t sync_ms, compact_ms;
    int status = sync_if_due(journal, now_us, &sync_ms);
    int compacted = lp__journal_compact(journal, lp_idle_is_thorough(idle), until_us, &compact_ms);
    status = status == LP_OK ? compacted : status;
    if (sync_ms >= 0 && (compact_ms < 0 || sync_ms < compact_ms))
        compact_ms = sync_ms;
    if (compact_ms >= 0)
        lp_idle_again(idle, compact_ms);
    if (status != LP_OK)
        status = lp_idle_error(idle, status, "%s", journal->news);
    else if (journal->news[0] != '\0')
        lp_idle_log(idle, "%s", journal->news);
    journal->news[0] = '\0';
    return status;
}

/* Everything to disk, whatever the level. */
static int sync_everything(lp__journal *journal)
{
    const lp__journal_io *io = &journal->io;
    int status = lp__active_sync(journal);
    for (size_t i = 0; status == LP_OK && i < journal->segments.count; i++) {
        lp__segment *segment = journal->segments.at[i];
        if (segment->synced || segment == journal->active)
            continue;
        char name[LP__SEGMENT_NAME_MAX];
        lp__segment_name(segment->header.number, name);
        int fd = io->open(io->ctx, journal->dir, name, O_RDONLY, 0);
        if (fd < 0 || io->fdatasync(io->ctx, fd) != 0) {
            status = lp__journal_failed(journal, "cannot sync", name);
            journal->lost = true; /* a second try would say nothing */
        }
        if (fd >= 0)
            io->close(io->ctx, fd);
    }
    return status;
}

/* Says that everything is on disk, and how much counts in the last segment. */
static int write_marker(lp__journal *journal)
{
    const lp__journal_io *io = &journal->io;
    const lp__segment *last = journal->segments.at[journal->segments.count - 1];
    uint8_t bytes[LP__CLEAN_SIZE];
    lp__clean clean = {last->header.number, last->header.epoch, last->batches};
    lp__clean_encode(&clean, bytes);
    int fd = io->open(io->ctx, journal->dir, LP__CLEAN_NAME, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int status = LP_OK;
    if (fd < 0 || io->pwrite(io->ctx, fd, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes) ||
        io->fdatasync(io->ctx, fd) != 0 || io->fsync_dir(io->ctx, journal->dir) != 0)
        status = lp__journal_failed(journal, "cannot write", LP__CLEAN_NAME);
    if (fd >= 0)
        io->close(io->ctx, fd);
    return status;
}

/* Everything to disk, and a marker that says so, where it is so. */
static int finish(lp__journal *journal)
{
    int status = sync_everything(journal);
    return status == LP_OK && !journal->lost ? write_marker(journal) : status;
}

/* Also where nothing was written: then what an unclean stop left is on disk now. */
static bool needs_marker(const lp__journal *journal)
{
    if (journal->read_only || journal->segments.count == 0 || journal->told_loss)
        return false;
    return journal->has_written || journal->owns_last ||
           (journal->is_unclean && journal->damages.count == 0);
}

static int on_shutdown(lp_addon *self, lp_ending *ending)
{
    lp__journal *journal = self->state;
    int status = LP_OK;
    lp__compaction_abort(journal);
    lp__spare_drop(journal);
    lp__active_trim(journal);
    if (needs_marker(journal) && !journal->in_doubt) {
        status = finish(journal);
        if (status == LP_ENOSPC && lp__reserve_spend(journal))
            status = finish(journal);
        if (status != LP_OK)
            lp_ending_error(ending, status, "journal \"%s\": not closed cleanly: %s", journal->path,
                            journal->problem);
    }
    lp__journal_close(journal);
    return status;
}

int64_t lp__journal_keys_over_ms(const lp__journal *journal)
{
    int64_t wall_ms = journal->io.wall_ms(journal->io.ctx);
    return wall_ms > journal->keys_forgotten_ms ? wall_ms : journal->keys_forgotten_ms;
}

void lp__journal_bytes(const lp__journal *journal, uint64_t *disk, uint64_t *live)
{
    int64_t keys_over_ms = lp__journal_keys_over_ms(journal);
    *disk = *live = 0;
    for (size_t i = 0; i < journal->segments.count; i++) {
        *disk += journal->segments.at[i]->size;
        *live += lp__segment_live_bytes(journal->segments.at[i], keys_over_ms);
    }
}

uint64_t lp__journal_disk(const lp__journal *journal)
{
    uint64_t disk, live;
    lp__journal_bytes(journal, &disk, &live);
    return disk + journal->spare_bytes + (journal->has_reserve ? lp__reserve_bytes(journal) : 0);
}

uint64_t lp__journal_bound(const lp__journal *journal)
{
    uint64_t disk, live;
    lp__journal_bytes(journal, &disk, &live);
    return 2 * live + 2 * journal->segment_bytes;
}

static int on_inspect(lp_addon *self, lp_report *report)
{
    static const char *const levels[] = {"interval", "always", "never"};
    lp__journal *journal = self->state;
    uint64_t disk, live, events = 0;
    lp__journal_bytes(journal, &disk, &live);
    for (size_t i = 0; i < journal->segments.count; i++)
        events += journal->segments.at[i]->count - journal->segments.at[i]->dead;
    lp_report_text(report, "directory", journal->path);
    lp_report_text(report, "sync", levels[journal->sync]);
    lp_report_number(report, "format_version", LP__FORMAT_VERSION);
    lp_report_number(report, "disk_bytes", disk);
    lp_report_number(report, "live_bytes", live);
    lp_report_number(report, "unsynced_bytes", lp__active_unsynced(journal));
    lp_report_number(report, "segments", journal->segments.count);
    lp_report_number(report, "events", events);
    lp_report_number(report, "horizons", journal->horizons.count);
    lp_report_number(report, "highest", journal->highest);
    lp_report_number(report, "damaged_records", journal->damaged_records);
    lp_report_number(report, "damaged_ranges", journal->damaged_ranges);
    lp_report_number(report, "set_aside_files", journal->set_aside);
    lp_report_number(report, "torn_tails", journal->torn_tails);
    lp_report_number(report, "compactions", journal->compactions);
    lp_report_number(report, "recycled_segments", journal->recycled);
    lp_report_number(report, "spare_bytes", journal->spare_bytes);
    return lp_report_is_thorough(report) ? lp__journal_verify(journal, report) : LP_OK;
}

static void destroy(lp_addon *self)
{
    lp__journal *journal = self->state;
    lp__compaction_abort(journal);
    lp__journal_close(journal);
    lp__segments_free(&journal->segments);
    lp__horizons_free(&journal->horizons);
    free(journal->damages.at);
    lp__reader_free(&journal->reader);
    free(journal->buffer);
    free(journal->path);
    free(journal);
}

/* ---- making one ------------------------------------------------------------------------------ */

static int check_options(const char *directory, const lp_journal_options *options, lp_error *error)
{
    if (directory == NULL || directory[0] == '\0')
        return lp_error_set(error, LP_EINVAL, "journal: the directory is empty (name one)");
    int status = lp__options_check_sync("journal", options->sync, options->sync_interval_ms, error);
    if (status != LP_OK)
        return status;
    if (options->segment_bytes != 0 &&
        (options->segment_bytes < SEGMENT_BYTES_MIN || options->segment_bytes > (int64_t)1 << 40))
        return lp_error_set(error, LP_EINVAL,
                            "journal: segment_bytes is %lld (0 means %d, or give at least %d)",
                            (long long)options->segment_bytes, SEGMENT_BYTES, SEGMENT_BYTES_MIN);
    return LP_OK;
}

int lp__journal_new(const char *directory, const lp_journal_options *given,
                    const lp__journal_io *io, lp_addon **out, lp_error *error)
{
    static const lp_addon hooks = {
        .abi = LP_ADDON_ABI,
        .struct_size = sizeof(lp_addon),
        .name = "journal",
        .on_start = on_start,
        .on_publish = on_publish,
        .on_shutdown = on_shutdown,
        .on_idle = on_idle,
        .on_inspect = on_inspect,
        .destroy = destroy,
    };
    lp_journal_options options = LP_JOURNAL_OPTIONS_INIT;
    *out = NULL;
    int status =
        lp__options_read(&options, sizeof(options), given, "LP_JOURNAL_OPTIONS_INIT", error);
    if (status == LP_OK)
        status = check_options(directory, &options, error);
    if (status != LP_OK)
        return status;
    lp__journal *journal = calloc(1, sizeof(*journal));
    char *path = strdup(directory);
    if (journal == NULL || path == NULL) {
        free(journal);
        free(path);
        return lp_error_set(error, LP_ENOMEM, "journal \"%s\": out of memory", directory);
    }
    journal->addon = hooks;
    journal->addon.state = journal;
    journal->path = path;
    journal->sync = options.sync;
    journal->sync_interval_us =
        (options.sync_interval_ms != 0 ? options.sync_interval_ms : LP__SYNC_INTERVAL_MS) * 1000;
    journal->segment_bytes =
        (uint64_t)(options.segment_bytes != 0 ? options.segment_bytes : SEGMENT_BYTES);
    journal->read_only = options.read_only;
    journal->io = *io;
    journal->dir = journal->lock = journal->fd = -1;
    journal->next_number = 1;
    journal->keys_forgotten_ms = INT64_MIN;
    if (getrandom(&journal->horizons.seed, sizeof(journal->horizons.seed), 0) < 0)
        journal->horizons.seed = (uint64_t)(uintptr_t)journal;
    *out = &journal->addon;
    return LP_OK;
}

int lp_journal_new(const char *directory, const lp_journal_options *options, lp_addon **out,
                   lp_error *error)
{
    lp__journal_io io = lp__journal_io_real();
    return lp__journal_new(directory, options, &io, out, error);
}
