/* Each case in a process of its own, with a time limit: an add-on that crashes or hangs fails its
 * case and not the runner. Called by run.c alone. One thread. */
#include "kit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAP_MS 20 /* at most, between two looks at the child */

/* ---- the child --------------------------------------------------------------------------------
 */

/* It ends with exit, so that leak checkers have their say. */
_Noreturn static void run(lp__kit *kit, void (*body)(lp__kit *kit), int parent)
{
    setpgid(0, 0);
    /* What interrupts the runner is not sent to this process group. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    lp__kit_begin(kit);
    body(kit);
    lp__kit_close(kit); /* so that a failing close fails the case */
    lp__kit_end(kit);
    kit->told->outcome = kit->outcome;
    memcpy(kit->told->detail, kit->detail, sizeof(kit->detail));
    kit->told->ended = true;
    exit(0);
}

/* ---- the parent -------------------------------------------------------------------------------
 */

/* Waits until the child is gone, and kills what it leaves behind. False when it had to be killed
 * itself. */
static bool wait_for(int pid, int64_t timeout_ms, int *how)
{
    int64_t until_ms = lp__kit_now_ms() + timeout_ms;
    bool in_time = true, gone = false;
    for (int nap_ms = 1; !gone && in_time; nap_ms = nap_ms < NAP_MS ? nap_ms + 1 : NAP_MS) {
        siginfo_t info = {.si_pid = 0};
        /* It stays a zombie until its process group was killed: the number is not given away. */
        int status = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
        gone = info.si_pid == pid || (status != 0 && errno != EINTR);
        in_time = gone || lp__kit_now_ms() < until_ms;
        if (!gone && in_time)
            poll(NULL, 0, nap_ms);
    }
    kill(-pid, SIGKILL);
    if (!gone)
        kill(pid, SIGKILL);
    while (waitpid(pid, how, 0) < 0 && errno == EINTR)
        ;
    return in_time;
}

/* Takes over what the child has told, or says how it ended instead. */
static void judge(lp__kit *kit, bool in_time, int64_t timeout_ms, int how)
{
    const lp__told *told = kit->told;
    const char *when = told->ended ? ", when the case itself was over" : "";
    memcpy(kit->directory, told->directory, sizeof(kit->directory));
    if (told->ended && told->outcome == LP_CASE_FAILED)
        lp__kit_fail(kit, "%s", told->detail);
    else if (!in_time)
        lp__kit_fail(kit, "the case did not end within %lld.%03lld s%s",
                     (long long)timeout_ms / 1000, (long long)timeout_ms % 1000, when);
    else if (WIFSIGNALED(how))
        lp__kit_fail(kit, "the case was ended by signal %d (%s)%s", WTERMSIG(how),
                     strsignal(WTERMSIG(how)), when);
    else if (!told->ended || WEXITSTATUS(how) != 0)
        lp__kit_fail(kit, "the case ended with exit status %d%s", WEXITSTATUS(how), when);
    else if (told->outcome == LP_CASE_NOT_APPLICABLE)
        lp__kit_not_applicable(kit, told->detail);
    if (!told->ended)
        lp__kit_locate(kit);
}

void lp__guard_run(lp__kit *kit, void (*body)(lp__kit *kit), int64_t timeout_ms)
{
    kit->told =
        mmap(NULL, sizeof(*kit->told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (kit->told == MAP_FAILED) {
        kit->told = NULL;
        lp__kit_fail(kit, "no memory to share with a process: %s", strerror(errno));
        return;
    }
    fflush(NULL); /* or the child's exit writes it once more */
    int parent = getpid(), how = 0;
    int pid = fork();
    if (pid == 0)
        run(kit, body, parent);
    if (pid > 0) {
        setpgid(pid, pid); /* whichever of the two comes first */
        bool in_time = wait_for(pid, timeout_ms, &how);
        judge(kit, in_time, timeout_ms, how);
    } else {
        lp__kit_fail(kit, "no process could be forked: %s", strerror(errno));
    }
    munmap(kit->told, sizeof(*kit->told));
    kit->told = NULL;
}
