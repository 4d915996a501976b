/* Damage to the files of the SQLite store: whatever was done to them, the start goes on, the loss
 * is told until a floor is kept and then no more, and no wrong byte is handed out. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite_kit.h"

static sk_content content, again; /* large */

enum { EVENTS = 1500 };

/* A store that was closed, with all kinds of rows. */
static sk_place make_store(void)
{
    sk_place place = sk_place_new();
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    for (uint64_t n = 0; n < EVENTS; n += 100)
        cr_assert_eq(sk_append(store, n, 100, NULL), LP_OK);
    lp_batch *batch = sk_batch();
    lp_batch_add_horizon(batch, lp_str_of("category 2"), SK_SEQ(2));
    for (int i = 0; i < 20; i++) {
        char text[32];
        snprintf(text, sizeof(text), "key %d", i);
        lp_idempotency key = {lp_str_of(text), 1, SK_SEQ(i), 1, INT64_MAX};
        lp_batch_add_idempotency(batch, &key);
    }
    cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
    sk_close(store);
    return place;
}

static void ignore_figure(void *ctx, const char *name, uint64_t number, const char *text)
{
    (void)ctx, (void)name, (void)number, (void)text;
}

/* Starts it; the loss must be told as long as no floor was kept, and not afterwards. Then it has to
 * work as any other. */
static void check_told_once(const sk_place *place, bool expects_loss, const char *what)
{
    lp_error error = {LP_OK, ""};
    lp_store *store = sk_open(place, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(content.losses > 0, expects_loss, "%s: loss %u", what, content.losses);
    cr_assert_eq(content.wrong, 0, "%s", what);
    cr_assert_eq(sk_append(store, 5000, 1, &error), LP_OK, "%s: %s", what, error.message);
    sk_close(store);
    store = sk_open(place, LP_SYNC_ALWAYS, &again);
    cr_assert_eq(again.losses > 0, expects_loss, "%s: at the second start %u", what, again.losses);
    cr_assert_eq(again.count, content.count + 1, "%s: %zu, then %zu", what, content.count,
                 again.count);
    sk_raise_floor(store, 5001);
    sk_close(store);
    store = sk_open(place, LP_SYNC_ALWAYS, &again);
    cr_assert_eq(again.losses, 0, "%s: after a floor: %s", what, again.loss);
    cr_assert_eq(again.count, content.count + 1, "%s", what);
    cr_assert_eq(sk_append(store, 6000, 10, &error), LP_OK, "%s: %s", what, error.message);
    cr_assert_eq(lp_store_verify(store, ignore_figure, NULL, &error), LP_OK, "%s: %s", what,
                 error.message);
    sk_close(store);
}

Test(sqlite_damage, a_damaged_row_is_skipped_and_moved_aside)
{
    sk_place place = make_store();
    sk_sql(&place, "UPDATE event SET data = data || ' ' WHERE seq & 255 = 7");
    sk_sql(&place, "UPDATE event SET category = 'category 9' WHERE seq & 255 = 8");
    sk_sql(&place, "UPDATE event SET random = random + 1 WHERE seq & 255 = 9");
    sk_sql(&place, "UPDATE event SET crc = 'x' WHERE seq & 255 = 10");
    int64_t hit = sk_number(&place, "SELECT count(*) FROM event WHERE seq & 255 BETWEEN 7 AND 10");
    check_told_once(&place, true, "rows");
    cr_assert_eq(content.lost_records, (uint64_t)hit);
    cr_assert_eq(content.count, EVENTS - 1 - (size_t)hit, "one is below its horizon");
    cr_assert_not(sk_has(&content, 7));
    cr_assert_eq(sk_number(&place, "SELECT count(*) FROM damaged"), hit);
    cr_assert_not(sk_has_file(&place, ".damaged-1"));
    sk_place_remove(&place);
}

Test(sqlite_damage, damage_to_the_small_tables_is_told)
{
    static const char *const cases[] = {
        "UPDATE horizon SET seq = seq - 1",
        "UPDATE idempotency SET digest = 2 WHERE number = 4",
        "UPDATE meta SET number = number + 1 WHERE name = 'boot'",
        "UPDATE meta SET name = 'what' WHERE name = 'clean'",
        "DELETE FROM meta",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        sk_place place = make_store();
        cr_assert_eq(sk_sql(&place, cases[i]), SQLITE_OK);
        check_told_once(&place, true, cases[i]);
        cr_assert_geq(content.count, EVENTS - 1);
        sk_place_remove(&place);
    }
}

Test(sqlite_damage, pages_that_cannot_be_read_cost_no_others)
{
    sk_place place = make_store();
    size_t len;
    uint8_t *data = sk_read(&place, "", &len);
    /* A leaf of events in the middle: overwritten whole. */
    memset(data + len / 2 / 4096 * 4096, 0xA5, 4096);
    sk_write(&place, "", data, len);
    check_told_once(&place, true, "a page");
    cr_assert_gt(content.count, EVENTS * 9 / 10, "%zu", content.count);
    cr_assert(sk_has(&content, 0) && sk_has(&content, EVENTS - 1));
    cr_assert(sk_has_file(&place, ".damaged-1"), "the old file is kept");
    free(data);
    sk_place_remove(&place);
}

Test(sqlite_damage, a_file_that_was_cut_short_is_read_as_far_as_it_goes)
{
    static const int shares[] = {0, 1, 30, 60, 99};
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        sk_place place = make_store();
        size_t len;
        char what[32];
        uint8_t *data = sk_read(&place, "", &len);
        snprintf(what, sizeof(what), "cut to %d %%", shares[i]);
        sk_write(&place, "", data, len * (size_t)shares[i] / 100);
        check_told_once(&place, true, what);
        if (shares[i] >= 60)
            cr_assert_gt(content.count, EVENTS / 3, "%s: %zu", what, content.count);
        free(data);
        sk_place_remove(&place);
    }
}

Test(sqlite_damage, garbage_is_set_aside_whole)
{
    sk_place place = sk_place_new();
    uint8_t garbage[9000];
    for (size_t i = 0; i < sizeof(garbage); i++)
        garbage[i] = (uint8_t)(i * 131 >> 3);
    sk_write(&place, ".lock", "", 0); /* a store has been here */
    sk_write(&place, "", garbage, sizeof(garbage));
    check_told_once(&place, true, "garbage");
    size_t len;
    uint8_t *kept = sk_read(&place, ".damaged-1", &len);
    cr_assert_eq(len, sizeof(garbage));
    cr_assert_arr_eq(kept, garbage, len);
    free(kept);
    sk_write(&place, "", garbage, sizeof(garbage));
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    cr_assert(sk_has_file(&place, ".damaged-2"), "a second one takes the next number");
    lp_store *store = sk_open(&place, LP_SYNC_INTERVAL, &content);
    cr_assert_eq(sk_figure(store, "set_aside_files"), 2);
    sk_close(store);
    sk_place_remove(&place);
}

Test(sqlite_damage, a_log_without_its_database_is_a_loss)
{
    sk_place place = sk_place_new();
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    sk_append(store, 0, 100, NULL);
    sk_place killed = sk_place_copy(&place);
    sk_close(store);
    char name[400];
    snprintf(name, sizeof(name), "%s", killed.file);
    remove(name);
    check_told_once(&killed, true, "no database");
    cr_assert_eq(content.count, 0);
    cr_assert(sk_has_file(&killed, ".damaged-1-wal"));
    sk_place_remove(&killed);
    sk_place_remove(&place);
}

Test(sqlite_damage, a_log_that_was_cut_or_damaged_gives_what_was_before)
{
    sk_place place = sk_place_new();
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    for (uint64_t n = 0; n < 200; n += 10)
        sk_append(store, n, 10, NULL);
    for (unsigned i = 0; i < 40; i++) {
        sk_place killed = sk_place_copy(&place);
        size_t len;
        uint8_t *log = sk_read(&killed, "-wal", &len);
        size_t at = len * i / 40;
        if (i % 2 == 0)
            len = at;
        else
            log[at] ^= 0x10;
        sk_write(&killed, "-wal", log, len);
        sk_look(&killed, LP_SYNC_ALWAYS, &content);
        cr_assert_eq(content.wrong, 0);
        cr_assert_eq(content.count % 10, 0, "%u: a batch is whole or not there: %zu", i,
                     content.count);
        free(log);
        sk_place_remove(&killed);
    }
    sk_close(store);
    sk_place_remove(&place);
}

Test(sqlite_damage, flipped_bits_give_no_wrong_event_and_stop_no_start, .timeout = 120)
{
    unsigned seed = 20241123;
    sk_place place = make_store();
    size_t len;
    uint8_t *data = sk_read(&place, "", &len);
    for (unsigned i = 0; i < 120; i++) {
        sk_place hit = sk_place_copy(&place);
        uint8_t *bytes = malloc(len);
        memcpy(bytes, data, len);
        size_t at = i < 60 ? (size_t)rand_r(&seed) % 4096 : (size_t)rand_r(&seed) % len;
        for (unsigned k = 0; k < 1 + i % 3; k++)
            bytes[(at + k * 5) % len] ^= (uint8_t)(1 << rand_r(&seed) % 8);
        sk_write(&hit, "", bytes, len);
        lp_error error = {LP_OK, ""};
        lp_sqlite_options options = sk_options(LP_SYNC_ALWAYS);
        lp_store *store = sk_open_world(&hit, &options, NULL, &content, &error);
        cr_assert_not_null(store, "offset %zu: %s", at, error.message);
        cr_assert_eq(content.wrong, 0, "offset %zu", at);
        cr_assert(content.losses > 0 || content.count == EVENTS - 1,
                  "offset %zu: %zu events and no word", at, content.count);
        cr_assert_eq(sk_append(store, 5000, 10, &error), LP_OK, "offset %zu: %s", at,
                     error.message);
        sk_raise_floor(store, 5010);
        sk_close(store);
        sk_look(&hit, LP_SYNC_ALWAYS, &again);
        if (strstr(again.loss, "its pages were damaged") != NULL) { /* found while it ran */
            store = sk_open(&hit, LP_SYNC_ALWAYS, &again);
            sk_raise_floor(store, 5011);
            sk_close(store);
            sk_look(&hit, LP_SYNC_ALWAYS, &again);
        }
        cr_assert_eq(again.losses, 0, "offset %zu: %s", at, again.loss);
        cr_assert_eq(again.count, content.count + 10, "offset %zu: %zu then %zu", at, content.count,
                     again.count);
        free(bytes);
        sk_place_remove(&hit);
    }
    free(data);
    sk_place_remove(&place);
}

Test(sqlite_damage, damage_is_not_repaired_where_only_looking_is_wanted)
{
    sk_place place = make_store();
    size_t len;
    uint8_t *data = sk_read(&place, "", &len);
    memset(data + len / 2 / 4096 * 4096, 0xA5, 4096);
    sk_write(&place, "", data, len);
    lp_error error = {LP_OK, ""};
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    options.read_only = true;
    uint64_t before = sk_digest(&place);
    lp_store *store = sk_open_world(&place, &options, NULL, &content, &error);
    cr_assert_not_null(store, "%s", error.message);
    cr_assert_eq(content.losses, 1);
    cr_assert_gt(content.count, EVENTS * 9 / 10);
    cr_assert_eq(lp_store_verify(store, ignore_figure, NULL, &error), LP_EDAMAGED);
    cr_assert_neq(error.message[0], '\0');
    sk_close(store);
    cr_assert_eq(sk_digest(&place), before);
    free(data);
    sk_place_remove(&place);
}

Test(sqlite_damage, pages_found_damaged_while_it_runs_are_mended_by_a_new_file)
{
    sk_place place = sk_place_new();
    lp_error error = {LP_OK, ""};
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    for (uint64_t n = 0; n < 3000; n += 100)
        sk_append(store, n, 100, NULL);
    sk_close(store);
    size_t len;
    uint8_t *data = sk_read(&place, "", &len);
    memset(data + len / 2 / 4096 * 4096, 0xA5, 4096);
    store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    sk_write(&place, "", data, len);
    /* A write of another program, so that the store reads the pages anew. */
    cr_assert_eq(sk_sql(&place, "INSERT INTO damaged VALUES (1, 1, 1, 1, 1)"), 0);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < 2990; n++)
        lp_batch_add_removal(batch, SK_SEQ(n), LP_REMOVED_RETRIEVED);
    int status = sk_commit(store, batch, &error);
    cr_assert_eq(status, LP_OK, "%s", error.message);
    cr_assert(sk_has_file(&place, ".damaged-1"));
    cr_assert_eq(sk_append(store, 5000, 5, &error), LP_OK, "%s", error.message);
    sk_close(store);
    sk_look(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(content.count, 15, "%zu", content.count);
    free(data);
    sk_place_remove(&place);
}
