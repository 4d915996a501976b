/* The SQLite store when memory runs out: the n-th allocation of SQLite's fails, for every n of a
 * start and of a batch. A start gives all of it or fails; what it could not read is never taken for
 * damage. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <stdio.h>

#include "sqlite_kit.h"

static sk_content content; /* large */

static struct {
    sqlite3_mem_methods real;
    int left; /* allocations until one fails; -1: none does */
} memory = {.left = -1};

static bool fails(void)
{
    if (memory.left < 0)
        return false;
    return memory.left-- == 0;
}

static void *m_malloc(int size)
{
    return fails() ? NULL : memory.real.xMalloc(size);
}

static void *m_realloc(void *old, int size)
{
    return fails() ? NULL : memory.real.xRealloc(old, size);
}

/* Before anything of SQLite is used: each test has a process of its own. */
static void watch_memory(void)
{
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory.real);
    sqlite3_mem_methods methods = memory.real;
    methods.xMalloc = m_malloc;
    methods.xRealloc = m_realloc;
    cr_assert_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods), SQLITE_OK);
    cr_assert_eq(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK);
}

enum { EVENTS = 12, LARGE = 30000 };

static void fill(const sk_place *place)
{
    lp_store *store = sk_open(place, LP_SYNC_INTERVAL, &content);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < EVENTS; n++)
        sk_add_event(batch, n, n % 3 == 0 ? LARGE : 0);
    lp_batch_add_horizon(batch, lp_str_of("category 5"), SK_SEQ(0));
    lp_idempotency key = {lp_str_of("key"), 1, SK_SEQ(1), 3, INT64_MAX};
    lp_batch_add_idempotency(batch, &key);
    cr_assert_eq(sk_commit(store, batch, NULL), LP_OK);
    sk_close(store);
}

static void check_content(int n)
{
    cr_assert_eq(content.losses, 0, "%d: %s", n, content.loss);
    cr_assert_eq(content.wrong, 0, "%d", n);
    cr_assert_eq(content.count, EVENTS, "%d: %zu", n, content.count);
    cr_assert_eq(content.keys, 1, "%d", n);
    cr_assert_eq(content.horizons[5], SK_SEQ(0), "%d", n);
}

Test(sqlite_memory, a_start_gives_all_or_fails)
{
    watch_memory();
    sk_place place = sk_place_new();
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    int n = 0, failed = 0;
    fill(&place);
    for (bool is_hit = true; is_hit; n++) {
        lp_error error = {LP_OK, ""};
        memory.left = n;
        lp_store *store = sk_open_world(&place, &options, NULL, &content, &error);
        is_hit = memory.left < 0;
        memory.left = -1;
        failed += store == NULL;
        if (store != NULL) {
            check_content(n);
            sk_close(store);
        } else {
            cr_assert_eq(error.status, LP_ENOMEM, "%d: %s", n, error.message);
            cr_assert_eq(content.losses, 0, "%d: %s", n, content.loss);
        }
        cr_assert_lt(n, 20000, "it never ends");
    }
    cr_assert_gt(failed, 20);
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    check_content(n);
    cr_assert_not(sk_has_file(&place, ".damaged-1"));
    sk_place_remove(&place);
}

Test(sqlite_memory, a_batch_is_kept_whole_or_not_at_all)
{
    watch_memory();
    sk_place place = sk_place_new();
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    lp_store *store = sk_open_world(&place, &options, NULL, &content, NULL);
    cr_assert_not_null(store);
    static bool is_kept[400];
    int n = 0;
    for (bool is_hit = true; is_hit && n < 400; n++) {
        lp_error error = {LP_OK, ""};
        lp_batch *batch = sk_batch();
        sk_add_event(batch, (uint64_t)n, LARGE);
        memory.left = n;
        int status = sk_commit(store, batch, &error);
        is_hit = memory.left < 0;
        memory.left = -1;
        is_kept[n] = status == LP_OK;
        cr_assert(status == LP_OK || status == LP_ENOMEM, "%d: %s", n, error.message);
    }
    sk_close(store);
    sk_look(&place, LP_SYNC_INTERVAL, &content);
    cr_assert_eq(content.wrong, 0);
    for (int i = 0; i < n; i++)
        cr_assert_eq(sk_has(&content, (uint64_t)i), is_kept[i], "%d", i);
    sk_place_remove(&place);
}
