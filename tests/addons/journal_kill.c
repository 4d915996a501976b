/* A child that writes is killed with SIGKILL, again and again: at any moment, and amid a write.
 * After each time the journal opens by itself, gives back everything that was acknowledged, in
 * order and once, and never a part of a batch. A program of its own, because it forks.
 *
 *     journal_kill [SECONDS [ROUNDS]]       at most so long, at most so many */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "journal_kit.h"

enum { BATCH = 40, DATA = 3000 };

static jk_content content;
static uint64_t write_until_kill; /* calls of pwrite; 0: never */

/* Writes a part of the batch and dies. */
static ssize_t deadly_pwrite(void *ctx, int fd, const void *data, size_t len, off_t offset)
{
    (void)ctx;
    if (write_until_kill == 0 || --write_until_kill > 0)
        return pwrite(fd, data, len, offset);
    size_t part = len * (size_t)(offset % 97 + 1) / 100;
    if (pwrite(fd, data, part, offset) < 0)
        _exit(3);
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static void append(lp_store *store, uint64_t first)
{
    lp_batch *batch = jk_batch();
    for (uint64_t n = first; n < first + BATCH; n++) {
        lp_event *event = jk_event_of(n, DATA);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
    }
    /* Keeps the directory small. */
    for (uint64_t n = first; n < first + BATCH && n > 20 * BATCH; n++)
        lp_batch_add_removal(batch, JK_SEQ(n - 20 * BATCH), LP_REMOVED_RETRIEVED);
    jk_commit(store, batch);
}

/* The child: appends until it dies, and tells each acknowledged batch. */
static void write_for_ever(const char *directory, lp_sync sync, uint64_t next, int tell)
{
    lp_journal_options options = jk_options(sync, 1 << 20);
    lp__journal_io io = lp__journal_io_real();
    lp_error error = {LP_OK, ""};
    io.pwrite = deadly_pwrite;
    lp_store *store = jk_open_io(directory, &options, &io, NULL, &error);
    if (store == NULL) {
        fprintf(stderr, "%s\n", error.message);
        _exit(2);
    }
    for (;; next += BATCH) {
        append(store, next);
        if (write(tell, &next, sizeof(next)) != (ssize_t)sizeof(next))
            _exit(4);
        jk_idle(store);
    }
}

static int fail(int round, const char *what, uint64_t n)
{
    fprintf(stderr, "round %d: %s (event %llu)\n", round, what, (unsigned long long)n);
    return 1;
}

/* `acknowledged`: the first event of the last batch that was; `next`: where the child began. */
static int check(int round, uint64_t acknowledged)
{
    uint64_t last = content.count > 0 ? content.events[content.count - 1] : 0;
    if (content.wrong > 0)
        return fail(round, "an event is wrong or out of order", last);
    if (content.losses > 0)
        return fail(round, content.loss, last);
    if (last % BATCH != 0)
        return fail(round, "a part of a batch came back", last);
    if (acknowledged != 0 && last < acknowledged + BATCH - 1)
        return fail(round, "an acknowledged batch is missing", acknowledged);
    for (uint64_t n = acknowledged > 19 * BATCH ? acknowledged - 19 * BATCH : 1; n <= last; n++)
        if (!jk_has(&content, n) && (last <= 20 * BATCH || n > last - 20 * BATCH))
            return fail(round, "an acknowledged event is missing", n);
    for (uint64_t n = 1; n + 20 * BATCH <= acknowledged; n++)
        if (jk_has(&content, n))
            return fail(round, "a removed event came back", n);
    return 0;
}

/* One life of the child. Its last acknowledged batch, 0: none. */
static uint64_t live(const char *directory, lp_sync sync, uint64_t next, unsigned random)
{
    int pipe_ends[2];
    uint64_t acknowledged = 0, batch;
    if (pipe(pipe_ends) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        close(pipe_ends[0]);
        write_until_kill = random % 2 != 0 ? 1 + random / 2 % 30 : 0;
        write_for_ever(directory, sync, next, pipe_ends[1]);
    }
    close(pipe_ends[1]);
    uint64_t until = 1 + random / 2 % 30;
    for (uint64_t i = 0; read(pipe_ends[0], &batch, sizeof(batch)) == (ssize_t)sizeof(batch); i++) {
        acknowledged = batch;
        if (random % 2 == 0 && i == until) {
            struct timespec moment = {0, (long)(random % 1000) * 1000}; /* any moment will do */
            nanosleep(&moment, NULL);
            kill(child, SIGKILL);
        }
    }
    close(pipe_ends[0]);
    waitpid(child, NULL, 0);
    return acknowledged;
}

int main(int argc, char **argv)
{
    time_t seconds = argc > 1 ? atoi(argv[1]) : 10;
    int rounds = argc > 2 ? atoi(argv[2]) : 200, round = 0, failures = 0;
    uint64_t torn = 0, next = 1;
    unsigned random = 1;
    char *directory = jk_directory();
    time_t end = time(NULL) + seconds;
    for (; round < rounds && time(NULL) < end && failures == 0; round++) {
        lp_sync sync = round % 4 == 3 ? LP_SYNC_ALWAYS : LP_SYNC_INTERVAL;
        lp_journal_options options = jk_options(sync, 1 << 20);
        random = random * 1103515245 + 12345;
        uint64_t acknowledged = live(directory, sync, next, random >> 8 & 0xffff);
        lp_store *store = jk_open(directory, &options, &content);
        torn += jk_figure(store, "torn_tails");
        failures = check(round, acknowledged);
        if (content.count > 0)
            next = content.events[content.count - 1] + 1;
        /* No stop: the next child finds the same torn tail, sealed or not. */
        jk_close(store);
    }
    printf("%d kills, %llu torn tails, %llu events\n", round, (unsigned long long)torn,
           (unsigned long long)next - 1);
    if (failures == 0 && round >= 10 && torn == 0)
        failures = fail(round, "not one torn tail was counted", 0);
    jk_content_free(&content);
    if (failures == 0)
        jk_remove(directory);
    free(directory);
    return failures;
}
