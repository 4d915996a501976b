/* See load_figures.h. One thread. */
#include "load_figures.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int failed_checks;
static const char *prefix_of_fail = "error";
static int status_of_fail = 2;

void fail_as(const char *prefix, int status)
{
    prefix_of_fail = prefix;
    status_of_fail = status;
}

void fail(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fprintf(stderr, "%s: ", prefix_of_fail);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(status_of_fail);
}

void check(bool holds, const char *format, ...)
{
    va_list args;

    if (holds)
        return;
    failed_checks++;
    fflush(stdout);
    fprintf(stderr, "%s: FAILED: ", prefix_of_fail);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

int checks_failed(void)
{
    return failed_checks;
}

int checks_result(void)
{
    puts(failed_checks ? "result: FAILED" : "result: ok");
    return failed_checks ? 1 : 0;
}

void options_check(int argc, char **argv, int first, const char *const *known)
{
    for (int i = first; i < argc; i += 2) {
        size_t k = 0;
        while (known[k] && strcmp(known[k], argv[i]) != 0)
            k++;
        if (!known[k])
            fail("option \"%s\": unknown (see the top of the program's source)", argv[i]);
        if (i + 1 >= argc)
            fail("option \"%s\": needs a value", argv[i]);
    }
}

const char *option_text(int argc, char **argv, const char *name, const char *otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], name))
            return argv[i + 1];
    return otherwise;
}

long option_number(int argc, char **argv, const char *name, long otherwise)
{
    const char *text = option_text(argc, argv, name, NULL);
    char *end;
    long value;

    if (!text)
        return otherwise;
    value = strtol(text, &end, 10);
    if (*end != '\0' || end == text || value < 0)
        fail("option %s \"%s\": not a number", name, text);
    return value;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

void figures_sort(uint32_t *values, size_t count)
{
    if (count)
        qsort(values, count, sizeof *values, compare);
}

uint32_t figures_at(const uint32_t *sorted, size_t count, double p)
{
    size_t at = (size_t)(p * (double)count);

    if (count == 0)
        return 0;
    return sorted[at < count ? at : count - 1];
}

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

stopwatch stopwatch_start(void)
{
    return (stopwatch){clock_us(CLOCK_MONOTONIC), clock_us(CLOCK_PROCESS_CPUTIME_ID)};
}

stopwatch stopwatch_spent(stopwatch since)
{
    stopwatch now = stopwatch_start();

    return (stopwatch){now.wall_us - since.wall_us, now.cpu_us - since.cpu_us};
}

uint64_t process_cpu_us(long pid)
{
    clockid_t clock;
    struct timespec spent;

    if (pid == 0)
        return 0;
    if (clock_getcpuclockid((pid_t)pid, &clock) != 0 || clock_gettime(clock, &spent) != 0)
        fail("process %ld: it is not there, or has ended", pid);
    return (uint64_t)spent.tv_sec * 1000000 + (uint64_t)spent.tv_nsec / 1000;
}

bool process_exists(long pid)
{
    return kill((pid_t)pid, 0) == 0 || errno == EPERM;
}

size_t process_descriptors_max(long pid)
{
    struct rlimit limit;

    if (prlimit((pid_t)pid, RLIMIT_NOFILE, NULL, &limit) != 0)
        fail("the descriptor limit of process %ld: %s", pid, strerror(errno));
    return limit.rlim_cur;
}

size_t process_descriptors(long pid)
{
    char path[64];
    size_t count = 0;
    struct stat known;
    DIR *directory;

    if (pid == 0)
        return 0;
    snprintf(path, sizeof path, "/proc/%ld/fd", pid);
    if (stat(path, &known) == 0 && known.st_size > 0) /* since Linux 6.2 */
        return (size_t)known.st_size;
    directory = opendir(path);
    if (!directory)
        fail("%s: %s", path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

process_memory process_memory_get(long pid)
{
    process_memory memory = {0};
    char path[64], line[256];
    FILE *file;

    if (pid == 0)
        return memory;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", pid);
    file = fopen(path, "r");
    if (!file)
        fail("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, file)) {
        sscanf(line, "Pss: %lu", &memory.pss_kb);
        sscanf(line, "Anonymous: %lu", &memory.anonymous_kb);
        sscanf(line, "Pss_Shmem: %lu", &memory.shared_kb);
    }
    fclose(file);
    return memory;
}
