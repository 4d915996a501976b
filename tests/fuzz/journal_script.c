/* See journal_script.h. The bytes are those of addons/journal/FORMAT.md. */
#include "journal_script.h"

segment file;

void category_name(unsigned category, char out[8])
{
    snprintf(out, 8, "c%u", category);
}

size_t data_text(uint64_t seq, unsigned len, char *out)
{
    int head = sprintf(out, "\"%llu", (unsigned long long)(seq - SEQ(0)));
    size_t size = (size_t)head;
    while (size < len + 2u)
        out[size++] = 'x';
    out[size++] = '"';
    return size;
}

static void put_record(lp__record_type type, uint32_t length, uint64_t epoch, written what)
{
    uint8_t *at = file.bytes + file.size;
    what.type = (uint8_t)type;
    what.batch = file.batch;
    what.offset = file.size;
    what.end = file.size + LP__RECORD_HEADER + length;
    lp__record_seal(at, type, length, file.batch, lp__epoch_seed(epoch));
    file.records[file.count++] = what;
    file.size += lp__record_size(length);
    file.in_batch++;
}

static void put_event(uint8_t op)
{
    char name[8], data[64];
    uint8_t *payload = file.bytes + file.size + LP__RECORD_HEADER;
    written what = {.seq = SEQ(++file.events), .category = op >> 3 & 3, .data_len = op >> 5};
    lp_id id = lp_id_make(what.seq, what.seq);
    category_name(what.category, name);
    size_t name_len = strlen(name), data_len = data_text(what.seq, what.data_len * 5, data);
    memcpy(payload, id.bytes, 16);
    lp__put_u32(payload + 16, (uint32_t)name_len);
    memcpy(payload + 20, name, name_len);
    memcpy(payload + 20 + name_len, data, data_len);
    put_record(LP__RECORD_EVENT, (uint32_t)(20 + name_len + data_len), EPOCH, what);
}

static void put_other(uint8_t op)
{
    char name[8];
    uint8_t *payload = file.bytes + file.size + LP__RECORD_HEADER;
    unsigned back = op >> 5;
    written what = {.seq = SEQ(file.events > back ? file.events - back : 0),
                    .category = op >> 3 & 3};
    category_name(what.category, name);
    switch (op & 7) {
    case 3:
        lp__put_u64(payload, what.seq);
        put_record(LP__RECORD_REMOVE, 8, EPOCH, what);
        break;
    case 4:
        lp__put_u64(payload, what.seq);
        memcpy(payload + 8, name, strlen(name));
        put_record(LP__RECORD_HORIZON, (uint32_t)(8 + strlen(name)), EPOCH, what);
        break;
    case 5:
        lp__put_u64(payload, 99);
        lp__put_u64(payload + 8, what.seq);
        lp__put_u64(payload + 16, WALL_MS + 1000);
        lp__put_u32(payload + 24, 1);
        memset(payload + 28, 'k', 1 + back);
        put_record(LP__RECORD_IDEMPOTENCY, 29 + back, EPOCH, what);
        break;
    default:
        memset(payload, op, op >> 3);
        put_record(LP__RECORD_OPTIONAL, op >> 3, EPOCH, what);
        break;
    }
}

static void put_commit(void)
{
    uint8_t *payload = file.bytes + file.size + LP__RECORD_HEADER;
    lp__put_u32(payload, file.in_batch);
    lp__put_u32(payload + 4, (uint32_t)((file.size - file.begun) / 8));
    lp__put_u64(payload + 8, SEQ(file.events));
    put_record(LP__RECORD_COMMIT, LP__COMMIT_SIZE, EPOCH, (written){.seq = SEQ(file.events)});
    file.batch++;
    file.in_batch = 0;
    file.begun = file.size;
}

static void write_records(const uint8_t *script, size_t size, bool recycled)
{
    lp__header header = {.number = 1,
                         .first = 1,
                         .epoch = EPOCH,
                         .boot = BOOT,
                         .sync = LP_SYNC_ALWAYS,
                         .recycled = recycled};
    memset(&file, 0, sizeof(file));
    lp__header_encode(&header, file.bytes);
    file.size = file.begun = LP__SEGMENT_HEADER;
    file.batch = 1;
    for (size_t i = 0; i < size && file.count < RECORDS_MAX - 8; i++) {
        if ((script[i] & 7) < 3)
            put_event(script[i]);
        else if ((script[i] & 7) == 6)
            put_commit();
        else
            put_other(script[i]);
    }
}

/* A committed batch of another epoch behind it all, as a recycled file has. */
static void put_old_batch(void)
{
    size_t count = file.count, size = file.size;
    put_event(0);
    put_commit();
    for (size_t at = size; at < file.size;)
        at += lp__record_reseal(file.bytes + at, file.batch, lp__epoch_seed(OLD_EPOCH));
    file.count = count;
}

void script_write(const uint8_t *script, size_t size, bool recycled)
{
    write_records(script, size, recycled);
    if (recycled)
        put_old_batch();
}

const written *event_of(uint64_t seq)
{
    for (size_t i = 0; i < file.count; i++)
        if (file.records[i].type == LP__RECORD_EVENT && file.records[i].seq == seq)
            return &file.records[i];
    return NULL;
}

harm script_harm(const uint8_t head[5])
{
    harm done = {.from = (uint64_t)(head[1] << 8 | head[2]) % (file.size + 1),
                 .to = file.size,
                 .is_cut = !(head[0] & 1)};
    if (done.is_cut) {
        file.size = done.from;
    } else {
        uint64_t end = done.from + head[3];
        done.to = end < file.size ? end : file.size;
        for (uint64_t at = done.from; at < done.to; at++)
            file.bytes[at] ^= head[4] | 1;
    }
    return done;
}
