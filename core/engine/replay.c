/* Replay: what a store kept goes through the rules of rings and expiry again. */
#include <stdlib.h>

#include "engine_private.h"

enum { BLOCKS_FROM = 1024 * 1024 };

/* Where the memory of the next event comes from. A large replay takes blocks; one event that stays
 * keeps a whole block, so what was ever in blocks is held to the bytes in rings and a quarter. Past
 * that rings overflow, and the next event gets the memory of one that malloc got back. With
 * delete-after-first, rings are cut only at the end, and nothing would bound the blocks. */
static lp__block **block_for_next(lp__engine *engine)
{
    size_t bytes = engine->event_bytes;
    bool in_block = bytes >= BLOCKS_FROM && engine->replay_block_bytes <= bytes + bytes / 4 &&
                    !engine->options.delete_after_first_retrieval;
    return in_block ? &engine->replay_block : NULL;
}

static int insert(lp__engine *engine, lp__category *category, lp_id id, lp_str data)
{
    lp_event *event;
    lp_str name = {category->name, category->name_len};
    lp__block **block = block_for_next(engine);
    int status = lp__event_prepare_in(block, name, data, &event);
    if (status != LP_OK)
        return status;
    if (block != NULL)
        engine->replay_block_bytes += lp__event_bytes(event);
    uint64_t random = 0;
    for (int i = 8; i < 16; i++)
        random = random << 8 | id.bytes[i];
    lp__event_stamp(event, lp_id_seq(id), random);

    status = lp__category_reserve(engine, category);
    if (status != LP_OK) {
        lp_event_unref(event);
        return status;
    }
    lp__category_keep(engine, category);
    /* With delete-after-first, a later removal may make room: rings are cut at the end. */
    if (!engine->options.delete_after_first_retrieval)
        lp__engine_make_room(engine, category, lp__event_bytes(event));
    lp__category_push(engine, category, event);
    return LP_OK;
}

void lp__engine_replay_begin(lp__engine *engine)
{
    engine->replaying = true;
}

int lp__engine_replay_event(lp__engine *engine, lp__now now, lp_id id, lp_str name, lp_str data)
{
    uint64_t seq = lp_id_seq(id);
    lp__engine_replay_highest(engine, now, seq);
    if (name.len == 0 || name.len > LP_CATEGORY_MAX)
        return LP_EINVAL;
    lp__category *category = lp__category_get(engine, name);
    if (category == NULL)
        return LP_ENOMEM;
    if (seq <= category->horizon) {
        lp__changes_note_removal(engine, seq, LP_REMOVED_REPLAY);
        return LP_SKIPPED;
    }
    lp__category_pin(category);
    int status;
    if (lp_seq_ms(seq) <= lp__engine_expired_ms(engine, now)) {
        lp__category_keep(engine, category);
        lp__category_raise_horizon(engine, category, seq);
        lp__changes_note_removal(engine, seq, LP_REMOVED_REPLAY);
        engine->stats.expired++;
        status = LP_SKIPPED;
    } else {
        status = insert(engine, category, id, data);
    }
    category->reserved--;
    lp__category_release(engine, category);
    return status;
}

int lp__engine_replay_removal(lp__engine *engine, uint64_t seq)
{
    if (!lp__reserve(&engine->replayed_removals, &engine->replayed_removal_capacity,
                     engine->replayed_removal_count + 1, sizeof(uint64_t)))
        return LP_ENOMEM;
    engine->replayed_removals[engine->replayed_removal_count++] = seq;
    return LP_OK;
}

typedef struct up_to {
    uint64_t seq;
} up_to;

static bool is_up_to(const void *ctx, uint64_t seq)
{
    return seq <= ((const up_to *)ctx)->seq;
}

int lp__engine_replay_horizon(lp__engine *engine, lp_str name, uint64_t seq)
{
    if (name.len > LP_CATEGORY_MAX)
        return LP_EINVAL;
    if (name.len == 0) {
        if (seq > engine->floor)
            engine->floor = seq;
        return LP_OK;
    }
    lp__category *category = lp__category_get(engine, name);
    if (category == NULL)
        return LP_ENOMEM;
    if (!category->kept && engine->kept_count >= engine->options.categories_max) {
        /* rather forgotten at once than in place of one that has events */
        if (seq > engine->floor) {
            engine->floor = seq;
            engine->floor_changed = true;
        }
        lp__category_release(engine, category);
        return LP_OK;
    }
    lp__category_pin(category);
    lp__category_keep(engine, category);
    if (seq > category->horizon) {
        up_to limit = {seq};
        category->horizon = seq;
        lp__index_touch(category);
        lp__category_filter(engine, category, is_up_to, &limit, LP_REMOVED_REPLAY);
    }
    category->reserved--;
    lp__category_release(engine, category);
    return LP_OK;
}

void lp__engine_replay_highest(lp__engine *engine, lp__now now, uint64_t seq)
{
    lp__clock_read(&engine->clock, now);
    lp__clock_pass(&engine->clock, seq);
}

/* ---- the end ------------------------------------------------------------ */

static int compare_seqs(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static bool was_removed(const void *ctx, uint64_t seq)
{
    const lp__engine *engine = ctx;
    return bsearch(&seq, engine->replayed_removals, engine->replayed_removal_count, sizeof(seq),
                   compare_seqs) != NULL;
}

static void apply_removals(lp__engine *engine)
{
    if (engine->replayed_removal_count == 0)
        return;
    qsort(engine->replayed_removals, engine->replayed_removal_count, sizeof(uint64_t),
          compare_seqs);
    for (size_t i = 0; i < engine->bucket_count; i++) {
        lp__category *category = engine->buckets[i];
        while (category != NULL) {
            lp__category *next = category->next_in_bucket;
            lp__category_filter(engine, category, was_removed, engine, LP_REMOVED_RETRIEVED);
            category = next;
        }
    }
}

void lp__engine_replay_end(lp__engine *engine, lp__now now)
{
    lp__clock_read(&engine->clock, now);
    lp__block_close(engine->replay_block);
    engine->replay_block = NULL;
    apply_removals(engine);
    free(engine->replayed_removals);
    engine->replayed_removals = NULL;
    engine->replayed_removal_count = engine->replayed_removal_capacity = 0;

    for (size_t i = 0; i < engine->by_age.count; i++) {
        lp__category *category = LP__CONTAINER(engine->by_age.slots[i].node, lp__category, by_age);
        while (category->count > engine->options.event_buffer_max)
            lp__category_evict(engine, category, LP_REMOVED_RING);
    }
    while (engine->event_count > engine->options.events_max ||
           (engine->event_count > 0 && engine->event_bytes > engine->options.events_bytes_max))
        lp__category_evict(engine, lp__category_oldest(engine), LP_REMOVED_BOUND);
    lp__engine_expire(engine);
    /* positions that are told from here on must not lie below the floor: they are no gap */
    lp__clock_pass(&engine->clock, engine->floor);
    /* The life before may have told that the last number's millisecond is settled: nothing more
     * comes in it. */
    if (engine->clock.last_seq > 0)
        lp__clock_pass(&engine->clock, lp_seq_last(lp_seq_ms(engine->clock.last_seq)));
    engine->visible_seq = engine->replayed_seq = engine->begun_seq = engine->clock.last_seq;
    engine->replaying = false;
}
