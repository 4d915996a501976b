/* See source.h. */
#include "source.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../shared/stores.h"
#include "say.h"

enum { LOOK_EVERY = 1024, CLOSE_TIMEOUT_MS = 60000 };

/* ---- the first reading ----------------------------------------------------------------------- */

void survey_free(store_survey *survey)
{
    map_free(&survey->horizons);
    map_free(&survey->categories);
    map_free(&survey->key_index);
    free(survey->removals);
    for (size_t i = 0; i < survey->key_count; i++)
        free((char *)survey->keys[i].key.base);
    free(survey->keys);
    for (size_t i = 0; i < survey->loss_count; i++)
        free(survey->losses[i]);
    free(survey->losses);
    *survey = (struct store_survey){0};
}

static int see_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    store_survey *survey = ctx;
    survey->events++;
    survey->bytes += data.len;
    survey->last_seq = lp_id_seq(id);
    if (survey->first_seq == 0)
        survey->first_seq = survey->last_seq;
    if (survey->events % LOOK_EVERY == 0 && interrupt_seen())
        return LP_ECANCELED;
    if (!survey->count_categories)
        return LP_OK;
    uint64_t *count = map_at(&survey->categories, category);
    if (count == NULL)
        return LP_ENOMEM;
    ++*count;
    return LP_OK;
}

static int see_removal(void *ctx, uint64_t seq)
{
    store_survey *survey = ctx;
    if (survey->removal_count == survey->removal_capacity) {
        size_t capacity = survey->removal_capacity == 0 ? 1024 : survey->removal_capacity * 2;
        uint64_t *removals = realloc(survey->removals, capacity * sizeof(*removals));
        if (removals == NULL)
            return LP_ENOMEM;
        survey->removals = removals;
        survey->removal_capacity = capacity;
    }
    survey->removals[survey->removal_count++] = seq;
    return LP_OK;
}

static int see_horizon(void *ctx, lp_str category, uint64_t seq)
{
    store_survey *survey = ctx;
    uint64_t *horizon = category.len == 0 ? &survey->floor : map_at(&survey->horizons, category);
    if (horizon == NULL)
        return LP_ENOMEM;
    if (seq > *horizon)
        *horizon = seq;
    return LP_OK;
}

/* Of several records of a key the one with the highest number counts, and one that frees it. */
static bool is_newer(const lp_idempotency *record, const lp_idempotency *known)
{
    return record->seq > known->seq || (record->seq == known->seq && known->count != 0);
}

static int see_key(void *ctx, const lp_idempotency *record)
{
    store_survey *survey = ctx;
    uint64_t *place = map_at(&survey->key_index, record->key);
    if (place == NULL)
        return LP_ENOMEM;
    if (*place != 0) {
        lp_idempotency *known = &survey->keys[*place - 1];
        lp_str key = known->key;
        if (is_newer(record, known))
            *known = *record;
        known->key = key;
        return LP_OK;
    }
    if (survey->key_count == survey->key_capacity) {
        size_t capacity = survey->key_capacity == 0 ? 256 : survey->key_capacity * 2;
        lp_idempotency *keys = realloc(survey->keys, capacity * sizeof(*keys));
        if (keys == NULL)
            return LP_ENOMEM;
        survey->keys = keys;
        survey->key_capacity = capacity;
    }
    char *key = malloc(record->key.len);
    if (key == NULL)
        return LP_ENOMEM;
    memcpy(key, record->key.base, record->key.len);
    survey->keys[survey->key_count] = *record;
    survey->keys[survey->key_count++].key.base = key;
    *place = survey->key_count;
    return LP_OK;
}

static int see_highest(void *ctx, uint64_t seq)
{
    store_survey *survey = ctx;
    if (seq > survey->highest)
        survey->highest = seq;
    return LP_OK;
}

static int see_loss(void *ctx, uint64_t records, const char *detail)
{
    store_survey *survey = ctx;
    survey->losses_told++;
    survey->lost_records += records;
    if (survey->loss_count == SURVEY_LOSSES_MAX)
        return LP_OK;
    say_note("history may be missing: %s", detail);
    char **losses = realloc(survey->losses, (survey->loss_count + 1) * sizeof(*losses));
    char *copy = losses != NULL ? strdup(detail) : NULL;
    if (losses != NULL)
        survey->losses = losses;
    if (copy == NULL)
        return LP_ENOMEM;
    survey->losses[survey->loss_count++] = copy;
    return LP_OK;
}

static void see_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    const store_survey *survey = ctx;
    progress_show("reading", survey->events, done_bytes, total_bytes);
}

static void see_line(void *ctx, const char *line)
{
    (void)ctx;
    say_note("%s", line);
}

static int open_spec(const char *spec, bool read_only, const lp_store_sink *sink, lp_store **store,
                     lp_error *error)
{
    lp_addon *addon;
    lp_error why = {0};
    int status = store_new(spec, read_only, &addon, &why);
    if (status == LP_OK && addon == NULL)
        status = lp_error_set(&why, LP_EINVAL, "it keeps nothing (name another store)");
    if (status != LP_OK) /* this message does not name the store, those of the open do */
        return lp_error_set(error, status, "\"%.200s\": %s", spec, why.message);
    return lp_store_open(addon, sink, store, error);
}

static int compare_seqs(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

int source_open(const char *spec, bool read_only, store_survey *out, lp_store **store,
                lp_error *error)
{
    lp_store_sink sink = {
        .ctx = out,
        .event = see_event,
        .removal = see_removal,
        .horizon = see_horizon,
        .idempotency = see_key,
        .highest = see_highest,
        .loss = see_loss,
        .progress = see_progress,
        .log = see_line,
        .expired_ms = INT64_MIN,
    };
    int status = open_spec(spec, read_only, &sink, store, error);
    progress_end();
    if (status != LP_OK)
        return interrupt_check(error) != LP_OK ? LP_ECANCELED : status;
    if (out->removal_count > 0)
        qsort(out->removals, out->removal_count, sizeof(uint64_t), compare_seqs);
    for (size_t i = 0; i < out->key_count; i++)
        out->free_keys += out->keys[i].count == 0;
    if (out->last_seq > out->highest)
        out->highest = out->last_seq;
    return LP_OK;
}

int source_survey(const char *spec, store_survey *out, lp_error *error)
{
    lp_store *store;
    int status = source_open(spec, true, out, &store, error);
    return status == LP_OK ? lp_store_close(store, CLOSE_TIMEOUT_MS, error) : status;
}

uint64_t survey_floor_of_loss(const store_survey *survey)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t floor = lp_seq_first((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000) - 1;
    return floor > survey->highest ? floor : survey->highest;
}

/* ---- the second reading ---------------------------------------------------------------------- */

typedef struct second_reading {
    store_survey *found;
    uint64_t events, last_seq; /* pushed this time */
    size_t losses;             /* told this time */
    source_visitor visit;
    void *ctx;
    int stopped; /* the visitor's status */
} second_reading;

static bool is_void(const store_survey *found, lp_str category, uint64_t seq)
{
    const uint64_t *horizon = map_find(&found->horizons, category);
    if (horizon != NULL && seq <= *horizon)
        return true;
    return found->removal_count > 0 &&
           bsearch(&seq, found->removals, found->removal_count, sizeof(seq), compare_seqs) != NULL;
}

static int read_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    second_reading *reading = ctx;
    reading->events++;
    reading->last_seq = lp_id_seq(id);
    if (reading->events % LOOK_EVERY == 0 && interrupt_seen())
        return LP_ECANCELED;
    if (is_void(reading->found, category, reading->last_seq))
        return LP_SKIPPED;
    lp_event *event;
    int status = lp_event_new(id, category, data, &event);
    if (status != LP_OK)
        return status;
    reading->stopped = reading->visit(reading->ctx, event);
    lp_event_unref(event);
    return reading->stopped;
}

static int read_loss(void *ctx, uint64_t records, const char *detail)
{
    second_reading *reading = ctx;
    reading->losses++;
    /* The same store tells the same again; more comes of events that are no events. */
    return reading->losses > reading->found->losses_told ? see_loss(reading->found, records, detail)
                                                         : LP_OK;
}

static void read_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    const second_reading *reading = ctx;
    progress_show("working", reading->events, done_bytes, total_bytes);
}

int source_read(const char *spec, store_survey *found, source_visitor visit, void *ctx,
                lp_error *error)
{
    second_reading reading = {.found = found, .visit = visit, .ctx = ctx};
    lp_store_sink sink = {
        .ctx = &reading,
        .event = read_event,
        .loss = read_loss,
        .progress = read_progress,
        .expired_ms = INT64_MIN,
    };
    lp_store *store;
    uint64_t known = found->events, last = found->last_seq;
    lp_error why = {0};
    int status = open_spec(spec, true, &sink, &store, &why);
    progress_end();
    if (reading.stopped < 0) /* the visitor has said why */
        return reading.stopped;
    if (status != LP_OK && interrupt_check(error) != LP_OK)
        return LP_ECANCELED;
    if (status != LP_OK)
        return lp_error_set(error, status, "%s", why.message);
    status = lp_store_close(store, CLOSE_TIMEOUT_MS, error);
    if (status == LP_OK && (reading.events != known || reading.last_seq != last))
        status = lp_error_set(error, LP_EIO,
                              "\"%.200s\": it was changed while it was read (try again)", spec);
    return status;
}
