/* The case about damaged files (promise 7): a start succeeds, pushes nothing that was not kept, and
 * says so when something is missing. Each round is a process of its own, for an add-on that dies of
 * what it reads. */
#include "kit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS       40
#define BATCHES      24
#define BATCH_EVENTS 12
#define PAGE         4096
#define GARBAGE_MAX  16384
#define FLIPS_MAX    8

/* ---- a store to damage ------------------------------------------------------------------------
 */

static void fill(lp__kit *kit)
{
    lp__kit_open(kit);
    for (uint32_t i = 0; i < BATCHES && lp__kit_going(kit); i++) {
        size_t oldest = kit->expected_count ? lp__kit_random(kit, kit->expected_count) : SIZE_MAX;
        lp__kit_any_events(kit, 1 + lp__kit_random(kit, BATCH_EVENTS));
        if (oldest != SIZE_MAX && i % 5 == 1 && lp__kit_claims(kit, LP_CLAIM_REMOVALS))
            lp__kit_removal(kit, lp_event_seq(kit->expected[oldest].event), LP_REMOVED_RETRIEVED);
        if (i % 8 == 3 && lp__kit_claims(kit, LP_CLAIM_HORIZONS))
            lp__kit_horizon(kit, lp_str_of("nobody home"), kit->seq - 1);
        if (i % 6 == 2 && lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY))
            lp__kit_key(kit, &(lp_idempotency){.key = {(const char *)&kit->seq, sizeof(kit->seq)},
                                               .digest = kit->seq,
                                               .seq = kit->seq - 1,
                                               .count = 1,
                                               .expires_ms = INT64_MAX});
        lp__kit_append(kit);
        if (i % 4 == 0)
            lp__kit_tend(kit);
    }
    lp__kit_close(kit);
}

/* ---- damage -----------------------------------------------------------------------------------
 */

typedef enum damage_kind {
    FLIPPED,
    GARBAGE,
    ZEROS,
    CUT,
    CUT_AT_A_PAGE,
    EMPTIED,
    APPENDED,
    REPLACED,
    KINDS
} damage_kind;

static const char *const kinds[] = {"bits flipped",  "garbage written over", "zeros written over",
                                    "cut",           "cut at a page",        "emptied",
                                    "garbage added", "replaced by garbage"};

static bool write_over(lp__kit *kit, int fd, uint64_t at, uint64_t len, bool zeros)
{
    uint8_t bytes[PAGE];
    while (len) {
        size_t part = len < sizeof(bytes) ? (size_t)len : sizeof(bytes);
        for (size_t i = 0; i < part; i++)
            bytes[i] = zeros ? 0 : (uint8_t)lp__kit_random(kit, 256);
        if (pwrite(fd, bytes, part, (off_t)at) != (ssize_t)part)
            return false;
        at += part;
        len -= part;
    }
    return true;
}

static bool write_over_some(lp__kit *kit, int fd, uint64_t bytes, bool zeros)
{
    uint64_t at = lp__kit_random(kit, bytes);
    uint64_t len = 1 + lp__kit_random(kit, lp__kit_random(kit, 2) ? 64 : GARBAGE_MAX);
    return write_over(kit, fd, at, len < bytes - at ? len : bytes - at, zeros);
}

static bool flip(lp__kit *kit, int fd, uint64_t bytes)
{
    bool ok = true;
    for (uint64_t flips = 1 + lp__kit_random(kit, FLIPS_MAX); ok && flips; flips--) {
        /* Half of them where files have their heads. */
        uint64_t range = lp__kit_random(kit, 2) && bytes > PAGE ? PAGE : bytes;
        off_t at = (off_t)lp__kit_random(kit, range);
        uint8_t byte = 0;
        ok = pread(fd, &byte, 1, at) == 1;
        byte ^= (uint8_t)(1 << lp__kit_random(kit, 8));
        ok = ok && pwrite(fd, &byte, 1, at) == 1;
    }
    return ok;
}

static bool damage_file(lp__kit *kit, int fd, uint64_t bytes, damage_kind kind)
{
    switch (kind) {
    case FLIPPED:
        return flip(kit, fd, bytes);
    case GARBAGE:
    case ZEROS:
        return write_over_some(kit, fd, bytes, kind == ZEROS);
    case CUT:
        return ftruncate(fd, (off_t)lp__kit_random(kit, bytes)) == 0;
    case CUT_AT_A_PAGE:
        return ftruncate(fd, (off_t)(lp__kit_random(kit, bytes / PAGE + 1) * PAGE)) == 0;
    case EMPTIED:
        return ftruncate(fd, 0) == 0;
    case APPENDED:
        return write_over(kit, fd, bytes, 1 + lp__kit_random(kit, 2 * PAGE), false);
    case REPLACED:
        return write_over(kit, fd, 0, bytes, false);
    case KINDS:
        break;
    }
    return false;
}

/* Which file: any that is not empty, large ones more often. */
static const struct lp__file *choose(lp__kit *kit, const lp__files *files)
{
    uint64_t total = 0;
    for (size_t i = 0; i < files->count; i++)
        total += files->items[i].bytes ? files->items[i].bytes + PAGE : 0;
    uint64_t at = total ? lp__kit_random(kit, total) : 0;
    for (size_t i = 0; i < files->count; i++) {
        uint64_t bytes = files->items[i].bytes ? files->items[i].bytes + PAGE : 0;
        if (at < bytes)
            return &files->items[i];
        at -= bytes;
    }
    return NULL;
}

/* Damages one file of the closed store; `what` tells people. */
static void damage(lp__kit *kit, unsigned round, char *what, size_t room)
{
    lp__files files;
    lp__files_list(kit, &files);
    const struct lp__file *file = choose(kit, &files);
    damage_kind kind = lp__kit_random(kit, 3) ? (damage_kind)lp__kit_random(kit, KINDS) : FLIPPED;
    if (!file) {
        lp__kit_fail(kit, "a closed store with events has no bytes in any file beneath %s",
                     kit->directory);
    } else {
        snprintf(what, room, "round %u, %s in %s of %llu bytes", round + 1, kinds[kind],
                 file->path + strlen(kit->directory) + 1, (unsigned long long)file->bytes);
        int fd = open(file->path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || !damage_file(kit, fd, file->bytes, kind))
            lp__kit_fail(kit, "%s could not be damaged", file->path);
        if (fd >= 0)
            close(fd);
    }
    lp__files_free(&files);
}

/* ---- what it comes to -------------------------------------------------------------------------
 */

/* In a process of its own. */
static void start_damaged(lp__kit *kit)
{
    lp_error error;
    int status = lp__kit_try_open(kit, &error);
    if (status == LP_EVERSION)
        return; /* what it reads may well say that a later library wrote it */
    if (status != LP_OK)
        lp__kit_fail(kit, "%s: opening the store failed with %s: %s", kit->what,
                     lp_status_name(status), error.message);
    if (kit->seen.losses)
        lp__expect_check_loss(kit, kit->what);
    else
        lp__expect_check(kit, kit->what);
    if (!lp__kit_going(kit))
        return;

    /* As a manager does: what may be missing is told to clients, from here on by the floor. */
    if (kit->seen.losses && lp__kit_claims(kit, LP_CLAIM_HORIZONS))
        lp__kit_horizon(kit, (lp_str){"", 0}, kit->seq - 1);
    lp__kit_any_events(kit, 5);
    lp__kit_append(kit);
    lp__kit_idle(kit);
    char when[512];
    snprintf(when, sizeof(when), "%s, at the second start", kit->what);
    lp__kit_reopen(kit, when);
    lp__kit_close(kit);
}

void lp__case_damage(lp__kit *kit)
{
    lp__kit_needs(kit, LP_CLAIM_DAMAGE);
    uint64_t seed = kit->random;
    unsigned rounds = kit->options->damage_rounds ? kit->options->damage_rounds : ROUNDS;
    for (unsigned round = 0; round < rounds && lp__kit_going(kit); round++) {
        char what[400] = "";
        lp__kit_reset(kit);
        kit->random = seed ^ ((round + 1) * 0x9e3779b97f4a7c15u);
        fill(kit);
        damage(kit, round, what, sizeof(what));
        kit->what = what;
        lp__kit_in_child(kit, start_damaged, what);
    }
    kit->what = NULL;
}
