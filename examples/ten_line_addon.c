/* The smallest useful add-on: events go to the end of a file and come back from there, in ten lines
 * each way. It forgets nothing, so its file only grows; addons/journal is the one to use.
 *
 *     ten_line_addon [FILE]
 *
 * starts a manager with it, publishes one event, and prints all events that the file holds. */
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include <longpoll/addon.h>
#include <longpoll/manager.h>

/* README begin */
struct head {
    lp_id id;
    uint32_t category_len, data_len;
};

static char text[LP_CATEGORY_MAX + (1 << 20)];

static int on_start(lp_addon *self, lp_replay *replay)
{
    struct head head;
    int status = LP_OK;
    long end = 0;
    while (status >= 0 && fread(&head, sizeof(head), 1, self->state) == 1) {
        size_t len = (size_t)head.category_len + head.data_len;
        if (len > sizeof(text) || fread(text, 1, len, self->state) < len)
            break; /* a crash cut the last one */
        status = lp_replay_event(replay, head.id, (lp_str){text, head.category_len},
                                 (lp_str){text + head.category_len, head.data_len});
        end = ftell(self->state);
    }
    return status < 0 ? status : ftruncate(fileno(self->state), end) == 0 ? LP_OK : LP_EIO;
}

static int on_publish(lp_addon *self, lp_batch *batch)
{
    for (size_t i = 0; i < lp_batch_event_count(batch); i++)
        if (lp_event_data(lp_batch_event(batch, i)).len > (1 << 20))
            lp_batch_fail(batch, i, LP_ETOOBIG, "the data is larger than 1 MiB");
    for (size_t i = 0; i < lp_batch_event_count(batch) && !ferror(self->state); i++) {
        const lp_event *event = lp_batch_event(batch, i);
        lp_str category = lp_event_category(event), data = lp_event_data(event);
        struct head head = {lp_event_id(event), (uint32_t)category.len, (uint32_t)data.len};
        if (lp_batch_failed(batch, i))
            continue; /* also when it was published together with one that is too large */
        fwrite(&head, sizeof(head), 1, self->state);
        fwrite(category.base, 1, category.len, self->state);
        fwrite(data.base, 1, data.len, self->state);
    }
    bool kept =
        fflush(self->state) == 0 && !ferror(self->state) && fdatasync(fileno(self->state)) == 0;
    return kept ? LP_OK : lp_batch_error(batch, LP_EINDOUBT, "the file could not be written");
}

static int on_shutdown(lp_addon *self, lp_ending *ending)
{
    (void)self, (void)ending; /* everything is on disk already */
    return LP_OK;
}

static void destroy(lp_addon *self)
{
    fclose(self->state);
}
/* README end */

/* ---- a program that uses it -------------------------------------------------------------------
 */

static lp_manager *manager;
static uint64_t published; /* the sequence number of this start's event */
static int failed;

static void poll_behind(lp_id last);

static void on_answer(void *ctx, const lp_answer *answer)
{
    lp_id last = lp_id_make(published, 0);
    (void)ctx;
    for (size_t i = 0; i < answer->event_count; i++) {
        lp_str wire = lp_event_wire(answer->events[i]);
        printf("%.*s\n", (int)wire.len, wire.base);
        last = lp_event_id(answer->events[i]);
    }
    if (lp_id_seq(last) < published)
        poll_behind(last);
    else
        lp_manager_shutdown(manager, 1000, NULL, NULL);
}

static void poll_behind(lp_id last)
{
    lp_query query = LP_QUERY_INIT;
    lp_subscription *subscription;
    query.category = lp_str_of("starts");
    query.timeout_s = 1;
    query.has_since = query.has_last_id = true;
    query.since_ms = lp_seq_ms(lp_id_seq(last));
    query.last_id = last;
    lp_subscribe(manager, &query, on_answer, NULL, &subscription);
}

static void on_kept(void *ctx, const lp_error *error, const lp_event *event)
{
    (void)ctx;
    if (error->status != LP_OK) {
        fprintf(stderr, "not kept: %s\n", error->message);
        failed = 1;
        lp_manager_shutdown(manager, 1000, NULL, NULL);
    } else {
        published = lp_event_seq(event);
        poll_behind(lp_id_make(1, 0)); /* from the beginning */
    }
}

static void on_state(lp_manager *of, lp_state state, const lp_error *error, void *ctx)
{
    (void)of, (void)ctx;
    if (state == LP_STATE_SERVING)
        lp_publish(manager, lp_str_of("starts"), lp_str_of("\"here we are again\""), on_kept, NULL);
    if (state == LP_STATE_FAILED) {
        fprintf(stderr, "%s\n", error->message);
        failed = 1;
        lp_manager_shutdown(manager, 0, NULL, NULL);
    }
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "ten_line_addon.events";
    lp_addon addon = LP_ADDON_INIT("ten-line");
    lp_manager_options options = LP_MANAGER_OPTIONS_INIT;
    lp_error error;

    addon.state = fopen(path, "a+b");
    if (!addon.state) {
        perror(path);
        return 1;
    }
    addon.on_start = on_start;
    addon.on_publish = on_publish;
    addon.on_shutdown = on_shutdown;
    addon.destroy = destroy;

    options.addon = &addon;
    options.on_state = on_state;
    if (lp_manager_start(uv_default_loop(), &options, &manager, &error) != LP_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT); /* until the manager is shut down */
    lp_manager_free(manager);
    return failed;
}
