/* Publish once: the engine's idempotency keys, and finding again what was published under them. */
#include "engine_private.h"

lp__keys *lp__engine_keys(lp__engine *engine)
{
    return &engine->keys;
}

int64_t lp__engine_clock_ms(lp__engine *engine, lp__now now)
{
    return lp__clock_read(&engine->clock, now);
}

lp_event *lp__engine_find(lp__engine *engine, lp_str name, uint64_t seq)
{
    lp__category *category = lp__category_find(engine, name);
    if (category == NULL)
        return NULL;
    size_t at = lp__category_find_after(category, seq - 1);
    if (at == category->count || lp_event_seq(lp__category_event(category, at)) != seq)
        return NULL;
    return lp__category_event(category, at);
}

int lp__engine_replay_idempotency(lp__engine *engine, lp__now now, const lp_idempotency *record)
{
    /* a number that was given is not given again, also where its event is gone */
    lp__engine_replay_highest(engine, now, record->seq);
    return lp__keys_replay(&engine->keys, record, lp__clock_read(&engine->clock, now));
}
