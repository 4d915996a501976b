/* What keeps a journal small and whole: segments that are written over, the bound on the directory
 * while it is published to without a pause, compaction on demand, and the thorough look. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "addons/journal/format.h"
#include "journal_kit.h"

enum { SEGMENT = 32768, REMAINS = 8192 /* lock, marker, reserve, one batch too much */ };

static char *directory;
static jk_content content;
static lp__journal_io io;

static int no_sync(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}

static uint64_t other_boot(void *ctx)
{
    (void)ctx;
    return 2;
}

static uint64_t third_boot(void *ctx)
{
    (void)ctx;
    return 3;
}

static void begin(void)
{
    directory = jk_directory();
    io = lp__journal_io_real();
    io.fdatasync = no_sync;
    io.fsync_dir = no_sync;
}

static void end(void)
{
    jk_remove(directory);
    free(directory);
    jk_content_free(&content);
}

TestSuite(journal_upkeep, .init = begin, .fini = end, .timeout = 120);

static lp_store *open_with(const lp_journal_options *options)
{
    lp_error error = {LP_OK, ""};
    lp_store *store = jk_open_io(directory, options, &io, &content, &error);
    cr_assert_not_null(store, "%s", error.message);
    return store;
}

static void add_event(lp_batch *batch, uint64_t n)
{
    lp_event *event = jk_event(n);
    cr_assert_eq(lp_batch_add_event(batch, event), LP_OK);
    lp_event_unref(event);
}

static uint64_t disk_bytes(void)
{
    uint64_t bytes;
    jk_count_files(directory, "", &bytes);
    return bytes;
}

/* Events first..end-1, 16 a batch, each of which takes the one `reach` before it out of its ring.
 * Never idles. Returns the most that the directory ever held. */
static uint64_t publish_rings(lp_store *store, uint64_t first, uint64_t end_n, uint64_t reach)
{
    uint64_t most = 0;
    for (uint64_t n = first; n < end_n; n += 16) {
        lp_batch *batch = jk_batch();
        for (uint64_t i = n; i < n + 16; i++)
            add_event(batch, i);
        for (uint64_t i = n; i < n + 16; i++) {
            char category[64];
            if (i <= reach)
                continue;
            snprintf(category, sizeof(category), "category %d", (int)((i - reach) % JK_CATEGORIES));
            lp_batch_add_removal(batch, JK_SEQ(i - reach), LP_REMOVED_RING);
            lp_batch_add_horizon(batch, lp_str_of(category), JK_SEQ(i - reach));
        }
        jk_commit(store, batch);
        uint64_t bytes = disk_bytes();
        most = bytes > most ? bytes : most;
    }
    return most;
}

static uint64_t live_bytes(uint64_t first, uint64_t last)
{
    uint64_t bytes = 0;
    for (uint64_t n = first; n <= last; n++) {
        lp_event *event = jk_event(n);
        bytes += lp__record_size(LP__EVENT_FIXED + lp_event_category(event).len +
                                 lp_event_data(event).len);
        lp_event_unref(event);
    }
    return bytes;
}

static void flip(size_t segment, size_t offset)
{
    char path[4200];
    size_t len;
    cr_assert(jk_segment(directory, segment, path, sizeof(path)));
    uint8_t *bytes = jk_read(path, &len);
    cr_assert_lt(offset, len);
    bytes[offset] ^= 4;
    FILE *file = fopen(path, "r+b"); /* in place: the journal has it open */
    cr_assert_not_null(file);
    fwrite(bytes, 1, len, file);
    fclose(file);
    free(bytes);
}

/* ---- the bound ------------------------------------------------------------------------------- */

static void check_bound(lp_sync sync, uint64_t reach)
{
    lp_journal_options options = jk_options(sync, SEGMENT);
    enum { LAST = 48000 };
    uint64_t bound = 2 * live_bytes(LAST - reach + 1, LAST) + 2 * SEGMENT + REMAINS;
    lp_store *store = open_with(&options);
    uint64_t most = publish_rings(store, 1, LAST + 1, reach);
    cr_assert_leq(most, bound, "sync %d, %d live events", (int)sync, (int)reach);
    cr_assert_gt(jk_figure(store, "recycled_segments"), 10, "sync %d", (int)sync);
    jk_close(store);
    cr_assert_eq(jk_count_files(directory, "spare", NULL), 0);
    jk_look(directory, &options, &content);
    cr_assert_eq(content.count, reach);
    cr_assert_eq(content.wrong, 0);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    jk_remove(directory);
}

Test(journal_upkeep, publishing_without_a_pause_keeps_within_the_bound)
{
    for (lp_sync sync = LP_SYNC_INTERVAL; sync <= LP_SYNC_NEVER; sync++) {
        check_bound(sync, 21);
        check_bound(sync, 350);
        check_bound(sync, 3003);
    }
}

Test(journal_upkeep, events_that_die_in_any_order_keep_within_the_bound_without_a_pause)
{
    enum { LIVE = 600, LAST = 30000 };
    static uint64_t living[LIVE + 16];
    lp_journal_options options = jk_options(LP_SYNC_NEVER, SEGMENT);
    lp_store *store = open_with(&options);
    size_t count = 0;
    uint64_t most = 0, random = 1, most_live = 0;
    for (uint64_t n = 1; n <= LAST; n += 8) {
        lp_batch *batch = jk_batch();
        for (uint64_t i = n; i < n + 8; i++) {
            add_event(batch, i);
            living[count++] = i;
        }
        while (count > LIVE) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t at = (size_t)(random >> 33) % count;
            lp_batch_add_removal(batch, JK_SEQ(living[at]), LP_REMOVED_RETRIEVED);
            living[at] = living[--count];
        }
        jk_commit(store, batch);
        uint64_t bytes = disk_bytes(), live = jk_figure(store, "live_bytes");
        most = bytes > most ? bytes : most;
        most_live = live > most_live ? live : most_live;
    }
    cr_assert_leq(most, 2 * most_live + 2 * SEGMENT + REMAINS, "%d where %d live", (int)most,
                  (int)most_live);
    jk_close(store);
    jk_look(directory, &options, &content);
    cr_assert_eq(content.count, LIVE);
    for (size_t i = 0; i < count; i++)
        cr_assert(jk_has(&content, living[i]), "event %d", (int)living[i]);
}

/* ---- segments that are written over ---------------------------------------------------------- */

Test(journal_upkeep, a_kill_after_any_batch_brings_back_nothing_of_what_is_written_over)
{
    enum { REACH = 280, LAST = 6000 };
    for (lp_sync sync = LP_SYNC_INTERVAL; sync <= LP_SYNC_ALWAYS; sync++) {
        lp_journal_options options = jk_options(sync, 8192);
        char copy[4200];
        snprintf(copy, sizeof(copy), "%s.copy", directory);
        lp_store *store = open_with(&options);
        for (uint64_t n = 1; n < LAST; n += 16) {
            publish_rings(store, n, n + 16, REACH);
            jk_copy(directory, copy);
            lp_error error = {LP_OK, ""};
            lp_store *after = jk_open_io(copy, &options, &io, &content, &error);
            cr_assert_not_null(after, "%s", error.message);
            uint64_t last = n + 15, first = last > REACH ? last - REACH + 1 : 1;
            cr_assert_eq(content.count, last - first + 1, "event %d", (int)n);
            cr_assert(jk_has(&content, first) && jk_has(&content, last));
            cr_assert_eq(content.wrong, 0);
            cr_assert_eq(content.losses, 0, "%s", content.loss);
            cr_assert_eq(jk_figure(after, "torn_tails"), 0);
            jk_close(after);
        }
        cr_assert_gt(jk_figure(store, "recycled_segments"), 20);
        jk_close(store);
        jk_remove(copy);
        jk_remove(directory);
    }
}

static int no_link(void *ctx, int dir, const char *from, const char *to)
{
    (void)ctx, (void)dir, (void)from, (void)to;
    return -1;
}

Test(journal_upkeep, a_file_system_without_links_gets_new_files)
{
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, SEGMENT);
    io.link = no_link;
    lp_store *store = open_with(&options);
    uint64_t most = publish_rings(store, 1, 16001, 350);
    cr_assert_leq(most, 2 * live_bytes(15651, 16000) + 2 * SEGMENT + REMAINS);
    cr_assert_eq(jk_figure(store, "recycled_segments"), 0);
    cr_assert_gt(jk_figure(store, "compactions"), 5);
    jk_close(store);
}

/* ---- compaction on demand -------------------------------------------------------------------- */

static void compact(lp_store *store)
{
    lp_error error = {LP_OK, ""};
    int64_t next_ms = 0;
    int turns = 0;
    for (; next_ms >= 0 && turns < 10000; turns++)
        cr_assert_eq(lp_store_compact(store, 10, &next_ms, &error), LP_OK, "%s", error.message);
    cr_assert_lt(turns, 10000, "it ends");
}

Test(journal_upkeep, compaction_on_demand_leaves_what_lives_and_little_else)
{
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, SEGMENT);
    lp_store *store = open_with(&options);
    publish_rings(store, 1, 16001, 350);
    compact(store);
    uint64_t live = live_bytes(15651, 16000), segments;
    jk_count_files(directory, ".seg", &segments);
    cr_assert_leq(segments, live + 2048);
    cr_assert_eq(jk_figure(store, "spare_bytes"), 0);
    cr_assert_eq(jk_count_files(directory, "spare", NULL), 0);
    publish_rings(store, 16001, 16017, 350);
    jk_close(store);
    jk_look(directory, &options, &content);
    cr_assert_eq(content.count, 350);
    cr_assert(jk_has(&content, 16016) && !jk_has(&content, 15666));
    cr_assert_eq(jk_horizon_of(&content, "category 2"), JK_SEQ(15661));
}

Test(journal_upkeep, a_store_that_was_only_opened_is_compacted_and_closed_cleanly)
{
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, SEGMENT);
    lp_store *store = open_with(&options);
    publish_rings(store, 1, 1601, 350);
    lp_batch *batch = jk_batch();
    for (uint64_t n = 1251; n <= 1600; n++)
        if (n % 10 != 0)
            lp_batch_add_removal(batch, JK_SEQ(n), LP_REMOVED_RETRIEVED);
    jk_commit(store, batch);
    jk_close(store);
    uint64_t segments;
    io.boot = other_boot;
    for (int round = 0; round < 3; round++) {
        store = open_with(&options);
        cr_assert_eq(content.losses, 0, "%s", content.loss);
        cr_assert_eq(content.count, 35);
        compact(store);
        jk_close(store);
        jk_count_files(directory, ".seg", &segments);
        cr_assert_leq(segments, 35 * 800, "%d", (int)segments);
    }
    store = open_with(&options);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    cr_assert_eq(content.highest, JK_SEQ(1600));
    publish_rings(store, 1601, 1617, 35);
    jk_close(store);
}

Test(journal_upkeep, compaction_on_demand_says_why_it_cannot)
{
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, SEGMENT);
    lp_error error = {LP_OK, ""};
    int64_t next_ms;
    lp_store *store = open_with(&options);
    publish_rings(store, 1, 161, 350);
    jk_close(store);
    flip(0, 400);
    store = open_with(&options);
    cr_assert_eq(lp_store_compact(store, 10, &next_ms, &error), LP_OK);
    cr_assert_eq(next_ms, -1);
    cr_assert(strstr(content.log, "not compacted") != NULL, "%s", content.log);
    jk_close(store);
}

/* What the run before left is on disk by then. A loss that was told and not covered is told again.
 */
Test(journal_upkeep, a_stop_after_a_kill_is_clean_though_nothing_was_written)
{
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, SEGMENT);
    lp_store *store = open_with(&options);
    publish_rings(store, 1, 161, 350);
    jk_close(store);
    jk_remove_files(directory, "clean"); /* as a kill would leave it */
    store = open_with(&options);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    jk_close(store);
    io.boot = other_boot;
    store = open_with(&options);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    jk_close(store);
    jk_remove_files(directory, "clean");
    io.boot = third_boot;
    for (int round = 0; round < 2; round++) { /* nothing was kept that covers it */
        store = open_with(&options);
        cr_assert_eq(content.losses, 1, "round %d", round);
        compact(store);
        jk_close(store);
    }
}

/* ---- the thorough look ----------------------------------------------------------------------- */

static uint64_t problems;

static void note_figure(void *ctx, const char *name, uint64_t number, const char *text)
{
    (void)ctx, (void)text;
    if (strcmp(name, "problems") == 0)
        problems = number;
}

Test(journal_upkeep, verify_finds_what_went_bad_after_the_start)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, SEGMENT);
    lp_error error = {LP_OK, ""};
    lp_store *store = open_with(&options);
    publish_rings(store, 1, 3201, 350);
    cr_assert_eq(lp_store_verify(store, note_figure, NULL, &error), LP_OK, "%s", error.message);
    cr_assert_eq(problems, 0);
    size_t last = jk_count_files(directory, ".seg", NULL) - 1;
    static const size_t offsets[] = {20, 70, 130, 500};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
        flip(last, offsets[i]);
        cr_assert_eq(lp_store_verify(store, note_figure, NULL, &error), LP_EDAMAGED);
        cr_assert(strstr(error.message, ".seg: ") != NULL, "%s", error.message);
        cr_assert_gt(problems, 0);
        flip(last, offsets[i]);
    }
    cr_assert_eq(lp_store_verify(store, note_figure, NULL, &error), LP_OK, "%s", error.message);
    lp_error not_thorough;
    cr_assert_eq(lp_store_inspect(store, note_figure, NULL, &not_thorough), LP_OK);
    jk_close(store);
}

Test(journal_upkeep, verify_tells_the_damage_that_a_reader_found_at_its_start)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, SEGMENT);
    lp_error error = {LP_OK, ""};
    lp_store *store = open_with(&options);
    publish_rings(store, 1, 161, 350);
    jk_close(store);
    flip(0, 400);
    options.read_only = true;
    for (int round = 0; round < 2; round++) {
        store = open_with(&options);
        cr_assert_eq(content.losses, 1);
        cr_assert_eq(lp_store_verify(store, note_figure, NULL, &error), LP_EDAMAGED);
        cr_assert(strstr(error.message, "0000000000000001.seg") != NULL, "%s", error.message);
        lp_store_close(store, 1000, &error);
    }
}
