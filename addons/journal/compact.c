/* Compaction: when, and of which segments. */
#include "inside.h"

enum {
    CHECK_US = 10 * 1000,   /* how often an idle moment looks whether to compact */
    RETRY_US = 1000 * 1000, /* after a failure */
    CHECK_FRACTION = 32,    /* a publisher looks when it has written this part of segment_bytes */
    STEP_BYTES = 256 << 10, /* what a step of merging counts for */
    STEPS_A_BYTE = 8,       /* bytes merged for each that is published meanwhile */
    TINY_FRACTION = 8,      /* a segment is tiny below this part of segment_bytes */
    TINY_MANY = 8,          /* so many tiny ones in a row are merged */
    GAIN_FRACTION = 16      /* a merge that gains less than this part of segment_bytes waits */
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
    /* a marker of a clean stop speaks of the last one, until something is written behind it; and
     * it says why a loss was told */
    bool last_is_not = journal->active != NULL || journal->told_loss ||
                       !(journal->has_written || journal->owns_last);
    return journal->segments.count - (last_is_not && journal->segments.count > 0);
}

static uint64_t kept_bytes(const lp__segment *segment, int64_t keys_over_ms, bool has_dead_before)
{
    return lp__segment_live_bytes(segment, keys_over_ms) +
           (has_dead_before ? segment->stale_bytes : 0);
}

/* The longest run from `from` on of segments that are half garbage or tiny, and whose living bytes
 * fit one segment. */
static struct run run_from(const lp__journal *journal, size_t from, int64_t keys_over_ms,
                           bool has_dead_before)
{
    struct run best = {.from = from, .to = from};
    for (size_t i = from; i < sealed_count(journal); i++) {
        const lp__segment *segment = journal->segments.at[i];
        uint64_t kept = kept_bytes(segment, keys_over_ms, has_dead_before);
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
    int64_t keys_over_ms = lp__journal_keys_over_ms(journal);
    bool has_dead_before = false, found = false;
    for (size_t i = 0; i < sealed_count(journal); i++) {
        struct run run = run_from(journal, i, keys_over_ms, has_dead_before);
        bool is_worth_it =
            run.tiny > TINY_MANY || (is_too_large && gain(&run) * 2 >= run.size &&
                                     gain(&run) >= journal->segment_bytes / GAIN_FRACTION);
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

/* The first segments that hold nothing any more: nothing is read or copied for them. */
static bool dead_run(const lp__journal *journal, struct run *out)
{
    int64_t keys_over_ms = lp__journal_keys_over_ms(journal);
    size_t count = 0;
    bool is_large = false;
    while (count < sealed_count(journal) && !journal->segments.at[count]->pinned &&
           lp__segment_live_bytes(journal->segments.at[count], keys_over_ms) == 0)
        is_large = !is_tiny(journal, journal->segments.at[count++]) || is_large;
    *out = (struct run){.from = 0, .to = count - 1};
    return count > 0 && is_large;
}

/* The active segment does not take up what a recycled file has behind its records: that is counted
 * with the spare. */
static uint64_t used_bytes(const lp__journal *journal, uint64_t *live)
{
    uint64_t disk;
    lp__journal_bytes(journal, &disk, live);
    const lp__segment *active = journal->active;
    return active != NULL ? disk - (active->size - active->end) : disk;
}

/* Where compaction begins: a quarter of a segment below the bound, and another segment for what it
 * writes before it can remove anything. */
static uint64_t limit(const lp__journal *journal, uint64_t live)
{
    return 2 * live + journal->segment_bytes - journal->segment_bytes / 4;
}

static bool choose(lp__journal *journal, struct run *out)
{
    uint64_t live, used = used_bytes(journal, &live);
    bool is_too_large = used > limit(journal, live);
    /* Without a spare the next segment waits for it. */
    if ((is_too_large || journal->spare_bytes == 0) && dead_run(journal, out))
        return true;
    if (best_run(journal, is_too_large, out))
        return true;
    if (!is_too_large)
        return false;
    const lp__segment *active = journal->active;
    if (active != NULL && active->event_bytes * 2 < active->end &&
        active->end >= journal->segment_bytes / 2) {
        lp__active_retire(journal);
        if (dead_run(journal, out) || best_run(journal, true, out))
            return true;
    }
    return run_for_stale(journal, out);
}

/* ---- everything that can go, on demand ------------------------------------------------------- */

/* Bytes that writing a segment anew would save; what a merge leaves over does not count. */
static uint64_t garbage(const lp__segment *segment, int64_t keys_over_ms, bool has_dead_before)
{
    uint64_t kept = kept_bytes(segment, keys_over_ms, has_dead_before) + segment->overhead;
    return segment->size > kept ? segment->size - kept : 0;
}

/* From `from` on neighbours that fit one segment together: worth it when there are several, or
 * when one is not all alive. */
static bool thorough_run(const lp__journal *journal, size_t from, int64_t keys_over_ms,
                         bool has_dead_before, struct run *out)
{
    uint64_t kept = 0, gain_bytes = 0;
    size_t at = from;
    for (; at < sealed_count(journal) && !journal->segments.at[at]->pinned; at++) {
        const lp__segment *segment = journal->segments.at[at];
        kept += kept_bytes(segment, keys_over_ms, has_dead_before);
        if (at > from && kept > journal->segment_bytes)
            break;
        gain_bytes += garbage(segment, keys_over_ms, has_dead_before);
        has_dead_before = has_dead_before || segment->dead > 0;
    }
    *out = (struct run){.from = from, .to = at - 1};
    return at > from + 1 || (at > from && gain_bytes > 0);
}

static bool find_thorough_run(const lp__journal *journal, struct run *out)
{
    int64_t keys_over_ms = lp__journal_keys_over_ms(journal);
    bool has_dead_before = false;
    for (size_t i = 0; i < sealed_count(journal); i++) {
        if (thorough_run(journal, i, keys_over_ms, has_dead_before, out))
            return true;
        has_dead_before = has_dead_before || journal->segments.at[i]->dead > 0;
    }
    return false;
}

/* The last segment goes the same way, though a marker of a clean stop may speak of it: what is
 * written in its place says of itself that it is on disk. */
static bool own_last(lp__journal *journal)
{
    if (journal->has_written || journal->owns_last || journal->told_loss ||
        journal->segments.count == 0)
        return false;
    const lp__segment *last = journal->segments.at[journal->segments.count - 1];
    journal->owns_last =
        journal->segments.count > 1 || garbage(last, lp__journal_keys_over_ms(journal), false) > 0;
    return journal->owns_last;
}

static bool choose_thorough(lp__journal *journal, struct run *out)
{
    const lp__segment *active = journal->active;
    lp__spare_drop(journal);
    lp__horizons_sweep(&journal->horizons, true);
    if (active != NULL && active->batches > 0 &&
        garbage(active, lp__journal_keys_over_ms(journal), true) > 0)
        lp__active_retire(journal);
    return find_thorough_run(journal, out) ||
           (own_last(journal) && find_thorough_run(journal, out));
}

/* ---- doing it -------------------------------------------------------------------------------- */

/* What follows from a step: false when there is nothing more to do now. */
static bool after_step(lp__journal *journal, lp__merge_state state)
{
    if (state == LP__MERGE_MORE)
        return true;
    journal->compact_check = true;
    if (state == LP__MERGE_DONE) {
        journal->compactions++;
        lp__reserve_make(journal);
        return true;
    }
    lp__compaction_abort(journal);
    if (journal->failed_status == LP_ENOSPC &&
        (lp__spare_drop(journal) || lp__reserve_spend(journal)))
        return true;
    journal->compact_retry_us = journal->io.monotonic_us(journal->io.ctx) + RETRY_US;
    lp__journal_tell(journal, "journal \"%s\": compaction put off: %s", journal->path,
                     journal->problem);
    return false;
}

static bool may_compact(const lp__journal *journal, int64_t now_us)
{
    return !journal->blind && !journal->in_doubt && journal->damages.count == 0 &&
           now_us >= journal->compact_retry_us;
}

/* Begins to merge, if there is something that should be. */
static bool begin(lp__journal *journal, bool is_thorough)
{
    struct run run;
    journal->compact_check = false;
    journal->compact_debt = 0;
    if (journal->spare_bytes > 0 && lp__journal_disk(journal) > lp__journal_bound(journal))
        lp__spare_drop(journal);
    if (!(is_thorough ? choose_thorough(journal, &run) : choose(journal, &run)))
        return false;
    return after_step(journal, lp__merge_begin(journal, run.from, run.to));
}

void lp__journal_compact_along(lp__journal *journal, uint64_t written)
{
    journal->compact_debt += written;
    if (journal->compaction == NULL) {
        if (journal->compact_debt < journal->segment_bytes / CHECK_FRACTION)
            return;
        journal->compact_debt = 0;
        if (!may_compact(journal, journal->io.monotonic_us(journal->io.ctx)) ||
            !begin(journal, false))
            return;
    }
    uint64_t live;
    bool is_late = used_bytes(journal, &live) > limit(journal, live) + journal->segment_bytes / 4;
    while (journal->compaction != NULL &&
           (is_late || journal->compact_debt >= STEP_BYTES / STEPS_A_BYTE)) {
        if (!is_late)
            journal->compact_debt -= STEP_BYTES / STEPS_A_BYTE;
        if (!after_step(journal, lp__merge_step(journal)))
            return;
    }
}

/* At least one step, however short the time: else it would be asked for again for ever. False: it
 * failed. */
static bool step_until(lp__journal *journal, int64_t until_us)
{
    const lp__journal_io *io = &journal->io;
    bool goes_on = true, has_time = true;
    while (goes_on && has_time && journal->compaction != NULL) {
        goes_on = after_step(journal, lp__merge_step(journal));
        has_time = io->monotonic_us(io->ctx) < until_us;
    }
    return goes_on;
}

int lp__journal_compact(lp__journal *journal, bool is_thorough, int64_t until_us, int64_t *delay_ms)
{
    int64_t now_us = journal->io.monotonic_us(journal->io.ctx);
    *delay_ms = -1;
    if (is_thorough && journal->damages.count > 0) {
        lp__journal_tell(
            journal,
            "journal \"%s\": not compacted, because damage is not covered up yet (start "
            "longpolld on it once)",
            journal->path);
        return LP_OK;
    }
    if (journal->compaction == NULL && !journal->compact_check && !is_thorough)
        return LP_OK;
    if (!may_compact(journal, is_thorough ? INT64_MAX : now_us)) {
        if (now_us < journal->compact_retry_us)
            *delay_ms = (journal->compact_retry_us - now_us + 999) / 1000;
        return LP_OK;
    }
    if (journal->compaction == NULL) {
        if (now_us < journal->compact_after_us && !is_thorough) {
            *delay_ms = (journal->compact_after_us - now_us + 999) / 1000;
            return LP_OK;
        }
        journal->compact_after_us = now_us + CHECK_US;
        if (!begin(journal, is_thorough))
            return is_thorough && journal->news[0] != '\0' ? journal->failed_status : LP_OK;
    }
    bool goes_on = step_until(journal, until_us);
    journal->compact_after_us = 0;
    *delay_ms = goes_on ? 0 : RETRY_US / 1000;
    return is_thorough && !goes_on ? journal->failed_status : LP_OK;
}
