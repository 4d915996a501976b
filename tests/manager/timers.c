/* The timer and its deadline are read from two clocks, libuv's and the manager's; where the
 * manager's is behind when the timer fires (libuv reads a coarser one), it must be set again. A
 * plain program, linked with --wrap=uv_hrtime. */
#include <stdatomic.h>

#include "check.h"
#include "world.h"

static atomic_uint_fast64_t lag_ns;

uint64_t __real_uv_hrtime(void);
uint64_t __wrap_uv_hrtime(void);

uint64_t __wrap_uv_hrtime(void)
{
    return __real_uv_hrtime() - atomic_load(&lag_ns);
}

static void poll_times_out_though_the_timer_was_early(void)
{
    test_world world;
    test_poll polled = {0};
    world_init(&world);
    world_start(&world);
    lp_query query = query_now("a");
    query.timeout_s = 1;
    CHECK_IS(world_poll(&world, query, &polled), LP_OK);
    world_turn(&world); /* the timer is set */
    atomic_store(&lag_ns, 20000000);
    world_run(&world, &polled.calls, 1);
    CHECK_IS(polled.count, 0);
    world_end(&world);
    atomic_store(&lag_ns, 0);
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(poll_times_out_though_the_timer_was_early),
    };
    return run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
