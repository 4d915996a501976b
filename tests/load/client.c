/* See client.h. One thread. */
#include "client.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "figures.h"

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
    c->in_len = 0;
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
    c->in_len = c->out_at = c->out_len = 0;
}

void connection_free(connection *c)
{
    connection_close(c, false);
    free(c->in);
    free(c->out);
    c->in = c->out = NULL;
    c->in_capacity = c->out_capacity = 0;
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

static void request(connection *c, const char *method, const char *path, const char *body,
                    size_t len)
{
    size_t needed = strlen(path) + len + 256;
    int head;

    if (c->busy)
        fail("a second request on a busy connection");
    reserve(&c->out, &c->out_capacity, needed);
    head =
        snprintf(c->out, needed, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, c->client->host);
    if (body)
        head += snprintf(c->out + head, needed - (size_t)head,
                         "Content-Type: application/json\r\nContent-Length: %zu\r\n", len);
    memcpy(c->out + head, "\r\n", 2);
    if (body)
        memcpy(c->out + head + 2, body, len);
    c->out_at = 0;
    c->out_len = (size_t)head + 2 + len;
    c->busy = true;
    connection_open(c);
    c->sent_us = now_us();
    flush(c);
}

void connection_get(connection *c, const char *path_and_query)
{
    request(c, "GET", path_and_query, NULL, 0);
}

void connection_post(connection *c, const char *path, const char *body, size_t len)
{
    request(c, "POST", path, body, len);
}

/* ---- answers ------------------------------------------------------------------------------------
 */

/* The value of a header in a terminated block of them, NULL when it is not there. */
static const char *header(const char *block, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = strstr(block, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, len) && line[len] == ':')
            return line + len + 1 + strspn(line + len + 1, " ");
    }
    return NULL;
}

/* Decodes chunks in place. Whether all are there; `*len` gets the length of the body, `*used` that
 * of its encoded form. */
static bool unchunk(char *body, size_t available, size_t *len, size_t *used)
{
    size_t at = 0, out = 0;

    /* First a look whether it is whole: decoding half of it would spoil it. */
    for (int pass = 0; pass < 2; pass++) {
        at = out = 0;
        for (;;) {
            char *line_end = memmem(body + at, available - at, "\r\n", 2);
            size_t size, data;
            if (!line_end)
                return false;
            size = strtoul(body + at, NULL, 16);
            data = (size_t)(line_end - body) + 2;
            if (data + size + 2 > available)
                return false;
            if (pass == 1)
                memmove(body + out, body + data, size);
            out += size;
            at = data + size + 2;
            if (size == 0)
                break;
        }
    }
    *len = out;
    *used = at;
    return true;
}

/* Takes one whole answer off the buffer and hands it on. False: it is not whole yet. */
static bool take_answer(connection *c)
{
    char *end, *body;
    size_t head, len = 0, used = 0;
    const char *length, *encoding, *keep;
    int status;
    bool close_after;

    if (c->in_len == 0)
        return false;
    c->in[c->in_len] = '\0';
    end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!end)
        return false;
    end[2] = '\0'; /* ends the block of headers */
    head = (size_t)(end - c->in) + 4;
    body = c->in + head;
    status = c->in_len > 12 ? atoi(c->in + 9) : 0;
    length = header(c->in, "content-length");
    encoding = header(c->in, "transfer-encoding");
    keep = header(c->in, "connection");
    close_after = keep && !strncasecmp(keep, "close", 5);
    if (length) {
        len = used = strtoul(length, NULL, 10);
        if (head + len > c->in_len) {
            end[2] = '\r';
            return false;
        }
    } else if (!encoding || !unchunk(body, c->in_len - head, &len, &used)) {
        if (!encoding)
            fail("an answer with neither length nor chunks");
        end[2] = '\r';
        return false;
    }
    if (head + used != c->in_len)
        fail("bytes behind an answer, with no request out");
    if (!c->busy)
        fail("an answer that nobody asked for");
    body[len] = '\0';
    c->client->answers++;
    c->client->answer_bytes += len;
    c->in_len = 0;
    c->busy = false;
    if (close_after)
        connection_close(c, false);
    c->on_answer(c, status, body, len);
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
