/* What the files of core/http share: the HTTP side of one manager, and one request that it serves.
 * Home loop only. */
#ifndef LP_HTTP_INSIDE_H
#define LP_HTTP_INSIDE_H

#include <h2o.h>

#include <longpoll/http.h>

#include "../manager/inside.h"
#include "../wire/answer.h"
#include "loop.h"
#include "rate.h"

/* The origins whose pages may read answers and publish, as they are compared: in lower case and
 * without a default port. */
typedef struct lp__origins {
    char **list;
    size_t count;
    bool any; /* "*" is among them */
} lp__origins;

_Static_assert(sizeof(lp_str) == sizeof(h2o_iovec_t) &&
                   offsetof(lp_str, len) == offsetof(h2o_iovec_t, len),
               "pieces are handed to libh2o as they are");

/* The HTTP side of one manager. Counted: the manager holds it, and so does everything that may be
 * called by libh2o when the manager has been freed already (mounted handlers, servers, requests).
 */
typedef struct lp__http {
    size_t refs;
    lp_manager *manager; /* NULL once it is freed */
    h2o_loop_t *loop;
    lp_http_options options; /* with all defaults filled in; its `cors_origins` is NULL */
    lp__origins origins;
    lp__rate *rate;          /* NULL: no bound */
    lp_http_figures figures; /* `inflight` and `inflight_bytes` are of all answers */
    lp__watch *watch;        /* of parked polls; NULL before the first and after the last */
    lp__timer *timer;        /* of answers being written */
    lp__list inflight;       /* exchanges whose answer is being written, oldest first */
    lp__list large;          /* those of them that count against inflight_bytes_max */
    size_t large_bytes;
    uint64_t excess_ms; /* since when they have been too many; 0: they are not */
    lp__list pending;   /* exchanges whose publish is not decided yet */
    lp__list streams;   /* that are open */
} lp__http;

/* The HTTP side of a manager, made when there is none yet. LP_ENOMEM. The reference stays the
 * manager's. */
int lp__http_of(lp_manager *manager, lp__http **out);
lp__http *lp__http_ref(lp__http *http);
void lp__http_unref(lp__http *http);

/* Closes the timer when the manager ends and no answer is left to be timed: then nothing of ours is
 * on the loop. */
void lp__http_close_timer(lp__http *http);

/* What a connection of a server does, for the figures. */
typedef enum lp__counted {
    LP__COUNTED_OPENED,
    LP__COUNTED_CLOSED, /* one that was counted as opened */
    LP__COUNTED_REFUSED,
    LP__COUNTED_TLS_FAILURE /* its handshake failed */
} lp__counted;
void lp__http_count(lp__http *http, lp__counted what);
/* An answer with this status, if it refuses: of events or publish. */
void lp__http_count_refusal(lp__http *http, int http_status);

/* LP_EINVAL when the host program does not ignore SIGPIPE. */
int lp__http_check_sigpipe(lp_error *error);

/* One request and its answer. Lives in memory of its own that the request's pool owns: whatever
 * ends the request, lp__exchange_dispose lets go of everything. A parked poll is one of these, so
 * it stays small. */
typedef struct lp__exchange {
    h2o_generator_t generator;
    lp__http *http;
    h2o_req_t *req;
    lp__list link;       /* in `inflight` or `pending` */
    lp__list large_link; /* in `large` */
    uint64_t started_ms; /* when its answer began */
    size_t bytes;        /* of its answer; 0 when it is not in flight */
    int watched_fd;      /* -1: not watched */
    bool is_waiting;     /* `waiter` is the engine's; see lp__exchange_set_waiting */
    bool is_by_id;       /* its poll resumes by id */
    bool is_wire;        /* of events or publish: counted, and pages of other origins may read it */
    lp__waiter waiter;
    lp_event **events; /* references held until the answer is written; in the pool */
    size_t event_count;
    struct lp__publish *publish; /* that has not been decided */
    struct lp__stream *stream;   /* NULL: a plain poll */
} lp__exchange;

/* Starts serving a request of events or publish: NULL when it has been answered already (another
 * loop, too many header bytes, HTTP/2). */
lp__exchange *lp__exchange_start(lp__http *http, h2o_req_t *req);
/* The same for what is the operator's: health, metrics. */
lp__exchange *lp__exchange_start_internal(lp__http *http, h2o_req_t *req);

/* Says that `waiter` is the engine's from now on, or not any more, and counts polls and streams. */
void lp__exchange_set_waiting(lp__exchange *exchange, bool is_waiting);

/* A whole answer. */
typedef struct lp__reply {
    int status;
    const lp__wire_header *headers;
    size_t header_count;
    const lp__wire_header *extra; /* one more header, or NULL */
    lp_str body;                  /* borrowed until the request ends: a constant, or in its pool */
    const char *allow;            /* methods, or NULL */
    int retry_after_s;            /* 0: none */
    bool close;                   /* the connection */
} lp__reply;

/* Answers. To HEAD the body's length is told and the body is not sent. */
void lp__exchange_reply(lp__exchange *exchange, const lp__reply *reply);
/* Answers {"error": "…"} with `headers` and, as the status says, Retry-After. `status` is HTTP's.
 */
void lp__exchange_error(lp__exchange *exchange, int status, const lp__reply *like,
                        const char *sentence);
/* Says which HTTP status and what Retry-After a status of the library is answered with. */
int lp__reply_status(int status, int *retry_after_s);

/* The two halves of an answer whose body comes in pieces: sets status and headers, those of CORS
 * among them; joins the list of answers in flight and begins to send. With a state other than FINAL
 * the generator's proceed goes on. */
void lp__exchange_set_headers(lp__exchange *exchange, const lp__reply *reply, size_t length);
void lp__exchange_send(lp__exchange *exchange, h2o_iovec_t *pieces, size_t count, size_t length,
                       h2o_send_state_t state);

/* Joins the list of answers in flight with `bytes` of it, or begins anew with other bytes; leaves
 * it (fine when it is not there). While it is there it is cut at its deadline, or when all together
 * are too many bytes and it is the slowest. */
void lp__inflight_join(lp__exchange *exchange, size_t bytes);
void lp__inflight_leave(lp__exchange *exchange);
/* Whether `bytes` more of an answer are better not begun with: they take memory of their own
 * (`copies`: as they are; under TLS they always do), and twice the bound is in flight. */
bool lp__inflight_is_crowded(const lp__exchange *exchange, size_t bytes, bool copies);

/* Ends requests of one context that are waiting for anything: called when a server's deadline has
 * passed. */
void lp__http_end_pending(lp__http *http, h2o_context_t *context);

bool lp__method_is(const h2o_req_t *req, const char *method);
/* Adds a header to the answer of a request; its texts stay as they are until the request ends. */
void lp__add_header(h2o_req_t *req, const lp__wire_header *header);

/* One request for each; the request is answered now or later in every case. */
void lp__serve_subscribe(lp__http *http, h2o_req_t *req);
void lp__serve_publish(lp__http *http, h2o_req_t *req);
void lp__serve_health(lp__http *http, h2o_req_t *req);
void lp__serve_metrics(lp__http *http, h2o_req_t *req);

/* Sees to what libh2o refuses by itself on a server's fallback path: counts it, and adds the
 * headers of CORS. */
void lp__http_mount_refusals(lp__http *http, h2o_pathconf_t *fallback);

/* For what GET alone may ask: answers other methods (OPTIONS too) and returns false. `headers` are
 * the reply's. */
bool lp__exchange_is_get(lp__exchange *exchange, const lp__reply *like);

/* Copies a list of origins as an operator writes them, each checked. LP_EINVAL with a sentence that
 * names the origin; LP_ENOMEM. */
int lp__origins_read(const char *const *texts, size_t count, lp__origins *out, lp_error *error);
void lp__origins_free(lp__origins *origins);
/* Whether a page made the request whose origin is neither the server's own nor on the list. */
bool lp__origin_is_foreign(const lp__http *http, const h2o_req_t *req);
/* Adds the headers of CORS to an answer, where there is a list; `methods` (may be NULL) go into the
 * answer to a preflight. */
void lp__origin_add_headers(const lp__http *http, h2o_req_t *req, const char *methods);

/* The client of a parked poll has gone (subscribe.c). */
void lp__subscribe_gone(void *exchange);

/* What polls and streams share (subscribe.c): looking after the client while they wait, which may
 * fail with a status, and saying why they cannot. */
int lp__subscribe_watch(lp__exchange *exchange);
void lp__subscribe_unwatch(lp__exchange *exchange);
void lp__subscribe_refuse(lp__exchange *exchange, int status);

/* Streams of server-sent events (stream.c): answers the request with one, or refuses it; what GET
 * would be answered, to HEAD; the client has gone; the request has ended; the manager has no more
 * to say. */
typedef struct lp__stream lp__stream;
void lp__stream_start(lp__exchange *exchange, const lp_query *query);
/* Refuses a stream for a while, with `why`'s Retry-After. */
void lp__stream_refuse(lp__exchange *exchange, const lp__reply *why, const char *sentence);
void lp__stream_answer_head(lp__exchange *exchange);
void lp__stream_gone(lp__exchange *exchange);
void lp__stream_forget(lp__stream *stream);
/* Ends the streams of one context, NULL: of all. */
void lp__streams_end(lp__http *http, const h2o_context_t *context);
/* The request of a pending publish has ended (publish.c). */
void lp__publish_forget(struct lp__publish *publish);

#endif
