/* A damaged LMDB store never takes the host process with it, never gives back what was not
 * published, and never loses anything in silence: flipped bits, zeroed and exchanged pages, files
 * that were cut, and garbage, each in a child of its own that starts, publishes, compacts and
 * starts again.
 *
 *     lmdb_damage [CASES [SEED]]      CASES 0: every byte of the file */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lmdb_kit.h"

enum { PAGE = 4096, EVENTS = 250, LATER = 1000 };

static char *pristine, *victim;
static lk_content whole; /* what a start of the undamaged store pushes */
static int failures;

/* ---- the store ------------------------------------------------------------------------------- */

static void fail_child(const char *what)
{
    fprintf(stderr, "    %s\n", what);
    _exit(1);
}

static void check(bool is_so, const char *what)
{
    if (!is_so)
        fail_child(what);
}

/* All kinds of rows and pages: overflow pages, free ones, dead events, and several batches. */
static void make_store(void)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER);
    lp_store *store = lk_open(pristine, &options, NULL);
    for (uint64_t n = 1; n <= EVENTS; n += 25) {
        lp_batch *batch = lk_batch();
        for (uint64_t i = n; i < n + 25; i++)
            lk_add(batch, i);
        char text[32];
        snprintf(text, sizeof(text), "key %llu", (unsigned long long)n);
        lp_idempotency key = {lp_str_of(text), n, LK_SEQ(n), 25, INT64_MAX};
        lp_batch_add_idempotency(batch, &key);
        lp_batch_add_horizon(batch, lp_str_of(lk_category(n)), LK_BASE - 10 + n / 25);
        if (n > 100)
            for (uint64_t i = n - 100; i < n - 90; i++)
                lp_batch_add_removal(batch, LK_SEQ(i), LP_REMOVED_RETRIEVED);
        lk_commit(store, batch);
    }
    lp_batch *batch = lk_batch();
    lp_batch_add_horizon(batch, (lp_str){"", 0}, LK_BASE - 100);
    lp_batch_set_highest(batch, LK_SEQ(EVENTS + 10));
    lk_commit(store, batch);
    lk_close(store);
    lk_look(pristine, &options, &whole);
    if (whole.losses > 0 || whole.wrong > 0 || whole.count == 0)
        abort();
}

/* ---- what must hold -------------------------------------------------------------------------- */

static bool is_whole(const lk_content *content)
{
    return content->count == whole.count && content->horizon_count == whole.horizon_count &&
           content->key_count == whole.key_count && content->floor == whole.floor &&
           content->highest == whole.highest &&
           memcmp(content->events, whole.events, whole.count * sizeof(*whole.events)) == 0 &&
           memcmp(content->horizons, whole.horizons, sizeof(whole.horizons)) == 0;
}

static void use(lp_store *store)
{
    lp_error error = {LP_OK, ""};
    uint64_t first = LATER;
    for (int i = 0; i < 3; i++, first += 60) {
        lp_batch *batch = lk_batch();
        for (uint64_t n = first; n < first + 60; n++)
            lk_add(batch, n);
        for (uint64_t n = 1; n <= 40; n++)
            lp_batch_add_removal(batch, LK_SEQ((uint64_t)i * 40 + n),
                                 i == 1 ? LP_REMOVED_RETRIEVED : LP_REMOVED_RING);
        lp_batch_add_horizon(batch, (lp_str){"", 0}, LK_SEQ(EVENTS + 20));
        for (uint64_t n = 0; n < LK_CATEGORIES; n++)
            lp_batch_add_horizon(batch, lp_str_of(lk_category(n)), LK_SEQ(EVENTS + n));
        int status = lp_store_append(store, batch, &error);
        check(status == LP_OK, error.message);
        lp_batch_free(batch);
    }
    lk_compact(store);
    check(lk_verify(store, &error) == LP_OK, error.message);
}

static void child(const char *label)
{
    lp_lmdb_options options = lk_options(LP_SYNC_NEVER), reader = options;
    lp_error error = {LP_OK, ""};
    lk_content content = {0};
    (void)label;
    reader.read_only = true;
    uint64_t sum = lk_sum(victim);
    lp_store *store = lk_try_open(victim, &reader, NULL, &content, &error);
    check(store != NULL || error.status == LP_EVERSION, error.message);
    if (store != NULL) {
        lp_error problem;
        lk_verify(store, &problem);
        lk_close(store);
    }
    check(lk_sum(victim) == sum, "a reader changed the directory");

    store = lk_try_open(victim, &options, NULL, &content, &error);
    if (store == NULL && error.status == LP_EVERSION)
        _exit(0);
    check(store != NULL, error.message);
    check(content.wrong == 0, "a start gave back what was never published");
    check(content.losses > 0 || is_whole(&content), "something is missing, and nobody says so");
    use(store);
    lk_close(store);
    store = lk_try_open(victim, &options, NULL, &content, &error);
    check(store != NULL, error.message);
    check(content.wrong == 0, "the second start gave back what was never published");
    check(content.losses == 0, content.loss);
    for (uint64_t n = LATER; n < LATER + 180; n++)
        check(lk_has(&content, n), "what was published after the damage is missing");
    lk_close(store);
    _exit(0);
}

static void run_case(const char *label)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        child(label);
    }
    int state = 0;
    while (waitpid(pid, &state, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return;
    failures++;
    if (WIFSIGNALED(state))
        printf("%s: killed by signal %d\n", label, WTERMSIG(state));
    else
        printf("%s: failed\n", label);
}

/* ---- kinds of damage ------------------------------------------------------------------------- */

static uint8_t *bytes, *changed;
static size_t size;

/* The file as it should be but for what `changed` says; no other file but that of the lock. */
static void put(size_t len)
{
    lk_remove(victim);
    mkdir(victim, 0700);
    lk_write(lk_path(victim, "data.mdb"), changed, len);
    lk_write(lk_path(victim, "lock.mdb"), "", 0);
    memcpy(changed, bytes, size);
}

static void flip(size_t at, unsigned mask)
{
    char label[80];
    snprintf(label, sizeof(label), "byte %zu of page %zu with %02x", at % PAGE, at / PAGE, mask);
    changed[at] ^= (uint8_t)mask;
    put(size);
    run_case(label);
}

static void flip_bytes(unsigned cases, unsigned seed)
{
    for (unsigned i = 0; cases != 0 && i < cases; i++) {
        uint64_t page = (uint64_t)rand_r(&seed) % (size / PAGE);
        /* Half of them where LMDB's own numbers are. */
        unsigned span = i % 2 == 0 ? PAGE : 160;
        flip((size_t)page * PAGE + (unsigned)rand_r(&seed) % span, 1u << rand_r(&seed) % 8);
    }
    for (size_t at = 0; cases == 0 && at < size; at++)
        flip(at, 1u << at % 8);
}

static void whole_pages(void)
{
    char label[80];
    size_t pages = size / PAGE;
    for (size_t i = 0; i < pages; i++) {
        memset(changed + i * PAGE, 0, PAGE);
        put(size);
        snprintf(label, sizeof(label), "page %zu of zeros", i);
        run_case(label);
        memcpy(changed + i * PAGE, bytes + (i + 3) % pages * PAGE, PAGE);
        put(size);
        snprintf(label, sizeof(label), "page %zu is a copy of %zu", i, (i + 3) % pages);
        run_case(label);
        put(i * PAGE);
        snprintf(label, sizeof(label), "cut before page %zu", i);
        run_case(label);
        put(i * PAGE + 1000);
        snprintf(label, sizeof(label), "cut in page %zu", i);
        run_case(label);
    }
}

static void garbage(unsigned seed)
{
    for (int i = 0; i < 10; i++) {
        char label[40];
        for (size_t at = 0; at < size; at++)
            changed[at] = (uint8_t)rand_r(&seed);
        put(size >> i);
        snprintf(label, sizeof(label), "garbage %d", i);
        run_case(label);
    }
}

int main(int argc, char **argv)
{
    unsigned cases = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 600;
    unsigned seed = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : (unsigned)time(NULL);
    printf("seed %u\n", seed);
    pristine = lk_directory();
    victim = lk_directory();
    make_store();
    bytes = lk_read(lk_path(pristine, "data.mdb"), &size);
    changed = malloc(size);
    if (changed == NULL)
        return 1;
    memcpy(changed, bytes, size);
    whole_pages();
    garbage(seed);
    flip_bytes(cases, seed);
    printf("%zu pages, %d failures\n", size / PAGE, failures);
    lk_remove(pristine);
    lk_remove(victim);
    free(pristine);
    free(victim);
    free(bytes);
    free(changed);
    lk_content_free(&whole);
    return failures != 0;
}
