/* longpoll: the command line. This file is the list of command families; each has its own table.
 * Everything runs on the main thread. */
#include <stdio.h>
#include <string.h>

#include "../shared/stores.h"
#include "bench.h"
#include "command.h"
#include "say.h"
#include "store.h"

static const command families[] = {
    {.name = "bench",
     .usage = "COMMAND …",
     .summary = "Measure servers and stores, beside references",
     .family = bench_commands},
    {.name = "store",
     .usage = "COMMAND …",
     .summary = "Look at stores, and move events between them",
     .family = store_commands},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("longpoll %s\nstores: %s\n", LONGPOLL_VERSION, store_names());
        return EXIT_DONE;
    }
    interrupt_catch();
    return command_run(families, "longpoll", argc - 1, argv + 1);
}
