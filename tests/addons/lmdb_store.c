/* The LMDB store as a store: what it keeps comes back, who may open it, and how large it gets. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lmdb.h>

#include "addons/lmdb/format.h"
#include "lmdb_kit.h"

static char *directory;
static lk_content content;
static lp_error error;

static void begin(void)
{
    directory = lk_directory();
}

static void end(void)
{
    lk_remove(directory);
    free(directory);
    lk_content_free(&content);
}

TestSuite(lmdb_store, .init = begin, .fini = end, .timeout = 120);

static void append(lp_store *store, uint64_t first, size_t count)
{
    cr_assert_eq(lk_append(store, first, count, &error), LP_OK, "%s", error.message);
}

/* ---- what is kept ---------------------------------------------------------------------------- */

Test(lmdb_store, everything_of_a_batch_comes_back_after_a_restart)
{
    for (lp_sync sync = LP_SYNC_INTERVAL; sync <= LP_SYNC_NEVER; sync++) {
        lp_lmdb_options options = lk_options(sync);
        lp_store *store = lk_open(directory, &options, &content);
        cr_assert_eq(content.count, 0);
        cr_assert_eq(content.losses, 0, "%s", content.loss);
        lp_batch *batch = lk_batch();
        for (uint64_t n = 1; n <= 60; n++)
            lk_add(batch, n);
        lp_idempotency key = {lp_str_of("a key"), 0xfeedface12345678, LK_SEQ(2), 3, INT64_MAX};
        lp_batch_add_idempotency(batch, &key);
        lp_batch_add_horizon(batch, lp_str_of("three"), LK_SEQ(0) - 3);
        lp_batch_add_horizon(batch, (lp_str){"", 0}, LK_BASE - 5);
        lp_batch_set_highest(batch, LK_SEQ(99));
        lk_commit(store, batch);
        lk_close(store);

        lk_look(directory, &options, &content);
        cr_assert_eq(content.count, 60);
        cr_assert_eq(content.wrong, 0);
        cr_assert_eq(content.highest, LK_SEQ(99));
        cr_assert_eq(content.losses, 0, "%s", content.loss);
        cr_assert_eq(content.key_count, 1);
        cr_assert_str_eq(content.key_text, "a key");
        cr_assert_eq(content.key.digest, 0xfeedface12345678);
        cr_assert_eq(content.key.seq, LK_SEQ(2));
        cr_assert_eq(content.key.count, 3);
        cr_assert_eq(content.key.expires_ms, INT64_MAX);
        cr_assert_eq(content.horizons[2], LK_SEQ(0) - 3);
        cr_assert_eq(content.floor, LK_BASE - 5);
        lk_remove(directory);
    }
}

Test(lmdb_store, events_out_of_order_are_refused_one_by_one)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    append(store, 10, 5);
    lp_batch *batch = lk_batch();
    for (uint64_t n = 13; n <= 16; n++)
        lk_add(batch, n);
    cr_assert_eq(lp_store_append(store, batch, &error), LP_OK);
    cr_assert_eq(lp_batch_status(batch, 0, NULL), LP_EORDER);
    cr_assert_eq(lp_batch_status(batch, 1, NULL), LP_EORDER);
    cr_assert_eq(lp_batch_status(batch, 2, NULL), LP_OK);
    lp_batch_free(batch);
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.count, 7);
    cr_assert_eq(content.wrong, 0);
}

/* Its first event is out of order: the rest and its key go with it. */
Test(lmdb_store, a_group_is_refused_whole_with_its_key)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    append(store, 10, 5);
    lp_batch *batch = lk_batch();
    for (uint64_t n = 14; n <= 16; n++)
        lk_add(batch, n);
    lp_batch_group(batch, 3);
    for (uint64_t n = 17; n <= 18; n++)
        lk_add(batch, n);
    lp_batch_group(batch, 2);
    lp_idempotency refused = {lp_str_of("refused"), 1, LK_SEQ(14), 3, INT64_MAX};
    lp_idempotency kept = {lp_str_of("kept"), 1, LK_SEQ(17), 2, INT64_MAX};
    lp_batch_add_idempotency(batch, &refused);
    lp_batch_add_idempotency(batch, &kept);
    cr_assert_eq(lp_store_append(store, batch, &error), LP_OK);
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(lp_batch_status(batch, i, NULL), i < 3 ? LP_EORDER : LP_OK);
    lp_batch_free(batch);
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.count, 7);
    cr_assert_eq(content.key_count, 1);
    cr_assert_eq(content.key.seq, LK_SEQ(17));
    cr_assert_eq(content.wrong, 0);
}

Test(lmdb_store, the_map_grows_over_many_batches_and_for_an_event_larger_than_itself)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp__lmdb_host host = lp__lmdb_host_real();
    host.map_step = 65536;
    lp_store *store = lk_try_open(directory, &options, &host, NULL, &error);
    cr_assert_not_null(store, "%s", error.message);
    uint64_t first = lk_figure(store, "map_bytes");
    for (uint64_t n = 1; n <= 300; n++) {
        lp_event *event = lk_event_of(n, n % 100 == 0 ? (size_t)1 << 20 : 3000);
        lp_batch *batch = lk_batch();
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
        lk_commit(store, batch);
    }
    cr_assert_gt(lk_figure(store, "map_bytes"), first + (4 << 20));
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.count, 300);
    cr_assert_eq(content.wrong, 0);
}

Test(lmdb_store, horizons_of_categories_of_any_length_are_told_apart_and_never_fall)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    char name[LP_CATEGORY_MAX];
    memset(name, 'x', sizeof(name));
    for (size_t len = 1; len <= LP_CATEGORY_MAX; len++) {
        lp_batch *batch = lk_batch();
        lp_batch_add_horizon(batch, (lp_str){name, len}, LK_SEQ(len));
        lk_commit(store, batch);
    }
    lp_batch *batch = lk_batch();
    lp_batch_add_horizon(batch, lp_str_of("six"), LK_SEQ(50));
    lk_commit(store, batch);
    batch = lk_batch();
    lp_batch_add_horizon(batch, lp_str_of("six"), LK_SEQ(20));
    lk_commit(store, batch);
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.horizon_count, LP_CATEGORY_MAX + 1);
    cr_assert_eq(content.horizons[5], LK_SEQ(50));
}

Test(lmdb_store, horizons_go_when_the_floor_covers_them_and_no_dead_row_needs_them)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    append(store, 1, 7);
    lp_batch *batch = lk_batch();
    lp_batch_add_removal(batch, LK_SEQ(2), LP_REMOVED_RING);
    for (uint64_t n = 0; n < LK_CATEGORIES; n++)
        lp_batch_add_horizon(batch, lp_str_of(lk_category(n)), LK_SEQ(n < 6 ? 2 : 900));
    lp_batch_add_horizon(batch, (lp_str){"", 0}, LK_SEQ(500));
    lp_batch_set_highest(batch, LK_SEQ(1000));
    lk_commit(store, batch);
    cr_assert_eq(lk_figure(store, "horizons"), LK_CATEGORIES, "the row of event 2 is still there");
    lk_compact(store);
    lk_compact(store);
    cr_assert_eq(lk_figure(store, "horizons"), 1);
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.horizons[6], LK_SEQ(900));
    cr_assert_eq(content.floor, LK_SEQ(500));
}

Test(lmdb_store, expired_keys_are_deleted_and_the_others_stay)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    for (int i = 0; i < 50; i++) {
        char text[300];
        snprintf(text, sizeof(text), "%0*d", 1 + i * 5, i);
        lp_idempotency key = {lp_str_of(text), 1, LK_SEQ(1), 1, i < 25 ? 1000 + i : INT64_MAX - i};
        lp_batch *batch = lk_batch();
        lp_batch_add_idempotency(batch, &key);
        lk_commit(store, batch);
    }
    cr_assert_leq(lk_figure(store, "idempotency_keys"), 26);
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.key_count, 25);
}

/* ---- removals and size ----------------------------------------------------------------------- */

Test(lmdb_store, retrieved_events_stay_away_after_a_kill)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    pid_t child = fork();
    if (child == 0) {
        lp_store *store = lk_open(directory, &options, NULL);
        lk_append(store, 1, 100, &error);
        lp_batch *batch = lk_batch();
        for (uint64_t n = 90; n > 0; n -= 3)
            lp_batch_add_removal(batch, LK_SEQ(n), LP_REMOVED_RETRIEVED);
        lp_batch_add_removal(batch, LK_SEQ(5000), LP_REMOVED_RETRIEVED); /* never kept */
        lk_commit(store, batch);
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.count, 70);
    cr_assert_not(lk_has(&content, 90));
    cr_assert(lk_has(&content, 91));
}

static uint64_t file_size(void)
{
    struct stat stat_of;
    cr_assert_eq(stat(lk_path(directory, "data.mdb"), &stat_of), 0);
    return (uint64_t)stat_of.st_size;
}

/* Publishes `total` events, and each removes the one `ring` before it. */
static void run_ring(lp_store *store, uint64_t first, uint64_t total, uint64_t ring,
                     size_t batch_size)
{
    for (uint64_t n = first; n < first + total; n += batch_size) {
        lp_batch *batch = lk_batch();
        for (uint64_t i = n; i < n + batch_size; i++) {
            lk_add(batch, i);
            if (i > ring) {
                lp_batch_add_removal(batch, LK_SEQ(i - ring), LP_REMOVED_RING);
                lp_batch_add_horizon(batch, lp_str_of(lk_category(i)), LK_SEQ(i - ring));
            }
        }
        lk_commit(store, batch);
    }
}

Test(lmdb_store, the_file_stays_bounded_while_a_hundred_rings_go_through_at_full_speed)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    run_ring(store, 1, 5600, 1400, 28);
    uint64_t early = file_size();
    run_ring(store, 5601, 134400, 1400, 28);
    cr_assert_leq(file_size(), early * 5 / 4);
    cr_assert_leq(lk_figure(store, "dead_events"), 2900);
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert_geq(content.count, 1400);
    cr_assert_leq(content.count, 4300);
}

Test(lmdb_store, compaction_leaves_what_lives_and_shrinks_the_file)
{
    lp_lmdb_options options = lk_options(LP_SYNC_ALWAYS);
    lp_store *store = lk_open(directory, &options, NULL);
    append(store, 1, 3000);
    lp_batch *batch = lk_batch();
    for (uint64_t n = 1; n <= 3000; n++)
        if (n % 10 != 0)
            lp_batch_add_removal(batch, LK_SEQ(n), LP_REMOVED_TTL);
    lk_commit(store, batch);
    uint64_t before = file_size();
    lk_compact(store);
    cr_assert_lt(file_size(), before / 3);
    append(store, 3001, 10);
    cr_assert_eq(lk_verify(store, &error), LP_OK, "%s", error.message);
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.count, 310);
    cr_assert_eq(content.wrong, 0);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    cr_assert_eq(lk_count(directory, "compact"), 0);
}

Test(lmdb_store, compaction_ends_at_every_level_with_and_without_something_to_do)
{
    for (lp_sync sync = LP_SYNC_INTERVAL; sync <= LP_SYNC_NEVER; sync++) {
        lp_lmdb_options options = lk_options(sync);
        lp_store *store = lk_open(directory, &options, NULL);
        lk_compact(store);
        append(store, 1, 100);
        lp_batch *batch = lk_batch();
        lp_batch_add_removal(batch, LK_SEQ(5), LP_REMOVED_TTL);
        lp_batch_add_horizon(batch, (lp_str){"", 0}, LK_SEQ(5));
        lk_commit(store, batch);
        uint64_t before = lk_figure(store, "compactions");
        lk_compact(store);
        lk_compact(store);
        cr_assert_leq(lk_figure(store, "compactions"), before + 2);
        lk_close(store);
        lk_remove(directory);
    }
}

Test(lmdb_store, dead_rows_are_deleted_when_nothing_is_published)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    append(store, 1, 100);
    lp_batch *batch = lk_batch();
    for (uint64_t n = 1; n <= 40; n++)
        lp_batch_add_removal(batch, LK_SEQ(n), LP_REMOVED_TTL);
    lk_commit(store, batch);
    int64_t next_ms = 0;
    cr_assert_eq(lk_figure(store, "dead_events"), 40);
    while (next_ms >= 0) {
        cr_assert_eq(lp_store_idle(store, 10, &next_ms, &error), LP_OK, "%s", error.message);
        if (next_ms > 0)
            usleep((useconds_t)next_ms * 1000); /* as it asked */
    }
    cr_assert_eq(lk_figure(store, "dead_events"), 0);
    cr_assert_eq(lk_figure(store, "events"), 60);
    lk_close(store);
}

/* ---- clean stops and boots ------------------------------------------------------------------- */

static uint64_t boot_of(void *ctx)
{
    return *(uint64_t *)ctx;
}

/* A child writes at `sync` on boot 1 and is killed; the next start is on `boot`. */
static void look_on_boot(lp_sync sync, uint64_t boot)
{
    lp_lmdb_options options = lk_options(sync), always = lk_options(LP_SYNC_ALWAYS);
    lp__lmdb_host host = lp__lmdb_host_real();
    uint64_t one = 1;
    host.boot = boot_of;
    host.ctx = &one;
    pid_t child = fork();
    if (child == 0) {
        lp_store *store = lk_try_open(directory, &options, &host, NULL, &error);
        lk_append(store, 1, 3, &error);
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    host.ctx = &boot;
    /* The level it was written at counts, not the one of now. */
    lp_store *store = lk_try_open(directory, &always, &host, &content, &error);
    cr_assert_not_null(store, "%s", error.message);
    lk_close(store);
    lk_remove(directory);
    cr_assert_eq(content.count, 3);
}

Test(lmdb_store, a_stop_that_was_not_clean_is_a_loss_on_another_boot_below_always)
{
    look_on_boot(LP_SYNC_INTERVAL, 1);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    look_on_boot(LP_SYNC_INTERVAL, 2);
    cr_assert_eq(content.losses, 1);
    look_on_boot(LP_SYNC_NEVER, 2);
    cr_assert_eq(content.losses, 1);
    look_on_boot(LP_SYNC_ALWAYS, 2);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
}

/* ---- who may open it ------------------------------------------------------------------------- */

Test(lmdb_store, a_second_one_is_refused_in_this_process_and_in_another)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    cr_assert_null(lk_try_open(directory, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_EINUSE);
    options.read_only = true;
    cr_assert_null(lk_try_open(directory, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_EINUSE);
    append(store, 1, 3);
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.count, 3);
}

Test(lmdb_store, reading_only_changes_no_byte_of_the_directory)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    append(store, 1, 500);
    lk_close(store);
    unlink(lk_path(directory, "lock.mdb"));
    uint64_t sum = lk_sum(directory);
    options.read_only = true;
    store = lk_open(directory, &options, &content);
    cr_assert_eq(content.count, 500);
    cr_assert_eq(lk_append(store, 501, 1, &error), LP_EACCES);
    cr_assert_eq(lk_verify(store, &error), LP_OK);
    lk_close(store);
    cr_assert_eq(lk_sum(directory), sum);
}

Test(lmdb_store, a_directory_that_cannot_be_is_not_found)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    cr_assert_null(lk_try_open("/nonexistent/a/b", &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_ENOTFOUND);
    options.read_only = true;
    cr_assert_null(lk_try_open("/nonexistent", &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_ENOTFOUND);
}

/* Writes one row with LMDB itself. */
static void put_raw(const char *tree, const char *name, const void *value, size_t len)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val key = {strlen(name), (void *)(uintptr_t)name}, data = {len, (void *)(uintptr_t)value};
    cr_assert_eq(mdb_env_create(&env), 0);
    mdb_env_set_maxdbs(env, 4);
    cr_assert_eq(mdb_env_open(env, directory, 0, 0600), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, tree, tree != NULL ? MDB_CREATE : 0, &dbi), 0);
    cr_assert_eq(mdb_put(txn, dbi, &key, &data, 0), 0);
    cr_assert_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

Test(lmdb_store, another_programs_environment_and_a_later_version_are_refused_and_left_alone)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    put_raw(NULL, "something", "else", 4);
    cr_assert_null(lk_try_open(directory, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_EVERSION, "%s", error.message);
    cr_assert_not_null(strstr(error.message, "another program"));
    unlink(lk_path(directory, "data.mdb"));

    lk_look(directory, &options, NULL);
    uint8_t row[64] = {0};
    row[4] = 9; /* the version */
    lp__lmdb_row_seal(LP__ROW_META, LP__META_NAME, strlen(LP__META_NAME), row, sizeof(row));
    put_raw(NULL, LP__META_NAME, row, sizeof(row));
    cr_assert_null(lk_try_open(directory, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_EVERSION, "%s", error.message);
    cr_assert_not_null(strstr(error.message, "version 9"));
    cr_assert_eq(lk_count(directory, "data.mdb.damaged"), 0);
}

/* Whatever it is: it is refused as often as it is tried, and no byte of the directory changes. */
static void expect_left_alone(const char *what)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    uint64_t sum = lk_sum(directory);
    for (int i = 0; i < 3; i++) {
        options.read_only = i == 2;
        cr_assert_null(lk_try_open(directory, &options, NULL, NULL, &error), "%s", what);
        cr_assert_eq(error.status, LP_EVERSION, "%s: %s", what, error.message);
        cr_assert_eq(lk_sum(directory), sum, "%s", what);
    }
}

Test(lmdb_store, a_data_file_of_somebody_else_is_refused_and_left_alone)
{
    static uint8_t bytes[16384];
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lk_write(lk_path(directory, "notes.txt"), "mine", 4);
    lk_write(lk_path(directory, "data.mdb"), "mine too", 8);
    expect_left_alone("text");
    lk_write(lk_path(directory, "data.mdb"), bytes, sizeof(bytes));
    expect_left_alone("zeros");
    unlink(lk_path(directory, "data.mdb"));

    MDB_env *env;
    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_open(env, directory, 0, 0600), 0);
    mdb_env_close(env);
    expect_left_alone("an environment that is empty");
    lk_write(lk_path(directory, "longpoll.lock"), "", 0);
    lk_look(directory, &options, NULL); /* it is a store's now */
}

Test(lmdb_store, a_damaged_data_file_beside_the_lock_file_of_a_store_is_set_aside)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lk_look(directory, &options, NULL);
    lk_write(lk_path(directory, "data.mdb"), "garbage", 7);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.losses, 1);
    cr_assert_eq(lk_count(directory, "data.mdb.damaged"), 1);
}

Test(lmdb_store, other_files_in_the_directory_stay_as_they_are)
{
    static const char *const names[] = {"data", "compact.tmp", "reserve", "a.damaged-1"};
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        lk_write(lk_path(directory, names[i]), names[i], strlen(names[i]));
    for (uint64_t n = 1; n < 30; n += 10) {
        lp_store *store = lk_open(directory, &options, NULL);
        append(store, n, 10);
        lk_close(store);
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        size_t len;
        uint8_t *bytes = lk_read(lk_path(directory, names[i]), &len);
        cr_assert(len == strlen(names[i]) && memcmp(bytes, names[i], len) == 0, "%s", names[i]);
        free(bytes);
    }
}

Test(lmdb_store, options_that_are_none_are_refused)
{
    lp_addon *addon;
    lp_lmdb_options options = lk_options((lp_sync)7);
    cr_assert_eq(lp_lmdb_new(directory, &options, &addon, &error), LP_EINVAL);
    options = lk_options(LP_SYNC_INTERVAL);
    options.sync_interval_ms = -1;
    cr_assert_eq(lp_lmdb_new(directory, &options, &addon, &error), LP_EINVAL);
    cr_assert_eq(lp_lmdb_new("", NULL, &addon, &error), LP_EINVAL);
    cr_assert_eq(lp_lmdb_new(directory, NULL, &addon, &error), LP_OK);
    addon->destroy(addon);
}

/* ---- a full disk ----------------------------------------------------------------------------- */

Test(lmdb_store, a_full_disk_fails_the_batch_whole_and_the_store_goes_on_when_there_is_space)
{
    lp_lmdb_options options = lk_options(LP_SYNC_INTERVAL);
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    lp_store *store = lk_open(directory, &options, NULL);
    append(store, 1, 200);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = file_size() + 30000;
    setrlimit(RLIMIT_FSIZE, &small);
    uint64_t n = 201;
    int status = LP_OK;
    for (; status == LP_OK && n < 5000; n += 100)
        status = lk_append(store, n, 100, &error);
    n -= 100; /* the one that failed */
    cr_assert_eq(status, LP_ENOSPC, "%s", error.message);
    cr_assert_eq(lk_append(store, n, 100, &error), LP_ENOSPC, "%s", error.message);
    setrlimit(RLIMIT_FSIZE, &old);
    append(store, n + 100, 50);
    cr_assert_eq(lk_verify(store, &error), LP_OK, "%s", error.message);
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert(lk_has(&content, n - 1));
    for (uint64_t i = n; i < n + 100; i++)
        cr_assert_not(lk_has(&content, i));
    cr_assert(lk_has(&content, n + 100));
    cr_assert_eq(content.wrong, 0);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
}

Test(lmdb_store, a_start_on_a_full_disk_succeeds_and_the_first_batch_waits_for_space)
{
    lp_lmdb_options options = lk_options(LP_SYNC_INTERVAL);
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 4096;
    setrlimit(RLIMIT_FSIZE, &small);
    lp_store *store = lk_open(directory, &options, NULL);
    cr_assert_eq(lk_append(store, 1, 10, &error), LP_ENOSPC, "%s", error.message);
    setrlimit(RLIMIT_FSIZE, &old);
    append(store, 1, 10);
    lk_close(store);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.count, 10);
}

/* ---- damage while it is open ----------------------------------------------------------------- */

/* Leaves one node in the branch page at the top of the events, which LMDB asserts never to see. */
static bool break_branch(void)
{
    size_t len;
    bool is_broken = false;
    uint8_t *bytes = lk_read(lk_path(directory, "data.mdb"), &len);
    int fd = open(lk_path(directory, "data.mdb"), O_WRONLY | O_CLOEXEC);
    for (size_t at = 2 * 4096; at + 4096 <= len; at += 4096) {
        uint16_t flags, lower = 18;
        memcpy(&flags, bytes + at + 10, sizeof(flags));
        if (flags == 1)
            is_broken |= pwrite(fd, &lower, sizeof(lower), (off_t)at + 12) == sizeof(lower);
    }
    close(fd);
    free(bytes);
    return is_broken;
}

/* In a child: what LMDB holds at that moment is never freed. */
static int break_and_publish(void)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    lp_batch *batch = lk_batch();
    if (lk_append(store, 1, 500, &error) != LP_OK || !break_branch())
        return 1;
    lp_batch_add_removal(batch, LK_SEQ(250), LP_REMOVED_RETRIEVED);
    if (lp_store_append(store, batch, &error) != LP_EINDOUBT)
        return 2;
    if (lk_append(store, 501, 1, &error) != LP_EINDOUBT)
        return 3;
    lp_store_close(store, 1000, &error);
    store = lk_open(directory, &options, &content);
    if (content.losses != 1 || lk_append(store, 1, 10, &error) != LP_OK)
        return 4;
    lk_close(store);
    return 0;
}

Test(lmdb_store, an_assertion_of_lmdb_ends_the_batch_and_not_the_process)
{
    int state = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(break_and_publish());
    waitpid(child, &state, 0);
    cr_assert(WIFEXITED(state));
    cr_assert_eq(WEXITSTATUS(state), 0);
    cr_assert_eq(lk_count(directory, "data.mdb.damaged"), 1);
}

Test(lmdb_store, a_relative_path_holds_when_the_host_changes_its_directory)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    char *before = getcwd(NULL, 0);
    cr_assert_eq(chdir(directory), 0);
    lp_store *store = lk_open("store", &options, NULL);
    append(store, 1, 10);
    cr_assert_eq(chdir("/"), 0);
    lk_compact(store);
    append(store, 11, 10);
    lk_close(store);
    char *path = strdup(lk_path(directory, "store"));
    lk_look(path, &options, &content);
    lk_remove(path);
    cr_assert_eq(chdir(before), 0);
    cr_assert_eq(content.count, 20);
    free(path);
    free(before);
}

/* ---- everything at once ---------------------------------------------------------------------- */

enum { HISTORY = 40000 };

/* What should be there. */
typedef struct model {
    bool lives[HISTORY];
    uint64_t next, oldest;
    unsigned seed;
} model;

static void add_random_batch(model *kept, lp_batch *batch)
{
    static const size_t lengths[] = {10, 60, 200, 900, 1990, 2010, 2100, 4080, 9000, 70000};
    int count = rand_r(&kept->seed) % 60;
    for (int i = 0; i < count && kept->next < HISTORY; i++) {
        size_t kind = (size_t)rand_r(&kept->seed) % 40;
        lp_event *event = lk_event_of(kept->next, lengths[kind < 10 ? kind : kind % 3]);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
        kept->lives[kept->next++] = true;
    }
    for (int i = 0; i < count + 1 && kept->oldest < kept->next; i++) {
        uint64_t n = kept->oldest + (uint64_t)rand_r(&kept->seed) % (kept->next - kept->oldest);
        bool is_retrieved = rand_r(&kept->seed) % 2 == 0;
        if (n + 60 > kept->next || !kept->lives[n])
            continue; /* not of this batch */
        kept->lives[n] = false;
        lp_batch_add_removal(batch, LK_SEQ(n),
                             is_retrieved ? LP_REMOVED_RETRIEVED : LP_REMOVED_BOUND);
    }
    while (kept->oldest + 1 < kept->next && !kept->lives[kept->oldest])
        kept->oldest++;
    lp_batch_add_horizon(batch, lp_str_of(lk_category(kept->next)), LK_SEQ(kept->oldest - 1));
}

Test(lmdb_store, random_histories_keep_what_a_model_keeps_and_verify_all_along)
{
    static model kept;
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    unsigned seed = (unsigned)getpid();
    kept = (model){.next = 1, .oldest = 1, .seed = seed};
    lp_store *store = lk_open(directory, &options, NULL);
    for (int round = 0; round < 600; round++) {
        lp_batch *batch = lk_batch();
        add_random_batch(&kept, batch);
        lk_commit(store, batch);
        if (round % 100 == 50)
            lk_compact(store);
        if (round % 4 == 0)
            cr_assert_eq(lk_verify(store, &error), LP_OK, "seed %u: %s", seed, error.message);
        if (round % 100 != 99)
            continue;
        lk_compact(store); /* rows of events that are gone would come back */
        lk_close(store);
        store = lk_open(directory, &options, &content);
        cr_assert_eq(content.wrong, 0, "seed %u", seed);
        cr_assert_eq(content.losses, 0, "seed %u: %s", seed, content.loss);
        for (uint64_t n = 1; n < kept.next; n++)
            cr_assert_eq(lk_has(&content, n), kept.lives[n], "seed %u, event %llu", seed,
                         (unsigned long long)n);
    }
    lk_close(store);
}
