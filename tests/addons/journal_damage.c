/* Damaged and torn files: a start never fails, loses no more than what was hit, and tells it once.
 *
 * These tests open some ten thousand directories; the calls that wait for a disk are left out. */
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

static int no_sync(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}

static void begin(void)
{
    directory = jk_directory_in_memory();
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

TestSuite(journal_damage, .init = begin, .fini = end, .timeout = 300);

static lp_store *open_with(const lp_journal_options *options)
{
    lp_error error = {LP_OK, ""};
    lp_store *store = jk_open_io(directory, options, &io, &content, &error);
    cr_assert_not_null(store, "%s", error.message);
    return store;
}

static void append(lp_store *store, uint64_t first, size_t count)
{
    lp_error error = {LP_OK, ""};
    cr_assert_eq(jk_append(store, first, count, &error), LP_OK, "%s", error.message);
}

static void path_of(size_t n, char *path)
{
    cr_assert(jk_segment(directory, n, path, 4200));
}

static void remove_files(const char *part)
{
    jk_remove_files(directory, part);
}

/* One segment of `batches` batches of three events, whose ends go into `ends`. Closed cleanly, or
 * left as a kill would. Returns its bytes. */
static uint8_t *make_segment(size_t batches, size_t *ends, bool is_clean, size_t *len)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    char path[4200], marker[4200];
    lp_store *store = open_with(&options);
    for (size_t i = 0; i < batches; i++) {
        append(store, 1 + 3 * i, 3);
        path_of(0, path);
        free(jk_read(path, &ends[i]));
    }
    jk_close(store);
    if (!is_clean) {
        snprintf(marker, sizeof(marker), "%s/clean", directory);
        cr_assert_eq(unlink(marker), 0);
    }
    return jk_read(path, len);
}

/* ---- truncation ------------------------------------------------------------------------------ */

static bool has_bytes(const uint8_t *bytes, size_t from, size_t to)
{
    while (from < to && bytes[from] == 0)
        from++;
    return from < to;
}

/* Where what could be a record begins in a segment without a whole one. */
static size_t rest_of(size_t len)
{
    return len < LP__SEGMENT_HEADER ? 0 : LP__SEGMENT_HEADER;
}

Test(journal_damage, a_tail_cut_at_any_byte_gives_whole_batches_and_goes_on)
{
    enum { BATCHES = 4 };
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[BATCHES], len;
    char path[4200];
    uint8_t *bytes = make_segment(BATCHES, ends, false, &len);
    path_of(0, path);
    for (size_t cut = 0; cut <= len; cut++) {
        size_t whole = 0;
        while (whole < BATCHES && ends[whole] <= cut)
            whole++;
        jk_write(path, bytes, cut);
        lp_store *store = open_with(&options);
        cr_assert_eq(content.count, 3 * whole, "cut at %zu", cut);
        cr_assert_eq(content.wrong, 0);
        cr_assert_eq(content.losses, 0, "cut at %zu: %s", cut, content.loss);
        /* zeros are what a file has behind its end: a record's first byte is one, now and then */
        bool is_torn = has_bytes(bytes, whole > 0 ? ends[whole - 1] : rest_of(cut), cut);
        cr_assert_eq(jk_figure(store, "torn_tails"), is_torn, "cut at %zu", cut);
        append(store, 100, 2);
        jk_close(store);
        store = open_with(&options);
        cr_assert_eq(content.count, 3 * whole + 2, "cut at %zu", cut);
        cr_assert_eq(content.losses, 0, "cut at %zu: %s", cut, content.loss);
        cr_assert_eq(jk_figure(store, "torn_tails"), 0, "it was sealed");
        jk_close(store);
        remove_files(".seg");
        remove_files("clean");
    }
    free(bytes);
}

Test(journal_damage, a_closed_segment_cut_at_any_byte_tells_the_loss_and_keeps_the_rest)
{
    enum { BATCHES = 3 };
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[BATCHES], len;
    char path[4200], copy[4200];
    uint8_t *bytes = make_segment(BATCHES, ends, true, &len);
    snprintf(copy, sizeof(copy), "%s.copy", directory);
    jk_copy(directory, copy);
    for (size_t cut = 0; cut < len; cut++) {
        jk_copy(copy, directory);
        path_of(0, path);
        jk_write(path, bytes, cut);
        size_t whole = 0; /* events whose record is there */
        lp__record record;
        for (size_t at = LP__SEGMENT_HEADER; at + LP__RECORD_HEADER <= cut; at += record.size) {
            lp__record_peek(bytes + at, &record);
            whole += record.type == LP__RECORD_EVENT && at + record.size <= cut;
        }
        lp_store *store = open_with(&options);
        cr_assert_eq(content.count, whole, "cut at %zu", cut);
        cr_assert_eq(content.losses, 1, "cut at %zu", cut);
        jk_raise_floor(store, 50);
        append(store, 100, 2);
        jk_close(store);
        store = open_with(&options);
        cr_assert_eq(content.losses, 0, "cut at %zu: %s", cut, content.loss);
        cr_assert_eq(content.count, whole + 2, "cut at %zu", cut);
        jk_close(store);
    }
    jk_remove(copy);
    free(bytes);
}

/* ---- flipped bits ---------------------------------------------------------------------------- */

/* The event whose record holds an offset, 0: none; and whether the checksum covers it. */
static uint64_t event_at(const uint8_t *bytes, size_t len, size_t offset, bool *is_covered)
{
    lp__record record = {0};
    *is_covered = false;
    for (size_t at = LP__SEGMENT_HEADER; at < len; at += record.size) {
        lp__record_peek(bytes + at, &record);
        if (offset < at || offset >= at + record.size)
            continue;
        *is_covered = offset < at + LP__RECORD_HEADER + record.length;
        return record.type == LP__RECORD_EVENT ? lp_id_seq(lp__record_id(&record)) - JK_BASE : 0;
    }
    return 0;
}

Test(journal_damage, a_flipped_bit_costs_the_record_it_hits)
{
    enum { BATCHES = 3 };
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[BATCHES], len;
    char path[4200];
    uint8_t *bytes = make_segment(BATCHES, ends, true, &len);
    path_of(0, path);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        bool is_covered;
        uint64_t hit = event_at(bytes, len, bit / 8, &is_covered);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        jk_write(path, bytes, len);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        lp_store *store = open_with(&options);
        cr_assert_eq(content.wrong, 0);
        cr_assert_eq(content.losses, is_covered, "bit %zu: %s", bit, content.loss);
        cr_assert_eq(content.lost_records, is_covered, "bit %zu", bit);
        cr_assert_eq(jk_figure(store, "damaged_records"), is_covered);
        for (uint64_t n = 1; n <= 3 * BATCHES; n++)
            cr_assert_eq(jk_has(&content, n), !(is_covered && n == hit), "bit %zu, event %d", bit,
                         (int)n);
        cr_assert_eq(jk_count_files(directory, "", NULL), is_covered ? 5u : 4u);
        jk_close(store);
        if (is_covered)
            remove_files("damaged-");
    }
    free(bytes);
}

Test(journal_damage, a_flipped_bit_in_a_tail_that_was_not_closed_costs_its_record_or_its_batch)
{
    enum { BATCHES = 3 };
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[BATCHES], len;
    char path[4200];
    uint8_t *bytes = make_segment(BATCHES, ends, false, &len);
    size_t commit = len - LP__RECORD_HEADER - LP__COMMIT_SIZE;
    path_of(0, path);
    for (size_t bit = 8 * LP__SEGMENT_HEADER; bit < 8 * len; bit++) {
        bool is_covered;
        uint64_t hit = event_at(bytes, len, bit / 8, &is_covered);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        jk_write(path, bytes, len);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        /* The commit of the very last batch cannot be told from a torn write. */
        bool is_torn = bit / 8 >= commit;
        lp_store *store = open_with(&options);
        cr_assert_eq(content.wrong, 0);
        cr_assert_eq(content.losses, is_covered && !is_torn, "bit %zu: %s", bit, content.loss);
        cr_assert_eq(jk_figure(store, "torn_tails"), is_torn, "bit %zu", bit);
        for (uint64_t n = 1; n <= 3 * BATCHES; n++)
            cr_assert_eq(jk_has(&content, n),
                         is_torn ? n <= 3 * (BATCHES - 1) : !(is_covered && n == hit),
                         "bit %zu, event %d", bit, (int)n);
        jk_close(store);
        remove_files("damaged-");
        remove_files("clean");
    }
    free(bytes);
}

Test(journal_damage, a_flipped_bit_in_the_marker_makes_the_stop_unclean_and_no_worse)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[2], len, segment_len;
    char path[4200];
    free(make_segment(2, ends, true, &segment_len));
    snprintf(path, sizeof(path), "%s/clean", directory);
    uint8_t *bytes = jk_read(path, &len);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        jk_write(path, bytes, len);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        jk_close(open_with(&options));
        cr_assert_eq(content.count, 6);
        cr_assert_eq(content.losses, 0);
    }
    free(bytes);
}

/* ---- larger damage --------------------------------------------------------------------------- */

Test(journal_damage, overwritten_blocks_cost_the_records_they_touch)
{
    enum { BATCHES = 20 };
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[BATCHES], len;
    char path[4200];
    uint8_t *bytes = make_segment(BATCHES, ends, true, &len), *damaged = malloc(len);
    path_of(0, path);
    for (size_t block = LP__SEGMENT_HEADER; block < len; block += 61) {
        size_t size = len - block < 512 ? len - block : 512;
        memcpy(damaged, bytes, len);
        memset(damaged + block, block % 2 ? 0 : 0xa5, size);
        jk_write(path, damaged, len);
        lp_store *store = open_with(&options);
        cr_assert_eq(content.wrong, 0);
        cr_assert_eq(content.losses, 1);
        size_t lost = 0;
        lp__record record = {0};
        for (size_t at = LP__SEGMENT_HEADER; at < len; at += record.size) {
            lp__record_peek(bytes + at, &record);
            bool is_hit = memcmp(bytes + at, damaged + at, LP__RECORD_HEADER + record.length) != 0;
            lost += is_hit;
            if (record.type == LP__RECORD_EVENT)
                cr_assert_eq(jk_has(&content, lp_id_seq(lp__record_id(&record)) - JK_BASE), !is_hit,
                             "block at %zu, record at %zu", block, at);
        }
        cr_assert_geq(lost, content.lost_records);
        jk_close(store);
        remove_files("damaged-");
    }
    free(damaged);
    free(bytes);
}

Test(journal_damage, damage_is_told_until_a_floor_is_kept_and_then_no_more)
{
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, 0);
    size_t ends[4], len, aside_len;
    char path[4200], aside[4200];
    uint8_t *bytes = make_segment(4, ends, true, &len);
    path_of(0, path);
    size_t offset = ends[0] + 40; /* in event 4 */
    bytes[offset] ^= 0xff;
    jk_write(path, bytes, len);

    for (int round = 0; round < 3; round++) {
        lp_store *store = open_with(&options);
        cr_assert_eq(content.count, 11);
        cr_assert_not(jk_has(&content, 4));
        cr_assert_eq(content.losses, 1);
        cr_assert_eq(content.lost_records, 1);
        char want[128];
        snprintf(want, sizeof(want), "set aside in damaged-0000000000000001-%zu", ends[0]);
        cr_assert(strstr(content.loss, want) != NULL, "%s", content.loss);
        if (round == 1)
            append(store, 100, 1); /* no floor yet */
        if (round == 2)
            jk_raise_floor(store, 200);
        jk_close(store);
        if (round == 0)
            cr_assert_eq(jk_count_files(directory, ".seg", NULL), 1);
        if (round == 1) {
            content.count = 0;
            remove_files("0000000000000002.seg");
            remove_files("clean");
        }
    }
    snprintf(aside, sizeof(aside), "%s/damaged-0000000000000001-%zu", directory, ends[0]);
    uint8_t *kept = jk_read(aside, &aside_len);
    cr_assert_eq(memcmp(kept, bytes + ends[0], aside_len), 0);
    free(kept);
    free(bytes);

    for (int round = 0; round < 2; round++) {
        lp_store *store = open_with(&options);
        cr_assert_eq(content.losses, 0, "%s", content.loss);
        cr_assert_eq(content.count, 11);
        cr_assert_eq(jk_horizon_of(&content, ""), JK_SEQ(200));
        append(store, 300 + (uint64_t)round, 1);
        jk_close(store);
        content.count = 0;
        remove_files(round == 0 ? "0000000000000003.seg" : "nothing");
        remove_files(round == 0 ? "clean" : "nothing");
    }
}

Test(journal_damage, damage_of_every_record_at_once_is_covered_up)
{
    enum { BATCHES = 5 };
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[BATCHES], len;
    char path[4200];
    uint8_t *bytes = make_segment(BATCHES, ends, true, &len);
    path_of(0, path);
    lp__record record = {0};
    size_t i = 0;
    for (size_t at = LP__SEGMENT_HEADER; at < len; at += record.size, i++) {
        lp__record_peek(bytes + at, &record);
        if (i % 2 == 1) /* every second one, commits among them, the last one too */
            bytes[at + 17] ^= 1;
    }
    jk_write(path, bytes, len);
    free(bytes);
    lp_store *store = open_with(&options);
    size_t count = content.count;
    cr_assert_geq(content.losses, 9);
    cr_assert_gt(count, 5);
    jk_raise_floor(store, 200);
    jk_close(store);
    jk_close(open_with(&options));
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    cr_assert_eq(content.count, count);
}

/* ---- whole segments -------------------------------------------------------------------------- */

/* Four segments of three events each. */
static void make_segments(const lp_journal_options *options)
{
    for (uint64_t i = 0; i < 4; i++) {
        lp_store *store = open_with(options);
        append(store, 1 + 3 * i, 3);
        jk_close(store);
    }
    cr_assert_eq(jk_count_files(directory, ".seg", NULL), 4);
}

Test(journal_damage, a_missing_segment_is_told_until_a_floor_is_kept)
{
    for (size_t missing = 0; missing < 4; missing++) {
        lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
        char path[4200];
        make_segments(&options);
        path_of(missing, path);
        unlink(path);
        for (int round = 0; round < 3; round++) {
            lp_store *store = open_with(&options);
            cr_assert_eq(content.losses, 1, "segment %zu", missing);
            cr_assert(strstr(content.loss, "is missing") != NULL, "%s", content.loss);
            cr_assert_eq(content.count, 9);
            if (round == 2)
                jk_raise_floor(store, 200);
            jk_close(store);
        }
        for (int round = 0; round < 2; round++) {
            lp_store *store = open_with(&options);
            cr_assert_eq(content.losses, 0, "segment %zu: %s", missing, content.loss);
            cr_assert_eq(content.count, 9 + (unsigned)round);
            append(store, 300, 1);
            jk_close(store);
        }
        remove_files(".seg");
        remove_files("clean");
    }
}

Test(journal_damage, a_segment_whose_header_is_gone_is_set_aside_whole)
{
    for (size_t hit = 0; hit < 4; hit++) {
        lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
        char path[4200];
        size_t len, aside_len;
        make_segments(&options);
        path_of(hit, path);
        uint8_t *bytes = jk_read(path, &len);
        memset(bytes, 0xee, LP__SEGMENT_HEADER);
        jk_write(path, bytes, len);
        for (int round = 0; round < 3; round++) {
            lp_store *store = open_with(&options);
            cr_assert_eq(content.losses, 1, "segment %zu", hit);
            cr_assert(strstr(content.loss, "header") != NULL, "%s", content.loss);
            cr_assert_eq(content.count, 9);
            if (round == 2)
                jk_raise_floor(store, 200);
            jk_close(store);
        }
        jk_close(open_with(&options));
        cr_assert_eq(content.losses, 0, "segment %zu: %s", hit, content.loss);
        cr_assert_eq(content.count, 9);
        snprintf(path, sizeof(path), "%s/damaged-%016d-0", directory, (int)hit + 1);
        uint8_t *aside = jk_read(path, &aside_len);
        cr_assert_eq(aside_len, len);
        cr_assert_eq(memcmp(aside, bytes, len), 0);
        free(aside);
        free(bytes);
        remove_files(".seg");
        remove_files("clean");
        remove_files("damaged-");
    }
}

Test(journal_damage, a_file_left_by_a_crash_in_creation_is_removed_and_no_loss)
{
    static const size_t sizes[] = {0, 1, 64, 127, 128, 5000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
        char path[4200];
        make_segments(&options);
        remove_files("clean");
        uint8_t *zeros = calloc(1, sizes[i] + 1);
        snprintf(path, sizeof(path), "%s/0000000000000005.seg", directory);
        jk_write(path, zeros, sizes[i]);
        free(zeros);
        lp_store *store = open_with(&options);
        cr_assert_eq(content.losses, 0, "%s", content.loss);
        cr_assert_eq(content.count, 12);
        cr_assert_eq(jk_count_files(directory, ".seg", NULL), 4);
        append(store, 100, 1);
        jk_close(store);
        jk_close(open_with(&options));
        cr_assert_eq(content.losses, 0, "%s", content.loss);
        cr_assert_eq(content.count, 13);
        remove_files(".seg");
        remove_files("clean");
    }
}

/* ---- what is behind the tail ----------------------------------------------------------------- */

Test(journal_damage, stale_bytes_behind_the_tail_do_not_come_back)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[12], old_len, len;
    char path[4200];
    uint8_t *old = make_segment(12, ends, true, &old_len);
    remove_files(".seg");
    remove_files("clean");
    lp_store *store = open_with(&options);
    append(store, 1000, 2);
    path_of(0, path);
    uint8_t *bytes = jk_read(path, &len);
    jk_close(store);
    remove_files("clean");
    memcpy(old, bytes, len); /* as if the old file had been written over */
    jk_write(path, old, old_len);
    store = open_with(&options);
    cr_assert_eq(content.count, 2);
    cr_assert(jk_has(&content, 1000) && jk_has(&content, 1001));
    cr_assert_eq(content.losses, 0);
    append(store, 2000, 1);
    jk_close(store);
    jk_close(open_with(&options));
    cr_assert_eq(content.count, 3);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    free(old);
    free(bytes);
}

Test(journal_damage, zeros_behind_the_tail_are_no_torn_tail)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[3], len;
    char path[4200];
    uint8_t *bytes = make_segment(3, ends, false, &len);
    path_of(0, path);
    bytes = realloc(bytes, len + 10000);
    memset(bytes + len, 0, 10000);
    jk_write(path, bytes, len + 10000);
    free(bytes);
    lp_store *store = open_with(&options);
    cr_assert_eq(content.count, 9);
    cr_assert_eq(jk_figure(store, "torn_tails"), 0);
    jk_close(store);
}

/* ---- what a later library wrote, and what no library writes ---------------------------------- */

/* The offset of the commit record of the only batch of a segment. */
static size_t commit_of(const uint8_t *bytes, size_t len)
{
    for (size_t at = LP__SEGMENT_HEADER; at < len;) {
        lp__record record;
        cr_assert(lp__record_peek(bytes + at, &record));
        if (record.type == LP__RECORD_COMMIT)
            return at;
        at += (size_t)record.size;
    }
    return 0;
}

Test(journal_damage, a_record_of_an_unknown_type_is_refused_and_left_alone)
{
    static const uint8_t types[] = {7, 9, 127};
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    for (size_t i = 0; i < sizeof(types); i++) {
        size_t ends[1], len, len_after;
        char path[4200];
        lp_error error = {LP_OK, ""};
        uint8_t *bytes = make_segment(1, ends, i % 2 == 0, &len);
        path_of(0, path);
        bytes[LP__SEGMENT_HEADER + 8] = types[i];
        lp__record_reseal(bytes + LP__SEGMENT_HEADER, 1, lp__epoch_seed(lp__get_u64(bytes + 32)));
        jk_write(path, bytes, len);
        cr_assert_null(jk_open_io(directory, &options, &io, &content, &error));
        cr_assert_eq(error.status, LP_EVERSION);
        cr_assert(strstr(error.message, "a record of type") != NULL, "%s", error.message);
        uint8_t *after = jk_read(path, &len_after);
        cr_assert(len_after == len && memcmp(bytes, after, len) == 0);
        free(after);
        free(bytes);
        jk_remove(directory);
    }
}

Test(journal_damage, a_highest_number_that_is_none_is_damage)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[1], len;
    char path[4200];
    uint8_t *bytes = make_segment(1, ends, true, &len);
    size_t commit = commit_of(bytes, len);
    path_of(0, path);
    lp__put_u64(bytes + commit + LP__RECORD_HEADER + 8, UINT64_MAX);
    lp__record_reseal(bytes + commit, 1, lp__epoch_seed(lp__get_u64(bytes + 32)));
    jk_write(path, bytes, len);
    free(bytes);
    lp_store *store = open_with(&options);
    cr_assert_eq(content.losses, 1);
    cr_assert_eq(content.count, 3);
    cr_assert_lt(content.highest, LP__SEQ_END);
    jk_close(store);
}

/* ---- a disk that cannot be read -------------------------------------------------------------- */

static off_t bad_from, bad_to;

static ssize_t bad_pread(void *ctx, int fd, void *data, size_t len, off_t offset)
{
    (void)ctx;
    if (offset < bad_to && offset + (off_t)len > bad_from) {
        errno = EIO;
        return -1;
    }
    return pread(fd, data, len, offset);
}

Test(journal_damage, the_highest_number_is_that_of_the_last_event_at_least)
{
    size_t ends[2], len;
    char path[4200];
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    uint8_t *bytes = make_segment(2, ends, true, &len);
    bytes[ends[1] - 32] ^= 1; /* the commit record of the last batch */
    path_of(0, path);
    jk_write(path, bytes, len);
    free(bytes);
    for (int round = 0; round < 2; round++) {
        lp_store *store = open_with(&options);
        cr_assert_eq(content.losses, 1);
        cr_assert(jk_has(&content, 6));
        cr_assert_eq(content.highest, JK_SEQ(6));
        jk_close(store);
    }
}

Test(journal_damage, pages_that_cannot_be_read_cost_what_they_hold)
{
    enum { BATCHES = 100 };
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[BATCHES], len;
    free(make_segment(BATCHES, ends, true, &len));
    cr_assert_gt(len, 20000);
    io.pread = bad_pread;
    bad_from = 8192;
    bad_to = 12288;
    lp_store *store = open_with(&options);
    cr_assert_eq(content.wrong, 0);
    cr_assert_gt(content.losses, 0);
    cr_assert_lt(content.count, 3 * BATCHES);
    cr_assert_gt(content.count, 3 * BATCHES * 2 / 3);
    jk_close(store);
}

/* ---- a directory that is full when start finds damage ---------------------------------------- */

static int no_file(void *ctx, int dir, const char *name, int flags, mode_t mode)
{
    lp__journal_io real = lp__journal_io_real();
    (void)ctx;
    if (strncmp(name, "damaged-", 8) == 0) {
        errno = ENOSPC;
        return -1;
    }
    return real.open(real.ctx, dir, name, flags, mode);
}

Test(journal_damage, a_start_goes_on_when_damage_cannot_be_set_aside)
{
    lp_journal_options options = jk_options(LP_SYNC_ALWAYS, 0);
    size_t ends[2], len;
    char path[4200];
    uint8_t *bytes = make_segment(2, ends, true, &len);
    path_of(0, path);
    bytes[200] ^= 1;
    jk_write(path, bytes, len);
    free(bytes);
    io.open = no_file;
    lp_store *store = open_with(&options);
    cr_assert_eq(content.losses, 1);
    cr_assert(strstr(content.loss, "not set aside") != NULL, "%s", content.loss);
    cr_assert_eq(content.count, 5);
    jk_close(store);
}
