/* The journal's bytes: checksums, headers, records, and the scan that finds its way. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "addons/shared/crc32c.h"
#include "addons/shared/crc32c_table.h"
#include "addons/journal/format.h"
#include "addons/journal/scan.h"

/* ---- CRC32C ---------------------------------------------------------------------------------- */

Test(journal_format, crc32c_matches_the_vectors_of_rfc_3720)
{
    uint8_t data[32];
    memset(data, 0, sizeof(data));
    cr_assert_eq(lp__crc32c(0, data, 32), 0x8a9136aa);
    cr_assert_eq(lp__crc32c_software(0, data, 32), 0x8a9136aa);
    memset(data, 0xff, sizeof(data));
    cr_assert_eq(lp__crc32c(0, data, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    cr_assert_eq(lp__crc32c(0, data, 32), 0x46dd794e);
    cr_assert_eq(lp__crc32c_software(0, data, 32), 0x46dd794e);
    cr_assert_eq(lp__crc32c(0, "123456789", 9), 0xe3069283);
    cr_assert_eq(lp__crc32c_software(0, "123456789", 9), 0xe3069283);
}

Test(journal_format, crc32c_tables_are_those_of_the_polynomial)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        cr_assert_eq(lp__crc32c_table[0][i], crc);
        for (int k = 1; k < 8; k++) {
            crc = crc >> 8 ^ lp__crc32c_table[0][crc & 0xff];
            cr_assert_eq(lp__crc32c_table[k][i], crc);
        }
    }
}

Test(journal_format, crc32c_shifts_are_powers_of_x)
{
    uint32_t power = 0x80000000; /* 1, reflected */
    for (size_t i = 1; i <= 64 * 64 - 33; i++) {
        power = power >> 1 ^ (power & 1 ? 0x82f63b78 : 0);
        if ((i + 33) % 64 == 0)
            cr_assert_eq(lp__crc32c_shift[(i + 33) / 64 - 1], power);
    }
}

Test(journal_format, crc32c_of_hardware_and_tables_agree_at_every_length_and_offset)
{
    uint8_t data[1600];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 131 + i / 7);
    for (size_t offset = 0; offset < 9; offset++) {
        for (size_t len = 0; len + offset <= sizeof(data); len++) {
            uint32_t whole = lp__crc32c(77, data + offset, len);
            cr_assert_eq(whole, lp__crc32c_software(77, data + offset, len));
            uint32_t half = lp__crc32c(77, data + offset, len / 2);
            cr_assert_eq(whole, lp__crc32c(half, data + offset + len / 2, len - len / 2));
        }
    }
}

/* ---- headers --------------------------------------------------------------------------------- */

static const lp__header sample = {.number = 12,
                                  .first = 9,
                                  .epoch = 0x1122334455667788,
                                  .boot = 7,
                                  .prev_batches = 3,
                                  .batches = 4,
                                  .sync = LP_SYNC_ALWAYS,
                                  .merged = true};

Test(journal_format, a_header_comes_back_whole)
{
    uint8_t bytes[LP__SEGMENT_HEADER];
    lp__header out;
    unsigned version;
    lp__header_encode(&sample, bytes);
    cr_assert_eq(lp__header_decode(bytes, sizeof(bytes), &out, &version), LP__HEADER_GOOD);
    cr_assert_eq(out.number, 12);
    cr_assert_eq(out.first, 9);
    cr_assert_eq(out.epoch, 0x1122334455667788);
    cr_assert_eq(out.boot, 7);
    cr_assert_eq(out.prev_batches, 3);
    cr_assert_eq(out.batches, 4);
    cr_assert_eq(out.sync, LP_SYNC_ALWAYS);
    cr_assert(out.merged && !out.recycled);
    lp__header recycled = {.number = 1, .first = 1, .recycled = true};
    lp__header_encode(&recycled, bytes);
    cr_assert_eq(lp__header_decode(bytes, sizeof(bytes), &out, &version), LP__HEADER_GOOD);
    cr_assert(out.recycled && !out.merged && !out.after_loss);
    lp__header after_loss = {.number = 1, .first = 1, .after_loss = true};
    lp__header_encode(&after_loss, bytes);
    cr_assert_eq(lp__header_decode(bytes, sizeof(bytes), &out, &version), LP__HEADER_GOOD);
    cr_assert(out.after_loss && !out.recycled);
}

Test(journal_format, a_header_survives_any_flipped_bit_and_any_damaged_copy)
{
    uint8_t bytes[LP__SEGMENT_HEADER];
    lp__header out;
    unsigned version;
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        lp__header_encode(&sample, bytes);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_eq(lp__header_decode(bytes, sizeof(bytes), &out, &version), LP__HEADER_HALF);
        cr_assert_eq(out.epoch, sample.epoch);
    }
    for (size_t copy = 0; copy < 2; copy++) {
        lp__header_encode(&sample, bytes);
        memset(bytes + copy * 64, 0x5a, 64);
        cr_assert_eq(lp__header_decode(bytes, sizeof(bytes), &out, &version), LP__HEADER_HALF);
        cr_assert_eq(out.epoch, sample.epoch);
    }
    memset(bytes, 0x5a, sizeof(bytes));
    cr_assert_eq(lp__header_decode(bytes, sizeof(bytes), &out, &version), LP__HEADER_DAMAGED);
}

Test(journal_format, a_header_that_was_being_made_counts_as_empty)
{
    uint8_t bytes[LP__SEGMENT_HEADER];
    lp__header out;
    unsigned version;
    memset(bytes, 0, sizeof(bytes));
    cr_assert_eq(lp__header_decode(bytes, sizeof(bytes), &out, &version), LP__HEADER_EMPTY);
    lp__header_encode(&sample, bytes);
    for (size_t len = 0; len < sizeof(bytes); len++)
        cr_assert_eq(lp__header_decode(bytes, len, &out, &version), LP__HEADER_EMPTY);
}

Test(journal_format, an_unknown_version_is_told_from_damage)
{
    uint8_t bytes[LP__SEGMENT_HEADER];
    lp__header out;
    unsigned version = 0;
    lp__header_encode(&sample, bytes);
    lp__put_u32(bytes + 8, 2 | 500u << 16);
    lp__put_u32(bytes + 12, lp__crc32c(0, bytes, 12));
    memset(bytes + 16, 0x77, sizeof(bytes) - 16);
    cr_assert_eq(lp__header_decode(bytes, sizeof(bytes), &out, &version), LP__HEADER_VERSION);
    cr_assert_eq(version, 2);
}

Test(journal_format, an_unknown_version_in_either_copy_is_enough)
{
    uint8_t bytes[LP__SEGMENT_HEADER];
    lp__header out;
    for (size_t damaged = 0; damaged < 2; damaged++) {
        unsigned version = 0;
        lp__header_encode(&sample, bytes);
        if (damaged)
            memset(bytes, 0x5a, 64);
        bytes[64 + 8] = 3;
        lp__put_u32(bytes + 64 + 12, lp__crc32c(0, bytes + 64, 12));
        cr_assert_eq(lp__header_decode(bytes, sizeof(bytes), &out, &version), LP__HEADER_VERSION);
        cr_assert_eq(version, 3);
    }
}

Test(journal_format, a_marker_comes_back_and_no_flipped_bit_does)
{
    lp__clean clean = {.number = 5, .epoch = 99, .batches = 17}, out;
    uint8_t bytes[LP__CLEAN_SIZE];
    lp__clean_encode(&clean, bytes);
    cr_assert(lp__clean_decode(bytes, sizeof(bytes), &out));
    cr_assert_eq(out.number, 5);
    cr_assert_eq(out.epoch, 99);
    cr_assert_eq(out.batches, 17);
    for (size_t len = 0; len < sizeof(bytes); len++)
        cr_assert_not(lp__clean_decode(bytes, len, &out));
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        lp__clean_encode(&clean, bytes);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not(lp__clean_decode(bytes, sizeof(bytes), &out));
    }
}

/* ---- the scan -------------------------------------------------------------------------------- */

enum { SEED_EPOCH = 4711 };

/* A file with a header's room and commit records of the given batches. */
static FILE *file_of(const uint32_t *batches, size_t count)
{
    FILE *file = tmpfile();
    uint8_t bytes[LP__SEGMENT_HEADER] = {0};
    fwrite(bytes, 1, sizeof(bytes), file);
    for (size_t i = 0; i < count; i++) {
        lp__record_seal(bytes, LP__RECORD_COMMIT, LP__COMMIT_SIZE, batches[i],
                        lp__epoch_seed(SEED_EPOCH));
        fwrite(bytes, 1, LP__RECORD_HEADER + LP__COMMIT_SIZE, file);
    }
    fflush(file);
    return file;
}

static void begin(lp__scan *scan, lp__reader *reader, const lp__journal_io *io, FILE *file,
                  uint64_t epoch, uint32_t batches)
{
    fseek(file, 0, SEEK_END);
    lp__reader_open(reader, io, fileno(file), (uint64_t)ftell(file));
    lp__scan_begin(scan, reader, epoch, batches);
}

Test(journal_format, a_scan_ends_where_the_batch_number_goes_back)
{
    static const uint32_t batches[] = {1, 2, 3, 2, 3};
    lp__journal_io io = lp__journal_io_real();
    lp__reader reader = {0};
    lp__scan scan;
    lp__record record;
    FILE *file = file_of(batches, 5);
    begin(&scan, &reader, &io, file, SEED_EPOCH, LP__BATCHES_UNKNOWN);
    for (uint32_t batch = 1; batch <= 3; batch++) {
        cr_assert_eq(lp__scan_next(&scan, &record), LP__SCAN_RECORD);
        cr_assert_eq(record.batch, batch);
    }
    cr_assert_eq(lp__scan_next(&scan, &record), LP__SCAN_END);
    cr_assert_eq(scan.at, LP__SEGMENT_HEADER + 3 * (LP__RECORD_HEADER + LP__COMMIT_SIZE));
    lp__reader_free(&reader);
    fclose(file);
}

Test(journal_format, records_of_another_epoch_are_not_seen)
{
    static const uint32_t batches[] = {1, 2, 3};
    lp__journal_io io = lp__journal_io_real();
    lp__reader reader = {0};
    lp__scan scan;
    lp__record record;
    FILE *file = file_of(batches, 3);
    begin(&scan, &reader, &io, file, SEED_EPOCH + 1, LP__BATCHES_UNKNOWN);
    cr_assert_eq(lp__scan_next(&scan, &record), LP__SCAN_END);
    lp__reader_free(&reader);
    fclose(file);
}

Test(journal_format, records_behind_the_last_batch_that_counts_are_void)
{
    static const uint32_t batches[] = {1, 2, 3};
    lp__journal_io io = lp__journal_io_real();
    lp__reader reader = {0};
    lp__scan scan;
    lp__record record;
    FILE *file = file_of(batches, 3);
    begin(&scan, &reader, &io, file, SEED_EPOCH, 2);
    cr_assert_eq(lp__scan_next(&scan, &record), LP__SCAN_RECORD);
    cr_assert_eq(lp__scan_next(&scan, &record), LP__SCAN_RECORD);
    cr_assert_eq(lp__scan_next(&scan, &record), LP__SCAN_END);
    lp__reader_free(&reader);
    fclose(file);
}

Test(journal_format, a_scan_of_plausible_garbage_ends_in_time)
{
    enum { SIZE = 8 << 20 };
    lp__journal_io io = lp__journal_io_real();
    lp__reader reader = {0};
    lp__scan scan;
    lp__record record;
    FILE *file = tmpfile();
    uint8_t *bytes = calloc(1, SIZE);
    /* Every step of 8 looks like the header of a record that reaches nearly to the end. */
    for (size_t at = LP__SEGMENT_HEADER; at + 16 <= SIZE; at += 16) {
        lp__put_u32(bytes + at + 4, (uint32_t)(SIZE - at - 64));
        lp__put_u32(bytes + at + 8, LP__RECORD_HORIZON);
        lp__put_u32(bytes + at + 12, 1);
    }
    fwrite(bytes, 1, SIZE, file);
    fflush(file);
    begin(&scan, &reader, &io, file, SEED_EPOCH, LP__BATCHES_UNKNOWN);
    cr_assert_eq(lp__scan_next(&scan, &record), LP__SCAN_END);
    cr_assert_lt(scan.work_left, (uint64_t)SIZE, "it gave up checking");
    lp__reader_free(&reader);
    free(bytes);
    fclose(file);
}
