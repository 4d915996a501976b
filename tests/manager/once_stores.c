/* Groups and keys in the stores themselves: a group larger than any batch, and what a restart
 * remembers. Runs with the store that it is linked with. */
#include <longpoll/linked.h>
#include <longpoll/store.h>

#include "check.h"
#include "group.h"

static char directory[] = "/tmp/longpoll-once-XXXXXX";

static lp_addon *make_addon(void)
{
    char path[128];
    lp_addon *addon;
    lp_error error;
    snprintf(path, sizeof(path), "%s/store", directory);
    CHECK_IS(lp_linked_addon_new(path, &addon, &error), LP_OK);
    return addon;
}

static void start(test_world *world, int64_t keys_max)
{
    world_init(world);
    world->options.addon = make_addon();
    world->options.event_buffer_max = 1000000;
    world->options.pending_max = 1000000;
    world->options.pending_bytes_max = 1 << 30;
    world->options.idempotency_max = keys_max;
    world_start(world);
}

static void group_larger_than_any_batch_is_kept_whole(void)
{
    enum { MANY = 20000, LARGE = 1000 };
    static char text[5000];
    test_world world;
    test_group many = {0}, large = {0};
    memset(text, '1', sizeof(text));
    start(&world, 0);
    CHECK_IS(group_publish_many(&many, &world, "many", MANY, "many", lp_str_of("1")), LP_OK);
    CHECK_IS(
        group_publish_many(&large, &world, "large", LARGE, "large", (lp_str){text, sizeof(text)}),
        LP_OK);
    group_await(&large);
    CHECK_IS(many.error.status, LP_OK);
    CHECK_IS(large.error.status, LP_OK);
    uint64_t seq = lp_event_seq(many.events[0]);
    group_free(&many);
    group_free(&large);
    world_end(&world);

    start(&world, 0);
    CHECK(world_stats(&world).events >= MANY + LARGE);
    many = large = (test_group){0};
    CHECK_IS(group_publish_many(&many, &world, "many", MANY, "many", lp_str_of("1")), LP_OK);
    CHECK_IS(
        group_publish_many(&large, &world, "large", LARGE, "large", (lp_str){text, sizeof(text)}),
        LP_OK);
    group_await(&large);
    CHECK(many.repeated && many.has_events && large.repeated && large.has_events);
    CHECK_IS(lp_event_seq(many.events[0]), seq);
    group_free(&many);
    group_free(&large);
    world_end(&world);
}

static void restart_remembers_what_it_must_and_no_more(void)
{
    enum { COUNT = 50, MAX = 20 };
    test_world world;
    test_group group = {0};
    char key[LP_IDEMPOTENCY_KEY_MAX + 1];
    for (int life = 0; life < 3; life++) {
        start(&world, MAX);
        CHECK(world_stats(&world).idempotency_keys <= MAX);
        for (int i = 0; i < COUNT; i++) {
            /* the longest key, and bytes that are no text */
            memset(key, 0x80 + i, sizeof(key) - 1);
            key[sizeof(key) - 1] = '\0';
            if (life > 0 && i < COUNT - MAX / 2)
                continue;
            group_run(&group, &world, key, "keys=1");
            CHECK_IS(group.repeated, life > 0);
            CHECK(group.has_events);
            group_free(&group);
        }
        world_end(&world);
    }
}

/* What a worker does with a batch that nobody waits for any more. */
static void record_of_no_event_frees_its_key(void)
{
    test_world world;
    test_group group = {0};
    uint64_t seq = 0;
    start(&world, 0);
    group_run(&group, &world, "taken back", "back=1");
    seq = lp_event_seq(group.events[0]);
    int64_t expires_ms = lp_event_timestamp_ms(group.events[0]) + INT64_C(86400000);
    group_free(&group);
    world_end(&world);

    lp_store *store;
    lp_batch *batch;
    lp_error error;
    CHECK_IS(lp_store_open(make_addon(), NULL, &store, &error), LP_OK);
    CHECK_IS(lp_batch_new(&batch), LP_OK);
    lp_idempotency record = {lp_str_of("taken back"), 0, seq, 0, expires_ms};
    CHECK_IS(lp_batch_add_idempotency(batch, &record), LP_OK);
    CHECK_IS(lp_batch_add_removal(batch, seq, LP_REMOVED_RETRIEVED), LP_OK);
    lp_batch_set_highest(batch, seq);
    CHECK_IS(lp_store_append(store, batch, &error), LP_OK);
    lp_batch_free(batch);
    CHECK_IS(lp_store_close(store, 10000, &error), LP_OK);

    for (int life = 0; life < 2; life++) {
        start(&world, 0);
        group_run(&group, &world, "taken back", "back=1");
        CHECK_IS(group.error.status, LP_OK);
        CHECK_IS(group.repeated, life);
        CHECK(lp_event_seq(group.events[0]) > seq);
        group_free(&group);
        world_end(&world);
    }
}

int main(int argc, char **argv)
{
    static const plain_test tests[] = {
        PLAIN_TEST(group_larger_than_any_batch_is_kept_whole),
        PLAIN_TEST(restart_remembers_what_it_must_and_no_more),
        PLAIN_TEST(record_of_no_event_frees_its_key),
    };
    CHECK(mkdtemp(directory) != NULL);
    int failed = run_plain_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    return system(command) == 0 ? failed : 1;
}
