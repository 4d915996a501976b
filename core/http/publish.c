/* Publishes over HTTP: reading them, and answering when their event is kept or refused. On the
 * thread of their loop. */
#include "inside.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/publish_body.h"

typedef struct post {
    lp__pending super;
    bool is_array;
    bool represents; /* the answer is what was published */
} post;

static const lp__reply publish_reply = {
    .status = 200, .headers = lp__publish_headers, .header_count = LP__PUBLISH_HEADERS};

/* ---- answers ----------------------------------------------------------- */

static void answer(lp__exchange *exchange, int http_status, lp_str body)
{
    lp__reply reply = publish_reply;
    reply.status = http_status;
    reply.body = body;
    lp__exchange_reply(exchange, &reply);
}

static void refuse(lp__exchange *exchange, int status, const char *sentence)
{
    lp__reply reply = publish_reply;
    int http_status = lp__reply_status(status, &reply.retry_after_s);
    reply.close = status == LP_ECLOSED;
    lp__exchange_error(exchange, http_status, &reply, sentence);
}

static void refuse_request(lp__exchange *exchange, const char *sentence)
{
    lp__exchange_error(exchange, 400, &publish_reply, sentence);
}

/* The text of one event, or {"events":[…]}. */
static lp_str represent(h2o_mem_pool_t *pool, const lp_publish_result *result, bool is_array)
{
    if (!is_array) {
        lp_str wire = lp_event_wire(result->events[0]);
        return (lp_str){memcpy(h2o_mem_alloc_pool(pool, wire.len), wire.base, wire.len), wire.len};
    }
    lp_answer all = {.events = result->events, .event_count = result->event_count};
    lp_str *pieces = h2o_mem_alloc_pool(pool, lp__answer_pieces_max(&all) * sizeof(*pieces));
    size_t count, length = lp__answer_build(&all, NULL, pieces, &count);
    char *body = h2o_mem_alloc_pool(pool, length);
    lp__answer_flatten(pieces, count, body);
    return (lp_str){body, length};
}

static void answer_kept(lp__exchange *exchange, const post *self, const lp_publish_result *result)
{
    static const lp__wire_header applied = {
        {"Preference-Applied", 18}, {"preference-applied", 18}, {"return=representation", 21}};
    lp__reply reply = publish_reply;
    reply.body = lp__answer_published;
    if (self->represents && result->events) {
        reply.extra = &applied;
        reply.body = represent(&exchange->req->pool, result, self->is_array);
    }
    lp__exchange_reply(exchange, &reply);
}

/* When the loop is gone, so is the request, and this is on another thread. */
static void on_published(void *ctx, const lp_publish_result *result)
{
    post *self = ctx;
    lp__exchange *exchange = lp__pending_end(&self->super);
    if (exchange && result->error.status == LP_OK)
        answer_kept(exchange, self, result);
    else if (exchange)
        refuse(exchange, result->error.status, result->error.message);
    free(self);
}

/* ---- into the manager -------------------------------------------------- */

/* Which event a manager refuses as too large. */
static void refuse_too_large(lp__exchange *exchange, const lp__publish_items *items)
{
    int64_t max = exchange->http->site->bounds.event_bytes_max;
    char sentence[128] = "the request has more events than can be kept at once";
    for (size_t i = 0; i < items->count; i++) {
        if ((int64_t)items->items[i].data.len <= max)
            continue;
        char which[32] = "";
        if (items->is_array)
            snprintf(which, sizeof(which), "item %zu: ", i + 1);
        snprintf(sentence, sizeof(sentence),
                 "%sthe event is too large, its data may have %lld bytes", which, (long long)max);
        break;
    }
    refuse(exchange, LP_ETOOBIG, sentence);
}

static void refuse_publish(lp__exchange *exchange, int status, const lp__publish_items *items)
{
    if (status == LP_ETOOBIG)
        refuse_too_large(exchange, items);
    else
        refuse(exchange, status,
               status == LP_EFULL ? "the store is behind its bound, try again later"
                                  : lp_strerror(status));
}

static void publish(lp__exchange *exchange, const lp__publish_items *items, lp_str key,
                    bool represents)
{
    lp_publish_request request = LP_PUBLISH_REQUEST_INIT;
    request.items = items->items;
    request.item_count = items->count;
    request.idempotency_key = key;
    post *self = malloc(sizeof(*self));
    int status = LP_ENOMEM;
    if (self)
        status = lp__port_publish(exchange->http->port, &request, on_published, self);
    if (status == LP_OK) {
        lp__pending_begin(&self->super, exchange);
        self->is_array = items->is_array;
        self->represents = represents;
        return;
    }
    free(self);
    refuse_publish(exchange, status, items);
}

/* ---- what headers ask for ---------------------------------------------- */

static lp_str trim(lp_str text)
{
    while (text.len && (*text.base == ' ' || *text.base == '\t')) {
        text.base++;
        text.len--;
    }
    while (text.len && (text.base[text.len - 1] == ' ' || text.base[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Why the request's key is none; NULL, and an empty `key`, when there is no such header. */
static const char *read_key(const h2o_req_t *req, lp_str *key)
{
    ssize_t at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("idempotency-key"), -1);
    *key = (lp_str){NULL, 0};
    if (at == -1)
        return NULL;
    if (h2o_find_header_by_str(&req->headers, H2O_STRLIT("idempotency-key"), at) != -1)
        return "Invalid 'Idempotency-Key' header, must be given once.";
    h2o_iovec_t value = req->headers.entries[at].value;
    *key = trim((lp_str){value.base, value.len});
    if (key->len < 1 || key->len > LP_IDEMPOTENCY_KEY_MAX)
        return "Invalid 'Idempotency-Key' header, must be 1-255 bytes long.";
    return NULL;
}
_Static_assert(LP_IDEMPOTENCY_KEY_MAX == 255, "the sentence above names it");

/* Cuts what stands before `separator` off the front of `text`; quoted strings are whole. */
static lp_str cut_at(lp_str *text, char separator)
{
    bool quoted = false;
    size_t at = 0;
    for (; at < text->len && (quoted || text->base[at] != separator); at++) {
        if (quoted && text->base[at] == '\\' && at + 1 < text->len)
            at++;
        else if (text->base[at] == '"')
            quoted = !quoted;
    }
    lp_str front = {text->base, at};
    size_t used = at < text->len ? at + 1 : at;
    text->base += used;
    text->len -= used;
    return front;
}

static bool is_word(lp_str text, const char *word)
{
    return h2o_lcstris(text.base, text.len, word, strlen(word));
}

/* Whether the first "return" among the preferences asks for the representation (RFC 7240). */
static bool prefers_representation(const h2o_req_t *req)
{
    ssize_t at = -1;
    while ((at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("prefer"), at)) != -1) {
        lp_str list = {req->headers.entries[at].value.base, req->headers.entries[at].value.len};
        while (list.len) {
            lp_str preference = cut_at(&list, ',');
            lp_str value = cut_at(&preference, ';'); /* parameters come behind it */
            if (!is_word(trim(cut_at(&value, '=')), "return"))
                continue;
            value = trim(value);
            return is_word(value, "representation") || is_word(value, "\"representation\"");
        }
    }
    return false;
}

/* ---- a request --------------------------------------------------------- */

static void answer_other_method(lp__exchange *exchange)
{
    lp__reply reply = publish_reply;
    reply.status = 405;
    reply.allow = "POST";
    reply.body = lp__answer_method_not_post;
    if (lp__method_is(exchange->req, "OPTIONS"))
        reply = (lp__reply){.status = 204, .allow = "POST, OPTIONS"};
    lp__exchange_reply(exchange, &reply);
}

/* Takes tokens for so many events; false when the request has been answered. `taken`: what the
 * request has had already, and will need again when it comes again. */
static bool is_in_time(lp__exchange *exchange, int64_t events, int64_t taken)
{
    lp__http *http = exchange->http;
    h2o_conn_t *conn = exchange->req->conn;
    struct sockaddr_storage address = {0};
    if (!http->site->rate || events <= 0)
        return true;
    conn->callbacks->get_peername(conn, (struct sockaddr *)&address);
    uint64_t wait_ms = lp__site_rate_take(http->site, (struct sockaddr *)&address, events,
                                          lp__loop_now(http->loop));
    if (wait_ms == 0)
        return true;
    wait_ms += (uint64_t)(taken * 1000 / http->site->options.publish_rate);
    lp__reply reply = publish_reply;
    reply.retry_after_s = wait_ms / 1000 < INT_MAX ? (int)((wait_ms + 999) / 1000) : INT_MAX;
    lp__exchange_error(exchange, 429, &reply,
                       "too many events are published from this address, try again later");
    return false;
}

/* The first token is taken before the body is looked at: refusing is to cost less than reading.
 * With a request that has more events than a burst, the burst is what it costs. */
static bool rest_is_in_time(lp__exchange *exchange, size_t events)
{
    int64_t burst = exchange->http->site->options.publish_burst;
    return is_in_time(exchange, (events < (uint64_t)burst ? (int64_t)events : burst) - 1, 1);
}

static void publish_body(lp__exchange *exchange, lp_str key)
{
    const h2o_req_t *req = exchange->req;
    lp_str body = {req->entity.base, req->entity.len};
    lp__publish_items items;
    int64_t count_max = exchange->http->site->bounds.pending_max;
    int status = lp__publish_items_read(body, (size_t)count_max, &items);
    if (status == LP_ENOMEM) {
        refuse(exchange, status, lp_strerror(status));
        return;
    }
    if (status != LP_OK) {
        char *error = h2o_mem_alloc_pool(&exchange->req->pool, items.error.len);
        memcpy(error, items.error.base, items.error.len);
        answer(exchange, status == LP_ETOOBIG ? 413 : 400, (lp_str){error, items.error.len});
        return;
    }
    if (rest_is_in_time(exchange, items.count))
        publish(exchange, &items, key, prefers_representation(req));
    lp__publish_items_free(&items);
}

void lp__serve_publish(lp__http *http, h2o_req_t *req)
{
    lp_str key;
    const char *fault;
    lp__figure_add(&http->figures.requests_publish, 1);
    lp__exchange *exchange = lp__exchange_start(http, req);
    if (!exchange)
        return;
    if (!lp__method_is(req, "POST"))
        answer_other_method(exchange);
    else if (http->site->options.refuse_foreign_origin &&
             lp__origin_is_foreign(&http->site->origins, req))
        lp__exchange_error(exchange, 403, &publish_reply,
                           "publishing from a page of another origin is not allowed");
    else if (!http->port)
        refuse(exchange, LP_ECLOSED, lp_strerror(LP_ECLOSED));
    else if (!is_in_time(exchange, 1, 0))
        return;
    else if (req->entity.len > (size_t)http->site->options.body_bytes_max)
        refuse(exchange, LP_ETOOBIG, "the request's body is too large");
    else if ((fault = read_key(req, &key)) != NULL)
        refuse_request(exchange, fault);
    else
        publish_body(exchange, key);
}
