/* Ports away from home, turned by hand on one thread: what arrives, in which order, what crosses
 * what, and how they go. A plain program, for ThreadSanitizer sees no difference; under
 * AddressSanitizer it shows that nothing is freed too early or never. */
#include "away.h"
#include "check.h"
#include "stored.h"

static void open_world(test_world *world, test_port *away)
{
    world_init(world);
    world_start(world);
    CHECK_IS(away_attach(world, away), LP_OK);
}

/* Detaches the port, if it is there, first. */
static void close_world(test_port *away)
{
    if (away->port != NULL)
        away_detach(away);
    world_end(away->world);
}

/* From now on, and told of an event at once, not when its millisecond is over. */
static lp_query query_live(const char *category)
{
    lp_query query = query_now(category);
    query.by_id = true;
    return query;
}

static int publish_one(test_port *away, const char *category, const char *data, away_publish *out)
{
    return away_publish_all(away, category, data, 1, NULL, out);
}

/* ---- publishing --------------------------------------------------------- */

static void publishes_end_in_their_turn_and_in_their_order(void)
{
    enum { COUNT = 100 };
    test_world world;
    test_port away = {0};
    static away_publish published[COUNT];
    int place = 0;
    memset(published, 0, sizeof(published));
    open_world(&world, &away);
    for (int i = 0; i < COUNT; i++) {
        published[i].place = &place;
        CHECK_IS(away_publish_all(&away, i % 3 ? "a" : "b", "1", 1 + i % 4, NULL, &published[i]),
                 LP_OK);
    }
    CHECK_IS(away.soons, 1);
    world_turn(&world);
    CHECK_IS(world_stats(&world).published, 0); /* it has not had its turn */
    CHECK(world_stats(&world).pending > COUNT);
    away_turn(&away);
    world_turn(&world);
    CHECK(world_stats(&world).published > COUNT);
    CHECK_IS(world_stats(&world).pending, 0);
    CHECK_IS(away.wakes, 1);
    CHECK_IS(place, 0); /* nor has it had its second */
    away_turn(&away);
    CHECK_IS(place, COUNT);
    for (int i = 0; i < COUNT; i++) {
        CHECK_IS(published[i].calls, 1);
        CHECK_IS(published[i].status, LP_OK);
        CHECK_IS(published[i].placed, i + 1);
        CHECK(i == 0 || published[i].seq > published[i - 1].seq);
    }
    close_world(&away);
}

static void publish_is_refused_at_once_where_that_is_known(void)
{
    test_world world;
    test_port away = {0};
    away_publish published[3] = {{0}};
    world_init(&world);
    world.options.pending_max = 2;
    world_start(&world);
    CHECK_IS(away_attach(&world, &away), LP_OK);
    CHECK_IS(publish_one(&away, "", "1", &published[0]), LP_EINVAL);
    CHECK_IS(away_publish_all(&away, "a", "1", 3, NULL, &published[0]), LP_ETOOBIG);
    CHECK_IS(publish_one(&away, "a", "1", &published[0]), LP_OK);
    CHECK_IS(publish_one(&away, "a", "2", &published[1]), LP_OK);
    CHECK_IS(publish_one(&away, "a", "3", &published[2]), LP_EFULL);
    away_settle(&away);
    CHECK_IS(publish_one(&away, "a", "3", &published[2]), LP_OK);
    away_settle(&away);
    for (int i = 0; i < 3; i++)
        CHECK_IS(published[i].calls, 1);
    CHECK_IS(world_stats(&world).refused, 5);
    close_world(&away);
}

static void keys_are_known_across_ports(void)
{
    test_world world;
    test_port one = {0}, two = {0};
    away_publish first = {0}, repeat = {0}, other = {0}, late = {0};
    open_world(&world, &one);
    CHECK_IS(away_attach(&world, &two), LP_OK);
    CHECK_IS(away_publish_all(&one, "a", "1", 2, "key", &first), LP_OK);
    CHECK_IS(away_publish_all(&two, "a", "1", 2, "key", &repeat), LP_OK);
    CHECK_IS(away_publish_all(&two, "a", "2", 2, "key", &other), LP_OK);
    away_turn(&one);
    away_settle(&two);
    away_settle(&one);
    CHECK_IS(away_publish_all(&one, "a", "1", 2, "key", &late), LP_OK);
    away_settle(&one);
    CHECK_IS(first.status, LP_OK);
    CHECK_IS(repeat.status, LP_OK);
    CHECK_IS(late.status, LP_OK);
    CHECK_IS(repeat.seq, first.seq);
    CHECK_IS(late.seq, first.seq);
    CHECK_IS(other.status, LP_ECONFLICT);
    CHECK_IS(world_stats(&world).published, 2);
    away_detach(&two);
    close_world(&one);
}

/* ---- polls -------------------------------------------------------------- */

static void poll_is_answered_in_the_ports_turn(void)
{
    test_world world;
    test_port away = {0};
    away_poll polled = {0};
    char category[] = "a";
    open_world(&world, &away);
    CHECK_IS(away_start(&away, query_live(category), false, &polled), LP_OK);
    category[0] = 'x'; /* the query is not kept */
    away_settle(&away);
    CHECK_IS(world_stats(&world).waiters, 1);
    lp_event *event = world_keep(&world, "a", "1");
    CHECK_IS(polled.answers, 0);
    away_turn(&away);
    CHECK_IS(polled.answers, 1);
    CHECK_IS(polled.count, 1);
    CHECK_IS(polled.first_seq, lp_event_seq(event));
    CHECK_IS(world_stats(&world).waiters, 0);
    CHECK_IS(world_stats(&world).delivered, 1);
    close_world(&away);
}

static void answer_of_many_events_and_categories_arrives_whole(void)
{
    enum { COUNT = 300 };
    test_world world;
    test_port away = {0};
    away_poll polled = {0};
    lp_str more[] = {{"b", 1}, {"c", 1}}, prefixes[] = {{"long ", 5}};
    open_world(&world, &away);
    for (int i = 0; i < COUNT; i++)
        world_keep(&world, (const char *[]){"a", "b", "c", "long one"}[i % 4], "1");
    lp_query query = query_all("a");
    query.categories = more;
    query.category_count = 2;
    query.prefixes = prefixes;
    query.prefix_count = 1;
    CHECK_IS(away_start(&away, query, false, &polled), LP_OK);
    away_settle(&away);
    CHECK_IS(polled.answers, 1);
    CHECK_IS(polled.count, COUNT);
    close_world(&away);
}

static void timeout_reaches_the_port(void)
{
    test_world world;
    test_port away = {0};
    away_poll polled = {0};
    open_world(&world, &away);
    lp_query query = query_live("a");
    query.timeout_s = 1;
    CHECK_IS(away_start(&away, query, false, &polled), LP_OK);
    away_run(&away, &polled.answers, 1);
    CHECK_IS(polled.count, 0);
    CHECK(!polled.closing);
    close_world(&away);
}

static void poll_is_refused_at_once_or_later(void)
{
    test_world world;
    test_port away = {0};
    away_poll polled[3] = {{0}};
    world_init(&world);
    world.options.waiters_max = 2;
    world_start(&world);
    CHECK_IS(away_attach(&world, &away), LP_OK);
    CHECK_IS(away_start(&away, query_live(""), false, &polled[0]), LP_EINVAL);
    for (int i = 0; i < 3; i++)
        CHECK_IS(away_start(&away, query_live("a"), i == 2, &polled[i]), LP_OK);
    away_settle(&away);
    CHECK_IS(polled[2].refused, 1);
    CHECK_IS(polled[2].status, LP_EFULL);
    CHECK_IS(world_stats(&world).waiters, 2);
    lp__poll_cancel(polled[0].poll);
    lp__poll_cancel(polled[1].poll);
    away_settle(&away);
    CHECK_IS(world_stats(&world).waiters, 0);
    CHECK_IS(polled[0].answers + polled[1].answers + polled[0].refused + polled[1].refused, 0);
    close_world(&away);
}

static void many_waiters_are_woken_by_one_call(void)
{
    enum { COUNT = 1000 };
    test_world world;
    test_port away = {0};
    static away_poll polled[COUNT];
    memset(polled, 0, sizeof(polled));
    open_world(&world, &away);
    for (int i = 0; i < COUNT; i++)
        CHECK_IS(away_start(&away, query_live("a"), false, &polled[i]), LP_OK);
    away_settle(&away);
    CHECK_IS(away.soons, 1);
    CHECK_IS(away.wakes, 0);
    world_keep(&world, "a", "1");
    CHECK_IS(away.wakes, 1);
    away_turn(&away);
    for (int i = 0; i < COUNT; i++)
        CHECK_IS(polled[i].answers, 1);
    lp_stats stats = world_stats(&world);
    uint64_t durations = 0;
    for (int i = 0; i <= LP_HISTOGRAM_BOUNDS; i++)
        durations += stats.delivery_duration.counts[i];
    CHECK_IS(durations, COUNT);
    close_world(&away);
}

/* ---- what crosses an answer --------------------------------------------- */

static void cancel_crosses_the_answer(void)
{
    test_world world;
    test_port away = {0};
    away_poll polled = {0}, stream = {0}, refused = {0};
    world_init(&world);
    world.options.waiters_max = 2;
    world_start(&world);
    CHECK_IS(away_attach(&world, &away), LP_OK);
    CHECK_IS(away_start(&away, query_live("a"), false, &polled), LP_OK);
    CHECK_IS(away_start(&away, query_live("a"), true, &stream), LP_OK);
    CHECK_IS(away_start(&away, query_live("a"), false, &refused), LP_OK);
    away_turn(&away);
    world_turn(&world);
    world_keep(&world, "a", "1");
    lp__poll_cancel(polled.poll); /* all of their answers are here */
    lp__poll_cancel(stream.poll);
    lp__poll_cancel(refused.poll);
    away_settle(&away);
    CHECK_IS(polled.answers + stream.opened + stream.answers + refused.refused, 0);
    CHECK_IS(world_stats(&world).waiters, 0);
    close_world(&away);
}

static void cancel_goes_with_the_start(void)
{
    test_world world;
    test_port away = {0};
    away_poll polled = {0}, stream = {0};
    open_world(&world, &away);
    world_keep(&world, "a", "1");
    CHECK_IS(away_start(&away, query_all("a"), false, &polled), LP_OK);
    CHECK_IS(away_start(&away, query_all("a"), true, &stream), LP_OK);
    lp__poll_cancel(polled.poll);
    lp__poll_cancel(stream.poll);
    away_settle(&away);
    CHECK_IS(polled.answers + stream.opened + stream.answers, 0);
    CHECK_IS(world_stats(&world).waiters, 0);
    CHECK_IS(world_stats(&world).answered, 0);
    close_world(&away);
}

static void dismissed_poll_is_answered_once(void)
{
    test_world world;
    test_port away = {0};
    away_poll waiting = {0}, crossing = {0}, canceled = {0};
    open_world(&world, &away);
    CHECK_IS(away_start(&away, query_live("a"), false, &waiting), LP_OK);
    CHECK_IS(away_start(&away, query_live("b"), false, &crossing), LP_OK);
    CHECK_IS(away_start(&away, query_live("a"), false, &canceled), LP_OK);
    away_settle(&away);
    world_keep(&world, "b", "1");
    lp__poll_dismiss(waiting.poll);
    lp__poll_dismiss(waiting.poll);
    lp__poll_dismiss(crossing.poll);
    lp__poll_dismiss(canceled.poll);
    lp__poll_cancel(canceled.poll);
    away_settle(&away);
    CHECK_IS(waiting.answers, 1);
    CHECK_IS(waiting.count, 0);
    CHECK(waiting.closing);
    CHECK_IS(crossing.answers, 1);
    CHECK_IS(crossing.count, 1);
    CHECK(!crossing.closing);
    CHECK_IS(canceled.answers, 0);
    close_world(&away);
}

/* ---- streams ------------------------------------------------------------ */

static void continue_stream(away_poll *self)
{
    if (self->answers > 0 && !self->closing)
        lp__poll_continue(self->poll, 100000);
}

static void stream_is_opened_and_answered_again_and_again(void)
{
    test_world world;
    test_port away = {0};
    away_poll stream = {.then = continue_stream};
    open_world(&world, &away);
    lp_event *before = world_keep(&world, "a", "0");
    CHECK_IS(away_start(&away, query_after("a", before), true, &stream), LP_OK);
    CHECK_IS(stream.opened, 0);
    away_settle(&away);
    CHECK_IS(stream.opened, 1);
    CHECK_IS(lp_id_seq(stream.position), lp_event_seq(before));
    for (int i = 1; i <= 5; i++) {
        lp_event *event = world_keep(&world, "a", "1");
        away_settle(&away);
        CHECK_IS(stream.answers, i);
        CHECK_IS(stream.count, 1);
        CHECK_IS(stream.last_seq, lp_event_seq(event));
    }
    lp__poll_cancel(stream.poll);
    away_settle(&away);
    CHECK_IS(world_stats(&world).waiters, 0);
    close_world(&away);
}

static void cancel_itself(away_poll *self)
{
    lp__poll_cancel(self->poll);
}

static void stream_is_canceled_within_its_calls(void)
{
    test_world world;
    test_port away = {0};
    away_poll at_opening = {.then = cancel_itself}, at_answer = {0};
    open_world(&world, &away);
    CHECK_IS(away_start(&away, query_live("a"), true, &at_opening), LP_OK);
    CHECK_IS(away_start(&away, query_live("a"), true, &at_answer), LP_OK);
    away_settle(&away);
    at_answer.then = cancel_itself;
    world_keep(&world, "a", "1");
    away_settle(&away);
    CHECK_IS(at_opening.answers, 0);
    CHECK_IS(at_answer.answers, 1);
    CHECK_IS(world_stats(&world).waiters, 0);
    close_world(&away);
}

/* ---- delete after first retrieval --------------------------------------- */

static void what_was_written_is_deleted(void)
{
    test_world world;
    test_port away = {0};
    away_poll polled = {0}, again = {0};
    world_init(&world);
    world.options.delete_after_first_retrieval = true;
    world_start(&world);
    CHECK_IS(away_attach(&world, &away), LP_OK);
    world_keep(&world, "a", "1");
    CHECK_IS(away_start(&away, query_all("a"), false, &polled), LP_OK);
    away_settle(&away);
    CHECK_IS(polled.count, 1);
    CHECK_IS(away_start(&away, query_all("a"), false, &again), LP_OK);
    away_settle(&away);
    CHECK_IS(again.count, 1); /* nobody has said that it was written */
    lp__port_retrieved(away.port, &polled.first, 1);
    lp__port_retrieved(away.port, &polled.first, 1);
    CHECK_IS(world_stats(&world).events, 1);
    away_settle(&away);
    CHECK_IS(world_stats(&world).events, 0);
    CHECK_IS(world_stats(&world).retrieved, 1);
    close_world(&away);
}

/* The store stays open from the answer to the word that it was written. */
static void store_waits_for_answers_that_are_being_written(void)
{
    test_world world;
    test_shelf shelf;
    test_port away = {.drains_later = true};
    away_poll polled = {0};
    stored_init(&world, &shelf);
    world.options.delete_after_first_retrieval = true;
    world_start(&world);
    CHECK_IS(away_attach(&world, &away), LP_OK);
    CHECK_IS(away_start(&away, query_live("a"), false, &polled), LP_OK);
    away_settle(&away);
    world_keep(&world, "a", "1");
    world_shutdown(&world, 60000);
    world_turn(&world);
    CHECK_IS(shelf_read(&shelf, &shelf.shutdowns), 0); /* the answer is on its way */
    away.is_writing = true;
    away_turn(&away);
    CHECK_IS(polled.count, 1);
    world_turn(&world);
    CHECK_IS(shelf_read(&shelf, &shelf.shutdowns), 0); /* is being written */
    lp__port_retrieved(away.port, &polled.first, 1);
    away.is_writing = false;
    world_turn(&world);
    CHECK_IS(shelf_read(&shelf, &shelf.shutdowns), 0); /* has been, and that is on its way */
    away_run(&away, &away.drains, 1);
    CHECK_IS(shelf_removals(&shelf, LP_REMOVED_RETRIEVED), 1);
    lp__port_drained(away.port);
    away_run(&away, &world.ended, 1);
    away_detach(&away);
    stored_end(&world, &shelf);
}

/* ---- figures ------------------------------------------------------------ */

typedef struct report_note {
    int calls;
    uint64_t published;
    int health;
} report_note;

static void on_report(void *ctx, const lp__report *report)
{
    report_note *note = ctx;
    note->calls++;
    note->published = report->stats.published;
    note->health = report->health.status;
}

static void report_comes_later(void)
{
    test_world world;
    test_port away = {0};
    report_note note = {0};
    open_world(&world, &away);
    world_keep(&world, "a", "1");
    CHECK_IS(lp__port_report(away.port, on_report, &note), LP_OK);
    CHECK_IS(note.calls, 0);
    away_settle(&away);
    CHECK_IS(note.calls, 1);
    CHECK_IS(note.published, 1);
    CHECK_IS(note.health, LP_OK);
    close_world(&away);
}

/* ---- going -------------------------------------------------------------- */

static void port_is_detached_with_everything_under_way(void)
{
    test_world world;
    test_shelf shelf;
    test_port away = {0};
    away_publish early = {0}, late = {0}, unsent = {0};
    away_poll polled = {0}, answered = {0};
    report_note note = {0};
    stored_start(&world, &shelf);
    CHECK_IS(away_attach(&world, &away), LP_OK);
    CHECK_IS(away_start(&away, query_live("a"), false, &answered), LP_OK);
    CHECK_IS(away_start(&away, query_live("b"), false, &polled), LP_OK);
    CHECK_IS(publish_one(&away, "a", "1", &early), LP_OK);
    away_turn(&away);
    world_turn(&world);
    shelf_wait(&shelf, &shelf.batch_count, 1);
    world_turn(&world); /* the answer, and the end of `early`, wait to be taken */
    shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
    CHECK_IS(publish_one(&away, "a", "2", &late), LP_OK);
    lp__port_turn(away.port);
    CHECK_IS(early.calls, 1);
    CHECK_IS(answered.answers, 1);
    world_turn(&world);
    CHECK_IS(publish_one(&away, "a", "3", &unsent), LP_OK);
    CHECK_IS(lp__port_report(away.port, on_report, &note), LP_OK);
    lp__poll_cancel(polled.poll);
    away_detach(&away);
    world_turn(&world);
    CHECK_IS(note.calls, 1);
    CHECK_IS(late.calls, 0);
    shelf_release(&shelf, SHELF_HOLD_PUBLISH);
    world_run(&world, &unsent.calls, 1);
    CHECK_IS(late.calls, 1);
    CHECK_IS(late.status, LP_OK);
    CHECK_IS(unsent.status, LP_OK);
    CHECK_IS(polled.answers, 0);
    CHECK_IS(world_stats(&world).waiters, 0);
    stored_end(&world, &shelf);
}

static void detach(away_publish *self)
{
    if (self->away->port != NULL)
        away_detach(self->away);
}

/* The rest of what had come is the home thread's. */
static void port_is_detached_from_within_a_callback(void)
{
    test_world world;
    test_port away = {0};
    away_publish first = {.then = detach}, second = {0};
    away_poll polled = {0};
    open_world(&world, &away);
    CHECK_IS(publish_one(&away, "a", "1", &first), LP_OK);
    CHECK_IS(publish_one(&away, "a", "2", &second), LP_OK);
    CHECK_IS(away_start(&away, query_live("b"), false, &polled), LP_OK);
    lp__poll_cancel(polled.poll);
    away_turn(&away);
    world_turn(&world);
    away_turn(&away);
    CHECK_IS(first.calls, 1);
    CHECK_IS(second.calls, 0);
    world_turn(&world);
    CHECK_IS(second.calls, 1);
    world_end(&world);
}

static void ports_come_and_go(void)
{
    test_world world;
    test_port away[8] = {{0}};
    world_init(&world);
    world_start(&world);
    for (int round = 0; round < 100; round++) {
        test_port *at = &away[round * 5 % 8];
        if (at->port != NULL)
            away_detach(at);
        CHECK_IS(away_attach(&world, at), LP_OK);
        if (round % 3 == 0)
            world_turn(&world);
    }
    for (int i = 0; i < 8; i++)
        if (away[i].port != NULL)
            away_detach(&away[i]);
    world_end(&world);
}

/* ---- the end of the manager --------------------------------------------- */

static void shutdown_answers_and_waits_for_the_port(void)
{
    test_world world;
    test_port away = {.drains_later = true};
    away_poll polled = {0}, stream = {0};
    away_publish published = {0};
    report_note note = {0};
    open_world(&world, &away);
    world.free_at_end = true;
    CHECK_IS(away_start(&away, query_live("a"), false, &polled), LP_OK);
    CHECK_IS(away_start(&away, query_live("a"), true, &stream), LP_OK);
    away_settle(&away);
    world_shutdown(&world, 10000);
    away_settle(&away);
    CHECK_IS(polled.answers, 1);
    CHECK(polled.closing);
    CHECK_IS(stream.answers, 1);
    CHECK(stream.closing);
    CHECK_IS(away.drains, 1);
    CHECK_IS(lp__port_state(away.port), LP_STATE_DRAINING);
    CHECK_IS(publish_one(&away, "a", "1", &published), LP_ECLOSED);
    lp__poll_cancel(stream.poll);
    away_settle(&away);
    CHECK_IS(world.ended, 0);
    lp__port_drained(away.port);
    CHECK_IS(lp__port_state(away.port), LP_STATE_CLOSED);
    away_turn(&away);
    world_run(&world, &world.ended, 1);
    CHECK(world.manager == NULL);

    lp__port_turn(away.port); /* it goes on by itself */
    CHECK_IS(publish_one(&away, "a", "1", &published), LP_ECLOSED);
    CHECK_IS(away_start(&away, query_live("a"), false, &polled), LP_ECLOSED);
    CHECK_IS(lp__port_report(away.port, on_report, &note), LP_ECLOSED);
    CHECK_IS(lp__port_state(away.port), LP_STATE_CLOSED);
    lp__port_log(away.port, LP_LOG_INFO, "nobody hears this");
    lp__port_drained(away.port);
    away_detach(&away);
    world_end(&world);
}

static void shutdown_lets_the_port_leave(bool at_drain)
{
    test_world world;
    test_port away = {.drains_later = !at_drain, .leaves_at_drain = at_drain};
    open_world(&world, &away);
    world.free_at_end = true;
    world_shutdown(&world, 10000);
    away_run(&away, &away.drains, 1);
    if (!at_drain)
        away_detach(&away);
    world_run(&world, &world.ended, 1);
    world_end(&world);
}

static void port_leaves_when_it_is_told_to_drain(void)
{
    shutdown_lets_the_port_leave(true);
    shutdown_lets_the_port_leave(false);
}

/* What had not been heard of at home when that began to end is refused, and then the port is told
 * to drain. */
static void what_crosses_the_shutdown_is_refused(void)
{
    test_world world;
    test_port away = {0};
    away_poll polled = {0}, stream = {0};
    away_publish published = {0};
    report_note note = {0};
    open_world(&world, &away);
    CHECK_IS(away_start(&away, query_live("a"), false, &polled), LP_OK);
    CHECK_IS(away_start(&away, query_live("a"), true, &stream), LP_OK);
    CHECK_IS(publish_one(&away, "a", "1", &published), LP_OK);
    CHECK_IS(lp__port_report(away.port, on_report, &note), LP_OK);
    world_shutdown(&world, 10000);
    for (int i = 0; i < 4; i++)
        world_turn(&world);
    away_turn(&away);
    CHECK_IS(away.drains, 0);
    away_run(&away, &away.drains, 1);
    CHECK_IS(polled.refused, 1);
    CHECK_IS(polled.status, LP_ECLOSED);
    CHECK_IS(stream.refused, 1);
    CHECK_IS(published.calls, 1);
    CHECK_IS(published.status, LP_ECLOSED);
    CHECK_IS(note.calls, 1);
    away_run(&away, &world.ended, 1);
    CHECK_IS(world_stats(&world).pending, 0);
    close_world(&away);
}

static void port_is_not_attached_to_a_manager_that_ends(void)
{
    test_world world;
    test_port away = {0};
    world_init(&world);
    world_start(&world);
    world_shutdown(&world, 10000);
    CHECK_IS(away_attach(&world, &away), LP_ECLOSED);
    world_run(&world, &world.ended, 1);
    CHECK_IS(away_attach(&world, &away), LP_ECLOSED);
    world_end(&world);
}

static void port_waits_for_the_store_to_open(void)
{
    test_world world;
    test_shelf shelf;
    test_port away = {0};
    away_poll polled = {0};
    away_publish published = {0};
    report_note note = {0};
    lp_error error;
    stored_init(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_START);
    CHECK_IS(world_begin(&world, &error), LP_OK);
    CHECK_IS(away_attach(&world, &away), LP_OK);
    CHECK_IS(lp__port_state(away.port), LP_STATE_STARTING);
    CHECK_IS(away_start(&away, query_live("a"), false, &polled), LP_ESTARTING);
    CHECK_IS(publish_one(&away, "a", "1", &published), LP_ESTARTING);
    CHECK_IS(lp__port_report(away.port, on_report, &note), LP_OK);
    away_run(&away, &note.calls, 1);
    CHECK_IS(note.health, LP_ESTARTING);
    shelf_release(&shelf, SHELF_HOLD_START);
    world_run_to_state(&world, LP_STATE_SERVING);
    CHECK_IS(publish_one(&away, "a", "1", &published), LP_OK);
    away_run(&away, &published.calls, 1);
    away_detach(&away);
    stored_end(&world, &shelf);
}

static void shutdown_during_the_start_drains_the_port(void)
{
    test_world world;
    test_shelf shelf;
    test_port away = {0};
    lp_error error;
    stored_init(&world, &shelf);
    shelf_hold(&shelf, SHELF_HOLD_START);
    CHECK_IS(world_begin(&world, &error), LP_OK);
    CHECK_IS(away_attach(&world, &away), LP_OK);
    world_shutdown(&world, 10);
    away_run(&away, &world.ended, 1);
    CHECK_IS(away.drains, 1);
    away_detach(&away);
    shelf_release(&shelf, SHELF_HOLD_START);
    stored_end(&world, &shelf);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(publishes_end_in_their_turn_and_in_their_order),
        PLAIN_TEST(publish_is_refused_at_once_where_that_is_known),
        PLAIN_TEST(keys_are_known_across_ports),
        PLAIN_TEST(poll_is_answered_in_the_ports_turn),
        PLAIN_TEST(answer_of_many_events_and_categories_arrives_whole),
        PLAIN_TEST(timeout_reaches_the_port),
        PLAIN_TEST(poll_is_refused_at_once_or_later),
        PLAIN_TEST(many_waiters_are_woken_by_one_call),
        PLAIN_TEST(cancel_crosses_the_answer),
        PLAIN_TEST(cancel_goes_with_the_start),
        PLAIN_TEST(dismissed_poll_is_answered_once),
        PLAIN_TEST(stream_is_opened_and_answered_again_and_again),
        PLAIN_TEST(stream_is_canceled_within_its_calls),
        PLAIN_TEST(what_was_written_is_deleted),
        PLAIN_TEST(store_waits_for_answers_that_are_being_written),
        PLAIN_TEST(report_comes_later),
        PLAIN_TEST(port_is_detached_with_everything_under_way),
        PLAIN_TEST(port_is_detached_from_within_a_callback),
        PLAIN_TEST(ports_come_and_go),
        PLAIN_TEST(shutdown_answers_and_waits_for_the_port),
        PLAIN_TEST(port_leaves_when_it_is_told_to_drain),
        PLAIN_TEST(what_crosses_the_shutdown_is_refused),
        PLAIN_TEST(port_is_not_attached_to_a_manager_that_ends),
        PLAIN_TEST(port_waits_for_the_store_to_open),
        PLAIN_TEST(shutdown_during_the_start_drains_the_port),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
