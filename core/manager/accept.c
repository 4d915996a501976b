/* From the mailbox, and from the ports, into the engine and, with a store, into a batch; what is
 * published under a key is published once; and at the end the publishers are called back. Home
 * loop. */
#include <stdlib.h>
#include <string.h>

#include "../engine/keys.h"
#include "addon_nouns.h"
#include "histogram.h"
#include "manager_private.h"

static int64_t clock_ms(const lp_manager *manager)
{
    return lp__engine_clock_ms(manager->engine, lp__manager_now());
}

/* ---- the end of a publish ----------------------------------------------- */

static void end(lp_manager *manager, lp__publication *publication, int status, const char *reason)
{
    publication->status = status;
    publication->reason = status != LP_OK && reason != NULL ? strdup(reason) : NULL;
    atomic_fetch_sub(&manager->pending, publication->count);
    atomic_fetch_sub(&manager->pending_bytes, lp__publication_bytes(publication));
    lp__queue_push(&manager->completed, publication);
}

/* A repeat gets the events of the first one in place of its own, once these do not count as pending
 * any more: they need not be as large, for strangers can find two bodies of one digest. */
static void take_over(lp__publication *repeat, size_t i, lp_event *event)
{
    lp_event_ref(event);
    lp_event_unref(repeat->events[i]);
    repeat->events[i] = event;
}

/* The key is kept or free, and the repeats that waited for it end as it did. */
static void settle_key(lp_manager *manager, lp__publication *publication, lp__once *once)
{
    lp__keys *keys = lp__engine_keys(manager->engine);
    if (publication->status == LP_OK)
        lp__keys_keep(keys, once->key, clock_ms(manager));
    else
        lp__keys_drop(keys, once->key);
    once->key = NULL;

    lp__publication *repeat;
    while ((repeat = lp__queue_pop(&once->joined)) != NULL) {
        end(manager, repeat, publication->status, publication->reason);
        repeat->is_repeated = publication->status == LP_OK;
        for (size_t i = 0; repeat->is_repeated && i < repeat->count; i++)
            take_over(repeat, i, publication->events[i]);
    }
}

void lp__publish_complete(lp_manager *manager, lp__publication *publication, int status,
                          const char *reason)
{
    lp__once *once = lp__publication_once(publication);
    end(manager, publication, status, reason);
    if (once != NULL && once->key != NULL)
        settle_key(manager, publication, once);
}

static void call_back(const lp__publication *publication)
{
    bool kept = publication->status == LP_OK;
    lp_publish_result result = {.event_count = publication->count,
                                .repeated = publication->is_repeated};
    if (kept && !publication->is_lost)
        result.events = publication->events;
    if (!kept)
        lp_error_set(&result.error, publication->status, "%s",
                     publication->reason != NULL ? publication->reason
                                                 : lp_strerror(publication->status));
    if (!publication->is_single)
        publication->done.all(publication->ctx, &result);
    else
        publication->done.single(publication->ctx, &result.error,
                                 kept ? publication->events[0] : NULL);
}

static void count_completion(lp_manager *manager, const lp__publication *publication,
                             uint32_t now_us)
{
    if (publication->status != LP_OK) {
        atomic_fetch_add(&manager->refused, publication->count);
    } else if (publication->is_repeated) {
        manager->count.repeated++;
    } else {
        manager->count.published += publication->count;
        lp__histogram_add(&manager->count.publish_duration, now_us - publication->called_us);
    }
}

void lp__publication_end(lp__publication *publication)
{
    if (publication->is_single ? publication->done.single != NULL : publication->done.all != NULL)
        call_back(publication);
    for (size_t i = 0; i < publication->count; i++)
        lp_event_unref(publication->events[i]);
    free(publication->reason);
    free(publication);
}

void lp__publish_run_completions(lp_manager *manager)
{
    if (manager->completed.first == NULL)
        return;
    lp__queue completed = lp__queue_take(&manager->completed);
    uint32_t now_us = lp__manager_mono_us();
    lp__publication *publication;
    while ((publication = lp__queue_pop(&completed)) != NULL) {
        count_completion(manager, publication, now_us);
        lp__remote *remote = lp__publication_remote(publication);
        if (remote == NULL) {
            manager->has_called_back = true;
            lp__publication_end(publication);
            continue;
        }
        remote->accepted--;
        lp__mail_add_publication(&remote->out, publication);
    }
}

/* ---- publish once ------------------------------------------------------- */

/* What was published under the key before, if all of it is still in its rings. */
static void repeat_kept(lp_manager *manager, lp__publication *publication, const lp__key *key)
{
    lp__publish_complete(manager, publication, LP_OK, NULL);
    publication->is_repeated = true;
    for (size_t i = 0; i < publication->count && !publication->is_lost; i++) {
        lp_event *event = lp__engine_find(manager->engine,
                                          lp_event_category(publication->events[i]), key->seq + i);
        publication->is_lost = event == NULL;
        if (event != NULL)
            take_over(publication, i, event);
    }
}

/* Whether its key decides what becomes of it; else it goes on, and its key is pending. */
static bool is_settled_by_key(lp_manager *manager, lp__publication *publication, lp__once *once,
                              lp__now now)
{
    lp__keys *keys = lp__engine_keys(manager->engine);
    int64_t now_ms = lp__engine_clock_ms(manager->engine, now);
    lp_str text = {once->text, once->key_len};
    lp__key *key = lp__keys_find(keys, text, now_ms);
    if (key == NULL) {
        once->key = lp__keys_add(keys, text, once->digest, publication, now_ms);
        if (once->key == NULL)
            lp__publish_complete(manager, publication, LP_ENOMEM, NULL);
        return once->key == NULL;
    }
    lp__publication *first = key->owner;
    if (key->digest != once->digest || key->count != publication->count) {
        manager->count.conflicting++;
        lp__publish_complete(manager, publication, LP_ECONFLICT, NULL);
    } else if (first != NULL) {
        lp__queue_push(&lp__publication_once(first)->joined, publication);
    } else {
        repeat_kept(manager, publication, key);
    }
    return true;
}

static void stamp_key(const lp__publication *publication, const lp__once *once)
{
    if (once == NULL)
        return;
    once->key->seq = lp_event_seq(publication->events[0]);
    once->key->count = publication->count;
}

/* ---- into the engine ---------------------------------------------------- */

static int stamp(lp_manager *manager, lp__publication *publication, lp__now now)
{
    int status = lp__engine_stamp(manager->engine, now, publication->events, publication->count);
    if (status == LP_OK)
        stamp_key(publication, lp__publication_once(publication));
    return status;
}

static void accept_without_store(lp_manager *manager, lp__publication *publication, lp__now now)
{
    int status = stamp(manager, publication, now);
    for (size_t i = 0; status == LP_OK && i < publication->count; i++)
        lp__engine_resolve(manager->engine, now, true);
    lp__publish_complete(manager, publication, status, NULL);
}

static int reserve(lp_batch *batch, const lp__publication *publication, const lp__once *once)
{
    int status = lp__batch_reserve(batch, publication->count);
    if (status == LP_OK && once != NULL)
        status = lp__batch_reserve_key(batch, once->key_len);
    return status;
}

/* Cannot fail: there is room. */
static void add_to_batch(lp_batch *batch, const lp__publication *publication, const lp__once *once)
{
    for (size_t i = 0; i < publication->count; i++)
        lp_batch_add_event(batch, publication->events[i]);
    lp_batch_group(batch, publication->count);
    if (once == NULL)
        return;
    lp_idempotency record = {.key = {once->text, once->key_len},
                             .digest = once->digest,
                             .seq = once->key->seq,
                             .count = publication->count,
                             .expires_ms = once->key->expires_ms};
    lp_batch_add_idempotency(batch, &record);
}

static void accept_for_store(lp_manager *manager, lp__publication *publication, lp__once *once,
                             lp__now now)
{
    size_t bytes = lp__publication_bytes(publication);
    lp__job *job = lp__publish_job(manager, publication->count, bytes);
    int status = job != NULL ? reserve(job->batch, publication, once) : LP_ENOMEM;
    if (status == LP_OK)
        status = stamp(manager, publication, now);
    if (status != LP_OK) {
        if (job != NULL && lp_batch_event_count(job->batch) == 0) {
            lp__job_free(job);
            manager->gathering = NULL;
        }
        lp__publish_complete(manager, publication, status, NULL);
        return;
    }
    add_to_batch(job->batch, publication, once);
    job->bytes += bytes;
    lp__queue_push(&manager->waiting, publication);
}

static void accept_publication(lp_manager *manager, lp__publication *publication, lp__now now)
{
    lp__once *once = lp__publication_once(publication);
    if (manager->doubt.status != LP_OK)
        lp__publish_complete(manager, publication, LP_EINDOUBT, manager->doubt.message);
    else if (once != NULL && is_settled_by_key(manager, publication, once, now))
        return;
    else if (manager->worker == NULL)
        accept_without_store(manager, publication, now);
    else
        accept_for_store(manager, publication, once, now);
}

/* And what came from ports. */
static lp__queue take_mailbox(lp_manager *manager)
{
    uv_mutex_lock(&manager->mailbox_mutex);
    lp__queue_append(&manager->arrived, &manager->mailbox);
    uv_mutex_unlock(&manager->mailbox_mutex);
    return lp__queue_take(&manager->arrived);
}

/* The one behind it. */
static const lp__publication *foresee(lp_manager *manager, const lp__publication *publication)
{
    if (publication == NULL)
        return NULL;
    lp__engine_foresee(manager->engine, publication->events, publication->count);
    return publication->next;
}

void lp__publish_mailbox(lp_manager *manager)
{
    enum { CLOCK_EVERY = 64 }; /* reading the clocks is a tenth of the work */
    lp__queue mail = take_mailbox(manager);
    const lp__publication *ahead = mail.first;
    for (int i = 0; i < LP__FORESEEN_AHEAD; i++)
        ahead = foresee(manager, ahead);
    lp__publication *publication;
    lp__now now = {0, 0, 0};
    for (size_t i = 0; (publication = lp__queue_pop(&mail)) != NULL; i++) {
        if (i % CLOCK_EVERY == 0)
            now = lp__manager_now();
        ahead = foresee(manager, ahead);
        accept_publication(manager, publication, now);
    }
}

void lp__publish_refuse_mailbox(lp_manager *manager)
{
    lp__queue mail = take_mailbox(manager);
    lp__publication *publication;
    while ((publication = lp__queue_pop(&mail)) != NULL)
        lp__publish_complete(manager, publication, LP_ECLOSED, NULL);
}
