/* A program that does not say which store it uses: its link command does.
 *
 *     app publish PATH    publishes one event and ends when it is kept
 *     app read PATH       prints what a new start finds
 *
 * The first line says which store it was linked with. */
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include <longpoll/addon.h>
#include <longpoll/linked.h>
#include <longpoll/manager.h>

typedef struct app {
    lp_manager *manager;
    bool publishes;
    int exit_code; /* 0 once it has done what it was told to */
} app;

static void stop(app *self)
{
    lp_manager_shutdown(self->manager, 10000, NULL, NULL);
}

static void on_kept(void *ctx, const lp_error *error, const lp_event *event)
{
    app *self = ctx;
    if (event == NULL)
        fprintf(stderr, "not kept: %s\n", error->message);
    else
        self->exit_code = 0;
    stop(self);
}

static void on_answer(void *ctx, const lp_answer *answer)
{
    app *self = ctx;
    for (size_t i = 0; i < answer->event_count; i++) {
        lp_str data = lp_event_data(answer->events[i]);
        printf("%.*s\n", (int)data.len, data.base);
        self->exit_code = 0;
    }
    if (!answer->closing)
        stop(self);
}

static int read_all(app *self)
{
    lp_query query = LP_QUERY_INIT;
    lp_subscription *subscription;
    query.category = lp_str_of("linked");
    query.timeout_s = 1;
    query.has_since = true;
    query.since_ms = 1;
    return lp_subscribe(self->manager, &query, on_answer, self, &subscription);
}

static void on_state(lp_manager *manager, lp_state state, const lp_error *error, void *ctx)
{
    app *self = ctx;
    int status = LP_OK;
    self->manager = manager;
    if (state == LP_STATE_FAILED) {
        fprintf(stderr, "store: %s\n", error->message);
        stop(self);
        return;
    }
    if (state != LP_STATE_SERVING)
        return;
    if (self->publishes)
        status =
            lp_publish(manager, lp_str_of("linked"), lp_str_of("{\"kept\":true}"), on_kept, self);
    else
        status = read_all(self);
    if (status != LP_OK) {
        fprintf(stderr, "%s\n", lp_strerror(status));
        stop(self);
    }
}

int main(int argc, char **argv)
{
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_error error = {0};
    app self = {.exit_code = 1};
    if (argc != 3)
        return 2;
    self.publishes = strcmp(argv[1], "publish") == 0;
    options.on_state = on_state;
    options.state_ctx = &self;
    if (lp_linked_addon_new(argv[2], &options.addon, &error) == LP_OK)
        printf("%s\n", options.addon->name);
    if (options.addon == NULL ||
        lp_manager_start(uv_default_loop(), &options, &self.manager, &error) != LP_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT); /* until the manager is shut down */
    return lp_manager_free(self.manager) == LP_OK ? self.exit_code : 1;
}
