/* What core/http may use of a manager besides its ports (port.h) and its public interface. Home
 * loop only, unless said otherwise. */
#ifndef LP_MANAGER_INSIDE_H
#define LP_MANAGER_INSIDE_H

#include <longpoll/manager.h>

#include "../engine/engine.h"

struct uv_loop_s;

/* The options with all defaults filled in. */
LP_API const lp_manager_options *lp__manager_options(const lp_manager *manager);
/* Any thread. */
LP_API struct uv_loop_s *lp__manager_loop(const lp_manager *manager);

/* One slot for the HTTP side: `free_http` runs in lp_manager_free. */
typedef struct lp__manager_http {
    void *http;
    void (*free_http)(void *http);
} lp__manager_http;
LP_API lp__manager_http *lp__manager_http_slot(lp_manager *manager);

#endif
