/* See writer.h. */
#include "writer.h"

#include <string.h>
#include <time.h>

enum {
    BATCH_COUNT = 1024,
    BATCH_BYTES = 1 << 20,
    IDLE_BUDGET_MS = 10,
    CLOSE_TIMEOUT_MS = 600000 /* its checkpoint may be long, and nobody waits for an answer */
};

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int idle_if_due(store_writer *writer, bool after_batch, lp_error *error)
{
    int64_t now = monotonic_ms(), next_ms;
    if (writer->idle_at_ms < 0 ? !after_batch : now < writer->idle_at_ms)
        return LP_OK;
    int status = lp_store_idle(writer->store, IDLE_BUDGET_MS, &next_ms, error);
    writer->idle_at_ms = next_ms < 0 ? -1 : now + next_ms;
    return status;
}

int writer_check(const char *spec, lp_error *error)
{
    store_stage stage;
    return stage_begin(spec, &stage, error);
}

int writer_begin(store_writer *writer, const char *spec, lp_error *error)
{
    memset(writer, 0, sizeof(*writer));
    int status = stage_begin(spec, &writer->stage, error);
    if (status != LP_OK)
        return status;
    lp_addon *addon;
    status = store_new(writer->stage.spec, false, &addon, error);
    if (status == LP_OK)
        status = lp_store_open(addon, NULL, &writer->store, error);
    if (status == LP_OK && lp_batch_new(&writer->batch) != LP_OK)
        status = lp_error_set(error, LP_ENOMEM, "out of memory");
    if (status == LP_OK)
        status = idle_if_due(writer, true, error);
    if (status != LP_OK && status != LP_EINUSE) /* then it is somebody else's */
        writer_abandon(writer);
    return status;
}

/* What the store refused in a batch that it kept. */
static int check_refused(const store_writer *writer, lp_error *error)
{
    for (size_t i = 0; i < lp_batch_event_count(writer->batch); i++) {
        const char *reason;
        int status = lp_batch_status(writer->batch, i, &reason);
        if (status == LP_OK)
            continue;
        char id[LP_ID_TEXT_LEN + 1];
        lp_id_format(lp_event_id(lp_batch_event(writer->batch, i)), id);
        return lp_error_set(error, LP_ETOOBIG, "%s \"%s\": it cannot keep event %s: %s",
                            writer->stage.place.kind, writer->stage.place.path, id, reason);
    }
    return LP_OK;
}

static int flush(store_writer *writer, lp_error *error)
{
    int status = lp_store_append(writer->store, writer->batch, error);
    if (status == LP_OK)
        status = check_refused(writer, error);
    writer->events += lp_batch_event_count(writer->batch);
    lp_batch_clear(writer->batch);
    writer->count = writer->bytes = 0;
    return status == LP_OK ? idle_if_due(writer, true, error) : status;
}

/* Something of so many bytes has been added, or not. */
static int added(store_writer *writer, int status, size_t bytes, lp_error *error)
{
    if (status != LP_OK)
        return lp_error_set(error, status, "%s", lp_strerror(status));
    writer->count++;
    writer->bytes += bytes;
    if (writer->count >= BATCH_COUNT || writer->bytes >= BATCH_BYTES)
        return flush(writer, error);
    return LP_OK;
}

int writer_event(store_writer *writer, lp_event *event, lp_error *error)
{
    uint64_t seq = lp_event_seq(event);
    if (seq <= writer->last_seq)
        return lp_error_set(error, LP_EORDER, "event: its id is not above that of the one before");
    writer->last_seq = seq;
    return added(writer, lp_batch_add_event(writer->batch, event), lp_event_wire(event).len, error);
}

int writer_horizon(store_writer *writer, lp_str category, uint64_t seq, lp_error *error)
{
    return added(writer, lp_batch_add_horizon(writer->batch, category, seq), category.len, error);
}

int writer_key(store_writer *writer, const lp_idempotency *record, lp_error *error)
{
    return added(writer, lp_batch_add_idempotency(writer->batch, record), record->key.len, error);
}

int writer_highest(store_writer *writer, uint64_t seq, lp_error *error)
{
    lp_batch_set_highest(writer->batch, seq);
    return added(writer, LP_OK, 0, error);
}

int writer_commit(store_writer *writer, lp_error *error)
{
    int status = flush(writer, error);
    if (status == LP_OK) {
        status = lp_store_close(writer->store, CLOSE_TIMEOUT_MS, error);
        writer->store = NULL;
    }
    if (status == LP_OK)
        status = stage_commit(&writer->stage, error);
    if (status != LP_OK) {
        writer_abandon(writer);
        return status;
    }
    lp_batch_free(writer->batch);
    writer->batch = NULL;
    return LP_OK;
}

void writer_abandon(store_writer *writer)
{
    lp_batch_free(writer->batch);
    lp_store_close(writer->store, 0, NULL);
    writer->batch = NULL;
    writer->store = NULL;
    stage_abandon(&writer->stage);
}
