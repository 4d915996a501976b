/* What tests of the SQLite store may use beyond <longpoll/sqlite.h>: a store whose file calls go
 * through a VFS of one's own, and whose clocks and boot of the machine are made up. */
#ifndef LP_SQLITE_PRIVATE_H
#define LP_SQLITE_PRIVATE_H

#include <longpoll/sqlite.h>

/* All are called on the add-on's thread. */
typedef struct lp__sqlite_world {
    void *ctx;
    const char *vfs; /* a registered VFS; NULL: SQLite's default. Lives as long as the add-on */
    int64_t (*monotonic_us)(void *ctx);
    int64_t (*wall_ms)(void *ctx);
    uint64_t (*boot)(void *ctx); /* a number of this boot of the machine; 0: not known */
} lp__sqlite_world;

/* The real ones. */
lp__sqlite_world lp__sqlite_world_real(void);

/* lp_sqlite_new in a world of one's own, which is copied. */
int lp__sqlite_new(const char *file, const lp_sqlite_options *options,
                   const lp__sqlite_world *world, lp_addon **out, lp_error *error);

#endif
