/* The LMDB store on a small disk that is filled again and again: what is told as removed makes
 * room, however often, and what was acknowledged and not removed is all there is.
 *
 *     lmdb_space [ROUNDS [SEED]]      needs the right to mount a tmpfs; else it is skipped */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lmdb_kit.h"

enum { SKIPPED = 77, TRIES = 20, RESTART_EVERY = 3 };

static char *disk, path[4096];
static enum { REFUSED, LIVES, REMOVED } events[LK_EVENTS_MAX];
static uint64_t next_event = 1, oldest = 1;
static unsigned seed, round_number;
static lp_error error;

static void fail(const char *what)
{
    printf("round %u, event %llu: %s: %s\n", round_number, (unsigned long long)next_event, what,
           error.message);
    umount2(disk, MNT_DETACH);
    exit(1);
}

static bool append(lp_store *store, size_t count, size_t len)
{
    lp_batch *batch = lk_batch();
    for (size_t i = 0; i < count; i++) {
        lp_event *event = lk_event_of(next_event + i, len);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
    }
    int status = lp_store_append(store, batch, &error);
    lp_batch_free(batch);
    if (status != LP_OK && status != LP_ENOSPC)
        fail("a full disk is called something else");
    for (size_t i = 0; i < count; i++)
        events[next_event++] = status == LP_OK ? LIVES : REFUSED;
    return status == LP_OK;
}

/* All, the older three quarters, or seven of eight anywhere; and the horizons that go with them. */
static void remove_some(lp_store *store, int kind)
{
    lp_batch *batch = lk_batch();
    uint64_t end = kind == 1 ? next_event - (next_event - oldest) / 4 : next_event;
    uint64_t newest[LK_CATEGORIES] = {0};
    for (uint64_t n = oldest; n < end; n++) {
        if (events[n] != LIVES || (kind == 2 && rand_r(&seed) % 8 == 0))
            continue;
        events[n] = REMOVED;
        newest[n % LK_CATEGORIES] = n;
        lp_batch_add_removal(batch, LK_SEQ(n), LP_REMOVED_TTL);
    }
    for (uint64_t i = 0; kind != 2 && i < LK_CATEGORIES; i++)
        if (newest[i] != 0)
            lp_batch_add_horizon(batch, lp_str_of(lk_category(newest[i])), LK_SEQ(newest[i]));
    while (oldest < next_event && events[oldest] != LIVES)
        oldest++;
    int status = LP_ENOSPC;
    for (int i = 0; status != LP_OK && i < TRIES; i++)
        status = lp_store_append(store, batch, &error);
    lp_batch_free(batch);
    if (status != LP_OK)
        fail("what frees space is refused for the lack of it");
}

/* What was removed may have its row still: a manager passes it over, and tells it again. */
static void check(const lk_content *content)
{
    if (content->wrong > 0 || content->losses > 0)
        fail("a start found something wrong");
    for (size_t i = 0; i < content->count; i++) {
        uint64_t n = content->events[i];
        if (n >= next_event || events[n] == REFUSED)
            fail("what was refused is there");
        events[n] = LIVES;
        oldest = n < oldest ? n : oldest;
    }
    for (uint64_t n = 1; n < next_event; n++)
        if (events[n] == LIVES && !lk_has(content, n))
            fail("what was acknowledged is missing");
}

static void run(unsigned rounds)
{
    static const size_t lengths[] = {60, 5000, 300, 1500, 70000, 900};
    static lk_content content;
    lp_lmdb_options options = lk_options(LP_SYNC_INTERVAL);
    lp_store *store = lk_open(path, &options, NULL);
    for (unsigned round = 0; round < rounds && next_event < LK_EVENTS_MAX - 20000; round++) {
        round_number = round;
        size_t len = lengths[round % (sizeof(lengths) / sizeof(*lengths))];
        size_t count = 1 + (size_t)rand_r(&seed) % (len > 2000 ? 8 : 200);
        while (append(store, count, len))
            continue;
        while (append(store, 1, len))
            continue;
        remove_some(store, (int)(round % 3));
        bool goes_on = false;
        for (int i = 0; !goes_on && i < TRIES; i++)
            goes_on = append(store, 1, len);
        /* Pages that each have something left, or no run of free ones for a large event. */
        if (!goes_on && round % 3 > 0)
            remove_some(store, 0);
        for (int i = 0; !goes_on && i < TRIES; i++)
            goes_on = append(store, 1, len);
        if (!goes_on)
            fail("there is space, and it does not go on");
        if (lk_verify(store, &error) != LP_OK)
            fail("it does not verify");
        if (round % RESTART_EVERY != 0)
            continue;
        if (lp_store_close(store, 1000, &error) != LP_OK)
            fail("it could not be closed cleanly");
        store = lk_open(path, &options, &content);
        check(&content);
    }
    lk_close(store);
    lk_content_free(&content);
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 24;
    seed = argc > 2 ? (unsigned)atoi(argv[2]) : (unsigned)getpid();
    disk = lk_directory();
    if (mount("tmpfs", disk, "tmpfs", 0, "size=4m") != 0) {
        rmdir(disk);
        free(disk);
        puts("skipped: no tmpfs can be mounted");
        return SKIPPED;
    }
    printf("%u rounds, seed %u\n", rounds, seed);
    snprintf(path, sizeof(path), "%s/store", disk);
    run(rounds);
    printf("%llu events\n", (unsigned long long)next_event - 1);
    umount2(disk, MNT_DETACH);
    rmdir(disk);
    free(disk);
    return 0;
}
