/* Encodes and decodes what FORMAT.md describes. */
#include "format.h"

#include "../shared/crc32c.h"

/* ---- the header of a segment ----------------------------------------------------------------- */

static const uint8_t header_magic[8] = {0x89, 'L', 'P', 'J', '\r', '\n', 0x1a, '\n'};
static const uint8_t clean_magic[8] = {0x89, 'L', 'P', 'C', '\r', '\n', 0x1a, '\n'};

enum { HEADER_COPY = 64, HEADER_MERGED = 1, HEADER_RECYCLED = 2, HEADER_AFTER_LOSS = 4 };

static void put_prefix(uint8_t *out, const uint8_t magic[8], unsigned size)
{
    memcpy(out, magic, 8);
    lp__put_u32(out + 8, LP__FORMAT_VERSION | (uint32_t)size << 16);
    lp__put_u32(out + 12, lp__crc32c(0, out, 12));
}

void lp__header_encode(const lp__header *header, uint8_t *out)
{
    memset(out, 0, LP__SEGMENT_HEADER);
    put_prefix(out, header_magic, LP__SEGMENT_HEADER);
    lp__put_u64(out + 16, header->number);
    lp__put_u64(out + 24, header->first);
    lp__put_u64(out + 32, header->epoch);
    lp__put_u64(out + 40, header->boot);
    lp__put_u32(out + 48, header->prev_batches);
    lp__put_u32(out + 52, header->batches);
    out[56] = header->sync;
    out[57] = (header->merged ? HEADER_MERGED : 0) | (header->recycled ? HEADER_RECYCLED : 0) |
              (header->after_loss ? HEADER_AFTER_LOSS : 0);
    lp__put_u32(out + 60, lp__crc32c(0, out, 60));
    memcpy(out + HEADER_COPY, out, HEADER_COPY);
}

static bool prefix_is_good(const uint8_t *data, const uint8_t magic[8])
{
    return memcmp(data, magic, 8) == 0 && lp__get_u32(data + 12) == lp__crc32c(0, data, 12);
}

static bool decode_copy(const uint8_t *data, lp__header *out)
{
    if (!prefix_is_good(data, header_magic) || lp__get_u32(data + 60) != lp__crc32c(0, data, 60) ||
        (lp__get_u32(data + 8) & 0xffff) != LP__FORMAT_VERSION)
        return false;
    *out = (lp__header){
        .number = lp__get_u64(data + 16),
        .first = lp__get_u64(data + 24),
        .epoch = lp__get_u64(data + 32),
        .boot = lp__get_u64(data + 40),
        .prev_batches = lp__get_u32(data + 48),
        .batches = lp__get_u32(data + 52),
        .sync = data[56],
        .merged = data[57] & HEADER_MERGED,
        .recycled = data[57] & HEADER_RECYCLED,
        .after_loss = data[57] & HEADER_AFTER_LOSS,
    };
    return out->first >= 1 && out->first <= out->number;
}

lp__header_state lp__header_decode(const uint8_t *data, size_t len, lp__header *out,
                                   unsigned *version)
{
    for (size_t copy = 0; copy <= HEADER_COPY && copy + 16 <= len; copy += HEADER_COPY) {
        if (!prefix_is_good(data + copy, header_magic))
            continue;
        *version = lp__get_u32(data + copy + 8) & 0xffff;
        if (*version != LP__FORMAT_VERSION)
            return LP__HEADER_VERSION;
    }
    if (len >= LP__SEGMENT_HEADER) {
        lp__header second;
        bool first_is_good = decode_copy(data, out);
        bool second_is_good = decode_copy(data + HEADER_COPY, &second);
        if (first_is_good)
            return second_is_good ? LP__HEADER_GOOD : LP__HEADER_HALF;
        if (second_is_good) {
            *out = second;
            return LP__HEADER_HALF;
        }
    }
    if (len < LP__SEGMENT_HEADER)
        return LP__HEADER_EMPTY;
    for (size_t i = 0; i < LP__SEGMENT_HEADER; i++)
        if (data[i] != 0)
            return LP__HEADER_DAMAGED;
    return LP__HEADER_EMPTY;
}

uint32_t lp__epoch_seed(uint64_t epoch)
{
    uint8_t bytes[8];
    lp__put_u64(bytes, epoch);
    return lp__crc32c(0, bytes, sizeof(bytes));
}

/* ---- records --------------------------------------------------------------------------------- */

static uint32_t checksum(const uint8_t *record, uint8_t type, uint32_t length, uint32_t seed)
{
    size_t covered = type == LP__RECORD_PAD ? 0 : length;
    return lp__crc32c(seed, record + 4, LP__RECORD_HEADER - 4 + covered);
}

void lp__record_seal(uint8_t *record, lp__record_type type, uint32_t length, uint32_t batch,
                     uint32_t seed)
{
    lp__put_u32(record + 4, length);
    lp__put_u32(record + 8, (uint32_t)type);
    lp__put_u32(record + 12, batch);
    if (type != LP__RECORD_PAD)
        memset(record + LP__RECORD_HEADER + length, 0,
               (size_t)lp__record_size(length) - LP__RECORD_HEADER - length);
    lp__put_u32(record, checksum(record, (uint8_t)type, length, seed));
}

uint64_t lp__record_reseal(uint8_t *record, uint32_t batch, uint32_t seed)
{
    uint32_t length = lp__get_u32(record + 4);
    lp__put_u32(record + 12, batch);
    lp__put_u32(record, checksum(record, record[8], length, seed));
    return lp__record_size(length);
}

bool lp__record_peek(const uint8_t *data, lp__record *out)
{
    static const uint32_t least[] = {
        [LP__RECORD_EVENT] = LP__EVENT_FIXED + 2,
        [LP__RECORD_REMOVE] = 8,
        [LP__RECORD_HORIZON] = LP__HORIZON_FIXED,
        [LP__RECORD_IDEMPOTENCY] = LP__IDEMPOTENCY_FIXED + 1,
        [LP__RECORD_COMMIT] = LP__COMMIT_SIZE,
        [LP__RECORD_PAD] = 0,
    };
    uint32_t kind = lp__get_u32(data + 8);
    uint32_t length = lp__get_u32(data + 4);
    out->type = (uint8_t)kind;
    out->length = length;
    out->size = lp__record_size(length);
    out->batch = lp__get_u32(data + 12);
    out->payload = data + LP__RECORD_HEADER;
    if (kind == 0 || kind > 255 || out->batch == 0)
        return false;
    return kind > LP__RECORD_PAD || length >= least[kind];
}

uint64_t lp__record_verified_size(const lp__record *record)
{
    return record->type == LP__RECORD_PAD ? LP__RECORD_HEADER
                                          : (uint64_t)LP__RECORD_HEADER + record->length;
}

bool lp__record_verify(const uint8_t *data, const lp__record *record, uint32_t seed)
{
    if (lp__get_u32(data) != checksum(data, record->type, record->length, seed))
        return false;
    switch (record->type) {
    case LP__RECORD_EVENT: {
        uint32_t category = lp__get_u32(data + LP__RECORD_HEADER + 16);
        return category >= 1 && category <= record->length - LP__EVENT_FIXED - 1;
    }
    case LP__RECORD_REMOVE:
        return record->length % 8 == 0;
    case LP__RECORD_HORIZON:
        return lp__get_u64(data + LP__RECORD_HEADER) < LP__SEQ_END;
    case LP__RECORD_COMMIT:
        return lp__get_u64(data + LP__RECORD_HEADER + 8) < LP__SEQ_END;
    default:
        return true;
    }
}

lp_str lp__record_category(const lp__record *record)
{
    const char *base = (const char *)record->payload;
    if (record->type == LP__RECORD_HORIZON)
        return (lp_str){base + LP__HORIZON_FIXED, record->length - LP__HORIZON_FIXED};
    return (lp_str){base + LP__EVENT_FIXED, lp__get_u32(record->payload + 16)};
}

lp_str lp__record_data(const lp__record *record)
{
    size_t before = LP__EVENT_FIXED + lp__get_u32(record->payload + 16);
    return (lp_str){(const char *)record->payload + before, record->length - before};
}

lp_idempotency lp__record_idempotency(const lp__record *record)
{
    const uint8_t *at = record->payload;
    return (lp_idempotency){
        .digest = lp__get_u64(at),
        .seq = lp__get_u64(at + 8),
        .expires_ms = (int64_t)lp__get_u64(at + 16),
        .count = lp__get_u32(at + 24),
        .key = {(const char *)at + LP__IDEMPOTENCY_FIXED, record->length - LP__IDEMPOTENCY_FIXED},
    };
}

/* ---- the marker of a clean stop -------------------------------------------------------------- */

void lp__clean_encode(const lp__clean *clean, uint8_t *out)
{
    put_prefix(out, clean_magic, LP__CLEAN_SIZE);
    lp__put_u64(out + 16, clean->number);
    lp__put_u64(out + 24, clean->epoch);
    lp__put_u32(out + 32, clean->batches);
    lp__put_u32(out + 36, lp__crc32c(0, out, 36));
}

bool lp__clean_decode(const uint8_t *data, size_t len, lp__clean *out)
{
    if (len < LP__CLEAN_SIZE || !prefix_is_good(data, clean_magic) ||
        (lp__get_u32(data + 8) & 0xffff) != LP__FORMAT_VERSION ||
        lp__get_u32(data + 36) != lp__crc32c(0, data, 36))
        return false;
    *out = (lp__clean){
        .number = lp__get_u64(data + 16),
        .epoch = lp__get_u64(data + 24),
        .batches = lp__get_u32(data + 32),
    };
    return true;
}
