/* addons/shared: the list of dead keys and the lock of a store. */
#include <criterion/criterion.h>

#include "addons/shared/dead.h"
#include "addons/shared/lock.h"
#include "addons/shared/options.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <longpoll/status.h>

/* ---- dead keys ----------------------------------------------------------------------------------
 */

/* Takes `max` of the smallest away and expects them to be first, first + 1, … */
static void take(lp__dead *dead, size_t max, uint64_t first, size_t expected)
{
    const uint64_t *at;
    size_t count = lp__dead_smallest(dead, max, &at);
    cr_assert_eq(count, expected);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(at[i], first + i);
    lp__dead_drop(dead, count);
}

Test(dead, comes_out_in_order_whatever_the_order_it_went_in)
{
    lp__dead dead = {0};
    for (uint64_t i = 0; i < 5000; i++)
        cr_assert_eq(lp__dead_add(&dead, 1 + (i * 1999) % 5000), LP_OK);
    take(&dead, 2000, 1, 2000);
    take(&dead, 2000, 2001, 2000);
    take(&dead, 2000, 4001, 1000);
    take(&dead, 2000, 0, 0);
    lp__dead_free(&dead);
}

Test(dead, one_that_is_smaller_than_those_left_comes_first)
{
    lp__dead dead = {0};
    for (uint64_t i = 10; i < 20; i++)
        cr_assert_eq(lp__dead_add(&dead, i), LP_OK);
    take(&dead, 5, 10, 5);
    cr_assert_eq(lp__dead_add(&dead, 14), LP_OK);
    take(&dead, 100, 14, 6);
    lp__dead_free(&dead);
}

Test(dead, keeps_its_size_when_as_many_go_as_come)
{
    lp__dead dead = {0};
    uint64_t next = 1, oldest = 1;
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 100; i++)
            cr_assert_eq(lp__dead_add(&dead, next++), LP_OK);
        take(&dead, round == 0 ? 50 : 100, oldest, round == 0 ? 50 : 100);
        oldest += round == 0 ? 50 : 100;
    }
    cr_assert_eq(dead.count, 50);
    cr_assert_leq(dead.capacity, 4096);
    lp__dead_free(&dead);
}

/* ---- the lock -----------------------------------------------------------------------------------
 */

Test(lock, keeps_out_a_second_writer_and_readers_and_names_the_process)
{
    char directory[] = "/tmp/longpoll-lock-XXXXXX";
    cr_assert(mkdtemp(directory));
    int dir = open(directory, O_RDONLY | O_DIRECTORY), first, second;
    long holder;
    cr_assert_eq(lp__lock_take(dir, "lock", true, &first, &holder), LP_OK);
    cr_assert_eq(first, -1, "a reader made a file");
    cr_assert_eq(lp__lock_take(dir, "lock", false, &first, &holder), LP_OK);
    for (int reads = 0; reads < 2; reads++) {
        cr_assert_eq(lp__lock_take(dir, "lock", reads, &second, &holder), LP_EINUSE);
        cr_assert_eq(second, -1);
        cr_assert_eq(holder, getpid());
    }
    close(first);
    cr_assert_eq(lp__lock_take(dir, "lock", true, &first, &holder), LP_OK);
    cr_assert_eq(lp__lock_take(dir, "lock", true, &second, &holder), LP_OK);
    close(second);
    cr_assert_eq(lp__lock_take(dir, "lock", false, &second, &holder), LP_EINUSE);
    cr_assert_eq(holder, 0, "the number of a writer that has ended");
    close(first);
    cr_assert_eq(lp__lock_take(dir, "lock", false, &second, &holder), LP_OK);
    close(second);
    unlinkat(dir, "lock", 0);
    close(dir);
    rmdir(directory);
}

Test(lock, of_a_missing_directory_says_so)
{
    int fd;
    long holder;
    cr_assert_eq(lp__lock_take(AT_FDCWD, "/nowhere/at/all/lock", false, &fd, &holder), LP_EIO);
    cr_assert_eq(fd, -1);
}

/* ---- options ------------------------------------------------------------------------------------
 */

struct known {
    size_t struct_size;
    int first, second;
};

Test(options, of_another_version_are_read_as_far_as_both_know_them)
{
    struct known defaults = {sizeof(defaults), 1, 2}, out = defaults;
    struct {
        struct known known;
        int third;
    } later = {{sizeof(later), 10, 20}, 30};
    cr_assert_eq(lp__options_read(&out, sizeof(out), &later, "INIT", NULL), LP_OK);
    cr_assert(out.first == 10 && out.second == 20);
    struct known earlier = {offsetof(struct known, second), 100, 200};
    out = defaults;
    cr_assert_eq(lp__options_read(&out, sizeof(out), &earlier, "INIT", NULL), LP_OK);
    cr_assert(out.first == 100 && out.second == 2);
    out = defaults;
    cr_assert_eq(lp__options_read(&out, sizeof(out), NULL, "INIT", NULL), LP_OK);
    cr_assert(out.first == 1 && out.second == 2);
}

Test(options, without_their_size_are_refused_and_not_taken_for_the_defaults)
{
    struct known out = {sizeof(out), 1, 2}, forgotten = {0, 10, 20};
    lp_error error;
    cr_assert_eq(lp__options_read(&out, sizeof(out), &forgotten, "LP_X_INIT", &error), LP_EINVAL);
    cr_assert_str_eq(error.message, "options: struct_size is 0 (start from LP_X_INIT)");
    cr_assert_eq(out.first, 1);
}
