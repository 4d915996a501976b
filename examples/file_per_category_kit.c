/* Runs the conformance kit on file_per_category.c: a line for each case, and exit status 0 when
 * none failed.
 *
 *     file_per_category_kit DIRECTORY [CASE]
 *
 * Every case works in a new directory beneath DIRECTORY, which must exist. */
#include <stdio.h>

#include <longpoll/conformance.h>

#include "file_per_category.h"

static int make(void *ctx, const char *directory, lp_addon **out, lp_error *error)
{
    (void)ctx;
    return file_per_category_new(directory, out, error);
}

static void print(void *ctx, const lp_conformance_result *result)
{
    static const char *const words[] = {"ok", "FAILED", "n/a"};
    (void)ctx;
    printf("%-24s %-15s %-7s %6lld ms  %s\n", "file-per-category", result->name,
           words[result->outcome], (long long)result->elapsed_ms, result->detail);
}

int main(int argc, char **argv)
{
    lp_error error = {LP_OK, ""};
    lp_conformance kit = LP_CONFORMANCE_INIT;
    kit.name = "file-per-category";
    kit.make = make;
    kit.directory = argc > 1 ? argv[1] : NULL;
    kit.only = argc > 2 ? argv[2] : NULL;
    kit.claims = LP_CLAIM_CRASH | LP_CLAIM_LOCK;
    int failed = lp_conformance_run(&kit, print, NULL, &error);
    if (failed < 0)
        fprintf(stderr, "%s\n", error.message);
    return failed != 0;
}
