/* Simulated power cuts for a store that writes through libc:
 *
 *   power_cut_STORE LEVEL [--worlds N] [--seed N] [--lives N] [--lie
 * files|directories|interval|keys]
 *                   [--keep DIR] [--trace yes] [--begin calm]
 *
 * LEVEL is always, interval, never or mixed. Each world is a child process with a seed of its own,
 * --seed and those after it: the seed that is printed with a failure and --worlds 1 run it again.
 * --keep: the state of the disk that failed is left there. --trace: says what it does. --begin
 * calm: no cuts in the first start. --lie: the disk says yes to a sync and does nothing, or the
 * store is opened at `never` where `interval` was asked for, or is given keys in a commit of their
 * own; then the run is good when that is found out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "power_cut_disk.h"
#include "power_cut_life.h"
#include "power_cut_store.h"

typedef struct pl_arguments {
    pl_setup setup;
    unsigned worlds;
} pl_arguments;

static int level_of(const char *name)
{
    static const char *const names[] = {"interval", "always", "never", "mixed"};
    for (int i = 0; i < 4; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static bool parse(int argc, char **argv, pl_arguments *arguments)
{
    pl_setup *setup = &arguments->setup;
    if (argc < 2 || argc % 2 != 0)
        return false;
    setup->level = level_of(argv[1]);
    for (int i = 2; i < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--worlds") == 0)
            arguments->worlds = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            setup->seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--lives") == 0)
            setup->lives = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--keep") == 0)
            setup->keep = value;
        else if (strcmp(argv[i], "--trace") == 0)
            setup->traces = strcmp(value, "yes") == 0;
        else if (strcmp(argv[i], "--begin") == 0)
            setup->begins_calm = strcmp(value, "calm") == 0;
        else if (strcmp(argv[i], "--lie") == 0 && strcmp(value, "files") == 0)
            setup->lies = PC_LIE_FILES;
        else if (strcmp(argv[i], "--lie") == 0 && strcmp(value, "directories") == 0)
            setup->lies = PC_LIE_DIRECTORIES;
        else if (strcmp(argv[i], "--lie") == 0 && strcmp(value, "interval") == 0)
            setup->forgets = true;
        else if (strcmp(argv[i], "--lie") == 0 && strcmp(value, "keys") == 0)
            setup->splits = true;
        else
            return false;
    }
    return setup->level >= 0;
}

/* In memory where there is such a place: thousands of states are written. */
static char *make_directory(void)
{
    const char *parent = getenv("TMPDIR");
    char *name = malloc(4096);
    if (name == NULL)
        abort();
    if (parent == NULL)
        parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(name, 4000, "%s/power-cut-XXXXXX", parent);
    if (mkdtemp(name) == NULL) {
        perror(name);
        exit(2);
    }
    char *real = realpath(name, NULL);
    free(name);
    return real;
}

static void empty(const char *directory)
{
    pc_remove(directory);
    if (mkdir(directory, 0700) != 0)
        perror(directory);
}

static void add(pl_report *sum, const pl_report *report)
{
    sum->lives += report->lives;
    sum->batches += report->batches;
    sum->cuts += report->cuts;
    sum->kills += report->kills;
    sum->closes += report->closes;
    sum->missing += report->missing;
}

/* Runs one world in a process of its own. Whether it was good. */
static bool run_world(const pl_setup *setup, pl_report *report)
{
    memset(report, 0, sizeof(*report));
    fflush(NULL);
    pid_t child = fork();
    int status;
    if (child == 0)
        exit(pl_run(setup, report) ? 0 : 1);
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("power_cut: fork");
        exit(2);
    }
    if (WIFSIGNALED(status))
        snprintf(report->why, sizeof(report->why), "ended by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) > 1)
        snprintf(report->why, sizeof(report->why), "exit status %d", WEXITSTATUS(status));
    if (report->why[0] != '\0')
        printf("power_cut_%s: seed %llu: %s: %s\n", ps_name, (unsigned long long)setup->seed,
               report->where, report->why);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    pl_arguments arguments = {.setup = {.seed = 1, .lives = 16}, .worlds = 5};
    pl_report sum = {0};
    unsigned bad = 0;
    if (!parse(argc, argv, &arguments)) {
        fprintf(stderr,
                "usage: power_cut_%s always|interval|never|mixed [--worlds N] [--seed N] "
                "[--lives N] [--lie files|directories|interval|keys] [--keep DIR] [--trace yes] "
                "[--begin calm]\n",
                ps_name);
        return 2;
    }
    pl_report *report =
        mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *directory = make_directory();
    arguments.setup.directory = directory;
    bool lies = arguments.setup.lies != 0 || arguments.setup.forgets || arguments.setup.splits;
    for (unsigned i = 0; i < arguments.worlds && !(lies && bad > 0); i++) {
        bad += !run_world(&arguments.setup, report);
        add(&sum, report);
        arguments.setup.seed++;
        empty(directory);
    }
    pc_remove(directory);
    free(directory);
    printf("power_cut_%s %s: seeds to %llu, %u lives, %u batches, %u cuts (%u told a loss), "
           "%u kills, %u stops: %u worlds broke a promise%s\n",
           ps_name, argv[1], (unsigned long long)arguments.setup.seed - 1, sum.lives, sum.batches,
           sum.cuts, sum.missing, sum.kills, sum.closes, bad,
           lies ? ", as they must with that lie" : "");
    return (bad > 0) == lies ? 0 : 1;
}
