/* What core/http and core/wire may use of a manager beyond its public interface. Home loop only,
 * unless said otherwise. */
#ifndef LP_MANAGER_INSIDE_H
#define LP_MANAGER_INSIDE_H

#include <longpoll/manager.h>

#include "../engine/engine.h"

struct uv_loop_s;

/* lp_publish_all for data that has passed the JSON check already. Home loop. */
LP_API int lp__manager_publish(lp_manager *manager, const lp_publish_request *request,
                               lp_publish_all_cb done, void *ctx);

/* lp_subscribe with the caller's own memory, and a time in milliseconds in place of the query's:
 * `waiter->answer` is set, and runs once unless it is canceled; for a stream (is_stream) once after
 * this and after every lp__manager_continue. See engine.h. */
LP_API int lp__manager_subscribe(lp_manager *manager, const lp_query *query, int64_t timeout_ms,
                                 lp__waiter *waiter);
LP_API void lp__manager_continue(lp_manager *manager, int64_t timeout_ms, lp__waiter *waiter);
LP_API lp_id lp__manager_position(const lp_manager *manager, const lp__waiter *waiter);
/* An answer is handed to its socket now: for the figure of deliveries. */
LP_API void lp__manager_delivered(lp_manager *manager, const lp__waiter *waiter);
LP_API void lp__manager_cancel(lp_manager *manager, lp__waiter *waiter);
/* Answers it now with a timeout, `closing` set: its client has stopped asking. Not from within an
 * answer. */
LP_API void lp__manager_dismiss(lp_manager *manager, lp__waiter *waiter);

/* An answer with these events has been written whole (delete-after-first). */
LP_API void lp__manager_retrieved(lp_manager *manager, lp_event *const *events, size_t count);

/* The options with all defaults filled in. */
LP_API const lp_manager_options *lp__manager_options(const lp_manager *manager);
LP_API struct uv_loop_s *lp__manager_loop(const lp_manager *manager);
LP_API void lp__manager_log(const lp_manager *manager, lp_log_level level, const char *format, ...)
    LP_PRINTF(3, 4);

/* One slot for the HTTP side: `drain` is called once, when every waiter has been answered and the
 * manager's handles are about to be closed, and must call lp__manager_drained (now or later) when
 * its own handles on the loop are closed; `free_http` runs in lp_manager_free. `is_writing` tells
 * whether answers are being written: with delete-after-first the store stays open for these. */
typedef struct lp__manager_http {
    void *http;
    void (*drain)(void *http);
    void (*free_http)(void *http);
    bool (*is_writing)(const void *http);
} lp__manager_http;
LP_API lp__manager_http *lp__manager_http_slot(lp_manager *manager);
LP_API void lp__manager_drained(lp_manager *manager);

#endif
