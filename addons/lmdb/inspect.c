/* on_inspect: reads the file as start does, beside the environment that writes it. */
#include "inside.h"

#include <errno.h>

struct inspection {
    lp__lmdb *lmdb;
    const char *tree;
    uint64_t damaged;
    char first[160]; /* what is wrong first */
};

static int damaged_row(struct inspection *inspection)
{
    if (inspection->damaged++ == 0)
        snprintf(inspection->first, sizeof(inspection->first), "a row of %s does not verify",
                 inspection->tree);
    return LP_OK;
}

static int see_event(void *ctx, const lp__row *row, bool is_tree)
{
    lp_id id;
    lp_str category, data;
    (void)is_tree;
    return lp__lmdb_event_decode(row, &id, &category, &data) ? LP_OK : damaged_row(ctx);
}

static int see_horizon(void *ctx, const lp__row *row, bool is_tree)
{
    lp_horizon horizon;
    lp_str list;
    (void)is_tree;
    bool is_good = lp__lmdb_is_list(row) ? lp__lmdb_list_decode(row, &list)
                                         : lp__lmdb_horizon_decode(row, &horizon);
    return is_good ? LP_OK : damaged_row(ctx);
}

static int see_key(void *ctx, const lp__row *row, bool is_tree)
{
    lp_idempotency record;
    (void)is_tree;
    return lp__lmdb_key_decode(row, &record) ? LP_OK : damaged_row(ctx);
}

static int check_rows(struct inspection *inspection, lp__image *image)
{
    lp__meta meta;
    unsigned version;
    if (lp__lmdb_meta_decode(&image->meta, &meta, &version) != LP__META_GOOD) {
        inspection->tree = LP__META_NAME;
        damaged_row(inspection);
    }
    inspection->tree = LP__EVENTS_NAME;
    int status = lp__lmdb_image_walk(image, &image->events, see_event, inspection);
    inspection->tree = LP__HORIZONS_NAME;
    if (status == LP_OK)
        status = lp__lmdb_image_walk(image, &image->horizons, see_horizon, inspection);
    inspection->tree = LP__KEYS_NAME;
    if (status == LP_OK)
        status = lp__lmdb_image_walk(image, &image->keys, see_key, inspection);
    return status;
}

/* Everything; what is wrong first stays in `first`. */
static int check(struct inspection *inspection, lp__image *image)
{
    int status = lp__lmdb_image_check(image);
    if (status == LP_OK && image->has_rows)
        status = check_rows(inspection, image);
    if (status != LP_EDAMAGED)
        return status;
    inspection->damaged++;
    snprintf(inspection->first, sizeof(inspection->first), "%s", image->problem);
    return LP_OK;
}

/* ---- figures --------------------------------------------------------------------------------- */

struct tally {
    const lp__categories *listed;
    uint64_t lists, both; /* rows of lists, and of categories that are in one */
};

static int tally_horizon(void *ctx, const lp__row *row, bool is_tree)
{
    struct tally *tally = ctx;
    lp_horizon horizon;
    (void)is_tree;
    if (lp__lmdb_is_list(row))
        tally->lists++;
    else if (lp__lmdb_horizon_decode(row, &horizon))
        tally->both += lp__categories_find(tally->listed, horizon.category) != 0;
    return LP_OK;
}

static uint64_t count_horizons(const lp__lmdb *lmdb, lp__image *image)
{
    struct tally tally = {.listed = &lmdb->lists.newest};
    if (!image->has_rows)
        return 0;
    if (lmdb->lists.entries > 0)
        lp__lmdb_image_walk(image, &image->horizons, tally_horizon, &tally);
    return image->horizons.entries - tally.lists + tally.listed->count - tally.both;
}

static void tell(lp__lmdb *lmdb, lp_report *report, lp__image *image)
{
    static const char *const levels[] = {"interval", "always", "never"};
    uint64_t files, rows, next, dead = lp__lmdb_trim_dead_count(lmdb);
    uint64_t entries = image->has_rows ? image->events.entries : 0;
    uint64_t living = entries > dead ? entries - dead : 0;
    uint64_t pages = image->base != NULL ? image->last_page + 1 - image->free_pages : 0;
    if (entries > 0)
        pages -=
            (uint64_t)((double)image->events.pages * (double)(entries - living) / (double)entries);
    lp__lmdb_count_set_aside(lmdb, &files, &rows, &next);
    lp_report_text(report, "directory", lmdb->path);
    lp_report_text(report, "sync", levels[lmdb->sync]);
    lp_report_number(report, "format_version", LP__LMDB_FORMAT_VERSION);
    lp_report_number(report, "disk_bytes", image->size);
    lp_report_number(report, "live_bytes", pages * image->page_size);
    lp_report_number(report, "reserve_bytes", lmdb->reserve_bytes);
    lp_report_number(report, "map_bytes", lmdb->env != NULL ? lmdb->map_bytes : 0);
    lp_report_number(report, "page_bytes", image->page_size);
    lp_report_number(report, "free_pages", image->free_pages);
    lp_report_number(report, "events", living);
    lp_report_number(report, "dead_events", entries - living);
    lp_report_number(report, "horizons", count_horizons(lmdb, image));
    lp_report_number(report, "idempotency_keys", image->has_rows ? image->keys.entries : 0);
    lp_report_number(report, "highest", lmdb->meta.highest);
    lp_report_number(report, "damaged_records", lmdb->damaged_records);
    lp_report_number(report, "set_aside_files", files + rows);
    lp_report_number(report, "compactions", lmdb->compactions);
}

int lp__lmdb_inspect(lp__lmdb *lmdb, lp_report *report)
{
    lp__image image;
    struct inspection inspection = {.lmdb = lmdb};
    lp__image_state state = lp__lmdb_image_open(&image, lmdb->dir, LP__DATA_NAME);
    int status = LP_OK;
    if (state == LP__IMAGE_FAILED) {
        status = lp__lmdb_failed(lmdb, "cannot read " LP__DATA_NAME, errno);
    } else if (state != LP__IMAGE_GOOD && state != LP__IMAGE_NONE) {
        snprintf(inspection.first, sizeof(inspection.first), "%s", image.problem);
        inspection.damaged++;
    } else if (state == LP__IMAGE_GOOD) {
        status = lp_report_is_thorough(report) ? check(&inspection, &image)
                                               : lp__lmdb_image_count_free(&image);
    }
    if (status == LP_OK && inspection.damaged > lmdb->damaged_records)
        lmdb->damaged_records = inspection.damaged;
    tell(lmdb, report, &image);
    lp__lmdb_image_close(&image);
    if (status != LP_OK && status != LP_EDAMAGED)
        return lp_report_error(report, status, "lmdb \"%s\": %s", lmdb->path, lmdb->problem);
    if (inspection.damaged > 0 && lp_report_is_thorough(report))
        return lp_report_error(report, LP_EDAMAGED,
                               "lmdb \"%s\": %s (a start tells what it costs, and goes on)",
                               lmdb->path, inspection.first);
    return LP_OK;
}
