/* See stored.h. */
#include "stored.h"

#include "check.h"

void stored_init(test_world *world, test_shelf *shelf)
{
    shelf_init(shelf);
    stored_init_again(world, shelf);
}

void stored_init_again(test_world *world, test_shelf *shelf)
{
    world_init(world);
    world->options.addon = shelf_addon(shelf);
}

void stored_start(test_world *world, test_shelf *shelf)
{
    stored_init(world, shelf);
    world_start(world);
}

void stored_end(test_world *world, test_shelf *shelf)
{
    world_end(world);
    shelf_wait(shelf, &shelf->destroyed, shelf->starts);
    shelf_free(shelf);
}

void publish_some(test_world *world, const char *category, int count, test_publish *out)
{
    for (int i = 0; i < count; i++) {
        char data[16];
        snprintf(data, sizeof(data), "%d", i);
        CHECK_IS(world_publish(world, category, data, &out[i]), LP_OK);
    }
}
