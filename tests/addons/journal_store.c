/* The journal as a store: what it keeps comes back, and who may open it. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal_kit.h"

static char *directory;
static jk_content content;

static void begin(void)
{
    directory = jk_directory();
}

static void end(void)
{
    jk_remove(directory);
    free(directory);
    jk_content_free(&content);
}

TestSuite(journal_store, .init = begin, .fini = end, .timeout = 120);

static void append(lp_store *store, uint64_t first, size_t count)
{
    lp_error error = {LP_OK, ""};
    cr_assert_eq(jk_append(store, first, count, &error), LP_OK, "%s", error.message);
}

Test(journal_store, everything_of_a_batch_comes_back_after_a_restart)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    lp_store *store = jk_open(directory, &options, &content);
    cr_assert_eq(content.count, 0);
    cr_assert_eq(content.highest, 0);
    cr_assert_eq(content.losses, 0);

    lp_batch *batch = jk_batch();
    for (uint64_t n = 1; n <= 5; n++) {
        lp_event *event = jk_event(n);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
    }
    lp_idempotency key = {lp_str_of("a key"), 0xfeedface12345678, JK_SEQ(2), 3, INT64_MAX};
    lp_batch_add_idempotency(batch, &key);
    lp_batch_add_horizon(batch, lp_str_of("quiet"), JK_SEQ(0));
    lp_batch_add_horizon(batch, (lp_str){"", 0}, JK_BASE - 5);
    lp_batch_set_highest(batch, JK_SEQ(9));
    jk_commit(store, batch);
    jk_close(store);

    jk_look(directory, &options, &content);
    cr_assert_eq(content.count, 5);
    cr_assert_eq(content.wrong, 0);
    cr_assert_eq(content.highest, JK_SEQ(9));
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    cr_assert_eq(content.key_count, 1);
    cr_assert_str_eq(content.keys[0].key, "a key");
    cr_assert_eq(content.keys[0].record.digest, 0xfeedface12345678);
    cr_assert_eq(content.keys[0].record.seq, JK_SEQ(2));
    cr_assert_eq(content.keys[0].record.count, 3);
    cr_assert_eq(content.keys[0].record.expires_ms, INT64_MAX);
    cr_assert_eq(jk_horizon_of(&content, "quiet"), JK_SEQ(0));
    cr_assert_eq(jk_horizon_of(&content, ""), JK_BASE - 5);
}

Test(journal_store, many_batches_over_many_segments_come_back_in_order)
{
    for (lp_sync sync = LP_SYNC_INTERVAL; sync <= LP_SYNC_NEVER; sync++) {
        lp_journal_options options = jk_options(sync, 4096);
        lp_store *store = jk_open(directory, &options, &content);
        for (uint64_t n = 1; n <= 1000; n += n % 7 + 1)
            append(store, n, n % 7 + 1);
        jk_close(store);
        cr_assert_gt(jk_count_files(directory, ".seg", NULL), 20);
        jk_look(directory, &options, &content);
        cr_assert_geq(content.count, 1000);
        cr_assert_eq(content.wrong, 0);
        for (uint64_t n = 1; n <= 1000; n++)
            cr_assert(jk_has(&content, n));
        cr_assert_eq(content.losses, 0, "%s", content.loss);
        jk_remove(directory);
    }
}

Test(journal_store, a_batch_larger_than_a_segment_and_an_event_of_megabytes_are_kept)
{
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, 4096);
    lp_store *store = jk_open(directory, &options, NULL);
    for (uint64_t n = 1; n <= 3; n++) {
        lp_batch *batch = jk_batch();
        lp_event *event = jk_event_of(n, (size_t)n * 3 << 20);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
        jk_commit(store, batch);
    }
    jk_close(store);
    jk_look(directory, &options, &content);
    cr_assert_eq(content.count, 3);
    cr_assert_eq(content.wrong, 0);
}

Test(journal_store, the_first_batch_after_a_start_opens_a_segment_and_a_start_alone_does_not)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    lp_store *store = jk_open(directory, &options, NULL);
    append(store, 1, 1);
    jk_close(store);
    cr_assert_eq(jk_count_files(directory, ".seg", NULL), 1);
    jk_look(directory, &options, &content);
    jk_look(directory, &options, &content);
    cr_assert_eq(jk_count_files(directory, ".seg", NULL), 1);
    store = jk_open(directory, &options, &content);
    append(store, 2, 1);
    jk_close(store);
    cr_assert_eq(jk_count_files(directory, ".seg", NULL), 2);
}

Test(journal_store, events_out_of_order_are_refused_one_by_one)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    lp_store *store = jk_open(directory, &options, NULL);
    append(store, 10, 5);
    lp_batch *batch = jk_batch();
    for (uint64_t n = 13; n <= 16; n++) {
        lp_event *event = jk_event(n);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
    }
    lp_error error;
    cr_assert_eq(lp_store_append(store, batch, &error), LP_OK);
    cr_assert_eq(lp_batch_status(batch, 0, NULL), LP_EORDER);
    cr_assert_eq(lp_batch_status(batch, 1, NULL), LP_EORDER);
    cr_assert_eq(lp_batch_status(batch, 2, NULL), LP_OK);
    cr_assert_eq(lp_batch_status(batch, 3, NULL), LP_OK);
    lp_batch_free(batch);
    jk_close(store);
    jk_look(directory, &options, &content);
    cr_assert_eq(content.count, 7);
    cr_assert_eq(content.wrong, 0);
}

/* Its first event is out of order: the rest and its key go with it. */
Test(journal_store, a_group_is_refused_whole_with_its_key)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    lp_store *store = jk_open(directory, &options, NULL);
    append(store, 10, 5);
    lp_batch *batch = jk_batch();
    for (uint64_t n = 14; n <= 18; n++) {
        lp_event *event = jk_event(n);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
        if (n == 16)
            lp_batch_group(batch, 3);
    }
    lp_batch_group(batch, 2);
    lp_idempotency refused = {lp_str_of("refused"), 1, JK_SEQ(14), 3, INT64_MAX};
    lp_idempotency kept = {lp_str_of("kept"), 1, JK_SEQ(17), 2, INT64_MAX};
    lp_batch_add_idempotency(batch, &refused);
    lp_batch_add_idempotency(batch, &kept);
    lp_error error;
    cr_assert_eq(lp_store_append(store, batch, &error), LP_OK);
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(lp_batch_status(batch, i, NULL), i < 3 ? LP_EORDER : LP_OK);
    lp_batch_free(batch);
    jk_close(store);
    jk_look(directory, &options, &content);
    cr_assert_eq(content.count, 7);
    cr_assert_eq(content.key_count, 1);
    cr_assert_eq(content.wrong, 0);
}

/* ---- what is gone stays gone ----------------------------------------------------------------- */

Test(journal_store, retrieved_events_stay_gone)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 4096);
    lp_store *store = jk_open(directory, &options, NULL);
    for (uint64_t n = 1; n <= 200; n += 10)
        append(store, n, 10);
    lp_batch *batch = jk_batch();
    for (uint64_t n = 3; n <= 200; n += 3)
        lp_batch_add_removal(batch, JK_SEQ(n), LP_REMOVED_RETRIEVED);
    lp_batch_add_removal(batch, JK_SEQ(5000), LP_REMOVED_RETRIEVED); /* never was */
    jk_commit(store, batch);
    jk_close(store);
    for (int round = 0; round < 3; round++) {
        store = jk_open(directory, &options, &content);
        for (uint64_t n = 1; n <= 200; n++)
            cr_assert_eq(jk_has(&content, n), n % 3 != 0, "event %d", (int)n);
        append(store, 300 + (uint64_t)round, 1);
        jk_close(store);
    }
}

Test(journal_store, events_below_a_kept_horizon_are_not_pushed)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 4096);
    lp_store *store = jk_open(directory, &options, NULL);
    append(store, 1, 70);
    lp_batch *batch = jk_batch();
    lp_batch_add_horizon(batch, lp_str_of("category 3"), JK_SEQ(31));
    lp_batch_add_horizon(batch, (lp_str){"", 0}, JK_SEQ(20)); /* the floor removes nothing */
    jk_commit(store, batch);
    jk_close(store);
    jk_look(directory, &options, &content);
    for (uint64_t n = 1; n <= 70; n++)
        cr_assert_eq(jk_has(&content, n), !(n % JK_CATEGORIES == 3 && n <= 31));
    cr_assert_eq(jk_horizon_of(&content, "category 3"), JK_SEQ(31));
    cr_assert_eq(jk_horizon_of(&content, ""), JK_SEQ(20));
}

Test(journal_store, expired_keys_are_not_pushed)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    lp_store *store = jk_open(directory, &options, NULL);
    lp_batch *batch = jk_batch();
    lp_idempotency key = {lp_str_of("old"), 1, JK_SEQ(1), 1, 1000};
    lp_batch_add_idempotency(batch, &key);
    key = (lp_idempotency){lp_str_of("new"), 2, JK_SEQ(2), 1, INT64_MAX};
    lp_batch_add_idempotency(batch, &key);
    jk_commit(store, batch);
    jk_close(store);
    jk_look(directory, &options, &content);
    cr_assert_eq(content.key_count, 1);
    cr_assert_str_eq(content.keys[0].key, "new");
}

/* ---- who may open it ------------------------------------------------------------------------- */

Test(journal_store, a_second_open_in_one_process_is_refused)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    lp_error error;
    lp_store *store = jk_open(directory, &options, NULL);
    cr_assert_null(jk_open_io(directory, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_EINUSE);
    char want[64];
    snprintf(want, sizeof(want), "in use by process %ld (stop it, or", (long)getpid());
    cr_assert(strstr(error.message, want) != NULL, "%s", error.message);
    cr_assert(strstr(error.message, directory) != NULL, "%s", error.message);
    options.read_only = true;
    cr_assert_null(jk_open_io(directory, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_EINUSE);
    append(store, 1, 1);
    jk_close(store);
    options.read_only = false;
    jk_look(directory, &options, &content);
    cr_assert_eq(content.count, 1);
}

Test(journal_store, a_second_process_is_refused_and_told_the_first)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    int to_parent[2], to_child[2];
    cr_assert_eq(pipe(to_parent), 0);
    cr_assert_eq(pipe(to_child), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte = 'x';
        lp_store *store = jk_open(directory, &options, NULL);
        if (write(to_parent[1], &byte, 1) != 1 || read(to_child[0], &byte, 1) != 1)
            _exit(1);
        jk_close(store);
        _exit(0);
    }
    char byte;
    lp_error error;
    cr_assert_eq(read(to_parent[0], &byte, 1), 1);
    cr_assert_null(jk_open_io(directory, &options, NULL, NULL, &error));
    char want[64];
    snprintf(want, sizeof(want), "in use by process %ld ", (long)child);
    cr_assert_eq(error.status, LP_EINUSE);
    cr_assert(strstr(error.message, want) != NULL, "%s", error.message);
    cr_assert_eq(write(to_child[1], &byte, 1), 1);
    int result;
    cr_assert_eq(waitpid(child, &result, 0), child);
    cr_assert_eq(result, 0);
    jk_look(directory, &options, &content);
}

Test(journal_store, a_reader_writes_nothing_and_shares_with_other_readers)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    lp_store *store = jk_open(directory, &options, NULL);
    append(store, 1, 3);
    jk_close(store);
    options.read_only = true;
    lp_store *first = jk_open(directory, &options, &content);
    lp_store *second = jk_open(directory, &options, &content);
    cr_assert_eq(content.count, 3);
    lp_error error = {LP_OK, ""};
    cr_assert_eq(jk_append(first, 4, 1, &error), LP_EACCES);
    cr_assert(strstr(error.message, "read only") != NULL, "%s", error.message);
    jk_close(first);
    jk_close(second);
    jk_look(directory, &options, &content);
    cr_assert_eq(content.count, 3);
    cr_assert_eq(content.losses, 0);
}

Test(journal_store, a_directory_that_cannot_be_used_is_refused_with_a_sentence)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    lp_error error;
    char path[4200];

    snprintf(path, sizeof(path), "%s/file", directory);
    jk_write(path, "x", 1);
    cr_assert_null(jk_open_io(path, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_ENOTFOUND);
    cr_assert(strstr(error.message, "not a directory") != NULL, "%s", error.message);

    snprintf(path, sizeof(path), "%s/missing/journal", directory);
    cr_assert_null(jk_open_io(path, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_ENOTFOUND);
    cr_assert(strstr(error.message, "parent") != NULL, "%s", error.message);

    snprintf(path, sizeof(path), "%s/missing", directory);
    options.read_only = true;
    cr_assert_null(jk_open_io(path, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_ENOTFOUND);
}

Test(journal_store, a_directory_without_permission_is_refused_with_a_sentence)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    pid_t child = fork();
    if (child == 0) {
        lp_error error = {LP_OK, ""};
        if (chmod(directory, 0500) != 0)
            _exit(2);
        if (getuid() == 0 && (chown(directory, 65534, 65534) != 0 || setuid(65534) != 0))
            _exit(3);
        bool is_refused = jk_open_io(directory, &options, NULL, NULL, &error) == NULL &&
                          error.status == LP_EACCES && strstr(error.message, "right") != NULL;
        if (!is_refused)
            fprintf(stderr, "%s\n", error.message);
        _exit(is_refused ? 0 : 1);
    }
    int result;
    cr_assert_eq(waitpid(child, &result, 0), child);
    cr_assert_eq(result, 0);
    chmod(directory, 0700);
}

Test(journal_store, wrong_options_are_refused)
{
    lp_addon *addon;
    lp_error error;
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 100);
    cr_assert_eq(lp_journal_new(directory, &options, &addon, &error), LP_EINVAL);
    options = jk_options(LP_SYNC_ALWAYS, -1);
    cr_assert_eq(lp_journal_new(directory, &options, &addon, &error), LP_EINVAL);
    options = jk_options(LP_SYNC_ALWAYS, 0);
    options.sync_interval_ms = -1;
    cr_assert_eq(lp_journal_new(directory, &options, &addon, &error), LP_EINVAL);
    options = jk_options((lp_sync)7, 0);
    cr_assert_eq(lp_journal_new(directory, &options, &addon, &error), LP_EINVAL);
    cr_assert_eq(lp_journal_new("", NULL, &addon, &error), LP_EINVAL);
    cr_assert_eq(lp_journal_new(directory, NULL, &addon, NULL), LP_OK);
    addon->destroy(addon);
}

Test(journal_store, a_segment_of_an_unknown_version_ends_the_start_with_a_sentence)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    lp_store *store = jk_open(directory, &options, NULL);
    append(store, 1, 3);
    jk_close(store);
    char path[4200];
    size_t len;
    cr_assert(jk_segment(directory, 0, path, sizeof(path)));
    uint8_t *bytes = jk_read(path, &len);
    /* What a later version would write: version 9 and the checksum of the first 12 bytes. */
    static const uint8_t prefix[] = {0x89, 'L', 'P', 'J', '\r', '\n', 0x1a, '\n', 9, 0, 128, 0};
    memcpy(bytes, prefix, sizeof(prefix));
    uint32_t crc = ~0u;
    for (size_t i = 0; i < sizeof(prefix); i++) {
        crc ^= prefix[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    crc = ~crc;
    for (int i = 0; i < 4; i++)
        bytes[12 + i] = (uint8_t)(crc >> 8 * i);
    jk_write(path, bytes, len);
    free(bytes);
    lp_error error;
    cr_assert_null(jk_open_io(directory, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_EVERSION);
    cr_assert(strstr(error.message, "version 9") != NULL, "%s", error.message);
    cr_assert(strstr(error.message, "0000000000000001.seg") != NULL, "%s", error.message);
}

/* ---- stops that are not clean ---------------------------------------------------------------- */

static uint64_t other_boot(void *ctx)
{
    (void)ctx;
    return 424242;
}

static uint64_t third_boot(void *ctx)
{
    (void)ctx;
    return 434343;
}

/* Opens a copy of the directory as it is while `store` is open, on another boot or on this one. */
static void look_at_copy(const lp_journal_options *options, bool is_other_boot)
{
    char copy[4200];
    lp__journal_io io = lp__journal_io_real();
    lp_error error = {LP_OK, ""};
    if (is_other_boot)
        io.boot = other_boot;
    snprintf(copy, sizeof(copy), "%s/copy", directory);
    jk_remove(copy);
    char from[4200];
    snprintf(from, sizeof(from), "%s/journal", directory);
    jk_copy(from, copy);
    lp_store *store = jk_open_io(copy, options, &io, &content, &error);
    cr_assert_not_null(store, "%s", error.message);
    jk_close(store);
}

Test(journal_store, only_another_boot_below_always_counts_as_loss)
{
    for (lp_sync sync = LP_SYNC_INTERVAL; sync <= LP_SYNC_NEVER; sync++) {
        lp_journal_options options = jk_options(sync, 0);
        char path[4200];
        snprintf(path, sizeof(path), "%s/journal", directory);
        lp_store *store = jk_open(path, &options, NULL);
        append(store, 1, 3);
        look_at_copy(&options, false);
        cr_assert_eq(content.losses, 0, "kill -9 loses nothing");
        cr_assert_eq(content.count, 3);
        look_at_copy(&options, true);
        cr_assert_eq(content.losses, sync == LP_SYNC_ALWAYS ? 0 : 1);
        cr_assert_eq(content.count, 3);
        jk_close(store);
        look_at_copy(&options, true);
        cr_assert_eq(content.losses, 0, "it was closed");
        jk_remove(path);
    }
}

Test(journal_store, a_loss_by_another_boot_is_told_until_a_batch_is_kept)
{
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, 0);
    lp__journal_io io = lp__journal_io_real();
    lp_error error = {LP_OK, ""};
    io.boot = other_boot;
    char path[4200], copy[4200];
    snprintf(path, sizeof(path), "%s/journal", directory);
    snprintf(copy, sizeof(copy), "%s/copy", directory);
    lp_store *store = jk_open(path, &options, NULL);
    append(store, 1, 3);
    jk_copy(path, copy);
    jk_close(store);
    for (int round = 0; round < 3; round++) {
        store = jk_open_io(copy, &options, &io, &content, &error);
        cr_assert_eq(content.losses, 1);
        if (round == 2)
            jk_raise_floor(store, 4);
        jk_close(store);
    }
    store = jk_open_io(copy, &options, &io, &content, &error);
    cr_assert_eq(content.losses, 0);
    cr_assert_eq(jk_horizon_of(&content, ""), JK_SEQ(4));
    jk_close(store);
}

static void open_copy_on(const char *copy, uint64_t (*boot)(void *), lp_sync sync, bool publishes)
{
    lp_journal_options options = jk_options(sync, 0);
    lp__journal_io io = lp__journal_io_real();
    lp_error error = {LP_OK, ""};
    io.boot = boot;
    lp_store *store = jk_open_io(copy, &options, &io, &content, &error);
    cr_assert_not_null(store, "%s", error.message);
    if (publishes)
        jk_raise_floor(store, 4);
    jk_close(store);
}

/* Of the first batch after a loss, which is to keep its floor, only the segment's header is there:
 * cut off by the power, or by a kill on the boot that was told. */
Test(journal_store, a_loss_is_told_again_where_the_first_batch_after_it_was_lost)
{
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, 0);
    char path[4200], copy[4200], clean[4300], segment[4200];
    snprintf(path, sizeof(path), "%s/journal", directory);
    snprintf(copy, sizeof(copy), "%s/copy", directory);
    snprintf(clean, sizeof(clean), "%s/clean", copy);
    lp_store *store = jk_open(path, &options, NULL);
    append(store, 1, 3);
    for (lp_sync sync = LP_SYNC_INTERVAL; sync <= LP_SYNC_NEVER; sync++) {
        jk_copy(path, copy);
        open_copy_on(copy, other_boot, sync, true);
        cr_assert_eq(content.losses, 1);
        cr_assert(jk_segment(copy, 1, segment, sizeof(segment)));
        cr_assert_eq(truncate(segment, 128), 0);
        cr_assert_eq(unlink(clean), 0);
        open_copy_on(copy, other_boot, sync, false);
        cr_assert_eq(content.losses, 1, "on the same boot, sync %d", (int)sync);
        open_copy_on(copy, third_boot, sync, true);
        cr_assert_eq(content.losses, 1, "on the next boot, sync %d", (int)sync);
        open_copy_on(copy, third_boot, sync, false);
        cr_assert_eq(content.losses, 0, "%s", content.loss);
        cr_assert_eq(jk_horizon_of(&content, ""), JK_SEQ(4));
    }
    jk_close(store);
}

/* ---- figures --------------------------------------------------------------------------------- */

Test(journal_store, figures_tell_what_is_there)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    lp_store *store = jk_open(directory, &options, NULL);
    append(store, 1, 10);
    uint64_t bytes;
    jk_count_files(directory, ".seg", &bytes);
    cr_assert_eq(jk_figure(store, "disk_bytes"), bytes);
    cr_assert_eq(jk_figure(store, "events"), 10);
    cr_assert_eq(jk_figure(store, "segments"), 1);
    cr_assert_eq(jk_figure(store, "unsynced_bytes"), 0);
    cr_assert_eq(jk_figure(store, "damaged_records"), 0);
    cr_assert_eq(jk_figure(store, "torn_tails"), 0);
    cr_assert_gt(jk_figure(store, "live_bytes"), 500);
    cr_assert_lt(jk_figure(store, "live_bytes"), bytes);
    jk_close(store);
}
