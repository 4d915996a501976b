/* What the modes against servers share: the servers under test, the references that are started
 * beside them, and rounds in which they take turns. What goes wrong ends the program (fail of
 * load_figures.h); references end with it. Main thread. */
#ifndef TOOL_BENCH_RUN_H
#define TOOL_BENCH_RUN_H

#include "bench_kind.h"
#include "bench_report.h"
#include "command.h"

#include <stdint.h>

#include <sys/types.h>

enum { TARGETS_MAX = FLAG_LIST_MAX + 4, COUNTS_MAX = 16 };

/* A server. */
typedef struct bench_target {
    char name[64], url[256];
    const bench_kind *kind;
    long pid; /* 0: not known, its CPU and memory are not told */
    bool is_reference;
} bench_target;

typedef struct bench_run {
    /* As the flags have it. */
    flag_list servers;
    const char *pid, *kind, *references, *rounds_text;
    bool is_json;

    const char *mode;
    long ring;       /* events that the responder keeps */
    bool needs_pids; /* of the servers */
    bench_target targets[TARGETS_MAX];
    int target_count, rounds, case_count;
    bench_report *report;
} bench_run;

#define BENCH_RUN(the_mode)                                                                        \
    {                                                                                              \
        .mode = (the_mode), .ring = 250, .rounds_text = "3"                                        \
    }

/* Those of every mode. */
#define BENCH_RUN_FLAGS(run)                                                                       \
    {"server", "SERVER", "URL, or NAME=KIND=URL[,pid=PID]; may be given several times",            \
     NULL,     NULL,     &(run).servers},                                                          \
        {"pid", "PID", "the process of a --server URL: tells its CPU and memory", NULL,            \
         &(run).pid},                                                                              \
        {"kind", "KIND", "of a --server URL: longpoll, golongpoll or nchan (longpoll)", NULL,      \
         &(run).kind},                                                                             \
        {"references", "LIST", "responder,h2o-uv,h2o-evloop or none (those that fit the mode)",    \
         NULL, &(run).references},                                                                 \
        {"rounds", "N", "rounds in which the servers take turns (3)", NULL, &(run).rounds_text},   \
    {                                                                                              \
        "json", NULL, "print rows as JSON Lines", &(run).is_json, NULL                             \
    }

/* What a mode measures of one server in one round. */
typedef void bench_measure(bench_run *run, const bench_target *target, int round,
                           const char *case_name, void *ctx);

/* Reads a number from 1 up, or a list of them: "1,16,64". Returns -1, or EXIT_USAGE. */
int bench_number(const char *flag_name, const char *text, long *out);
typedef struct bench_counts {
    long at[COUNTS_MAX];
    int count;
} bench_counts;
int bench_numbers(const char *flag_name, const char *text, bench_counts *out);

/* Checks the flags, starts references that are `able` and opens the report. Servers under test that
 * are not able are refused. Returns -1 to go on, or the exit status. */
int bench_run_open(bench_run *run, unsigned able);
/* All rounds of a case, and prints them. */
void bench_run_case(bench_run *run, const char *case_name, bench_measure *measure, void *ctx);
/* Ends references; the exit status. */
int bench_run_close(bench_run *run);

/* Whether `count` connections more are within the descriptor limits of this process and of the
 * servers; says so when they are not. */
bool bench_run_has_descriptors(const bench_run *run, const char *case_name, long count);

/* Handles what comes, at most until then; ends the program on a signal. */
void bench_turn(http_client *client, uint64_t until_us);

/* CPU time of the server and of this process since the last bench_spent_start. */
typedef struct bench_spent {
    long pid;
    uint64_t server_us, own_us, wall_us;
} bench_spent;
bench_spent bench_spent_start(const bench_target *target);
bench_spent bench_spent_get(bench_spent since);

#endif
