/* See bench_responder.h, and `longpoll bench responder`. */
#include "bench_responder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../shared/load_figures.h"
#include "../shared/values.h"
#include "bench.h"
#include "say.h"

enum { TURN_EVENTS = 256, BACKLOG = 4096, READ_BYTES_MIN = 1024, HEAD_LEN_MAX = 512 };

#define PUBLISHED                                                                                  \
    "HTTP/1.1 200 OK\r\nContent-Length: 17\r\nContent-Type: application/json\r\n"                  \
    "X-Content-Type-Options: nosniff\r\n\r\n{\"success\": true}"
#define ANSWER_HEAD                                                                                \
    "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nContent-Type: application/json\r\n"                 \
    "X-Content-Type-Options: nosniff\r\n"                                                          \
    "Cache-Control: no-cache, no-store, must-revalidate\r\n"                                       \
    "Pragma: no-cache\r\nExpires: 0\r\n\r\n"
#define EVENTS_BEGIN "{\"events\":["
#define EVENT_END    ",\"id\":\"00000000-0000-7000-8000-000000000000\"}"

typedef struct bytes {
    char *data;
    size_t len, capacity;
} bytes;

typedef struct peer {
    int fd;
    bool wants_write;
    size_t parked; /* its place in the list, from 1 up; 0: not parked */
    bytes in, out;
    size_t out_at;
} peer;

static struct {
    int epoll, listener;
    peer **parked;
    size_t parked_count, parked_capacity;
    bytes *ring; /* event n is in slot n % ring_max */
    int64_t ring_max, first, next;
    bytes answer; /* the one that is made for all */
    char category[1100];
} g;

/* ---- bytes ----------------------------------------------------------------------------------- */

static void reserve(bytes *b, size_t more)
{
    size_t wanted = b->capacity > 0 ? b->capacity : READ_BYTES_MIN;
    if (b->len + more <= b->capacity)
        return;
    while (wanted < b->len + more)
        wanted *= 2;
    b->data = realloc(b->data, wanted);
    if (b->data == NULL)
        fail("out of memory");
    b->capacity = wanted;
}

static void append(bytes *b, const void *data, size_t len)
{
    reserve(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

/* ---- peers ----------------------------------------------------------------------------------- */

static void watch(peer *p, int operation)
{
    struct epoll_event event = {.events = p->wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.ptr = p};
    if (epoll_ctl(g.epoll, operation, p->fd, &event) != 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void park(peer *p)
{
    if (g.parked_count == g.parked_capacity) {
        g.parked_capacity = g.parked_capacity > 0 ? 2 * g.parked_capacity : 64;
        g.parked = realloc(g.parked, g.parked_capacity * sizeof(*g.parked));
        if (g.parked == NULL)
            fail("out of memory");
    }
    g.parked[g.parked_count++] = p;
    p->parked = g.parked_count;
}

static void unpark(peer *p)
{
    if (p->parked == 0)
        return;
    peer *last = g.parked[--g.parked_count];
    g.parked[p->parked - 1] = last;
    last->parked = p->parked;
    p->parked = 0;
}

static void leave(peer *p)
{
    unpark(p);
    close(p->fd);
    free(p->in.data);
    free(p->out.data);
    free(p);
}

/* Sends; what does not go now is kept until it does. */
static void answer(peer *p, const char *data, size_t len)
{
    ssize_t sent = p->wants_write ? 0 : send(p->fd, data, len, MSG_NOSIGNAL);
    size_t done = sent > 0 ? (size_t)sent : 0;
    if (done == len)
        return;
    append(&p->out, data + done, len - done);
    if (!p->wants_write) {
        p->wants_write = true;
        watch(p, EPOLL_CTL_MOD);
    }
}

static void send_rest(peer *p)
{
    ssize_t sent = send(p->fd, p->out.data + p->out_at, p->out.len - p->out_at, MSG_NOSIGNAL);
    if (sent > 0)
        p->out_at += (size_t)sent;
    if (p->out_at < p->out.len)
        return;
    p->out.len = p->out_at = 0;
    p->wants_write = false;
    watch(p, EPOLL_CTL_MOD);
}

/* ---- requests -------------------------------------------------------------------------------- */

/* The events behind `since` as an answer in g.answer. */
static void make_answer(int64_t since)
{
    char head[HEAD_LEN_MAX];
    size_t len = sizeof(EVENTS_BEGIN) - 1 + 2;
    int64_t from = since + 1 > g.first ? since + 1 : g.first;
    for (int64_t n = from; n < g.next; n++)
        len += g.ring[n % g.ring_max].len + (n > from);
    g.answer.len = 0;
    append(&g.answer, head, (size_t)snprintf(head, sizeof(head), ANSWER_HEAD, len));
    append(&g.answer, EVENTS_BEGIN, sizeof(EVENTS_BEGIN) - 1);
    for (int64_t n = from; n < g.next; n++) {
        if (n > from)
            append(&g.answer, ",", 1);
        append(&g.answer, g.ring[n % g.ring_max].data, g.ring[n % g.ring_max].len);
    }
    append(&g.answer, "]}", 2);
}

static void poll_come(peer *p, const char *head)
{
    const char *cursor = strstr(head, "since_time=");
    int64_t since = cursor != NULL ? strtoll(cursor + 11, NULL, 10) - RESPONDER_EPOCH : INT64_MAX;
    if (since >= g.next - 1 || g.first == g.next) {
        park(p);
        return;
    }
    make_answer(since < 0 ? -1 : since);
    answer(p, g.answer.data, g.answer.len);
}

/* Keeps {"category":"c","data":…}, which is the event but for its ends. */
static void keep(const char *body, size_t len)
{
    char begin[64];
    const char *data = memmem(body, len, ",\"data\":", 8);
    size_t category_len = data != NULL ? (size_t)(data - body) : 0;
    if (category_len == 0 || category_len >= sizeof(g.category) || body[0] != '{')
        return;
    if (memcmp(g.category, body, category_len) != 0 || g.category[category_len] != '\0') {
        memcpy(g.category, body, category_len);
        g.category[category_len] = '\0';
        g.first = g.next;
    }
    bytes *slot = &g.ring[g.next % g.ring_max];
    slot->len = 0;
    append(slot, begin,
           (size_t)snprintf(begin, sizeof(begin), "{\"timestamp\":%" PRId64 ",",
                            RESPONDER_EPOCH + g.next));
    append(slot, body + 1, len - 2);
    append(slot, EVENT_END, sizeof(EVENT_END) - 1);
    g.next++;
    if (g.next - g.first > g.ring_max)
        g.first = g.next - g.ring_max;
}

static void publish_come(peer *p, const char *body, size_t len)
{
    int64_t before = g.next;
    keep(body, len);
    if (g.parked_count > 0 && g.next > before) {
        make_answer(before - 1);
        while (g.parked_count > 0) {
            peer *waiting = g.parked[g.parked_count - 1];
            unpark(waiting);
            answer(waiting, g.answer.data, g.answer.len);
        }
    }
    answer(p, PUBLISHED, sizeof(PUBLISHED) - 1);
}

/* The requests that are whole. */
static void read_requests(peer *p)
{
    size_t at = 0;
    while (at < p->in.len) {
        char *head = p->in.data + at;
        char *end = memmem(head, p->in.len - at, "\r\n\r\n", 4);
        if (end == NULL)
            break;
        *end = '\0';
        size_t head_len = (size_t)(end - head) + 4, body_len = 0;
        bool is_publish = head[0] == 'P';
        const char *length = is_publish ? strstr(head, "Content-Length: ") : NULL;
        if (length != NULL)
            body_len = strtoul(length + 16, NULL, 10);
        if (at + head_len + body_len > p->in.len) {
            *end = '\r';
            break;
        }
        if (is_publish)
            publish_come(p, head + head_len, body_len);
        else
            poll_come(p, head);
        at += head_len + body_len;
    }
    if (at < p->in.len)
        memmove(p->in.data, p->in.data + at, p->in.len - at);
    p->in.len -= at;
}

static void receive(peer *p)
{
    reserve(&p->in, p->in.len > 0 ? 4096 : READ_BYTES_MIN);
    ssize_t n = recv(p->fd, p->in.data + p->in.len, p->in.capacity - p->in.len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        leave(p);
        return;
    }
    p->in.len += (size_t)n;
    read_requests(p);
}

static void accept_all(void)
{
    int fd, on = 1;
    while ((fd = accept4(g.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        peer *p = calloc(1, sizeof(*p));
        if (p == NULL)
            fail("out of memory");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        p->fd = fd;
        watch(p, EPOLL_CTL_ADD);
    }
}

/* ---- serving --------------------------------------------------------------------------------- */

static int serve_turn(void)
{
    struct epoll_event events[TURN_EVENTS];
    int count = epoll_wait(g.epoll, events, TURN_EVENTS, -1);
    for (int i = 0; i < count; i++) {
        peer *p = events[i].data.ptr;
        if (p == NULL) {
            accept_all();
            continue;
        }
        if (p->wants_write && (events[i].events & EPOLLOUT))
            send_rest(p);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            receive(p); /* at the end: it may leave */
    }
    return count;
}

/* Makes g what serve_turn needs; the port goes to `*port`, which is 0 for any. */
static void listen_on(long ring, uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    socklen_t len = sizeof(address);
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    g.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(g.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(g.listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(g.listener, BACKLOG) != 0 ||
        getsockname(g.listener, (struct sockaddr *)&address, &len) != 0)
        fail("127.0.0.1:%u: %s (give another port)", (unsigned)*port, strerror(errno));
    g.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (g.epoll < 0 || epoll_ctl(g.epoll, EPOLL_CTL_ADD, g.listener, &event) != 0)
        fail("epoll: %s", strerror(errno));
    g.ring = calloc((size_t)ring, sizeof(*g.ring));
    if (g.ring == NULL)
        fail("out of memory");
    g.ring_max = ring;
    *port = ntohs(address.sin_port);
}

pid_t responder_start(long ring, uint16_t *port)
{
    *port = 0;
    listen_on(ring, port);
    pid_t child = fork();
    if (child < 0)
        fail("fork: %s", strerror(errno));
    if (child == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (serve_turn() >= 0 || errno == EINTR)
            ;
        _exit(1);
    }
    close(g.listener);
    close(g.epoll);
    free(g.ring);
    return child;
}

int bench_responder(const command *self, int count, char **words)
{
    const char *port_text = "0", *ring_text = "250";
    const flag flags[] = {
        {"port", "N", "serve 127.0.0.1:N (any that is free)", NULL, &port_text},
        {"event-buffer", "N", "events that the ring holds (250)", NULL, &ring_text},
        {0},
    };
    int64_t number = 0, ring = 0;
    int status = command_read(self, flags, count, words, NULL, 0);
    if (status >= 0)
        return status;
    if (!value_count(port_text, &number) || number > UINT16_MAX)
        return say_usage("--port \"%s\": must be a port, from 0 to 65535", port_text);
    if (!value_count(ring_text, &ring) || ring < 1 || ring > 10000000)
        return say_usage("--event-buffer \"%s\": must be a whole number from 1 up", ring_text);
    uint16_t port = (uint16_t)number;
    listen_on((long)ring, &port);
    printf("listening on http://127.0.0.1:%u\n", (unsigned)port);
    fflush(stdout);
    while (!interrupt_seen() && (serve_turn() >= 0 || errno == EINTR))
        ;
    return EXIT_DONE;
}
