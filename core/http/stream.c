/* Streams of server-sent events: a poll that is answered again and again. On the thread of its
 * loop.
 *
 * A stream has one chunk in flight: its poll rests until that is with the kernel, and then waits
 * again behind it. So a slow reader holds one chunk, falls behind in its rings, and is told a gap
 * where they overtake it; one that takes nothing is cut at the deadline that every answer has, and
 * resumes. The chunks are memory of their own, since a request's pool gives nothing back before the
 * end.
 *
 * A stream ends when its time is over, its client leaves, its manager or its server shuts down, its
 * connection is torn down, or there is no memory for a chunk. All but the last two end it cleanly:
 * the connection may be used again. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/sse.h"

/* The wire texts of a chunk, about; a larger event goes alone, and where thousands of categories
 * have something, the engine makes it more. */
#define CHUNK_BYTES ((size_t)64 << 10)

/* As with polls: many small pieces are better copied into one. */
#define PIECES_MAX        24
#define PIECES_MAX_EVER   1536
#define PIECE_BYTES_LARGE 2048

/* What is left of a stream's time, when its end is due: the clocks of loop and engine differ. */
#define END_GRAIN_MS 5

/* One answer's frames. `events` are those that they borrow from. */
typedef struct chunk {
    lp_str *pieces;
    size_t count, length, event_count;
    bool is_flat; /* a copy: it borrows nothing */
    lp_event *events[];
} chunk;

struct lp__stream {
    lp__list link; /* in the HTTP side's `streams` */
    lp__exchange *exchange;
    uint64_t end_ms;  /* of the loop's clock */
    bool is_starting; /* it has not been answered yet, not even with its first bytes */
    bool is_opened;   /* `opening` is told */
    bool is_writing;
    bool ends;    /* once what is being written, and `next`, are out */
    chunk *chunk; /* that is being written */
    chunk *next;  /* came while the stream's first bytes were being written */
    char opening[LP__SSE_POSITION_LEN];
};

static const lp__reply stream_reply = {
    .status = 200, .headers = lp__sse_headers, .header_count = LP__SSE_HEADERS};

/* ---- chunks ------------------------------------------------------------- */

static void free_chunk(chunk *self)
{
    for (size_t i = 0; self && i < self->event_count; i++)
        lp_event_unref(self->events[i]);
    free(self);
}

static chunk *alloc_chunk(size_t event_count, size_t piece_count, size_t bytes)
{
    size_t head = sizeof(chunk) + event_count * sizeof(lp_event *);
    chunk *self = malloc(head + piece_count * sizeof(lp_str) + bytes);
    if (!self)
        return NULL;
    self->pieces = (lp_str *)(void *)((char *)self + head);
    self->count = piece_count;
    self->event_count = event_count;
    self->is_flat = false;
    return self;
}

/* The same chunk as one piece. NULL, with the chunk untouched, when there is no memory. */
static chunk *flatten(chunk *from)
{
    chunk *self = alloc_chunk(from->event_count, 1, from->length);
    if (!self)
        return NULL;
    char *text = (char *)(self->pieces + 1);
    lp__answer_flatten(from->pieces, from->count, text);
    self->pieces[0] = (lp_str){text, from->length};
    self->is_flat = true;
    self->length = from->length;
    memcpy(self->events, from->events, from->event_count * sizeof(lp_event *));
    free(from);
    return self;
}

static chunk *new_chunk(const lp_answer *answer)
{
    lp__sse_size size = lp__sse_measure(answer);
    chunk *self = alloc_chunk(answer->event_count, size.pieces, size.scratch);
    if (!self)
        return NULL;
    self->length = size.length;
    for (size_t i = 0; i < answer->event_count; i++)
        self->events[i] = lp_event_ref(answer->events[i]);
    lp__sse_build(answer, (char *)(self->pieces + size.pieces), self->pieces);
    if (size.pieces <= PIECES_MAX ||
        (size.pieces <= PIECES_MAX_EVER && size.length / size.pieces >= PIECE_BYTES_LARGE))
        return self;
    chunk *flat = flatten(self);
    if (!flat)
        free_chunk(self);
    return flat;
}

/* ---- the end ------------------------------------------------------------ */

/* It waits no more, and nobody watches its client. */
static void leave(lp__stream *stream)
{
    lp__exchange *exchange = stream->exchange;
    lp__subscribe_unwatch(exchange);
    if (exchange->poll)
        lp__poll_cancel(exchange->poll);
    lp__exchange_set_poll(exchange, NULL);
}

static void set_headers(lp__stream *stream)
{
    lp__exchange *exchange = stream->exchange;
    lp__exchange_set_headers(exchange, &stream_reply, SIZE_MAX);
    if (exchange->req->version < 0x101)
        exchange->req->http1_is_persistent = 0; /* no chunks: the end of the connection ends it */
}

/* Behind this the exchange may be gone. */
static void send_pieces(lp__stream *stream, h2o_iovec_t *pieces, size_t count, size_t length,
                        h2o_send_state_t state)
{
    lp__exchange *exchange = stream->exchange;
    stream->is_writing = true;
    if (stream->is_starting) {
        stream->is_starting = false;
        lp__exchange_send(exchange, pieces, count, length, state);
        return;
    }
    lp__inflight_join(exchange, length);
    h2o_send(exchange->req, pieces, count, state);
}

static void finish(lp__stream *stream)
{
    leave(stream);
    if (stream->is_starting)
        set_headers(stream);
    send_pieces(stream, NULL, 0, 0, H2O_SEND_STATE_FINAL);
}

void lp__stream_forget(lp__stream *stream)
{
    lp__list_unlink(&stream->link);
    free_chunk(stream->chunk);
    free_chunk(stream->next);
}

/* The connection ends with the stream, and that as soon as nothing is being written. */
static void end_with_connection(lp__stream *stream)
{
    stream->exchange->req->http1_is_persistent = 0;
    stream->ends = true;
    if (!stream->is_writing)
        finish(stream);
}

void lp__stream_gone(lp__exchange *exchange)
{
    end_with_connection(exchange->stream);
}

void lp__streams_end(lp__http *http, const h2o_context_t *context)
{
    lp__list these;
    lp__list_take(&http->streams, &these);
    while (!lp__list_is_empty(&these)) {
        lp__stream *stream = LP__CONTAINER(these.next, lp__stream, link);
        lp__list_unlink(&stream->link);
        if (context && stream->exchange->req->conn->ctx != context) {
            lp__list_push_back(&http->streams, &stream->link);
            continue;
        }
        leave(stream);
        end_with_connection(stream);
    }
}

/* ---- chunk after chunk -------------------------------------------------- */

static bool deletes(const lp__http *http)
{
    return http->site->bounds.delete_after_first_retrieval;
}

static int64_t time_left(const lp__stream *stream)
{
    uint64_t now = lp__loop_now(stream->exchange->http->loop);
    return stream->end_ms > now + END_GRAIN_MS ? (int64_t)(stream->end_ms - now) : 0;
}

static int64_t until_heartbeat(const lp__stream *stream)
{
    int64_t left = time_left(stream),
            heartbeat = stream->exchange->http->site->options.stream_heartbeat_ms;
    return left < heartbeat ? left : heartbeat;
}

static bool is_over(lp__stream *stream)
{
    lp__exchange *exchange = stream->exchange;
    if (!lp__http_is_serving(exchange->http) || exchange->req->conn->ctx->shutdown_requested) {
        exchange->req->http1_is_persistent = 0;
        return true;
    }
    return stream->ends || time_left(stream) == 0;
}

/* Only of what is not the last, libh2o tells that it has been written. */
static void write_next(lp__stream *stream)
{
    chunk *next = stream->next;
    bool is_last = stream->ends && !(next->event_count && deletes(stream->exchange->http));
    stream->next = NULL;
    stream->chunk = next;
    if (is_last)
        leave(stream);
    send_pieces(stream, (h2o_iovec_t *)(void *)next->pieces, next->count, next->length,
                is_last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

/* A chunk is with the kernel. */
static void on_written(h2o_generator_t *generator, h2o_req_t *req)
{
    lp__exchange *exchange = LP__CONTAINER(generator, lp__exchange, generator);
    lp__stream *stream = exchange->stream;
    lp__http *http = exchange->http;
    (void)req;
    stream->is_writing = false;
    lp__inflight_leave(exchange);
    if (stream->chunk && stream->chunk->event_count && deletes(http) && http->port)
        lp__port_retrieved(http->port, stream->chunk->events, stream->chunk->event_count);
    bool rests = stream->chunk != NULL; /* the first bytes came without an answer */
    free_chunk(stream->chunk);
    stream->chunk = NULL;
    if (stream->next)
        write_next(stream);
    else if (is_over(stream))
        finish(stream);
    else if (rests)
        lp__poll_continue(exchange->poll, until_heartbeat(stream));
}

/* NULL: there is no memory, or so many bytes are on their way to slow readers that this chunk is
 * better not sent. */
static chunk *next_chunk(const lp__exchange *exchange, const lp_answer *answer)
{
    chunk *self = new_chunk(answer);
    if (self && lp__inflight_is_crowded(exchange, self->length, self->is_flat)) {
        free_chunk(self);
        return NULL;
    }
    return self;
}

static void on_answered(void *ctx, const lp_answer *answer)
{
    lp__exchange *exchange = ctx;
    lp__stream *stream = exchange->stream;
    stream->ends |= answer->closing || is_over(stream);
    if (answer->closing)
        exchange->req->http1_is_persistent = 0;
    stream->next = next_chunk(exchange, answer);
    if (!stream->next)
        stream->ends = true; /* its reader resumes behind what it got */
    if (stream->is_writing)
        return;
    if (stream->next)
        write_next(stream);
    else
        finish(stream);
}

/* ---- the beginning ------------------------------------------------------ */

static void send_opening(lp__stream *stream)
{
    h2o_iovec_t opening = h2o_iovec_init(stream->opening, sizeof(stream->opening));
    set_headers(stream);
    stream->exchange->generator.proceed = on_written;
    send_pieces(stream, &opening, 1, opening.len, H2O_SEND_STATE_IN_PROGRESS);
}

/* At home this is told before the stream's client is looked after, which may yet fail. */
static void on_opened(void *ctx, lp_id position)
{
    lp__exchange *exchange = ctx;
    lp__stream *stream = exchange->stream;
    lp__sse_position(position, stream->opening);
    stream->is_opened = true;
    if (exchange->poll)
        send_opening(stream);
}

static void refuse(lp__exchange *exchange, int status)
{
    lp__subscribe_unwatch(exchange);
    lp__exchange_set_poll(exchange, NULL);
    lp__stream_forget(exchange->stream);
    exchange->stream = NULL;
    lp__subscribe_refuse(exchange, status);
}

static void on_refused(void *ctx, int status)
{
    refuse(ctx, status);
}

void lp__stream_start(lp__exchange *exchange, const lp_query *query)
{
    static const lp__poll_calls calls = {on_opened, on_answered, on_refused};
    lp__http *http = exchange->http;
    lp__stream *stream = h2o_mem_alloc_pool(&exchange->req->pool, sizeof(*stream));
    memset(stream, 0, sizeof(*stream));
    stream->exchange = exchange;
    stream->is_starting = true;
    stream->end_ms = lp__loop_now(http->loop) + (uint64_t)query->timeout_s * 1000;
    exchange->stream = stream;
    lp__list_push_back(&http->streams, &stream->link);
    int status = lp__subscribe_wait(exchange, query,
                                    &(lp__poll_options){.calls = &calls,
                                                        .ctx = exchange,
                                                        .timeout_ms = until_heartbeat(stream),
                                                        .is_stream = true,
                                                        .answer_bytes_max = CHUNK_BYTES});
    if (status != LP_OK)
        refuse(exchange, status);
    else if (stream->is_opened)
        send_opening(stream);
}

/* A browser's EventSource gives up for good on any status but 200, and comes again after a stream
 * that ended. So what will pass is said in a stream that ends at once, and tells no position. */
void lp__stream_refuse(lp__exchange *exchange, const lp__reply *why, const char *sentence)
{
    size_t max = strlen(sentence) + 32;
    char *text = h2o_mem_alloc_pool(&exchange->req->pool, max);
    int len = snprintf(text, max, ": %s\nretry: %d\n\n", sentence, why->retry_after_s * 1000);
    lp__reply reply = stream_reply;
    reply.retry_after_s = why->retry_after_s;
    reply.close = why->close;
    reply.body = (lp_str){text, (size_t)len};
    lp__figure_add(&exchange->http->figures.refused_busy, 1);
    lp__exchange_reply(exchange, &reply);
}

void lp__stream_answer_head(lp__exchange *exchange)
{
    lp__exchange_set_headers(exchange, &stream_reply, SIZE_MAX);
    lp__exchange_send(exchange, NULL, 0, 0, H2O_SEND_STATE_FINAL);
}
