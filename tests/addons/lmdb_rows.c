/* The LMDB store's rows when few are left to tell the tale: horizons stay as long as a dead row
 * needs them, rows that no start takes are set aside and go, and files that only look like LMDB's
 * are seen through. */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lmdb.h>

#include "addons/lmdb/format.h"
#include "lmdb_kit.h"

static char *directory;
static lk_content content;
static lp_error error;

static void begin(void)
{
    directory = lk_directory();
}

static void end(void)
{
    lk_remove(directory);
    free(directory);
    lk_content_free(&content);
}

TestSuite(lmdb_rows, .init = begin, .fini = end, .timeout = 60);

/* ---- a life that ends with kill -9 ----------------------------------------------------------- */

/* Five events of one category; the first three are removed below its horizon. */
enum { FIRST = LK_CATEGORIES, LAST_DEAD = 3 * LK_CATEGORIES, LAST = 5 * LK_CATEGORIES };

static int64_t clock_ms;

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return clock_ms += 10000; /* every look is a long time after the one before */
}

static lp_store *open_at_leisure(void)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp__lmdb_host host = lp__lmdb_host_real();
    host.monotonic_ms = read_clock;
    lp_store *store = lk_try_open(directory, &options, &host, NULL, &error);
    if (store == NULL)
        abort();
    return store;
}

static void idle(lp_store *store)
{
    int64_t next_ms = 0;
    for (int i = 0; i < 100 && next_ms >= 0; i++)
        if (lp_store_idle(store, 100, &next_ms, &error) != LP_OK)
            abort();
    if (next_ms >= 0)
        abort();
}

static void put_events(lp_store *store)
{
    for (uint64_t n = FIRST; n <= LAST; n += LK_CATEGORIES)
        if (lk_append(store, n, 1, &error) != LP_OK)
            abort();
}

static void add_horizon(lp_batch *batch)
{
    lp_batch_add_horizon(batch, lp_str_of(lk_category(FIRST)), LK_SEQ(LAST_DEAD));
}

static void add_removals(lp_batch *batch, lp_removal_reason reason)
{
    for (uint64_t n = FIRST; n <= LAST_DEAD; n += LK_CATEGORIES)
        lp_batch_add_removal(batch, LK_SEQ(n), reason);
}

static void cut_and_raise_floor(lp_store *store)
{
    put_events(store);
    lp_batch *batch = lk_batch();
    add_horizon(batch);
    add_removals(batch, LP_REMOVED_RING);
    lk_commit(store, batch);
    lk_raise_floor(store, LAST);
}

static void raise_floor_and_cut(lp_store *store)
{
    put_events(store);
    lk_raise_floor(store, LAST);
    lp_batch *batch = lk_batch();
    add_horizon(batch);
    add_removals(batch, LP_REMOVED_RING);
    lk_commit(store, batch);
}

static void live_and_be_killed(void (*live)(lp_store *store))
{
    int state = 0;
    pid_t child = fork();
    if (child == 0) {
        live(open_at_leisure());
        raise(SIGKILL);
    }
    waitpid(child, &state, 0);
    cr_assert(WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL, "it ended by itself");
}

/* A row may be pushed again only with the horizon that covers it. */
static void expect_dead_stay_dead(const char *when)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.floor, LK_SEQ(LAST), "%s", when);
    for (uint64_t n = FIRST; n <= LAST; n += LK_CATEGORIES)
        if (n > LAST_DEAD)
            cr_assert(lk_has(&content, n), "%s: a living event is gone", when);
        else
            cr_assert(!lk_has(&content, n) || content.horizons[0] >= LK_SEQ(LAST_DEAD),
                      "%s: a dead event came back", when);
}

/* ---- horizons that dead rows need ------------------------------------------------------------ */

Test(lmdb_rows, idling_after_a_crash_forgets_no_horizon_that_a_dead_row_needs)
{
    live_and_be_killed(cut_and_raise_floor);
    live_and_be_killed(idle);
    expect_dead_stay_dead("after an idle start");
}

Test(lmdb_rows, compaction_after_a_crash_forgets_no_horizon_that_a_dead_row_needs)
{
    live_and_be_killed(cut_and_raise_floor);
    live_and_be_killed(lk_compact);
    expect_dead_stay_dead("after a compaction");
    cr_assert_eq(content.count, 2, "the dead rows are still there");
}

Test(lmdb_rows, a_batch_forgets_no_horizon_that_it_brings_itself)
{
    live_and_be_killed(raise_floor_and_cut);
    expect_dead_stay_dead("after a batch below the floor");
}

static int skip_the_dead(void *ctx, lp_id id, lp_str category, lp_str data)
{
    (void)ctx, (void)category, (void)data;
    return lp_id_seq(id) <= LK_SEQ(LAST_DEAD) ? LP_SKIPPED : LP_OK;
}

/* Passes events over at the start, and tells the horizon, but not yet the removals. */
static void skip_and_idle(lp_store *store)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp__lmdb_host host = lp__lmdb_host_real();
    lp_store_sink sink = {.event = skip_the_dead, .expired_ms = INT64_MIN};
    lp_addon *addon;
    lk_close(store);
    host.monotonic_ms = read_clock;
    if (lp__lmdb_new(directory, &options, &host, &addon, &error) != LP_OK ||
        lp_store_open(addon, &sink, &store, &error) != LP_OK)
        abort();
    lp_batch *batch = lk_batch();
    add_horizon(batch);
    lk_commit(store, batch);
    idle(store);
}

static void put_events_and_floor(lp_store *store)
{
    put_events(store);
    lk_raise_floor(store, LAST);
}

Test(lmdb_rows, what_replay_skipped_keeps_its_horizon_until_it_is_told_as_removed)
{
    live_and_be_killed(put_events_and_floor);
    live_and_be_killed(skip_and_idle);
    expect_dead_stay_dead("with removals that are still to be told");
}

Test(lmdb_rows, dead_rows_and_then_their_horizons_go_after_a_crash)
{
    live_and_be_killed(cut_and_raise_floor);
    lp_store *store = open_at_leisure();
    cr_assert_eq(lk_figure(store, "dead_events"), 3);
    idle(store);
    cr_assert_eq(lk_figure(store, "dead_events"), 0);
    cr_assert_eq(lk_figure(store, "events"), 2);
    cr_assert_eq(lk_figure(store, "horizons"), 0);
    lk_close(store);
}

/* ---- rows that nobody takes ------------------------------------------------------------------ */

enum { EVENTS = 300, DAMAGED = 200 };

/* Zeroes the checksums of the first events. */
static void damage_rows(void)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    cr_assert_eq(mdb_env_create(&env), 0);
    mdb_env_set_maxdbs(env, 4);
    cr_assert_eq(mdb_env_open(env, directory, 0, 0600), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, LP__EVENTS_NAME, 0, &dbi), 0);
    for (uint64_t n = 1; n <= DAMAGED; n++) {
        uint8_t bytes[LP__SEQ_KEY], row[8192];
        lp__lmdb_seq_encode(LK_SEQ(n), bytes);
        MDB_val key = {sizeof(bytes), bytes}, value;
        cr_assert_eq(mdb_get(txn, dbi, &key, &value), 0);
        memcpy(row, value.mv_data, value.mv_size);
        memset(row, 0, 4);
        value.mv_data = row;
        cr_assert_eq(mdb_put(txn, dbi, &key, &value, 0), 0);
    }
    cr_assert_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void make_damaged_store(void)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    cr_assert_eq(lk_append(store, 1, EVENTS, &error), LP_OK, "%s", error.message);
    lk_close(store);
    damage_rows();
}

/* A start that tells it, and the floor that covers it. */
static void tell_and_cover(void)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, &content);
    cr_assert_eq(content.losses, 1, "%s", content.loss);
    cr_assert_eq(content.lost_records, DAMAGED);
    lk_raise_floor(store, EVENTS);
    lk_close(store);
}

static void expect_repaired(void)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, &content);
    cr_assert_eq(content.losses, 0, "%s", content.loss);
    cr_assert_eq(content.count, EVENTS - DAMAGED);
    cr_assert_eq(lk_verify(store, &error), LP_OK, "%s", error.message);
    lk_close(store);
}

Test(lmdb_rows, damaged_rows_are_set_aside_in_one_file_however_often_a_start_finds_them)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    make_damaged_store();
    for (int i = 0; i < 3; i++) {
        lk_look(directory, &options, &content);
        cr_assert_eq(content.losses, 1, "%s", content.loss);
        cr_assert_eq(content.lost_records, DAMAGED);
        cr_assert_eq(lk_count(directory, "row"), 1);
        cr_assert_eq(lk_count(directory, "rows.damaged-"), 1);
    }
    const char *name = strstr(content.loss, "rows.damaged-");
    cr_assert_not_null(name, "%s", content.loss);
    char path[64] = "";
    memcpy(path, name, strcspn(name, ")"));
    size_t len;
    uint8_t *bytes = lk_read(lk_path(directory, path), &len);
    lp_event *event = lk_event_of(1, 47);
    size_t row = LP__EVENT_FIXED + lp_event_category(event).len + lp_event_data(event).len;
    char head[40];
    snprintf(head, sizeof(head), "event 8 %zu\n", row);
    cr_assert_eq(memcmp(bytes, head, strlen(head)), 0);
    cr_assert_eq(bytes[strlen(head) + 8 + row - 1], '"');
    lp_event_unref(event);
    free(bytes);
    tell_and_cover();
    expect_repaired();
}

Test(lmdb_rows, rows_that_could_not_be_set_aside_stay_until_they_can)
{
    make_damaged_store();
    cr_assert_eq(mkdir(lk_path(directory, "rows.damaged.new"), 0700), 0);
    tell_and_cover();
    cr_assert_not_null(strstr(content.loss, "could not be set aside"), "%s", content.loss);
    cr_assert_eq(lk_count(directory, "rows.damaged-"), 0);
    cr_assert_eq(rmdir(lk_path(directory, "rows.damaged.new")), 0);
    tell_and_cover();
    cr_assert_eq(lk_count(directory, "rows.damaged-"), 1);
    expect_repaired();
}

static int refuse_two(void *ctx, lp_id id, lp_str category, lp_str data)
{
    (void)ctx, (void)category, (void)data;
    return lp_id_seq(id) == LK_SEQ(3) ? LP_EINVAL : lp_id_seq(id) == LK_SEQ(5) ? LP_EORDER : LP_OK;
}

static int count_loss(void *ctx, uint64_t records, const char *detail)
{
    (void)detail;
    *(uint64_t *)ctx += records;
    return LP_OK;
}

static uint64_t start_and_refuse(bool covers)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    uint64_t lost = 0;
    lp_store_sink sink = {
        .ctx = &lost, .event = refuse_two, .loss = count_loss, .expired_ms = INT64_MIN};
    lp_addon *addon;
    lp_store *store;
    cr_assert_eq(lp_lmdb_new(directory, &options, &addon, &error), LP_OK);
    cr_assert_eq(lp_store_open(addon, &sink, &store, &error), LP_OK, "%s", error.message);
    if (covers)
        lk_raise_floor(store, 9);
    lk_close(store);
    return lost;
}

Test(lmdb_rows, rows_that_verify_and_that_a_start_refuses_are_told_until_a_floor_covers_them)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(directory, &options, NULL);
    cr_assert_eq(lk_append(store, 1, 9, &error), LP_OK);
    lp_batch *batch = lk_batch();
    lp_idempotency key = {lp_str_of("a key"), 1, 0, 1, INT64_MAX}; /* for no event */
    lp_batch_add_idempotency(batch, &key);
    lk_commit(store, batch);
    lk_close(store);
    cr_assert_eq(start_and_refuse(false), 3);
    cr_assert_eq(start_and_refuse(true), 3);
    cr_assert_eq(start_and_refuse(true), 0);
    cr_assert_eq(lk_count(directory, "rows.damaged-"), 1);
    lk_look(directory, &options, &content);
    cr_assert_eq(content.count, 7);
    cr_assert_eq(content.key_count, 0);
    cr_assert(!lk_has(&content, 3) && !lk_has(&content, 5));
}

/* ---- files that look like LMDB's ------------------------------------------------------------- */

/* Of LMDB's data format: see addons/lmdb/image.c and walk.c. */
struct header {
    uint64_t number;
    uint16_t pad, flags, lower, upper;
};

struct tree {
    uint32_t pad;
    uint16_t flags, depth;
    uint64_t branches, leaves, overflows, entries, root;
};

struct meta {
    struct header header;
    uint32_t magic, version;
    uint64_t address, map_size;
    struct tree free, main;
    uint64_t last_page, txnid;
};

enum { META = 0x08, BRANCH = 0x01, LEAF = 0x02, NODE_TREE = 2 };

/* Two meta pages, and room for `depth` others; the main tree begins with the first of them. */
static uint8_t *craft(size_t page_size, uint16_t depth)
{
    uint8_t *bytes = calloc(2 + (size_t)depth, page_size);
    cr_assert_not_null(bytes);
    for (uint64_t i = 0; i < 2; i++) {
        struct meta meta = {.header = {.number = i, .flags = META},
                            .magic = 0xBEEFC0DE,
                            .version = 1,
                            .map_size = 1 << 30,
                            .free = {.pad = (uint32_t)page_size, .flags = 8, .root = UINT64_MAX},
                            .main = {.depth = depth, .leaves = 1, .entries = 4, .root = 2},
                            .last_page = 1 + (uint64_t)depth,
                            .txnid = i};
        memcpy(bytes + i * page_size, &meta, sizeof(meta));
    }
    return bytes;
}

/* From the end of the page on; returns where it begins. */
static size_t add_node(uint8_t *page, size_t end_at, uint16_t flags, uint64_t child,
                       const char *key, const void *value, size_t len)
{
    uint16_t words[4] = {(uint16_t)len, (uint16_t)(len >> 16), flags, (uint16_t)strlen(key)};
    if (value == NULL) {
        words[0] = (uint16_t)child;
        len = 0;
    }
    size_t at = end_at - ((sizeof(words) + strlen(key) + len + 1) & ~(size_t)1);
    memcpy(page + at, words, sizeof(words));
    memcpy(page + at + sizeof(words), key, strlen(key));
    if (len > 0)
        memcpy(page + at + sizeof(words) + strlen(key), value, len);
    return at;
}

static void end_page(uint8_t *page, uint64_t number, uint16_t flags, size_t nodes, size_t upper)
{
    struct header header = {number, 0, flags, (uint16_t)(sizeof(header) + 2 * nodes),
                            (uint16_t)upper};
    memcpy(page, &header, sizeof(header));
}

static void set_node(uint8_t *page, size_t i, size_t at)
{
    uint16_t offset = (uint16_t)at;
    memcpy(page + sizeof(struct header) + 2 * i, &offset, sizeof(offset));
}

/* Without a lock file it is somebody else's; with one it is damaged. */
static void expect_seen_through(void)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    cr_assert_null(lk_try_open(directory, &options, NULL, NULL, &error));
    cr_assert_eq(error.status, LP_EVERSION, "%s", error.message);
    lk_write(lk_path(directory, "longpoll.lock"), "", 0);
    options.read_only = true;
    lk_look(directory, &options, &content);
    cr_assert_eq(content.losses, 1);
    options.read_only = false;
    lk_look(directory, &options, &content);
    cr_assert_eq(content.losses, 1);
    cr_assert_eq(lk_count(directory, "data.mdb.damaged-"), 1);
}

Test(lmdb_rows, pages_larger_than_any_of_lmdb_are_damage)
{
    static const char *const names[] = {LP__HORIZONS_NAME, LP__EVENTS_NAME, LP__KEYS_NAME};
    static const size_t places[] = {1, 0, 2}; /* not one before the other */
    enum { PAGE = 65536 };
    uint8_t *bytes = craft(PAGE, 1), *page = bytes + 2 * PAGE, meta[LP__META_SIZE] = {0};
    struct tree empty = {.root = UINT64_MAX};
    size_t at = PAGE;
    for (size_t i = 0; i < 3; i++) {
        at = add_node(page, at, NODE_TREE, 0, names[i], &empty, sizeof(empty));
        set_node(page, places[i], at);
    }
    at = add_node(page, at, 0, 0, LP__META_NAME, meta, sizeof(meta));
    set_node(page, 3, at);
    end_page(page, 2, LEAF, 4, at);
    lk_write(lk_path(directory, "data.mdb"), bytes, (size_t)3 * PAGE);
    free(bytes);
    expect_seen_through();
}

/* Each branch page names the next one 200 times: few pages, and 200 to the power of 31 ways. */
Test(lmdb_rows, a_tree_whose_pages_are_named_many_times_is_damage_and_ends)
{
    enum { PAGE = 4096, CHILDREN = 200, DEPTH = 32 };
    uint8_t *bytes = craft(PAGE, DEPTH);
    for (uint64_t number = 2; number < 1 + DEPTH; number++) {
        uint8_t *page = bytes + number * PAGE;
        size_t at = PAGE;
        for (size_t i = 0; i < CHILDREN; i++) {
            at = add_node(page, at, 0, number + 1, "key", NULL, 0);
            set_node(page, i, at);
        }
        end_page(page, number, BRANCH, CHILDREN, at);
    }
    uint8_t *leaf = bytes + (size_t)(1 + DEPTH) * PAGE;
    size_t at = add_node(leaf, PAGE, 0, 0, "longpoll.x", "value", 5);
    set_node(leaf, 0, at);
    end_page(leaf, 1 + DEPTH, LEAF, 1, at);
    lk_write(lk_path(directory, "data.mdb"), bytes, (size_t)(2 + DEPTH) * PAGE);
    free(bytes);
    expect_seen_through();
}
