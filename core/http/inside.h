/* What the files of core/http share: the HTTP side of one manager (a site), what it has on each
 * loop that serves (lp__http), and one request. All but the site belongs to the thread of its loop.
 */
#ifndef LP_HTTP_INSIDE_H
#define LP_HTTP_INSIDE_H

#include <h2o.h>

#include <pthread.h>
#include <stdatomic.h>

#include <longpoll/http.h>

#include "../manager/inside.h"
#include "../manager/port.h"
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

/* ---- a manager's side, on all loops ------------------------------------- */

/* The HTTP side of one manager. Counted: the manager holds it, and so does everything that may be
 * called when the manager has been freed already (mounted handlers, servers, loops). What is not
 * behind the mutex is set before the first request, and read by any thread. */
typedef struct lp__site {
    atomic_size_t refs;
    lp_manager_options bounds; /* the manager's, with all defaults filled in */
    lp_http_options options;   /* with all defaults filled in; its `cors_origins` is NULL */
    lp__origins origins;

    pthread_mutex_t mutex;
    lp_manager *manager;   /* NULL once it is freed */
    h2o_loop_t *home_loop; /* NULL with it */
    struct lp__http *home; /* what the home loop has, NULL when it has nothing; home thread */
    lp__list loops;        /* of lp__http */
    atomic_size_t loop_count;
    lp_http_figures past; /* of loops that are gone */
    lp__rate *rate;       /* NULL: no bound */
    uint64_t rate_ms;     /* the latest time that it was told */
} lp__site;

/* The site of a manager, made when there is none yet. Home thread. LP_ENOMEM, LP_EFULL. The
 * reference stays the manager's. */
int lp__site_of(lp_manager *manager, lp__site **out);
lp__site *lp__site_ref(lp__site *site);
void lp__site_unref(lp__site *site);
/* As lp__rate_take for the site's bound; 0 when there is none. */
uint64_t lp__site_rate_take(lp__site *site, const struct sockaddr *address, int64_t events,
                            uint64_t now_ms);
/* The sums over all loops. Any thread. */
void lp__site_figures(lp__site *site, lp_http_figures *out);

/* LP_EINVAL when the host program does not ignore SIGPIPE. */
int lp__http_check_sigpipe(lp_error *error);

/* ---- what it has on one loop -------------------------------------------- */

/* Counted: each libh2o context with handlers of ours holds it, and each request that is served; the
 * one of the home loop is the manager's as well. */
typedef struct lp__http {
    size_t refs;
    lp__site *site;
    lp__port *port;   /* NULL: the manager takes no more, or is freed */
    h2o_loop_t *loop; /* of libh2o */
    lp__list link;    /* in its site's list */
    lp__soon *soon;   /* the turns of the port; NULL on the home loop where that is the manager's */
    lp__alarm *alarm; /* its wake-ups; NULL on the home loop */
    bool is_home;
    size_t closing;          /* handles that are being closed, at the end */
    lp_http_figures figures; /* written by this loop alone, see lp__figure_add; `inflight` and
                                `inflight_bytes` are of all answers */
    lp__watch *watch;        /* of parked polls; NULL before the first and after the last */
    lp__timer *timer;        /* of answers being written */
    lp__list inflight;       /* exchanges whose answer is being written, oldest first */
    lp__list large;          /* those of them that count against inflight_bytes_max */
    size_t large_bytes;
    uint64_t excess_ms; /* since when they have been too many; 0: they are not */
    lp__list pending;   /* exchanges that wait for the manager's word: see lp__pending */
    lp__list streams;   /* that are open */
} lp__http;

/* What a site has on a loop, made when it has nothing there yet: for a context of libh2o on that
 * loop. Its thread. A reference; NULL: out of memory, or of descriptors. */
lp__http *lp__http_attach(lp__site *site, h2o_loop_t *loop);
/* The one of the loop, borrowed; that of the home loop is made when there is none. NULL: the site
 * has none there. */
lp__http *lp__http_of_loop(lp__site *site, h2o_loop_t *loop);
lp__http *lp__http_ref(lp__http *http);
void lp__http_unref(lp__http *http);
/* The manager has been freed: lets go of what the home loop has. */
void lp__http_leave_home(lp__http *http);

lp_state lp__http_state(const lp__http *http);
/* Whether polls are answered with events. */
bool lp__http_is_serving(const lp__http *http);
/* Closes the timer when the manager ends and no answer is left to be timed: then nothing of ours is
 * on the loop. */
void lp__http_close_timer(lp__http *http);
/* This loop's share of inflight_bytes_max. */
size_t lp__http_inflight_max(const lp__http *http);

/* Figures have one writer and any number of readers: no locked instruction is needed. */
static inline void lp__figure_add(uint64_t *figure, int64_t count)
{
    __atomic_store_n(figure, *figure + (uint64_t)count, __ATOMIC_RELAXED);
}

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

/* ---- one request --------------------------------------------------------- */

/* One request and its answer. Lives in the request's pool: whatever ends the request lets go of
 * everything (exchange.c). A parked poll is one of these, and a poll of its port. */
typedef struct lp__exchange {
    h2o_generator_t generator;
    lp__http *http;
    h2o_req_t *req;
    lp__list link;       /* in `inflight` or `pending` */
    lp__list large_link; /* in `large` */
    uint64_t started_ms; /* when its answer began */
    size_t bytes;        /* of its answer; 0 when it is not in flight */
    int watched_fd;      /* -1: not watched */
    bool is_by_id;       /* its poll resumes by id */
    bool is_wire;        /* of events or publish: counted, and pages of other origins may read it */
    lp__poll *poll;      /* that waits or rests; see lp__exchange_set_poll */
    lp_event **events;   /* references held until the answer is written; in the pool */
    size_t event_count;
    struct lp__pending *pending; /* that has not been decided */
    struct lp__stream *stream;   /* NULL: a plain poll */
} lp__exchange;

/* Starts serving a request of events or publish: NULL when it has been answered already (too
 * many header bytes, HTTP/2). */
lp__exchange *lp__exchange_start(lp__http *http, h2o_req_t *req);
/* The same for what is the operator's: health, metrics. */
lp__exchange *lp__exchange_start_internal(lp__http *http, h2o_req_t *req);

/* Says which poll it waits with from now on, NULL: with none any more; counts polls and streams. */
void lp__exchange_set_poll(lp__exchange *exchange, lp__poll *poll);

/* What the manager calls back with when it has decided. At the head of memory of its own, since the
 * request may have ended by then: the callback asks for the exchange, and frees it. */
typedef struct lp__pending {
    lp__exchange *exchange; /* NULL when the request has ended */
} lp__pending;
void lp__pending_begin(lp__pending *pending, lp__exchange *exchange);
/* It is decided, or not to be told: returns the exchange, NULL when that is gone. */
lp__exchange *lp__pending_end(lp__pending *pending);

/* Asks the manager for its figures: `done` gets an lp__pending of this exchange. LP_ECLOSED,
 * LP_ENOMEM. */
int lp__report_for(lp__exchange *exchange, lp__report_cb done);

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
void lp__http_mount_refusals(lp__site *site, h2o_pathconf_t *fallback);

/* For what GET alone may ask: answers other methods (OPTIONS too) and returns false. `headers` are
 * the reply's. */
bool lp__exchange_is_get(lp__exchange *exchange, const lp__reply *like);

/* Copies a list of origins as an operator writes them, each checked. LP_EINVAL with a sentence that
 * names the origin; LP_ENOMEM. */
int lp__origins_read(const char *const *texts, size_t count, lp__origins *out, lp_error *error);
void lp__origins_free(lp__origins *origins);
/* Whether a page made the request whose origin is neither the server's own nor on the list. */
bool lp__origin_is_foreign(const lp__origins *origins, const h2o_req_t *req);
/* Adds the headers of CORS to an answer, where there is a list; `methods` (may be NULL) go into the
 * answer to a preflight. */
void lp__origin_add_headers(const lp__origins *origins, h2o_req_t *req, const char *methods);

/* The client of a parked poll has gone (subscribe.c). */
void lp__subscribe_gone(void *exchange);

/* What polls and streams share (subscribe.c): beginning to wait, and looking after the client
 * meanwhile; saying why they cannot. */
int lp__subscribe_wait(lp__exchange *exchange, const lp_query *query,
                       const lp__poll_options *options);
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

#endif
