/* Publish once: what was published under which key, and whether the engine knows it for as long as
 * it must, and no longer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <longpoll/store.h>

#include "core/engine/keys.h"
#include "world.h"

/* Keys of one byte, of as many as there may be, with a zero in it, and that begin alike. */
static lp_str text_of(int name, char *room)
{
    int len = snprintf(room, LP_IDEMPOTENCY_KEY_MAX + 1, "key %d", name / 2);
    memset(room + len, 'x', LP_IDEMPOTENCY_KEY_MAX - (size_t)len);
    if (name == 0)
        return (lp_str){"a", 1};
    if (name == 1)
        return (lp_str){"a\0b", 3};
    return (lp_str){room, name % 2 ? LP_IDEMPOTENCY_KEY_MAX : (size_t)len};
}

static int64_t clock_ms(world *w)
{
    clock_was_read(w);
    return lp__engine_clock_ms(w->engine, w->now);
}

static lp__key *find(world *w, int name, int64_t now_ms)
{
    char room[LP_IDEMPOTENCY_KEY_MAX + 1];
    return lp__keys_find(lp__engine_keys(w->engine), text_of(name, room), now_ms);
}

/* NULL: it was never used, or what it was used for is over. */
static ref_key *known(world *w, int name, int64_t now_ms)
{
    ref_key *key = w->latest_key[name] ? &w->keys[w->latest_key[name] - 1] : NULL;
    if (!key || key->state == KEY_FREE || (key->state == KEY_KEPT && key->expires_ms <= now_ms))
        return NULL;
    return key;
}

/* ---- what the engine knows ----------------------------------------------------------------------
 */

static void check_known(world *w, const ref_key *key, const lp__key *found)
{
    if ((found->owner != NULL) != (key->state == KEY_PENDING) || found->digest != key->digest ||
        found->seq != key->seq || found->count != key->count ||
        (key->state == KEY_KEPT && found->expires_ms != key->expires_ms))
        fail(w,
             "key %d is known for %u events from %llx until %lld, not for %u from %llx until %lld",
             key->name, (unsigned)found->count, (unsigned long long)found->seq,
             (long long)found->expires_ms, (unsigned)key->count, (unsigned long long)key->seq,
             (long long)key->expires_ms);
    for (size_t i = 0; i < key->count; i++) {
        const ref_event *event = ref_find(w, key->seq + i);
        if (!event)
            fail(w, "key %d: its event %zu is none", key->name, i);
        lp_event *there =
            lp__engine_find(w->engine, lp_str_of(w->names[event->category]), event->seq);
        if (there ? event->fate != VISIBLE || lp_event_seq(there) != event->seq
                  : event->fate == VISIBLE)
            fail(w, "key %d: its event %llu was %s", key->name, (unsigned long long)event->number,
                 there ? "found and is gone" : "not found");
    }
}

/* Whether there are too many keys for this one: others expire with it or later. */
static bool is_one_too_many(const world *w, const ref_key *key)
{
    size_t later = 0;
    for (int i = 0; i < KEYS; i++)
        later += i != key->name && w->longest_key[i] >= key->expires_ms;
    return later >= w->config.keys_max;
}

/* Which ones it has forgotten because there were too many. */
static void learn_forgotten(world *w, int64_t now_ms)
{
    lp__keys *keys = lp__engine_keys(w->engine);
    for (int i = 0; i < KEYS; i++) {
        ref_key *key = known(w, i, now_ms);
        const lp__key *found = find(w, i, now_ms);
        if (!key && found)
            fail(w, "key %d is known, and should not be", i);
        if (key && found)
            check_known(w, key, found);
        if (!key || found)
            continue;
        if (key->state == KEY_PENDING || !is_one_too_many(w, key))
            fail(w,
                 "key %d of %llx was forgotten too early: it is %lld, it expires at %lld, window "
                 "%lld, "
                 "at most %zu",
                 i, (unsigned long long)key->seq, (long long)now_ms, (long long)key->expires_ms,
                 (long long)w->config.key_window_ms, w->config.keys_max);
        key->state = KEY_FREE;
    }
    for (int i = 0; i < KEYS; i++) {
        const ref_key *key = known(w, i, now_ms);
        w->longest_key[i] = key && key->state == KEY_KEPT ? key->expires_ms : INT64_MIN;
    }
    if (keys->kept.count > w->config.keys_max)
        fail(w, "too many keys are kept");
}

/* ---- publishing ---------------------------------------------------------------------------------
 */

static ref_key *add_key(world *w, int name)
{
    if (w->key_count == w->key_capacity) {
        w->key_capacity = w->key_capacity ? w->key_capacity * 2 : 64;
        w->keys = realloc(w->keys, w->key_capacity * sizeof(ref_key));
    }
    w->keys[w->key_count++] = (ref_key){.name = name, .state = KEY_PENDING};
    w->latest_key[name] = w->key_count;
    return &w->keys[w->key_count - 1];
}

void publish_once(world *w)
{
    int name = (int)rnd(w, KEYS);
    int64_t now_ms = clock_ms(w);
    learn_forgotten(w, now_ms);
    if (known(w, name, now_ms))
        return; /* a repeat: it is answered by what was just compared */
    size_t count = chance(w, 2) ? 1 : 1 + (size_t)rnd(w, GROUP_MAX);
    publish(w, (int)rnd(w, (uint64_t)w->config.published), count, name);
}

void once_stamped(world *w, int name, lp_event *const *events, size_t count)
{
    char room[LP_IDEMPOTENCY_KEY_MAX + 1];
    int64_t now_ms = clock_ms(w);
    ref_key *key = add_key(w, name);
    for (size_t i = 0; i < count; i++)
        key->digest =
            lp__keys_digest(key->digest, lp_event_category(events[i]), lp_event_data(events[i]));
    int64_t told_ms = lp__engine_keys(w->engine)->told_ms;
    int64_t expires_ms = now_ms + w->config.key_window_ms;
    if (expires_ms <= told_ms)
        expires_ms = told_ms + 1; /* the store lets go of what expires before */
    lp__key *added =
        lp__keys_add(lp__engine_keys(w->engine), text_of(name, room), key->digest, w, now_ms);
    if (!added)
        abort();
    key->seq = added->seq = lp_event_seq(events[0]);
    key->count = added->count = (uint32_t)count;
    key->expires_ms = key->kept_expires_ms = added->expires_ms;
    if (added->expires_ms != expires_ms)
        fail(w, "key %d expires at %lld", name, (long long)added->expires_ms);
    say(w, "  under key %d, until %lld", name, (long long)key->expires_ms);
}

void once_ended(world *w, ref_key *key, bool kept)
{
    int64_t now_ms = clock_ms(w);
    lp__key *pending = find(w, key->name, now_ms);
    if (!pending || pending->owner != w)
        fail(w, "key %d is not pending", key->name);
    if (kept) {
        lp__keys_keep(lp__engine_keys(w->engine), pending, now_ms);
        key->state = KEY_KEPT;
        w->longest_key[key->name] = key->expires_ms;
    } else {
        lp__keys_drop(lp__engine_keys(w->engine), pending);
        key->state = KEY_FREE;
        key->voided = w->config.has_store && !chance(w, 3);
    }
    learn_forgotten(w, now_ms);
}

/* ---- what the store is told ---------------------------------------------------------------------
 */

void once_add_to_batch(world *w, lp_batch *batch, const ref_key *key)
{
    char room[LP_IDEMPOTENCY_KEY_MAX + 1];
    lp_idempotency told = {text_of(key->name, room), key->digest, key->seq, key->count,
                           key->kept_expires_ms};
    if (lp_batch_add_idempotency(batch, &told) != LP_OK)
        abort();
    if (told.expires_ms > clock_ms(w) && told.expires_ms <= w->keys_forgotten_ms)
        fail(w, "key %d is kept, and the store was told to forget what expires until %lld",
             key->name, (long long)w->keys_forgotten_ms);
}

/* The batch has the records of what was not refused, and no others. */
void once_check_batch(world *w, const lp_batch *batch, size_t first, size_t count)
{
    size_t records = 0;
    char room[LP_IDEMPOTENCY_KEY_MAX + 1];
    for (size_t i = first; i < first + count; i++) {
        const ref_event *event = &w->events[i];
        if (!event->key || event->number != event->group || !event->stored)
            continue;
        ref_key *key = &w->keys[event->key - 1];
        lp_idempotency told = lp_batch_idempotency(batch, records++);
        lp_str text = text_of(key->name, room);
        if (told.seq != key->seq || told.key.len != text.len ||
            memcmp(told.key.base, text.base, text.len) != 0)
            fail(w, "the record of key %d is not in the batch", key->name);
        key->stored = w->config.has_store;
    }
    if (records != lp_batch_idempotency_count(batch))
        fail(w, "the record of a group that was refused is in the batch");
}

void once_forget_until(world *w, int64_t until_ms)
{
    int64_t now_ms = clock_ms(w);
    for (int i = 0; i < KEYS; i++) {
        const ref_key *key = known(w, i, now_ms);
        if (key && key->state == KEY_KEPT && key->expires_ms <= until_ms && find(w, i, now_ms))
            fail(w, "the store is told to forget key %d, which is known", i);
    }
    if (until_ms > w->keys_forgotten_ms)
        w->keys_forgotten_ms = until_ms;
}

/* ---- restarts -----------------------------------------------------------------------------------
 */

/* What was under way when the process ended was kept, or has never been. */
void once_restart(world *w)
{
    for (size_t i = 0; i < w->key_count; i++) {
        ref_key *key = &w->keys[i];
        key->forgettable = key->forgettable || key->kept_expires_ms <= w->keys_forgotten_ms;
        key->voided = key->voided && key->seq <= w->stored_highest;
        key->state = key->stored && !(key->forgettable && chance(w, 2)) ? KEY_KEPT : KEY_FREE;
        key->stored = key->state == KEY_KEPT;
    }
    memset(w->latest_key, 0, sizeof(w->latest_key));
    w->keys_forgotten_ms = INT64_MIN;
}

static void push(world *w, const ref_key *key, bool free_again)
{
    char room[LP_IDEMPOTENCY_KEY_MAX + 1];
    lp_idempotency told = {text_of(key->name, room), key->digest, key->seq,
                           free_again ? 0 : key->count, key->kept_expires_ms};
    say(w, "  key %d of %llx until %lld, count %u", key->name, (unsigned long long)key->seq,
        (long long)told.expires_ms, (unsigned)told.count);
    int status = lp__engine_replay_idempotency(w->engine, w->now, &told);
    if (status != LP_OK && status != LP_SKIPPED)
        fail(w, "replay of a key: %d", status);
}

/* Of several records of one key the newest counts; they may come in any order. */
void once_replay(world *w)
{
    bool backwards = chance(w, 2);
    for (size_t i = 0; i < w->key_count; i++) {
        ref_key *key = &w->keys[backwards ? w->key_count - 1 - i : i];
        if (key->voided) {
            bool first = chance(w, 2);
            push(w, key, first);
            push(w, key, !first);
        } else if (key->stored) {
            push(w, key, false);
        }
    }
}

/* How long it is known after a replay: no longer than the window, which is counted from the clock
 * as it was when the record was pushed. */
static void shorten(world *w, ref_key *key, int64_t now_ms)
{
    int64_t window_ms = w->config.key_window_ms;
    int64_t least_ms = lp_seq_ms(key->seq) + window_ms, most_ms = now_ms + window_ms;
    const lp__key *found = find(w, key->name, now_ms);
    if (least_ms > key->kept_expires_ms)
        least_ms = key->kept_expires_ms;
    if (most_ms > key->kept_expires_ms)
        most_ms = key->kept_expires_ms;
    key->expires_ms = least_ms;
    if (found && found->seq == key->seq) {
        key->expires_ms = found->expires_ms;
        if (key->expires_ms < least_ms || key->expires_ms > most_ms)
            fail(w, "key %d expires at %lld", key->name, (long long)key->expires_ms);
    }
}

/* Whether `key` says more of its name than `other`. One that came later counts; but windows may
 * have been shorter then, and when it is over, or one too many, and one before it is not, either
 * may be known. */
static bool counts_before(const world *w, const ref_key *key, const ref_key *other,
                          const lp__key *found)
{
    if (w->shorter_window && found && (found->seq == key->seq || found->seq == other->seq))
        return found->seq == key->seq;
    return key->seq > other->seq;
}

/* Until when there may be something of each name. */
static void find_longest(world *w)
{
    for (int i = 0; i < KEYS; i++)
        w->longest_key[i] = INT64_MIN;
    for (size_t i = 0; i < w->key_count; i++) {
        ref_key *key = &w->keys[i];
        if (!key->stored && !key->voided)
            continue;
        key->expires_ms = key->kept_expires_ms;
        if (key->expires_ms > w->longest_key[key->name])
            w->longest_key[key->name] = key->expires_ms;
    }
}

/* What is known now. */
void once_replayed(world *w)
{
    int64_t now_ms = clock_ms(w);
    find_longest(w);
    for (size_t i = 0; i < w->key_count; i++) {
        const ref_key *key = &w->keys[i];
        size_t *latest = &w->latest_key[key->name];
        if (!key->stored && !key->voided)
            continue;
        if (*latest == 0 ||
            counts_before(w, key, &w->keys[*latest - 1], find(w, key->name, now_ms)))
            *latest = i + 1;
    }
    for (int i = 0; i < KEYS; i++) {
        if (w->latest_key[i] > 0)
            shorten(w, &w->keys[w->latest_key[i] - 1], now_ms);
    }
    learn_forgotten(w, now_ms);
}
