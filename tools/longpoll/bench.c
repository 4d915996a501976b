/* See bench.h. What --help says. */
#include "bench.h"

#include "bench_store.h"

#define EXITS                                                                                      \
    "Exit status: 0 done, 1 failed or a check did, 2 wrong usage, 128 + N ended by signal N.\n"
#define ROWS                                                                                       \
    "Each figure is the median of its rounds, with the lowest and the highest. --json prints "     \
    "one\n"                                                                                        \
    "object a row: {\"mode\",\"case\",\"server\",\"figure\",\"unit\",\"median\",\"low\",\"high\"," \
    "\"rounds\"}.\n"
#define SERVERS                                                                                    \
    "\nA SERVER is a URL such as http://127.0.0.1:8101, with its --pid and --kind, or several "    \
    "of\n"                                                                                         \
    "NAME=KIND=URL,pid=PID, which take turns round by round. HOST is a numeric address. Kinds:\n"  \
    "  longpoll, golongpoll   POST /publish, GET /events\n"                                        \
    "  nchan                  POST /pub?id=C; GET /sub?id=C for polls, one message an answer, "    \
    "and\n"                                                                                        \
    "                         for streams; GET /multi?id=C with "                                  \
    "nchan_longpoll_multipart_response\n"                                                          \
    "With a pid the server's CPU time and memory are told (of nginx give that of the worker): "    \
    "the\n"                                                                                        \
    "time of all its threads, and of memory what is its own and no file.\n"                        \
    "\nReferences run beside them on this machine: the responder, which does the least that any\n" \
    "server must (longpoll bench responder), and h2o-uv and h2o-evloop, which do the least on\n"   \
    "either flavour of libh2o (longpoll-floor-uv and -evloop, beside this program). \"0.90 of\n"   \
    "responder\" is the median of the ratios within a round; as a row it is \"rate / "             \
    "responder\".\n"                                                                               \
    "client CPU is this program's own share of the work.\n"

const command bench_commands[] = {
    {.name = "publish",
     .usage = "--server SERVER… [flags]",
     .summary = "Publish as fast as a server takes it",
     .help =
         "Each connection has one publish out. Every answer is to be success.\n" ROWS SERVERS EXITS,
     .run = bench_publish},
    {.name = "hold",
     .usage = "--server SERVER… [flags]",
     .summary = "Let many polls wait, wake them with one event, and leave",
     .help =
         "A round: all poll; one event wakes them (with --distinct one event for each); all poll\n"
         "again; every connection is closed, half of them by a reset. Memory is told a waiter: "
         "what\n"
         "the process has more than before the first poll. \"memory waiting\" is of the first "
         "round\n"
         "of a case, so start servers anew, and give the smallest number of waiters first. Pids "
         "are\n"
         "needed, servers are on this machine, and both sides need a descriptor a waiter (ulimit\n"
         "-n); connections come from several addresses of loopback, so that ports do not run out.\n"
         "Each waiter is to get its event once; the descriptors of a server of kind longpoll come\n"
         "back, and its memory does not grow from round to round.\n" ROWS SERVERS EXITS,
     .run = bench_hold},
    {.name = "latency",
     .usage = "--server SERVER… [flags]",
     .summary = "Publish at a rate to many polls, and time each delivery",
     .help =
         "From before the publish is sent until the event has been read, of every delivery.\n"
         "Each poll goes on from the cursor of the last. Each event is to reach each subscriber\n"
         "of its category once, in the order of its publisher, and all see one order. The ring\n"
         "of the server must hold what a slow moment piles up.\n" ROWS SERVERS EXITS,
     .run = bench_latency},
    {.name = "sse",
     .usage = "--server SERVER… [flags]",
     .summary = "The same over streams of server-sent events",
     .help = "As latency, with the same checks.\n" ROWS SERVERS EXITS,
     .run = bench_sse},
    {.name = "catch-up",
     .usage = "--server SERVER… [flags]",
     .summary = "Answer a whole ring of events to each poll",
     .help =
         "A category is filled, and polled from its beginning again and again. Every answer is to\n"
         "hold all of its events, so the server's ring and answers must have room for them\n"
         "(longpolld --event-buffer N).\n" ROWS SERVERS EXITS,
     .run = bench_catch_up},
    {.name = "in-process",
     .usage = "[flags]",
     .summary = "Publish within this process, without HTTP",
     .help = ROWS EXITS,
     .run = bench_in_process},
    {.name = "store",
     .usage = "[flags]",
     .summary = "Append to stores, and read them, beside bare loops",
     .help = ROWS EXITS,
     .run = bench_store},
    {.name = "responder",
     .usage = "[--port N] [--event-buffer N]",
     .summary = "Serve as the reference does, by hand",
     .help = "One thread and no rules: a publish is answered with fixed bytes and wakes all that\n"
             "wait, a poll behind the last event waits. It says where it listens, and its events\n"
             "are those of one category at a time (--kind responder).\n" EXITS,
     .run = bench_responder},
    {.name = NULL},
};
