/* A part of a case in a process of its own, so that an add-on that crashes or hangs fails its case
 * and does not end the runner. One thread. */
#include "kit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEADLINE_MS 120000

/* What the child has to say. Smaller than PIPE_BUF: written whole or not at all. */
typedef struct verdict {
    lp_conformance_outcome outcome;
    char detail[1200];
} verdict;

_Noreturn static void run(lp__kit *kit, void (*body)(lp__kit *kit), int to)
{
    verdict said;
    memset(&said, 0, sizeof(said));
    body(kit);
    said.outcome = kit->outcome;
    memcpy(said.detail, kit->detail, sizeof(said.detail));
    _exit(write(to, &said, sizeof(said)) == (ssize_t)sizeof(said) ? 0 : 3);
}

/* Whether the child has said all that it has to say. */
static bool listen_to(int from, verdict *said, bool *late)
{
    int64_t until_ms = lp__kit_now_ms() + DEADLINE_MS;
    struct pollfd pipe = {.fd = from, .events = POLLIN};
    size_t got = 0;
    while (got < sizeof(*said)) {
        int64_t left_ms = until_ms - lp__kit_now_ms();
        int ready = poll(&pipe, 1, left_ms > 0 ? (int)left_ms : 0);
        if (ready < 0 && errno == EINTR)
            continue;
        *late = ready == 0;
        ssize_t n = ready > 0 ? read(from, (char *)said + got, sizeof(*said) - got) : -1;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got == sizeof(*said);
}

static void judge(lp__kit *kit, int pid, int from, const char *what)
{
    verdict said;
    bool late = false, heard = listen_to(from, &said, &late);
    int how = 0;
    if (!heard && late)
        kill(pid, SIGKILL);
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        ;
    if (late)
        lp__kit_fail(kit, "%s: hangs, there was no end of it in %d s", what, DEADLINE_MS / 1000);
    else if (!heard && WIFSIGNALED(how))
        lp__kit_fail(kit, "%s: the process died of signal %d (%s)", what, WTERMSIG(how),
                     strsignal(WTERMSIG(how)));
    else if (!heard)
        lp__kit_fail(kit, "%s: the process ended with status %d", what, WEXITSTATUS(how));
    else if (said.outcome == LP_CASE_FAILED)
        lp__kit_fail(kit, "%s", said.detail);
    else if (said.outcome == LP_CASE_NOT_APPLICABLE)
        lp__kit_not_applicable(kit, said.detail);
}

void lp__kit_in_child(lp__kit *kit, void (*body)(lp__kit *kit), const char *what)
{
    int ends[2];
    if (!lp__kit_going(kit))
        return;
    if (pipe(ends) != 0) {
        lp__kit_fail(kit, "no pipe: %s", strerror(errno));
        return;
    }
    int pid = fork();
    if (pid == 0) {
        close(ends[0]);
        run(kit, body, ends[1]);
    }
    close(ends[1]);
    if (pid < 0)
        lp__kit_fail(kit, "no process could be forked: %s", strerror(errno));
    else
        judge(kit, pid, ends[0], what);
    close(ends[0]);
}
