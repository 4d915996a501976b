/* See worker.h. One mutex guards what both threads touch; the store and the batch in work belong to
 * the thread. Another is held while code of the host runs on it, which may wait for the home loop's
 * thread: that one takes it only to leave the worker behind. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <uv.h>

#include "worker.h"

enum { IDLE_BUDGET_MS = 5, SLOW_BATCH_MS = 1000 };

struct lp__worker {
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_mutex_t host_mutex; /* taken before the other where both are */
    uv_cond_t cond;
    lp_addon *addon;
    lp__worker_hooks hooks;

    lp__worker_phase phase;
    lp_error error;
    lp__job *todo, **todo_last;
    lp__job *done, **done_last;
    int64_t busy_since_ms; /* 0: not busy */
    atomic_bool canceled;  /* its replay */
    bool stopping;
    int64_t deadline_ms;
    bool abandoned; /* set under both mutexes */
    void (*left_behind)(void *ctx);
    void *left_behind_ctx;

    lp_error doubt;       /* the thread's own: no batch follows one that ended in doubt */
    lp_store *store;      /* the thread's own */
    int64_t next_idle_ms; /* the thread's own; -1: after the next batch */
    bool was_idle;        /* the thread's own: it did idle work last */
};

static int64_t mono_ms(void)
{
    return (int64_t)(uv_hrtime() / 1000000);
}

/* ---- jobs --------------------------------------------------------------- */

int lp__job_new(lp__job **out)
{
    lp__job *job = calloc(1, sizeof(*job));
    if (job == NULL)
        return LP_ENOMEM;
    if (lp_batch_new(&job->batch) != LP_OK) {
        free(job);
        return LP_ENOMEM;
    }
    *out = job;
    return LP_OK;
}

void lp__job_free(lp__job *job)
{
    lp_batch_free(job->batch);
    free(job);
}

/* ---- the thread --------------------------------------------------------- */

/* Host code runs only while the worker is not abandoned. */
static void wake(lp__worker *worker)
{
    uv_mutex_lock(&worker->host_mutex);
    if (!worker->abandoned)
        worker->hooks.wake(worker->hooks.ctx);
    uv_mutex_unlock(&worker->host_mutex);
}

void lp__worker_log(lp__worker *worker, lp_log_level level, const char *line)
{
    uv_mutex_lock(&worker->host_mutex);
    if (!worker->abandoned)
        worker->hooks.log(worker->hooks.ctx, level, line);
    uv_mutex_unlock(&worker->host_mutex);
}

static void set_phase(lp__worker *worker, lp__worker_phase phase, const lp_error *error)
{
    uv_mutex_lock(&worker->mutex);
    worker->phase = phase;
    if (error != NULL)
        worker->error = *error;
    uv_mutex_unlock(&worker->mutex);
    wake(worker);
}

static bool open_store(lp__worker *worker)
{
    lp_error error = {LP_OK, ""};
    int status = lp_store_open(worker->addon, &worker->hooks.sink, &worker->store, &error);
    if (status != LP_OK) {
        set_phase(worker, LP__WORKER_FAILED, &error);
        return false;
    }
    worker->hooks.opened(worker->hooks.sink.ctx);
    set_phase(worker, LP__WORKER_OPEN, NULL);
    return true;
}

static void run_job(lp__worker *worker, lp__job *job)
{
    uint64_t begun_ns = uv_hrtime();
    if (worker->doubt.status == LP_OK)
        job->status = lp_store_append(worker->store, job->batch, &job->error);
    else
        job->status = (job->error = worker->doubt).status;
    if (job->status == LP_EINDOUBT)
        worker->doubt = job->error;
    job->took_us = (uv_hrtime() - begun_ns) / 1000;
    if (job->took_us >= SLOW_BATCH_MS * 1000) {
        lp_error line;
        lp_error_set(&line, LP_OK, "%s: a batch of %zu events took %lld ms",
                     lp_store_name(worker->store), lp_batch_event_count(job->batch),
                     (long long)(job->took_us / 1000));
        lp__worker_log(worker, LP_LOG_WARN, line.message);
    }
    uv_mutex_lock(&worker->mutex);
    worker->busy_since_ms = 0;
    job->next = NULL;
    *worker->done_last = job;
    worker->done_last = &job->next;
    uv_mutex_unlock(&worker->mutex);
    wake(worker);
    if (worker->next_idle_ms < 0)
        worker->next_idle_ms = 0;
    worker->was_idle = false;
}

static void run_idle(lp__worker *worker)
{
    lp_error error;
    int64_t again = -1;
    if (lp_store_idle(worker->store, IDLE_BUDGET_MS, &again, &error) != LP_OK)
        lp__worker_log(worker, LP_LOG_ERROR, error.message);
    int64_t now = mono_ms();
    worker->next_idle_ms = again < 0 ? -1 : again < INT64_MAX - now ? now + again : INT64_MAX;
    worker->was_idle = true;
}

/* With the mutex. */
static void wait_for_work(lp__worker *worker, int64_t now)
{
    enum { LONGEST_MS = 3600 * 1000 }; /* nanoseconds of more would overflow */
    int64_t left = worker->next_idle_ms - now;
    if (worker->next_idle_ms < 0)
        uv_cond_wait(&worker->cond, &worker->mutex);
    else
        uv_cond_timedwait(&worker->cond, &worker->mutex,
                          (uint64_t)(left < LONGEST_MS ? left : LONGEST_MS) * 1000000);
}

/* Waits for a job, an idle deadline or the stop. NULL: idle time, or (`*stop`) the end. Where there
 * always is a job and always idle work, they take turns. */
static lp__job *next_job(lp__worker *worker, bool *stop)
{
    lp__job *job = NULL;
    uv_mutex_lock(&worker->mutex);
    for (;;) {
        int64_t now = mono_ms();
        bool idle_due =
            worker->next_idle_ms >= 0 && now >= worker->next_idle_ms && !worker->stopping;
        if (worker->todo != NULL && (!idle_due || worker->was_idle))
            job = worker->todo;
        *stop = job == NULL && worker->stopping;
        if (job != NULL || idle_due || *stop)
            break;
        wait_for_work(worker, now);
    }
    if (job != NULL) {
        worker->todo = job->next;
        if (worker->todo == NULL)
            worker->todo_last = &worker->todo;
        worker->busy_since_ms = mono_ms();
    }
    uv_mutex_unlock(&worker->mutex);
    return job;
}

static void free_jobs(lp__job *job)
{
    while (job != NULL) {
        lp__job *next = job->next;
        lp__job_free(job);
        job = next;
    }
}

static void free_worker(lp__worker *worker)
{
    free_jobs(worker->todo);
    free_jobs(worker->done);
    uv_cond_destroy(&worker->cond);
    uv_mutex_destroy(&worker->host_mutex);
    uv_mutex_destroy(&worker->mutex);
    free(worker);
}

static bool is_abandoned(lp__worker *worker)
{
    uv_mutex_lock(&worker->mutex);
    bool abandoned = worker->abandoned;
    uv_mutex_unlock(&worker->mutex);
    return abandoned;
}

static void free_keys(const lp_batch *kept, lp_batch *batch)
{
    for (size_t i = 0; i < lp_batch_idempotency_count(kept); i++) {
        lp_idempotency record = lp_batch_idempotency(kept, i);
        record.count = 0;
        lp_batch_add_idempotency(batch, &record);
    }
}

/* What was kept after its publishers had been told that it is not must not come back. */
static void take_back(lp__worker *worker)
{
    lp_batch *batch;
    if (lp_batch_new(&batch) != LP_OK)
        return;
    for (const lp__job *job = worker->done; job != NULL; job = job->next) {
        for (size_t i = 0; job->status == LP_OK && i < lp_batch_event_count(job->batch); i++)
            if (!lp_batch_failed(job->batch, i))
                lp_batch_add_removal(batch, lp_event_seq(lp_batch_event(job->batch, i)),
                                     LP_REMOVED_RETRIEVED);
        if (job->status == LP_OK)
            free_keys(job->batch, batch);
        lp_batch_set_highest(batch, lp_batch_highest(job->batch));
    }
    lp_store_append(worker->store, batch, NULL);
    lp_batch_free(batch);
}

static void close_store(lp__worker *worker)
{
    lp_error error = {LP_OK, ""};
    uv_mutex_lock(&worker->mutex);
    int64_t left = worker->deadline_ms - mono_ms();
    uv_mutex_unlock(&worker->mutex);
    lp_store_close(worker->store, left > 0 ? left : 0, &error);
    worker->store = NULL;
    set_phase(worker, LP__WORKER_CLOSED, &error);
}

static void thread_main(void *arg)
{
    lp__worker *worker = arg;
    if (open_store(worker)) {
        worker->next_idle_ms = 0;
        for (;;) {
            bool stop = false;
            lp__job *job = next_job(worker, &stop);
            if (job != NULL)
                run_job(worker, job);
            else if (stop)
                break;
            else
                run_idle(worker);
        }
        if (is_abandoned(worker))
            take_back(worker);
        close_store(worker);
    }
    if (is_abandoned(worker)) {
        worker->left_behind(worker->left_behind_ctx);
        free_worker(worker);
    }
}

/* ---- the home loop's side ----------------------------------------------- */

int lp__worker_start(lp_addon *addon, const lp__worker_hooks *hooks, _Atomic(lp__worker *) *shared,
                     lp__worker **out, lp_error *error)
{
    lp__worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL)
        return lp_error_set(error, LP_ENOMEM, "out of memory");
    worker->addon = addon;
    worker->hooks = *hooks;
    worker->todo_last = &worker->todo;
    worker->done_last = &worker->done;
    worker->next_idle_ms = -1;
    atomic_store(shared, worker);
    *out = worker;
    if (uv_mutex_init(&worker->mutex) != 0)
        goto no_mutex;
    if (uv_mutex_init(&worker->host_mutex) != 0)
        goto no_host_mutex;
    if (uv_cond_init(&worker->cond) != 0)
        goto no_cond;
    if (uv_thread_create(&worker->thread, thread_main, worker) != 0)
        goto no_thread;
    return LP_OK;

no_thread:
    uv_cond_destroy(&worker->cond);
no_cond:
    uv_mutex_destroy(&worker->host_mutex);
no_host_mutex:
    uv_mutex_destroy(&worker->mutex);
no_mutex:
    free(worker);
    *out = NULL;
    return lp_error_set(error, LP_ENOMEM,
                        "cannot start the add-on's thread: out of memory or threads");
}

lp__worker_phase lp__worker_phase_get(lp__worker *worker, lp_error *error)
{
    uv_mutex_lock(&worker->mutex);
    lp__worker_phase phase = worker->phase;
    if (error != NULL)
        *error = worker->error;
    uv_mutex_unlock(&worker->mutex);
    return phase;
}

void lp__worker_submit(lp__worker *worker, lp__job *job)
{
    uv_mutex_lock(&worker->mutex);
    job->next = NULL;
    *worker->todo_last = job;
    worker->todo_last = &job->next;
    uv_cond_signal(&worker->cond);
    uv_mutex_unlock(&worker->mutex);
}

lp__job *lp__worker_done(lp__worker *worker)
{
    uv_mutex_lock(&worker->mutex);
    lp__job *job = worker->done;
    if (job != NULL) {
        worker->done = job->next;
        if (worker->done == NULL)
            worker->done_last = &worker->done;
    }
    uv_mutex_unlock(&worker->mutex);
    return job;
}

int64_t lp__worker_busy_ms(lp__worker *worker)
{
    uv_mutex_lock(&worker->mutex);
    int64_t since = worker->busy_since_ms;
    uv_mutex_unlock(&worker->mutex);
    return since == 0 ? 0 : mono_ms() - since;
}

void lp__worker_stop(lp__worker *worker, int64_t deadline_mono_ms)
{
    uv_mutex_lock(&worker->mutex);
    worker->stopping = true;
    worker->deadline_ms = deadline_mono_ms;
    uv_cond_signal(&worker->cond);
    uv_mutex_unlock(&worker->mutex);
}

void lp__worker_join(lp__worker *worker)
{
    uv_thread_join(&worker->thread);
    free_worker(worker);
}

void lp__worker_abandon(lp__worker *worker, void (*left_behind)(void *ctx), void *ctx)
{
    uv_mutex_lock(&worker->host_mutex);
    uv_mutex_lock(&worker->mutex);
    bool ended = worker->phase == LP__WORKER_FAILED || worker->phase == LP__WORKER_CLOSED;
    lp__job *dropped = NULL;
    if (!ended) {
        worker->abandoned = worker->stopping = true;
        worker->canceled = true;
        worker->left_behind = left_behind;
        worker->left_behind_ctx = ctx;
        dropped = worker->todo;
        worker->todo = NULL;
        uv_cond_signal(&worker->cond);
    }
    uv_thread_t thread = worker->thread;
    uv_mutex_unlock(&worker->mutex);
    uv_mutex_unlock(&worker->host_mutex);
    free_jobs(dropped);
    if (ended) {
        lp__worker_join(worker);
        left_behind(ctx);
    } else {
        pthread_detach(thread); /* it frees itself */
    }
}

void lp__worker_cancel_replay(lp__worker *worker)
{
    worker->canceled = true;
}

bool lp__worker_is_canceled(lp__worker *worker)
{
    return worker->canceled;
}
