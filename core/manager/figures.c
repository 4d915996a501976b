/* What a manager tells of itself: figures, durations, health. Home loop. */
#include <inttypes.h>
#include <string.h>

#include "../engine/keys.h"
#include "histogram.h"
#include "manager_private.h"

const uint32_t lp_histogram_bounds_us[LP_HISTOGRAM_BOUNDS] = {
    100,   250,    500,    1000,   2500,    5000,    10000,   25000,
    50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

void lp__histogram_add(lp_histogram *histogram, uint64_t us)
{
    size_t at = 0;
    while (at < LP_HISTOGRAM_BOUNDS && us > lp_histogram_bounds_us[at])
        at++;
    histogram->counts[at]++;
    histogram->sum_us += us;
}

void lp__histogram_merge(lp_histogram *to, const lp_histogram *from)
{
    for (size_t i = 0; i <= LP_HISTOGRAM_BOUNDS; i++)
        to->counts[i] += from->counts[i];
    to->sum_us += from->sum_us;
}

bool lp__delivery_add(lp_histogram *durations, const lp__waiter *waiter)
{
    if (waiter->visible_us == 0)
        return false;
    lp__histogram_add(durations, lp__manager_mono_us() - waiter->visible_us);
    return true;
}

/* ---- figures ------------------------------------------------------------ */

static void add_engine(const lp_manager *manager, lp_stats *stats)
{
    lp__engine_stats engine;
    lp__engine_stats_get(manager->engine, &engine);
    stats->waiters = engine.waiters;
    stats->interests = engine.interests;
    stats->categories = engine.categories;
    stats->events = engine.events;
    stats->events_bytes = engine.events_bytes;
    stats->answered = engine.answered;
    stats->timed_out = engine.timed_out;
    stats->delivered = engine.delivered;
    stats->gaps = engine.gaps;
    stats->evicted = engine.evicted;
    stats->expired = engine.expired;
    stats->retrieved = engine.retrieved;
    lp__keys *keys = lp__engine_keys(manager->engine);
    lp__keys_expire(keys, lp__engine_clock_ms(manager->engine, lp__manager_now()));
    stats->idempotency_keys = keys->count;
}

void lp_manager_stats(const lp_manager *manager, lp_stats *out, size_t size)
{
    lp_stats stats = {.state = lp__state(manager)};
    bool engine_is_ours = stats.state != LP_STATE_STARTING && manager->engine != NULL &&
                          !(manager->replaying != NULL && manager->replaying->engine != NULL);
    if (engine_is_ours)
        add_engine(manager, &stats);
    stats.pending = atomic_load(&manager->pending);
    stats.pending_bytes = atomic_load(&manager->pending_bytes);
    stats.refused = atomic_load(&manager->refused);
    stats.published = manager->count.published;
    stats.repeated = manager->count.repeated;
    stats.conflicting = manager->count.conflicting;
    stats.batches = manager->count.batches;
    stats.failed_batches = manager->count.failed_batches;
    stats.publish_duration = manager->count.publish_duration;
    stats.delivery_duration = manager->count.delivery_duration;
    lp__ports_add_deliveries(manager, &stats.delivery_duration);
    stats.commit_duration = manager->count.commit_duration;
    if (manager->replaying != NULL) {
        stats.replayed = atomic_load(&manager->replaying->events);
        stats.damaged_records = atomic_load(&manager->replaying->damaged);
    }
    if (manager->worker != NULL)
        stats.commit_since_ms = lp__worker_busy_ms(manager->worker);
    memcpy(out, &stats, size < sizeof(stats) ? size : sizeof(stats));
}

/* ---- health ------------------------------------------------------------- */

static int starting(const lp_manager *manager, lp_error *why)
{
    return lp_error_set(why, LP_ESTARTING, "%s: is being replayed, %" PRIu64 " events so far",
                        manager->store_name, (uint64_t)atomic_load(&manager->replaying->events));
}

/* A store that failed not long ago and has kept nothing since. */
static bool failed_lately(const lp_manager *manager)
{
    return manager->failure.status != LP_OK &&
           lp__manager_now().mono_ms - manager->failed_at_ms < LP__FAILURE_LASTS_MS;
}

int lp_manager_health(const lp_manager *manager, lp_error *why)
{
    switch (lp__state(manager)) {
    case LP_STATE_STARTING:
        return starting(manager, why);
    case LP_STATE_IN_DOUBT:
        return lp_error_set(why, LP_EINDOUBT, "%s", manager->doubt.message);
    case LP_STATE_FAILED:
        return lp_error_set(why, LP_ECLOSED, "%s", manager->failure.message);
    case LP_STATE_DRAINING:
        return lp_error_set(why, LP_ECLOSED, "shutting down");
    case LP_STATE_CLOSED:
        return lp_error_set(why, LP_ECLOSED, "shut down");
    case LP_STATE_SERVING:
        break;
    }
    if (failed_lately(manager))
        return lp_error_set(why, manager->failure.status, "%s", manager->failure.message);
    if (atomic_load(&manager->pending) >= (uint64_t)manager->options.pending_max ||
        atomic_load(&manager->pending_bytes) >= (uint64_t)manager->options.pending_bytes_max)
        return lp_error_set(why, LP_EFULL, "%s: behind its bound on what is pending",
                            manager->store_name[0] != '\0' ? manager->store_name : "the manager");
    return lp_error_set(why, LP_OK, "%s", "serving");
}
