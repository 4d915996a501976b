/* Batches, to the store and back: what goes out when, and what becomes of the events of a batch
 * that is done. Home loop. */
#include <stdlib.h>

#include "histogram.h"
#include "manager_private.h"

lp__job *lp__publish_job(lp_manager *manager, size_t events, size_t bytes)
{
    lp__job *job = manager->gathering;
    size_t count = job != NULL ? lp_batch_event_count(job->batch) : 0;
    if (count > 0 && (count + events > BATCH_EVENTS_MAX || job->bytes + bytes > BATCH_BYTES_MAX)) {
        lp_batch_set_highest(job->batch, lp_event_seq(lp_batch_event(job->batch, count - 1)));
        lp__worker_submit(manager->worker, job);
        manager->jobs_out++;
        manager->gathering = job = NULL;
    }
    if (job == NULL && lp__job_new(&manager->gathering) != LP_OK)
        return NULL;
    return manager->gathering;
}

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

/* What is looked at next: publications and events have left the cache while the store was busy. */
static void fetch(const lp__publication *next)
{
    if (next == NULL)
        return;
    __builtin_prefetch(next->next);
    __builtin_prefetch(next->events[0]);
}

/* Ends one job: its events are seen or dropped, in their order. */
static void finish_job(lp_manager *manager, lp__job *job)
{
    lp__now now = lp__manager_now();
    manager->count.batches++;
    bool failed = job->status != LP_OK;
    lp__histogram_add(&manager->count.commit_duration, job->took_us);
    manager->failure.status = LP_OK;
    if (failed) {
        manager->failure = job->error;
        manager->failed_at_ms = now.mono_ms;
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

    for (size_t i = 0, count = lp_batch_event_count(job->batch); i < count;) {
        lp__publication *publication = lp__queue_pop(&manager->waiting);
        fetch(manager->waiting.first);
        const char *reason = failed ? job->error.message : NULL;
        int status = failed ? job->status : lp_batch_status(job->batch, i, &reason);
        for (size_t n = 0; n < publication->count; n++)
            lp__engine_resolve(manager->engine, now, status == LP_OK);
        i += publication->count;
        lp__publish_complete(manager, publication, status, reason);
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

bool lp__publish_is_quiet(const lp_manager *manager)
{
    return manager->gathering == NULL && manager->jobs_out == 0;
}

void lp__publish_abandon(lp_manager *manager)
{
    lp__publication *publication;
    while ((publication = lp__queue_pop(&manager->waiting)) != NULL) {
        manager->unkept++;
        const lp__once *once = lp__publication_once(publication);
        const lp__publication *repeat = once != NULL ? once->joined.first : NULL;
        for (; repeat != NULL; repeat = repeat->next)
            manager->unkept++;
        lp__publish_complete(manager, publication, LP_EDEADLINE,
                             "the store did not finish before the deadline of the shutdown");
    }
    if (manager->gathering != NULL)
        lp__job_free(manager->gathering);
    manager->gathering = NULL;
}
