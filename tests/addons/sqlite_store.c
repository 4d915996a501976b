/* The SQLite store on whole files: what it keeps, whom it refuses, and that it stays small. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "addons/sqlite/inside.h"
#include "sqlite_kit.h"

static sk_content content; /* large */

/* Time that stands still until it is moved. */
struct clock {
    int64_t us;
    uint64_t boot;
};

static int64_t clock_us(void *ctx)
{
    return ((struct clock *)ctx)->us;
}

static int64_t clock_ms(void *ctx)
{
    return 1700000000000 + ((struct clock *)ctx)->us / 1000;
}

static uint64_t clock_boot(void *ctx)
{
    return ((struct clock *)ctx)->boot;
}

static lp__sqlite_world world_of(struct clock *clock)
{
    return (lp__sqlite_world){
        .ctx = clock, .monotonic_us = clock_us, .wall_ms = clock_ms, .boot = clock_boot};
}

Test(sqlite_store, keeps_everything_of_a_batch)
{
    sk_place place = sk_place_new();
    lp_store *store = sk_open(&place, LP_SYNC_INTERVAL, &content);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < 100; n++)
        sk_add_event(batch, n, 0);
    lp_batch_add_horizon(batch, lp_str_of("category 3"), SK_SEQ(10));
    lp_batch_add_horizon(batch, (lp_str){"", 0}, SK_SEQ(1));
    lp_idempotency key = {lp_str_of("key"), UINT64_MAX, SK_SEQ(1), 3, INT64_MAX};
    lp_batch_add_idempotency(batch, &key);
    lp_batch_set_highest(batch, SK_SEQ(200));
    cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
    cr_assert_eq(sk_figure(store, "horizons"), 2);
    sk_close(store);
    cr_assert_not(sk_has_file(&place, "-wal"), "a clean stop leaves one file and the lock");
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    cr_assert_eq(content.count, 98, "two are below their horizon: %zu", content.count);
    cr_assert_eq(content.wrong, 0);
    cr_assert_eq(content.losses, 0);
    cr_assert_eq(content.horizons[3], SK_SEQ(10));
    cr_assert_eq(content.floor, SK_SEQ(1));
    cr_assert_eq(content.highest, SK_SEQ(200));
    cr_assert_eq(content.keys, 1);
    sk_place_remove(&place);
}

/* A database whose rows may be of 2000 bytes stands in for the gigabyte that they may have. */
static lp_store *open_with_small_rows(const sk_place *place)
{
    lp_addon *addon;
    lp_store *store;
    lp_store_sink sink = {.expired_ms = INT64_MIN};
    cr_assert_eq(lp_sqlite_new(place->file, NULL, &addon, NULL), LP_OK);
    cr_assert_eq(lp_store_open(addon, &sink, &store, NULL), LP_OK);
    sqlite3_limit(((lp__sqlite *)addon->state)->db, SQLITE_LIMIT_LENGTH, 2000);
    return store;
}

/* Its last event is too large, when the others would have been inserted already. */
Test(sqlite_store, a_group_is_refused_whole_with_its_key)
{
    sk_place place = sk_place_new();
    lp_store *store = open_with_small_rows(&place);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < 3; n++)
        sk_add_event(batch, n, n == 2 ? 3000 : 0);
    lp_batch_group(batch, 3);
    for (uint64_t n = 3; n < 5; n++)
        sk_add_event(batch, n, 0);
    lp_batch_group(batch, 2);
    lp_idempotency refused = {lp_str_of("refused"), 1, SK_SEQ(0), 3, INT64_MAX};
    lp_idempotency kept = {lp_str_of("kept"), 1, SK_SEQ(3), 2, INT64_MAX};
    lp_batch_add_idempotency(batch, &refused);
    lp_batch_add_idempotency(batch, &kept);
    cr_assert_eq(lp_store_append(store, batch, NULL), LP_OK);
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(lp_batch_status(batch, i, NULL), i < 3 ? LP_ETOOBIG : LP_OK);
    lp_batch_free(batch);
    sk_close(store);
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    cr_assert_eq(content.count, 2);
    cr_assert_eq(content.keys, 1);
    cr_assert_eq(content.wrong, 0);
    sk_place_remove(&place);
}

struct bytes {
    char category[64], data[64];
    size_t category_len, data_len;
};

static int take_bytes(void *ctx, lp_id id, lp_str category, lp_str data)
{
    struct bytes *bytes = ctx;
    (void)id;
    memcpy(bytes->category, category.base, category.len);
    memcpy(bytes->data, data.base, data.len);
    bytes->category_len = category.len;
    bytes->data_len = data.len;
    return LP_OK;
}

Test(sqlite_store, bytes_survive_that_text_of_sqlite_would_not)
{
    static const char category[] = "a\0b\xf0\x9f\x98\x80\xed\x9f\xbf\n'";
    static const char data[] = "\"\xef\xbf\xbf \\u0000 \xf4\x8f\xbf\xbf\"";
    sk_place place = sk_place_new();
    lp_store *store = sk_open(&place, LP_SYNC_NEVER, &content);
    lp_event *event;
    cr_assert_eq(lp_event_new(lp_id_make(SK_SEQ(1), UINT64_MAX),
                              (lp_str){category, sizeof(category) - 1},
                              (lp_str){data, sizeof(data) - 1}, &event),
                 LP_OK);
    lp_batch *batch = sk_batch();
    lp_batch_add_event(batch, event);
    lp_batch_add_horizon(batch, (lp_str){"a\0c", 3}, SK_SEQ(7));
    lp_batch_add_horizon(batch, (lp_str){"a", 1}, SK_SEQ(8));
    cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
    lp_event_unref(event);
    sk_close(store);
    struct bytes bytes = {.data_len = 0};
    lp_store_sink sink = {.ctx = &bytes, .event = take_bytes, .expired_ms = INT64_MIN};
    lp_addon *addon;
    cr_assert_eq(lp_sqlite_new(place.file, NULL, &addon, NULL), LP_OK);
    cr_assert_eq(lp_store_open(addon, &sink, &store, NULL), LP_OK);
    cr_assert_eq(bytes.category_len, sizeof(category) - 1);
    cr_assert_arr_eq(bytes.category, category, sizeof(category) - 1);
    cr_assert_eq(bytes.data_len, sizeof(data) - 1);
    cr_assert_arr_eq(bytes.data, data, sizeof(data) - 1);
    cr_assert_eq(sk_figure(store, "horizons"), 2);
    sk_close(store);
    sk_place_remove(&place);
}

Test(sqlite_store, the_highest_number_survives_the_event_that_had_it)
{
    sk_place place = sk_place_new();
    lp_store *store = sk_open(&place, LP_SYNC_INTERVAL, &content);
    sk_append(store, 0, 10, NULL);
    lp_batch *batch = sk_batch();
    lp_batch_add_removal(batch, SK_SEQ(9), LP_REMOVED_RETRIEVED);
    cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
    sk_close(store);
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    cr_assert_eq(content.count, 9);
    cr_assert_eq(content.highest, SK_SEQ(9));
    sk_place_remove(&place);
}

Test(sqlite_store, is_refused_to_a_second_one_and_shared_by_readers)
{
    sk_place place = sk_place_new();
    static sk_content second;
    lp_error error;
    lp_sqlite_options options = sk_options(LP_SYNC_ALWAYS);
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_null(sk_open_world(&place, &options, NULL, &second, &error));
    cr_assert_eq(error.status, LP_EINUSE);
    options.read_only = true;
    cr_assert_null(sk_open_world(&place, &options, NULL, &second, &error));
    cr_assert_eq(error.status, LP_EINUSE);
    sk_append(store, 0, 10, NULL);
    sk_close(store);
    lp_store *reader = sk_open_world(&place, &options, NULL, &content, &error);
    lp_store *other = sk_open_world(&place, &options, NULL, &second, &error);
    cr_assert(reader != NULL && other != NULL);
    cr_assert(content.count == 10 && second.count == 10);
    cr_assert_eq(sk_append(reader, 10, 1, &error), LP_EACCES);
    sk_close(reader);
    sk_close(other);
    sk_place_remove(&place);
}

static void ignore_figure(void *ctx, const char *name, uint64_t number, const char *text)
{
    (void)ctx, (void)name, (void)number, (void)text;
}

Test(sqlite_store, read_only_leaves_the_directory_as_it_is)
{
    sk_place place = sk_place_new();
    lp_error error;
    lp_store *store = sk_open(&place, LP_SYNC_INTERVAL, &content);
    sk_append(store, 0, 50, NULL);
    sk_place killed = sk_place_copy(&place); /* with a log */
    sk_close(store);
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    options.read_only = true;
    sk_place *places[] = {&place, &killed};
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(sk_has_file(places[i], "-wal"), i == 1);
        uint64_t before = sk_digest(places[i]);
        store = sk_open_world(places[i], &options, NULL, &content, &error);
        cr_assert_not_null(store, "%s", error.message);
        cr_assert_eq(content.count, 50, "%d: %zu", i, content.count);
        cr_assert_eq(lp_store_verify(store, ignore_figure, NULL, &error), LP_OK, "%s",
                     error.message);
        sk_close(store);
        cr_assert_eq(sk_digest(places[i]), before, "%d: something was written", i);
        sk_place_remove(places[i]);
    }
}

Test(sqlite_store, another_programs_database_and_a_later_version_are_refused)
{
    static const struct {
        const char *sql, *says;
    } cases[] = {
        {"DROP TABLE meta; PRAGMA application_id=0", "another program"},
        {"UPDATE meta SET number = 9, crc = 0 WHERE name = 'version'; PRAGMA user_version=9",
         "version 9"},
    };
    for (int i = 0; i < 2; i++) {
        sk_place place = sk_place_new();
        lp_error error;
        lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
        sk_look(&place, LP_SYNC_INTERVAL, &content);
        cr_assert_eq(sk_sql(&place, cases[i].sql), SQLITE_OK);
        cr_assert_null(sk_open_world(&place, &options, NULL, &content, &error));
        cr_assert_eq(error.status, LP_EVERSION, "%s", error.message);
        cr_assert_not_null(strstr(error.message, cases[i].says), "%s", error.message);
        cr_assert_not(sk_has_file(&place, ".damaged-1"));
        sk_place_remove(&place);
    }
}

Test(sqlite_store, a_damaged_version_in_the_header_is_no_reason_to_refuse)
{
    sk_place place = sk_place_new();
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    cr_assert_eq(sk_sql(&place, "PRAGMA user_version=513; PRAGMA application_id=77"), SQLITE_OK);
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    cr_assert_eq(content.losses, 0);
    sk_place_remove(&place);
}

Test(sqlite_store, says_what_is_wrong_with_the_path)
{
    sk_place place = sk_place_new(), wrong = place;
    lp_error error;
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    snprintf(wrong.file, sizeof(wrong.file), "%s/none/store.db", place.directory);
    cr_assert_null(sk_open_world(&wrong, &options, NULL, &content, &error));
    cr_assert_eq(error.status, LP_ENOTFOUND, "%s", error.message);
    mkdir(place.file, 0700);
    cr_assert_null(sk_open_world(&place, &options, NULL, &content, &error));
    cr_assert_eq(error.status, LP_ENOTFOUND, "%s", error.message);
    rmdir(place.file);
    options.read_only = true;
    cr_assert_null(sk_open_world(&place, &options, NULL, &content, &error));
    cr_assert_eq(error.status, LP_ENOTFOUND, "%s", error.message);
    lp_addon *addon;
    options.sync_interval_ms = -1;
    cr_assert_eq(lp_sqlite_new("x", &options, &addon, &error), LP_EINVAL);
    cr_assert_eq(lp_sqlite_new("", NULL, &addon, &error), LP_EINVAL);
    sk_place_remove(&place);
}

/* ---- another boot ---------------------------------------------------------------------------- */

Test(sqlite_store, a_loss_is_told_after_another_boot_unless_all_was_synced)
{
    for (int level = 0; level < 3; level++) {
        for (int clean = 0; clean < 2; clean++) {
            struct clock clock = {1, 11};
            lp__sqlite_world world = world_of(&clock);
            lp_sqlite_options options = sk_options((lp_sync)level);
            sk_place place = sk_place_new();
            lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
            sk_append(store, 0, 5, NULL);
            sk_place killed = sk_place_copy(&place);
            sk_close(store);
            clock.boot = 12;
            options.sync = LP_SYNC_ALWAYS; /* the level of then counts, not that of now */
            sk_place *which = clean ? &place : &killed;
            store = sk_open_world(which, &options, &world, &content, NULL);
            bool is_lost = !clean && level != LP_SYNC_ALWAYS;
            cr_assert_eq(content.losses, is_lost, "level %d, clean %d", level, clean);
            cr_assert_eq(content.count, 5);
            /* Until a floor is kept it is told again. */
            sk_append(store, 5, 1, NULL);
            sk_place again = sk_place_copy(which);
            if (is_lost)
                sk_raise_floor(store, 6);
            sk_close(store);
            store = sk_open_world(&again, &options, &world, &content, NULL);
            cr_assert_eq(content.losses, is_lost, "level %d: told again", level);
            sk_close(store);
            store = sk_open_world(which, &options, &world, &content, NULL);
            cr_assert_eq(content.losses, 0, "level %d: told once", level);
            sk_close(store);
            sk_place_remove(&place);
            sk_place_remove(&killed);
            sk_place_remove(&again);
        }
    }
}

/* ---- removals and size ----------------------------------------------------------------------- */

/* Publishes batches of 64 into a ring of 500 over all, as a manager would tell it. */
static uint64_t run_ring(lp_store *store, uint64_t first, uint64_t end, uint64_t ring)
{
    lp_error error = {LP_OK, ""};
    uint64_t largest = 0;
    for (uint64_t n = first; n < end; n += 64) {
        lp_batch *batch = sk_batch();
        for (uint64_t i = n; i < n + 64; i++) {
            sk_add_event(batch, i, 200);
            if (i >= ring)
                lp_batch_add_removal(batch, SK_SEQ(i - ring), LP_REMOVED_RING);
        }
        for (uint64_t i = n > 7 ? n + 64 - 7 : n; i < n + 64; i++) {
            char category[64];
            sk_category(i - ring, category, sizeof(category));
            if (i >= ring)
                lp_batch_add_horizon(batch, lp_str_of(category), SK_SEQ(i - ring));
        }
        lp_batch_set_highest(batch, SK_SEQ(n + 63));
        cr_assert_eq(sk_commit(store, batch, &error), LP_OK, "%s", error.message);
        uint64_t bytes = sk_figure(store, "disk_bytes");
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

Test(sqlite_store, stays_in_proportion_to_its_ring_without_an_idle_moment)
{
    sk_place place = sk_place_new();
    lp_store *store = sk_open(&place, LP_SYNC_NEVER, &content);
    uint64_t early = run_ring(store, 0, 32000, 500);
    uint64_t late = run_ring(store, 32000, 96000, 500);
    cr_assert_leq(late, early + early / 2, "%llu then %llu bytes", (unsigned long long)early,
                  (unsigned long long)late);
    cr_assert_leq(sk_file_size(&place, ""), 3 << 20);
    cr_assert_eq(sk_figure(store, "events"), 500);
    cr_assert_leq(sk_figure(store, "dead_events"), 4500);
    sk_close(store);
    sk_look(&place, LP_SYNC_NEVER, &content);
    cr_assert_eq(content.count, 500);
    cr_assert(sk_has(&content, 95999) && !sk_has(&content, 95499));
    sk_place_remove(&place);
}

static void idle_until_done(lp_store *store, struct clock *clock)
{
    int64_t next = 0;
    for (int i = 0; next >= 0; i++) {
        lp_error error = {LP_OK, ""};
        cr_assert_lt(i, 10000, "it never ends");
        clock->us += next * 1000;
        cr_assert_eq(lp_store_idle(store, 20, &next, &error), LP_OK, "%s", error.message);
    }
}

Test(sqlite_store, deletes_what_is_dead_and_gives_space_back_once_it_is_quiet)
{
    struct clock clock = {1, 1};
    lp__sqlite_world world = world_of(&clock);
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    sk_place place = sk_place_new();
    lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
    for (uint64_t n = 0; n < 20000; n += 1000)
        sk_append(store, n, 1000, NULL);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < 19990; n++)
        lp_batch_add_removal(batch, SK_SEQ(n), LP_REMOVED_TTL);
    lp_batch_add_horizon(batch, (lp_str){"", 0}, SK_SEQ(19989));
    for (uint64_t n = 0; n < SK_CATEGORIES; n++) {
        char category[64];
        sk_category(n, category, sizeof(category));
        lp_batch_add_horizon(batch, lp_str_of(category), SK_SEQ(19989));
    }
    cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
    idle_until_done(store, &clock);
    cr_assert_eq(sk_figure(store, "dead_events"), 0);
    cr_assert_eq(sk_number(&place, "SELECT count(*) FROM event"), 10);
    cr_assert_eq(sk_number(&place, "SELECT count(*) FROM horizon"), 1, "the floor covers them");
    sk_close(store);
    cr_assert_lt(sk_file_size(&place, ""), 1200000, "%llu bytes",
                 (unsigned long long)sk_file_size(&place, ""));
    sk_place_remove(&place);
}

Test(sqlite_store, an_idle_call_without_a_budget_takes_a_step)
{
    struct clock clock = {1, 1};
    lp__sqlite_world world = world_of(&clock);
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    sk_place place = sk_place_new();
    int64_t next = 0;
    lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
    for (uint64_t n = 0; n < 10000; n += 1000)
        sk_append(store, n, 1000, NULL);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < 9990; n++)
        if (n % 10 != 0)
            lp_batch_add_removal(batch, SK_SEQ(n), LP_REMOVED_TTL);
    cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
    clock.us += 5000000;
    for (int i = 0; i < 20 && next >= 0; i++)
        cr_assert_eq(lp_store_idle(store, 0, &next, NULL), LP_OK);
    cr_assert_eq(sk_figure(store, "dead_events"), 0);
    next = 0;
    for (int i = 0; i < 20 && next >= 0; i++)
        cr_assert_eq(lp_store_compact(store, 0, &next, NULL), LP_OK);
    cr_assert_eq(next, -1);
    sk_close(store);
    sk_place_remove(&place);
}

Test(sqlite_store, the_log_is_synced_at_its_deadline_also_when_nothing_more_comes)
{
    struct clock clock = {1, 1};
    lp__sqlite_world world = world_of(&clock);
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    sk_place place = sk_place_new();
    int64_t next = -1;
    lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
    sk_append(store, 0, 1, NULL);
    sk_append(store, 1, 1, NULL);
    cr_assert_eq(lp_store_idle(store, 20, &next, NULL), LP_OK);
    cr_assert(next >= 0 && next <= 1000, "%lld", (long long)next);
    clock.us += 1000000;
    cr_assert_eq(lp_store_idle(store, 20, &next, NULL), LP_OK);
    sk_close(store);
    sk_place_remove(&place);
}

/* Every look at it costs time. */
static int64_t slow_us(void *ctx)
{
    return ((struct clock *)ctx)->us += 5000;
}

Test(sqlite_store, a_deadline_that_passes_while_it_tidies_up_is_kept)
{
    struct clock clock = {1, 1};
    lp__sqlite_world world = world_of(&clock);
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    sk_place place = sk_place_new();
    int64_t next = -1;
    world.monotonic_us = slow_us;
    options.sync_interval_ms = 1;
    lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
    sk_append(store, 0, 100, NULL);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < 50; n++)
        lp_batch_add_removal(batch, SK_SEQ(n), LP_REMOVED_TTL);
    cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
    clock.us += 2000000;
    cr_assert_eq(lp_store_idle(store, 0, &next, NULL), LP_OK);
    cr_assert_eq(sk_figure(store, "dead_events"), 0);
    cr_assert_eq(next, 0, "the deletion is not on disk yet: %lld", (long long)next);
    for (int i = 0; i < 10 && next >= 0; i++)
        cr_assert_eq(lp_store_idle(store, 0, &next, NULL), LP_OK);
    cr_assert_eq(next, -1);
    sk_close(store);
    sk_place_remove(&place);
}

Test(sqlite_store, a_file_that_cannot_shrink_is_left_in_peace)
{
    struct clock clock = {1, 1};
    lp__sqlite_world world = world_of(&clock);
    lp_sqlite_options options = sk_options(LP_SYNC_NEVER);
    sk_place place = sk_place_new();
    int64_t next = 0;
    sk_look(&place, LP_SYNC_NEVER, &content);
    cr_assert_eq(sk_sql(&place, "PRAGMA journal_mode=DELETE; PRAGMA auto_vacuum=NONE; VACUUM"), 0);
    cr_assert_eq(sk_number(&place, "PRAGMA auto_vacuum"), 0);
    lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
    for (uint64_t n = 0; n < 20000; n += 1000)
        sk_append(store, n, 1000, NULL);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < 19000; n++)
        lp_batch_add_removal(batch, SK_SEQ(n), LP_REMOVED_TTL);
    cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
    for (int i = 0; i < 100 && next >= 0; i++) {
        clock.us += 2000000;
        cr_assert_eq(lp_store_idle(store, 1000, &next, NULL), LP_OK);
    }
    cr_assert_eq(next, -1, "it wants to be called for ever");
    cr_assert_gt(sk_number(&place, "PRAGMA freelist_count"), 256);
    sk_close(store);
    sk_place_remove(&place);
}

Test(sqlite_store, compacting_leaves_only_what_lives)
{
    sk_place place = sk_place_new();
    lp_store *store = sk_open(&place, LP_SYNC_INTERVAL, &content);
    for (uint64_t n = 0; n < 10000; n += 1000)
        sk_append(store, n, 1000, NULL);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < 10000; n += 1)
        if (n % 10 != 0)
            lp_batch_add_removal(batch, SK_SEQ(n), LP_REMOVED_BOUND);
    cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
    int64_t next = 0;
    for (int i = 0; i < 1000 && next >= 0; i++)
        cr_assert_eq(lp_store_compact(store, 20, &next, NULL), LP_OK);
    cr_assert_eq(next, -1);
    cr_assert_eq(sk_file_size(&place, "-wal"), 0);
    cr_assert_lt(sk_file_size(&place, ""), 300000, "%llu",
                 (unsigned long long)sk_file_size(&place, ""));
    sk_close(store);
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    cr_assert_eq(content.count, 1000);
    cr_assert_eq(content.wrong, 0);
    sk_place_remove(&place);
}

Test(sqlite_store, space_that_was_held_back_still_is_after_a_restart)
{
    sk_place place = sk_place_new();
    struct stat before, after;
    char name[400];
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    snprintf(name, sizeof(name), "%s.reserve", place.file);
    cr_assert_eq(stat(name, &before), 0);
    cr_assert_gt(before.st_size, 0);
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    cr_assert_eq(stat(name, &after), 0);
    cr_assert_eq(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec, "never given up in between");
    cr_assert_eq(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
    sk_place_remove(&place);
}

Test(sqlite_store, expired_keys_are_deleted)
{
    struct clock clock = {1, 1};
    lp__sqlite_world world = world_of(&clock);
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    sk_place place = sk_place_new();
    lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
    for (uint64_t n = 0; n < 4000; n++) {
        char text[32];
        lp_batch *batch = sk_batch();
        snprintf(text, sizeof(text), "key %d", (int)n);
        lp_idempotency key = {lp_str_of(text), n, SK_SEQ(n), 1, clock_ms(&clock) + 100};
        lp_batch_add_idempotency(batch, &key);
        lp_batch_set_highest(batch, SK_SEQ(n));
        cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
        clock.us += 1000;
    }
    cr_assert_leq(sk_figure(store, "idempotency_keys"), 800);
    sk_close(store);
    store = sk_open_world(&place, &options, &world, &content, NULL);
    cr_assert_leq(content.keys, 100);
    cr_assert_gt(content.keys, 0);
    sk_close(store);
    sk_place_remove(&place);
}

/* ---- other programs -------------------------------------------------------------------------- */

Test(sqlite_store, another_program_may_read_and_a_writer_only_delays)
{
    sk_place place = sk_place_new();
    lp_error error = {LP_OK, ""};
    lp_store *store = sk_open(&place, LP_SYNC_INTERVAL, &content);
    sk_append(store, 0, 10, NULL);
    cr_assert_eq(sk_number(&place, "SELECT count(*) FROM events"), 10);
    sqlite3 *shell;
    sqlite3_open_v2(place.file, &shell, SQLITE_OPEN_READWRITE, NULL);
    cr_assert_eq(sqlite3_exec(shell, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    cr_assert_eq(sk_append(store, 10, 10, &error), LP_EIO);
    cr_assert_not_null(strstr(error.message, "locked"), "%s", error.message);
    sqlite3_exec(shell, "COMMIT", NULL, NULL, NULL);
    cr_assert_eq(sk_append(store, 20, 10, &error), LP_OK, "%s", error.message);
    sqlite3_close(shell);
    sk_close(store);
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    cr_assert_eq(content.count, 20);
    cr_assert_not(sk_has(&content, 10));
    sk_place_remove(&place);
}

Test(sqlite_store, a_reader_that_never_ends_is_complained_of)
{
    sk_place place = sk_place_new();
    lp_store *store = sk_open(&place, LP_SYNC_NEVER, &content);
    sk_append(store, 0, 10, NULL);
    sqlite3 *shell;
    sqlite3_open_v2(place.file, &shell, SQLITE_OPEN_READWRITE, NULL);
    cr_assert_eq(sqlite3_exec(shell, "BEGIN; SELECT count(*) FROM event", NULL, NULL, NULL),
                 SQLITE_OK);
    for (uint64_t n = 10; content.log[0] == '\0' && n < 300000; n += 500)
        cr_assert_eq(sk_append(store, n, 500, NULL), LP_OK);
    cr_assert_not_null(strstr(content.log, "has been reading"), "%s", content.log);
    sqlite3_exec(shell, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(shell);
    uint64_t before = sk_file_size(&place, "-wal");
    for (uint64_t n = 300000; n < 340000; n += 500)
        cr_assert_eq(sk_append(store, n, 500, NULL), LP_OK);
    cr_assert_lt(sk_file_size(&place, "-wal"), before, "the log is bounded again");
    sk_close(store);
    sk_place_remove(&place);
}
