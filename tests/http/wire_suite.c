/* Checks the wire over bare sockets, against any server: part A to the byte, then part B.
 *
 *     wire_suite http://127.0.0.1:8101 [--events PATH] [--publish PATH] [--peer golongpoll]
 *     wire_suite http://127.0.0.1:8101 --options
 *     wire_suite [--options] --spawn PROGRAM
 *
 * The server must have a max_timeout_s of 110, keep 250 events a category, and have no bounds below
 * the defaults. With --peer, answers may differ where the documentation of the wire says so, and
 * each such difference is listed; part B is left out. With --options it is the options of part B
 * alone that are checked, of a server with strict_status, refuse_foreign_origin, a list of origins
 * that is https://pages.example, a publish rate of 1 a second and 60 at once, and heartbeats each
 * 200 ms. --spawn starts PROGRAM (with the argument --options if that was given), reads the port
 * from the first line that it prints, and ends it by closing its standard input. Prints each case
 * and "N passed, N failed"; returns 0 when none failed. */
#include "wire_suite.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
    char host[64];
    int port;
    const char *events, *publish;
    bool peer, options;
    int passed, failed, differing;
    pid_t child;
    int child_in;
} suite = {.events = "/events", .publish = "/publish", .child_in = -1};

/* ---- telling ----------------------------------------------------------- */

void suite_tell(const char *name, bool ok, const char *difference, const char *format, ...)
{
    char detail[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    if (ok) {
        suite.passed++;
        printf("ok      %s\n", name);
    } else if (suite.peer && difference) {
        suite.differing++;
        printf("DIFFERS %s: %s\n        (%s)\n", name, detail, difference);
    } else {
        suite.failed++;
        printf("FAILED  %s: %s\n", name, detail);
    }
}

static const char *const poll_headers[] = {
    "Content-Type: application/json",
    "X-Content-Type-Options: nosniff",
    "Cache-Control: no-cache, no-store, must-revalidate",
    "Pragma: no-cache",
    "Expires: 0",
};

/* Headers that belong to HTTP and not to the wire. */
static bool is_transport(const char *line)
{
    static const char *const names[] = {
        "Date:", "Connection:", "Content-Length:", "Transfer-Encoding:"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strncasecmp(line, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static bool has_line(const char *head, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = strstr(head, "\r\n"); at; at = strstr(at + 2, "\r\n"))
        if (strncmp(at + 2, line, len) == 0 && at[2 + len] == '\r')
            return true;
    return false;
}

static bool headers_are(const char *head, suite_headers kind, const char *extra)
{
    size_t expected = kind == SUITE_POLL ? 5 : 2, found = 0;
    for (size_t i = 0; i < expected; i++)
        if (!has_line(head, poll_headers[i]))
            return false;
    if (extra && !has_line(head, extra))
        return false;
    for (const char *at = strstr(head, "\r\n"); at && at[2]; at = strstr(at + 2, "\r\n"))
        found += !is_transport(at + 2);
    return found == expected + (extra != NULL);
}

void suite_compare(const char *name, raw_answer answer, suite_expected expected)
{
    if (!answer.status) {
        suite_tell(name, false, expected.difference, "no whole answer");
        return;
    }
    bool same_body = !expected.body || (strlen(expected.body) == answer.body_len &&
                                        memcmp(expected.body, answer.body, answer.body_len) == 0);
    if (answer.status != expected.status || !same_body)
        suite_tell(name, false, expected.difference, "%d %s, expected %d %s", answer.status,
                   answer.body, expected.status, expected.body ? expected.body : "");
    else
        suite_tell(name, headers_are(answer.head, expected.headers, expected.extra),
                   expected.difference, "headers %s", answer.head);
    raw_free(&answer);
}

bool suite_matches(const char *text, const char *pattern)
{
    for (; *pattern; pattern++) {
        if (*pattern == 'N') {
            for (int i = 0; i < 13; i++)
                if (!isdigit((unsigned char)*text++))
                    return false;
        } else if (*pattern == 'U') {
            for (int i = 0; i < 36; i++, text++)
                if (i == 8 || i == 13 || i == 18 || i == 23 ? *text != '-'
                                                            : !strchr("0123456789abcdef", *text))
                    return false;
        } else if (*text++ != *pattern) {
            return false;
        }
    }
    return !*text;
}

bool suite_is_timeout(const char *body)
{
    long long ms = 0, now = (long long)time(NULL) * 1000;
    return suite_matches(body, "{\"timeout\":\"no events before timeout\",\"timestamp\":N}") &&
           sscanf(body, "{\"timeout\":\"no events before timeout\",\"timestamp\":%lld", &ms) == 1 &&
           ms > now - 60000 && ms < now + 2000;
}

/* ---- asking ------------------------------------------------------------ */

const char *suite_category(void)
{
    static char name[64];
    static int count;
    snprintf(name, sizeof(name), "w%d-%lld-%d", (int)getpid(), (long long)time(NULL), ++count);
    return name;
}

raw_conn suite_connect(void)
{
    raw_conn conn = raw_connect(suite.host, suite.port);
    if (conn.fd < 0) {
        fprintf(stderr, "wire_suite: cannot connect to %s:%d\n", suite.host, suite.port);
        exit(2);
    }
    return conn;
}

static raw_conn begin(const char *method, const char *target, const char *headers, const char *body,
                      size_t body_len)
{
    raw_conn conn = suite_connect();
    raw_printf(&conn, "%s %s HTTP/1.1\r\nHost: %s:%d\r\n%s", method, target, suite.host, suite.port,
               headers);
    if (body)
        raw_printf(&conn, "Content-Length: %zu\r\n", body_len);
    raw_printf(&conn, "\r\n");
    if (body)
        raw_send(&conn, body, body_len);
    return conn;
}

static raw_answer ask(const char *method, const char *target, const char *headers, const char *body,
                      size_t body_len)
{
    raw_answer answer = {0};
    raw_conn conn = begin(method, target, headers, body, body_len);
    raw_read(&conn, strcmp(method, "HEAD") == 0, RAW_DEADLINE_MS, &answer);
    raw_close(&conn);
    return answer;
}

static char *events_target(const char *query)
{
    char *target = NULL;
    if (asprintf(&target, "%s%s", suite.events, query) < 0)
        exit(2);
    return target;
}

raw_answer suite_ask(const char *method, const char *target, const char *body, size_t body_len)
{
    return ask(method, target, "", body, body_len);
}

raw_conn suite_begin(const char *headers, const char *query)
{
    char *target = events_target(query);
    raw_conn conn = begin("GET", target, headers, NULL, 0);
    free(target);
    return conn;
}

raw_answer suite_get_with(const char *headers, const char *query)
{
    char *target = events_target(query);
    raw_answer answer = ask("GET", target, headers, NULL, 0);
    free(target);
    return answer;
}

raw_answer suite_get(const char *query)
{
    return suite_get_with("", query);
}

raw_answer suite_publish_with(const char *headers, const char *body)
{
    return ask("POST", suite.publish, headers, body, strlen(body));
}

raw_answer suite_publish(const char *body)
{
    return suite_publish_with("", body);
}

bool suite_find(const char *text, const char *before, char *out, size_t max)
{
    const char *at = text ? strstr(text, before) : NULL;
    if (!at)
        return false;
    at += strlen(before);
    snprintf(out, max, "%.*s", (int)strcspn(at, "\",}"), at);
    return true;
}

size_t suite_count(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; at && (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

/* The last event of an answer; NULL: there is none. */
static const char *last_event(const char *body)
{
    const char *last = NULL;
    for (const char *at = body; at && (at = strstr(at, "{\"timestamp\":")); at++)
        last = at;
    return last;
}

/* A poll without an id is told of an event when its millisecond is over, so it may take two. */
int64_t suite_event(const char *category, const char *data, char id[37])
{
    char text[512], pattern[256];
    long long ms = -1;
    snprintf(text, sizeof(text), "{\"category\":\"%s\",\"data\":%s}", category, data);
    raw_answer kept = suite_publish(text);
    raw_free(&kept);
    snprintf(text, sizeof(text), "?timeout=5&category=%s&since_time=1", category);
    snprintf(pattern, sizeof(pattern), "\"data\":%s,\"id\":\"", data);
    for (int64_t deadline = raw_now_ms() + 2000; ms < 0 && raw_now_ms() < deadline;) {
        raw_answer answer = suite_get(text);
        const char *last = last_event(answer.body);
        const char *id_at = last ? strstr(last, pattern) : NULL;
        if (id_at && sscanf(last, "{\"timestamp\":%lld", &ms) == 1)
            snprintf(id, 37, "%.36s", id_at + strlen(pattern));
        raw_free(&answer);
    }
    return ms;
}

/* ---- the program ------------------------------------------------------- */

static void spawn(const char *program)
{
    int in[2], out[2];
    char line[32] = "";
    if (pipe(in) != 0 || pipe(out) != 0 || (suite.child = fork()) < 0)
        exit(2);
    if (suite.child == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[0]), close(in[1]), close(out[0]), close(out[1]);
        execl(program, program, suite.options ? "--options" : (char *)NULL, (char *)NULL);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    suite.child_in = in[1];
    if (read(out[0], line, sizeof(line) - 1) <= 0)
        exit(2);
    close(out[0]);
    strcpy(suite.host, "127.0.0.1");
    suite.port = atoi(line);
}

static void end_child(void)
{
    int status = 0;
    if (suite.child <= 0)
        return;
    close(suite.child_in);
    waitpid(suite.child, &status, 0);
    suite_tell("the server ends well", WIFEXITED(status) && WEXITSTATUS(status) == 0, NULL,
               "status %d", status);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "http://", 7) == 0)
            sscanf(argv[i] + 7, "%63[^:]:%d", suite.host, &suite.port);
        else if (i + 1 < argc && strcmp(argv[i], "--events") == 0)
            suite.events = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--publish") == 0)
            suite.publish = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--peer") == 0)
            suite.peer = argv[++i] != NULL;
        else if (i + 1 < argc && strcmp(argv[i], "--spawn") == 0)
            spawn(argv[++i]);
        else if (strcmp(argv[i], "--options") == 0)
            suite.options = true;
    }
    if (!suite.port) {
        fprintf(stderr, "usage: wire_suite http://ADDRESS:PORT [--events PATH] [--publish PATH] "
                        "[--peer golongpoll] [--options] | [--options] --spawn PROGRAM\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (suite.options) {
        suite_option_cases();
    } else {
        suite_subscribe_cases();
        suite_publish_cases();
    }
    if (!suite.options && !suite.peer) {
        suite_many_cases();
        suite_stream_cases();
        suite_batch_cases();
    }
    end_child();
    if (suite.peer)
        printf("%d differ as the wire's documentation says\n", suite.differing);
    printf("%d passed, %d failed\n", suite.passed, suite.failed);
    return suite.failed == 0 ? 0 : 1;
}
