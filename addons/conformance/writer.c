/* A child process that appends batches and tells the parent what came of each. The parent kills it
 * or lets it end. Both processes hold the same kit from the fork on and build the same batches. */
#include "kit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SILENCE_MS  60000     /* a child that says nothing for so long hangs */
#define NOTE_BROKEN INT32_MIN /* the child's own case has failed, the text says why */
#define NOTE_PHASE  INT32_MAX /* the child has outlived its phase, which took `phase_us` */

/* Smaller than PIPE_BUF: written whole or not at all. */
typedef struct note {
    int64_t phase_us;
    int32_t status;
    char text[500];
} note;

/* ---- the child --------------------------------------------------------------------------------
 */

static void tell(int notes, int32_t status, int64_t phase_us, const char *text)
{
    note said = {.status = status, .phase_us = phase_us};
    snprintf(said.text, sizeof(said.text), "%s", text);
    ssize_t written = write(notes, &said, sizeof(said));
    if (written != (ssize_t)sizeof(said))
        _exit(3); /* nobody listens any more */
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes > limit.rlim_max ? limit.rlim_max : bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* The kernel kills this process when the time has come, in the middle of whatever it does. */
static void kill_me_in(int64_t us)
{
    struct sigevent event;
    memset(&event, 0, sizeof(event));
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGKILL;
    timer_t timer;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000}};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
        timer_settime(timer, 0, &when, NULL) != 0)
        _exit(4);
}

/* The phase in which the child is to be killed. It does not return. */
_Noreturn static void run_phase(lp__kit *kit, const lp__plan *plan, int notes)
{
    int64_t started_us = now_us();
    if (plan->kill_us)
        kill_me_in(plan->kill_us);
    if (plan->phase == LP__STARTING) {
        kit->seen.kill_after = plan->kill_events;
        lp__kit_open(kit);
    } else if (plan->phase == LP__IDLING) {
        lp__kit_idle(kit);
    } else if (plan->phase == LP__COMPACTING) {
        lp__kit_compact(kit);
    } else {
        lp__kit_close(kit);
    }
    if (lp__kit_going(kit))
        tell(notes, NOTE_PHASE, now_us() - started_us, "");
    else
        tell(notes, NOTE_BROKEN, 0, kit->detail);
    raise(SIGKILL);
    _exit(5);
}

_Noreturn static void write_batches(lp__kit *kit, const lp__plan *plan, int notes)
{
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (plan->phase == LP__STARTING)
        run_phase(kit, plan, notes);
    lp__kit_open(kit);
    int status = LP_OK;
    for (size_t i = 0; lp__kit_going(kit) && i < plan->batches; i++) {
        bool limited = i >= plan->limited_batch && i - plan->limited_batch < plan->limited_batches;
        plan->build(kit, i);
        if (limited)
            limit_files((rlim_t)plan->limit);
        status = lp__kit_try_append(kit);
        if (limited)
            limit_files(RLIM_INFINITY);
        if (lp__kit_going(kit))
            tell(notes, status, 0, "");
    }
    if (plan->phase != LP__PUBLISHING && lp__kit_going(kit))
        run_phase(kit, plan, notes);
    if (plan->close && status != LP_EINDOUBT)
        lp__kit_close(kit);
    if (!lp__kit_going(kit))
        tell(notes, NOTE_BROKEN, 0, kit->detail);
    _exit(lp__kit_going(kit) ? 0 : 2);
}

/* ---- the parent -------------------------------------------------------------------------------
 */

void lp__writer_start(lp__kit *kit, lp__writer *writer, const lp__plan *plan)
{
    *writer = (lp__writer){.pid = -1, .notes = -1};
    int ends[2];
    if (!lp__kit_going(kit))
        return;
    if (pipe(ends) != 0) {
        lp__kit_fail(kit, "no pipe: %s", strerror(errno));
        return;
    }
    writer->pid = fork();
    if (writer->pid == 0) {
        close(ends[0]);
        write_batches(kit, plan, ends[1]);
    }
    close(ends[1]);
    writer->notes = ends[0];
    if (writer->pid < 0)
        lp__kit_fail(kit, "no process could be forked: %s", strerror(errno));
}

/* Reads one note; false when the child has ended, or hangs. */
static bool read_note(lp__kit *kit, const lp__writer *writer, note *said)
{
    size_t got = 0;
    struct pollfd pipe = {.fd = writer->notes, .events = POLLIN};
    while (writer->notes >= 0 && got < sizeof(*said)) {
        int ready = poll(&pipe, 1, SILENCE_MS);
        if (ready == 0) {
            lp__kit_fail(kit, "the writing process hangs: nothing in %d s at batch %zu",
                         SILENCE_MS / 1000, writer->batch + 1);
            kill(writer->pid, SIGKILL);
        }
        ssize_t n = ready < 0 ? -1 : read(writer->notes, (char *)said + got, sizeof(*said) - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got == sizeof(*said);
}

/* Builds the batch that the child has built, and notes it. */
static void follow(lp__kit *kit, lp__writer *writer, const lp__plan *plan, int status)
{
    plan->build(kit, writer->batch++);
    lp__expect_batch(kit, status);
    lp_batch_clear(kit->batch);
}

bool lp__writer_next(lp__kit *kit, lp__writer *writer, const lp__plan *plan, int *status)
{
    note said;
    *status = LP_ECANCELED;
    if (!read_note(kit, writer, &said))
        return false;
    if (said.status == NOTE_BROKEN) {
        lp__kit_fail(kit, "in the writing process: %s", said.text);
        return false;
    }
    if (said.status == NOTE_PHASE) {
        writer->phase_us = said.phase_us;
        return false;
    }
    *status = said.status;
    kit->in_doubt |= said.status == LP_EINDOUBT;
    follow(kit, writer, plan, said.status);
    return lp__kit_going(kit);
}

void lp__writer_end(lp__kit *kit, lp__writer *writer, const lp__plan *plan, int signal)
{
    if (writer->pid > 0 && (signal || !lp__kit_going(kit)))
        kill(writer->pid, SIGKILL);
    int status;
    while (lp__writer_next(kit, writer, plan, &status))
        ;
    int how = 0;
    while (writer->pid > 0 && waitpid(writer->pid, &how, 0) < 0 && errno == EINTR)
        ;
    if (writer->notes >= 0)
        close(writer->notes);
    if (!lp__kit_going(kit) || writer->pid <= 0)
        return;
    bool killed = WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL;
    if (killed && plan->phase != LP__PUBLISHING && !signal)
        return; /* by itself: every batch was decided */
    if (killed && signal)
        follow(kit, writer, plan, LP_EINDOUBT);
    else if (WIFSIGNALED(how))
        lp__kit_fail(kit, "the writing process died of signal %d (%s) at batch %zu", WTERMSIG(how),
                     strsignal(WTERMSIG(how)), writer->batch + 1);
    else if (WEXITSTATUS(how) != 0)
        lp__kit_fail(kit, "the writing process ended with status %d at batch %zu", WEXITSTATUS(how),
                     writer->batch + 1);
}
