/* An add-on for tests. See store_double.h. */
#include "store_double.h"

static void wait_while(store_double *store, const bool *held)
{
    pthread_mutex_lock(&store->mutex);
    while (*held)
        pthread_cond_wait(&store->changed, &store->mutex);
    pthread_mutex_unlock(&store->mutex);
}

static int on_start(lp_addon *self, lp_replay *replay)
{
    store_double *store = self->state;
    (void)replay;
    wait_while(store, &store->holds_start);
    return LP_OK;
}

static int on_publish(lp_addon *self, lp_batch *batch)
{
    store_double *store = self->state;
    wait_while(store, &store->holds_publish);
    pthread_mutex_lock(&store->mutex);
    int status = store->publish_status;
    const char *reason = store->reason;
    pthread_mutex_unlock(&store->mutex);
    return status == LP_OK ? LP_OK : lp_batch_error(batch, status, "%s", reason);
}

static int on_shutdown(lp_addon *self, lp_ending *ending)
{
    (void)self, (void)ending;
    return LP_OK;
}

void store_double_init(store_double *store)
{
    *store = (store_double){.addon = LP_ADDON_INIT("double"),
                            .mutex = PTHREAD_MUTEX_INITIALIZER,
                            .changed = PTHREAD_COND_INITIALIZER};
    store->addon.state = store;
    store->addon.on_start = on_start;
    store->addon.on_publish = on_publish;
    store->addon.on_shutdown = on_shutdown;
}

void store_double_hold(store_double *store, bool start, bool publish)
{
    pthread_mutex_lock(&store->mutex);
    store->holds_start = start;
    store->holds_publish = publish;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->mutex);
}

void store_double_fail(store_double *store, int status, const char *reason)
{
    pthread_mutex_lock(&store->mutex);
    store->publish_status = status;
    store->reason = reason;
    pthread_mutex_unlock(&store->mutex);
}
