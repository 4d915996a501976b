/* Stores by name: what --store means. */
#ifndef LONGPOLLD_STORE_H
#define LONGPOLLD_STORE_H

#include <longpoll/addon.h>

/* Makes the add-on that `spec` names, without touching anything: "memory" (`*out` is NULL) or
 * "journal:DIR?option=value&…". The caller owns it and frees it with its `destroy`, unless a
 * manager takes it over. LP_EINVAL with a sentence; LP_ENOMEM. */
int store_new(const char *spec, lp_addon **out, lp_error *error);

#endif
