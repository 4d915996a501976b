/* longpoll store compact. */
#include "store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "result.h"
#include "say.h"
#include "source.h"

enum { BUDGET_MS = 200, CLOSE_TIMEOUT_MS = 600000, ROUNDS_MAX = 1000000 };

static void see_disk_bytes(void *ctx, const char *name, uint64_t number, const char *text)
{
    if (text == NULL && strcmp(name, "disk_bytes") == 0)
        *(uint64_t *)ctx = number;
}

/* What it takes on disk, 0 when it does not tell. */
static uint64_t disk_bytes(lp_store *store)
{
    uint64_t bytes = 0;
    lp_store_inspect(store, see_disk_bytes, &bytes, NULL);
    return bytes;
}

/* A signal ends it. */
static void rest(int64_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Until the store asks for no more. */
static int compact(lp_store *store, lp_error *error)
{
    int64_t next_ms = 0;
    int status = LP_OK;
    for (uint64_t round = 0; status == LP_OK && next_ms >= 0 && round < ROUNDS_MAX; round++) {
        status = lp_store_compact(store, BUDGET_MS, &next_ms, error);
        if (status == LP_OK && next_ms > 0)
            rest(next_ms);
        if (status == LP_OK)
            status = interrupt_check(error);
    }
    return status;
}

/* What is left of a damaged store, and what may be done about it. */
static int refuse_damaged(const char *spec, const store_survey *found, lp_error *error)
{
    char lost[64] = "how many are lost is not known";
    if (found->events == 0)
        return lp_error_set(error, LP_EDAMAGED,
                            "\"%.200s\": it is damaged and none of its events can be read, and was "
                            "left alone (bring it back from a copy; longpolld started on it begins "
                            "without events)",
                            spec);
    if (found->lost_records > 0)
        snprintf(lost, sizeof(lost), "at least %" PRIu64 " %s lost", found->lost_records,
                 found->lost_records == 1 ? "is" : "are");
    return lp_error_set(error, LP_EDAMAGED,
                        "\"%.200s\": it is damaged, and was left alone: %" PRIu64
                        " of its events can be read, %s (copy these into a new store, or start "
                        "longpolld on it, which goes on with these)",
                        spec, found->events, lost);
}

/* Opens it to write, and knows that it is undamaged. */
static int open_good(const char *spec, store_survey *found, lp_store **store, lp_error *error)
{
    int status = source_survey(spec, found, error);
    if (status == LP_OK && found->losses_told > 0)
        return refuse_damaged(spec, found, error);
    survey_free(found);
    return status == LP_OK ? source_open(spec, false, found, store, error) : status;
}

static int run(const char *spec, bool is_json)
{
    store_survey found = {0};
    result_object result;
    lp_store *store;
    lp_error error = {0};
    int status = open_good(spec, &found, &store, &error);
    uint64_t events = found.events;
    survey_free(&found);
    if (status != LP_OK)
        return say_wrong_store(&error);
    uint64_t before = disk_bytes(store);
    status = compact(store, &error);
    uint64_t after = disk_bytes(store);
    int closed = lp_store_close(store, CLOSE_TIMEOUT_MS, status == LP_OK ? &error : NULL);
    if (status == LP_OK)
        status = closed;
    if (status != LP_OK)
        return say_failed(&error);
    result_begin(&result, is_json);
    result_text(&result, "store", spec);
    result_number(&result, "events", events);
    result_number(&result, "disk_bytes_before", before);
    result_number(&result, "disk_bytes", after);
    return result_end(&result, EXIT_DONE);
}

int store_compact(const command *self, int count, char **words)
{
    const char *spec[1];
    bool is_json = false;
    const flag flags[] = {{"json", NULL, "print one JSON object", &is_json, NULL}, {0}};
    int status = command_read(self, flags, count, words, spec, 1);
    return status >= 0 ? status : run(spec[0], is_json);
}
