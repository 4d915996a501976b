/* See command.h. */
#include "command.h"

#include <stdio.h>
#include <string.h>

#include "say.h"

enum { NAME_WIDTH = 22, SUGGEST_DISTANCE = 2 };

static char current[64] = "longpoll"; /* "longpoll store copy", for --help */

/* ---- help ------------------------------------------------------------------------------------ */

static void print_family(const command *family, const char *path)
{
    printf("Usage: %s COMMAND …\n\nCommands:\n", path);
    for (const command *at = family; at->name != NULL; at++)
        printf("  %-*s %s\n", NAME_WIDTH, at->name, at->summary);
    printf("\nSee %s COMMAND --help.\n", path);
}

static void print_command(const command *self, const flag *flags)
{
    printf("Usage: %s %s\n\n%s.\n", current, self->usage, self->summary);
    printf("\nFlags:\n");
    for (; flags->name != NULL; flags++) {
        char name[64];
        snprintf(name, sizeof(name), "--%s%s%s", flags->name, flags->argument != NULL ? " " : "",
                 flags->argument != NULL ? flags->argument : "");
        printf("  %-*s %s\n", NAME_WIDTH, name, flags->help);
    }
    printf("  %-*s %s\n", NAME_WIDTH, "--help", "print this");
    if (self->help != NULL)
        printf("\n%s", self->help);
}

/* ---- a word that is none --------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters must be changed, added or taken out (Levenshtein); long words are far apart. */
static size_t distance(const char *a, const char *b)
{
    size_t row[32], len = strlen(b);
    if (len >= 32 || strlen(a) >= 32)
        return SIZE_MAX;
    for (size_t j = 0; j <= len; j++)
        row[j] = j;
    for (size_t i = 1; *a != '\0'; i++, a++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len; j++) {
            size_t changed = corner + (*a != b[j - 1]);
            corner = row[j];
            row[j] = least(changed, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[len];
}

static int unknown_command(const command *family, const char *path, const char *word)
{
    const char *nearest = NULL;
    size_t best = SUGGEST_DISTANCE + 1;
    for (const command *at = family; at->name != NULL; at++) {
        size_t far = distance(word, at->name);
        if (far < best) {
            best = far;
            nearest = at->name;
        }
    }
    if (nearest != NULL)
        return say_usage("\"%s\": unknown command (did you mean %s %s?)", word, path, nearest);
    return say_usage("\"%s\": unknown command (see %s --help)", word, path);
}

/* ---- running --------------------------------------------------------------------------------- */

int command_run(const command *family, const char *path, int count, char **words)
{
    if (count == 0)
        return say_usage("no command is named (see %s --help)", path);
    if (strcmp(words[0], "--help") == 0 || strcmp(words[0], "help") == 0) {
        print_family(family, path);
        return EXIT_DONE;
    }
    const command *found = family;
    while (found->name != NULL && strcmp(found->name, words[0]) != 0)
        found++;
    if (found->name == NULL)
        return unknown_command(family, path, words[0]);

    snprintf(current, sizeof(current), "%s %s", path, found->name);
    say_name(current + strlen("longpoll "));
    if (found->run != NULL)
        return found->run(found, count - 1, words + 1);
    char below[sizeof(current)];
    memcpy(below, current, sizeof(below));
    return command_run(found->family, below, count - 1, words + 1);
}

static const flag *flag_find(const flag *flags, const char *name, size_t len)
{
    for (; flags->name != NULL; flags++) {
        if (strlen(flags->name) == len && memcmp(flags->name, name, len) == 0)
            return flags;
    }
    return NULL;
}

/* The flag at words[*at], which moves to the last word that belongs to it. As command_read. */
static int read_flag(const flag *flags, int count, char **words, int *at)
{
    const char *word = words[*at];
    size_t len = strcspn(word, "=");
    const char *value = word[len] == '=' ? word + len + 1 : NULL;
    const flag *found = flag_find(flags, word + 2, len - 2);
    if (found == NULL)
        return say_usage("%.*s: unknown flag (see %s --help)", (int)len, word, current);
    if (found->on != NULL) {
        if (value != NULL)
            return say_usage("--%s: takes no value (leave \"=%s\" away)", found->name, value);
        *found->on = true;
        return -1;
    }
    if (value == NULL && *at + 1 == count)
        return say_usage("--%s: needs a value (write --%s %s)", found->name, found->name,
                         found->argument);
    if (value == NULL)
        value = words[++*at];
    if (found->list == NULL)
        *found->text = value;
    else if (found->list->count < FLAG_LIST_MAX)
        found->list->items[found->list->count++] = value;
    else
        return say_usage("--%s: is given more than %d times", found->name, FLAG_LIST_MAX);
    return -1;
}

int command_read(const command *self, const flag *flags, int count, char **words,
                 const char **arguments, int wanted)
{
    int found = 0;
    for (int at = 0; at < count; at++) {
        if (strcmp(words[at], "--help") == 0) {
            print_command(self, flags);
            return EXIT_DONE;
        }
    }
    for (int at = 0; at < count; at++) {
        if (strncmp(words[at], "--", 2) == 0) {
            int status = read_flag(flags, count, words, &at);
            if (status >= 0)
                return status;
        } else if (words[at][0] == '-' && words[at][1] != '\0') {
            return say_usage("\"%s\": unknown flag (see %s --help)", words[at], current);
        } else if (found == wanted) {
            return say_usage("\"%s\": unexpected argument (write %s %s)", words[at], current,
                             self->usage);
        } else {
            arguments[found++] = words[at];
        }
    }
    if (found < wanted)
        return say_usage("something is missing (write %s %s)", current, self->usage);
    return -1;
}
