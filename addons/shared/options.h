/* Reading the options of a constructor, of whichever version of its header. Any thread. */
#ifndef LP_SHARED_OPTIONS_H
#define LP_SHARED_OPTIONS_H

#include <stddef.h>

#include <longpoll/status.h>

/* Copies `given` (may be NULL) over the defaults in `out`, which has `size` bytes; the first member
 * of both is a size_t struct_size. LP_EINVAL when that of `given` is too small to be one: the
 * options were not begun with their macro `init`. */
int lp__options_read(void *out, size_t size, const void *given, const char *init, lp_error *error);

#endif
