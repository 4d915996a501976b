/* See options.h. One table is what is parsed, what is checked and what --help prints. */
#include "options.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "../shared/stores.h"
#include "../shared/values.h"

typedef enum flag_kind {
    FLAG_TEXT,         /* const char * */
    FLAG_SWITCH,       /* bool, takes no value */
    FLAG_COUNT,        /* int64_t, from 1 up, and so on below */
    FLAG_BYTES,        /* with KiB, MiB, GiB */
    FLAG_SECONDS,      /* whole seconds */
    FLAG_TTL,          /* whole seconds, or 0 */
    FLAG_MILLISECONDS, /* written in seconds, kept in milliseconds */
    FLAG_LEVEL,
    FLAG_ORIGIN,  /* one more of a list */
    FLAG_THREADS, /* 1 to 64 */
    FLAG_HELP,
    FLAG_VERSION
} flag_kind;

typedef struct flag_spec {
    const char *name;
    flag_kind kind;
    size_t offset; /* in daemon_options */
    const char *argument;
    const char *help;
} flag_spec;

#define AT(member) offsetof(daemon_options, member)

_Static_assert(THREADS_MAX == 64, "as the sentence about FLAG_THREADS says");

static const flag_spec flags[] = {
    {"listen", FLAG_TEXT, AT(listen), "ADDR:PORT", "serve here (127.0.0.1:8101)"},
    {"publish-listen", FLAG_TEXT, AT(publish_listen), "ADDR:PORT",
     "serve /publish here, and not on --listen any more"},
    {"tls-chain", FLAG_TEXT, AT(server.tls_chain), "FILE",
     "serve https: certificates in PEM, the server's own first"},
    {"tls-key", FLAG_TEXT, AT(server.tls_key), "FILE",
     "its private key in PEM; SIGHUP reads both again"},
    {"cors-origin", FLAG_ORIGIN, 0, "ORIGIN",
     "pages of it may read and publish, * for any (none; may be given several times)"},
    {"threads", FLAG_THREADS, AT(server.threads), "N",
     "threads that serve connections of each listener (1)"},
    {"store", FLAG_TEXT, AT(store), "STORE", "where events are kept (memory), see below"},

    {"event-buffer", FLAG_COUNT, AT(manager.event_buffer_max), "N", "events kept a category (250)"},
    {"event-ttl", FLAG_TTL, AT(manager.event_ttl_s), "SECONDS",
     "how long an event lives (0: for ever)"},
    {"max-timeout", FLAG_SECONDS, AT(manager.max_timeout_s), "SECONDS",
     "how long a poll may wait (110)"},
    {"delete-after-first-retrieval", FLAG_SWITCH, AT(manager.delete_after_first_retrieval), NULL,
     "an event goes once an answer with it has been written"},

    {"strict-status", FLAG_SWITCH, AT(http.strict_status), NULL,
     "a poll that cannot be read is answered 400, not 200"},
    {"stream-heartbeat", FLAG_MILLISECONDS, AT(http.stream_heartbeat_ms), "SECONDS",
     "a stream of events that is silent says where it is (15)"},
    {"idempotency-window", FLAG_SECONDS, AT(manager.idempotency_window_s), "SECONDS",
     "how long an Idempotency-Key is remembered (86400)"},

    {"publish-rate", FLAG_COUNT, AT(http.publish_rate), "N",
     "events a second that one client address may publish (no bound)"},
    {"publish-burst", FLAG_COUNT, AT(http.publish_burst), "N",
     "and so many at once (twice the rate)"},
    {"max-idempotency-keys", FLAG_COUNT, AT(manager.idempotency_max), "N",
     "keys that are remembered, then the oldest go (100000)"},
    {"max-poll-categories", FLAG_COUNT, AT(manager.poll_categories_max), "N",
     "categories and prefixes that one poll may name (1024)"},
    {"max-interests", FLAG_COUNT, AT(manager.interests_max), "N",
     "those of all waiting polls together (1000000)"},
    {"max-waiters", FLAG_COUNT, AT(manager.waiters_max), "N", "polls that wait (20000)"},
    {"max-categories", FLAG_COUNT, AT(manager.categories_max), "N",
     "categories that are remembered (100000)"},
    {"max-events", FLAG_COUNT, AT(manager.events_max), "N",
     "events in all, then the oldest go (1000000)"},
    {"max-events-bytes", FLAG_BYTES, AT(manager.events_bytes_max), "SIZE",
     "their bytes, then the oldest go (256MiB)"},
    {"max-event-bytes", FLAG_BYTES, AT(manager.event_bytes_max), "SIZE",
     "data of one event (1MiB)"},
    {"max-answer-bytes", FLAG_BYTES, AT(manager.answer_bytes_max), "SIZE",
     "one answer, the next poll gets the rest (4MiB)"},
    {"max-pending", FLAG_COUNT, AT(manager.pending_max), "N",
     "events that wait for the store (65536)"},
    {"max-pending-bytes", FLAG_BYTES, AT(manager.pending_bytes_max), "SIZE", "their bytes (64MiB)"},

    {"max-connections", FLAG_COUNT, AT(server.connections_max), "N",
     "connections a listener (20000, or what descriptors allow)"},
    {"max-header-bytes", FLAG_BYTES, AT(http.header_bytes_max), "SIZE",
     "request line and headers (64KiB)"},
    {"max-body-bytes", FLAG_BYTES, AT(http.body_bytes_max), "SIZE",
     "body of a publish (--max-event-bytes and 8KiB)"},
    {"max-inflight-bytes", FLAG_BYTES, AT(http.inflight_bytes_max), "SIZE",
     "answers on their way to slow readers (256MiB)"},
    {"request-timeout", FLAG_MILLISECONDS, AT(server.request_timeout_ms), "SECONDS",
     "a request must be in by then, an idle connection goes (10)"},
    {"answer-timeout", FLAG_MILLISECONDS, AT(http.answer_timeout_ms), "SECONDS",
     "an answer must be out by then (30)"},
    {"shutdown-timeout", FLAG_MILLISECONDS, AT(shutdown_timeout_ms), "SECONDS",
     "how long a shutdown may take (10)"},

    {"log-level", FLAG_LEVEL, AT(log_level), "LEVEL", "error, warn, info (the default) or debug"},
    {"version", FLAG_VERSION, 0, NULL, "print the version"},
    {"help", FLAG_HELP, 0, NULL, "print this"},
};

#define FLAG_COUNT_ALL (sizeof(flags) / sizeof(flags[0]))

static void print_help(void)
{
    printf("Usage: longpolld [flags]\n\n"
           "A long-poll publish/subscribe server. It serves GET /events, POST /publish,\n"
           "GET /health and GET /metrics. SIGTERM and SIGINT end it once all that was accepted\n"
           "is kept.\n\n");
    for (size_t i = 0; i < FLAG_COUNT_ALL; i++) {
        char name[64];
        snprintf(name, sizeof(name), "--%s%s%s", flags[i].name,
                 flags[i].argument != NULL ? " " : "",
                 flags[i].argument != NULL ? flags[i].argument : "");
        printf("  %-30s %s\n", name, flags[i].help);
    }
    printf("\nStores: %s.\n"
           "Options follow the path: ?sync=always|interval:1s|never, and of a journal\n"
           "&segment=16MiB. interval:1s is the default: a crash of the program loses nothing, a\n"
           "power cut at most a second. always loses nothing at all.\n",
           store_kinds());
    printf("\nSizes take KiB, MiB and GiB; times are seconds, or take ms, s, m, h and d.\n"
           "\"--flag value\" and \"--flag=value\" are the same.\n");
}

static int LP_PRINTF(1, 2) wrong(const char *format, ...)
{
    va_list args;
    fputs("longpolld: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return 2;
}

static const flag_spec *flag_find(const char *name, size_t length)
{
    for (size_t i = 0; i < FLAG_COUNT_ALL; i++) {
        if (strlen(flags[i].name) == length && memcmp(flags[i].name, name, length) == 0)
            return &flags[i];
    }
    return NULL;
}

static bool level_parse(const char *text, lp_log_level *out)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(names[i], text) == 0) {
            *out = (lp_log_level)i;
            return true;
        }
    }
    return false;
}

static bool whole_seconds(const char *text, int64_t *out)
{
    int64_t ms;
    if (!value_duration_ms(text, &ms) || ms % 1000 != 0)
        return false;
    *out = ms / 1000;
    return true;
}

/* The library says what is wrong with an origin. */
static bool origin_add(const char *text, daemon_options *out)
{
    if (out->http.cors_origin_count == CORS_ORIGINS_MAX)
        return false;
    out->cors_origins[out->http.cors_origin_count++] = text;
    out->http.cors_origins = out->cors_origins;
    return true;
}

/* Stores the value of one flag; NULL, or what the value should have been. */
static const char *flag_set(const flag_spec *flag, const char *value, daemon_options *out)
{
    void *place = (char *)out + flag->offset;
    int64_t *number = place;
    switch (flag->kind) {
    case FLAG_TEXT:
        *(const char **)place = value;
        return NULL;
    case FLAG_COUNT:
        return value_count(value, number) && *number > 0 ? NULL : "a whole number from 1 up";
    case FLAG_THREADS:
        return value_count(value, number) && *number >= 1 && *number <= THREADS_MAX
                   ? NULL
                   : "a whole number of 1 to 64";
    case FLAG_BYTES:
        return value_bytes(value, number) && *number > 0 ? NULL : "a size, such as 64KiB or 1MiB";
    case FLAG_SECONDS:
        return whole_seconds(value, number) && *number > 0 ? NULL : "whole seconds from 1 up";
    case FLAG_TTL:
        return whole_seconds(value, number) ? NULL : "whole seconds, or 0 for ever";
    case FLAG_MILLISECONDS:
        return value_duration_ms(value, number) && *number > 0 ? NULL
                                                               : "seconds, such as 10 or 0.5";
    case FLAG_ORIGIN:
        return origin_add(value, out) ? NULL : "one of at most 64";
    case FLAG_LEVEL:
        return level_parse(value, place) ? NULL : "one of error, warn, info and debug";
    default:
        return "nothing";
    }
}

/* One flag at argv[*at], which moves to the last word that belongs to it. As options_parse. */
static int parse_one(int argc, char **argv, int *at, daemon_options *out)
{
    const char *word = argv[*at];
    if (strncmp(word, "--", 2) != 0)
        return wrong("\"%s\": unexpected argument (see longpolld --help)", word);

    const char *equals = strchr(word, '=');
    size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const flag_spec *flag = flag_find(word + 2, length - 2);
    if (flag == NULL)
        return wrong("%.*s: unknown flag (see longpolld --help)", (int)length, word);

    if (flag->argument == NULL) {
        if (equals != NULL)
            return wrong("--%s: takes no value (leave \"%s\" away)", flag->name, equals);
        if (flag->kind == FLAG_HELP)
            print_help();
        else if (flag->kind == FLAG_VERSION)
            printf("longpolld %s\nstores: %s\n", LONGPOLLD_VERSION, store_names());
        else
            *(bool *)((char *)out + flag->offset) = true;
        return flag->kind == FLAG_SWITCH ? -1 : 0;
    }

    if (equals == NULL && *at + 1 == argc)
        return wrong("--%s: needs a value (write --%s %s)", flag->name, flag->name, flag->argument);
    const char *value = equals != NULL ? equals + 1 : argv[++*at];
    const char *expected = flag_set(flag, value, out);
    if (expected != NULL)
        return wrong("--%s \"%s\": must be %s", flag->name, value, expected);
    return -1;
}

int options_parse(int argc, char **argv, daemon_options *out)
{
    *out = (daemon_options){.listen = "127.0.0.1:8101",
                            .store = "memory",
                            .shutdown_timeout_ms = 10000,
                            .log_level = LP_LOG_INFO,
                            .manager = LP_MANAGER_OPTIONS_INIT,
                            .http = LP_HTTP_OPTIONS_INIT,
                            .server = LP_SERVER_OPTIONS_INIT};
    for (int at = 1; at < argc; at++) {
        int status = parse_one(argc, argv, &at, out);
        if (status >= 0)
            return status;
    }
    if (out->http.publish_burst > 0 && out->http.publish_rate == 0)
        return wrong("--publish-burst: means nothing without --publish-rate (give both)");
    if ((out->server.tls_chain == NULL) != (out->server.tls_key == NULL))
        return wrong("--tls-%s: is given without --tls-%s (https takes both)",
                     out->server.tls_chain != NULL ? "chain" : "key",
                     out->server.tls_chain != NULL ? "key" : "chain");
    return -1;
}
