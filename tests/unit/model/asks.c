/* What simulated clients ask for: categories, some of them twice, and prefixes that match others,
 * include each other, or match nothing. */
#include <stdio.h>
#include <string.h>

#include "world.h"

static void ask_category(interests *asks, int category)
{
    asks->categories[asks->category_count++] = category;
    asks->mask |= ONE_CATEGORY(category);
}

static void ask_prefix(const world *w, interests *asks, const char *prefix)
{
    snprintf(asks->prefixes[asks->prefix_count++], NAME_WIDTH, "%s", prefix);
    asks->mask |= ref_matches(w, prefix);
}

/* Without duplicates, and without prefixes that another one includes. */
static size_t count_distinct(const interests *asks)
{
    size_t count = 0;
    for (size_t i = 0; i < asks->category_count; i++) {
        bool again = false;
        for (size_t n = 0; n < i; n++)
            again = again || asks->categories[n] == asks->categories[i];
        count += !again;
    }
    for (size_t i = 0; i < asks->prefix_count; i++) {
        bool again = false;
        for (size_t n = 0; n < asks->prefix_count; n++) {
            size_t len = strlen(asks->prefixes[n]);
            bool begins = strncmp(asks->prefixes[i], asks->prefixes[n], len) == 0;
            bool same = begins && asks->prefixes[i][len] == '\0';
            again = again || (begins && (same ? n < i : n != i));
        }
        count += !again;
    }
    return count;
}

void ask_for_one(client *c, int category)
{
    c->asks = (interests){0};
    ask_category(&c->asks, category);
    c->asks.distinct = 1;
}

/* The beginning of some name, the whole of it, or more than it. */
static void ask_for_some_prefix(client *c)
{
    world *w = c->world;
    char prefix[NAME_WIDTH];
    const char *name = w->names[rnd(w, (uint64_t)w->config.categories)];
    size_t len = 1 + (size_t)rnd(w, strlen(name));
    snprintf(prefix, sizeof(prefix), "%.*s%s", (int)len, name, chance(w, 12) ? "?" : "");
    ask_prefix(w, &c->asks, prefix);
}

void ask_for_some(client *c)
{
    world *w = c->world;
    c->asks = (interests){0};
    if (!chance(w, (uint64_t)w->config.wide)) {
        ask_for_one(c, (int)rnd(w, (uint64_t)w->config.categories));
        return;
    }
    size_t categories = (size_t)rnd(w, ASKED_MAX + 1), prefixes = (size_t)rnd(w, 3);
    if (categories + prefixes == 0)
        prefixes = 1;
    for (size_t i = 0; i < categories; i++)
        ask_category(&c->asks, (int)rnd(w, (uint64_t)w->config.categories));
    for (size_t i = 0; i < prefixes; i++)
        ask_for_some_prefix(c);
    c->asks.distinct = count_distinct(&c->asks);
}

/* Some by their names or by longer beginnings, the others by their first byte. */
void ask_for_all(client *c)
{
    world *w = c->world;
    char prefix[NAME_WIDTH];
    c->asks = (interests){0};
    for (int i = 0; i < w->config.categories; i++) {
        if (c->asks.mask & ONE_CATEGORY(i) && chance(w, 2))
            continue;
        if (c->asks.category_count < ASKED_MAX && chance(w, 2)) {
            ask_category(&c->asks, i);
        } else if (!(c->asks.mask & ONE_CATEGORY(i))) {
            size_t len = c->asks.prefix_count < 2 ? (size_t)rnd(w, strlen(w->names[i])) : 0;
            snprintf(prefix, sizeof(prefix), "%.*s", 1 + (int)len, w->names[i]);
            ask_prefix(w, &c->asks, prefix);
        }
    }
    c->asks.distinct = count_distinct(&c->asks);
}
