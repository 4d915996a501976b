/* Long polling over HTTP/1.1, on libh2o. Link one of its two flavours, which are the same to a
 * program: `longpoll::http` on libh2o and libuv, for programs that run a uv loop; or
 * `longpoll::http-evloop` on libh2o-evloop, at half the cost of a request, for programs whose home
 * loop lp_http_run may run.
 *
 * Three ways in, from the most to the least of your own:
 *   - you have a libh2o server and checks of your own: call lp_http_subscribe and lp_http_publish
 * from your handler;
 *   - you have a libh2o server: lp_http_mount_events and lp_http_mount_publish on any path of any
 * host;
 *   - you have a libuv loop: lp_server_start.
 * Everything runs on the home loop of the manager, unless there are more loops: lp_server_options'
 * `threads`, or libh2o contexts of your own on other loops, each made, run and disposed of on its
 * loop's thread. A request is answered on the loop that its connection lives on. A loop whose
 * context has one of the mounted handlers must run until the context is disposed of or the manager
 * is closed. All functions are the home thread's, but for lp_tls_new, and what a handler calls for
 * its request.
 *
 * The host program must ignore SIGPIPE (libuv writes without MSG_NOSIGNAL): what mounts or starts
 * checks it and refuses otherwise. Switch HTTP/2 off in a config of your own:
 * `config.http1.upgrade_to_http2 = 0`, and no "h2" in ALPN; libh2o 2.2's HTTP/2 can be made to
 * abort the process. libh2o aborts when it is out of memory. */
#ifndef LONGPOLL_HTTP_H
#define LONGPOLL_HTTP_H

#include <longpoll/manager.h>

#ifdef __cplusplus
extern "C" {
#endif

struct st_h2o_hostconf_t;
struct st_h2o_req_t;
struct st_h2o_accept_ctx_t;
struct st_h2o_socket_t;
struct uv_stream_s;
struct uv_handle_s;
struct ssl_ctx_st;

/* Bounds of the HTTP side of one manager; zero means the default. */
typedef struct lp_http_options {
    size_t struct_size;        /* set by LP_HTTP_OPTIONS_INIT */
    int64_t header_bytes_max;  /* request line and headers: 64 KiB (431; lp_server cuts a connection
                                  that sends on without an end) */
    int64_t body_bytes_max;    /* of a publish: event_bytes_max and 8 KiB (413) */
    int64_t answer_timeout_ms; /* an answer must be written whole by then, else it is cut: 30,000 */
    /* Answers being written, in all: 256 MiB, of which each loop that serves has its share. Past
     * it the slowest are cut; at twice that no large one is begun that takes memory of its own, as
     * all do under TLS (503; a stream ends). */
    int64_t inflight_bytes_max;
    bool refuse_foreign_origin; /* 403 to a publish from a page of another origin, unless that is
                                   on the list below */
    const char *const *cors_origins; /* pages of these origins may read answers and publish
                                        ("https://a.example:8443", or "*" for any): none. Copied */
    size_t cors_origin_count;
    bool strict_status; /* a poll that cannot be read is answered 400; golongpoll's 200 without */
    /* Events a second that one client address may publish, and so many at once: no bound; twice the
     * rate (429). An address of IPv6 is its /64 network; behind a proxy all clients have the
     * proxy's. A request never costs more than `publish_burst`. */
    int64_t publish_rate, publish_burst;
    int64_t stream_heartbeat_ms; /* a stream of events that is silent says where it is: 15,000 */
} lp_http_options;

#define LP_HTTP_OPTIONS_INIT                                                                       \
    {                                                                                              \
        sizeof(lp_http_options)                                                                    \
    }

/* Sets the bounds, before a server is started and before the first request. Optional. LP_EINVAL
 * with a sentence; LP_ENOMEM. */
LP_API int lp_http_configure(lp_manager *manager, const lp_http_options *options, lp_error *error);

/* Mounts a handler on exactly `path` (what is below it is another handler's, or 404) of a host of
 * your own h2o config, before its context is made. The handler may outlive the manager; it then
 * answers 503. LP_EINVAL: SIGPIPE is not ignored, or a path that does not start with '/'.
 * LP_ENOMEM. */
LP_API int lp_http_mount_events(lp_manager *manager, struct st_h2o_hostconf_t *host,
                                const char *path, lp_error *error);
LP_API int lp_http_mount_publish(lp_manager *manager, struct st_h2o_hostconf_t *host,
                                 const char *path, lp_error *error);
/* 200 while the manager serves, 503 while it is starting, draining, in doubt or does not get
 * anything kept, and a JSON body that says why (see lp_manager_health). */
LP_API int lp_http_mount_health(lp_manager *manager, struct st_h2o_hostconf_t *host,
                                const char *path, lp_error *error);

/* The figures of lp_manager_stats and lp_http_stats as Prometheus reads them. */
LP_API int lp_http_mount_metrics(lp_manager *manager, struct st_h2o_hostconf_t *host,
                                 const char *path, lp_error *error);

/* Serves one request from a handler of yours, whatever its path, after your own checks. The request
 * is answered now or later in every case; your handler returns 0. On a loop that is not the home
 * loop, the request's context must have one of the mounted handlers too (500 without). A manager
 * that has been shut down answers 503 until it is freed. */
LP_API void lp_http_subscribe(lp_manager *manager, struct st_h2o_req_t *req);
LP_API void lp_http_publish(lp_manager *manager, struct st_h2o_req_t *req);

typedef struct lp_http_figures {
    uint64_t polls, streams;                    /* that wait now */
    uint64_t inflight_bytes, inflight;          /* answers that are being written now */
    uint64_t connections;                       /* of all servers of this manager, now */
    uint64_t requests_events, requests_publish; /* since the start, and so on below */
    uint64_t refused_bad, refused_large, refused_rate, refused_origin, refused_busy;
    uint64_t streams_begun, answers_cut, connections_refused, tls_failures;
} lp_http_figures;

/* Fills at most `size` bytes (sizeof(lp_http_figures)) of `out`. */
LP_API void lp_http_stats(const lp_manager *manager, lp_http_figures *out, size_t size);

/* A context of OpenSSL for a server of your own, with what this library needs and recommends: TLS
 * 1.2 and 1.3, ALPN of "http/1.1" alone, no compression, no renegotiation, buffers released when
 * idle. `chain` and `key` are files in PEM. The caller frees it (SSL_CTX_free). LP_EINVAL: a file,
 * and what is wrong with it. LP_ENOMEM. */
LP_API int lp_tls_new(const char *chain, const char *key, struct ssl_ctx_st **out, lp_error *error);

/* Hands a connection that a listener of your own has accepted to libh2o, in place of
 * h2o_uv_socket_create and h2o_accept. With a context of lp_tls_new in `accept->ssl_ctx` it also
 * stands between libuv and libh2o, whose TLS needs that: without it one client can make libuv abort
 * the process (a request and a fatal alert in one segment), a reset of an idle connection leaks it,
 * and uploads are closed when a read fills 8,192 bytes exactly. `closed` is for libuv, and runs
 * when the stream has closed. LP_ENOMEM: nothing has happened to the stream. Leaves `data` and
 * `on_close` of libh2o's socket alone in clear, and uses `on_close` under TLS. */
LP_API int lp_tls_accept(struct st_h2o_accept_ctx_t *accept, struct uv_stream_s *stream,
                         void (*closed)(struct uv_handle_s *handle));
/* What longpoll::http-evloop has in its place, for a socket of h2o_evloop_socket_accept: without it
 * an answer that could not be encrypted any more counts as one that was written. LP_ENOMEM: nothing
 * has happened to the socket. Under TLS it uses the socket's `on_close`, and calls what stood there
 * before. */
LP_API int lp_tls_accept_socket(struct st_h2o_accept_ctx_t *accept, struct st_h2o_socket_t *socket);

/* ---- the home loop ----------------------------------------------------- */

/* libh2o's loop on the home loop, for contexts of your own there (h2o_loop_t *): the home loop
 * itself, or with longpoll::http-evloop the one that stands beside it. Valid until lp_manager_free;
 * NULL without memory or a descriptor for it. Home thread. */
LP_API void *lp_http_loop(lp_manager *manager);

/* Runs the home loop until nothing on it is left to run, as uv_run(home, UV_RUN_DEFAULT) does, and
 * returns what that returns. With longpoll::http-evloop libh2o's loop does the waiting then; a
 * plain uv_run serves as well, at the cost of one more system call a turn, and has to be called
 * once more after lp_manager_free before uv_loop_close. Home thread. */
LP_API int lp_http_run(struct uv_loop_s *home);

/* ---- a server for programs that have none ------------------------------ */

typedef struct lp_server lp_server;

typedef struct lp_server_options {
    size_t struct_size;         /* set by LP_SERVER_OPTIONS_INIT */
    const char *listen;         /* "127.0.0.1:8101" (the default), "[::1]:8101", "localhost:8101";
                                   port 0: any free one */
    const char *events_path;    /* "/events"; "" serves none. NULL: the default, here and below */
    const char *publish_path;   /* "/publish" */
    const char *health_path;    /* "/health" */
    int64_t connections_max;    /* 0: 20,000, or what the descriptor limit leaves; past it 503
                                   (over TLS it is closed) */
    int64_t request_timeout_ms; /* a request's headers and body must be in by then, and an idle
                                   connection is closed: 10,000 */
    int64_t request_bytes_max;  /* memory of requests that are being read or served, in all: 64
                                   MiB, or 8 times body_bytes_max if that is more; past it the
                                   largest are cut. A request counts when it takes over 8 KiB */
    const char *metrics_path;   /* "/metrics" */
    const char *tls_chain;      /* files in PEM, both or none: serves TLS and nothing else */
    const char *tls_key;
    int64_t threads; /* loops that serve, each with a listener of its own on the one address: the
                        home loop, and threads of the server's own. 1, at most 64. The kernel deals
                        connections out to them; connections_max and request_bytes_max are shared
                        out evenly (at least one connection and room for four bodies each) */
} lp_server_options;

#define LP_SERVER_OPTIONS_INIT                                                                     \
    {                                                                                              \
        sizeof(lp_server_options)                                                                  \
    }

/* Listens and serves on the manager's home loop, and on threads of its own. LP_EINVAL: an option,
 * an address, SIGPIPE is not ignored; LP_EINUSE: the address; LP_EACCES; LP_ENOMEM; each with a
 * sentence in `error`. */
LP_API int lp_server_start(lp_manager *manager, const lp_server_options *options, lp_server **out,
                           lp_error *error);

/* The port it listens on. */
LP_API int lp_server_port(const lp_server *server);

/* Connections that are open now. */
LP_API size_t lp_server_connections(const lp_server *server);

/* Reads the certificate's files again, for connections from now on. After a failure those read
 * before stay in use. LP_EINVAL: a file, or the server has none. LP_ENOMEM. */
LP_API int lp_server_reload_tls(lp_server *server, lp_error *error);

/* Closes the listener and idle connections at once, every other connection when its answer is out,
 * and what is left at the deadline too; then calls `done` (may be NULL) and frees the server. Shut
 * the manager down first, or at the same time: that answers its waiters. The manager may be freed
 * before the server has stopped. A second call is LP_OK and changes nothing. Close the loop only
 * when it has nothing left to run: handles are still being closed when `done` is called. */
LP_API int lp_server_stop(lp_server *server, int64_t timeout_ms, void (*done)(void *ctx),
                          void *ctx);

#ifdef __cplusplus
}
#endif
#endif
