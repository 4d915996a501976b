/* See journal_model.h. */
#include "journal_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t jm_random(jm_model *model, uint64_t below)
{
    model->random += 0x9e3779b97f4a7c15u;
    uint64_t z = model->random;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

void jm_init(jm_model *model, uint64_t seed)
{
    memset(model, 0, sizeof(*model));
    model->random = seed;
    model->next = 1;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static void want_removal(jm_model *model, uint64_t n, lp_removal_reason reason)
{
    if (model->removal_count == JM_PENDING)
        abort();
    model->removals[model->removal_count++] = (lp_removal){JK_SEQ(n), reason};
}

static void drop_from_ring(jm_model *model, size_t category, size_t i)
{
    uint64_t *ring = model->ring[category];
    memmove(ring + i, ring + i + 1, (--model->ring_count[category] - i) * sizeof(*ring));
}

static void enter_ring(jm_model *model, uint64_t n)
{
    size_t category = n % JK_CATEGORIES;
    if (model->ring_count[category] == JM_RING) {
        uint64_t oldest = model->ring[category][0];
        want_removal(model, oldest, LP_REMOVED_RING);
        model->horizons[category] = oldest;
        drop_from_ring(model, category, 0);
    }
    model->ring[category][model->ring_count[category]++] = n;
}

static void retrieve_one(jm_model *model)
{
    size_t category = (size_t)jm_random(model, JK_CATEGORIES);
    if (model->ring_count[category] == 0)
        return;
    size_t i = (size_t)jm_random(model, model->ring_count[category]);
    want_removal(model, model->ring[category][i], LP_REMOVED_RETRIEVED);
    drop_from_ring(model, category, i);
}

static void fill_changes(jm_model *model, lp_batch *batch)
{
    for (size_t i = 0; i < model->removal_count; i++) {
        lp_batch_add_removal(batch, model->removals[i].seq, model->removals[i].reason);
        if (!model->has_doubt)
            model->is_going[model->removals[i].seq - JK_BASE] = 1;
    }
    for (size_t i = 0; i < JK_CATEGORIES; i++) {
        char category[64];
        model->flying_horizons[i] = model->kept_horizons[i];
        if (model->horizons[i] == model->kept_horizons[i])
            continue;
        snprintf(category, sizeof(category), "category %zu", i);
        lp_batch_add_horizon(batch, lp_str_of(category), JK_SEQ(model->horizons[i]));
        model->flying_horizons[i] = model->horizons[i];
    }
    if (model->floor != 0)
        lp_batch_add_horizon(batch, (lp_str){"", 0}, JK_SEQ(model->floor));
    model->is_key_flying = model->keys < JM_KEYS && jm_random(model, 8) == 0;
    if (model->is_key_flying) {
        char key[32];
        snprintf(key, sizeof(key), "k%llu", (unsigned long long)model->keys);
        lp_idempotency record = {lp_str_of(key), model->keys, JK_SEQ(1), 1, INT64_MAX};
        lp_batch_add_idempotency(batch, &record);
    }
}

static void settle(jm_model *model, uint64_t first, uint64_t end, bool is_kept)
{
    for (uint64_t n = first; n < end; n++)
        model->state[n] = is_kept ? JM_LIVE : JM_FAILED;
    for (size_t i = 0; i < model->removal_count; i++) {
        uint64_t n = model->removals[i].seq - JK_BASE;
        model->is_going[n] = 0;
        if (is_kept)
            model->state[n] = JM_GONE;
    }
    model->is_flying = false;
    if (is_kept) {
        model->removal_count = 0;
        model->keys += model->is_key_flying;
        memcpy(model->kept_horizons, model->flying_horizons, sizeof(model->kept_horizons));
        model->floor = 0;
        if (end > first && JK_SEQ(end - 1) > model->highest)
            model->highest = JK_SEQ(end - 1);
    }
    model->is_key_flying = false;
}

int jm_step(jm_model *model, lp_store *store)
{
    lp_batch *batch = jk_batch();
    lp_error error;
    uint64_t first = model->next;
    size_t count = (size_t)jm_random(model, 8);
    if (jm_random(model, 4) == 0)
        retrieve_one(model);
    fill_changes(model, batch);
    for (size_t i = 0; i < count; i++) {
        lp_event *event = jk_event(model->next);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
        model->state[model->next++] = JM_FLYING;
    }
    model->is_flying = true;
    int status = lp_store_append(store, batch, &error);
    lp_batch_free(batch);
    if (status == LP_EINDOUBT) {
        /* It flies on if it is the first such batch; later ones were never begun. */
        if (model->has_doubt)
            for (uint64_t n = first; n < model->next; n++)
                model->state[n] = JM_FAILED;
        model->has_doubt = true;
        return status;
    }
    settle(model, first, model->next, status == LP_OK);
    for (uint64_t n = first; status == LP_OK && n < model->next; n++)
        enter_ring(model, n);
    return status;
}

/* ---- coming back ----------------------------------------------------------------------------- */

void jm_adopt(jm_model *model, const jk_content *content)
{
    memset(model->ring_count, 0, sizeof(model->ring_count));
    memset(model->is_going, 0, sizeof(model->is_going));
    model->removal_count = 0;
    model->has_doubt = model->is_flying = model->is_key_flying = false;
    model->keys = content->key_count;
    model->highest = content->highest;
    model->floor = content->losses > 0 ? model->next : 0;
    for (size_t i = 0; i < JK_CATEGORIES; i++) {
        char category[64];
        snprintf(category, sizeof(category), "category %zu", i);
        uint64_t seq = jk_horizon_of(content, category);
        model->horizons[i] = model->kept_horizons[i] = seq > 0 ? seq - JK_BASE : 0;
    }
    for (uint64_t n = 1; n < model->next; n++) {
        if (jk_has(content, n)) {
            model->state[n] = JM_LIVE;
            enter_ring(model, n);
        } else if (model->state[n] == JM_LIVE) {
            model->state[n] = JM_GONE;
        } else if (model->state[n] == JM_FLYING) {
            model->state[n] = JM_FAILED;
        }
    }
}

/* Counts what was flying: of the events and removals that show it, how many say that the batch is
 * there, and how many that it is not. */
static void count_flying(const jm_model *model, const jk_content *content, size_t *kept,
                         size_t *dropped)
{
    *kept = *dropped = 0;
    for (uint64_t n = 1; n < model->next; n++) {
        bool is_there = jk_has(content, n);
        if (model->state[n] == JM_FLYING)
            ++*(is_there ? kept : dropped);
        else if (model->is_going[n] && model->state[n] == JM_LIVE)
            ++*(is_there ? dropped : kept);
    }
}

static bool verify_event(const jm_model *model, const jk_content *content, uint64_t n,
                         bool may_lose, char *why)
{
    bool is_there = jk_has(content, n), has_lost = may_lose && content->losses > 0;
    const char *reason = NULL;
    switch ((jm_state)model->state[n]) {
    case JM_LIVE:
        if (!is_there && !model->is_going[n] && !has_lost)
            reason = "was acknowledged and is missing";
        break;
    case JM_GONE:
        if (is_there && !has_lost)
            reason = "was removed and came back";
        break;
    case JM_FAILED:
        if (is_there)
            reason = "had failed and came back";
        break;
    case JM_NONE:
        if (is_there)
            reason = "was never published";
        break;
    case JM_FLYING:
        break;
    }
    if (reason != NULL)
        snprintf(why, 256, "event %llu %s", (unsigned long long)n, reason);
    return reason == NULL;
}

bool jm_verify(const jm_model *model, const jk_content *content, bool may_lose, char *why)
{
    size_t kept, dropped;
    if (content->wrong > 0) {
        snprintf(why, 256, "%u events have the wrong content", content->wrong);
        return false;
    }
    if (!may_lose && content->losses > 0) {
        snprintf(why, 256, "a loss was told: %.200s", content->loss);
        return false;
    }
    for (uint64_t n = 1; n < model->next; n++)
        if (!verify_event(model, content, n, may_lose, why))
            return false;
    bool has_lost = may_lose && content->losses > 0;
    count_flying(model, content, &kept, &dropped);
    if (kept > 0 && dropped > 0 && !has_lost) {
        snprintf(why, 256, "of the batch in flight %zu changes are there and %zu are not", kept,
                 dropped);
        return false;
    }
    if (content->highest < model->highest && !has_lost) {
        snprintf(why, 256, "the highest number was forgotten");
        return false;
    }
    if (content->key_count < model->keys && !has_lost) {
        snprintf(why, 256, "%zu of %llu keys are there", content->key_count,
                 (unsigned long long)model->keys);
        return false;
    }
    for (size_t i = 0; i < JK_CATEGORIES; i++) {
        char category[64];
        snprintf(category, sizeof(category), "category %zu", i);
        uint64_t seq = jk_horizon_of(content, category), floor = jk_horizon_of(content, "");
        if (seq < floor)
            seq = floor; /* the floor is the horizon of every category */
        if (model->kept_horizons[i] != 0 && seq < JK_SEQ(model->kept_horizons[i]) && !has_lost) {
            snprintf(why, 256, "the horizon of %s was forgotten", category);
            return false;
        }
    }
    return true;
}
