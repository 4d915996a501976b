/* What the nouns of addon.h are inside. Only addon.c, batch.c and the thread of the add-on look in
 * here; everyone else uses the accessors. A noun is used by one thread at a time. */
#ifndef LP_ADDON_NOUNS_H
#define LP_ADDON_NOUNS_H

#include <stdarg.h>

#include <longpoll/store.h>

struct lp_replay {
    const lp_store_sink *sink;
    uint64_t last_seq; /* of the event pushed last */
    uint64_t highest;
    uint64_t refused; /* pushes that were no event or out of order */
    bool told_loss;
    int stopped; /* the negative status with which the sink ended the start */
    lp_error error;
};

typedef struct lp__batch_item {
    lp_event *event;
    int status;      /* LP_OK, or why it was refused */
    uint32_t group;  /* how many events before it, from here on back, were published with it */
    uint32_t reason; /* where its text begins in `reasons`, 0: it has none */
} lp__batch_item;

/* Bytes of categories and keys lie in `text`; structs hold offsets, because it moves as it grows.
 * It does not grow while a hook runs, `reasons` does: what a hook has read stays where it is. */
typedef struct lp__batch_bytes {
    char *base;
    size_t len, capacity;
} lp__batch_bytes;

typedef struct lp__batch_horizon {
    size_t category_at, category_len;
    uint64_t seq;
} lp__batch_horizon;

typedef struct lp__batch_key {
    size_t key_at;
    lp_idempotency record; /* key.base is not used */
} lp__batch_key;

struct lp_batch {
    lp__batch_item *items;
    size_t item_count, item_capacity;
    lp_removal *removals;
    size_t removal_count, removal_capacity;
    lp__batch_horizon *horizons;
    size_t horizon_count, horizon_capacity;
    lp__batch_key *keys;
    size_t key_count, key_capacity;
    size_t refused_keys; /* behind them, of what was refused */
    lp__batch_bytes text, reasons;
    size_t refused; /* items with a status */
    uint64_t highest;
    int64_t forgotten_keys_ms; /* INT64_MIN: nothing is said of them */
    const lp_store_sink *sink; /* for the log, while a hook runs */
    lp_error error;
};

struct lp_ending {
    int64_t deadline_ms; /* monotonic */
    lp_error error;
};

struct lp_idle {
    int64_t budget_ms;
    int64_t next_ms; /* -1: it did not ask */
    bool thorough;
    const lp_store_sink *sink;
    lp_error error;
};

struct lp_report {
    lp_store_figure_cb figure;
    void *ctx;
    bool thorough;
    lp_error error;
};

/* Checks a table of hooks and copies it into a zeroed one, as long as it is. LP_EINVAL with a
 * sentence that names the add-on. Any thread. */
int lp__addon_read(const lp_addon *addon, lp_addon *table, lp_error *error);

/* The sentence of a hook's failure. Returns `status`. */
int lp__noun_error(lp_error *error, int status, const char *format, va_list args);

/* One line to the log of a sink, which may have none. */
void lp__noun_log(const lp_store_sink *sink, const char *format, va_list args);

/* Makes sure that the next `count` of lp_batch_add_event find memory. LP_ENOMEM. */
int lp__batch_reserve(lp_batch *batch, size_t count);
/* The same for one lp_batch_add_idempotency, with a key of so many bytes. LP_ENOMEM. */
int lp__batch_reserve_key(lp_batch *batch, size_t key_len);

/* Forgets what a hook said about the batch before. */
void lp__batch_begin(lp_batch *batch, const lp_store_sink *sink);

#endif
