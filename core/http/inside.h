/* What the files of core/http share: the HTTP side of one manager, and one request that it serves.
 * Home loop only. */
#ifndef LP_HTTP_INSIDE_H
#define LP_HTTP_INSIDE_H

#include <h2o.h>

#include <longpoll/http.h>

#include "../manager/inside.h"
#include "../wire/answer.h"
#include "loop.h"

/* The HTTP side of one manager. Counted: the manager holds it, and so does everything that may be
 * called by libh2o when the manager has been freed already (mounted handlers, servers, requests).
 */
typedef struct lp__http {
    size_t refs;
    lp_manager *manager; /* NULL once it is freed */
    h2o_loop_t *loop;
    lp_http_options options; /* with all defaults filled in */
    lp__watch *watch;        /* of parked polls; NULL before the first and after the last */
    lp__timer *timer;        /* of answers being written */
    lp__list inflight;       /* exchanges whose answer is being written, oldest first */
    lp__list large;          /* those of them that count against inflight_bytes_max */
    size_t large_bytes;
    lp__list pending; /* exchanges whose publish is not decided yet */
} lp__http;

/* The HTTP side of a manager, made when there is none yet. LP_ENOMEM. The reference stays the
 * manager's. */
int lp__http_of(lp_manager *manager, lp__http **out);
lp__http *lp__http_ref(lp__http *http);
void lp__http_unref(lp__http *http);

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
    bool is_waiting;     /* `waiter` is the engine's */
    lp__waiter waiter;
    lp_event **events; /* references held until the answer is written; in the pool */
    size_t event_count;
    struct lp__publish *publish; /* that has not been decided */
} lp__exchange;

/* Starts serving a request: NULL when it has been answered already (another loop, too many header
 * bytes, HTTP/2). */
lp__exchange *lp__exchange_start(lp__http *http, h2o_req_t *req);

/* A whole answer. */
typedef struct lp__reply {
    int status;
    const lp__wire_header *headers;
    size_t header_count;
    lp_str body;       /* borrowed until the request ends: a constant, or in its pool */
    const char *allow; /* methods, or NULL */
    int retry_after_s; /* 0: none */
    bool close;        /* the connection */
} lp__reply;

/* Answers. To HEAD the body's length is told and the body is not sent. */
void lp__exchange_reply(lp__exchange *exchange, const lp__reply *reply);
/* Answers {"error": "…"} with `headers` and, as the status says, Retry-After. `status` is HTTP's.
 */
void lp__exchange_error(lp__exchange *exchange, int status, const lp__reply *like,
                        const char *sentence);
/* Says which HTTP status and what Retry-After a status of the library is answered with. */
int lp__reply_status(int status, int *retry_after_s);

/* The pieces of lp__exchange_send's caller: sets status and headers, joins the list of answers in
 * flight and begins to send. `is_last` false: the generator's proceed goes on. */
void lp__exchange_set_headers(lp__exchange *exchange, const lp__reply *reply, size_t length);
void lp__exchange_send(lp__exchange *exchange, h2o_iovec_t *pieces, size_t count, size_t length,
                       h2o_send_state_t state);

/* Ends requests of one context that are waiting for anything: called when a server's deadline has
 * passed. */
void lp__http_end_pending(lp__http *http, h2o_context_t *context);

bool lp__method_is(const h2o_req_t *req, const char *method);

/* One request for each; the request is answered now or later in every case. */
void lp__serve_subscribe(lp__http *http, h2o_req_t *req);
void lp__serve_publish(lp__http *http, h2o_req_t *req);
void lp__serve_health(lp__http *http, h2o_req_t *req);

/* The client of a parked poll has gone (subscribe.c). */
void lp__subscribe_gone(void *exchange);
/* The request of a pending publish has ended (publish.c). */
void lp__publish_forget(struct lp__publish *publish);

#endif
