/* Power cuts: at every call that changes a file, and in states of the disk that POSIX allows, the
 * journal is opened as it would be after the cut. At `always` everything acknowledged is there and
 * nothing that failed is; below that, what is missing is told. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal_disk.h"
#include "journal_model.h"

enum { OTHER_BOOT = 2 };

static char *directory;
static char image[4200], main_dir[4200], next_dir[4200];
static jk_content content, image_content;
static jm_model model;

static void begin(void)
{
    directory = jk_directory_in_memory();
    snprintf(main_dir, sizeof(main_dir), "%s/journal", directory);
    snprintf(next_dir, sizeof(next_dir), "%s/next", directory);
    snprintf(image, sizeof(image), "%s/image", directory);
}

static void end(void)
{
    jk_remove(directory);
    free(directory);
    jk_content_free(&content);
    jk_content_free(&image_content);
}

TestSuite(journal_power, .init = begin, .fini = end, .timeout = 300);

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

/* Opens a state of the disk after a cut and compares. */
static void check_image(const lp_journal_options *options, const char *when)
{
    lp__journal_io io = lp__journal_io_real();
    lp_error error = {LP_OK, ""};
    char why[256];
    io.fdatasync = no_sync;
    io.fsync_dir = no_sync;
    io.boot = other_boot;
    lp_store *store = jk_open_io(image, options, &io, &image_content, &error);
    cr_assert_not_null(store, "%s: %s", when, error.message);
    cr_assert(jm_verify(&model, &image_content, options->sync != LP_SYNC_ALWAYS, why), "%s: %s",
              when, why);
    jk_close(store);
}

struct cutter {
    jd_disk *disk;
    const lp_journal_options *options;
    uint64_t calls, images_a_call, random;
};

/* Before every call that changes something: the power fails here. */
static void cut_here(void *ctx)
{
    struct cutter *cutter = ctx;
    char when[64];
    cutter->calls++;
    for (uint64_t i = 0; i < cutter->images_a_call; i++) {
        uint64_t seed = i < 2 && cutter->calls % 2 ? i : cutter->random++;
        jd_image(cutter->disk, seed, image);
        snprintf(when, sizeof(when), "cut before call %llu, seed %llu",
                 (unsigned long long)cutter->calls, (unsigned long long)seed);
        check_image(cutter->options, when);
    }
}

static void idle(lp_store *store)
{
    lp_error error;
    int64_t next_ms = 0;
    for (int i = 0; i < 300 && next_ms == 0; i++)
        lp_store_idle(store, 1, &next_ms, &error);
}

/* Batches, idle time and restarts, with cuts all along. */
static void run(lp_sync sync, size_t steps, uint64_t images_a_call)
{
    lp_journal_options options = jk_options(sync, 4096);
    jd_disk *disk = jd_new(main_dir);
    lp__journal_io io = jd_io(disk);
    struct cutter cutter = {disk, &options, 0, images_a_call, 1000};
    lp_error error = {LP_OK, ""};
    uint64_t compactions = 0, recycled = 0;
    jm_init(&model, 42 + (uint64_t)sync);
    jd_on_call(disk, cut_here, &cutter);
    lp_store *store = jk_open_io(main_dir, &options, &io, &content, &error);
    cr_assert_not_null(store, "%s", error.message);
    for (size_t i = 1; i <= steps; i++) {
        cr_assert_eq(jm_step(&model, store), LP_OK);
        if (i % 3 == 0)
            jd_pass_time(disk, 400 * 1000);
        idle(store);
        if (i % 40 == 0) {
            compactions += jk_figure(store, "compactions");
            recycled += jk_figure(store, "recycled_segments");
            jk_close(store);
            store = jk_open_io(main_dir, &options, &io, &content, &error);
            cr_assert_not_null(store, "%s", error.message);
        }
    }
    compactions += jk_figure(store, "compactions");
    recycled += jk_figure(store, "recycled_segments");
    cr_assert_gt(compactions, 1, "the run was to compact");
    cr_assert_gt(recycled, 1, "the run was to write over old segments");
    jd_on_call(disk, NULL, NULL);
    jk_close(store);
    jd_free(disk);
}

Test(journal_power, at_always_every_cut_keeps_what_was_acknowledged)
{
    run(LP_SYNC_ALWAYS, 90, 3);
}

Test(journal_power, at_interval_every_cut_tells_what_is_missing)
{
    run(LP_SYNC_INTERVAL, 120, 3);
}

Test(journal_power, at_never_every_cut_tells_what_is_missing)
{
    run(LP_SYNC_NEVER, 120, 2);
}

/* ---- cut after cut --------------------------------------------------------------------------- */

typedef struct one_cut {
    jd_disk *disk;
    jm_model *saved;
    uint64_t countdown, seed;
} one_cut;

static void cut_once(void *ctx)
{
    one_cut *cut = ctx;
    if (cut->countdown == 0 || --cut->countdown > 0)
        return;
    jd_image(cut->disk, cut->seed, next_dir);
    *cut->saved = model;
}

/* The power fails again and again, and each life goes on from what the last one left. */
static void run_lives(lp_sync sync, int lives)
{
    static jm_model saved;
    lp_journal_options options = jk_options(sync, 4096);
    char why[256];
    jm_init(&model, 7 + (uint64_t)sync);
    uint64_t random = 1;
    for (int life = 0; life < lives; life++) {
        jd_disk *disk = jd_new(main_dir);
        lp__journal_io io = jd_io(disk);
        lp_error error = {LP_OK, ""};
        jd_set_boot(disk, 100 + (uint64_t)life);
        random = random * 6364136223846793005u + 1442695040888963407u;
        one_cut cut = {disk, &saved, 2 + (random >> 33) % 60, random >> 20};
        saved = model;
        jd_on_call(disk, cut_once, &cut);
        lp_store *store = jk_open_io(main_dir, &options, &io, &content, &error);
        cr_assert_not_null(store, "life %d: %s", life, error.message);
        cr_assert(jm_verify(&model, &content, sync != LP_SYNC_ALWAYS, why), "life %d: %s", life,
                  why);
        jm_adopt(&model, &content);
        for (int i = 0; i < 400 && cut.countdown > 0; i++) {
            jm_step(&model, store);
            jd_pass_time(disk, 300 * 1000);
            idle(store);
        }
        jd_on_call(disk, NULL, NULL);
        jk_close(store);
        jd_free(disk);
        model = saved;
        jk_copy(next_dir, main_dir);
    }
}

Test(journal_power, at_always_many_cuts_one_after_the_other_lose_nothing)
{
    run_lives(LP_SYNC_ALWAYS, 300);
}

Test(journal_power, at_interval_many_cuts_one_after_the_other_lose_nothing_in_silence)
{
    run_lives(LP_SYNC_INTERVAL, 300);
}

/* ---- a kill and then a cut ------------------------------------------------------------------- */

Test(journal_power, what_a_start_gives_back_after_a_kill_survives_a_cut)
{
    for (lp_sync sync = LP_SYNC_INTERVAL; sync <= LP_SYNC_ALWAYS; sync++) {
        lp_journal_options options = jk_options(LP_SYNC_INTERVAL, 4096);
        lp_error error = {LP_OK, ""};
        jk_remove(main_dir);
        jd_disk *disk = jd_new(main_dir);
        lp__journal_io io = jd_io(disk);
        lp_store *store = jk_open_io(main_dir, &options, &io, &content, &error);
        for (uint64_t n = 1; n <= 10; n++)
            cr_assert_eq(jk_append(store, n, 1, &error), LP_OK);
        jd_plan(disk, JD_KILLED, JD_ALL, 1, UINT64_MAX);
        lp_store_close(store, 1000, &error);
        jd_plan(disk, JD_NONE, JD_ALL, 0, 0);

        options.sync = sync;
        store = jk_open_io(main_dir, &options, &io, &content, &error);
        cr_assert_not_null(store, "%s", error.message);
        cr_assert_eq(content.count, 10);
        for (uint64_t seed = 0; seed < 5; seed++) {
            lp__journal_io plain = lp__journal_io_real();
            plain.boot = other_boot;
            jd_image(disk, seed, image);
            lp_store *after = jk_open_io(image, &options, &plain, &image_content, &error);
            cr_assert_not_null(after, "%s", error.message);
            cr_assert_eq(image_content.count, 10, "seed %d", (int)seed);
            jk_close(after);
        }
        jk_close(store);
        jd_free(disk);
    }
}
