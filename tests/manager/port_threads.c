/* Ports on threads of their own, which do everything at random at the same time, while the home
 * loop runs, or ends. A plain program, for ThreadSanitizer. `port_threads soak SECONDS [SEED]` goes
 * on for so long. */
#include "check.h"
#include "port_runner.h"
#include "stored.h"

enum { RUNNERS = 3 };

static uint64_t seed;
static port_runner runners[RUNNERS];
static port_arena arena;

static void on_tick(uv_timer_t *tick)
{
    (void)tick;
}

/* The home loop comes by every millisecond, to look at what threads count. */
static void run_home_until(test_world *world, bool (*met)(void *ctx), void *ctx)
{
    uv_timer_t tick;
    uv_timer_init(&world->loop, &tick);
    uv_timer_start(&tick, on_tick, 1, 1);
    world_run_until(world, met, ctx);
    uv_close((uv_handle_t *)&tick, NULL);
    world_turn(world);
}

static bool all_have_detached(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < RUNNERS; i++)
        if (!atomic_load(&runners[i].has_ended))
            return false;
    return atomic_load(&arena.outstanding) == 0;
}

static void start(test_world *world, int steps)
{
    arena.world = world;
    arena.steps = steps;
    atomic_store(&arena.publishing, RUNNERS);
    for (int i = 0; i < RUNNERS; i++)
        runner_start(&runners[i], &arena, seed++, i % 2 == 0);
}

static void join(void)
{
    for (int i = 0; i < RUNNERS; i++)
        runner_join(&runners[i]);
}

static int kept_of_all(void)
{
    int kept = 0;
    for (int p = 0; p < PUBLISHERS_MAX; p++)
        for (int c = 0; c < CATEGORIES; c++)
            kept += atomic_load(&arena.kept[p][c]);
    return kept;
}

static void init_world(test_world *world, test_shelf *shelf)
{
    printf("seed %llu\n", (unsigned long long)seed);
    if (shelf != NULL)
        stored_init(world, shelf);
    else
        world_init(world);
    world->options.event_buffer_max = 1000000;
    arena_init(&arena, world, 0);
}

/* ---- tests -------------------------------------------------------------- */

static void run_to_the_end(test_shelf *shelf, int steps, int detach_one_in)
{
    test_world world;
    init_world(&world, shelf);
    world_start(&world);
    arena.detach_one_in = detach_one_in;
    start(&world, steps);
    run_home_until(&world, all_have_detached, NULL);
    join();
    lp_stats stats = world_stats(&world);
    CHECK_IS(stats.waiters, 0);
    CHECK_IS(stats.pending, 0);
    CHECK_IS(stats.pending_bytes, 0);
    CHECK_IS(stats.published, kept_of_all());
    if (shelf != NULL)
        stored_end(&world, shelf);
    else
        world_end(&world);
}

static void everything_arrives_once_and_in_order(void)
{
    run_to_the_end(NULL, 8000, 0);
}

static void everything_arrives_with_a_store(void)
{
    test_shelf shelf;
    run_to_the_end(&shelf, 4000, 0);
}

static void ports_are_detached_in_the_midst(void)
{
    for (int round = 0; round < 3; round++)
        run_to_the_end(NULL, 3000, 200);
}

static void ports_are_detached_in_the_midst_with_a_store(void)
{
    test_shelf shelf;
    run_to_the_end(&shelf, 3000, 200);
}

static bool has_kept(void *ctx)
{
    return atomic_load(&arena.publishers) >= RUNNERS && kept_of_all() >= *(int *)ctx;
}

static bool has_ended(void *ctx)
{
    return ((test_world *)ctx)->ended > 0;
}

/* The manager is freed as soon as it may be, while ports go on. */
static void shut_down_in_the_midst(test_shelf *shelf, int kept)
{
    test_world world;
    init_world(&world, shelf);
    world.free_at_end = true;
    world_start(&world);
    start(&world, 1000000);
    run_home_until(&world, has_kept, &kept);
    atomic_store(&arena.is_closed, true);
    world_shutdown(&world, 60000);
    run_home_until(&world, has_ended, &world);
    CHECK_IS(world.end_error.status, LP_OK);
    join();
    CHECK_IS(atomic_load(&arena.outstanding), 0);
    if (shelf != NULL) {
        CHECK_IS(shelf->event_count, kept_of_all());
        stored_end(&world, shelf);
    } else {
        world_end(&world);
    }
}

static void shutdown_in_the_midst_ends_everything_once(void)
{
    for (int round = 0; round < 12; round++)
        shut_down_in_the_midst(NULL, round * 50);
}

static void shutdown_in_the_midst_keeps_what_it_says(void)
{
    for (int round = 0; round < 6; round++) {
        test_shelf shelf;
        shut_down_in_the_midst(&shelf, round * 50);
    }
}

/* What one reader is told of, the others may not be; but all is told, and then gone. */
static bool all_is_retrieved(void *ctx)
{
    return atomic_load(&arena.publishing) == 0 && atomic_load(&arena.outstanding) == 0 &&
           world_stats(ctx).events == 0;
}

static void events_are_deleted_after_their_first_retrieval(void)
{
    test_world world;
    init_world(&world, NULL);
    world.options.delete_after_first_retrieval = true;
    world_start(&world);
    arena.retrieves = true;
    start(&world, 3000);
    run_home_until(&world, all_is_retrieved, &world);
    atomic_store(&arena.is_retrieved, true);
    run_home_until(&world, all_have_detached, NULL);
    join();
    lp_stats stats = world_stats(&world);
    CHECK_IS(stats.retrieved, stats.published);
    CHECK_IS(stats.published, kept_of_all());
    world_end(&world);
}

/* ---- by hand ------------------------------------------------------------- */

static int soak(int argc, char **argv)
{
    uint64_t seconds = argc > 2 ? strtoull(argv[2], NULL, 10) : 60;
    uint64_t until = uv_hrtime() + seconds * 1000000000;
    if (argc > 3)
        seed = strtoull(argv[3], NULL, 10);
    while (uv_hrtime() < until) {
        test_shelf shelf;
        run_to_the_end(NULL, 3000, 200);
        run_to_the_end(&shelf, 1000, 200);
        shut_down_in_the_midst(NULL, (int)(seed % 997));
        shut_down_in_the_midst(&shelf, (int)(seed % 307));
        events_are_deleted_after_their_first_retrieval();
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(everything_arrives_once_and_in_order),
        PLAIN_TEST(everything_arrives_with_a_store),
        PLAIN_TEST(ports_are_detached_in_the_midst),
        PLAIN_TEST(ports_are_detached_in_the_midst_with_a_store),
        PLAIN_TEST(shutdown_in_the_midst_ends_everything_once),
        PLAIN_TEST(shutdown_in_the_midst_keeps_what_it_says),
        PLAIN_TEST(events_are_deleted_after_their_first_retrieval),
    };
    seed = uv_hrtime();
    if (argc > 1 && strcmp(argv[1], "soak") == 0)
        return soak(argc, argv);
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
