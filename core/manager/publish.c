/* The way in, on any thread: what is published is checked, copied, counted against the bounds on
 * what is pending, and put into the mailbox of the home loop (accept.c). */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "../engine/event_prepare.h"
#include "../engine/json.h"
#include "../engine/keys.h"
#include "manager_private.h"

void lp__queue_init(lp__queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

void lp__queue_push(lp__queue *queue, lp__publication *publication)
{
    publication->next = NULL;
    *queue->last = publication;
    queue->last = &publication->next;
}

lp__publication *lp__queue_pop(lp__queue *queue)
{
    lp__publication *publication = queue->first;
    if (publication != NULL && (queue->first = publication->next) == NULL)
        queue->last = &queue->first;
    return publication;
}

lp__queue lp__queue_take(lp__queue *queue)
{
    lp__queue all = *queue;
    lp__queue_init(queue);
    return all;
}

void lp__queue_append(lp__queue *to, lp__queue *from)
{
    if (from->first == NULL)
        return;
    *to->last = from->first;
    to->last = from->last;
    lp__queue_init(from);
}

/* ---- a publication ------------------------------------------------------ */

size_t lp__publication_bytes(const lp__publication *publication)
{
    size_t bytes = 0;
    for (size_t i = 0; i < publication->count; i++)
        bytes += lp__event_bytes(publication->events[i]);
    return bytes;
}

lp__once *lp__publication_once(lp__publication *publication)
{
    size_t before = publication->count + publication->is_remote;
    return publication->has_key ? (lp__once *)(void *)(publication->events + before) : NULL;
}

static lp__remote **place_of_remote(const lp__publication *publication)
{
    return (lp__remote **)(void *)(uintptr_t)(publication->events + publication->count);
}

lp__remote *lp__publication_remote(const lp__publication *publication)
{
    return publication->is_remote ? *place_of_remote(publication) : NULL;
}

static void discard(lp__publication *publication)
{
    for (size_t i = 0; i < publication->count; i++)
        lp_event_unref(publication->events[i]);
    free(publication);
}

/* What it was called with, and how. */
typedef struct call {
    const lp_publish_item *items;
    size_t count;
    lp_str key;
    bool is_single;  /* lp_publish and its like */
    bool is_checked; /* the data has passed the JSON check */
    bool at_home;
    lp__remote *remote; /* the port that it came by; NULL: none, or the home port */
} call;

static int prepare_item(const lp_manager *manager, const lp_publish_item *item, bool is_checked,
                        lp_event **out)
{
    lp_str data = item->data;
    if (!is_checked && !lp__json_check(data, &data))
        return LP_EINVAL;
    if (data.len == 4 && memcmp(data.base, "null", 4) == 0)
        return LP_EINVAL;
    if (data.len > (size_t)manager->options.event_bytes_max)
        return LP_ETOOBIG;
    return lp__event_prepare(item->category, data, out);
}

static void prepare_once(lp__publication *publication, lp_str key)
{
    publication->has_key = true;
    lp__once *once = lp__publication_once(publication);
    *once = (lp__once){.key_len = key.len};
    memcpy(once->text, key.base, key.len);
    lp__queue_init(&once->joined);
    for (size_t i = 0; i < publication->count; i++)
        once->digest = lp__keys_digest(once->digest, lp_event_category(publication->events[i]),
                                       lp_event_data(publication->events[i]));
}

static int prepare(const lp_manager *manager, const call *made, lp__publication **out)
{
    size_t remote_size = made->remote != NULL ? sizeof(lp__remote *) : 0;
    size_t once_size = made->key.len > 0 ? sizeof(lp__once) + made->key.len : 0;
    /* glibc's malloc hands out what was freed on the home loop in an order that lets its walk
     * through a full mailbox miss the cache, its calloc does not: a quarter of a publish's time */
    lp__publication *publication =
        calloc(1, offsetof(lp__publication, events) + made->count * sizeof(lp_event *) +
                      remote_size + once_size);
    if (publication == NULL)
        return LP_ENOMEM;
    publication->is_single = made->is_single;
    for (size_t i = 0; i < made->count; i++, publication->count++) {
        int status =
            prepare_item(manager, &made->items[i], made->is_checked, &publication->events[i]);
        if (status != LP_OK) {
            discard(publication);
            return status;
        }
    }
    publication->is_remote = made->remote != NULL;
    if (made->remote != NULL)
        *place_of_remote(publication) = made->remote;
    if (made->key.len > 0)
        prepare_once(publication, made->key);
    *out = publication;
    return LP_OK;
}

/* ---- accepting ---------------------------------------------------------- */

static int refusal_by_state(const lp_manager *manager)
{
    switch (lp__state(manager)) {
    case LP_STATE_STARTING:
        return LP_ESTARTING;
    case LP_STATE_SERVING:
        return LP_OK;
    case LP_STATE_IN_DOUBT:
        return LP_EINDOUBT;
    default:
        return LP_ECLOSED;
    }
}

/* Counts it against the bounds on what is pending. A single event is let in at least when it is
 * alone, however large it may be. */
static int count_in(lp_manager *manager, size_t count, size_t bytes)
{
    uint64_t bytes_max = (uint64_t)manager->options.pending_bytes_max;
    if (count > 1 && bytes > bytes_max)
        return LP_ETOOBIG;
    uint64_t events = atomic_fetch_add(&manager->pending, count) + count;
    uint64_t total = atomic_fetch_add(&manager->pending_bytes, bytes) + bytes;
    if (events <= (uint64_t)manager->options.pending_max && (total <= bytes_max || events == 1))
        return LP_OK;
    atomic_fetch_sub(&manager->pending, count);
    atomic_fetch_sub(&manager->pending_bytes, bytes);
    return LP_EFULL;
}

/* Everything waits for the end of a turn, also what comes from the home loop: so no callback runs
 * within lp_publish, and the order of a thread's calls is kept, wherever they were made. */
static int post(lp_manager *manager, lp__publication *publication, bool at_home)
{
    uv_mutex_lock(&manager->mailbox_mutex);
    bool closed = manager->mailbox_closed;
    if (!closed) {
        bool first = manager->mailbox.first == NULL;
        lp__queue_push(&manager->mailbox, publication);
        if (at_home)
            lp__manager_soon(manager);
        else if (first)
            lp__manager_wake(manager);
    }
    uv_mutex_unlock(&manager->mailbox_mutex);
    return closed ? LP_ECLOSED : LP_OK;
}

static int check_call(const lp_manager *manager, const call *made)
{
    int status = refusal_by_state(manager);
    if (status != LP_OK)
        return status;
    if (made->count == 0 || made->key.len > LP_IDEMPOTENCY_KEY_MAX)
        return LP_EINVAL;
    if (made->count > (size_t)manager->options.pending_max || made->count > UINT32_MAX)
        return LP_ETOOBIG;
    return LP_OK;
}

/* One of the callbacks is the one, by `is_single`. */
static int publish(lp_manager *manager, const call *made, lp_publish_cb single,
                   lp_publish_all_cb all, void *ctx)
{
    lp__publication *publication = NULL;
    int status = check_call(manager, made);
    if (status == LP_OK)
        status = prepare(manager, made, &publication);
    size_t bytes = 0;
    if (status == LP_OK) {
        bytes = lp__publication_bytes(publication);
        status = count_in(manager, made->count, bytes);
    }
    if (status != LP_OK)
        goto refused;
    publication->called_us = lp__manager_mono_us();
    publication->ctx = ctx;
    if (made->is_single)
        publication->done.single = single;
    else
        publication->done.all = all;
    if (made->remote != NULL) {
        lp__remote_send_publication(made->remote, publication);
        return LP_OK;
    }
    status = post(manager, publication, made->at_home);
    if (status == LP_OK)
        return LP_OK;
    atomic_fetch_sub(&manager->pending, made->count);
    atomic_fetch_sub(&manager->pending_bytes, bytes);

refused:
    if (publication != NULL)
        discard(publication);
    atomic_fetch_add(&manager->refused, made->count > 0 ? made->count : 1);
    return status;
}

static int publish_all(lp_manager *manager, const lp_publish_request *request, call made,
                       lp_publish_all_cb done, void *ctx)
{
    if (request->struct_size >= offsetof(lp_publish_request, idempotency_key) + sizeof(lp_str)) {
        made.items = request->items;
        made.count = request->items != NULL ? request->item_count : 0;
        made.key = request->idempotency_key;
    }
    return publish(manager, &made, NULL, done, ctx);
}

int lp_publish_all(lp_manager *manager, const lp_publish_request *request, lp_publish_all_cb done,
                   void *ctx)
{
    return publish_all(manager, request, (call){.is_checked = false}, done, ctx);
}

int lp__publish_from(lp__port *port, const lp_publish_request *request, lp_publish_all_cb done,
                     void *ctx)
{
    call made = {.is_checked = true, .at_home = port->remote == NULL, .remote = port->remote};
    return publish_all(port->manager, request, made, done, ctx);
}

int lp_publish(lp_manager *manager, lp_str category, lp_str data, lp_publish_cb done, void *ctx)
{
    lp_publish_item item = {category, data};
    call made = {.items = &item, .count = 1, .is_single = true};
    return publish(manager, &made, done, NULL, ctx);
}

int lp_publish_cjson(lp_manager *manager, lp_str category, const struct cJSON *data,
                     lp_publish_cb done, void *ctx)
{
    if (data == NULL || cJSON_IsInvalid(data))
        return LP_EINVAL;
    char *text = cJSON_PrintUnformatted(data);
    if (text == NULL)
        return LP_ENOMEM;
    int status = lp_publish(manager, category, lp_str_of(text), done, ctx);
    cJSON_free(text);
    return status;
}
