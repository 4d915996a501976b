/* See bench_run.h. */
#include "bench_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/load_figures.h"
#include "../shared/values.h"
#include "bench_reference.h"
#include "say.h"

enum { DESCRIPTORS_BESIDE = 64 }; /* those that are open for other reasons */

/* ---- numbers --------------------------------------------------------------------------------- */

int bench_number(const char *flag_name, const char *text, long *out)
{
    int64_t value;
    if (!value_count(text, &value) || value < 1 || value > 1000000000)
        return say_usage("--%s \"%s\": must be a whole number from 1 up", flag_name, text);
    *out = (long)value;
    return -1;
}

int bench_numbers(const char *flag_name, const char *text, bench_counts *out)
{
    out->count = 0;
    for (const char *at = text;; at++) {
        char word[24];
        size_t len = strcspn(at, ",");
        int64_t value;
        if (len >= sizeof(word) || out->count == COUNTS_MAX)
            break;
        memcpy(word, at, len);
        word[len] = '\0';
        if (!value_count(word, &value) || value < 1 || value > 1000000000)
            break;
        out->at[out->count++] = (long)value;
        at += len;
        if (*at == '\0')
            return -1;
    }
    return say_usage("--%s \"%s\": must be whole numbers from 1 up, such as 1,16,64", flag_name,
                     text);
}

/* ---- servers --------------------------------------------------------------------------------- */

static int server_wrong(const char *text)
{
    return say_usage("--server \"%s\": must be a URL such as http://127.0.0.1:8101, or "
                     "NAME=KIND=URL[,pid=PID]",
                     text);
}

static int read_pid(const char *text, bench_target *out)
{
    int64_t pid;
    if (!value_count(text, &pid) || pid < 1 || pid > INT32_MAX || !process_exists((long)pid))
        return say_usage("pid \"%s\": no such process on this machine (leave it away when the "
                         "server is on another)",
                         text);
    out->pid = (long)pid;
    return -1;
}

static int read_kind(const char *text, size_t len, bench_target *out)
{
    char name[32];
    snprintf(name, sizeof(name), "%.*s", (int)len, text);
    out->kind = kind_find(name);
    if (out->kind == NULL)
        return say_usage("kind \"%.*s\": unknown (longpoll, golongpoll, nchan, responder or h2o)",
                         (int)len, text);
    return -1;
}

static bool is_url(const char *text)
{
    return strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
}

/* NAME=KIND=URL[,pid=PID]. */
static int read_server(const char *text, bench_target *out)
{
    const char *kind = strchr(text, '=');
    const char *url = kind != NULL ? strchr(++kind, '=') : NULL;
    if (url == NULL || kind - text == 1 || !is_url(++url))
        return server_wrong(text);
    snprintf(out->name, sizeof(out->name), "%.*s", (int)(kind - text - 1), text);
    int status = read_kind(kind, (size_t)(url - kind - 1), out);
    const char *comma = strchr(url, ',');
    snprintf(out->url, sizeof(out->url), "%.*s", (int)strcspn(url, ","), url);
    if (status >= 0 || comma == NULL)
        return status;
    return strncmp(comma, ",pid=", 5) == 0 ? read_pid(comma + 5, out) : server_wrong(text);
}

/* URL, with --kind and --pid. */
static int read_url(const bench_run *run, const char *text, bench_target *out)
{
    const char *kind = run->kind != NULL ? run->kind : "longpoll";
    int status = read_kind(kind, strlen(kind), out);
    if (status < 0 && run->pid != NULL)
        status = read_pid(run->pid, out);
    if (status >= 0)
        return status;
    snprintf(out->name, sizeof(out->name), "%s", kind);
    snprintf(out->url, sizeof(out->url), "%s", text);
    return -1;
}

static int read_servers(bench_run *run)
{
    if (run->servers.count == 0)
        return say_usage("no server is named (give --server URL --pid PID)");
    if (run->servers.count > 1 && (run->pid != NULL || run->kind != NULL))
        return say_usage("--%s: says nothing about several servers (write --server "
                         "NAME=KIND=URL,pid=PID)",
                         run->pid != NULL ? "pid" : "kind");
    for (int i = 0; i < run->servers.count; i++) {
        bench_target *added = &run->targets[run->target_count++];
        const char *text = run->servers.items[i];
        bool with_name = !is_url(text);
        if (with_name && (run->pid != NULL || run->kind != NULL))
            return say_usage(
                "--%s: belongs to a --server URL (write --server NAME=KIND=URL,pid=PID)",
                run->pid != NULL ? "pid" : "kind");
        int status = with_name ? read_server(text, added) : read_url(run, text, added);
        if (status >= 0)
            return status;
        for (bench_target *other = run->targets; other < added; other++) {
            if (strcmp(other->name, added->name) == 0)
                return say_usage("--server \"%s\": two servers of that name", added->name);
        }
    }
    return -1;
}

static int check_able(const bench_run *run, unsigned able)
{
    for (int i = 0; i < run->target_count; i++) {
        const bench_target *at = &run->targets[i];
        if (run->needs_pids && at->pid == 0)
            return say_usage("--server \"%s\": its pid is needed (write NAME=KIND=URL,pid=PID, or "
                             "--pid PID)",
                             at->name);
        if ((at->kind->abilities & able) != able)
            return say_usage("--server \"%s\": %s cannot do this (leave it away)", at->name,
                             at->kind->name);
    }
    return -1;
}

/* ---- a run ----------------------------------------------------------------------------------- */

int bench_run_open(bench_run *run, unsigned able)
{
    long rounds = 0;
    int status = bench_number("rounds", run->rounds_text, &rounds);
    if (status < 0)
        status = read_servers(run);
    if (status < 0)
        status = check_able(run, able);
    if (status >= 0)
        return status;
    static char prefix[64];
    snprintf(prefix, sizeof(prefix), "longpoll: bench %s", run->mode);
    fail_as(prefix, EXIT_FAILED);
    run->rounds = (int)rounds;
    status = references_start(run, able);
    if (status >= 0)
        return status;
    run->report = bench_report_new(run->mode, run->is_json);
    for (int i = 0; i < run->target_count; i++) {
        if (run->targets[i].is_reference)
            bench_report_reference(run->report, run->targets[i].name);
    }
    return -1;
}

void bench_run_case(bench_run *run, const char *case_name, bench_measure *measure, void *ctx)
{
    run->case_count++;
    for (int round = 0; round < run->rounds; round++) {
        /* another one begins each round: the place in it is nobody's advantage */
        for (int i = 0; i < run->target_count; i++)
            measure(run, &run->targets[(i + round) % run->target_count], round, case_name, ctx);
    }
    bench_report_print(run->report);
}

int bench_run_close(bench_run *run)
{
    bench_report_free(run->report);
    references_end();
    return checks_failed() > 0 || run->case_count == 0 ? EXIT_FAILED : EXIT_DONE;
}

bool bench_run_has_descriptors(const bench_run *run, const char *case_name, long count)
{
    size_t needed = (size_t)count + DESCRIPTORS_BESIDE;
    if (needed > process_descriptors_max(0)) {
        say_note("%s: left out: takes %zu descriptors, and this process may open %zu (raise the "
                 "hard limit: ulimit -Hn)",
                 case_name, needed, process_descriptors_max(0));
        return false;
    }
    for (int i = 0; i < run->target_count; i++) {
        const bench_target *at = &run->targets[i];
        if (at->pid != 0 && needed > process_descriptors_max(at->pid)) {
            say_note("%s: left out: takes %zu descriptors, and %s may open %zu (raise the limit of "
                     "process %ld)",
                     case_name, needed, at->name, process_descriptors_max(at->pid), at->pid);
            return false;
        }
    }
    return true;
}

void bench_turn(http_client *client, uint64_t until_us)
{
    lp_error error = {0};
    client_turn(client, until_us);
    if (interrupt_check(&error) != LP_OK)
        exit(say_failed(&error));
}

bench_spent bench_spent_start(const bench_target *target)
{
    stopwatch now = stopwatch_start();
    return (bench_spent){.pid = target->pid,
                         .server_us = process_cpu_us(target->pid),
                         .own_us = now.cpu_us,
                         .wall_us = now.wall_us};
}

bench_spent bench_spent_get(bench_spent since)
{
    stopwatch now = stopwatch_start();
    return (bench_spent){.pid = since.pid,
                         .server_us = process_cpu_us(since.pid) - since.server_us,
                         .own_us = now.cpu_us - since.own_us,
                         .wall_us = now.wall_us - since.wall_us};
}
