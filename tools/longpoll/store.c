/* See store.h. What --help says. */
#include "store.h"

#define EXITS                                                                                      \
    "Exit status: 0 done, 1 failed, 2 wrong usage, 3 damage was found,\n"                          \
    "128 + N ended by signal N.\n"
#define STORES                                                                                     \
    "A STORE is written as for longpolld --store: KIND:PATH, see longpoll --version for kinds.\n"
#define READS "It is opened to read only and not changed; no process may have it open to write.\n"
#define MADE_ANEW                                                                                  \
    "The new store must not exist yet, or be an empty directory or file. It is made beside its\n"  \
    "place as PATH.longpoll-loading and gets its name when it is complete and on disk, so a "      \
    "crash\n"                                                                                      \
    "or ^C leaves nothing that looks like a store.\n"

const command store_commands[] = {
    {.name = "info",
     .usage = "STORE [--json]",
     .summary = "Show what a store holds and what it takes on disk",
     .help = STORES READS "A store that has lost something, or shows damage, is shown as far as it "
                          "goes, with status 3.\n"
                          "Not all damage shows: verify looks for the rest.\n" EXITS,
     .run = store_info},
    {.name = "verify",
     .usage = "STORE [--json]",
     .summary = "Check a store thoroughly, and repair nothing",
     .help = STORES READS
     "Whatever makes clients be told of a gap counts as damage, so also a store that was not\n"
     "closed before the machine went down and was not kept at sync=always.\n" EXITS,
     .run = store_verify},
    {.name = "dump",
     .usage = "STORE [--output FILE] [--all]",
     .summary = "Write the events of a store as lines of JSON",
     .help = STORES READS
     "One event a line, as golongpoll writes it: "
     "{\"timestamp\":…,\"category\":…,\"data\":…,\"id\":…}.\n"
     "The data is that of the publisher to the byte. (Line ends within it become blanks, and\n"
     ",\"newlines\":[…] says where they were.) --all adds lines {\"longpoll\":\"…\",…} for "
     "horizons,\n"
     "the floor, idempotency keys and the highest number: load makes an equal store of them.\n"
     "Its last line says that it is whole; of a dump without --all that was cut at the end of a "
     "line\n"
     "nobody can tell that it was.\n"
     "FILE must not be of the store, nor in its directory.\n"
     "A store that is damaged is dumped as far as it goes, with status 3.\n" EXITS,
     .run = store_dump},
    {.name = "load",
     .usage = "FROM STORE [--json]",
     .summary = "Make a store of a dump",
     .help =
         "FROM is a dump (of dump or dump --all), - for standard input, or golongpoll:FILE for a\n"
         "file of golongpoll's FilePersistorAddOn.\n" STORES MADE_ANEW
         "A line that is no event, or out of order, ends it: nothing is kept.\n"
         "A dump without the lines of --all does not say what its store had lost before: clients\n"
         "whose cursor is older than the first event, or older than the first one of their\n"
         "category, are told of a gap.\n"
         "Events of golongpoll get new ids, made from their timestamps; where these go back or\n"
         "repeat, the number behind the last one is taken. Lines that are cut or not valid are\n"
         "told (the first 10) and skipped, as golongpoll does too, which counts as a gap: the "
         "rest\n"
         "is loaded, with status 3. When none of the lines is an event no store is made, with\n"
         "status 1.\n" EXITS,
     .run = store_load},
    {.name = "copy",
     .usage = "FROM TO [--json]",
     .summary = "Copy a store into a new one of any kind",
     .help = STORES
     "FROM is opened to read only and not changed; no process may have it open to "
     "write.\n" MADE_ANEW
     "Events, horizons, the floor, idempotency keys and the highest number are copied. What FROM\n"
     "has lost is told, with status 3, and TO gets a floor, so that clients are told of a "
     "gap.\n" EXITS,
     .run = store_copy},
    {.name = "compact",
     .usage = "STORE [--json]",
     .summary = "Make a store as small as it gets",
     .help =
         STORES "It must not be in use. A store with damage is left alone, with status 3.\n" EXITS,
     .run = store_compact},
    {.name = NULL},
};
