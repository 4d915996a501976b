/* Commands, and commands within commands: `longpoll store copy A B`. A table is what is parsed,
 * what is checked and what --help prints. Main thread. */
#ifndef TOOL_COMMAND_H
#define TOOL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

/* What a command exits with. Documented in --help and for scripts: they do not change. */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_DAMAGE = 3,
    EXIT_SIGNALED = 128,
    EXIT_CLOSED_PIPE = 141
};

typedef struct command command;

struct command {
    const char *name;
    const char *usage; /* what follows the name: "STORE [--json]"; of a family "COMMAND …" */
    const char *summary;
    const char *help; /* paragraphs behind the flags; may be NULL */
    /* `words` are those behind the name. Returns the exit status. NULL for a family. */
    int (*run)(const command *self, int count, char **words);
    const command *family; /* the last one has no name; NULL for a command */
};

/* What a flag that may be given several times was given. */
enum { FLAG_LIST_MAX = 16 };
typedef struct flag_list {
    const char *items[FLAG_LIST_MAX];
    int count;
} flag_list;

/* A flag of a command; what it sets keeps its value where it is not given. The last has no name. */
typedef struct flag {
    const char *name; /* without the dashes */
    const char *argument, *help;
    bool *on;          /* of a flag without an argument, else NULL */
    const char **text; /* of one with, */
    flag_list *list;   /* or of one that may be given several times */
} flag;

/* Runs what the words name within `family`, whose own name is `path` ("longpoll store"). */
int command_run(const command *family, const char *path, int count, char **words);

/* Takes flags out of the words and checks how many are left; they go to `arguments`. Returns -1 to
 * go on, or the exit status: --help has been printed, or something was wrong and has been said. */
int command_read(const command *self, const flag *flags, int count, char **words,
                 const char **arguments, int wanted);

#endif
