/* The SQLite store on files whose calls fail: the n-th write or sync, for every n of a run of
 * batches, through a VFS of our own before the real one. After each run the files are copied as a
 * kill would leave them. A batch that was acknowledged is there, one that was refused is not, and
 * one that is in doubt is the last. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sqlite_kit.h"

/* ---- the VFS --------------------------------------------------------------------------------- */

static struct {
    sqlite3_vfs vfs, *real;
    bool hits_reads, hits_writes, hits_syncs;
    int left;            /* calls until one fails; -1: none does */
    int count;           /* that fail in a row */
    int result;          /* what they return */
    int failed;          /* how many have */
    bool is_late;        /* a sync or write that fails does its work */
    const char *refused; /* a file that cannot be opened; NULL: none */
    const char *filler;  /* while this file is there the disk is full for -shm; NULL: none */
    int syncs;           /* that were asked for */
} faults;

struct file {
    sqlite3_file base;
    sqlite3_file *real;
};

static bool fails(bool is_hit)
{
    if (!is_hit || faults.left < 0)
        return false;
    if (faults.left > 0) {
        faults.left--;
        return false;
    }
    faults.failed++;
    if (--faults.count == 0)
        faults.left = -1;
    return true;
}

#define REAL(file) (((struct file *)(file))->real)

static int f_close(sqlite3_file *file)
{
    int code = REAL(file)->pMethods->xClose(REAL(file));
    sqlite3_free(REAL(file));
    return code;
}

static int f_read(sqlite3_file *file, void *data, int len, sqlite3_int64 at)
{
    return fails(faults.hits_reads) ? faults.result
                                    : REAL(file)->pMethods->xRead(REAL(file), data, len, at);
}

static int f_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 at)
{
    if (fails(faults.hits_writes)) {
        if (faults.is_late)
            REAL(file)->pMethods->xWrite(REAL(file), data, len, at);
        return faults.result;
    }
    return REAL(file)->pMethods->xWrite(REAL(file), data, len, at);
}

static int f_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return REAL(file)->pMethods->xTruncate(REAL(file), size);
}

static int f_sync(sqlite3_file *file, int flags)
{
    faults.syncs++;
    return fails(faults.hits_syncs) ? SQLITE_IOERR_FSYNC
                                    : REAL(file)->pMethods->xSync(REAL(file), flags);
}

static int f_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return REAL(file)->pMethods->xFileSize(REAL(file), size);
}

static int f_lock(sqlite3_file *file, int level)
{
    return REAL(file)->pMethods->xLock(REAL(file), level);
}

static int f_unlock(sqlite3_file *file, int level)
{
    return REAL(file)->pMethods->xUnlock(REAL(file), level);
}

static int f_reserved(sqlite3_file *file, int *is)
{
    return REAL(file)->pMethods->xCheckReservedLock(REAL(file), is);
}

static int f_control(sqlite3_file *file, int op, void *arg)
{
    return REAL(file)->pMethods->xFileControl(REAL(file), op, arg);
}

static int f_sector(sqlite3_file *file)
{
    return REAL(file)->pMethods->xSectorSize(REAL(file));
}

static int f_device(sqlite3_file *file)
{
    return REAL(file)->pMethods->xDeviceCharacteristics(REAL(file));
}

static int f_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    if (faults.filler != NULL && access(faults.filler, F_OK) == 0) {
        errno = ENOSPC;
        return SQLITE_IOERR_SHMSIZE;
    }
    return REAL(file)->pMethods->xShmMap(REAL(file), page, size, extend, out);
}

static int f_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return REAL(file)->pMethods->xShmLock(REAL(file), offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *file)
{
    REAL(file)->pMethods->xShmBarrier(REAL(file));
}

static int f_shm_unmap(sqlite3_file *file, int remove)
{
    return REAL(file)->pMethods->xShmUnmap(REAL(file), remove);
}

static int v_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    static const sqlite3_io_methods methods = {
        2,        f_close,   f_read,     f_write,       f_truncate, f_sync,
        f_size,   f_lock,    f_unlock,   f_reserved,    f_control,  f_sector,
        f_device, f_shm_map, f_shm_lock, f_shm_barrier, f_shm_unmap};
    struct file *mine = (struct file *)file;
    (void)vfs;
    mine->base.pMethods = NULL;
    if (faults.refused != NULL && name != NULL && strcmp(name, faults.refused) == 0)
        return SQLITE_CANTOPEN;
    mine->real = sqlite3_malloc(faults.real->szOsFile);
    if (mine->real == NULL)
        return SQLITE_NOMEM;
    int code = faults.real->xOpen(faults.real, name, mine->real, flags, out);
    if (code == SQLITE_OK)
        mine->base.pMethods = &methods;
    else
        sqlite3_free(mine->real);
    return code;
}

static lp__sqlite_world faulty_world(void)
{
    lp__sqlite_world world = lp__sqlite_world_real();
    if (faults.real == NULL) {
        faults.real = sqlite3_vfs_find(NULL);
        faults.vfs = *faults.real;
        faults.vfs.szOsFile = sizeof(struct file);
        faults.vfs.zName = "faulty";
        faults.vfs.xOpen = v_open;
        faults.vfs.pNext = NULL;
        sqlite3_vfs_register(&faults.vfs, 0);
    }
    faults.left = -1;
    world.vfs = "faulty";
    return world;
}

/* ---- every n --------------------------------------------------------------------------------- */

static sk_content content; /* large */

enum { BATCHES = 12, EVENTS = 20 };

static void check(const sk_place *place, const int *statuses, const char *what)
{
    sk_place killed = sk_place_copy(place);
    sk_look(&killed, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(content.wrong, 0, "%s", what);
    for (uint64_t b = 0; b < BATCHES; b++) {
        size_t found = 0;
        for (uint64_t i = 0; i < EVENTS; i++)
            found += sk_has(&content, b * EVENTS + i);
        size_t wanted = statuses[b] == LP_OK ? EVENTS : 0;
        bool in_doubt = statuses[b] == LP_EINDOUBT;
        cr_assert(found == wanted || (in_doubt && found == EVENTS), "%s, batch %d (%s): %zu of %d",
                  what, (int)b, lp_status_name(statuses[b]), found, EVENTS);
    }
    sk_place_remove(&killed);
}

/* One run in which from call n on `count` calls fail. False: n is beyond the last. */
static bool run(lp_sync sync, int n, int count)
{
    lp__sqlite_world world = faulty_world();
    lp_sqlite_options options = sk_options(sync);
    sk_place place = sk_place_new();
    int statuses[BATCHES];
    char what[160];
    lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
    cr_assert_not_null(store);
    faults.left = n;
    faults.count = count;
    faults.failed = 0;
    for (uint64_t b = 0; b < BATCHES; b++) {
        statuses[b] = sk_append(store, b * EVENTS, EVENTS, NULL);
        if (faults.failed > 0 && b == BATCHES / 2 && count > 1)
            faults.left = -1; /* it works again */
    }
    bool is_hit = faults.failed > 0;
    faults.left = -1;
    snprintf(what, sizeof(what), "level %d, %s %d and on, %d times", (int)sync,
             faults.hits_syncs ? "sync" : "write", n, count);
    check(&place, statuses, what);
    lp_store_close(store, 1000, NULL);
    check(&place, statuses, what);
    sk_place_remove(&place);
    return is_hit;
}

static void run_all(bool writes, bool syncs, int result, bool is_late)
{
    faults.hits_writes = writes;
    faults.hits_syncs = syncs;
    faults.result = result;
    faults.is_late = is_late;
    for (int level = 0; level < 2; level++) {
        int n = 0;
        while (run((lp_sync)level, n, 1) && run((lp_sync)level, n, 3) && n < 400)
            n += n < 30 ? 1 : 5;
        cr_assert_gt(n, syncs && level == LP_SYNC_INTERVAL ? 0 : 10);
    }
}

Test(sqlite_faults, a_write_that_fails_leaves_nothing_of_its_batch, .timeout = 120)
{
    run_all(true, false, SQLITE_IOERR_WRITE, false);
}

Test(sqlite_faults, a_write_that_fails_and_was_done_leaves_nothing_of_its_batch, .timeout = 120)
{
    run_all(true, false, SQLITE_IOERR_WRITE, true);
}

Test(sqlite_faults, a_full_disk_leaves_nothing_of_its_batch, .timeout = 120)
{
    run_all(true, false, SQLITE_FULL, false);
}

Test(sqlite_faults, a_sync_that_fails_leaves_nothing_of_its_batch, .timeout = 120)
{
    run_all(false, true, SQLITE_IOERR_FSYNC, false);
}

Test(sqlite_faults, a_disk_that_stays_broken_ends_in_doubt)
{
    lp__sqlite_world world = faulty_world();
    lp_sqlite_options options = sk_options(LP_SYNC_ALWAYS);
    sk_place place = sk_place_new();
    lp_error error;
    lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
    cr_assert_eq(sk_append(store, 0, 5, NULL), LP_OK);
    faults.hits_writes = false;
    faults.hits_syncs = true;
    faults.left = 0;
    faults.count = INT32_MAX;
    cr_assert_eq(sk_append(store, 5, 5, &error), LP_EINDOUBT, "%s", error.message);
    cr_assert_eq(sk_append(store, 10, 5, &error), LP_EINDOUBT);
    faults.left = -1;
    lp_store_close(store, 1000, NULL);
    sk_look(&place, LP_SYNC_ALWAYS, &content);
    cr_assert(content.count == 5 || content.count == 10);
    sk_place_remove(&place);
}

Test(sqlite_faults, a_log_that_cannot_be_synced_is_carried_over_or_told)
{
    for (int always = 0; always < 2; always++) {
        lp__sqlite_world world = faulty_world();
        lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
        options.sync_interval_ms = 200; /* both appends are done before it is over */
        sk_place place = sk_place_new();
        lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
        sk_append(store, 0, 5, NULL);
        sk_append(store, 5, 5, NULL);
        usleep(210 * 1000);
        faults.hits_writes = false;
        faults.hits_syncs = true;
        faults.left = 0;
        faults.count = always ? INT32_MAX : 1;
        int64_t next;
        int status = lp_store_idle(store, 10, &next, NULL);
        cr_assert_eq(status, always ? LP_EIO : LP_OK);
        cr_assert_not_null(strstr(content.log, always ? "may be lost" : "is safe"), "%s",
                           content.log);
        faults.left = -1;
        cr_assert_eq(sk_append(store, 10, 5, NULL), LP_OK);
        sk_place killed = sk_place_copy(&place);
        lp_store_close(store, 1000, NULL);
        sk_look(&killed, LP_SYNC_ALWAYS, &content);
        cr_assert_eq(content.count, 15);
        cr_assert_eq(content.losses, (unsigned)always, "%d", always);
        sk_place_remove(&killed);
        sk_place_remove(&place);
    }
}

Test(sqlite_faults, a_new_file_that_cannot_be_opened_waits_for_the_next_start)
{
    lp__sqlite_world world = faulty_world();
    lp_sqlite_options options = sk_options(LP_SYNC_ALWAYS);
    sk_place place = sk_place_new();
    lp_error error;
    size_t len;
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    for (uint64_t n = 0; n < 3000; n += 100)
        sk_append(store, n, 100, NULL);
    sk_close(store);
    uint8_t *data = sk_read(&place, "", &len);
    memset(data + len / 2 / 4096 * 4096, 0xA5, 4096);
    store = sk_open_world(&place, &options, &world, &content, NULL);
    sk_write(&place, "", data, len);
    /* A write of another program, so that the store reads the pages anew. */
    cr_assert_eq(sk_sql(&place, "INSERT INTO damaged VALUES (1, 1, 1, 1, 1)"), 0);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < 2000; n++)
        lp_batch_add_removal(batch, SK_SEQ(n), LP_REMOVED_RETRIEVED);
    faults.refused = place.file;
    cr_assert_lt(sk_commit(store, batch, &error), LP_OK);
    faults.refused = NULL;
    cr_assert_eq(sk_append(store, 5000, 5, &error), LP_EDAMAGED);
    cr_assert_not_null(strstr(error.message, "restart"), "%s", error.message);
    lp_store_close(store, 1000, NULL);
    sk_look(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_gt(content.count, 2900, "what could be read was carried over: %zu", content.count);
    cr_assert_eq(content.losses, 1);
    cr_assert(sk_has_file(&place, ".damaged-1"));
    cr_assert_not(sk_has_file(&place, ".damaged-2"));
    free(data);
    sk_place_remove(&place);
}

/* ---- what passes is no damage ---------------------------------------------------------------- */

/* A start in which the n-th read fails. False: n is beyond the last. */
static bool start_with_fault(const sk_place *place, int n, int result)
{
    lp__sqlite_world world = faulty_world();
    lp_sqlite_options options = sk_options(LP_SYNC_ALWAYS);
    lp_error error = {LP_OK, ""};
    sk_place copy = sk_place_copy(place);
    faults.hits_reads = true;
    faults.hits_writes = faults.hits_syncs = false;
    faults.result = result;
    faults.left = n;
    faults.count = 1;
    faults.failed = 0;
    lp_store *store = sk_open_world(&copy, &options, &world, &content, &error);
    faults.left = -1;
    if (store != NULL) {
        cr_assert_eq(content.losses, 0, "read %d: %s", n, content.loss);
        cr_assert_eq(content.count, 300, "read %d: %zu", n, content.count);
        sk_close(store);
    }
    cr_assert_neq(error.status, LP_EDAMAGED, "read %d: %s", n, error.message);
    sk_look(&copy, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(content.losses, 0, "read %d: %s", n, content.loss);
    cr_assert_eq(content.count, 300, "read %d: %zu", n, content.count);
    cr_assert_not(sk_has_file(&copy, ".damaged-1"), "read %d: a healthy file was set aside", n);
    sk_place_remove(&copy);
    return faults.failed > 0;
}

Test(sqlite_faults, a_read_that_fails_once_is_not_taken_for_damage, .timeout = 120)
{
    static const int results[] = {SQLITE_IOERR_READ, SQLITE_IOERR_NOMEM};
    sk_place place = sk_place_new();
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    for (uint64_t n = 0; n < 300; n += 100)
        cr_assert_eq(sk_append(store, n, 100, NULL), LP_OK);
    sk_close(store);
    for (int i = 0; i < 2; i++) {
        int n = 0;
        while (start_with_fault(&place, n, results[i]))
            n++;
        cr_assert_gt(n, 5);
    }
    sk_place_remove(&place);
}

Test(sqlite_faults, a_start_on_a_full_disk_uses_what_was_held_back)
{
    lp__sqlite_world world = faulty_world();
    lp_sqlite_options options = sk_options(LP_SYNC_ALWAYS);
    sk_place place = sk_place_new();
    lp_error error = {LP_OK, ""};
    char reserve[400];
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(sk_append(store, 0, 5, NULL), LP_OK);
    sk_close(store);
    cr_assert(sk_has_file(&place, ".reserve"));
    snprintf(reserve, sizeof(reserve), "%s.reserve", place.file);
    faults.filler = reserve;
    store = sk_open_world(&place, &options, &world, &content, &error);
    faults.filler = NULL;
    cr_assert_not_null(store, "%s", error.message);
    cr_assert_eq(content.count, 5);
    cr_assert_eq(content.losses, 0);
    sk_close(store);
    sk_place_remove(&place);
}

/* ---- in doubt, and half way ------------------------------------------------------------------ */

Test(sqlite_faults, what_was_acknowledged_before_a_doubt_is_synced_all_the_same)
{
    for (int closes = 0; closes < 2; closes++) {
        lp__sqlite_world world = faulty_world();
        lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
        options.sync_interval_ms = 1;
        sk_place place = sk_place_new();
        int64_t next;
        lp_store *store = sk_open_world(&place, &options, &world, &content, NULL);
        cr_assert_eq(sk_append(store, 0, 5, NULL), LP_OK);
        cr_assert_eq(sk_append(store, 5, 5, NULL), LP_OK);
        faults.hits_reads = faults.hits_syncs = false;
        faults.hits_writes = true;
        faults.result = SQLITE_IOERR_WRITE;
        faults.left = 0;
        faults.count = INT32_MAX;
        cr_assert_eq(sk_append(store, 10, 5, NULL), LP_EINDOUBT);
        faults.left = -1;
        usleep(2000); /* until it is due */
        faults.syncs = 0;
        if (closes)
            lp_store_close(store, 1000, NULL);
        else
            cr_assert_eq(lp_store_idle(store, 10, &next, NULL), LP_OK);
        cr_assert_gt(faults.syncs, 0, "%d", closes);
        if (!closes)
            lp_store_close(store, 1000, NULL);
        sk_look(&place, LP_SYNC_ALWAYS, &content);
        cr_assert(sk_has(&content, 9));
        sk_place_remove(&place);
    }
}

static const char *unnamed; /* a file that does not get its name; NULL: none */

/* Before that of the C library. */
int rename(const char *from, const char *to)
{
    if (unnamed != NULL && strcmp(to, unnamed) == 0) {
        errno = EIO;
        return -1;
    }
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

Test(sqlite_faults, a_new_file_that_does_not_get_its_name_waits_for_the_next_start)
{
    sk_place place = sk_place_new();
    lp_error error;
    size_t len;
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    for (uint64_t n = 0; n < 3000; n += 100)
        sk_append(store, n, 100, NULL);
    sk_close(store);
    uint8_t *data = sk_read(&place, "", &len);
    memset(data + len / 2 / 4096 * 4096, 0xA5, 4096);
    store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    sk_write(&place, "", data, len);
    cr_assert_eq(sk_sql(&place, "INSERT INTO damaged VALUES (1, 1, 1, 1, 1)"), 0);
    unnamed = place.file;
    for (int i = 0; i < 3; i++) {
        lp_batch *batch = sk_batch();
        for (uint64_t n = 0; n < 2000; n++)
            lp_batch_add_removal(batch, SK_SEQ(n), LP_REMOVED_RETRIEVED);
        cr_assert_lt(sk_commit(store, batch, &error), LP_OK, "%d", i);
        cr_assert(sk_has_file(&place, ".new"), "%d: what was saved is there", i);
    }
    unnamed = NULL;
    lp_store_close(store, 1000, NULL);
    sk_look(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_gt(content.count, 2900, "%zu", content.count);
    cr_assert_eq(content.losses, 1);
    cr_assert(sk_has_file(&place, ".damaged-1"));
    cr_assert_not(sk_has_file(&place, ".damaged-2"));
    free(data);
    sk_place_remove(&place);
}

/* ---- a disk that is really full -------------------------------------------------------------- */

static int child(const sk_place *place)
{
    struct rlimit small = {400000, RLIM_INFINITY}, large = {RLIM_INFINITY, RLIM_INFINITY};
    lp_error error = {LP_OK, ""};
    signal(SIGXFSZ, SIG_IGN);
    lp_store *store = sk_open(place, LP_SYNC_INTERVAL, &content);
    setrlimit(RLIMIT_FSIZE, &small);
    uint64_t n = 0;
    while (n < 20000 && sk_append(store, n, 100, &error) == LP_OK)
        n += 100;
    if (error.status != LP_ENOSPC || n == 0 || n >= 20000)
        return 1;
    setrlimit(RLIMIT_FSIZE, &large);
    if (sk_append(store, 30000, 100, &error) != LP_OK)
        return 2;
    sk_close(store);
    sk_look(place, LP_SYNC_INTERVAL, &content);
    return content.wrong != 0 || sk_has(&content, n) || !sk_has(&content, n - 1) ||
                   !sk_has(&content, 30099)
               ? 3
               : 0;
}

Test(sqlite_faults, goes_on_by_itself_once_there_is_space)
{
    sk_place place = sk_place_new();
    pid_t pid = fork();
    if (pid == 0)
        _exit(child(&place));
    int status = -1;
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 0, "step %d", WEXITSTATUS(status));
    sk_place_remove(&place);
}
