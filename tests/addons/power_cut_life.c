/* See power_cut_life.h. */
#include "power_cut_life.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "power_cut_disk.h"
#include "power_cut_store.h"
#include "power_cut_world.h"

enum { CUTS_AT_ONCE = 6, PATH_LEN = 4200, STEPS_MAX = 12, LONG_STEPS = 120, COMPACTIONS_MAX = 200 };

/* A power cut that might have been. */
typedef struct pl_cut {
    pc_image *image;
    uint64_t seed;
    pw_expectation expectation;
    const char *during;
} pl_cut;

typedef struct pl_life {
    const pl_setup *setup;
    pl_report *report;
    pw_world world;
    pw_content content, look_content, next_content;
    uint64_t random; /* apart from the world's, whose batches do not depend on the cuts */
    uint64_t boot;
    unsigned number;
    lp_sync level;
    char root[PATH_LEN], look[PATH_LEN];
    lp_store *store;
    int64_t idle_at_ms; /* -1: not asked for */
    const char *during;
    pl_cut cuts[CUTS_AT_ONCE];
    size_t cut_count;
    /* the state from which the next life will begin, if this one ends by a cut */
    pc_image *next;
    pw_expectation next_expectation;
    unsigned looks;
    bool is_long;
} pl_life;

static uint64_t below(pl_life *life, uint64_t limit)
{
    return pc_next(&life->random) % limit;
}

static bool fail(pl_life *life, const char *what, const char *detail)
{
    snprintf(life->report->why, sizeof(life->report->why), "%s: %s", what, detail);
    return false;
}

/* The book of a world, to be read beside a failure. */
static void trace(const pl_life *life, const char *what)
{
    static const char *const levels[] = {"interval", "always", "never"};
    if (life->setup->traces)
        printf("life %u %s, boot %u, %d ms: %s: %u acknowledged, %u synced, %u losses told, %s\n",
               life->number, levels[life->level], (unsigned)life->boot, (int)pc_clock_ms(), what,
               life->world.acked, life->world.synced, life->content.losses,
               pw_has_floor_to_tell(&life->world) ? "a floor to tell" : "no floor to tell");
}

/* ---- cuts ------------------------------------------------------------------------------------ */

static bool is_always(const pl_life *life)
{
    return life->setup->level == LP_SYNC_ALWAYS;
}

static void take_cut(pl_life *life)
{
    if (life->cut_count == CUTS_AT_ONCE)
        return;
    pl_cut *cut = &life->cuts[life->cut_count++];
    cut->seed = below(life, 4) > 0 ? below(life, UINT32_MAX) + 2 : below(life, 2);
    cut->image = pc_disk_image(cut->seed);
    cut->during = life->during;
    cut->expectation = pw_expect(&life->world);
    cut->expectation.may_tell = !is_always(life);
    cut->expectation.has_holes = ps_has_holes && !is_always(life);
}

static void on_change(void *ctx, bool is_by_sync)
{
    pl_life *life = ctx;
    if (below(life, (is_by_sync ? 5 : 24) * (life->is_long ? 5 : 1)) == 0)
        take_cut(life);
}

/* At `always`, and where pages carry it, nothing is ever damaged by a power cut. */
static bool has_damage(pl_life *life)
{
    char path[PATH_LEN + 300];
    const char *directories[] = {"", "/journal", "/lmdb"};
    bool found = false;
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s%s", life->look, directories[i]);
        DIR *dir = opendir(path);
        const struct dirent *entry;
        while (dir != NULL && (entry = readdir(dir)) != NULL)
            found = found || strstr(entry->d_name, "damaged") != NULL;
        if (dir != NULL)
            closedir(dir);
    }
    return found;
}

static lp_store *open_store(pl_life *life, const char *root, lp_sync level, pw_content *content)
{
    lp_addon *addon = NULL;
    lp_store *store = NULL;
    lp_error error = {LP_OK, ""};
    lp_store_sink sink = pw_sink(content);
    if (life->setup->forgets && level == LP_SYNC_INTERVAL)
        level = LP_SYNC_NEVER;
    if (ps_make(root, level, &addon, &error) != LP_OK ||
        lp_store_open(addon, &sink, &store, &error) != LP_OK)
        fail(life, "the start failed", error.message);
    return store;
}

static bool close_store(pl_life *life, lp_store *store)
{
    lp_error error = {LP_OK, ""};
    if (store != NULL && lp_store_close(store, 1000, &error) != LP_OK)
        return fail(life, "the stop failed", error.message);
    return true;
}

/* A second start finds what the first one did. */
static bool look_again(pl_life *life, lp_sync level, const pw_expectation *expectation)
{
    char why[PW_WHY];
    pw_expectation same = *expectation;
    lp_store *store = open_store(life, life->look, level, &life->next_content);
    if (store == NULL)
        return false;
    same.may_tell = true;
    if (!pw_verify(&life->world, &same, &life->next_content, why)) {
        close_store(life, store);
        return fail(life, "the second start after it", why);
    }
    return close_store(life, store);
}

static void take_figure(void *ctx, const char *name, uint64_t number, const char *text)
{
    (void)ctx, (void)name, (void)number, (void)text;
}

static bool look_inside(pl_life *life, lp_sync level, const pl_cut *cut)
{
    char why[PW_WHY];
    lp_error error = {LP_OK, ""};
    lp_store *store = open_store(life, life->look, level, &life->look_content);
    if (store == NULL)
        return false;
    bool is_good = pw_verify(&life->world, &cut->expectation, &life->look_content, why);
    if (!is_good)
        fail(life, "after a power cut", why);
    if (is_good && !cut->expectation.has_holes && has_damage(life))
        is_good = fail(life, "after a power cut something was set aside as damaged",
                       life->look_content.log);
    if (is_good && !cut->expectation.has_holes && below(life, 3) == 0) {
        int status = lp_store_verify(store, take_figure, NULL, &error);
        if (status != LP_OK && status != LP_ENOTFOUND)
            is_good = fail(life, "after a power cut, verify", error.message);
    }
    if (!close_store(life, store))
        is_good = false;
    life->report->missing += life->look_content.losses > 0;
    if (is_good && below(life, 4) == 0)
        is_good = look_again(life, level, &cut->expectation);
    return is_good;
}

static lp_sync any_level(pl_life *life)
{
    return life->setup->level != PL_MIXED ? (lp_sync)life->setup->level : (lp_sync)below(life, 3);
}

/* Opens the state of the disk in a machine that has booted anew. */
static bool look_at(pl_life *life, pl_cut *cut)
{
    int64_t now_ms = pc_clock_ms();
    pc_set_boot(life->boot + 1);
    pc_image_write(cut->image, life->look);
    life->report->cuts++;
    snprintf(life->report->where, sizeof(life->report->where),
             "life %u, cut %u in %s, state %llu, batches %u <= %u <= %u", life->number,
             life->report->cuts, cut->during, (unsigned long long)cut->seed, cut->expectation.least,
             cut->expectation.acked, cut->expectation.most);
    bool is_good = look_inside(life, any_level(life), cut);
    if (!is_good && life->setup->keep != NULL)
        pc_image_write(cut->image, life->setup->keep);
    pc_set_boot(life->boot);
    pc_clock_pass(now_ms - pc_clock_ms());
    return is_good;
}

/* Looks at all that was taken since the last time; one of a life's may become the next one. */
static bool look_at_cuts(pl_life *life)
{
    bool is_good = true;
    for (size_t i = 0; i < life->cut_count; i++) {
        pl_cut *cut = &life->cuts[i];
        is_good = is_good && look_at(life, cut);
        if (is_good && below(life, ++life->looks) == 0) {
            pc_image_free(life->next);
            life->next = cut->image;
            life->next_expectation = cut->expectation;
        } else {
            pc_image_free(cut->image);
        }
    }
    life->cut_count = 0;
    return is_good;
}

/* ---- what a store does in its life ----------------------------------------------------------- */

static void note_synced(pl_life *life)
{
    if (life->level == LP_SYNC_ALWAYS)
        life->world.synced = life->world.acked;
    else if (life->level == LP_SYNC_INTERVAL)
        pw_synced_up_to(&life->world, pc_clock_ms() - PS_INTERVAL_MS - 5);
}

static bool idle(pl_life *life)
{
    lp_error error = {LP_OK, ""};
    int64_t next_ms = 0;
    life->during = "idle";
    for (int i = 0; i < 1000 && next_ms == 0; i++)
        if (lp_store_idle(life->store, 1 + (int64_t)below(life, 10), &next_ms, &error) != LP_OK)
            return fail(life, "idle failed", error.message);
    life->idle_at_ms = next_ms < 0 ? -1 : pc_clock_ms() + next_ms;
    trace(life, next_ms < 0 ? "idle" : "idle, and wants to be called again");
    return look_at_cuts(life);
}

/* Lets time pass, and calls the store when it wants to be called. */
static bool pass_time(pl_life *life, int64_t ms)
{
    int64_t end_ms = pc_clock_ms() + ms;
    while (life->idle_at_ms >= 0 && life->idle_at_ms <= end_ms) {
        if (life->idle_at_ms > pc_clock_ms())
            pc_clock_pass(life->idle_at_ms - pc_clock_ms());
        if (!idle(life))
            return false;
    }
    if (end_ms > pc_clock_ms())
        pc_clock_pass(end_ms - pc_clock_ms());
    note_synced(life);
    return true;
}

static bool append(pl_life *life, lp_batch *batch, lp_error *error)
{
    bool is_good = lp_store_append(life->store, batch, error) == LP_OK;
    for (size_t i = 0; is_good && i < lp_batch_event_count(batch); i++)
        is_good = !lp_batch_failed(batch, i);
    return is_good;
}

static bool publish(pl_life *life)
{
    lp_batch *batch, *keys;
    lp_error error = {LP_OK, ""};
    bool splits = life->setup->splits;
    if (lp_batch_new(&batch) != LP_OK || lp_batch_new(&keys) != LP_OK)
        abort();
    pw_publish(&life->world, batch, splits ? keys : batch);
    life->during = "a publish";
    bool is_good = append(life, batch, &error) && (!splits || append(life, keys, &error));
    lp_batch_free(batch);
    lp_batch_free(keys);
    if (!is_good)
        return fail(life, "a publish failed", error.message);
    pw_acked(&life->world, pc_clock_ms());
    life->report->batches++;
    note_synced(life);
    trace(life, "published");
    life->during = "an acknowledgement";
    if (below(life, life->is_long ? 20 : 4) == 0)
        take_cut(life);
    life->idle_at_ms = pc_clock_ms(); /* as soon as there is time */
    return look_at_cuts(life);
}

static bool compact(pl_life *life)
{
    lp_error error = {LP_OK, ""};
    int64_t next_ms = 0;
    life->during = "a compaction";
    for (int i = 0; i < COMPACTIONS_MAX && next_ms >= 0; i++)
        if (lp_store_compact(life->store, 1000, &next_ms, &error) != LP_OK)
            return fail(life, "the compaction failed", error.message);
    if (next_ms >= 0)
        return fail(life, "the compaction does not end", "it wants to be called again and again");
    trace(life, "compacted");
    return look_at_cuts(life) && idle(life);
}

static bool step(pl_life *life)
{
    uint64_t kind = below(life, 12);
    if (kind == 0)
        return compact(life);
    if (kind < 4)
        return pass_time(life, 1 + (int64_t)below(life, 1500));
    return publish(life) && (below(life, 2) || pass_time(life, (int64_t)below(life, 3) * 100));
}

/* ---- beginnings and ends --------------------------------------------------------------------- */

static void next_root(pl_life *life)
{
    life->number++;
    snprintf(life->root, sizeof(life->root), "%s/life-%u", life->setup->directory, life->number);
}

/* Opens it, and finds what the last life left. */
static bool begin(pl_life *life, bool may_tell)
{
    char why[PW_WHY];
    pw_expectation expectation = pw_expect(&life->world);
    expectation.least = expectation.acked;
    expectation.may_tell = may_tell || pw_has_floor_to_tell(&life->world);
    life->during = "a start";
    life->looks = 0;
    life->report->lives++;
    snprintf(life->report->where, sizeof(life->report->where), "life %u, its start", life->number);
    life->store = open_store(life, life->root, life->level, &life->content);
    if (life->store == NULL)
        return false;
    if (!pw_verify(&life->world, &expectation, &life->content, why))
        return fail(life, "a start without a power cut", why);
    trace(life, "started");
    if (life->content.losses > 0)
        pw_owe_floor(&life->world);
    note_synced(life);
    return look_at_cuts(life) && idle(life);
}

static bool stop(pl_life *life)
{
    life->during = "a stop";
    lp_store *store = life->store;
    life->store = NULL;
    if (!close_store(life, store))
        return false;
    life->world.synced = life->world.acked;
    life->report->closes++;
    trace(life, "stopped");
    if (!look_at_cuts(life))
        return false;
    life->during = "the time after a stop";
    take_cut(life);
    life->cuts[0].expectation.may_tell = pw_has_floor_to_tell(&life->world);
    return look_at_cuts(life);
}

/* The process ends, the machine goes on. */
static bool killed(pl_life *life)
{
    lp_store *store = life->store;
    life->store = NULL;
    next_root(life);
    pc_disk_on_change(NULL, NULL);
    pc_disk_move(life->root);
    lp_store_close(store, 1000, NULL);
    pc_disk_on_change(on_change, life);
    life->report->kills++;
    trace(life, "killed");
    if (life->level != LP_SYNC_NEVER) /* whose batches are never promised to be on disk */
        life->level = any_level(life);
    return begin(life, false);
}

static bool closed(pl_life *life)
{
    if (!stop(life))
        return false;
    if (below(life, 2)) {
        pc_disk_begin(life->root);
        pc_set_boot(++life->boot);
    }
    life->level = any_level(life);
    return begin(life, false);
}

/* The power fails, at one of the moments of this life that were looked at. */
static bool cut_off(pl_life *life)
{
    life->during = "the end";
    if (life->next == NULL)
        take_cut(life);
    if (!look_at_cuts(life))
        return false;
    pc_disk_on_change(NULL, NULL);
    pc_disk_end();
    lp_store_close(life->store, 1000, NULL);
    life->store = NULL;
    pc_remove(life->root);
    next_root(life);
    pc_image_write(life->next, life->root);
    pc_image_write(life->next, life->look);
    pc_image_free(life->next);
    life->next = NULL;
    pc_set_boot(++life->boot);
    life->store = open_store(life, life->look, life->level, &life->next_content);
    if (life->store == NULL || !close_store(life, life->store))
        return false;
    life->store = NULL;
    trace(life, "cut off");
    pw_adopt(&life->world, &life->next_expectation, &life->next_content);
    pc_disk_begin(life->root);
    pc_disk_on_change(on_change, life);
    life->level = any_level(life);
    return begin(life, !is_always(life));
}

static bool live(pl_life *life)
{
    life->is_long = below(life, 12) == 0; /* long enough to fill logs and segments */
    uint64_t steps =
        life->is_long ? LONG_STEPS + below(life, LONG_STEPS) : 1 + below(life, STEPS_MAX);
    char name[256];
    for (uint64_t i = 0; i < steps && !pw_is_full(&life->world); i++)
        if (!step(life))
            return false;
    if (!pc_disk_is_complete(name, sizeof(name)))
        return fail(life, "the recorder missed a change of", name);
    switch (below(life, 6)) {
    case 0:
        return killed(life);
    case 1:
    case 2:
        return closed(life);
    default:
        return cut_off(life);
    }
}

bool pl_run(const pl_setup *setup, pl_report *report)
{
    pl_life *life = calloc(1, sizeof(*life));
    if (life == NULL)
        abort();
    life->setup = setup;
    life->report = report;
    life->random = setup->seed ^ 0x9a7;
    life->boot = 1000;
    snprintf(life->look, sizeof(life->look), "%s/look", setup->directory);
    pw_init(&life->world, setup->seed);
    pc_set_boot(life->boot);
    pc_disk_lie(setup->lies);
    next_root(life);
    pc_image *nothing = pc_disk_image(0);
    pc_image_write(nothing, life->root);
    pc_image_free(nothing);
    pc_disk_begin(life->root);
    if (!setup->begins_calm)
        pc_disk_on_change(on_change, life);
    life->level = any_level(life);
    bool is_good = begin(life, false);
    pc_disk_on_change(on_change, life);
    for (unsigned i = 0; is_good && i < setup->lives && !pw_is_full(&life->world); i++)
        is_good = live(life);
    pc_disk_on_change(NULL, NULL);
    pc_disk_end();
    lp_store_close(life->store, 1000, NULL);
    for (size_t i = 0; i < life->cut_count; i++)
        pc_image_free(life->cuts[i].image);
    pc_image_free(life->next);
    free(life);
    return is_good;
}
