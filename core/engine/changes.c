/* What a store must be told: removals, raised horizons, forgotten keys, the highest number.
 * Collected as it comes up, taken with the next batch. */
#include <stdlib.h>

#include <longpoll/store.h>

#include "engine_private.h"

void lp__changes_note_removal(lp__engine *engine, uint64_t seq, lp_removal_reason reason)
{
    if (!engine->options.has_store)
        return;
    if (reason == LP_REMOVED_RETRIEVED)
        engine->changes_are_urgent = true;
    if (engine->replaying)
        reason = LP_REMOVED_REPLAY;
    /* Without memory the removal is not told. The horizon tells of it all the same; of a retrieved
     * event nothing does, and it may be delivered once more after a restart. */
    if (lp__reserve(&engine->removals, &engine->removal_capacity, engine->removal_count + 1,
                    sizeof(lp_removal)))
        engine->removals[engine->removal_count++] = (lp_removal){seq, reason};
}

void lp__changes_note_horizon(lp__engine *engine, lp__category *category)
{
    if (engine->options.has_store && lp__list_is_empty(&category->changed_link))
        lp__list_push_back(&engine->changed, &category->changed_link);
}

bool lp__engine_changed(const lp__engine *engine)
{
    return engine->options.has_store &&
           (engine->removal_count > engine->removal_taken || !lp__list_is_empty(&engine->changed) ||
            engine->floor_changed);
}

bool lp__engine_changes_are_urgent(const lp__engine *engine)
{
    return engine->changes_are_urgent;
}

static int take_removals(lp__engine *engine, size_t max, lp_batch *batch)
{
    for (size_t taken = 0; taken < max && engine->removal_taken < engine->removal_count; taken++) {
        lp_removal removal = engine->removals[engine->removal_taken];
        int status = lp_batch_add_removal(batch, removal.seq, removal.reason);
        if (status != LP_OK)
            return status;
        engine->removal_taken++;
    }
    if (engine->removal_taken == engine->removal_count) {
        engine->removal_taken = engine->removal_count = 0;
        if (engine->removal_capacity > 65536) { /* after a replay; give it back */
            free(engine->removals);
            engine->removals = NULL;
            engine->removal_capacity = 0;
        }
    }
    return LP_OK;
}

static int take_horizons(lp__engine *engine, size_t max, lp_batch *batch)
{
    for (size_t taken = 0; taken < max && !lp__list_is_empty(&engine->changed); taken++) {
        lp__category *category = LP__CONTAINER(engine->changed.next, lp__category, changed_link);
        int status = lp_batch_add_horizon(batch, (lp_str){category->name, category->name_len},
                                          category->horizon);
        if (status != LP_OK)
            return status;
        lp__list_unlink(&category->changed_link);
        if (category->forgotten)
            free(category);
    }
    if (engine->floor_changed && lp__list_is_empty(&engine->changed)) {
        int status = lp_batch_add_horizon(batch, (lp_str){"", 0}, engine->floor);
        if (status != LP_OK)
            return status;
        engine->floor_changed = false;
    }
    return LP_OK;
}

/* Goes along with a batch, and never makes one: a store that is told later keeps more, that is all.
 */
static void take_forgotten_keys(lp__engine *engine, lp_batch *batch)
{
    lp__keys_expire(&engine->keys, engine->clock.ms);
    int64_t until_ms = lp__keys_forgotten(&engine->keys);
    if (until_ms == INT64_MIN)
        return;
    lp_batch_set_forgotten_keys(batch, until_ms);
    if (until_ms > engine->keys.told_ms)
        engine->keys.told_ms = until_ms;
    engine->keys.tell_again = false;
}

int lp__engine_take_changes(lp__engine *engine, size_t max, lp_batch *batch)
{
    lp_batch_set_highest(batch, engine->clock.last_seq);
    take_forgotten_keys(engine, batch);
    int status = take_horizons(engine, max, batch);
    /* what is removed may be forgotten by the store: its horizon has to come first */
    if (status == LP_OK && lp__list_is_empty(&engine->changed))
        status = take_removals(engine, max, batch);
    if (!lp__engine_changed(engine))
        engine->changes_are_urgent = false;
    return status;
}

int lp__engine_put_back_changes(lp__engine *engine, const lp_batch *batch)
{
    for (size_t i = 0; i < lp_batch_removal_count(batch); i++) {
        lp_removal removal = lp_batch_removal(batch, i);
        lp__changes_note_removal(engine, removal.seq, removal.reason);
    }
    for (size_t i = 0; i < lp_batch_horizon_count(batch); i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        lp__category *category =
            horizon.category.len == 0 ? NULL : lp__category_find(engine, horizon.category);
        /* the floor tells of those that were forgotten meanwhile */
        if (category == NULL || category->horizon < horizon.seq)
            engine->floor_changed = engine->changes_are_urgent = true;
        else
            lp__changes_note_horizon(engine, category);
    }
    if (lp_batch_forgotten_keys_ms(batch) != INT64_MIN)
        engine->keys.tell_again = true;
    return LP_OK;
}
