/* Compaction: when, and of which segments. */
#include "inside.h"

enum {
    CHECK_US = 10 * 1000,   /* how often it is looked whether to compact */
    RETRY_US = 1000 * 1000, /* after a failure */
    TINY_FRACTION = 8,      /* a segment is tiny below this part of segment_bytes */
    TINY_MANY = 8           /* so many tiny ones in a row are merged */
};

bool lp__has_dead_before(const lp__journal *journal, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (journal->segments.at[i]->dead > 0)
            return true;
    return false;
}

struct run {
    size_t from, to;
    uint64_t size, kept;
    size_t tiny;
};

static bool is_tiny(const lp__journal *journal, const lp__segment *segment)
{
    return segment->size < journal->segment_bytes / TINY_FRACTION;
}

static size_t sealed_count(const lp__journal *journal)
{
    /* a marker of a clean stop speaks of the last one, until something is written behind it */
    bool last_is_not = journal->active != NULL || !journal->has_written;
    return journal->segments.count - (last_is_not && journal->segments.count > 0);
}

static uint64_t kept_bytes(const lp__segment *segment, int64_t wall_ms, bool has_dead_before)
{
    return lp__segment_live_bytes(segment, wall_ms) + (has_dead_before ? segment->stale_bytes : 0);
}

/* The longest run from `from` on of segments that are half garbage or tiny, and whose living bytes
 * fit one segment. */
static struct run run_from(const lp__journal *journal, size_t from, int64_t wall_ms,
                           bool has_dead_before)
{
    struct run best = {.from = from, .to = from};
    for (size_t i = from; i < sealed_count(journal); i++) {
        const lp__segment *segment = journal->segments.at[i];
        uint64_t kept = kept_bytes(segment, wall_ms, has_dead_before);
        bool is_eligible =
            !segment->pinned && (is_tiny(journal, segment) || kept * 2 <= segment->size);
        if (!is_eligible || (best.size > 0 && best.kept + kept > journal->segment_bytes))
            break;
        best.to = i;
        best.size += segment->size;
        best.kept += kept;
        best.tiny += is_tiny(journal, segment);
        has_dead_before = has_dead_before || segment->dead > 0;
    }
    return best;
}

static uint64_t gain(const struct run *run)
{
    return run->size > run->kept ? run->size - run->kept : 0;
}

/* What to merge for the greatest gain, or because of many tiny segments. */
static bool best_run(const lp__journal *journal, bool is_too_large, struct run *out)
{
    int64_t wall_ms = journal->io.wall_ms(journal->io.ctx);
    bool has_dead_before = false, found = false;
    for (size_t i = 0; i < sealed_count(journal); i++) {
        struct run run = run_from(journal, i, wall_ms, has_dead_before);
        bool is_worth_it =
            (is_too_large && run.size > 0 && gain(&run) * 2 >= run.size) || run.tiny > TINY_MANY;
        if (is_worth_it && (!found || gain(&run) > gain(out))) {
            *out = run;
            found = true;
        }
        has_dead_before = has_dead_before || journal->segments.at[i]->dead > 0;
    }
    return found;
}

/* Horizons that the floor has reached cannot go while dead events lie in front of them: cleans up
 * the first of those. */
static bool run_for_stale(const lp__journal *journal, struct run *out)
{
    uint64_t stale = 0;
    for (size_t i = 0; i < sealed_count(journal); i++)
        stale += journal->segments.at[i]->stale_bytes;
    if (stale < journal->segment_bytes / 2)
        return false;
    for (size_t i = 0; i < sealed_count(journal); i++) {
        const lp__segment *segment = journal->segments.at[i];
        if (segment->dead > 0 && !segment->pinned) {
            *out = (struct run){.from = i, .to = i};
            return true;
        }
    }
    return false;
}

static bool choose(lp__journal *journal, struct run *out)
{
    uint64_t disk, live;
    lp__journal_bytes(journal, &disk, &live);
    bool is_too_large = disk > 2 * live + journal->segment_bytes;
    if (best_run(journal, is_too_large, out))
        return true;
    if (!is_too_large)
        return false;
    const lp__segment *active = journal->active;
    if (active != NULL && active->event_bytes * 2 < active->size &&
        active->size >= journal->segment_bytes / 2) {
        lp__active_retire(journal);
        if (best_run(journal, true, out))
            return true;
    }
    return run_for_stale(journal, out);
}

void lp__journal_compact(lp__journal *journal, lp_idle *idle, int64_t until_us, int64_t *delay_ms)
{
    const lp__journal_io *io = &journal->io;
    *delay_ms = -1;
    if (journal->blind || journal->damages.count > 0)
        return;
    if (journal->compaction == NULL && !journal->compact_check)
        return;
    int64_t now_us = io->monotonic_us(io->ctx);
    if (journal->compaction == NULL && now_us < journal->compact_after_us) {
        *delay_ms = (journal->compact_after_us - now_us + 999) / 1000;
        return;
    }
    lp__merge_state state = LP__MERGE_MORE;
    if (journal->compaction == NULL) {
        struct run run;
        journal->compact_check = false;
        journal->compact_after_us = now_us + CHECK_US;
        if (!choose(journal, &run))
            return;
        state = lp__merge_begin(journal, run.from, run.to);
    }
    while (state == LP__MERGE_MORE && io->monotonic_us(io->ctx) < until_us)
        state = lp__merge_step(journal);
    *delay_ms = 0;
    if (state == LP__MERGE_MORE)
        return;
    journal->compact_check = true;
    if (state == LP__MERGE_DONE) {
        journal->compactions++;
        lp__reserve_make(journal);
        journal->compact_after_us = 0;
        return;
    }
    lp__compaction_abort(journal);
    if (journal->failed_status == LP_ENOSPC && lp__reserve_spend(journal)) {
        journal->compact_after_us = 0;
        return;
    }
    journal->compact_after_us = now_us + RETRY_US;
    *delay_ms = RETRY_US / 1000;
    lp_idle_log(idle, "journal \"%s\": compaction put off: %s", journal->path, journal->problem);
}
