/* Publish and subscribe within one program, without HTTP and without a store: one subscriber that
 * follows a category from answer to answer, one publisher on another thread.
 *
 *     in_process
 *
 * prints ten events and ends. */
/* README begin */
#include <stdio.h>
#include <uv.h>

#include <longpoll/manager.h>

#define EVENTS 10

static lp_manager *manager;
static int received;

static void poll_from(int64_t since_ms, const lp_id *last_id);

/* Runs on the loop. The cursor of the next poll is the last event, or what a timeout says. */
static void on_answer(void *ctx, const lp_answer *answer)
{
    (void)ctx;
    for (size_t i = 0; i < answer->event_count; i++, received++) {
        lp_str data = lp_event_data(answer->events[i]);
        printf("received %.*s\n", (int)data.len, data.base);
    }
    if (answer->closing || received >= EVENTS) {
        lp_manager_shutdown(manager, 1000, NULL, NULL);
    } else if (answer->event_count > 0) {
        const lp_event *last = answer->events[answer->event_count - 1];
        lp_id id = lp_event_id(last);
        poll_from(lp_event_timestamp_ms(last), &id);
    } else {
        poll_from(answer->timestamp_ms, NULL);
    }
}

static void poll_from(int64_t since_ms, const lp_id *last_id)
{
    lp_query query = LP_QUERY_INIT;
    lp_subscription *subscription;
    query.category = lp_str_of("numbers");
    query.timeout_s = 10;
    query.has_since = true;
    query.since_ms = since_ms;
    if (last_id) {
        query.has_last_id = true;
        query.last_id = *last_id;
    }
    lp_subscribe(manager, &query, on_answer, NULL, &subscription);
}

/* Any thread may publish. */
static void publisher(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < EVENTS; i++) {
        char data[32];
        snprintf(data, sizeof(data), "{\"number\":%d}", i);
        lp_publish(manager, lp_str_of("numbers"), lp_str_of(data), NULL, NULL);
    }
}

int main(void)
{
    lp_error error;
    uv_thread_t thread;
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    if (lp_manager_start(uv_default_loop(), &options, &manager, &error) != LP_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    poll_from(0, NULL);
    uv_thread_create(&thread, publisher, NULL);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT); /* until the manager is shut down */
    uv_thread_join(&thread);
    return lp_manager_free(manager);
}
/* README end */
