/* See raw_write.h. One thread. */
#include "raw_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "figures.h"

#define FRAME_BYTES 8

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

/* An id, the category and the data of each event in a frame: what a record cannot do without. */
static size_t frame(char *out, lp_event *const *events, size_t count)
{
    char *start = out;

    for (size_t i = 0; i < count; i++) {
        const lp_event *event = events[i];
        lp_str category = lp_event_category(event), data = lp_event_data(event);
        lp_id id = lp_event_id(event);
        char *payload = out + FRAME_BYTES;
        uint32_t len = (uint32_t)(sizeof id + 2 + category.len + data.len), crc;
        uint16_t category_len = (uint16_t)category.len;
        memcpy(payload, &id, sizeof id);
        memcpy(payload + sizeof id, &category_len, 2);
        memcpy(payload + sizeof id + 2, category.base, category.len);
        memcpy(payload + sizeof id + 2 + category.len, data.base, data.len);
        crc = crc32c(payload, len);
        memcpy(out, &len, 4);
        memcpy(out + 4, &crc, 4);
        out = payload + len;
    }
    return (size_t)(out - start);
}

double raw_write_rate(int fd, bool sync, lp_event *const *events, size_t count, size_t batch_size,
                      long for_ms, off_t *end)
{
    size_t largest = 0;
    uint64_t start_us, spent_us = 0, written = 0;
    off_t offset = 0;
    char *buffer;

    for (size_t i = 0; i < count; i++)
        if (lp_event_wire(events[i]).len > largest)
            largest = lp_event_wire(events[i]).len;
    buffer = malloc(batch_size * (largest + 64));
    if (!buffer)
        fail("out of memory");
    start_us = now_us();
    while (spent_us < (uint64_t)for_ms * 1000) {
        size_t at = written % (count / batch_size * batch_size);
        size_t len = frame(buffer, events + at, batch_size);
        if (*end && offset + (off_t)len > *end)
            break;
        if (pwrite(fd, buffer, len, offset) != (ssize_t)len || (sync && fdatasync(fd) != 0))
            fail("raw file: %s", strerror(errno));
        offset += (off_t)len;
        written += batch_size;
        spent_us = now_us() - start_us;
    }
    free(buffer);
    *end = offset;
    return (double)written * 1e6 / (double)spent_us;
}
