/* See bench_store_lmdb.h. One thread. */
#include "bench_store_lmdb.h"

#include <stdlib.h>
#include <string.h>

#include <lmdb.h>

#include "../shared/load_client.h"
#include "../shared/load_figures.h"
#include "bench_store_raw.h"

#define MAP_BYTES ((size_t)16 << 30) /* of address space; the file grows as it is needed */

static void expect_ok(int code)
{
    if (code != MDB_SUCCESS)
        fail("raw LMDB: %s", mdb_strerror(code));
}

static MDB_env *open_environment(const char *directory, unsigned flags)
{
    MDB_env *env;

    expect_ok(mdb_env_create(&env));
    expect_ok(mdb_env_set_mapsize(env, MAP_BYTES));
    expect_ok(mdb_env_open(env, directory, flags | MDB_NOTLS, 0600));
    return env;
}

static void put(MDB_txn *txn, MDB_dbi dbi, uint64_t n, char *buffer, const lp_event *event)
{
    unsigned char bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value = {raw_payload(buffer, event), buffer};

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(n >> (56 - 8 * i));
    expect_ok(mdb_put(txn, dbi, &key, &value, MDB_APPEND));
}

append_run raw_lmdb_append(const append_plan *plan, const event_pool *pool)
{
    MDB_env *env =
        open_environment(plan->directory, strcmp(plan->sync, "always") == 0 ? 0 : MDB_NOMETASYNC);
    char *buffer = malloc(raw_payload_max(pool));
    uint64_t start_us, spent_us = 0, written = 0;
    stopwatch start, took;
    MDB_txn *txn;
    MDB_dbi dbi;

    if (!buffer)
        fail("out of memory");
    expect_ok(mdb_txn_begin(env, NULL, 0, &txn));
    expect_ok(mdb_dbi_open(txn, NULL, 0, &dbi));
    expect_ok(mdb_txn_commit(txn));
    start = stopwatch_start();
    start_us = now_us();
    while (written < plan->events && spent_us < (uint64_t)plan->for_ms * 1000) {
        expect_ok(mdb_txn_begin(env, NULL, 0, &txn));
        for (size_t i = 0; i < plan->batch; i++, written++)
            put(txn, dbi, written + 1, buffer, pool->at[written % EVENT_POOL]);
        expect_ok(mdb_txn_commit(txn));
        spent_us = now_us() - start_us;
    }
    took = stopwatch_spent(start);
    mdb_env_close(env);
    free(buffer);
    return (append_run){written, took};
}

uint64_t raw_lmdb_scan(const char *directory)
{
    uint64_t rows = 0, sum = 0;
    MDB_env *env = open_environment(directory, MDB_RDONLY);
    MDB_cursor *cursor;
    MDB_val key, value;
    MDB_txn *txn;
    MDB_dbi dbi;
    int code;

    expect_ok(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
    expect_ok(mdb_dbi_open(txn, NULL, 0, &dbi));
    expect_ok(mdb_cursor_open(txn, dbi, &cursor));
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        sum += raw_look(value.mv_data, value.mv_size);
        rows++;
    }
    if (code != MDB_NOTFOUND)
        expect_ok(code);
    check(sum > 0, "raw LMDB: no value was read");
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    return rows;
}
