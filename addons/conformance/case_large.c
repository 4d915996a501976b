/* The cases about sizes: data of many of them up to 1 MiB and more, in large batches, and a great
 * many small events. */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH_BYTES ((size_t)8 << 20)
#define MIB         ((size_t)1 << 20)

/* Before, on and behind the ends of pages and buffers of every kind. */
static const size_t sizes[] = {
    2,       100,     1000, 2000,    2047,  2048,  2049,    4000,  4080,  4095,      4096,   4097,
    8191,    8192,    8193, 16384,   32767, 32768, 65535,   65536, 65537, 131072,    262143, 524288,
    1000000, MIB - 1, MIB,  MIB + 1, 1,     65519, MIB / 2, 3,     4094,  MIB - 4096};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* An event with so many bytes of data, none of which is like its neighbours. */
static void large_event(lp__kit *kit, size_t bytes)
{
    size_t bound = kit->options->event_bytes_max;
    if (!lp__kit_going(kit) || (bound && bytes > bound))
        return;
    char *data = malloc(bytes), category[32];
    if (!data) {
        lp__kit_fail(kit, "no memory");
        return;
    }
    uint64_t x = kit->seq;
    for (size_t i = 0; i < bytes; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
        data[i] = (char)('0' + (x >> 33) % 43);              /* no quote, no backslash */
    }
    data[0] = bytes == 1 ? '7' : '"';
    if (bytes > 1)
        data[bytes - 1] = '"';
    snprintf(category, sizeof(category), "large/%zu", bytes);
    lp__kit_event(kit, lp_str_of(category), (lp_str){data, bytes});
    free(data);
}

void lp__case_large(lp__kit *kit)
{
    lp__kit_open(kit);
    for (size_t i = 0; i < SIZES; i++) {
        large_event(kit, sizes[i]);
        if (i % 3 == 2)
            lp__kit_append(kit);
        if (i % 9 == 8)
            lp__kit_idle(kit);
    }
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after data of every size");

    for (size_t i = 0; i < SIZES; i++)
        large_event(kit, sizes[SIZES - 1 - i]);
    lp__kit_append(kit);
    lp__kit_idle(kit);
    size_t bound = kit->options->event_bytes_max;
    size_t largest = bound && bound < MIB ? bound : MIB;
    for (size_t bytes = 0; bytes + largest <= BATCH_BYTES; bytes += largest)
        large_event(kit, largest);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after a batch with data of every size, and one of 8 MiB");
}

/* ---- many -------------------------------------------------------------------------------------
 */

#define MANY       50000
#define MANY_BATCH 1024
#define MANY_BYTES 200

void lp__case_many(lp__kit *kit)
{
    lp__flow flow = {.data_bytes = MANY_BYTES};
    uint64_t many = kit->options->many_events ? kit->options->many_events : MANY;
    lp__kit_open(kit);
    while (flow.given < many && lp__kit_going(kit)) {
        uint64_t left = many - flow.given;
        lp__flow_append(kit, &flow, left < MANY_BATCH ? (size_t)left : MANY_BATCH);
        lp__kit_tend(kit);
    }
    lp__flow_reopen(kit, &flow, "after many small events");
    lp__flow_append(kit, &flow, 1);
    lp__flow_reopen(kit, &flow, "after many small events and one more");
}
