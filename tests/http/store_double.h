/* An add-on for tests whose hooks wait and fail as the test says. */
#ifndef TESTS_HTTP_STORE_DOUBLE_H
#define TESTS_HTTP_STORE_DOUBLE_H

#include <pthread.h>

#include <longpoll/addon.h>

typedef struct store_double {
    lp_addon addon;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool holds_start, holds_publish; /* the hook waits while it is set */
    int publish_status;              /* what on_publish returns, with `reason` */
    const char *reason;
} store_double;

/* Lives until the manager that it is given to has shut down. */
void store_double_init(store_double *store);
void store_double_hold(store_double *store, bool start, bool publish);
void store_double_fail(store_double *store, int status, const char *reason);

#endif
