/* A persistence add-on with a file for each category. See file_per_category.c. */
#ifndef FILE_PER_CATEGORY_H
#define FILE_PER_CATEGORY_H

#include <longpoll/addon.h>

/* Keeps events in `directory`, which must exist. LP_ENOMEM. */
int file_per_category_new(const char *directory, lp_addon **out, lp_error *error);

#endif
