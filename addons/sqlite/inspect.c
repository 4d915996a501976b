/* The figures of `store info`, and the checks of `store verify`. */
#include "inside.h"

#include <string.h>

static int check(lp__sqlite *self, lp_report *report)
{
    sqlite3_stmt *row = NULL;
    char first[256] = "";
    if (sqlite3_prepare_v2(self->db, "PRAGMA integrity_check(1)", -1, &row, NULL) == SQLITE_OK &&
        sqlite3_step(row) == SQLITE_ROW)
        snprintf(first, sizeof(first), "%s", (const char *)sqlite3_column_text(row, 0));
    else
        snprintf(first, sizeof(first), "%s", sqlite3_errmsg(self->db));
    sqlite3_finalize(row);
    for (char *at = first; *at != '\0'; at++)
        if (*at == '\n')
            *at = ' ';
    if (strcmp(first, "ok") != 0)
        return lp_report_error(report, LP_EDAMAGED,
                               "sqlite \"%s\": %s (start it once to set the file aside)",
                               self->path, first);
    if (self->damaged_records > 0)
        return lp_report_error(report, LP_EDAMAGED,
                               "sqlite \"%s\": %llu rows are damaged (start it once to move them "
                               "out of the way)",
                               self->path, (unsigned long long)self->damaged_records);
    return LP_OK;
}

int lp__sqlite_inspect(lp__sqlite *self, lp_report *report)
{
    static const char *const levels[] = {"interval", "always", "never"};
    uint64_t file, log, dead = self->dead.count;
    uint64_t events = self->rows > dead ? self->rows - dead : 0;
    lp__file_size(self, "", &file);
    lp__file_size(self, "-wal", &log);
    uint64_t used = file;
    int64_t horizons =
        self->db != NULL ? lp__db_number(self->db, "SELECT count(*) FROM horizon") : 0;
    uint64_t listed = self->db != NULL ? lp__lists_count(self) : 0;
    if (self->db != NULL && self->rows > 0) {
        int64_t pages = lp__db_number(self->db, "PRAGMA page_count");
        int64_t unused = lp__db_number(self->db, "PRAGMA freelist_count");
        int64_t size = lp__db_number(self->db, "PRAGMA page_size");
        if (pages > 0 && unused >= 0)
            used = (uint64_t)(pages - unused) * (uint64_t)size;
    }
    lp_report_text(report, "file", self->path);
    lp_report_text(report, "sync", levels[self->sync]);
    lp_report_number(report, "format_version", LP__SQLITE_VERSION);
    lp_report_number(report, "disk_bytes", file + log);
    lp_report_number(report, "live_bytes",
                     self->rows > 0 ? (uint64_t)((double)used * (double)events / (double)self->rows)
                                    : 0);
    lp_report_number(report, "log_bytes", log);
    lp_report_number(report, "events", events);
    lp_report_number(report, "dead_events", dead);
    lp_report_number(report, "horizons", (horizons > 0 ? (uint64_t)horizons : 0) + listed);
    lp_report_number(report, "idempotency_keys", self->keys);
    lp_report_number(report, "highest", self->highest);
    lp_report_number(report, "damaged_records", self->damaged_records);
    lp_report_number(report, "set_aside_files", lp__file_count_aside(self));
    lp_report_number(report, "checkpoints", self->checkpoints);
    return lp_report_is_thorough(report) && self->db != NULL ? check(self, report) : LP_OK;
}
