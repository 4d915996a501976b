/* Simulated clients, and what is asserted about every answer that they get. */
#include <stdlib.h>
#include <string.h>

#include "world.h"

static lp_id made_id(world *w, uint64_t seq)
{
    return lp_id_make(seq, w->random);
}

static lp_id foreign_id(void)
{
    lp_id id = {{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0x4d, 0xef, 0x8f, 1, 2, 3, 4, 5, 6, 7}};
    return id;
}

/* ---- coming and going --------------------------------------------------------------------------
 */

void client_start(client *c, int category)
{
    world *w = c->world;
    int64_t clock_ms = clock_max_ms(w);
    int64_t often[] = {w->now.wall_ms - 1, w->now.wall_ms, clock_ms - (int64_t)rnd(w, 5000)};
    int64_t seldom[] = {0, -5, INT64_MIN, INT64_MAX, clock_ms + (int64_t)rnd(w, 5000), 1};

    client_leave(c);
    c->habit = (habit)rnd(w, HABITS);
    c->category = category;
    c->has_since = c->habit == JAVASCRIPT || !chance(w, 4);
    c->since_ms = chance(w, 3) ? seldom[rnd(w, 6)] : often[rnd(w, 3)];
    c->has_id = c->has_since && chance(w, 8);
    if (c->has_id) {
        uint64_t newest = w->highest ? w->highest : lp_seq_first(clock_ms);
        c->id = c->habit == CURL || chance(w, 2) ? foreign_id()
                : chance(w, 5)                   ? made_id(w, lp_seq_last(clock_ms + 10000))
                                                 : made_id(w, newest - rnd(w, 3));
        if (chance(w, 2))
            c->since_ms = lp_seq_ms(lp_id_seq(c->id));
    }
    c->made_up = c->has_id && lp_id_version(c->id) == 7;
    c->answered = false;
    c->claim = c->last_received = 0;
    say(w, "client %d starts: habit %d, category %d, since %d %lld, id %d", c->number,
        (int)c->habit, category, c->has_since, (long long)c->since_ms, c->has_id);
}

void client_leave(client *c)
{
    if (!c->poll)
        return;
    say(c->world, "client %d leaves", c->number);
    lp__engine_cancel(c->world->engine, &c->poll->waiter);
    free(c->poll);
    c->poll = NULL;
}

static void on_answer(lp__waiter *waiter, const lp_answer *answer);

void client_poll(client *c)
{
    world *w = c->world;
    poll *p = malloc(sizeof(*p));
    int64_t timeout_s = 1 + (int64_t)rnd(w, 3);
    lp_query query = LP_QUERY_INIT;
    query.category = lp_str_of(w->names[c->category]);
    query.timeout_s = timeout_s;
    query.has_since = c->has_since;
    query.since_ms = c->since_ms;
    query.has_last_id = c->has_id;
    query.last_id = c->id;
    p->waiter.answer = on_answer;

    lp__engine_stats stats;
    lp__engine_stats_get(w->engine, &stats);
    clock_was_read(w);
    int status =
        lp__engine_subscribe(w->engine, w->now, &query, query.timeout_s * 1000, &p->waiter);
    if (status != LP_OK) {
        if (status != LP_EFULL || stats.waiters < w->config.waiters_max)
            fail(w, "subscribe: status %d with %zu waiters", status, stats.waiters);
        free(p);
        return;
    }
    if (stats.waiters >= w->config.waiters_max)
        fail(w, "more waiters than waiters_max");
    p->client = c;
    p->flushed = false;
    p->target = 0;
    p->cursor = c->has_since ? ref_cursor(stats.highest, c->has_id, c->since_ms, c->id) : 0;
    p->has_cursor = c->has_since;
    p->exact = c->has_id && lp_id_version(c->id) == 7;
    uint64_t seq = p->exact ? lp_id_seq(c->id) : 0;
    uint64_t first = w->life_at < w->event_count ? w->events[w->life_at].seq : 0;
    p->from_elsewhere =
        seq > stats.highest || (w->base.highest > 0 && seq > w->base.highest && seq < first);
    p->deadline_ms = w->now.mono_ms + timeout_s * 1000;
    p->position = w->highest;
    if (p->has_cursor && p->cursor < p->position)
        p->position = p->cursor;
    c->poll = p;
    if (!c->answered)
        c->claim = c->has_since ? p->cursor : p->position;
    say(w, "client %d polls: since %d %lld, id %d %llx, cursor %llx", c->number, c->has_since,
        (long long)c->since_ms, c->has_id, (unsigned long long)(c->has_id ? lp_id_seq(c->id) : 0),
        (unsigned long long)p->cursor);
}

/* ---- what an answer must be ---------------------------------------------------------------------
 */

/* The last millisecond that is settled: at least, and at most. */
static int64_t settled_min_ms(const world *w)
{
    int64_t pending_ms = ref_oldest_pending_ms(w);
    return (pending_ms < w->now.wall_ms ? pending_ms : w->now.wall_ms) - 1;
}

static int64_t settled_max_ms(const world *w)
{
    int64_t pending_ms = ref_oldest_pending_ms(w), clock_ms = clock_max_ms(w);
    return (pending_ms < clock_ms ? pending_ms : clock_ms) - 1;
}

/* The bytes of what comes next after an answer: an event, or for a poll without an id all that is
 * visible of its millisecond; 0 when there is nothing that can be told. */
static size_t next_bytes(world *w, const poll *p, uint64_t after)
{
    ref_event *next = ref_next_visible(w, p->client->category, after);
    if (!next)
        return 0;
    if (p->exact)
        return lp_event_wire(next->event).len + 1;
    size_t bytes = 0;
    int64_t ms = lp_seq_ms(next->seq);
    if (ms > settled_min_ms(w))
        return 0;
    for (; next && lp_seq_ms(next->seq) == ms;
         next = ref_next_visible(w, p->client->category, next->seq))
        bytes += lp_event_wire(next->event).len + 1;
    return bytes;
}

enum { HOLD_MAX_MS = 100 };

/* It waits for the millisecond of what it found when it came, to be told of all of it at once: it
 * may, and it must. */
static bool may_hold(world *w, const poll *p)
{
    return p->target != 0 && lp_seq_ms(p->target) > settled_min_ms(w) &&
           w->now.wall_ms - settled_max_ms(w) <= HOLD_MAX_MS;
}

static bool must_hold(world *w, const poll *p)
{
    const ref_event *target = ref_find(w, p->target);
    return target && target->fate == VISIBLE && lp_seq_ms(p->target) > settled_max_ms(w) &&
           clock_max_ms(w) - settled_min_ms(w) <= HOLD_MAX_MS;
}

static void check_events(world *w, const poll *p, const lp_answer *answer)
{
    uint64_t at = p->position;
    size_t bytes = 0;
    int64_t first_ms = 0, last_ms = 0;
    for (size_t i = 0; i < answer->event_count; i++) {
        const lp_event *event = answer->events[i];
        ref_event *expected = ref_next_visible(w, p->client->category, at);
        if (!expected || expected->seq != lp_event_seq(event))
            fail(w, "client %d was told event %llx where %llx comes next", p->client->number,
                 (unsigned long long)lp_event_seq(event),
                 (unsigned long long)(expected ? expected->seq : 0));
        if (strtoull(lp_event_data(event).base + 1, NULL, 10) != expected->number ||
            lp_event_timestamp_ms(event) != lp_seq_ms(expected->seq))
            fail(w, "event %llu has changed", (unsigned long long)expected->number);
        at = expected->seq;
        bytes += lp_event_wire(event).len + 1;
        last_ms = lp_seq_ms(at);
        if (i == 0)
            first_ms = last_ms;
    }
    bool least = p->exact ? answer->event_count == 1 : first_ms == last_ms;
    if (bytes > w->config.answer_bytes_max && !least)
        fail(w, "an answer of %zu bytes", bytes);
    if (!p->exact) {
        ref_event *next = ref_next_visible(w, p->client->category, at);
        if (w->flushing && !answer->closing && w->now.mono_ms < p->deadline_ms && must_hold(w, p))
            fail(w, "a poll was told of a part of what it found");
        if (last_ms > settled_max_ms(w))
            fail(w, "a poll without an id was told of %lld, which is not settled",
                 (long long)last_ms);
        if (next && lp_seq_ms(next->seq) == last_ms)
            fail(w, "an answer was cut within a millisecond");
    }
    size_t more = w->flushing ? next_bytes(w, p, at) : 0;
    if (more > 0 && bytes + more <= w->config.answer_bytes_max)
        fail(w, "an answer of %zu bytes left out what would have fit", bytes);
}

static void check_timeout(world *w, const poll *p, const lp_answer *answer)
{
    if (!answer->closing && w->now.mono_ms < p->deadline_ms)
        fail(w, "a poll timed out %lld ms early", (long long)(p->deadline_ms - w->now.mono_ms));
    if (next_bytes(w, p, p->position) > 0)
        fail(w, "a poll timed out and there is something to tell");
    if (answer->timestamp_ms < settled_min_ms(w) || answer->timestamp_ms > settled_max_ms(w))
        fail(w, "a timeout's timestamp %lld is not within %lld and %lld",
             (long long)answer->timestamp_ms, (long long)settled_min_ms(w),
             (long long)settled_max_ms(w));
    if (answer->timestamp_ms > w->told_ms)
        w->told_ms = answer->timestamp_ms;
}

static void check_gap(world *w, const poll *p, const lp_answer *answer)
{
    uint64_t horizon = w->horizon[p->client->category];
    uint64_t low = horizon > w->floor_low ? horizon : w->floor_low;
    uint64_t high = horizon > w->floor_high ? horizon : w->floor_high;
    if (high < w->overstated[p->client->category])
        high = w->overstated[p->client->category];
    bool must = p->has_cursor && (p->from_elsewhere || p->cursor < low);
    bool may = p->has_cursor && (p->from_elsewhere || p->cursor < high);
    if (!p->has_cursor) { /* it asks for what comes while it waits */
        must = horizon > p->position && horizon > w->given;
        may = horizon > p->position || w->overstated[p->client->category] > p->position;
    }
    if (must && !answer->gap)
        fail(w, "client %d was not told of a gap: cursor %llx, horizon %llx, floor %llx",
             p->client->number, (unsigned long long)p->cursor, (unsigned long long)horizon,
             (unsigned long long)w->floor_low);
    if (answer->gap && !may)
        fail(w, "client %d was told of a gap where none is: cursor %llx, horizon %llx, floor %llx",
             p->client->number, (unsigned long long)p->cursor, (unsigned long long)horizon,
             (unsigned long long)w->floor_high);
}

/* ---- what the client makes of it ----------------------------------------------------------------
 */

static bool is_in(const lp_answer *answer, uint64_t seq)
{
    for (size_t i = 0; i < answer->event_count; i++) {
        if (lp_event_seq(answer->events[i]) == seq)
            return true;
    }
    return false;
}

/* From here on the client says that it has everything up to its cursor: it must, and nothing that
 * is still pending may come to lie there. What was removed, check_gap has seen to. */
static void check_claim(world *w, client *c, uint64_t before, const lp_answer *answer)
{
    for (size_t i = w->event_count; i-- > 0 && w->events[i].seq > before;) {
        const ref_event *event = &w->events[i];
        bool alive = event->fate == VISIBLE || event->fate == PENDING;
        if (alive && event->category == c->category && event->seq <= c->claim &&
            !is_in(answer, event->seq))
            fail(w, "client %d will never be told of event %llu (%llx): it has up to %llx",
                 c->number, (unsigned long long)event->number, (unsigned long long)event->seq,
                 (unsigned long long)c->claim);
    }
}

static void receive(world *w, client *c, const lp_answer *answer)
{
    for (size_t i = 0; i < answer->event_count; i++) {
        uint64_t seq = lp_event_seq(answer->events[i]);
        if (seq <= c->last_received)
            fail(w, "client %d got event %llx after %llx", c->number, (unsigned long long)seq,
                 (unsigned long long)c->last_received);
        c->last_received = seq;
    }
    if (answer->event_count > 0) {
        const lp_event *last = answer->events[answer->event_count - 1];
        c->has_since = true;
        c->since_ms = lp_event_timestamp_ms(last);
        c->has_id = c->habit != CURL;
        c->id = lp_event_id(last);
        c->made_up = false;
    } else if (c->habit != JAVASCRIPT) {
        c->has_since = true;
        c->since_ms = answer->timestamp_ms;
        c->has_id = c->has_id && !c->made_up;
    } else {
        return; /* its cursor is what it was */
    }
    uint64_t before = c->claim;
    c->claim = ref_cursor(UINT64_MAX, c->has_id, c->since_ms, c->id);
    c->answered = true;
    check_claim(w, c, before, answer);
}

/* ---- delete after the first retrieval -----------------------------------------------------------
 */

/* `these` are the same events, perhaps in the answer itself, which may be gone afterwards. Some may
 * have been removed already. */
static void tell_retrieved(world *w, ref_event **events, lp_event *const *these, size_t count)
{
    for (size_t i = 0; i < count; i++)
        events[i]->retrieved |= events[i]->fate == VISIBLE;
    clock_was_read(w);
    lp__engine_retrieved(w->engine, w->now, these, count);
    ref_learn(w);
    for (size_t i = 0; i < count; i++) {
        if (events[i]->fate != VISIBLE)
            continue;
        if (w->config.delete_after_first)
            fail(w, "event %llu outlives its retrieval", (unsigned long long)events[i]->number);
        events[i]->retrieved = false;
    }
}

void tell_late_retrieval(world *w)
{
    ref_event *events[LATE_MAX];
    lp_event *these[LATE_MAX];
    size_t count = w->late_count;
    for (size_t i = 0; i < count; i++) {
        events[i] = ref_find(w, w->late[i]);
        these[i] = events[i]->event;
    }
    w->late_count = 0;
    if (count > 0)
        tell_retrieved(w, events, these, count);
}

/* The answer has been written whole: this is told at once, later, or never. */
static void retrieved(world *w, const lp_answer *answer)
{
    ref_event **events = malloc((answer->event_count + 1) * sizeof(*events));
    size_t count = 0;
    for (size_t i = 0; i < answer->event_count; i++)
        events[count++] = ref_find(w, lp_event_seq(answer->events[i]));
    if (count > 0 && chance(w, 3)) {
        tell_retrieved(w, events, answer->events, count);
    } else if (count <= LATE_MAX && w->late_count == 0 && chance(w, 2)) {
        for (size_t i = 0; i < count; i++)
            w->late[w->late_count++] = events[i]->seq;
    }
    free(events);
}

static void on_answer(lp__waiter *waiter, const lp_answer *answer)
{
    poll *p = LP__CONTAINER(waiter, poll, waiter);
    client *c = p->client;
    world *w = c->world;
    bool closing = answer->closing, lost = chance(w, 10);
    if (c->poll != p)
        fail(w, "client %d was answered and does not wait", c->number);
    c->poll = NULL;
    say(w, "  client %d gets %zu events, timestamp %lld%s%s%s", c->number, answer->event_count,
        (long long)answer->timestamp_ms, answer->gap ? ", gap" : "", closing ? ", closing" : "",
        lost ? ", lost" : "");

    w->counted.answered++;
    w->counted.delivered += answer->event_count;
    w->counted.timed_out += answer->event_count == 0 && !closing;
    ref_learn(w);
    check_gap(w, p, answer);
    if (answer->event_count > 0)
        check_events(w, p, answer);
    else
        check_timeout(w, p, answer);
    if (!lost && c != &w->probe) {
        receive(w, c, answer);
        if (w->config.delete_after_first || chance(w, 50))
            retrieved(w, answer);
    }
    free(p);
    /* What a callback may do: poll again at once, and end others. */
    if (!closing && c != &w->probe && chance(w, 4))
        client_poll(c);
    if (chance(w, 30))
        client_leave(&w->clients[rnd(w, CLIENTS)]);
}

/* ---- after a flush ------------------------------------------------------------------------------
 */

static void check_waiting(world *w, const poll *p, int64_t deadline_ms)
{
    int number = p->client->number;
    if (p->deadline_ms < deadline_ms)
        fail(w, "client %d times out at %lld, and the engine wants to be called at %lld", number,
             (long long)p->deadline_ms, (long long)deadline_ms);
    if (!p->flushed)
        return;
    if (p->deadline_ms <= w->now.mono_ms)
        fail(w, "client %d has timed out and still waits", number);
    if (next_bytes(w, p, p->position) > 0 && !may_hold(w, p))
        fail(w, "client %d waits, and there is something to tell", number);
    ref_event *unseen = ref_next_visible(w, p->client->category, p->position);
    if (unseen && lp_seq_ms(unseen->seq) < ref_oldest_pending_ms(w) && !may_hold(w, p) &&
        deadline_ms > w->now.mono_ms + 1)
        fail(w, "client %d waits for a millisecond to pass, and the engine does not", number);
}

void clients_after_flush(world *w)
{
    int64_t deadline_ms = lp__engine_deadline(w->engine);
    for (int i = 0; i < CLIENTS; i++) {
        if (w->clients[i].poll)
            check_waiting(w, w->clients[i].poll, deadline_ms);
    }
}
