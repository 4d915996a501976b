/* See bench_store_sqlite.h. One thread. */
#include "bench_store_sqlite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "../shared/load_client.h"
#include "../shared/load_figures.h"
#include "bench_store_raw.h"

static void expect(sqlite3 *db, int code, int expected)
{
    if (code != expected)
        fail("raw SQLite: %s", sqlite3_errmsg(db));
}

static void run(sqlite3 *db, const char *sql)
{
    expect(db, sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static sqlite3 *open_database(const char *directory)
{
    char path[4096];
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/raw.db", directory);
    if (sqlite3_open_v2(path, &db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                            SQLITE_OPEN_PRIVATECACHE,
                        NULL) != SQLITE_OK)
        fail("raw SQLite: %s: %s", path, sqlite3_errmsg(db));
    run(db, "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;"
            "PRAGMA secure_delete=OFF; PRAGMA cell_size_check=ON; PRAGMA cache_size=-8192");
    return db;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;

    expect(db, sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    return statement;
}

static void step_once(sqlite3 *db, sqlite3_stmt *statement)
{
    expect(db, sqlite3_step(statement), SQLITE_DONE);
    sqlite3_reset(statement);
}

append_run raw_sqlite_append(const append_plan *plan, const event_pool *pool)
{
    sqlite3 *db = open_database(plan->directory);
    char *buffer = malloc(raw_payload_max(pool));
    uint64_t start_us, spent_us = 0, written = 0;
    stopwatch start, took;
    sqlite3_stmt *begin, *insert, *commit;

    if (!buffer)
        fail("out of memory");
    run(db, strcmp(plan->sync, "always") == 0 ? "PRAGMA synchronous=FULL"
                                              : "PRAGMA synchronous=NORMAL");
    run(db, "CREATE TABLE e (k INTEGER PRIMARY KEY, v BLOB NOT NULL)");
    begin = prepare(db, "BEGIN IMMEDIATE");
    insert = prepare(db, "INSERT INTO e VALUES (?, ?)");
    commit = prepare(db, "COMMIT");
    start = stopwatch_start();
    start_us = now_us();
    while (written < plan->events && spent_us < (uint64_t)plan->for_ms * 1000) {
        step_once(db, begin);
        for (size_t i = 0; i < plan->batch; i++, written++) {
            size_t len = raw_payload(buffer, pool->at[written % EVENT_POOL]);
            sqlite3_bind_int64(insert, 1, (sqlite3_int64)written + 1);
            sqlite3_bind_blob(insert, 2, buffer, (int)len, SQLITE_STATIC);
            step_once(db, insert);
        }
        step_once(db, commit);
        spent_us = now_us() - start_us;
    }
    took = stopwatch_spent(start);
    sqlite3_finalize(begin);
    sqlite3_finalize(insert);
    sqlite3_finalize(commit);
    expect(db, sqlite3_close(db), SQLITE_OK);
    free(buffer);
    return (append_run){written, took};
}

uint64_t raw_sqlite_scan(const char *directory)
{
    uint64_t rows = 0, sum = 0;
    sqlite3 *db = open_database(directory);
    sqlite3_stmt *scan = prepare(db, "SELECT k, v FROM e ORDER BY k");
    int code;

    while ((code = sqlite3_step(scan)) == SQLITE_ROW) {
        const void *value = sqlite3_column_blob(scan, 1);
        sum += (uint64_t)sqlite3_column_int64(scan, 0);
        sum += raw_look(value, (size_t)sqlite3_column_bytes(scan, 1));
        rows++;
    }
    expect(db, code, SQLITE_DONE);
    check(sum > 0, "raw SQLite: no row was read");
    sqlite3_finalize(scan);
    expect(db, sqlite3_close(db), SQLITE_OK);
    return rows;
}
