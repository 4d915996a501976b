/* See format.h. */
#include "format.h"

#include <string.h>

#include "../shared/bytes.h"
#include "../shared/crc32c.h"

enum { CRC_SIZE = 4, FLAG_CLEAN = 1, FLAG_LOSS = 2 };

/* ---- checksums ------------------------------------------------------------------------------- */

static uint32_t checksum(lp__row_type type, const void *key, size_t key_len, const uint8_t *value,
                         size_t value_len)
{
    uint32_t crc = lp__crc32c((uint32_t)type, key, key_len);
    return lp__crc32c(crc, value + CRC_SIZE, value_len - CRC_SIZE);
}

void lp__lmdb_row_seal(lp__row_type type, const void *key, size_t key_len, uint8_t *value,
                       size_t value_len)
{
    lp__put_le32(value, checksum(type, key, key_len, value, value_len));
}

static bool verify(lp__row_type type, const lp__row *row, size_t key_min, size_t value_min)
{
    return row->key_len >= key_min && row->value_len >= value_min &&
           lp__get_le32(row->value) ==
               checksum(type, row->key, row->key_len, row->value, row->value_len);
}

/* ---- the meta row ---------------------------------------------------------------------------- */

void lp__lmdb_meta_encode(const lp__meta *meta, uint8_t *out)
{
    memset(out, 0, LP__META_SIZE);
    lp__put_le32(out + 4, LP__LMDB_FORMAT_VERSION);
    lp__put_le64(out + 8, meta->highest);
    lp__put_le64(out + 16, meta->floor);
    lp__put_le64(out + 24, meta->boot);
    lp__put_le64(out + 32, meta->seed);
    out[40] = (uint8_t)meta->sync;
    out[41] = (uint8_t)((meta->is_clean ? FLAG_CLEAN : 0) | (meta->has_loss ? FLAG_LOSS : 0));
    lp__lmdb_row_seal(LP__ROW_META, LP__META_NAME, strlen(LP__META_NAME), out, LP__META_SIZE);
}

lp__meta_state lp__lmdb_meta_decode(const lp__row *row, lp__meta *out, unsigned *version)
{
    if (!verify(LP__ROW_META, row, 0, 8))
        return LP__META_DAMAGED;
    *version = lp__get_le32(row->value + 4);
    if (*version != LP__LMDB_FORMAT_VERSION)
        return LP__META_VERSION;
    if (row->value_len != LP__META_SIZE)
        return LP__META_DAMAGED;
    *out = (lp__meta){
        .highest = lp__get_le64(row->value + 8),
        .floor = lp__get_le64(row->value + 16),
        .boot = lp__get_le64(row->value + 24),
        .seed = lp__get_le64(row->value + 32),
        .sync = (lp_sync)row->value[40],
        .is_clean = (row->value[41] & FLAG_CLEAN) != 0,
        .has_loss = (row->value[41] & FLAG_LOSS) != 0,
    };
    return LP__META_GOOD;
}

/* ---- events ---------------------------------------------------------------------------------- */

void lp__lmdb_seq_encode(uint64_t seq, uint8_t *out)
{
    lp__put_be64(out, seq);
}

uint64_t lp__lmdb_seq_decode(const uint8_t *key)
{
    return lp__get_be64(key);
}

size_t lp__lmdb_event_size(const lp_event *event)
{
    return LP__EVENT_FIXED + lp_event_category(event).len + lp_event_data(event).len;
}

void lp__lmdb_event_encode(const lp_event *event, const uint8_t *key, uint8_t *out)
{
    lp_id id = lp_event_id(event);
    lp_str category = lp_event_category(event), data = lp_event_data(event);
    lp__put_le16(out + 4, (uint16_t)category.len);
    memcpy(out + 6, id.bytes + 8, 8);
    memcpy(out + LP__EVENT_FIXED, category.base, category.len);
    memcpy(out + LP__EVENT_FIXED + category.len, data.base, data.len);
    lp__lmdb_row_seal(LP__ROW_EVENT, key, LP__SEQ_KEY, out,
                      LP__EVENT_FIXED + category.len + data.len);
}

bool lp__lmdb_event_decode(const lp__row *row, lp_id *id, lp_str *category, lp_str *data)
{
    if (row->key_len != LP__SEQ_KEY ||
        !verify(LP__ROW_EVENT, row, LP__SEQ_KEY, LP__EVENT_FIXED + 1))
        return false;
    size_t category_len = lp__get_le16(row->value + 4);
    if (category_len > row->value_len - LP__EVENT_FIXED)
        return false;
    const char *text = (const char *)row->value + LP__EVENT_FIXED;
    *id = lp_id_make(lp__lmdb_seq_decode(row->key), 0);
    memcpy(id->bytes + 8, row->value + 6, 8);
    *category = (lp_str){text, category_len};
    *data = (lp_str){text + category_len, row->value_len - LP__EVENT_FIXED - category_len};
    return true;
}

/* ---- horizons -------------------------------------------------------------------------------- */

/* Seeded, because strangers choose the names of categories. */
uint64_t lp__lmdb_category_hash(uint64_t seed, lp_str category)
{
    const uint64_t odd = UINT64_C(0xd6e8feb86659fd93);
    uint64_t hash = seed + category.len * odd;
    for (size_t at = 0; at < category.len; at += 8) {
        uint64_t word = 0;
        size_t len = category.len - at < 8 ? category.len - at : 8;
        memcpy(&word, category.base + at, len);
        hash ^= lp__get_le64((const uint8_t *)&word);
        hash = (hash ^ hash >> 32) * odd;
        hash = (hash ^ hash >> 29) + (seed << 1 | 1);
    }
    hash = (hash ^ hash >> 32) * odd;
    return hash ^ hash >> 32;
}

size_t lp__lmdb_horizon_encode(lp_str category, uint64_t seq, const uint8_t *key, uint8_t *out)
{
    lp__put_le64(out + 4, seq);
    memcpy(out + LP__HORIZON_FIXED, category.base, category.len);
    lp__lmdb_row_seal(LP__ROW_HORIZON, key, LP__SEQ_KEY, out, LP__HORIZON_FIXED + category.len);
    return LP__HORIZON_FIXED + category.len;
}

bool lp__lmdb_horizon_decode(const lp__row *row, lp_horizon *out)
{
    if (row->key_len != LP__SEQ_KEY || row->value_len > LP__HORIZON_MAX ||
        !verify(LP__ROW_HORIZON, row, LP__SEQ_KEY, LP__HORIZON_FIXED + 1))
        return false;
    out->seq = lp__get_le64(row->value + 4);
    out->category =
        (lp_str){(const char *)row->value + LP__HORIZON_FIXED, row->value_len - LP__HORIZON_FIXED};
    return true;
}

/* ---- lists of horizons ----------------------------------------------------------------------- */

void lp__lmdb_list_key(uint64_t number, uint8_t *out)
{
    lp__put_be64(out, UINT64_MAX);
    lp__put_be64(out + 8, number);
}

uint64_t lp__lmdb_list_number(const uint8_t *key)
{
    return lp__get_be64(key + 8);
}

bool lp__lmdb_is_list(const lp__row *row)
{
    return row->key_len == LP__LIST_KEY && lp__get_be64(row->key) == UINT64_MAX;
}

bool lp__lmdb_list_decode(const lp__row *row, lp_str *out)
{
    if (!lp__lmdb_is_list(row) || !verify(LP__ROW_LIST, row, LP__LIST_KEY, LP__LIST_FIXED + 1))
        return false;
    *out = (lp_str){(const char *)row->value + LP__LIST_FIXED, row->value_len - LP__LIST_FIXED};
    return true;
}

/* ---- idempotency keys ------------------------------------------------------------------------ */

/* Byte order is the order of the signed numbers. */
int64_t lp__lmdb_key_expires_ms(const uint8_t *key)
{
    return (int64_t)(lp__get_be64(key) ^ UINT64_C(1) << 63);
}

size_t lp__lmdb_key_encode(const lp_idempotency *record, uint8_t *key, uint8_t *value)
{
    lp__put_be64(key, (uint64_t)record->expires_ms ^ UINT64_C(1) << 63);
    memcpy(key + LP__KEY_FIXED, record->key.base, record->key.len);
    lp__put_le32(value + 4, (uint32_t)record->count);
    lp__put_le64(value + 8, record->digest);
    lp__put_le64(value + 16, record->seq);
    lp__lmdb_row_seal(LP__ROW_KEY, key, LP__KEY_FIXED + record->key.len, value, LP__KEY_VALUE);
    return LP__KEY_FIXED + record->key.len;
}

bool lp__lmdb_key_decode(const lp__row *row, lp_idempotency *out)
{
    if (row->key_len > LP__KEY_MAX || row->value_len != LP__KEY_VALUE ||
        !verify(LP__ROW_KEY, row, LP__KEY_FIXED + 1, LP__KEY_VALUE))
        return false;
    *out = (lp_idempotency){
        .key = {(const char *)row->key + LP__KEY_FIXED, row->key_len - LP__KEY_FIXED},
        .digest = lp__get_le64(row->value + 8),
        .seq = lp__get_le64(row->value + 16),
        .count = lp__get_le32(row->value + 4),
        .expires_ms = lp__lmdb_key_expires_ms(row->key),
    };
    return true;
}
