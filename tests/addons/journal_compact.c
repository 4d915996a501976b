/* Compaction: the directory stays as small as what lives, and nothing that is needed goes. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "addons/journal/format.h"
#include "journal_kit.h"

static char *directory;
static jk_content content;
static lp__journal_io io;
static int64_t now_us, wall_ms;

static int no_sync(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}

static int64_t passing_us(void *ctx)
{
    (void)ctx;
    return now_us += 100;
}

static int64_t given_wall_ms(void *ctx)
{
    (void)ctx;
    return wall_ms;
}

static void begin(void)
{
    directory = jk_directory();
    io = lp__journal_io_real();
    io.fdatasync = no_sync;
    io.fsync_dir = no_sync;
    io.monotonic_us = passing_us;
    io.wall_ms = given_wall_ms;
    now_us = 1;
    wall_ms = 1000000;
}

static void end(void)
{
    jk_remove(directory);
    free(directory);
    jk_content_free(&content);
}

TestSuite(journal_compact, .init = begin, .fini = end, .timeout = 120);

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
    lp_batch_add_event(batch, event);
    lp_event_unref(event);
}

static void append_one(lp_store *store, uint64_t n)
{
    lp_batch *batch = jk_batch();
    add_event(batch, n);
    jk_commit(store, batch);
}

static uint64_t record_size(uint64_t n)
{
    lp_event *event = jk_event(n);
    uint64_t size =
        lp__record_size(LP__EVENT_FIXED + lp_event_category(event).len + lp_event_data(event).len);
    lp_event_unref(event);
    return size;
}

static uint64_t disk_bytes(void)
{
    uint64_t bytes;
    jk_count_files(directory, "", &bytes);
    return bytes;
}

/* ---- rings ----------------------------------------------------------------------------------- */

/* Publishes events first..end-1, 16 a batch; a ring of `ring` events in each category. */
static void churn(lp_store *store, uint64_t first, uint64_t end, uint64_t ring, uint64_t bound)
{
    uint64_t reach = ring * JK_CATEGORIES;
    for (uint64_t n = first; n < end; n += 16) {
        lp_batch *batch = jk_batch();
        uint64_t newest_gone[JK_CATEGORIES] = {0};
        for (uint64_t i = n; i < n + 16; i++) {
            add_event(batch, i);
            if (i <= reach)
                continue;
            lp_batch_add_removal(batch, JK_SEQ(i - reach), LP_REMOVED_RING);
            newest_gone[(i - reach) % JK_CATEGORIES] = i - reach;
        }
        for (size_t i = 0; i < JK_CATEGORIES; i++) {
            char category[64];
            snprintf(category, sizeof(category), "category %zu", i);
            if (newest_gone[i] != 0)
                lp_batch_add_horizon(batch, lp_str_of(category), JK_SEQ(newest_gone[i]));
        }
        jk_commit(store, batch);
        jk_idle(store);
        cr_assert_leq(disk_bytes(), bound, "after event %d", (int)n);
    }
}

Test(journal_compact, a_hundred_times_the_rings_leave_a_bounded_directory)
{
    enum { RING = 100, REACH = RING * JK_CATEGORIES, SEGMENT = 32768 };
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, SEGMENT);
    uint64_t live = 0, last = REACH * 100 / 16 * 16;
    for (uint64_t n = 1; n <= REACH; n++)
        live += record_size(n);
    uint64_t bound = 2 * live + 2 * SEGMENT + 8192; /* lock, marker, one batch too much */
    lp_store *store = open_with(&options);
    churn(store, 1, last + 1, RING, bound);
    cr_assert_gt(jk_figure(store, "compactions"), 20);
    cr_assert_eq(jk_figure(store, "events"), REACH);
    jk_close(store);
    store = open_with(&options);
    cr_assert_eq(content.count, REACH);
    cr_assert_eq(content.wrong, 0);
    for (uint64_t n = last - REACH + 1; n <= last; n++)
        cr_assert(jk_has(&content, n));
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    cr_assert_eq(content.horizon_count, JK_CATEGORIES);
    cr_assert_eq(content.highest, JK_SEQ(last));
    jk_close(store);
}

Test(journal_compact, rings_far_smaller_than_a_segment_leave_two_segments_at_most)
{
    enum { SEGMENT = 1 << 18 };
    lp_journal_options options = jk_options(LP_SYNC_NEVER, SEGMENT);
    lp_store *store = open_with(&options);
    churn(store, 1, 30001, 3, 2 * SEGMENT + 32768);
    cr_assert_leq(jk_count_files(directory, ".seg", NULL), 3);
    jk_close(store);
}

Test(journal_compact, a_batch_of_any_size_between_restarts_stays_right)
{
    enum { RING = 20, REACH = RING * JK_CATEGORIES };
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 4096);
    uint64_t n = 1;
    for (int life = 0; life < 30; life++) {
        lp_store *store = open_with(&options);
        if (n > REACH) {
            cr_assert_eq(content.count, REACH);
            for (uint64_t i = n - REACH; i < n; i++)
                cr_assert(jk_has(&content, i), "life %d, event %d", life, (int)i);
        }
        churn(store, n, n + 160, RING, UINT64_MAX);
        n += 160;
        jk_close(store);
    }
}

/* ---- what is carried over -------------------------------------------------------------------- */

Test(journal_compact, events_that_a_start_skipped_stay_until_they_are_told_as_removed)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 4096);
    lp_store *store = open_with(&options);
    lp_batch *batch;
    for (uint64_t n = 1; n <= 700; n += 7) {
        batch = jk_batch();
        for (uint64_t i = n; i < n + 7; i++)
            add_event(batch, i);
        jk_commit(store, batch);
    }
    batch = jk_batch();
    for (uint64_t n = 1; n <= 700; n++) /* two of seven stay */
        if (n % JK_CATEGORIES > 1)
            lp_batch_add_removal(batch, JK_SEQ(n), LP_REMOVED_RETRIEVED);
    jk_commit(store, batch);
    jk_close(store);

    content.skip = lp_str_of("category 1");
    store = open_with(&options);
    cr_assert_eq(content.count, 100);
    for (int i = 0; i < 50; i++) {
        jk_idle(store);
        now_us += 100000;
    }
    cr_assert_gt(jk_figure(store, "compactions"), 0);
    jk_close(store);
    content.skip = (lp_str){NULL, 0};

    store = open_with(&options);
    cr_assert_eq(content.count, 200, "nobody said that they are gone");
    batch = jk_batch();
    for (uint64_t n = 1; n <= 700; n += 7)
        lp_batch_add_removal(batch, JK_SEQ(n), LP_REMOVED_REPLAY);
    lp_batch_add_horizon(batch, lp_str_of("category 1"), JK_SEQ(694));
    jk_commit(store, batch);
    jk_idle(store);
    jk_close(store);
    jk_close(open_with(&options));
    cr_assert_eq(content.count, 100);
}

Test(journal_compact, retrieved_events_stay_gone_whatever_is_merged)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 4096);
    uint64_t n = 1;
    bool gone[4000] = {false};
    unsigned random = 1;
    uint64_t compactions = 0;
    for (int life = 0; life < 12; life++) {
        lp_store *store = open_with(&options);
        for (uint64_t i = 1; i < n; i++)
            cr_assert_eq(jk_has(&content, i), !gone[i], "life %d, event %d", life, (int)i);
        for (int step = 0; step < 60; step++) {
            lp_batch *batch = jk_batch();
            for (int i = 0; i < 4; i++)
                add_event(batch, n++);
            for (int i = 0; i < 4; i++) {
                random = random * 1103515245 + 12345;
                uint64_t target = 1 + (random >> 8) % (n - 1);
                if (i == 0) /* some long after, most soon */
                    target = target > 40 ? target - 20 : target;
                else
                    target = n > 60 ? n - 60 + target % 55 : target;
                lp_batch_add_removal(batch, JK_SEQ(target), LP_REMOVED_RETRIEVED);
                gone[target] = true;
            }
            jk_commit(store, batch);
            jk_idle(store);
        }
        compactions += jk_figure(store, "compactions");
        jk_close(store);
    }
    cr_assert_gt(compactions, 10);
    jk_close(open_with(&options));
    for (uint64_t i = 1; i < n; i++)
        cr_assert_eq(jk_has(&content, i), !gone[i], "event %d", (int)i);
}

Test(journal_compact, categories_that_come_and_go_leave_nothing_once_the_floor_has_passed)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 16384);
    lp_store *store = open_with(&options);
    /* One event that lives for ever, so that the oldest segment never dies. */
    lp_batch *batch = jk_batch();
    add_event(batch, 1);
    jk_commit(store, batch);
    for (uint64_t n = 2; n < 6000; n++) {
        char category[64];
        lp_event *event;
        snprintf(category, sizeof(category), "room %d", (int)n);
        cr_assert_eq(
            lp_event_new(lp_id_make(JK_SEQ(n), n), lp_str_of(category), lp_str_of("1"), &event),
            LP_OK);
        batch = jk_batch();
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
        if (n > 30) {
            snprintf(category, sizeof(category), "room %d", (int)n - 20);
            lp_batch_add_removal(batch, JK_SEQ(n - 20), LP_REMOVED_TTL);
            lp_batch_add_horizon(batch, lp_str_of(category), JK_SEQ(n - 20));
            lp_batch_add_horizon(batch, (lp_str){"", 0}, JK_SEQ(n - 25));
        }
        jk_commit(store, batch);
        jk_idle(store);
        cr_assert_leq(disk_bytes(), 6 * 16384, "after event %d", (int)n);
    }
    cr_assert_gt(jk_figure(store, "compactions"), 10);
    jk_close(store);
    store = open_with(&options);
    cr_assert(jk_has(&content, 1));
    cr_assert_leq(content.count, 1 + 9 + 20); /* the first ones were never removed */
    cr_assert_eq(jk_horizon_of(&content, ""), JK_SEQ(5999 - 25));
    jk_close(store);
}

Test(journal_compact, a_horizon_below_the_floor_is_kept_while_files_hold_what_it_removed)
{
    enum { RING = 5 };
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 4096);
    lp_store *store = open_with(&options);
    lp_event *event;
    lp_batch *batch = jk_batch();
    cr_assert_eq(lp_event_new(lp_id_make(JK_SEQ(1), 1), lp_str_of("gone"), lp_str_of("1"), &event),
                 LP_OK);
    lp_batch_add_event(batch, event);
    lp_event_unref(event);
    for (uint64_t n = 2; n < 30; n++) { /* they live for ever, so the first segment stays */
        cr_assert_eq(
            lp_event_new(lp_id_make(JK_SEQ(n), 1), lp_str_of("old"), lp_str_of("1"), &event),
            LP_OK);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
    }
    for (uint64_t n = 30; n < 60; n++)
        add_event(batch, n);
    jk_commit(store, batch);
    batch = jk_batch();
    for (uint64_t n = 60; n < 80; n++)
        add_event(batch, n);
    lp_batch_add_removal(batch, JK_SEQ(1), LP_REMOVED_BOUND);
    lp_batch_add_horizon(batch, lp_str_of("gone"), JK_SEQ(1));
    lp_batch_add_horizon(batch, (lp_str){"", 0}, JK_SEQ(1));
    jk_commit(store, batch);
    churn(store, 81, 3201, RING, UINT64_MAX);
    cr_assert_gt(jk_figure(store, "compactions"), 5);
    jk_close(store);
    for (int round = 0; round < 2; round++) {
        store = open_with(&options);
        cr_assert_not(jk_has(&content, 1), "it came back");
        cr_assert(jk_has(&content, 2) && jk_has(&content, 29));
        append_one(store, 5000 + (uint64_t)round);
        jk_idle(store);
        jk_close(store);
    }
}

Test(journal_compact, horizons_keys_and_the_highest_number_survive)
{
    enum { RING = 5 };
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 4096);
    lp_store *store = open_with(&options);
    lp_batch *batch = jk_batch();
    lp_batch_add_horizon(batch, lp_str_of("long quiet"), JK_SEQ(0));
    lp_batch_add_horizon(batch, (lp_str){"", 0}, JK_BASE - 100);
    lp_idempotency key = {lp_str_of("stays"), 1, JK_SEQ(1), 1, wall_ms + 1000000};
    lp_batch_add_idempotency(batch, &key);
    key = (lp_idempotency){lp_str_of("goes"), 2, JK_SEQ(1), 1, wall_ms + 1000};
    lp_batch_add_idempotency(batch, &key);
    lp_batch_set_highest(batch, JK_SEQ(9999));
    jk_commit(store, batch);
    wall_ms += 5000;
    churn(store, 1, 3201, RING, UINT64_MAX);
    cr_assert_gt(jk_figure(store, "compactions"), 5);
    jk_close(store);
    for (int round = 0; round < 2; round++) {
        store = open_with(&options);
        cr_assert_eq(jk_horizon_of(&content, "long quiet"), JK_SEQ(0));
        cr_assert_eq(jk_horizon_of(&content, ""), JK_BASE - 100);
        cr_assert_eq(jk_horizon_of(&content, "category 3"),
                     JK_SEQ(3200 - RING * JK_CATEGORIES - (3200 - RING * JK_CATEGORIES - 3) % 7));
        cr_assert_eq(content.key_count, 1);
        cr_assert_str_eq(content.keys[0].key, "stays");
        cr_assert_eq(content.highest, JK_SEQ(9999));
        jk_close(store);
    }
}

Test(journal_compact, keys_alone_do_not_grow_the_directory)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 16384);
    lp_store *store = open_with(&options);
    uint64_t most = 0;
    for (int i = 0; i < 10000; i++) {
        char text[32];
        lp_batch *batch = jk_batch();
        snprintf(text, sizeof(text), "key %d", i);
        lp_idempotency key = {lp_str_of(text), 1, JK_SEQ(1), 1, wall_ms + 1000};
        lp_batch_add_idempotency(batch, &key);
        jk_commit(store, batch);
        wall_ms += 10; /* a hundred live */
        jk_idle(store);
        if (disk_bytes() > most)
            most = disk_bytes();
    }
    cr_assert_leq(most, 4 * 16384);
    jk_close(store);
}

/* ---- small segments -------------------------------------------------------------------------- */

Test(journal_compact, many_restarts_with_few_events_do_not_pile_up_segments)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    for (uint64_t n = 1; n <= 150; n++) {
        lp_store *store = open_with(&options);
        cr_assert_eq(content.count, n - 1);
        lp_batch *batch = jk_batch();
        add_event(batch, n);
        jk_commit(store, batch);
        jk_idle(store);
        jk_close(store);
        cr_assert_leq(jk_count_files(directory, ".seg", NULL), 12);
    }
}

/* ---- when it goes wrong ---------------------------------------------------------------------- */

Test(journal_compact, files_that_a_crash_left_behind_a_merge_are_removed_at_start)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 4096);
    char copy[4200], path[4200];
    snprintf(copy, sizeof(copy), "%s.copy", directory);
    lp_store *store = open_with(&options);
    churn(store, 1, 161, 5, UINT64_MAX);
    for (uint64_t n = 161; n < 1600; n += 16) {
        jk_copy(directory, copy);
        churn(store, n, n + 16, 5, UINT64_MAX);
    }
    jk_close(store);
    /* What the merges of the last step removed comes back. */
    size_t now = jk_count_files(directory, ".seg", NULL), restored = 0;
    for (size_t i = 0; jk_segment(copy, i, path, sizeof(path)); i++) {
        char to[8400];
        size_t len;
        snprintf(to, sizeof(to), "%s%s", directory, strrchr(path, '/'));
        if (access(to, F_OK) == 0)
            continue;
        uint8_t *bytes = jk_read(path, &len);
        jk_write(to, bytes, len);
        free(bytes);
        restored++;
    }
    snprintf(path, sizeof(path), "%s/compact.tmp", directory);
    jk_write(path, "half of a merge", 15);
    store = open_with(&options);
    cr_assert_eq(content.count, 5 * JK_CATEGORIES);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    cr_assert_eq(jk_count_files(directory, ".seg", NULL), now, "%zu restored", restored);
    cr_assert_eq(jk_count_files(directory, ".tmp", NULL), 0);
    jk_close(store);
    jk_remove(copy);
}

static bool is_full;

static ssize_t full_pwrite(void *ctx, int fd, const void *data, size_t len, off_t offset)
{
    (void)ctx;
    char link[64], name[4200] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (is_full && readlink(link, name, sizeof(name) - 1) > 0 && strstr(name, "compact") != NULL) {
        errno = ENOSPC;
        return -1;
    }
    return pwrite(fd, data, len, offset);
}

Test(journal_compact, a_full_disk_puts_it_off_and_publishing_goes_on)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 4096);
    io.pwrite = full_pwrite;
    is_full = true;
    lp_store *store = open_with(&options);
    churn(store, 1, 801, 5, UINT64_MAX);
    cr_assert_eq(jk_figure(store, "compactions"), 0);
    cr_assert(strstr(content.log, "compaction put off") != NULL, "%s", content.log);
    cr_assert_eq(jk_count_files(directory, ".tmp", NULL), 0);
    is_full = false;
    now_us += 2000000;
    churn(store, 801, 961, 5, UINT64_MAX);
    cr_assert_gt(jk_figure(store, "compactions"), 0);
    cr_assert_lt(disk_bytes(), 30000);
    jk_close(store);
    jk_close(open_with(&options));
    cr_assert_eq(content.count, 5 * JK_CATEGORIES);
}

Test(journal_compact, a_segment_that_went_bad_since_is_left_for_the_next_start_to_tell)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 4096);
    lp_store *store = open_with(&options);
    char path[4200];
    size_t len;
    for (uint64_t n = 1; n < 200; n += 10) {
        lp_batch *batch = jk_batch();
        for (uint64_t i = n; i < n + 10; i++)
            add_event(batch, i);
        jk_commit(store, batch);
    }
    cr_assert(jk_segment(directory, 1, path, sizeof(path)));
    uint8_t *bytes = jk_read(path, &len);
    memset(bytes + 1000, 0x42, 100);
    jk_write(path, bytes, len);
    free(bytes);
    /* Nearly all of it dies, so that it would be merged. */
    lp_batch *batch = jk_batch();
    for (uint64_t n = 1; n < 190; n++)
        if (n % 5 != 0)
            lp_batch_add_removal(batch, JK_SEQ(n), LP_REMOVED_RETRIEVED);
    jk_commit(store, batch);
    for (int i = 0; i < 20; i++) {
        jk_idle(store);
        now_us += 1000000;
    }
    cr_assert(access(path, F_OK) == 0);
    jk_close(store);
    store = open_with(&options);
    cr_assert_eq(content.losses, 1, "%u", content.losses);
    cr_assert(strstr(content.loss, strrchr(path, '/') + 1) != NULL, "%s", content.loss);
    for (uint64_t n = 1; n < 190; n++)
        cr_assert(n % 5 == 0 || !jk_has(&content, n));
    jk_close(store);
}

/* ---- one slice ------------------------------------------------------------------------------- */

static uint64_t io_bytes;

static ssize_t counted_pwrite(void *ctx, int fd, const void *data, size_t len, off_t offset)
{
    (void)ctx;
    io_bytes += len;
    return pwrite(fd, data, len, offset);
}

static ssize_t counted_pread(void *ctx, int fd, void *data, size_t len, off_t offset)
{
    (void)ctx;
    io_bytes += len;
    return pread(fd, data, len, offset);
}

/* The clock stands still while data moves, so that only the steps of a slice bound it. */
static int64_t stepping_us(void *ctx)
{
    (void)ctx;
    return now_us += 1000;
}

Test(journal_compact, a_slice_without_time_takes_a_step)
{
    lp_journal_options options = jk_options(LP_SYNC_NEVER, 16384);
    lp_store *store = open_with(&options);
    lp_error error;
    int64_t next_ms = 0;
    for (uint64_t n = 1; n <= 600; n++)
        append_one(store, n);
    uint64_t before = jk_figure(store, "compactions");
    lp_batch *batch = jk_batch(); /* so short that publishing does not begin to merge */
    add_event(batch, 601);
    for (uint64_t n = 1; n <= 600; n++)
        if (n % 5 != 0)
            lp_batch_add_removal(batch, JK_SEQ(n), LP_REMOVED_RING);
    jk_commit(store, batch);
    for (int slices = 0; next_ms >= 0 && slices < 2000; slices++) {
        cr_assert_eq(lp_store_idle(store, 0, &next_ms, &error), LP_OK);
        now_us += next_ms > 0 ? next_ms * 1000 : 0;
    }
    cr_assert_eq(next_ms, -1, "it asks to be called again for ever");
    cr_assert_gt(jk_figure(store, "compactions"), before);
    jk_close(store);
}

Test(journal_compact, one_slice_moves_no_more_than_its_budget_allows)
{
    lp_journal_options options = jk_options(LP_SYNC_NEVER, 8 << 20);
    lp_error error;
    lp_store *store = open_with(&options);
    uint64_t n = 1;
    for (; n < 20000; n++) {
        lp_batch *batch = jk_batch();
        lp_event *event = jk_event_of(n, 2000);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
        if (n > 2000 && n % 20 != 0)
            lp_batch_add_removal(batch, JK_SEQ(n - 2000), LP_REMOVED_RING);
        jk_commit(store, batch);
    }
    jk_close(store);
    io.pwrite = counted_pwrite;
    io.pread = counted_pread;
    io.monotonic_us = stepping_us;
    store = open_with(&options);
    lp_batch *batch = jk_batch();
    add_event(batch, n);
    for (uint64_t i = 1; i < n; i++)
        if (i % 20 != 0)
            lp_batch_add_removal(batch, JK_SEQ(i), LP_REMOVED_REPLAY);
    jk_commit(store, batch);
    int slices = 0;
    int64_t next_ms = 0;
    for (; next_ms >= 0 && slices < 10000; slices++) {
        io_bytes = 0;
        cr_assert_eq(lp_store_idle(store, 3, &next_ms, &error), LP_OK);
        cr_assert_leq(io_bytes, 3 * (3 << 20), "slice %d", slices);
        now_us += 20000;
    }
    cr_assert_gt(jk_figure(store, "compactions"), 0);
    cr_assert_gt(slices, 10);
    jk_close(store);
    jk_close(open_with(&options));
    cr_assert_geq(content.count, 1000);
    cr_assert_eq(content.wrong, 0);
}
