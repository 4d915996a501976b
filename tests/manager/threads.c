/* Publishers on many threads beside the home loop and the add-on's thread: every LP_OK is completed
 * once, the order of each thread is kept, nothing is lost in a shutdown. A plain program, for
 * ThreadSanitizer. */
#include <stdatomic.h>

#include "check.h"
#include "shelf.h"
#include "world.h"

enum { THREADS = 4, NOTES = 20000 };

/* One publish that was accepted, and its completion. */
typedef struct publish_note {
    int calls, status;
    uint64_t seq;
    int *completions;
} publish_note;

typedef struct producer_thread {
    test_world *world;
    uv_thread_t thread;
    int count;             /* publishes to be made; NOTES at most */
    atomic_bool *go;       /* waits for it */
    bool insists;          /* tries again when it is refused for want of room */
    int accepted, refused; /* its own, until it is joined */
    int last_status;
    publish_note notes[NOTES];
} producer_thread;

static producer_thread producers[THREADS];

static void on_completion(void *ctx, const lp_error *error, const lp_event *event)
{
    publish_note *note = ctx;
    CHECK_IS(note->calls, 0);
    note->calls++;
    note->status = error->status;
    CHECK((event != NULL) == (error->status == LP_OK));
    if (event != NULL)
        note->seq = lp_event_seq(event);
    ++*note->completions;
}

static void produce(void *ctx)
{
    producer_thread *self = ctx;
    while (!atomic_load(self->go))
        ;
    for (int i = 0; i < self->count; i++) {
        publish_note *note = &self->notes[self->accepted];
        *note = (publish_note){.completions = &self->world->completions};
        int status = lp_publish(self->world->manager, lp_str_of(i % 3 ? "a" : "b"),
                                lp_str_of("{\"n\":1}"), on_completion, note);
        self->last_status = status;
        if (status == LP_OK) {
            self->accepted++;
        } else if (status == LP_EFULL) {
            self->refused++;
            i -= self->insists;
            uv_sleep(1);
        } else {
            break;
        }
    }
}

static void start_producers(test_world *world, int count, bool insists, atomic_bool *go)
{
    atomic_store(go, false);
    for (int i = 0; i < THREADS; i++) {
        producer_thread *producer = &producers[i];
        producer->world = world;
        producer->count = count;
        producer->go = go;
        producer->insists = insists;
        producer->accepted = producer->refused = 0;
        producer->last_status = LP_OK;
        CHECK_IS(uv_thread_create(&producer->thread, produce, producer), 0);
    }
    atomic_store(go, true);
}

static void join_producers(void)
{
    for (int i = 0; i < THREADS; i++)
        uv_thread_join(&producers[i].thread);
}

/* Every accepted publish was completed once, the kept ones in the order of their thread: how many
 * were kept. */
static int check_notes(void)
{
    int kept = 0;
    for (int i = 0; i < THREADS; i++) {
        uint64_t last = 0;
        for (int n = 0; n < producers[i].accepted; n++) {
            const publish_note *note = &producers[i].notes[n];
            CHECK_IS(note->calls, 1);
            if (note->status != LP_OK)
                continue;
            CHECK(note->seq > last);
            last = note->seq;
            kept++;
        }
    }
    return kept;
}

static void check_shelf(test_shelf *shelf, int kept)
{
    CHECK_IS(shelf->event_count, kept);
    for (int i = 0; i < THREADS; i++)
        for (int n = 0; n < producers[i].accepted; n++)
            if (producers[i].notes[n].status == LP_OK)
                CHECK(shelf_has(shelf, producers[i].notes[n].seq));
}

/* ---- a reader that follows ---------------------------------------------- */

typedef struct follower_poll {
    test_world *world;
    lp_query query;
    int seen;
    bool ended;
    uint64_t last;
} follower_poll;

static void follow(follower_poll *follower);

static void on_answer(void *ctx, const lp_answer *answer)
{
    follower_poll *follower = ctx;
    CHECK(!answer->gap);
    for (size_t i = 0; i < answer->event_count; i++) {
        CHECK(lp_event_seq(answer->events[i]) > follower->last);
        follower->last = lp_event_seq(answer->events[i]);
        follower->seen++;
    }
    if (answer->event_count > 0)
        follower->query = query_after("a", answer->events[answer->event_count - 1]);
    if (answer->closing)
        follower->ended = true;
    else
        follow(follower);
}

static void follow(follower_poll *follower)
{
    lp_subscription *subscription;
    int status = lp_subscribe(follower->world->manager, &follower->query, on_answer, follower,
                              &subscription);
    follower->ended = status != LP_OK;
    CHECK(status == LP_OK || status == LP_ECLOSED);
}

/* ---- tests -------------------------------------------------------------- */

static void set_roomy_options(test_world *world)
{
    world->options.event_buffer_max = THREADS * NOTES;
    world->options.answer_bytes_max = 20000; /* many answers */
}

static void publish_from_many_threads(test_shelf *shelf)
{
    enum { COUNT = 3000 };
    static test_world world;
    atomic_bool go;
    world_init(&world);
    set_roomy_options(&world);
    world.options.pending_max = 500;
    world.options.addon = shelf == NULL ? NULL : shelf_addon(shelf);
    world_start(&world);
    lp_event *before = world_keep(&world, "a", "0");
    follower_poll follower = {.world = &world, .query = query_after("a", before)};
    follow(&follower);
    start_producers(&world, COUNT, true, &go);
    world_run(&world, &world.completions, 1 + THREADS * COUNT);
    join_producers();
    CHECK_IS(check_notes(), THREADS * COUNT);
    world_run(&world, &follower.seen, THREADS * (COUNT - COUNT / 3));
    CHECK_IS(world_stats(&world).published, 1 + THREADS * COUNT);
    CHECK_IS(world_stats(&world).pending, 0);
    CHECK_IS(world_stats(&world).pending_bytes, 0);
    world_end(&world);
    CHECK(follower.ended);
    CHECK_IS(follower.seen, THREADS * (COUNT - COUNT / 3));
    if (shelf != NULL)
        check_shelf(shelf, 1 + THREADS * COUNT);
}

static void publishes_of_many_threads_are_completed_once_and_in_order(void)
{
    publish_from_many_threads(NULL);
}

static void publishes_of_many_threads_are_kept(void)
{
    test_shelf shelf;
    shelf_init(&shelf);
    publish_from_many_threads(&shelf);
    shelf_free(&shelf);
}

static void hammer(test_shelf *shelf, int before_shutdown)
{
    static test_world world;
    atomic_bool go;
    world_init(&world);
    set_roomy_options(&world);
    world.options.addon = shelf == NULL ? NULL : shelf_addon(shelf);
    world_start(&world);
    follower_poll follower = {.world = &world, .query = query_now("a")};
    follow(&follower);
    start_producers(&world, NOTES, false, &go);
    world_run(&world, &world.completions, before_shutdown);
    world_shutdown(&world, 60000);
    world_run(&world, &world.ended, 1);
    join_producers(); /* they go on for a while on a closed manager */
    CHECK_IS(world.end_error.status, LP_OK);
    CHECK(follower.ended);
    int kept = check_notes();
    CHECK(kept >= before_shutdown);
    for (int i = 0; i < THREADS; i++)
        CHECK(producers[i].last_status == LP_ECLOSED ||
              producers[i].accepted + producers[i].refused == NOTES);
    if (shelf != NULL)
        check_shelf(shelf, kept);
    world_end(&world);
}

static void shutdown_under_fire_loses_nothing(void)
{
    for (int round = 0; round < 20; round++)
        hammer(NULL, round * 37);
}

static void shutdown_under_fire_keeps_what_it_says(void)
{
    for (int round = 0; round < 20; round++) {
        test_shelf shelf;
        shelf_init(&shelf);
        hammer(&shelf, round * 37);
        shelf_free(&shelf);
    }
}

static void shutdown_under_fire_leaves_a_blocked_store_behind(void)
{
    for (int round = 0; round < 5; round++) {
        static test_world world;
        atomic_bool go;
        test_shelf shelf;
        shelf_init(&shelf);
        shelf.hold_from_batch = round;
        world_init(&world);
        set_roomy_options(&world);
        world.options.addon = shelf_addon(&shelf);
        world_start(&world);
        shelf_hold(&shelf, SHELF_HOLD_PUBLISH);
        start_producers(&world, NOTES, false, &go);
        world_shutdown(&world, 20 + round);
        world_run(&world, &world.ended, 1);
        join_producers();
        int kept = check_notes();
        world_end(&world);
        shelf_release(&shelf, SHELF_HOLD_PUBLISH);
        shelf_wait(&shelf, &shelf.destroyed, 1);
        check_shelf(&shelf, kept);
        shelf_free(&shelf);
    }
}

static void doubt_under_fire_refuses_everyone(void)
{
    static test_world world;
    atomic_bool go;
    test_shelf shelf;
    shelf_init(&shelf);
    world_init(&world);
    set_roomy_options(&world);
    world.options.addon = shelf_addon(&shelf);
    world_start(&world);
    start_producers(&world, NOTES, true, &go);
    world_run(&world, &world.completions, 200);
    shelf_fail(&shelf, 1, LP_EINDOUBT, "torn");
    world_run_to_state(&world, LP_STATE_IN_DOUBT);
    join_producers();
    world_shutdown(&world, 60000);
    world_run(&world, &world.ended, 1);
    int kept = check_notes();
    CHECK(kept >= 200);
    check_shelf(&shelf, kept);
    for (int i = 0; i < THREADS; i++)
        CHECK(producers[i].last_status == LP_EINDOUBT || producers[i].accepted == NOTES);
    world_end(&world);
    shelf_free(&shelf);
}

/* ---- a loop that runs elsewhere ----------------------------------------- */

enum { ELSEWHERE = 100 };

typedef struct elsewhere {
    uv_loop_t loop;
    lp_manager *manager;
    uv_thread_t thread, home; /* the same, as each side knows it */
    int completed;
} elsewhere;

static void run_elsewhere(void *ctx)
{
    elsewhere *self = ctx;
    self->home = uv_thread_self();
    uv_run(&self->loop, UV_RUN_DEFAULT);
}

static void on_published_elsewhere(void *ctx, const lp_error *error, const lp_event *event)
{
    elsewhere *self = ctx;
    uv_thread_t thread = uv_thread_self();
    (void)event;
    CHECK(uv_thread_equal(&thread, &self->home));
    CHECK_IS(error->status, LP_OK);
    if (++self->completed == ELSEWHERE)
        CHECK_IS(lp_manager_shutdown(self->manager, 10000, NULL, NULL), LP_OK);
}

/* A host sets everything up on one thread and runs the loop on another. */
static void loop_may_run_on_another_thread_than_the_start(void)
{
    elsewhere self = {.completed = 0};
    CHECK_IS(uv_loop_init(&self.loop), 0);
    CHECK_IS(lp_manager_start(&self.loop, NULL, &self.manager, NULL), LP_OK);
    CHECK_IS(uv_thread_create(&self.thread, run_elsewhere, &self), 0);
    for (int i = 0; i < ELSEWHERE; i++) {
        CHECK_IS(
            lp_publish(self.manager, lp_str_of("a"), lp_str_of("1"), on_published_elsewhere, &self),
            LP_OK);
        if (i % 10 == 0)
            uv_sleep(1); /* the loop waits again */
    }
    uv_thread_join(&self.thread);
    CHECK_IS(self.completed, ELSEWHERE);
    CHECK_IS(lp_manager_free(self.manager), LP_OK);
    CHECK_IS(uv_loop_close(&self.loop), 0);
}

/* While the store is replayed, other threads get a status, and then a place. */
static void threads_wait_for_the_start(void)
{
    static test_world world;
    atomic_bool go;
    test_shelf shelf;
    lp_error error;
    shelf_init(&shelf);
    world_init(&world);
    world.options.addon = shelf_addon(&shelf);
    shelf_hold(&shelf, SHELF_HOLD_START);
    CHECK_IS(world_begin(&world, &error), LP_OK);
    start_producers(&world, 1, false, &go);
    join_producers();
    for (int i = 0; i < THREADS; i++)
        CHECK_IS(producers[i].last_status, LP_ESTARTING);
    shelf_release(&shelf, SHELF_HOLD_START);
    world_run_to_state(&world, LP_STATE_SERVING);
    start_producers(&world, 1, false, &go);
    world_run(&world, &world.completions, THREADS);
    join_producers();
    CHECK_IS(check_notes(), THREADS);
    world_end(&world);
    shelf_free(&shelf);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(publishes_of_many_threads_are_completed_once_and_in_order),
        PLAIN_TEST(publishes_of_many_threads_are_kept),
        PLAIN_TEST(shutdown_under_fire_loses_nothing),
        PLAIN_TEST(shutdown_under_fire_keeps_what_it_says),
        PLAIN_TEST(shutdown_under_fire_leaves_a_blocked_store_behind),
        PLAIN_TEST(doubt_under_fire_refuses_everyone),
        PLAIN_TEST(threads_wait_for_the_start),
        PLAIN_TEST(loop_may_run_on_another_thread_than_the_start),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
