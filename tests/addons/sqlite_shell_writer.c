/* Writes twenty events of now into a new store and prints their ids, a line each.
 *
 *     sqlite_shell_writer FILE */
#include <longpoll/sqlite.h>
#include <longpoll/store.h>

#include <stdio.h>
#include <time.h>

int main(int argc, char **argv)
{
    lp_addon *addon;
    lp_store *store;
    lp_batch *batch;
    if (argc != 2 || lp_sqlite_new(argv[1], NULL, &addon, NULL) != LP_OK ||
        lp_store_open(addon, NULL, &store, NULL) != LP_OK || lp_batch_new(&batch) != LP_OK)
        return 1;
    for (uint64_t n = 0; n < 20; n++) {
        char data[32], text[LP_ID_TEXT_LEN + 1];
        lp_event *event;
        lp_id id = lp_id_make(lp_seq_first((int64_t)time(NULL) * 1000) + n * 7,
                              (n + 1) * UINT64_C(0x9E3779B97F4A7C15));
        snprintf(data, sizeof(data), "{\"n\":%u}", (unsigned)n);
        if (lp_event_new(id, lp_str_of(n % 2 == 0 ? "even" : "odd"), lp_str_of(data), &event) !=
                LP_OK ||
            lp_batch_add_event(batch, event) != LP_OK)
            return 1;
        lp_event_unref(event);
        lp_id_format(id, text);
        puts(text);
    }
    int status = lp_store_append(store, batch, NULL);
    lp_batch_free(batch);
    return status == LP_OK && lp_store_close(store, 5000, NULL) == LP_OK ? 0 : 1;
}
