/* The LMDB store when the system fails it: every write, sync and map of LMDB goes through functions
 * of this program, which fail when they are told to. A batch that was acknowledged is there after a
 * restart, one that was refused is not, and where nobody knows, LP_EINDOUBT says so. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lmdb_kit.h"

/* ---- calls that fail ------------------------------------------------------------------------- */

typedef enum fault { FAULT_NONE, FAULT_WRITE, FAULT_META, FAULT_META_LATE, FAULT_SYNC } fault;

/* LMDB writes its meta pages from the size of the map on. */
enum { META_BYTES = 120 };

typedef struct fault_plan {
    fault kind;
    int code;
    int skip;  /* calls that work before */
    int times; /* calls that fail then */
    unsigned failed;
} fault_plan;

static fault_plan plan;

static int fails(fault kind)
{
    if (plan.kind != kind || plan.times == 0)
        return 0;
    if (plan.skip > 0) {
        plan.skip--;
        return 0;
    }
    plan.times--;
    plan.failed++;
    errno = plan.code;
    return 1;
}

static ssize_t write_or_fail(int fd, const void *data, size_t len, int64_t offset)
{
    if (len == META_BYTES) {
        if (fails(FAULT_META))
            return -1;
        if (plan.kind == FAULT_META_LATE && plan.times > 0 && plan.skip == 0)
            syscall(SYS_pwrite64, fd, data, len, offset); /* it got there, and nobody says so */
        if (fails(FAULT_META_LATE))
            return -1;
    } else if (fails(FAULT_WRITE)) {
        return -1;
    }
    return syscall(SYS_pwrite64, fd, data, len, offset);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset);
LP_API ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return write_or_fail(fd, data, len, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset);
LP_API ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return write_or_fail(fd, data, len, offset);
}

LP_API ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return fails(FAULT_WRITE) ? -1 : syscall(SYS_writev, fd, parts, count);
}

static unsigned syncs;

LP_API int fdatasync(int fd)
{
    syncs++;
    return fails(FAULT_SYNC) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

/* ---- what must hold -------------------------------------------------------------------------- */

static char *directory;
static int failures;

static void expect(int is_so, const char *label, const char *what)
{
    if (is_so)
        return;
    failures++;
    printf("%s: %s\n", label, what);
}

/* Ten batches, the fault in the middle; then a restart. */
static void run(lp_sync sync, fault kind, int code, int skip, int times)
{
    static lk_content content;
    lp_lmdb_options options = lk_options(sync);
    lp_error error = {LP_OK, ""};
    int statuses[10];
    char label[120];
    snprintf(label, sizeof(label), "sync %d, fault %d, %s, %d works, %d fail", (int)sync, (int)kind,
             strerrorname_np(code), skip, times);
    lp_store *store = lk_open(directory, &options, NULL);
    for (uint64_t i = 0; i < 10; i++) {
        if (i == 4)
            plan = (fault_plan){kind, code, skip, times, 0};
        if (i == 8)
            plan.times = 0;
        statuses[i] = lk_append(store, 1 + i * 40, 40, &error);
    }
    expect(plan.failed > 0, label, "nothing failed");
    lp_store_close(store, 1000, &error);
    lk_look(directory, &options, &content);
    expect(content.wrong == 0 && content.losses == 0, label, content.loss);
    for (uint64_t i = 0; i < 10; i++) {
        size_t found = 0;
        for (uint64_t n = 1 + i * 40; n < 41 + i * 40; n++)
            found += lk_has(&content, n);
        expect(found == 0 || found == 40, label, "a batch is there in part");
        expect(statuses[i] != LP_OK || found == 40, label, "what was acknowledged is missing");
        expect(statuses[i] == LP_OK || statuses[i] == LP_EINDOUBT || found == 0, label,
               "what was refused came back");
        if (code == ENOSPC && kind == FAULT_WRITE)
            expect(statuses[i] == LP_OK || statuses[i] == LP_ENOSPC, label, "not LP_ENOSPC");
        if (kind != FAULT_META && kind != FAULT_META_LATE)
            expect(statuses[i] != LP_EINDOUBT, label, "it was not in doubt");
    }
    expect(times > 2 || statuses[9] == LP_OK, label, "it did not go on by itself");
    lk_remove(directory);
    lk_content_free(&content);
}

/* A sync of the interval fails: nothing is lost, and it is said. */
static void run_idle(int times)
{
    lp_lmdb_options options = lk_options(LP_SYNC_INTERVAL);
    lp_error error = {LP_OK, ""};
    int64_t next_ms = 0;
    options.sync_interval_ms = 1;
    lp_store *store = lk_open(directory, &options, NULL);
    expect(lk_append(store, 1, 10, &error) == LP_OK, "idle", error.message);
    usleep(2000); /* the interval */
    plan = (fault_plan){FAULT_SYNC, EIO, 0, times, 0};
    int status = lp_store_idle(store, 100, &next_ms, &error);
    expect(plan.failed > 0, "idle", "no sync was tried");
    expect((status == LP_OK) == (times == 1), "idle", "a failed sync went unsaid");
    plan.times = 0;
    expect(status == LP_OK || next_ms > 0, "idle", "a failed sync is not tried again");
    if (status != LP_OK) {
        usleep((useconds_t)next_ms * 1000);
        expect(lp_store_idle(store, 100, &next_ms, &error) == LP_OK, "idle", error.message);
    }
    expect(lk_append(store, 11, 10, &error) == LP_OK, "idle", error.message);
    lk_close(store);
    lk_remove(directory);
}

/* Where a batch is in doubt, the ones before it are not: they are owed their sync, when it is due
 * or at the end. */
static void run_in_doubt(int is_shutdown, int times)
{
    lp_lmdb_options options = lk_options(LP_SYNC_INTERVAL);
    lp_error error = {LP_OK, ""};
    int64_t next_ms = 0;
    options.sync_interval_ms = is_shutdown ? 3600000 : 1;
    lp_store *store = lk_open(directory, &options, NULL);
    for (uint64_t i = 0; i < 2; i++)
        expect(lk_append(store, 1 + i * 10, 10, &error) == LP_OK, "in doubt", error.message);
    plan = (fault_plan){FAULT_META, EIO, 0, 100, 0};
    expect(lk_append(store, 21, 10, &error) == LP_EINDOUBT, "in doubt", "it was not in doubt");
    plan = (fault_plan){FAULT_SYNC, EIO, 0, times, 0};
    unsigned before = syncs;
    int status;
    if (is_shutdown) {
        status = lp_store_close(store, 1000, &error);
    } else {
        usleep(2000); /* the interval */
        status = lp_store_idle(store, 100, &next_ms, &error);
        expect(next_ms < 0, "in doubt", "it wants to sync for ever");
    }
    expect(syncs == before + 1, "in doubt", "what was acknowledged before was not synced");
    expect((status == LP_OK) == (times == 0), "in doubt", "a failed sync went unsaid");
    plan.times = 0;
    if (!is_shutdown)
        lp_store_close(store, 1000, &error);
    lk_remove(directory);
}

int main(void)
{
    static const int codes[] = {EIO, ENOSPC};
    directory = lk_directory();
    for (lp_sync sync = LP_SYNC_INTERVAL; sync <= LP_SYNC_NEVER; sync++)
        for (int code = 0; code < 2; code++)
            for (int skip = 0; skip < 3; skip++)
                for (int times = 1; times <= 8; times *= 2)
                    for (fault kind = FAULT_WRITE; kind <= FAULT_SYNC; kind++)
                        run(sync, kind, codes[code], skip, times);
    for (int times = 1; times < 4; times++)
        run_idle(times);
    for (int i = 0; i < 4; i++)
        run_in_doubt(i & 1, i >> 1);
    printf("%d failures\n", failures);
    lk_remove(directory);
    free(directory);
    return failures != 0;
}
