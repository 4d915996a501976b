/* See bench_store_raw.h. One thread. */
#include "bench_store_raw.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shared/load_client.h"
#include "../shared/load_figures.h"

#define FRAME_BYTES 8
#define CACHE_LINE  64

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c(const char *data, size_t len)
{
    uint64_t crc = UINT32_MAX, word;

    for (; len >= 8; data += 8, len -= 8) {
        memcpy(&word, data, 8);
        crc = __builtin_ia32_crc32di(crc, word);
    }
    for (; len > 0; data++, len--)
        crc = __builtin_ia32_crc32qi((uint32_t)crc, (unsigned char)*data);
    return ~(uint32_t)crc;
}
#else
static uint32_t crc32c(const char *data, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (; len > 0; data++, len--) {
        crc ^= (unsigned char)*data;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return ~crc;
}
#endif

size_t raw_payload(char *out, const lp_event *event)
{
    lp_str category = lp_event_category(event), data = lp_event_data(event);
    lp_id id = lp_event_id(event);
    uint16_t category_len = (uint16_t)category.len;

    memcpy(out, &id, sizeof id);
    memcpy(out + sizeof id, &category_len, 2);
    memcpy(out + sizeof id + 2, category.base, category.len);
    memcpy(out + sizeof id + 2 + category.len, data.base, data.len);
    return sizeof id + 2 + category.len + data.len;
}

size_t raw_payload_max(const event_pool *pool)
{
    return sizeof(lp_id) + 2 + LP_CATEGORY_MAX + (size_t)pool->bytes;
}

uint64_t raw_look(const void *value, size_t len)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < len; i += CACHE_LINE)
        sum += ((const unsigned char *)value)[i];
    return sum;
}

static size_t frame(char *out, lp_event *const *events, size_t count)
{
    char *start = out;

    for (size_t i = 0; i < count; i++) {
        char *payload = out + FRAME_BYTES;
        uint32_t len = (uint32_t)raw_payload(payload, events[i]);
        uint32_t crc = crc32c(payload, len);
        memcpy(out, &len, 4);
        memcpy(out + 4, &crc, 4);
        out = payload + len;
    }
    return (size_t)(out - start);
}

append_run raw_write(int fd, const append_plan *plan, const event_pool *pool, off_t *end)
{
    bool sync = strcmp(plan->sync, "always") == 0;
    uint64_t start_us, spent_us = 0, written = 0;
    off_t offset = 0;
    stopwatch start, took;
    char *buffer = malloc(plan->batch * (raw_payload_max(pool) + FRAME_BYTES));

    if (!buffer)
        fail("out of memory");
    start = stopwatch_start();
    start_us = now_us();
    while (written < plan->events && spent_us < (uint64_t)plan->for_ms * 1000) {
        size_t len = frame(buffer, pool->at + written % EVENT_POOL, plan->batch);
        if (*end && offset + (off_t)len > *end)
            break;
        if (pwrite(fd, buffer, len, offset) != (ssize_t)len || (sync && fdatasync(fd) != 0))
            fail("raw file: %s", strerror(errno));
        offset += (off_t)len;
        written += plan->batch;
        spent_us = now_us() - start_us;
    }
    took = stopwatch_spent(start);
    free(buffer);
    *end = offset;
    return (append_run){written, took};
}
