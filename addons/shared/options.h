/* Reading the options of a constructor, of whichever version of its header. Any thread. */
#ifndef LP_SHARED_OPTIONS_H
#define LP_SHARED_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include <longpoll/addon.h>

/* Copies `given` (may be NULL) over the defaults in `out`, which has `size` bytes; the first member
 * of both is a size_t struct_size. LP_EINVAL when that of `given` is too small to be one: the
 * options were not begun with their macro `init`. */
int lp__options_read(void *out, size_t size, const void *given, const char *init, lp_error *error);

/* The interval of LP_SYNC_INTERVAL where 0 is given. */
enum { LP__SYNC_INTERVAL_MS = 1000 };

/* What every store takes. `name` is that of the store. LP_EINVAL. */
int lp__options_check_sync(const char *name, lp_sync sync, int64_t interval_ms, lp_error *error);

#endif
