/* A long flow of events that follow from their numbers alone, so that nobody has to remember them:
 * for cases with more of them than should be held in memory. One thread. */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CATEGORIES 16
#define DATA_MAX   4096

/* Event `i` of the flow, its data in `data`, which has room for DATA_MAX. */
static void make(const lp__flow *flow, uint64_t i, char *category, lp_str *name, char *data,
                 lp_str *text)
{
    int len = snprintf(category, 32, "flow/%u", (unsigned)(i % CATEGORIES));
    *name = (lp_str){category, (size_t)len};
    size_t at = (size_t)snprintf(data, DATA_MAX, "{\"n\":%llu,\"text\":\"", (unsigned long long)i);
    while (at + 2 < flow->data_bytes && at + 2 < DATA_MAX) {
        data[at] = (char)('a' + (i + at) % 26);
        at++;
    }
    memcpy(data + at, "\"}", 2);
    *text = (lp_str){data, at + 2};
}

static lp_id id_of(const lp__flow *flow, uint64_t i)
{
    return lp_id_make(flow->first_seq + i, i * 0x9e3779b97f4a7c15u);
}

static void add_event(lp__kit *kit, lp__flow *flow)
{
    char category[32], data[DATA_MAX];
    lp_str name, text;
    lp_event *event = NULL;
    make(flow, flow->given, category, &name, data, &text);
    int status = lp_event_new(id_of(flow, flow->given), name, text, &event);
    if (status == LP_OK)
        status = lp_batch_add_event(kit->batch, event);
    if (status != LP_OK)
        lp__kit_fail(kit, "making an event: %s", lp_strerror(status));
    lp_event_unref(event);
    flow->given++;
}

/* What falls out of the rings of all categories together, as a manager tells it. */
static void evict(lp__kit *kit, lp__flow *flow, lp_removal_reason reason)
{
    char category[32];
    uint64_t from = flow->gone;
    flow->gone = flow->given > flow->ring ? flow->given - flow->ring : 0;
    if (flow->gone < from)
        flow->gone = from;
    for (uint64_t i = from; i < flow->gone && lp__kit_going(kit); i++) {
        uint64_t seq = flow->first_seq + i;
        lp__kit_removal(kit, seq, reason);
        if (flow->gone - i > CATEGORIES)
            continue;
        snprintf(category, sizeof(category), "flow/%u", (unsigned)(i % CATEGORIES));
        lp__kit_horizon(kit, lp_str_of(category), seq);
    }
}

static void hand_over(lp__kit *kit, lp__flow *flow)
{
    lp_error error = {LP_OK, ""};
    lp_batch_set_highest(kit->batch, flow->first_seq + flow->given - 1);
    int status = lp_store_append(kit->store, kit->batch, &error);
    lp_batch_clear(kit->batch);
    if (kit->idle_at_ms < 0)
        kit->idle_at_ms = 0;
    if (status != LP_OK)
        lp__kit_fail(kit, "a batch failed with %s: %s", lp_status_name(status), error.message);
}

void lp__flow_append(lp__kit *kit, lp__flow *flow, size_t count)
{
    if (!lp__kit_going(kit))
        return;
    if (!flow->first_seq)
        flow->first_seq = kit->seq;
    /* What the events before have pushed out comes with the batch behind them. */
    if (flow->ring)
        evict(kit, flow, LP_REMOVED_RING);
    for (size_t i = 0; i < count && lp__kit_going(kit); i++)
        add_event(kit, flow);
    if (lp__kit_going(kit))
        hand_over(kit, flow);
}

void lp__flow_remove_all(lp__kit *kit, lp__flow *flow)
{
    flow->ring = 0;
    evict(kit, flow, LP_REMOVED_REPLAY);
    if (lp__kit_going(kit))
        hand_over(kit, flow);
}

/* ---- reading it back --------------------------------------------------------------------------
 */

typedef struct reading {
    const lp__flow *flow;
    uint64_t living; /* events that must be there and were */
    uint64_t next;   /* the first that may still come */
    uint64_t losses;
    char problem[160];
} reading;

static int read_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    reading *read = ctx;
    const lp__flow *flow = read->flow;
    uint64_t seq = lp_id_seq(id), i = seq - flow->first_seq;
    char name_room[32], text_room[DATA_MAX];
    lp_str name, text;
    if (seq < flow->first_seq || i >= flow->given) {
        snprintf(read->problem, sizeof(read->problem), "an event came that was never published");
        return LP_ECANCELED;
    }
    lp_id wanted = id_of(flow, i);
    make(flow, i, name_room, &name, text_room, &text);
    if (i < read->next || memcmp(wanted.bytes, id.bytes, sizeof(id.bytes)) != 0 ||
        !lp__same(name, category) || !lp__same(text, data)) {
        snprintf(read->problem, sizeof(read->problem),
                 "event %llu came twice, or with another id, category or data",
                 (unsigned long long)i);
        return LP_ECANCELED;
    }
    read->next = i + 1;
    read->living += i >= flow->gone;
    return LP_OK;
}

static int read_removal(void *ctx, uint64_t seq)
{
    reading *read = ctx;
    if (seq - read->flow->first_seq < read->flow->gone)
        return LP_OK;
    snprintf(read->problem, sizeof(read->problem), "an event was removed that is not gone");
    return LP_ECANCELED;
}

static int read_loss(void *ctx, uint64_t records, const char *detail)
{
    reading *read = ctx;
    read->losses += records ? records : 1;
    snprintf(read->problem, sizeof(read->problem), "a loss was told: %s", detail ? detail : "");
    return LP_OK;
}

void lp__flow_reopen(lp__kit *kit, lp__flow *flow, const char *when)
{
    lp__kit_close(kit);
    if (!lp__kit_going(kit))
        return;
    reading read = {.flow = flow};
    lp_store_sink sink = {.ctx = &read,
                          .event = read_event,
                          .removal = read_removal,
                          .loss = read_loss,
                          .expired_ms = INT64_MIN};
    lp_error error = {LP_OK, ""};
    int status = lp__kit_open_into(kit, &sink, &error);
    kit->idle_at_ms = 0;
    if (read.problem[0])
        lp__kit_fail(kit, "%s: %s", when, read.problem);
    else if (status != LP_OK)
        lp__kit_fail(kit, "%s: opening the store failed with %s: %s", when, lp_status_name(status),
                     error.message);
    else if (read.living != flow->given - flow->gone)
        lp__kit_fail(kit, "%s: %llu events came back, expected %llu", when,
                     (unsigned long long)read.living,
                     (unsigned long long)(flow->given - flow->gone));
}
