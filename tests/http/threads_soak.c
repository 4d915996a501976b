/* A server with three threads of its own under clients on threads of theirs, which publish, poll,
 * stream, leave at any moment and ask for figures, and are still at it when all ends in any order.
 * Each client sees each publisher's events once and in order. A plain program, for ThreadSanitizer.
 *
 *     threads_soak [rounds [operations of a client in a round [seed]]] */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <uv.h>

#include <longpoll/http.h>

#include "raw_http.h"
#include "tests/manager/check.h"

enum { CLIENTS = 4, CATEGORIES = 3, BUFFER = 100000 };

#define BEFORE_ALL "00000000-0000-7000-8000-000000000000"

/* What a client has seen of a category, by a cursor of its own. */
typedef struct view {
    char last_id[37];
    int next[CLIENTS]; /* of each publisher */
    bool has_cursor;
} view;

typedef struct client {
    pthread_t thread;
    int index;
    unsigned seed;
    raw_conn conn;
    int published[CATEGORIES]; /* and answered with success */
    view views[CATEGORIES];
} client;

static struct {
    uv_loop_t loop;
    uv_async_t wake;
    lp_manager *manager;
    lp_server *server;
    int port, operations;
    unsigned order;
    atomic_int at_work;
    atomic_bool is_ending; /* from here on anything may be refused or cut */
    bool manager_down, server_down;
} world;

static int pick(client *self, int count)
{
    return (int)(rand_r(&self->seed) / 7 % (unsigned)count);
}

/* ---- what a client does -------------------------------------------------- */

/* An answer on the client's connection; false when the end is why there is none. */
static bool answered(client *self, raw_answer *answer)
{
    int64_t begun = raw_now_ms();
    char connection[16] = "";
    if (!raw_read(&self->conn, false, RAW_DEADLINE_MS, answer)) {
        if (!atomic_load(&world.is_ending))
            fprintf(stderr, "no answer in %d ms\n", (int)(raw_now_ms() - begun));
        CHECK(atomic_load(&world.is_ending));
        raw_close(&self->conn);
        return false;
    }
    raw_header(answer, "Connection", connection, sizeof(connection));
    if (answer->status == 200 && strcmp(connection, "close") != 0)
        return true;
    if (!atomic_load(&world.is_ending))
        fprintf(stderr, "%s%s\n", answer->head, answer->body);
    CHECK(atomic_load(&world.is_ending));
    CHECK(answer->status == 200 || answer->status == 503);
    raw_close(&self->conn);
    if (answer->status == 200)
        return true;
    raw_free(answer);
    return false;
}

static bool connects(client *self)
{
    if (self->conn.fd < 0)
        self->conn = raw_connect("127.0.0.1", world.port);
    CHECK(self->conn.fd >= 0 || atomic_load(&world.is_ending));
    return self->conn.fd >= 0;
}

static void publish(client *self)
{
    int category = pick(self, CATEGORIES);
    char body[128];
    raw_answer answer;
    snprintf(body, sizeof(body), "{\"category\":\"c%d\",\"data\":{\"from\":%d,\"n\":%d}}", category,
             self->index, self->published[category]);
    raw_printf(&self->conn, "POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s",
               strlen(body), body);
    if (!answered(self, &answer))
        return;
    CHECK_SAYS(answer.body, "{\"success\": true}");
    self->published[category]++;
    raw_free(&answer);
}

/* Looks at each byte once: a sanitizer's strstr looks at the whole rest of a text each time. */
static void take_events(view *seen, const char *body)
{
    static const char data[] = "\"data\":{\"from\":", number[] = ",\"n\":", id[] = "},\"id\":\"";
    CHECK(!seen->has_cursor || !strstr(body, "\"gap\""));
    for (const char *at = body; *at; at++) {
        if (*at != '"' || strncmp(at, data, sizeof(data) - 1) != 0)
            continue;
        char *end;
        long from = strtol(at + sizeof(data) - 1, &end, 10);
        CHECK(from >= 0 && from < CLIENTS && strncmp(end, number, sizeof(number) - 1) == 0);
        CHECK_IS(strtol(end + sizeof(number) - 1, &end, 10), seen->next[from]);
        CHECK(strncmp(end, id, sizeof(id) - 1) == 0);
        memcpy(seen->last_id, end + sizeof(id) - 1, 36);
        seen->next[from]++;
        seen->has_cursor = true;
    }
}

/* Polls where something of the client's own is to be had, so that it does not wait for long. */
static void poll_once(client *self)
{
    int category = pick(self, CATEGORIES);
    view *seen = &self->views[category];
    raw_answer answer;
    if (seen->next[self->index] == self->published[category])
        return;
    raw_printf(&self->conn,
               "GET /events?timeout=5&category=c%d&resume=id&last_id=%s HTTP/1.1\r\n"
               "Host: h\r\n\r\n",
               category, seen->has_cursor ? seen->last_id : BEFORE_ALL);
    if (!answered(self, &answer))
        return;
    take_events(seen, answer.body);
    raw_free(&answer);
}

static void ask(client *self, const char *path, const char *part)
{
    raw_answer answer;
    raw_printf(&self->conn, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);
    if (!answered(self, &answer))
        return;
    CHECK_SAYS(answer.body, part);
    raw_free(&answer);
}

static void leave(client *self, raw_conn *conn)
{
    if (pick(self, 2))
        raw_reset(conn);
    else
        raw_close(conn);
}

/* Polls, and goes: at once, or soon. */
static void vanish(client *self, const char *headers)
{
    raw_conn conn = raw_connect("127.0.0.1", world.port);
    if (conn.fd < 0)
        return;
    raw_printf(&conn,
               "GET /events?timeout=60&category=c%d&category=quiet HTTP/1.1\r\n"
               "Host: h\r\n%s\r\n",
               pick(self, CATEGORIES), headers);
    if (pick(self, 2)) {
        struct timespec moment = {.tv_nsec = pick(self, 500000)};
        nanosleep(&moment, NULL);
    }
    leave(self, &conn);
}

static void *run_client(void *arg)
{
    client *self = arg;
    for (int i = 0; i < world.operations || !atomic_load(&world.is_ending); i++) {
        if (i == world.operations && atomic_fetch_sub(&world.at_work, 1) == 1)
            uv_async_send(&world.wake);
        if (!connects(self))
            break;
        int what = pick(self, 20);
        if (what < 9)
            publish(self);
        else if (what < 15)
            poll_once(self);
        else if (what < 17)
            vanish(self, "");
        else if (what == 17)
            vanish(self, "Accept: text/event-stream\r\n");
        else if (what == 18)
            ask(self, "/health", "serving");
        else
            ask(self, "/metrics", "longpoll_published_total");
    }
    raw_close(&self->conn);
    return NULL;
}

/* ---- a round ------------------------------------------------------------- */

static void on_manager_down(lp_manager *manager, const lp_error *error, uint64_t unkept, void *ctx)
{
    (void)unkept, (void)ctx;
    CHECK_IS(error->status, LP_OK);
    world.manager_down = true;
    if (world.order & 4)
        CHECK_IS(lp_manager_free(manager), LP_OK);
}

static void on_server_down(void *ctx)
{
    (void)ctx;
    world.server_down = true;
}

static void on_wake(uv_async_t *wake)
{
    if (atomic_load(&world.at_work) > 0 || atomic_exchange(&world.is_ending, true))
        return;
    for (unsigned i = 0; i < 2; i++) {
        if ((world.order & 1) == i)
            CHECK_IS(lp_manager_shutdown(world.manager, 5000, on_manager_down, NULL), LP_OK);
        else
            CHECK_IS(lp_server_stop(world.server, world.order & 2 ? 0 : 3000, on_server_down, NULL),
                     LP_OK);
    }
    uv_close((uv_handle_t *)wake, NULL);
}

static void start(void)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_server_options listening = LP_SERVER_OPTIONS_INIT;
    lp_error error;
    options.event_buffer_max = BUFFER;
    listening.listen = "127.0.0.1:0";
    listening.threads = 3;
    CHECK_IS(uv_loop_init(&world.loop), 0);
    CHECK_IS(uv_async_init(&world.loop, &world.wake, on_wake), 0);
    CHECK_IS(lp_manager_start(&world.loop, &options, &world.manager, &error), LP_OK);
    CHECK_IS(lp_server_start(world.manager, &listening, &world.server, &error), LP_OK);
    world.port = lp_server_port(world.server);
}

static void round_of(unsigned seed)
{
    static client clients[CLIENTS];
    world.manager_down = world.server_down = false;
    atomic_store(&world.is_ending, false);
    atomic_store(&world.at_work, CLIENTS);
    world.order = seed;
    start();
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.index = i, .seed = seed * CLIENTS + (unsigned)i, .conn = {.fd = -1}};
        CHECK_IS(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]), 0);
    }
    lp_http_run(&world.loop);
    CHECK(world.manager_down && world.server_down);
    for (int i = 0; i < CLIENTS; i++)
        CHECK_IS(pthread_join(clients[i].thread, NULL), 0);
    if (!(world.order & 4))
        CHECK_IS(lp_manager_free(world.manager), LP_OK);
    lp_http_run(&world.loop);
    CHECK_IS(uv_loop_close(&world.loop), 0);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 8;
    world.operations = argc > 2 ? atoi(argv[2]) : 400;
    unsigned seed = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : (unsigned)time(NULL);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < rounds; i++) {
        printf("round %d, seed %u\n", i + 1, seed + (unsigned)i);
        fflush(stdout);
        round_of(seed + (unsigned)i);
    }
    return 0;
}
