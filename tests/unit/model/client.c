/* Simulated clients: their cursor habits, and what they make of answers. */
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

/* Where it begins: a time, an id, both or neither. */
static void choose_cursor(client *c)
{
    world *w = c->world;
    int64_t clock_ms = clock_max_ms(w);
    int64_t often[] = {w->now.wall_ms - 1, w->now.wall_ms, clock_ms - (int64_t)rnd(w, 5000)};
    int64_t seldom[] = {0, -5, INT64_MIN, INT64_MAX, clock_ms + (int64_t)rnd(w, 5000), 1};

    c->by_id = c->habit == BY_ID || (c->habit == STREAM && chance(w, 2));
    c->has_since = !c->by_id && (c->habit == JAVASCRIPT || !chance(w, 4));
    c->since_ms = chance(w, 3) ? seldom[rnd(w, 6)] : often[rnd(w, 3)];
    c->has_id = (c->by_id && chance(w, 2)) || (c->has_since && chance(w, 8));
    if (c->has_id) {
        uint64_t newest = w->highest ? w->highest : lp_seq_first(clock_ms);
        c->id = c->habit == CURL || chance(w, c->by_id ? 8 : 2) ? foreign_id()
                : chance(w, 5) ? made_id(w, lp_seq_last(clock_ms + 10000))
                               : made_id(w, newest - rnd(w, c->by_id && chance(w, 2) ? 30 : 3));
        if (chance(w, 2))
            c->since_ms = lp_seq_ms(lp_id_seq(c->id));
    }
    c->last = chance(w, 3) ? 1 + (int64_t)rnd(w, chance(w, 3) ? 100 : 6) : 0;
    c->made_up = c->has_id && lp_id_version(c->id) == 7;
    c->answered = false;
    c->claim = c->last_received = 0;
}

void client_start(client *c)
{
    world *w = c->world;
    client_leave(c);
    c->habit = (habit)rnd(w, HABITS);
    ask_for_some(c);
    choose_cursor(c);
    say(w, "client %d starts: habit %d, %zu categories, %zu prefixes, mask %x, last %lld",
        c->number, (int)c->habit, c->asks.category_count, c->asks.prefix_count,
        (unsigned)c->asks.mask, (long long)c->last);
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

void client_dismiss(client *c)
{
    world *w = c->world;
    if (!c->poll || c->poll->rests) {
        client_leave(c);
        return;
    }
    say(w, "client %d is dismissed", c->number);
    clock_was_read(w);
    w->dismissing = true;
    lp__engine_dismiss(w->engine, w->now, &c->poll->waiter);
    w->dismissing = false;
    if (c->poll)
        fail(w, "client %d was dismissed and still waits", c->number);
}

static void on_answer(lp__waiter *waiter, const lp_answer *answer);

/* What the reference makes of the cursor. */
static void begin_at_cursor(world *w, client *c, poll *p, const lp__engine_stats *before)
{
    bool ours = c->has_id && lp_id_version(c->id) == 7;
    uint64_t seq = ours ? lp_id_seq(c->id) : 0;
    uint64_t first = w->life_at < w->event_count ? w->events[w->life_at].seq : 0;
    bool between = w->base.highest > 0 && seq > w->base.highest && seq < first;

    p->has_cursor = c->has_since || (c->by_id && c->has_id);
    if (c->by_id)
        p->cursor = seq;
    else if (c->has_since)
        p->cursor = ref_cursor(before->highest, c->has_id, c->since_ms, c->id);
    p->exact = p->is_stream || c->by_id || ours;
    p->from_elsewhere =
        seq > before->highest || (between && w->had_highest) || (c->by_id && c->has_id && !ours);
    p->maybe_elsewhere = p->from_elsewhere || between;
    p->visible_then = w->highest > w->base.highest ? w->highest : w->base.highest;
    p->floor_then = w->floor_low;
    p->position = w->highest;
    if (p->has_cursor && p->cursor < p->position)
        p->position = p->cursor;
}

static int subscribe(client *c, poll *p, int64_t timeout_ms)
{
    world *w = c->world;
    lp_query query = LP_QUERY_INIT;
    lp_str categories[ASKED_MAX * 2], prefixes[ASKED_MAX];
    const interests *asks = &p->asks;
    for (size_t i = 0; i < asks->category_count; i++)
        categories[i] = lp_str_of(w->names[asks->categories[i]]);
    for (size_t i = 0; i < asks->prefix_count; i++)
        prefixes[i] = lp_str_of(asks->prefixes[i]);
    size_t single = asks->category_count > 0 && !chance(w, 5);
    if (single)
        query.category = categories[0];
    query.categories = categories + single;
    query.category_count = asks->category_count - single;
    query.prefixes = prefixes;
    query.prefix_count = asks->prefix_count;
    query.timeout_s = timeout_ms / 1000;
    query.has_since = c->has_since;
    query.since_ms = c->since_ms;
    query.has_last_id = c->has_id;
    query.last_id = c->id;
    query.by_id = c->by_id;
    query.last = c->last;
    clock_was_read(w);
    return lp__engine_subscribe(w->engine, w->now, &query, timeout_ms, &p->waiter);
}

/* A poll is refused past a bound. That its duplicates count once may be found too late. */
static void check_admission(world *w, const poll *p, const lp__engine_stats *before, int status)
{
    size_t named = p->asks.category_count + p->asks.prefix_count;
    bool must = before->waiters >= w->config.waiters_max ||
                before->interests + p->asks.distinct > w->config.interests_max;
    bool may = must || before->interests + named > w->config.interests_max;
    if ((status != LP_OK && status != LP_EFULL) || (status == LP_EFULL ? !may : must))
        fail(w, "subscribe: status %d with %zu waiters and %zu interests, and %zu come", status,
             before->waiters, before->interests, p->asks.distinct);
}

void client_poll(client *c)
{
    world *w = c->world;
    poll *p = calloc(1, sizeof(*p));
    int64_t timeout_ms = 1000 * (1 + (int64_t)rnd(w, 3));
    p->client = c;
    p->asks = c->asks;
    p->is_stream = c->habit == STREAM && c != &w->probe;
    p->waiter.answer = on_answer;
    p->waiter.is_stream = p->is_stream;
    p->waiter.answer_bytes_max = chance(w, 4) ? 1 + (size_t)rnd(w, 800) : 0;
    p->bytes_max =
        p->waiter.answer_bytes_max ? p->waiter.answer_bytes_max : w->config.answer_bytes_max;
    p->deadline_ms = w->now.mono_ms + timeout_ms;

    lp__engine_stats before;
    lp__engine_stats_get(w->engine, &before);
    int status = subscribe(c, p, timeout_ms);
    check_admission(w, p, &before, status);
    if (status != LP_OK) {
        free(p);
        return;
    }
    begin_at_cursor(w, c, p, &before);
    if (!p->has_cursor && c->last > 0)
        check_begin(w, p, c->last);
    c->poll = p;
    if (!c->answered)
        c->claim = p->has_cursor ? p->cursor : p->position;
    say(w, "client %d polls: mask %x, since %d %lld, id %d %llx%s, cursor %llx, position %llx",
        c->number, (unsigned)p->asks.mask, c->has_since, (long long)c->since_ms, c->has_id,
        (unsigned long long)(c->has_id ? lp_id_seq(c->id) : 0), c->by_id ? " alone" : "",
        (unsigned long long)p->cursor, (unsigned long long)p->position);
}

void client_go_on(client *c)
{
    world *w = c->world;
    poll *p = c->poll;
    int64_t timeout_ms = 1 + (int64_t)rnd(w, 3000);
    say(w, "client %d goes on", c->number);
    p->rests = p->flushed = false;
    p->deadline_ms = w->now.mono_ms + timeout_ms;
    clock_was_read(w);
    lp__engine_continue(w->engine, w->now, timeout_ms, &p->waiter);
}

/* ---- what it makes of an answer -----------------------------------------------------------------
 */

static bool is_in(const lp_answer *answer, uint64_t seq)
{
    for (size_t i = 0; answer && i < answer->event_count; i++) {
        if (lp_event_seq(answer->events[i]) == seq)
            return true;
    }
    return false;
}

/* From here on the client says that it has everything up to its cursor: it must, and nothing that
 * is still pending may come to lie there. What was removed, check_answer has seen to. */
static void check_claim(world *w, client *c, uint32_t mask, uint64_t before,
                        const lp_answer *answer)
{
    for (size_t i = w->event_count; i-- > 0 && w->events[i].seq > before;) {
        const ref_event *event = &w->events[i];
        bool alive = event->fate == VISIBLE || event->fate == PENDING;
        if (alive && mask & ONE_CATEGORY(event->category) && event->seq <= c->claim &&
            !is_in(answer, event->seq))
            fail(w, "client %d will never be told of event %llu (%llx): it has up to %llx",
                 c->number, (unsigned long long)event->number, (unsigned long long)event->seq,
                 (unsigned long long)c->claim);
    }
}

/* From now on its cursor is an id alone. */
static void keep_id(client *c, lp_id id)
{
    c->by_id = c->has_id = true;
    c->has_since = c->made_up = false;
    c->id = id;
    if (lp_id_seq(id) > c->world->told_seq)
        c->world->told_seq = lp_id_seq(id);
}

void client_keep_position(client *c)
{
    world *w = c->world;
    poll *p = c->poll;
    if (!p || !p->is_stream)
        return;
    lp_id id = lp__engine_position(w->engine, &p->waiter);
    uint64_t seq = lp_id_seq(id), before = c->claim;
    check_position(w, p, id);
    say(w, "client %d keeps its position, %llx", c->number, (unsigned long long)seq);
    bool gap = must_tell_gap(w, p);
    bool gap_then =
        seq < ref_horizon(w, p->asks.mask, false) || seq < w->floor_low ||
        (p->from_elsewhere && seq == p->cursor); /* 0: all there is, as far as it goes */
    if (gap && !gap_then)
        fail(w, "client %d was never told of a gap, and resumes from %llx", c->number,
             (unsigned long long)seq);
    if (p->from_elsewhere) /* it has been given nothing that is ours */
        return;
    keep_id(c, id);
    c->claim = seq;
    c->answered = true;
    check_claim(w, c, p->asks.mask, before, NULL);
}

static void receive(world *w, client *c, const poll *p, const lp_answer *answer)
{
    for (size_t i = 0; i < answer->event_count; i++) {
        uint64_t seq = lp_event_seq(answer->events[i]);
        if (seq <= c->last_received && p->asks.mask == c->asks.mask)
            fail(w, "client %d got event %llx after %llx", c->number, (unsigned long long)seq,
                 (unsigned long long)c->last_received);
        c->last_received = seq;
    }
    if (c->habit == BY_ID || c->habit == STREAM) {
        keep_id(c, answer->last_id);
    } else if (answer->event_count > 0) {
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
    c->claim = c->by_id ? lp_id_seq(c->id) : ref_cursor(UINT64_MAX, c->has_id, c->since_ms, c->id);
    c->answered = true;
    check_claim(w, c, p->asks.mask, before, answer);
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
        lp_event **copy = malloc(count * sizeof(*copy));
        memcpy(copy, answer->events, count * sizeof(*copy));
        tell_retrieved(w, events, chance(w, 2) ? copy : answer->events, count);
        free(copy);
    } else if (count <= LATE_MAX && w->late_count == 0 && chance(w, 2)) {
        for (size_t i = 0; i < count; i++)
            w->late[w->late_count++] = events[i]->seq;
    }
    free(events);
}

/* A poll that was answered is gone; a stream rests. */
static void end_answer(world *w, client *c, poll *p, const lp_answer *answer, bool lost)
{
    bool closing = answer->closing;
    if (!p->is_stream) {
        free(p);
        if (!closing && c != &w->probe && chance(w, 4))
            client_poll(c);
        return;
    }
    if (lost || closing || chance(w, 30)) {
        client_leave(c);
        if (!closing && chance(w, 4))
            client_poll(c);
    } else if (chance(w, 2)) {
        client_go_on(c);
    }
}

static void on_answer(lp__waiter *waiter, const lp_answer *answer)
{
    poll *p = LP__CONTAINER(waiter, poll, waiter);
    client *c = p->client;
    world *w = c->world;
    bool lost = chance(w, 10);
    if (c->poll != p || p->rests)
        fail(w, "client %d was answered and does not wait", c->number);
    say(w, "  client %d gets %zu events, timestamp %lld, last %llx%s%s%s", c->number,
        answer->event_count, (long long)answer->timestamp_ms,
        (unsigned long long)lp_id_seq(answer->last_id), answer->gap ? ", gap" : "",
        answer->closing ? ", closing" : "", lost ? ", lost" : "");

    w->counted.answered++;
    w->counted.delivered += answer->event_count;
    w->counted.timed_out += answer->event_count == 0 && !answer->closing && !p->is_stream;
    w->counted.gaps += answer->gap;
    ref_learn(w);
    check_answer(w, p, answer);
    if (p->is_stream) {
        p->rests = true;
        p->from_elsewhere = p->maybe_elsewhere = false;
        p->was_answered = true;
        p->position = p->cursor = lp_id_seq(answer->last_id);
        p->removals_told = w->removals;
    } else {
        c->poll = NULL;
    }
    lp_answer told = *answer; /* its events are gone once they are retrieved */
    if (!lost && c != &w->probe) {
        receive(w, c, p, answer);
        if (w->config.delete_after_first || chance(w, 50))
            retrieved(w, answer);
    }
    /* What a callback may do: poll again at once, and end others. */
    end_answer(w, c, p, &told, lost);
    if (chance(w, 30))
        client_leave(&w->clients[rnd(w, CLIENTS)]);
}
