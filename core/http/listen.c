/* The socket of a listener, in both flavours: its address, its options, and sharing the address
 * with other listeners. Any thread. */
#include "flavour.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define BACKLOG            1024
#define KEEPALIVE_S        60
#define RECEIVED_MAX       (64 << 10)
#define KERNEL_PATIENCE_MS 5000

static int parse_address(const char *text, struct sockaddr_storage *out)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    char *end = NULL;
    long port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtol(colon + 1, &end, 10) : -1;
    if (!len || len >= sizeof(host) || port < 0 || port > 65535 || *end)
        return LP_EINVAL;
    memcpy(host, text, len);
    host[len] = '\0';
    if (host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        return uv_ip6_addr(host + 1, (int)port, (struct sockaddr_in6 *)out) ? LP_EINVAL : LP_OK;
    }
    const char *ip = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    return uv_ip4_addr(ip, (int)port, (struct sockaddr_in *)out) ? LP_EINVAL : LP_OK;
}

/* Accepted connections inherit these from their listener (Linux), which spares three calls for
 * each. libh2o sets none of them. */
static void set_options(int fd, const lp__listener_options *options)
{
    int on = 1, idle_s = KEEPALIVE_S;
    /* the kernel's is the last resort: ours knows what it cuts, and counts it */
    unsigned timeout_ms = (unsigned)options->write_timeout_ms + KERNEL_PATIENCE_MS;
    /* libh2o's evloop reads a connection until there is nothing left, however much the client sends
     * meanwhile, and no bound is looked at before that: with this, a turn takes little of each */
    int received_max = RECEIVED_MAX;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &received_max, sizeof(received_max));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

/* The first of those that share an address does so only once it has the address for itself. */
static int bind_and_listen(int fd, const struct sockaddr_storage *address, int shares)
{
    int on = 1;
    socklen_t len =
        address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (shares == LP__SHARES_TOO &&
         setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
        bind(fd, (const struct sockaddr *)address, len) != 0 || listen(fd, BACKLOG) != 0 ||
        (shares == LP__SHARES_FIRST &&
         setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0))
        return errno;
    return 0;
}

int lp__listen(const lp__listener_options *options, int *out, lp_error *error)
{
    struct sockaddr_storage address = {0};
    if (parse_address(options->address, &address) != LP_OK)
        return lp_error_set(error, LP_EINVAL,
                            "listen address \"%s\": not an IP address and a port (write "
                            "127.0.0.1:8101 or [::1]:8101)",
                            options->address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int failure = fd < 0 ? errno : bind_and_listen(fd, &address, options->shares);
    if (failure == 0) {
        set_options(fd, options);
        *out = fd;
        return LP_OK;
    }
    if (fd >= 0)
        close(fd);
    int status = failure == EADDRINUSE ? LP_EINUSE
                 : failure == EACCES   ? LP_EACCES
                 : failure == ENOMEM || failure == EMFILE || failure == ENFILE || failure == ENOBUFS
                     ? LP_ENOMEM
                     : LP_EINVAL;
    return lp_error_set(error, status, "listen address \"%s\": %s%s", options->address,
                        uv_strerror(uv_translate_sys_error(failure)),
                        status == LP_EINUSE ? " (stop who uses it, or listen elsewhere)" : "");
}

int lp__listen_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}
