/* The way in: from lp_publish on any thread, through the engine and the store, to the publisher's
 * callback.
 *
 * Everything but lp_publish and lp_publish_cjson runs on the home loop. */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "../engine/event_prepare.h"
#include "../engine/json.h"
#include "addon_nouns.h"
#include "manager_private.h"

void lp__queue_init(lp__queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

static void push(lp__queue *queue, lp__publication *publication)
{
    publication->next = NULL;
    *queue->last = publication;
    queue->last = &publication->next;
}

static lp__publication *pop(lp__queue *queue)
{
    lp__publication *publication = queue->first;
    if (publication != NULL && (queue->first = publication->next) == NULL)
        queue->last = &queue->first;
    return publication;
}

static lp__queue take_all(lp__queue *queue)
{
    lp__queue all = *queue; /* to be popped from, not pushed to */
    lp__queue_init(queue);
    return all;
}

/* ---- accepting, on any thread ------------------------------------------- */

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

/* Counts one event more against the bounds on what is pending. */
static int count_in(lp_manager *manager, size_t bytes)
{
    uint64_t events = atomic_fetch_add(&manager->pending, 1) + 1;
    uint64_t total = atomic_fetch_add(&manager->pending_bytes, bytes) + bytes;
    if (events <= (uint64_t)manager->options.pending_max &&
        (total <= (uint64_t)manager->options.pending_bytes_max || events == 1))
        return LP_OK;
    atomic_fetch_sub(&manager->pending, 1);
    atomic_fetch_sub(&manager->pending_bytes, bytes);
    return LP_EFULL;
}

static int make_publication(lp_manager *manager, lp_str category, lp_str data, lp_publish_cb done,
                            void *ctx, lp__publication **out)
{
    int status = refusal_by_state(manager);
    if (status != LP_OK)
        return status;
    if (data.len == 4 && memcmp(data.base, "null", 4) == 0)
        return LP_EINVAL;
    if (data.len > (size_t)manager->options.event_bytes_max)
        return LP_ETOOBIG;
    lp__publication *publication = calloc(1, sizeof(*publication));
    if (publication == NULL)
        return LP_ENOMEM;
    status = lp__event_prepare(category, data, &publication->event);
    if (status == LP_OK) {
        status = count_in(manager, lp__event_bytes(publication->event));
        if (status != LP_OK)
            lp_event_unref(publication->event);
    }
    if (status != LP_OK) {
        free(publication);
        return status;
    }
    publication->done = done;
    publication->ctx = ctx;
    *out = publication;
    return LP_OK;
}

static void discard(lp_manager *manager, lp__publication *publication)
{
    atomic_fetch_sub(&manager->pending, 1);
    atomic_fetch_sub(&manager->pending_bytes, lp__event_bytes(publication->event));
    lp_event_unref(publication->event);
    free(publication);
}

/* Everything waits for the end of a turn, also what comes from the home loop: so no callback runs
 * within lp_publish, and the order of a thread's calls is kept, wherever they were made. */
static int post(lp_manager *manager, lp__publication *publication, bool at_home)
{
    uv_mutex_lock(&manager->mailbox_mutex);
    bool closed = manager->mailbox_closed;
    if (!closed) {
        bool first = manager->mailbox.first == NULL;
        push(&manager->mailbox, publication);
        if (at_home)
            lp__manager_soon(manager);
        else if (first)
            lp__manager_wake(manager);
    }
    uv_mutex_unlock(&manager->mailbox_mutex);
    if (closed)
        discard(manager, publication);
    return closed ? LP_ECLOSED : LP_OK;
}

/* ---- into the engine ---------------------------------------------------- */

/* Its callback runs at the end of the turn. `reason` may be NULL and is copied. */
static void complete(lp_manager *manager, lp__publication *publication, int status,
                     const char *reason)
{
    publication->status = status;
    publication->reason = status != LP_OK && reason != NULL ? strdup(reason) : NULL;
    atomic_fetch_sub(&manager->pending, 1);
    atomic_fetch_sub(&manager->pending_bytes, lp__event_bytes(publication->event));
    push(&manager->completed, publication);
}

/* The batch that is being filled; a full one goes to the store's queue first. */
static lp__job *job_with_room(lp_manager *manager, size_t bytes)
{
    lp__job *job = manager->gathering;
    if (job != NULL && (lp_batch_event_count(job->batch) >= BATCH_EVENTS_MAX ||
                        job->bytes + bytes > BATCH_BYTES_MAX)) {
        lp_batch_set_highest(job->batch, lp_event_seq(lp_batch_event(
                                             job->batch, lp_batch_event_count(job->batch) - 1)));
        lp__worker_submit(manager->worker, job);
        manager->jobs_out++;
        manager->gathering = job = NULL;
    }
    if (job == NULL && lp__job_new(&manager->gathering) != LP_OK)
        return NULL;
    return manager->gathering;
}

static void accept_without_store(lp_manager *manager, lp__publication *publication)
{
    lp__now now = lp__manager_now();
    int status = lp__engine_stamp(manager->engine, now, &publication->event, 1);
    if (status == LP_OK)
        lp__engine_resolve(manager->engine, now, true);
    complete(manager, publication, status, NULL);
}

static void accept_for_store(lp_manager *manager, lp__publication *publication)
{
    size_t bytes = lp__event_bytes(publication->event);
    lp__job *job = job_with_room(manager, bytes);
    int status = job == NULL ? LP_ENOMEM : LP_OK;
    if (status == LP_OK)
        status = lp__batch_reserve(job->batch, 1);
    if (status == LP_OK)
        status = lp__engine_stamp(manager->engine, lp__manager_now(), &publication->event, 1);
    if (status != LP_OK) {
        if (job != NULL && lp_batch_event_count(job->batch) == 0) {
            lp__job_free(job);
            manager->gathering = NULL;
        }
        complete(manager, publication, status, NULL);
        return;
    }
    lp_batch_add_event(job->batch, publication->event); /* reserved: cannot fail */
    job->bytes += bytes;
    push(&manager->waiting, publication);
}

static void accept_publication(lp_manager *manager, lp__publication *publication)
{
    if (manager->doubt.status != LP_OK)
        complete(manager, publication, LP_EINDOUBT, manager->doubt.message);
    else if (manager->worker == NULL)
        accept_without_store(manager, publication);
    else
        accept_for_store(manager, publication);
}

void lp__publish_mailbox(lp_manager *manager)
{
    uv_mutex_lock(&manager->mailbox_mutex);
    lp__queue mail = take_all(&manager->mailbox);
    uv_mutex_unlock(&manager->mailbox_mutex);
    lp__publication *publication;
    while ((publication = pop(&mail)) != NULL)
        accept_publication(manager, publication);
}

void lp__publish_refuse_mailbox(lp_manager *manager)
{
    uv_mutex_lock(&manager->mailbox_mutex);
    lp__queue mail = take_all(&manager->mailbox);
    uv_mutex_unlock(&manager->mailbox_mutex);
    lp__publication *publication;
    while ((publication = pop(&mail)) != NULL)
        complete(manager, publication, LP_ECLOSED, NULL);
}

static int publish(lp_manager *manager, lp_str category, lp_str data, lp_publish_cb done, void *ctx,
                   bool at_home)
{
    lp__publication *publication;
    int status = make_publication(manager, category, data, done, ctx, &publication);
    if (status == LP_OK)
        status = post(manager, publication, at_home);
    if (status != LP_OK)
        atomic_fetch_add(&manager->refused, 1);
    return status;
}

typedef struct single {
    lp_publish_all_cb done;
    void *ctx;
} single;

static void on_single(void *ctx, const lp_error *error, const lp_event *event)
{
    single *one = ctx;
    lp_event *events[1] = {(lp_event *)(uintptr_t)event};
    lp_publish_result result = {.error = *error, .events = event ? events : NULL, .event_count = 1};
    one->done(one->ctx, &result);
    free(one);
}

int lp__manager_publish(lp_manager *manager, const lp_publish_request *request,
                        lp_publish_all_cb done, void *ctx)
{
    if (request->item_count != 1 || request->idempotency_key.len > 0)
        return LP_EINVAL;
    single *one = malloc(sizeof(*one));
    if (one == NULL)
        return LP_ENOMEM;
    *one = (single){done, ctx};
    int status =
        publish(manager, request->items[0].category, request->items[0].data, on_single, one, true);
    if (status != LP_OK)
        free(one);
    return status;
}

int lp_publish(lp_manager *manager, lp_str category, lp_str data, lp_publish_cb done, void *ctx)
{
    if (!lp__json_check(data, &data))
        return LP_EINVAL;
    return publish(manager, category, data, done, ctx, false);
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

/* ---- to the store and back ---------------------------------------------- */

/* Whether a batch must go out for the sake of changes alone. Most of them can wait for the next
 * event; at the end there is none, and they get batches until one fails. */
static bool changes_are_due(lp_manager *manager, bool events)
{
    int64_t now = lp__manager_now().mono_ms;
    if (manager->doubt.status != LP_OK || !lp__engine_changed(manager->engine))
        manager->changes_at_ms = INT64_MAX;
    else if (manager->ending != RUNNING)
        manager->changes_at_ms = events || manager->changes_told ? INT64_MAX : now;
    else if (lp__engine_changes_are_urgent(manager->engine) && !manager->changes_held)
        manager->changes_at_ms = now;
    else if (manager->changes_at_ms == INT64_MAX)
        manager->changes_at_ms = now + CHANGES_DELAY_MS;
    return now >= manager->changes_at_ms;
}

void lp__publish_submit(lp_manager *manager)
{
    if (manager->worker == NULL || manager->jobs_out > 0)
        return; /* what comes in meanwhile gathers */
    bool events = manager->gathering != NULL && lp_batch_event_count(manager->gathering->batch) > 0;
    lp_state state = lp__state(manager);
    if (state == LP_STATE_STARTING || state == LP_STATE_FAILED)
        return;
    bool changes = changes_are_due(manager, events);
    if (!events && !changes)
        return;
    /* After a failure they go apart: what frees space must not wait for what needs it. */
    bool apart = manager->changes_held;
    lp__job *job = apart && changes ? NULL : manager->gathering;
    if (job == NULL && lp__job_new(&job) != LP_OK) {
        manager->changes_at_ms = lp__manager_now().mono_ms + CHANGES_DELAY_MS;
        return;
    }
    if (!apart || !changes)
        manager->gathering = NULL;
    if (!apart || changes) {
        lp__engine_take_changes(manager->engine, BATCH_CHANGES_MAX, job->batch);
        manager->changes_at_ms = INT64_MAX;
    }
    lp__worker_submit(manager->worker, job);
    manager->jobs_out++;
}

/* A full disk fails every batch: one line a second says enough. */
static void log_failure(lp_manager *manager, const lp__job *job, int64_t now_ms)
{
    enum { LOG_EVERY_MS = 1000 };
    if (manager->failure_logged_ms != 0 && now_ms - manager->failure_logged_ms < LOG_EVERY_MS)
        return;
    manager->failure_logged_ms = now_ms;
    lp__manager_log(manager, LP_LOG_ERROR, "a batch of %zu events was not kept: %s",
                    lp_batch_event_count(job->batch), job->error.message);
}

/* Ends one job: its events are seen or dropped, in their order. */
static void finish_job(lp_manager *manager, lp__job *job)
{
    lp__now now = lp__manager_now();
    manager->count.batches++;
    bool failed = job->status != LP_OK;
    if (failed) {
        manager->count.failed_batches++;
        log_failure(manager, job, now.mono_ms);
        lp__engine_put_back_changes(manager->engine, job->batch);
        if (lp_batch_removal_count(job->batch) + lp_batch_horizon_count(job->batch) > 0)
            manager->changes_at_ms = now.mono_ms + CHANGES_DELAY_MS;
    }
    manager->changes_held = failed;
    manager->changes_told = failed && manager->ending != RUNNING;
    if (job->status == LP_EINDOUBT && manager->doubt.status == LP_OK)
        manager->doubt = job->error;

    for (size_t i = 0, count = lp_batch_event_count(job->batch); i < count; i++) {
        lp__publication *publication = pop(&manager->waiting);
        const char *reason = failed ? job->error.message : NULL;
        int status = failed ? job->status : lp_batch_status(job->batch, i, &reason);
        lp__engine_resolve(manager->engine, now, status == LP_OK);
        complete(manager, publication, status, reason);
    }
    if (job->status == LP_EINDOUBT && lp__state(manager) == LP_STATE_SERVING)
        lp__manager_set_state(manager, LP_STATE_IN_DOUBT, &job->error);
    lp__job_free(job);
}

/* Batches behind one that ended in doubt are handed to the add-on all the same, which refuses them.
 */
void lp__publish_collect(lp_manager *manager)
{
    lp__job *job;
    while (manager->worker != NULL && (job = lp__worker_done(manager->worker)) != NULL) {
        manager->jobs_out--;
        finish_job(manager, job);
    }
}

void lp__publish_run_completions(lp_manager *manager)
{
    lp__queue completed = take_all(&manager->completed);
    lp__publication *publication;
    while ((publication = pop(&completed)) != NULL) {
        lp_error error = {LP_OK, ""};
        bool kept = publication->status == LP_OK;
        if (kept)
            manager->count.published++;
        else
            atomic_fetch_add(&manager->refused, 1);
        if (!kept)
            lp_error_set(&error, publication->status, "%s",
                         publication->reason != NULL ? publication->reason
                                                     : lp_strerror(publication->status));
        if (publication->done != NULL)
            publication->done(publication->ctx, &error, kept ? publication->event : NULL);
        lp_event_unref(publication->event);
        free(publication->reason);
        free(publication);
    }
}

bool lp__publish_is_quiet(const lp_manager *manager)
{
    return manager->gathering == NULL && manager->jobs_out == 0;
}

void lp__publish_abandon(lp_manager *manager)
{
    lp__publication *publication;
    while ((publication = pop(&manager->waiting)) != NULL) {
        manager->unkept++;
        complete(manager, publication, LP_EDEADLINE,
                 "the store did not finish before the deadline of the shutdown");
    }
    if (manager->gathering != NULL)
        lp__job_free(manager->gathering);
    manager->gathering = NULL;
}
