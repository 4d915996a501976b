/* The LMDB store: a persistence add-on that keeps events in an LMDB environment, a directory of its
 * own. addons/lmdb/FORMAT.md has its layout and what a crash can lose at each sync level. Link
 * `longpoll::lmdb`. */
#ifndef LONGPOLL_LMDB_H
#define LONGPOLL_LMDB_H

#include <stdbool.h>

#include <longpoll/addon.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lp_lmdb_options {
    size_t struct_size; /* set by LP_LMDB_OPTIONS_INIT */
    lp_sync sync;
    int64_t sync_interval_ms; /* 0: 1000 */
    bool read_only;           /* look, change nothing: on_publish fails with LP_EACCES */
} lp_lmdb_options;

#define LP_LMDB_OPTIONS_INIT                                                                       \
    {                                                                                              \
        sizeof(lp_lmdb_options), LP_SYNC_INTERVAL, 0, false                                        \
    }

/* A store in `directory`, which is made when it is missing (its parent must exist). Nothing is
 * touched before the add-on is started. Its start fails with LP_EACCES, LP_ENOTFOUND, LP_EINUSE
 * (open already, in this process or another; readers share it) or LP_EVERSION (another program's
 * environment, a `data.mdb` that is none and has no `longpoll.lock` beside it, or written by a
 * later library), never because of damage: a store's file that LMDB cannot read is set aside as
 * `data.mdb.damaged-…` and a new one begun, which is told as a loss. `options` may be NULL. The
 * add-on belongs to whoever starts it; one that never was started is freed with its own `destroy`.
 * LP_EINVAL: options without struct_size, a negative number, an empty path; `error` (may be NULL)
 * has the sentence. LP_ENOMEM.
 */
LP_API int lp_lmdb_new(const char *directory, const lp_lmdb_options *options, lp_addon **out,
                       lp_error *error);

#ifdef __cplusplus
}
#endif
#endif
