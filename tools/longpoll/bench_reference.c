/* See bench_reference.h. */
#include "bench_reference.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../shared/load_figures.h"
#include "bench_responder.h"
#include "say.h"

typedef struct reference {
    const char *name, *kind;
    const char *program; /* NULL: the responder */
} reference;

static const reference all[] = {
    {"responder", "responder", NULL},
    {"h2o-uv", "h2o", "longpoll-floor-uv"},
    {"h2o-evloop", "h2o", "longpoll-floor-evloop"},
};
enum { ALL_COUNT = sizeof(all) / sizeof(all[0]) };

static pid_t children[ALL_COUNT];
static int child_count;

void references_end(void)
{
    while (child_count > 0) {
        pid_t child = children[--child_count];
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}

static void add(bench_run *run, const reference *which, pid_t child, const char *url)
{
    bench_target *added = &run->targets[run->target_count++];
    children[child_count++] = child;
    *added =
        (bench_target){.kind = kind_find(which->kind), .pid = (long)child, .is_reference = true};
    snprintf(added->name, sizeof(added->name), "%s", which->name);
    snprintf(added->url, sizeof(added->url), "%s", url);
}

/* The path of a program beside this one. */
static bool beside(const char *program, char *path, size_t size)
{
    ssize_t len = readlink("/proc/self/exe", path, size - 1);
    if (len <= 0)
        return false;
    path[len] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL || (size_t)(slash + 1 - path) + strlen(program) >= size)
        return false;
    strcpy(slash + 1, program);
    return access(path, X_OK) == 0;
}

static void floor_run(const char *path, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    dup2(out, STDOUT_FILENO);
    execl(path, path, "--listen", "127.0.0.1:0", (char *)NULL);
    _exit(127);
}

/* It says on its standard output where it listens. */
static void floor_start(bench_run *run, const reference *which)
{
    char path[4096], line[256], url[64];
    int ends[2];
    unsigned port = 0;
    if (!beside(which->program, path, sizeof(path))) {
        say_note("%s: left out: %s is not beside this program (build it: tools/floor)", which->name,
                 which->program);
        return;
    }
    if (pipe(ends) != 0)
        fail("pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        fail("fork: %s", strerror(errno));
    if (child == 0)
        floor_run(path, ends[1]);
    close(ends[1]);
    FILE *said = fdopen(ends[0], "r");
    if (said == NULL)
        fail("out of memory");
    while (port == 0 && fgets(line, sizeof(line), said) != NULL) {
        const char *at = strstr(line, "127.0.0.1:");
        if (at != NULL)
            port = (unsigned)strtoul(at + strlen("127.0.0.1:"), NULL, 10);
    }
    fclose(said);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
    add(run, which, child, url);
    if (port == 0)
        fail("%s: did not say where it listens (does %s start?)", which->name, path);
}

static void start(bench_run *run, const reference *which)
{
    char url[64];
    if (which->program != NULL) {
        floor_start(run, which);
        return;
    }
    uint16_t port;
    pid_t child = responder_start(run->ring, &port);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)port);
    add(run, which, child, url);
}

/* Takes the names in `list` apart; `wanted[i]` tells of all[i]. */
static int read_list(const char *list, bool *wanted)
{
    if (strcmp(list, "none") == 0)
        return -1;
    for (const char *at = list;; at++) {
        size_t len = strcspn(at, ",");
        int i = 0;
        while (i < ALL_COUNT && (strlen(all[i].name) != len || memcmp(all[i].name, at, len) != 0))
            i++;
        if (i == ALL_COUNT)
            return say_usage("--references \"%s\": must be none, or some of responder, h2o-uv and "
                             "h2o-evloop",
                             list);
        wanted[i] = true;
        at += len;
        if (*at == '\0')
            return -1;
    }
}

int references_start(bench_run *run, unsigned able)
{
    bool wanted[ALL_COUNT] = {false};
    int status = -1;
    if (run->references != NULL)
        status = read_list(run->references, wanted);
    else
        memset(wanted, true, sizeof(wanted));
    if (status >= 0)
        return status;
    atexit(references_end);
    for (int i = 0; i < ALL_COUNT; i++) {
        if (wanted[i] && (kind_find(all[i].kind)->abilities & able) == able)
            start(run, &all[i]);
    }
    return -1;
}
