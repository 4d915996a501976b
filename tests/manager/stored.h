/* A world whose manager keeps its events on a shelf. As world.h says, on its thread. */
#ifndef TESTS_MANAGER_STORED_H
#define TESTS_MANAGER_STORED_H

#include "shelf.h"
#include "world.h"

/* Both are new; options of either may be changed before the start. */
void stored_init(test_world *world, test_shelf *shelf);
void stored_start(test_world *world, test_shelf *shelf);
/* The next life of a manager on the same shelf, behind world_end. */
void stored_init_again(test_world *world, test_shelf *shelf);
/* Ends both; waits for an add-on that was left behind. */
void stored_end(test_world *world, test_shelf *shelf);

/* Events "0", "1", … of one category. */
void publish_some(test_world *world, const char *category, int count, test_publish *out);

#endif
