/* longpoll-floor-uv and longpoll-floor-evloop: the least that a server on libh2o does, compiled
 * once for each of its flavours. The benchmarks measure longpolld against them. One process, one
 * thread.
 *
 *     longpoll-floor-evloop [--listen 127.0.0.1:8102]
 *
 * A publish is answered with the bytes of longpolld's answer, and its body is not looked at. A poll
 * is parked: without a timer, a category, or a watch for its client's leaving. A POST to /wake
 * answers all that are parked, in one turn, with itself as the event, and is answered like a
 * publish. Its body is taken to be {"category":…,"data":…}, which is the middle of an event's text.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <h2o.h>

#define BACKLOG        4096 /* the kernel cuts it to net.core.somaxconn */
#define BODY_BYTES_MAX ((size_t)(1 << 20) + 8192)
#define PUBLISHED      "{\"success\": true}"

#if H2O_USE_LIBUV
#define NAME "longpoll-floor-uv"
#else
#define NAME "longpoll-floor-evloop"
#endif

typedef struct header {
    const char *lower, *name, *value;
} header;

/* What longpolld says with a publish's answer, and with a poll's. */
static const header headers[] = {
    {"content-type", "Content-Type", "application/json"},
    {"x-content-type-options", "X-Content-Type-Options", "nosniff"},
    {"cache-control", "Cache-Control", "no-cache, no-store, must-revalidate"},
    {"pragma", "Pragma", "no-cache"},
    {"expires", "Expires", "0"},
};
enum { PUBLISH_HEADERS = 2, POLL_HEADERS = sizeof(headers) / sizeof(headers[0]) };

typedef struct parked {
    h2o_linklist_t link;
    h2o_req_t *req;
} parked;

static h2o_globalconf_t config;
static h2o_context_t context;
static h2o_accept_ctx_t accepting = {.ctx = &context};
static h2o_linklist_t all_parked;

/* ---- requests ---------------------------------------------------------- */

static void answer(h2o_req_t *req, size_t header_count, h2o_iovec_t body)
{
    static h2o_generator_t generator = {NULL, NULL};
    req->res.status = 200;
    req->res.reason = "OK";
    req->res.content_length = body.len;
    h2o_vector_reserve(&req->pool, &req->res.headers, header_count);
    for (size_t i = 0; i < header_count; i++)
        h2o_add_header_by_str(&req->pool, &req->res.headers, headers[i].lower,
                              strlen(headers[i].lower), 1, headers[i].name, headers[i].value,
                              strlen(headers[i].value));
    h2o_start_response(req, &generator);
    h2o_send(req, &body, 1, H2O_SEND_STATE_FINAL);
}

/* The answer to a poll that gets this publish. Its memory is counted: each answer that is being
 * written holds it. */
static h2o_iovec_t event_of(h2o_iovec_t publish)
{
    static const char tail_form[] = ",\"id\":\"%08x-%04x-7%03x-8000-%012x\"}]}";
    static unsigned count;
    struct timeval now;
    if (publish.len < 2)
        publish = h2o_iovec_init(H2O_STRLIT("{}"));
    size_t middle = publish.len - 2;
    gettimeofday(&now, NULL);
    uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
    size_t max = middle + 160;
    char *text = h2o_mem_alloc_shared(NULL, max, NULL);
    size_t len = (size_t)snprintf(text, max, "{\"events\":[{\"timestamp\":%" PRIu64 ",", ms);
    memcpy(text + len, publish.base + 1, middle);
    len += middle;
    count++;
    len += (size_t)snprintf(text + len, max - len, tail_form, (unsigned)(ms >> 16),
                            (unsigned)(ms & 0xffff), count & 0xfff, count);
    return h2o_iovec_init(text, len);
}

static void wake_all(h2o_iovec_t publish)
{
    h2o_iovec_t event = event_of(publish);
    while (!h2o_linklist_is_empty(&all_parked)) {
        parked *first = H2O_STRUCT_FROM_MEMBER(parked, link, all_parked.next);
        h2o_linklist_unlink(&first->link);
        h2o_mem_link_shared(&first->req->pool, event.base);
        answer(first->req, POLL_HEADERS, event);
    }
    h2o_mem_release_shared(event.base);
}

static int is_post(const h2o_req_t *req)
{
    return h2o_memis(req->method.base, req->method.len, H2O_STRLIT("POST"));
}

static int on_publish(h2o_handler_t *self, h2o_req_t *req)
{
    (void)self;
    if (!is_post(req))
        return -1;
    answer(req, PUBLISH_HEADERS, h2o_iovec_init(H2O_STRLIT(PUBLISHED)));
    return 0;
}

static int on_wake(h2o_handler_t *self, h2o_req_t *req)
{
    if (!is_post(req))
        return -1;
    wake_all(req->entity);
    return on_publish(self, req);
}

static void on_poll_gone(void *memory)
{
    parked *poll = memory;
    if (h2o_linklist_is_linked(&poll->link))
        h2o_linklist_unlink(&poll->link);
}

static int on_poll(h2o_handler_t *self, h2o_req_t *req)
{
    (void)self;
    parked *poll = h2o_mem_alloc_shared(&req->pool, sizeof(*poll), on_poll_gone);
    *poll = (parked){.req = req};
    h2o_linklist_insert(&all_parked, &poll->link);
    return 0;
}

static void handle(h2o_hostconf_t *host, const char *path,
                   int (*on_req)(h2o_handler_t *, h2o_req_t *))
{
    h2o_pathconf_t *mounted = h2o_config_register_path(host, path, 0);
    h2o_create_handler(mounted, sizeof(h2o_handler_t))->on_req = on_req;
}

static void configure(h2o_loop_t *loop)
{
    h2o_linklist_init_anchor(&all_parked);
    h2o_config_init(&config);
    config.http1.upgrade_to_http2 = 0;
    config.max_request_entity_size = BODY_BYTES_MAX;
    config.server_name = h2o_iovec_init(NULL, 0);
    h2o_hostconf_t *host =
        h2o_config_register_host(&config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    handle(host, "/events", on_poll);
    handle(host, "/publish", on_publish);
    handle(host, "/wake", on_wake);
    h2o_context_init(&context, loop, &config);
    accepting.hosts = config.hosts;
}

/* ---- the loop, a flavour each ------------------------------------------ */

#if H2O_USE_LIBUV

static void on_connection(uv_stream_t *listener, int status)
{
    if (status != 0)
        return;
    uv_tcp_t *connection = h2o_mem_alloc(sizeof(*connection));
    uv_tcp_init(listener->loop, connection);
    if (uv_accept(listener, (uv_stream_t *)connection) != 0) {
        uv_close((uv_handle_t *)connection, (uv_close_cb)free);
        return;
    }
    h2o_accept(&accepting, h2o_uv_socket_create((uv_stream_t *)connection, (uv_close_cb)free));
}

static int serve(int fd)
{
    static uv_loop_t loop;
    static uv_tcp_t listener;
    int failure = uv_loop_init(&loop);
    if (failure == 0)
        failure = uv_tcp_init(&loop, &listener);
    if (failure == 0)
        failure = uv_tcp_open(&listener, fd);
    if (failure != 0)
        return failure;
    configure(&loop);
    failure = uv_listen((uv_stream_t *)&listener, BACKLOG, on_connection);
    return failure ? failure : uv_run(&loop, UV_RUN_DEFAULT);
}

#else

static void on_connection(h2o_socket_t *listener, const char *error)
{
    h2o_socket_t *connection;
    if (error)
        return;
    while ((connection = h2o_evloop_socket_accept(listener)))
        h2o_accept(&accepting, connection);
}

static int serve(int fd)
{
    h2o_loop_t *loop = h2o_evloop_create();
    configure(loop);
    h2o_socket_t *listener = h2o_evloop_socket_create(loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    h2o_socket_read_start(listener, on_connection);
    while (h2o_evloop_run(loop, INT32_MAX) == 0 || errno == EINTR)
        ;
    return -errno;
}

#endif

/* ---- start ------------------------------------------------------------- */

static void fail(const char *what, int error)
{
    fprintf(stderr, NAME ": %s: %s (another address is --listen ADDR:PORT)\n", what,
            strerror(error));
    exit(1);
}

static struct sockaddr_in address_of(const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : sizeof(host);
    char *end;
    if (len >= sizeof(host))
        fail(text, EINVAL);
    memcpy(host, text, len);
    host[len] = '\0';
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || *end || port > 65535 ||
        inet_pton(AF_INET, host, &address.sin_addr) != 1)
        fail(text, EINVAL);
    address.sin_port = htons((uint16_t)port);
    return address;
}

/* Accepted connections inherit these, as they do in longpolld. */
static int listen_on(const char *text)
{
    struct sockaddr_in address = address_of(text);
    socklen_t len = sizeof(address);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, BACKLOG) ||
        getsockname(fd, (struct sockaddr *)&address, &len))
        fail(text, errno);
    printf(NAME " serves http://%s:%d\n", inet_ntoa(address.sin_addr), ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    const char *listen = "127.0.0.1:8102";
    struct rlimit descriptors;
    if (argc == 3 && strcmp(argv[1], "--listen") == 0) {
        listen = argv[2];
    } else if (argc != 1) {
        fprintf(stderr, NAME ": usage: " NAME " [--listen ADDR:PORT]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
        descriptors.rlim_cur = descriptors.rlim_max;
        setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    fail("the loop ended", -serve(listen_on(listen)));
    return 1;
}
