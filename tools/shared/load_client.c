/* See load_client.h. One thread. */
#include "load_client.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "load_figures.h"

#define EVENTS_MAX    256
#define READ_SIZE     16384
#define SOURCES       8 /* loopback addresses that connections come from, for more ports */
#define US_PER_SECOND 1000000

uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * US_PER_SECOND + (uint64_t)ts.tv_nsec / 1000;
}

int64_t now_wall_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void client_init(http_client *client, const char *url)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char host[sizeof client->host];
    char *port;

    memset(client, 0, sizeof *client);
    if (!strncmp(url, "https://", 8))
        client->tls = client_tls_init();
    if (strstr(url, "://"))
        url = strstr(url, "://") + 3;
    snprintf(client->host, sizeof client->host, "%s", url);
    client->host[strcspn(client->host, "/")] = '\0';
    memcpy(host, client->host, sizeof host);
    port = strrchr(host, ':');
    if (!port)
        fail("URL \"%s\": has no port (say http://127.0.0.1:8101)", url);
    *port++ = '\0';
    if (getaddrinfo(host, port, &hints, &found) != 0)
        fail("URL \"%s\": not a numeric address and port", url);
    memcpy(&client->address, found->ai_addr, found->ai_addrlen);
    client->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    client->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (client->epoll < 0)
        fail("epoll_create1: %s", strerror(errno));
}

void client_free(http_client *client)
{
    close(client->epoll);
    if (client->tls)
        client_tls_end(client->tls);
}

void connection_init(connection *c, http_client *client)
{
    c->client = client;
    c->fd = -1;
}

/* Each source address has 28,000 ports of its own, and closed ones rest in TIME_WAIT. */
static void bind_source(connection *c)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    const struct sockaddr_in *to = (const struct sockaddr_in *)&c->client->address;
    int on = 1;

    if (to->sin_family != AF_INET || ntohl(to->sin_addr.s_addr) >> 24 != 127)
        return;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + c->client->opened % SOURCES);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&source, sizeof source) < 0)
        fail("bind to a loopback address: %s", strerror(errno));
}

static void watch(connection *c, int operation)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLRDHUP | (c->wants_write ? (uint32_t)EPOLLOUT : 0),
        .data.ptr = c,
    };

    if (epoll_ctl(c->client->epoll, operation, c->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

void connection_open(connection *c)
{
    int on = 1;

    if (c->fd >= 0)
        return;
    c->fd = socket(c->client->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket: %s (raise the descriptor limit: ulimit -n)", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    bind_source(c);
    c->client->opened++;
    if (c->client->tls)
        c->tls = client_tls_open(c->client->tls, c->fd);
    c->connected = false;
    c->in_len = c->head_len = 0;
    c->wants_write = true;
    if (connect(c->fd, (struct sockaddr *)&c->client->address, c->client->address_len) < 0 &&
        errno != EINPROGRESS)
        fail("connect to %s: %s", c->client->host, strerror(errno));
    watch(c, EPOLL_CTL_ADD);
}

void connection_close(connection *c, bool reset)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};

    if (c->fd < 0)
        return;
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    if (c->tls)
        client_tls_close(c->tls, reset);
    c->tls = NULL;
    close(c->fd);
    c->fd = -1;
    c->connected = c->busy = false;
    c->in_len = c->head_len = c->out_at = c->out_len = 0;
}

void connection_free(connection *c)
{
    connection_close(c, false);
    free(c->in);
    free(c->own);
    c->in = c->own = NULL;
    c->in_capacity = c->own_capacity = 0;
}

static void lose(connection *c, int error)
{
    bool was_busy = c->busy;

    connection_close(c, false);
    if (was_busy && c->on_lost)
        c->on_lost(c, error);
}

/* ---- requests -----------------------------------------------------------------------------------
 */

static void flush(connection *c)
{
    bool wants_write, awaits_read = false;

    while (c->connected && c->out_at < c->out_len) {
        const char *from = c->out + c->out_at;
        size_t len = c->out_len - c->out_at;
        ssize_t n = c->tls ? client_tls_send(c->tls, from, len, &awaits_read)
                           : send(c->fd, from, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) /* the reason comes with the next event of the socket */
            break;
        c->out_at += (size_t)n;
    }
    wants_write = !c->connected || (c->out_at < c->out_len && !awaits_read);
    if (wants_write != c->wants_write) {
        c->wants_write = wants_write;
        watch(c, EPOLL_CTL_MOD);
    }
}

static void reserve(char **buffer, size_t *capacity, size_t needed)
{
    size_t wanted = *capacity ? *capacity : 512;

    if (needed <= *capacity)
        return;
    while (wanted < needed)
        wanted *= 2;
    *buffer = realloc(*buffer, wanted);
    if (!*buffer)
        fail("out of memory");
    *capacity = wanted;
}

void connection_send_bytes(connection *c, const char *bytes, size_t len)
{
    if (c->busy)
        fail("a second request on a busy connection");
    c->out = bytes;
    c->out_at = 0;
    c->out_len = len;
    c->busy = true;
    connection_open(c);
    c->sent_us = now_us();
    flush(c);
}

size_t request_format(const http_client *client, const request *what, char *buffer, size_t capacity)
{
    int head = snprintf(buffer, capacity, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", what->method,
                        what->path, client->host, what->headers ? what->headers : "");

    if (what->body)
        head +=
            snprintf(buffer + head, capacity - (size_t)head,
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n", what->body_len);
    if ((size_t)head + 2 + what->body_len > capacity)
        fail("a request does not fit into %zu bytes", capacity);
    memcpy(buffer + head, "\r\n", 2);
    if (what->body)
        memcpy(buffer + head + 2, what->body, what->body_len);
    return (size_t)head + 2 + what->body_len;
}

void connection_send(connection *c, const request *what)
{
    size_t needed =
        strlen(what->path) + what->body_len + 256 + (what->headers ? strlen(what->headers) : 0);

    reserve(&c->own, &c->own_capacity, needed);
    connection_send_bytes(c, c->own, request_format(c->client, what, c->own, needed));
}

void connection_get(connection *c, const char *path_and_query)
{
    connection_send(c, &(request){.method = "GET", .path = path_and_query});
}

void connection_post(connection *c, const char *path, const char *body, size_t len)
{
    connection_send(c, &(request){.method = "POST", .path = path, .body = body, .body_len = len});
}

/* ---- answers ------------------------------------------------------------------------------------
 */

const char *connection_header(const connection *c, const char *name)
{
    return answer_header(c->in, name);
}

/* Whether the headers are there; they are then terminated. */
static bool take_head(connection *c)
{
    http_client *client = c->client;
    char *end;
    size_t len;

    if (c->head_len)
        return true;
    end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!end)
        return false;
    end[2] = '\0';
    len = (size_t)(end - c->in) + 2;
    c->head_len = len + 2;
    if (len == client->last_block_len && !memcmp(client->last_block, c->in, len)) {
        c->head = client->last_head;
        return true;
    }
    c->head = answer_head_read(c->in, len);
    if (len <= sizeof client->last_block) {
        memcpy(client->last_block, c->in, len);
        client->last_block_len = len;
        client->last_head = c->head;
    }
    return true;
}

/* The answer is whole: hands it on. */
static void answer(connection *c, char *body, size_t len, size_t used)
{
    if (c->head_len + used != c->in_len)
        fail("bytes behind an answer, with no request out");
    if (!c->busy)
        fail("an answer that nobody asked for");
    body[len] = '\0';
    c->client->answers++;
    c->client->answer_bytes += len;
    c->in_len = c->head_len = 0;
    c->busy = false;
    if (c->head.closes)
        connection_close(c, false);
    c->on_answer(c, c->head.status, body, len);
}

/* Hands on what is there of a stream. Whether it has ended. */
static bool take_stream(connection *c)
{
    size_t at = c->head_len;
    int fd = c->fd;

    while (at < c->in_len) {
        size_t data = 0, len = c->in_len - at, used = len;
        if (c->head.is_chunked && !answer_chunk(c->in + at, c->in_len - at, &data, &len, &used))
            break;
        if (len == 0) {
            c->in_len = at + used;
            answer(c, c->in + at, 0, c->in_len - c->head_len);
            return true;
        }
        c->client->answer_bytes += len;
        c->on_data(c, c->in + at + data, len);
        if (c->fd != fd)
            return true; /* the callback has closed it */
        at += used;
    }
    memmove(c->in + c->head_len, c->in + at, c->in_len - at);
    c->in_len -= at - c->head_len;
    return false;
}

/* Takes one whole answer off the buffer and hands it on. False: it is not whole yet. */
static bool take_answer(connection *c)
{
    size_t len, used, available;

    if (c->in_len == 0 || !take_head(c))
        return false;
    available = c->in_len - c->head_len;
    if (c->on_data && !c->head.has_length)
        return take_stream(c);
    if (c->head.status == 304 || c->head.status == 204)
        len = used = 0; /* RFC 9110, 6.4.1 */
    else if (c->head.has_length)
        len = used = c->head.length;
    else if (!c->head.is_chunked)
        fail("an answer with neither length nor chunks");
    else if (!answer_unchunk(c->in + c->head_len, available, &len, &used))
        return false;
    if (used > available)
        return false;
    answer(c, c->in + c->head_len, len, used);
    return true;
}

static void receive(connection *c)
{
    int fd = c->fd;

    for (;;) {
        ssize_t n;
        size_t room;
        reserve(&c->in, &c->in_capacity, c->in_len + (c->in_len ? READ_SIZE : 1024) + 1);
        room = c->in_capacity - c->in_len - 1;
        n = c->tls ? client_tls_recv(c->tls, c->in + c->in_len, room)
                   : recv(c->fd, c->in + c->in_len, room, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            lose(c, n < 0 ? errno : 0);
            return;
        }
        c->in_len += (size_t)n;
        /* the callback may have closed it, or sent a request on a new socket */
        if (take_answer(c) || c->fd != fd)
            return;
    }
}

static void handle(connection *c, uint32_t events)
{
    if (c->fd < 0)
        return; /* closed by a callback of this very turn */
    if (!c->connected && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            lose(c, error);
            return;
        }
        c->connected = true;
    }
    flush(c);
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
        receive(c);
}

void client_turn(http_client *client, uint64_t until_us)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t now = now_us();
    uint64_t wait = until_us > now ? until_us - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait / US_PER_SECOND),
                               .tv_nsec = (long)(wait % US_PER_SECOND) * 1000};
    int n = epoll_pwait2(client->epoll, events, EVENTS_MAX, &timeout, NULL);

    if (n < 0 && errno != EINTR)
        fail("epoll_pwait2: %s", strerror(errno));
    for (int i = 0; i < n; i++)
        handle(events[i].data.ptr, events[i].events);
}
