/* See say.h. */
#include "say.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

static const char *command_name = "";

/* ---- lines ----------------------------------------------------------------------------------- */

static void line(const char *format, va_list args)
{
    progress_end();
    fprintf(stderr, "longpoll: %s%s", command_name, command_name[0] != '\0' ? ": " : "");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void say_name(const char *name)
{
    command_name = name;
}

void say_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line(format, args);
    va_end(args);
}

int say_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line(format, args);
    va_end(args);
    return EXIT_USAGE;
}

/* ---- signals --------------------------------------------------------------------------------- */

static volatile sig_atomic_t signal_seen;

/* A signal may come just before a call that blocks, which then would not end: it is interrupted
 * again and again until somebody has looked. */
static void on_alarm(int number)
{
    (void)number;
    alarm(1);
}

static void on_signal(int number)
{
    signal_seen = number;
    alarm(1);
}

void interrupt_catch(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    struct sigaction again = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &again, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a failed write, not an end */
}

bool interrupt_seen(void)
{
    return signal_seen != 0;
}

int interrupt_check(lp_error *error)
{
    if (!interrupt_seen())
        return LP_OK;
    return lp_error_set(error, LP_ECANCELED, "ended by %s", strsignal(signal_seen));
}

void interrupt_forget(void)
{
    signal_seen = 0;
    alarm(0);
}

int say_failed(const lp_error *error)
{
    say_note("%s", error->message);
    if (interrupt_seen())
        return EXIT_SIGNALED + signal_seen;
    return error->status == LP_EDAMAGED ? EXIT_DAMAGE : EXIT_FAILED;
}

int say_wrong_store(const lp_error *error)
{
    int status = say_failed(error);
    return error->status == LP_EINVAL ? EXIT_USAGE : status;
}

/* ---- progress -------------------------------------------------------------------------------- */

enum { SHOW_EVERY_MS = 100, BAR_WIDTH = 30 };

static bool is_shown;
static int64_t shown_ms, begun_ms;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void progress_show(const char *what, uint64_t events, uint64_t done, uint64_t total)
{
    static int is_terminal = -1;
    if (is_terminal < 0)
        is_terminal = isatty(STDERR_FILENO);
    if (!is_terminal)
        return;
    int64_t now = now_ms();
    if (begun_ms == 0)
        begun_ms = shown_ms = now; /* nothing for what is done in a moment */
    if (now - shown_ms < SHOW_EVERY_MS)
        return;
    shown_ms = now;
    is_shown = true;
    char bar[BAR_WIDTH + 1] = "";
    if (total > 0) {
        size_t full = (size_t)(done >= total ? BAR_WIDTH : done * BAR_WIDTH / total);
        memset(bar, '.', BAR_WIDTH);
        memset(bar, '#', full);
    }
    fprintf(stderr, "\r%s %s %llu events, %.1f s\033[K", what, bar, (unsigned long long)events,
            (double)(now - begun_ms) / 1000);
}

void progress_end(void)
{
    if (is_shown)
        fputs("\r\033[K", stderr);
    is_shown = false;
    begun_ms = 0;
}
