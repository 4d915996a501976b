/* File calls that fail: each call of a run in turn, in each way. What was acknowledged is there
 * afterwards, what was answered as failed is not, and the journal goes on when the fault has gone.
 * ENOSPC and EFBIG are also had for real, from a small tmpfs and from RLIMIT_FSIZE. */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_disk.h"
#include "journal_model.h"

static char *directory;
static char image[4200], main_dir[4200];
static jk_content content;
static jm_model model;

static void begin(void)
{
    directory = jk_directory_in_memory();
    snprintf(main_dir, sizeof(main_dir), "%s/journal", directory);
    snprintf(image, sizeof(image), "%s/image", directory);
}

static void end(void)
{
    jk_remove(directory);
    free(directory);
    jk_content_free(&content);
}

TestSuite(journal_faults, .init = begin, .fini = end, .timeout = 300);

/* ---- every call in turn ---------------------------------------------------------------------- */

struct plan {
    lp_sync sync;
    jd_fault fault;
    unsigned calls;
    uint64_t first, count;
};

enum { STEPS = 26, OTHER_BOOT = 2 };

static const char *describe(const struct plan *plan, const char *when)
{
    static char text[200];
    snprintf(text, sizeof(text), "sync %d, fault %d at call %llu, %lld times, %s", (int)plan->sync,
             (int)plan->fault, (unsigned long long)plan->first, (long long)plan->count, when);
    return text;
}

static int no_sync(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}

static uint64_t other_boot(void *ctx)
{
    (void)ctx;
    return OTHER_BOOT;
}

static uint64_t same_boot(void *ctx)
{
    (void)ctx;
    return 1;
}

/* Opens what is in `image` and compares. */
static void check(const struct plan *plan, bool is_cut, const char *when)
{
    lp_journal_options options = jk_options(plan->sync, 4096);
    lp__journal_io io = lp__journal_io_real();
    lp_error error = {LP_OK, ""};
    char why[256];
    io.fdatasync = no_sync;
    io.fsync_dir = no_sync;
    io.boot = is_cut ? other_boot : same_boot;
    lp_store *store = jk_open_io(image, &options, &io, &content, &error);
    cr_assert_not_null(store, "%s: %s", describe(plan, when), error.message);
    bool may_lose = plan->sync != LP_SYNC_ALWAYS && is_cut;
    if (plan->sync != LP_SYNC_ALWAYS && !is_cut)
        content.losses = 0; /* a loss may be feared, but a kill loses nothing */
    cr_assert(jm_verify(&model, &content, may_lose, why), "%s: %s", describe(plan, when), why);
    jk_close(store);
}

/* A kill leaves what is in the files, a power cut some of it. */
static void check_all(const struct plan *plan, const jd_disk *disk)
{
    jk_copy(main_dir, image);
    check(plan, false, "kill");
    for (uint64_t seed = 0; seed < 4; seed++) {
        jd_image(disk, seed < 2 ? seed : seed * 1000 + plan->first, image);
        check(plan, true, "power cut");
    }
}

static void step(lp_store *store, jd_disk *disk, int i)
{
    lp_error error;
    int64_t next_ms = 0;
    jm_step(&model, store);
    if (i % 3 == 0)
        jd_pass_time(disk, 1100 * 1000);
    for (int n = 0; n < 100 && next_ms == 0; n++)
        if (lp_store_idle(store, 1, &next_ms, &error) != LP_OK)
            break;
}

static uint64_t compactions;

/* A run with one plan. Returns how many calls there were to fail; 0: the fault did not hit. */
static uint64_t run(const struct plan *plan)
{
    lp_journal_options options = jk_options(plan->sync, 4096);
    lp_error error = {LP_OK, ""};
    jk_remove(main_dir);
    jd_disk *disk = jd_new(main_dir);
    lp__journal_io io = jd_io(disk);
    jm_init(&model, 5);
    lp_store *store = jk_open_io(main_dir, &options, &io, &content, &error);
    cr_assert_not_null(store, "%s", error.message);
    for (int i = 0; i < 3; i++)
        step(store, disk, i);
    jd_plan(disk, plan->fault, plan->calls, plan->first, plan->count);
    for (int i = 0; i < STEPS; i++)
        step(store, disk, i);
    uint64_t calls = jd_calls(disk), faults = jd_faults(disk);
    compactions += jk_figure(store, "compactions");
    if (faults > 0 || plan->fault == JD_NONE)
        check_all(plan, disk);

    /* The fault has gone: what comes now is kept, unless something is in doubt. */
    jd_plan(disk, JD_NONE, JD_ALL, 0, 0);
    for (int i = 0; i < 3; i++) {
        int status = jm_step(&model, store);
        cr_assert_eq(status, model.has_doubt ? LP_EINDOUBT : LP_OK, "%s: %d",
                     describe(plan, "afterwards"), status);
    }
    if (faults > 0)
        check_all(plan, disk);
    if (lp_store_close(store, 1000, &error) == LP_OK && !model.has_doubt && faults > 0) {
        jk_copy(main_dir, image);
        check(plan, true, "closed");
    }
    jd_free(disk);
    return faults > 0 || plan->fault == JD_NONE ? calls : 0;
}

static void fail_every_call(lp_sync sync, jd_fault fault, unsigned calls, uint64_t count)
{
    struct plan plan = {sync, fault, calls, 1, count};
    uint64_t hits = 0;
    while (run(&plan) > 0) {
        hits++;
        plan.first++;
    }
    cr_assert_gt(hits, sync == LP_SYNC_NEVER ? 0 : 5, "faults hit");
}

Test(journal_faults, without_faults_nothing_is_lost)
{
    for (lp_sync sync = LP_SYNC_INTERVAL; sync <= LP_SYNC_NEVER; sync++) {
        struct plan plan = {sync, JD_NONE, JD_ALL, 0, 0};
        compactions = 0;
        cr_assert_gt(run(&plan), STEPS);
        cr_assert_gt(compactions, 0, "the run was to compact");
    }
}

#define FAULT_TESTS(name, sync)                                                                    \
    Test(journal_faults, name##_survives_eio_at_every_call)                                        \
    {                                                                                              \
        fail_every_call(sync, JD_EIO, JD_ALL, 1);                                                  \
    }                                                                                              \
    Test(journal_faults, name##_survives_eio_after_the_deed_at_every_call)                         \
    {                                                                                              \
        fail_every_call(sync, JD_EIO_DONE, JD_ALL, 1);                                             \
    }                                                                                              \
    Test(journal_faults, name##_survives_eio_amid_a_write)                                         \
    {                                                                                              \
        fail_every_call(sync, JD_EIO_HALF, JD_WRITE, 1);                                           \
    }                                                                                              \
    Test(journal_faults, name##_survives_short_writes)                                             \
    {                                                                                              \
        fail_every_call(sync, JD_SHORT, JD_WRITE, UINT64_MAX);                                     \
    }                                                                                              \
    Test(journal_faults, name##_survives_a_full_disk_at_every_call)                                \
    {                                                                                              \
        fail_every_call(sync, JD_ENOSPC, JD_WRITE | JD_CREATE, 1);                                 \
    }                                                                                              \
    Test(journal_faults, name##_survives_a_disk_that_stays_full_for_a_while)                       \
    {                                                                                              \
        fail_every_call(sync, JD_ENOSPC, JD_WRITE | JD_CREATE, 5);                                 \
    }                                                                                              \
    Test(journal_faults, name##_survives_syncs_that_fail_twice)                                    \
    {                                                                                              \
        fail_every_call(sync, JD_EIO, JD_SYNC | JD_SYNC_DIR, 2);                                   \
    }                                                                                              \
    Test(journal_faults, name##_survives_syncs_that_fail_five_times)                               \
    {                                                                                              \
        fail_every_call(sync, JD_EIO, JD_SYNC, 5);                                                 \
    }                                                                                              \
    Test(journal_faults, name##_survives_a_disk_that_dies)                                         \
    {                                                                                              \
        fail_every_call(sync, JD_EIO, JD_ALL, UINT64_MAX);                                         \
    }                                                                                              \
    Test(journal_faults, name##_survives_a_disk_that_lies_that_it_died)                            \
    {                                                                                              \
        fail_every_call(sync, JD_EIO_DONE, JD_ALL, UINT64_MAX);                                    \
    }

FAULT_TESTS(always, LP_SYNC_ALWAYS)
FAULT_TESTS(interval, LP_SYNC_INTERVAL)
FAULT_TESTS(never, LP_SYNC_NEVER)

/* ---- life after life ------------------------------------------------------------------------- */

/* Faults at random in every life, and a power cut or a kill at its end. */
static void run_lives(lp_sync sync, int lives, uint64_t seed)
{
    lp_journal_options options = jk_options(sync, 4096);
    char why[256];
    jm_init(&model, seed);
    uint64_t random = seed;
    for (int life = 0; life < lives; life++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        jd_disk *disk = jd_new(main_dir);
        lp__journal_io io = jd_io(disk);
        lp_error error = {LP_OK, ""};
        jd_set_boot(disk, 10 + (uint64_t)life);
        lp_store *store = jk_open_io(main_dir, &options, &io, &content, &error);
        cr_assert_not_null(store, "life %d: %s", life, error.message);
        cr_assert(jm_verify(&model, &content, sync != LP_SYNC_ALWAYS, why), "life %d: %s", life,
                  why);
        jm_adopt(&model, &content);
        int steps = 5 + (int)(random >> 40) % 60;
        jd_plan(disk, (jd_fault)((random >> 20) % JD_FAULT_COUNT),
                (unsigned)(random >> 24) & JD_ALL, (random >> 32) % 80, 1 + (random >> 52) % 4);
        for (int i = 0; i < steps; i++)
            step(store, disk, i);
        if ((random >> 60) % 4 == 0)
            lp_store_close(store, 1000, &error);
        jd_image(disk, random >> 10, image);
        if ((random >> 60) % 4 != 0) {
            jd_plan(disk, JD_EIO, JD_ALL, 1, UINT64_MAX); /* closing leaves nothing behind */
            lp_store_close(store, 1000, &error);
        }
        jd_free(disk);
        jk_copy(image, main_dir);
    }
}

Test(journal_faults, always_survives_faults_and_power_cuts_life_after_life)
{
    run_lives(LP_SYNC_ALWAYS, 150, 11);
}

Test(journal_faults, interval_survives_faults_and_power_cuts_life_after_life)
{
    run_lives(LP_SYNC_INTERVAL, 150, 12);
}

/* ---- for real -------------------------------------------------------------------------------- */

/* Appends until it is refused, and frees the space again by what it is told to call: the store goes
 * on by itself, and holds what was acknowledged. */
static void fill_and_go_on(const char *where, int (*make_space)(const char *where))
{
    lp_journal_options options = jk_options(LP_SYNC_INTERVAL, 65536);
    lp_error error = {LP_OK, ""};
    uint64_t n = 1, refused = 0;
    bool is_kept[20000] = {false};
    lp_store *store = jk_open(where, &options, &content);
    for (; n < 15000 && refused < 200; n += 10) {
        int status = jk_append(store, n, 10, &error);
        if (status == LP_OK) {
            memset(is_kept + n, 1, 10);
            continue;
        }
        cr_assert_eq(status, LP_ENOSPC, "%s", error.message);
        cr_assert(strstr(error.message, "free some space") != NULL, "%s", error.message);
        refused += 10;
    }
    cr_assert_geq(refused, 200, "%d events fit", (int)n);
    cr_assert_eq(make_space(where), 0);
    cr_assert_eq(jk_append(store, n, 10, &error), LP_OK, "%s", error.message);
    memset(is_kept + n, 1, 10);
    n += 10;
    jk_close(store);
    jk_look(where, &options, &content);
    cr_assert_eq(content.wrong, 0);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    for (uint64_t i = 1; i < n; i++)
        cr_assert_eq(jk_has(&content, i), is_kept[i], "event %d", (int)i);
}

static int enlarge_tmpfs(const char *where)
{
    char mounted[4200];
    snprintf(mounted, sizeof(mounted), "%s", where);
    *strrchr(mounted, '/') = '\0';
    return mount("tmpfs", mounted, "tmpfs", MS_REMOUNT, "size=8m");
}

Test(journal_faults, a_full_tmpfs_refuses_batches_and_goes_on_when_there_is_space)
{
    if (mkdir(main_dir, 0700) != 0 || mount("tmpfs", main_dir, "tmpfs", 0, "size=256k") != 0)
        cr_skip_test("no right to mount a tmpfs (RLIMIT_FSIZE stands in for it)");
    char where[4300];
    snprintf(where, sizeof(where), "%s/store", main_dir);
    fill_and_go_on(where, enlarge_tmpfs);
    umount(main_dir);
}

static int raise_limit(const char *where)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    (void)where;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_FSIZE, &limit);
}

Test(journal_faults, a_file_size_limit_refuses_batches_and_goes_on_when_it_is_raised)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 600; /* so small that not one batch fits */
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    fill_and_go_on(main_dir, raise_limit);
}
