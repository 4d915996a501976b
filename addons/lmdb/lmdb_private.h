/* What tests of the LMDB store may use beyond <longpoll/lmdb.h>: a store whose clocks, boot number
 * and sync come from a table of one's own. */
#ifndef LP_LMDB_PRIVATE_H
#define LP_LMDB_PRIVATE_H

#include <longpoll/lmdb.h>

/* All are called on the add-on's thread. */
typedef struct lp__lmdb_host {
    void *ctx;
    uint64_t (*boot)(void *ctx); /* a number of this boot of the machine; 0: not known */
    int64_t (*monotonic_ms)(void *ctx);
    int64_t (*wall_ms)(void *ctx);
    size_t map_step; /* the map starts this much larger than the file, and grows by it at least */
} lp__lmdb_host;

/* The real ones. */
lp__lmdb_host lp__lmdb_host_real(void);

/* lp_lmdb_new with such a table, which is copied. */
int lp__lmdb_new(const char *directory, const lp_lmdb_options *options, const lp__lmdb_host *host,
                 lp_addon **out, lp_error *error);

#endif
